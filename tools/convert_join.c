/* convert_join: all parts of a conversion become one data set folder. Only here all images are known, by the hashes and counts in the notes:
 * the splits are dealt here, equal pixels are found here, and the shards, written with open splits, are told. */
#include "convert_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Notes of one part; *last: the last one. */
static status read_part(conversion *c, const char *dir, int part, int n_parts, part_note *last)
{
    *last = (part_note){0};
    for (int k = 0; !last->complete; k++) {
        part_note n;
        bool other;
        char path[1024];
        note_path(path, dir, k);
        if (!path_exists(path)) return OK; /* not complete */
        TRY(note_read(c, dir, k, &n, &other), "part %d of %d", part, n_parts);
        CHECK(!other, ST_DATA, "%s: made from another list of files or with another recipe than the parts before it; convert this part again with --force", dir);
        CHECK(n.part == part && n.n_parts == n_parts, ST_DATA, "%s holds part %lld of %lld: the same part twice?", dir, (long long)n.part, (long long)n.n_parts);
        int64_t from = (int64_t)c->n * (part - 1) / n_parts, want = k == 0 ? from : last->next;
        CHECK(n.from == want && n.n_shards == (n.complete ? k : k + 1) && (!n.complete || n.next == (int64_t)c->n * part / n_parts), ST_DATA,
              "%s: the notes do not follow each other; convert this part again with --force", path);
        *last = n;
    }
    return OK;
}

/* All missing and unfinished parts are named at once. */
static status read_parts(conversion *c, const char *parts_dir, int n_parts, int64_t *n_shards)
{
    char missing[512] = "", dir[1024];
    size_t used = 0;
    for (int p = 1; p <= n_parts; p++) {
        part_note last;
        part_dir(dir, parts_dir, p, n_parts);
        bool there = path_exists(dir);
        int lock = -1;
        if (there) TRY(part_lock(dir, &lock), "part %d of %d", p, n_parts);
        if (lock >= 0) close(lock);
        if (there) TRY(read_part(c, dir, p, n_parts, &last), "%s", parts_dir);
        n_shards[p - 1] = there ? last.n_shards : 0;
        if (there && last.complete) continue;
        if (used < sizeof missing - 40)
            used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%d%s", used ? ", " : "", p, there ? " (begun, not complete)" : "");
        else if (missing[used - 1] != '.') used += (size_t)snprintf(missing + used, sizeof missing - used, ", ...");
    }
    CHECK(!used, ST_DATA, "%s: of %d parts, these are missing: %s", parts_dir, n_parts, missing);
    return OK;
}

/* Twice: first what the notes say. Only when they follow each other from the first file to the last, each with as many items as it speaks of, is
 * there memory for all items: no number of one note is believed. */
static status read_all(conversion *c, const char *parts_dir, int n_parts, int64_t *n_shards)
{
    char dir[1024];
    TRY(read_parts(c, parts_dir, n_parts, n_shards), "%s", c->r->name);
    TRY(mem_alloc(&c->item, (size_t)c->n * sizeof *c->item, "list of images"), "%s", parts_dir);
    for (int p = 1; p <= n_parts; p++) {
        part_note last;
        part_dir(dir, parts_dir, p, n_parts);
        TRY(read_part(c, dir, p, n_parts, &last), "%s", parts_dir);
        CHECK(last.complete && last.n_shards == n_shards[p - 1], ST_DATA, "%s: changed while it was read", dir);
    }
    return OK;
}

/* ---- checks over all parts ---------------------------------------------------------------------------------------------------- */

static status count_good(conversion *c)
{
    const item *first = NULL;
    for (int i = 0; i < c->n; i++) {
        if (!c->item[i].st) c->n_good++;
        else if (!first) first = &c->item[i];
    }
    CHECK(c->n_good > 0, ST_DATA, "%s: none of %d files can be used; the first: %s", c->r->name, c->n, first ? first->reason : "");
    return OK;
}

/* ---- shards ------------------------------------------------------------------------------------------------------------------- */

static void shard_path(char out[1200], const conversion *c, const char *parts_dir, int part, int n_parts, int k)
{
    char dir[1024];
    part_dir(dir, parts_dir, part, n_parts);
    snprintf(out, 1200, "%s/%s-%05d.h5", dir, c->r->name, k);
}

