/* session: MPI around a command: who opens it, who speaks when something fails, how it ends. */
#include "medley/kern.h"
#include "medley/use.h"

#include "medley_build.h"

#include <unistd.h>

status use_open(int argc, char **argv, comm **world)
{
    *world = NULL;
    TRY(comm_open(&argc, &argv, world), "cannot start MPI");
    log_open(comm_size(*world) > 1 ? comm_rank(*world) : -1, LOG_INFO);
    /* before anything is exchanged whose layout another version may not share */
    char program[160];
    snprintf(program, sizeof program, "medley %s, build %s", MEDLEY_VERSION, program_id());
    status st = comm_same_text(*world, program, ST_USAGE, "the ranks run different programs");
    if (st) {
        st = use_close(*world, st);
        *world = NULL;
    }
    return st;
}

/* Seconds in which a rank that failed alone has ended, whatever MPI does: less than the 5 s that are promised. */
enum { LEAVE_S = 4 };

/* Seconds in which a fault that all ranks met (a full disk) has reached them all: then rank 0 speaks for them. */
enum { ALL_S = 2 };

/* comm_agree sets a message without a place in the source; what a rank raises by itself has one. */
static bool is_agreed(status st) { return st == ST_STOPPED || !status_place()[0]; }

status use_close(comm *world, status st)
{
    if (!world) return st;
    /* srun ends the other ranks as soon as one has left with 75: their second SIGTERM, if the first was the request */
    if (st == ST_STOPPED) stop_settled();
    if (st && comm_size(world) > 1) {
        if (!is_agreed(st)) {
            const char *where = watchdog_where();
            int signal = stop_requested();
            watchdog_leave(LEAVE_S, st);
            bool all = comm_all_leave(world, ALL_S);
            if (!all && stop_requested() != signal) _exit((int)st); /* the launcher ends the job already: another rank spoke */
            if (!all || comm_rank(world) == 0) log_line(LOG_ERROR, "%s%s%s%s", status_message(), where[0] ? " (at " : "", where, where[0] ? ")" : "");
            if (!all) comm_abort(world, st);
        }
        /* before MPI ends: as soon as one rank is gone with a failure, the launcher ends the others, and what they say then can be lost */
        else if (comm_rank(world) == 0) fprintf(stderr, "medley: %s\n", status_message());
        status_clear();
    }
    comm_close(world);
    return st;
}

status use_may_write(const char *path, bool force)
{
    CHECK(force || !path_exists(path), ST_USAGE, "%s exists; --force replaces it", path);
    return OK;
}

/* Threads of this rank; ranks that compute with other kernels would give results that depend on who made them. */
status use_kernels(comm *world)
{
    core_share cores;
    char text[320];
    TRY(comm_cores(world, cores_asked(0), &cores), "threads");
    kern_init(cores.threads);
    watchdog_limit(300, NULL);
    snprintf(text, sizeof text, "blas = %s\ncpu = %s\n", kern_blas_name(), kern_isa());
    return comm_same_text(world, text, ST_USAGE, "the ranks compute differently (set OPENBLAS_CORETYPE to the same on all nodes)");
}
