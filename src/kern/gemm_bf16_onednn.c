/* gemm_bf16_onednn: the products of gemm_bf16.h by oneDNN's matmul (onednn_module.h), for CPUs whose AMX our own kernels do not use. What is
 * rounded and where a product is cut is decided here, by its shape alone: oneDNN's order of sums follows the shape of a piece. Compiled for
 * AVX512-BF16, which every CPU with AMX has. */
#include "gemm_bf16.h"

#if defined(__AVX512BF16__)

#include "gemm_bf16_pairs.h"
#include "medley/kern.h"
#include "onednn_module.h"

#include <stdlib.h>
#include <string.h>

#include "gemm_bf16_pack.h"

enum {
    DEPTH = 1024,        /* most of K at a time */
    ROWS = 256,          /* most rows of a piece: with DEPTH a quarter of the second-level cache of CPUs with AMX, a panel of B in another */
    B_PAIRS = 1 << 20,   /* of a packed block of B: 4 MiB, which all threads read */
    SCRATCH = 512 << 10, /* bytes, on the stack beside a piece of A */
    MATMULS = 4096       /* kept; a network has some hundreds */
};

typedef struct entry {
    onednn_shape shape; /* M 0: free */
    void *matmul;       /* NULL: oneDNN has no fast way */
} entry;

static const onednn_module *dnnl;
static uint32_t *block; /* B_PAIRS */
static entry *kept;     /* open addressing */
static int n_kept;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all three, for the length of a product */

status onednn_use(const onednn_module *m)
{
    if (!block) TRY(mem_alloc(&block, sizeof *block * B_PAIRS, "bf16"), "oneDNN");
    if (!kept) TRY(mem_alloc(&kept, sizeof *kept * MATMULS, "bf16"), "oneDNN");
    dnnl = m;
    return OK;
}

/* Products have no status: a layer of which a part was computed cannot be given up. oneDNN runs out of memory here, or its compiler fails. */
static void give_up(const char *what, int code)
{
    log_line(LOG_ERROR, "bf16: oneDNN could not %s: its error %d (dnnl_types.h)", what, code);
    abort();
}

/* Whether there is a fast way is a question of shape and library alone, so every rank and every resume answers it alike. */
static void make(const onednn_shape *s, void **matmul)
{
    size_t scratch;
    int st = dnnl->make(s, matmul, &scratch);
    if (st) give_up("make a product", st);
    if (*matmul && scratch > SCRATCH) dnnl->drop(*matmul), *matmul = NULL;
}

static bool same(const onednn_shape *a, const onednn_shape *b) { return a->M == b->M && a->N == b->N && a->K == b->K && a->kind == b->kind; }

/* *own: the table is full, the caller drops it. */
static void *find(const onednn_shape *s, bool *own)
{
    uint64_t i = ((uint64_t)s->M * 1000003 + (uint64_t)s->N) * 1000003 + (uint64_t)s->K * 3 + (uint64_t)s->kind;
    i = (i * 0x9e3779b97f4a7c15u) >> 32;
    void *matmul;
    for (;; i++) {
        entry *e = &kept[i % MATMULS];
        bool is_new = !e->shape.M;
        *own = is_new && n_kept == MATMULS / 4 * 3;
        if (!is_new && !same(&e->shape, s)) continue;
        if (is_new) make(s, &matmul);
        else matmul = e->matmul;
        if (is_new && !*own) *e = (entry){*s, matmul}, n_kept++;
        return matmul;
    }
}

/* How a product is cut. */
typedef struct cut {
    int64_t depth, blocks, rows, pieces;
    int width; /* of the panels of B: as wide as oneDNN likes them, without columns to spare */
    void *matmul[3][2]; /* first, middle and last block; whole pieces and the last */
    bool own[3][2];
} cut;

static int64_t padded(int64_t k) { return (k + 31) / 32 * 32; }
static int64_t depth_of(const product *p, const cut *c, int64_t b) { return b < c->blocks - 1 ? c->depth : p->K - b * c->depth; }
static int64_t rows_of(const product *p, const cut *c, int64_t i) { return i < c->pieces - 1 ? c->rows : p->M - i * c->rows; }
static int kind_of_block(const cut *c, int64_t b) { return b == 0 ? 0 : b == c->blocks - 1 ? 2 : 1; }

static void cut_free(cut *c)
{
    for (int i = 0; i < 6; i++)
        if (c->own[i / 2][i % 2] && c->matmul[i / 2][i % 2]) dnnl->drop(c->matmul[i / 2][i % 2]);
}

