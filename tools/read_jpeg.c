/* read_jpeg: JPEG through libjpeg-turbo, grey or RGB; a file that ends early or holds CMYK is an error. */
#include "readers.h"

#include "medley_build.h"

#ifdef HAVE_JPEG
#include <jpeglib.h>
#include <jerror.h>
#include <setjmp.h>
#include <string.h>

typedef struct jpeg_trap {
    struct jpeg_error_mgr mgr;
    char    message[JMSG_LENGTH_MAX];
    jmp_buf jump;
} jpeg_trap;

static void on_error(j_common_ptr info)
{
    jpeg_trap *trap = (jpeg_trap *)info->err;
    info->err->format_message(info, trap->message);
    longjmp(trap->jump, 1);
}

/* libjpeg only warns when data is missing and paints the rest grey: that is a damaged file here. Stray bytes are harmless. */
static void on_message(j_common_ptr info, int level)
{
    int code = info->err->msg_code;
    if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE)) on_error(info);
}

/* A progressive file may go over the same image again and again. */
enum { SCANS_MAX = 500 };

static void on_progress(j_common_ptr info)
{
    jpeg_trap *trap = (jpeg_trap *)info->err;
    if (((j_decompress_ptr)info)->input_scan_number <= SCANS_MAX) return;
    snprintf(trap->message, sizeof trap->message, "more than %d scans", SCANS_MAX);
    longjmp(trap->jump, 1);
}

status jpeg_decode(image *m, const void *bytes, size_t n, const char *what)
{
    *m = (image){0};
    struct jpeg_progress_mgr progress = {.progress_monitor = on_progress};
    struct jpeg_decompress_struct jpeg = {0};
    jpeg_trap trap;
    jpeg.err = jpeg_std_error(&trap.mgr);
    trap.mgr.error_exit = on_error;
    trap.mgr.emit_message = on_message;
    status st = OK;
    if (setjmp(trap.jump)) {
        st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: damaged JPEG: %s", what, trap.message);
        goto out;
    }
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, bytes, n);
    jpeg.progress = &progress;
    jpeg_read_header(&jpeg, TRUE);
    /* a block of 8 x 8 pixels takes at least a bit: a header that promises more lies, and must not make us allocate */
    CHECK_TO(out, (size_t)jpeg.image_height * jpeg.image_width / 512 <= n, ST_DATA, "%s: the header promises %u x %u pixels, the file cannot hold them",
             what, jpeg.image_width, jpeg.image_height);
    CHECK_TO(out, jpeg.jpeg_color_space != JCS_CMYK && jpeg.jpeg_color_space != JCS_YCCK, ST_DATA,
             "%s: a CMYK JPEG (for printing); its colours have no defined RGB value, convert it first", what);
    jpeg.out_color_space = jpeg.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg.dct_method = JDCT_ISLOW;
    TRY_TO(out, image_alloc(m, 1, (int)jpeg.image_height, (int)jpeg.image_width, jpeg.num_components == 1 ? 1 : 3, DT_U8, what), "JPEG");
    jpeg_start_decompress(&jpeg);
    size_t stride = (size_t)m->W * (size_t)m->C;
    while (jpeg.output_scanline < jpeg.output_height) {
        JSAMPROW row = (JSAMPROW)m->data + jpeg.output_scanline * stride;
        jpeg_read_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_decompress(&jpeg);
out:
    jpeg_destroy_decompress(&jpeg);
    if (st) image_free(m);
    return st;
}
#else
#include "not_built.h"

status jpeg_decode(image *m, const void *bytes, size_t n, const char *what)
{
    (void)m, (void)bytes, (void)n;
    return NOT_BUILT("libjpeg62-turbo-dev", "JPEG", what);
}
#endif
