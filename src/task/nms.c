/* nms: from the detection head's outputs to boxes: best candidates per level, non-maximum suppression per class. */
#include "task_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Is a worse than b? Ties: the later location is worse. `cls` is still location * K + class here, unique in its level. */
static bool worse(const detection *a, const detection *b) { return a->score < b->score || (a->score == b->score && a->cls > b->cls); }

/* Restores the heap (worst on top) below i. */
static void sift(detection *heap, int n, int i)
{
    for (;;) {
        int child = 2 * i + 1;
        if (child >= n) return;
        if (child + 1 < n && worse(&heap[child + 1], &heap[child])) child++;
        if (!worse(&heap[child], &heap[i])) return;
        detection t = heap[i];
        heap[i] = heap[child];
        heap[child] = t;
        i = child;
    }
}

/* Keeps the best `cap` of what is pushed. */
static int push(detection *heap, int n, int cap, detection d)
{
    if (n == cap) {
        if (worse(&heap[0], &d)) heap[0] = d, sift(heap, n, 0);
        return n;
    }
    int i = n;
    heap[n] = d;
    while (i > 0 && worse(&heap[i], &heap[(i - 1) / 2])) {
        detection t = heap[i];
        heap[i] = heap[(i - 1) / 2];
        heap[(i - 1) / 2] = t;
        i = (i - 1) / 2;
    }
    return n + 1;
}

static int best_first(const void *pa, const void *pb)
{
    const detection *a = pa, *b = pb;
    return worse(b, a) ? -1 : worse(a, b) ? 1 : 0;
}

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static void decode(detection *d, const fcos_level *v, const float *reg, int64_t p, float scale, int H, int W)
{
    static const float sign[4] = {-1, -1, 1, 1};
    float at[2] = {((float)(p % v->w) + 0.5f) * (float)v->stride, ((float)(p / v->w) + 0.5f) * (float)v->stride};
    for (int k = 0; k < 4; k++) {
        float a = fmaxf(-FCOS_MAX_LOG, fminf(FCOS_MAX_LOG, scale * reg[k])), x = at[k & 1] + sign[k] * (float)v->stride * expf(a);
        d->box[k] = fmaxf(0, fminf((float)(k & 1 ? H : W), x));
    }
}

int detect_candidates(const fcos *f, int image, const float *scale, float score_min, int H, int W, detection *heap)
{
    int total = 0, K = f->K;
    for (int l = 0; l < FPN_LEVELS; l++) {
        const fcos_level *v = &f->level[l];
        int64_t n_at = (int64_t)v->h * v->w, first = (int64_t)image * n_at;
        detection *best = heap + total;
        int n = 0;
        for (int64_t p = 0; p < n_at; p++) {
            float center = sigmoid(v->reg[(first + p) * 5 + 4]);
            for (int k = 0; k < K; k++) {
                float score = sqrtf(sigmoid(v->cls[(first + p) * K + k]) * center);
                if (score > score_min) n = push(best, n, DETECT_TOP, (detection){.score = score, .cls = (int32_t)(p * K + k)});
            }
        }
        qsort(best, (size_t)n, sizeof *best, best_first);
        for (int i = 0; i < n; i++) {
            int64_t p = best[i].cls / K;
            decode(&best[i], v, v->reg + (first + p) * 5, p, scale[l], H, W);
            best[i].cls %= K;
        }
        total += n;
    }
    return total;
}

float task_iou(const float a[4], const float b[4])
{
    float w = fminf(a[2], b[2]) - fmaxf(a[0], b[0]), h = fminf(a[3], b[3]) - fmaxf(a[1], b[1]);
    if (w <= 0 || h <= 0) return 0;
    float both = w * h;
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both);
}

/* Merge sort by score, stable: equal scores stay in level and location order. */
static void sort_scores(detection *d, int n, detection *spare)
{
    if (n < 2) return;
    int half = n / 2, i = 0, j = half, k = 0;
    sort_scores(d, half, spare);
    sort_scores(d + half, n - half, spare);
    while (i < half || j < n) {
        bool left = j >= n || (i < half && d[i].score >= d[j].score);
        spare[k++] = left ? d[i++] : d[j++];
    }
    memcpy(d, spare, sizeof *d * (size_t)n);
}

int detect_nms(detection *d, int n, float limit, int keep)
{
    detection *spare = d + n; /* the caller's buffer holds twice the candidates */
    sort_scores(d, n, spare);
    int n_kept = 0;
    for (int i = 0; i < n && n_kept < keep; i++) {
        bool covered = false;
        for (int k = 0; k < n_kept && !covered; k++) covered = d[k].cls == d[i].cls && task_iou(d[k].box, d[i].box) > limit;
        if (!covered) d[n_kept++] = d[i];
    }
    return n_kept;
}

int task_detect(const task_run *r, int image, detection *out)
{
    const task_spec *s = &r->spec;
    int n = detect_candidates(&r->fcos, image, r->scale, s->score_min, s->H, s->W, r->found);
    n = detect_nms(r->found, n, s->nms_iou, s->max_boxes);
    memcpy(out, r->found, sizeof *out * (size_t)n);
    return n;
}

void task_box_native(const view *v, int h, int w, const float box[4], float out[4])
{
    float lo[2] = {INFINITY, INFINITY}, hi[2] = {-INFINITY, -INFINITY};
    for (int c = 0; c < 4; c++) {
        float x = box[c & 1 ? 2 : 0], y = box[c & 2 ? 3 : 1];
        float at[2] = {v->ax * x + v->bx * y + v->cx, v->ay * x + v->by * y + v->cy};
        for (int k = 0; k < 2; k++) lo[k] = fminf(lo[k], at[k]), hi[k] = fmaxf(hi[k], at[k]);
    }
    float size[2] = {(float)w, (float)h};
    for (int k = 0; k < 2; k++) {
        out[k] = fmaxf(0, fminf(size[k], lo[k]));
        out[k + 2] = fmaxf(0, fminf(size[k], hi[k]));
    }
}
