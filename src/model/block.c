/* block: one Swin block, forward and backward. V1: x + branch(norm(x)); V2: x + norm(branch(x)). What backward can recompute in one
 * cheap pass (norm outputs, attention probabilities, GELU) is not stored. */
#include "swin_internal.h"

#include <string.h>

enum { MLP_ROWS = 1024 };

static void at_least(int64_t *n, int64_t want)
{
    if (*n < want) *n = want;
}

void block_need(scratch_need *n, const window_grid *g, int B, int C, int heads)
{
    int64_t Rw = (int64_t)B * g->n_windows * g->N, R = (int64_t)B * g->H * g->W;
    int T = (2 * g->ws - 1) * (2 * g->ws - 1);
    at_least(&n->a, Rw * C);
    at_least(&n->qkv, Rw * 3 * C);
    at_least(&n->mid, (R < MLP_ROWS ? R : MLP_ROWS) * 4 * C);
    at_least(&n->rows, Rw);
    at_least(&n->qkv_b, 3 * C);
    at_least(&n->bias, (int64_t)heads * g->N * g->Np);
    at_least(&n->part, window_scratch(g, heads));
    at_least(&n->C, C);
    if (n->heads < heads) n->heads = heads;
    if (n->T < T) n->T = T;
}

void block_place(block_run *k, float *x, float *y, const block_run *shared, arena *a)
{
    const window_grid *g = k->grid;
    int64_t R = (int64_t)k->B * k->H * k->W, Rw = (int64_t)k->B * g->n_windows * g->N, C = k->C;
    int T = (2 * g->ws - 1) * (2 * g->ws - 1);
    bool own = !shared;
    k->x = x;
    k->y = y;
    k->attn.sample = arena_take(a, sizeof(int32_t) * (size_t)k->B);
    k->mlp.sample = arena_take(a, sizeof(int32_t) * (size_t)k->B);
    k->x2 = !k->train ? x : own ? ARENA_F32(a, R * C) : shared->x2;
    k->qkv = own ? ARENA_F32(a, Rw * 3 * C) : shared->qkv;
    k->o = own ? ARENA_F32(a, Rw * C) : shared->o;
    k->h = own ? ARENA_F32(a, R * 4 * C) : shared->h;
    k->stats1 = own ? ARENA_F32(a, Rw * 2) : shared->stats1;
    k->stats2 = own ? ARENA_F32(a, R * 2) : shared->stats2;
    k->bias = own ? ARENA_F32(a, (int64_t)k->heads * g->N * g->Np) : shared->bias;
    if (k->version == 1) return;
    k->a = own ? ARENA_F32(a, Rw * C) : shared->a;
    k->m = own ? ARENA_F32(a, R * C) : shared->m;
    k->table = own ? ARENA_F32(a, T * k->heads) : shared->table;
    k->tau = own ? ARENA_F32(a, k->heads) : shared->tau;
}

/* Which samples take part: drawn per sample and branch, row mode, kept ones scaled by 1/keep (arXiv 1603.09382). */
static void branch_draw(branch *br, const rng_key *key, int B, float drop, int number)
{
    bool on = key && drop > 0.0f;
    br->n = 0;
    br->scale = on ? 1.0f / (1.0f - drop) : 1.0f;
    for (int b = 0; b < B; b++) {
        if (on) {
            rng r = rng_open(key[b], RNG_DROP_PATH, (uint32_t)number);
            if (rng_uniform(&r) < drop) continue;
        }
        br->sample[br->n++] = b;
    }
}

/* Row map of a branch: tokens of the taking samples' windows, or their pixels; NULL where that is the identity. */
static const int32_t *branch_rows(const block_run *k, const branch *br, bool windows)
{
    int32_t *rows = k->s->rows, pixels = k->H * k->W;
    int per = windows ? k->grid->n_windows * k->grid->N : pixels;
    if (!windows && br->n == k->B) return NULL;
    for (int i = 0; i < br->n; i++)
        for (int r = 0; r < per; r++) {
            int32_t p = windows ? k->grid->src[r] : r;
            rows[(int64_t)i * per + r] = p < 0 ? -1 : br->sample[i] * pixels + p;
        }
    return rows;
}

/* Samples that sit a branch out are copied. */
static void pass_by(float *y, const float *x, const branch *br, int B, int64_t per)
{
    if (y == x) return;
    for (int b = 0, i = 0; b < B; b++) {
        if (i < br->n && br->sample[i] == b) i++;
        else memcpy(y + b * per, x + b * per, sizeof(float) * (size_t)per);
    }
}

/* Bias of the qkv layer; V2 zeroes the key third (it cannot matter to cosine attention but for padding). */
static const float *qkv_bias(const block_run *k, const params *t, const float *w)
{
    const float *b = PW(t, w, k->p.qkv_b);
    if (k->version == 1) return b;
    memcpy(k->s->qkv_b, b, sizeof(float) * (size_t)(3 * k->C));
    memset(k->s->qkv_b + k->C, 0, sizeof(float) * (size_t)k->C);
    return k->s->qkv_b;
}

