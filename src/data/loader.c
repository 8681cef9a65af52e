/* loader: one thread that reads, augments and lays out batches ahead of their use, in a ring of batches made once. */
#include "data_internal.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct slot { batch b; void *memory; buffer box, box_cls, native; sample_note *note; bool full; } slot; /* note: evaluation */

struct loader {
    dataset_use *use;           /* copies */
    int          n_uses;
    picker     **picker;        /* per use that occurs in units */
    loader_unit *unit;
    int          n_units;
    uint64_t     seed;
    int64_t      step;
    bool         eval;
    enum split   split;
    int64_t      part, n_parts;
    slot        *ring;
    int          depth;
    int64_t      made, taken;   /* batches */
    scratch      tmp;
    bool         warned_boxes, mutex_made, started;
    unsigned     delay_ms;      /* MEDLEY_LOADER_DELAY_MS: random pauses up to this, for tests of independence from timing */
    pthread_t    thread;
    pthread_mutex_t lock;       /* over full flags, stop, ended, code, message */
    pthread_cond_t  change;
    bool         stop, ended;
    status       code;
    char         message[4096];
    double       waited;
};

/* ---- memory of a batch ---- */

/* Points b's arrays into memory; with memory NULL only counts. */
static size_t lay_out(batch *b, const dataset_use *u, char *memory)
{
    size_t used = 0, B = (size_t)u->batch, area = (size_t)u->H * (size_t)u->W;
    enum task_kind kind = dataset_label(u->data)->kind;
#define PLACE(field, n) (b->field = memory ? (void *)(memory + used) : NULL, used += ((n) * sizeof *b->field + 63) / 64 * 64)
    *b = (batch){.B = u->batch, .H = u->H, .W = u->W, .task = u->task, .step = -1};
    PLACE(image, B * area * 3);
    PLACE(sample, B);
    PLACE(key, B);
    PLACE(view, B);
    if (kind == TASK_CLASSIFICATION) PLACE(cls, B);
    if (kind == TASK_MULTILABEL) PLACE(vec, B * (size_t)u->K);
    if (kind == TASK_REGRESSION) PLACE(scalar, B);
    if (kind == TASK_SEGMENTATION) PLACE(mask, B * area);
    if (kind == TASK_DETECTION) PLACE(box_off, B + 1);
    PLACE(native_size, B * 2);
    return used;
}

static status make_ring(loader *l)
{
    size_t most = 0, boxes = 0;
    batch b;
    for (int i = 0; i < l->n_uses; i++) {
        if (!l->eval && !l->picker[i]) continue;
        size_t n = lay_out(&b, &l->use[i], NULL), m = (size_t)l->use[i].batch * (size_t)l->use[i].max_boxes;
        if (n > most) most = n;
        if (dataset_label(l->use[i].data)->kind == TASK_DETECTION && m > boxes) boxes = m;
    }
    TRY(mem_alloc(&l->ring, sizeof *l->ring * (size_t)l->depth, "ring of batches"), "loader");
    for (int i = 0; i < l->depth; i++) {
        TRY(mem_alloc(&l->ring[i].memory, most, "batch"), "loader");
        TRY(buffer_need(&l->ring[i].box, boxes * 16 + 16, "boxes"), "loader");
        TRY(buffer_need(&l->ring[i].box_cls, boxes * 4 + 4, "boxes"), "loader");
        if (l->eval) TRY(mem_alloc(&l->ring[i].note, sizeof *l->ring[i].note * (size_t)l->use[0].batch, "notes"), "loader");
    }
    return OK;
}

