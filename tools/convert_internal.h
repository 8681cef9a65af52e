/* convert_internal: what the steps of a conversion share. A conversion is list, then one or more parts (read files, write shards and notes),
 * then join (split, index), then report. Without --part it is one part and its join. */
#ifndef MEDLEY_TOOLS_CONVERT_INTERNAL_H
#define MEDLEY_TOOLS_CONVERT_INTERNAL_H

#include "case.h"
#include "convert.h"

#include <pthread.h>

enum { CONVERT_JOBS = 64, CONVERT_OPEN = CONVERT_JOBS + 1 };

typedef struct likeness { uint64_t bit[4]; bool known; } likeness;

typedef struct source_file {          /* beside conversion.files */
    char     sha256[65];
    many     many;                    /* a file of many images, while it is open */
    bool     is_open;
    int      users;
    int32_t  st;                      /* it could not be opened: */
    char    *reason;
} source_file;

typedef struct item {                 /* one source image */
    int      file;
    bool     is_part;                 /* of a file of many */
    part     part;
    int      time;                    /* of a 4-D file, the volume; -1: no such image. In a join it is not known */
    char    *path, *id, *subject, *centre; /* path: of its file, relative to the source folder */
    int32_t  st;                      /* a status: OK, or why it is left out: */
    char    *reason;
    char     pixel_hash[65], file_sha256[65];
    likeness likeness;
    one_case *loaded;                 /* between reading and writing */
    bool     ready;                   /* read, or found to be bad */
    int32_t  n_samples, n_box_dropped, n_box_clipped;
    bool     is_volume, path_tells, is_duplicate; /* path_tells: see image.h; duplicate: same pixels as an earlier one */
    int32_t *count[SHARD_MAX_LABELS]; /* (K) samples per class; detection: boxes; segmentation: samples that show the class */
    int32_t  n_labelled[SHARD_MAX_LABELS]; /* samples that carry the label */
    bool     labelled[SHARD_MAX_LABELS];   /* the image carries it */
    int32_t  group, given;            /* given: the publisher's split, or SPLIT_REST */
    enum split split;
} item;

/* What the source has that no image uses. */
typedef struct leftovers {
    int32_t n_orphans, n_rows[RECIPE_TABLES], n_rows_unused[RECIPE_TABLES];
    int32_t n_no_category[SHARD_MAX_LABELS], n_no_image[SHARD_MAX_LABELS], n_no_outline[SHARD_MAX_LABELS], n_crowd[SHARD_MAX_LABELS]; /* COCO annotations */
} leftovers;

typedef struct conversion {
    const recipe *r;
    convert_options options;
    source     source;
    found_list files;                 /* empty in a join */
    source_file *file;                /* (files.n) */
    pthread_mutex_t lock, hashing;    /* lock: of what follows, and of many, is_open and users; hashing: of sha256 */
    int        n_open;
    source_file *open[CONVERT_OPEN];
    char       list_sha256[65];       /* of names and sizes: the same in all parts */
    char       state_sha256[65];      /* and of times, program and options: what a part that is continued must find again */
    int        n, room, n_good;
    item      *item;
    leftovers  left;
    int        n_groups, n_subjects, n_duplicates, n_straddling; /* straddling: groups that the publisher has in several splits */
} conversion;

/* convert_items.c: lists the images, of which a file may have many; one that does not open becomes one item that is left out. */
MUST status convert_items(conversion *c);
void convert_items_free(conversion *c);
MUST status item_names(names *n, const conversion *c, const item *it);
/* Between these two the item's file of many images stays open; nothing to do for others. */
MUST status item_hold(conversion *c, const item *it);
void item_release(conversion *c, const item *it);
MUST status item_sha256(conversion *c, const item *it, char out[65]); /* of its file */
/* convert_list.c: finds the files, names each by the recipe's templates and refuses ids that are not unique, before a pixel is read. */
MUST status convert_list(conversion *c, const char *source_dir);
MUST status convert_name(conversion *c);      /* the items as the list has them; again if need be */
MUST status convert_leftovers(conversion *c); /* warns of label files without an image */
/* convert_read.c: one item, and the threads that read ahead. Items lie ready in order. */
MUST status convert_read(conversion *c, item *it);
typedef struct crew crew;
MUST status crew_open(crew **out, conversion *c, int from, int to); /* options.jobs threads read items [from,to) */
void crew_wait(crew *w, int i);       /* until item i is ready; then it is the caller's */
void crew_close(crew *w);
void item_unload(item *it);           /* the pixels */
void item_free(item *it);
/* convert_write.c */
MUST status convert_meta(shard_meta *m, const recipe *r, bool volumes); /* class names are allocated */
MUST status convert_write(shard_cutter *k, const recipe *r, const item *it, int first, int *at, bool *cut);
/* convert_note.c: what a part learned of its files, beside its shards; one file of notes a shard. */
typedef struct part_note {
    int64_t part, n_parts;            /* 1 <= part <= n_parts */
    int64_t n_files;                  /* of the whole */
    int64_t from, next;               /* the items of this note; after them `next_samples` samples of item `next` are in the shard */
    int64_t next_samples, n_shards, complete;
} part_note;
MUST status note_write(const conversion *c, const part_note *n, const char *dir);
/* Note k of a part into c->item; *other: of another state (or, of a join, list). Where c has no items yet, as a join before it has seen all
 * notes, only what the note says is looked at: n_files (c->n, if that is 0), and that the file can hold its items. */
MUST status note_read(conversion *c, const char *dir, int k, part_note *n, bool *other);
void note_path(char out[1024], const char *dir, int k);
/* convert_part.c: OUT/NAME.parts/I-of-N */
#define PARTS_SUFFIX ".parts"
MUST status convert_part(conversion *c, const char *recipe_path, const char *parts_dir, int part, int n_parts);
void part_dir(char out[1024], const char *parts_dir, int part, int n_parts);
MUST status part_lock(const char *dir, int *fd); /* -1 where there are no locks; ST_USAGE: another process works on it */
void part_remove(const char *dir);    /* our files in it, and the folder */
/* convert_join.c: OUT/NAME from all parts of n_parts; c needs the recipe only. */
MUST status convert_join(conversion *c, const char *out_dir, int n_parts);
/* convert_split.c: deals groups (subjects, joined where their images have equal pixels) to the splits. Needs the items of all parts. */
MUST status convert_split(conversion *c);
/* likeness.c: of the middle plane; and warnings about images that look alike across splits. */
void likeness_of(const image *m, likeness *out);
int likeness_apart(const likeness *a, const likeness *b); /* bits that differ, of 256 */
MUST status likeness_report(const conversion *c);
void convert_report(const conversion *c, const char *out_dir);
void conversion_free(conversion *c);

static inline int label_columns(const recipe_label *l) { return l->task == TASK_REGRESSION ? 1 : l->n_classes; }

#endif
