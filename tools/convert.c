/* convert: a conversion from beginning to end, whole, by parts, or the join of parts; and the two commands. */
#include "commands.h"
#include "convert_internal.h"

#include "medley/command.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

void conversion_free(conversion *c)
{
    convert_items_free(c);
    source_close(&c->source);
}

/* What a join reads comes from the notes alone, so that parts of a whole conversion and of an array are joined alike. */
static status join_and_report(const recipe *r, const convert_options *how, const char *out_dir, int n_parts)
{
    conversion c = {.r = r, .options = *how};
    status st = convert_join(&c, out_dir, n_parts);
    if (!st && !how->quiet) convert_report(&c, out_dir);
    if (!st && !how->quiet) st = likeness_report(&c);
    int skipped = c.n - c.n_good, known = r->expect.skipped > 0 ? (int)r->expect.skipped : 0;
    conversion_free(&c);
    TRY(st, "%s", r->name);
    CHECK(!how->strict || skipped <= known, ST_DATA, "%s/%s is complete, but %d files were skipped, and the recipe expects %d (--strict)", out_dir, r->name, skipped, known);
    return OK;
}

static status run_part(conversion *c, const char *recipe_path, const char *source_dir, const char *out_dir, int part, int n_parts)
{
    char parts_dir[1024], dir[1024];
    snprintf(parts_dir, sizeof parts_dir, "%.900s/%s" PARTS_SUFFIX, out_dir, c->r->name);
    part_dir(dir, parts_dir, part, n_parts);
    TRY(convert_list(c, source_dir), "%s", c->r->name);
    if (c->options.part && c->options.force) part_remove(dir);
    status st = convert_part(c, recipe_path, parts_dir, part, n_parts);
    if (st == ST_RESOURCE) return status_note(st, __FILE__, __LINE__, "%s: what is complete stays in %s; the same command goes on", c->r->name, dir);
    TRY(st, "%s", c->r->name);
    if (!c->options.part || c->options.quiet) return OK;
    log_line(LOG_INFO, "%s: part %d of %d is in %s", c->r->name, part, n_parts, dir);
    log_line(LOG_INFO, "  when all parts are: medley-data index %s/%s", out_dir, c->r->name);
    return OK;
}

static status check_target(const recipe *r, const char *out_dir, bool force)
{
    char target[1024];
    CHECK(strlen(out_dir) < 400, ST_USAGE, "path too long: %.80s...", out_dir);
    snprintf(target, sizeof target, "%s/%s", out_dir, r->name);
    CHECK(force || !path_exists(target), ST_USAGE, "%s exists; --force replaces it", target);
    return OK;
}

status convert_run(const char *recipe_path, const char *source_dir, const char *out_dir, const convert_options *options)
{
    recipe *r;
    TRY(recipe_load(&r, recipe_path), "recipe");
    conversion c = {.r = r};
    pthread_mutex_init(&c.lock, NULL);
    pthread_mutex_init(&c.hashing, NULL);
    if (options) c.options = *options;
    status st = check_target(r, out_dir, c.options.force || c.options.part);
    if (!st) st = run_part(&c, recipe_path, source_dir, out_dir, c.options.part ? c.options.part : 1, c.options.part ? c.options.n_parts : 1);
    conversion_free(&c); /* before the join makes its own list */
    pthread_mutex_destroy(&c.lock);
    pthread_mutex_destroy(&c.hashing);
    if (!st && !c.options.part) st = join_and_report(r, &c.options, out_dir, 1);
    free(r);
    return st;
}

/* ---- joining what an array of jobs made ------------------------------------------------------------------------------------------- */

