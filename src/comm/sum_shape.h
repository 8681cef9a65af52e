/* sum_shape: how the gradient arena is cut for the sum; sum.c does it, simulate.c counts it. */
#ifndef MEDLEY_SUM_SHAPE_H
#define MEDLEY_SUM_SHAPE_H

#include <stdint.h>

enum { PIECE = 1 << 17, SLICE_LEAST = 1 << 12, ALIGN = 16 };

/* Elements that cross the ranks at a time. */
static inline int64_t piece_of(int n_ranks) { return (int64_t)n_ranks * SLICE_LEAST > PIECE ? (int64_t)n_ranks * SLICE_LEAST : PIECE; }

/* Length of the slices that n elements are owned in, and where rank r's begins; rank `size`: the end. */
static inline int64_t slice_of(int64_t n, int size) { return ((n + size - 1) / size + ALIGN - 1) / ALIGN * ALIGN; }
static inline int64_t slice_at(int64_t n, int size, int r) { return r * slice_of(n, size) < n ? r * slice_of(n, size) : n; }

/* The early sum (sum_ahead.c): elements of a bucket, about; and for a part of n elements, cut from its end: its first bucket has what is left. */
enum { BUCKETS = 8, BUCKET_LEAST = 1 << 12 };
static inline int64_t bucket_of(int64_t n) { return (n + BUCKETS - 1) / BUCKETS > BUCKET_LEAST ? (n + BUCKETS - 1) / BUCKETS : BUCKET_LEAST; }
static inline int64_t bucket_each(int64_t n, int64_t size)
{
    int64_t count = (n + size / 2) / size > 0 ? (n + size / 2) / size : 1;
    return (n + count - 1) / count;
}

#endif