status loader_measure(const dataset_use *uses, const bool *takes, int n, int depth, bool eval, size_t *bytes)
{
    size_t slot_most = 0, boxes = 0, most[9] = {0};
    for (int i = 0; i < n; i++) {
        const dataset_use *u = &uses[i];
        const shard_meta *m;
        dataset_cost c;
        batch b;
        if (!takes[i]) continue;
        TRY(dataset_measure(u->data, true, &c), "loader");
        m = dataset_meta(u->data);
        size_t C = (size_t)m->channels, area = (size_t)c.H * (size_t)c.W, net = (size_t)u->H * (size_t)u->W;
        double reach = 1.5 * sqrt((double)u->H * u->H + (double)u->W * u->W) + 8; /* as in sample_room */
        size_t slot_bytes = lay_out(&b, u, NULL);
        /* evaluation keeps the stored masks of a batch; that buffer doubles as it grows */
        if (eval) slot_bytes += sizeof(sample_note) * (size_t)u->batch;
        if (eval && dataset_label(u->data)->kind == TASK_SEGMENTATION) slot_bytes += (size_t)(2.25 * (double)area * u->batch);
        if (slot_bytes > slot_most) slot_most = slot_bytes;
        bool det = dataset_label(u->data)->kind == TASK_DETECTION;
        if (det && (size_t)u->batch * (size_t)u->max_boxes > boxes) boxes = (size_t)u->batch * (size_t)u->max_boxes;
        size_t need[9] = {area * C * dtype_bytes(m->pixel), dataset_label(u->data)->kind == TASK_SEGMENTATION ? area : 0, 20 * (size_t)c.boxes,
                          (size_t)(fmin(reach, c.H) * fmin(reach, c.W)) * C * 4, 8 * (size_t)c.W * C, net * C * 4, (net + (size_t)u->W) * C * 4};
        for (int k = 0; k < 9; k++)
            if (need[k] > most[k]) most[k] = need[k];
    }
    *bytes = (slot_most + boxes * 20) * (size_t)depth;
    for (int k = 0; k < 9; k++) *bytes += most[k] + most[k] / 8;
    return OK;
}

/* Room for n more rows in a buffer that keeps its contents. */
static status buffer_grow(buffer *b, size_t used, size_t n_bytes)
{
    if (used + n_bytes <= b->size) return OK;
    buffer bigger = {0};
    TRY(buffer_need(&bigger, 2 * (used + n_bytes), "batch"), "loader");
    if (used) memcpy(bigger.at, b->at, used);
    free(b->at);
    *b = bigger;
    return OK;
}

/* ---- one sample into a batch ---- */

static status put_boxes(loader *l, const dataset_use *u, slot *s, int i, const raw_sample *raw)
{
    batch *b = &s->b;
    int m = b->box_off[i], kept = 0;
    if (l->eval) { /* every box counts in a score, however many there are */
        TRY(buffer_grow(&s->box, (size_t)m * 16, (size_t)raw->n_box * 16), "boxes");
        TRY(buffer_grow(&s->box_cls, (size_t)m * 4, (size_t)raw->n_box * 4), "boxes");
        b->box_cap = (int)(s->box_cls.size / 4);
    }
    b->box = s->box.at, b->box_cls = s->box_cls.at;
    for (int j = 0; j < raw->n_box; j++) {
        float box[4];
        if (l->eval) view_box_whole(&b->view[i], raw->box + 4 * j, box);
        else if (!view_box(&b->view[i], raw->box + 4 * j, u->H, u->W, box)) continue;
        if (!l->eval && kept == u->max_boxes) {
            if (!l->warned_boxes)
                log_line(LOG_WARN, "data set %s: sample %s has more than max_boxes = %d boxes; the others are left out",
                         dataset_meta(u->data)->name, dataset_sample_id(u->data, b->sample[i]), u->max_boxes);
            l->warned_boxes = true;
            break;
        }
        memcpy(b->box + 4 * (m + kept), box, sizeof box);
        b->box_cls[m + kept++] = raw->box_cls[j];
    }
    b->box_off[i + 1] = m + kept;
    return OK;
}

static status put_native_mask(slot *s, size_t *used, const raw_sample *raw)
{
    size_t area = (size_t)raw->H * (size_t)raw->W;
    TRY(buffer_grow(&s->native, *used, area), "masks");
    if (raw->mask) memcpy((char *)s->native.at + *used, raw->mask, area);
    else memset((char *)s->native.at + *used, IGNORE_MASK, area);
    s->b.native_mask = s->native.at;
    *used += area;
    return OK;
}

