/* bf16_gain: what bf16 brings on this CPU, measured. That it has AVX512-BF16 does not tell: Zen 4 does twice as many multiply-adds a cycle with
 * the instruction as in fp32, Intel's Emerald Rapids half as many (jobs/README.md). */
#include "medley/kern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { R = 512, N = 384, K = 384, ROUNDS = 8 };

/* Seconds of a linear layer's step. */
static double layer_step(float *const m[6])
{
    double began = timer_now();
    linear_forward(m[0], m[1], m[2], NULL, R, N, K);
    linear_backward(m[3], false, m[4], NULL, m[5], m[1], m[2], R, N, K);
    return timer_now() - began;
}

status kern_bf16_gain(double *gain)
{
    const int64_t size[6] = {R * N, R * K, N * K, R * K, N * K, R * N};
    float *m[6] = {NULL};
    double best[2] = {INFINITY, INFINITY};
    int threads = kern_threads();
    *gain = 0;
    status st = OK;
    for (int i = 0; i < 6 && !st; i++) st = mem_alloc(&m[i], sizeof(float) * (size_t)size[i], "measuring bf16");
    for (int i = 0; i < 6 && !st; i++) memset(m[i], 0, sizeof(float) * (size_t)size[i]);
    kern_init(1);
    bool was = kern_use_bf16(false);
    for (int i = 0; i < 2 * ROUNDS && !st; i++) { /* in turn: the clock may change */
        kern_use_bf16(i % 2);
        best[i % 2] = fmin(best[i % 2], layer_step(m));
    }
    kern_use_bf16(was);
    kern_init(threads);
    if (!st) *gain = best[0] / best[1];
    for (int i = 0; i < 6; i++) free(m[i]);
    return st;
}
