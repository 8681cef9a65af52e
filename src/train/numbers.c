/* numbers: where a number that is not finite comes from, and what all ranks learn of it. The step itself only looks at losses, labels and
 * gradients; what follows here runs after a bad unit, so it may be slow. Looked at in the order of the corridor, the first bad thing is the
 * source: image, label, weights, outputs layer by layer, gradients from the loss backwards. */
#include "train_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const cause_name[N_CAUSES] = {"none", "image", "label", "weight", "activation", "gradient", "range", "loss"};

status numbers_init(trainer *t)
{
    TRY(mem_alloc(&t->drop, sizeof *t->drop * (size_t)t->n_units, "notes of dropped units"), "plan");
    return mem_alloc(&t->replica, sizeof *t->replica * REPLICA_ARRAYS * 2 * (size_t)t->pt.n, "checksums of replicas");
}

void numbers_free(trainer *t)
{
    free(t->drop);
    free(t->replica);
}

int numbers_ranges(const trainer *t, const task_state *ts, int range[4][2])
{
    int n = 0;
    for (int block = BLOCK_ENCODER; block < BLOCK_HEAD0; block++)
        if (task_uses(&ts->task, block)) range[n][0] = t->block_first[block], range[n][1] = t->block_last[block], n++;
    range[n][0] = ts->head_first, range[n][1] = ts->head_last;
    return n + 1;
}

/* Place of the first number that is not finite; -1: none. */
static int64_t first_bad(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return i;
    return -1;
}

/* ---- one after another -------------------------------------------------------------------------------------------------------- */

typedef struct search { drop_note *note; int sample; } search; /* sample: number in the batch, -1: all take part */

static bool bad_image(const batch *b, search *s)
{
    int64_t n = (int64_t)b->H * b->W * 3, at = first_bad(b->image, n * b->B);
    if (at < 0) return false;
    s->note->cause = CAUSE_IMAGE;
    s->sample = (int)(at / n);
    snprintf(s->note->tensor, sizeof s->note->tensor, "image");
    return true;
}

static bool bad_label(const task_state *ts, const batch *b, search *s)
{
    s->sample = task_label_fault(&ts->task.spec, b);
    if (s->sample < 0) return false;
    s->note->cause = CAUSE_LABEL;
    snprintf(s->note->tensor, sizeof s->note->tensor, "label");
    return true;
}

/* The last bad tensor of an arena in the ranges a task uses: for gradients the nearest to the loss. */
static int last_bad(const trainer *t, const task_state *ts, const float *arena)
{
    int range[4][2], n = numbers_ranges(t, ts, range);
    for (int i = n - 1; i >= 0; i--)
        for (int k = range[i][1] - 1; k >= range[i][0]; k--) {
            const param *p = &t->pt.p[t->local[k]];
            if (first_bad(arena + p->off, p->n) >= 0) return t->local[k];
        }
    return -1;
}

static bool bad_tensor(const trainer *t, const task_state *ts, const float *arena, enum drop_cause cause, search *s)
{
    int i = last_bad(t, ts, arena);
    if (i < 0) return false;
    s->note->cause = cause;
    snprintf(s->note->tensor, sizeof s->note->tensor, "%s", t->pt.p[i].name);
    return true;
}

static bool bad_output(void *arg, const char *name, const float *x, int64_t B, int64_t n)
{
    search *s = arg;
    int64_t at = first_bad(x, B * n);
    if (at < 0) return false;
    s->note->cause = CAUSE_OUTPUT;
    s->sample = (int)(at / n);
    snprintf(s->note->tensor, sizeof s->note->tensor, "%s", name);
    return true;
}

/* The ids of the samples that may be at fault: one, or all of the unit. */
static void name_samples(const task_state *ts, const batch *b, int sample, char out[], size_t room)
{
    size_t n = 0;
    out[0] = 0;
    for (int i = 0; i < b->n_valid && n + 1 < room; i++)
        if (sample < 0 || sample == i)
            n += (size_t)snprintf(out + n, room - n, "%s%s", n ? "," : "", dataset_sample_id(ts->data, b->sample[i]));
    if (n >= room) memcpy(out + room - 4, "...", 4);
}