static status put_sample(loader *l, const dataset_use *u, slot *s, int i, int64_t sample, uint32_t epoch, size_t *native_used)
{
    batch *b = &s->b;
    raw_sample raw;
    size_t at = (size_t)i, area = (size_t)u->H * (size_t)u->W;
    double began = timer_now();
    TRY(dataset_fetch(u->data, sample, &l->tmp, &raw), "loader");
    b->read_s += timer_now() - began;
    raw.step = image_step(raw.spacing, u->spacing);
    b->sample[i] = sample;
    b->key[i] = (rng_key){l->seed ^ u->task_hash, (uint32_t)sample, epoch};
    b->native_size[2 * i] = raw.H, b->native_size[2 * i + 1] = raw.W;
    if (b->note) TRY(dataset_describe(u->data, sample, &b->note[i]), "loader");
    TRY(sample_image(&raw, l->eval ? NULL : &u->augment, b->key[i], u->H, u->W, b->image + at * area * 3, &b->view[i], &l->tmp),
        "sample %s", dataset_sample_id(u->data, sample));
    switch (dataset_label(u->data)->kind) {
    case TASK_CLASSIFICATION: b->cls[i] = raw.cls; break;
    case TASK_REGRESSION: b->scalar[i] = raw.scalar; break;
    case TASK_MULTILABEL:
        for (int k = 0; k < u->K; k++) b->vec[at * (size_t)u->K + (size_t)k] = !raw.vec || raw.vec[k] == 255 ? -1 : raw.vec[k];
        break;
    case TASK_SEGMENTATION:
        if (raw.mask) view_mask(&b->view[i], raw.mask, raw.H, raw.W, b->mask + at * area, u->H, u->W);
        else memset(b->mask + at * area, IGNORE_MASK, area);
        if (l->eval) TRY(put_native_mask(s, native_used, &raw), "sample %s", dataset_sample_id(u->data, sample));
        break;
    case TASK_DETECTION: return put_boxes(l, u, s, i, &raw);
    case N_TASK_KINDS: break;
    }
    return OK;
}

/* ---- one batch ---- */

static bool stopping(loader *l)
{
    pthread_mutex_lock(&l->lock);
    bool stop = l->stop;
    pthread_mutex_unlock(&l->lock);
    return stop;
}

static void begin_batch(const dataset_use *u, slot *s)
{
    lay_out(&s->b, u, s->memory);
    s->b.note = s->note;
    if (s->b.box_off) {
        s->b.box_off[0] = 0;
        s->b.box = s->box.at, s->b.box_cls = s->box_cls.at, s->b.box_cap = u->batch * u->max_boxes;
    }
}

static status make_train(loader *l, slot *s)
{
    const loader_unit *unit = &l->unit[l->made % l->n_units];
    const dataset_use *u = &l->use[unit->use];
    int64_t step = l->step + l->made / l->n_units;
    begin_batch(u, s);
    s->b.step = step, s->b.unit = unit->number, s->b.n_valid = u->batch;
    for (int i = 0; i < u->batch && !stopping(l); i++) {
        int64_t sample;
        uint32_t epoch;
        picker_at(l->picker[unit->use], (step * u->units + unit->number) * u->batch + i, &sample, &epoch);
        TRY(put_sample(l, u, s, i, sample, epoch, NULL), "step %lld, unit %d", (long long)step, unit->number);
    }
    s->b.native_size = NULL; /* for evaluation */
    return OK;
}

static status make_eval(loader *l, slot *s, bool *end)
{
    const dataset_use *u = &l->use[0];
    int64_t n = dataset_count(u->data, l->split), first = (l->part + l->made * l->n_parts) * u->batch;
    *end = first >= n;
    if (*end) return OK;
    begin_batch(u, s);
    s->b.n_valid = (int)(n - first < u->batch ? n - first : u->batch);
    size_t native_used = 0;
    for (int i = 0; i < u->batch && !stopping(l); i++) { /* past the end: the last sample again */
        int64_t k = i < s->b.n_valid ? first + i : n - 1;
        TRY(put_sample(l, u, s, i, dataset_list(u->data, l->split)[k], 0, &native_used), "split %s", split_name[l->split]);
    }
    return OK;
}

