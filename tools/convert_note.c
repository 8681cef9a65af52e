/* convert_note: what a part learned of its files, beside its shards, so that the parts can be joined without reading a pixel and a part that
 * died can go on. Note k is written when shard k is on disk. */
#include "convert_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SAMPLES_MOST = 1 << 24 };

static const struct { const char *name; size_t offset; enum dtype type; int width; } columns[] = {
#define COLUMN(name, field, type, width) {name, offsetof(item, field), type, width}
    COLUMN("status", st, DT_I32, 1), COLUMN("given", given, DT_I32, 1), COLUMN("samples", n_samples, DT_I32, 1),
    COLUMN("boxes_dropped", n_box_dropped, DT_I32, 1), COLUMN("boxes_clipped", n_box_clipped, DT_I32, 1), COLUMN("likeness", likeness.bit, DT_I64, 4),
    COLUMN("likeness_known", likeness.known, DT_U8, 1), COLUMN("volume", is_volume, DT_U8, 1), COLUMN("part_of_file", is_part, DT_U8, 1),
    COLUMN("path_tells", path_tells, DT_U8, 1),
    COLUMN("labelled_samples", n_labelled, DT_I32, SHARD_MAX_LABELS), COLUMN("labelled", labelled, DT_U8, SHARD_MAX_LABELS)};
static const struct { const char *name; size_t offset; } texts[] = {
#define WORDS(name, field) {name, offsetof(item, field)}
    WORDS("path", path), WORDS("id", id), WORDS("subject", subject), WORDS("centre", centre), WORDS("reason", reason)};
static const struct { const char *name; size_t offset; } hashes[] = {WORDS("pixel_sha256", pixel_hash), WORDS("file_sha256", file_sha256)};
static const struct { const char *name; size_t offset; } numbers[] = {
#define NUMBER(field) {#field, offsetof(part_note, field)}
    NUMBER(part), NUMBER(n_parts), NUMBER(n_files), NUMBER(from), NUMBER(next), NUMBER(next_samples), NUMBER(n_shards), NUMBER(complete)};
#define COUNT(table) (sizeof table / sizeof *table)

_Static_assert(sizeof(bool) == 1, "columns of truth values are bytes");

void note_path(char out[1024], const char *dir, int k) { snprintf(out, 1024, "%.1000s/notes-%05d.h5", dir, k); }

/* ---- writing -------------------------------------------------------------------------------------------------------------------- */

static status write_words(store *s, const char *name, const item *it, int n, size_t offset, bool pointer)
{
    size_t width = 1;
    char *packed;
#define WORD(i) (pointer ? *(char *const *)((const char *)(it + (i)) + offset) : (const char *)(it + (i)) + offset)
    for (int i = 0; i < n; i++) {
        const char *text = WORD(i);
        if (text && strlen(text) >= width) width = strlen(text) + 1;
    }
    TRY(mem_alloc(&packed, (size_t)n * width + 1, "notes"), "%s", name);
    for (int i = 0; i < n; i++) {
        const char *text = WORD(i);
        if (text) memcpy(packed + (size_t)i * width, text, strlen(text));
    }
    status st = store_write_text(s, name, n, (int)width, packed);
    free(packed);
    return st;
}

