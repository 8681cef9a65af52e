/* evaluate: `medley evaluate`: metrics of every task on a split, with intervals, as a table, as CSV and in the record. */
#include "medley/command.h"
#include "medley/train.h"
#include "medley/use.h"

#include "scores.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct evaluation {
    const char *run, *weights;
    enum split split;
    int         n_boot;
    trainer    *t;
    record     *record;     /* rank 0 */
    FILE       *csv;        /* rank 0: RUN/scores-SPLIT.csv, in memory until it is complete */
    char       *csv_text;
    size_t      csv_bytes;
    double      sum;
    int         n_scored;
} evaluation;

/* ---- one task, on rank 0 ---------------------------------------------------------------------------------------------------- */

static void sample_line(void *arg, const char *csv)
{
    size_t n = strlen(csv);
    fprintf(arg, "%s%s", csv, n && csv[n - 1] == '\n' ? "" : "\n");
}

/* RUN/samples-SPLIT-TASK.csv: what was predicted for every sample. */
static status write_samples(const evaluation *e, const char *name, metric *m)
{
    char path[900], safe[64], *text = NULL;
    size_t n = 0, k = 0;
    for (; name[k] && k + 1 < sizeof safe; k++) safe[k] = isalnum((unsigned char)name[k]) || strchr("._-", name[k]) ? name[k] : '_';
    safe[k] = 0;
    CHECK(snprintf(path, sizeof path, "%s/samples-%s-%s.csv", e->run, split_name[e->split], safe) < (int)sizeof path, ST_USAGE,
          "path too long: %.80s...", e->run);
    FILE *f;
    TRY(mem_text_open(&f, &text, &n, "table of samples"), "%s", path);
    status st = metric_each(m, sample_line, f), closed = mem_text_close(f, &text, "table of samples");
    if (!st) st = closed;
    if (!st) st = file_write_atomic(path, text, n);
    free(text);
    return st;
}

/* The score's own interval, if it is one of the metrics. */
static metric_value score_of(const metric_result *r)
{
    metric_value v = {.value = r->score, .lo = NAN, .hi = NAN};
    snprintf(v.name, sizeof v.name, "%s", r->score_name);
    for (int k = 0; k < r->n; k++)
        if (strcmp(r->value[k].name, r->score_name) == 0) v.lo = r->value[k].lo, v.hi = r->value[k].hi;
    return v;
}

static void put_row(evaluation *e, const task *tk, const metric_result *r, const metric_value *v, bool first)
{
    score_row row = {
        .value = v->value, .lo = v->lo, .hi = v->hi, .n_samples = r->n_samples, .n_cases = r->n_cases, .step = trainer_step(e->t)};
    char text[64];
    const char *base = strrchr(e->weights, '/');
    snprintf(row.task, sizeof row.task, "%s", tk->spec.name);
    snprintf(row.metric, sizeof row.metric, "%s", v->name);
    snprintf(row.weights, sizeof row.weights, "%.63s", base ? base + 1 : e->weights);
    scores_line(e->csv, &row);
    scores_text(&row, text);
    if (first)
        printf("%-24s %-14s %7lld %6lld  %-22s %s\n", row.task, task_kind_name[tk->spec.kind], (long long)row.n_samples,
               (long long)row.n_cases, row.metric, text);
    else if (!strchr(row.metric, '/')) printf("%-24s %-14s %7s %6s  %-22s %s\n", "", "", "", "", row.metric, text);
}

static status write_event(evaluation *e, const task *tk, const metric_result *r)
{
    metric_value score = score_of(r);
    record *to = e->record;
    record_begin(to, "evaluate");
    record_i64(to, "step", trainer_step(e->t));
    record_str(to, "task", tk->spec.name);
    record_str(to, "split", split_name[e->split]);
    record_str(to, "weights", e->weights);
    record_i64(to, "n_samples", r->n_samples);
    record_i64(to, "n_cases", r->n_cases);
    record_str(to, "score_name", r->score_name);
    record_f64(to, "score", score.value);
    record_f64(to, "score_lo", score.lo);
    record_f64(to, "score_hi", score.hi);
    for (int k = 0; k < r->n; k++) record_f64(to, r->value[k].name, r->value[k].value);
    return record_end(to);
}

