/* validate: metrics of a task on a split. The task's ranks share its batches; rank 0 merges what they collected and decides. */
#include "train_internal.h"

#include "medley/kern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Weights that evaluation uses: the moving average if the job keeps one. */
static const float *eval_weights(const trainer *t) { return t->training && t->ema ? t->ema : t->w; }

/* Local: this rank's share of the batches. */
static status collect(trainer *t, int i, enum split s, metric *m)
{
    task_state *ts = &t->ts[i];
    loader *l = NULL;
    uint64_t *cases = NULL;
    status st;
    if (!ts->eval_data) TRY(dataset_twin(&ts->eval_data, ts->data), "evaluation");
    dataset_use use = t->uses[i];
    use.data = ts->eval_data;
    int part = comm_rank(ts->group), n_parts = ts->group ? comm_size(ts->group) : 1;
    TRY_TO(done, mem_alloc(&cases, sizeof *cases * (size_t)use.batch, "case ids"), "evaluation");
    TRY_TO(done, loader_open_eval(&l, &use, s, part, n_parts, 2), "evaluation");
    for (;;) {
        batch *b;
        TRY_TO(done, watchdog_point(t->step, "evaluate", ts->task.spec.name, ST_DATA), "evaluation");
        if (t->training && stop_due(t)) break; /* the caller learns of it and throws the part away */
        TRY_TO(done, loader_next(l, &b), "evaluation: load");
        if (!b) break;
        for (int k = 0; k < b->n_valid; k++) cases[k] = dataset_case(ts->eval_data, b->sample[k]);
        for (int k = 0; k < task_pieces(ts->eval_run, b) && !st; k++) {
            batch piece = task_piece(ts->eval_run, b, k);
            if (piece.n_valid == 0) break;
            task_forward(ts->eval_run, &t->pt, eval_weights(t), &piece, false);
            st = metric_add(m, ts->eval_run, &piece, cases + k * piece.B);
        }
        loader_release(l, b);
        TRY_TO(done, st, "evaluation");
    }
    st = OK;
done:
    if (l) loader_close(l);
    free(cases);
    return st;
}

/* One sample from each of n equal pieces of a split, at a place in the piece that does not follow any period of the data: the same on all
 * ranks. Ascending. */
static status choose_examples(const trainer *t, int i, enum split s, int wanted, int64_t **out, int *n)
{
    const dataset_use *use = &t->uses[i];
    int64_t all = dataset_count(use->data, s);
    *n = (int)(wanted < all ? wanted : all);
    TRY(mem_alloc(out, sizeof **out * (size_t)(*n + 1), "examples"), "evaluation");
    for (int j = 0; j < *n; j++) {
        int64_t from = j * all / *n, to = (j + 1) * all / *n;
        rng r = rng_open((rng_key){.seed = use->task_hash, .a = (uint32_t)j}, RNG_ORDER, 1);
        (*out)[j] = dataset_at(use->data, s, from + (int64_t)rng_below(&r, (uint32_t)(to - from)));
    }
    return OK;
}

/* More than a validation asks for. */
static status want_all(const trainer *t, int i, enum split s, int n_examples, metric *m)
{
    metric_ask ask = {0};
    int64_t *chosen = NULL;
    status st = t->ts[i].mine ? choose_examples(t, i, s, n_examples, &chosen, &ask.n_examples) : OK;
    ask.example = chosen;
    if (!st) st = metric_want(m, &ask);
    free(chosen);
    return st;
}

/* n_examples < 0: scores alone. */
static status evaluate(trainer *t, int i, enum split s, int n_examples, metric **out)
{
    metric *m = NULL;
    void *bytes = NULL, *all = NULL;
    size_t n_bytes = 0, *sizes = NULL;
    *out = NULL;
    bool bf16 = kern_use_bf16(false); /* scores are those that evaluate, predict and other programs get from the same weights */
    watchdog_tick(t->step, "evaluate", t->ts[i].task.spec.name);
    status st = metric_init(&m, &t->ts[i].task);
    if (!st && n_examples >= 0) st = want_all(t, i, s, n_examples, m);
    if (!st && t->ts[i].mine) st = collect(t, i, s, m);
    if (!st && t->ts[i].mine && t->rank != 0) st = metric_pack(m, &bytes, &n_bytes);
    if (!st) st = mem_alloc(&sizes, sizeof *sizes * (size_t)t->size, "gather sizes");
    if (st)
        st = status_note(st, __FILE__, __LINE__, "step %lld, evaluate, task %s, split %s", (long long)t->step, t->ts[i].task.spec.name,
                         split_name[s]);
    TRY_TO(done, comm_agree(t->world, st), "evaluation");
    TRY_TO(done, comm_gather(t->world, bytes, n_bytes, 0, &all, sizes), "task %s", t->ts[i].task.spec.name);
    if (t->rank == 0) {
        char *at = all;
        for (int r = 0; r < t->size; at += sizes[r], r++)
            if (!st && sizes[r] > 0) st = metric_merge(m, at, sizes[r]);
    }
    TRY_TO(done, comm_agree(t->world, st), "task %s, merging", t->ts[i].task.spec.name);
    if (t->rank == 0) *out = m, m = NULL;
done:
    kern_use_bf16(bf16);
    metric_free(m);
    free(bytes);
    free(all);
    free(sizes);
    return st;
}

