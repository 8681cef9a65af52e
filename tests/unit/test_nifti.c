/* test_nifti: NIfTI volumes written byte by byte: types, byte orders, scaling, orientation, gzip, and headers that lie. */
#include "test.h"

#include "readers.h"
#include "writers.h"

#include <zlib.h>

enum { NX = 4, NY = 3, NZ = 2, ROOM = 4096 };

typedef struct maker {
    bool big, two;
    int  type, bytes, dims, sform, qform, units;
    int64_t dim[7];
    float slope, inter, pixdim[4], quatern[3], offset[3], srow[3][4];
    const char *magic;
    double (*value)(int i);
} maker;

static void place(unsigned char *at, uint64_t v, int bytes, bool big)
{
    for (int i = 0; i < bytes; i++) at[big ? bytes - 1 - i : i] = (unsigned char)(v >> 8 * i);
}

static void place_f32(unsigned char *at, float v, bool big)
{
    uint32_t u;
    memcpy(&u, &v, 4);
    place(at, u, 4, big);
}

static void place_f64(unsigned char *at, double v, bool big)
{
    uint64_t u;
    memcpy(&u, &v, 8);
    place(at, u, 8, big);
}

static double counting(int i) { return i; }

static maker plain(void)
{
    maker k = {.type = 4, .bytes = 2, .dims = 3, .sform = 1, .units = 2, .dim = {NX, NY, NZ, 1, 1, 1, 1}, .slope = NAN, .inter = NAN,
               .pixdim = {1, 1, 1, 1}, .srow = {{-1, 0, 0, 0}, {0, -1, 0, 0}, {0, 0, 1, 0}}, .value = counting}; /* LPS: as we keep it */
    return k;
}

/* Returns the length of the file. */
static size_t make(const maker *k, unsigned char *b)
{
    memset(b, 0, ROOM);
    bool e = k->big;
    size_t start = k->two ? 544 : 352;
    place(b, k->two ? 540 : 348, 4, e);
    memcpy(b + (k->two ? 4 : 344), k->magic ? k->magic : k->two ? "n+2" : "n+1", 4);
    if (k->two) {
        memcpy(b + 8, "\r\n\032\n", 4);
        place(b + 12, (uint64_t)k->type, 2, e);
        place(b + 16, (uint64_t)k->dims, 8, e);
        for (int i = 0; i < 7; i++) place(b + 24 + 8 * i, (uint64_t)k->dim[i], 8, e);
        for (int i = 0; i < 4; i++) place_f64(b + 104 + 8 * i, (double)k->pixdim[i], e);
        place(b + 168, start, 8, e);
        place_f64(b + 176, (double)k->slope, e), place_f64(b + 184, (double)k->inter, e);
        place(b + 344, (uint64_t)k->qform, 4, e), place(b + 348, (uint64_t)k->sform, 4, e), place(b + 500, (uint64_t)k->units, 4, e);
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 4; j++) place_f64(b + 400 + 32 * i + 8 * j, (double)k->srow[i][j], e);
    } else {
        place(b + 40, (uint64_t)k->dims, 2, e);
        for (int i = 0; i < 7; i++) place(b + 42 + 2 * i, (uint64_t)k->dim[i], 2, e);
        place(b + 70, (uint64_t)k->type, 2, e);
        for (int i = 0; i < 4; i++) place_f32(b + 76 + 4 * i, k->pixdim[i], e);
        place_f32(b + 108, (float)start, e);
        place_f32(b + 112, k->slope, e), place_f32(b + 116, k->inter, e);
        b[123] = (unsigned char)k->units;
        place(b + 252, (uint64_t)k->qform, 2, e), place(b + 254, (uint64_t)k->sform, 2, e);
        for (int i = 0; i < 3; i++) {
            place_f32(b + 256 + 4 * i, k->quatern[i], e), place_f32(b + 268 + 4 * i, k->offset[i], e);
            for (int j = 0; j < 4; j++) place_f32(b + 280 + 16 * i + 4 * j, k->srow[i][j], e);
        }
    }
    for (int i = 0; i < NX * NY * NZ; i++) {
        unsigned char *at = b + start + i * k->bytes;
        double v = k->value(i);
        if (k->type == 16) place_f32(at, (float)v, e);
        else if (k->type == 64) place_f64(at, v, e);
        else place(at, (uint64_t)(int64_t)v, k->bytes, e);
    }
    return start + (size_t)(NX * NY * NZ * k->bytes);
}

static double signed_values(int i) { return i - 12; }
static double odd_values(int i) { return i == 3 ? 16777217 : i; }