static status finish_task(evaluation *e, int i, metric *m)
{
    const task *tk = trainer_task(e->t, i);
    metric_result *r;
    TRY(mem_alloc(&r, sizeof *r, "metric result"), "scores");
    status st = metric_finish(m, e->n_boot, (uint64_t)trainer_job(e->t)->seed, r);
    if (!st && r->n_samples == 0)
        printf("%-24s %-14s no labelled samples in this split\n", tk->spec.name, task_kind_name[tk->spec.kind]);
    if (!st && r->n_samples > 0) {
        metric_value score = score_of(r);
        put_row(e, tk, r, &score, true);
        for (int k = 0; k < r->n; k++)
            if (strcmp(r->value[k].name, r->score_name) != 0) put_row(e, tk, r, &r->value[k], false);
        fflush(stdout);
        if (isfinite(r->score)) e->sum += r->score, e->n_scored++;
        st = write_samples(e, tk->spec.name, m);
        if (!st) st = write_event(e, tk, r);
    }
    free(r);
    return st;
}

/* ---- the command -------------------------------------------------------------------------------------------------------------- */

static status begin(evaluation *e)
{
    char path[800];
    snprintf(path, sizeof path, "%s/record.jsonl", e->run);
    TRY(mem_text_open(&e->csv, &e->csv_text, &e->csv_bytes, "scores"), "evaluate");
    scores_head(e->csv);
    TRY(record_open(&e->record, path, INT64_MAX), "evaluate");
    printf("%s: %s split, weights \"%s\" of step %lld\n\n", e->run, split_name[e->split], e->weights, (long long)trainer_step(e->t));
    printf("%-24s %-14s %7s %6s  %-22s %s\n", "task", "kind", "samples", "cases", "metric",
           e->n_boot ? "value [95 % interval]" : "value");
    return OK;
}

static status finish(evaluation *e)
{
    char path[800];
    FILE *csv = e->csv;
    e->csv = NULL;
    TRY(mem_text_close(csv, &e->csv_text, "scores"), "evaluate");
    CHECK(e->n_scored > 0, ST_DATA, "%s: no task has labelled samples in the %s split", e->run, split_name[e->split]);
    snprintf(path, sizeof path, "%s/scores-%s.csv", e->run, split_name[e->split]);
    TRY(file_write_atomic(path, e->csv_text, e->csv_bytes), "scores");
    printf("\nmean of %d scores %.4f; written to %s\n", e->n_scored, e->sum / e->n_scored, path);
    return OK;
}

/* Collective. What rank 0 does alone is agreed on before the next collective. */
static status evaluate(comm *world, evaluation *e)
{
    bool speaks = comm_rank(world) == 0;
    TRY(trainer_open_run(&e->t, world, e->run, e->weights), "evaluate");
    TRY(comm_agree(world, speaks ? begin(e) : OK), "evaluate");
    for (int i = 0; i < trainer_n_tasks(e->t); i++) {
        metric *m;
        TRY(trainer_evaluate(e->t, i, e->split, &m), "evaluate");
        status st = speaks ? finish_task(e, i, m) : OK;
        metric_free(m);
        TRY(comm_agree(world, st), "evaluate");
    }
    return comm_agree(world, speaks ? finish(e) : OK);
}

status cmd_evaluate(int argc, char **argv)
{
    evaluation e = {.weights = "best"};
    const char *split = "test", *args[1];
    int64_t n_boot = 1000;
    int n_args = 0;
    const command_option options[] = {
        {.name = "--split", .arg = "SPLIT", .text = &split, .choices = "train|val|test", .help = "train, val or test (default test)"},
        {.name = "--weights", .arg = "WHICH", .text = &e.weights,
         .help = "best (by validation, default), last (newest checkpoint) or a checkpoint file"},
        {.name = "--boot", .arg = "N", .number = &n_boot, .lo = 0, .hi = 100000,
         .help = "bootstrap samples of the 95 % intervals (default 1000; 0: no intervals)"},
        {0},
    };
    const command_line c = {
        "medley evaluate RUN [--split SPLIT] [--weights WHICH] [--boot N]",
        "Metrics of every task of a run on one split, on any number of ranks. Prints a table and writes RUN/scores-SPLIT.csv and, "
        "with the prediction for every sample, RUN/samples-SPLIT-TASK.csv. Intervals come from a bootstrap over cases.",
        options, 1, 1};
    if (command_help(&c, argc, argv)) return OK;
    comm *world;
    TRY(use_open(argc, argv, &world), "evaluate");
    status st = comm_agree(world, command_parse(&c, argc, argv, args, &n_args));
    for (int s = 0; s < N_SPLITS; s++)
        if (strcmp(split, split_name[s]) == 0) e.split = (enum split)s;
    e.n_boot = (int)n_boot;
    if (!st) e.run = args[0], st = evaluate(world, &e);
    if (e.csv) fclose(e.csv);
    free(e.csv_text);
    record_close(e.record);
    trainer_close(e.t);
    return use_close(world, st);
}
