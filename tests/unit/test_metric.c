/* test_metric: masks and boxes on the stored grid, cases, merging, bootstrap, centres, pictures, lines of CSV. Scores against scikit-learn and
 * scipy: see tests/parity/test_task_parity.c. */
#include "../../src/task/metric_internal.h"

#include "test.h"

static metric *open_metric(enum task_kind kind, int K, char (*names)[64])
{
    task t = {.spec = {.name = "t", .kind = kind, .K = K, .class_name = names, .max_boxes = 50, .lo = 0, .hi = 10}};
    metric *m = NULL;
    EXPECT_OK(metric_init(&m, &t));
    return m;
}

static double value_of(const metric_result *r, const char *name)
{
    for (int i = 0; i < r->n; i++)
        if (strcmp(r->value[i].name, name) == 0) return r->value[i].value;
    EXPECT(false, "no value %s", name);
    return -1;
}

/* ---- segmentation ------------------------------------------------------------------------------------------------------------------
 */

enum { S = 64 };

/* Class 1 where the stored point is right of a slanted line: logits linear in position, so bilinear sampling is exact. */
static double side_of(double x, double y) { return 0.7 * x + 0.4 * y - 60.3; }

static void native_masks(void)
{
    static const view views[3] = {{1.9f, 0, -4, 0, 1.9f, -6}, {0, -1.9f, 118, 1.9f, 0, -3}, {1.3f, 0.9f, -20, -0.9f, 1.3f, 40}};
    for (int v = 0; v < 3; v++) {
        enum { H = 100, W = 112 };
        float *z = malloc(sizeof *z * S * S * 2);
        uint8_t guess[H * W];
        task_run r = {.spec = {.kind = TASK_SEGMENTATION, .K = 2, .H = S, .W = S}, .out = z};
        const view *w = &views[v];
        for (int i = 0; i < S; i++)
            for (int j = 0; j < S; j++) {
                double x = j + 0.5, y = i + 0.5;
                z[2 * (i * S + j)] = 0;
                z[2 * (i * S + j) + 1] = (float)side_of(w->ax * x + w->bx * y + w->cx, w->ay * x + w->by * y + w->cy);
            }
        task_mask_native(&r, 0, w, H, W, guess);
        double det = (double)w->ax * w->by - (double)w->bx * w->ay;
        int wrong = 0, seen = 0;
        for (int i = 0; i < H; i++)
            for (int j = 0; j < W; j++) {
                double x = j + 0.5 - w->cx, y = i + 0.5 - w->cy, nx = (w->by * x - w->bx * y) / det, ny = (w->ax * y - w->ay * x) / det;
                double side = side_of(j + 0.5, i + 0.5);
                if (nx < 0.5 || ny < 0.5 || nx > S - 0.5 || ny > S - 0.5 || fabs(side) < 1e-3) continue;
                seen++;
                wrong += guess[i * W + j] != (side > 0);
            }
        EXPECT(wrong == 0 && seen > 4000, "view %d: %d of %d pixels wrong", v, wrong, seen);
        free(z);
    }
}

/* Hard logits from a mask at network size. */
static void paint(float *z, const uint8_t *mask, int K, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < K; k++) z[i * K + k] = k == mask[i] ? 5.0f : 0.0f;
}

