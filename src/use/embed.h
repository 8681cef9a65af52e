/* embed: what the two files of `medley embed` share: vectors of samples or cases with who they are of. */
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

#endif
