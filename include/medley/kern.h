/* kern: the arithmetic. fp32, row-major, channels last. One thread per GEMM; OpenMP runs over fixed chunks, so the bits do
 * not depend on the number of threads. OpenBLAS is included in gemm.c only, oneDNN in the module that bf16_choose.c loads. */
#ifndef MEDLEY_KERN_H
#define MEDLEY_KERN_H

#include "medley/core.h"

/* Sets OpenMP threads for our kernels, which flush denormals, and one thread for OpenBLAS. Call once at start. */
void kern_init(int n_threads);
/* From here on this thread, and those that it starts, take numbers below 1.2e-38 (2.2e-308 in double precision) for zero. Probabilities of
 * masked tokens are such numbers, and Intel's CPUs take a hundred cycles for each. Does nothing on CPUs other than x86-64 and aarch64. */
void kern_flush_denormals(void);
int  kern_threads(void);
const char *kern_blas_name(void); /* e.g. "OpenBLAS 0.3.21 SkylakeX" */
const char *kern_better_core(void); /* value of OPENBLAS_CORETYPE that would be faster here, or NULL; OpenBLAS reads it when it is loaded */

const char *kern_isa(void);       /* instructions the kernels were built for and the CPU offers, e.g. "kernels avx2, CPU has fma avx2 avx512f" */

/* From here on linear_forward and linear_backward round what they multiply to bf16 (to nearest, ties to even) and add up in fp32; biases
 * and their gradients stay fp32. Products of less than 2^20 multiply-adds or with fewer than 16 columns, and all else here, stay fp32 as
 * well. For the whole process; call it while nothing is computed. Returns what was so far. */
bool kern_use_bf16(bool on);
/* Which kernel does that: AMX by oneDNN, from a module that is loaded now, else AVX512-BF16, else a twin by fp32 instructions, which is slower; or
 * the one of MEDLEY_BF16_KERNEL: onednn, avx512, plain. ST_USAGE: that is none of them, or cannot run here. Once for the process; the others ask
 * it too, and take the twin if it fails. */
MUST status kern_bf16_choose(void);
/* "AMX by oneDNN 2.6.3, L2 2048 KiB", "AVX512-BF16"; NULL: the twin. With the shapes it is all that the bits depend on. */
const char *kern_bf16_name(void);
const char *kern_bf16_lacks(void); /* why it is no faster one, e.g. that the module is not there for a CPU that has AMX; NULL: it is the fastest */
/* Bytes that its library takes in this process once it has made its kernels; 0 for ours. */
int64_t kern_bf16_bytes(void);
/* How many times as fast as in fp32 a linear layer's step is in bf16, on one thread, measured in about 50 ms. Call it while nothing is
 * computed. Fails if memory runs out. */
MUST status kern_bf16_gain(double *gain);

/* C (M,N) = alpha * op(A) op(B) + beta * C. trans: false = as stored. lda.. = row strides. Split into fixed row chunks that
 * depend on (M,N,K) only. Threads: OpenMP over chunks, or none if called inside a parallel region. */
void kern_gemm(bool trans_a, bool trans_b, int64_t M, int64_t N, int64_t K, float alpha, const float *A, int64_t lda,
               const float *B, int64_t ldb, float beta, float *C, int64_t ldc);

/* y (R,N) = x (R,K) W^T + b; W (N,K) as torch stores it; b (N) or NULL. */
void linear_forward(float *y, const float *x, const float *W, const float *b, int64_t R, int64_t N, int64_t K);
/* dx (R,K) = dy W (NULL: skip; acc_dx: add instead of set); dW (N,K) += dy^T x; db (N) += column sums of dy (NULL: skip). */
void linear_backward(float *dx, bool acc_dx, float *dW, float *db, const float *dy, const float *x, const float *W,
                     int64_t R, int64_t N, int64_t K);

#include "medley/kern_norm.h"   /* layer norm, group norm, GELU, ReLU */
#include "medley/kern_window.h" /* window attention V1 and V2 */
#include "medley/kern_conv.h"   /* 3x3 and 1x1 convolution, up-sampling */

#endif
