/* convert_internal: what the steps of a conversion share: list, scan, split, write, report. */
#ifndef MEDLEY_TOOLS_CONVERT_INTERNAL_H
#define MEDLEY_TOOLS_CONVERT_INTERNAL_H

#include "case.h"
#include "convert.h"

#include <pthread.h>

typedef struct likeness { uint64_t bit[4]; bool known; } likeness;

enum { CONVERT_JOBS = 64, CONVERT_OPEN = CONVERT_JOBS + 1 };

typedef struct source_file {
    const found *found;
    char  sha256[65];
    many  many;                       /* files of many images, while they are open */
    bool  is_open;
    int   users;
} source_file;

typedef struct item {                 /* one source image */
    int      file;
    bool     is_part;                 /* of a file of many */
    part     part;
    char     id[SHARD_TEXT], subject[SHARD_TEXT], centre[SHARD_TEXT];
    status   st;                      /* OK, or why it is left out */
    char    *reason;                  /* NULL: none, or no memory for it */
    char     pixel_hash[65];
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
    source_file *file;                /* (files.n) */
    pthread_mutex_t lock;             /* of what follows, and of many, is_open and users */
    int        n_open;
    source_file *open[CONVERT_OPEN];
    int        n, room, n_good;
    item      *item;
    int        n_orphans, n_rows_unused[RECIPE_TABLES];
    int        n_groups, n_subjects, n_duplicates, n_straddling; /* straddling: groups that the publisher has in several splits */
} conversion;

/* Lists the images. A file of many that does not open becomes one item that is left out. */
MUST status convert_items(conversion *c);
void convert_items_free(conversion *c);
MUST status item_names(names *n, const conversion *c, const item *it);
const char *item_path(const conversion *c, const item *it); /* of its file, relative to the source */
/* Between these two the item's file of many images stays open; nothing to do for others. */
MUST status item_hold(conversion *c, item *it);
void item_release(conversion *c, item *it);
MUST status item_sha256(conversion *c, const item *it);     /* of its file, into the source_file */
void item_fail(item *it, status st);                        /* left out, for the reason in status_message */
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

static inline const char *item_reason(const item *it) { return it->reason ? it->reason : "no memory for the reason"; }
static inline int label_columns(const recipe_label *l) { return l->task == TASK_REGRESSION ? 1 : l->n_classes; }

#endif
