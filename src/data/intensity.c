/* intensity: brightness, contrast, colour, gamma, blur, noise and inversion of one image at network resolution. */
#include "data_internal.h"

#include <math.h>
#include <string.h>

static float clip01(float v) { return v < 0 ? 0 : v > 1 ? 1 : v; }

/* ---- one affine map of the channels: contrast about the mean, brightness, and for colour saturation and hue ---- */

typedef struct colour_map { float m[3][3], add[3]; } colour_map;

/* Hue turns and saturation scales the chroma plane around grey: v = grey + s R(h) (v - grey), R a rotation about (1,1,1). */
static colour_map make_colour(const augment_draw *d, const float mean[3], int C)
{
    colour_map k;
    float c = d->saturation * cosf(d->hue), s = d->saturation * sinf(d->hue) * 0.57735027f, grey_part = (1 - c) / 3;
    for (int i = 0; i < 3; i++) {
        float base = 0; /* where the mean goes without contrast */
        for (int j = 0; j < 3; j++) {
            float turn = grey_part + (i == j ? c : (j - i + 3) % 3 == 1 ? -s : s);
            if (C == 1) turn = i == j;
            k.m[i][j] = d->contrast * turn;
            base += turn * mean[j];
        }
        k.add[i] = (1 - d->contrast) * base + d->brightness;
    }
    return k;
}

static void apply_colour(const colour_map *k, float *p, size_t n, int C)
{
    if (C == 1) {
        for (size_t i = 0; i < n; i++) p[i] = clip01(k->m[0][0] * p[i] + k->add[0]);
        return;
    }
    for (size_t i = 0; i < n; i++, p += 3) {
        float r = p[0], g = p[1], b = p[2];
        for (int c = 0; c < 3; c++) p[c] = clip01(k->m[c][0] * r + k->m[c][1] * g + k->m[c][2] * b + k->add[c]);
    }
}

/* ---- gamma by table ---- */

enum { TABLE = 1024 };
static void apply_gamma(const float table[TABLE + 2], float *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float t = p[i] * TABLE;
        int k = t >= 0 ? (int)t : 0; /* NaN has no cell, and stays NaN by the next line */
        p[i] = table[k] + (t - (float)k) * (table[k + 1] - table[k]);
    }
}

/* ---- Gaussian blur, separable, edges repeated ---- */

static status blur(float *image, int H, int W, int C, float sd, scratch *tmp)
{
    float weight[32], sum = 0;
    int r = (int)ceilf(2.5f * sd);
    if (r > 15) r = 15;
    for (int k = -r; k <= r; k++) sum += weight[k + r] = expf(-0.5f * (float)(k * k) / (sd * sd));
    for (int k = 0; k <= 2 * r; k++) weight[k] /= sum;
    size_t row = (size_t)W * (size_t)C, pad = (size_t)r * (size_t)C;
    TRY(buffer_need(&tmp->blur, (row * (size_t)H + row + 2 * pad) * sizeof(float), "blur"), "augmentation");
    float *across = tmp->blur.at, *line = across + row * (size_t)H;
    for (int y = 0; y < H; y++) {
        const float *in = image + (size_t)y * row;
        memcpy(line + pad, in, row * sizeof *in);
        for (int k = 0; k < r; k++)
            for (int c = 0; c < C; c++)
                line[k * C + c] = in[c], line[pad + row + (size_t)(k * C + c)] = in[row - (size_t)C + (size_t)c];
        float *restrict out = across + (size_t)y * row;
        memset(out, 0, row * sizeof *out);
        for (int k = 0; k <= 2 * r; k++)
            for (size_t i = 0; i < row; i++) out[i] += weight[k] * line[i + (size_t)(k * C)];
    }
    for (int y = 0; y < H; y++) {
        float *restrict out = image + (size_t)y * row;
        memset(out, 0, row * sizeof *out);
        for (int k = -r; k <= r; k++) {
            int from = y + k < 0 ? 0 : y + k >= H ? H - 1 : y + k;
            const float *in = across + (size_t)from * row;
            for (size_t i = 0; i < row; i++) out[i] += weight[k + r] * in[i];
        }
    }
    return OK;
}

