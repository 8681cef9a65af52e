/* sum_internal: what sum.c, sum_node.c and sum_ahead.c share: one value, adding up others' integers, rounding the sum. */
#ifndef MEDLEY_SUM_INTERNAL_H
#define MEDLEY_SUM_INTERNAL_H

#include "medley/comm.h"

#include "sum_shape.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 1 << 14, FIRST_RANGE_BITS = 20 };

static inline int exponent_of(const gradient_sum *s, const sum_tensor *t)
{
    return t->exponent == SUM_EXPONENT_UNKNOWN ? 62 - s->unit_bits - FIRST_RANGE_BITS : t->exponent;
}

/* ---- one value -------------------------------------------------------------------------------------------------------------- */

/* Written so that every compiler makes vectors of it: (int64_t)rintf() and (double)int64_t become one scalar instruction each otherwise. */

/* x * scale, a power of two, to the nearest integer, ties to even; |x * scale| <= 2^62. Adding 1.5 * 2^52 to a double below 2^51 rounds it
 * and leaves the integer in the low bits. hi * 2^32 is an exact part of the product and even, so rounding the rest rounds the whole. */
static inline int64_t to_fixed(float x, double scale)
{
    const double magic = 0x1.8p52;
    double v = (double)x * scale, hi = v * 0x1p-32 + magic, lo = v - (hi - magic) * 0x1p32 + magic;
    int64_t h, l, m;
    memcpy(&h, &hi, 8), memcpy(&l, &lo, 8), memcpy(&m, &magic, 8);
    return (int64_t)((uint64_t)(h - m) << 32) + (l - m);
}

/* v * scale, rounded to double and then to float. Both halves are exact, so adding them rounds once, like (double)v. */
static inline float from_fixed(int64_t v, double scale)
{
    return (float)(((double)(int32_t)(v >> 32) * 0x1p32 + (double)(uint32_t)v) * scale);
}

/* ---- tensors ---------------------------------------------------------------------------------------------------------------- */

/* The first tensor from `at` on that does not end before element lo; the last one, if all do. */
static inline int tensor_at(const gradient_sum *s, int at, int64_t lo)
{
    while (s->tensor[at].off + s->tensor[at].n <= lo && at + 1 < s->n_tensors) at++;
    return at;
}

/* What of a tensor lies in lo..hi-1: elements *from..*end-1. */
static inline void tensor_part(const sum_tensor *t, int64_t lo, int64_t hi, int64_t *from, int64_t *end)
{
    *from = t->off > lo ? t->off : lo, *end = t->off + t->n < hi ? t->off + t->n : hi;
}

/* ---- pieces ----------------------------------------------------------------------------------------------------------------- */

/* sum[0..n-1] += what n_others ranks have of it, `at` elements behind other[]. */
void sum_add_others(const int64_t *const *other, int64_t *restrict sum, int64_t at, int64_t n, int n_others);
/* Elements lo..hi-1 of the arena become floats: all[0..hi-lo-1] plus what n_others ranks have of them, from other[] on, to g[0..hi-lo-1]. The
 * padding between tensors stays as it is. *at: a tensor that does not end before lo; moved on for the next piece. */
void sum_round(const gradient_sum *s, const int64_t *const *other, int n_others, int64_t *all, float *g, int64_t lo, int64_t hi, int *at);

/* Elements from..hi-1, cut into pieces, over the ranks of c through MPI. */
MUST status sum_through_mpi(gradient_sum *s, comm *c, int *at, int64_t from, int64_t hi, float *g);
/* The accumulators of tensors first..last-1 get what sum_leave left in g, or zeros if nothing was added. */
void sum_settle(gradient_sum *s, int first, int last, float *g);

/* ---- src/comm/sum_node.c ---- */
/* The same as sum_reduce, of this rank alone; and over the ranks of a group, where those of a node see each other's memory. */
void sum_alone(gradient_sum *s, int first, int last, float *g);
MUST status sum_on_nodes(gradient_sum *s, const sum_group *group, int first, int last, float *g);

#endif
