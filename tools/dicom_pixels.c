/* dicom_pixels: stored bits of a DICOM file to an image: raw, RLE and deflated frames here, JPEG and its kin through GDCM.
 * Source: DICOM PS3.5 annexes A and G, PS3.3 C.7.6.3 (photometric interpretation), C.11.1 (modality LUT). */
#include "dicom.h"
#include "not_built.h"

#include "medley_build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* One decoded frame: rows * cols * samples numbers of `bytes` bytes each. */
typedef struct frame {
    const uint8_t *data;
    uint8_t *own;          /* (size) room for decoded frames */
    size_t  size;
    int     bytes, planar;
    bool    big;
    bool    packed_bits;   /* eight pixels a byte, first pixel lowest */
    size_t  first_bit;
    bool    plain_bits;    /* a one-bit image that the decoder spread over whole bytes */
    char    photometric[17];
} frame;

/* ---- frames -------------------------------------------------------------------------------------------------------------------- */

/* RLE: a table of segments, one per byte of a pixel, highest byte first. */
static status unpack_rle(const dicom_file *f, dicom_span in, frame *out)
{
    CHECK(in.n >= 64, ST_DATA, "%s: an RLE frame of %zu bytes", f->what, in.n);
    size_t n_px = (size_t)f->rows * (size_t)f->cols;
    uint32_t head[16];
    for (int i = 0; i < 16; i++) {
        const uint8_t *p = in.at + 4 * i;
        head[i] = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
    size_t segments = (size_t)f->samples * (size_t)out->bytes, each = out->packed_bits ? out->size : n_px;
    CHECK(head[0] == segments, ST_DATA, "%s: %u RLE segments where %zu belong", f->what, head[0], segments);
    for (size_t s = 0; s < segments; s++) {
        size_t at = head[1 + s], end = s + 1 < segments ? head[2 + s] : in.n, sample = s / (size_t)out->bytes;
        size_t byte = (size_t)out->bytes - 1 - s % (size_t)out->bytes, n = 0; /* kept little endian, sample by sample */
        CHECK(at >= 64 && at <= end && end <= in.n, ST_DATA, "%s: an RLE segment lies outside of its frame", f->what);
        uint8_t *to = out->own + sample * n_px * (size_t)out->bytes + byte;
        while (n < each && at < end) {
            int code = (int8_t)in.at[at++];
            if (code == -128) continue;
            size_t run = code < 0 ? (size_t)(1 - code) : (size_t)code + 1;
            CHECK(at + (code < 0 ? 1 : run) <= end && run <= each - n, ST_DATA, "%s: damaged RLE data", f->what);
            for (size_t i = 0; i < run; i++, n++) to[n * (size_t)out->bytes] = in.at[code < 0 ? at : at + i];
            at += code < 0 ? 1 : run;
        }
        CHECK(n == each, ST_DATA, "%s: an RLE segment ends too early", f->what);
    }
    out->planar = 1;
    return OK;
}

static status unpack_deflated(const dicom_file *f, dicom_span in, frame *out)
{
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)in.at, .avail_in = (uInt)in.n, .next_out = out->own, .avail_out = (uInt)out->size};
    CHECK(in.n < UINT32_MAX && out->size < UINT32_MAX, ST_DATA, "%s: a deflated frame of more than 4 GiB", f->what);
    CHECK(inflateInit2(&z, -15) == Z_OK, ST_RESOURCE, "%s: no memory for zlib", f->what);
    int rc = inflate(&z, Z_FINISH);
    size_t got = out->size - z.avail_out;
    inflateEnd(&z);
    CHECK((rc == Z_STREAM_END || rc == Z_BUF_ERROR || rc == Z_OK) && got == out->size, ST_DATA, "%s: damaged deflated frame", f->what);
    return OK;
}

