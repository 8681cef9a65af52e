/* convert_scan: reads every source file once, in a few threads; learns hashes, counts and faults, and keeps what memory allows. */
#include "convert_internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

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
        TRY(mem_alloc(&it->count[i], (size_t)label_columns(l) * sizeof **it->count, "class counts"), "label %s", l->name);
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

static status name_item(const conversion *c, item *it, names *n)
{
    const recipe *r = c->r;
    char given[SHARD_TEXT] = "rest";
    TRY(item_names(n, c, it), "names");
    TRY(fill(r->images.id, n, it->id, "id"), "names");
    TRY(fill(r->images.subject, n, it->subject, "subject"), "names");
    TRY(fill(r->images.centre, n, it->centre, "centre"), "names");
    if (*r->split.value) TRY(fill(r->split.value, n, given, "split"), "names");
    it->given = recipe_split_of(r, given);
    CHECK(it->given != SPLIT_UNKNOWN, ST_DATA, "split \"%s\" is none of train, val, test and split.map", given);
    CHECK(*it->id && *it->subject, ST_DATA, "empty %s", *it->id ? "subject" : "id");
    return OK;
}

static status scan_one(conversion *c, item *it, atomic_size_t *kept)
{
    const recipe *r = c->r;
    char path[2 * PATTERN_PATH];
    place at = {.path = path, .in = it->is_part ? &c->file[it->file].many : NULL, .part = it->part};
    names n;
    one_case *k;
    snprintf(path, sizeof path, "%s/%s", c->source.root, item_path(c, it));
    TRY(name_item(c, it, &n), "%s", item_path(c, it));
    TRY(mem_alloc(&k, sizeof *k, "a case"), "%s", item_path(c, it));
    status st = case_load(k, &c->source, &n, &at);
    if (!st) {
        memcpy(it->pixel_hash, k->pixel_hash, sizeof it->pixel_hash);
        likeness_of(&k->px, &it->likeness);
        it->n_samples = k->n_slices;
        it->n_box_dropped = k->n_box_dropped;
        it->n_box_clipped = k->n_box_clipped;
        it->is_volume = k->px.is_volume;
        st = count_labels(it, k, r);
    }
    if (!st) st = item_sha256(c, it);
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
        if (it->st) continue;
        status st = item_hold(w->c, it);
        if (!st) {
            st = scan_one(w->c, it, &w->kept);
            item_release(w->c, it);
        }
        if (st && it->is_part && *it->id) st = status_note(st, __FILE__, __LINE__, "%s", it->id);
        if (st) item_fail(it, st);
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
                              item_path(c, &c->item[list[i - 1].i]), item_path(c, &c->item[list[i].i]), list[i].id);
    free(list);
    return st;
}

status convert_scan(conversion *c)
{
    crew w = {.c = c};
    int jobs = c->options.jobs > 1 ? c->options.jobs : 1;
    if (jobs > CONVERT_JOBS) jobs = CONVERT_JOBS;
    pthread_t thread[CONVERT_JOBS];
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
        if (it->reason) shorten(it->reason, c->source.root);
        if (it->st != ST_DATA && !hard) hard = it;
        if (!first) first = it;
        log_line(LOG_WARN, "%s: skipped: %s", c->r->name, item_reason(it));
    }
    if (hard) return status_raise(hard->st, __FILE__, __LINE__, "%s", item_reason(hard)); /* no memory, no permission: not the file's fault */
    CHECK(!first || strcmp(c->r->on_error, "fatal"), ST_DATA, "%s (%d of %d files are bad and the recipe says on_error = \"fatal\")", item_reason(first),
          c->n - c->n_good, c->n);
    CHECK(c->n_good > 0, ST_DATA, "%s: none of %d files can be used; the first: %s", c->r->name, c->n, item_reason(first));
    return ids_differ(c);
}