static void types_and_orders(void)
{
    static const struct { int code, bytes; enum dtype kept; bool is_signed; } t[] = {
        {2, 1, DT_U8, false}, {4, 2, DT_I16, true}, {8, 4, DT_F32, true}, {16, 4, DT_F32, true}, {64, 8, DT_F32, true},
        {256, 1, DT_I16, true}, {512, 2, DT_U16, false}, {768, 4, DT_F32, false}, {1024, 8, DT_F32, true}, {1280, 8, DT_F32, false}};
    unsigned char b[ROOM];
    for (int two = 0; two < 2; two++)
        for (int big = 0; big < 2; big++)
            for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
                maker k = plain();
                k.two = two, k.big = big, k.type = t[i].code, k.bytes = t[i].bytes, k.value = t[i].is_signed ? signed_values : counting;
                image m;
                EXPECT_OK(nifti_decode(&m, b, make(&k, b), "v.nii"));
                EXPECT(m.D == NZ && m.H == NY && m.W == NX && m.C == 1 && m.type == t[i].kept && m.is_volume, "type %d", t[i].code);
                for (int v = 0; m.data && v < NX * NY * NZ; v++) EXPECT(image_at(&m, (size_t)v) == k.value(v), "type %d: %g", t[i].code, image_at(&m, (size_t)v));
                image_free(&m);
            }
    maker k = plain();
    k.type = 8, k.bytes = 4, k.value = odd_values; /* 2^24 + 1 has no float32 */
    image m;
    EXPECT_STATUS(nifti_decode(&m, b, make(&k, b), "v.nii"), ST_DATA);
    EXPECT(!m.data, "nothing is left");
}

static void scaling(void)
{
    unsigned char b[ROOM];
    image m;
    maker k = plain();
    k.slope = 2, k.inter = -1024;
    EXPECT_OK(nifti_decode(&m, b, make(&k, b), "v.nii"));
    EXPECT(m.type == DT_F32 && image_at(&m, 5) == -1014, "%g", image_at(&m, 5));
    EXPECT_OK(image_to_type(&m, DT_I16)); /* whole numbers again */
    EXPECT(image_at(&m, 5) == -1014, "%g", image_at(&m, 5));
    image_free(&m);
    k.slope = 0.5f, k.inter = 0;
    EXPECT_OK(nifti_decode(&m, b, make(&k, b), "v.nii"));
    EXPECT_STATUS(image_to_type(&m, DT_I16), ST_DATA);
    image_free(&m);
    k.slope = 0, k.inter = 7; /* slope 0: no scaling at all */
    EXPECT_OK(nifti_decode(&m, b, make(&k, b), "v.nii"));
    EXPECT(m.type == DT_I16 && image_at(&m, 5) == 5, "%g", image_at(&m, 5));
    image_free(&m);
}

/* Every signed permutation of axes must bring voxel (i,j,k) to the same place in the patient. */
static void orientation(void)
{
    static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    unsigned char b[ROOM];
    for (int p = 0; p < 6; p++)
        for (int signs = 0; signs < 8; signs++) {
            maker k = plain();
            float size[3] = {2, 3, 5}; /* voxel size along stored axes */
            memset(k.srow, 0, sizeof k.srow);
            for (int j = 0; j < 3; j++) k.srow[order[p][j]][j] = signs >> j & 1 ? -size[j] : size[j];
            for (int i = 0; i < 3; i++) k.srow[i][3] = (float)(10 * i + 1);
            image m;
            EXPECT_OK(nifti_decode(&m, b, make(&k, b), "v.nii"));
            if (!m.data) return;
            for (int i = 0; i < 3; i++)
                for (int j = 0; j < 3; j++) { /* left, back, head: -x, -y, +z of NIfTI's world */
                    double want = i == j ? (i == 2 ? 1 : -1) * m.spacing[2 - j] : 0;
                    EXPECT(m.affine[i][j] == want, "affine %d %d: %g, wanted %g", i, j, m.affine[i][j], want);
                }
            for (int z = 0; z < m.D; z++)
                for (int y = 0; y < m.H; y++)
                    for (int x = 0; x < m.W; x++) {
                        int v = (int)image_at(&m, ((size_t)z * (size_t)m.H + (size_t)y) * (size_t)m.W + (size_t)x);
                        int old[3] = {v % NX, v / NX % NY, v / NX / NY}, new[3] = {x, y, z};
                        for (int i = 0; i < 3; i++) {
                            double was = (double)k.srow[i][3], is = m.affine[i][3];
                            for (int j = 0; j < 3; j++) was += (double)(k.srow[i][j] * (float)old[j]), is += m.affine[i][j] * new[j];
                            EXPECT(was == is, "voxel %d moved from %g to %g", v, was, is);
                        }
                    }
            image_free(&m);
        }
}

