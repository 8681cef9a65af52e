/* many: files that hold many images: NPZ in MedMNIST's form, numpy arrays, whole slides. A part is one image of such a file, read when it is asked for. */
#ifndef MEDLEY_TOOLS_MANY_H
#define MEDLEY_TOOLS_MANY_H

#include "image.h"
#include "pattern.h"
#include "recipe.h"
#include "tiles.h"

typedef struct npz npz;
typedef struct slide slide;
typedef struct npy_set npy_set;
typedef struct many { npz *npz; npy_set *npy; slide *slide; } many; /* one of them */

/* What the recipe says the file is; known: the names of its path. Parts in the order in which reading is cheap; free(). ST_DATA: damaged, or
 * nothing in it. */
struct source;
MUST status many_open(many *m, const struct source *s, const bindings *known, const char *path);
MUST status many_parts(many *m, part **out, int *n);
MUST status many_names(const recipe *r, part p, bindings *to); /* {split} and {index}, {index}, or {x} and {y} */
MUST status many_read(many *m, part p, image *out);          /* any thread at any time */
void many_close(many *m);

/* ---- NPZ (read_npz.c) ---- */

/* A ZIP of arrays train_images, train_labels, val_..., test_...: images (n,H,W), (n,H,W,1), (n,H,W,3) or, volumes, (n,D,H,W) of uint8, uint16 or
 * int16; labels (n), (n,1) or (n,k), whole numbers. One image at a time is unpacked, a few last ones are kept. */
MUST status npz_open(npz **out, const char *path);
/* Unpacks everything once: sizes and checksums are right. */
MUST status npz_check(const npz *z);
void npz_close(npz *z);
int  npz_count(const npz *z, int split);
const int32_t *npz_label(const npz *z, part p, int *k);      /* (k) */
MUST status npz_read(npz *z, part p, image *out);

/* Head of a .npy file, versions 1 to 3; bytes: the beginning of the file. */
enum { NPY_DIMS = 5, NPY_HEAD_MAX = 4096, NPY_TEXT_MAX = 512 };
typedef struct npy {
    char    kind;                        /* 'u', 'i', 'b' or 'f'; texts: 'U' (4 bytes a character) or 'S' */
    int     bytes;                       /* per element */
    bool    big, fortran;
    int     ndim;
    int64_t dim[NPY_DIMS], count;        /* count: elements */
    size_t  head;                        /* bytes before the data */
} npy;
MUST status npy_parse(npy *h, const void *bytes, size_t n, const char *what);

/* ---- numpy arrays (read_npy.c) ---- */

/* Images (n,H,W), (n,H,W,1) or (n,H,W,3) of any numbers that float32 holds, and the arrays of the labels with source "npy": masks (n,H,W[,K]),
 * classes (n) as numbers or texts. s NULL: no labels. */
MUST status npy_open(npy_set **out, const struct source *s, const bindings *known, const char *path);
void npy_close(npy_set *v);
int  npy_count(const npy_set *v);
MUST status npy_read(npy_set *v, part p, image *out);
bool npy_has(const npy_set *v, int label);
/* px (H,W): classes; class_of: of the values of one plane, as source.lut. */
MUST status npy_mask(const npy_set *v, int label, part p, const recipe_label *l, const int16_t *class_of, uint8_t *px);
MUST status npy_value(const npy_set *v, int label, part p, char *text, size_t room, bool *number); /* room: more than NPY_TEXT_MAX */

#endif
