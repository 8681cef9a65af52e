/* window: cutting a grid into shifted windows, position bias, and the attention inside the windows. */
#include "medley/kern.h"

#include "fastmath.h"
#include "small.h"

#include <string.h>

void window_grid_place(window_grid *g, int H, int W, int ws, int shift, arena *a)
{
    int pad_H = (H + ws - 1) / ws * ws, pad_W = (W + ws - 1) / ws * ws, N = ws * ws;
    *g = (window_grid){.H = H, .W = W, .ws = ws, .pad_H = pad_H, .pad_W = pad_W, .shift_H = ws >= pad_H ? 0 : shift,
                       .shift_W = ws >= pad_W ? 0 : shift, .n_windows = pad_H / ws * (pad_W / ws), .N = N, .Np = (N + 15) / 16 * 16};
    g->src = arena_take(a, sizeof(int32_t) * (size_t)(g->n_windows * N));
    g->kind = arena_take(a, (size_t)g->n_windows);
    g->mask = ARENA_F32(a, 4 * N * g->Np);
    if (g->src) window_grid_fill(g);
}

void window_grid_fill(const window_grid *g)
{
    int H = g->H, W = g->W, ws = g->ws, pad_H = g->pad_H, pad_W = g->pad_W, N = g->N;
    for (int wy = 0, w = 0; wy < pad_H / ws; wy++)
        for (int wx = 0; wx < pad_W / ws; wx++, w++) {
            for (int t = 0; t < N; t++) {
                int y = (wy * ws + t / ws + g->shift_H) % pad_H, x = (wx * ws + t % ws + g->shift_W) % pad_W;
                g->src[w * N + t] = y < H && x < W ? y * W + x : -1;
            }
            g->kind[w] = (uint8_t)((g->shift_H && wy == pad_H / ws - 1) | (g->shift_W && wx == pad_W / ws - 1) << 1);
        }
    memset(g->mask, 0, sizeof(float) * (size_t)(4 * N * g->Np));
    for (int kind = 1; kind < 4; kind++)
        for (int j = 0; j < N; j++)
            for (int i = 0; i < N; i++) { /* tokens before and after the seam of the roll do not see each other */
                bool rows = (kind & 1) && (j / ws < ws - g->shift_H) != (i / ws < ws - g->shift_H);
                bool cols = (kind & 2) && (j % ws < ws - g->shift_W) != (i % ws < ws - g->shift_W);
                if (rows || cols) g->mask[(kind * N + j) * g->Np + i] = -100.0f;
            }
}

/* Row of the table for query i and key j. */
static int relative_position(int i, int j, int ws)
{
    return (i / ws - j / ws + ws - 1) * (2 * ws - 1) + i % ws - j % ws + ws - 1;
}

void window_bias_forward(float *bias, const float *table, int ws, int heads, bool squash)
{
    int N = ws * ws, Np = (N + 15) / 16 * 16, T = (2 * ws - 1) * (2 * ws - 1);
#pragma omp parallel for schedule(static) if (kern_threads() > 1)
    for (int h = 0; h < heads; h++) {
        float value[T];
        for (int t = 0; t < T; t++) {
            float x = table[t * heads + h];
            value[t] = squash ? 16.0f / (1.0f + fast_exp(-x)) : x;
        }
        for (int j = 0; j < N; j++)
            for (int i = 0; i < Np; i++)
                bias[((int64_t)h * N + j) * Np + i] = i < N ? value[relative_position(i, j, ws)] : 0.0f;
    }
}

void window_bias_backward(float *dtable, const float *dbias, const float *table, int ws, int heads, bool squash)
{
    int N = ws * ws, Np = (N + 15) / 16 * 16, T = (2 * ws - 1) * (2 * ws - 1);
#pragma omp parallel for schedule(static) if (kern_threads() > 1)
    for (int h = 0; h < heads; h++) {
        float sum[T];
        memset(sum, 0, sizeof sum);
        for (int j = 0; j < N; j++)
            for (int i = 0; i < N; i++) sum[relative_position(i, j, ws)] += dbias[((int64_t)h * N + j) * Np + i];
        for (int t = 0; t < T; t++) {
            float s = squash ? 1.0f / (1.0f + fast_exp(-table[t * heads + h])) : 0.0f;
            dtable[t * heads + h] += squash ? sum[t] * 16.0f * s * (1.0f - s) : sum[t];
        }
    }
}

