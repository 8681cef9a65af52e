/* memory: aligned allocation with a message, and arenas that are measured first and placed once. */
#include "medley/core.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN = 64 };

status mem_alloc(void *out_ptr, size_t n_bytes, const char *what)
{
    void *p = NULL;
    size_t size = n_bytes ? n_bytes : 1;
    CHECK(size <= SIZE_MAX / 2 && posix_memalign(&p, ALIGN, size) == 0, ST_RESOURCE, "out of memory: %zu bytes for %s", n_bytes, what);
    memset(p, 0, size);
    memcpy(out_ptr, &p, sizeof p);
    return OK;
}

status arena_init(arena *a, size_t n_bytes, const char *what)
{
    *a = (arena){0};
    if (n_bytes == 0) return OK;
    /* Anonymous pages come zeroed and are touched only when used: a big arena costs what is written to. */
    void *p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED, ST_RESOURCE, "out of memory: %zu bytes for %s", n_bytes, what);
    a->base = p;
    a->size = n_bytes;
    return OK;
}

void arena_free(arena *a)
{
    if (a->base) munmap(a->base, a->size);
    *a = (arena){0};
}

void *arena_take(arena *a, size_t n_bytes)
{
    size_t at = a->used, end = at + (n_bytes + ALIGN - 1) / ALIGN * ALIGN;
    a->used = end;
    if (end > a->peak) a->peak = end;
    if (!a->base) return NULL;
    if (end > a->size) {
        fprintf(stderr, "medley: arena overflow: %zu of %zu bytes (measuring and placing disagree)\n", end, a->size);
        abort();
    }
    return a->base + at;
}
