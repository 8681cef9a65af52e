/* read_nifti: our own bounds-checked NIfTI-1 and NIfTI-2 reader (.nii, .nii.gz), volumes turned to DICOM's patient axes.
 * Source: the header definitions nifti1.h and nifti2.h of the NIfTI DFWG. */
#include "readers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { HEADER_BYTES = 544 };

typedef struct header {
    bool     swap, two;
    int64_t  dim[8];
    int      datatype, units, qform, sform;
    double   pixdim[8], slope, inter, quatern[3], offset[3], srow[3][4];
    uint64_t vox_offset;
} header;

/* ---- numbers of either byte order ------------------------------------------------------------------------- */

static uint64_t number(const unsigned char *p, int bytes, bool swap)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v = v << 8 | p[swap ? i : bytes - 1 - i];
    return v;
}

static int16_t get_i16(const unsigned char *p, bool swap) { return (int16_t)number(p, 2, swap); }
static int32_t get_i32(const unsigned char *p, bool swap) { return (int32_t)number(p, 4, swap); }
static int64_t get_i64(const unsigned char *p, bool swap) { return (int64_t)number(p, 8, swap); }

static double get_f32(const unsigned char *p, bool swap)
{
    uint32_t u = (uint32_t)number(p, 4, swap);
    float f;
    memcpy(&f, &u, 4);
    return (double)f;
}

static double get_f64(const unsigned char *p, bool swap)
{
    uint64_t u = number(p, 8, swap);
    double f;
    memcpy(&f, &u, 8);
    return f;
}

/* ---- gzip -------------------------------------------------------------------------------------------------- */

/* Unpacks at most `limit` bytes. to_end: goes on to the end of the file without keeping the rest, so that its checksum is seen. */
static status gunzip(const void *bytes, size_t n, unsigned char *out, size_t limit, bool to_end, size_t *got, const char *what)
{
    if (to_end && unpack_gzip(bytes, n, out, limit, got)) return OK;
    z_stream z = {0};
    CHECK(inflateInit2(&z, 15 + 16) == Z_OK, ST_RESOURCE, "%s: no memory for zlib", what);
    const unsigned char *in = bytes;
    size_t left = n, beyond = 0;
    unsigned char spill[16384];
    int rc = Z_OK;
    *got = 0;
    for (;;) {
        if (z.avail_in == 0 && left > 0) {
            z.next_in = (unsigned char *)(uintptr_t)in;
            z.avail_in = left > 1u << 30 ? 1u << 30 : (uInt)left;
            in += z.avail_in, left -= z.avail_in;
        }
        bool keep = *got < limit;
        if (!keep && (!to_end || beyond > (size_t)16 << 20)) break;
        size_t room = keep ? limit - *got : sizeof spill;
        z.next_out = keep ? out + *got : spill;
        z.avail_out = room > 1u << 30 ? 1u << 30 : (uInt)room;
        uInt before = z.avail_out;
        rc = inflate(&z, Z_NO_FLUSH);
        if (keep) *got += before - z.avail_out;
        else beyond += before - z.avail_out;
        if (rc == Z_STREAM_END && (z.avail_in > 0 || left > 0)) rc = inflateReset(&z); /* several members in a row */
        if (rc != Z_OK) break;
    }
    char why[80];
    snprintf(why, sizeof why, "%s", z.msg ? z.msg : "the file ends too early");
    inflateEnd(&z);
    CHECK(rc == Z_OK || rc == Z_STREAM_END, ST_DATA, "%s: damaged gzip data: %s", what, why);
    return OK;
}

/* ---- header ------------------------------------------------------------------------------------------------ */