/* False: oneDNN does not take it. */
static bool cut_make(cut *c, const product *p)
{
    *c = (cut){0};
    if (p->ldc != p->N || 2 * B_PAIRS / p->N < 32) return false;
    int64_t deepest = 2 * B_PAIRS / p->N / 32 * 32;
    c->width = p->N % 64 == 0 ? 64 : p->N % 48 == 0 ? 48 : p->N % 32 == 0 ? 32 : 16;
    c->depth = part_length(p->K, deepest < DEPTH ? deepest : DEPTH, 32);
    c->blocks = (p->K + c->depth - 1) / c->depth;
    c->rows = part_length(p->M, ROWS, 64); /* four tiles of AMX */
    c->pieces = (p->M + c->rows - 1) / c->rows;
    for (int64_t b = 0; b < 3 && b < c->blocks; b++)
        for (int64_t i = 0; i < 2 && i < c->pieces; i++) {
            int64_t block_nr = b < 2 ? b : c->blocks - 1, piece = i ? c->pieces - 1 : 0; /* of two blocks the second is the last */
            int k = kind_of_block(c, block_nr);
            onednn_shape s = {rows_of(p, c, piece), p->N, padded(depth_of(p, c, block_nr)), c->width,
                              block_nr || p->beta != 0.0f ? ONEDNN_ADD : p->bias ? ONEDNN_BIAS : ONEDNN_SET};
            c->matmul[k][i] = find(&s, &c->own[k][i]);
            if (!c->matmul[k][i]) {
                cut_free(c);
                return false;
            }
        }
    return true;
}

/* Columns m0.. of A as rows, and the sums of what was not rounded. */
static void pack_turned(uint32_t *to, int64_t step, const product *p, int64_t k0, int64_t K, int64_t m0, int64_t m)
{
    float sum[ROWS] = {0};
    for (int64_t k = 0; k < 2 * step; k += 2 * VL)
        for (int64_t i = 0; i < m; i += VL) {
            vecf pairs[VL], turned[VL], total = *(const vecf *)(sum + i); /* pairs, turned: bits that only move */
            int64_t n = m - i < VL ? m - i : VL;
            for (int64_t r = 0; r < VL; r++) {
                vecf x[2] = {{0}};
                for (int64_t j = 0; j < 2 && k + 2 * r + j < K; j++) {
                    const float *a = p->A + (k0 + k + 2 * r + j) * p->lda + m0 + i;
                    if (n == VL) x[j] = *(const vecf *)a;
                    else memcpy(&x[j], a, (size_t)n * sizeof *a);
                    total += x[j];
                }
                pairs[r] = (vecf)pair_two(x[0], x[1]);
            }
            *(vecf *)(sum + i) = total;
            transpose_square((float *)turned, VL, (const float *)pairs, VL, VL, 1.0f);
            for (int64_t r = 0; r < n; r++) *(vecf *)(to + (i + r) * step + k / 2) = turned[r];
        }
    for (int64_t i = 0; p->row_sum && i < m; i++) p->row_sum[m0 + i] += sum[i];
}

static void pack_panel(uint32_t *panel, const product *p, int64_t k0, int64_t K, int64_t n0, int64_t width)
{
    int64_t pairs = (K + 1) / 2;
    pack_b(panel, p, k0, K, n0, width);
    memset(panel + pairs * width, 0, sizeof *panel * (size_t)((padded(K) / 2 - pairs) * width));
}

static void piece_run(const product *p, const cut *c, int64_t b, int64_t i)
{
    uint32_t packed[ROWS * DEPTH / 2] __attribute__((aligned(64)));
    uint8_t scratch[SCRATCH] __attribute__((aligned(64)));
    int64_t k0 = b * c->depth, K = depth_of(p, c, b), m0 = i * c->rows, m = rows_of(p, c, i), step = padded(K) / 2;
    if (p->trans_a) pack_turned(packed, step, p, k0, K, m0, m);
    else {
        pack_rows(packed, step, p, k0, K, m0, m);
        for (int64_t r = 0; r < m; r++) memset(packed + r * step + (K + 1) / 2, 0, sizeof *packed * (size_t)(step - (K + 1) / 2));
    }
    int st = dnnl->run(c->matmul[kind_of_block(c, b)][i > 0 && i == c->pieces - 1], packed, block, b ? NULL : p->bias, p->C + m0 * p->ldc, scratch);
    if (st) give_up("compute a product", st);
}

static void blocks_run(const product *p, const cut *c)
{
    int64_t n_panels = p->N / c->width;
    for (int64_t b = 0; b < c->blocks; b++) {
        int64_t k0 = b * c->depth, K = depth_of(p, c, b);
#pragma omp parallel for schedule(static) if (p->threads > 1 && n_panels > 1)
        for (int64_t i = 0; i < n_panels; i++) pack_panel(block + i * c->width * padded(K) / 2, p, k0, K, i * c->width, c->width);
#pragma omp parallel for schedule(dynamic) if (p->threads > 1 && c->pieces > 1)
        for (int64_t i = 0; i < c->pieces; i++) piece_run(p, c, b, i);
    }
}

bool onednn_product(const product *p)
{
    cut c;
    pthread_mutex_lock(&lock);
    bool takes = cut_make(&c, p);
    if (takes) blocks_run(p, &c), cut_free(&c);
    pthread_mutex_unlock(&lock);
    return takes;
}

#endif
