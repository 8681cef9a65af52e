/* read_bmp: our own BMP reader: 1, 4 and 8 bits with a palette, 24 and 32 bits, bottom-up or top-down; packed ones are refused by name.
 * Source: the BITMAPINFOHEADER family of the Windows GDI documentation. */
#include "readers.h"

#include <string.h>

static uint32_t u16_at(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32_at(const uint8_t *p) { return u16_at(p) | u16_at(p + 2) << 16; }

typedef struct head { int64_t w, h; bool top_down; uint32_t bits, packing, start, n_colours, entry; uint64_t stride; const uint8_t *palette; } head;

static status parse(head *k, const uint8_t *b, size_t n, const char *what)
{
    CHECK(n >= 30, ST_DATA, "%s: the BMP header ends after %zu bytes", what, n);
    uint32_t size = u32_at(b + 14);
    bool old = size == 12;
    CHECK(old || (size >= 40 && size <= 1024), ST_DATA, "%s: a BMP header of %u bytes is not read", what, size);
    CHECK(n >= 14 + (size_t)size, ST_DATA, "%s: the BMP header ends too early", what);
    int32_t height = old ? (int32_t)u16_at(b + 20) : (int32_t)u32_at(b + 22);
    *k = (head){.w = old ? (int32_t)u16_at(b + 18) : (int32_t)u32_at(b + 18), .h = height < 0 ? -(int64_t)height : height, .top_down = height < 0,
                .bits = u16_at(b + (old ? 24 : 28)), .packing = old ? 0 : u32_at(b + 30), .start = u32_at(b + 10), .entry = old ? 3 : 4};
    CHECK(k->packing == 0, ST_DATA, "%s: BMP of packing %u (run lengths, bit fields or embedded files) is not read", what, k->packing);
    CHECK(k->bits == 1 || k->bits == 4 || k->bits == 8 || k->bits == 24 || k->bits == 32, ST_DATA, "%s: BMP of %u bits", what, k->bits);
    CHECK(k->w > 0 && k->h > 0 && k->w <= IMAGE_SIDE_MAX && k->h <= IMAGE_SIDE_MAX, ST_DATA, "%s: BMP of %lld x %lld pixels", what, (long long)k->w,
          (long long)k->h);
    if (k->bits <= 8) {
        uint32_t said = old ? 0 : u32_at(b + 46);
        k->n_colours = said && said <= 1u << k->bits ? said : 1u << k->bits;
        k->palette = b + 14 + size;
        CHECK(14 + (size_t)size + (size_t)k->n_colours * k->entry <= n, ST_DATA, "%s: the BMP palette ends too early", what);
    }
    k->stride = ((uint64_t)k->w * k->bits + 31) / 32 * 4; /* bytes of a row, whole words */
    CHECK(k->start <= n && k->stride * (uint64_t)k->h <= n - k->start, ST_DATA, "%s: the header promises %llu bytes of pixels, the file cannot hold them",
          what, (unsigned long long)(k->stride * (uint64_t)k->h));
    return OK;
}

static bool palette_is_grey(const head *k)
{
    for (uint32_t i = 0; i < k->n_colours; i++) {
        const uint8_t *c = k->palette + i * k->entry;
        if (c[0] != c[1] || c[1] != c[2]) return false;
    }
    return true;
}

status bmp_decode(image *m, const void *bytes, size_t n, enum image_use use, const char *what)
{
    *m = (image){0};
    head k = {0};
    TRY(parse(&k, bytes, n, what), "BMP");
    bool index = k.bits <= 8, grey = index && (use == USE_LABELS || palette_is_grey(&k));
    TRY(image_alloc(m, 1, (int)k.h, (int)k.w, grey ? 1 : 3, DT_U8, what), "BMP");
    size_t px = (size_t)k.bits / 8;
    for (int64_t y = 0; y < k.h; y++) {
        const uint8_t *row = (const uint8_t *)bytes + k.start + k.stride * (size_t)(k.top_down ? y : k.h - 1 - y);
        uint8_t *to = (uint8_t *)m->data + (size_t)y * (size_t)k.w * (size_t)m->C;
        for (size_t x = 0; x < (size_t)k.w; x++, to += m->C) {
            const uint8_t *c = row + x * px;
            uint32_t v = 0;
            if (index) {
                v = row[x * k.bits / 8] >> (8 - k.bits - x * k.bits % 8) & ((1u << k.bits) - 1);
                if (v >= k.n_colours) {
                    image_free(m);
                    return status_raise(ST_DATA, __FILE__, __LINE__, "%s: colour %u of a BMP palette of %u", what, v, k.n_colours);
                }
                c = k.palette + v * k.entry;
            }
            if (use == USE_LABELS && index) *to = (uint8_t)v;
            else if (grey) *to = c[0];
            else to[0] = c[2], to[1] = c[1], to[2] = c[0];
        }
    }
    return OK;
}
