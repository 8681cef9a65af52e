/* probe_units: the units of a probe, fractions x repeats x methods of one encoder, shared out over the ranks. */
#include "probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_KINDS {[TASK_CLASSIFICATION] = true, [TASK_MULTILABEL] = true, [TASK_REGRESSION] = true}
const method_row probe_methods[N_METHODS] = {
    [METHOD_LINEAR] = {"linear", "frozen encoder, linear head", IMAGE_KINDS, false},
    [METHOD_NEIGHBOURS] = {"knn", "frozen encoder, nearest neighbours", {[TASK_CLASSIFICATION] = true}, false},
    [METHOD_DECODER] = {"decoder", "frozen encoder, decoder and head trained", {[TASK_SEGMENTATION] = true, [TASK_DETECTION] = true}, true},
    [METHOD_FINETUNE] = {"finetune", "everything trained", {true, true, true, true, true}, true},
};

typedef struct unit_result { int64_t cell; outcome o; } unit_result;

/* The vectors of all labelled samples on every rank. */
typedef struct table { float *x; int D; int64_t n; } table;

static status take_vector(void *arg, const sample_row *row, const float *x)
{
    table *t = arg;
    (void)row;
    memcpy(t->x + t->n++ * t->D, x, sizeof *x * (size_t)t->D);
    return OK;
}

/* Collective. */
static status make_table(probe *p, const weights *w, table *t)
{
    features *f = NULL;
    int C[5];
    t->D = features_columns(&w->enc, false, C);
    status st = mem_alloc(&t->x, sizeof *t->x * (size_t)(p->roll.n * t->D), "vectors");
    st = comm_agree(p->world, st);
    if (!st) st = features_open(&f, p->world, w, false, &p->seen);
    if (!st) st = features_each(f, p->roll.index, p->roll.n, take_vector, t);
    features_close(f);
    return st ? st : comm_bcast(p->world, t->x, sizeof *t->x * (size_t)(p->roll.n * t->D), 0);
}

/* ---- a unit -------------------------------------------------------------------------------------------------------------------------- */

typedef struct unit_spec { int method, fraction, repeat; } unit_spec; /* method: place in p->method */

bool probe_is_copy(const probe *p, int method, int fraction, int repeat)
{
    return !probe_methods[p->method[method]].trained && repeat > 0 &&
           draw_count(p->fraction[fraction], p->roll.n_subjects, p->least[repeat]) == p->roll.n_subjects;
}

static status train_unit(const probe *p, const unit_spec *u, const weights *w, const int64_t *rows, int64_t n, metric_result *r)
{
    job *j = NULL;
    int64_t *samples = NULL;
    bool frozen = p->method[u->method] == METHOD_DECODER;
    status st;
    TRY_TO(done, mem_alloc(&j, sizeof *j, "job"), "probe");
    TRY_TO(done, mem_alloc(&samples, sizeof *samples * (size_t)n, "samples"), "probe");
    for (int64_t i = 0; i < n; i++) samples[i] = p->roll.index[rows[i]];
    *j = *p->job;
    snprintf(j->model.encoder, sizeof j->model.encoder, "%s", w->enc.variant);
    j->seed = p->seed + 1000003 * (int64_t)u->repeat;
    j->train.steps = p->steps;
    j->optim.lr = frozen ? p->decoder_lr : p->lr;
    j->optim.min_lr = 0;
    j->optim.warmup = p->steps / 10;
    st = trainer_fit(&(fit_ask){.job = j, .from = w, .frozen = frozen, .samples = samples, .n = n, .split = SPLIT_TEST}, r);
done:
    free(j), free(samples);
    return st;
}

static void keep_values(const metric_result *r, outcome *o)
{
    o->score = r->score;
    snprintf(o->score_name, sizeof o->score_name, "%s", r->score_name);
    for (int k = 0; k < r->n && o->n < PROBE_VALUES; k++) {
        if (strchr(r->value[k].name, '/')) continue; /* of one class */
        snprintf(o->name[o->n], sizeof o->name[o->n], "%.31s", r->value[k].name);
        o->value[o->n++] = r->value[k].value;
    }
}

