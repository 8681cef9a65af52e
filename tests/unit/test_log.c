/* test_log: lines reach their reader whole; a reader that stopped reading does not stop the program, and is told later what it missed. */
#include "medley/core.h"

#include "test.h"

#include <fcntl.h>
#include <unistd.h>

enum { LINES = 3000, ROOM = 1 << 20 };
static char got[ROOM];
static int results; /* where this test's own lines go */

/* Reads what is there; the lines in it. */
static int drain(int from)
{
    size_t n = 0;
    int lines = 0;
    fcntl(from, F_SETFL, O_NONBLOCK);
    for (ssize_t k; n < ROOM - 1 && (k = read(from, got + n, ROOM - 1 - n)) > 0;) n += (size_t)k;
    got[n] = 0;
    for (size_t i = 0; i < n; i++) lines += got[i] == '\n';
    return lines;
}

/* stdout is `out` from here, whose other end is `from`. */
static void nobody_reads(int out, int from, const char *what)
{
    fflush(stdout);
    dup2(out, 1);
    log_line(LOG_INFO, "first");
    int first = drain(from);
    bool whole = strncmp(got, "first", 5) == 0;
    double began = timer_now();
    for (int i = 0; i < LINES; i += 2) {
        log_progress("line %05d of many that nobody reads, as long as one of a training's\n", i);
        log_line(LOG_INFO, "line %05d of many that nobody reads, as long as one of a training's", i + 1);
    }
    double took = timer_now() - began;
    int kept = drain(from), lost = 0;
    log_line(LOG_INFO, "again");
    int more = drain(from);
    const char *told = strstr(got, " lines lost");
    for (const char *p = told; p && p > got && p[-1] >= '0' && p[-1] <= '9'; p--) lost = atoi(p - 1);
    bool again = strstr(got, "again") != NULL;
    log_line(LOG_INFO, "as ever");
    int last = drain(from);
    dup2(results, 1);
    printf("# %s: %d kept, %d lost, %.2f s\n", what, kept, lost, took);
    EXPECT(first == 1 && whole, "%s: %d lines of one", what, first);
    EXPECT(took < 5, "%s: waited %.1f s", what, took);
    EXPECT(kept > 20 && kept < LINES && lost > 0, "%s: %d lines were kept, %d lost", what, kept, lost);
    /* one line may have been cut where the room ended */
    EXPECT(kept + lost == LINES || kept + lost == LINES - 1, "%s: %d and %d are not %d", what, kept, lost, LINES);
    EXPECT(more >= 2 && again, "%s: what was lost is told, then it goes on: %s", what, got);
    EXPECT(last == 1, "%s: %d lines of one", what, last);
}

static void pipes(void)
{
    int end[2];
    EXPECT(pipe(end) == 0, "pipe");
    nobody_reads(end[1], end[0], "pipe");
    close(end[0]);
    close(end[1]);
}

/* What mpirun gives its ranks for stdout. */
static void terminals(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) {
        printf("# no terminals here\n");
        return;
    }
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    EXPECT(slave >= 0, "%s", ptsname(master));
    nobody_reads(slave, master, "terminal");
    close(slave);
    close(master);
}

/* A file is written as always, behind what it holds. */
static void files(void)
{
    char path[] = "/tmp/medley-log-XXXXXX";
    int f = mkstemp(path);
    EXPECT(f >= 0 && write(f, "before\n", 7) == 7, "%s", path);
    fflush(stdout);
    dup2(f, 1);
    log_line(LOG_INFO, "one");
    log_line(LOG_INFO, "two");
    dup2(results, 1);
    EXPECT(lseek(f, 0, SEEK_SET) == 0, "%s", path);
    drain(f);
    EXPECT(strcmp(got, "before\none\ntwo\n") == 0, "the file holds %s", got);
    close(f);
    unlink(path);
}

int main(void)
{
    results = dup(1);
    RUN(pipes);
    RUN(terminals);
    RUN(files);
    DONE();
}
