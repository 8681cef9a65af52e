/* convert_items: the images of a conversion: one per file, or many per file. Of files with many images few are open at a time. */
#include "convert_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

status item_names(names *n, const conversion *c, const item *it)
{
    bindings is;
    found_parts(&c->files.v[it->file], &is);
    if (it->is_part) TRY(many_names(c->r, it->part, &is), "%s", it->path);
    if (it->time >= 0) {
        char text[16];
        snprintf(text, sizeof text, "%02d", it->time);
        TRY(bindings_add(&is, "time", text), "%s", it->path);
    }
    return names_open(n, &c->source, &is);
}

/* ---- files of many images -------------------------------------------------------------------------------------------------------- */

static const found *found_of(const conversion *c, const source_file *f) { return &c->files.v[f - c->file]; }

static void full_path(const conversion *c, const source_file *f, char out[2 * PATTERN_PATH])
{
    snprintf(out, 2 * PATTERN_PATH, "%s/%s", c->source.root, found_of(c, f)->path);
}

/* Opens the file if need be, and closes others that nobody uses. */
static status hold(conversion *c, source_file *f)
{
    char path[2 * PATTERN_PATH];
    full_path(c, f, path);
    for (int k = c->n_open - 1; k >= 0 && !f->is_open; k--) {
        source_file *other = c->open[k];
        if (other->users) continue;
        many_close(&other->many);
        other->is_open = false;
        c->open[k] = c->open[--c->n_open];
    }
    if (!f->is_open) {
        CHECK(c->n_open < CONVERT_OPEN, ST_BUG, "%d files are open", c->n_open);
        bindings known;
        found_parts(found_of(c, f), &known);
        TRY(many_open(&f->many, &c->source, &known, path), "%s", found_of(c, f)->path);
        f->is_open = true;
        c->open[c->n_open++] = f;
    }
    f->users++;
    return OK;
}

status item_hold(conversion *c, const item *it)
{
    if (!it->is_part) return OK;
    pthread_mutex_lock(&c->lock);
    status st = hold(c, &c->file[it->file]);
    pthread_mutex_unlock(&c->lock);
    return st;
}

void item_release(conversion *c, const item *it)
{
    if (!it->is_part) return;
    pthread_mutex_lock(&c->lock);
    c->file[it->file].users--;
    pthread_mutex_unlock(&c->lock);
}

/* ---- checksums ------------------------------------------------------------------------------------------------------------------- */

/* Of a file; of a folder, that of its files' checksums in the order of the files' names. */
static status source_sha256(const char *path, char hex[65])
{
    struct stat info;
    if (stat(path, &info) || !S_ISDIR(info.st_mode)) return sha256_file(path, hex);
    found_list files = {0};
    sha256 all;
    sha256_begin(&all);
    status st = pattern_list(path, "*", NULL, &files);
    for (int i = 0; i < files.n && !st; i++) {
        char file[3 * PATTERN_PATH + 2], one[65];
        snprintf(file, sizeof file, "%s/%s", path, files.v[i].path);
        st = sha256_file(file, one);
        if (!st) sha256_add(&all, one, 64);
    }
    sha256_end(&all, hex);
    found_free(&files);
    return st;
}

/* Once for all images of a file: another thread may want the same. */
status item_sha256(conversion *c, const item *it, char out[65])
{
    source_file *f = &c->file[it->file];
    char path[2 * PATTERN_PATH];
    full_path(c, f, path);
    if (!it->is_part) return source_sha256(path, out);
    pthread_mutex_lock(&c->hashing);
    status st = *f->sha256 ? OK : source_sha256(path, f->sha256);
    if (!st) memcpy(out, f->sha256, sizeof f->sha256);
    pthread_mutex_unlock(&c->hashing);
    return st;
}

/* ---- the list -------------------------------------------------------------------------------------------------------------------- */

static status add_items(conversion *c, int file, const part *p, int n)
{
    if (c->n + n > c->room) {
        int room = 2 * c->room + n;
        TRY(mem_grow(&c->item, (size_t)room * sizeof *c->item, "list of images"), "%s", c->r->name);
        c->room = room;
    }
    for (int i = 0; i < n; i++)
        c->item[c->n++] = (item){.file = file, .is_part = p != NULL, .part = p ? p[i] : (part){0}, .time = p || !c->r->images.n_times ? -1 : c->r->images.times[i]};
    return OK;
}

/* One image, or one of each time: whether the file has them is seen when it is read. */
static status add_file_items(conversion *c, int file) { return add_items(c, file, NULL, c->r->images.n_times ? c->r->images.n_times : 1); }

/* A file that does not open is one image that is left out. */
static status add_parts(conversion *c, int file)
{
    source_file *f = &c->file[file];
    part *p = NULL;
    int n = 0;
    status st = hold(c, f);
    if (!st) {
        st = many_parts(&f->many, &p, &n);
        f->users--;
    }
    if (!st) st = add_items(c, file, p, n);
    free(p);
    if (st != ST_DATA) return st;
    f->st = (int32_t)st;
    TRY(mem_copy(&f->reason, status_message(), strlen(status_message()), "a reason"), "%s", found_of(c, f)->path);
    return add_items(c, file, NULL, 1);
}

status convert_items(conversion *c)
{
    TRY(mem_alloc(&c->file, (size_t)c->files.n * sizeof *c->file, "list of files"), "%s", c->r->name);
    c->room = c->files.n;
    TRY(mem_alloc(&c->item, (size_t)c->room * sizeof *c->item, "list of images"), "%s", c->r->name);
    for (int i = 0; i < c->files.n; i++) {
        if (c->r->form == FORM_FILES) TRY(add_file_items(c, i), "%s", c->r->name);
        else TRY(add_parts(c, i), "%s", c->r->name);
    }
    return OK;
}

void convert_items_free(conversion *c)
{
    for (int i = 0; c->item && i < c->n; i++) item_free(&c->item[i]);
    for (int i = 0; c->file && i < c->files.n; i++) {
        many_close(&c->file[i].many);
        free(c->file[i].reason);
    }
    free(c->item);
    free(c->file);
    found_free(&c->files);
}