static void attention_forward(block_run *k, const params *t, const float *w)
{
    const window_grid *g = k->grid;
    scratch *s = k->s;
    int64_t C = k->C, n = (int64_t)k->attn.n * g->n_windows, R = n * g->N;
    const int32_t *rows = branch_rows(k, &k->attn, true);
    const float *norm_w = PW(t, w, k->p.norm1_w), *norm_b = PW(t, w, k->p.norm1_b);
    if (k->version == 1) layernorm_gather_forward(s->a, k->stats1, k->x, rows, norm_w, norm_b, R, C, SWIN_EPS);
    else rows_gather(s->a, k->x, rows, 1.0f, R, C);
    linear_forward(k->qkv, s->a, PW(t, w, k->p.qkv_w), qkv_bias(k, t, w), R, 3 * C, C);
    position_forward(k, t, w);
    window_attention_forward(k->o, k->qkv, k->bias, k->version == 2 ? k->tau : NULL, g, n, k->heads, k->C / k->heads);
    if (k->version == 1) {
        linear_forward(s->b, k->o, PW(t, w, k->p.proj_w), NULL, R, C, C);
        rows_scatter(k->x2, k->x, s->b, PW(t, w, k->p.proj_b), rows, k->attn.scale, R, C);
    } else {
        linear_forward(k->a, k->o, PW(t, w, k->p.proj_w), PW(t, w, k->p.proj_b), R, C, C);
        layernorm_scatter_forward(k->x2, k->stats1, k->a, rows, norm_w, norm_b, k->attn.scale, k->x, R, C, SWIN_EPS);
    }
    pass_by(k->x2, k->x, &k->attn, k->B, (int64_t)k->H * k->W * C);
}

/* The MLP runs over fixed runs of rows, so that its four-fold wider middle stays in the cache and needs little room. */
static int64_t run_length(int64_t R, int64_t r0) { return R - r0 < MLP_ROWS ? R - r0 : MLP_ROWS; }

/* Rows r0 .. r0 + n. again: only what backward needs and forward did not keep; V2 writes the same output once more on the way. */
static void mlp_rows_forward(block_run *k, const params *t, const float *w, const int32_t *rows, int64_t r0, int64_t n, bool again)
{
    scratch *s = k->s;
    int64_t C = k->C, at = rows ? 0 : r0, keep = k->train && !k->remake ? r0 : 0;
    const float *norm_w = PW(t, w, k->p.norm2_w), *norm_b = PW(t, w, k->p.norm2_b);
    const int32_t *map = rows ? rows + r0 : NULL;
    const float *x2 = k->x2 + at * C, *in = s->a;
    float *h = k->h + keep * 4 * C, *m = k->version == 1 ? s->b : k->m + keep * C, *stats = k->stats2 + 2 * keep;
    if (k->version == 1) layernorm_gather_forward(s->a, stats, x2, map, norm_w, norm_b, n, C, SWIN_EPS);
    else if (rows) rows_gather(s->a, x2, map, 1.0f, n, C);
    else in = x2;
    linear_forward(h, in, PW(t, w, k->p.fc1_w), NULL, n, 4 * C, C);
    gelu_bias_forward(s->c, h, PW(t, w, k->p.fc1_b), n, 4 * C);
    if (again && k->version == 1) return;
    linear_forward(m, s->c, PW(t, w, k->p.fc2_w), k->version == 1 ? NULL : PW(t, w, k->p.fc2_b), n, C, 4 * C);
    if (k->version == 1) rows_scatter(k->y + at * C, x2, m, PW(t, w, k->p.fc2_b), map, k->mlp.scale, n, C);
    else layernorm_scatter_forward(k->y + at * C, stats, m, map, norm_w, norm_b, k->mlp.scale, x2, n, C, SWIN_EPS);
}

static void mlp_forward(block_run *k, const params *t, const float *w)
{
    int64_t R = (int64_t)k->mlp.n * k->H * k->W;
    const int32_t *rows = branch_rows(k, &k->mlp, false);
    for (int64_t r0 = 0; r0 < R; r0 += MLP_ROWS) mlp_rows_forward(k, t, w, rows, r0, run_length(R, r0), false);
    pass_by(k->y, k->x2, &k->mlp, k->B, (int64_t)k->H * k->W * k->C);
}

void block_forward(block_run *k, const params *t, const float *w, const rng_key *key)
{
    branch_draw(&k->attn, key, k->B, k->drop, 2 * k->id);
    branch_draw(&k->mlp, key, k->B, k->drop, 2 * k->id + 1);
    attention_forward(k, t, w);
    mlp_forward(k, t, w);
}

