/* convert: a recipe and a folder of source files become a data set folder of shards. */
#ifndef MEDLEY_TOOLS_CONVERT_H
#define MEDLEY_TOOLS_CONVERT_H

#include "medley/core.h"

typedef struct convert_options {
    bool    force;       /* replace an existing OUT/NAME */
    bool    quiet;       /* no summary on standard output (messages about skipped files still go to the log) */
    bool    strict;      /* ST_DATA behind a data set that is complete, but for more skipped files than the recipe expects */
    int     jobs;        /* threads that read source files and pack shards; 0 = 1. The result does not depend on it */
    int     part, n_parts; /* only part 1 <= part <= n_parts, into OUT/NAME.parts; part 0: all */
    int64_t shard_bytes; /* cut shards at about this size; 0 = 256 MiB */
} convert_options;

/* Writes OUT/NAME (NAME from the recipe) from the files under source_dir, which is the data set's own folder or the parent that holds
 * NAME/. options NULL: defaults. ST_USAGE: recipe; ST_DATA: bad source file where the recipe says fatal, or nothing left to write;
 * nothing half-written stays. ST_RESOURCE (and a run that is killed): what is complete stays in OUT/NAME.parts, and the same call goes
 * on behind it. */
MUST status convert_run(const char *recipe_path, const char *source_dir, const char *out_dir, const convert_options *options);
/* Joins the parts in FOLDER.parts into the data set folder FOLDER: the samples of one conversion of all. options: force, quiet, strict. ST_DATA: parts
 * are missing, not complete, being converted, or do not belong together; they stay. */
enum { CONVERT_PARTS_MOST = 100000 };
MUST status convert_index(const char *folder, const convert_options *options);

#endif
