/* convert_scan: reads every source file once, in a few threads; learns hashes, counts and faults, and keeps what memory allows. */
#include "convert_internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEEP_BYTES ((size_t)512 << 20) /* decoded cases kept between scan and write; the rest is read a second time */

/* A text that must fit a shard's column. */
static status fill(const char *pattern, const names *n, char out[SHARD_TEXT], const char *what)
{
    TRY(pattern_expand(pattern, &n->is, out, SHARD_TEXT), "images.%s", what);
    return OK;
}

static status count_labels(item *it, const one_case *k, const recipe *r)
{
    for (int i = 0; i < r->n_labels; i++) {
        const recipe_label *l = &r->label[i];
        const case_label *from = &k->label[i];
        TRY(mem_alloc(&it->count[i], (size_t)label_columns(l) * sizeof **it->count, "class counts"), "%s", it->file->path);
        it->labelled[i] = from->present;
        for (int s = 0; s < k->n_slices; s++) {
            if (!(k->has[s] >> i & 1)) continue;
            it->n_labelled[i]++;
            if (l->task == TASK_CLASSIFICATION) it->count[i][from->cls]++;
            else if (l->task == TASK_REGRESSION) it->count[i][0]++;
            else if (l->task == TASK_MULTILABEL)
                for (int c = 0; c < l->n_classes; c++) it->count[i][c] += from->vec[c] == 1;
            else if (l->task == TASK_DETECTION)
                for (int b = 0; b < from->n_box; b++) it->count[i][from->box_cls[b]]++;
            else {
                bool seen[256] = {false};
                size_t n = (size_t)from->mask.H * (size_t)from->mask.W;
                const uint8_t *p = (const uint8_t *)from->mask.data + n * (size_t)k->slice[s];
                for (size_t v = 0; v < n; v++) seen[p[v]] = true;
                for (int c = 0; c < l->n_classes; c++) it->count[i][c] += seen[c];
            }
        }
    }
    return OK;
}

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

static status scan_one(conversion *c, item *it, atomic_size_t *kept)
{
    const recipe *r = c->r;
    char path[2 * PATTERN_PATH];
    snprintf(path, sizeof path, "%s/%s", c->source.root, it->file->path);
    names n;
    TRY(names_open(&n, &c->source, &it->file->is), "%s", it->file->path);
    TRY(fill(r->images.id, &n, it->id, "id"), "%s", it->file->path);
    TRY(fill(r->images.subject, &n, it->subject, "subject"), "%s", it->file->path);
    TRY(fill(r->images.centre, &n, it->centre, "centre"), "%s", it->file->path);
    char given[SHARD_TEXT] = "rest";
    if (*r->split.value) TRY(fill(r->split.value, &n, given, "split"), "%s", it->file->path);
    it->given = recipe_split_of(r, given);
    CHECK(it->given != SPLIT_UNKNOWN, ST_DATA, "%s: split \"%s\" is none of train, val, test and split.map", it->file->path, given);
    CHECK(*it->id && *it->subject, ST_DATA, "%s: empty %s", it->file->path, *it->id ? "subject" : "id");
    one_case *k;
    TRY(mem_alloc(&k, sizeof *k, "a case"), "%s", it->file->path);
    status st = case_load(k, &c->source, &n, path);
    if (!st) {
        memcpy(it->pixel_hash, k->pixel_hash, sizeof it->pixel_hash);
        likeness_of(&k->px, &it->likeness);
        it->n_samples = k->n_slices;
        it->n_box_dropped = k->n_box_dropped;
        it->n_box_clipped = k->n_box_clipped;
        it->is_volume = k->px.is_volume;
        st = count_labels(it, k, r);
    }
    if (!st) st = source_sha256(path, it->file_sha256);
    size_t bytes = st ? 0 : case_bytes(k, r);
    if (!st && atomic_fetch_add(kept, bytes) + bytes <= KEEP_BYTES) {
        it->kept = k;
    } else {
        if (!st) atomic_fetch_sub(kept, bytes);
        case_free(k);
        free(k);
    }
    return st;
}

