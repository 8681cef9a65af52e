/* test_probe: which subjects a probe draws, what heads do with odd labels, intervals over repeats. The solvers: tests/parity/test_solve.c. */
#include "../../src/use/probe.h"

#include "test.h"

enum { SUBJECTS = 40, PER = 3, N = SUBJECTS * PER + 30, COLUMNS = 6 };

/* SUBJECTS subjects with PER training samples each, of `kind`; the samples of all subjects alternate. Behind them 10 val and 20 test samples. */
typedef struct made { roll r; float x[N * COLUMNS]; } made;

static made *make(enum task_kind kind, int K)
{
    made *m = calloc(1, sizeof *m);
    roll *r = &m->r;
    rng draw = rng_open((rng_key){5, (uint32_t)kind, (uint32_t)K}, RNG_TEST, 0);
    *r = (roll){.kind = kind, .K = K, .lo = 0, .hi = 10, .n = N, .n_subjects = SUBJECTS, .n_split = {SUBJECTS * PER, 10, 20}};
    strcpy(r->label_name, "label");
    r->class_name = calloc((size_t)K, sizeof *r->class_name);
    r->index = calloc(N, sizeof *r->index), r->split = calloc(N, 1), r->subject = calloc(N, sizeof *r->subject);
    r->case_id = calloc(N, sizeof *r->case_id);
    if (kind == TASK_CLASSIFICATION) r->cls = calloc(N, sizeof *r->cls);
    if (kind == TASK_REGRESSION) r->scalar = calloc(N, sizeof *r->scalar);
    if (kind == TASK_MULTILABEL || kind == TASK_DETECTION) r->vec = calloc((size_t)N * (size_t)K, 1);
    for (int i = 0; i < N; i++) {
        float *x = m->x + i * COLUMNS;
        r->index[i] = 2 * i, r->case_id[i] = (uint64_t)i;
        r->split[i] = i < SUBJECTS * PER ? SPLIT_TRAIN : i < SUBJECTS * PER + 10 ? SPLIT_VAL : SPLIT_TEST;
        r->subject[i] = i < SUBJECTS * PER ? i % SUBJECTS : -1;
        for (int d = 0; d < COLUMNS; d++) x[d] = rng_normal(&draw);
        int cls = (int)rng_below(&draw, 8) < 6 ? 0 : 1 + (int)rng_below(&draw, (uint32_t)(K > 1 ? K - 1 : 1)); /* the first class is most */
        if (r->cls) r->cls[i] = cls, x[cls % COLUMNS] += 4;
        if (r->scalar) r->scalar[i] = 5 + x[0] - 0.5f * x[2];
        for (int k = 0; r->vec && k < K; k++) r->vec[i * K + k] = x[k % COLUMNS] + 0.3f * rng_normal(&draw) > 1;
    }
    return m;
}

static void drop(made *m)
{
    roll_close(&m->r);
    free(m);
}

/* ---- draws -------------------------------------------------------------------------------------------------------------------------- */

static bool has_class(const roll *r, int64_t i, int k) { return r->cls ? r->cls[i] == k : r->vec[i * r->K + k] == 1; }

