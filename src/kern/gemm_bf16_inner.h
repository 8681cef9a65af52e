/* gemm_bf16_inner: packing and tiles of gemm_bf16.h, for the CPU that the file including this is compiled for. It defines before:
 *   BF16_NAME                 the kernel
 *   ROWS, VECTORS             of a tile
 *   pair_two, pair_row        see gemm_bf16_pack.h
 *   DOT(sum, MR, NV, A, rs, b) sum[r][v] += both products of the pairs A[r * rs] and b[v] */

#include "gemm_bf16_pack.h"

typedef struct tile {
    const uint32_t *A;  /* row r, pair k: A[r * rs + k * cs] */
    int64_t rs, cs, K2; /* K2 pairs */
    const uint32_t *B;  /* (K2,VL NV) */
    float *C;
    int64_t ldc;
    bool add;
    const float *bias;
} tile;

INLINE void tile_run(const int MR, const int NV, const tile *t)
{
    vecf sum[ROWS][3];
    const uint32_t *A = t->A, *B = t->B;
#define EACH                                                                                                                      \
    _Pragma("GCC unroll 8") for (int r = 0; r < MR; r++) _Pragma("GCC unroll 3") for (int v = 0; v < NV; v++)
#define PLACE (*(vecf *)(t->C + r * t->ldc + VL * v))
    EACH
    {
        __builtin_prefetch(&PLACE, 1);
        sum[r][v] = (vecf){0};
    }
    for (int64_t k = t->K2, rs = t->rs, cs = t->cs; k > 0; k--, A += cs, B += VL * NV) {
        vecu b[3];
#pragma GCC unroll 3
        for (int v = 0; v < NV; v++) b[v] = *(const vecu *)(B + VL * v);
        DOT(sum, MR, NV, A, rs, b);
    }
    if (t->bias) EACH PLACE = sum[r][v] + *(const vecf *)(t->bias + VL * v);
    else if (t->add) EACH PLACE += sum[r][v];
    else EACH PLACE = sum[r][v];
#undef PLACE
#undef EACH
}

/* Tiles for NV vectors of every number of rows that a piece can end with. */
#define TILES(NV)                                                                                                                 \
    static void rows_##NV(tile *t, int64_t m, const uint32_t *A, int64_t a_step, float *C)                                        \
    {                                                                                                                             \
        for (int64_t i = 0, n; i < m; i += n) {                                                                                   \
            t->A = a_step ? A + i / ROWS * a_step + i % ROWS : A + i * t->rs;                                                     \
            t->C = C + i * t->ldc;                                                                                                \
            if (m - i >= ROWS) tile_run(ROWS, NV, t), n = ROWS;                                                                   \
            else if (m - i >= 2) tile_run(2, NV, t), n = 2;                                                                       \
            else tile_run(1, NV, t), n = 1;                                                                                       \
        }                                                                                                                         \
    }
TILES(1) TILES(2) TILES(3)
#undef TILES

/* Columns m0.. of A as panels (K2,ROWS), pairs of rows, and the sums of what was not rounded. */
static void pack_columns(uint32_t *panels, int64_t step, const product *p, int64_t k0, int64_t K, int64_t m0, int64_t m)
{
    float sum[BF16_COLUMNS];
    memset(sum, 0, sizeof sum);
    for (int64_t k = 0; k < K; k += 2) {
        const float *a = p->A + (k0 + k) * p->lda + m0, *next = a + p->lda;
        uint32_t *to = panels + k / 2 * ROWS;
        bool both = k + 1 < K;
        int64_t i = 0;
        for (; both && i + VL <= m; i += VL) {
            vecf x = *(const vecf *)(a + i), y = *(const vecf *)(next + i);
            vecu pairs = pair_two(x, y);
#pragma GCC unroll 8
            for (int j = 0; j < VL; j += ROWS) memcpy(to + (i + j) / ROWS * step, (const uint32_t *)&pairs + j, ROWS * sizeof *to);
            *(vecf *)(sum + i) += x;
            *(vecf *)(sum + i) += y;
        }
        for (; i < m; i++) {
            to[i / ROWS * step + i % ROWS] = pair_one(a[i], both ? next[i] : 0.0f);
            sum[i] += a[i];
            if (both) sum[i] += next[i];
        }
    }
    for (int64_t i = 0; p->row_sum && i < m; i++) p->row_sum[m0 + i] += sum[i];
}

void BF16_NAME(const product *p, int64_t m0, int64_t m)
{
    uint32_t packed[BF16_ROOM] __attribute__((aligned(64))), panel[BF16_DEPTH / 2 * VL * VECTORS] __attribute__((aligned(64)));
    static void (*const rows[3])(tile *, int64_t, const uint32_t *, int64_t, float *) = {rows_1, rows_2, rows_3};
    int64_t vectors = p->N / VL, n_panels = (vectors + VECTORS - 1) / VECTORS, depth = bf16_depth(p);
    for (int64_t k0 = 0; k0 < p->K; k0 += depth) {
        int64_t K = p->K - k0 < depth ? p->K - k0 : depth, K2 = (K + 1) / 2;
        int64_t step = p->trans_a ? ROWS * K2 + BF16_PAD : K2 + BF16_PAD;
        (p->trans_a ? pack_columns : pack_rows)(packed, step, p, k0, K, m0, m);
        tile t = {.rs = p->trans_a ? 1 : step, .cs = p->trans_a ? ROWS : 1, .K2 = K2, .B = panel, .ldc = p->ldc, .add = p->beta != 0.0f || k0};
        for (int64_t i = 0; i < n_panels; i++) {
            int64_t v0 = vectors * i / n_panels, n0 = VL * v0;
            int NV = (int)(vectors * (i + 1) / n_panels - v0);
            pack_b(panel, p, k0, K, n0, VL * NV);
            t.bias = p->bias && !k0 ? p->bias + n0 : NULL;
            rows[NV - 1](&t, m, packed, p->trans_a ? step : 0, p->C + m0 * p->ldc + n0);
        }
    }
}
