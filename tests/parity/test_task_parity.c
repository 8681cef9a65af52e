/* test_task_parity: losses, FCOS and metrics against torch, torchvision, scikit-learn and scipy (values made by make_task.py). */
#include "../../src/task/metric_internal.h"

#include "test.h"

static const char *path; /* ref/task.txt */

/* ---- the stored values and the generator of make_task.py ---------------------------------------------------------------------- */

typedef struct ref {
    int n;
    double *v;
} ref;

static ref get(const char *name)
{
    static double v[8192];
    ref r = {-1, v};
    FILE *f = fopen(path, "r");
    char word[64];
    int n;
    while (f && fscanf(f, "%63s %d", word, &n) == 2) {
        for (int i = 0; i < n; i++)
            if (fscanf(f, "%lf", &v[i < 8192 ? i : 8191]) != 1) n = 0;
        if (strcmp(word, name) == 0) {
            r.n = n;
            break;
        }
    }
    if (f) fclose(f);
    EXPECT(r.n >= 0, "%s in %s", name, path);
    return r;
}

static ref get_f(const char *fmt, int a, int b)
{
    char name[64];
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(name, sizeof name, fmt, a, b);
    return get(name);
}

static uint32_t lcg;
static double u(void)
{
    lcg = lcg * 1664525u + 1013904223u;
    return (lcg >> 8) / 16777216.0;
}
static int below(int n) { return (int)(u() * n); }
static float *many(int64_t n, double scale)
{
    float *v = malloc(sizeof *v * (size_t)n);
    for (int64_t i = 0; i < n; i++) v[i] = (float)((u() - 0.5) * scale);
    return v;
}
static float *random_boxes(int n, int H, int W)
{
    float *b = malloc(sizeof *b * 4 * (size_t)(n + 1));
    for (int i = 0; i < n; i++) {
        float x = (float)(u() * W * 0.75), y = (float)(u() * H * 0.75);
        float w = (float)(3 + u() * W * 0.5), h = (float)(3 + u() * H * 0.5);
        b[4 * i] = x, b[4 * i + 1] = y, b[4 * i + 2] = x + w, b[4 * i + 3] = y + h;
    }
    return b;
}

static void near_all(const char *what, const double *got, const double *want, int n, double tol)
{
    for (int i = 0; i < n; i++)
        EXPECT(fabs(got[i] - want[i]) <= tol * (1e-3 + fabs(want[i])), "%s[%d]: got %.9g, wanted %.9g", what, i, got[i], want[i]);
}

static void check_gradient(const char *what, const float *g, int64_t n, ref r)
{
    double norm = 0, dot = 0;
    uint32_t keep = lcg;
    lcg = 99;
    for (int64_t i = 0; i < n; i++) norm += (double)g[i] * g[i], dot += g[i] * (u() - 0.5) * 2;
    lcg = keep;
    norm = sqrt(norm);
    EXPECT(fabs(norm - r.v[0]) <= 1e-5 * r.v[0], "%s: norm %.9g, wanted %.9g", what, norm, r.v[0]);
    EXPECT(fabs(dot - r.v[1]) <= 1e-5 * r.v[0], "%s: product %.9g, wanted %.9g", what, dot, r.v[1]);
    for (int i = 2; i < r.n; i++)
        EXPECT(fabs(g[i - 2] - r.v[i]) <= 2e-6 * r.v[0], "%s[%d]: got %.9g, wanted %.9g", what, i - 2, (double)g[i - 2], r.v[i]);
}

/* ---- losses -------------------------------------------------------------------------------------------------------------------- */

