/* synth_write: the phantoms' source files: PNG, NIfTI-1, Pascal VOC, any text. */
#include "synth.h"
#include "canvas.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

status source_bytes(const synth_job *job, const char *name, const void *data, size_t n_bytes)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", job->root, name);
    char *slash = strrchr(path, '/');
    *slash = 0;
    TRY(path_make_dirs(path), "synthetic source files");
    *slash = '/';
    FILE *f = fopen(path, "wb"); /* plain: a folder left half-made is simply made again */
    CHECK(f, ST_RESOURCE, "%s: cannot write: %s", path, strerror(errno));
    bool good = fwrite(data, 1, n_bytes, f) == n_bytes;
    int why = errno;
    good = fclose(f) == 0 && good;
    CHECK(good, ST_RESOURCE, "%s: cannot write: %s", path, strerror(why));
    return OK;
}

status source_png(const synth_job *job, const char *name, int w, int h, int channels, int bits, const void *px)
{
    uint8_t *bytes;
    size_t n;
    TRY(png_encode(w, h, channels, bits, px, &bytes, &n), "%s/%s", job->root, name);
    status st = source_bytes(job, name, bytes, n);
    free(bytes);
    TRY(st, "PNG");
    return OK;
}

static void put_f32(uint8_t *p, float v)
{
    memcpy(p, &v, 4);
}

static void put_i16(uint8_t *p, int v)
{
    int16_t s = (int16_t)v;
    memcpy(p, &s, 2);
}

/* Header of a single-file NIfTI-1 image; byte offsets as in nifti1.h of the standard. Little-endian as this machine. */
static void nifti_head(uint8_t head[352], const int n[3], const float spacing[3], enum dtype t)
{
    memset(head, 0, 352);
    int32_t bytes = 348;
    memcpy(head, &bytes, 4);
    put_i16(head + 40, 3);
    for (int k = 0; k < 7; k++)
        put_i16(head + 42 + 2 * k, k < 3 ? n[k] : 1);
    put_i16(head + 70, t == DT_U8 ? 2 : t == DT_I16 ? 4 : 16);
    put_i16(head + 72, 8 * (int)dtype_bytes(t));
    put_f32(head + 76, 1); /* qfac */
    for (int k = 0; k < 3; k++)
        put_f32(head + 80 + 4 * k, spacing[k]);
    put_f32(head + 108, 352);
    put_f32(head + 112, 1); /* slope */
    head[123] = 2;          /* mm */
    strcpy((char *)head + 148, "medley synthetic phantom");
    put_i16(head + 252, 1);
    put_i16(head + 254, 1);
    put_f32(head + 264, 1); /* quaternion (0,0,0,1): half a turn about z, from left-back-up to NIfTI's right-front-up */
    float shift[3] = { spacing[0] * (float)(n[0] - 1) / 2, spacing[1] * (float)(n[1] - 1) / 2, -spacing[2] * (float)(n[2] - 1) / 2 };
    for (int k = 0; k < 3; k++) {
        put_f32(head + 268 + 4 * k, shift[k]);
        put_f32(head + 280 + 16 * k + 4 * k, k < 2 ? -spacing[k] : spacing[k]);
        put_f32(head + 280 + 16 * k + 12, shift[k]);
    }
    memcpy(head + 344, "n+1", 4);
}

status source_nifti(const synth_job *job, const char *name, const int n[3], const float spacing[3], enum dtype t, const void *data)
{
    CHECK(t == DT_U8 || t == DT_I16 || t == DT_F32, ST_BUG, "NIfTI of type %s", dtype_name(t));
    uint8_t head[352];
    nifti_head(head, n, spacing, t);
    size_t n_data = (size_t)n[0] * (size_t)n[1] * (size_t)n[2] * dtype_bytes(t);

    status st = OK;
    uint8_t *out = NULL;
    z_stream z = { 0 };
    CHECK(deflateInit2(&z, 4, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, ST_RESOURCE, "%s: zlib", name); /* +16: gzip */
    size_t cap = deflateBound(&z, (uLong)(n_data + sizeof head));
    TRY_TO(done, mem_alloc(&out, cap, "NIfTI file"), "%s", name);
    z.next_out = out, z.avail_out = (uInt)cap;
    z.next_in = head, z.avail_in = sizeof head;
    int rc = deflate(&z, Z_NO_FLUSH);
    z.next_in = (Bytef *)data, z.avail_in = (uInt)n_data;
    if (rc == Z_OK)
        rc = deflate(&z, Z_FINISH);
    CHECK_TO(done, rc == Z_STREAM_END, ST_RESOURCE, "%s: zlib: error %d", name, rc);
    TRY_TO(done, source_bytes(job, name, out, z.total_out), "NIfTI");
done:
    deflateEnd(&z);
    free(out);
    return st;
}

status source_voc(const synth_job *job, const char *name, const char *image_name, int w, int h, const voc_box *box, int n)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *f;
    TRY(mem_text_open(&f, &text, &bytes, "annotation"), "%s", name);
    fprintf(f, "<annotation>\n\t<folder>images</folder>\n\t<filename>%s</filename>\n", image_name);
    fprintf(f, "\t<size>\n\t\t<width>%d</width>\n\t\t<height>%d</height>\n\t\t<depth>3</depth>\n\t</size>\n", w, h);
    for (int i = 0; i < n; i++) {
        fprintf(f, "\t<object>\n\t\t<name>%s</name>\n\t\t<truncated>0</truncated>\n\t\t<difficult>0</difficult>\n", box[i].name);
        fprintf(f, "\t\t<bndbox>\n\t\t\t<xmin>%d</xmin>\n\t\t\t<ymin>%d</ymin>\n\t\t\t<xmax>%d</xmax>\n\t\t\t<ymax>%d</ymax>\n\t\t</bndbox>\n",
                box[i].x0, box[i].y0, box[i].x1, box[i].y1);
        fprintf(f, "\t</object>\n");
    }
    fprintf(f, "</annotation>\n");
    status st = mem_text_close(f, &text, "annotation");
    if (!st) st = source_bytes(job, name, text, bytes);
    free(text);
    TRY(st, "annotation");
    return OK;
}
