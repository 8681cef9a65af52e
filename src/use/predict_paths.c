/* predict_paths: what the outputs of a prediction are called, and whether they may be written. */
#include "predict.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

status predict_path(const predict_ask *ask, const char *name, const char *end, char out[1400])
{
    CHECK(snprintf(out, 1400, "%s/%s%s", ask->out, name, end) < 1400, ST_USAGE, "path too long: %.80s...", ask->out);
    return OK;
}

void predict_safe_name(const char *name, char out[64])
{
    size_t k = 0;
    for (; name[k] && k + 1 < 64; k++) out[k] = isalnum((unsigned char)name[k]) || strchr("._-", name[k]) ? name[k] : '_';
    out[k] = 0;
}

typedef struct identity { dev_t dev; ino_t ino; } identity;

static bool is_source(const identity *id, int n, const char *path)
{
    struct stat info;
    if (stat(path, &info)) return false;
    for (int i = 0; i < n; i++)
        if (id[i].dev == info.st_dev && id[i].ino == info.st_ino) return true;
    return false;
}

static status may_write(const identity *id, int n, const char *path, bool force)
{
    if (!path_exists(path)) return OK;
    CHECK(!is_source(id, n, path), ST_USAGE, "%s is a source; --out has to be another folder", path);
    return use_may_write(path, force);
}

status predict_may_write(const source_files *f, const predict_ask *ask, const predict_plan *plan)
{
    const task_spec *s = &plan->spec;
    const bool masks = s->kind == TASK_SEGMENTATION, found = s->kind == TASK_DETECTION;
    const struct { const char *end; bool may; } own[] = {{".nii.gz", masks}, {".png", masks}, {".geojson", ask->outlines && (masks || found)}, /* or a slide, below */
        {"-overlay.png", ask->overlay && (masks || found)}, {"-probabilities.nii.gz", masks && ask->probabilities}, {"-probabilities.npy", masks && ask->probabilities}};
    const struct { const char *end; bool may; } all[] = {{".csv", !found}, {"-slices.csv", !masks && !found}, {"-tiles.csv", !masks && !found}, {".json", found}};
    char path[1400], name[64];
    identity *id;
    status st = OK;
    TRY(mem_alloc(&id, sizeof *id * (size_t)f->n, "sources"), "predict");
    for (int i = 0; i < f->n; i++) {
        struct stat info;
        if (stat(f->file[i].path, &info) == 0) id[i] = (identity){info.st_dev, info.st_ino};
    }
    predict_safe_name(s->name, name);
    for (size_t k = 0; k < sizeof all / sizeof *all && !st; k++) {
        if (!all[k].may) continue;
        st = predict_path(ask, name, all[k].end, path);
        if (!st) st = may_write(id, f->n, path, ask->force);
    }
    for (int i = 0; i < f->n && !st; i++)
        for (size_t k = 0; k < sizeof own / sizeof *own && !st; k++) {
            bool slide = strcmp(own[k].end, ".geojson") == 0 && source_is_slide(f->file[i].path, &plan->how);
            if (!own[k].may && !slide) continue;
            st = predict_path(ask, f->file[i].name, own[k].end, path);
            if (!st) st = may_write(id, f->n, path, ask->force);
        }
    free(id);
    return st;
}
