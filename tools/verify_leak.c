/* verify_leak: finds subjects, cases and pixels that two splits share, and ids that two samples share. */
#include "verify.h"

#include <stdlib.h>
#include <string.h>

status seen_add(seen_table *t, const shard *s, int shard_number, int64_t i)
{
    size_t len = strlen(s->id[i]) + strlen(s->subject[i]) + strlen(s->case_id[i]) + 3;
    if (t->n == t->room) {
        int64_t room = t->room ? 2 * t->room : 1024;
        TRY(mem_grow(&t->v, sizeof *t->v * (size_t)room, "table of samples"), "leakage");
        t->room = room;
    }
    if (t->n_names + len > t->room_names) {
        size_t room = 2 * t->room_names + len + 4096;
        TRY(mem_grow(&t->names, room, "names of samples"), "leakage");
        t->room_names = room;
    }
    t->v[t->n++] = (seen_sample){.subject = hash_text(s->subject[i]), .cases = hash_text(s->case_id[i]), .id = hash_text(s->id[i]),
        .pixels = (uint64_t)s->crc[i] << 32 | (uint64_t)(uint16_t)s->size[2 * i] << 16 | (uint16_t)s->size[2 * i + 1],
        .name = t->n_names, .shard = shard_number, .at = (int32_t)i, .split = s->split[i]};
    char *p = t->names + t->n_names;
    p = stpcpy(p, s->id[i]) + 1;
    p = stpcpy(p, s->subject[i]) + 1;
    stpcpy(p, s->case_id[i]);
    t->n_names += len;
    return OK;
}

void seen_free(seen_table *t)
{
    free(t->v);
    free(t->names);
    *t = (seen_table){0};
}

/* Order by one of the keys, then by place: groups of equals stand together, in the order of the data set. */
#define ORDER_BY(key)                                                                   \
    static int by_##key(const void *a, const void *b)                                   \
    {                                                                                   \
        const seen_sample *x = a, *y = b;                                               \
        if (x->key != y->key) return x->key < y->key ? -1 : 1;                          \
        if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;                  \
        return (x->at > y->at) - (x->at < y->at);                                       \
    }
ORDER_BY(subject)
ORDER_BY(cases)
ORDER_BY(id)
ORDER_BY(pixels)

static const char *id_of(const seen_table *t, const seen_sample *s) { return t->names + s->name; }
static const char *subject_of(const seen_table *t, const seen_sample *s) { return id_of(t, s) + strlen(id_of(t, s)) + 1; }
static const char *case_of(const seen_table *t, const seen_sample *s) { return subject_of(t, s) + strlen(subject_of(t, s)) + 1; }

/* First sample of the group in each split; false if all lie in one. */
static bool in_two_splits(const seen_sample *v, int64_t n, const seen_sample *first[N_SPLITS])
{
    int splits = 0;
    for (int k = 0; k < N_SPLITS; k++) first[k] = NULL;
    for (int64_t i = 0; i < n; i++)
        if (!first[v[i].split]) first[v[i].split] = &v[i], splits++;
    return splits > 1;
}

/* "train (sample a) and test (sample b)". */
static void name_places(const seen_table *t, const seen_sample *const first[N_SPLITS], char *out, size_t room)
{
    size_t used = 0;
    out[0] = 0;
    for (int k = 0; k < N_SPLITS; k++)
        if (first[k] && used < room)
            used += (size_t)snprintf(out + used, room - used, "%s%s (sample %s)", used ? " and " : "", split_name[k], id_of(t, first[k]));
}