static void draws_are_nested_and_whole(void)
{
    static const double percent[] = {0.1, 1, 5, 10, 50, 100};
    static const enum task_kind kinds[] = {TASK_CLASSIFICATION, TASK_MULTILABEL, TASK_DETECTION, TASK_REGRESSION, TASK_SEGMENTATION};
    for (int which = 0; which < 5; which++) {
        int K = kinds[which] == TASK_REGRESSION ? 1 : 5;
        made *m = make(kinds[which], K);
        const roll *r = &m->r;
        for (int repeat = 0; repeat < 20; repeat++) {
            int64_t place[SUBJECTS], again[SUBJECTS], least, same, rows[N], before = 0;
            bool taken[N] = {false}, seen[SUBJECTS] = {false};
            EXPECT_OK(draw_order(r, 7, repeat, place, &least));
            EXPECT_OK(draw_order(r, 7, repeat, again, &same));
            EXPECT(memcmp(place, again, sizeof place) == 0 && least == same, "the same draw again");
            for (int s = 0; s < SUBJECTS; s++) {
                EXPECT(place[s] >= 0 && place[s] < SUBJECTS && !seen[place[s]], "a permutation");
                seen[place[s]] = true;
            }
            EXPECT(least <= K, "%lld subjects for %d classes", (long long)least, K);
            for (int f = 0; f < 6; f++) {
                int64_t subjects = draw_count(percent[f], SUBJECTS, least), n = draw_rows(r, place, subjects, rows), count[SUBJECTS] = {0}, whole = 0;
                bool now[N] = {false};
                for (int64_t i = 0; i < n; i++) {
                    EXPECT(r->split[rows[i]] == SPLIT_TRAIN && (i == 0 || rows[i] > rows[i - 1]), "training samples in order");
                    now[rows[i]] = true;
                    count[r->subject[rows[i]]]++;
                }
                for (int s = 0; s < SUBJECTS; s++) {
                    EXPECT(count[s] == 0 || count[s] == PER, "subject %d in part", s);
                    whole += count[s] > 0;
                }
                EXPECT(whole == subjects && n == PER * subjects && n >= before, "%g %%: %lld subjects, %lld samples", percent[f], (long long)whole, (long long)n);
                for (int i = 0; i < N; i++) {
                    EXPECT(!taken[i] || now[i], "%g %% leaves out what less took", percent[f]);
                    taken[i] = now[i];
                }
                for (int k = 0; (r->cls || r->vec) && k < K; k++) {
                    bool exists = false, drawn = false;
                    for (int i = 0; i < SUBJECTS * PER; i++) exists |= has_class(r, i, k), drawn |= now[i] && has_class(r, i, k);
                    EXPECT(drawn == exists, "%g %%, repeat %d: class %d", percent[f], repeat, k);
                }
                before = n;
            }
            EXPECT(before == SUBJECTS * PER, "100 %% takes all");
        }
        drop(m);
    }
}

static void draws_differ(void)
{
    made *m = make(TASK_REGRESSION, 1);
    int64_t a[SUBJECTS], b[SUBJECTS], c[SUBJECTS], least;
    EXPECT_OK(draw_order(&m->r, 7, 0, a, &least));
    EXPECT_OK(draw_order(&m->r, 7, 1, b, &least));
    EXPECT_OK(draw_order(&m->r, 8, 0, c, &least));
    EXPECT(memcmp(a, b, sizeof a) != 0 && memcmp(a, c, sizeof a) != 0 && least == 0, "repeats and seeds");
    drop(m);
    EXPECT(draw_count(1, 150, 0) == 2 && draw_count(1, 149, 0) == 1 && draw_count(0.01, 10, 0) == 1 && draw_count(1, 100, 4) == 4 &&
               draw_count(100, 7, 3) == 7 && draw_count(50, 7, 0) == 4 && draw_count(1, 3, 5) == 3, "counts");
}

/* ---- heads ---------------------------------------------------------------------------------------------------------------------------- */

static int64_t all_rows(const roll *r, int64_t *rows)
{
    int64_t n = 0;
    for (int64_t i = 0; i < r->n; i++)
        if (r->split[i] == SPLIT_TRAIN) rows[n++] = i;
    return n;
}

static void heads_learn(void)
{
    static const struct { enum task_kind kind; int K; double least; } cases[] = {{TASK_CLASSIFICATION, 2, 0.75}, {TASK_CLASSIFICATION, 3, 0.7},
                                                                                 {TASK_MULTILABEL, 4, 0.9}, {TASK_REGRESSION, 1, 0.95}};
    for (int c = 0; c < 4; c++) {
        made *m = make(cases[c].kind, cases[c].K);
        int64_t rows[N], n = all_rows(&m->r, rows);
        head_ask ask = {&m->r, m->x, COLUMNS, rows, n, 0, 7};
        metric_result r, same;
        double strength = 0, fixed = 0;
        EXPECT_OK(head_linear(&ask, &r, &strength));
        EXPECT(r.score > cases[c].least && r.n_samples == 20, "%s: %s %g", task_kind_name[cases[c].kind], r.score_name, r.score);
        EXPECT(strength >= 1e-5 && strength <= 100, "strength %g", strength);
        ask.strength = strength; /* from elsewhere: the same head but for its last digits */
        EXPECT_OK(head_linear(&ask, &same, &fixed));
        EXPECT(fixed == strength, "%g", fixed);
        EXPECT_NEAR(same.score, r.score, 1e-4);
        if (cases[c].kind == TASK_CLASSIFICATION) {
            EXPECT_OK(head_neighbours(&ask, &r));
            EXPECT(r.score > 0.6 && r.n_samples == 20, "neighbours: %g", r.score);
        }
        drop(m);
    }
}

