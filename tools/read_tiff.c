/* read_tiff: TIFF through libtiff, from memory: strips and tiles, 1, 8 and 16 bits and float32, pages as the slices of a volume, OME spacing.
 * Pages of reduced size (previews, pyramids) are left out. */
#include "readers.h"

#include "medley_build.h"

#ifdef HAVE_TIFF
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>

enum { PAGES_MAX = 65535, RATIO_MAX = 2048 }; /* bytes of pixels per byte of the file: deflate packs at most 1032 to 1 */

/* ---- a file in memory ----------------------------------------------------------------------------------------------------------- */

typedef struct memory { const uint8_t *at; uint64_t n, pos; } memory;

static tmsize_t on_read(thandle_t h, void *to, tmsize_t n)
{
    memory *m = (memory *)h;
    uint64_t left = m->pos < m->n ? m->n - m->pos : 0, take = (uint64_t)n < left ? (uint64_t)n : left;
    memcpy(to, m->at + (m->pos < m->n ? m->pos : 0), take);
    m->pos += take;
    return (tmsize_t)take;
}

static tmsize_t on_write(thandle_t h, void *from, tmsize_t n) { return (void)h, (void)from, (void)n, -1; }

static toff_t on_seek(thandle_t h, toff_t to, int from)
{
    memory *m = (memory *)h;
    m->pos = from == SEEK_SET ? to : from == SEEK_CUR ? m->pos + to : m->n + to;
    return m->pos;
}

static int on_close(thandle_t h) { return (void)h, 0; }
static toff_t on_size(thandle_t h) { return ((memory *)h)->n; }
static int on_map(thandle_t h, void **base, toff_t *n) { return (void)h, (void)base, (void)n, 0; }
static void on_unmap(thandle_t h, void *base, toff_t n) { (void)h, (void)base, (void)n; }

/* ---- one page -------------------------------------------------------------------------------------------------------------------- */

typedef struct page { uint32_t w, h; uint16_t bits, samples, format, photometric, planar, packing; uint16_t *map[3]; } page;

/* Reduced previews and transparency masks are no pages. */
static bool is_page(TIFF *t)
{
    uint32_t kind = 0;
    TIFFGetField(t, TIFFTAG_SUBFILETYPE, &kind);
    return !(kind & (FILETYPE_REDUCEDIMAGE | FILETYPE_MASK));
}

static uint64_t page_bytes(const page *p) { return ((uint64_t)p->w * p->bits * p->samples + 7) / 8 * p->h; }
static uint64_t block_bytes(TIFF *t) { return TIFFIsTiled(t) ? (uint64_t)TIFFTileSize64(t) : (uint64_t)TIFFStripSize64(t); }