static void cases_and_empties(void)
{
    enum { P = 32 * 32, K = 3 };
    float *z = malloc(sizeof *z * 4 * P * K);
    uint8_t *truth = calloc(4, P), *guess = calloc(4, P);
    int64_t sample[4] = {10, 11, 12, 13};
    uint64_t cases[4] = {5, 5, 6, 7};
    task_run r = {.spec = {.kind = TASK_SEGMENTATION, .K = K, .H = 32, .W = 32, .batch = 4}, .out = z};
    batch b = {.B = 4, .H = 32, .W = 32, .n_valid = 4, .sample = sample, .mask = truth};
    /* case 5, two slices: class 1 100 and 0 true, 50 right, 50 elsewhere predicted: Dice 100 / 200; class 2 nowhere: left out */
    memset(truth, 1, 100), memset(guess, 1, 50), memset(guess + P + 200, 1, 50);
    /* case 6: class 2 predicted where there is none: 0; class 1 perfect; some pixels ignored */
    memset(truth + 2 * P, 1, 10), memset(guess + 2 * P, 1, 10), memset(guess + 2 * P + 500, 2, 7);
    memset(truth + 2 * P + 600, IGNORE_MASK, 20), memset(guess + 2 * P + 600, 1, 20);
    /* case 7: class 2, 8 of 8 + 24 */
    memset(truth + 3 * P, 2, 8), memset(guess + 3 * P, 2, 32);
    paint(z, guess, K, 4 * P);
    metric *m = open_metric(TASK_SEGMENTATION, K, NULL);
    metric_result res;
    EXPECT_OK(metric_add(m, &r, &b, cases));
    EXPECT_OK(metric_finish(m, 0, 0, &res));
    EXPECT(res.n_samples == 4 && res.n_cases == 3, "%lld samples, %lld cases", (long long)res.n_samples, (long long)res.n_cases);
    EXPECT_NEAR(value_of(&res, "dice/1"), (0.5 + 1) / 2, 1e-12);
    EXPECT_NEAR(value_of(&res, "dice/2"), (0 + 2.0 * 8 / 40) / 2, 1e-12);
    EXPECT_NEAR(res.score, (0.75 + 0.2) / 2, 1e-12);
    EXPECT_NEAR(value_of(&res, "dice"), res.score, 0);
    EXPECT(strcmp(res.score_name, "dice") == 0, "%s", res.score_name);
    metric_free(m);
    free(z), free(truth), free(guess);
}

static void stored_masks(void)
{
    /* two stored images of different sizes, one after another; the network saw them enlarged and centred */
    enum { K = 2, P = S * S };
    float *z = malloc(sizeof *z * 2 * P * K);
    uint8_t stored[20 * 40 + 32 * 16];
    int32_t size[4] = {20, 40, 32, 16};
    view views[2] = {{0.625f, 0, 0, 0, 0.625f, -10}, {0.5f, 0, -8, 0, 0.5f, 0}};
    int64_t sample[2] = {0, 1};
    uint64_t cases[2] = {1, 2};
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < S; i++)
            for (int j = 0; j < S; j++) {
                const view *v = &views[b];
                double x = v->ax * (j + 0.5) + v->cx;
                float *at = z + ((b * S + i) * S + j) * K;
                at[0] = 0, at[1] = (float)(b ? 5.25 - x : x - 20.25);
            }
    for (int i = 0; i < 20; i++)
        for (int j = 0; j < 40; j++) stored[i * 40 + j] = j + 0.5 > 20.25;
    for (int i = 0; i < 32; i++)
        for (int j = 0; j < 16; j++) stored[800 + i * 16 + j] = j + 0.5 < 5.25;
    task_run r = {.spec = {.kind = TASK_SEGMENTATION, .K = K, .H = S, .W = S, .batch = 2}, .out = z};
    batch b = {.B = 2, .H = S, .W = S, .n_valid = 2, .sample = sample, .view = views, .native_mask = stored, .native_size = size};
    metric *m = open_metric(TASK_SEGMENTATION, K, NULL);
    metric_result res;
    EXPECT_OK(metric_add(m, &r, &b, cases));
    EXPECT_OK(metric_finish(m, 0, 0, &res));
    EXPECT_NEAR(res.score, 1.0, 0);
    metric_free(m);
    free(z);
}

/* ---- detection ----------------------------------------------------------------------------------------------------------------------
 */

