/* conv_tile: the innermost loops of the 3x3 convolution, register tiles and the packing of weights for them. */
#include "conv_inner.h"

#include <string.h>

/* TILE(n, v, s): n pixels x v output blocks, stride s. The weights of a tap and channel are read once for all pixels; every input value
 * is broadcast once for all blocks. The sums run over block, kh, kw, channel in this order for every pixel. */
#define EACH_PIXEL _Pragma("GCC unroll 16") for (int p = 0; p < n_px; p++)
#define EACH_VECTOR _Pragma("GCC unroll 8") for (int v = 0; v < n_vec; v++)
#define TILE(PX, NV, S)                                                                                                           \
    static void tile_##PX##_##NV##_##S(const tile_job *t, const float *x, float *out)                                             \
    {                                                                                                                             \
        enum { n_px = PX, n_vec = NV * PARTS };                                                                                   \
        vec acc[n_px][n_vec];                                                                                                     \
        EACH_PIXEL EACH_VECTOR acc[p][v] = t->bias ? LOAD(t->bias + v * WIDTH) : (vec){0};                                        \
        const float *w = t->w;                                                                                                    \
        for (int b = 0; b < t->n_block; b++) {                                                                                    \
            int n = b + 1 < t->n_block ? LANES : t->last;                                                                         \
            for (int kh = 0; kh < 3; kh++)                                                                                        \
                for (int kw = 0; kw < 3; kw++) {                                                                                  \
                    const float *xp = x + b * t->block_step + kh * t->row_step + kw * LANES;                                      \
                    for (int c = 0; c < n; c++, w += n_vec * WIDTH) {                                                             \
                        vec wv[n_vec];                                                                                            \
                        EACH_VECTOR wv[v] = LOAD(w + v * WIDTH);                                                                  \
                        EACH_PIXEL EACH_VECTOR acc[p][v] += wv[v] * xp[p * (S) * LANES + c];                                      \
                    }                                                                                                             \
                }                                                                                                                 \
        }                                                                                                                         \
        if (t->n_valid == (NV) * LANES) {                                                                                         \
            EACH_PIXEL EACH_VECTOR {                                                                                              \
                float *o = out + p * t->out_step + v * WIDTH;                                                                     \
                if (t->add) acc[p][v] += LOAD(o);                                                                                 \
                STORE(o, acc[p][v]);                                                                                              \
            }                                                                                                                     \
        } else                                                                                                                    \
            store_part(t, (const float *)acc, PX, NV, out);                                                                       \
    }

/* Channels that do not fill their blocks (a head's few classes). */
static void store_part(const tile_job *t, const float *acc, int n_px, int nv, float *out)
{
    for (int p = 0; p < n_px; p++)
        for (int i = 0; i < t->n_valid; i++) {
            float *o = out + p * t->out_step + i;
            *o = t->add ? *o + acc[p * nv * LANES + i] : acc[p * nv * LANES + i];
        }
}

typedef void tile_fn(const tile_job *t, const float *x, float *out);
typedef struct tile_size { int n_px; tile_fn *fn; } tile_size;

/* Tiles by stride and blocks, widest first: as many sums as keep the multipliers busy and fit the registers (32, elsewhere 16) together
 * with the weights. 8 x 3 with 32 registers was spilled to memory and ran at half the rate. */
#if defined(__AVX512F__)
TILE(16, 1, 1) TILE(8, 1, 1) TILE(4, 1, 1) TILE(2, 1, 1) TILE(1, 1, 1)
TILE(8, 2, 1) TILE(4, 2, 1) TILE(2, 2, 1) TILE(1, 2, 1)
TILE(4, 1, 2) TILE(1, 1, 2) TILE(4, 2, 2) TILE(1, 2, 2)
static const tile_size tiles[2][2][6] = {
    {{{16, tile_16_1_1}, {8, tile_8_1_1}, {4, tile_4_1_1}, {2, tile_2_1_1}, {1, tile_1_1_1}},
     {{8, tile_8_2_1}, {4, tile_4_2_1}, {2, tile_2_2_1}, {1, tile_1_2_1}}},
    {{{4, tile_4_1_2}, {1, tile_1_1_2}}, {{4, tile_4_2_2}, {1, tile_1_2_2}}},
};
enum { SIDE = 8 }; /* input channels of a weight gradient tile: x 3 kw sums per vector */
#elif defined(__AVX__)
TILE(6, 1, 1) TILE(4, 1, 1) TILE(2, 1, 1) TILE(1, 1, 1)
TILE(3, 2, 1) TILE(2, 2, 1) TILE(1, 2, 1)
TILE(3, 1, 2) TILE(1, 1, 2) TILE(2, 2, 2) TILE(1, 2, 2)
static const tile_size tiles[2][2][6] = {
    {{{6, tile_6_1_1}, {4, tile_4_1_1}, {2, tile_2_1_1}, {1, tile_1_1_1}}, {{3, tile_3_2_1}, {2, tile_2_2_1}, {1, tile_1_2_1}}},
    {{{3, tile_3_1_2}, {1, tile_1_1_2}}, {{2, tile_2_2_2}, {1, tile_1_2_2}}},
};
enum { SIDE = 4 };
#else
TILE(2, 1, 1) TILE(1, 1, 1) TILE(1, 2, 1) TILE(1, 1, 2) TILE(1, 2, 2)
static const tile_size tiles[2][2][6] = {
    {{{2, tile_2_1_1}, {1, tile_1_1_1}}, {{1, tile_1_2_1}}},
    {{{1, tile_1_1_2}}, {{1, tile_1_2_2}}},
};
enum { SIDE = 4 };
#endif

