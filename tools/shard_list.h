/* shard_list: the shards that a word on the command line means: one file, a data set folder, or the data sets below a folder. */
#ifndef MEDLEY_TOOLS_SHARD_LIST_H
#define MEDLEY_TOOLS_SHARD_LIST_H

#include "medley/store.h"

typedef struct shard_list {
    int       n;
    char    (*path)[1024];
    char      dir[1024];    /* folder of the shards */
    bool      is_file;      /* one shard file was named */
    bool      has_index;    /* `index` is open */
    catalogue index;
} shard_list;

/* path: a shard, or a folder with index.h5; without a readable index all other .h5 files of the folder in name order (*no_index says why;
 * NULL: that is an error). ST_DATA. */
MUST status shard_list_open(shard_list *l, const char *path, char *no_index, size_t no_index_bytes);
void shard_list_close(shard_list *l);

/* Names of the folders directly below `path` that hold an index.h5, in name order; free(). n = 0 if there are none. */
MUST status data_sets_below(const char *path, int *n, char (**name)[256]);

#endif