static void quaternion(void)
{
    unsigned char b[ROOM];
    maker k = plain();
    k.sform = 0, k.qform = 1;
    k.pixdim[0] = -1, k.pixdim[1] = 2, k.pixdim[2] = 3, k.pixdim[3] = 4;
    k.quatern[1] = 1; /* half a turn about y: x and z turn round; pixdim[0] = -1 turns z back */
    image m;
    EXPECT_OK(nifti_decode(&m, b, make(&k, b), "v.nii"));
    if (!m.data) return;
    EXPECT(m.spacing[0] == 4 && m.spacing[1] == 3 && m.spacing[2] == 2, "%g %g %g", m.spacing[0], m.spacing[1], m.spacing[2]);
    EXPECT(m.affine[0][0] == -2 && m.affine[1][1] == -3 && m.affine[2][2] == 4, "%g %g %g", m.affine[0][0], m.affine[1][1], m.affine[2][2]);
    EXPECT(image_at(&m, 0) == (NY - 1) * NX, "y is turned, x is not: %g", image_at(&m, 0));
    image_free(&m);
    k.qform = 0;
    EXPECT_OK(nifti_decode(&m, b, make(&k, b), "v.nii"));
    EXPECT(!m.has_affine && m.spacing[2] == 2, "no orientation is known");
    image_free(&m);
    k = plain();
    memset(k.srow, 0, sizeof k.srow); /* an sform without content: fall back */
    EXPECT_OK(nifti_decode(&m, b, make(&k, b), "v.nii"));
    EXPECT(!m.has_affine, "an empty sform");
    image_free(&m);
}

static void planes(void)
{
    unsigned char b[ROOM];
    maker k = plain();
    image m;
    EXPECT_OK(nifti_decode(&m, b, make(&k, b), "v.nii"));
    m.spacing[0] = 5, m.spacing[1] = 3, m.spacing[2] = 2;
    EXPECT_OK(image_across(&m, 1)); /* coronal: rows from head to feet, columns to the left */
    EXPECT(m.D == NY && m.H == NZ && m.W == NX && m.spacing[0] == 3 && m.spacing[1] == 5 && m.spacing[2] == 2, "%d %d %d", m.D, m.H, m.W);
    EXPECT(image_at(&m, 0) == NX * NY && image_at(&m, NX) == 0 && image_at(&m, NX * NZ) == NX * NY + NX, "%g", image_at(&m, 0));
    image_free(&m);
    EXPECT_OK(nifti_decode(&m, b, make(&k, b), "v.nii"));
    EXPECT_OK(image_across(&m, 2)); /* sagittal: columns to the back */
    EXPECT(m.D == NX && m.H == NZ && m.W == NY && image_at(&m, 1) == NX * NY + NX, "%g", image_at(&m, 1));
    image_free(&m);
}