/* room: bytes of all shards. A sample is more in a shard than its pledge is here (id, checksums). */
static status make_pledges(const conversion *c, int64_t room, shard_pledge **out, int64_t *n_out)
{
    int64_t n = 0;
    for (int i = 0; i < c->n; i++) n += c->item[i].st ? 0 : c->item[i].n_samples;
    CHECK(n <= room / (int64_t)sizeof **out, ST_DATA, "%s: the notes speak of %lld samples, the shards have %lld bytes", c->r->name, (long long)n, (long long)room);
    TRY(mem_alloc(out, (size_t)n * sizeof **out + 1, "samples"), "%s", c->r->name);
    *n_out = n;
    n = 0;
    for (int i = 0; i < c->n; i++)
        for (int s = 0; !c->item[i].st && s < c->item[i].n_samples; s++) (*out)[n++] = (shard_pledge){c->item[i].id, (uint8_t)c->item[i].split};
    return OK;
}

static status adopt_all(const conversion *c, shard_writer *w, const char *parts_dir, int n_parts, const int64_t *n_shards)
{
    shard_pledge *want = NULL;
    int64_t n = 0, at = 0, bytes = 0;
    char path[1200];
    struct stat info;
    for (int p = 1; p <= n_parts; p++)
        for (int k = 0; k < n_shards[p - 1]; k++) {
            shard_path(path, c, parts_dir, p, n_parts, k);
            CHECK(stat(path, &info) == 0, ST_DATA, "%s: cannot open: %s", path, strerror(errno));
            bytes += info.st_size;
        }
    TRY(make_pledges(c, bytes, &want, &n), "%s", parts_dir);
    status st = OK;
    for (int p = 1; p <= n_parts; p++)
        for (int k = 0; k < n_shards[p - 1]; k++) {
            int64_t taken;
            shard_path(path, c, parts_dir, p, n_parts, k);
            TRY_TO(out, shard_writer_adopt(w, path, want + at, n - at, &taken), "part %d of %d", p, n_parts);
            at += taken;
        }
    CHECK_TO(out, at == n, ST_DATA, "%s: the shards hold %lld samples, the notes speak of %lld", parts_dir, (long long)at, (long long)n);
    for (int i = 0; i < c->n; i++)
        for (int l = 0; !c->item[i].st && l < c->r->n_labels; l++)
            for (int a = 0; a < label_columns(&c->r->label[l]); a++) shard_writer_count(w, l, c->item[i].split, a, c->item[i].count[l][a]);
out:
    free(want);
    return st;
}

static status write_folder(const conversion *c, const char *out_dir, const char *parts_dir, int n_parts, const int64_t *n_shards)
{
    shard_meta meta;
    shard_writer *w = NULL;
    bool volumes = false;
    for (int i = 0; i < c->n; i++) volumes |= !c->item[i].st && c->item[i].is_volume;
    status st = convert_meta(&meta, c->r, volumes);
    if (!st) st = shard_writer_open(&w, out_dir, &meta, c->options.shard_bytes, c->options.force);
    if (!st) st = adopt_all(c, w, parts_dir, n_parts, n_shards);
    if (!st) st = shard_writer_close(w);
    else if (w) {
        char keep[1024];
        snprintf(keep, sizeof keep, "%s", status_message());
        shard_writer_discard(w);
        st = status_set(st, keep);
    }
    shard_meta_free(&meta);
    if (st) return status_note(st, __FILE__, __LINE__, "writing %s/%s", out_dir, c->r->name);
    return OK;
}

status convert_join(conversion *c, const char *out_dir, int n_parts)
{
    char parts_dir[1024], dir[1024];
    int64_t *n_shards;
    snprintf(parts_dir, sizeof parts_dir, "%.900s/%s" PARTS_SUFFIX, out_dir, c->r->name);
    TRY(mem_alloc(&n_shards, (size_t)n_parts * sizeof *n_shards, "parts"), "%s", parts_dir);
    status st = read_all(c, parts_dir, n_parts, n_shards);
    if (!st) st = count_good(c);
    if (!st) st = convert_split(c);
    if (!st) st = write_folder(c, out_dir, parts_dir, n_parts, n_shards);
    free(n_shards);
    TRY(st, "%s", c->r->name);
    for (int p = 1; p <= n_parts; p++) {
        part_dir(dir, parts_dir, p, n_parts);
        part_remove(dir);
    }
    return OK;
}
