/* system: time, signals, folders, whole files, and small text helpers. */
#include "medley/core.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

double timer_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const int stop_signals[] = {SIGUSR1, SIGTERM, SIGINT};
static volatile sig_atomic_t stop_signal;
static _Atomic int64_t stop_urgent_ms; /* when the first SIGTERM or SIGINT came; 0: none yet */

/* SIGUSR1 is a notice: launchers repeat and forward it, so it never counts twice. SIGTERM after it is what schedulers do next, and asks for
 * more haste. Only SIGTERM or SIGINT more than STOP_AGAIN_MS after the first of their kind means "now": what comes within that time is the
 * same request by another way (terminal and launcher, scheduler and launcher). The last checkpoint is complete then, or still aside. */
static void on_stop(int sig)
{
    int why = errno;
    if (sig == SIGUSR1) {
        if (!stop_signal) stop_signal = sig;
    } else {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        int64_t now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + 1, none = 0;
        if (!atomic_compare_exchange_strong(&stop_urgent_ms, &none, now) && now - none > STOP_AGAIN_MS) _exit(128 + sig);
        stop_signal = sig;
    }
    errno = why;
}

void stop_install(void)
{
    struct sigaction act = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    sigemptyset(&act.sa_mask);
    for (size_t i = 0; i < sizeof stop_signals / sizeof *stop_signals; i++) sigaction(stop_signals[i], &act, NULL);
}

int stop_requested(void) { return stop_signal; }

int thread_start(pthread_t *thread, void *(*body)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int why = pthread_create(thread, NULL, body, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return why;
}

void stop_settled(void)
{
    for (size_t i = 0; i < sizeof stop_signals / sizeof *stop_signals; i++) signal(stop_signals[i], SIG_IGN);
}

int text_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    if (n > 120 || m > 120) return 1000;
    int row[128];
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

const char *text_shown(const char *s, char *buf, size_t n)
{
    size_t i = 0;
    for (; s[i] && i + 1 < n; i++) buf[i] = (unsigned char)s[i] < 32 || s[i] == 127 ? '?' : s[i];
    buf[i] = 0;
    if (s[i] && n > 4) memcpy(buf + i - 3, "...", 3);
    return buf;
}

const char *text_nearest(const char *word, const char *const *list, int n)
{
    const char *best = NULL;
    int best_distance = (int)strlen(word) / 3 + 2; /* further away is no help */
    for (int i = 0; i < n; i++) {
        int d = text_distance(word, list[i]);
        if (d < best_distance) best_distance = d, best = list[i];
    }
    return best;
}

status path_make_dirs(const char *path)
{
    char buf[4096];
    CHECK(strlen(path) < sizeof buf, ST_RESOURCE, "path too long: %.80s...", path);
    strcpy(buf, path);
    for (char *p = buf + 1;; p++) {
        if (*p != '/' && *p != 0) continue;
        char keep = *p;
        *p = 0;
        CHECK(mkdir(buf, 0755) == 0 || errno == EEXIST, ST_RESOURCE, "cannot make folder %s: %s", buf, strerror(errno));
        *p = keep;
        if (keep == 0) break;
    }
    struct stat st;
    CHECK(stat(path, &st) == 0 && S_ISDIR(st.st_mode), ST_RESOURCE, "%s: not a folder", path);
    return OK;
}

status path_sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    CHECK(fd >= 0, ST_RESOURCE, "cannot open folder %s: %s", path, strerror(errno));
    int bad = fsync(fd);
    int why = errno;
    close(fd);
    CHECK(!bad || why == EINVAL, ST_RESOURCE, "cannot sync folder %s: %s", path, strerror(why)); /* EINVAL: not needed here */
    return OK;
}

bool path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static bool plain_file_name(const char *name)
{
    if (!name[0] || name[0] == '.' || strlen(name) > 255) return false;
    for (const char *p = name; *p; p++)
        if (*p == '/' || (unsigned char)*p < 32 || *p == 127) return false;
    return true;
}

status path_inside(const char *dir, const char *name, char *out, size_t out_bytes)
{
    CHECK(plain_file_name(name), ST_DATA, "%s: \"%.255s\" is not a plain file name", dir, name);
    int n = snprintf(out, out_bytes, "%s/%s", dir, name);
    CHECK(n > 0 && (size_t)n < out_bytes, ST_RESOURCE, "path too long: %.80s...", dir);
    struct stat info;
    if (lstat(out, &info) || !S_ISLNK(info.st_mode)) return OK; /* the name is plain: only its last part can be a link */
    char *home = realpath(dir, NULL), *target = realpath(out, NULL);
    size_t length = home ? strlen(home) : 0;
    bool in = !target || (home && strncmp(target, home, length) == 0 && (home[length - 1] == '/' || target[length] == '/'));
    free(home), free(target);
    CHECK(in, ST_DATA, "%s: is a symbolic link that leads out of the folder; put the file itself there", out);
    return OK;
}