/* ---- attention of one window and head ------------------------------------------------------------------------------------- */

/* Scores are kept transposed, [key][query]: then maximum and sum over the keys run down the columns, VL queries per vector, and no
 * product needs more than one small transposition, of q. Where one query is left over (windows of 7 x 7: 49 = 48 + 1), it does not get
 * vectors for itself, but has its keys in them. */
typedef struct cell {
    int N, Np, d;
    int wide;                /* queries in vectors: Np, or N - 1 */
    const float *q, *k, *v;  /* (N,d), row strides ld_q, ld_k, ld_v */
    int64_t ld_q, ld_k, ld_v;
    float s;                 /* scale of the scores */
    rows_ahead next_q, next_k, next_v; /* of the next cell, asked for bit by bit: waiting for them took a fifth of the time */
    _Alignas(64) float P[WINDOW_MAX_TOKENS * WINDOW_MAX_TOKENS]; /* (N,Np) probabilities, columns not yet divided by their sums */
    float inv[WINDOW_MAX_TOKENS];                    /* (Np) 1 / sum of the column */
    float lone[WINDOW_MAX_TOKENS];                   /* (Np) the column of the query left over */
    float t[WINDOW_MAX_DIM * WINDOW_MAX_TOKENS];     /* (d,Np) a transposed operand */
    float q_hat[WINDOW_MAX_TOKENS * WINDOW_MAX_DIM], k_hat[WINDOW_MAX_TOKENS * WINDOW_MAX_DIM]; /* (N,d) V2: unit vectors */
    float q_inv[WINDOW_MAX_TOKENS], k_inv[WINDOW_MAX_TOKENS];                                   /* V2: 1/length */
} cell;

/* dot (Np) = x_i . y_i of rows of d (ldy 0: of y alone), 0 from row N on: VL rows' partial sums are transposed and added, no sum runs across a vector. */
static void row_dots(float *dot, const float *x, int64_t ldx, const float *y, int64_t ldy, int N, int Np, int d)
{
    _Alignas(64) float part[VL * VL], turned[VL * VL];
    for (int i = 0; i < Np; i += VL) {
        int n = N - i < VL ? N - i : VL;
        for (int r = 0; r < n; r++) {
            vecf sum = {0};
            for (int c = 0; c < d; c += VL) sum += *(const vecf *)(x + (i + r) * ldx + c) * *(const vecf *)(y + (i + r) * ldy + c);
            *(vecf *)(part + VL * r) = sum;
        }
        transpose_square(turned, VL, part, VL, n, 1.0f);
        vecf total = {0};
        for (int r = 0; r < VL; r++) total += *(const vecf *)(turned + VL * r);
        *(vecf *)(dot + i) = total;
    }
}

/* y (N,d) = x / |x| per row and inv = 1/|x|. A zero row (key of a padding token) stays zero, with inv 0. */
static void unit_rows(float *y, float *inv, const float *x, int64_t ld, int N, int Np, int d)
{
    row_dots(inv, x, ld, x, ld, N, Np, d);
#pragma omp simd
    for (int i = 0; i < Np; i++) inv[i] = inv[i] > 1e-24f ? 1.0f / sqrtf(inv[i]) : 0.0f;
    for (int i = 0; i < N; i++)
        for (int c = 0; c < d; c += VL) *(vecf *)(y + i * d + c) = *(const vecf *)(x + i * ld + c) * inv[i];
}

static void cell_open(cell *e, const float *qkv, const float *next, const float *tau, const window_grid *g, int h, int heads, int d)
{
    int64_t C = (int64_t)heads * d;
    e->next_q = (rows_ahead){next, 3 * C, d};
    e->next_k = (rows_ahead){next ? next + C : NULL, 3 * C, d};
    e->next_v = (rows_ahead){next ? next + 2 * C : NULL, 3 * C, d};
    e->N = g->N, e->Np = g->Np, e->d = d;
    e->wide = e->N > 16 && e->N % 16 == 1 ? e->N - 1 : e->Np;
    e->q = qkv + h * d, e->k = e->q + C, e->v = e->q + 2 * C;
    e->ld_q = e->ld_k = e->ld_v = 3 * C;
    e->s = tau ? tau[h] : 1.0f / sqrtf((float)d);
    if (!tau) return;
    unit_rows(e->q_hat, e->q_inv, e->q, 3 * C, e->N, e->Np, d);
    unit_rows(e->k_hat, e->k_inv, e->k, 3 * C, e->N, e->Np, d);
    e->q = e->q_hat, e->k = e->k_hat;
    e->ld_q = e->ld_k = d;
}