static void boxes_on_stored_grid(void)
{
    enum { K = 2, N = 64 };
    task_run r = {
        .spec = {.kind = TASK_DETECTION, .K = K, .H = N, .W = N, .batch = 1, .max_boxes = 10, .score_min = 0.05f, .nms_iou = 0.5f}};
    fcos_grids(&r.fcos, N, N, K);
    for (int l = 0; l < FPN_LEVELS; l++) {
        fcos_level *v = &r.fcos.level[l];
        size_t n = (size_t)v->h * (size_t)v->w;
        v->cls = malloc(n * K * sizeof(float));
        v->reg = calloc(n * 5, sizeof(float));
        for (size_t i = 0; i < n * K; i++) v->cls[i] = -8;
        r.scale[l] = 1;
    }
    r.found = malloc(sizeof *r.found * 2 * FPN_LEVELS * DETECT_TOP);
    fcos_level *v = &r.fcos.level[0];
    for (int p = 10; p < 12; p++) { /* locations (1,2) and (1,3) both see the box 8 4 32 28; the second one slightly off */
        const float box[4] = {8, 4, 32, 28};
        double x = (p % 8 + 0.5) * 8, y = (p / 8 + 0.5) * 8, side[4] = {x - box[0], y - box[1], box[2] - x, box[3] - y};
        for (int k = 0; k < 4; k++) v->reg[p * 5 + k] = (float)log(side[k] * (p == 11 ? 1.05 : 1) / 8);
        v->reg[p * 5 + 4] = 4;
        v->cls[p * K + 1] = p == 10 ? 3.0f : 2.0f;
    }
    detection found[10];
    int n = task_detect(&r, 0, found);
    EXPECT(n == 1, "%d boxes after NMS", n);
    for (int k = 0; k < 4; k++) EXPECT_NEAR(found[0].box[k], ((float[4]){8, 4, 32, 28})[k], 1e-4);
    EXPECT(found[0].cls == 1, "class %d", found[0].cls);

    /* stored image: twice the size, shifted; the second true box is missed */
    view where = {2, 0, -10, 0, 2, 0};
    int32_t off[2] = {0, 2}, cls[2] = {1, 1}, size[2] = {120, 120};
    float box[8] = {8, 4, 32, 28, 40, 40, 60, 60};
    int64_t sample = 3;
    uint64_t one = 1;
    batch b = {.B = 1,
               .H = N,
               .W = N,
               .n_valid = 1,
               .sample = &sample,
               .view = &where,
               .box_off = off,
               .box = box,
               .box_cls = cls,
               .native_size = size};
    metric *m = open_metric(TASK_DETECTION, K, NULL);
    metric_result res;
    EXPECT_OK(metric_add(m, &r, &b, &one));
    EXPECT_OK(metric_finish(m, 0, 0, &res));
    EXPECT_NEAR(m->data[2], 2 * 8 - 10, 1e-3); /* the first detection's left side in stored pixels */
    EXPECT_NEAR(m->data[4], 2 * 32 - 10, 1e-3);
    EXPECT_NEAR(res.score, 51.0 / 101, 1e-12); /* recall 1/2 reached with precision 1: 51 of 101 points */
    EXPECT(isnan(value_of(&res, "ap50/0")), "a class without boxes has no value");
    EXPECT_NEAR(value_of(&res, "ap"), 51.0 / 101, 1e-12);
    metric_free(m);

    float turned[4];
    task_box_native(&(view){0, -1, 50, 1, 0, 2}, 100, 100, (float[4]){10, 20, 14, 30}, turned);
    for (int k = 0; k < 4; k++) EXPECT_NEAR(turned[k], ((float[4]){20, 12, 30, 16})[k], 1e-5);
    for (int l = 0; l < FPN_LEVELS; l++) free(r.fcos.level[l].cls), free(r.fcos.level[l].reg);
    free(r.found);
}

/* ---- merging, bootstrap, lines
 * --------------------------------------------------------------------------------------------------------- */

static void add_scalar(metric *m, int64_t sample, uint64_t case_id, double label, double prediction)
{
    double *p;
    EXPECT_OK(metric_new_record(m, sample, case_id, 2, &p));
    p[0] = label, p[1] = prediction;
}

