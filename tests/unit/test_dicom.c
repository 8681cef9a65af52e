/* test_dicom: small DICOM, BMP and TIFF files of the fuzz corpus (made by tests/fuzz/make_corpus.py), with the values that pydicom 2.3.1,
 * PIL 9.4 and tifffile read from them; then each of them cut at every length. Argument: the corpus folder of the images. */
#include "test.h"

#include "medley_build.h"
#include "readers.h"

static const char *folder;

static const char *at(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const struct {
    const char *file;
    int D, H, W, C;
    enum image_use use;
    enum dtype type;
    int n;
    double value[18];
} wanted[] = {
    {"scaled.dcm", 1, 2, 3, 1, USE_LABELS, DT_U16, 6, {0, 1, 2, 1024, 4095, 0}}, /* 61440 has no bit among the 12 stored */
    {"scaled.dcm", 1, 2, 3, 1, USE_PIXELS, DT_I16, 6, {-1024, -1023, -1022, 0, 3071, -1024}},
    {"implicit.dcm", 1, 2, 2, 1, USE_LABELS, DT_U8, 4, {1, 2, 3, 4}},
    {"implicit.dcm", 1, 2, 2, 1, USE_PIXELS, DT_U8, 4, {254, 253, 252, 251}}, /* MONOCHROME1: turned */
    {"big.dcm", 1, 1, 3, 1, USE_PIXELS, DT_I16, 3, {-1, 2, 300}},
    {"deflated.dcm", 1, 2, 2, 1, USE_PIXELS, DT_U8, 4, {5, 6, 7, 8}},
    {"palette.dcm", 1, 2, 2, 1, USE_LABELS, DT_U8, 4, {0, 1, 2, 3}},
    {"palette.dcm", 1, 2, 2, 3, USE_PIXELS, DT_U8, 12, {0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32}}, /* high bytes */
    {"shared.dcm", 1, 1, 2, 3, USE_PIXELS, DT_U8, 6, {100, 100, 100, 200, 200, 200}},
    {"bits.dcm", 2, 3, 3, 1, USE_LABELS, DT_U8, 18, {1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1}},
    {"rle.dcm", 1, 2, 2, 1, USE_PIXELS, DT_U16, 4, {257, 258, 259, 260}},
    {"deflated-frames.dcm", 1, 2, 2, 1, USE_PIXELS, DT_U8, 4, {1, 2, 3, 4}},
    {"bits.bmp", 1, 2, 3, 1, USE_PIXELS, DT_U8, 6, {255, 0, 255, 0, 255, 0}},
    {"bits.bmp", 1, 2, 3, 1, USE_LABELS, DT_U8, 6, {1, 0, 1, 0, 1, 0}},
    {"colours.bmp", 1, 1, 2, 3, USE_PIXELS, DT_U8, 6, {6, 5, 4, 3, 2, 1}},
    {"topdown.bmp", 1, 2, 1, 3, USE_PIXELS, DT_U8, 6, {3, 2, 1, 6, 5, 4}},
#ifdef HAVE_TIFF
    {"stack.tif", 2, 2, 2, 1, USE_PIXELS, DT_U16, 8, {0, 1, 2, 3, 300, 301, 302, 303}},
    {"tiles.tif", 1, 2, 17, 1, USE_LABELS, DT_U8, 18, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 16}},
    {"tiles.tif", 1, 2, 17, 1, USE_PIXELS, DT_U8, 3, {255, 254, 253}}, /* white is zero */
    {"planes.tif", 1, 1, 2, 3, USE_PIXELS, DT_U8, 6, {1, 3, 5, 2, 4, 6}},
    {"float.tif", 1, 1, 2, 1, USE_PIXELS, DT_F32, 2, {-0.5, 3e5}},
    {"bits.tif", 1, 2, 3, 1, USE_PIXELS, DT_U8, 6, {0, 255, 0, 255, 0, 255}},
    {"bits.tif", 1, 2, 3, 1, USE_LABELS, DT_U8, 6, {1, 0, 1, 0, 1, 0}},
#endif
};
enum { N_WANTED = sizeof wanted / sizeof *wanted };

static void values(void)
{
    for (int k = 0; k < N_WANTED; k++) {
        image m = {0};
        EXPECT_OK(image_read(&m, at(wanted[k].file), wanted[k].use));
        EXPECT(m.D == wanted[k].D && m.H == wanted[k].H && m.W == wanted[k].W && m.C == wanted[k].C && m.type == wanted[k].type,
               "%s: %d x %d x %d x %d %s", wanted[k].file, m.D, m.H, m.W, m.C, m.data ? dtype_name(m.type) : "");
        for (int i = 0; m.data && i < wanted[k].n && (size_t)i < image_count(&m); i++)
            EXPECT(image_at(&m, (size_t)i) == wanted[k].value[i], "%s: value %d is %g, wanted %g", wanted[k].file, i, image_at(&m, (size_t)i),
                   wanted[k].value[i]);
        image_free(&m);
    }
}