status file_create(const char *path, int *fd)
{
    CHECK(unlink(path) == 0 || errno == ENOENT, ST_RESOURCE, "cannot replace %s: %s", path, strerror(errno));
    *fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    CHECK(*fd >= 0, ST_RESOURCE, "cannot write %s: %s", path, strerror(errno));
    return OK;
}

status file_read_all(const char *path, size_t limit_bytes, char **out, size_t *out_bytes)
{
    status st = OK;
    char *data = NULL;
    FILE *f = fopen(path, "rb");
    CHECK(f, ST_DATA, "%s: cannot open: %s", path, strerror(errno));
    struct stat info;
    CHECK_TO(done, fstat(fileno(f), &info) == 0 && S_ISREG(info.st_mode), ST_DATA, "%s: not a regular file", path);
    size_t n = (size_t)info.st_size;
    CHECK_TO(done, n <= limit_bytes, ST_DATA, "%s: %zu bytes, more than the limit of %zu", path, n, limit_bytes);
    TRY_TO(done, mem_alloc(&data, n + 1, path), "reading");
    CHECK_TO(done, fread(data, 1, n, f) == n, ST_DATA, "%s: read error", path);
    *out = data;
    if (out_bytes) *out_bytes = n;
    data = NULL;
done:
    free(data);
    fclose(f);
    return st;
}

status file_write(int fd, const char *path, const void *data, size_t n_bytes)
{
    const char *from = data;
    for (size_t left = n_bytes; left;) {
        ssize_t n = write(fd, from, left);
        if (n < 0 && errno == EINTR) continue;
        CHECK(n > 0, ST_RESOURCE, "cannot write %s: %s", path, n < 0 ? strerror(errno) : "nothing was taken");
        from += n, left -= (size_t)n;
    }
    return OK;
}

static status part_path(const char *path, char part[4096])
{
    CHECK(snprintf(part, 4096, "%s.part", path) < 4096, ST_RESOURCE, "path too long: %.80s...", path);
    return OK;
}

/* why: errno of what went wrong before. */
static status finish_part(const char *part, const char *path, int why)
{
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash) *(slash == dir ? slash + 1 : slash) = 0;
    else strcpy(dir, ".");
    if (!why && rename(part, path)) why = errno;
    if (why) unlink(part);
    CHECK(!why, ST_RESOURCE, "cannot finish %s: %s", path, strerror(why));
    return path_sync_dir(dir);
}

status file_write_atomic(const char *path, const void *data, size_t n_bytes)
{
    char part[4096];
    int fd;
    TRY(part_path(path, part), "writing");
    TRY(file_create(part, &fd), "writing %s", path);
    status st = file_write(fd, part, data, n_bytes);
    if (st) {
        close(fd);
        unlink(part);
        return st;
    }
    int why = fsync(fd) ? errno : 0;
    if (close(fd) && !why) why = errno;
    return finish_part(part, path, why);
}

status file_stream_open(FILE **out, const char *path)
{
    char part[4096];
    int fd;
    *out = NULL;
    TRY(part_path(path, part), "writing");
    TRY(file_create(part, &fd), "writing %s", path);
    *out = fdopen(fd, "w");
    if (*out) return OK;
    int why = errno;
    close(fd);
    return finish_part(part, path, why);
}

status file_stream_close(FILE *f, const char *path, status st)
{
    char part[4096];
    TRY(part_path(path, part), "writing");
    if (st) {
        fclose(f);
        unlink(part);
        return st;
    }
    errno = 0;
    int why = fflush(f) || ferror(f) || fsync(fileno(f)) ? (errno ? errno : EIO) : 0;
    if (fclose(f) && !why) why = errno;
    return finish_part(part, path, why);
}

int64_t memory_peak_bytes(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    if (!f) return 0;
    char line[256];
    long long kib = 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lld", &kib) == 1) break;
    fclose(f);
    return (int64_t)kib * 1024;
}

void text_seconds(double s, char out[32])
{
    if (!isfinite(s)) snprintf(out, 32, "unknown");
    else if (s >= 2 * 86400) snprintf(out, 32, "%.1f d", s / 86400);
    else if (s >= 5400) snprintf(out, 32, "%.1f h", s / 3600);
    else if (s >= 90) snprintf(out, 32, "%.0f min", s / 60);
    else snprintf(out, 32, "%.0f s", s);
}