/* The one number of parts in the folder; all parts must be of the same. */
static status find_parts(const char *parts_dir, int *n_parts)
{
    DIR *d = opendir(parts_dir);
    CHECK(d, ST_DATA, "no folder %s: nothing to join", parts_dir);
    int seen[2] = {0};
    for (struct dirent *e; (e = readdir(d));) {
        int part, of, end = 0;
        if (sscanf(e->d_name, "%d-of-%d%n", &part, &of, &end) != 2 || e->d_name[end] || part < 1 || part > of) continue;
        if (!seen[0]) seen[0] = of;
        else if (of != seen[0]) seen[1] = of;
    }
    closedir(d);
    CHECK(seen[0], ST_DATA, "%s: holds no parts", parts_dir);
    CHECK(!seen[1], ST_DATA, "%s: holds parts of %d and parts of %d; remove those that do not belong here", parts_dir, seen[0], seen[1]);
    CHECK(seen[0] <= CONVERT_PARTS_MOST, ST_DATA, "%s: %d parts, at most %d are joined", parts_dir, seen[0], CONVERT_PARTS_MOST);
    *n_parts = seen[0];
    return OK;
}

status convert_index(const char *folder, const convert_options *options)
{
    char out_dir[1024], name[256], parts_dir[1500], dir[1024], path[1100];
    size_t n = strlen(folder), suffix = strlen(PARTS_SUFFIX);
    while (n > 1 && folder[n - 1] == '/') n--;
    if (n > suffix && !strncmp(folder + n - suffix, PARTS_SUFFIX, suffix)) n -= suffix;
    CHECK(n < 400, ST_USAGE, "path too long: %.80s...", folder);
    size_t slash = n;
    while (slash > 0 && folder[slash - 1] != '/') slash--;
    CHECK(n > slash && n - slash < sizeof name, ST_USAGE, "%s: names no data set folder", folder);
    snprintf(name, sizeof name, "%.*s", (int)(n - slash), folder + slash);
    snprintf(out_dir, sizeof out_dir, "%.*s", slash == 0 ? 1 : slash == 1 ? 1 : (int)slash - 1, slash == 0 ? "." : folder);
    snprintf(parts_dir, sizeof parts_dir, "%s/%s" PARTS_SUFFIX, out_dir, name);
    int n_parts = 0, p = 1;
    TRY(find_parts(parts_dir, &n_parts), "index");
    for (; p <= n_parts; p++) { /* any part has the recipe; those that are missing are named later */
        part_dir(dir, parts_dir, p, n_parts);
        snprintf(path, sizeof path, "%s/recipe.cfg", dir);
        if (path_exists(path)) break;
    }
    CHECK(p <= n_parts, ST_DATA, "%s: no part has a recipe.cfg", parts_dir);
    recipe *r;
    TRY(recipe_load(&r, path), "index");
    status st = OK;
    convert_options how = options ? *options : (convert_options){0};
    CHECK_TO(out, !strcmp(r->name, name), ST_DATA, "%s: is of data set %s, not %s", path, r->name, name);
    TRY_TO(out, check_target(r, out_dir, how.force), "index");
    TRY_TO(out, join_and_report(r, &how, out_dir, n_parts), "index");
out:
    free(r);
    return st;
}

/* ---- commands ------------------------------------------------------------------------------------------------------------------ */

static status print_recipe(const char *path)
{
    recipe *r;
    TRY(recipe_load(&r, path), "recipe");
    status st = recipe_print(r, stdout);
    free(r);
    return st;
}

static status parse_part(const char *text, convert_options *how)
{
    int end = 0;
    bool good = isdigit((unsigned char)*text) && sscanf(text, "%d/%d%n", &how->part, &how->n_parts, &end) == 2 && !text[end];
    CHECK(good && how->part >= 1 && how->part <= how->n_parts && how->n_parts <= CONVERT_PARTS_MOST, ST_USAGE,
          "--part %s: give it as I/N, part I of N, 1 <= I <= N <= %d", text, CONVERT_PARTS_MOST);
    return OK;
}

