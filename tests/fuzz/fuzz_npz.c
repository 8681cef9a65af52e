/* fuzz_npz: NPZ files in MedMNIST's form, and numpy arrays of images. */
#include "fuzz.h"

#include "many.h"

#include <string.h>

const char *const fuzz_name = "npz";
const char *const fuzz_words[] = {"PK\1\2", "PK\3\4", "PK\5\6", "train_images.npy", "train_labels.npy", "val_images.npy", "\x93NUMPY", "'descr': ", "'|u1'", "'<i8'", "'>u2'",
                                  "'fortran_order': True", "'shape': (", "(1, 65535, 65535)", "False", "{", "}", ",", ")", NULL};
/* Deflated data grow a thousandfold at most, and images and labels are kept no longer than that. */
const size_t fuzz_bytes_max = 1 << 14, fuzz_memory_max = (size_t)128 << 20;
const int fuzz_mutations = 8000;

void fuzz_one(const uint8_t *data, size_t n)
{
    npy h;
    npz *z;
    if (!npy_parse(&h, data, n, "fuzz")) {
        fuzz_require(h.head <= n && h.ndim <= NPY_DIMS && h.count >= 0, "the head of an array lies in the file");
        int64_t count = 1;
        for (int i = 0; i < h.ndim; i++) count *= h.dim[i];
        fuzz_require(count == h.count && (h.bytes == 1 || h.bytes == 2 || h.bytes == 4 || h.bytes == 8 || h.kind == 'U' || h.kind == 'S'), "an array has the elements of its shape");
    }
    npy_set *v;
    if (!npy_open(&v, NULL, NULL, fuzz_file(data, n))) {
        for (int i = npy_count(v) - 1, turns = 0; i >= 0 && turns < 4; i /= 2, turns += i == 0) {
            image m;
            if (npy_read(v, (part){0, i}, &m)) continue;
            fuzz_require(m.D == 1 && m.H > 0 && m.W > 0 && m.data, "an image has pixels");
            image_free(&m);
        }
        npy_close(v);
    }
    if (npz_open(&z, fuzz_file(data, n))) return;
    if (npz_check(z) == OK)
        for (int s = 0; s < 3; s++)
            for (int i = npz_count(z, s) - 1, turns = 0; i >= 0 && turns < 4; i /= 2, turns += i == 0) { /* some, backwards */
                int k;
                image m;
                const int32_t *label = npz_label(z, (part){s, i}, &k);
                fuzz_require(label && k >= 1 && k <= RECIPE_CLASSES, "an image has labels");
                if (npz_read(z, (part){s, i}, &m)) continue;
                fuzz_require(m.D > 0 && m.H > 0 && m.W > 0 && m.data, "an image has pixels");
                image_free(&m);
            }
    npz_close(z);
}
