/* shard_list: finds shards by file, data set folder or parent folder. */
#include "shard_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Names in a folder that `want` accepts, sorted: char[n][256]. */
static status list_names(const char *path, bool (*want)(const char *path, const char *name), int *n, char (**out)[256])
{
    *n = 0, *out = NULL;
    DIR *d = opendir(path);
    CHECK(d, ST_DATA, "cannot open folder %s: %s", path, strerror(errno));
    int room = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' || strlen(e->d_name) > 255 || !want(path, e->d_name)) continue;
        if (*n == room) {
            room = room ? 2 * room : 16;
            status st = mem_grow(out, (size_t)room * sizeof **out, "names");
            if (st) {
                closedir(d);
                free(*out);
                return status_note(st, __FILE__, __LINE__, "%s", path);
            }
        }
        snprintf((*out)[(*n)++], 256, "%s", e->d_name);
    }
    closedir(d);
    if (*n) qsort(*out, (size_t)*n, sizeof **out, by_name);
    return OK;
}

static bool is_shard_name(const char *path, const char *name)
{
    (void)path;
    size_t n = strlen(name);
    return n > 3 && strcmp(name + n - 3, ".h5") == 0 && strcmp(name, "index.h5") != 0;
}

static bool is_data_set(const char *path, const char *name)
{
    char index[1600];
    snprintf(index, sizeof index, "%.1000s/%s/index.h5", path, name);
    return path_exists(index);
}

status data_sets_below(const char *path, int *n, char (**name)[256])
{
    return list_names(path, is_data_set, n, name);
}

static status take_room(shard_list *l, int n)
{
    TRY(mem_alloc(&l->path, sizeof *l->path * (size_t)(n ? n : 1), "shard names"), "%s", l->dir);
    l->n = n;
    return OK;
}

/* All shards that lie in the folder. */
static status take_files(shard_list *l)
{
    int n;
    char(*name)[256];
    TRY(list_names(l->dir, is_shard_name, &n, &name), "data set folder");
    status st = n ? take_room(l, n) : status_raise(ST_DATA, __FILE__, __LINE__, "%s: no shards (.h5 files) in this folder", l->dir);
    for (int i = 0; !st && i < n; i++) snprintf(l->path[i], sizeof l->path[i], "%.760s/%s", l->dir, name[i]);
    free(name);
    return st;
}

static status open_list(shard_list *l, const char *path, char *no_index, size_t no_index_bytes)
{
    CHECK(strlen(path) < 700, ST_USAGE, "path too long: %.80s...", path);
    CHECK(path_exists(path), ST_DATA, "%s: no such file or folder", path);
    if (!is_folder(path)) {
        l->is_file = true;
        const char *slash = strrchr(path, '/');
        snprintf(l->dir, sizeof l->dir, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
        TRY(take_room(l, 1), "shard");
        snprintf(l->path[0], sizeof l->path[0], "%s", path);
        return OK;
    }
    snprintf(l->dir, sizeof l->dir, "%s", path);
    size_t len = strlen(l->dir);
    while (len > 1 && l->dir[len - 1] == '/') l->dir[--len] = 0;
    char index[1100];
    snprintf(index, sizeof index, "%s/index.h5", l->dir);
    status st = path_exists(index) ? catalogue_open(&l->index, l->dir)
                                   : status_raise(ST_DATA, __FILE__, __LINE__, "%s: no index.h5: not a data set folder", l->dir);
    if (st) {
        if (!no_index) return st;
        snprintf(no_index, no_index_bytes, "%s", status_message());
        return take_files(l);
    }
    l->has_index = true;
    TRY(take_room(l, l->index.n_shards), "shards");
    for (int i = 0; i < l->n; i++) TRY(path_inside(l->dir, l->index.file[i], l->path[i], sizeof l->path[i]), "shards");
    return OK;
}

status shard_list_open(shard_list *l, const char *path, char *no_index, size_t no_index_bytes)
{
    *l = (shard_list){0};
    if (no_index) no_index[0] = 0;
    status st = open_list(l, path, no_index, no_index_bytes);
    if (st) shard_list_close(l);
    return st;
}

void shard_list_close(shard_list *l)
{
    if (l->has_index) catalogue_close(&l->index);
    free(l->path);
    *l = (shard_list){0};
}
