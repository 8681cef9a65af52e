/* sum: gradient sums whose bits do not depend on who adds what first. */
#include "medley/comm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GROWTH_BITS = 12, FIRST_RANGE_BITS = 20, CHUNK = 1 << 14 };

static int exponent_of(const gradient_sum *s, const sum_tensor *t)
{
    return t->exponent == SUM_EXPONENT_UNKNOWN ? 62 - s->unit_bits - FIRST_RANGE_BITS : t->exponent;
}

status sum_init(gradient_sum *s, bool exact, int n_tensors, int64_t n, int n_units)
{
    *s = (gradient_sum){.exact = exact, .n_tensors = n_tensors, .n = n};
    while ((1 << s->unit_bits) < n_units) s->unit_bits++;
    TRY(mem_alloc(&s->tensor, sizeof *s->tensor * (size_t)n_tensors, "sum table"), "sum");
    if (exact) TRY(mem_alloc(&s->fixed, sizeof *s->fixed * (size_t)n, "fixed-point gradient sum"), "sum");
    else TRY(mem_alloc(&s->floating, sizeof *s->floating * (size_t)n, "gradient sum"), "sum");
    for (int t = 0; t < n_tensors; t++) s->tensor[t].exponent = SUM_EXPONENT_UNKNOWN;
    return OK;
}

void sum_free(gradient_sum *s)
{
    free(s->tensor);
    free(s->fixed);
    free(s->floating);
    free(s->scratch);
    *s = (gradient_sum){0};
}

/* Largest |x| as bits; anything from 0x7f800000 on is Inf or NaN. Integer comparison keeps NaN visible. */
static uint32_t largest_bits(const float *x, int64_t n)
{
    uint32_t most = 0;
#pragma omp parallel for reduction(max : most) schedule(static) if (n > CHUNK)
    for (int64_t i = 0; i < n; i++) {
        uint32_t b;
        memcpy(&b, x + i, 4);
        b &= 0x7fffffffu;
        most = b > most ? b : most;
    }
    return most;
}

int sum_check(gradient_sum *s, const float *g, int first, int last)
{
    int bad = -1;
    for (int k = first; k < last; k++) {
        sum_tensor *t = &s->tensor[k];
        uint32_t bits = largest_bits(g + t->off, t->n);
        float most;
        memcpy(&most, &bits, 4);
        if (bits >= 0x7f800000u) {
            if (bad < 0) bad = k;
            continue;
        }
        if (most > t->max) t->max = most;
        if (s->exact && most > ldexpf(1.0f, 62 - s->unit_bits - exponent_of(s, t)) && bad < 0) bad = k;
    }
    return bad;
}

void sum_add(gradient_sum *s, float *g, int first, int last)
{
    for (int k = first; k < last; k++) {
        const sum_tensor *t = &s->tensor[k];
        float *restrict x = g + t->off;
        if (s->exact) {
            int64_t *restrict sum = s->fixed + t->off;
            float scale = ldexpf(1.0f, exponent_of(s, t));
#pragma omp parallel for simd schedule(static) if (t->n > CHUNK)
            for (int64_t i = 0; i < t->n; i++) {
                sum[i] += (int64_t)rintf(x[i] * scale);
                x[i] = 0;
            }
        } else {
            float *restrict sum = s->floating + t->off;
#pragma omp parallel for simd schedule(static) if (t->n > CHUNK)
            for (int64_t i = 0; i < t->n; i++) {
                sum[i] += x[i];
                x[i] = 0;
            }
        }
    }
}

void sum_reject(gradient_sum *s, float *g, int first, int last)
{
    for (int k = first; k < last; k++) memset(g + s->tensor[k].off, 0, sizeof *g * (size_t)s->tensor[k].n);
}

status sum_reduce(gradient_sum *s, comm *c, int first, int last)
{
    if (first >= last || comm_size(c) == 1) return OK;
    int64_t lo = s->tensor[first].off, hi = s->tensor[last - 1].off + s->tensor[last - 1].n;
    return s->exact ? comm_sum_i64(c, s->fixed + lo, hi - lo) : comm_sum_f32(c, s->floating + lo, hi - lo);
}

void sum_take(gradient_sum *s, float *g)
{
    for (int k = 0; k < s->n_tensors; k++) {
        const sum_tensor *t = &s->tensor[k];
        float *restrict x = g + t->off;
        if (s->exact) {
            int64_t *restrict sum = s->fixed + t->off;
            double scale = ldexp(1.0, -exponent_of(s, t));
#pragma omp parallel for simd schedule(static) if (t->n > CHUNK)
            for (int64_t i = 0; i < t->n; i++) {
                x[i] = (float)((double)sum[i] * scale);
                sum[i] = 0;
            }
        } else {
            memcpy(x, s->floating + t->off, sizeof *x * (size_t)t->n);
            memset(s->floating + t->off, 0, sizeof *x * (size_t)t->n);
        }
    }
}

status sum_rescale(gradient_sum *s, comm *c, const int *id, int n_global)
{
    if (!s->scratch) TRY(mem_alloc(&s->scratch, sizeof *s->scratch * (size_t)n_global, "maxima"), "sum");
    memset(s->scratch, 0, sizeof *s->scratch * (size_t)n_global);
    for (int k = 0; k < s->n_tensors; k++) s->scratch[id[k]] = s->tensor[k].max;
    TRY(comm_max_f64(c, s->scratch, n_global), "largest gradients");
    for (int k = 0; k < s->n_tensors; k++) {
        sum_tensor *t = &s->tensor[k];
        t->max = 0;
        double most = s->scratch[id[k]];
        if (most <= 0) continue; /* no gradient this time: keep the range */
        int exponent = 62 - s->unit_bits - GROWTH_BITS - ((int)ceil(log2(most)) + 1);
        t->exponent = exponent < -60 ? -60 : exponent > 100 ? 100 : exponent;
    }
    return OK;
}
