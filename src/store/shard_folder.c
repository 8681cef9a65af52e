/* shard_folder: the writer of a data set folder. Shards that it cuts from samples, or takes over as files, index and SHA256SUMS go into
 * OUT/NAME.part, which is renamed to OUT/NAME when everything is on disk. */
#include "store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the index keeps of every sample. */
typedef struct index_note {
    char id[SHARD_TEXT], case_id[SHARD_TEXT];
    uint8_t split, present[SHARD_MAX_LABELS];
    int32_t cls[SHARD_MAX_LABELS];
} index_note;

struct shard_writer {
    shard_meta  meta;
    char        final[512], part[520];
    bool        force;
    shard_cutter *cutter;                 /* made by the first shard_writer_add */
    int64_t     shard_bytes;
    shard_note *shard;
    int64_t     n_shards, cap_shards;
    index_note *note;
    int64_t     n_notes, cap_notes;
    int64_t    *n_class[SHARD_MAX_LABELS]; /* (3,K): samples, or positives, or pixels-with-samples per class */
};

/* ---- folders ---- */

static bool ours(const char *name)
{
    size_t n = strlen(name);
    return strcmp(name, "SHA256SUMS") == 0 || (n > 3 && strcmp(name + n - 3, ".h5") == 0) ||
           (n > 5 && strcmp(name + n - 5, ".part") == 0);
}

/* Removes a folder of ours: shards, index, sums. Anything else in it is left, and is an error. */
static status remove_folder(const char *path)
{
    struct stat info;
    CHECK(lstat(path, &info) || !S_ISLNK(info.st_mode), ST_DATA, "%s: is a symbolic link; what it points to is not touched", path);
    DIR *d = opendir(path);
    if (!d && errno == ENOENT) return OK;
    CHECK(d, ST_RESOURCE, "cannot open folder %s: %s", path, strerror(errno));
    for (struct dirent *e; (e = readdir(d));) {
        char file[1024];
        if (ours(e->d_name) && snprintf(file, sizeof file, "%s/%s", path, e->d_name) < (int)sizeof file) unlink(file);
    }
    closedir(d);
    CHECK(rmdir(path) == 0, ST_RESOURCE, "cannot remove %s: %s (only .h5 files and SHA256SUMS are removed)", path, strerror(errno));
    return OK;
}

/* Puts the finished folder in place; an older one is exchanged in one step and then removed. */
static status put_in_place(shard_writer *w)
{
    if (!path_exists(w->final)) {
        CHECK(rename(w->part, w->final) == 0, ST_RESOURCE, "cannot rename %s to %s: %s", w->part, w->final, strerror(errno));
        return OK;
    }
    CHECK(w->force, ST_DATA, "%s has appeared meanwhile", w->final);
    if (renameat2(AT_FDCWD, w->part, AT_FDCWD, w->final, RENAME_EXCHANGE) == 0) return remove_folder(w->part);
    /* file systems without exchange: two renames, nothing lost in between */
    char old[520];
    snprintf(old, sizeof old, "%s.old", w->final);
    TRY(remove_folder(old), "replacing %s", w->final);
    CHECK(rename(w->final, old) == 0 && rename(w->part, w->final) == 0, ST_RESOURCE, "cannot replace %s: %s", w->final,
          strerror(errno));
    return remove_folder(old);
}

status shard_writer_open(shard_writer **out, const char *out_dir, const shard_meta *meta, int64_t shard_bytes, bool force)
{
    *out = NULL;
    TRY(meta_check(meta), "cannot write");
    shard_writer *w;
    TRY(mem_alloc(&w, sizeof *w, "shard writer"), "%s", meta->name);
    w->force = force;
    w->shard_bytes = shard_bytes;
    status st = meta_copy(&w->meta, meta);
    if (!st && snprintf(w->final, sizeof w->final, "%s/%s", out_dir, meta->name) >= (int)sizeof w->final)
        st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "path too long: %.80s...", out_dir);
    snprintf(w->part, sizeof w->part, "%s.part", w->final);
    if (!st && !force && path_exists(w->final))
        st = status_raise(ST_DATA, __FILE__, __LINE__, "%s exists; use --force to replace it", w->final);
    struct stat info;
    if (!st && lstat(w->final, &info) == 0 && S_ISLNK(info.st_mode))
        st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: is a symbolic link; it is not replaced", w->final);
    for (int l = 0; !st && l < w->meta.n_labels; l++)
        st = mem_alloc(&w->n_class[l], sizeof(int64_t) * N_SPLITS * (size_t)w->meta.label[l].n_classes, "class counts");
    if (!st) st = remove_folder(w->part); /* left by a run that died */
    if (!st) st = path_make_dirs(w->part);
    if (st) {
        w->part[0] = 0; /* not made by us */
        shard_writer_discard(w);
        return status_note(st, __FILE__, __LINE__, "data set %s", meta->name);
    }
    *out = w;
    return OK;
}

