/* train_cmd: `medley train`: job file on rank 0, the same job on all ranks, then the trainer. */
#include "medley/command.h"
#include "medley/train.h"
#include "medley/use.h"

#include "history.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_SETS = 256 };

/* Collective. Rank 0 reads and checks the file; the others learn its job, or that there is none. One small read instead of N. */
static status share_job(comm *world, job *j, const char *path, const char *const *set, int n_set)
{
    status st = OK;
    char *full = NULL;
    if (comm_rank(world) == 0) {
        st = job_load(j, path, set, n_set);
        char *shown = NULL;
        if (st && mem_copy(&shown, status_message(), strlen(status_message()), "message") == OK) full = shown; /* comm_agree carries less */
    }
    status agreed = comm_agree(world, st);
    if (full && agreed) agreed = status_set(agreed, full);
    free(full);
    if (agreed) return agreed;
    return comm_bcast(world, j, sizeof *j, 0);
}

/* Collective. Rank 0's command counts; a rank that was started with another one (mpirun A : B) is told so. */
static status same_command(comm *world, const char *path, const char *const *set, int n_set, bool fresh)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f;
    status st = mem_text_open(&f, &text, &n, "the command");
    if (!st) {
        fprintf(f, "job file %s\n%s\n", path, fresh ? "--fresh" : "no --fresh");
        for (int i = 0; i < n_set; i++) fprintf(f, "--set %s\n", set[i]);
        st = mem_text_close(f, &text, "the command");
    }
    st = comm_agree(world, st);
    if (!st) st = comm_same_text(world, text, ST_USAGE, "the ranks were given different commands");
    free(text);
    return st;
}

/* The last lines of a training: where its time went. What the record cannot tell is no failure of the training. Rank 0. */
static void say_efficiency(const char *run)
{
    history h;
    char said[600];
    if (history_load(&h, run) != OK) {
        log_line(LOG_WARN, "where the time went cannot be told: %s", status_message());
        return;
    }
    efficiency_text(&h, said, sizeof said);
    if (said[0]) log_line(LOG_INFO, "efficiency: %s", said);
    slowest_text(&h, false, said, sizeof said);
    if (said[0]) log_line(LOG_INFO, "slowest: %s", said);
    history_free(&h);
}

static status train(comm *world, const char *path, const char *const *set, int n_set, bool fresh)
{
    job *j;
    trainer *t = NULL;
    TRY(comm_agree(world, mem_alloc(&j, sizeof *j, "job")), "start");
    status st = same_command(world, path, set, n_set, fresh);
    if (!st) st = share_job(world, j, path, set, n_set);
    for (bool again = true; !st && again; fresh = false) {
        st = trainer_open(&t, world, j, fresh);
        again = false;
        if (!st) st = trainer_run(t, &again);
        trainer_close(t);
        t = NULL;
    }
    if ((st == OK || st == ST_STOPPED) && comm_rank(world) == 0) {
        char kept[2048]; /* of ST_STOPPED: main prints it last */
        snprintf(kept, sizeof kept, "%s", status_message());
        say_efficiency(j->run);
        status_clear();
        if (st) st = status_set(st, kept);
    }
    free(j);
    return st;
}

status cmd_train(int argc, char **argv)
{
    bool fresh = false;
    const char *set[MOST_SETS], *args[1];
    int n_set = 0, n_args = 0;
    const command_option options[] = {
        {.name = "--fresh", .flag = &fresh, .help = "forget the run folder's checkpoints and record, start at step 0"},
        {.name = "--set",
         .arg = "KEY=VALUE",
         .list = set,
         .n_list = &n_set,
         .room = MOST_SETS,
         .help =
             "override a setting, for example train.steps=100 or tasks[NAME].batch=4; may be repeated (medley explain lists the keys)"},
        {0},
    };
    const command_line c = {
        "medley train JOB.cfg [--fresh] [--set KEY=VALUE]...",
        "Trains the tasks of the job file together. Goes on by itself from the newest good checkpoint of the run folder, on any "
        "number of ranks. Start it with mpirun -n N or srun for N ranks. SIGUSR1, SIGTERM or SIGINT: checkpoint, then exit with 75; "
        "SIGTERM or SIGINT once more, after a second or later: end at once.",
        options, 1, 1};
    if (command_help(&c, argc, argv)) return OK;
    comm *world;
    TRY(use_open(argc, argv, &world), "train");
    status st = comm_agree(world, command_parse(&c, argc, argv, args, &n_args));
    if (!st) st = train(world, args[0], set, n_set, fresh);
    return use_close(world, st);
}