static size_t pack(const unsigned char *from, size_t n, unsigned char *to, size_t room)
{
    z_stream z = {0};
    if (deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return 0;
    z.next_in = (unsigned char *)(uintptr_t)from, z.avail_in = (uInt)n, z.next_out = to, z.avail_out = (uInt)room;
    deflate(&z, Z_FINISH);
    n = room - z.avail_out;
    deflateEnd(&z);
    return n;
}

static void gzipped(void)
{
    unsigned char b[ROOM], z[2 * ROOM];
    maker k = plain();
    size_t n = make(&k, b), packed = pack(b, n, z, sizeof z);
    image m;
    EXPECT_OK(nifti_decode(&m, z, packed, "v.nii.gz"));
    EXPECT(m.data && image_at(&m, 7) == 7, "values");
    image_free(&m);
    for (size_t cut = 2; cut < packed; cut += 3) {
        EXPECT_STATUS(nifti_decode(&m, z, cut, "v.nii.gz"), ST_DATA);
        EXPECT(!m.data && strstr(status_message(), "v.nii.gz"), "%s", status_message());
    }
    z[packed - 6] ^= 1; /* the checksum at the end */
    EXPECT_STATUS(nifti_decode(&m, z, packed, "v.nii.gz"), ST_DATA);
    size_t first = pack(b, 400, z, sizeof z); /* two members in a row are one file */
    packed = first + pack(b + 400, n - 400, z + first, sizeof z - first);
    EXPECT_OK(nifti_decode(&m, z, packed, "v.nii.gz"));
    image_free(&m);
}

static void expect_bad(const maker *k, const char *word)
{
    unsigned char b[ROOM], z[2 * ROOM];
    size_t n = make(k, b);
    image m;
    EXPECT_STATUS(nifti_decode(&m, b, n, "v.nii"), ST_DATA);
    EXPECT(!m.data && strstr(status_message(), word), "\"%s\" lacks \"%s\"", status_message(), word);
    EXPECT_STATUS(nifti_decode(&m, z, pack(b, n, z, sizeof z), "v.nii"), ST_DATA);
    EXPECT(!m.data, "nothing is left");
}

static void lying_headers(void)
{
    maker k = plain();
    k.dim[2] = 3000;
    expect_bad(&k, "promises");
    k.two = true;
    for (int i = 0; i < 3; i++) k.dim[i] = 60000; /* would need petabytes */
    expect_bad(&k, "60000");
    k.dim[0] = (int64_t)1 << 40;
    expect_bad(&k, "dimension 1");
    k = plain(), k.dim[1] = -3;
    expect_bad(&k, "-3");
    k = plain(), k.dims = 0;
    expect_bad(&k, "0 dimensions");
    k = plain(), k.dims = 4, k.dim[3] = 20;
    expect_bad(&k, "20 volumes");
    k = plain(), k.type = 128;
    expect_bad(&k, "type 128");
    k = plain(), k.magic = "ni1";
    expect_bad(&k, "pair");
    k = plain(), k.magic = "abc";
    expect_bad(&k, "magic");
    unsigned char b[ROOM];
    image m;
    k = plain();
    size_t n = make(&k, b);
    for (size_t cut = 0; cut < n; cut++) EXPECT_STATUS(nifti_decode(&m, b, cut, "v.nii"), ST_DATA);
    place_f32(b + 108, 1e8f, false);
    EXPECT_STATUS(nifti_decode(&m, b, n, "v.nii"), ST_DATA);
    place_f32(b + 108, NAN, false);
    EXPECT_STATUS(nifti_decode(&m, b, n, "v.nii"), ST_DATA);
}

/* Three volumes in one file: told apart by 100s; the chosen ones become channels, in the order asked for. */
static void four_dimensions(void)
{
    unsigned char b[ROOM];
    image m;
    maker k = plain();
    k.dims = 4, k.dim[3] = 3;
    size_t n = make(&k, b), volume = (size_t)(NX * NY * NZ);
    for (size_t i = 0; i < 3 * volume; i++) place(b + 352 + 2 * i, 100 * (i / volume) + i % volume, 2, false);
    n += 2 * volume * 2;
    EXPECT_STATUS(nifti_decode(&m, b, n, "v.nii"), ST_DATA);
    EXPECT(strstr(status_message(), "3 volumes in one file"), "%s", status_message());
    EXPECT_OK(nifti_decode_frames(&m, b, n, &(image_frames){1, {1}}, "v.nii"));
    EXPECT(m.C == 1 && m.D == NZ && image_volumes(&m) == 3, "%d channels, %d volumes", m.C, image_volumes(&m));
    for (size_t i = 0; i < volume; i++) EXPECT(image_at(&m, i) == (double)(100 + i), "voxel %zu: %g", i, image_at(&m, i));
    image_free(&m);
    EXPECT_OK(nifti_decode_frames(&m, b, n, &(image_frames){3, {2, 0, 1}}, "v.nii"));
    EXPECT(m.C == 3, "%d channels", m.C);
    for (size_t i = 0; i < 3 * volume; i++) {
        static const int frame[3] = {200, 0, 100};
        EXPECT(image_at(&m, i) == (double)(frame[i % 3] + (int)(i / 3)), "voxel %zu: %g", i, image_at(&m, i));
    }
    image_free(&m);
    EXPECT_STATUS(nifti_decode_frames(&m, b, n, &(image_frames){1, {3}}, "v.nii"), ST_DATA);
    EXPECT(strstr(status_message(), "volume 3"), "%s", status_message());
    EXPECT_STATUS(nifti_decode_frames(&m, b, n - 1, &(image_frames){1, {0}}, "v.nii"), ST_DATA);
    EXPECT(strstr(status_message(), "promises"), "%s", status_message());
    /* one volume: the choice does not matter */
    k = plain();
    EXPECT_OK(nifti_decode_frames(&m, b, make(&k, b), &(image_frames){1, {7}}, "v.nii"));
    EXPECT(image_volumes(&m) == 1, "%d volumes", image_volumes(&m));
    image_free(&m);
}

/* What is written for a volume lies where the volume lay: read again it has the same axes, and every voxel its own value. */
static void written(const maker *k, int channels)
{
    unsigned char b[ROOM];
    image m, out, back;
    uint8_t *bytes;
    size_t n;
    EXPECT_OK(nifti_decode(&m, b, make(k, b), "v.nii"));
    if (!m.data) return;
    EXPECT_OK(image_alloc(&out, m.D, m.H, m.W, channels, channels > 1 ? DT_F32 : DT_U8, "labels"));
    for (size_t i = 0; i < image_count(&m); i++)
        for (int c = 0; c < channels; c++) {
            if (channels > 1) ((float *)out.data)[i * (size_t)channels + (size_t)c] = (float)image_at(&m, i) + 100 * (float)c;
            else ((uint8_t *)out.data)[i] = (uint8_t)image_at(&m, i);
        }
    image like = m;
    like.data = NULL;
    EXPECT_OK(nifti_encode(&out, &like, &bytes, &n));
    for (int c = 0; c < channels; c++) {
        const image_frames frame = {1, {c}};
        EXPECT_OK(nifti_decode_frames(&back, bytes, n, &frame, "w.nii.gz"));
        EXPECT(back.D == m.D && back.H == m.H && back.W == m.W && back.has_affine == m.has_affine && back.origin.nifti.two == k->two, "%d %d %d", back.D, back.H, back.W);
        EXPECT(memcmp(back.affine, m.affine, sizeof m.affine) == 0 && memcmp(back.spacing, m.spacing, sizeof m.spacing) == 0, "the world moved");
        EXPECT(memcmp(back.origin.size, m.origin.size, sizeof m.origin.size) == 0 && memcmp(back.origin.nifti.pixdim, m.origin.nifti.pixdim, 32) == 0, "the grid");
        EXPECT(back.origin.nifti.sform == k->sform && back.origin.nifti.qform == k->qform && back.origin.nifti.units == k->units, "the codes");
        int wrong = 0;
        for (size_t i = 0; i < image_count(&m); i++) wrong += image_at(&back, i) != image_at(&m, i) + 100 * c;
        EXPECT(wrong == 0, "%d voxels", wrong);
        image_free(&back);
    }
    free(bytes);
    image_free(&out), image_free(&m);
}

static void write_and_read(void)
{
    static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int p = 0; p < 6; p++)
        for (int signs = 0; signs < 8; signs++) {
            maker k = plain();
            float size[3] = {2, 3, 5};
            memset(k.srow, 0, sizeof k.srow);
            for (int j = 0; j < 3; j++) k.srow[order[p][j]][j] = signs >> j & 1 ? -size[j] : size[j];
            for (int i = 0; i < 3; i++) k.srow[i][3] = (float)(10 * i + 1);
            k.two = signs & 1, k.big = signs >> 1 & 1;
            written(&k, signs == 5 ? 3 : 1);
        }
    maker k = plain();
    k.sform = 0, k.qform = 1, k.pixdim[0] = -1, k.pixdim[1] = 2, k.pixdim[2] = 3, k.pixdim[3] = 4, k.quatern[1] = 1;
    written(&k, 1);
    k.qform = 0; /* no orientation at all */
    written(&k, 2);
}

static void planes_and_back(void)
{
    unsigned char b[ROOM];
    maker k = plain();
    for (int axis = 0; axis < 3; axis++) {
        image m, was;
        EXPECT_OK(nifti_decode(&m, b, make(&k, b), "v.nii"));
        EXPECT_OK(nifti_decode(&was, b, make(&k, b), "v.nii"));
        EXPECT_OK(image_across(&m, axis));
        EXPECT_OK(image_along(&m, axis));
        EXPECT(m.D == was.D && m.H == was.H && m.W == was.W && memcmp(m.spacing, was.spacing, sizeof m.spacing) == 0, "%d %d %d", m.D, m.H, m.W);
        EXPECT(memcmp(m.data, was.data, image_bytes(&m)) == 0, "axis %d", axis);
        image_free(&m), image_free(&was);
    }
}

int main(void)
{
    RUN(types_and_orders);
    RUN(scaling);
    RUN(orientation);
    RUN(quaternion);
    RUN(planes);
    RUN(gzipped);
    RUN(lying_headers);
    RUN(four_dimensions);
    RUN(write_and_read);
    RUN(planes_and_back);
    DONE();
}