static status write_items(store *s, const recipe *r, const item *it, int n)
{
    size_t widest = 8 * SHARD_MAX_LABELS;
    for (int l = 0; l < r->n_labels; l++)
        if (widest < 4 * (size_t)label_columns(&r->label[l])) widest = 4 * (size_t)label_columns(&r->label[l]);
    char *flat;
    TRY(mem_alloc(&flat, (size_t)n * widest + 1, "notes"), "%s", r->name);
    status st = OK;
    for (size_t k = 0; k < COUNT(columns); k++) {
        size_t bytes = dtype_bytes(columns[k].type) * (size_t)columns[k].width;
        for (int i = 0; i < n; i++) memcpy(flat + (size_t)i * bytes, (const char *)(it + i) + columns[k].offset, bytes);
        TRY_TO(out, store_write(s, columns[k].name, columns[k].type, 2, (int64_t[]){n, columns[k].width}, flat, 0), "notes");
    }
    for (int l = 0; l < r->n_labels; l++) {
        char name[96];
        int K = label_columns(&r->label[l]);
        for (int i = 0; i < n; i++) {
            char *to = flat + (size_t)i * (size_t)K * 4;
            if (it[i].count[l]) memcpy(to, it[i].count[l], (size_t)K * 4);
            else memset(to, 0, (size_t)K * 4);
        }
        snprintf(name, sizeof name, "count/%s", r->label[l].name);
        TRY_TO(out, store_write(s, name, DT_I32, 2, (int64_t[]){n, K}, flat, 0), "notes");
    }
    for (size_t k = 0; k < COUNT(texts); k++) TRY_TO(out, write_words(s, texts[k].name, it, n, texts[k].offset, true), "notes");
    for (size_t k = 0; k < COUNT(hashes); k++) TRY_TO(out, write_words(s, hashes[k].name, it, n, hashes[k].offset, false), "notes");
out:
    free(flat);
    return st;
}

status note_write(const conversion *c, const part_note *n, const char *dir)
{
    char path[1024];
    note_path(path, dir, (int)n->n_shards - (n->complete ? 0 : 1));
    store *s = NULL;
    status st = store_create(&s, path);
    TRY_TO(fail, st, "notes");
    TRY_TO(fail, store_put_str(s, "/", "format", "medley-part-notes"), "%s", path);
    for (size_t k = 0; k < COUNT(numbers); k++)
        TRY_TO(fail, store_put_i64(s, "/", numbers[k].name, *(const int64_t *)(const void *)((const char *)n + numbers[k].offset)), "%s", path);
    TRY_TO(fail, store_put_str(s, "/", "recipe_sha256", c->r->sha256), "%s", path);
    TRY_TO(fail, store_put_str(s, "/", "list_sha256", c->list_sha256), "%s", path);
    TRY_TO(fail, store_put_str(s, "/", "state_sha256", c->state_sha256), "%s", path);
    TRY_TO(fail, store_write(s, "leftovers", DT_I32, 1, (int64_t[]){sizeof c->left / 4}, &c->left, 0), "%s", path);
    TRY_TO(fail, write_items(s, c->r, c->item + n->from, (int)(n->next - n->from)), "%s", path);
    return store_commit(s);
fail:
    store_discard(s);
    return st;
}

/* ---- reading -------------------------------------------------------------------------------------------------------------------- */

static status read_words(store *s, const char *name, item *it, int n, size_t offset, bool pointer)
{
    int64_t found;
    int width;
    char *text;
    TRY(store_read_text(s, name, &found, &width, &text), "notes");
    status st = OK;
    CHECK_TO(out, found == n && (pointer || width <= 65), ST_DATA, "notes: %s: %lld texts, wanted %d", name, (long long)found, n);
    for (int i = 0; i < n; i++) {
        const char *from = text + (size_t)i * (size_t)width;
        char *at = (char *)(it + i) + offset;
        if (!pointer) {
            memcpy(at, from, strlen(from) + 1);
            continue;
        }
        char *copy;
        TRY_TO(out, mem_copy(&copy, from, strlen(from), "notes"), "%s", name);
        free(*(char **)(void *)at);
        *(char **)(void *)at = copy;
    }
out:
    free(text);
    return st;
}

