/* write_nifti: NIfTI-1 and NIfTI-2, gzipped, on the grid of a volume that was read. Source: the header definitions nifti1.h and nifti2.h of
 * the NIfTI DFWG. */
#include "writers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { HEAD_1 = 352, HEAD_2 = 544, SIDE_1 = 32767, CODE_U8 = 2, CODE_F32 = 16, INTENT_LABEL = 1002, UNIT_MM = 2, SCANNER = 1 };

/* Little-endian, whatever the machine has. */
static void put_int(uint8_t *p, int64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) p[i] = (uint8_t)((uint64_t)v >> (8 * i));
}

static void put_real(uint8_t *p, double v, int bytes)
{
    uint64_t u = 0;
    float f = (float)v;
    uint32_t u4;
    memcpy(&u4, &f, 4);
    if (bytes == 4) u = u4;
    else memcpy(&u, &v, 8);
    put_int(p, (int64_t)u, bytes);
}

/* Where the two versions keep what we write, and how wide. */
typedef struct layout {
    int head, size, magic, dim, dim_bytes, type, bits, intent, pixdim, real_bytes, offset, slope, units, units_bytes, qform, code_bytes;
    int sform, quatern, shift, srow;
} layout;
static const layout one = {HEAD_1, 348, 344, 40, 2, 70, 72, 68, 76, 4, 108, 112, 123, 1, 252, 2, 254, 256, 268, 280};
static const layout two = {HEAD_2, 540, 4, 16, 8, 12, 14, 504, 104, 8, 168, 176, 500, 4, 344, 4, 348, 352, 376, 400};

/* What is said of the grid: the source's own words, or those of a volume in patient axes. */
static nifti_grid grid_of(const image *like)
{
    if (like->origin.nifti.there) return like->origin.nifti;
    nifti_grid g = {.n_dims = 3, .units = like->has_affine ? UNIT_MM : 0, .sform = like->has_affine ? SCANNER : 0, .pixdim = {1, 1, 1, 1}};
    for (int k = 0; k < 3; k++)
        if (like->spacing[2 - k] > 0) g.pixdim[1 + k] = like->spacing[2 - k];
    if (like->has_affine) memcpy(g.srow, like->affine, sizeof g.srow);
    return g;
}

static void put_head(uint8_t *b, const layout *at, const nifti_grid *g, const int64_t size[3], const image *m)
{
    bool is_two = at == &two;
    int r = at->real_bytes, n_dims = m->C > 1 ? 4 : g->n_dims;
    put_int(b, at->size, 4);
    memcpy(b + at->magic, is_two ? "n+2\0\r\n\032\n" : "n+1\0", is_two ? 8 : 4);
    put_int(b + at->dim, n_dims, at->dim_bytes);
    for (int i = 1; i < 8; i++) put_int(b + at->dim + i * at->dim_bytes, i <= 3 ? size[i - 1] : i == 4 ? m->C : 1, at->dim_bytes);
    put_int(b + at->type, m->type == DT_U8 ? CODE_U8 : CODE_F32, 2);
    put_int(b + at->bits, m->type == DT_U8 ? 8 : 32, 2);
    put_int(b + at->intent, m->type == DT_U8 && m->C == 1 ? INTENT_LABEL : 0, is_two ? 4 : 2);
    for (int i = 0; i < 8; i++) put_real(b + at->pixdim + i * r, i > 3 && m->C > 1 ? 1 : g->pixdim[i], r);
    if (is_two) put_int(b + at->offset, at->head, 8);
    else put_real(b + at->offset, at->head, 4);
    put_real(b + at->slope, 1, r);
    put_int(b + at->units, g->units, at->units_bytes);
    put_int(b + at->qform, g->qform, at->code_bytes), put_int(b + at->sform, g->sform, at->code_bytes);
    for (int i = 0; i < 3; i++) {
        put_real(b + at->quatern + i * r, g->quatern[i], r), put_real(b + at->shift + i * r, g->offset[i], r);
        for (int j = 0; j < 4; j++) put_real(b + at->srow + (4 * i + j) * r, g->srow[i][j], r);
    }
}

/* Voxels back to the order of the source: all of a channel, then the next. */
static void put_voxels(uint8_t *to, const image *m, const int64_t size[3], const int axis[3], const bool flip[3])
{
    size_t px = dtype_bytes(m->type);
    int64_t step[3], from = orient_steps(size, (int64_t)px, axis, flip, step), volume = size[0] * size[1] * size[2] * (int64_t)px;
    const uint8_t *p = m->data;
    for (int64_t z = 0; z < m->D; z++)
        for (int64_t y = 0; y < m->H; y++)
            for (int64_t x = 0; x < m->W; x++)
                for (int64_t c = 0; c < m->C; c++, p += px) {
                    uint8_t *at = to + from + z * step[2] + y * step[1] + x * step[0] + c * volume;
                    if (px == 1) *at = *p;
                    else {
                        float v;
                        memcpy(&v, p, sizeof v);
                        put_real(at, (double)v, 4);
                    }
                }
}

static status pack(const uint8_t *raw, size_t n, uint8_t **out, size_t *n_out)
{
    z_stream z = {0};
    /* + 16: gzip, without a time */
    CHECK(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, ST_RESOURCE, "no memory for zlib");
    size_t room = deflateBound(&z, (uLong)n), used = 0;
    int rc = Z_OK;
    status st = mem_alloc(out, room, "NIfTI file");
    while (!st && rc == Z_OK) {
        uInt in = n > 1u << 30 ? 1u << 30 : (uInt)n, space = room - used > 1u << 30 ? 1u << 30 : (uInt)(room - used);
        z.next_in = (uint8_t *)(uintptr_t)raw, z.avail_in = in;
        z.next_out = *out + used, z.avail_out = space;
        rc = deflate(&z, in == n ? Z_FINISH : Z_NO_FLUSH);
        raw += in - z.avail_in, n -= in - z.avail_in, used += space - z.avail_out;
    }
    deflateEnd(&z);
    if (!st && rc != Z_STREAM_END) st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "zlib: error %d", rc);
    if (st) free(*out), *out = NULL;
    *n_out = used;
    return st;
}

status nifti_encode(const image *m, const image *like, uint8_t **bytes, size_t *n_bytes)
{
    *bytes = NULL;
    CHECK(m->D == like->D && m->H == like->H && m->W == like->W && (m->type == DT_U8 || m->type == DT_F32), ST_BUG,
          "%d x %d x %d values of type %s for a volume of %d x %d x %d", m->D, m->H, m->W, dtype_name(m->type), like->D, like->H, like->W);
    const image_origin *o = &like->origin;
    bool turned = o->nifti.there && o->size[0] > 0;
    const int64_t plain_size[3] = {m->W, m->H, m->D};
    static const int plain_axis[3] = {0, 1, 2};
    static const bool plain_flip[3];
    const int64_t *size = turned ? o->size : plain_size;
    nifti_grid g = grid_of(like);
    bool long_side = size[0] > SIDE_1 || size[1] > SIDE_1 || size[2] > SIDE_1;
    const layout *at = g.two || long_side ? &two : &one;
    uint8_t *raw;
    size_t n = (size_t)at->head + image_bytes(m);
    TRY(mem_alloc(&raw, n, "NIfTI file"), "NIfTI");
    put_head(raw, at, &g, size, m);
    put_voxels(raw + at->head, m, size, turned ? o->axis : plain_axis, turned ? o->flip : plain_flip);
    status st = pack(raw, n, bytes, n_bytes);
    free(raw);
    return st;
}
