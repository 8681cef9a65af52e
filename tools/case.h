/* case: one source image (2-D file or volume) with its labels, ready to be cut into samples. Internal to the converter. */
#ifndef MEDLEY_TOOLS_CASE_H
#define MEDLEY_TOOLS_CASE_H

#include "boxes.h"
#include "image.h"
#include "many.h"
#include "pattern.h"
#include "recipe.h"
#include "table.h"

typedef struct table_index { char *key; int row; } table_index;

/* What all cases share. Read-only while cases are loaded, so that threads may load them side by side. */
typedef struct source {
    const recipe *r;
    char root[PATTERN_PATH];
    table        table[RECIPE_TABLES];
    table_index *index[RECIPE_TABLES];        /* (n_rows) sorted by key */
    coco         coco[SHARD_MAX_LABELS];
    int16_t     *lut[SHARD_MAX_LABELS];       /* segmentation: value + LUT_ZERO to class, -1 unknown */
} source;
enum { LUT_ZERO = 32768, LUT_SIZE = 32768 + 65536 };
MUST status source_open(source *s, const recipe *r, const char *root);
void source_close(source *s);

/* Names a template may use for one image: the parts of its path and the columns of its rows. */
typedef struct names { const source *s; bindings is; int row[RECIPE_TABLES]; } names;
MUST status names_open(names *n, const source *s, const bindings *parts); /* row -1: the table has none for this image */

typedef struct case_label {
    bool     present;
    int32_t  cls;
    uint8_t *vec;      /* (K) */
    float    scalar;
    image    mask;     /* (D,H,W,1) u8 */
    int      n_box;
    float   *box;      /* (n_box,4) */
    int32_t *box_cls;  /* (n_box) */
} case_label;

/* Where the pixels are: a file, a part of one that is open, or a volume of a 4-D one (time; -1: not asked for). */
typedef struct place { const char *path; many *in; part part; int time; } place;

typedef struct one_case {
    image      px;     /* planes along the recipe's axis */
    float      range[2];
    char       pixel_hash[65];
    case_label label[SHARD_MAX_LABELS];
    int        n_slices;
    int       *slice;  /* (n_slices) planes that become samples */
    uint8_t   *has;    /* (n_slices) bit i: the slice carries label i */
    int        n_box_dropped, n_box_clipped;
} one_case;
MUST status case_load(one_case *c, const source *s, const names *n, const place *at);
void case_free(one_case *c);
size_t case_bytes(const one_case *c, const recipe *r);

/* case_mask.c */
MUST status mask_load(one_case *c, case_label *out, const source *s, const names *n, int i, const image *original, int time);
MUST status mask_finish(const one_case *c, case_label *out, const source *s); /* in the plane and size in which the image is stored */
/* Outlines of objects as a mask; path: the file they are from. */
MUST status mask_paint(one_case *c, case_label *out, const source *s, int i, const boxes *b, const image *original, const char *path);
/* case_label.c */
enum { VALUE_MISSING = -1, VALUE_UNKNOWN = -2 };
int label_class_of(const recipe_label *l, const char *text); /* class of a value of the source, IGNORE_MASK, or one of the above */
MUST status boxes_fit(const one_case *c, const boxes *b, const image *original, const char *path); /* made for this image? */
MUST status labels_load(one_case *c, const source *s, const names *n, const place *at, const image *original);

#endif
