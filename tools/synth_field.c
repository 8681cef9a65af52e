/* synth_field: smooth noise, blur, wavy blobs and the optics of stained slides, for the phantoms. */
#include "synth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

rng synth_rng(const synth_job *job, const char *set, int subject, int image)
{
    rng_key key = { job->seed ^ hash_text(set), (uint32_t)subject, (uint32_t)image };
    return rng_open(key, RNG_SYNTH, 0);
}

float ramp(float lo, float hi, float x)
{
    float t = (x - lo) / (hi - lo);
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return t * t * (3 - 2 * t);
}

#define LATTICE 66 /* lattice points a side at most; finer cells repeat */

void field_noise(rng *r, int w, int h, float cell, int octaves, float *out)
{
    static _Thread_local float node[LATTICE * LATTICE];
    memset(out, 0, sizeof *out * (size_t)w * (size_t)h);
    float weight = 1, power = 0;
    for (int o = 0; o < octaves; o++, cell *= 0.5f, weight *= 0.5f) {
        for (int i = 0; i < LATTICE * LATTICE; i++)
            node[i] = 2 * rng_uniform(r) - 1;
        for (int y = 0; y < h; y++) {
            float fy = (float)y / cell;
            int iy = (int)fy;
            float ty = ramp(0, 1, fy - (float)iy);
            const float *n0 = node + iy % LATTICE * LATTICE, *n1 = node + (iy + 1) % LATTICE * LATTICE;
            for (int x = 0; x < w; x++) {
                float fx = (float)x / cell;
                int ix = (int)fx;
                float tx = ramp(0, 1, fx - (float)ix);
                int a = ix % LATTICE, b = (ix + 1) % LATTICE;
                float top = n0[a] + tx * (n0[b] - n0[a]), low = n1[a] + tx * (n1[b] - n1[a]);
                out[y * w + x] += weight * (top + ty * (low - top));
            }
        }
        power += weight * weight;
    }
    float scale = 2.3f / sqrtf(power); /* a uniform node has sd 0.577, interpolation takes a quarter of it */
    for (int i = 0; i < w * h; i++)
        out[i] *= scale;
}

static void blur_line(float *line, int n, size_t step, const float *tap, int reach, float *copy)
{
    for (int i = 0; i < n; i++)
        copy[i] = line[(size_t)i * step];
    for (int i = 0; i < n; i++) {
        float sum = 0;
        for (int k = -reach; k <= reach; k++) {
            int j = i + k < 0 ? 0 : i + k >= n ? n - 1 : i + k;
            sum += tap[abs(k)] * copy[j];
        }
        line[(size_t)i * step] = sum;
    }
}

void field_blur(float *f, int w, int h, int channels, float sd, float *scratch)
{
    if (sd <= 0.05f)
        return;
    float tap[16], sum = 0;
    int reach = (int)ceilf(2.5f * sd);
    reach = reach > 15 ? 15 : reach;
    for (int k = 0; k <= reach; k++) {
        tap[k] = expf(-0.5f * (float)(k * k) / (sd * sd));
        sum += k ? 2 * tap[k] : tap[k];
    }
    for (int k = 0; k <= reach; k++)
        tap[k] /= sum;
    for (int c = 0; c < channels; c++) {
        for (int y = 0; y < h; y++)
            blur_line(f + (size_t)y * (size_t)w * (size_t)channels + c, w, (size_t)channels, tap, reach, scratch);
        for (int x = 0; x < w; x++)
            blur_line(f + (size_t)x * (size_t)channels + c, h, (size_t)w * (size_t)channels, tap, reach, scratch);
    }
}

blob blob_draw(rng *r, float x, float y, float radius, float squash, float waviness)
{
    blob b = { .x = x, .y = y, .turn = synth_between(r, 0, 6.2832f) };
    float s = synth_between(r, 1 - squash, 1);
    b.rx = radius / sqrtf(s), b.ry = radius * sqrtf(s);
    for (int k = 0; k < 4; k++) {
        b.wave[k] = waviness * rng_normal(r) / (float)(k + 1);
        b.phase[k] = synth_between(r, 0, 6.2832f);
    }
    return b;
}

/* Radius of the outline over that of the ellipse, in direction `a` of the blob's own frame. */
static float blob_wave(const blob *b, float a)
{
    float f = 1;
    for (int k = 0; k < 4; k++)
        f += b->wave[k] * cosf((float)(k + 2) * a + b->phase[k]);
    return f < 0.4f ? 0.4f : f;
}

float blob_edge(const blob *b, float x, float y)
{
    float dx = x - b->x, dy = y - b->y, c = cosf(b->turn), s = sinf(b->turn);
    float u = (c * dx + s * dy) / b->rx, v = (c * dy - s * dx) / b->ry, rho = sqrtf(u * u + v * v);
    float mean = sqrtf(b->rx * b->ry);
    if (rho < 1e-3f)
        return mean;
    return (blob_wave(b, atan2f(v, u)) - rho) * mean;
}

void blob_bounds(const blob *b, float box[4])
{
    box[0] = box[1] = 1e30f, box[2] = box[3] = -1e30f;
    for (int i = 0; i < 128; i++) {
        float a = 6.2831853f * (float)i / 128, f = blob_wave(b, a), u = f * b->rx * cosf(a), v = f * b->ry * sinf(a);
        float c = cosf(b->turn), s = sinf(b->turn), x = b->x + c * u - s * v, y = b->y + s * u + c * v;
        box[0] = fminf(box[0], x), box[1] = fminf(box[1], y), box[2] = fmaxf(box[2], x), box[3] = fmaxf(box[3], y);
    }
}

void stain_blob(float *od, int w, int h, const blob *b, const stain *s, float amount, float softness)
{
    float box[4];
    blob_bounds(b, box);
    int x0 = (int)fmaxf(0, box[0] - softness - 1), x1 = (int)fminf((float)w - 1, box[2] + softness + 1);
    int y0 = (int)fmaxf(0, box[1] - softness - 1), y1 = (int)fminf((float)h - 1, box[3] + softness + 1);
    for (int y = y0; y <= y1; y++)
        for (int x = x0; x <= x1; x++) {
            float t = amount * ramp(-softness, softness, blob_edge(b, (float)x + 0.5f, (float)y + 0.5f));
            for (int c = 0; c < 3; c++)
                od[3 * (y * w + x) + c] += t * s->od[c];
        }
}

void stain_develop(rng *r, float *od, int w, int h, const float light[3], float blur, float noise, uint8_t *rgb, float *scratch)
{
    for (int i = 0; i < w * h; i++)
        for (int c = 0; c < 3; c++)
            od[3 * i + c] = light[c] * expf(-2.302585f * fmaxf(od[3 * i + c], 0));
    field_blur(od, w, h, 3, blur, scratch);
    for (int i = 0; i < 3 * w * h; i++) {
        float v = 255 * (od[i] + noise * sqrtf(fmaxf(od[i], 0.02f)) * rng_normal(r)); /* shot noise: variance grows with light */
        rgb[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5f);
    }
}
