/* small: products of matrices that fit the first-level cache, and transposition, in vectors of the CPU's width. Wider ones would live in
 * memory: GCC makes scalars of their comparisons and shuffles. */
#ifndef MEDLEY_SMALL_H
#define MEDLEY_SMALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#if defined(__AVX__)
#include <immintrin.h> /* _mm512_stream_ps, _mm256_stream_ps, _mm_sfence, and what fastmath.h takes */
#endif

#if defined(__AVX512F__)
enum { VL = 16 };
#elif defined(__AVX__)
enum { VL = 8 };
#else
enum { VL = 4 }; /* SSE, NEON */
#endif
typedef float vecf __attribute__((vector_size(4 * VL), aligned(4), may_alias)); /* VL floats, wherever they lie */
#define INLINE static inline __attribute__((always_inline))

/* *to = *x, past the caches if `to` begins a line: for results that are not read soon and whose old bytes would be fetched in vain. Before
 * another thread reads them: stores_seen. */
INLINE void store_past(vecf *to, const vecf *x)
{
#if defined(__AVX512F__)
    if (((uintptr_t)to & 63) == 0) {
        _mm512_stream_ps((float *)to, (__m512)*x);
        return;
    }
#elif defined(__AVX__)
    if (((uintptr_t)to & 31) == 0) {
        _mm256_stream_ps((float *)to, (__m256)*x);
        return;
    }
#endif
    *to = *x;
}

INLINE void stores_seen(void)
{
#if defined(__AVX__)
    _mm_sfence();
#endif
}

enum store { STORE_SET, STORE_ADD, STORE_PAST };

/* C (MR,VL NV) = or += alpha * A B, A[r*rs + k*cs], B (K,VL NV) with row stride ldb. scale: a further factor for every row, or NULL. */
INLINE void small_tile(const int MR, const int NV, const enum store store, float *C, int64_t ldc, const float *A, int64_t rs, int64_t cs, const float *B,
                       int64_t ldb, int K, float alpha, const float *scale)
{
    vecf sum[8][4];
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) sum[r][v] = (vecf){0};
    for (int k = 0; k < K; k++) {
        vecf b[4];
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) b[v] = *(const vecf *)(B + k * ldb + VL * v);
#pragma GCC unroll 8
        for (int r = 0; r < MR; r++) {
            float a = A[r * rs + k * cs];
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) sum[r][v] += a * b[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++) {
        float factor = scale ? alpha * scale[r] : alpha;
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) {
            vecf *c = (vecf *)(C + r * ldc + VL * v), x = factor * sum[r][v];
            if (store == STORE_ADD) *c += x;
            else if (store == STORE_PAST) store_past(c, &x);
            else *c = x;
        }
    }
}

/* Rows of d floats that will be wanted soon and lie far apart, where the hardware does not look ahead; at NULL: none. */
typedef struct rows_ahead { const float *at; int64_t ld; int d; } rows_ahead;

/* Asks for n of them, from row `first`; ahead may be NULL. All at once would wait for each other. */
INLINE void rows_fetch(const rows_ahead *ahead, int first, int n)
{
    if (!ahead || !ahead->at) return;
    for (int r = first; r < first + n; r++)
        for (int c = 0; c < ahead->d; c += 16) __builtin_prefetch(ahead->at + r * ahead->ld + c, 0, 2);
}

#define TILE(n) (rows_fetch(ahead, m, n), small_tile(n, NV, store, C + m * ldc, ldc, A + m * rs, rs, cs, B, ldb, K, alpha, scale ? scale + m : NULL))
#if defined(__AVX512F__)
/* Rows in tiles that fill the 32 registers without spilling and leave no single rows at M = 49 and 64: 5 (and 4) x 4; with fewer
 * vectors 7 or 8 x NV. */
INLINE void small_rows(const int NV, enum store store, int M, float *C, int64_t ldc, const float *A, int64_t rs, int64_t cs, const float *B, int64_t ldb,
                       int K, float alpha, const float *scale, const rows_ahead *ahead)
{
    int m = 0;
    if (NV == 4)
        for (; m + 5 <= M; m += 5) TILE(5);
    else if (M % 7 == 0)
        for (; m < M; m += 7) TILE(7);
    else
        for (; m + 8 <= M; m += 8) TILE(8);
    for (; m + 4 <= M; m += 4) TILE(4);
    for (; m < M; m++) TILE(1);
}

/* C (M,n), stored as `store` says, = alpha * A B, row r times scale[r] unless NULL; n a multiple of 16, at most 64. Asks for M rows ahead (or
 * NULL) meanwhile. */
