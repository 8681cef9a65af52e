/* tensorboard: event files: TFRecord frames (length, data, each with its masked CRC-32C) around protobuf messages Event { wall_time = 1, step = 2,
 * file_version = 3, summary = 5 }, Summary { value = 1 }, Value { tag = 1, simple_value = 2 }. Points stand in the order of steps. */
#include "tensorboard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct message { uint8_t b[512]; size_t n; } message;

static void put_raw(message *m, const void *p, size_t n)
{
    if (n > sizeof m->b - m->n) n = sizeof m->b - m->n; /* tags are cut before */
    memcpy(m->b + m->n, p, n);
    m->n += n;
}

static void put_varint(message *m, uint64_t v)
{
    uint8_t b[10];
    size_t n = 0;
    for (; v > 127; v >>= 7) b[n++] = (uint8_t)(v | 128);
    b[n++] = (uint8_t)v;
    put_raw(m, b, n);
}

enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };
static void put_key(message *m, int field, int wire) { put_varint(m, (uint64_t)(field << 3 | wire)); }

static void put_bytes(message *m, int field, const void *p, size_t n)
{
    put_key(m, field, WIRE_BYTES);
    put_varint(m, n);
    put_raw(m, p, n);
}

static void put_little(message *m, uint64_t v, int bytes)
{
    uint8_t b[8];
    for (int i = 0; i < bytes; i++) b[i] = (uint8_t)(v >> (8 * i));
    put_raw(m, b, (size_t)bytes);
}

static uint32_t masked(const void *p, size_t n)
{
    uint32_t crc = crc32c(0, p, n);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void put_frame(FILE *f, const message *event)
{
    message head = {.n = 0}, tail = {.n = 0};
    put_little(&head, event->n, 8);
    put_little(&head, masked(head.b, 8), 4);
    put_little(&tail, masked(event->b, event->n), 4);
    fwrite(head.b, 1, head.n, f);
    fwrite(event->b, 1, event->n, f);
    fwrite(tail.b, 1, tail.n, f);
}

static message begin_event(double wall_time)
{
    message m = {.n = 0};
    uint64_t bits;
    memcpy(&bits, &wall_time, sizeof bits);
    put_key(&m, 1, WIRE_64);
    put_little(&m, bits, 8);
    return m;
}

static void put_version(FILE *f, double wall_time)
{
    static const char version[] = "brain.Event:2";
    message m = begin_event(wall_time);
    put_bytes(&m, 3, version, sizeof version - 1);
    put_frame(f, &m);
}

static void put_scalar(FILE *f, double wall_time, int64_t step, const char *tag, double value)
{
    message v = {.n = 0}, summary = {.n = 0}, m = begin_event(wall_time);
    float x = (float)value;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_bytes(&v, 1, tag, strnlen(tag, 200));
    put_key(&v, 2, WIRE_32);
    put_little(&v, bits, 4);
    put_bytes(&summary, 1, v.b, v.n);
    put_key(&m, 2, WIRE_VARINT);
    put_varint(&m, (uint64_t)step);
    put_bytes(&m, 5, summary.b, summary.n);
    put_frame(f, &m);
}

/* ---- what a run has to show -------------------------------------------------------------------------------------------------------- */

typedef struct line { char tag[200]; const series *s; } line;
typedef struct point { double step, value; int line; } point;
typedef struct sheet { line *line; point *point; int n_lines, n_points; } sheet;

static void add_line(sheet *sh, const series *s, const char *group, const char *name)
{
    if (s->n == 0) return;
    line *l = &sh->line[sh->n_lines];
    snprintf(l->tag, sizeof l->tag, "%s/%s", group, name);
    l->s = s;
    for (int i = 0; i < s->n; i++) sh->point[sh->n_points++] = (point){s->x[i], s->y[i], sh->n_lines};
    sh->n_lines++;
}

static int by_step(const void *pa, const void *pb)
{
    const point *a = pa, *b = pb;
    if (a->step != b->step) return a->step < b->step ? -1 : 1;
    return a->line - b->line;
}

static status collect(sheet *sh, const history *h)
{
    const struct { const series *s; const char *group, *name; } own[] = {
        {&h->loss, "loss", "mean"}, {&h->mean_score, "validation", "mean"}, {&h->lr, "optimiser", "learning rate"},
        {&h->grad_norm, "optimiser", "gradient norm"}, {&h->rate, "time", "images per second"}, {&h->wait, "time", "percent of a step waited"},
        {&h->memory, "memory", "MiB of the largest rank"}};
    enum { N_OWN = sizeof own / sizeof *own };
    size_t n_points = 0, n_lines = N_OWN + 2 * (size_t)h->n_tasks;
    for (int k = 0; k < N_OWN; k++) n_points += (size_t)own[k].s->n;
    for (int i = 0; i < h->n_tasks; i++) n_points += (size_t)h->task[i].loss.n + (size_t)h->task[i].score.n;
    TRY(mem_alloc(&sh->line, sizeof *sh->line * (n_lines + 1), "curves"), "tensorboard");
    TRY(mem_alloc(&sh->point, sizeof *sh->point * (n_points + 1), "points"), "tensorboard");
    for (int k = 0; k < N_OWN; k++) add_line(sh, own[k].s, own[k].group, own[k].name);
    for (int i = 0; i < h->n_tasks; i++) {
        char name[128];
        const task_history *t = &h->task[i];
        add_line(sh, &t->loss, "loss", t->name);
        snprintf(name, sizeof name, "%s %s", t->name, t->score_name);
        add_line(sh, &t->score, "validation", name);
    }
    if (sh->n_points) qsort(sh->point, (size_t)sh->n_points, sizeof *sh->point, by_step);
    return OK;
}

/* The record's curves know steps; their times are spread evenly between its first and its last. */
static void put_all(FILE *f, const sheet *sh, const report *r)
{
    const history *h = &r->h;
    double pace = h->step > 0 ? (h->last_time - h->first_time) / (double)h->step : 0;
    put_version(f, h->first_time);
    for (int i = 0; i < sh->n_points; i++) {
        const point *p = &sh->point[i];
        if (p->step >= 0 && p->step < 9e15) put_scalar(f, h->first_time + pace * p->step, (int64_t)p->step, sh->line[p->line].tag, p->value);
    }
    for (int s = 0; s < N_SPLITS; s++)
        for (int i = 0; i < r->n_score[s]; i++) {
            char tag[200];
            const score_row *row = &r->score[s][i];
            if (row->centre[0] || !isfinite(row->value)) continue;
            snprintf(tag, sizeof tag, "%s split/%s %s", split_name[s], row->task, row->metric);
            put_scalar(f, h->last_time, row->step, tag, row->value);
        }
}

status tensorboard_write(const report *r, const char *dir, char *path)
{
    sheet sh = {0};
    char *text = NULL;
    size_t n = 0;
    FILE *f;
    status st;
    CHECK(snprintf(path, 1000, "%s/events.out.tfevents.%010.0f.medley", dir, r->h.first_time) < 1000, ST_USAGE, "path too long: %.80s...", dir);
    TRY_TO(done, path_make_dirs(dir), "tensorboard");
    TRY_TO(done, collect(&sh, &r->h), "tensorboard");
    TRY_TO(done, mem_text_open(&f, &text, &n, "events"), "tensorboard");
    put_all(f, &sh, r);
    TRY_TO(done, mem_text_close(f, &text, "events"), "tensorboard");
    st = file_write_atomic(path, text, n);
done:
    free(sh.line);
    free(sh.point);
    free(text);
    return st;
}