static void merging(void)
{
    metric *part[3], *forward = open_metric(TASK_REGRESSION, 1, NULL), *back = open_metric(TASK_REGRESSION, 1, NULL);
    metric_result a, b;
    rng r = rng_open((rng_key){.seed = 2}, RNG_TEST, 0);
    for (int k = 0; k < 3; k++) part[k] = open_metric(TASK_REGRESSION, 1, NULL);
    for (int i = 0; i < 100; i++) add_scalar(part[(i * 7) % 3], i, (uint64_t)(i / 4), 10 * rng_uniform(&r), 10 * rng_uniform(&r));
    add_scalar(part[0], 50, 12, 3, 3); /* sample 50 twice: whoever padded with it */
    double *p = part[0]->data + part[0]->rec[part[0]->n - 1].at;
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < part[k]->n; i++)
            if (part[k]->rec[i].sample == 50 && part[k]->data + part[k]->rec[i].at != p)
                memcpy(p, part[k]->data + part[k]->rec[i].at, 16);
    for (int k = 0; k < 3; k++) {
        void *bytes;
        size_t n;
        EXPECT_OK(metric_pack(part[k], &bytes, &n));
        EXPECT_OK(metric_merge(forward, bytes, n));
        EXPECT_STATUS(metric_merge(back, bytes, n - 1), ST_BUG);
        free(bytes);
        EXPECT_OK(metric_pack(part[2 - k], &bytes, &n));
        EXPECT_OK(metric_merge(back, bytes, n));
        free(bytes);
    }
    EXPECT_OK(metric_finish(forward, 200, 9, &a));
    EXPECT_OK(metric_finish(back, 200, 9, &b));
    EXPECT(a.n_samples == 100 && a.n_cases == 25, "%lld samples, %lld cases", (long long)a.n_samples, (long long)a.n_cases);
    EXPECT(memcmp(&a, &b, sizeof a) == 0, "the order of merging shows: %.17g %.17g", a.score, b.score);
    EXPECT(value_of(&a, "mae") > 0 && a.score == 1 - value_of(&a, "mae") / 10, "score %g", a.score);
    metric_free(forward), metric_free(back);
    for (int k = 0; k < 3; k++) metric_free(part[k]);
}

static void bootstrap(void)
{
    enum { N = 400 };
    metric *m = open_metric(TASK_REGRESSION, 1, NULL);
    metric_result a, b;
    rng r = rng_open((rng_key){.seed = 4}, RNG_TEST, 0);
    double sum = 0, square = 0;
    for (int i = 0; i < N; i++) {
        double e = rng_uniform(&r);
        sum += e, square += e * e;
        add_scalar(m, i, (uint64_t)i * 0x9E3779B97F4A7C15u, 5, 5 + e);
    }
    EXPECT_OK(metric_finish(m, 1000, 1, &a));
    EXPECT_OK(metric_finish(m, 1000, 2, &b));
    double sd = sqrt(square / N - sum / N * (sum / N)), half = 1.96 * sd / sqrt(N);
    EXPECT_NEAR(a.value[0].value, sum / N, 1e-9);
    EXPECT_NEAR(a.value[0].lo, sum / N - half, 0.15 * half);
    EXPECT_NEAR(a.value[0].hi, sum / N + half, 0.15 * half);
    EXPECT(a.value[0].lo != b.value[0].lo && a.value[0].value == b.value[0].value, "the seed decides the draws, not the value");
    EXPECT_OK(metric_finish(m, 0, 0, &b));
    EXPECT(isnan(b.value[0].lo), "no interval without draws");
    metric_free(m);
}

