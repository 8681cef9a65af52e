/* readout: what the raw outputs of image-level heads mean. */
#include "task_internal.h"

#include <math.h>

static void classes(const float *z, int K, double *p)
{
    double top = z[0], sum = 0;
    for (int k = 1; k < K; k++) top = z[k] > top ? z[k] : top;
    for (int k = 0; k < K; k++) sum += p[k] = exp(z[k] - top);
    for (int k = 0; k < K; k++) p[k] = isfinite(sum) ? p[k] / sum : 0; /* diverged: ranks last everywhere */
}

void task_readout(const task_spec *s, const float *z, double *out)
{
    if (s->kind == TASK_CLASSIFICATION) classes(z, s->K, out);
    else if (s->kind == TASK_REGRESSION) out[0] = task_scalar(s, z[0]);
    else
        for (int k = 0; k < s->K; k++) out[k] = isfinite(z[k]) ? 1.0 / (1.0 + exp(-(double)z[k])) : 0;
}
