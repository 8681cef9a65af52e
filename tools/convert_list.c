/* convert_list: which files a conversion is about, what the recipe calls them, and what of the source none of them uses. */
#include "convert_internal.h"

#include "medley_build.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static status list_images(const recipe *r, const char *root, found_list *files)
{
    for (int i = 0; i < r->images.n_files; i++) TRY(pattern_list(root, r->images.files[i], NULL, files), "images.files");
    return OK;
}

/* The data set's own folder, or the one that holds NAME/. */
static status find_root(const recipe *r, const char *source_dir, char *root, size_t room, found_list *files)
{
    CHECK(path_exists(source_dir), ST_DATA, "no folder %s", source_dir);
    int n = snprintf(root, room, "%s", source_dir);
    CHECK(n < (int)room, ST_DATA, "path too long: %.80s...", source_dir);
    TRY(list_images(r, root, files), "%s", root);
    if (files->n > 0) return OK;
    n = snprintf(root, room, "%s/%s", source_dir, r->name);
    CHECK(n < (int)room, ST_DATA, "path too long: %.80s...", source_dir);
    TRY(list_images(r, root, files), "%s", root);
    CHECK(files->n > 0, ST_DATA, "no file matches images.files = \"%s\" of %s under %s or %s", r->images.files[0], r->file, source_dir, root);
    return OK;
}

static int by_path(const void *a, const void *b) { return strcmp(((const found *)a)->path, ((const found *)b)->path); }

/* Two patterns may find the same file. */
static void unite(found_list *l)
{
    qsort(l->v, (size_t)l->n, sizeof *l->v, by_path);
    int n = 0;
    for (int i = 0; i < l->n; i++) {
        if (n == 0 || strcmp(l->v[i].path, l->v[n - 1].path)) l->v[n++] = l->v[i];
        else found_drop(&l->v[i]);
    }
    l->n = n;
}

/* ---- names -------------------------------------------------------------------------------------------------------------------- */

/* A text that must fit a shard's column. */
static status fill(const char *pattern, const names *n, char **out, const char *what)
{
    char text[SHARD_TEXT];
    TRY(pattern_expand(pattern, &n->is, text, sizeof text), "images.%s", what);
    return mem_copy(out, text, strlen(text), "names of images");
}

static status name_item(const conversion *c, item *it)
{
    const recipe *r = c->r;
    names n;
    TRY(item_names(&n, c, it), "%s", it->path);
    TRY(fill(r->images.id, &n, &it->id, "id"), "%s", it->path);
    TRY(fill(r->images.subject, &n, &it->subject, "subject"), "%s", it->path);
    TRY(fill(r->images.centre, &n, &it->centre, "centre"), "%s", it->path);
    char given[SHARD_TEXT] = "rest";
    if (*r->split.value) TRY(pattern_expand(r->split.value, &n.is, given, sizeof given), "%s: images.split", it->path);
    it->given = recipe_split_of(r, given);
    CHECK(it->given != SPLIT_UNKNOWN, ST_DATA, "%s: split \"%s\" is none of train, val, test and split.map", it->path, given);
    CHECK(*it->id && *it->subject, ST_DATA, "%s: empty %s", it->path, *it->id ? "subject" : "id");
    return OK;
}

static int by_id(const void *a, const void *b)
{
    const item *x = *(item *const *)a, *y = *(item *const *)b;
    int order = strcmp(x->id, y->id);
    return order ? order : strcmp(x->path, y->path);
}

static status ids_differ(const conversion *c)
{
    item **list;
    TRY(mem_alloc(&list, ((size_t)c->n + 1) * sizeof *list, "ids"), "list");
    int n = 0;
    status st = OK;
    for (int i = 0; i < c->n; i++)
        if (!c->item[i].st) list[n++] = &c->item[i];
    qsort(list, (size_t)n, sizeof *list, by_id);
    for (int i = 1; i < n && !st; i++)
        if (!strcmp(list[i]->id, list[i - 1]->id))
            st = status_raise(ST_USAGE, __FILE__, __LINE__, "%s:%d: images.id: %s and %s both get the id \"%s\"", c->r->file, c->r->images.line,
                              list[i - 1]->path, list[i]->path, list[i]->id);
    free(list);
    return st;
}

