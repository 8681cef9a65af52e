/* synth: the command that makes the synthetic data sets: source files, a recipe, and shards through the converter. */
#include "synth.h"
#include "commands.h"
#include "convert.h"

#include "medley/command.h"

#include <errno.h>
#include <ftw.h>
#include <string.h>

static const char mark[] = "# Synthetic data set "; /* how SOURCE.md begins: only such folders are ever removed */

static int remove_entry(const char *path, const struct stat *about, int type, struct FTW *where)
{
    (void)about, (void)type, (void)where;
    return remove(path);
}

/* Takes away the source folder of an earlier run, whose files a smaller run would otherwise leave behind. */
static status clear_source(const char *root, bool force)
{
    if (!path_exists(root)) return OK;
    char note[450], head[sizeof mark] = "";
    snprintf(note, sizeof note, "%s/SOURCE.md", root);
    CHECK(force, ST_USAGE, "%s is there already; --force replaces it", root);
    FILE *f = fopen(note, "r");
    bool ours = f && fread(head, 1, sizeof mark - 1, f) == sizeof mark - 1 && memcmp(head, mark, sizeof mark - 1) == 0;
    if (f) fclose(f);
    CHECK(ours, ST_USAGE, "%s was not made by medley-data synth (its SOURCE.md does not say so); not replaced", root);
    CHECK(nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0, ST_RESOURCE, "%s: cannot remove: %s", root, strerror(errno));
    return OK;
}

static status write_text(const char *path, const char *text)
{
    return file_write_atomic(path, text, strlen(text));
}

static status make_sources(const synth_set *set, const synth_job *job, const char *recipe_path, bool force)
{
    char path[450], text[2048];
    TRY(clear_source(job->root, force), "synth");
    TRY(path_make_dirs(job->root), "synth");
    snprintf(text, sizeof text,
             "%s%s\n\n%s.\n\nMade by `medley-data synth --seed %llu` with %d subjects; no person's data are in it.\n\n"
             "Labels: %s.\n\nGroup key for splits: the first part of the file name.\nLicence: CC0 1.0.\n",
             mark, set->name, set->about, (unsigned long long)job->seed, job->n_subject, set->labels);
    snprintf(path, sizeof path, "%s/SOURCE.md", job->root);
    TRY(write_text(path, text), "synth"); /* first: a folder left half-made can be replaced */
    TRY(set->make(job), "synth");
    TRY(write_text(recipe_path, set->recipe), "synth");
    return OK;
}

static status make_set(const synth_set *set, const char *dir, uint64_t seed, bool medium, bool force)
{
    double t0 = timer_now();
    synth_job job = {.seed = seed, .n_subject = set->n_subject[medium]};
    char recipe[450], shards[400];
    snprintf(job.root, sizeof job.root, "%s/source/%s", dir, set->name);
    snprintf(recipe, sizeof recipe, "%s/source/%s.cfg", dir, set->name);
    snprintf(shards, sizeof shards, "%s/shards", dir);
    char done[450];
    snprintf(done, sizeof done, "%s/%s", shards, set->name);
    CHECK(force || !path_exists(done), ST_USAGE, "%s is there already; --force replaces it", done);
    TRY(make_sources(set, &job, recipe, force), "%s", set->name);
    double t1 = timer_now();
    TRY(path_make_dirs(shards), "synth");
    convert_options options = {.force = force};
    TRY(convert_run(recipe, job.root, shards, &options), "%s", set->name);
    log_line(LOG_INFO, "%s: source files in %.1f s, shards in %.1f s: %s", set->name, t1 - t0, timer_now() - t1, done);
    return OK;
}

status cmd_synth(int argc, char **argv)
{
    const char *dir = NULL, *size = "small", *only = NULL, *args[1];
    int64_t seed = 1;
    bool force = false;
    int n_args;
    const command_option options[] = {
        {.name = "--out", .arg = "DIR", .help = "where to write; required", .text = &dir},
        {.name = "--seed", .arg = "S", .help = "integer from 0; the same seed makes the same data (default 1)", .number = &seed, .lo = 0, .hi = INT64_MAX},
        {.name = "--size", .arg = "SIZE", .help = "small (about a minute of a core at most; default) or medium", .text = &size, .choices = "small|medium"},
        {.name = "--only", .arg = "NAME", .help = "one of the sets above", .text = &only},
        {.name = "--force", .help = "replace what an earlier run wrote to DIR", .flag = &force},
        {0}};
    char about[4096], *end = about + sizeof about, *p = about;
    p += snprintf(p, (size_t)(end - p),
                  "Makes small data sets that a network can learn, from phantoms that follow the physics of each modality: ordinary "
                  "source files in DIR/source/NAME, a recipe DIR/source/NAME.cfg, and shards in DIR/shards/NAME, written by the same "
                  "converter as real data. Sets:\n");
    for (const synth_set *s = synth_sets; s->name; s++) p += snprintf(p, (size_t)(end - p), "\n  %-12s %s", s->name, s->about);
    const command_line command = {"medley-data synth --out DIR [--seed S] [--size small|medium] [--only NAME] [--force]", about, options,
                                  0, 0};
    if (command_help(&command, argc, argv)) return OK;
    TRY(command_parse(&command, argc, argv, args, &n_args), "synth");
    if (!dir) return command_missing(&command, "--out DIR");
    CHECK(strlen(dir) < 300, ST_USAGE, "synth: --out: the path is longer than 300 letters");

    const char *names[16];
    int n = 0;
    bool found = !only;
    for (const synth_set *s = synth_sets; s->name; s++) {
        names[n++] = s->name;
        found |= only && strcmp(only, s->name) == 0;
    }
    const char *near = found ? NULL : text_nearest(only, names, n);
    CHECK(found, ST_USAGE, "synth: --only: no set \"%.40s\"%s%s%s", only, near ? " (did you mean \"" : "; --help lists them", near ? near : "",
          near ? "\"?)" : "");
    for (const synth_set *s = synth_sets; s->name; s++)
        if (!only || strcmp(only, s->name) == 0) TRY(make_set(s, dir, (uint64_t)seed, strcmp(size, "medium") == 0, force), "synth");
    return OK;
}
