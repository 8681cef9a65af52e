/* readers_module: the readers of image files as a module that a program loads when it first reads one: a process that does not, as a rank of a
 * training, holds none of their libraries. */
#ifndef MEDLEY_TOOLS_READERS_MODULE_H
#define MEDLEY_TOOLS_READERS_MODULE_H

#include "readers.h"
#include "tiles.h"

#define READERS_MODULE_FILE "medley-readers.so"
#define READERS_MODULE_TABLE "medley_readers"

/* What the functions of these names do (readers.h, tiles.h). */
typedef struct readers_module {
    const char *version; /* MEDLEY_VERSION; the rest is of that version alone */
    status (*image_read_frames)(image *m, const char *path, enum image_use use, const image_frames *frames);
    bool (*image_is_series)(const char *folder);
    enum slide_kind (*slide_file_kind)(const char *path);
    status (*tiling_open)(tiling *t, const char *path, const tile_ask *ask, const tile_words *words);
    void (*tiling_close)(tiling *t);
    status (*tiling_grid)(const tiling *t, bool cut_too, part **out, int *n, int *columns);
    status (*tiling_tissue)(tiling *t, const part *p, int n, uint8_t *has);
    status (*tiling_read)(tiling *t, part p, image *out);
} readers_module;

#endif
