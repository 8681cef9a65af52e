/* convert: the conversion of one data set from beginning to end, its summary, and the command. */
#include "commands.h"
#include "convert_internal.h"

#include "medley/command.h"

#include <stdlib.h>
#include <string.h>

/* ---- list ------------------------------------------------------------------------------------------------------------------- */

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
    for (int i = 0; i < l->n; i++)
        if (n == 0 || strcmp(l->v[i].path, l->v[n - 1].path)) l->v[n++] = l->v[i];
    l->n = n;
}

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
            if (++c->n_orphans <= 20) log_line(LOG_WARN, "%s: %s has no image", c->r->name, file);
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
        c->n_rows_unused[t] = c->source.table[t].n_rows;
        for (int i = 0; i < c->n; i++) {
            names n;
            if (item_names(&n, c, &c->item[i]) || n.row[t] < 0 || used[n.row[t]]) continue;
            used[n.row[t]] = true;
            c->n_rows_unused[t]--;
        }
        free(used);
    }
    return OK;
}

/* ---- the whole --------------------------------------------------------------------------------------------------------------- */

static status run(conversion *c, const char *source_dir, const char *out_dir)
{
    char root[PATTERN_PATH], target[1024];
    int n = snprintf(target, sizeof target, "%s/%s", out_dir, c->r->name);
    CHECK(n < (int)sizeof target, ST_USAGE, "path too long: %.80s...", out_dir);
    CHECK(c->options.force || !path_exists(target), ST_USAGE, "%s exists; --force replaces it", target);
    TRY(find_root(c->r, source_dir, root, sizeof root, &c->files), "%s", c->r->name);
    unite(&c->files);
    TRY(source_open(&c->source, c->r, root), "%s", c->r->name);
    TRY(convert_items(c), "%s", c->r->name);
    TRY(convert_scan(c), "%s", c->r->name);
    TRY(find_orphans(c), "%s", c->r->name);
    TRY(count_unused_rows(c), "%s", c->r->name);
    TRY(convert_split(c), "%s", c->r->name);
    TRY(path_make_dirs(out_dir), "%s", c->r->name);
    TRY(convert_write(c, out_dir), "%s", c->r->name);
    return OK;
}

status convert_run(const char *recipe_path, const char *source_dir, const char *out_dir, const convert_options *options)
{
    recipe *r;
    TRY(recipe_load(&r, recipe_path), "recipe");
    conversion c = {.r = r};
    pthread_mutex_init(&c.lock, NULL);
    if (options) c.options = *options;
    status st = run(&c, source_dir, out_dir);
    if (!st && !c.options.quiet) convert_report(&c, out_dir);
    if (!st && !c.options.quiet) st = likeness_report(&c);
    convert_items_free(&c);
    pthread_mutex_destroy(&c.lock);
    source_close(&c.source);
    free(r);
    return st;
}

/* ---- command ------------------------------------------------------------------------------------------------------------------ */

static status print_recipe(const char *path)
{
    recipe *r;
    TRY(recipe_load(&r, path), "recipe");
    status st = recipe_print(r, stdout);
    free(r);
    return st;
}

status cmd_convert(int argc, char **argv)
{
    const char *source_dir = NULL, *out_dir = NULL, *args[1];
    convert_options how = {0};
    int64_t jobs = 1, shard_mib = 256;
    bool explain = false, print = false;
    int n_args;
    const command_option options[] = {
        {.name = "--source", .arg = "DIR", .text = &source_dir,
         .help = "the data set's folder, or the one that holds it under the recipe's name"},
        {.name = "--out", .arg = "DIR", .text = &out_dir,
         .help = "where the folder NAME is made; it appears only when it is complete"},
        {.name = "--force", .help = "replace OUT/NAME", .flag = &how.force},
        {.name = "--jobs", .arg = "N", .number = &jobs, .lo = 1, .hi = CONVERT_JOBS,
         .help = "threads that read source files (default 1); the result is the same for any number"},
        {.name = "--shard-mib", .arg = "N", .number = &shard_mib, .lo = 1, .hi = 1 << 20,
         .help = "cut shards at about this size (default 256)"},
        {.name = "--explain", .help = "print every key of a recipe with type, default, range and meaning", .flag = &explain},
        {.name = "--print", .help = "print the recipe with all its keys, the ones left out too, and convert nothing", .flag = &print},
        {0}};
    const command_line command = {"medley-data convert RECIPE.cfg --source DIR --out DIR [--force] [--jobs N] [--shard-mib N]\n"
                                  "       medley-data convert RECIPE.cfg --print\n"
                                  "       medley-data convert --explain",
                                  "Turns source files into a data set folder OUT/NAME of shards, as the recipe says (see datasets/example.cfg).\n"
                                  "Exit status 0: done (files that were skipped, where the recipe allows it, are named and counted); 2: "
                                  "recipe or command line; 3: a bad source file where the recipe says on_error = \"fatal\", or nothing to "
                                  "convert; 4: disk or memory.",
                                  options, 0, 1};
    if (command_help(&command, argc, argv)) return OK;
    TRY(command_parse(&command, argc, argv, args, &n_args), "convert");
    if (explain) return recipe_explain(stdout);
    if (print && n_args) return print_recipe(args[0]);
    if (!n_args || !source_dir || !out_dir)
        return command_missing(&command, !n_args ? "RECIPE.cfg" : !source_dir ? "--source DIR" : "--out DIR");
    how.jobs = (int)jobs;
    how.shard_bytes = shard_mib << 20;
    return convert_run(args[0], source_dir, out_dir, &how);
}