void tile_row(const tile_job *t, int nv, int stride, const float *x, float *out, int n)
{
    int done = 0;
    for (const tile_size *s = tiles[stride - 1][nv - 1]; s->fn; s++)
        for (; n - done >= s->n_px; done += s->n_px) s->fn(t, x + (int64_t)done * stride * LANES, out + done * t->out_step);
}

/* SIDE input channels x 3 kw x one vector of output channels; arguments as weight_rows. */
static inline void weight_part(float *acc, const float *x, int64_t x_row, const float *dy, int64_t dy_row, int rows, int n)
{
    vec a[3][SIDE];
#pragma GCC unroll 3
    for (int kw = 0; kw < 3; kw++)
#pragma GCC unroll 8
        for (int i = 0; i < SIDE; i++) a[kw][i] = LOAD(acc + (kw * 8 + i) * LANES);
    for (int r = 0; r < rows; r++) {
        /* Padded input column j meets output column j - kw, which has two zero columns before it. */
        const float *xp = x + r * x_row, *dp = dy + r * dy_row + 2 * LANES;
        for (int j = 0; j < n + 2; j++, xp += LANES, dp += LANES) {
            vec d0 = LOAD(dp), d1 = LOAD(dp - LANES), d2 = LOAD(dp - 2 * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < SIDE; i++) {
                vec xv = (vec){0} + xp[i];
                a[0][i] += d0 * xv;
                a[1][i] += d1 * xv;
                a[2][i] += d2 * xv;
            }
        }
    }
#pragma GCC unroll 3
    for (int kw = 0; kw < 3; kw++)
#pragma GCC unroll 8
        for (int i = 0; i < SIDE; i++) STORE(acc + (kw * 8 + i) * LANES, a[kw][i]);
}

void weight_rows(float *acc, const float *x, int64_t x_row, const float *dy, int64_t dy_row, int rows, int n)
{
    for (int i = 0; i < 8; i += SIDE)
        for (int v = 0; v < PARTS; v++) weight_part(acc + i * LANES + v * WIDTH, x + i, x_row, dy + v * WIDTH, dy_row, rows, n);
}

/* Both packings: lane index l of output block v, channel k of the sum, tap t is w[l * lane_step + k * sum_step + (flip ? 8 - t : t)]. */
static void pack(float *out, const float *w, int n_sum, int n_lane, int64_t sum_step, int64_t lane_step, bool flip)
{
    int n_blocks = blocks(n_lane), per_tile = tile_blocks(n_blocks);
    for (int k0 = 0; k0 < n_sum; k0 += KC) {
        int k = min_int(KC, n_sum - k0);
        for (int v0 = 0; v0 < n_blocks; v0 += per_tile) {
            int nv = min_int(per_tile, n_blocks - v0);
            float *column = out + packed_at(k0, k, v0, n_blocks);
            for (int v = 0; v < nv; v++)
                for (int lane = 0; lane < LANES; lane++) {
                    int l = (v0 + v) * LANES + lane;
                    for (int c0 = 0; c0 < k; c0 += LANES) {
                        int n = min_int(LANES, k - c0);
                        float *o = column + ((int64_t)c0 * 9 * nv + v) * LANES + lane;
                        const float *s = w + l * lane_step + (k0 + c0) * sum_step;
                        for (int t = 0; t < 9; t++)
                            for (int c = 0; c < n; c++)
                                o[(int64_t)(t * n + c) * nv * LANES] = l < n_lane ? s[c * sum_step + (flip ? 8 - t : t)] : 0.0f;
                    }
                }
        }
    }
}

void pack_forward(float *out, const float *w, int Cin, int Cout) { pack(out, w, Cin, Cout, 9, (int64_t)Cin * 9, false); }

void pack_backward(float *out, const float *w, int Cin, int n_in, int Cout) { pack(out, w, Cout, n_in, (int64_t)Cin * 9, 9, true); }

void unpack_weight(float *dw, const float *part, int n_part, int64_t part_step, int Cin, int k0, int k, int Cout, int v0, int nv)
{
    int n_block = blocks(k);
    for (int v = 0; v < nv; v++)
        for (int c = 0; c < k; c++)
            for (int t = 0; t < 9; t++) {
                int64_t at = ((((int64_t)v * n_block + c / LANES) * 3 + t / 3) * 2 + c % LANES / 8) * 24 * LANES;
                at += (t % 3 * 8 + c % 8) * LANES;
                float lane[LANES];
                for (int l = 0; l < LANES; l++) lane[l] = part[at + l];
                for (int p = 1; p < n_part; p++)
                    for (int l = 0; l < LANES; l++) lane[l] += part[p * part_step + at + l];
                int n = min_int(LANES, Cout - (v0 + v) * LANES);
                float *o = dw + ((int64_t)(v0 + v) * LANES * Cin + k0 + c) * 9 + t;
                for (int i = 0; i < n; i++) o[(int64_t)i * Cin * 9] += lane[i];
            }
}
