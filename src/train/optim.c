/* optim: learning-rate schedule, global-norm clipping, AdamW (Loshchilov & Hutter, ICLR 2019) and the moving average of the weights. */
#include "train_internal.h"

#include <math.h>
#include <string.h>

/* Linear warm-up over `warmup` steps, then a half cosine from lr to min_lr at the last step. */
double schedule_lr(const job *j, int64_t step)
{
    double lr = j->optim.lr, low = j->optim.min_lr;
    int64_t warmup = j->optim.warmup, rest = j->train.steps - warmup;
    if (step < warmup) return lr * (double)(step + 1) / (double)warmup;
    double done = rest > 0 ? (double)(step - warmup) / (double)rest : 1.0;
    if (done > 1) done = 1;
    return low + 0.5 * (lr - low) * (1.0 + cos(M_PI * done));
}

/* Sum of squares in a fixed order: lanes of 64, then chunks, whatever the thread count. */
static double sum_squares(const float *x, int64_t n)
{
    double total = 0;
    for (int64_t i0 = 0; i0 < n; i0 += 4096) {
        int64_t i1 = i0 + 4096 < n ? i0 + 4096 : n;
        double lane[16] = {0};
        int64_t i = i0;
        for (; i + 16 <= i1; i += 16)
            for (int k = 0; k < 16; k++) lane[k] += (double)x[i + k] * (double)x[i + k];
        for (int k = 0; i < i1; i++, k++) lane[k] += (double)x[i] * (double)x[i];
        for (int k = 0; k < 16; k++) total += lane[k];
    }
    return total;
}

status optim_norm(trainer *t, double *norm)
{
    memset(t->norms, 0, sizeof *t->norms * (size_t)t->pt.n);
#pragma omp parallel for schedule(dynamic)
    for (int k = 0; k < t->n_local; k++) {
        const param *p = &t->pt.p[t->local[k]];
        /* a tensor on several ranks is counted by one of them: the sum over ranks then has one addend and is exact */
        if (lead_of(t, p->block) == t->rank) t->norms[t->local[k]] = sum_squares(t->g + p->off, p->n);
    }
    TRY(comm_sum_f64(t->world, t->norms, t->pt.n), "gradient norm");
    double total = 0;
    for (int i = 0; i < t->pt.n; i++) total += t->norms[i];
    *norm = sqrt(total);
    CHECK(isfinite(*norm), ST_NUMERIC, "the gradient norm is not finite");
    return OK;
}

enum { PIECE = 16384 }; /* elements per piece of the update: all threads see the same pieces */

/* One piece; `a` (the moving average) may be NULL. Inlined, so that each of the two forms is a loop without branches. */
static inline __attribute__((always_inline)) void update_piece(float *restrict w, float *restrict g, float *restrict m, float *restrict v,
                                                               float *restrict a, int64_t n, const adamw *o)
{
    const float b1 = (float)o->beta1, b2 = (float)o->beta2, d1 = (float)(1.0 - o->beta1), d2 = (float)(1.0 - o->beta2);
    const float scale = o->scale, keep = o->keep, size = o->size, root = o->root, e = (float)o->eps, hold = (float)o->ema;
    const float take = (float)(1.0 - o->ema);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * scale, mi = b1 * m[i] + d1 * gi, vi = b2 * v[i] + d2 * gi * gi;
        float wi = w[i] * keep - size * mi / (sqrtf(vi) * root + e);
        m[i] = mi;
        v[i] = vi;
        w[i] = wi;
        if (a) a[i] = hold * a[i] + take * wi;
        g[i] = 0;
    }
}

void adamw_update(float *w, float *g, float *m, float *v, float *ema, int64_t n, const adamw *o)
{
#pragma omp parallel for schedule(static) if (n > PIECE)
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t k = n - i < PIECE ? n - i : PIECE;
        if (ema) update_piece(w + i, g + i, m + i, v + i, ema + i, k, o);
        else update_piece(w + i, g + i, m + i, v + i, NULL, k, o);
    }
}

adamw adamw_at(double lr, double decay, double beta1, double beta2, double eps, int64_t step)
{
    double c1 = 1.0 - pow(beta1, (double)(step + 1)), c2 = 1.0 - pow(beta2, (double)(step + 1));
    return (adamw){.beta1 = beta1, .beta2 = beta2, .eps = eps, .scale = 1.0f, .keep = (float)(1.0 - lr * decay), .size = (float)(lr / c1),
                   .root = (float)(1.0 / sqrt(c2))};
}

status optim_update(trainer *t, double lr)
{
    const job *j = &t->job;
    double ema = j->train.ema, clip = j->optim.clip;
    if (ema > 0) { /* young averages follow faster */
        double young = (1.0 + (double)t->step) / (10.0 + (double)t->step);
        if (young < ema) ema = young;
    }
    for (int k = 0; k < t->n_local; k++) {
        const param *p = &t->pt.p[t->local[k]];
        /* the head of a suspended task rests; decoders without a living task still decay like everything else */
        if (p->block >= BLOCK_HEAD0 && t->ts[p->block - BLOCK_HEAD0].suspended) continue;
        if (!held(p) || (p->block == BLOCK_ENCODER && t->frozen)) continue;
        adamw o = adamw_at(lr, p->decay ? j->optim.weight_decay : 0, j->optim.beta1, j->optim.beta2, j->optim.eps, adopt_age(t, p->block));
        if (clip > 0 && t->grad_norm > clip) o.scale = (float)(clip / t->grad_norm);
        o.ema = ema;
        int64_t from, to;
        node_state_share(t, p, &from, &to);
        int64_t at = p->off + from;
        memset(t->g + p->off, 0, sizeof *t->g * (size_t)from); /* as the update does with what it takes */
        memset(t->g + p->off + to, 0, sizeof *t->g * (size_t)(p->n - to));
        if (from < to) adamw_update(t->w + at, t->g + at, t->m + at, t->v + at, t->ema ? t->ema + at : NULL, to - from, &o);
    }
    return node_state_spread(t);
}