/* ---- the thread ---- */

static void pause_randomly(unsigned most_ms, unsigned *state)
{
    unsigned ms = (unsigned)rand_r(state) % (most_ms + 1);
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

static slot *wait_for_room(loader *l)
{
    pthread_mutex_lock(&l->lock);
    slot *s = &l->ring[l->made % l->depth];
    while (s->full && !l->stop) pthread_cond_wait(&l->change, &l->lock);
    if (l->stop) s = NULL;
    pthread_mutex_unlock(&l->lock);
    return s;
}

static status run(loader *l)
{
    unsigned state = (unsigned)time(NULL) ^ (unsigned)(uintptr_t)l;
    for (slot *s; (s = wait_for_room(l));) {
        double begin = timer_now();
        bool end = false;
        if (l->delay_ms) pause_randomly(l->delay_ms, &state);
        TRY(fault_check("load", ST_DATA), "loader");
        if (l->eval) TRY(make_eval(l, s, &end), "loader");
        else TRY(make_train(l, s), "loader");
        if (end) break;
        s->b.load_s = timer_now() - begin;
        pthread_mutex_lock(&l->lock);
        s->full = true;
        l->made++;
        pthread_cond_broadcast(&l->change);
        pthread_mutex_unlock(&l->lock);
    }
    return OK;
}

static void *thread_main(void *arg)
{
    loader *l = arg;
    status st = run(l);
    pthread_mutex_lock(&l->lock);
    l->code = st;
    if (st) snprintf(l->message, sizeof l->message, "%s", status_message());
    l->ended = true;
    pthread_cond_broadcast(&l->change);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static status start(loader *l)
{
    const char *delay = getenv("MEDLEY_LOADER_DELAY_MS");
    if (delay) l->delay_ms = (unsigned)strtoul(delay, NULL, 10);
    TRY(make_ring(l), "loader");
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->change, NULL);
    l->mutex_made = true;
    int why = thread_start(&l->thread, thread_main, l);
    CHECK(why == 0, ST_RESOURCE, "cannot start the loader thread: %s", strerror(why));
    l->started = true;
    return OK;
}

/* ---- open, next, release, close ---- */

static status new_loader(loader **out, const dataset_use *uses, int n_uses, int depth)
{
    *out = NULL;
    loader *l;
    CHECK(n_uses > 0 && depth > 0, ST_BUG, "loader: %d uses, depth %d", n_uses, depth);
    TRY(mem_alloc(&l, sizeof *l, "loader"), "loader");
    l->n_uses = n_uses;
    l->depth = depth;
    status st = mem_alloc(&l->use, sizeof *l->use * (size_t)n_uses, "loader");
    if (!st) st = mem_alloc(&l->picker, sizeof *l->picker * (size_t)n_uses, "loader");
    if (st) {
        loader_close(l);
        return st;
    }
    memcpy(l->use, uses, sizeof *l->use * (size_t)n_uses);
    *out = l;
    return OK;
}

static status check_use(const dataset_use *u)
{
    const char *name = dataset_meta(u->data)->name;
    CHECK(u->batch >= 1 && u->batch <= 4096 && u->H >= 1 && u->W >= 1 && u->units >= 1, ST_USAGE,
          "data set %s: batch %d, image %dx%d, %d units", name, u->batch, u->H, u->W, u->units);
    CHECK(u->K == dataset_label(u->data)->n_classes, ST_BUG, "data set %s: K = %d, the label set has %d classes", name, u->K,
          dataset_label(u->data)->n_classes);
    CHECK(dataset_label(u->data)->kind != TASK_DETECTION || u->max_boxes >= 1, ST_USAGE, "data set %s: max_boxes = %d", name,
          u->max_boxes);
    return OK;
}

status loader_open(loader **out, const dataset_use *uses, int n_uses, const loader_unit *units, int n_units, uint64_t seed,
                   int64_t first_step, int depth)
{
    loader *l;
    TRY(new_loader(&l, uses, n_uses, depth), "training data");
    *out = NULL;
    l->seed = seed;
    l->step = first_step;
    l->n_units = n_units;
    status st = OK;
    CHECK_TO(fail, n_units > 0 && first_step >= 0, ST_BUG, "loader: %d units, first step %lld", n_units, (long long)first_step);
    TRY_TO(fail, mem_alloc(&l->unit, sizeof *units * (size_t)n_units, "units"), "loader");
    memcpy(l->unit, units, sizeof *units * (size_t)n_units);
    for (int i = 0; i < n_units; i++) {
        int k = units[i].use;
        CHECK_TO(fail, k >= 0 && k < n_uses && units[i].number >= 0 && units[i].number < uses[k].units, ST_BUG,
                 "loader: unit %d of use %d", units[i].number, k);
        if (l->picker[k]) continue;
        TRY_TO(fail, check_use(&l->use[k]), "training data");
        TRY_TO(fail, picker_open(&l->picker[k], &l->use[k], seed), "training data");
    }
    TRY_TO(fail, start(l), "training data");
    *out = l;
    return OK;
fail:
    loader_close(l);
    return st;
}

status loader_open_eval(loader **out, const dataset_use *use, enum split s, int part, int n_parts, int depth)
{
    loader *l;
    *out = NULL;
    CHECK((unsigned)s < N_SPLITS && n_parts > 0 && part >= 0 && part < n_parts, ST_BUG, "loader: split %d, part %d of %d", (int)s, part,
          n_parts);
    TRY(check_use(use), "evaluation data");
    TRY(new_loader(&l, use, 1, depth), "evaluation data");
    l->eval = true, l->split = s, l->part = part, l->n_parts = n_parts;
    status st = start(l);
    if (st) loader_close(l);
    else *out = l;
    return st;
}

status loader_next(loader *l, batch **out)
{
    *out = NULL;
    double begin = timer_now();
    pthread_mutex_lock(&l->lock);
    slot *s = &l->ring[l->taken % l->depth];
    /* `full` alone does not say that this turn of the ring is made: the caller may still hold the slot's last batch */
    while (l->made <= l->taken && !l->ended) pthread_cond_wait(&l->change, &l->lock);
    bool ready = l->made > l->taken;
    if (ready) l->taken++;
    pthread_mutex_unlock(&l->lock);
    l->waited += timer_now() - begin;
    if (ready) {
        *out = &s->b;
        return OK;
    }
    return l->code ? status_set(l->code, l->message) : OK;
}

void loader_release(loader *l, batch *b)
{
    if (!b) return;
    pthread_mutex_lock(&l->lock);
    ((slot *)(void *)b)->full = false; /* b is the slot's first member */
    pthread_cond_broadcast(&l->change);
    pthread_mutex_unlock(&l->lock);
}

void loader_close(loader *l)
{
    if (!l) return;
    if (l->started) {
        pthread_mutex_lock(&l->lock);
        l->stop = true;
        pthread_cond_broadcast(&l->change);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
    }
    for (int i = 0; l->ring && i < l->depth; i++)
        free(l->ring[i].memory), free(l->ring[i].box.at), free(l->ring[i].box_cls.at), free(l->ring[i].native.at), free(l->ring[i].note);
    for (int i = 0; l->picker && i < l->n_uses; i++) picker_close(l->picker[i]);
    if (l->mutex_made) {
        pthread_mutex_destroy(&l->lock);
        pthread_cond_destroy(&l->change);
    }
    scratch_free(&l->tmp);
    free(l->use), free(l->picker), free(l->unit), free(l->ring);
    free(l);
}

double loader_wait_s(const loader *l) { return l->waited; }

double loader_cpu_s(const loader *l)
{
    clockid_t clock;
    struct timespec now;
    if (!l->started || pthread_getcpuclockid(l->thread, &clock) != 0 || clock_gettime(clock, &now) != 0) return 0;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