/* SHA-256 of the pixels of a sample; *flat: all of them are equal. */
static status pixel_hash(const shard_list *list, const seen_sample *s, char hex[65], bool *flat)
{
    shard f;
    TRY(shard_open(&f, list->path[s->shard]), "comparing pixels");
    size_t each = (size_t)f.meta.channels * dtype_bytes(f.meta.pixel), n = (size_t)f.size[2 * s->at] * (size_t)f.size[2 * s->at + 1] * each;
    char *px;
    status st = mem_alloc(&px, (size_t)f.Hmax * (size_t)f.Wmax * each, "one image");
    if (!st) {
        st = shard_read_image(&f, s->at, px);
        *flat = n <= each || memcmp(px, px + each, n - each) == 0;
        sha256 h;
        sha256_begin(&h);
        sha256_add(&h, px, n);
        sha256_end(&h, hex);
        free(px);
    }
    shard_close(&f);
    return st;
}

/* A group with the same checksum and size: are the pixels really the same? */
static status report_pixels(seen_table *t, const seen_sample *const first[N_SPLITS], const shard_list *list, bool quick, findings *f)
{
    char places[1024], hex[N_SPLITS][65] = {{0}};
    name_places(t, first, places, sizeof places);
    if (quick) {
        found_error(f, "leak-pixels", "same checksum and size of the pixels in %s", places);
        return OK;
    }
    bool flat = false, same = false;
    for (int k = 0; k < N_SPLITS; k++) {
        if (!first[k]) continue;
        if (pixel_hash(list, first[k], hex[k], &flat)) return OK; /* unreadable: found and told already */
        for (int j = 0; j < k; j++) same |= first[j] && strcmp(hex[j], hex[k]) == 0;
    }
    if (same && flat) found_warning(f, "leak-pixels", "the same blank image in %s", places);
    else if (same) found_error(f, "leak-pixels", "the same pixels in %s", places);
    return OK;
}

static int64_t group_end(const seen_table *t, int64_t a, size_t offset)
{
    int64_t b = a + 1;
    while (b < t->n && memcmp((const char *)&t->v[b] + offset, (const char *)&t->v[a] + offset, sizeof(uint64_t)) == 0) b++;
    return b;
}

static void sort_by(seen_table *t, int (*order)(const void *, const void *))
{
    if (t->n > 1) qsort(t->v, (size_t)t->n, sizeof *t->v, order);
}

status seen_report(seen_table *t, const shard_list *list, bool quick, findings *f)
{
    const seen_sample *first[N_SPLITS];
    char places[1024];
    sort_by(t, by_id);
    for (int64_t a = 0, b; a < t->n; a = b) {
        b = group_end(t, a, offsetof(seen_sample, id));
        if (b - a > 1) found_error(f, "duplicate-id", "%lld samples have the id %s", (long long)(b - a), id_of(t, &t->v[a]));
    }
    sort_by(t, by_subject);
    for (int64_t a = 0, b; a < t->n; a = b) {
        b = group_end(t, a, offsetof(seen_sample, subject));
        if (!subject_of(t, &t->v[a])[0] || !in_two_splits(t->v + a, b - a, first)) continue;
        name_places(t, first, places, sizeof places);
        found_error(f, "leak-subject", "subject %s is in %s", subject_of(t, &t->v[a]), places);
    }
    sort_by(t, by_cases);
    for (int64_t a = 0, b; a < t->n; a = b) {
        b = group_end(t, a, offsetof(seen_sample, cases));
        if (!case_of(t, &t->v[a])[0] || !in_two_splits(t->v + a, b - a, first)) continue;
        name_places(t, first, places, sizeof places);
        found_error(f, "leak-case", "case %s is in %s", case_of(t, &t->v[a]), places);
    }
    sort_by(t, by_pixels);
    int64_t twins = 0;
    for (int64_t a = 0, b; a < t->n; a = b) {
        b = group_end(t, a, offsetof(seen_sample, pixels));
        if (in_two_splits(t->v + a, b - a, first)) TRY(report_pixels(t, first, list, quick, f), "leaks");
        else twins += b - a - 1;
    }
    if (twins) found_warning(f, "duplicate-pixels", "%lld samples repeat the pixels of another one of their split", (long long)twins);
    return OK;
}
