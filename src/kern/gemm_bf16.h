/* gemm_bf16: the products of gemm_tile.h with both operands rounded to bf16 (to nearest, ties to even) and sums in fp32, as the
 * instruction VDPBF16PS of AVX512-BF16 forms them: a pair of products at a time, the later one first. Operands are fp32 in memory and
 * rounded while they are packed. */
#ifndef MEDLEY_GEMM_BF16_H
#define MEDLEY_GEMM_BF16_H

#include "medley/core.h"

#include "gemm_tile.h"

/* Is this shape one for bf16? Small products stay fp32: heads of a few classes, tables of positions. */
bool bf16_fits(const product *p);
/* Rows per piece, a function of the shape and the threads. However M is cut, a value is the same sum in the same order. */
int64_t bf16_rows(const product *p);

/* Rows m0..m0+m-1 of C, m <= bf16_rows. */
typedef void bf16_kernel(const product *p, int64_t m0, int64_t m);
bf16_kernel bf16_plain; /* on every CPU, by two fp32 multiply-adds: no faster than fp32 */
#if defined(HAVE_AVX512_BF16)
bf16_kernel bf16_avx512; /* only where the CPU has AVX512-BF16 */
/* From here on onednn_product computes by this module, which was opened. ST_RESOURCE. */
struct onednn_module;
MUST status onednn_use(const struct onednn_module *m);
/* The whole product. False, and nothing done: oneDNN has no fast way for this shape. One at a time: others wait. */
bool onednn_product(const product *p);
#endif
/* A product that fits, by the kernel that was chosen. */
void bf16_product(const product *p);

enum {
    BF16_DEPTH = 768,   /* K per block, so that a panel of op(B) and some rows of A lie in the second-level cache */
    BF16_COLUMNS = 240, /* rows of a piece where A is transposed */
    BF16_ROOM = 131072, /* pairs of a packed piece of A: 512 KiB, on the stack */
    BF16_PAD = 16       /* pairs between packed rows or panels, or all would meet in one set of the first-level cache */
};
static inline int64_t bf16_depth(const product *p) { return part_length(p->K, BF16_DEPTH, 32); }

#endif
