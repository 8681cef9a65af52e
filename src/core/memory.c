/* memory: aligned allocation with a message, and arenas that are measured first and placed once. The only file that asks libc for memory:
 * so every request is checked, counted, and can be made to fail on purpose. */
#include "medley/core.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGN = 64 };

/* ---- failures on purpose ------------------------------------------------------------------------------------------------------ */

static _Atomic int64_t calls, fail_first; /* fail_first: number of the call that fails; 0: none */
static atomic_bool fail_later;            /* and all after it */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_wish(void)
{
    static const char *const rank_variable[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"};
    const char *wish = getenv("MEDLEY_FAULT_ALLOC"), *only = getenv("MEDLEY_FAULT_RANK"), *mine = NULL;
    for (int i = 0; i < 3 && !mine; i++) mine = getenv(rank_variable[i]);
    if (!wish || (only && strcmp(only, mine ? mine : "0") != 0)) return;
    atomic_store(&fail_first, atoll(wish));
    atomic_store(&fail_later, strchr(wish, '+') != NULL);
}

void mem_fail_at(int64_t k, bool forever)
{
    pthread_once(&once, read_wish);
    atomic_store(&fail_first, k > 0 ? atomic_load(&calls) + k : 0);
    atomic_store(&fail_later, forever);
}

int64_t mem_calls(void) { return atomic_load(&calls); }

static bool must_fail(void)
{
    pthread_once(&once, read_wish);
    int64_t n = atomic_fetch_add(&calls, 1) + 1, first = atomic_load(&fail_first);
    return first > 0 && (n == first || (n > first && atomic_load(&fail_later)));
}

/* ---- the heap ------------------------------------------------------------------------------------------------------------------- */

status mem_alloc(void *out_ptr, size_t n_bytes, const char *what)
{
    void *p = NULL;
    size_t size = n_bytes ? n_bytes : 1;
    CHECK(size <= SIZE_MAX / 2 && !must_fail() && posix_memalign(&p, ALIGN, size) == 0, ST_RESOURCE, "out of memory: %zu bytes for %s",
          n_bytes, what);
    memset(p, 0, size);
    memcpy(out_ptr, &p, sizeof p);
    return OK;
}

status mem_grow(void *ptr, size_t n_bytes, const char *what)
{
    void *p;
    memcpy(&p, ptr, sizeof p);
    size_t size = n_bytes ? n_bytes : 1;
    p = size > SIZE_MAX / 2 || must_fail() ? NULL : realloc(p, size);
    CHECK(p, ST_RESOURCE, "out of memory: %zu bytes for %s", n_bytes, what);
    memcpy(ptr, &p, sizeof p);
    return OK;
}

status mem_copy(char **out, const char *text, size_t n, const char *what)
{
    char *p = must_fail() ? NULL : malloc(n + 1);
    CHECK(p, ST_RESOURCE, "out of memory: %zu bytes for %s", n + 1, what);
    memcpy(p, text, n);
    p[n] = 0;
    *out = p;
    return OK;
}

status mem_text_open(FILE **out, char **text, size_t *n_bytes, const char *what)
{
    *text = NULL;
    *n_bytes = 0;
    *out = must_fail() ? NULL : open_memstream(text, n_bytes);
    CHECK(*out, ST_RESOURCE, "out of memory for %s", what);
    return OK;
}

status mem_text_close(FILE *f, char **text, const char *what)
{
    bool bad = ferror(f) != 0;
    if (fclose(f) == 0 && !bad && *text && !must_fail()) return OK;
    free(*text);
    *text = NULL;
    return status_raise(ST_RESOURCE, __FILE__, __LINE__, "out of memory for %s", what);
}

/* ---- arenas --------------------------------------------------------------------------------------------------------------------- */

status arena_init(arena *a, size_t n_bytes, const char *what)
{
    *a = (arena){0};
    if (n_bytes == 0) return OK;
    /* Anonymous pages come zeroed and are touched only when used: a big arena costs what is written to. */
    void *p = must_fail() ? MAP_FAILED : mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED, ST_RESOURCE, "out of memory: %zu bytes for %s", n_bytes, what);
    a->base = p;
    a->size = n_bytes;
    return OK;
}

static status map_shared(arena *a, int fd, size_t n_bytes, int protection, const char *what)
{
    void *p = must_fail() ? MAP_FAILED : mmap(NULL, n_bytes, protection, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED, ST_RESOURCE, "out of memory: %zu bytes for %s", n_bytes, what);
    *a = (arena){.base = p, .size = n_bytes};
    return OK;
}

status arena_file(size_t n_bytes, int *fd, const char *what)
{
    *fd = memfd_create("medley", MFD_CLOEXEC); /* not in /dev/shm, which containers keep small */
    CHECK(*fd >= 0, ST_RESOURCE, "no shared memory for %s", what);
    if (ftruncate(*fd, (off_t)n_bytes) == 0) return OK;
    close(*fd);
    *fd = -1;
    return status_raise(ST_RESOURCE, __FILE__, __LINE__, "out of memory: %zu bytes for %s", n_bytes, what);
}

status arena_share(arena *a, size_t n_bytes, int *fd, const char *what)
{
    *a = (arena){0};
    TRY(arena_file(n_bytes, fd, what), "shared memory");
    status st = map_shared(a, *fd, n_bytes, PROT_READ | PROT_WRITE, what);
    if (!st) return OK;
    close(*fd);
    *fd = -1;
    return st;
}

status arena_overlay(arena *a, int fd, size_t n_bytes, const char *what)
{
    void *p = must_fail() ? MAP_FAILED : mmap(a->base, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    close(fd);
    CHECK(p != MAP_FAILED, ST_RESOURCE, "out of memory: %zu bytes for %s", n_bytes, what);
    return OK;
}

status arena_map(arena *a, int fd, size_t n_bytes, const char *what)
{
    *a = (arena){0};
    status st = map_shared(a, fd, n_bytes, PROT_READ, what);
    close(fd);
    return st;
}

void arena_unsee(arena *a, size_t from, size_t n_bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), lo = from / page * page;
    madvise(a->base + lo, from + n_bytes - lo, MADV_DONTNEED);
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