static inline void small_product(enum store store, int M, int n, int K, float *C, int64_t ldc, const float *A, int64_t rs, int64_t cs,
                                 const float *B, int64_t ldb, float alpha, const float *scale, const rows_ahead *ahead)
{
    switch (n / 16) {
    case 1: small_rows(1, store, M, C, ldc, A, rs, cs, B, ldb, K, alpha, scale, ahead); break;
    case 2: small_rows(2, store, M, C, ldc, A, rs, cs, B, ldb, K, alpha, scale, ahead); break;
    case 3: small_rows(3, store, M, C, ldc, A, rs, cs, B, ldb, K, alpha, scale, ahead); break;
    default: small_rows(4, store, M, C, ldc, A, rs, cs, B, ldb, K, alpha, scale, ahead); break;
    }
}
#else
/* The same for 16 registers: tiles of 6 x 2, and what is left so that there is no single row at M = 49 and 64. */
static inline void small_product(enum store store, int M, int n, int K, float *C, int64_t ldc, const float *A, int64_t rs, int64_t cs,
                                 const float *B, int64_t ldb, float alpha, const float *scale, const rows_ahead *ahead)
{
    enum { NV = 2 };
    for (int c = 0; c < n; c += NV * VL, B += NV * VL, C += NV * VL, ahead = NULL) {
        int m = 0;
        for (; M - m >= 6 && M - m != 7; m += 6) TILE(6);
        for (; M - m >= 4; m += 4) TILE(4);
        for (; M - m >= 3; m += 3) TILE(3);
        for (; m < M; m++) TILE(1);
    }
}
#endif
#undef TILE

/* y (VL,VL), stride ldy = alpha * transpose of rows 0..n-1 of x; missing rows count as zero. Rounds exchange halves, quarters, ... and
 * single elements between rows VL/2, ..., 2 and 1 apart. */
INLINE void transpose_square(float *y, int64_t ldy, const float *x, int64_t ldx, int n, float alpha)
{
    vecf t[VL], u[VL];
    for (int r = 0; r < VL; r++) {
        t[r] = (vecf){0};
        if (r < n) t[r] = *(const vecf *)(x + r * ldx);
        if (r < n && alpha != 1.0f) t[r] *= alpha; /* bits of other things may pass, too */
    }
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define ROUND(from, to, step, LO, HI)                                                                               \
    _Pragma("GCC unroll 16") for (int r = 0; r < VL; r++) if (!(r & (step)))                                        \
    {                                                                                                               \
        (to)[r] = SHUFFLE((from)[r], (from)[r + (step)], LO);                                                       \
        (to)[r + (step)] = SHUFFLE((from)[r], (from)[r + (step)], HI);                                              \
    }
#if defined(__AVX512F__)
#define LO8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HI8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define LO4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define HI4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define LO2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HI2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LO1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define HI1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
    ROUND(t, u, 8, LO8, HI8)
    ROUND(u, t, 4, LO4, HI4)
    ROUND(t, u, 2, LO2, HI2)
    ROUND(u, t, 1, LO1, HI1)
#elif defined(__AVX__)
#define LO4 0, 1, 2, 3, 8, 9, 10, 11
#define HI4 4, 5, 6, 7, 12, 13, 14, 15
#define LO2 0, 1, 8, 9, 4, 5, 12, 13
#define HI2 2, 3, 10, 11, 6, 7, 14, 15
#define LO1 0, 8, 2, 10, 4, 12, 6, 14
#define HI1 1, 9, 3, 11, 5, 13, 7, 15
    ROUND(t, u, 4, LO4, HI4)
    ROUND(u, t, 2, LO2, HI2)
    ROUND(t, u, 1, LO1, HI1)
    for (int r = 0; r < VL; r++) t[r] = u[r];
#else
#define LO2 0, 1, 4, 5
#define HI2 2, 3, 6, 7
#define LO1 0, 4, 2, 6
#define HI1 1, 5, 3, 7
    ROUND(t, u, 2, LO2, HI2)
    ROUND(u, t, 1, LO1, HI1)
#endif
#undef ROUND
#undef SHUFFLE
    for (int r = 0; r < VL; r++) *(vecf *)(y + r * ldy) = t[r];
}

/* y (D,n), row stride ldy = alpha * x^T, of the first n rows of x (N,D), row stride ldx; columns N..n-1 are zero. D a multiple of 16, n of VL. */
static inline void small_transpose(float *y, int ldy, int n, const float *x, int64_t ldx, int N, int D, float alpha)
{
    for (int i = 0; i < n; i += VL) {
        int left = N - i < VL ? N - i : VL;
        for (int c = 0; c < D; c += VL) transpose_square(y + c * ldy + i, ldy, x + i * ldx + c, ldx, left, alpha);
    }
}

#endif
