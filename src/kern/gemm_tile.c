/* gemm_tile: see gemm_tile.h. Sums run over K in blocks, within a block in order, so a value's bits depend on the shape only. */
#include "gemm_tile.h"

#include "small.h"

#include <string.h>

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))

enum {
#if defined(__AVX512F__)
    ROWS = 8, VECTORS = 3, /* a tile: 24 sums, 3 values of B and a broadcast one of A fill the 32 registers */
    PIECE = 262144,        /* values of A per piece and block, where A is read in place */
#else
    ROWS = 4, VECTORS = 3, /* 12, 3 and 1: the 16 registers */
    PIECE = 98304,
#endif
    WIDE = VL * VECTORS,
    DEPTH = 384,           /* K per block: a panel of B and some rows of A lie in the second-level cache */
    PIECE_ROWS = 384       /* rows per piece where A is packed */
};

typedef struct tile {
    const float *A;              /* row r, step k: A[r * rs + k * cs] */
    int64_t rs, cs, K;
    const float *B;              /* (K,VL NV) packed */
    float *C;
    int64_t ldc;
    bool add;
    const float *bias;
    struct ahead *next;          /* of A and of B, or NULL */
    int64_t fetch[2];            /* lines of each per tile */
} tile;

/* C tile = A B, + bias or + C. */
INLINE void tile_run(const int MR, const int NV, const tile *t)
{
    vecf sum[ROWS][VECTORS];
    const float *A = t->A, *B = t->B;
    int64_t rs = t->rs, cs = t->cs;
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 3
        for (int v = 0; v < NV; v++) {
            __builtin_prefetch(t->C + r * t->ldc + VL * v, 1);
            sum[r][v] = (vecf){0};
        }
    for (int64_t k = t->K; k > 0; k--, A += cs, B += VL * NV) {
        vecf b[VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < NV; v++) b[v] = *(const vecf *)(B + VL * v);
#pragma GCC unroll 8
        for (int r = 0; r < MR; r++) {
            float a = A[r * rs];
#pragma GCC unroll 3
            for (int v = 0; v < NV; v++) sum[r][v] += a * b[v];
        }
    }
#define EACH                                                                                                                      \
    _Pragma("GCC unroll 8") for (int r = 0; r < MR; r++) _Pragma("GCC unroll 3") for (int v = 0; v < NV; v++)
#define PLACE (*(vecf *)(t->C + r * t->ldc + VL * v))
    if (t->bias) EACH PLACE = sum[r][v] + *(const vecf *)(t->bias + VL * v);
    else if (t->add) EACH PLACE += sum[r][v];
    else EACH PLACE = sum[r][v];
#undef PLACE
#undef EACH
}

#define TILE(MR, NV) static void tile_##MR##_##NV(const tile *t) { tile_run(MR, NV, t); }
TILE(4, 3) TILE(2, 3) TILE(1, 3)
TILE(4, 2) TILE(2, 2) TILE(1, 2)
TILE(4, 1) TILE(2, 1) TILE(1, 1)
#if defined(__AVX512F__)
TILE(8, 3) TILE(8, 2) TILE(8, 1)
#else /* four rows are the most */
#define tile_8_3 NULL
#define tile_8_2 NULL
#define tile_8_1 NULL
#endif
#undef TILE
static void (*const tiles[VECTORS][4])(const tile *) = { /* 1, 2, 4 and 8 rows */
    {tile_1_1, tile_2_1, tile_4_1, tile_8_1}, {tile_1_2, tile_2_2, tile_4_2, tile_8_2}, {tile_1_3, tile_2_3, tile_4_3, tile_8_3}};

bool product_fits(const product *p)
{
    return p->alpha == 1.0f && (p->beta == 0.0f || p->beta == 1.0f) && p->N % 16 == 0 && p->M >= 8 && p->K >= 16 &&
           (double)p->M * (double)p->N * (double)p->K >= 65536;
}

static int64_t depth_of(const product *p) { return part_length(p->K, DEPTH, 16); }

static int64_t piece_rows(const product *p)
{
    return shared_rows(p, p->trans_a ? PIECE_ROWS : PIECE / depth_of(p), ROWS);
}

int64_t product_pieces(const product *p) { return (p->M + piece_rows(p) - 1) / piece_rows(p); }

/* panel (K,n) = rows k0.. and columns n0.. of op(B). What comes a few rows later is asked for early: the rows lie far apart, where the
 * hardware does not look ahead. */