static status unpack_codec(const dicom_file *f, dicom_span in, frame *out)
{
#ifdef HAVE_GDCM
    struct dicom_frame g = {.syntax = f->syntax, .rows = f->rows, .cols = f->cols, .samples = f->samples, .planar = f->planar,
                            .allocated = 8 * out->bytes, .stored = f->allocated == 1 ? 8 : f->stored, .is_signed = f->is_signed};
    memcpy(g.photometric, f->photometric, sizeof g.photometric);
    char why[160] = "";
    CHECK(!dicom_gdcm_frame(&g, in.at, in.n, out->own, out->size, why, sizeof why), ST_DATA, "%s: %s: %s", f->what,
          dicom_syntax_name(f->syntax), why);
    out->planar = g.planar;
    memcpy(out->photometric, g.photometric, sizeof g.photometric);
    return OK;
#else
    (void)in, (void)out;
    return NOT_BUILT("libgdcm-dev", "DICOM with %s", f->what, dicom_syntax_name(f->syntax));
#endif
}

/* The fragments of frame k, joined if there are several. */
static status fragments_of(const dicom_file *f, int k, dicom_span *out, uint8_t **joined)
{
    *joined = NULL;
    CHECK(f->frames == 1 || f->n_fragments == f->frames, ST_DATA, "%s: %d compressed pieces for %d frames", f->what, f->n_fragments, f->frames);
    CHECK(f->n_fragments > 0, ST_DATA, "%s: no compressed pixels", f->what);
    *out = f->fragment[f->frames == 1 ? 0 : k];
    if (f->frames > 1 || f->n_fragments == 1) return OK;
    size_t n = 0;
    for (int i = 0; i < f->n_fragments; i++) n += f->fragment[i].n;
    TRY(mem_alloc(joined, n + 1, "a compressed frame"), "%s", f->what);
    *out = (dicom_span){*joined, n};
    n = 0;
    for (int i = 0; i < f->n_fragments; n += f->fragment[i].n, i++) memcpy(*joined + n, f->fragment[i].at, f->fragment[i].n);
    return OK;
}

static status get_frame(const dicom_file *f, int k, frame *fr)
{
    if (!f->encapsulated) {
        fr->data = f->pixels.at + (fr->packed_bits ? 0 : (size_t)k * fr->size);
        fr->first_bit = fr->packed_bits ? (size_t)k * (size_t)f->rows * (size_t)f->cols : 0;
        return OK;
    }
    dicom_span in = {0};
    uint8_t *joined;
    TRY(fragments_of(f, k, &in, &joined), "DICOM");
    fr->data = fr->own;
    status st = !strcmp(f->syntax, "1.2.840.10008.1.2.5") ? unpack_rle(f, in, fr)
              : !strcmp(f->syntax, "1.2.840.10008.1.2.8.1") ? unpack_deflated(f, in, fr) : unpack_codec(f, in, fr);
    free(joined);
    return st;
}

/* ---- numbers --------------------------------------------------------------------------------------------------------------------- */

/* Sample c of pixel i, bits beyond the stored ones cleared, sign extended. */
static double stored_at(const dicom_file *f, const frame *fr, size_t i, int c)
{
    size_t n_px = (size_t)f->rows * (size_t)f->cols;
    if (fr->packed_bits) return (double)(fr->data[(fr->first_bit + i) / 8] >> (fr->first_bit + i) % 8 & 1);
    size_t at = fr->planar ? (size_t)c * n_px + i : i * (size_t)f->samples + (size_t)c;
    const uint8_t *p = fr->data + at * (size_t)fr->bytes;
    uint64_t v = 0;
    for (int b = 0; b < fr->bytes; b++) v |= (uint64_t)p[fr->big ? fr->bytes - 1 - b : b] << 8 * b;
    if (fr->plain_bits) return v != 0;
    if (f->kind == DICOM_FLOATS) {
        uint32_t u = (uint32_t)v;
        float x;
        memcpy(&x, &u, 4);
        return (double)x;
    }
    if (f->kind == DICOM_DOUBLES) {
        double x;
        memcpy(&x, &v, 8);
        return x;
    }
    v &= f->stored >= 64 ? UINT64_MAX : (UINT64_C(1) << f->stored) - 1;
    if (f->is_signed && f->stored < 64 && v >> (f->stored - 1) & 1) return (double)v - ldexp(1, f->stored);
    return (double)v;
}

