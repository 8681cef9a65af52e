/* gemm_bf16_inner: packing and tiles of gemm_bf16.h, for the CPU that the file including this is compiled for. It defines before:
 *   BF16_NAME                 the kernel
 *   ROWS, VECTORS             of a tile
 *   pair_two(lo, hi)          VL pairs from VL values each
 *   pair_row(x)               VL pairs from 2 VL values that follow each other
 *   DOT(sum, MR, NV, A, rs, b) sum[r][v] += both products of the pairs A[r * rs] and b[v] */

static inline uint32_t round_one(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    if ((u & 0x7fffffff) > 0x7f800000) return u | 0x400000; /* NaN stays NaN */
    return u + 0x7fff + ((u >> 16) & 1);
}

static inline uint32_t pair_one(float lo, float hi) { return round_one(lo) >> 16 | (round_one(hi) & 0xffff0000u); }

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

/* panel (K2,n) = rows k0.. and columns n0.. of op(B), in pairs of rows; a missing last row counts as zero. */
static void pack_b(uint32_t *panel, const product *p, int64_t k0, int64_t K, int64_t n0, int64_t n)
{
    int64_t k = 0;
    if (!p->trans_b) {
        const float *b = p->B + k0 * p->ldb + n0;
        for (; k + 2 <= K; k += 2, b += 2 * p->ldb, panel += n)
            for (int64_t v = 0; v < n; v += VL) *(vecu *)(panel + v) = pair_two(*(const vecf *)(b + v), *(const vecf *)(b + p->ldb + v));
        for (int64_t v = 0; k < K && v < n; v++) panel[v] = pair_one(b[v], 0.0f);
        return;
    }
    for (; k + 2 * VL <= K; k += 2 * VL)
        for (int64_t v = 0; v < n; v += VL) {
            vecf pairs[VL]; /* bits that only move */
            const float *b = p->B + (n0 + v) * p->ldb + k0 + k;
            for (int64_t r = 0; r < VL; r++) {
                __builtin_prefetch(b + r * p->ldb + 64);
                pairs[r] = (vecf)pair_row(b + r * p->ldb);
            }
            transpose_square((float *)panel + k / 2 * n + v, n, (const float *)pairs, VL, VL, 1.0f);
        }
    for (; k < K; k += 2)
        for (int64_t v = 0; v < n; v++) {
            const float *b = p->B + (n0 + v) * p->ldb + k0 + k;
            panel[k / 2 * n + v] = pair_one(b[0], k + 1 < K ? b[1] : 0.0f);
        }
}

/* Rows of A, pairs of neighbours. */
static void pack_rows(uint32_t *to, int64_t step, const product *p, int64_t k0, int64_t K, int64_t m0, int64_t m)
{
    for (int64_t i = 0; i < m; i++, to += step) {
        const float *a = p->A + (m0 + i) * p->lda + k0;
        int64_t k = 0;
        for (; k + 2 * VL <= K; k += 2 * VL) *(vecu *)(to + k / 2) = pair_row(a + k);
        for (; k < K; k += 2) to[k / 2] = pair_one(a[k], k + 1 < K ? a[k + 1] : 0.0f);
    }
}

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