/* VL NV columns of matrices with rows of Np: P = e^(P + bias + mask - largest of the column), where P comes in as a power of 2; inv = 1 /
 * sums of the columns. Asks for N rows ahead (or NULL) meanwhile. */
INLINE void softmax_columns(float *restrict P, float *inv, const float *bias, const float *mask, const int N, const int Np, const int NV, const rows_ahead *ahead)
{
    vecf top[4], sum[4];
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) top[v] = (vecf){0} - INFINITY, sum[v] = (vecf){0};
    for (int j = 0; j < N; j++) {
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) {
            int at = j * Np + VL * v;
            vecf p = *(vecf *)(P + at) + *(const vecf *)(bias + at) * LOG2_E;
            if (mask) p += *(const vecf *)(mask + at) * LOG2_E;
            top[v] = LARGER(p, top[v]);
            *(vecf *)(P + at) = p;
        }
    }
    for (int j = 0; j < N; j++) {
        rows_fetch(ahead, j, 1);
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) {
            vecf *at = (vecf *)(P + j * Np + VL * v), p = *at - top[v];
            exp2_vec(&p);
            sum[v] += p;
            *at = p;
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) *(vecf *)(inv + VL * v) = 1.0f / sum[v];
}

/* start and then the lanes of x, one after another. */
INLINE float lane_sum(float start, const vecf *x)
{
    float lanes[VL];
    *(vecf *)lanes = *x;
    for (int i = 0; i < VL; i++) start += lanes[i];
    return start;
}

INLINE void softmax_wide(cell *e, const float *bias, const float *mask, const int wide, const int Np, const int NV)
{
    for (int i = 0; i < wide; i += NV * VL)
        softmax_columns(e->P + i, e->inv + i, bias + i, mask ? mask + i : NULL, e->N, Np, NV, i ? NULL : &e->next_k);
}

/* The same for the query left over, its scores as a row. */
static void softmax_lone(cell *e, const float *bias, const float *mask)
{
    int N = e->N, Np = e->Np, last = N - 1;
    float *x = e->lone, lanes[VL], top;
    row_dots(x, e->k, e->ld_k, e->q + last * e->ld_q, 0, N, Np, e->d);
    for (int j = 0; j < N; j++) x[j] = (x[j] * e->s + bias[j * Np + last] + (mask ? mask[j * Np + last] : 0.0f)) * LOG2_E;
    vecf most = *(vecf *)x, sum = {0};
    for (int j = VL; j < last; j += VL) most = LARGER(*(vecf *)(x + j), most);
    *(vecf *)lanes = most;
    top = x[last];
    for (int i = 0; i < VL; i++) top = lanes[i] > top ? lanes[i] : top;
    for (int j = 0; j < N; j += VL) {
        vecf p = *(vecf *)(x + j) - top;
        exp2_vec(&p);
        *(vecf *)(x + j) = p;
        if (j < last) sum += p;
    }
    e->inv[last] = 1.0f / lane_sum(x[last], &sum);
    for (int j = 0; j < N; j++) e->P[j * Np + last] = x[j];
}

/* P and inv: what softmax_columns makes. The masked windows are few: the others have a loop without the mask. */
static void cell_probabilities(cell *e, const float *bias, const float *mask)
{
    int N = e->N, Np = e->Np, wide = e->wide;
    small_transpose(e->t, Np, wide, e->q, e->ld_q, N, e->d, e->s * LOG2_E);
    small_product(STORE_SET, N, wide, e->d, e->P, Np, e->k, e->ld_k, 1, e->t, Np, 1.0f, NULL, &e->next_q);
    if (wide < N) softmax_lone(e, bias, mask);
    if (wide == 64 && !mask) softmax_wide(e, bias, NULL, 64, 64, 4);
    else if (wide == 64) softmax_wide(e, bias, mask, 64, 64, 4);
    else if (wide == 48 && Np == 64 && !mask) softmax_wide(e, bias, NULL, 48, 64, 3);
    else if (wide == 48 && Np == 64) softmax_wide(e, bias, mask, 48, 64, 3);
    else softmax_wide(e, bias, mask, wide, Np, 1);
}