static status page_head(TIFF *t, page *p, size_t n, const char *what)
{
    *p = (page){0};
    uint16_t turned = ORIENTATION_TOPLEFT, extra = 0, *kinds;
    TIFFGetField(t, TIFFTAG_IMAGEWIDTH, &p->w);
    TIFFGetField(t, TIFFTAG_IMAGELENGTH, &p->h);
    TIFFGetFieldDefaulted(t, TIFFTAG_BITSPERSAMPLE, &p->bits);
    TIFFGetFieldDefaulted(t, TIFFTAG_SAMPLESPERPIXEL, &p->samples);
    TIFFGetFieldDefaulted(t, TIFFTAG_SAMPLEFORMAT, &p->format);
    TIFFGetFieldDefaulted(t, TIFFTAG_PLANARCONFIG, &p->planar);
    TIFFGetFieldDefaulted(t, TIFFTAG_ORIENTATION, &turned);
    TIFFGetFieldDefaulted(t, TIFFTAG_COMPRESSION, &p->packing);
    TIFFGetFieldDefaulted(t, TIFFTAG_EXTRASAMPLES, &extra, &kinds);
    CHECK(TIFFGetField(t, TIFFTAG_PHOTOMETRIC, &p->photometric), ST_DATA, "%s: TIFF that does not say what its values mean", what);
    static const char *const refused[] = {[PHOTOMETRIC_SEPARATED] = "CMYK (for printing)", [PHOTOMETRIC_CIELAB] = "CIE Lab"};
    if (p->photometric < sizeof refused / sizeof *refused && refused[p->photometric])
        return status_raise(ST_DATA, __FILE__, __LINE__, "%s: TIFF in %s is not read", what, refused[p->photometric]);
    CHECK(p->photometric <= PHOTOMETRIC_PALETTE || (p->photometric == PHOTOMETRIC_YCBCR && p->packing == COMPRESSION_JPEG), ST_DATA,
          "%s: TIFF colours of kind %u are not read", what, p->photometric);
    if (p->photometric == PHOTOMETRIC_YCBCR) TIFFSetField(t, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    CHECK(turned == ORIENTATION_TOPLEFT, ST_DATA, "%s: TIFF that is turned or mirrored (orientation %u)", what, turned);
    CHECK(extra == 0 && (p->samples == 1 || p->samples == 3), ST_DATA, "%s: TIFF of %u samples a pixel; one or three are read", what, p->samples);
    bool whole = p->format == SAMPLEFORMAT_UINT && (p->bits == 8 || p->bits == 16 || (p->bits == 1 && p->samples == 1));
    bool fine = whole || (p->format == SAMPLEFORMAT_INT && p->bits == 16) || (p->format == SAMPLEFORMAT_IEEEFP && p->bits == 32);
    CHECK(fine, ST_DATA, "%s: TIFF of %u bits, sample format %u; 1, 8 and 16 bits and float32 are read", what, p->bits, p->format);
    CHECK(p->photometric != PHOTOMETRIC_PALETTE || (p->bits == 8 && p->samples == 1 && TIFFGetField(t, TIFFTAG_COLORMAP, &p->map[0], &p->map[1], &p->map[2])),
          ST_DATA, "%s: TIFF palette of other than 8 bits", what);
    CHECK(p->w > 0 && p->h > 0 && p->w <= IMAGE_SIDE_MAX && p->h <= IMAGE_SIDE_MAX, ST_DATA, "%s: TIFF of %u x %u pixels", what, p->w, p->h);
    uint64_t told = page_bytes(p), block = block_bytes(t), ratio = p->packing == COMPRESSION_NONE ? 1 : RATIO_MAX;
    CHECK(told / ratio <= n && block > 0 && block / RATIO_MAX <= n && block <= IMAGE_BYTES_MAX, ST_DATA,
          "%s: the header promises %llu bytes of pixels, the file cannot hold them", what, (unsigned long long)told);
    return OK;
}

static void put(image *m, const page *p, enum image_use use, size_t pixel, int c, const uint8_t *row, size_t x, size_t samples)
{
    size_t at = x * samples, to = pixel * (size_t)m->C + (size_t)c;
    if (p->bits == 1) {
        unsigned v = row[x / 8] >> (7 - x % 8) & 1;
        if (use == USE_PIXELS) v = (p->photometric == PHOTOMETRIC_MINISWHITE ? !v : v) * 255;
        ((uint8_t *)m->data)[to] = (uint8_t)v;
    } else if (p->bits == 8) {
        uint8_t v = row[at];
        if (use == USE_PIXELS && p->photometric == PHOTOMETRIC_PALETTE)
            for (size_t k = 0; k < 3; k++) ((uint8_t *)m->data)[to + k] = (uint8_t)(p->map[k][v] >> 8);
        else ((uint8_t *)m->data)[to] = use == USE_PIXELS && p->photometric == PHOTOMETRIC_MINISWHITE ? (uint8_t)(255 - v) : v;
    } else if (p->bits == 16) {
        uint16_t v;
        memcpy(&v, row + 2 * at, 2);
        if (use == USE_PIXELS && p->photometric == PHOTOMETRIC_MINISWHITE) v = (uint16_t)(p->format == SAMPLEFORMAT_INT ? ~v : 65535 - v);
        ((uint16_t *)m->data)[to] = v; /* int16 in the same bits */
    } else memcpy((float *)m->data + to, row + 4 * at, 4);
}

/* Strips are blocks as wide as the page. */
static status page_pixels(TIFF *t, image *m, const page *p, enum image_use use, int d, uint8_t *block, size_t room, const char *what)
{
    bool tiled = TIFFIsTiled(t);
    uint32_t bw = p->w, bh = p->h;
    if (tiled) TIFFGetField(t, TIFFTAG_TILEWIDTH, &bw), TIFFGetField(t, TIFFTAG_TILELENGTH, &bh);
    else TIFFGetFieldDefaulted(t, TIFFTAG_ROWSPERSTRIP, &bh);
    if (!tiled && bh > p->h) bh = p->h;
    CHECK(bw > 0 && bh > 0, ST_DATA, "%s: TIFF blocks of %u x %u pixels", what, bw, bh);
    bool apart = p->planar == PLANARCONFIG_SEPARATE && p->samples > 1;
    size_t per = apart ? 1 : p->samples, stride = ((size_t)bw * p->bits * per + 7) / 8;
    for (uint16_t s = 0; s < (apart ? p->samples : 1); s++)
        for (uint32_t y0 = 0; y0 < p->h; y0 += bh)
            for (uint32_t x0 = 0; x0 < p->w; x0 += bw) {
                uint32_t rows = p->h - y0 < bh ? p->h - y0 : bh, cols = p->w - x0 < bw ? p->w - x0 : bw;
                tmsize_t got = tiled ? TIFFReadEncodedTile(t, TIFFComputeTile(t, x0, y0, 0, s), block, (tmsize_t)room)
                                     : TIFFReadEncodedStrip(t, TIFFComputeStrip(t, y0, s), block, (tmsize_t)room);
                CHECK(got >= 0 && (size_t)got >= stride * rows, ST_DATA, "%s: damaged TIFF: page %d, row %u", what, d, y0);
                for (uint32_t y = 0; y < rows; y++)
                    for (uint32_t x = 0; x < cols; x++)
                        for (size_t c = 0; c < per; c++)
                            put(m, p, use, ((size_t)d * p->h + y0 + y) * p->w + x0 + x, apart ? s : (int)c,
                                block + stride * y + (p->bits >= 8 ? c * p->bits / 8 : 0), x, per);
            }
    return OK;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------- */

/* PhysicalSizeX and its kin in OME's XML, in millimetres; the unit is a micrometre unless said. */
static void ome_spacing(TIFF *t, image *m)
{
    char *text = NULL, key[40];
    if (!TIFFGetField(t, TIFFTAG_IMAGEDESCRIPTION, &text) || !text) return;
    const char *at = strstr(text, "<Pixels");
    const char *end = at ? strchr(at, '>') : NULL;
    for (int i = 0; end && i < 3; i++) {
        snprintf(key, sizeof key, " PhysicalSize%c=\"", "ZYX"[i]);
        const char *v = strstr(at, key);
        if (!v || v > end) continue;
        double size = strtod(v + strlen(key), NULL), scale = 1e-3;
        snprintf(key, sizeof key, " PhysicalSize%cUnit=\"", "ZYX"[i]);
        const char *u = strstr(at, key);
        if (u && u < end) {
            u += strlen(key);
            scale = !strncmp(u, "mm\"", 3) ? 1 : !strncmp(u, "nm\"", 3) ? 1e-6 : !strncmp(u, "cm\"", 3) ? 10 : !strncmp(u, "pixel", 5) ? 0 : 1e-3;
        }
        if (size > 0 && size < 1e6 && scale > 0) m->spacing[i] = size * scale;
    }
}

static int count_pages(TIFF *t)
{
    int n = 0;
    do {
        n += is_page(t);
    } while (n <= PAGES_MAX && TIFFReadDirectory(t));
    return n;
}

static status read_pages(TIFF *t, image *m, int pages, size_t n, enum image_use use, uint8_t **block, const char *what)
{
    page first = {0}, p;
    size_t room = 0;
    int d = 0;
    do {
        if (!is_page(t)) continue;
        TRY(page_head(t, &p, n, what), "TIFF");
        if (d == 0) {
            bool palette = p.photometric == PHOTOMETRIC_PALETTE && use == USE_PIXELS;
            enum dtype type = p.bits <= 8 ? DT_U8 : p.bits == 32 ? DT_F32 : p.format == SAMPLEFORMAT_INT ? DT_I16 : DT_U16;
            uint64_t told = page_bytes(&p) * (uint64_t)pages;
            CHECK(told / RATIO_MAX <= n, ST_DATA, "%s: the header promises %llu bytes of pixels, the file cannot hold them", what, (unsigned long long)told);
            TRY(image_alloc(m, pages, (int)p.h, (int)p.w, palette ? 3 : p.samples, type, what), "TIFF");
            ome_spacing(t, m);
            first = p;
        }
        CHECK(p.w == first.w && p.h == first.h && p.bits == first.bits && p.samples == first.samples && p.format == first.format
              && p.photometric == first.photometric, ST_DATA, "%s: the pages of this TIFF differ in size or kind (page %d)", what, d);
        if (block_bytes(t) > room) {
            room = block_bytes(t);
            TRY(mem_grow(block, room, "a TIFF block"), "%s", what);
        }
        TRY(page_pixels(t, m, &p, use, d++, *block, room, what), "TIFF");
    } while (d < pages && TIFFReadDirectory(t));
    CHECK(d == pages, ST_DATA, "%s: a page of this TIFF cannot be read", what);
    m->is_volume = pages > 1;
    return OK;
}

status tiff_decode(image *m, const void *bytes, size_t n, enum image_use use, const char *what)
{
    *m = (image){0};
    TIFFSetErrorHandler(NULL);
    TIFFSetWarningHandler(NULL);
    memory file = {bytes, n, 0};
    TIFF *t = TIFFClientOpen(what, "rm", (thandle_t)&file, on_read, on_write, on_seek, on_close, on_size, on_map, on_unmap);
    CHECK(t, ST_DATA, "%s: damaged TIFF header", what);
    uint8_t *block = NULL;
    status st = OK;
    int pages = count_pages(t);
    CHECK_TO(out, pages > 0 && pages <= PAGES_MAX && TIFFSetDirectory(t, 0), ST_DATA, "%s: TIFF of %d pages", what, pages);
    TRY_TO(out, read_pages(t, m, pages, n, use, &block, what), "TIFF");
out:
    TIFFClose(t);
    free(block);
    if (st) image_free(m);
    return st;
}
#else
#include "not_built.h"

status tiff_decode(image *m, const void *bytes, size_t n, enum image_use use, const char *what)
{
    (void)bytes, (void)n, (void)use;
    *m = (image){0};
    return NOT_BUILT("libtiff-dev", "TIFF", what);
}
#endif