/* ---- samples ---- */

static void count_classes(shard_writer *w, const sample *s, int l)
{
    const shard_label *label = &w->meta.label[l];
    const sample_label *v = &s->label[l];
    int64_t *n = w->n_class[l] + (int)s->split * label->n_classes;
    if (label->kind == TASK_CLASSIFICATION) n[v->cls]++;
    if (label->kind == TASK_REGRESSION) n[0]++;
    if (label->kind == TASK_MULTILABEL)
        for (int k = 0; k < label->n_classes; k++) n[k] += v->vec[k] == 1;
    if (label->kind == TASK_DETECTION)
        for (int i = 0; i < v->n_box; i++) n[v->box_cls[i]]++;
    if (label->kind == TASK_SEGMENTATION) { /* samples in which the class occurs */
        bool seen[256] = {false};
        for (int64_t i = 0, area = (int64_t)s->H * s->W; i < area; i++) seen[v->mask[i]] = true;
        for (int k = 0; k < label->n_classes; k++) n[k] += seen[k];
    }
}

/* A shard that lies in the folder becomes the next of the index. */
static status note_shard(shard_writer *w, const shard_note *written)
{
    TRY(grow_array(&w->shard, w->n_shards, &w->cap_shards, sizeof *w->shard, "shards"), "%s", w->meta.name);
    shard_note *note = &w->shard[w->n_shards];
    *note = *written;
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", w->part, note->file);
    TRY(sha256_file(path, note->sha256), "%s", w->meta.name);
    struct stat info;
    CHECK(stat(path, &info) == 0, ST_RESOURCE, "%s: %s", path, strerror(errno));
    note->bytes = info.st_size;
    w->n_shards++;
    return OK;
}

status shard_writer_add(shard_writer *w, const sample *s)
{
    bool cut;
    if (!w->cutter) TRY(shard_cutter_open(&w->cutter, w->part, &w->meta, &(shard_cutting){.shard_bytes = w->shard_bytes}), "data set");
    TRY(grow_array(&w->note, w->n_notes, &w->cap_notes, sizeof *w->note, "index entries"), "%s", w->meta.name);
    TRY(shard_cutter_add(w->cutter, s, &cut), "data set");
    if (cut) TRY(note_shard(w, shard_cutter_last(w->cutter)), "data set");
    index_note *note = &w->note[w->n_notes++];
    *note = (index_note){.split = (uint8_t)s->split};
    memcpy(note->id, s->id, sizeof note->id);
    memcpy(note->case_id, s->case_id[0] ? s->case_id : s->id, sizeof note->case_id);
    for (int l = 0; l < w->meta.n_labels; l++) {
        note->present[l] = s->label[l].present;
        note->cls[l] = s->label[l].present && w->meta.label[l].kind == TASK_CLASSIFICATION ? s->label[l].cls : IGNORE_CLASS;
        if (s->label[l].present) count_classes(w, s, l);
    }
    return OK;
}

/* ---- shards made before ---- */

/* In the folder under its new name: linked, so that what made the shard can be asked again if this run dies; or moved. */
static status take_file(shard_writer *w, const char *path, const char *name)
{
    char to[1024];
    snprintf(to, sizeof to, "%s/%s", w->part, name);
    if (link(path, to) == 0) return OK;
    CHECK(rename(path, to) == 0, ST_RESOURCE, "cannot move %s to %s: %s", path, to, strerror(errno));
    return OK;
}

