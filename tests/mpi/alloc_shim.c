/* alloc_shim: preloaded into a training run, counts requests for memory whose caller is the program itself (not MPI, HDF5, OpenBLAS or
 * libc), from the end of the second step to the end of the last but one. The program tells its steps by its fault trace: one line
 * "RANK replica_flip STEP" per step. At the end it writes $ALLOC_SHIM_OUT.RANK: "steps N ours_before A ours B others C", and offsets of callers. */
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t m);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

enum { FIRST = 2, SHOWN = 8 };
static atomic_long step, last, before, ours, others;
static uintptr_t from, to, caller[SHOWN];

static int main_program(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        if (h->p_type != PT_LOAD || !(h->p_flags & PF_X)) continue;
        from = info->dlpi_addr + h->p_vaddr;
        to = from + h->p_memsz;
    }
    return 1; /* the first one is the program */
}

__attribute__((constructor)) static void begin(void)
{
    const char *steps = getenv("ALLOC_SHIM_STEPS");
    last = steps ? atol(steps) : 0;
    dl_iterate_phdr(main_program, NULL);
}

static void count(void *return_address)
{
    uintptr_t at = (uintptr_t)return_address;
    bool is_ours = at >= from && at < to, counted = step >= FIRST && step < last;
    if (!counted) {
        if (is_ours && step < FIRST) before++;
        return;
    }
    if (!is_ours) {
        others++;
        return;
    }
    long n = ours++;
    if (n < SHOWN) caller[n] = at - from;
}
#define COUNT count(__builtin_return_address(0))

void *memalign(size_t align, size_t n); /* no header here declares it */

void *malloc(size_t n) { return COUNT, __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return COUNT, __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return COUNT, __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) { return COUNT, __libc_memalign(align, n); }
void *memalign(size_t align, size_t n) { return COUNT, __libc_memalign(align, n); }

int posix_memalign(void **out, size_t align, size_t n)
{
    COUNT;
    void *p = __libc_memalign(align, n);
    if (p) *out = p;
    return p ? 0 : ENOMEM;
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
    COUNT;
    return (void *)syscall(SYS_mmap, at, n, prot, flags, fd, off);
}

ssize_t write(int fd, const void *data, size_t n)
{
    if (n < 128 && memmem(data, n, " replica_flip ", 14)) step++;
    return syscall(SYS_write, fd, data, n);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("ALLOC_SHIM_OUT"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    char name[512];
    if (!path || step == 0) return; /* mpirun itself */
    snprintf(name, sizeof name, "%s.%s", path, rank ? rank : "0");
    FILE *f = fopen(name, "w");
    if (!f) return;
    fprintf(f, "steps %ld ours_before %ld ours %ld others %ld\n", step, before, ours, others);
    for (long i = 0; i < ours && i < SHOWN; i++) fprintf(f, "caller at offset %#zx of the program's text\n", (size_t)caller[i]);
    fclose(f);
}