static void spacing(void)
{
    image m = {0};
    EXPECT_OK(image_read(&m, at("scaled.dcm"), USE_PIXELS));
    EXPECT(m.spacing[1] == 0.5 && m.spacing[2] == 0.25, "%g x %g", m.spacing[1], m.spacing[2]); /* rows apart, columns apart */
    image_free(&m);
#ifdef HAVE_TIFF
    EXPECT_OK(image_read(&m, at("stack.tif"), USE_PIXELS));
    EXPECT_NEAR(m.spacing[0], 0.002, 1e-12);
    EXPECT_NEAR(m.spacing[1], 250e-6, 1e-12);
    EXPECT_NEAR(m.spacing[2], 0.5e-3, 1e-12);
    image_free(&m);
#endif
}

static void cut_short(void)
{
    for (int k = 0; k < N_WANTED; k++) {
        char *b;
        size_t n;
        image m;
        EXPECT_OK(file_read_all(at(wanted[k].file), 1 << 16, &b, &n));
        if (strstr(wanted[k].file, ".tif")) {
            for (size_t cut = 0; cut < n; cut++) /* the directory lies behind the pixels: what is cut is the directory, or its end */
                if (!tiff_decode(&m, b, cut, wanted[k].use, "cut")) image_free(&m);
                else EXPECT(strstr(status_message(), "cut"), "%s", status_message());
            free(b);
            continue;
        }
        bool bmp = strstr(wanted[k].file, ".bmp");
        for (size_t cut = 0; cut < n; cut++) {
            status st = bmp ? bmp_decode(&m, b, cut, wanted[k].use, "cut") : dicom_decode(&m, b, cut, wanted[k].use, "cut");
            if (!st) image_free(&m); /* only padding was lost */
            EXPECT((st == OK && cut + 8 > n) || (st == ST_DATA && strstr(status_message(), "cut")), "%s at %zu of %zu: %d %s", wanted[k].file, cut, n,
                   st, st ? status_message() : "");
        }
        free(b);
    }
}

/* A header may promise what it likes: nothing is allocated that the file cannot hold. */
static void lying_size(void)
{
    char *b;
    size_t n;
    image m;
    EXPECT_OK(file_read_all(at("rle.dcm"), 1 << 16, &b, &n));
    for (size_t i = 140; i + 10 < n; i++)
        if (!memcmp(b + i, "\x28\0\x10\0US", 6) || !memcmp(b + i, "\x28\0\x11\0US", 6)) b[i + 8] = b[i + 9] = '\xff';
    int64_t before = memory_peak_bytes();
    EXPECT_STATUS(dicom_decode(&m, b, n, USE_PIXELS, "lies"), ST_DATA);
    EXPECT(strstr(status_message(), "promises"), "%s", status_message());
    EXPECT(memory_peak_bytes() - before < 64 << 20, "%lld bytes more", (long long)(memory_peak_bytes() - before));
    free(b);
}

#ifdef HAVE_GDCM
/* GDCM ends its process on some damaged frames; ours goes on and names the file. */
static void damaged_frames(void)
{
    char *b;
    size_t n, n_refused = 0;
    image m;
    EXPECT_OK(file_read_all(at("jpeg.dcm"), 1 << 16, &b, &n));
    EXPECT_OK(dicom_decode(&m, b, n, USE_PIXELS, "whole"));
    EXPECT(m.H == 16 && m.W == 16 && m.C == 1, "%d x %d", m.H, m.W);
    image_free(&m);
    size_t first = n;
    for (size_t i = 140; i + 2 < n && first == n; i++)
        if (!memcmp(b + i, "\xff\xd8\xff", 3)) first = i;
    for (size_t i = first; i < n; i++) {
        char keep = b[i];
        b[i] = (char)(keep ^ 0x47);
        status st = dicom_decode(&m, b, n, USE_PIXELS, "damaged");
        if (!st) image_free(&m);
        else EXPECT(st == ST_DATA && strstr(status_message(), "damaged"), "byte %zu: %d %s", i, st, status_message());
        n_refused += st != OK;
        b[i] = keep;
    }
    EXPECT(n_refused > 10, "%zu refused", n_refused);
    free(b);
}
#endif

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    folder = argv[1];
    RUN(values);
    RUN(spacing);
    RUN(cut_short);
    RUN(lying_size);
#ifdef HAVE_GDCM
    RUN(damaged_frames);
#endif
    DONE();
}