/* ---- noise: four nearly normal numbers from one Philox block, each the sum of its word's four bytes ---- */

static void add_noise(float *p, size_t n, float sd, rng_key key, uint32_t first_block)
{
    uint32_t k[2] = {(uint32_t)key.seed, (uint32_t)(key.seed >> 32)}, word[4];
    float scale = sd / 147.80054f; /* sd of a sum of four uniform bytes: sqrt(4 (256^2 - 1) / 12) */
    for (size_t i = 0; i < n; i += 4) {
        philox4x32(k, (uint32_t[4]){first_block + (uint32_t)(i / 4), RNG_AUGMENT | SUB_NOISE << 8, key.a, key.b}, word);
        for (size_t j = 0; j < 4 && i + j < n; j++) {
            uint32_t pairs = (word[j] & 0x00FF00FFu) + (word[j] >> 8 & 0x00FF00FFu);
            p[i + j] += scale * ((float)((pairs & 0xFFFF) + (pairs >> 16)) - 510);
        }
    }
}

/* ---- all ---- */

static void mean_colour(const float *image, int H, int W, int C, int Hs, int Ws, const view *v, float mean[3])
{
    double sum[3] = {0}, n = 0;
    for (int y = 0; y < H; y++) {
        span s = view_span(v, y, W, Hs, Ws);
        const float *p = image + ((size_t)y * (size_t)W + (size_t)s.from) * (size_t)C;
        for (int x = s.from; x < s.to; x++, p += C)
            for (int c = 0; c < C; c++) sum[c] += p[c];
        n += s.to - s.from;
    }
    for (int c = 0; c < 3; c++) mean[c] = n > 0 ? (float)(sum[c < C ? c : 0] / n) : 0;
}

status intensity_apply(const augment_draw *d, rng_key key, float *image, int H, int W, int C, int Hs, int Ws, scratch *tmp)
{
    bool colour = d->brightness != 0 || d->contrast != 1 || (C == 3 && (d->hue != 0 || d->saturation != 1)), gamma = d->gamma != 1;
    if (colour || gamma) {
        float mean[3], table[TABLE + 2];
        mean_colour(image, H, W, C, Hs, Ws, &d->v, mean);
        colour_map k = make_colour(d, mean, C);
        for (int i = 0; gamma && i < TABLE + 2; i++) table[i] = powf((float)i / TABLE, d->gamma);
        for (int y = 0; y < H; y++) {
            span s = view_span(&d->v, y, W, Hs, Ws);
            float *p = image + ((size_t)y * (size_t)W + (size_t)s.from) * (size_t)C;
            size_t n = (size_t)(s.to - s.from);
            apply_colour(&k, p, n, C);
            if (gamma) apply_gamma(table, p, n * (size_t)C);
        }
    }
    if (d->blur > 0.2f) TRY(blur(image, H, W, C, d->blur, tmp), "blur"); /* less is invisible */
    for (int y = 0; y < H; y++) {
        span s = view_span(&d->v, y, W, Hs, Ws);
        size_t row = (size_t)W * (size_t)C, from = (size_t)s.from * (size_t)C, to = (size_t)s.to * (size_t)C;
        float *p = image + (size_t)y * row;
        if (d->noise > 0) add_noise(p, row, d->noise, key, (uint32_t)y * (uint32_t)((row + 3) / 4));
        for (size_t i = from; i < to; i++) p[i] = clip01(d->invert ? 1 - p[i] : p[i]);
        memset(p, 0, from * sizeof *p); /* blur and noise reached over the border of the stored image */
        memset(p + to, 0, (row - to) * sizeof *p);
    }
    return OK;
}
