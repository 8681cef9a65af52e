/* convert_part: reads the files of one part and writes its shards, with open splits, and its notes into OUT/NAME.parts/I-of-N. Every file is
 * read once, and what is in memory does not grow with the data. A part that died goes on behind its last shard. */
#include "convert_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

void part_dir(char out[1024], const char *parts_dir, int part, int n_parts) { snprintf(out, 1024, "%.980s/%d-of-%d", parts_dir, part, n_parts); }

static bool ends(const char *name, const char *with)
{
    size_t n = strlen(name), m = strlen(with);
    return n > m && !strcmp(name + n - m, with);
}

/* Shards and notes from number `first` on, and what was half written. */
static void clear(const char *dir, const char *name, int first)
{
    DIR *d = opendir(dir);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        char path[2048];
        size_t n = strlen(name);
        const char *number = !strncmp(e->d_name, "notes-", 6) ? e->d_name + 6 : !strncmp(e->d_name, name, n) && e->d_name[n] == '-' ? e->d_name + n + 1 : NULL;
        bool ours = ends(e->d_name, ".part") || (ends(e->d_name, ".h5") && number && atoi(number) >= first);
        if (ours && snprintf(path, sizeof path, "%s/%s", dir, e->d_name) < (int)sizeof path) unlink(path);
    }
    closedir(d);
}

void part_remove(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        char path[2048];
        bool ours = ends(e->d_name, ".part") || ends(e->d_name, ".h5") || !strcmp(e->d_name, "recipe.cfg") || !strcmp(e->d_name, "lock");
        if (ours && snprintf(path, sizeof path, "%s/%s", dir, e->d_name) < (int)sizeof path) unlink(path);
    }
    closedir(d);
    rmdir(dir);
    char parent[1024];
    snprintf(parent, sizeof parent, "%s", dir);
    char *slash = strrchr(parent, '/');
    if (slash) *slash = 0, rmdir(parent); /* the last part takes the folder of all with it */
}

status part_lock(const char *dir, int *fd)
{
    char path[1040];
    snprintf(path, sizeof path, "%s/lock", dir);
    *fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0644);
    CHECK(*fd >= 0, ST_RESOURCE, "cannot write %s: %s", path, strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return OK; /* file systems without locks: nothing is known */
    close(*fd);
    *fd = -1;
    return status_raise(ST_USAGE, __FILE__, __LINE__, "%s: another process is converting this part", dir);
}

/* The recipe goes with the part: a join needs nothing else. */
static status keep_recipe(const char *recipe_path, const char *dir)
{
    char path[1040], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/recipe.cfg", dir);
    TRY(file_read_all(recipe_path, 16 << 20, &text, &n), "recipe");
    status st = file_write_atomic(path, text, n);
    free(text);
    return st;
}

/* Where an earlier run of this part stopped: at.next and at.next_samples; nothing is there: the part's beginning. */
static status find_place(conversion *c, const char *dir, part_note *at)
{
    char path[1024];
    for (int k = 0;; k++) {
        note_path(path, dir, k);
        if (at->complete || !path_exists(path)) break;
        part_note n;
        bool other;
        status st = note_read(c, dir, k, &n, &other);
        if (!st && (other || n.part != at->part || n.n_parts != at->n_parts || n.from != at->next || n.n_shards != (n.complete ? k : k + 1)))
            st = status_raise(ST_DATA, __FILE__, __LINE__, "files, recipe, options or program are not the same any more");
        if (st && st != ST_DATA) return st;
        if (st) {
            log_line(LOG_WARN, "%s: what is in %s cannot be continued (%s): begun again", c->r->name, dir, status_message());
            *at = (part_note){.part = at->part, .n_parts = at->n_parts, .n_files = at->n_files, .from = at->from, .next = at->from};
            return convert_name(c);
        }
        n.from = at->from;
        *at = n;
    }
    return OK;
}

static void tell_bad(const conversion *c, const item *it)
{
    if (it->st) log_line(LOG_WARN, "%s: skipped: %s", c->r->name, it->reason ? it->reason : it->path);
}

typedef struct course { shard_cutter *cutter; crew *crew; const char *dir; part_note note; } course;

/* A shard is on disk: everything before sample `samples` of item `next`. */
static status note_shard(conversion *c, course *go, int next, int samples)
{
    go->note.next = next;
    go->note.next_samples = samples;
    go->note.n_shards++;
    TRY(note_write(c, &go->note, go->dir), "%s", go->dir);
    go->note.from = next;
    return fault_check("convert", ST_RESOURCE);
}