static status check_item(const recipe *r, const item *it, const char *path)
{
    bool good = (it->st == OK || it->st == ST_DATA) && it->given >= SPLIT_REST && it->given < (int)N_SPLITS && it->n_samples >= 0 &&
                it->n_samples <= SAMPLES_MOST && it->n_box_dropped >= 0 && it->n_box_clipped >= 0;
    good = good && (it->st || (*it->id && *it->subject && strlen(it->id) < SHARD_TEXT && strlen(it->subject) < SHARD_TEXT));
    for (int l = 0; l < r->n_labels && good; l++) {
        good = it->n_labelled[l] >= 0 && it->n_labelled[l] <= it->n_samples;
        for (int a = 0; a < label_columns(&r->label[l]); a++) good = good && it->count[l][a] >= 0;
    }
    CHECK(good, ST_DATA, "%s: impossible values for %s", path, it->path);
    return OK;
}

/* Adds the bytes of an array (n,width) as the note has it. */
static status measure_plane(store *s, const char *name, enum dtype want, int n, int width, int64_t *bytes)
{
    enum dtype type;
    int rank;
    int64_t dims[8];
    TRY(store_shape(s, name, &type, &rank, dims), "notes");
    CHECK(type == want && rank == 2 && dims[0] == n && dims[1] == width, ST_DATA, "%s: not of the %d items that the note speaks of", name, n);
    *bytes += dims[0] * dims[1] * (int64_t)dtype_bytes(type);
    return OK;
}

static status measure_words(store *s, const char *name, int n, int64_t *bytes)
{
    int64_t found;
    int width;
    TRY(store_text_shape(s, name, &found, &width), "notes");
    CHECK(found == n, ST_DATA, "%s: not of the %d items that the note speaks of", name, n);
    *bytes += found * width;
    return OK;
}

static status measure(store *s, const recipe *r, int n, int64_t *bytes)
{
    *bytes = 0;
    for (size_t k = 0; k < COUNT(columns); k++) TRY(measure_plane(s, columns[k].name, columns[k].type, n, columns[k].width, bytes), "notes");
    for (int l = 0; l < r->n_labels; l++) {
        char name[96];
        snprintf(name, sizeof name, "count/%s", r->label[l].name);
        TRY(measure_plane(s, name, DT_I32, n, label_columns(&r->label[l]), bytes), "notes");
    }
    for (size_t k = 0; k < COUNT(texts); k++) TRY(measure_words(s, texts[k].name, n, bytes), "notes");
    for (size_t k = 0; k < COUNT(hashes); k++) TRY(measure_words(s, hashes[k].name, n, bytes), "notes");
    return OK;
}

/* A note is stored unpacked: it holds no more items than it has bytes for, and what is read into memory is a few times the file. */
static status check_size(store *s, const recipe *r, int n, const char *path)
{
    struct stat info;
    int64_t bytes;
    TRY(measure(s, r, n, &bytes), "%s", path);
    CHECK(stat(path, &info) == 0, ST_DATA, "%s: cannot open: %s", path, strerror(errno));
    CHECK(bytes <= info.st_size, ST_DATA, "%s: %d items are %lld bytes, the file has %lld", path, n, (long long)bytes, (long long)info.st_size);
    return OK;
}

static status read_columns(store *s, const recipe *r, item *it, int n, char *flat)
{
    for (size_t k = 0; k < COUNT(columns); k++) {
        size_t bytes = dtype_bytes(columns[k].type) * (size_t)columns[k].width;
        TRY(store_read(s, columns[k].name, columns[k].type, (int64_t)n * columns[k].width, flat), "notes");
        for (size_t i = 0; columns[k].type == DT_U8 && i < (size_t)n * bytes; i++) flat[i] = flat[i] != 0;
        for (int i = 0; i < n; i++) memcpy((char *)(it + i) + columns[k].offset, flat + (size_t)i * bytes, bytes);
    }
    for (int l = 0; l < r->n_labels; l++) {
        char name[96];
        int K = label_columns(&r->label[l]);
        snprintf(name, sizeof name, "count/%s", r->label[l].name);
        TRY(store_read(s, name, DT_I32, (int64_t)n * K, flat), "notes");
        for (int i = 0; i < n; i++) {
            if (!it[i].count[l]) TRY(mem_alloc(&it[i].count[l], (size_t)K * 4, "class counts"), "notes");
            memcpy(it[i].count[l], flat + (size_t)i * (size_t)K * 4, (size_t)K * 4);
        }
    }
    return OK;
}