static void image_losses(void)
{
    enum { B = 12, K = 5 };
    static const float weight[K] = {0.5f, 1.0f, 1.5f, 0.75f, 1.25f};
    int64_t n;
    float d[B * K], vec[B * K], y[B];
    int32_t cls[B];
    lcg = 1;
    float *z = many(B * K, 8);
    for (int b = 0; b < B; b++) cls[b] = below(K + 1) - 1;
    double got[2] = {loss_classes(d, z, cls, weight, B, K, &n)};
    got[1] = (double)n;
    near_all("classes", got, get("classes").v, 2, 1e-6);
    check_gradient("classes", d, B * K, get("classes_gradient"));
    free(z);
    z = many(B * K, 8);
    for (int i = 0; i < B * K; i++) vec[i] = (float)below(3) - 1;
    got[0] = loss_labels(d, z, vec, NULL, B, K, &n);
    got[1] = (double)n;
    near_all("labels", got, get("labels").v, 2, 1e-6);
    check_gradient("labels", d, B * K, get("labels_gradient"));
    free(z);
    z = many(B, 2);
    float *t = many(B, 32);
    for (int b = 0; b < B; b++) y[b] = t[b] + 50;
    got[0] = loss_scalar(d, z, y, 30, 70, B, &n);
    got[1] = (double)n;
    near_all("scalar", got, get("scalar").v, 2, 1e-6);
    check_gradient("scalar", d, B, get("scalar_gradient"));
    free(z);
    free(t);
}

static void dense_loss(void)
{
    enum { B = 2, P = 300 };
    static const int classes[3] = {2, 4, 19};
    for (int c = 0; c < 3; c++) {
        int K = classes[c];
        uint8_t y[B * P];
        double parts[4], *work = malloc(sizeof *work * (size_t)loss_dense_work(B, P, K));
        int64_t n;
        lcg = 10 + (uint32_t)K;
        float *z = many((int64_t)B * P * K, 4);
        for (int i = 0; i < B * P; i++) {
            int k = below(K + 1);
            y[i] = k == K ? IGNORE_MASK : (uint8_t)(i >= P && k == 1 ? 0 : k);
        }
        double loss = loss_dense(z, 1, y, B, P, K, work, &n, parts);
        near_all("dense", &loss, get_f("dense_%d", K, 0).v, 1, 2e-6);
        check_gradient("dense", z, (int64_t)B * P * K, get_f("dense_%d_gradient", K, 0));
        free(z);
        free(work);
    }
}

/* ---- FCOS ---------------------------------------------------------------------------------------------------------------------- */

static void assignment(void)
{
    lcg = 20;
    for (int i = 0; i < 8; i++) {
        int H = i ? 256 : 128, W = i ? 320 : 128, n = i ? 3 + 4 * i : 5;
        fcos f;
        fcos_grids(&f, H, W, 1);
        float *box = random_boxes(n, H, W);
        int32_t *match = malloc(sizeof *match * (size_t)f.n);
        for (int center = 0; center < 2; center++) {
            int64_t n_pos = 0, code = 0;
            fcos_assign(&f, box, n, center, match);
            for (int64_t p = 0; p < f.n; p++) n_pos += match[p] >= 0, code = (code * 31 + match[p] + 2) % 1000003;
            double got[3] = {(double)f.n, (double)n_pos, (double)code};
            near_all("assignment", got, get_f("assign_%d_%d", i, center).v, 3, 0);
        }
        free(match);
        free(box);
    }
}

/* Cuts (3, locations, C) into levels (3,h,w,C), or puts the levels together again. */
static void cut(const fcos *f, float *all, int C, bool reg, bool gradient, bool join)
{
    for (int l = 0; l < FPN_LEVELS; l++)
        for (int b = 0; b < 3; b++) {
            const fcos_level *v = &f->level[l];
            size_t n = (size_t)v->h * (size_t)v->w * (size_t)C;
            float *level = (reg ? gradient ? v->d_reg : v->reg : gradient ? v->d_cls : v->cls) + (size_t)b * n;
            float *here = all + (b * f->n + v->first) * C;
            memcpy(join ? here : level, join ? level : here, n * sizeof(float));
        }
}

static void compare_detections(fcos *f, const float *scale, int K, int H, int W)
{
    detection *d = malloc(sizeof *d * 2 * FPN_LEVELS * DETECT_TOP);
    for (int b = 0; b < 3; b++) {
        int n = detect_nms(d, detect_candidates(f, b, scale, 0.3f, H, W, d), 0.5f, 40);
        ref r = get_f("detect_%d_%d", K, b);
        EXPECT(r.n == 6 * n, "%d detections, wanted %d", n, r.n / 6);
        for (int i = 0; i < n && 6 * i < r.n; i++) {
            double got[6] = {d[i].box[0], d[i].box[1], d[i].box[2], d[i].box[3], d[i].score, d[i].cls};
            near_all("detection", got, r.v + 6 * i, 6, 1e-4);
        }
    }
    free(d);
}

