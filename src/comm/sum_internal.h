/* sum_internal: what sum.c and sum_ahead.c share: adding up others' integers, rounding the sum. */
#ifndef MEDLEY_SUM_INTERNAL_H
#define MEDLEY_SUM_INTERNAL_H

#include "medley/comm.h"

#include "sum_shape.h"

/* sum[0..n-1] += what n_others ranks have of it, `at` elements behind other[]. */
void sum_add_others(const int64_t *const *other, int64_t *restrict sum, int64_t at, int64_t n, int n_others);
/* Elements lo..hi-1 of the arena become floats: all[0..hi-lo-1] plus what n_others ranks have of them, from other[] on, to g[0..hi-lo-1]. The
 * padding between tensors stays as it is. *at: a tensor that does not end before lo; moved on for the next piece. */
void sum_round(const gradient_sum *s, const int64_t *const *other, int n_others, int64_t *all, float *g, int64_t lo, int64_t hi, int *at);

#endif
