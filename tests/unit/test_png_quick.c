/* test_png_quick: the shortcut beside libpng, on files made here by the specification: every filter, type and cut into chunks; and on all that
 * it must leave to libpng. */
#include "test.h"

#include "png_quick.h"
#include "readers.h"

#include "medley_build.h"

#include <zlib.h>

enum { ROOM = 1 << 20 };
static uint8_t file[ROOM];
static size_t n_file;

static void put_chunk(const char *type, const void *data, size_t n)
{
    uint8_t *p = file + n_file;
    for (int k = 0; k < 4; k++) p[k] = (uint8_t)(n >> (24 - 8 * k));
    memcpy(p + 4, type, 4);
    if (n) memcpy(p + 8, data, n);
    uint32_t crc = (uint32_t)crc32(0, p + 4, (uInt)n + 4);
    for (int k = 0; k < 4; k++) p[8 + n + (size_t)k] = (uint8_t)(crc >> (24 - 8 * k));
    n_file += 12 + n;
}

typedef struct form {
    int W, H, depth, colour, filter; /* filter -1: another one in each row */
    int interlaced;
    size_t piece;                    /* bytes of an IDAT chunk */
    const char *extra;               /* one more chunk before the data */
    int more;                        /* bytes of data more or less than the rows have */
} form;

/* values: (H,W,C) as bytes in the order of the file. What filter type 4 predicts is written out as the specification words it. */
static void make(const form *f, const uint8_t *values)
{
    size_t step = (size_t)((f->colour == 2 ? 3 : 1) * f->depth / 8), row = step * (size_t)f->W, n = 0;
    static uint8_t rows[ROOM], packed[ROOM];
    memset(rows, 0, sizeof rows);
    for (int y = 0; y < f->H; y++) {
        int filter = f->filter < 0 ? y % 5 : f->filter;
        rows[n++] = (uint8_t)filter;
        for (size_t i = 0; i < row; i++) {
            const uint8_t *v = values + (size_t)y * row + i;
            int a = i >= step ? v[-(ptrdiff_t)step] : 0, b = y ? v[-(ptrdiff_t)row] : 0, c = y && i >= step ? v[-(ptrdiff_t)(row + step)] : 0;
            int p = a + b - c, nearest = abs(p - a) <= abs(p - b) && abs(p - a) <= abs(p - c) ? a : abs(p - b) <= abs(p - c) ? b : c;
            int guess[] = {0, a, b, (a + b) / 2, nearest, 0};
            rows[n++] = (uint8_t)(*v - guess[filter]);
        }
    }
    n = (size_t)((ptrdiff_t)n + f->more);
    uLongf n_packed = sizeof packed;
    compress2(packed, &n_packed, rows, n, 6);
    uint8_t head[13] = {0, 0, (uint8_t)(f->W >> 8), (uint8_t)f->W, 0, 0, (uint8_t)(f->H >> 8), (uint8_t)f->H, (uint8_t)f->depth, (uint8_t)f->colour, 0, 0,
                        (uint8_t)f->interlaced};
    memcpy(file, "\x89PNG\r\n\x1a\n", 8);
    n_file = 8;
    put_chunk("IHDR", head, 13);
    if (f->extra) put_chunk(f->extra, "\0\1\0\1\0\1", f->colour == 2 ? 6 : 2);
    for (size_t at = 0; at < n_packed; at += f->piece) put_chunk("IDAT", packed + at, n_packed - at < f->piece ? n_packed - at : f->piece);
    put_chunk("IEND", NULL, 0);
}

static uint8_t values[ROOM];

static bool quick_is_right(const form *f)
{
    image m;
    if (!png_quick(&m, file, n_file, false)) return false;
    int C = f->colour == 2 ? 3 : 1;
    bool right = m.W == f->W && m.H == f->H && m.C == C && m.D == 1 && m.type == (f->depth == 16 ? DT_U16 : DT_U8);
    for (size_t i = 0, n = (size_t)(f->W * f->H * C); right && i < n; i++)
        right = image_at(&m, i) == (f->depth == 16 ? values[2 * i] * 256.0 + values[2 * i + 1] : values[i]);
    image_free(&m);
    EXPECT(right, "%dx%d, depth %d, colour %d, filter %d, pieces of %zu", f->W, f->H, f->depth, f->colour, f->filter, f->piece);
    return true;
}

