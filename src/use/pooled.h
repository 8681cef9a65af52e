/* pooled: an encoder's pooled vectors of the samples of a data set, on any number of ranks: what `medley embed` writes and `medley probe`
 * fits heads to. */
#ifndef USE_POOLED_H
#define USE_POOLED_H

#include "medley/train.h"

#include "sources.h"

/* A data set folder as a network sees it: image size and spacing as job_task has them. */
typedef struct seen_data { char dir[JOB_DIR_BYTES], name[64]; int H, W; double spacing; } seen_data;
bool features_same_folder(const char *a, const char *b);
/* `dir` as the job sees it; one that is not the job's own is seen in the size of its first task, fitted whole. ST_USAGE: path too long. */
MUST status features_seen_by(const job *j, const char *dir, seen_data *out);
/* The same without a job, in the size torchvision's weights were trained at. */
MUST status features_seen(const swin *enc, const char *dir, seen_data *out);
/* What --image HxW and --spacing S say, over that; NULL: nothing. ST_USAGE. */
MUST status features_override(const char *image, const char *spacing, seen_data *out);

/* Who a vector is of. data: the caller's; slice -1: none, or several; n_slices: how many images the vector is the mean of. */
typedef struct sample_row {
    char    id[SHARD_TEXT], subject[SHARD_TEXT], centre[SHARD_TEXT], case_id[SHARD_TEXT], source[SHARD_TEXT];
    int32_t data, slice, n_slices;
    int32_t split; /* -1: a source file, of no split */
} sample_row;

/* Channels of the four stages and of the normed top. Returns the columns of a vector: all of them, or the top's alone. */
int features_columns(const swin *enc, bool stages, int C[5]);

typedef struct features features;
/* Collective: rank 0 reads the index for all; seen->name is filled. *out may be there after a failure, too. */
MUST status features_open(features **out, comm *world, const weights *w, bool stages, seen_data *seen);
/* The network alone, for features_plane. Local. */
MUST status features_open_network(features **out, const weights *w, bool stages, const seen_data *seen);
MUST status features_plane(features *f, const plane *s, float *x); /* x: the columns. Local; ST_NUMERIC: not finite */
const catalogue *features_catalogue(const features *f);
/* Collective: the vectors of samples sample[0..n), ascending. Rank 0's `take` gets them one after another, in that order. Images go through
 * the encoder one at a time, so that no vector depends on its neighbours. */
typedef status features_take(void *arg, const sample_row *row, const float *x);
MUST status features_each(features *f, const int64_t *sample, int64_t n, features_take *take, void *arg);
void features_close(features *f); /* NULL allowed */

#endif
