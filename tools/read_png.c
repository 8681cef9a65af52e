/* read_png: PNG, the usual kinds by png_quick.c, all others and all damage through libpng; palettes, low bit depths, 16 bits, alpha. */
#include "readers.h"
#include "png_quick.h"

#include "medley_build.h"

#ifdef HAVE_PNG
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

typedef struct png_source {
    const unsigned char *at, *end;
    char message[160];
    unsigned char *rows; /* here, not in locals: they are freed after a longjmp */
    png_bytep *row;
    jmp_buf jump;
} png_source;

static void on_error(png_structp png, png_const_charp message)
{
    png_source *src = png_get_error_ptr(png);
    snprintf(src->message, sizeof src->message, "%s", message);
    longjmp(src->jump, 1);
}

static void on_warning(png_structp png, png_const_charp message) { (void)png, (void)message; }

static void on_read(png_structp png, png_bytep out, size_t n)
{
    png_source *src = png_get_io_ptr(png);
    if (n > (size_t)(src->end - src->at)) png_error(png, "file ends too early");
    memcpy(out, src->at, n);
    src->at += n;
}

/* Grey+alpha or RGBA rows to grey or RGB over black; opaque pixels keep their value exactly. */
static void flatten(image *m, const unsigned char *rows, size_t stride, int depth)
{
    size_t C = (size_t)m->C;
    for (int y = 0; y < m->H; y++)
        for (int x = 0; x < m->W; x++) {
            size_t to = ((size_t)y * (size_t)m->W + (size_t)x) * C, from = (size_t)x * (C + 1);
            for (size_t c = 0; c < C; c++) {
                if (depth == 16) {
                    const uint16_t *p = (const uint16_t *)(const void *)(rows + (size_t)y * stride) + from;
                    ((uint16_t *)m->data)[to + c] = (uint16_t)(((uint64_t)p[c] * p[C] + 32767) / 65535);
                } else {
                    const unsigned char *p = rows + (size_t)y * stride + from;
                    ((uint8_t *)m->data)[to + c] = (uint8_t)((p[c] * p[C] + 127) / 255);
                }
            }
        }
}

status png_decode(image *m, const void *bytes, size_t n, enum image_use use, const char *what)
{
    if (png_quick(m, bytes, n, use == USE_LABELS)) return OK;
    *m = (image){0};
    png_source src = {.at = bytes, .end = (const unsigned char *)bytes + n};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &src, on_error, on_warning);
    CHECK(png, ST_RESOURCE, "%s: no memory for libpng", what);
    png_infop info = png_create_info_struct(png);
    status st = OK;
    CHECK_TO(out, info, ST_RESOURCE, "%s: no memory for libpng", what);
    if (setjmp(src.jump)) {
        st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: damaged PNG: %s", what, src.message);
        goto out;
    }
    png_set_read_fn(png, &src, on_read);
    png_set_user_limits(png, IMAGE_SIDE_MAX, IMAGE_SIDE_MAX);
    png_read_info(png, info);
    int colour = png_get_color_type(png, info), depth = png_get_bit_depth(png, info);
    if (use == USE_LABELS) {
        CHECK_TO(out, depth <= 8 || colour == PNG_COLOR_TYPE_GRAY, ST_DATA, "%s: a label image with 16-bit colours", what);
        png_set_packing(png);
        if (colour & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(png);
    } else {
        if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
        if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
        if (png_get_valid(png, info, PNG_INFO_tRNS)) png_set_tRNS_to_alpha(png);
    }
    if (depth == 16) png_set_swap(png); /* to host order; shards and tools run on little-endian machines */
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    int planes = png_get_channels(png, info);
    depth = png_get_bit_depth(png, info);
    int alpha = planes == 2 || planes == 4;
    size_t told = png_get_rowbytes(png, info) * (size_t)png_get_image_height(png, info);
    /* deflate packs at most about 1032 to 1, and low bit depths have just been widened up to 32 times */
    CHECK_TO(out, told / (1040 * 32) <= n, ST_DATA, "%s: the header promises %zu bytes of pixels, the file cannot hold them", what, told);
    TRY_TO(out, image_alloc(m, 1, (int)png_get_image_height(png, info), (int)png_get_image_width(png, info), planes - alpha,
                            depth == 16 ? DT_U16 : DT_U8, what), "PNG");
    size_t stride = png_get_rowbytes(png, info), H = (size_t)m->H;
    TRY_TO(out, mem_alloc(&src.row, H * sizeof *src.row, "PNG rows"), "%s", what);
    if (alpha) TRY_TO(out, mem_alloc(&src.rows, H * stride, "PNG pixels"), "%s", what);
    for (size_t y = 0; y < H; y++) src.row[y] = (alpha ? src.rows : (unsigned char *)m->data) + y * stride;
    png_read_image(png, src.row);
    png_read_end(png, NULL);
    if (alpha) flatten(m, src.rows, stride, depth);
    if (use == USE_LABELS && m->C == 3) {
        const uint8_t *p = m->data;
        for (size_t i = 0; i < H * (size_t)m->W; i++)
            CHECK_TO(out, p[3 * i] == p[3 * i + 1] && p[3 * i] == p[3 * i + 2], ST_DATA,
                     "%s: a label image in colours; only grey values and palette indices name classes", what);
        TRY_TO(out, image_to_channels(m, 1), "%s", what);
    }
out:
    png_destroy_read_struct(&png, &info, NULL);
    free(src.rows);
    free(src.row);
    if (st) image_free(m);
    return st;
}
#else
#include "not_built.h"

status png_decode(image *m, const void *bytes, size_t n, enum image_use use, const char *what)
{
    (void)m, (void)bytes, (void)n, (void)use;
    return NOT_BUILT("libpng-dev", "PNG", what);
}
#endif
