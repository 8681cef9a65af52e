/* check: `medley check` and `medley explain`: everything that can be known of a job before it costs anything. No MPI. */
#include "medley/command.h"
#include "medley/data.h"
#include "medley/train.h"
#include "medley/use.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_SETS = 256 };

/* Opens a task's data set: can it be used as the job says? */
static status check_task(const job *j, int i)
{
    const job_task *t = &j->task[i];
    char dir[JOB_DIR_BYTES];
    dataset *d = NULL;
    status st = OK;
    job_data_dir(j, t->data, dir);
    TRY(dataset_open(&d, dir, t->label), "task %s", t->name);
    const shard_label *l = dataset_label(d);
    CHECK_TO(done, !t->kind[0] || strcmp(t->kind, task_kind_name[l->kind]) == 0, ST_USAGE,
             "kind is \"%s\", but label %s of %s is \"%s\"", t->kind, l->name, dir, task_kind_name[l->kind]);
    int64_t n[N_SPLITS];
    for (int s = 0; s < N_SPLITS; s++) n[s] = dataset_count(d, (enum split)s);
    if (n[SPLIT_TRAIN] == 0) log_line(LOG_WARN, "task %s: label %s of %s has no training samples: it rests", t->name, l->name, dir);
    else if (n[SPLIT_VAL] == 0) log_line(LOG_WARN, "task %s: no validation samples", t->name);
done:
    dataset_close(d);
    return st;
}

/* All tasks, all their faults. */
static status check_tasks(const job *j)
{
    char faults[6000] = "";
    size_t used = 0;
    int n = 0;
    status worst = OK;
    for (int i = 0; i < j->n_tasks; i++) {
        status st = check_task(j, i);
        if (!st) continue;
        n++;
        if (st > worst) worst = st;
        if (used < sizeof faults)
            used += (size_t)snprintf(faults + used, sizeof faults - used, "\n%s:%d: tasks[%d]: %s", j->file, j->task[i].line, i,
                                     status_message());
    }
    CHECK(!n, worst, "%s: %d fault%s in the data%s", j->file, n, n == 1 ? "" : "s", faults);
    return OK;
}

static status check(const job *j, const cluster *on)
{
    status st = check_tasks(j);
    if (st) return st;
    TRY(trainer_forecast(j, on, stdout), "%s", j->file);
    printf("%s: no faults\n", j->file);
    return OK;
}

status cmd_check(int argc, char **argv)
{
    bool resolved = false, no_data = false;
    const char *set[MOST_SETS], *args[1];
    int n_set = 0, n_args = 0;
    int64_t n_ranks = 1, n_nodes = 1, cpus = 0, gigabits = 25, microseconds = 5, jitter = 0, slow = 0, by = 20;
    bool timed = false;
    const char *costs = NULL;
    const command_option options[] = {
        {.name = "--ranks", .arg = "N", .number = &n_ranks, .lo = 1, .hi = 65536, .help = "forecast for N ranks (default 1)"},
        {.name = "--nodes", .arg = "M", .number = &n_nodes, .lo = 1, .hi = 65536, .help = "which lie on M nodes (default 1)"},
        {.name = "--time",
         .flag = &timed,
         .help = "measure some steps here, with one unit of every task, and forecast the time of a step and of the run"},
        {.name = "--costs", .arg = "FILE", .text = &costs, .help = "keep what --time measures in FILE; if it is there, take it from there"},
        {.name = "--cpus", .arg = "C", .number = &cpus, .lo = 1, .hi = 65536, .help = "CPUs of a node, for --time (default: those of this process)"},
        {.name = "--bandwidth", .arg = "GBIT", .number = &gigabits, .lo = 1, .hi = 100000, .help = "Gbit/s of a node's network (default 25)"},
        {.name = "--latency", .arg = "US", .number = &microseconds, .lo = 1, .hi = 1000000, .help = "microseconds of a message between nodes (default 5)"},
        {.name = "--jitter", .arg = "PERCENT", .number = &jitter, .lo = 1, .hi = 1000, .help = "by which ranks are late, anew every step (default 0)"},
        {.name = "--slow-nodes", .arg = "PERCENT", .number = &slow, .lo = 1, .hi = 100, .help = "of the nodes are slow (default 0)"},
        {.name = "--slow-by", .arg = "PERCENT", .number = &by, .lo = 1, .hi = 10000, .help = "longer than the others (default 20)"},
        {.name = "--resolved", .flag = &resolved, .help = "print the job file with every setting and its meaning instead"},
        {.name = "--no-data", .flag = &no_data, .help = "look at the job file alone: no data folder has to be there, no forecast"},
        {.name = "--set",
         .arg = "KEY=VALUE",
         .list = set,
         .n_list = &n_set,
         .room = MOST_SETS,
         .help = "override a setting, as in medley train"},
        {0},
    };
    const command_line c = {
        "medley check JOB.cfg [--ranks N] [--nodes M] [--resolved] [--no-data]\n"
        "                     [--time [--costs FILE] [--cpus C] [--bandwidth GBIT] [--latency US] [--jitter PERCENT]\n"
        "                      [--slow-nodes PERCENT [--slow-by PERCENT]]] [--set KEY=VALUE]...",
        "Checks the whole job file and opens every data set, lists all faults at once, and forecasts placement, memory and messages "
        "per rank. Needs neither MPI nor a run folder.",
        options, 1, 1};
    if (command_help(&c, argc, argv)) return OK;
    TRY(command_parse(&c, argc, argv, args, &n_args), "check");
    job *j;
    TRY(mem_alloc(&j, sizeof *j, "job"), "check");
    status st = no_data ? job_load_without_data(j, args[0], set, n_set) : job_load(j, args[0], set, n_set);
    if (!st && resolved) st = job_print(j, stdout);
    else if (!st && no_data) printf("%s: no faults in the file\n", j->file);
    else if (!st)
        st = check(j, &(cluster){.ranks = (int)n_ranks, .nodes = (int)n_nodes, .cpus = (int)cpus, .timed = timed, .costs = costs,
                                 .bytes_per_s = 1.25e8 * (double)gigabits, .latency_s = 1e-6 * (double)microseconds,
                                 .jitter = 0.01 * (double)jitter, .slow_nodes = 0.01 * (double)slow, .slow_by = 0.01 * (double)by});
    free(j);
    return st;
}

status cmd_explain(int argc, char **argv)
{
    bool man = false;
    int n_args = 0;
    const command_option options[] = {
        {.name = "--man", .flag = &man, .help = "as the manual page medley.cfg(5)"},
        {0},
    };
    const command_line c = {"medley explain [--man]", "Lists every key of a job file: type, range, default and meaning.", options, 0, 0};
    if (command_help(&c, argc, argv)) return OK;
    TRY(command_parse(&c, argc, argv, NULL, &n_args), "explain");
    if (!man) return job_explain(stdout);
    puts(".TH MEDLEY.CFG 5 \"\" \"Medley\" \"File formats\"\n.SH NAME\nmedley.cfg \\- job file of medley train\n.SH DESCRIPTION\n"
         "A job file is written in the syntax of libconfig: groups in { }, lists in ( ) or [ ], text in quotes, comments after #. A "
         "line of its own\n"
         "that reads @include \"FILE\" takes in another file. Integers beyond 32 bits end with L. Each key may be overridden with\n"
         ".B \\-\\-set KEY=VALUE\nwhere tasks are written tasks[NAME].KEY.\n.SH KEYS");
    TRY(job_man(stdout), "explain");
    puts(".SH SEE ALSO\n.BR medley (1),\n.BR medley\\-data (1)");
    return OK;
}