static void empty_and_broken(void)
{
    static const enum task_kind kinds[N_TASK_KINDS] = {TASK_CLASSIFICATION, TASK_MULTILABEL, TASK_REGRESSION, TASK_SEGMENTATION,
                                                       TASK_DETECTION};
    metric_result r;
    for (int k = 0; k < N_TASK_KINDS; k++) {
        metric *m = open_metric(kinds[k], kinds[k] == TASK_REGRESSION ? 1 : 3, NULL);
        EXPECT_OK(metric_finish(m, 10, 1, &r));
        EXPECT(r.n_samples == 0 && isnan(r.score) && r.n > 0, "%s: score %g of nothing", task_kind_name[k], r.score);
        metric_free(m);
    }
    float z[6] = {NAN, NAN, NAN, 1, INFINITY, 2};
    int32_t cls[2] = {0, 1};
    int64_t sample[2] = {0, 1};
    uint64_t cases[2] = {0, 1};
    task_run run = {.spec = {.kind = TASK_CLASSIFICATION, .K = 3, .batch = 2}, .out = z};
    batch b = {.B = 2, .n_valid = 2, .cls = cls, .sample = sample};
    metric *m = open_metric(TASK_CLASSIFICATION, 3, NULL);
    EXPECT_OK(metric_add(m, &run, &b, cases));
    EXPECT_OK(metric_finish(m, 10, 1, &r)); /* not finite: ends, and is no success */
    EXPECT(r.n_samples == 2 && r.score <= 0.5, "score %g", r.score);
    metric_free(m);
}

static char lines[8][200];
static int n_lines;
static void keep_line(void *arg, const char *csv)
{
    (void)arg;
    if (n_lines < 8) snprintf(lines[n_lines++], sizeof lines[0], "%s", csv);
}

static void csv_lines(void)
{
    char names[2][64] = {"normal", "nodule, \"solid\""};
    float z[4] = {0, 0, -1, 2};
    int32_t cls[2] = {0, 1};
    int64_t sample[2] = {7, 4};
    uint64_t cases[2] = {255, 1};
    task_run run = {.spec = {.kind = TASK_CLASSIFICATION, .K = 2, .batch = 2}, .out = z};
    batch b = {.B = 2, .n_valid = 2, .cls = cls, .sample = sample};
    metric *m = open_metric(TASK_CLASSIFICATION, 2, names);
    EXPECT_OK(metric_add(m, &run, &b, cases));
    n_lines = 0;
    EXPECT_OK(metric_each(m, keep_line, NULL));
    EXPECT(n_lines == 3, "%d lines", n_lines);
    EXPECT(strcmp(lines[0], "sample,id,case,subject,centre,label,prediction,p_normal,\"p_nodule, \"\"solid\"\"\"") == 0, "%s", lines[0]);
    EXPECT(strcmp(lines[1], "4,,0000000000000001,,,\"nodule, \"\"solid\"\"\",\"nodule, \"\"solid\"\"\",0.0474259,0.952574") == 0, "%s",
           lines[1]);
    EXPECT(strcmp(lines[2], "7,,00000000000000ff,,,normal,normal,0.5,0.5") == 0, "%s", lines[2]);
    metric_free(m);
}

/* ---- subjects and centres ------------------------------------------------------------------------------------------------------------ */

static void add_noted(metric *m, int64_t sample, double label, double prediction, const char *subject, const char *centre)
{
    sample_note note = {.spacing = {NAN, NAN}};
    snprintf(note.id, sizeof note.id, "i%d", (int)sample), snprintf(note.case_id, sizeof note.case_id, "c%d", (int)sample);
    snprintf(note.subject, sizeof note.subject, "%s", subject), snprintf(note.centre, sizeof note.centre, "%s", centre);
    add_scalar(m, sample, (uint64_t)sample, label, prediction);
    EXPECT_OK(metric_note(m, &note));
}

/* Cases of a subject are drawn together: with one subject no draw differs from the data, with two there are three kinds of draws. */
static void subjects_are_drawn(void)
{
    metric_result r;
    for (int n = 1; n <= 3; n++) {
        metric *m = open_metric(TASK_REGRESSION, 1, NULL);
        char who[16];
        for (int i = 0; i < 60; i++) {
            snprintf(who, sizeof who, "p%d", n == 3 ? i : i % n);
            add_noted(m, i, 5, 5 + (i % 2), who, "");
        }
        EXPECT_OK(metric_finish(m, 400, 1, &r));
        EXPECT(r.n_subjects == (n == 3 ? 60 : n) && r.n_cases == 60, "%lld subjects, %lld cases", (long long)r.n_subjects, (long long)r.n_cases);
        EXPECT_NEAR(r.value[0].value, 0.5, 1e-12);
        EXPECT_NEAR(r.value[0].lo, n == 1 ? 0.5 : n == 2 ? 0 : 0.5 - 1.96 * 0.5 / sqrt(60), n == 3 ? 0.05 : 1e-12);
        EXPECT_NEAR(r.value[0].hi, n == 1 ? 0.5 : n == 2 ? 1 : 0.5 + 1.96 * 0.5 / sqrt(60), n == 3 ? 0.05 : 1e-12);
        metric_free(m);
    }
}

