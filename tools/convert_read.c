/* convert_read: reads source files, each once, in a few threads; learns hashes, counts and faults. */
#include "convert_internal.h"

#include <stdlib.h>
#include <string.h>

#define AHEAD_BYTES ((size_t)128 << 20) /* decoded cases that wait to be written; beside them each thread works on one */

static status count_labels(item *it, const one_case *k, const recipe *r)
{
    for (int i = 0; i < r->n_labels; i++) {
        const recipe_label *l = &r->label[i];
        const case_label *from = &k->label[i];
        TRY(mem_alloc(&it->count[i], (size_t)label_columns(l) * sizeof **it->count, "class counts"), "%s", it->path);
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

static status load(conversion *c, item *it)
{
    const recipe *r = c->r;
    char path[2 * PATTERN_PATH];
    place at = {.path = path, .in = it->is_part ? &c->file[it->file].many : NULL, .part = it->part, .time = it->time};
    names n;
    snprintf(path, sizeof path, "%s/%s", c->source.root, it->path);
    TRY(item_names(&n, c, it), "%s", it->path);
    one_case *k;
    TRY(mem_alloc(&k, sizeof *k, "a case"), "%s", it->path);
    status st = case_load(k, &c->source, &n, &at);
    if (!st) {
        memcpy(it->pixel_hash, k->pixel_hash, sizeof it->pixel_hash);
        likeness_of(&k->px, &it->likeness);
        it->n_samples = k->n_slices;
        it->n_box_dropped = k->n_box_dropped;
        it->n_box_clipped = k->n_box_clipped;
        it->is_volume = k->px.is_volume;
        it->path_tells = k->px.path_tells;
        st = count_labels(it, k, r);
    }
    if (!st) st = item_sha256(c, it, it->file_sha256);
    it->loaded = k;
    if (st) item_unload(it);
    return st;
}

status convert_read(conversion *c, item *it)
{
    if (it->st && it->reason) return OK; /* its name was bad, or its file */
    if (!it->st) {
        it->st = (int32_t)item_hold(c, it);
        if (!it->st) {
            it->st = (int32_t)load(c, it);
            item_release(c, it);
        }
        if (it->st && (it->is_part || it->time >= 0)) it->st = (int32_t)status_note((status)it->st, __FILE__, __LINE__, "%s", it->id);
    }
    if (!it->st) return OK;
    char text[768];
    snprintf(text, sizeof text, "%s", status_message());
    shorten(text, c->source.root);
    return mem_copy(&it->reason, text, strlen(text), "a message");
}

void item_unload(item *it)
{
    if (it->loaded) case_free(it->loaded);
    free(it->loaded);
    it->loaded = NULL;
}

void item_free(item *it)
{
    item_unload(it);
    free(it->path), free(it->id), free(it->subject), free(it->centre), free(it->reason);
    for (int l = 0; l < SHARD_MAX_LABELS; l++) free(it->count[l]);
    *it = (item){0};
}

/* ---- reading ahead -------------------------------------------------------------------------------------------------------------- */

struct crew {
    conversion *c;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread[CONVERT_JOBS];
    int    n_threads, next, end, taken; /* items [taken,next) are ready or being read; the caller waits for `taken` or writes it */
    size_t waiting;                     /* bytes of pixels of items that are ready */
    bool   stop;
};

static void read_item(conversion *c, item *it)
{
    if (convert_read(c, it)) it->st = ST_RESOURCE; /* no memory for the message that it is bad */
}

static void *work(void *arg)
{
    crew *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->stop && w->next < w->end && w->next > w->taken && w->waiting >= AHEAD_BYTES) pthread_cond_wait(&w->wake, &w->lock);
        if (w->stop || w->next >= w->end) break;
        item *it = &w->c->item[w->next++];
        pthread_mutex_unlock(&w->lock);
        read_item(w->c, it);
        pthread_mutex_lock(&w->lock);
        if (it->loaded) w->waiting += case_bytes(it->loaded, w->c->r);
        it->ready = true;
        pthread_cond_broadcast(&w->wake);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

status crew_open(crew **out, conversion *c, int from, int to)
{
    crew *w;
    TRY(mem_alloc(&w, sizeof *w, "threads"), "reading");
    *w = (crew){.c = c, .next = from, .end = to, .taken = from};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    int jobs = c->options.jobs > CONVERT_JOBS ? CONVERT_JOBS : c->options.jobs;
    while (jobs > 1 && w->n_threads < jobs && !pthread_create(&w->thread[w->n_threads], NULL, work, w)) w->n_threads++;
    *out = w;
    return OK;
}

void crew_wait(crew *w, int i)
{
    item *it = &w->c->item[i];
    if (i < w->taken) return;
    if (!w->n_threads) {
        read_item(w->c, it);
        w->taken = i + 1;
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->taken = i;
    pthread_cond_broadcast(&w->wake);
    while (!it->ready) pthread_cond_wait(&w->wake, &w->lock);
    if (it->loaded) w->waiting -= case_bytes(it->loaded, w->c->r);
    w->taken = i + 1;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void crew_close(crew *w)
{
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    for (int t = 0; t < w->n_threads; t++) pthread_join(w->thread[t], NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