static status read_items(store *s, const recipe *r, item *it, int n, const char *path)
{
    size_t widest = 8 * SHARD_MAX_LABELS;
    for (int l = 0; l < r->n_labels; l++)
        if (widest < 4 * (size_t)label_columns(&r->label[l])) widest = 4 * (size_t)label_columns(&r->label[l]);
    char *flat;
    TRY(mem_alloc(&flat, (size_t)n * widest + 1, "notes"), "%s", path);
    status st = read_columns(s, r, it, n, flat);
    free(flat);
    TRY(st, "%s", path);
    for (size_t k = 0; k < COUNT(texts); k++) TRY(read_words(s, texts[k].name, it, n, texts[k].offset, true), "%s", path);
    for (size_t k = 0; k < COUNT(hashes); k++) TRY(read_words(s, hashes[k].name, it, n, hashes[k].offset, false), "%s", path);
    for (int i = 0; i < n; i++) TRY(check_item(r, &it[i], path), "notes");
    return OK;
}

/* In a join the first note says what all parts must agree on. */
static bool agrees(char mine[65], const char *theirs)
{
    if (!*mine) snprintf(mine, 65, "%s", theirs);
    return strcmp(mine, theirs) == 0;
}

static status read_note(conversion *c, store *s, part_note *n, const char *path, bool *other)
{
    char text[65];
    TRY(store_get_str(s, "/", "format", text, sizeof text), "notes");
    CHECK(!strcmp(text, "medley-part-notes"), ST_DATA, "%s: no notes of a part", path);
    for (size_t k = 0; k < COUNT(numbers); k++)
        TRY(store_get_i64(s, "/", numbers[k].name, (int64_t *)(void *)((char *)n + numbers[k].offset)), "notes");
    TRY(store_get_str(s, "/", "recipe_sha256", text, sizeof text), "notes");
    *other |= strcmp(text, c->r->sha256) != 0;
    TRY(store_get_str(s, "/", "list_sha256", text, sizeof text), "notes");
    *other |= !agrees(c->list_sha256, text);
    TRY(store_get_str(s, "/", "state_sha256", text, sizeof text), "notes");
    if (*c->state_sha256) *other |= strcmp(c->state_sha256, text) != 0; /* not asked by a join */
    if (*other) return OK;
    CHECK(n->n_parts >= 1 && n->part >= 1 && n->part <= n->n_parts && n->n_files >= 1 && n->n_files <= INT32_MAX && n->from >= 0 &&
              n->from <= n->next && n->next <= n->n_files && n->next_samples >= 0 && n->next_samples <= SAMPLES_MOST && n->n_shards >= 0,
          ST_DATA, "%s: impossible numbers", path);
    leftovers left;
    TRY(store_read(s, "leftovers", DT_I32, sizeof left / 4, &left), "notes");
    if (n->part == 1) c->left = left; /* part 1 looks for them */
    if (!c->item && !c->n) c->n = (int)n->n_files;
    CHECK(c->n == n->n_files, ST_DATA, "%s: of %lld files, others of %d", path, (long long)n->n_files, c->n);
    int n_items = (int)(n->next - n->from);
    TRY(check_size(s, c->r, n_items, path), "notes");
    return c->item ? read_items(s, c->r, c->item + n->from, n_items, path) : OK;
}

status note_read(conversion *c, const char *dir, int k, part_note *n, bool *other)
{
    char path[1024];
    store *s;
    *n = (part_note){0};
    *other = false;
    note_path(path, dir, k);
    TRY(store_open(&s, path), "notes");
    status st = read_note(c, s, n, path, other);
    store_close(s);
    return st;
}
