/* position: position bias of a block. V1: a table. V2: a small network over log-spaced relative coordinates (arXiv 2111.09883, 3.3),
 * and the temperature of the cosine attention. */
#include "swin_internal.h"

#include <math.h>
#include <string.h>

void position_coords(float *coords, int ws)
{
    for (int y = 1 - ws, i = 0; y < ws; y++)
        for (int x = 1 - ws; x < ws; x++, i++)
            for (int axis = 0; axis < 2; axis++) {
                float v = (float)(axis ? x : y) / (float)(ws - 1) * 8.0f;
                coords[2 * i + axis] = copysignf(log2f(fabsf(v) + 1.0f) / 3.0f, v);
            }
}

static int n_positions(const block_run *k) { return (2 * k->grid->ws - 1) * (2 * k->grid->ws - 1); }

static void hidden_layer(block_run *k, const params *t, const float *w)
{
    int64_t T = n_positions(k);
    linear_forward(k->s->hidden, k->s->coords, PW(t, w, k->p.cpb0_w), PW(t, w, k->p.cpb0_b), T, CPB_HIDDEN, 2);
    relu_forward(k->s->hidden, k->s->hidden, T * CPB_HIDDEN);
}

#define LN_100 4.605170186f

void position_forward(block_run *k, const params *t, const float *w)
{
    if (k->version == 1) {
        window_bias_forward(k->bias, PW(t, w, k->p.table), k->grid->ws, k->heads, false);
        return;
    }
    hidden_layer(k, t, w);
    linear_forward(k->table, k->s->hidden, PW(t, w, k->p.cpb2_w), NULL, n_positions(k), k->heads, CPB_HIDDEN);
    window_bias_forward(k->bias, k->table, k->grid->ws, k->heads, true);
    const float *logit_scale = PW(t, w, k->p.logit_scale);
    for (int h = 0; h < k->heads; h++) k->tau[h] = expf(fminf(logit_scale[h], LN_100));
}

void position_backward(block_run *k, const params *t, const float *w, float *g, const float *dbias, const float *dtau)
{
    int64_t T = n_positions(k);
    if (k->version == 1) {
        window_bias_backward(PW(t, g, k->p.table), dbias, PW(t, w, k->p.table), k->grid->ws, k->heads, false);
        return;
    }
    scratch *s = k->s;
    memset(s->dtable, 0, sizeof(float) * (size_t)(T * k->heads));
    window_bias_backward(s->dtable, dbias, k->table, k->grid->ws, k->heads, true);
    hidden_layer(k, t, w);
    linear_backward(s->dhidden, false, PW(t, g, k->p.cpb2_w), NULL, s->dtable, s->hidden, PW(t, w, k->p.cpb2_w), T, k->heads, CPB_HIDDEN);
    relu_backward(s->dhidden, s->dhidden, s->hidden, T * CPB_HIDDEN);
    linear_backward(NULL, false, PW(t, g, k->p.cpb0_w), PW(t, g, k->p.cpb0_b), s->dhidden, s->coords, PW(t, w, k->p.cpb0_w), T,
                    CPB_HIDDEN, 2);
    const float *logit_scale = PW(t, w, k->p.logit_scale);
    float *d = PW(t, g, k->p.logit_scale);
    for (int h = 0; h < k->heads; h++)
        if (logit_scale[h] <= LN_100) d[h] += dtau[h] * k->tau[h];
}
