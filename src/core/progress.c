/* progress: a counter that long loops move, so that a watchdog sees life where nothing is said of step and verb. */
#include "medley/core.h"

#include <stdatomic.h>

static _Atomic uint64_t nowhere;
static _Atomic uint64_t *_Atomic watched = &nowhere;
static _Thread_local bool is_watched;

void progress_watch(_Atomic uint64_t *counter)
{
    watched = counter ? counter : &nowhere;
    is_watched = counter != NULL;
}

void progress_beat(void)
{
    if (is_watched) atomic_fetch_add_explicit(watched, 1, memory_order_relaxed);
}
