/* rng: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and draws from it. */
#include "medley/core.h"

#include <math.h>

void philox4x32(const uint32_t key[2], const uint32_t ctr[4], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1], c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

rng rng_open(rng_key key, uint32_t purpose, uint32_t sub)
{
    return (rng){.key = {(uint32_t)key.seed, (uint32_t)(key.seed >> 32)}, .ctr = {0, purpose | sub << 8, key.a, key.b}};
}

uint32_t rng_u32(rng *r)
{
    if (r->left == 0) {
        philox4x32(r->key, r->ctr, r->out);
        r->ctr[0]++;
        r->left = 4;
    }
    return r->out[4 - r->left--];
}

float rng_uniform(rng *r) { return (float)(rng_u32(r) >> 8) * 0x1p-24f; }

float rng_normal(rng *r)
{
    double u = ((double)rng_u32(r) + 1.0) * 0x1p-32, v = (double)rng_u32(r) * 0x1p-32; /* u in (0,1] */
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

uint32_t rng_below(rng *r, uint32_t n)
{
    uint32_t reject = (uint32_t)(-n) % n; /* the values that would favour small results */
    for (;;) {
        uint32_t x = rng_u32(r);
        uint64_t product = (uint64_t)x * n;
        if ((uint32_t)product >= reject) return (uint32_t)(product >> 32);
    }
}

uint64_t hash_text(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    return h;
}
