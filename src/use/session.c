/* session: MPI around a command: who opens it, who speaks when something fails, how it ends. */
#include "medley/use.h"

#include <time.h>
#include <unistd.h>

status use_open(int argc, char **argv, comm **world)
{
    *world = NULL;
    TRY(comm_open(&argc, &argv, world), "cannot start MPI");
    log_open(comm_size(*world) > 1 ? comm_rank(*world) : -1, LOG_INFO);
    return OK;
}

/* comm_agree sets a message without a place in the source; what a rank raises by itself has one. */
static bool is_agreed(status st) { return st == ST_STOPPED || !status_place()[0]; }

status use_close(comm *world, status st)
{
    if (!world) return st;
    if (st && comm_size(world) > 1) {
        if (!is_agreed(st)) {
            /* If all ranks met the same fault, rank 0 says so and ends the others meanwhile: the launcher's signal wakes them. */
            struct timespec pause = {2, 0};
            if (comm_rank(world) != 0 && nanosleep(&pause, NULL)) _exit((int)st);
            log_line(LOG_ERROR, "%s", status_message());
            comm_abort(world, st);
        }
        /* before MPI ends: as soon as one rank is gone with a failure, the launcher ends the others, and what they say then can be lost */
        if (comm_rank(world) == 0) fprintf(stderr, "medley: %s\n", status_message());
        status_clear();
    }
    comm_close(world);
    return st;
}
