/* log: one line per event; information on rank 0 only, warnings and errors of every rank with its number. */
#include "medley/core.h"

#include <pthread.h>
#include <time.h>

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

void log_line(enum log_level level, const char *fmt, ...)
{
    if (level > log_limit || (level >= LOG_INFO && log_rank > 0)) return;
    FILE *out = level >= LOG_INFO ? stdout : stderr;
    char text[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    pthread_mutex_lock(&log_lock);
    const char *word = level == LOG_ERROR ? "error: " : level == LOG_WARN ? "warning: " : "";
    if (log_rank >= 0 && level <= LOG_WARN) fprintf(out, "%s: rank %d: %s%s\n", log_program, log_rank, word, text);
    else if (level <= LOG_WARN) fprintf(out, "%s: %s%s\n", log_program, word, text);
    else fprintf(out, "%s\n", text);
    fflush(out);
    pthread_mutex_unlock(&log_lock);
}