static status parse_header(header *h, const unsigned char *b, size_t n, const char *what)
{
    *h = (header){0};
    CHECK(n >= 4, ST_DATA, "%s: %zu bytes are no NIfTI file", what, n);
    uint64_t size = number(b, 4, false);
    h->swap = size != 348 && size != 540;
    if (h->swap) size = number(b, 4, true);
    CHECK(size == 348 || size == 540, ST_DATA, "%s: not a NIfTI file", what);
    h->two = size == 540;
    bool s = h->swap;
    CHECK(n >= (h->two ? 544u : 352u), ST_DATA, "%s: the NIfTI header ends after %zu bytes", what, n);
    const char *magic = (const char *)b + (h->two ? 4 : 344);
    CHECK(memcmp(magic, h->two ? "ni2" : "ni1", 4), ST_DATA, "%s: a header of a .hdr/.img pair; only single .nii files are read", what);
    CHECK(!memcmp(magic, h->two ? "n+2" : "n+1", 4), ST_DATA, "%s: wrong NIfTI magic word", what);
    double offset;
    if (h->two) {
        for (int i = 0; i < 8; i++) h->dim[i] = get_i64(b + 16 + 8 * i, s), h->pixdim[i] = get_f64(b + 104 + 8 * i, s);
        h->datatype = get_i16(b + 12, s);
        offset = (double)get_i64(b + 168, s);
        h->slope = get_f64(b + 176, s), h->inter = get_f64(b + 184, s);
        h->qform = get_i32(b + 344, s), h->sform = get_i32(b + 348, s), h->units = get_i32(b + 500, s) & 7;
        for (int i = 0; i < 3; i++) {
            h->quatern[i] = get_f64(b + 352 + 8 * i, s), h->offset[i] = get_f64(b + 376 + 8 * i, s);
            for (int j = 0; j < 4; j++) h->srow[i][j] = get_f64(b + 400 + 32 * i + 8 * j, s);
        }
    } else {
        for (int i = 0; i < 8; i++) h->dim[i] = get_i16(b + 40 + 2 * i, s), h->pixdim[i] = get_f32(b + 76 + 4 * i, s);
        h->datatype = get_i16(b + 70, s);
        offset = get_f32(b + 108, s);
        h->slope = get_f32(b + 112, s), h->inter = get_f32(b + 116, s);
        h->qform = get_i16(b + 252, s), h->sform = get_i16(b + 254, s), h->units = b[123] & 7;
        for (int i = 0; i < 3; i++) {
            h->quatern[i] = get_f32(b + 256 + 4 * i, s), h->offset[i] = get_f32(b + 268 + 4 * i, s);
            for (int j = 0; j < 4; j++) h->srow[i][j] = get_f32(b + 280 + 16 * i + 4 * j, s);
        }
    }
    CHECK(h->dim[0] >= 1 && h->dim[0] <= 7, ST_DATA, "%s: the header names %lld dimensions", what, (long long)h->dim[0]);
    for (int i = 1; i <= 7; i++) {
        if (i > h->dim[0]) h->dim[i] = 1;
        CHECK(h->dim[i] >= 1 && h->dim[i] <= IMAGE_SIDE_MAX, ST_DATA, "%s: size %lld in dimension %d", what, (long long)h->dim[i], i);
        CHECK(i <= 4 || h->dim[i] == 1, ST_DATA, "%s: %lld in dimension %d; four dimensions are read", what, (long long)h->dim[i], i);
    }
    uint64_t least = h->two ? 544 : 352;
    CHECK(offset == 0 || (offset >= (double)least - 4 && offset < 1e9), ST_DATA, "%s: data offset %g", what, offset);
    h->vox_offset = offset == 0 ? least : (uint64_t)offset;
    return OK;
}

/* ---- voxel to world -------------------------------------------------------------------------------------------- */

static bool usable(double a[3][4])
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            if (!isfinite(a[i][j])) return false;
    double det = a[0][0] * (a[1][1] * a[2][2] - a[1][2] * a[2][1]) - a[0][1] * (a[1][0] * a[2][2] - a[1][2] * a[2][0])
               + a[0][2] * (a[1][0] * a[2][1] - a[1][1] * a[2][0]);
    return fabs(det) > 1e-12;
}

/* sform if it is set, else qform, else the voxel sizes alone. */
static void affine_of(const header *h, double a[3][4], bool *oriented)
{
    *oriented = true;
    if (h->sform > 0) {
        memcpy(a, h->srow, sizeof h->srow);
        if (usable(a)) return;
    }
    if (h->qform > 0) {
        double b = h->quatern[0], c = h->quatern[1], d = h->quatern[2], r = 1 - b * b - c * c - d * d, q = r > 0 ? sqrt(r) : 0;
        double turn[3][3] = {{q * q + b * b - c * c - d * d, 2 * (b * c - q * d), 2 * (b * d + q * c)},
                             {2 * (b * c + q * d), q * q + c * c - b * b - d * d, 2 * (c * d - q * b)},
                             {2 * (b * d - q * c), 2 * (c * d + q * b), q * q + d * d - b * b - c * c}};
        for (int i = 0; i < 3; i++) {
            for (int j = 0; j < 3; j++) a[i][j] = turn[i][j] * h->pixdim[1 + j] * (j == 2 && h->pixdim[0] < 0 ? -1 : 1);
            a[i][3] = h->offset[i];
        }
        if (usable(a)) return;
    }
    *oriented = false;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++) a[i][j] = i == j ? fabs(h->pixdim[1 + i]) : 0;
    if (!usable(a))
        for (int i = 0; i < 3; i++) a[i][i] = 1;
}

/* ---- voxels ------------------------------------------------------------------------------------------------------ */