static void fcos_losses(void)
{
    for (int K = 1; K <= 3; K += 2) {
        enum { SIZE = 256 };
        const float scale[FPN_LEVELS] = {1.0f, 0.5f, 1.25f, 2.0f, 0.75f};
        float d_scale[FPN_LEVELS];
        double sums[3];
        fcos f;
        fcos_grids(&f, SIZE, SIZE, K);
        lcg = 30 + (uint32_t)K;
        float *first = random_boxes(4, SIZE, SIZE), *second = random_boxes(7, SIZE, SIZE), box[44];
        memcpy(box, first, sizeof(float) * 16);
        memcpy(box + 16, second, sizeof(float) * 28);
        int32_t off[4] = {0, 4, 4, 11}, cls[11], *match = malloc(sizeof *match * 3 * (size_t)f.n);
        for (int i = 0; i < 11; i++) cls[i] = below(K);
        float *z = many(3 * f.n * K, 8), *raw = many(3 * f.n * 5, 4);
        for (int l = 0; l < FPN_LEVELS; l++) {
            fcos_level *v = &f.level[l];
            size_t n = 3 * (size_t)v->h * (size_t)v->w;
            v->cls = calloc(n * (size_t)K, sizeof(float)), v->d_cls = calloc(n * (size_t)K, sizeof(float));
            v->reg = calloc(n * 5, sizeof(float)), v->d_reg = calloc(n * 5, sizeof(float));
        }
        cut(&f, z, K, false, false, false);
        cut(&f, raw, 5, true, false, false);
        for (int b = 0; b < 3; b++) fcos_assign(&f, box + 4 * off[b], off[b + 1] - off[b], K == 3, match + b * f.n);
        int64_t n_pos = fcos_loss(&f, 3, match, off, box, cls, scale, d_scale, 1.0, sums);
        double got[4] = {sums[0] / (double)n_pos, sums[1] / (double)n_pos, sums[2] / (double)n_pos, (double)n_pos}, ds[FPN_LEVELS];
        near_all("fcos", got, get_f("fcos_%d", K, 0).v, 4, 1e-6);
        compare_detections(&f, scale, K, SIZE, SIZE);
        cut(&f, z, K, false, true, true);
        cut(&f, raw, 5, true, true, true);
        check_gradient("fcos cls", z, 3 * f.n * K, get_f("fcos_%d_cls", K, 0));
        check_gradient("fcos reg", raw, 3 * f.n * 5, get_f("fcos_%d_reg", K, 0));
        for (int l = 0; l < FPN_LEVELS; l++) ds[l] = d_scale[l];
        near_all("fcos scale", ds, get_f("fcos_%d_scale", K, 0).v, FPN_LEVELS, 1e-5);
        for (int l = 0; l < FPN_LEVELS; l++) {
            free(f.level[l].cls), free(f.level[l].d_cls), free(f.level[l].reg), free(f.level[l].d_reg);
        }
        free(first), free(second), free(match), free(z), free(raw);
    }
}

static void giou(void)
{
    enum { N = 30 };
    double loss[N], grad[4 * N];
    lcg = 40;
    float *a = random_boxes(N, 64, 64), *b = random_boxes(N, 64, 64);
    for (int i = 0; i < N; i++) {
        double x[4], y[4];
        for (int k = 0; k < 4; k++) x[k] = a[4 * i + k], y[k] = b[4 * i + k];
        loss[i] = fcos_giou(x, y, grad + 4 * i);
    }
    near_all("giou", loss, get("giou").v, N, 1e-6);
    near_all("giou gradient", grad, get("giou_gradient").v, 4 * N, 1e-4);
    free(a);
    free(b);
}

/* ---- metrics -------------------------------------------------------------------------------------------------------------------- */

