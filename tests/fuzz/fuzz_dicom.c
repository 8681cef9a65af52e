/* fuzz_dicom: DICOM: an input as one file, and as the slices of a series: it is cut where the header of a file begins. */
#include "fuzz.h"

#include "dicom.h"

#include <math.h>
#include <string.h>

enum { SLICES = 8, HEAD = 132 }; /* 128 bytes and "DICM" */

const char *const fuzz_name = "dicom";
const char *const fuzz_words[] = {"DICM", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.99", "\x20\0\x32\0DS", "\x20\0\x37\0DS", "\x20\0\x0e\0UI", "\x28\0\x08\0IS",
                                  "\x28\0\x30\0DS", "1\\0\\0\\0\\1\\0", "0\\0\\4", "1e9", "nan", "-1", "\xfe\xff\x00\xe0", "\xe0\x7f\x10\0OW", "SQ", "\xff\xff\xff\xff", NULL};
/* Deflated and run-length coded pixels unpack to at most 1100 times their bytes, those of codecs to 4096 times; then a float for each, twice. */
const size_t fuzz_bytes_max = 1 << 14, fuzz_memory_max = (size_t)512 << 20;
const int fuzz_mutations = 6000;

static void check(image *m)
{
    fuzz_require(m->D > 0 && m->H > 0 && m->W > 0 && m->data && (m->C == 1 || m->C == 3), "an image has pixels");
    fuzz_require(image_bytes(m) <= IMAGE_BYTES_MAX, "an image is not larger than the limit");
    for (size_t i = 0, n = image_count(m); i < n && i < 4096; i++) fuzz_require(isfinite(image_at(m, n - 1 - i)) || m->type == DT_F32, "pixels are there to the last");
    if (m->has_affine)
        for (int i = 0; i < 3; i++) fuzz_require(m->spacing[i] > 0 && isfinite(m->affine[i][3]), "a volume lies somewhere");
    image_free(m);
}

/* The length of the file that begins at data: up to where the next one does. */
static size_t one_file(const uint8_t *data, size_t n)
{
    const uint8_t *next = n > HEAD ? memmem(data + HEAD, n - HEAD, "DICM", 4) : NULL;
    return next && next - data >= HEAD + 128 ? (size_t)(next - data) - 128 : n;
}

static void series(const uint8_t *data, size_t n, enum image_use use)
{
    static const char *const name[SLICES] = {"h", "g", "f", "e", "d", "c", "b", "a"};
    const char *dir = NULL;
    int k = 0;
    for (size_t length; k < SLICES && n > 0; k++, data += length, n -= length) {
        length = one_file(data, n);
        dir = fuzz_folder(name[k], data, length);
    }
    for (; k < SLICES; k++) dir = fuzz_folder(name[k], NULL, 0);
    image m;
    if (!dicom_series_read(&m, dir, use)) {
        fuzz_require(m.is_volume, "a folder is a volume");
        check(&m);
    } else fuzz_require(!m.data && status_message()[0], "a refusal says why, and leaves nothing");
}

void fuzz_one(const uint8_t *data, size_t n)
{
    image m;
    for (int use = USE_PIXELS; use <= USE_LABELS; use++) {
        if (!dicom_decode(&m, data, n, (enum image_use)use, "a/b.dcm")) check(&m);
        series(data, n, (enum image_use)use);
    }
}
