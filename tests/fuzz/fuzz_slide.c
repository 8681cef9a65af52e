/* fuzz_slide: whole slides through OpenSlide: what kind a file is, what it says of itself, windows at its corners and at several scales. OpenSlide and
 * the libraries under it are Debian's: not built with sanitizers, but called as they are in a conversion. */
#include "fuzz.h"

#include "tiles.h"

#include <math.h>

enum { SIDE = 24 };

const char *const fuzz_name = "slide";
const char *const fuzz_words[] = {"II*\0", "MM\0*", "Aperio", "|MPP = ", "|AppMag = ", "Hamamatsu", "NanoZoomer", "Leica", "Ventana", "openslide", "\x00\x01\x03\x00", "\x01\x01\x03\x00", "\x42\x01\x03\x00",
                                  "\x43\x01\x03\x00", "\x44\x01\x04\x00", "\x45\x01\x04\x00", "\xff\xff\xff\xff", NULL};
/* OpenSlide holds a cache of 32 MiB of tiles; a tile may be as large as the header says, and libtiff refuses what the file cannot hold. */
const size_t fuzz_bytes_max = 1 << 15, fuzz_memory_max = (size_t)768 << 20;
const int fuzz_mutations = 2000;

void fuzz_one(const uint8_t *data, size_t n)
{
    const char *path = fuzz_file(data, n);
    slide_file *f;
    slide_facts is;
    uint8_t rgb[SIDE * SIDE * 3];
    (void)slide_file_kind(path);
    if (slide_file_open(&f, path, &is)) {
        fuzz_require(!f && status_message()[0], "a refusal says why, and leaves nothing");
        return;
    }
    fuzz_require(is.W > 0 && is.H > 0 && is.x >= 0 && is.y >= 0, "a slide has pixels");
    fuzz_require((isnan(is.mpp[0]) || isfinite(is.mpp[0])) && (isnan(is.mpp[1]) || isfinite(is.mpp[1])), "its scale is a number or none");
    double all = fmax((double)is.W, (double)is.H) / SIDE;
    const double scale[][2] = {{1, 1}, {2.5, 2}, {fmin(all, 64), fmin(all, 64)}};
    status st = OK;
    for (int i = 0; i < 3 && !st; i++) {
        st = slide_file_window(f, (double)is.x, (double)is.y, scale[i], SIDE, rgb);
        if (!st) st = slide_file_window(f, (double)(is.x + is.W) - 1, (double)(is.y + is.H) - 3.5, scale[i], SIDE, rgb); /* most of it lies beyond */
    }
    if (st) fuzz_require(status_message()[0] != 0, "a refusal says why");
    slide_file_close(f);
}
