/* png_encode: grey and RGB pictures of 8 or 16 bits, and labels with a colour table, as PNG (ISO/IEC 15948), with nothing but zlib. */
#include "writers.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static uint8_t *put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
    return p + 4;
}

/* Length, type, data, CRC of type and data. The data may already lie at p + 8. */
static uint8_t *put_chunk(uint8_t *p, const char *type, const void *data, uint32_t n)
{
    put_u32(p, n);
    memcpy(p + 4, type, 4);
    if (n && data != p + 8)
        memcpy(p + 8, data, n);
    return put_u32(p + 8 + n, (uint32_t)crc32(0, p + 4, n + 4));
}

/* One scan line after filter `kind` (0 none, 1 left, 2 above); returns the sum of its absolute values as signed bytes. */
static long filter_line(int kind, const uint8_t *row, const uint8_t *above, size_t n, size_t step, uint8_t *out)
{
    long sum = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t base = kind == 1 ? (i >= step ? row[i - step] : 0) : kind == 2 && above ? above[i] : 0;
        out[i] = (uint8_t)(row[i] - base);
        sum += out[i] < 128 ? out[i] : 256 - out[i];
    }
    return sum;
}

/* Filters every line with the kind that leaves the smallest bytes. out (h, 1 + n_line). */
static void filter_all(const uint8_t *bytes, int h, size_t n_line, size_t step, uint8_t *out)
{
    for (int y = 0; y < h; y++) {
        const uint8_t *row = bytes + (size_t)y * n_line, *above = y ? row - n_line : NULL;
        uint8_t *line = out + (size_t)y * (n_line + 1);
        int best = 0;
        long best_sum = 0;
        for (int kind = 0; kind < 3; kind++) {
            long sum = filter_line(kind, row, above, n_line, step, line + 1);
            if (!kind || sum < best_sum)
                best = kind, best_sum = sum;
        }
        line[0] = (uint8_t)best;
        filter_line(best, row, above, n_line, step, line + 1);
    }
}

/* colour: (n_colours) the colour table of one channel of numbers; NULL: none. */
static status encode(int w, int h, int channels, int bits, const void *px, const rgb8 *colour, int n_colours, uint8_t **out, size_t *out_bytes)
{
    CHECK(w > 0 && h > 0 && (channels == 1 || channels == 3) && (bits == 8 || bits == 16), ST_BUG,
          "a PNG of %dx%d pixels, %d channels, %d bits", w, h, channels, bits);
    size_t step = (size_t)channels * (size_t)bits / 8, n_line = step * (size_t)w, n_raw = (n_line + 1) * (size_t)h;
    uLong n_pack = compressBound((uLong)n_raw);
    CHECK(n_pack < 0x7fffffff, ST_USAGE, "%dx%d pixels are too many for one PNG chunk", w, h);

    status st = OK;
    uint8_t *raw = NULL, *file = NULL, *swapped = NULL;
    const uint8_t *bytes = px;
    TRY_TO(done, mem_alloc(&raw, n_raw, "PNG lines"), "%dx%d picture", w, h);
    TRY_TO(done, mem_alloc(&file, n_pack + 128 + 12 + 3 * (size_t)n_colours, "PNG file"), "%dx%d picture", w, h);
    if (bits == 16) { /* PNG is big-endian */
        TRY_TO(done, mem_alloc(&swapped, n_line * (size_t)h, "PNG samples"), "%dx%d picture", w, h);
        const uint16_t *s = px;
        for (size_t i = 0, n = n_line * (size_t)h / 2; i < n; i++)
            swapped[2 * i] = (uint8_t)(s[i] >> 8), swapped[2 * i + 1] = (uint8_t)s[i];
        bytes = swapped;
    }
    filter_all(bytes, h, n_line, step, raw);

    static const uint8_t magic[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    memcpy(file, magic, 8);
    uint8_t head[13];
    put_u32(put_u32(head, (uint32_t)w), (uint32_t)h);
    head[8] = (uint8_t)bits, head[9] = colour ? 3 : channels == 3 ? 2 : 0, head[10] = head[11] = head[12] = 0;
    uint8_t *p = put_chunk(file + 8, "IHDR", head, 13);
    if (colour) {
        for (int k = 0; k < n_colours; k++) p[8 + 3 * k] = colour[k].r, p[9 + 3 * k] = colour[k].g, p[10 + 3 * k] = colour[k].b;
        p = put_chunk(p, "PLTE", p + 8, 3 * (uint32_t)n_colours);
    }
    int z = compress2(p + 8, &n_pack, raw, (uLong)n_raw, 6);
    CHECK_TO(done, z == Z_OK, ST_RESOURCE, "zlib: error %d", z);
    p = put_chunk(p, "IDAT", p + 8, (uint32_t)n_pack);
    p = put_chunk(p, "IEND", NULL, 0);
    *out = file, *out_bytes = (size_t)(p - file);
    file = NULL;
done:
    free(raw);
    free(file);
    free(swapped);
    return st;
}

status png_encode(int w, int h, int channels, int bits, const void *px, uint8_t **out, size_t *out_bytes)
{
    return encode(w, h, channels, bits, px, NULL, 0, out, out_bytes);
}

status png_encode_labels(int w, int h, const uint8_t *px, const rgb8 *colour, int n_colours, uint8_t **bytes, size_t *n_bytes)
{
    CHECK(n_colours >= 1 && n_colours <= 256, ST_BUG, "a colour table of %d colours", n_colours);
    return encode(w, h, 1, 8, px, colour, n_colours, bytes, n_bytes);
}