status cmd_convert(int argc, char **argv)
{
    const char *source_dir = NULL, *out_dir = NULL, *part = NULL, *args[1];
    convert_options how = {0};
    int64_t jobs = 1, shard_mib = 256;
    bool explain = false, print = false;
    int n_args;
    const command_option options[] = {
        {.name = "--source", .arg = "DIR", .text = &source_dir,
         .help = "the data set's folder, or the one that holds it under the recipe's name"},
        {.name = "--out", .arg = "DIR", .text = &out_dir,
         .help = "where the folder NAME is made; it appears only when it is complete"},
        {.name = "--force", .help = "replace OUT/NAME; with --part: convert the part again from its beginning", .flag = &how.force},
        {.name = "--strict", .help = "exit status 3 if more files were skipped than the recipe expects (expect.skipped, else 0); the data set is there all the same", .flag = &how.strict},
        {.name = "--part", .arg = "I/N", .text = &part,
         .help = "convert only part I of N, for an array of jobs, into OUT/NAME.parts; `medley-data index OUT/NAME` joins the parts"},
        {.name = "--jobs", .arg = "N", .number = &jobs, .lo = 1, .hi = CONVERT_JOBS,
         .help = "threads that read, decode and compress (default 1); the result is the same for any number"},
        {.name = "--shard-mib", .arg = "N", .number = &shard_mib, .lo = 1, .hi = 1 << 20,
         .help = "cut shards at about this size (default 256)"},
        {.name = "--explain", .help = "print every key of a recipe with type, default, range and meaning", .flag = &explain},
        {.name = "--print", .help = "print the recipe with all its keys, the ones left out too, and convert nothing", .flag = &print},
        {0}};
    const command_line command = {"medley-data convert RECIPE.cfg --source DIR --out DIR [--force] [--strict] [--jobs N] [--part I/N] [--shard-mib N]\n"
                                  "       medley-data convert RECIPE.cfg --print\n"
                                  "       medley-data convert --explain",
                                  "Turns source files into a data set folder OUT/NAME of shards, as the recipe says (see datasets/example.cfg).\n"
                                  "Until it is complete, shards lie in OUT/NAME.parts; a conversion that was interrupted goes on there when it "
                                  "is run again, unless source files, recipe, options or program have changed since.\n"
                                  "Exit status 0: done (files that were skipped, where the recipe allows it, are named and counted); 2: "
                                  "recipe or command line; 3: a bad source file where the recipe says on_error = \"fatal\", or nothing to "
                                  "convert, or files skipped with --strict; 4: disk or memory.",
                                  options, 0, 1};
    if (command_help(&command, argc, argv)) return OK;
    TRY(command_parse(&command, argc, argv, args, &n_args), "convert");
    if (explain) return recipe_explain(stdout);
    if (print && n_args) return print_recipe(args[0]);
    if (!n_args || !source_dir || !out_dir)
        return command_missing(&command, !n_args ? "RECIPE.cfg" : !source_dir ? "--source DIR" : "--out DIR");
    if (part) TRY(parse_part(part, &how), "convert");
    CHECK(!part || !how.strict, ST_USAGE, "--strict is for the whole: give it to medley-data index");
    how.jobs = (int)jobs;
    how.shard_bytes = shard_mib << 20;
    return convert_run(args[0], source_dir, out_dir, &how);
}

status cmd_index(int argc, char **argv)
{
    const char *args[1];
    convert_options how = {0};
    int n_args;
    const command_option options[] = {{.name = "--force", .help = "replace the data set folder if there is one", .flag = &how.force},
                                      {.name = "--strict", .help = "exit status 3 if more files were skipped than the recipe expects; the data set is there all the same",
                                       .flag = &how.strict},
                                      {0}};
    const command_line command = {"medley-data index DIR [--force] [--strict]",
                                  "Joins the parts that `medley-data convert --part I/N` left in DIR.parts into the data set folder DIR. Splits, "
                                  "duplicates and images that look alike are found over all parts: the samples are those of one conversion, in the "
                                  "same order. The parts are removed when DIR is complete. Parts that are missing, not complete, still being "
                                  "converted, or of another recipe or source are named and refused.\n"
                                  "Exit status 0: done; 2: command line, or DIR exists; 3: parts, or files skipped with --strict; 4: disk or memory.",
                                  options, 1, 1};
    if (command_help(&command, argc, argv)) return OK;
    TRY(command_parse(&command, argc, argv, args, &n_args), "index");
    return convert_index(args[0], &how);
}
