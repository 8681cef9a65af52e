/* convert_internal: what the steps of a conversion share: list, scan, split, write, report. */
#ifndef MEDLEY_TOOLS_CONVERT_INTERNAL_H
#define MEDLEY_TOOLS_CONVERT_INTERNAL_H

#include "case.h"
#include "convert.h"

typedef struct likeness { uint64_t bit[4]; bool known; } likeness;

typedef struct item {                 /* one source image file */
    const found *file;
    char     id[SHARD_TEXT], subject[SHARD_TEXT], centre[SHARD_TEXT];
    status   st;                      /* OK, or why it is left out */
    char     reason[768];
    char     pixel_hash[65], file_sha256[65];
    likeness likeness;
    one_case *kept;                   /* loaded case if memory allowed to keep it, else NULL */
    int      n_samples, n_box_dropped, n_box_clipped;
    bool     is_volume, is_duplicate; /* same pixels as an earlier one */
    int32_t *count[SHARD_MAX_LABELS]; /* (K) samples per class; detection: boxes; segmentation: samples that show the class */
    int32_t  n_labelled[SHARD_MAX_LABELS]; /* samples that carry the label */
    bool     labelled[SHARD_MAX_LABELS];   /* the image carries it */
    int      group, given;            /* given: the publisher's split, or SPLIT_REST */
    enum split split;
} item;

typedef struct conversion {
    const recipe *r;
    convert_options options;
    source     source;
    found_list files;
    int        n, n_good;
    item      *item;
    int        n_orphans, n_rows_unused[RECIPE_TABLES];
    int        n_groups, n_duplicates, n_straddling; /* straddling: groups that the publisher has in several splits */
} conversion;

/* Reads every file once, in `jobs` threads; fills the items. */
MUST status convert_scan(conversion *c);
/* Deals groups (subjects, joined where their images have equal pixels) to the splits. */
MUST status convert_split(conversion *c);
MUST status convert_write(conversion *c, const char *out_dir);
/* likeness.c: of the middle plane; and warnings about images that look alike across splits. */
void likeness_of(const image *m, likeness *out);
int likeness_apart(const likeness *a, const likeness *b); /* bits that differ, of 256 */
MUST status likeness_report(const conversion *c);
void convert_report(const conversion *c, const char *out_dir);

static inline int label_columns(const recipe_label *l) { return l->task == TASK_REGRESSION ? 1 : l->n_classes; }

#endif