/* Uncompressed 4:2:2: two pixels share their colours, Y Y Cb Cr. */
static double shared_at(const dicom_file *f, const frame *fr, size_t i, int c)
{
    (void)f;
    return fr->data[i / 2 * 4 + (c == 0 ? i % 2 : (size_t)c + 1)];
}

static uint8_t to_byte(double v) { return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)(v + 0.5); }

static void to_rgb(double px[3])
{
    double y = px[0], cb = px[1] - 128, cr = px[2] - 128;
    px[0] = to_byte(y + 1.402 * cr);
    px[1] = to_byte(y - 0.344136286 * cb - 0.714136286 * cr);
    px[2] = to_byte(y + 1.772 * cb);
}

static uint32_t lut_entry(dicom_span data, int bits, bool big, size_t i)
{
    if (bits <= 8 && 2 * (i + 1) > data.n) return i < data.n ? data.at[i] : 0;
    const uint8_t *p = data.at + 2 * i;
    return 2 * i + 1 < data.n ? (uint32_t)p[big] | (uint32_t)p[!big] << 8 : 0;
}

static size_t lut_index(double v, int first, int is_signed, int n)
{
    double at = v - (is_signed ? (double)(int16_t)first : (double)first);
    return at <= 0 ? 0 : at >= n ? (size_t)n - 1 : (size_t)at;
}

