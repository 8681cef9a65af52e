/* failing_disk: to be preloaded (LD_PRELOAD): lets calls on chosen files fail as a full, broken or read-only disk would.
 *
 *   MEDLEY_DISK="OP[@N][+]:ERROR"   OP open (for writing), write, fsync, rename, read or list (a folder); the N-th matching call fails, with +
 *                                   all after it too; ERROR ENOSPC, EIO, EROFS, EACCES, EDQUOT, or "short": a write takes half of its bytes
 *   MEDLEY_DISK_PATH=TEXT           only files whose path contains TEXT (default ".part") */
#undef _FILE_OFFSET_BITS /* open and open64 are to be two functions */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHORT = -1 };
static const struct { const char *word; int value; } errors[] = {
    {"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EROFS", EROFS}, {"EACCES", EACCES}, {"EDQUOT", EDQUOT}, {"short", SHORT}};
static char op[16];
static const char *part;
static int at = 1, error;
static bool ever, ready;
static _Atomic int seen;

static void read_settings(void)
{
    const char *spec = getenv("MEDLEY_DISK");
    char word[16] = "";
    ready = true;
    part = getenv("MEDLEY_DISK_PATH") ? getenv("MEDLEY_DISK_PATH") : ".part";
    if (!spec) return;
    size_t n = strcspn(spec, "@+:");
    snprintf(op, sizeof op, "%.*s", (int)n, spec);
    if (spec[n] == '@') at = atoi(spec + n + 1);
    ever = strchr(spec, '+') != NULL;
    const char *colon = strchr(spec, ':');
    snprintf(word, sizeof word, "%s", colon ? colon + 1 : "");
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(word, errors[i].word) == 0) error = errors[i].value;
}

/* What this call on `path` is to meet: an errno, SHORT, or 0. */
static int meet(const char *what, const char *path)
{
    if (!ready) read_settings();
    if (!error || strcmp(what, op) != 0 || !path || !strstr(path, part)) return 0;
    int n = ++seen;
    return n == at || (ever && n > at) ? error : 0;
}

static int meet_fd(const char *what, int fd)
{
    char link[64], path[4096];
    if (!ready) read_settings();
    if (!error || strcmp(what, op) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return meet(what, path);
}

#define REAL(name, type) static __typeof__(type) *real; if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)
#define FAIL_IF(why, value) do { int why_ = (why); if (why_ > 0) { errno = why_; return value; } } while (0)

ssize_t write(int fd, const void *data, size_t n)
{
    REAL("write", ssize_t (int, const void *, size_t));
    int why = meet_fd("write", fd);
    FAIL_IF(why, -1);
    return real(fd, data, why == SHORT && n > 1 ? n / 2 : n);
}

/* HDF5's way to write */
#define PWRITE(name, offset)                                                                                        \
    ssize_t name(int fd, const void *data, size_t n, offset at_byte)                                                \
    {                                                                                                               \
        REAL(#name, ssize_t (int, const void *, size_t, offset));                                                   \
        int why = meet_fd("write", fd);                                                                             \
        FAIL_IF(why, -1);                                                                                           \
        return real(fd, data, why == SHORT && n > 1 ? n / 2 : n, at_byte);                                          \
    }
#undef pwrite
#undef pwrite64
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

DIR *opendir(const char *path)
{
    REAL("opendir", DIR *(const char *));
    FAIL_IF(meet("list", path), NULL);
    return real(path);
}

ssize_t read(int fd, void *data, size_t n)
{
    REAL("read", ssize_t (int, void *, size_t));
    FAIL_IF(meet_fd("read", fd), -1);
    return real(fd, data, n);
}

int fsync(int fd)
{
    REAL("fsync", int (int));
    FAIL_IF(meet_fd("fsync", fd), -1);
    return real(fd);
}

int rename(const char *from, const char *to)
{
    REAL("rename", int (const char *, const char *));
    FAIL_IF(meet("rename", from), -1);
    return real(from, to);
}

#define OPEN(name)                                                                                                  \
    int name(const char *path, int flags, ...)                                                                      \
    {                                                                                                               \
        REAL(#name, int (const char *, int, ...));                                                               \
        va_list rest;                                                                                               \
        va_start(rest, flags);                                                                                      \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                                   \
        va_end(rest);                                                                                               \
        if (flags & (O_WRONLY | O_RDWR)) FAIL_IF(meet("open", path), -1);                                           \
        return real(path, flags, mode);                                                                             \
    }
#undef open
#undef open64
OPEN(open)
OPEN(open64)