/* No validation split: C = 1. */
static void without_validation(void)
{
    made *m = make(TASK_CLASSIFICATION, 3);
    int64_t rows[N], n = all_rows(&m->r, rows);
    head_ask ask = {&m->r, m->x, COLUMNS, rows, n, 0, 7};
    metric_result r;
    double strength = 0;
    for (int i = 0; i < N; i++)
        if (m->r.split[i] == SPLIT_VAL) m->r.split[i] = SPLIT_TEST;
    m->r.n_split[SPLIT_VAL] = 0, m->r.n_split[SPLIT_TEST] = 30;
    EXPECT_OK(head_linear(&ask, &r, &strength));
    EXPECT(strength == 1 && r.n_samples == 30, "%g", strength);
    drop(m);
}

/* Few samples: one class alone, a label that never varies or is missing, more neighbours than samples. */
static void little_to_learn_from(void)
{
    metric_result r;
    double strength;
    int64_t rows[2];
    made *m = make(TASK_CLASSIFICATION, 3);
    int n = 0;
    for (int64_t i = 0; n < 2; i++)
        if (m->r.cls[i] == 0) rows[n++] = i;
    head_ask ask = {&m->r, m->x, COLUMNS, rows, 2, 0, 20};
    EXPECT_OK(head_linear(&ask, &r, &strength));
    int with[3] = {0}, classes = 0;
    for (int i = 0; i < N; i++)
        if (m->r.split[i] == SPLIT_TEST) with[m->r.cls[i]]++;
    for (int k = 0; k < 3; k++) classes += with[k] > 0;
    EXPECT_NEAR(r.score, 1.0 / classes, 1e-12); /* all are said to be of the class that is known */
    EXPECT_OK(head_neighbours(&ask, &r));
    EXPECT_NEAR(r.score, 1.0 / classes, 1e-12);
    drop(m);
    m = make(TASK_MULTILABEL, 3);
    n = (int)all_rows(&m->r, (int64_t[N]){0});
    int64_t all[N];
    for (int i = 0; i < n; i++) all[i] = i, m->r.vec[3 * i] = 0, m->r.vec[3 * i + 1] = 255;
    ask = (head_ask){&m->r, m->x, COLUMNS, all, n, 1, 20};
    EXPECT_OK(head_linear(&ask, &r, &strength));
    int found = 0;
    for (int k = 0; k < r.n; k++)
        if (strcmp(r.value[k].name, "auroc/0") == 0 || strcmp(r.value[k].name, "auroc/1") == 0) {
            EXPECT_NEAR(r.value[k].value, 0.5, 1e-12); /* the same for all */
            found++;
        }
    EXPECT(found == 2, "%d labels without a choice", found);
    drop(m);
}

/* ---- intervals ---------------------------------------------------------------------------------------------------------------------------- */

static void intervals(void)
{
    static const double v[] = {0.5, 0.6, NAN, 0.7};
    band b = band_of(v, 4);
    EXPECT_NEAR(b.mean, 0.6, 1e-12);
    EXPECT(b.n == 3, "%d", b.n);
    EXPECT_NEAR(b.hi - b.mean, 4.302652730 * 0.1 / sqrt(3), 1e-9);
    EXPECT_NEAR(b.mean - b.lo, b.hi - b.mean, 1e-12);
    b = band_of(v, 1);
    EXPECT(b.n == 1 && b.mean == 0.5 && isnan(b.lo) && isnan(b.hi), "one value has no interval");
    b = band_of(v + 2, 1);
    EXPECT(b.n == 0 && isnan(b.mean), "none has no mean");
}

int main(void)
{
    RUN(draws_are_nested_and_whole);
    RUN(draws_differ);
    RUN(heads_learn);
    RUN(without_validation);
    RUN(little_to_learn_from);
    RUN(intervals);
    DONE();
}
