/* checksum: CRC-32C (Castagnoli, RFC 3720) and SHA-256 (FIPS 180-4). */
#include "medley/core.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h> /* _mm_crc32_u64, _mm_sha256rnds2_epu32 */
#endif

#if !defined(__SSE4_2__)
static uint32_t crc_table[256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;
static void crc_fill(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0x82F63B78u : c >> 1;
        crc_table[i] = c;
    }
}
#endif

uint32_t crc32c(uint32_t seed, const void *data, size_t n_bytes)
{
    const uint8_t *p = data;
    uint32_t c = ~seed;
#if defined(__SSE4_2__)
    uint64_t wide = c;
    for (; n_bytes >= 8; n_bytes -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    c = (uint32_t)wide;
    for (; n_bytes; n_bytes--, p++) c = _mm_crc32_u8(c, *p);
#else
    pthread_once(&crc_once, crc_fill);
    for (; n_bytes; n_bytes--, p++) c = c >> 8 ^ crc_table[(c ^ *p) & 255];
#endif
    return ~c;
}

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* n blocks of 64 bytes. */
static void blocks_portable(uint32_t h[8], const uint8_t *p, size_t n)
{
    for (; n > 0; n--, p += 64) {
        uint32_t w[64], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
        for (int i = 0; i < 16; i++) w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
        for (int i = 16; i < 64; i++) {
            uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
            uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        /* the letters move on instead of the values */
#define ROUND(a, b, c, d, e, f, g, h, i)                                                                                             \
    do {                                                                                                                             \
        uint32_t t_ = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];                             \
        d += t_;                                                                                                                     \
        h = t_ + (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));                                           \
    } while (0)
        for (int i = 0; i < 64; i += 8) {
            ROUND(a, b, c, d, e, f, g, k, i);
            ROUND(k, a, b, c, d, e, f, g, i + 1);
            ROUND(g, k, a, b, c, d, e, f, i + 2);
            ROUND(f, g, k, a, b, c, d, e, i + 3);
            ROUND(e, f, g, k, a, b, c, d, i + 4);
            ROUND(d, e, f, g, k, a, b, c, i + 5);
            ROUND(c, d, e, f, g, k, a, b, i + 6);
            ROUND(b, c, d, e, f, g, k, a, i + 7);
        }
#undef ROUND
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += k;
    }
}

#if defined(__x86_64__)
/* With the SHA instructions of x86 CPUs, which want the state as (a b e f) and (c d g h), highest lane first, and do two rounds each. */
__attribute__((target("sha,sse4.1"))) static void blocks_x86(uint32_t h[8], const uint8_t *p, size_t n)
{
    const __m128i big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)h), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(h + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
    for (; n > 0; n--, p += 64) {
        __m128i w[4], abef0 = abef, cdgh0 = cdgh;
        for (int i = 0; i < 4; i++) w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), big_endian);
        for (int i = 0; i < 16; i++) { /* four rounds, and w four groups ahead */
            __m128i k = _mm_add_epi32(w[i & 3], _mm_loadu_si128((const __m128i *)(const void *)(K + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0e));
            __m128i ago7 = _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4);
            w[i & 3] = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]), ago7), w[(i + 3) & 3]);
        }
        abef = _mm_add_epi32(abef, abef0), cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)(void *)h, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static bool cpu_has_sha(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}
#else
#define blocks_x86 blocks_portable
static bool cpu_has_sha(void) { return false; }
#endif

static void (*blocks)(uint32_t h[8], const uint8_t *p, size_t n) = blocks_portable;
static pthread_once_t blocks_once = PTHREAD_ONCE_INIT;

static void blocks_choose(void) { blocks = cpu_has_sha() ? blocks_x86 : blocks_portable; }

bool sha256_hardware(bool wanted)
{
    pthread_once(&blocks_once, blocks_choose);
    blocks = wanted && cpu_has_sha() ? blocks_x86 : blocks_portable;
    return blocks != blocks_portable;
}

void sha256_begin(sha256 *s)
{
    pthread_once(&blocks_once, blocks_choose);
    *s = (sha256){.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_add(sha256 *s, const void *data, size_t n_bytes)
{
    const uint8_t *p = data;
    size_t fill = s->n % 64;
    s->n += n_bytes;
    if (fill) {
        size_t take = 64 - fill < n_bytes ? 64 - fill : n_bytes;
        memcpy(s->buf + fill, p, take);
        p += take, n_bytes -= take;
        if (fill + take < 64) return;
        blocks(s->h, s->buf, 1);
    }
    blocks(s->h, p, n_bytes / 64);
    p += n_bytes / 64 * 64, n_bytes %= 64;
    if (n_bytes) memcpy(s->buf, p, n_bytes);
}

void sha256_end(sha256 *s, char hex[65])
{
    uint64_t bits = s->n * 8;
    uint8_t tail[72] = {0x80};
    size_t pad = (s->n % 64 < 56 ? 56 : 120) - s->n % 64;
    for (int i = 0; i < 8; i++) tail[pad + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
    sha256_add(s, tail, pad + 8);
    for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", s->h[i]);
}

status sha256_file(const char *path, char hex[65])
{
    FILE *f = fopen(path, "rb");
    CHECK(f, ST_DATA, "%s: cannot open: %s", path, strerror(errno));
    static _Thread_local uint8_t buf[1 << 16];
    sha256 s;
    sha256_begin(&s);
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;) sha256_add(&s, buf, n);
    int bad = ferror(f);
    fclose(f);
    CHECK(!bad, ST_DATA, "%s: read error", path);
    sha256_end(&s, hex);
    return OK;
}
