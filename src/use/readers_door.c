/* readers_door: the readers of image files, from their module, which is loaded when the first file is looked at. */
#include "readers_module.h"

#include "medley/use.h"
#include "medley_build.h"

#include <dlfcn.h>
#include <string.h>

static const readers_module *loaded;

static status load_from(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(handle, ST_RESOURCE, "the readers of image files cannot be loaded: %s", dlerror()); /* names the file */
    const readers_module *m = dlsym(handle, READERS_MODULE_TABLE);
    CHECK(m && strcmp(m->version, MEDLEY_VERSION) == 0, ST_RESOURCE, "%s: made for another version of this program", path);
    loaded = m; /* for good: libraries of C++ do not like to go */
    return OK;
}

status use_readers(char *where, size_t room)
{
    char path[4300];
    if (loaded && !where) return OK;
    TRY(program_module(READERS_MODULE_FILE, path, sizeof path), "the readers of image files");
    if (where) snprintf(where, room, "%s", path);
    return loaded ? OK : load_from(path);
}

status image_read_frames(image *m, const char *path, enum image_use use, const image_frames *frames)
{
    *m = (image){0};
    TRY(use_readers(NULL, 0), "%s", path);
    return loaded->image_read_frames(m, path, use, frames);
}

/* The two that only ask leave what went wrong to the reading that follows. */
static bool is_loaded(void)
{
    if (use_readers(NULL, 0)) status_clear();
    return loaded;
}

bool image_is_series(const char *folder) { return is_loaded() && loaded->image_is_series(folder); }
enum slide_kind slide_file_kind(const char *path) { return is_loaded() ? loaded->slide_file_kind(path) : SLIDE_NO; }

status tiling_open(tiling *t, const char *path, const tile_ask *ask, const tile_words *words)
{
    *t = (tiling){0};
    TRY(use_readers(NULL, 0), "%s", path);
    return loaded->tiling_open(t, path, ask, words);
}

/* Of what tiling_open opened. */
void tiling_close(tiling *t)
{
    if (loaded) loaded->tiling_close(t);
}
status tiling_grid(const tiling *t, bool cut_too, part **out, int *n, int *columns) { return loaded->tiling_grid(t, cut_too, out, n, columns); }
status tiling_tissue(tiling *t, const part *p, int n, uint8_t *has) { return loaded->tiling_tissue(t, p, n, has); }
status tiling_read(tiling *t, part p, image *out) { return loaded->tiling_read(t, p, out); }
