/* best_kernels: the right OpenBLAS kernels for this CPU, and its quick way with tiny numbers, before anything else runs. */
#include "medley/kern.h"
#include "medley/use.h"

#include <stdlib.h>
#include <unistd.h>

void use_best_kernels(char **argv)
{
    kern_flush_denormals();
    const char *core = getenv("OPENBLAS_CORETYPE") ? NULL : kern_better_core();
    if (core && setenv("OPENBLAS_CORETYPE", core, 1) == 0) execv("/proc/self/exe", argv); /* if that fails: slower, not wrong */
}