static status note_adopted(shard_writer *w, const shard *s, const shard_pledge *want, const char *path)
{
    for (int64_t i = 0; i < s->n; i++) {
        CHECK(!strcmp(s->case_id[i], want[i].case_id), ST_DATA, "%s: sample %lld is of case %s, its part says %s", path, (long long)i, s->case_id[i],
              want[i].case_id);
        TRY(grow_array(&w->note, w->n_notes, &w->cap_notes, sizeof *w->note, "index entries"), "%s", w->meta.name);
        index_note *note = &w->note[w->n_notes++];
        *note = (index_note){.split = s->split[i]};
        memcpy(note->id, s->id[i], sizeof note->id);
        memcpy(note->case_id, s->case_id[i], sizeof note->case_id);
        for (int l = 0; l < w->meta.n_labels; l++) {
            note->present[l] = s->label[l].present[i];
            note->cls[l] = s->label[l].cls ? s->label[l].cls[i] : IGNORE_CLASS;
        }
    }
    return OK;
}

status shard_writer_adopt(shard_writer *w, const char *path, const shard_pledge *want, int64_t n_left, int64_t *n)
{
    shard s;
    shard_note note = {0};
    TRY(shard_set_splits(path, w->meta.spacing_units, want, n_left, n), "data set %s", w->meta.name);
    TRY(shard_open(&s, path), "data set %s", w->meta.name);
    status st = OK;
    CHECK_TO(out, !strcmp(s.meta.name, w->meta.name) && !strcmp(s.meta.recipe_sha256, w->meta.recipe_sha256) && s.meta.n_labels == w->meta.n_labels,
             ST_DATA, "%s: made for another data set or with another recipe", path);
    note.n = s.n;
    for (int64_t i = 0; i < s.n; i++) note.n_split[s.split[i]]++;
    snprintf(note.file, sizeof note.file, "%s-%05lld.h5", w->meta.name, (long long)w->n_shards);
    TRY_TO(out, note_adopted(w, &s, want, path), "%s", w->meta.name);
    TRY_TO(out, take_file(w, path, note.file), "%s", w->meta.name);
    TRY_TO(out, note_shard(w, &note), "%s", w->meta.name);
out:
    shard_close(&s);
    return st;
}

void shard_writer_count(shard_writer *w, int label, enum split split, int cls, int64_t n)
{
    w->n_class[label][(int)split * w->meta.label[label].n_classes + cls] += n;
}

/* ---- index ---- */

static status write_index_shards(shard_writer *w, store *s)
{
    int64_t S = w->n_shards, *n, *n_split, *bytes;
    TRY(mem_alloc(&n, sizeof *n * 5 * (size_t)S + 1, "index"), "%s", w->meta.name);
    bytes = n + S, n_split = bytes + S;
    for (int64_t i = 0; i < S; i++) {
        n[i] = w->shard[i].n, bytes[i] = w->shard[i].bytes;
        memcpy(n_split + N_SPLITS * i, w->shard[i].n_split, sizeof w->shard[i].n_split);
    }
    status st = write_texts(s, "file", S, w->shard[0].file, sizeof *w->shard);
    if (!st) st = write_texts(s, "sha256", S, w->shard[0].sha256, sizeof *w->shard);
    if (!st) st = store_write(s, "n", DT_I64, 1, &S, n, 0);
    if (!st) st = store_write(s, "bytes", DT_I64, 1, &S, bytes, 0);
    if (!st) st = store_write(s, "n_split", DT_I64, 2, (int64_t[]){S, N_SPLITS}, n_split, 0);
    free(n);
    return st;
}

static status write_index_label(shard_writer *w, store *s, int l, uint8_t *present, int32_t *cls)
{
    char path[160];
    int64_t N = w->n_notes, n_present[N_SPLITS] = {0};
    for (int64_t i = 0; i < N; i++) {
        present[i] = w->note[i].present[l], cls[i] = w->note[i].cls[l];
        n_present[w->note[i].split] += present[i];
    }
    meta_label_path(path, &w->meta.label[l], "n_present");
    TRY(store_write(s, path, DT_I64, 1, (int64_t[]){N_SPLITS}, n_present, 0), "index");
    meta_label_path(path, &w->meta.label[l], "n_class");
    TRY(store_write(s, path, DT_I64, 2, (int64_t[]){N_SPLITS, w->meta.label[l].n_classes}, w->n_class[l], 0), "index");
    meta_label_path(path, &w->meta.label[l], "present");
    TRY(store_write(s, path, DT_U8, 1, &N, present, 4), "index");
    meta_label_path(path, &w->meta.label[l], "class");
    if (w->meta.label[l].kind == TASK_CLASSIFICATION) TRY(store_write(s, path, DT_I32, 1, &N, cls, 4), "index");
    return OK;
}