void numbers_find(const trainer *t, const task_state *ts, const batch *b, int piece, int out_of_range, drop_note *note)
{
    search s = {note, -1};
    *note = (drop_note){.rank = t->rank};
    bool found = bad_image(b, &s) || bad_label(ts, b, &s) || bad_tensor(t, ts, t->w, CAUSE_WEIGHT, &s) ||
                 task_outputs(ts->run, bad_output, &s) || bad_tensor(t, ts, t->g, CAUSE_GRADIENT, &s);
    if (note->cause == CAUSE_OUTPUT) s.sample += piece * (b->B / task_pieces(ts->run, b)); /* outputs are the piece's */
    if (!found) {
        note->cause = out_of_range >= 0 ? CAUSE_RANGE : CAUSE_LOSS;
        snprintf(note->tensor, sizeof note->tensor, "%s", out_of_range >= 0 ? t->pt.p[t->local[out_of_range]].name : "loss");
    }
    name_samples(ts, b, s.sample, note->sample, sizeof note->sample);
}

void numbers_say(const drop_note *d, char *out, size_t room)
{
    const char *many = strchr(d->sample, ',') ? "s" : "";
    switch (d->cause) {
    case CAUSE_IMAGE: snprintf(out, room, "image of sample %s is not finite", d->sample); break;
    case CAUSE_LABEL: snprintf(out, room, "label of sample %s is not finite or out of range", d->sample); break;
    case CAUSE_WEIGHT: snprintf(out, room, "weight %s is not finite", d->tensor); break;
    case CAUSE_OUTPUT: snprintf(out, room, "output of %s is not finite (sample %s)", d->tensor, d->sample); break;
    case CAUSE_GRADIENT: snprintf(out, room, "gradient of %s is not finite (sample%s %s)", d->tensor, many, d->sample); break;
    case CAUSE_RANGE: snprintf(out, room, "gradient of %s leaves the range of the exact sum (sample%s %s)", d->tensor, many, d->sample); break;
    default: snprintf(out, room, "loss is not finite, although all it comes from is (sample%s %s)", many, d->sample); break;
    }
}

/* ---- what all ranks learn --------------------------------------------------------------------------------------------------------- */

static status record_drop(trainer *t, int u, const drop_note *d)
{
    record_begin(t->record, "drop");
    record_i64(t->record, "step", t->step + 1);
    record_str(t->record, "task", t->ts[t->units[u].task].task.spec.name);
    record_i64(t->record, "unit", t->units[u].number);
    record_i64(t->record, "rank", d->rank);
    record_str(t->record, "cause", cause_name[d->cause]);
    record_str(t->record, "tensor", d->tensor);
    record_str(t->record, "sample", d->sample);
    return record_end(t->record);
}

static status record_suspend(trainer *t, const task_state *ts)
{
    record_begin(t->record, "suspend");
    record_i64(t->record, "step", t->step + 1);
    record_str(t->record, "task", ts->task.spec.name);
    record_i64(t->record, "failures", ts->failures);
    return record_end(t->record);
}

status numbers_record(trainer *t, int n_suspended)
{
    status st = OK;
    int n_dropped = 0;
    for (int u = 0; u < t->n_units; u++) {
        if (t->report[REPORT_HEAD + u * REPORT_UNIT + REPORT_DROPPED] <= 0) continue;
        n_dropped++;
        TRY(comm_bcast(t->world, &t->drop[u], sizeof t->drop[u], t->rank_of[u]), "dropped unit");
        if (t->record && !st) st = record_drop(t, u, &t->drop[u]);
    }
    for (int i = 0; i < t->n_tasks && n_suspended > 0; i++)
        if (t->record && !st && t->ts[i].suspended_now) st = record_suspend(t, &t->ts[i]);
    return n_dropped + n_suspended > 0 ? comm_agree(t->world, st) : OK; /* most steps have nothing to agree on */
}