static metric *new_metric(enum task_kind kind, int K)
{
    task t = {.spec = {.name = "t", .kind = kind, .K = K, .max_boxes = 100}};
    metric *m = NULL;
    EXPECT_OK(metric_init(&m, &t));
    return m;
}

/* The numbers of a confusion matrix, row by row. */
static double cells[64];
static int n_cells;
static void read_cells(void *arg, const char *csv)
{
    (void)arg;
    for (const char *p = strncmp(csv, "true", 4) == 0 ? NULL : strchr(csv, ','); p; p = strchr(p + 1, ','))
        if (n_cells < 64) cells[n_cells++] = atof(p + 1);
}

static void class_scores(void)
{
    for (int K = 2; K <= 4; K += 2) {
        enum { N = 150 };
        int y[N];
        double *p;
        metric_result r;
        metric *m = new_metric(TASK_CLASSIFICATION, K);
        lcg = 50 + (uint32_t)K;
        for (int i = 0; i < N; i++) y[i] = below(K);
        for (int i = 0; i < N; i++) {
            EXPECT_OK(metric_new_record(m, i, (uint64_t)i, 1 + K, &p));
            p[0] = y[i];
            for (int k = 0; k < K; k++) p[1 + k] = below(16) / 16.0 + (k == y[i] ? 0.25 : 0);
        }
        EXPECT_OK(metric_finish(m, 0, 0, &r));
        ref want = get_f("metric_class_%d", K, 0);
        double got[7] = {0};
        for (int i = 0; i < r.n && i < 7; i++) got[i] = r.value[i].value;
        near_all("class scores", got, want.v, 3, 1e-8);
        if (K > 2) near_all("AUROC per class", got + 3, want.v + 3, K, 1e-8);
        double more[10], *at = more; /* f1, average precision and that of each class, recall of each class */
        for (int i = K > 2 ? 3 + K : 3; i < r.n; i++) *at++ = r.value[i].value;
        want = get_f("metric_class_more_%d", K, 0);
        near_all("F1, average precision", more, want.v, 2, 1e-8);
        if (K > 2) near_all("average precision per class", more + 2, want.v + 2, K, 1e-8);
        near_all("recall per class", more + (K > 2 ? 2 + K : 2), want.v + 2 + K, K, 1e-8);
        n_cells = 0;
        EXPECT_OK(metric_confusion(m, read_cells, NULL));
        EXPECT(n_cells == K * K, "%d cells", n_cells);
        near_all("confusion matrix", cells, get_f("metric_confusion_%d", K, 0).v, K * K, 0);
        EXPECT(r.score == got[0] && strcmp(r.value[2].name, "auroc") == 0, "score %g, third value %s", r.score, r.value[2].name);
        metric_free(m);
    }
}

static void label_scores(void)
{
    enum { N = 120, K = 3 };
    int y[N * K];
    double *p, got[9];
    metric_result r;
    metric *m = new_metric(TASK_MULTILABEL, K);
    lcg = 60;
    for (int i = 0; i < N * K; i++) y[i] = below(3) - 1;
    for (int i = 0; i < N; i++) {
        EXPECT_OK(metric_new_record(m, i, 7, 2 * K, &p));
        for (int k = 0; k < K; k++) p[k] = y[i * K + k], p[K + k] = below(32) / 32.0;
    }
    EXPECT_OK(metric_finish(m, 0, 0, &r));
    for (int i = 0; i < 9; i++) got[i] = r.value[i].value;
    near_all("label scores", got, get("metric_labels").v, 5, 1e-8);
    near_all("average precision of labels", got + 5, get("metric_labels_more").v, 4, 1e-8);
    EXPECT(r.n_cases == 1 && r.n_samples == N, "%lld cases, %lld samples", (long long)r.n_cases, (long long)r.n_samples);
    metric_free(m);
}

static void disc(uint8_t *mask, int h, int w, int x, int y, int r, uint8_t k)
{
    for (int i = 0; i < h; i++)
        for (int j = 0; j < w; j++)
            if ((j - x) * (j - x) + (i - y) * (i - y) <= r * r) mask[i * w + j] = k;
}

