/* recipe: how the files of one data set become samples; a file datasets/NAME.cfg, read by one key table. */
#ifndef MEDLEY_TOOLS_RECIPE_H
#define MEDLEY_TOOLS_RECIPE_H

#include "medley/config.h"
#include "medley/store.h"
#include "pattern.h"
#include "readers.h"

enum { RECIPE_PATTERNS = 8, RECIPE_TABLES = 4, RECIPE_JOINS = 4, RECIPE_CLASSES = 256, RECIPE_MAPS = 256, RECIPE_MISSING = 16, RECIPE_WORDS = 8,
       RECIPE_PLANES = 32, RECIPE_TIMES = 64, RECIPE_FOLDS = 32, RECIPE_SPLIT_MAPS = 16 };

typedef struct recipe_table {
    char name[32], file[PATTERN_PATH], sheet[64];
    int  n_match, line;
    char match[RECIPE_JOINS][128];           /* "column = template" */
} recipe_table;

typedef struct recipe_label {
    char   name[64], kind[20], source[12];
    char   value[128], separator[8];         /* source = "value" */
    char   file[PATTERN_PATH], image_name[128];
    bool   one_based, required;
    double min_box, share, lo, hi;
    char   where[64];                        /* a mask label: slices without enough of it do not carry this label */
    double where_share;
    int    n_classes, n_map, n_missing, n_expect, n_yes, n_no, line;
    char   classes[RECIPE_CLASSES][64];
    char   map[RECIPE_MAPS][160];            /* "a -> b" */
    char   missing[RECIPE_MISSING][64], yes[RECIPE_WORDS][64], no[RECIPE_WORDS][64];
    int    expect[RECIPE_CLASSES];
    double threshold;
    char   crowd[8];
    int    n_planes, planes[RECIPE_PLANES];  /* source "npy", masks */
    bool   by_colour;                        /* masks: the map's values are colours */
    int32_t mask_value[RECIPE_MAPS];         /* (n_map) masks: value or 0xrrggbb, and its class or IGNORE_MASK */
    int16_t mask_class[RECIPE_MAPS];
    enum task_kind task;                     /* kind as a number */
} recipe_label;

enum recipe_form { FORM_FILES, FORM_NPZ, FORM_NPY, FORM_SLIDE }; /* what a file is: an image or volume, an NPZ file or numpy array of many, a whole slide */

typedef struct recipe {
    char file[512], sha256[65];
    char name[64], title[256], modality[64], licence[256], citation[512], origin[512], on_error[8];
    struct {
        int    n_files, channels, max_side, line;
        image_frames frames;                 /* of 4-D files */
        int    n_times, times[RECIPE_TIMES]; /* of 4-D files: volumes that are images of their own */
        char   files[RECIPE_PATTERNS][PATTERN_PATH];
        char   pixel[8], id[128], subject[128], centre[128], units[8];
        double spacing[2];                   /* y, x; for files that do not say; 0: unknown */
        bool   arrays;
    } images;
    struct { double mpp, tissue; int tile, line; } slide;
    struct { char rule[12]; double lo, hi; int line; } range;
    struct { char axis[12], empty[8], label[64]; int every, min_foreground, line; double empty_share; } slices;
    struct {
        double fractions[N_SPLITS];
        int64_t seed;
        char stratify[64], value[128], map[RECIPE_SPLIT_MAPS][64];
        int n_map, folds, fold, line;
    } split;
    struct { int64_t images, samples, subjects, skipped; } expect; /* -1: not said */
    int  n_tables, n_labels;
    recipe_table table[RECIPE_TABLES];
    recipe_label label[SHARD_MAX_LABELS];
    enum recipe_form form;
    enum dtype pixel;
    int  axis;                               /* 0 axial, 1 coronal, 2 sagittal */
    int  slice_label;                        /* the mask label that tells empty slices; -1 none */
} recipe;

/* Allocates; free with free(). All faults at once, "file:line: key: what". ST_USAGE. */
MUST status recipe_load(recipe **out, const char *path);
void recipe_check(void *recipe, config_faults *f); /* recipe_check.c: called by recipe_load */
MUST status recipe_print(const recipe *r, FILE *out); /* every key with its value and meaning: a file that reads back to r */
MUST status recipe_explain(FILE *out);       /* every key: type, default, range, meaning */
int  recipe_table_find(const recipe *r, const char *name); /* -1 */
int  recipe_label_find(const recipe *r, const char *name); /* -1 */
int  recipe_split_of(const recipe *r, const char *value); /* what the publisher's value means: a split, SPLIT_REST, or SPLIT_UNKNOWN */
enum { SPLIT_REST = -1, SPLIT_UNKNOWN = -2 };             /* rest: dealt by fractions */
int  label_class_find(const recipe_label *l, const char *name); /* -1 */

/* How its images become samples. */
static inline image_rules recipe_rules(const recipe *r)
{
    image_rules u = {.pixel = r->pixel, .channels = r->images.channels,
                     .as = {.lo = r->range.lo, .hi = r->range.hi, .spacing_y = r->images.spacing[0], .spacing_x = r->images.spacing[1], .axis = r->axis,
                            .max_side = r->images.max_side, .n_frames = r->images.frames.n}};
    snprintf(u.as.rule, sizeof u.as.rule, "%s", r->range.rule);
    for (int c = 0; c < r->images.frames.n; c++) u.as.frame[c] = r->images.frames.at[c];
    if (r->form == FORM_SLIDE) u.as.mpp = r->slide.mpp, u.as.tile = r->slide.tile, u.as.tissue = r->slide.tissue;
    return u;
}

/* "a -> b" and "a = b": the two sides without white space around them. False if there is no arrow (or equals sign). */
bool split_pair(const char *text, const char *mark, char *left, char *right, size_t room);

#endif
