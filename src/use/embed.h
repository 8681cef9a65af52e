/* embed: what the two files of `medley embed` share: vectors of samples or cases with who they are of. */
#ifndef MEDLEY_EMBED_H
#define MEDLEY_EMBED_H

#include "medley/train.h"

#include "sources.h"

enum { EMBED_MOST_DATA = 64 };

typedef struct embed_row {
    char    id[SHARD_TEXT], subject[SHARD_TEXT], centre[SHARD_TEXT], case_id[SHARD_TEXT], source[SHARD_TEXT];
    int32_t data, slice, n_slices; /* number of the data set; slice -1: none, or several; how many images the vector is the mean of */
    int32_t split;                  /* -1: a source file, of no split */
} embed_row;

typedef struct embed_data { char dir[JOB_DIR_BYTES], name[64]; int H, W; double spacing; } embed_data; /* as job_task has them */

typedef struct embedding {
    const weights *w;
    bool       stages;              /* the columns begin with the four stages */
    int        C[5], D;             /* channels of the stages and of the normed top; columns in all */
    int        n_data;
    embed_data data[EMBED_MOST_DATA];
    int64_t    n, room;
    embed_row *row;                 /* (n) */
    float     *x;                   /* (n,D) */
} embedding;

enum embed_format { EMBED_HDF5, EMBED_NPY, EMBED_CSV };
/* By the name's end; ST_USAGE. */
MUST status embed_format_of(const char *path, enum embed_format *out);
/* Of an NPY file: the CSV file beside it with the rows' ids, "F.npy" and "F.csv". */
MUST status embed_ids_path(const char *path, char *out, size_t room);
MUST status embed_write(const embedding *e, const char *path, enum embed_format format);

/* ---- the command (embed.c, embed_files.c) --------------------------------------------------------------------------------------- */

typedef struct embedder {
    comm       *world;
    const char *from, *out, *image, *spacing, *range, *list;
    const char *dirs[EMBED_MOST_DATA];
    const char **word;               /* (n_words) source files */
    int         n_words, n_dirs, split; /* split: -1 all */
    bool        by_case, force, files; /* files: sources instead of shards, read as those of the first data set were */
    enum embed_format format;
    weights     w;
    embedding   all;                 /* what comes out; rows on rank 0 */
    source_files  sources;
    source_faults bad;
    image_rules   rules;
    /* the data set at hand */
    catalogue   cat;
    int64_t    *first;               /* (n_shards + 1) number of each shard's first sample */
    int64_t    *chosen, n_chosen;    /* samples of the split, ascending */
    shard       open;                /* its shard number `opened`; -1: none */
    int         opened;
    arena       act;
    swin_run   *run;
    void       *pixels;
    float      *input;               /* (H,W,3) */
} embedder;
MUST status embed_place(embedder *b, const embed_data *d);
void embed_close_data(embedder *b);
MUST status embed_vector(embedder *b, const embed_data *d, const plane *s, float *x); /* x (D) */
/* Rank 0: `n` more rows, each a description and its numbers, one after another in `bytes`. */
MUST status embed_append(embedding *e, const char *bytes, int64_t n);
MUST status embed_files_decide(embedder *b); /* rank 0: rules of the data set that files are read like */
MUST status embed_sources(embedder *b);      /* collective: rows of all files on rank 0 */

#endif
