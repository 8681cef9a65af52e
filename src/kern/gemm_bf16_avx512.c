/* gemm_bf16_avx512: gemm_bf16.h with AVX512-BF16. Compiled for such a CPU in every x86-64 build, called only where there is one. */
#include "gemm_bf16.h"

#if defined(__AVX512BF16__)

#include "small.h"

#include <immintrin.h> /* _mm512_dpbf16_ps, _mm512_cvtne2ps_pbh: no vector extension of the compiler means them */
#include <string.h>

enum { ROWS = 8, VECTORS = 3 };
typedef uint32_t vecu __attribute__((vector_size(4 * VL), aligned(4), may_alias));

static inline vecu pair_row(const float *x)
{
    return (vecu)_mm512_cvtne2ps_pbh((__m512) * (const vecf *)(x + VL), (__m512) * (const vecf *)x);
}

static inline vecu pair_two(vecf lo, vecf hi)
{
    typedef uint16_t halves __attribute__((vector_size(64)));
    halves each = (halves)_mm512_cvtne2ps_pbh((__m512)hi, (__m512)lo);
    return (vecu)__builtin_shufflevector(each, each, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                         29, 14, 30, 15, 31);
}

#define DOT(sum, MR, NV, A, rs, b)                                                                                                \
    _Pragma("GCC unroll 8") for (int r = 0; r < MR; r++)                                                                          \
    {                                                                                                                             \
        __m512i a = _mm512_set1_epi32((int)(A)[r * (rs)]);                                                                        \
        _Pragma("GCC unroll 3") for (int v = 0; v < NV; v++)                                                                      \
            (sum)[r][v] = (vecf)_mm512_dpbf16_ps((__m512)(sum)[r][v], (__m512bh)a, (__m512bh)(b)[v]);                             \
    }
#define BF16_NAME bf16_avx512
#include "gemm_bf16_inner.h"

#endif
