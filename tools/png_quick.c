/* png_quick: the PNG files that most data sets consist of, 8 or 16 bits, grey or RGB, not interlaced, without transparency. libpng hands them to zlib and undoes
 * their filters byte by byte; here both take half the time. What is unusual or wrong in any way is left to libpng.
 * Source: the PNG specification (W3C, third edition), sections 5, 9 and 10. */
#include "png_quick.h"

#include <stdlib.h>
#include <string.h>

typedef struct png_form {
    uint32_t W, H;
    int      depth, channels;
    size_t   packed;          /* bytes in IDAT chunks */
    const uint8_t *first;     /* data of the first */
    int      n;
} png_form;

static uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

/* Walks the chunks: each whole and with its checksum, IDATs in a row, nothing that changes how pixels are shown. `to`: their data, or NULL. */
static bool walk(png_form *f, const uint8_t *b, size_t n, uint8_t *to)
{
    enum { BEFORE, IN, BEHIND } data = BEFORE;
    bool ended = false;
    f->packed = 0, f->n = 0;
    for (size_t at = 8; at < n && !ended;) {
        if (n - at < 12) return false;
        const uint8_t *chunk = b + at;
        size_t length = be32(chunk);
        if (length > n - at - 12) return false;
        if (!to && unpack_crc32(chunk + 4, length + 4) != be32(chunk + 8 + length)) return false;
        bool is_data = !memcmp(chunk + 4, "IDAT", 4);
        if (at == 8) {
            const uint8_t *h = chunk + 8;
            if (memcmp(chunk + 4, "IHDR", 4) || length != 13 || h[10] || h[11] || h[12] || (h[8] != 8 && h[8] != 16) || (h[9] != 0 && h[9] != 2)) return false;
            *f = (png_form){.W = be32(h), .H = be32(h + 4), .depth = h[8], .channels = h[9] == 2 ? 3 : 1};
        } else if (is_data) {
            if (data == BEHIND) return false;
            data = IN;
            if (to) memcpy(to + f->packed, chunk + 8, length);
            else if (!f->n) f->first = chunk + 8;
            f->packed += length, f->n++;
        } else if (!memcmp(chunk + 4, "IEND", 4)) {
            ended = true;
        } else if (!(chunk[4] & 0x20) || !memcmp(chunk + 4, "tRNS", 4)) { /* one that must be understood */
            return false;
        }
        if (!is_data && data == IN) data = BEHIND;
        at += 12 + length;
    }
    return ended && f->n > 0;
}

/* ---- filters ---------------------------------------------------------------------------------------------------------------------------- */

/* One row of n bytes, `step` a pixel, of known step so that the compiler keeps the pixel to the left in registers. */
static inline __attribute__((always_inline)) void left_and_up(int filter, const uint8_t *in, const uint8_t *up, uint8_t *out, size_t n, size_t step)
{
    int left[6] = {0}, above_left[6] = {0};
    if (filter == 1)
        for (size_t i = 0; i < n; i += step)
            for (size_t k = 0; k < step; k++) left[k] = out[i + k] = (uint8_t)(in[i + k] + left[k]);
    else if (filter == 3)
        for (size_t i = 0; i < n; i += step)
            for (size_t k = 0; k < step; k++) left[k] = out[i + k] = (uint8_t)(in[i + k] + ((left[k] + up[i + k]) >> 1));
    else
        for (size_t i = 0; i < n; i += step)
            for (size_t k = 0; k < step; k++) { /* Paeth: whichever of left, above and above left is nearest to left + above - above left */
                int a = left[k], b = up[i + k], c = above_left[k], pa = abs(b - c), pb = abs(a - c), pc = abs(a + b - 2 * c);
                int near = pb <= pc ? b : c;
                near = pa <= pb && pa <= pc ? a : near;
                left[k] = out[i + k] = (uint8_t)(in[i + k] + near);
                above_left[k] = b;
            }
}

static bool unfilter(int filter, const uint8_t *in, const uint8_t *up, uint8_t *out, size_t n, int step)
{
    switch (filter) {
    case 0: memcpy(out, in, n); return true;
    case 2: for (size_t i = 0; i < n; i++) out[i] = (uint8_t)(in[i] + up[i]); return true;
    case 1: case 3: case 4: break;
    default: return false;
    }
    switch (step) {
    case 1: left_and_up(filter, in, up, out, n, 1); break;
    case 2: left_and_up(filter, in, up, out, n, 2); break;
    case 3: left_and_up(filter, in, up, out, n, 3); break;
    default: left_and_up(filter, in, up, out, n, 6); break;
    }
    return true;
}

/* ---- the whole -------------------------------------------------------------------------------------------------------------------------- */

static bool decode(image *m, const png_form *f, const uint8_t *bytes, size_t n)
{
    size_t row = (size_t)f->W * (size_t)f->channels * (size_t)(f->depth / 8), raw = (row + 1) * f->H;
    uint8_t *joined = NULL, *rows = NULL, *none = NULL;
    bool good = !mem_grow(&rows, raw, "PNG rows") && !mem_alloc(&none, row, "a PNG row");
    if (good && f->n > 1) {
        png_form again;
        good = !mem_grow(&joined, f->packed, "PNG data") && walk(&again, bytes, n, joined);
    }
    good = good && unpack_zlib(joined ? joined : f->first, f->packed, rows, raw) &&
           !image_alloc(m, 1, (int)f->H, (int)f->W, f->channels, f->depth == 16 ? DT_U16 : DT_U8, "PNG");
    uint8_t *out = good ? m->data : NULL;
    for (size_t y = 0; good && y < f->H; y++)
        good = unfilter(rows[y * (row + 1)], rows + y * (row + 1) + 1, y ? out + (y - 1) * row : none, out + y * row, row, f->channels * f->depth / 8);
    if (good && f->depth == 16)
        for (uint16_t *p = m->data, *end = p + image_count(m); p < end; p++) *p = __builtin_bswap16(*p); /* to the order of the machine */
    free(joined), free(rows), free(none);
    return good;
}

bool png_quick(image *m, const void *bytes, size_t n, bool grey_only)
{
    png_form f = {0};
    *m = (image){0};
    if (n < 8 || memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) || !walk(&f, bytes, n, NULL)) return false;
    if (!f.W || !f.H || f.W > IMAGE_SIDE_MAX || f.H > IMAGE_SIDE_MAX) return false;
    if (grey_only && f.channels != 1) return false;
    if (((size_t)f.W * (size_t)f.channels * (size_t)(f.depth / 8) + 1) * f.H / 1040 > f.packed) return false; /* deflate packs at most 1032 to 1 */
    if (decode(m, &f, bytes, n)) return true;
    image_free(m);
    status_clear(); /* libpng says what is wrong */
    return false;
}
