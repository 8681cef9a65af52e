/* gemm_bf16_pairs: pairs by the instructions of AVX512-BF16, for gemm_bf16_pack.h. */
#include "small.h"

#include <immintrin.h> /* _mm512_dpbf16_ps, _mm512_cvtne2ps_pbh: no vector extension of the compiler means them */

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