static status write_index(shard_writer *w)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/index.h5", w->part);
    status st = OK;
    store *s = NULL;
    uint8_t *present = NULL;
    int32_t *cls = NULL;
    int64_t N = w->n_notes;
    TRY_TO(fail, mem_alloc(&present, (size_t)N, "index"), "%s", path);
    TRY_TO(fail, mem_alloc(&cls, sizeof *cls * (size_t)N, "index"), "%s", path);
    TRY_TO(fail, store_create(&s, path), "index");
    TRY_TO(fail, meta_write(s, "medley-index", &w->meta), "%s", path);
    TRY_TO(fail, write_index_shards(w, s), "%s", path);
    for (int64_t i = 0; i < N; i++) present[i] = w->note[i].split;
    TRY_TO(fail, store_write(s, "split", DT_U8, 1, &N, present, 4), "%s", path);
    TRY_TO(fail, write_texts(s, "id", N, w->note[0].id, sizeof *w->note), "%s", path);
    TRY_TO(fail, write_texts(s, "case", N, w->note[0].case_id, sizeof *w->note), "%s", path);
    for (int l = 0; l < w->meta.n_labels; l++) TRY_TO(fail, write_index_label(w, s, l, present, cls), "%s", path);
    free(present), free(cls);
    return store_commit(s);
fail:
    store_discard(s);
    free(present), free(cls);
    return st;
}

static status write_sums(shard_writer *w)
{
    char path[1024], hex[65], *text;
    size_t room = (size_t)(w->n_shards + 1) * (SHARD_TEXT + 80), used = 0;
    snprintf(path, sizeof path, "%s/index.h5", w->part);
    TRY(sha256_file(path, hex), "%s", w->meta.name);
    TRY(mem_alloc(&text, room, "checksums"), "%s", w->meta.name);
    for (int64_t i = 0; i < w->n_shards; i++)
        used += (size_t)snprintf(text + used, room - used, "%s  %s\n", w->shard[i].sha256, w->shard[i].file);
    used += (size_t)snprintf(text + used, room - used, "%s  index.h5\n", hex);
    snprintf(path, sizeof path, "%s/SHA256SUMS", w->part);
    status st = file_write_atomic(path, text, used);
    free(text);
    return st;
}

status shard_writer_close(shard_writer *w)
{
    char parent[512];
    snprintf(parent, sizeof parent, "%s", w->final);
    *strrchr(parent, '/') = 0;
    bool cut = false;
    status st = w->cutter ? shard_cutter_flush(w->cutter, &cut) : OK;
    if (!st && cut) st = note_shard(w, shard_cutter_last(w->cutter));
    if (!st && w->n_shards == 0) st = status_raise(ST_DATA, __FILE__, __LINE__, "data set %s: no samples", w->meta.name);
    if (!st) st = write_index(w);
    if (!st) st = write_sums(w);
    if (!st) st = path_sync_dir(w->part);
    if (!st && (st = put_in_place(w)) == OK) w->part[0] = 0;
    if (!st) st = path_sync_dir(parent[0] ? parent : "/");
    char keep[1024]; /* discarding may raise other messages */
    snprintf(keep, sizeof keep, "%s", status_message());
    shard_writer_discard(w);
    return st ? status_set(st, keep) : OK;
}

void shard_writer_discard(shard_writer *w)
{
    if (!w) return;
    shard_cutter_close(w->cutter);
    if (w->part[0] && remove_folder(w->part)) log_line(LOG_WARN, "%s", status_message());
    for (int l = 0; l < SHARD_MAX_LABELS; l++) free(w->n_class[l]);
    free(w->shard), free(w->note);
    shard_meta_free(&w->meta);
    free(w);
}
