/* gemm_tile: matrix products in register tiles, with AVX-512 or AVX2 for the shapes of linear layers. OpenBLAS packs both operands anew for every
 * call, which costs a tenth and more where the inner dimension is a hundred; here rows are read where they lie, only one narrow panel of
 * the other operand is packed at a time, and bias and column sums ride along. */
#ifndef MEDLEY_GEMM_TILE_H
#define MEDLEY_GEMM_TILE_H

#include <stdbool.h>
#include <stdint.h>

/* C (M,N) = alpha * op(A) op(B) + beta * C, row-major. */
typedef struct product {
    bool trans_a, trans_b;
    int64_t M, N, K;
    float alpha, beta;
    const float *A, *B;
    int64_t lda, ldb;
    float *C;
    int64_t ldc;
    const float *bias; /* (N) added to every row, or NULL. Only with beta = 0 and alpha = 1 */
    float *row_sum;    /* (M) += sums over K of op(A), or NULL. Only with trans_a */
    bool bf16;         /* operands may be rounded to bf16 */
    int threads;       /* that share the pieces */
} product;

/* Length of equal parts of n, each at most `most`, in whole `unit`s. */
static inline int64_t part_length(int64_t n, int64_t most, int64_t unit)
{
    int64_t parts = (n + most - 1) / most, length = (n + parts - 1) / parts;
    return (length + unit - 1) / unit * unit;
}

/* Rows of a piece of M: at most `most`, in whole `unit`s, and few enough that every thread gets some. */
static inline int64_t shared_rows(const product *p, int64_t most, int64_t unit)
{
    int64_t share = p->M / (4 * p->threads);
    if (p->threads > 1 && share < most) most = share < 64 ? 64 : share;
    return part_length(p->M, most, unit);
}

/* Is this build's CPU and this shape one for the tiles? */
bool product_fits(const product *p);
/* Pieces of M that can be computed apart. Every value is the same sum in the same order however M is cut, so the number of threads may
 * decide the cut. */
int64_t product_pieces(const product *p);
void product_run(const product *p, int64_t piece);

/* Tiles on a panel packed before, (K,16 NV), NV <= 3: C (M,16 NV) = or += A (M,K) panel. On every CPU. */
void tile_columns(float *C, int64_t ldc, const float *A, int64_t lda, const float *panel, int NV, int64_t M, int64_t K, bool add);
/* C (16,16 NV) += the transpose of A (K,16), rows lda apart, times panel. */
void tile_across(float *C, int64_t ldc, const float *A, int64_t lda, const float *panel, int NV, int64_t K);
/* Panels that so many vectors of columns are cut into; panel p has vectors n*p/panels .. n*(p+1)/panels - 1. */
static inline int tile_panels(int vectors) { return (vectors + 2) / 3; }

#endif
