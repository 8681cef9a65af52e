/* compute: what the ranks of a command agree on before they run a network. */
#include "medley/kern.h"
#include "medley/use.h"

status use_compute(comm *world)
{
    core_share cores;
    char text[320];
    TRY(comm_cores(world, cores_asked(0), &cores), "threads");
    kern_init(cores.threads);
    watchdog_limit(300, NULL);
    snprintf(text, sizeof text, "blas = %s\ncpu = %s\n", kern_blas_name(), kern_isa());
    return comm_same_text(world, text, ST_USAGE, "the ranks compute differently (set OPENBLAS_CORETYPE to the same on all nodes)");
}