static void pack_b(float *panel, const product *p, int64_t k0, int64_t K, int64_t n0, int64_t n)
{
    enum { AHEAD = 12 };
    if (!p->trans_b) {
        const float *b = p->B + k0 * p->ldb + n0;
        for (int64_t k = 0; k < K; k++, b += p->ldb, panel += n)
            for (int64_t v = 0; v < n; v += VL) {
                __builtin_prefetch(b + AHEAD * p->ldb + v);
                *(vecf *)(panel + v) = *(const vecf *)(b + v);
            }
        return;
    }
    int64_t k = 0;
    for (; k + VL <= K; k += VL)
        for (int64_t v = 0; v < n; v += VL) {
            const float *b = p->B + (n0 + v) * p->ldb + k0 + k;
            for (int64_t r = 0; r < VL; r++) __builtin_prefetch(b + r * p->ldb + 32);
            transpose_square(panel + k * n + v, n, b, p->ldb, VL, 1.0f);
        }
    for (; k < K; k++)
        for (int64_t v = 0; v < n; v++) panel[k * n + v] = p->B[(n0 + v) * p->ldb + k0 + k];
}

/* Floats between panels of A: one line more than a panel, or all panels would meet in one set of the first-level cache. */
static int64_t panel_step(int64_t K) { return ROWS * K + 16; }

/* Columns m0.. of A as panels (K,ROWS), and their sums, some vectors of columns at a time. The last panel's missing columns are not read by
 * any tile. */
static void pack_a(float *panels, const product *p, int64_t k0, int64_t K, int64_t m0, int64_t m)
{
    typedef float row __attribute__((vector_size(4 * ROWS), aligned(4), may_alias));
    enum { TOGETHER = 4, PER = VL / ROWS, AHEAD = 8 };
    const float *a = p->A + k0 * p->lda + m0;
    int64_t i = 0, step = panel_step(K);
    float sum[PIECE_ROWS] = {0};
    for (; i + TOGETHER * VL <= m; i += TOGETHER * VL) {
        vecf s[TOGETHER] = {{0}};
        float *to = panels + i / ROWS * step;
        const float *from = a + i;
        for (int64_t k = 0; k < K; k++, from += p->lda, to += ROWS)
#pragma GCC unroll 4
            for (int v = 0; v < TOGETHER; v++) {
                vecf x = *(const vecf *)(from + VL * v);
                row part[PER];
                __builtin_prefetch(from + AHEAD * p->lda + VL * v);
                s[v] += x;
                memcpy(part, &x, sizeof x);
#pragma GCC unroll 4
                for (int h = 0; h < PER; h++) *(row *)(to + (v * PER + h) * step) = part[h];
            }
#pragma GCC unroll 4
        for (int v = 0; v < TOGETHER; v++) *(vecf *)(sum + i + VL * v) = s[v];
    }
    for (; i < m; i += ROWS) {
        int64_t n = m - i < ROWS ? m - i : ROWS;
        float *to = panels + i / ROWS * step;
        for (int64_t k = 0; k < K; k++, to += ROWS)
            for (int64_t r = 0; r < n; r++) sum[i + r] += to[r] = a[k * p->lda + i + r];
    }
    for (i = 0; p->row_sum && i < m; i++) p->row_sum[m0 + i] += sum[i];
}

/* Rows that the next block will pack, asked for a few lines at a time between the tiles: packing itself would wait for the memory. Intel's
 * CPUs find these rows themselves; there it only costs. */
typedef struct ahead { const float *at; int64_t step, rows, lines, row, line; } ahead;

static bool fetch_pays(void)
{
#if defined(__x86_64__)
    return !__builtin_cpu_is("intel");
#else
    return true;
#endif
}

static void fetch(ahead *f, int64_t n)
{
    for (; n > 0 && f->row < f->rows; n--) {
        __builtin_prefetch(f->at + f->row * f->step + f->line * 16, 0, 2);
        if (++f->line < f->lines) continue;
        f->line = 0, f->row++;
    }
}

/* One panel of B against all rows of the piece. */
static void run_rows(tile *t, int64_t m, int NV, const float *A, int64_t a_step, float *C)
{
    for (int64_t i = 0; i < m;) {
        int64_t left = m - i;
        int log = left >= ROWS ? (ROWS == 8 ? 3 : 2) : left >= 4 ? 2 : left >= 2;
        t->A = a_step ? A + i / ROWS * a_step + i % ROWS : A + i * t->rs;
        t->C = C + i * t->ldc;
        tiles[NV - 1][log](t);
        for (int k = 0; k < 2 && t->next; k++) fetch(&t->next[k], t->fetch[k]);
        i += 1 << log;
    }
}

