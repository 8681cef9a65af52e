/* log: one line per event; information on rank 0 only, warnings and errors of every rank with its number. */
#include "medley/core.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 1000, LINE_BYTES = 4096 };

static int log_rank = -1;
static const char *log_program = "medley";
static enum log_level log_limit = LOG_INFO;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

void log_open(int rank, enum log_level level)
{
    log_rank = rank;
    log_limit = level;
}

void log_name(const char *program) { log_program = program; }

static int n_lost;     /* lines since the last one that could be written */
static bool in_a_line; /* the first of them was cut */

/* A second way to the terminal or pipe behind a stream, which does not wait; -1: it is something else, or there is none. The stream's own is
 * shared with other processes, for which it must go on waiting. */
static int open_impatient(FILE *out)
{
    char path[32];
    struct stat is;
    if (fstat(fileno(out), &is) || !(S_ISFIFO(is.st_mode) || S_ISCHR(is.st_mode))) return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fileno(out));
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* False if the reader took less than the line for a second. */
static bool write_impatiently(int fd, const char *line, size_t n)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    while (n > 0) {
        ssize_t done = write(fd, line, n);
        if (done < 0 && errno != EAGAIN && errno != EINTR) return true; /* nobody is there to miss it */
        if (done > 0) {
            line += done, n -= (size_t)done;
            in_a_line = line[-1] != '\n';
        } else if (poll(&ready, 1, n_lost ? 0 : PATIENCE_MS) == 0) return false;
    }
    return true;
}

/* A reader that stopped reading must not stop the training: mpirun does so once it is told to end, and its ranks still have a checkpoint to write. */
static void put(FILE *out, const char *line)
{
    fflush(out);
    int fd = open_impatient(out);
    if (fd < 0) {
        fputs(line, out);
        fflush(out);
        return;
    }
    char told[64] = "";
    if (n_lost) snprintf(told, sizeof told, "%s(%d line%s lost: nobody read them)\n", in_a_line ? "\n" : "", n_lost, n_lost == 1 ? "" : "s");
    if (write_impatiently(fd, told, strlen(told)) && write_impatiently(fd, line, strlen(line))) n_lost = 0;
    else n_lost++;
    close(fd);
}

static bool is_silent(enum log_level level) { return level > log_limit || (level >= LOG_INFO && log_rank > 0); }

/* before: at most 127 bytes. */
static void say(FILE *out, const char *before, const char *fmt, va_list args, const char *end)
{
    char line[LINE_BYTES + 130];
    size_t n = (size_t)snprintf(line, 128, "%s", before);
    vsnprintf(line + n, LINE_BYTES, fmt, args);
    strcat(line, end);
    pthread_mutex_lock(&log_lock);
    put(out, line);
    pthread_mutex_unlock(&log_lock);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if (is_silent(level)) return;
    char before[128] = "", rank[32] = "";
    const char *word = level == LOG_ERROR ? "error: " : level == LOG_WARN ? "warning: " : "";
    if (log_rank >= 0) snprintf(rank, sizeof rank, "rank %d: ", log_rank);
    if (level <= LOG_WARN) snprintf(before, sizeof before, "%s: %s%s", log_program, rank, word);
    va_list args;
    va_start(args, fmt);
    say(level >= LOG_INFO ? stdout : stderr, before, fmt, args, "\n");
    va_end(args);
}

void log_progress(const char *fmt, ...)
{
    if (is_silent(LOG_INFO)) return;
    va_list args;
    va_start(args, fmt);
    say(stdout, "", fmt, args, "");
    va_end(args);
}
