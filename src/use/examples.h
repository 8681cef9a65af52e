/* examples: pictures of some samples with what is true and what was predicted: RUN/examples-SPLIT-TASK/, written by evaluate, shown by report. */
#ifndef USE_EXAMPLES_H
#define USE_EXAMPLES_H

#include "medley/task.h"

#define EXAMPLES_MOST 50  /* of a task */
#define EXAMPLES_CLASSES 256
#define EXAMPLES_TILE 156 /* most pixels of a picture's side: six, or three pairs, fill the page's width */

/* One line of index.csv. file: of the picture; with a second one (masks, boxes) the first shows what is true, the second what was predicted. */
typedef struct example_row {
    char   file[2][32], id[SHARD_TEXT], subject[SHARD_TEXT], truth[200], guess[200];
    double quality;     /* NaN: none */
    int    right;       /* 1, 0; -1: the kind of label knows no such thing */
} example_row;
/* One line of classes.csv: what is drawn in which colour. */
typedef struct example_class { char name[64], colour[8]; } example_class; /* "#rrggbb" */

typedef struct examples {
    char dir[900];
    int  n, n_classes;
    example_row   *row;   /* (n) */
    example_class *cls;   /* (n_classes) */
} examples;
MUST status examples_save(const examples *e, const char *dir);
/* n = 0 and OK if there is no such folder. ST_DATA with file and line. */
MUST status examples_read(examples *e, const char *run, const char *split, const char *task);
void examples_free(examples *e);

/* Rank 0, once m is complete: all of m's pictures, and no others, are in the folder afterwards. */
MUST status examples_write(const char *run, const char *split, const task *t, metric *m);

#endif