static void centres_by_themselves(void)
{
    metric *m = open_metric(TASK_REGRESSION, 1, NULL), *other = open_metric(TASK_REGRESSION, 1, NULL);
    static const char *const centre[] = {"south", "", "north"};
    metric_result r;
    char (*name)[SHARD_TEXT], who[16];
    void *bytes;
    size_t n_bytes;
    int n;
    EXPECT_OK(metric_want(m, &(metric_ask){0}));
    EXPECT_OK(metric_want(other, &(metric_ask){0}));
    for (int i = 0; i < 30; i++) {
        snprintf(who, sizeof who, "p%d", i / 6);
        add_noted(i % 2 ? m : other, i, 5, 5 + i / 6, who, centre[i / 6 % 3]);
    }
    EXPECT_OK(metric_pack(other, &bytes, &n_bytes));
    EXPECT_OK(metric_merge(m, bytes, n_bytes));
    free(bytes);
    EXPECT_OK(metric_centres(m, &n, &name));
    EXPECT(n == 2 && strcmp(name[0], "north") == 0 && strcmp(name[1], "south") == 0, "%d centres, %s", n, n ? name[0] : "");
    EXPECT_OK(metric_finish_centre(m, "south", 100, 3, &r)); /* subjects 0 and 3 with errors 0 and 3 */
    EXPECT(r.n_samples == 12 && r.n_cases == 12 && r.n_subjects == 2, "%lld samples", (long long)r.n_samples);
    EXPECT_NEAR(value_of(&r, "mae"), 1.5, 1e-12);
    EXPECT_NEAR(r.value[0].lo, 0, 1e-12);
    EXPECT_NEAR(r.value[0].hi, 3, 1e-12);
    EXPECT_OK(metric_finish(m, 0, 0, &r));
    EXPECT_NEAR(value_of(&r, "mae"), 2, 1e-12);
    n_lines = 0;
    EXPECT_OK(metric_each(m, keep_line, NULL));
    EXPECT(strcmp(lines[0], "sample,id,case,subject,centre,label,prediction") == 0 && strcmp(lines[3], "2,i2,c2,p0,south,5,5") == 0, "%s", lines[3]);
    free(name);
    metric_free(m), metric_free(other);
}

/* ---- surfaces, cases, the confusion matrix, pictures ------------------------------------------------------------------------------------ */

static void block(uint8_t *mask, int w, int x, int y, int side, uint8_t k)
{
    for (int i = 0; i < side * side; i++) mask[(y + i / side) * w + x + i % side] = k;
}

static double hd95_of(const uint8_t *a, const uint8_t *b, int h, int w, int k, const double step[2])
{
    surface_work *s;
    double d;
    EXPECT_OK(surface_open(&s));
    EXPECT_OK(surface_hd95(s, a, b, h, w, k, step, &d));
    surface_close(s);
    return d;
}

static void distances_of_surfaces(void)
{
    enum { W = 40, H = 30 };
    static uint8_t a[H * W], b[H * W];
    static const double one[2] = {1, 1}, mm[2] = {0.5, 2};
    block(a, W, 3, 4, 1, 2), block(b, W, 6, 8, 1, 2);
    EXPECT_NEAR(hd95_of(a, b, H, W, 2, one), 5, 1e-12); /* 3 right, 4 down */
    EXPECT_NEAR(hd95_of(a, b, H, W, 2, mm), hypot(3 * 2, 4 * 0.5), 1e-12);
    EXPECT(isnan(hd95_of(a, b, H, W, 1, one)), "a class in neither");
    b[8 * W + 6] = IGNORE_MASK;
    EXPECT(isnan(hd95_of(a, b, H, W, 2, one)), "ignored pixels are no surface");
    memset(a, 1, sizeof a), memset(b, 1, sizeof b);
    EXPECT_NEAR(hd95_of(a, b, H, W, 1, one), 0, 0);
    block(b, W, 10, 10, 9, 0); /* a hole: its far side is where one surface is 5 away from the other at most; most of a's surface is shared */
    EXPECT(hd95_of(a, b, H, W, 1, one) > 0, "a hole shows");
}