static const struct { int code, bytes; enum dtype kept; const char *name; } types[] = {
    {2, 1, DT_U8, "uint8"},    {4, 2, DT_I16, "int16"},    {8, 4, DT_F32, "int32"},    {16, 4, DT_F32, "float32"}, {64, 8, DT_F32, "float64"},
    {256, 1, DT_I16, "int8"},  {512, 2, DT_U16, "uint16"}, {768, 4, DT_F32, "uint32"}, {1024, 8, DT_F32, "int64"}, {1280, 8, DT_F32, "uint64"}};

static double voxel(const unsigned char *p, int code, bool swap)
{
    switch (code) {
    case 2: return *p;
    case 4: return get_i16(p, swap);
    case 8: return get_i32(p, swap);
    case 16: return get_f32(p, swap);
    case 64: return get_f64(p, swap);
    case 256: return (int8_t)*p;
    case 512: return (double)number(p, 2, swap);
    case 768: return (double)number(p, 4, swap);
    case 1024: return (double)get_i64(p, swap);
    default: return (double)number(p, 8, swap);
    }
}

/* Voxels that are kept as they are, n_channels apart. */
#define COPY(type)                                                                                                              \
    do {                                                                                                                        \
        type *to = (type *)m->data + c;                                                                                         \
        for (int z = 0; z < m->D; z++)                                                                                          \
            for (int y = 0; y < m->H; y++) {                                                                                    \
                const unsigned char *p = data + from + z * step[2] + y * step[1];                                               \
                if (m->C == 1 && step[0] == -(int64_t)sizeof *to) /* by far the most: a loop for vectors */                      \
                    for (int x = 0; x < m->W; x++) memcpy(to + x, p - (ptrdiff_t)x * (ptrdiff_t)sizeof *to, sizeof *to);         \
                else                                                                                                            \
                    for (int x = 0; x < m->W; x++) memcpy(to + (ptrdiff_t)x * m->C, p + (ptrdiff_t)x * step[0], sizeof *to);     \
                to += (ptrdiff_t)m->W * m->C;                                                                                   \
            }                                                                                                                   \
    } while (0)

/* One volume into channel c. */
static status copy_voxels(image *m, const header *h, const unsigned char *data, int t, double slope, double inter, const int axis[3],
                          const bool flip[3], int c, const char *what)
{
    int64_t step[3], from = orient_steps(h->dim + 1, types[t].bytes, axis, flip, step);
    bool whole = types[t].code != 16 && types[t].code != 64, scaled = slope != 1 || inter != 0;
    size_t i = (size_t)c, n_channels = (size_t)m->C;
    if (!scaled && !h->swap && (types[t].code == 2 || types[t].code == 4 || types[t].code == 512 || types[t].code == 16)) {
        if (types[t].bytes == 1) COPY(uint8_t);
        else if (types[t].bytes == 2) COPY(uint16_t);
        else COPY(float);
        return OK;
    }
    for (int z = 0; z < m->D; z++)
        for (int y = 0; y < m->H; y++)
            for (int x = 0; x < m->W; x++, i += n_channels) {
                double v = voxel(data + from + z * step[2] + y * step[1] + x * step[0], types[t].code, h->swap);
                if (scaled) v = v * slope + inter;
                switch (m->type) {
                case DT_U8: ((uint8_t *)m->data)[i] = (uint8_t)v; break;
                case DT_U16: ((uint16_t *)m->data)[i] = (uint16_t)v; break;
                case DT_I16: ((int16_t *)m->data)[i] = (int16_t)v; break;
                default:
                    ((float *)m->data)[i] = (float)v;
                    CHECK(!whole || scaled || (double)(float)v == v, ST_DATA, "%s: integer %.0f has no exact float32", what, v);
                }
            }
    return OK;
}

static nifti_grid grid_of(const header *h)
{
    nifti_grid g = {.there = true, .two = h->two, .n_dims = h->dim[4] == 1 ? (int)h->dim[0] : 3, .units = h->units, .qform = h->qform, .sform = h->sform};
    memcpy(g.pixdim, h->pixdim, sizeof g.pixdim);
    memcpy(g.quatern, h->quatern, sizeof g.quatern);
    memcpy(g.offset, h->offset, sizeof g.offset);
    memcpy(g.srow, h->srow, sizeof g.srow);
    return g;
}

