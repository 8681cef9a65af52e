/* evaluate: `medley evaluate`: metrics of every task on a split, with intervals, as a table, as CSV and in the record; and examples. */
#include "medley/command.h"
#include "medley/train.h"
#include "medley/use.h"

#include "examples.h"
#include "scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct evaluation {
    const char *run, *weights;
    enum split split;
    int         n_boot, n_examples;
    trainer    *t;
    record     *record;     /* rank 0 */
    FILE       *csv;        /* rank 0: RUN/scores-SPLIT.csv, in memory until it is complete */
    char       *csv_text;
    size_t      csv_bytes;
    double      sum;
    int         n_scored;
} evaluation;

/* ---- one task, on rank 0 ---------------------------------------------------------------------------------------------------- */

typedef struct table { FILE *f; int n; } table;

static void table_line(void *arg, const char *csv)
{
    table *t = arg;
    fprintf(t->f, "%s\n", csv);
    t->n++;
}

/* The tables of a task: RUN/WHAT-SPLIT-TASK.csv, none where the kind of label has no such thing. */
static const struct { const char *what; status (*lines)(metric *m, metric_line *line, void *arg); } tables[] = {
    {"samples", metric_each}, {"cases", metric_each_case}, {"confusion", metric_confusion}};

static status write_tables(const evaluation *e, const char *name, metric *m)
{
    for (size_t k = 0; k < sizeof tables / sizeof *tables; k++) {
        char path[900], *text = NULL;
        size_t n = 0;
        table t = {0};
        TRY(run_file(path, e->run, tables[k].what, split_name[e->split], name, ".csv"), "evaluate");
        TRY(mem_text_open(&t.f, &text, &n, "table"), "%s", path);
        status st = tables[k].lines(m, table_line, &t), closed = mem_text_close(t.f, &text, "table");
        if (!st) st = closed;
        if (!st && t.n) st = file_write_atomic(path, text, n);
        free(text);
        TRY(st, "%s", path);
    }
    return OK;
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

static void put_row(evaluation *e, const task *tk, const metric_result *r, const metric_value *v, const char *centre, bool first)
{
    score_row row = {.value = v->value, .lo = v->lo, .hi = v->hi, .n_samples = r->n_samples, .n_cases = r->n_cases, .n_subjects = r->n_subjects,
                     .step = trainer_step(e->t)};
    char text[64];
    const char *base = strrchr(e->weights, '/');
    snprintf(row.task, sizeof row.task, "%s", tk->spec.name);
    snprintf(row.metric, sizeof row.metric, "%s", v->name);
    snprintf(row.weights, sizeof row.weights, "%.63s", base ? base + 1 : e->weights);
    snprintf(row.centre, sizeof row.centre, "%s", centre);
    scores_line(e->csv, &row);
    scores_text(&row, text);
    if (first && centre[0])
        printf("  centre %-30.30s %7lld %6lld  %-22s %s\n", centre, (long long)row.n_samples, (long long)row.n_cases, row.metric, text);
    else if (first)
        printf("%-24s %-14s %7lld %6lld  %-22s %s\n", row.task, task_kind_name[tk->spec.kind], (long long)row.n_samples,
               (long long)row.n_cases, row.metric, text);
    else if (!strchr(row.metric, '/') && !centre[0]) printf("%-24s %-14s %7s %6s  %-22s %s\n", "", "", "", "", row.metric, text);
}

/* The score first. */
static void put_rows(evaluation *e, const task *tk, const metric_result *r, const char *centre)
{
    metric_value score = score_of(r);
    put_row(e, tk, r, &score, centre, true);
    for (int k = 0; k < r->n; k++)
        if (strcmp(r->value[k].name, r->score_name) != 0) put_row(e, tk, r, &r->value[k], centre, false);
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

static uint64_t seed_of(const evaluation *e) { return (uint64_t)trainer_job(e->t)->seed; }

/* Each centre's scores, where there are several. */
static status put_centres(evaluation *e, const task *tk, metric *m, metric_result *r)
{
    int n;
    char (*centre)[SHARD_TEXT];
    TRY(metric_centres(m, &n, &centre), "evaluate");
    status st = OK;
    for (int k = 0; k < n && n > 1 && !st; k++) {
        st = metric_finish_centre(m, centre[k], e->n_boot, seed_of(e), r);
        if (!st) put_rows(e, tk, r, centre[k]);
    }
    free(centre);
    return st;
}

static status put_task(evaluation *e, const task *tk, metric *m, metric_result *r)
{
    TRY(metric_finish(m, e->n_boot, seed_of(e), r), "evaluate");
    if (r->n_samples == 0) {
        printf("%-24s %-14s no labelled samples in this split\n", tk->spec.name, task_kind_name[tk->spec.kind]);
        return OK;
    }
    put_rows(e, tk, r, "");
    if (isfinite(r->score)) e->sum += r->score, e->n_scored++;
    TRY(write_event(e, tk, r), "evaluate");
    TRY(put_centres(e, tk, m, r), "evaluate");
    fflush(stdout);
    TRY(write_tables(e, tk->spec.name, m), "evaluate");
    return examples_write(e->run, split_name[e->split], tk, m);
}

static status finish_task(evaluation *e, int i, metric *m)
{
    metric_result *r;
    TRY(mem_alloc(&r, sizeof *r, "metric result"), "scores");
    status st = put_task(e, trainer_task(e->t, i), m, r);
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
        TRY(trainer_examine(e->t, i, e->split, e->n_examples, &m), "evaluate");
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
    int64_t n_boot = 1000, n_examples = 6;
    int n_args = 0;
    const command_option options[] = {
        {.name = "--split", .arg = "SPLIT", .text = &split, .choices = "train|val|test", .help = "train, val or test (default test)"},
        {.name = "--weights", .arg = "WHICH", .text = &e.weights,
         .help = "best (by validation, default), last (newest checkpoint) or a checkpoint file"},
        {.name = "--boot", .arg = "N", .number = &n_boot, .lo = 0, .hi = 100000,
         .help = "bootstrap samples of the 95 % intervals (default 1000; 0: no intervals)"},
        {.name = "--examples", .arg = "N", .number = &n_examples, .lo = 0, .hi = EXAMPLES_MOST,
         .help = "samples of each task that are drawn with what is true and what was predicted (default 6)"},
        {0},
    };
    const command_line c = {
        "medley evaluate RUN [--split SPLIT] [--weights WHICH] [--boot N] [--examples N]",
        "Metrics of every task of a run on one split, on any number of ranks. Prints a table and writes into RUN: scores-SPLIT.csv; for each task "
        "samples-SPLIT-TASK.csv (the prediction for every sample), cases-SPLIT-TASK.csv (Dice and HD95 of every volume or image and class), "
        "confusion-SPLIT-TASK.csv and examples-SPLIT-TASK/ (PNG). Intervals come from a bootstrap over subjects. Where samples name several centres, "
        "each centre's scores stand below the task's.",
        options, 1, 1};
    if (command_help(&c, argc, argv)) return OK;
    comm *world;
    TRY(use_open(argc, argv, &world), "evaluate");
    status st = comm_agree(world, command_parse(&c, argc, argv, args, &n_args));
    for (int s = 0; s < N_SPLITS; s++)
        if (strcmp(split, split_name[s]) == 0) e.split = (enum split)s;
    e.n_boot = (int)n_boot, e.n_examples = (int)n_examples;
    if (!st) e.run = args[0], st = evaluate(world, &e);
    if (e.csv) fclose(e.csv);
    free(e.csv_text);
    record_close(e.record);
    trainer_close(e.t);
    return use_close(world, st);
}
