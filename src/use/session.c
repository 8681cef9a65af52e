/* session: MPI around a command: who opens it, who speaks when something fails, how it ends. */
#include "medley/use.h"

#include "medley_build.h"

#include <stdlib.h>
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

status use_image_size(const char *text, int *H, int *W)
{
    int end = 0;
    CHECK(sscanf(text, "%dx%d%n", H, W, &end) == 2 && !text[end] && *H >= 32 && *W >= 32 && *H <= 4096 && *W <= 4096 && *H % 32 == 0 && *W % 32 == 0,
          ST_USAGE, "got \"%.40s\", expected HEIGHTxWIDTH, multiples of 32 up to 4096, such as 224x224", text);
    return OK;
}

status use_number(const char *option, const char *text, double lo, double hi, double *out)
{
    char *rest;
    if (!text) return OK;
    double x = strtod(text, &rest);
    CHECK(*text && !*rest && x >= lo && x <= hi, ST_USAGE, "%s: got \"%.40s\", expected a number from %g to %g", option, text, lo, hi);
    *out = x;
    return OK;
}