static void run_block(const product *p, int64_t m0, int64_t m, int64_t k0, int64_t K, const float *packed, ahead *next)
{
    float panel[DEPTH * WIDE] __attribute__((aligned(64)));
    int64_t vectors = p->N / VL, n_panels = (vectors + VECTORS - 1) / VECTORS;
    const float *A = packed ? packed : p->trans_a ? p->A + k0 * p->lda + m0 : p->A + m0 * p->lda + k0;
    tile t = {.rs = packed ? 1 : p->lda, .cs = packed ? ROWS : 1, .K = K, .B = panel, .ldc = p->ldc,
              .add = p->beta != 0.0f || k0, .next = next};
    for (int k = 0; next && k < 2; k++) t.fetch[k] = next[k].rows * next[k].lines / ((m + ROWS - 1) / ROWS * n_panels) + 1;
    for (int64_t i = 0; i < n_panels; i++) {
        int64_t v0 = vectors * i / n_panels, n0 = VL * v0;
        int NV = (int)(vectors * (i + 1) / n_panels - v0);
        pack_b(panel, p, k0, K, n0, VL * NV);
        t.bias = p->bias && !k0 ? p->bias + n0 : NULL;
        run_rows(&t, m, NV, A, packed ? panel_step(K) : 0, p->C + m0 * p->ldc + n0);
    }
}

static void run_packed(const product *p, int64_t m0, int64_t m)
{
    float packed[PIECE_ROWS / ROWS * (ROWS * DEPTH + 16)] __attribute__((aligned(64)));
    int64_t depth = depth_of(p);
    for (int64_t k0 = 0; k0 < p->K; k0 += depth) {
        int64_t K = p->K - k0 < depth ? p->K - k0 : depth;
        int64_t k1 = k0 + K, left = p->K - k1 < depth ? p->K - k1 : depth;
        ahead next[2] = {{.at = p->A + k1 * p->lda + m0, .step = p->lda, .rows = left, .lines = m / 16 + 1},
                         {.at = p->B + k1 * p->ldb, .step = p->ldb, .rows = left, .lines = p->N / 16}};
        pack_a(packed, p, k0, K, m0, m);
        run_block(p, m0, m, k0, K, packed, p->trans_b || left <= 0 || !fetch_pays() ? NULL : next);
    }
}

void product_run(const product *p, int64_t piece)
{
    int64_t rows = piece_rows(p), m0 = piece * rows, m = p->M - m0 < rows ? p->M - m0 : rows, depth = depth_of(p);
    if (m <= 0) return;
    if (p->trans_a) {
        run_packed(p, m0, m);
        return;
    }
    for (int64_t k0 = 0; k0 < p->K; k0 += depth) run_block(p, m0, m, k0, p->K - k0 < depth ? p->K - k0 : depth, NULL, NULL);
}

#else /* no build for such CPUs needs more than OpenBLAS */

bool product_fits(const product *p)
{
    (void)p;
    return false;
}
int64_t product_pieces(const product *p)
{
    (void)p;
    return 0;
}
void product_run(const product *p, int64_t piece) { (void)p, (void)piece; }

#endif

/* ---- tiles on packed panels of vectors of 16, on every CPU -------------------------------------------------------------------------- */

#if defined(__AVX512F__)

void tile_columns(float *C, int64_t ldc, const float *A, int64_t lda, const float *panel, int NV, int64_t M, int64_t K, bool add)
{
    tile t = {.rs = lda, .cs = 1, .K = K, .B = panel, .ldc = ldc, .add = add};
    run_rows(&t, M, NV, A, 0, C);
}

void tile_across(float *C, int64_t ldc, const float *A, int64_t lda, const float *panel, int NV, int64_t K)
{
    tile t = {.rs = 1, .cs = lda, .K = K, .B = panel, .ldc = ldc, .add = true};
    for (int r = 0; r < 16; r += ROWS) {
        t.A = A + r, t.C = C + r * ldc;
        tiles[NV - 1][3](&t);
    }
}

#else

enum { PART = 2 * VL }; /* columns of a tile: with 6 rows 12 sums, 2 values of B and a broadcast one of A */

static void run_panel(float *C, int64_t ldc, const float *A, int64_t rs, int64_t cs, const float *panel, int NV, int64_t M, int64_t K, bool add)
{
    for (int c = 0; c < 16 * NV; c += PART) {
        int64_t i = 0;
#define TILE(MR) small_tile(MR, 2, add ? STORE_ADD : STORE_SET, C + i * ldc + c, ldc, A + i * rs, rs, cs, panel + c, 16 * NV, (int)K, 1.0f, NULL)
        for (; i + 6 <= M; i += 6) TILE(6);
        for (; i + 2 <= M; i += 2) TILE(2);
        for (; i < M; i++) TILE(1);
#undef TILE
    }
}

void tile_columns(float *C, int64_t ldc, const float *A, int64_t lda, const float *panel, int NV, int64_t M, int64_t K, bool add)
{
    run_panel(C, ldc, A, lda, 1, panel, NV, M, K, add);
}

void tile_across(float *C, int64_t ldc, const float *A, int64_t lda, const float *panel, int NV, int64_t K)
{
    run_panel(C, ldc, A, 1, lda, panel, NV, 16, K, true);
}

#endif