static void cases_and_confusion(void)
{
    enum { N = 32, P = N * N, K = 3 };
    float *z = malloc(sizeof *z * 3 * P * K);
    uint8_t *truth = calloc(3, P), *guess = calloc(3, P);
    char names[K][64] = {"ground", "a", "b"};
    int64_t sample[3] = {5, 6, 7}, wanted[2] = {6, 9};
    uint64_t cases[3] = {1, 1, 2};
    float *image = calloc(3 * P * 3, sizeof *image);
    sample_note note[3];
    memset(note, 0, sizeof note);
    for (int i = 0; i < 3; i++) {
        snprintf(note[i].id, sizeof note[i].id, "id%d", i), snprintf(note[i].case_id, sizeof note[i].case_id, "v%d", i / 2);
        snprintf(note[i].subject, sizeof note[i].subject, "p%d", i / 2), snprintf(note[i].units, sizeof note[i].units, "mm");
        note[i].spacing[0] = 3, note[i].spacing[1] = 0.5f;
    }
    block(truth, N, 4, 4, 4, 1), block(guess, N, 4, 5, 4, 1);                 /* moved one row: 3 mm */
    block(truth + P, N, 4, 4, 4, 1), block(guess + P, N, 6, 4, 4, 1);         /* two columns: 1 mm */
    block(truth + 2 * P, N, 10, 10, 2, 2), block(guess + 2 * P, N, 10, 10, 2, 1); /* another class: no distance */
    for (int i = 0; i < 3 * P * 3; i++) image[i] = i % 7 == 0 ? 1.5f : i % 11 == 0 ? NAN : 0.5f;
    paint(z, guess, K, 3 * P);
    task_run r = {.spec = {.kind = TASK_SEGMENTATION, .K = K, .H = N, .W = N, .batch = 3}, .out = z};
    batch b = {.B = 3, .H = N, .W = N, .n_valid = 3, .sample = sample, .mask = truth, .note = note, .image = image};
    metric *part = open_metric(TASK_SEGMENTATION, K, names), *m = open_metric(TASK_SEGMENTATION, K, names);
    metric_result res;
    EXPECT_OK(metric_want(part, &(metric_ask){wanted, 2}));
    EXPECT_OK(metric_want(m, &(metric_ask){0}));
    EXPECT_OK(metric_add(part, &r, &b, cases));
    void *bytes;
    size_t n_bytes;
    EXPECT_OK(metric_pack(part, &bytes, &n_bytes));
    EXPECT_STATUS(metric_merge(m, bytes, n_bytes - 8), ST_BUG);
    EXPECT_OK(metric_merge(m, bytes, n_bytes));
    free(bytes);
    EXPECT_OK(metric_finish(m, 0, 0, &res));
    EXPECT_NEAR(value_of(&res, "hd95_mm/a"), 2, 1e-12); /* case v0: mean of 3 and 1; case v1 has a in one mask alone */
    EXPECT_NEAR(value_of(&res, "hd95_mm"), 2, 1e-12);
    EXPECT(isnan(value_of(&res, "hd95_mm/b")), "b is in truth alone");
    EXPECT_NEAR(value_of(&res, "hd95_missing"), 2.0 / 3, 1e-12); /* of v0/a, v1/a, v1/b */
    EXPECT_NEAR(value_of(&res, "dice/a"), (2.0 * (12 + 8) / 64 + 0) / 2, 1e-12);
    n_lines = 0;
    EXPECT_OK(metric_each_case(m, keep_line, NULL));
    EXPECT(n_lines == 3 && strcmp(lines[0], "images,first_id,case,subject,centre,dice_a,dice_b,hd95_mm_a,hd95_mm_b") == 0, "%d: %s", n_lines, lines[0]);
    EXPECT(strcmp(lines[1], "2,id0,v0,p0,,0.625,,2,") == 0 && strcmp(lines[2], "1,id2,v1,p1,,0,0,,") == 0, "%s | %s", lines[1], lines[2]);
    n_lines = 0;
    EXPECT_OK(metric_confusion(m, keep_line, NULL));
    EXPECT(n_lines == 4 && strcmp(lines[0], "true_pixels,ground,a,b") == 0 && strcmp(lines[2], "a,12,20,0") == 0 && strcmp(lines[3], "b,0,4,0") == 0,
           "%s | %s | %s", lines[0], lines[2], lines[3]);
    static example e;
    EXPECT(metric_n_examples(m) == 1, "%d pictures", metric_n_examples(m));
    EXPECT_OK(metric_example(m, 0, &e));
    EXPECT(e.sample == 6 && strcmp(e.id, "id1") == 0 && e.H == N && memcmp(e.truth, truth + P, P) == 0 && memcmp(e.guess, guess + P, P) == 0, "masks");
    EXPECT(e.rgb[0] == (P * 3 % 7 == 0 ? 255 : 128) && e.field[2] == N, "pixel %d", e.rgb[0]);
    EXPECT_NEAR(e.quality, 0.5, 1e-12);
    EXPECT(strcmp(e.truth_text, "a") == 0 && strcmp(e.guess_text, "Dice 0.50") == 0, "%s, %s", e.truth_text, e.guess_text);
    EXPECT_STATUS(metric_example(m, 1, &e), ST_BUG);
    metric_free(m), metric_free(part);
    free(z), free(truth), free(guess), free(image);
}

