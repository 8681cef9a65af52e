/* gemm_bf16_avx512: gemm_bf16.h with AVX512-BF16. Compiled for such a CPU in every x86-64 build, called only where there is one. */
#include "gemm_bf16.h"

#if defined(__AVX512BF16__)

#include "gemm_bf16_pairs.h"

#include <string.h>

enum { ROWS = 8, VECTORS = 3 };

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