static status convert_one(conversion *c, course *go, int i, int skip)
{
    item *it = &c->item[i];
    bool cut = false;
    for (int s = skip; s < it->n_samples;) {
        TRY(convert_write(go->cutter, c->r, it, s, &s, &cut), "writing");
        if (cut) TRY(note_shard(c, go, i, s - 1), "notes");
    }
    return OK;
}

/* All of them are named before the first ends the conversion, where the recipe says so: nothing is written any more from there on. */
static status walk(conversion *c, course *go, int to)
{
    const item *first = NULL;
    int n_bad = 0, skip = (int)go->note.next_samples, begin = (int)go->note.next;
    bool fatal = !strcmp(c->r->on_error, "fatal");
    for (int i = begin; i < to; i++) {
        item *it = &c->item[i];
        crew_wait(go->crew, i);
        CHECK(!it->st || it->st == ST_DATA, (status)it->st, "%s", it->reason ? it->reason : it->path); /* no memory, no permission: not the file's fault */
        tell_bad(c, it);
        n_bad += it->st != OK;
        if (it->st && !first) first = it;
        if (!it->st && !(fatal && first)) TRY(convert_one(c, go, i, i == begin ? skip : 0), "%s", it->path);
        item_unload(it);
    }
    CHECK(!first || !fatal, ST_DATA, "%s (%d of %d files are bad and the recipe says on_error = \"fatal\")", first->reason, n_bad, to - begin);
    bool cut;
    TRY(shard_cutter_flush(go->cutter, &cut), "writing");
    if (cut) TRY(note_shard(c, go, to, 0), "notes");
    go->note.next = to;
    go->note.next_samples = 0;
    go->note.complete = 1;
    return note_write(c, &go->note, go->dir);
}

static status run(conversion *c, const char *recipe_path, const char *dir, part_note *at, int to)
{
    course go = {.dir = dir, .note = *at};
    shard_meta meta = {0};
    status st = OK;
    bool volumes = false;
    clear(dir, c->r->name, (int)at->n_shards);
    TRY_TO(out, keep_recipe(recipe_path, dir), "%s", dir);
    if (at->part == 1) TRY_TO(out, convert_leftovers(c), "%s", c->r->name);
    go.note.from = at->next;
    TRY_TO(out, crew_open(&go.crew, c, (int)at->next, to), "%s", c->r->name);
    if (at->next < to) { /* the first image tells whether spacing is in millimetres; a join puts right what mixed sets need */
        crew_wait(go.crew, (int)at->next);
        volumes = c->item[at->next].is_volume;
    }
    TRY_TO(out, convert_meta(&meta, c->r, volumes), "%s", c->r->name);
    TRY_TO(out, shard_cutter_open(&go.cutter, dir, &meta, &(shard_cutting){.shard_bytes = c->options.shard_bytes, .first = (int)at->n_shards,
                                  .jobs = c->options.jobs, .open_splits = true}), "%s", c->r->name);
    TRY_TO(out, walk(c, &go, to), "%s", c->r->name);
    *at = go.note;
out:
    crew_close(go.crew);
    shard_cutter_close(go.cutter);
    shard_meta_free(&meta);
    return st;
}

status convert_part(conversion *c, const char *recipe_path, const char *parts_dir, int part, int n_parts)
{
    char dir[1024];
    int lock = -1, from = (int)((int64_t)c->n * (part - 1) / n_parts), to = (int)((int64_t)c->n * part / n_parts);
    part_note at = {.part = part, .n_parts = n_parts, .n_files = c->n, .from = from, .next = from};
    part_dir(dir, parts_dir, part, n_parts);
    TRY(path_make_dirs(dir), "%s", c->r->name);
    TRY(part_lock(dir, &lock), "%s", c->r->name);
    status st = find_place(c, dir, &at);
    if (!st && at.complete) log_line(LOG_INFO, "%s: part %d of %d is complete already", c->r->name, part, n_parts);
    else if (!st) {
        if (at.n_shards) log_line(LOG_INFO, "%s: goes on behind %lld shards in %s", c->r->name, (long long)at.n_shards, dir);
        for (int i = from; i < (int)at.next; i++) tell_bad(c, &c->item[i]);
        st = run(c, recipe_path, dir, &at, to);
    }
    if (st && st != ST_RESOURCE) {
        char keep[1024];
        snprintf(keep, sizeof keep, "%s", status_message());
        part_remove(dir);
        st = status_set(st, keep);
    }
    if (lock >= 0) close(lock);
    return st;
}
