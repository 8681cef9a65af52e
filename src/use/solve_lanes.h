/* solve_lanes: sums of products in eight lanes, which the compiler may keep in vectors without changing the order of a single addition. */
#ifndef USE_SOLVE_LANES_H
#define USE_SOLVE_LANES_H

#include <stdint.h>

#define LANES 8

static inline double dot(const double *a, const double *b, int64_t n)
{
    double s[LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) s[k] += a[i + k] * b[i + k];
    for (; i < n; i++) rest += a[i] * b[i];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7])) + rest;
}

static inline double dot_floats(const float *a, const float *b, int64_t n)
{
    double s[LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) s[k] += (double)a[i + k] * (double)b[i + k];
    for (; i < n; i++) rest += (double)a[i] * (double)b[i];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7])) + rest;
}

/* y += a x */
static inline void add_scaled(double *restrict y, double a, const double *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

#endif