status trainer_evaluate(trainer *t, int i, enum split s, metric **out) { return evaluate(t, i, s, -1, out); }
status trainer_examine(trainer *t, int i, enum split s, int n_examples, metric **out) { return evaluate(t, i, s, n_examples, out); }

static status write_record(trainer *t, int i, const metric_result *r)
{
    record_begin(t->record, "validate");
    record_i64(t->record, "step", t->step);
    record_str(t->record, "task", t->ts[i].task.spec.name);
    record_str(t->record, "split", split_name[SPLIT_VAL]);
    record_str(t->record, "score_name", r->score_name);
    record_f64(t->record, "score", r->score);
    record_i64(t->record, "n_samples", r->n_samples);
    for (int k = 0; k < r->n; k++) record_f64(t->record, r->value[k].name, r->value[k].value);
    return record_end(t->record);
}

/* Collective: has a stop come on any rank? */
static status ask_stop(trainer *t, bool *cut)
{
    double due = stop_due(t);
    TRY(comm_max_f64(t->world, &due, 1), "validation");
    *cut = due > 0;
    return OK;
}

/* Task i's metrics into *r on rank 0, with its part of the line for people. */
static status validate_task(trainer *t, int i, metric_result *r, char *line, size_t n_line, bool *cut)
{
    metric *m;
    status st = OK;
    TRY(trainer_evaluate(t, i, SPLIT_VAL, &m), "validation");
    TRY_TO(done, ask_stop(t, cut), "validation");
    if (t->rank == 0 && !*cut) {
        st = metric_finish(m, 0, 0, r);
        size_t at = strlen(line);
        if (!st) snprintf(line + at, n_line - at, "  %s %s %.3f", t->ts[i].task.spec.name, r->score_name, r->score);
    }
    st = comm_agree(t->world, st);
done:
    metric_free(m);
    return st;
}

/* Rank 0: the lines of the record, when all tasks are through: a validation that is cut short leaves none. */
static status write_records(trainer *t, const metric_result *results, const bool *has)
{
    for (int i = 0; i < t->n_tasks; i++)
        if (has[i]) TRY(write_record(t, i, &results[i]), "validation");
    return OK;
}

/* All tasks on their validation splits; the mean of their scores selects best.h5. The test split is never read here. */
status validate_all(trainer *t, bool *cut)
{
    double began = timer_now(), sum = 0;
    int n = 0;
    char line[4096] = "";
    bool has[JOB_MAX_TASKS] = {false};
    metric_result *results = NULL;
    *cut = false;
    status st = t->rank == 0 ? mem_alloc(&results, sizeof *results * (size_t)t->n_tasks, "metric results") : OK;
    TRY_TO(done, comm_agree(t->world, st), "validation");
    for (int i = 0; i < t->n_tasks && !*cut; i++) {
        if (t->ts[i].n_split[SPLIT_VAL] == 0 || t->ts[i].suspended) continue;
        metric_result *r = results ? &results[i] : NULL;
        TRY_TO(done, validate_task(t, i, r, line, sizeof line, cut), "validation");
        has[i] = true;
        if (r && isfinite(r->score)) sum += r->score, n++;
    }
    if (*cut) goto done;
    if (t->rank == 0) st = write_records(t, results, has);
    TRY_TO(done, comm_agree(t->world, st), "validation");
    double mean = n ? sum / n : -1;
    TRY_TO(done, comm_bcast(t->world, &mean, sizeof mean, 0), "validation");
    if (mean < 0) goto done;
    log_line(LOG_INFO, "step %lld: validation mean %.4f (%.1f s):%s", (long long)t->step, mean, timer_now() - began, line);
    if (mean > t->best_score) {
        t->best_score = mean;
        t->best_step = t->step;
        TRY_TO(done, save_begin(t, false), "best weights");
    }
done:
    free(results);
    return st;
}
