/* session_end: a command that fails in the way its argument says: "agreed", "one", "all", "stopped", "signalled" (stopped by SIGTERM) or
 * "none". For session.sh. */
#include "medley/use.h"

#include <signal.h>
#include <string.h>
#include <time.h>

static status fail(comm *world, const char *how)
{
    status st = OK;
    if (strcmp(how, "agreed") == 0) {
        if (comm_rank(world) == comm_size(world) - 1) st = status_raise(ST_DATA, __FILE__, __LINE__, "shard x is damaged");
        return comm_agree(world, st);
    }
    CHECK(strcmp(how, "one") != 0 || comm_rank(world) != 1, ST_NUMERIC, "only here");
    CHECK(strcmp(how, "all") != 0, ST_RESOURCE, "no room anywhere");
    if (strcmp(how, "signalled") == 0) {
        stop_install();
        raise(SIGTERM);
        struct timespec pause = {1 + STOP_AGAIN_MS / 1000, 0}; /* one that comes after this is another */
        nanosleep(&pause, NULL);
        return status_raise(ST_STOPPED, __FILE__, __LINE__, "stopped at step 4");
    }
    CHECK(strcmp(how, "stopped") != 0, ST_STOPPED, "stopped at step 3");
    return comm_barrier(world); /* "one": the others wait here until they are ended */
}

int main(int argc, char **argv)
{
    comm *world;
    status st = use_open(argc, argv, &world);
    if (!st) st = use_close(world, fail(world, argc > 1 ? argv[1] : ""));
    if (st && status_message()[0]) fprintf(stderr, "medley: %s\n", status_message());
    return (int)st;
}