static status run_unit(const probe *p, const unit_spec *u, const weights *w, const table *t, int64_t *rows, outcome *o)
{
    metric_result *r;
    enum probe_method method = p->method[u->method];
    const int64_t *place = p->place + u->repeat * p->roll.n_subjects;
    *o = (outcome){.subjects = draw_count(p->fraction[u->fraction], p->roll.n_subjects, p->least[u->repeat])};
    o->samples = draw_rows(&p->roll, place, o->subjects, rows);
    watchdog_tick(-1, probe_methods[method].name, p->name);
    TRY(mem_alloc(&r, sizeof *r, "scores"), "probe");
    head_ask ask = {&p->roll, t->x, t->D, rows, o->samples, p->strength, (int)p->neighbours};
    status st = OK;
    switch (method) {
    case METHOD_LINEAR: st = head_linear(&ask, r, &o->setting); break;
    case METHOD_NEIGHBOURS:
        st = head_neighbours(&ask, r);
        o->setting = head_k((int)p->neighbours, o->samples);
        break;
    case METHOD_DECODER:
    case METHOD_FINETUNE:
        st = train_unit(p, u, w, rows, o->samples, r);
        o->setting = (double)p->steps;
        break;
    case N_METHODS: break;
    }
    if (!st) keep_values(r, o);
    else st = status_note(st, __FILE__, __LINE__, "%s, %g %%, repeat %d", probe_methods[method].name, p->fraction[u->fraction], u->repeat + 1);
    free(r);
    return st;
}

/* ---- all of them ------------------------------------------------------------------------------------------------------------------------ */

/* Number i of the units of an encoder: the largest fractions first, so that the ranks get about the same. */
static unit_spec unit_at(const probe *p, int64_t i)
{
    int64_t per_fraction = p->n_methods * p->repeats;
    return (unit_spec){.fraction = p->n_fractions - 1 - (int)(i / per_fraction), .method = (int)(i % per_fraction / p->repeats),
                       .repeat = (int)(i % p->repeats)};
}

static status run_mine(const probe *p, int encoder, const weights *w, const table *t, unit_result *mine, int64_t *n_mine)
{
    int64_t *rows, n = p->n_methods * p->n_fractions * p->repeats, k = 0;
    TRY(mem_alloc(&rows, sizeof *rows * (size_t)(p->roll.n_split[SPLIT_TRAIN] + 1), "rows"), "probe");
    status st = OK;
    for (int64_t i = 0; i < n && !st; i++) {
        unit_spec u = unit_at(p, i);
        if (probe_is_copy(p, u.method, u.fraction, u.repeat) || k++ % comm_size(p->world) != comm_rank(p->world)) continue;
        unit_result *to = &mine[(*n_mine)++];
        to->cell = probe_cell(p, encoder, u.method, u.fraction, u.repeat);
        st = run_unit(p, &u, w, t, rows, &to->o);
    }
    free(rows);
    return st;
}

/* Rank 0: what all ranks found into its cells, and the copies. */
static void file_away(probe *p, int encoder, const char *all, size_t bytes)
{
    for (const char *at = all; at < all + bytes; at += sizeof(unit_result)) {
        unit_result u;
        memcpy(&u, at, sizeof u);
        p->result[u.cell] = u.o;
    }
    for (int64_t i = 0; i < p->n_methods * p->n_fractions * p->repeats; i++) {
        unit_spec u = unit_at(p, i);
        if (probe_is_copy(p, u.method, u.fraction, u.repeat))
            p->result[probe_cell(p, encoder, u.method, u.fraction, u.repeat)] = p->result[probe_cell(p, encoder, u.method, u.fraction, 0)];
    }
}

status probe_encoder_units(probe *p, int encoder, const weights *w)
{
    table t = {0};
    unit_result *mine = NULL;
    void *all = NULL;
    size_t *sizes = NULL, bytes = 0;
    int64_t n_mine = 0;
    bool vectors = false;
    for (int m = 0; m < p->n_methods; m++) vectors |= !probe_methods[p->method[m]].trained;
    status st = vectors ? make_table(p, w, &t) : OK;
    if (!st) {
        st = mem_alloc(&mine, sizeof *mine * (size_t)(p->n_methods * p->n_fractions * p->repeats), "results");
        if (!st) st = mem_alloc(&sizes, sizeof *sizes * (size_t)comm_size(p->world), "sizes");
        if (!st) st = run_mine(p, encoder, w, &t, mine, &n_mine);
        st = comm_agree(p->world, st);
    }
    if (!st) st = comm_gather(p->world, mine, sizeof *mine * (size_t)n_mine, 0, &all, sizes);
    if (!st && comm_rank(p->world) == 0) {
        for (int r = 0; r < comm_size(p->world); r++) bytes += sizes[r];
        file_away(p, encoder, all, bytes);
    }
    free(t.x), free(mine), free(sizes), free(all);
    return st;
}