static void surfaces(void)
{
    static uint8_t mask[2][68 * 68];
    ref want = get("metric_surfaces");
    surface_work *s;
    double got[80];
    int n_both = 0;
    EXPECT_OK(surface_open(&s));
    lcg = 80;
    for (int c = 0; c < 40; c++) {
        int h = 8 + below(60), w = 8 + below(60);
        double step[2] = {1, 1};
        memset(mask, 0, sizeof mask);
        for (int n = below(7); n > 0; n--) {
            int which = below(3), k = 1 + below(2), x = below(w), y = below(h), r = below(12);
            for (int m = 0; m < 2; m++)
                if (which != 1 - m) disc(mask[m], h, w, x + 2 * m * (c % 3), y, r, (uint8_t)k);
        }
        memset(mask[1] + below(h) * w, IGNORE_MASK, (size_t)w);
        if (c % 2) step[0] = 0.25 + below(8) / 4.0, step[1] = 0.25 + below(8) / 4.0;
        for (int k = 1; k <= 2; k++) {
            double *d = &got[2 * c + k - 1];
            EXPECT_OK(surface_hd95(s, mask[0], mask[1], h, w, k, step, d));
            n_both += !isnan(*d);
            if (isnan(*d)) *d = -1;
        }
    }
    near_all("HD95", got, want.v, 80, 1e-6);
    EXPECT(want.n == 80 && n_both > 25 && n_both < 75, "%d of 80 have a class in both masks", n_both);
    surface_close(s);
}

typedef struct row {
    double v[6];
    int at;
} row;
static int best_first(const void *pa, const void *pb)
{
    const row *a = pa, *b = pb;
    return a->v[4] != b->v[4] ? (a->v[4] > b->v[4] ? -1 : 1) : a->at - b->at;
}

static void box_scores(void)
{
    enum { K = 3 };
    metric_result r;
    metric *m = new_metric(TASK_DETECTION, K);
    lcg = 70;
    for (int i = 0; i < 25; i++) {
        int G = below(6), D = 0, cls[8];
        row det[64];
        float *gt = random_boxes(G, 64, 64);
        for (int g = 0; g < G; g++) cls[g] = below(K);
        for (int g = 0; g < G; g++)
            for (int n = 1 + below(2); n > 0; n--) {
                for (int k = 0; k < 4; k++) det[D].v[k] = (double)gt[4 * g + k] + (u() - 0.5) * 8;
                det[D].v[4] = below(64) / 64.0;
                det[D].v[5] = u() < 0.9 ? cls[g] : below(K);
                D++;
            }
        int extra = below(4);
        float *more = random_boxes(extra, 64, 64);
        for (int e = 0; e < extra; e++, D++) {
            for (int k = 0; k < 4; k++) det[D].v[k] = more[4 * e + k];
            det[D].v[4] = below(64) / 64.0;
            det[D].v[5] = below(K);
        }
        for (int d = 0; d < D; d++) det[d].at = d;
        qsort(det, (size_t)D, sizeof *det, best_first);
        double *p;
        EXPECT_OK(metric_new_record(m, i, (uint64_t)i, 2 + 6 * D + 5 * G, &p));
        *p++ = D, *p++ = G;
        for (int d = 0; d < D; d++)
            for (int k = 0; k < 6; k++) *p++ = det[d].v[k];
        for (int g = 0; g < G; g++) {
            for (int k = 0; k < 4; k++) *p++ = gt[4 * g + k];
            *p++ = cls[g];
        }
        free(gt);
        free(more);
    }
    EXPECT_OK(metric_finish(m, 0, 0, &r));
    double got[5];
    for (int i = 0; i < 5; i++) got[i] = r.value[i].value;
    near_all("average precision", got, get("metric_boxes").v, 5, 1e-7);
    metric_free(m);
}

int main(int argc, char **argv)
{
    path = argc > 1 ? argv[1] : "ref/task.txt";
    RUN(image_losses);
    RUN(dense_loss);
    RUN(assignment);
    RUN(fcos_losses);
    RUN(giou);
    RUN(class_scores);
    RUN(label_scores);
    RUN(surfaces);
    RUN(box_scores);
    DONE();
}