typedef struct crew { conversion *c; atomic_int next; atomic_size_t kept; } crew;

static void *work(void *arg)
{
    crew *w = arg;
    for (int i; (i = atomic_fetch_add(&w->next, 1)) < w->c->n;) {
        item *it = &w->c->item[i];
        it->st = scan_one(w->c, it, &w->kept);
        if (it->st) snprintf(it->reason, sizeof it->reason, "%s", status_message());
    }
    return NULL;
}

/* Paths in messages are shorter relative to the source folder. */
static void shorten(char *text, const char *root)
{
    size_t n = strlen(root);
    for (char *at = text; (at = strstr(at, root));) {
        if (at[n] == '/') memmove(at, at + n + 1, strlen(at + n + 1) + 1);
        else at += n;
    }
    /* "labels: a.png: a.png: what" to "a.png: what": context that was added twice on the way up */
    for (char *colon = strstr(text, ": "); colon; colon = strstr(colon, ": ")) {
        size_t length = (size_t)(colon - text);
        if (strncmp(colon + 2, text, length) || strncmp(colon + 2 + length, ": ", 2)) {
            colon += 2;
            continue;
        }
        memmove(text, colon + 2, strlen(colon + 2) + 1);
        colon = strstr(text, ": ");
    }
}

typedef struct id_of { const char *id; int i; } id_of;

static int by_id(const void *a, const void *b)
{
    const id_of *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    return order ? order : x->i - y->i;
}

static status ids_differ(conversion *c)
{
    id_of *list;
    TRY(mem_alloc(&list, ((size_t)c->n + 1) * sizeof *list, "ids"), "scan");
    int n = 0;
    status st = OK;
    for (int i = 0; i < c->n; i++)
        if (!c->item[i].st) list[n++] = (id_of){c->item[i].id, i};
    qsort(list, (size_t)n, sizeof *list, by_id);
    for (int i = 1; i < n && !st; i++)
        if (!strcmp(list[i].id, list[i - 1].id))
            st = status_raise(ST_USAGE, __FILE__, __LINE__, "%s:%d: images.id: %s and %s both get the id \"%s\"", c->r->file, c->r->images.line,
                              c->item[list[i - 1].i].file->path, c->item[list[i].i].file->path, list[i].id);
    free(list);
    return st;
}

status convert_scan(conversion *c)
{
    crew w = {.c = c};
    int jobs = c->options.jobs > 1 ? c->options.jobs : 1;
    if (jobs > 64) jobs = 64;
    pthread_t thread[64];
    int started = 0;
    while (started < jobs - 1 && !pthread_create(&thread[started], NULL, work, &w)) started++;
    work(&w);
    for (int t = 0; t < started; t++) pthread_join(thread[t], NULL);
    const item *first = NULL, *hard = NULL;
    for (int i = 0; i < c->n; i++) {
        item *it = &c->item[i];
        if (!it->st) {
            c->n_good++;
            continue;
        }
        shorten(it->reason, c->source.root);
        if (it->st != ST_DATA && !hard) hard = it;
        if (!first) first = it;
        log_line(LOG_WARN, "%s: skipped: %s", c->r->name, it->reason);
    }
    if (hard) return status_raise(hard->st, __FILE__, __LINE__, "%s", hard->reason); /* no memory, no permission: not the file's fault */
    CHECK(!first || strcmp(c->r->on_error, "fatal"), ST_DATA, "%s (%d of %d files are bad and the recipe says on_error = \"fatal\")", first->reason,
          c->n - c->n_good, c->n);
    CHECK(c->n_good > 0, ST_DATA, "%s: none of %d files can be used; the first: %s", c->r->name, c->n, first->reason);
    return ids_differ(c);
}
