/* embed: what the files of `medley embed` share: vectors of samples or cases with who they are of. */
#ifndef MEDLEY_EMBED_H
#define MEDLEY_EMBED_H

#include "pooled.h"

enum { EMBED_MOST_DATA = 64 };

typedef struct embedding {
    const weights *w;
    bool       stages;              /* the columns begin with the four stages */
    int        C[5], D;             /* channels of the stages and of the normed top; columns in all */
    int        n_data;
    seen_data  data[EMBED_MOST_DATA];
    int64_t    n, room;
    sample_row *row;                /* (n) data: number of the data set */
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
    const char *from, *out, *image, *spacing, *list;
    source_ask  ask;
    const char *dirs[EMBED_MOST_DATA];
    const char **word;               /* (n_words) source files */
    int         n_words, n_dirs, split; /* split: -1 all */
    bool        by_case, force, files; /* files: sources instead of shards, read as those of the first data set were */
    enum embed_format format;
    weights     w;
    embedding   all;                 /* what comes out; rows on rank 0 */
    int         data;                /* number of the data set at hand */
    source_files  sources;
    source_faults bad;
    source_how    how;
} embedder;
MUST status embed_append(void *embedder, const sample_row *row, const float *x); /* rank 0: one more row (features_take) */
MUST status embed_files_decide(embedder *b); /* rank 0: rules of the data set that files are read like */
MUST status embed_sources(embedder *b);      /* collective: rows of all files on rank 0 */

#endif