/* VL NV columns: P *= inv, the probabilities at last; dS = P * (dS - column sums of P * dS); dbias += dS. */
INLINE void softmax_columns_backward(float *restrict dS, float *restrict P, const float *inv, float *restrict dbias, const int N, const int Np, const int NV)
{
    vecf dot[4], factor[4];
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) dot[v] = (vecf){0}, factor[v] = *(const vecf *)(inv + VL * v);
    for (int j = 0; j < N; j++) {
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) {
            int at = j * Np + VL * v;
            vecf p = *(vecf *)(P + at) * factor[v];
            *(vecf *)(P + at) = p;
            dot[v] += p * *(vecf *)(dS + at);
        }
    }
    for (int j = 0; j < N; j++) {
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) {
            int at = j * Np + VL * v;
            vecf s = *(vecf *)(P + at) * (*(vecf *)(dS + at) - dot[v]);
            *(vecf *)(dS + at) = s;
            *(vecf *)(dbias + at) += s;
        }
    }
}

INLINE void softmax_wide_backward(cell *e, float *dS, float *dbias, const int wide, const int Np, const int NV)
{
    for (int i = 0; i < wide; i += NV * VL) softmax_columns_backward(dS + i, e->P + i, e->inv + i, dbias + i, e->N, Np, NV);
}

/* The same for the query left over; d_o: its row. */
static void softmax_lone_backward(cell *e, float *dS, float *dbias, const float *d_o)
{
    int N = e->N, Np = e->Np, last = N - 1;
    _Alignas(64) float s[WINDOW_MAX_TOKENS];
    float *p = e->lone, inv = e->inv[last];
    row_dots(s, e->v, e->ld_v, d_o, 0, N, Np, e->d);
    vecf sum = {0};
    for (int j = 0; j < N; j += VL) {
        vecf x = *(vecf *)(p + j) * inv;
        *(vecf *)(p + j) = x;
        if (j < last) sum += x * *(vecf *)(s + j);
    }
    float total = lane_sum(p[last] * s[last], &sum);
    for (int j = 0; j < N; j++) {
        float x = p[j] * (s[j] - total);
        int at = j * Np + last;
        e->P[at] = p[j];
        dS[at] = x;
        dbias[at] += x;
    }
}

static const float *mask_of(const window_grid *g, int64_t w)
{
    int kind = g->kind[w % g->n_windows];
    return kind ? g->mask + kind * g->N * g->Np : NULL;
}

void window_attention_forward(float *o, const float *qkv, const float *bias, const float *tau, const window_grid *g, int64_t n, int heads,
                              int d)
{
    int64_t C = (int64_t)heads * d, N = g->N, Np = g->Np;
#pragma omp parallel for schedule(static) if (n > 1 && kern_threads() > 1)
    for (int64_t w = 0; w < n; w++)
        for (int h = 0; h < heads; h++) {
            cell e;
            const float *window = qkv + w * N * 3 * C, *next = h + 1 < heads ? window + (h + 1) * d : w + 1 < n ? window + N * 3 * C : NULL;
            cell_open(&e, window, next, tau, g, h, heads, d);
            cell_probabilities(&e, bias + h * N * Np, mask_of(g, w));
            small_product(STORE_SET, (int)N, d, (int)N, o + w * N * C + h * d, C, e.P, 1, Np, e.v, e.ld_v, 1.0f, e.inv, &e.next_v);
        }
}

/* dx (N,d), stride ld, from the gradient g (N,d) of x_hat = x/|x|: (g - x_hat (x_hat . g)) / |x|. Returns the sum of x_hat . g over the
 * rows. */
static float unit_rows_backward(float *dx, int64_t ld, const float *g, const float *x_hat, const float *inv, int N, int Np, int d)
{
    float dot[WINDOW_MAX_TOKENS], total = 0.0f;
    row_dots(dot, x_hat, d, g, d, N, Np, d);
    for (int i = 0; i < N; i++) {
        for (int c = 0; c < d; c += VL) {
            vecf x = (*(const vecf *)(g + i * d + c) - *(const vecf *)(x_hat + i * d + c) * dot[i]) * inv[i];
            store_past((vecf *)(dx + i * ld + c), &x);
        }
        total += dot[i];
    }
    return total;
}