static void confusion_of_images(void)
{
    metric *m = open_metric(TASK_CLASSIFICATION, 3, NULL), *labels = open_metric(TASK_MULTILABEL, 2, NULL);
    double *p;
    for (int i = 0; i < 9; i++) {
        EXPECT_OK(metric_new_record(m, i, (uint64_t)i, 4, &p));
        p[0] = i / 3;
        for (int k = 0; k < 3; k++) p[1 + k] = k == (i % 3 == 2 ? 0 : i / 3) ? 0.8 : 0.1;
        EXPECT_OK(metric_new_record(labels, i, (uint64_t)i, 4, &p));
        p[0] = i % 2, p[1] = i < 4 ? -1 : 1, p[2] = i / 8.0, p[3] = 0.7;
    }
    n_lines = 0;
    EXPECT_OK(metric_confusion(m, keep_line, NULL));
    EXPECT(n_lines == 4 && strcmp(lines[0], "true,0,1,2") == 0 && strcmp(lines[1], "0,3,0,0") == 0 && strcmp(lines[3], "2,1,0,2") == 0, "%s | %s", lines[0],
           lines[3]);
    n_lines = 0;
    EXPECT_OK(metric_confusion(labels, keep_line, NULL));
    EXPECT(n_lines == 3 && strcmp(lines[1], "0,2,2,2,3") == 0 && strcmp(lines[2], "1,5,0,0,0") == 0, "%s | %s", lines[1], lines[2]);
    n_lines = 0;
    EXPECT_OK(metric_each_case(m, keep_line, NULL));
    EXPECT(n_lines == 0, "classes have no table of cases");
    metric_free(m), metric_free(labels);
}

int main(void)
{
    RUN(native_masks);
    RUN(cases_and_empties);
    RUN(stored_masks);
    RUN(boxes_on_stored_grid);
    RUN(merging);
    RUN(bootstrap);
    RUN(empty_and_broken);
    RUN(csv_lines);
    RUN(subjects_are_drawn);
    RUN(centres_by_themselves);
    RUN(distances_of_surfaces);
    RUN(cases_and_confusion);
    RUN(confusion_of_images);
    DONE();
}