static void kinds(void)
{
#ifndef HAVE_DEFLATE
    SKIP("built without libdeflate");
#endif
    rng r = rng_open((rng_key){3, 1, 4}, RNG_TEST, 0);
    for (int k = 0; k < 600; k++) {
        form f = {.W = 1 + (int)rng_below(&r, 40), .H = 1 + (int)rng_below(&r, 30), .depth = k % 2 ? 16 : 8, .colour = k / 2 % 2 ? 2 : 0, .filter = k % 6 - 1,
                  .piece = k % 3 ? 1 + rng_below(&r, 200) : ROOM};
        int level = k % 4; /* noise, steps, flat */
        for (size_t i = 0; i < (size_t)f.W * (size_t)f.H * 6; i++)
            values[i] = level == 0 ? (uint8_t)rng_u32(&r) : level == 1 ? (uint8_t)(i / 7) : level == 2 ? (uint8_t)(250 + rng_below(&r, 8)) : 255;
        make(&f, values);
        EXPECT(quick_is_right(&f), "depth %d, colour %d, filter %d", f.depth, f.colour, f.filter);
        image m;
        EXPECT_OK(png_decode(&m, file, n_file, USE_PIXELS, "made here"));
        image_free(&m);
    }
    form f = {.W = 20, .H = 20, .depth = 8, .colour = 0, .filter = -1, .piece = 50, .extra = "gAMA"}; /* may be left unread */
    make(&f, values);
    EXPECT(quick_is_right(&f), "gAMA");
}

/* Refused, and libpng's opinion is what counts. */
static void left_to_libpng(const form *f, bool good, const char *what)
{
    image m;
    EXPECT(!png_quick(&m, file, n_file, false), "%s: taken", what);
    EXPECT(!m.data, "%s: pixels are left behind", what);
    status st = png_decode(&m, file, n_file, USE_PIXELS, "made here");
    EXPECT(good ? st == OK && m.W == f->W : st == ST_DATA, "%s: %d, %s", what, st, status_message());
    image_free(&m);
    status_clear();
}

static void others(void)
{
    const form plain = {.W = 16, .H = 16, .depth = 8, .colour = 2, .filter = 4, .piece = 100};
    form f = plain;
    for (int i = 0; i < ROOM; i++) values[i] = (uint8_t)(i * 37 % 251);
    f.extra = "tRNS", make(&f, values), left_to_libpng(&f, true, "transparent");
    f.extra = "PLTE", make(&f, values), left_to_libpng(&f, true, "palette beside RGB");
    f.extra = "ABCD", make(&f, values), left_to_libpng(&f, false, "an unknown chunk that must be known");
    f = plain, f.interlaced = 1, make(&f, values), left_to_libpng(&f, false, "interlaced, with the data of a plain one");
    f = plain, f.more = -1, make(&f, values), left_to_libpng(&f, false, "a byte too few");
    f = plain, f.more = 1, make(&f, values), left_to_libpng(&f, true, "a byte too many");
    f = plain, f.filter = 5, make(&f, values), left_to_libpng(&f, false, "filter type 5");
    make(&plain, values), file[n_file - 30] ^= 1, left_to_libpng(&plain, false, "a wrong bit in the data");
    make(&plain, values), n_file -= 40, left_to_libpng(&plain, false, "cut short");
    make(&plain, values), file[18] = 0x7f, left_to_libpng(&plain, false, "a header with a wrong checksum");
    f = plain, f.W = 60000, f.H = 1; /* promises 60000 x 60000 */
    make(&(form){.W = 16, .H = 16, .depth = 8, .colour = 0, .filter = 0, .piece = 1000}, values);
    uint8_t tail[2000];
    size_t n = n_file - 33;
    memcpy(tail, file + 33, n);
    n_file = 8;
    put_chunk("IHDR", "\0\0\xea\x60\0\0\xea\x60\x08\0\0\0\0", 13);
    memcpy(file + n_file, tail, n), n_file += n;
    left_to_libpng(&f, false, "a lying header");
    image m;
    make(&plain, values);
    EXPECT(!png_quick(&m, file, n_file, true), "colours are no labels");
    for (size_t k = 0; k < 40; k++) EXPECT(!png_quick(&m, file, k, false), "%zu bytes", k);
}

/* Any one bit flipped: refused by it, or the same pixels (text in a chunk that need not be known has a checksum too). */
static void flipped(void)
{
    const form f = {.W = 9, .H = 7, .depth = 8, .colour = 2, .filter = -1, .piece = 60};
    make(&f, values);
    for (size_t i = 0; i < 8 * n_file; i++) {
        file[i / 8] ^= (uint8_t)(1 << i % 8);
        image m;
        EXPECT(!png_quick(&m, file, n_file, false), "bit %zu", i);
        image_free(&m);
        file[i / 8] ^= (uint8_t)(1 << i % 8);
    }
}

int main(void)
{
    RUN(kinds);
    RUN(others);
    RUN(flipped);
    DONE();
}