static void mlp_backward(block_run *k, const params *t, const float *w, float *g, float *d)
{
    scratch *s = k->s;
    int64_t C = k->C, R = (int64_t)k->mlp.n * k->H * k->W;
    const int32_t *rows = branch_rows(k, &k->mlp, false);
    const float *norm_w = PW(t, w, k->p.norm2_w), *norm_b = PW(t, w, k->p.norm2_b);
    float *dnorm_w = PW(t, g, k->p.norm2_w), *dnorm_b = PW(t, g, k->p.norm2_b);
    for (int64_t r0 = 0; r0 < R; r0 += MLP_ROWS) {
        int64_t n = run_length(R, r0), at = rows ? 0 : r0, keep = k->remake ? 0 : r0;
        const int32_t *map = rows ? rows + r0 : NULL;
        const float *x2 = k->x2 + at * C, *h = k->h + keep * 4 * C, *dm = s->b, *in = s->a;
        float *dx = d + at * C, *stats = k->stats2 + 2 * keep;
        if (k->remake) mlp_rows_forward(k, t, w, rows, r0, n, true);
        if (k->version == 2) layernorm_scatter_backward(s->b, dnorm_w, dnorm_b, dx, k->m + keep * C, stats, map, norm_w, k->mlp.scale, n, C);
        else if (rows || k->mlp.scale != 1.0f) rows_gather(s->b, dx, map, k->mlp.scale, n, C);
        else dm = dx;
        linear_backward(s->d, false, NULL, NULL, dm, NULL, PW(t, w, k->p.fc2_w), n, C, 4 * C);
        gelu_both(s->c, s->d, h, n * 4 * C);
        linear_backward(NULL, false, PW(t, g, k->p.fc2_w), PW(t, g, k->p.fc2_b), dm, s->c, NULL, n, C, 4 * C);
        if (k->version == 1) layernorm_gather_forward(s->a, stats, x2, map, norm_w, norm_b, n, C, SWIN_EPS);
        else if (rows) rows_gather(s->a, x2, map, 1.0f, n, C);
        else in = x2;
        linear_backward(s->b, false, PW(t, g, k->p.fc1_w), PW(t, g, k->p.fc1_b), s->d, in, PW(t, w, k->p.fc1_w), n, 4 * C, C);
        if (k->version == 1) layernorm_gather_backward(dx, dnorm_w, dnorm_b, s->b, x2, stats, map, norm_w, n, C);
        else rows_scatter(dx, dx, s->b, NULL, map, 1.0f, n, C);
    }
}

static void attention_backward(block_run *k, const params *t, const float *w, float *g, float *d)
{
    const window_grid *grid = k->grid;
    scratch *s = k->s;
    int64_t C = k->C, n = (int64_t)k->attn.n * grid->n_windows, R = n * grid->N;
    if (R == 0) return;
    const int32_t *rows = branch_rows(k, &k->attn, true);
    const float *norm_w = PW(t, w, k->p.norm1_w), *norm_b = PW(t, w, k->p.norm1_b);
    float *dnorm_w = PW(t, g, k->p.norm1_w), *dnorm_b = PW(t, g, k->p.norm1_b), dtau[k->heads];
    if (k->version == 1) rows_gather(s->b, d, rows, k->attn.scale, R, C);
    else layernorm_scatter_backward(s->b, dnorm_w, dnorm_b, d, k->a, k->stats1, rows, norm_w, k->attn.scale, R, C);
    linear_backward(s->a, false, PW(t, g, k->p.proj_w), PW(t, g, k->p.proj_b), s->b, k->o, PW(t, w, k->p.proj_w), R, C, C);
    window_attention_backward(s->c, s->dbias, dtau, s->a, k->qkv, k->bias, k->version == 2 ? k->tau : NULL, grid, n, k->heads,
                              k->C / k->heads, s->part);
    position_backward(k, t, w, g, s->dbias, dtau);
    if (k->version == 1) layernorm_gather_forward(s->a, k->stats1, k->x, rows, norm_w, norm_b, R, C, SWIN_EPS);
    else rows_gather(s->a, k->x, rows, 1.0f, R, C);
    float *db = PW(t, g, k->p.qkv_b);
    if (k->version == 2) {
        db = s->qkv_b;
        memset(db, 0, sizeof(float) * (size_t)(3 * C));
    }
    linear_backward(s->b, false, PW(t, g, k->p.qkv_w), db, s->c, s->a, PW(t, w, k->p.qkv_w), R, 3 * C, C);
    if (k->version == 2)
        for (int64_t c = 0; c < 3 * C; c++)
            if (c < C || c >= 2 * C) PW(t, g, k->p.qkv_b)[c] += db[c];
    if (k->version == 1) layernorm_gather_backward(d, dnorm_w, dnorm_b, s->b, k->x, k->stats1, rows, norm_w, R, C);
    else rows_scatter(d, d, s->b, NULL, rows, 1.0f, R, C);
}

void block_backward(block_run *k, const params *t, const float *w, float *g, float *d)
{
    if (k->remake) attention_forward(k, t, w); /* of the branches that forward drew: the same calls on the same bits */
    mlp_backward(k, t, w, g, d);
    attention_backward(k, t, w, g, d);
}