/* dqkv: the window's first row and this head's first column. dbias (N,Np) is added to. Returns d loss / d tau. */
static float cell_backward(cell *e, float *dqkv, int64_t C, const float *d_o, float *dbias, bool v2, const rows_ahead *next_d_o)
{
    int N = e->N, Np = e->Np, d = e->d, wide = e->wide;
    _Alignas(64) float dS[WINDOW_MAX_TOKENS * WINDOW_MAX_TOKENS];
    small_transpose(e->t, Np, wide, d_o, C, N, d, 1.0f);
    small_product(STORE_SET, N, wide, d, dS, Np, e->v, e->ld_v, 1, e->t, Np, 1.0f, NULL, &e->next_v); /* gradient of P */
    if (wide < N) softmax_lone_backward(e, dS, dbias, d_o + (N - 1) * C);
    if (wide == 64) softmax_wide_backward(e, dS, dbias, 64, 64, 4);
    else if (wide == 48 && Np == 64) softmax_wide_backward(e, dS, dbias, 48, 64, 3);
    else softmax_wide_backward(e, dS, dbias, wide, Np, 1);
    float *dq = dqkv, *dk = dqkv + C, *dv = dqkv + 2 * C;
    small_product(STORE_PAST, N, d, N, dv, 3 * C, e->P, Np, 1, d_o, C, 1.0f, NULL, next_d_o);
    if (!v2) {
        small_product(STORE_PAST, N, d, N, dk, 3 * C, dS, Np, 1, e->q, e->ld_q, e->s, NULL, NULL);
        small_product(STORE_PAST, N, d, N, dq, 3 * C, dS, 1, Np, e->k, e->ld_k, e->s, NULL, NULL);
        return 0.0f;
    }
    small_product(STORE_SET, N, d, N, e->P, d, dS, Np, 1, e->q, e->ld_q, e->s, NULL, NULL); /* P and t have done their work */
    small_product(STORE_SET, N, d, N, e->t, d, dS, 1, Np, e->k, e->ld_k, e->s, NULL, NULL);
    (void)unit_rows_backward(dk, 3 * C, e->P, e->k_hat, e->k_inv, N, Np, d);
    return unit_rows_backward(dq, 3 * C, e->t, e->q_hat, e->q_inv, N, Np, d) / e->s;
}

static int64_t part_size(const window_grid *g) { return (int64_t)g->N * g->Np + 16; } /* one head's dbias, dtau and alignment */

int64_t window_scratch(const window_grid *g, int heads) { return WINDOW_CHUNKS * heads * part_size(g); }

void window_attention_backward(float *dqkv, float *dbias, float *dtau, const float *d_o, const float *qkv, const float *bias,
                               const float *tau, const window_grid *g, int64_t n, int heads, int d, float *scratch)
{
    int64_t C = (int64_t)heads * d, N = g->N, Np = g->Np, size = part_size(g);
    int n_chunks = n < WINDOW_CHUNKS ? (int)n : WINDOW_CHUNKS;
#pragma omp parallel for schedule(static) if (n > 1 && kern_threads() > 1)
    for (int k = 0; k < n_chunks; k++) {
        int64_t first = n * k / n_chunks, last = n * (k + 1) / n_chunks;
        for (int64_t i = first * heads; i < last * heads; i++) {
            int64_t w = i / heads, h = i % heads;
            float *part = scratch + (k * heads + h) * size;
            const float *next = i + 1 < last * heads ? qkv + (i + 1) / heads * N * 3 * C + (i + 1) % heads * d : NULL;
            rows_ahead next_d_o = {next ? d_o + (i + 1) / heads * N * C + (i + 1) % heads * d : NULL, C, d};
            if (w == first) memset(part, 0, sizeof(float) * (size_t)(N * Np + 1));
            cell e;
            cell_open(&e, qkv + w * N * 3 * C, next, tau, g, (int)h, heads, d);
            cell_probabilities(&e, bias + h * N * Np, mask_of(g, w));
            part[N * Np] += cell_backward(&e, dqkv + w * N * 3 * C + h * d, C, d_o + w * N * C + h * d, part, tau != NULL, &next_d_o);
        }
        stores_seen();
    }
#pragma omp parallel for schedule(static) if (kern_threads() > 1)
    for (int h = 0; h < heads; h++) {
        float *sum = dbias + h * N * Np, total = 0.0f;
        memset(sum, 0, sizeof(float) * (size_t)(N * Np));
        for (int k = 0; k < n_chunks; k++) {
            const float *part = scratch + ((int64_t)k * heads + h) * size;
#pragma omp simd
            for (int64_t i = 0; i < N * Np; i++) sum[i] += part[i];
            total += part[N * Np];
        }
        if (tau) dtau[h] = total;
    }
}
