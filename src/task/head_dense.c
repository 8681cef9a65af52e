/* head_dense: 3x3 convolution from the pixel embedding to class logits, and masks on the grid of the stored image. */
#include "task_internal.h"

#include <math.h>
#include <string.h>

enum { P_WEIGHT, P_BIAS };

static status init(task *t, const shared *sh, params *pt)
{
    (void)sh;
    int64_t K = t->spec.K, weight[4] = {K, UNET_OUT, 3, 3};
    TRY(head_param(t, pt, "weight", 4, weight, INIT_TRUNC_NORMAL, 0.02f, true), "segmentation head");
    return head_param(t, pt, "bias", 1, &K, INIT_ZERO, 0, false);
}

static conv plan(const task_spec *s)
{
    int size[1][2] = {{s->H, s->W}};
    return conv_plan(s->batch, 1, size, UNET_OUT, s->K, 1);
}

static void place(task_run *r, const shared *sh, arena *a)
{
    (void)sh;
    const task_spec *s = &r->spec;
    int64_t P = (int64_t)s->H * s->W;
    r->conv_seg = plan(s);
    r->out = ARENA_F32(a, s->batch * P * s->K);
    r->d_out = r->out;
    r->scratch = ARENA_F32(a, conv_scratch(&r->conv_seg, r->train));
    r->work = arena_take(a, sizeof(double) * (size_t)loss_dense_work(s->batch, P, s->K));
}

static void forward(task_run *r, const params *pt, const float *w, const batch *b, bool train)
{
    (void)b, (void)train;
    conv_in in = {.x = unet_out(r->seg)->x, .C = UNET_OUT};
    conv_forward(&r->conv_seg, r->out, &in, 1, PW(pt, w, r->param[P_WEIGHT]), PW(pt, w, r->param[P_BIAS]), r->scratch);
}

static double loss(task_run *r, const batch *b, int64_t *n_valid, double parts[4])
{
    const task_spec *s = &r->spec;
    int64_t P = (int64_t)s->H * s->W;
    float share = s->weight * (float)r->share;
    double value = loss_dense(r->out, r->train ? share : 0, b->mask, b->n_valid, P, s->K, r->work, n_valid, parts);
    if (r->train && (share == 0 || b->n_valid < s->batch)) { /* what took no part has no gradient */
        int64_t from = share == 0 ? 0 : b->n_valid;
        memset(r->d_out + from * P * s->K, 0, sizeof(float) * (size_t)((s->batch - from) * P * s->K));
    }
    return value;
}

static void backward(task_run *r, const params *pt, const float *w, float *g)
{
    feature *pixels = unet_out(r->seg);
    conv_in in = {.x = pixels->x, .C = UNET_OUT};
    conv_out out = {.d = pixels->d, .C = UNET_OUT, .add = true};
    conv_backward_weight(&r->conv_seg, PW(pt, g, r->param[P_WEIGHT]), PW(pt, g, r->param[P_BIAS]), r->d_out, &in, 1, r->scratch);
    conv_backward_input(&r->conv_seg, &out, 1, r->d_out, PW(pt, w, r->param[P_WEIGHT]), r->scratch);
}

static double flops(const task_spec *s, const shared *sh)
{
    (void)sh;
    conv c = plan(s);
    return conv_flops(&c);
}

/* Samples with a pixel that counts. */
static double labels(task_run *r, const batch *b)
{
    int64_t n = 0, P = (int64_t)b->H * b->W;
    for (int64_t i = 0; i < b->n_valid; i++) {
        const uint8_t *y = b->mask + i * P;
        int64_t p = 0;
        while (p < P && !pixel_counts(y[p], r->spec.K)) p++;
        n += p < P;
    }
    return (double)n;
}

const head_ops head_dense = {init, place, forward, loss, backward, flops, labels};

/* ---- masks on the stored grid ------------------------------------------------------------------------------------------------ */

/* Two neighbours on an axis of n cells and the weight of the second, for centre coordinate x; held at the edges. */
static void neighbours(float x, int n, int *i0, int *i1, float *f)
{
    x -= 0.5f;
    x = fminf(fmaxf(x, 0.0f), (float)(n - 1));
    *i0 = (int)x;
    *i1 = *i0 + 1 < n ? *i0 + 1 : *i0;
    *f = x - (float)*i0;
}

/* Softmax of K values, in place. */
static void softmax(float *x, int K)
{
    float top = x[0], sum = 0;
    for (int k = 1; k < K; k++) top = fmaxf(top, x[k]);
    for (int k = 0; k < K; k++) sum += x[k] = expf(x[k] - top);
    for (int k = 0; k < K; k++) x[k] /= sum;
}

void task_mask_of(const float *z, int H, int W, int K, const view *v, int h, int w, uint8_t *out, float *p)
{
    double det = (double)v->ax * v->by - (double)v->bx * v->ay;
    if (det == 0) det = 1; /* a view that maps all pixels to a line has no inverse; any mask is as good */
    double ixx = v->by / det, ixy = -v->bx / det, iyx = -v->ay / det, iyy = v->ax / det;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < h; i++)
        for (int j = 0; j < w; j++) {
            double xs = j + 0.5 - v->cx, ys = i + 0.5 - v->cy;
            int x0, x1, y0, y1, best = 0;
            float fx, fy, top = -INFINITY, *to = p ? p + ((int64_t)i * w + j) * K : NULL;
            neighbours((float)(ixx * xs + ixy * ys), W, &x0, &x1, &fx);
            neighbours((float)(iyx * xs + iyy * ys), H, &y0, &y1, &fy);
            const float *a = z + ((int64_t)y0 * W + x0) * K, *b = z + ((int64_t)y0 * W + x1) * K;
            const float *c = z + ((int64_t)y1 * W + x0) * K, *d = z + ((int64_t)y1 * W + x1) * K;
            for (int k = 0; k < K; k++) {
                float upper = a[k] + fx * (b[k] - a[k]), lower = c[k] + fx * (d[k] - c[k]), value = upper + fy * (lower - upper);
                if (value > top) top = value, best = k;
                if (to) to[k] = value;
            }
            out[(int64_t)i * w + j] = (uint8_t)best;
            if (to) softmax(to, K);
        }
}

void task_mask_native(const task_run *r, int image, const view *v, int h, int w, uint8_t *out)
{
    int H = r->spec.H, W = r->spec.W, K = r->spec.K;
    task_mask_of(r->out + (int64_t)image * H * W * K, H, W, K, v, h, w, out, NULL);
}
