/* rng_fill: many draws at once, for the weights a training starts from. Only +, *, / and sqrt, compiled without contraction
 * (meson.build): the same bits on every IEEE CPU, which libm's log and cos do not promise. Loops over chunks become vectors. */
#include "medley/core.h"

#include <math.h>
#include <string.h>

enum { PAIRS = 128, CHUNK = 2 * PAIRS };

/* ln(u) for u in (0,1]: u = 2^e m, m in [sqrt(1/2), sqrt 2), ln m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172: the term left
 * out is s^11 / 11 < 1e-9. */
static inline float ln(float u)
{
    int32_t bits;
    memcpy(&bits, &u, sizeof bits);
    bits -= 0x3f3504f3; /* sqrt(1/2) */
    float e = (float)(bits >> 23), m;
    bits = (bits & 0x7fffff) + 0x3f3504f3;
    memcpy(&m, &bits, sizeof m);
    float s = (m - 1.0f) / (m + 1.0f), z = s * s;
    return e * 0.693147181f + 2.0f * s * (1.0f + z * (1.0f / 3 + z * (1.0f / 5 + z * (1.0f / 7 + z * (1.0f / 9)))));
}

/* Box-Muller: words[i] and words[PAIRS + i] become the values i and PAIRS + i, with the tails that 31 bits give (|x| < 6.7). */
static void normal_chunk(const uint32_t *restrict words, float *restrict out)
{
    for (int i = 0; i < PAIRS; i++) {
        float u = ((float)(int32_t)(words[i] >> 1) + 0.5f) * 0x1p-31f;
        float radius = sqrtf(-2.0f * ln(u));
        int32_t turn = (int32_t)(words[PAIRS + i] >> 8); /* of 2^24 */
        int32_t quarter = (turn + (1 << 21)) >> 22;      /* the nearest: 0 to 4 */
        float x = (float)(turn - quarter * (1 << 22)) * 3.74507028e-7f; /* 2 pi / 2^24: in [-pi/4, pi/4] */
        float z = x * x;
        float sine = x * (1.0f + z * (-1.0f / 6 + z * (1.0f / 120 + z * (-1.0f / 5040 + z * (1.0f / 362880)))));
        float cosine = 1.0f + z * (-0.5f + z * (1.0f / 24 + z * (-1.0f / 720 + z * (1.0f / 40320))));
        float c = quarter & 1 ? sine : cosine, s = quarter & 1 ? cosine : sine;
        out[i] = radius * ((quarter + 1) & 2 ? -c : c);
        out[PAIRS + i] = radius * (quarter & 2 ? -s : s);
    }
}

static void uniform_chunk(const uint32_t *restrict words, float *restrict out)
{
    for (int i = 0; i < CHUNK; i++) out[i] = (float)(int32_t)(words[i] >> 8) * 0x1p-24f;
}

static void fill(rng_key key, uint32_t purpose, uint32_t sub, float *out, int64_t n, void (*chunk)(const uint32_t *, float *))
{
    rng r = rng_open(key, purpose, sub);
    uint32_t words[CHUNK];
    float last[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        for (int i = 0; i < CHUNK; i += 4, r.ctr[0]++) philox4x32(r.key, r.ctr, words + i);
        if (n - at >= CHUNK) {
            chunk(words, out + at);
        } else {
            chunk(words, last);
            memcpy(out + at, last, (size_t)(n - at) * sizeof *out);
        }
    }
}

void rng_fill_uniform(rng_key key, uint32_t purpose, uint32_t sub, float *out, int64_t n) { fill(key, purpose, sub, out, n, uniform_chunk); }
void rng_fill_normal(rng_key key, uint32_t purpose, uint32_t sub, float *out, int64_t n) { fill(key, purpose, sub, out, n, normal_chunk); }
