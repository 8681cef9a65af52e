/* open_shim: preloaded into a run, writes the name of every HDF5 file that is opened to $OPEN_SHIM_OUT.RANK, one a line. */
#undef _FILE_OFFSET_BITS /* open and open64 are two names here */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void note(const char *path)
{
    const char *out = getenv("OPEN_SHIM_OUT"), *rank = getenv("OMPI_COMM_WORLD_RANK"), *end = path ? strstr(path, ".h5") : NULL;
    char name[600], line[1200];
    if (!out || !rank || !end || end[3]) return;
    snprintf(name, sizeof name, "%s.%s", out, rank);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND, 0644);
    int n = snprintf(line, sizeof line, "%s\n", path);
    if (fd < 0) return;
    if (write(fd, line, (size_t)n) != n) abort();
    close(fd);
}

static int door(int at, const char *path, int flags, va_list more)
{
    note(path);
    return (int)syscall(SYS_openat, at, path, flags, flags & O_CREAT ? va_arg(more, int) : 0);
}

#define OPEN(at)                                                                                                                          \
    va_list more;                                                                                                                         \
    va_start(more, flags);                                                                                                                \
    int fd = door(at, path, flags, more);                                                                                                 \
    va_end(more);                                                                                                                         \
    return fd

int open(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
int openat(int at, const char *path, int flags, ...) { OPEN(at); }

#define FOPEN(name)                                                                                                                       \
    FILE *name(const char *path, const char *mode)                                                                                        \
    {                                                                                                                                     \
        FILE *(*next)(const char *, const char *) = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, #name);                     \
        note(path);                                                                                                                       \
        return next(path, mode);                                                                                                          \
    }
FOPEN(fopen)
FOPEN(fopen64)