static void add_file(sha256 *to, const char *root, const char *name)
{
    char path[2 * PATTERN_PATH];
    struct stat info = {0};
    snprintf(path, sizeof path, "%s/%s", root, name);
    int64_t facts[3] = {stat(path, &info) || S_ISDIR(info.st_mode) ? -1 : info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
    sha256_add(to, name, strlen(name) + 1);
    sha256_add(to, facts, sizeof facts);
}

/* Tables and label files: who mends one and starts again must not get what was made of the old one. */
static status add_labels(sha256 *to, const conversion *c)
{
    for (int t = 0; t < c->r->n_tables; t++) add_file(to, c->source.root, c->r->table[t].file);
    for (int i = 0; i < c->r->n_labels; i++) {
        if (!*c->r->label[i].file) continue;
        found_list all = {0};
        status st = pattern_list(c->source.root, c->r->label[i].file, NULL, &all);
        for (int k = 0; !st && k < all.n; k++) add_file(to, c->source.root, all.v[k].path);
        found_free(&all);
        TRY(st, "label %s", c->r->label[i].name);
    }
    return OK;
}

/* Two fingerprints: of what all parts must agree on, and of what a part that is continued must find unchanged. */
static status fingerprint(conversion *c)
{
    sha256 list, state;
    sha256_begin(&list), sha256_begin(&state);
    sha256_add(&state, c->r->sha256, 64);
    sha256_add(&state, MEDLEY_VERSION " " MEDLEY_BUILD, sizeof MEDLEY_VERSION " " MEDLEY_BUILD);
    sha256_add(&state, program_id(), strlen(program_id()));
    sha256_add(&state, &c->options.shard_bytes, sizeof c->options.shard_bytes);
    sha256_add(&list, &c->n, sizeof c->n);
    for (int i = 0; i < c->files.n; i++) {
        const char *name = c->files.v[i].path;
        char path[2 * PATTERN_PATH];
        struct stat info = {0};
        snprintf(path, sizeof path, "%s/%s", c->source.root, name);
        int64_t size = stat(path, &info) || S_ISDIR(info.st_mode) ? -1 : info.st_size;
        sha256_add(&list, name, strlen(name) + 1);
        sha256_add(&list, &size, sizeof size);
        add_file(&state, c->source.root, name);
    }
    TRY(add_labels(&state, c), "%s", c->r->name);
    sha256_end(&list, c->list_sha256);
    sha256_end(&state, c->state_sha256);
    return OK;
}

status convert_list(conversion *c, const char *source_dir)
{
    char root[PATTERN_PATH];
    TRY(find_root(c->r, source_dir, root, sizeof root, &c->files), "%s", c->r->name);
    unite(&c->files);
    TRY(source_open(&c->source, c->r, root), "%s", c->r->name);
    TRY(convert_items(c), "%s", c->r->name);
    TRY(convert_name(c), "%s", c->r->name);
    TRY(fingerprint(c), "%s", c->r->name);
    return ids_differ(c);
}

status convert_name(conversion *c)
{
    for (int i = 0; i < c->n; i++) {
        item *it = &c->item[i], fresh = {.file = it->file, .is_part = it->is_part, .part = it->part, .time = it->time};
        const source_file *f = &c->file[it->file];
        const char *path = c->files.v[it->file].path;
        item_free(it);
        *it = fresh;
        TRY(mem_copy(&it->path, path, strlen(path), "names of images"), "%s", c->r->name);
        it->st = f->st ? f->st : (int32_t)name_item(c, it);
        const char *why = f->st ? f->reason : status_message();
        if (it->st) TRY(mem_copy(&it->reason, why, strlen(why), "a message"), "%s", c->r->name);
    }
    return OK;
}

/* ---- leftovers ---------------------------------------------------------------------------------------------------------------- */

static int by_pointed(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Label files that belong to no image: named and counted, so that a wrong pattern does not go unnoticed. */
static status find_orphans(conversion *c)
{
    for (int i = 0; i < c->r->n_labels; i++) {
        const recipe_label *l = &c->r->label[i];
        if (strcmp(l->source, "mask") && strcmp(l->source, "voc") && strcmp(l->source, "yolo")) continue;
        found_list all = {0}, used = {0};
        char **path = NULL;
        status st = pattern_list(c->source.root, l->file, NULL, &all);
        for (int k = 0; !st && k < c->n; k++) {
            names n;
            if (item_names(&n, c, &c->item[k])) continue;
            st = pattern_list(c->source.root, l->file, &n.is, &used);
        }
        if (!st) st = mem_alloc(&path, ((size_t)used.n + 1) * sizeof *path, "label files");
        for (int k = 0; !st && k < used.n; k++) path[k] = used.v[k].path;
        if (!st) qsort(path, (size_t)used.n, sizeof *path, by_pointed);
        for (int k = 0; !st && k < all.n; k++) {
            const char *file = all.v[k].path;
            if (bsearch(&file, path, (size_t)used.n, sizeof *path, by_pointed)) continue;
            if (++c->left.n_orphans <= 20) log_line(LOG_WARN, "%s: %s has no image", c->r->name, file);
        }
        free(path);
        found_free(&all);
        found_free(&used);
        if (st) return status_note(st, __FILE__, __LINE__, "label %s", l->name);
    }
    return OK;
}

static status count_unused_rows(conversion *c)
{
    for (int t = 0; t < c->r->n_tables; t++) {
        bool *used;
        TRY(mem_alloc(&used, (size_t)c->source.table[t].n_rows + 1, "table rows"), "%s", c->r->name);
        c->left.n_rows[t] = c->left.n_rows_unused[t] = c->source.table[t].n_rows;
        for (int i = 0; i < c->n; i++) {
            names n;
            if (item_names(&n, c, &c->item[i]) || n.row[t] < 0 || used[n.row[t]]) continue;
            used[n.row[t]] = true;
            c->left.n_rows_unused[t]--;
        }
        free(used);
    }
    return OK;
}

status convert_leftovers(conversion *c)
{
    TRY(find_orphans(c), "%s", c->r->name);
    TRY(count_unused_rows(c), "%s", c->r->name);
    for (int i = 0; i < c->r->n_labels; i++) {
        c->left.n_no_category[i] = c->source.coco[i].n_no_category;
        c->left.n_no_image[i] = c->source.coco[i].n_no_image;
        c->left.n_no_outline[i] = c->source.coco[i].n_no_outline;
        c->left.n_crowd[i] = c->source.coco[i].n_crowd;
    }
    return OK;
}