static void put(image *m, size_t i, double v)
{
    switch (m->type) {
    case DT_U8: ((uint8_t *)m->data)[i] = (uint8_t)v; break;
    case DT_U16: ((uint16_t *)m->data)[i] = (uint16_t)v; break;
    case DT_I16: ((int16_t *)m->data)[i] = (int16_t)v; break;
    default: ((float *)m->data)[i] = (float)v; break;
    }
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------ */

static status check_shape(const dicom_file *f)
{
    CHECK(f->kind != DICOM_NO_PIXELS, ST_DATA, "%s: DICOM without an image%s%s", f->what, *f->modality ? ", modality " : "", f->modality);
    CHECK(f->rows > 0 && f->cols > 0, ST_DATA, "%s: DICOM image of %d x %d pixels", f->what, f->rows, f->cols);
    CHECK(f->frames > 0 && f->frames <= DICOM_FRAMES_MAX, ST_DATA, "%s: %d frames", f->what, f->frames);
    CHECK(f->samples == 1 || f->samples == 3, ST_DATA, "%s: %d samples a pixel", f->what, f->samples);
    CHECK(f->is_signed == 0 || f->is_signed == 1, ST_DATA, "%s: pixel representation %d", f->what, f->is_signed);
    if (f->kind != DICOM_INTEGERS) {
        CHECK(!f->encapsulated && f->samples == 1, ST_DATA, "%s: compressed or coloured floating point pixels", f->what);
        return OK;
    }
    int a = f->allocated;
    CHECK(a == 1 || a == 8 || a == 16 || a == 32, ST_DATA, "%s: %d bits allocated", f->what, a);
    CHECK(f->stored >= 1 && f->stored <= a, ST_DATA, "%s: %d of %d bits stored", f->what, f->stored, a);
    CHECK(f->samples == 1 || a == 8 || a == 16, ST_DATA, "%s: colours of %d bits", f->what, a);
    return OK;
}

/* What one frame takes, and whether the file can hold all of them; before anything is allocated. */
static status plan_frame(const dicom_file *f, frame *fr)
{
    size_t n_px = (size_t)f->rows * (size_t)f->cols, n = n_px * (size_t)f->samples;
    bool coded = f->encapsulated && strcmp(f->syntax, "1.2.840.10008.1.2.5") && strcmp(f->syntax, "1.2.840.10008.1.2.8.1");
    *fr = (frame){.planar = f->planar == 1 && f->samples == 3, .big = f->big};
    memcpy(fr->photometric, f->photometric, sizeof fr->photometric);
    fr->bytes = f->kind == DICOM_FLOATS ? 4 : f->kind == DICOM_DOUBLES ? 8 : (f->allocated + 7) / 8;
    fr->packed_bits = f->kind == DICOM_INTEGERS && f->allocated == 1 && !coded;
    fr->plain_bits = f->kind == DICOM_INTEGERS && f->allocated == 1 && coded;
    bool shared = !f->encapsulated && !strcmp(f->photometric, "YBR_FULL_422");
    CHECK(!shared || (f->samples == 3 && f->allocated == 8 && f->cols % 2 == 0), ST_DATA, "%s: YBR_FULL_422 with %d bits and %d columns", f->what,
          f->allocated, f->cols);
    fr->size = fr->packed_bits ? (n_px + 7) / 8 : shared ? n_px * 2 : n * (size_t)fr->bytes;
    size_t have = f->pixels.n, ratio = 1;
    if (f->encapsulated) {
        have = 0;
        for (int i = 0; i < f->n_fragments; i++) have += f->fragment[i].n;
        ratio = coded ? DICOM_CODEC_RATIO : strcmp(f->syntax, "1.2.840.10008.1.2.5") ? 1100 : DICOM_RLE_RATIO;
        fr->big = false; /* decoders hand over host order, RLE is put together as little endian */
    }
    size_t need = fr->packed_bits && !f->encapsulated ? (n_px * (size_t)f->frames + 7) / 8 : fr->size * (size_t)f->frames;
    CHECK(need / ratio <= have, ST_DATA, "%s: the header promises %zu bytes of pixels, the file has %zu%s", f->what, need, have,
          f->encapsulated ? " compressed ones" : "");
    if (f->encapsulated) TRY(mem_alloc(&fr->own, fr->size, "a DICOM frame"), "%s", f->what);
    return OK;
}

typedef struct reading { bool palette, ybr, invert, lut, scaled, colour; enum dtype type; int channels; } reading;

static status plan_values(const dicom_file *f, const frame *fr, enum image_use use, reading *how)
{
    *how = (reading){.channels = f->samples};
    bool wide = f->kind != DICOM_INTEGERS || f->allocated == 32;
    how->type = wide ? DT_F32 : f->is_signed ? DT_I16 : f->allocated == 16 ? DT_U16 : DT_U8;
    if (use == USE_LABELS) return OK;
    const char *pi = fr->photometric;
    if (f->samples == 1) {
        how->palette = !strcmp(pi, "PALETTE COLOR");
        how->invert = !strcmp(pi, "MONOCHROME1") && f->kind == DICOM_INTEGERS;
        CHECK(how->palette || how->invert || !strncmp(pi, "MONOCHROME", 10), ST_DATA, "%s: one sample a pixel as \"%s\"", f->what, pi);
        for (int c = 0; how->palette && c < 3; c++)
            CHECK(f->palette[c].n > 0 && f->palette[c].data.n > 0, ST_DATA, "%s: PALETTE COLOR without a whole palette", f->what);
        if (how->palette) how->channels = 3, how->type = DT_U8;
        how->lut = !how->palette && f->lut.n > 0 && f->lut.data.n > 0;
        how->scaled = !how->palette && !how->lut && (f->slope != 1 || f->intercept != 0);
        if (how->lut) how->type = DT_U16;
        if (how->scaled) how->type = DT_F32;
        return OK;
    }
    how->ybr = !strncmp(pi, "YBR_FULL", 8);
    CHECK(how->ybr || !strcmp(pi, "RGB") || !strcmp(pi, "YBR_RCT") || !strcmp(pi, "YBR_ICT"), ST_DATA, "%s: colours as \"%s\"", f->what, pi);
    CHECK(!how->ybr || f->allocated == 8, ST_DATA, "%s: YBR colours of %d bits", f->what, f->allocated);
    if (!f->is_signed) return OK;
    return status_raise(ST_DATA, __FILE__, __LINE__, "%s: signed colours", f->what);
}

static double value_of(const dicom_file *f, const reading *how, double v)
{
    if (how->invert) v = f->is_signed ? -1 - v : ldexp(1, f->stored) - 1 - v;
    if (how->lut) return lut_entry(f->lut.data, f->lut.bits, f->big, lut_index(v, f->lut.first, f->is_signed, f->lut.n));
    return how->scaled ? v * f->slope + f->intercept : v;
}

static status fill(image *m, const dicom_file *f, const frame *fr, const reading *how, int k)
{
    size_t n_px = (size_t)f->rows * (size_t)f->cols, to = (size_t)k * n_px * (size_t)how->channels;
    bool shared = !f->encapsulated && !strcmp(f->photometric, "YBR_FULL_422");
    for (size_t i = 0; i < n_px; i++) {
        double px[3] = {0};
        for (int c = 0; c < f->samples; c++) px[c] = shared ? shared_at(f, fr, i, c) : stored_at(f, fr, i, c);
        if (how->palette) {
            size_t at = lut_index(px[0], f->palette[0].first, f->is_signed, f->palette[0].n);
            for (int c = 0; c < 3; c++) {
                uint32_t e = lut_entry(f->palette[c].data, f->palette[c].bits, f->big, at);
                px[c] = (double)(f->palette[c].bits > 8 ? e >> 8 : e & 255);
            }
        } else if (how->ybr) to_rgb(px);
        else if (f->samples == 1) px[0] = value_of(f, how, px[0]);
        for (int c = 0; c < how->channels; c++, to++) {
            CHECK(m->type != DT_F32 || f->kind != DICOM_INTEGERS || how->scaled || (double)(float)px[c] == px[c], ST_DATA,
                  "%s: integer %.0f has no exact float32", f->what, px[c]);
            put(m, to, px[c]);
        }
    }
    return OK;
}

/* Slope 1 and a whole intercept keep whole numbers: int16 if all fit. */
static status settle_type(image *m, const dicom_file *f)
{
    if (m->type != DT_F32 || f->kind != DICOM_INTEGERS || f->slope != 1 || f->intercept != rint(f->intercept)) return OK;
    for (size_t i = 0, n = image_count(m); i < n; i++)
        if (image_at(m, i) < -32768 || image_at(m, i) > 32767) return OK;
    return image_to_type(m, DT_I16);
}

status dicom_pixels(image *m, const dicom_file *f, enum image_use use)
{
    *m = (image){0};
    frame fr;
    reading how = {0};
    TRY(check_shape(f), "DICOM");
    TRY(plan_frame(f, &fr), "DICOM");
    status st = OK;
    for (int k = 0; k < f->frames; k++) {
        TRY_TO(out, get_frame(f, k, &fr), "DICOM");
        if (k == 0) { /* only a decoder knows what colours it hands over */
            TRY_TO(out, plan_values(f, &fr, use, &how), "DICOM");
            TRY_TO(out, image_alloc(m, f->frames, f->rows, f->cols, how.channels, how.type, f->what), "DICOM");
        }
        TRY_TO(out, fill(m, f, &fr, &how, k), "DICOM");
    }
    m->is_volume = f->frames > 1;
    m->path_tells = f->path_tells;
    if (f->has_spacing) m->spacing[1] = f->spacing[0], m->spacing[2] = f->spacing[1];
    if (use == USE_PIXELS && how.scaled) TRY_TO(out, settle_type(m, f), "%s", f->what);
out:
    free(fr.own);
    if (st) image_free(m);
    return st;
}

status dicom_decode(image *m, const void *bytes, size_t n, enum image_use use, const char *what)
{
    *m = (image){0};
    dicom_file f;
    TRY(dicom_parse(&f, bytes, n, what), "DICOM");
    status st = dicom_pixels(m, &f, use);
    dicom_free(&f);
    return st;
}
