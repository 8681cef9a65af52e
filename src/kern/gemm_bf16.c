/* gemm_bf16: shapes, and the kernel for every CPU. See gemm_bf16.h. */
#include "gemm_bf16.h"

#include "small.h"

#include <string.h>

bool bf16_fits(const product *p)
{
    return p->alpha == 1.0f && (p->beta == 0.0f || p->beta == 1.0f) && p->N % 16 == 0 && p->M >= 8 && p->K >= 16 &&
           (double)p->M * (double)p->N * (double)p->K >= 1 << 20;
}

int64_t bf16_rows(const product *p)
{
    enum { UNIT = 16 };
    int64_t most = BF16_ROOM / (bf16_depth(p) / 2 + BF16_PAD) / UNIT * UNIT;
    if (p->trans_a && most > BF16_COLUMNS) most = BF16_COLUMNS;
    return shared_rows(p, most, UNIT);
}

enum { ROWS = 4, VECTORS = 2 };
typedef uint32_t vecu __attribute__((vector_size(4 * VL), aligned(4), may_alias));

static inline vecu round_all(vecf x)
{
    vecu u = (vecu)x, is_nan = (vecu)((u & 0x7fffffff) > 0x7f800000);
    return ((u + 0x7fff + ((u >> 16) & 1)) & ~is_nan) | ((u | 0x400000) & is_nan);
}

static inline vecu pair_two(vecf lo, vecf hi) { return round_all(lo) >> 16 | (round_all(hi) & 0xffff0000u); }

static inline vecu pair_row(const float *x)
{
    vecf a = *(const vecf *)x, b = *(const vecf *)(x + VL);
#if defined(__AVX512F__)
    return pair_two(__builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
                    __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
#elif defined(__AVX__)
    return pair_two(__builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14), __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15));
#else
    return pair_two(__builtin_shufflevector(a, b, 0, 2, 4, 6), __builtin_shufflevector(a, b, 1, 3, 5, 7));
#endif
}

static inline float one_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The later products first, as the instruction does. */
#define HALF(sum, MR, NV, A, rs, b, OF)                                                                                           \
    _Pragma("GCC unroll 8") for (int r = 0; r < MR; r++)                                                                          \
    {                                                                                                                             \
        float a = one_of(OF((A)[r * (rs)]));                                                                                      \
        _Pragma("GCC unroll 3") for (int v = 0; v < NV; v++) (sum)[r][v] += a * (vecf)(OF((b)[v]));                               \
    }
#define LATER(pair) ((pair) & 0xffff0000u)
#define FORMER(pair) ((pair) << 16)
#define DOT(sum, MR, NV, A, rs, b)                                                                                                \
    HALF(sum, MR, NV, A, rs, b, LATER)                                                                                            \
    HALF(sum, MR, NV, A, rs, b, FORMER)
#define BF16_NAME bf16_plain
#include "gemm_bf16_inner.h"