static status decode(image *m, const unsigned char *b, size_t n, const header *h, int t, const image_frames *frames, const char *what)
{
    double slope = h->slope, inter = h->inter, a[3][4];
    if (!isfinite(slope) || slope == 0) slope = 1, inter = 0; /* NaN or 0: no scaling */
    if (!isfinite(inter)) inter = 0;
    bool oriented, flip[3];
    int axis[3];
    affine_of(h, a, &oriented);
    orient_find(a, axis, flip);
    CHECK(n >= h->vox_offset, ST_DATA, "%s: the file ends before its data", what);
    bool scaled = slope != 1 || inter != 0;
    TRY(image_alloc(m, (int)h->dim[1 + axis[2]], (int)h->dim[1 + axis[1]], (int)h->dim[1 + axis[0]], frames->n,
                    scaled ? DT_F32 : types[t].kept, what), "NIfTI");
    m->is_volume = true;
    m->n_volumes = (int)h->dim[4];
    m->has_affine = oriented;
    m->origin.nifti = grid_of(h);
    orient_note(m, a, h->dim + 1, axis, flip, h->units == 1 ? 1000 : h->units == 3 ? 0.001 : 1);
    size_t volume = (size_t)(h->dim[1] * h->dim[2] * h->dim[3]) * (size_t)types[t].bytes;
    status st = OK;
    for (int c = 0; c < frames->n && !st; c++)
        st = copy_voxels(m, h, b + h->vox_offset + volume * (size_t)frames->at[c], t, slope, inter, axis, flip, c, what);
    if (st) image_free(m);
    return st;
}

status nifti_decode(image *m, const void *bytes, size_t n, const char *what) { return nifti_decode_frames(m, bytes, n, NULL, what); }

/* The volumes of the file that are asked for: of a file with one volume always that one. */
static status choose_frames(const header *h, const image_frames *asked, image_frames *out, const char *what)
{
    *out = (image_frames){.n = 1};
    if (h->dim[4] == 1) return OK;
    CHECK(asked && asked->n > 0, ST_DATA, "%s: %lld volumes in one file; images.frames of a recipe says which become channels, images.times which are images of their own",
          what, (long long)h->dim[4]);
    for (int c = 0; c < asked->n; c++)
        CHECK(asked->at[c] < h->dim[4], ST_DATA, "%s: volume %d is asked for, the file has %lld, counted from 0", what, asked->at[c], (long long)h->dim[4]);
    *out = *asked;
    return OK;
}

status nifti_decode_frames(image *m, const void *bytes, size_t n, const image_frames *frames, const char *what)
{
    *m = (image){0};
    image_frames chosen;
    const unsigned char *b = bytes;
    bool packed = n >= 2 && b[0] == 0x1f && b[1] == 0x8b;
    unsigned char head[HEADER_BYTES];
    size_t n_head = n < sizeof head ? n : sizeof head;
    if (packed) TRY(gunzip(bytes, n, head, sizeof head, false, &n_head, what), "NIfTI header");
    else memcpy(head, bytes, n_head);
    header h;
    TRY(parse_header(&h, head, n_head, what), "NIfTI header");
    int t = -1;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].code == h.datatype) t = (int)i;
    CHECK(t >= 0, ST_DATA, "%s: NIfTI data type %d is not read (integers, float32 and float64 are)", what, h.datatype);
    TRY(choose_frames(&h, frames, &chosen, what), "NIfTI header");
    uint64_t n_voxels = (uint64_t)h.dim[1] * (uint64_t)h.dim[2] * (uint64_t)h.dim[3]; /* below 2^48 */
    CHECK(n_voxels <= IMAGE_BYTES_MAX / 8 / (uint64_t)h.dim[4], ST_DATA, "%s: %lld x %lld x %lld x %lld voxels are more than are read", what,
          (long long)h.dim[1], (long long)h.dim[2], (long long)h.dim[3], (long long)h.dim[4]);
    n_voxels *= (uint64_t)h.dim[4];
    uint64_t need = h.vox_offset + n_voxels * (uint64_t)types[t].bytes;
    unsigned char *all = NULL;
    size_t got = n;
    /* deflate packs at most about 1032 to 1: a header that promises more lies, and must not make us allocate. */
    CHECK(!packed || need / 1100 <= n, ST_DATA, "%s: the header promises %llu bytes, the file cannot hold them", what, (unsigned long long)need);
    if (packed) {
        TRY(mem_alloc(&all, need, "NIfTI data"), "%s", what);
        status st = gunzip(bytes, n, all, need, true, &got, what);
        if (st) {
            free(all);
            return status_note(st, __FILE__, __LINE__, "NIfTI data");
        }
    }
    status st;
    if (got < need)
        st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: the header promises %llu bytes (%lld x %lld x %lld %s), the file has %zu", what,
                          (unsigned long long)need, (long long)h.dim[1], (long long)h.dim[2], (long long)h.dim[3], types[t].name, got);
    else
        st = decode(m, packed ? all : bytes, packed ? need : n, &h, t, &chosen, what);
    free(all);
    return st;
}
