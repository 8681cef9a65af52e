/* fuzz_image: source images, PNG, JPEG, BMP, TIFF, NIfTI and DICOM, as pixels and as labels, and what the converter does to them. */
#include "fuzz.h"

#include "readers.h"

const char *const fuzz_name = "image";
const char *const fuzz_words[] = {"IHDR", "PLTE", "tRNS", "IDAT", "IEND", "\x89PNG\r\n\x1a\n", "\xff\xd8\xff", "\xff\xc0", "\xff\xc2", "\xff\xc4", "\xff\xda", "\xff\xdb",
                                  "\xff\xd9", "n+1", "n+2", "\x1f\x8b\x08", "\x5c\x01", "DICM", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1",
                                  "1.2.840.10008.1.2.2", "PALETTE COLOR", "MONOCHROME1", "YBR_FULL_422", "\xfe\xff\x00\xe0", "\xe0\x7f\x10", "SQ", "\xff\xff\xff\xff", "BM", "II*", "MM", NULL};
/* The readers refuse what a file of this size cannot hold: at most 33 kB of PNG or 1 kB of JPEG pixels and coefficients per byte. */
const size_t fuzz_bytes_max = 1 << 14, fuzz_memory_max = (size_t)768 << 20;
const int fuzz_mutations = 6000;

void fuzz_one(const uint8_t *data, size_t n)
{
    for (int use = USE_PIXELS; use <= USE_LABELS; use++) {
        image m;
        if (image_read(&m, fuzz_file(data, n), (enum image_use)use)) continue;
        fuzz_require(m.D > 0 && m.H > 0 && m.W > 0 && m.data, "an image has pixels");
        fuzz_require(image_bytes(&m) <= IMAGE_BYTES_MAX, "an image is not larger than the limit");
        if (image_count(&m) <= 1 << 18) {
            status st = image_to_channels(&m, use == USE_LABELS ? 1 : 3);
            if (!st && use == USE_PIXELS) st = image_to_type(&m, DT_I16);
            if (!st && use == USE_PIXELS) st = image_shrink(&m, 16, false);
            if (!st) st = image_across(&m, 1);
            if (st) fuzz_require(status_message()[0] != 0, "a refusal says why");
        }
        image_free(&m);
    }
}
