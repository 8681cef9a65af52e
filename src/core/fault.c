/* fault: named fault points that ship in the program, so that what a cluster does to a run can be done on purpose.
 *
 *   MEDLEY_FAULT="save_rename@2:kill,unit@7:nan"   what happens at which visit of a point; "*" instead of a number: at every visit
 *   MEDLEY_FAULT="image@disc.7.0:nan"              at one place of the plan, TASK.STEP.UNIT, whatever rank comes by: fault_place
 *   MEDLEY_FAULT_RANK=r                            only on the rank of that number (the launcher's variable)
 *   MEDLEY_FAULT_DELAY="seed:ms"                   a random pause of 0 to ms milliseconds at every visit of every point
 *   MEDLEY_FAULT_TRACE=FILE                        appends a line "rank name visit" per visit: which points a run passes
 *
 * Actions: kill (SIGKILL), stop (SIGSTOP), term (SIGTERM to itself), hang (sleeps for ever), spin (computes for ever), busy (works for
 * MEDLEY_FAULT_BUSY_S seconds, 10 if unset, with signs of life, as a long validation does), raise, nomem and nan (the caller is told and does what its point says: fails, fails for want of memory, makes a value not finite). */
#include "medley/core.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FAULTS = 16, MAX_SEEN = 96 };
enum action { ACT_KILL, ACT_RAISE, ACT_STOP, ACT_HANG, ACT_NAN, ACT_SPIN, ACT_TERM, ACT_NOMEM, ACT_BUSY, N_ACTIONS };
static const char *const action_name[N_ACTIONS] = {"kill", "raise", "stop", "hang", "nan", "spin", "term", "nomem", "busy"};

static struct { char name[48], place[112]; long at, seen; enum action action; } fault[MAX_FAULTS]; /* at 0: every visit; place: not by visits */
static struct { char name[48]; long n; } visited[MAX_SEEN];
static int n_faults, n_visited, trace = -1, delay_ms;
static uint64_t delay_state;
static const char *rank_text = "0";
static bool active;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void parse_points(const char *spec)
{
    char copy[1024], *save = NULL;
    snprintf(copy, sizeof copy, "%s", spec);
    for (char *item = strtok_r(copy, ",", &save); item && n_faults < MAX_FAULTS; item = strtok_r(NULL, ",", &save)) {
        char *action = strchr(item, ':'), *at = strchr(item, '@');
        if (action) *action++ = 0;
        if (at) *at++ = 0;
        snprintf(fault[n_faults].name, sizeof fault[n_faults].name, "%s", item);
        fault[n_faults].at = !at ? 1 : strcmp(at, "*") == 0 ? 0 : atol(at);
        if (at && strspn(at, "0123456789*") < strlen(at)) snprintf(fault[n_faults].place, sizeof fault[n_faults].place, "%s", at);
        fault[n_faults].action = ACT_KILL;
        for (int a = 0; action && a < N_ACTIONS; a++)
            if (strcmp(action, action_name[a]) == 0) fault[n_faults].action = (enum action)a;
        n_faults++;
    }
}

static void parse(void)
{
    static const char *const rank_variable[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"};
    const char *spec = getenv("MEDLEY_FAULT"), *only = getenv("MEDLEY_FAULT_RANK"), *delay = getenv("MEDLEY_FAULT_DELAY"),
               *file = getenv("MEDLEY_FAULT_TRACE"), *mine = NULL;
    for (int i = 0; i < 3 && !mine; i++) mine = getenv(rank_variable[i]);
    if (mine) rank_text = mine;
    if (spec && (!only || strcmp(only, rank_text) == 0)) parse_points(spec);
    unsigned long seed;
    if (delay && sscanf(delay, "%lu:%d", &seed, &delay_ms) == 2) delay_state = (seed + 1) * 0x9e3779b97f4a7c15u + (uint64_t)atol(rank_text) * 77u;
    if (file) trace = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    active = n_faults > 0 || delay_ms > 0 || trace >= 0;
}

static void note_visit(const char *name)
{
    int i = 0;
    while (i < n_visited && strcmp(visited[i].name, name) != 0) i++;
    if (i == MAX_SEEN) return;
    if (i == n_visited) snprintf(visited[n_visited++].name, sizeof visited[0].name, "%s", name);
    char line[128];
    int n = snprintf(line, sizeof line, "%s %s %ld\n", rank_text, name, ++visited[i].n);
    ssize_t ignored = write(trace, line, (size_t)n);
    (void)ignored;
}

static void pause_at_random(void)
{
    pthread_mutex_lock(&lock);
    delay_state = delay_state * 6364136223846793005u + 1442695040888963407u;
    int64_t ns = (int64_t)(delay_state >> 33) % ((int64_t)delay_ms * 1000000 + 1);
    pthread_mutex_unlock(&lock);
    nanosleep(&(struct timespec){ns / 1000000000, ns % 1000000000}, NULL);
}

static void be_busy(void)
{
    const char *text = getenv("MEDLEY_FAULT_BUSY_S");
    for (double end = timer_now() + (text ? atof(text) : 10); timer_now() < end; progress_beat()) nanosleep(&(struct timespec){0, 20000000}, NULL);
}

static bool act(enum action what)
{
    switch (what) {
    case ACT_KILL: raise(SIGKILL); break;
    case ACT_STOP: raise(SIGSTOP); break;
    case ACT_TERM: kill(getpid(), SIGTERM); break;
    case ACT_BUSY: be_busy(); break;
    case ACT_HANG:
        for (;;) pause();
    case ACT_SPIN:
        for (volatile unsigned long i = 0;; i++) { }
    default: return true;
    }
    return false;
}

static _Thread_local char place[112];

void fault_place(const char *task, int64_t step, int number)
{
    pthread_once(&once, parse);
    if (active) snprintf(place, sizeof place, "%s.%lld.%d", task, (long long)step, number);
}

/* What was asked for here and is left to the caller: ACT_RAISE, ACT_NOMEM, ACT_NAN; N_ACTIONS: nothing. */
static enum action visit(const char *name)
{
    pthread_once(&once, parse);
    if (!active) return N_ACTIONS;
    if (trace >= 0) {
        pthread_mutex_lock(&lock);
        note_visit(name);
        pthread_mutex_unlock(&lock);
    }
    if (delay_ms > 0) pause_at_random();
    enum action asked = N_ACTIONS;
    for (int i = 0; i < n_faults; i++) {
        if (strcmp(fault[i].name, name) != 0) continue;
        if (fault[i].place[0]) {
            if (strcmp(fault[i].place, place) == 0 && act(fault[i].action)) asked = fault[i].action;
            continue;
        }
        pthread_mutex_lock(&lock);
        long seen = ++fault[i].seen;
        pthread_mutex_unlock(&lock);
        if ((fault[i].at == 0 || seen == fault[i].at) && act(fault[i].action)) asked = fault[i].action;
    }
    return asked;
}

bool fault_hit(const char *name) { return visit(name) != N_ACTIONS; }

status fault_check(const char *name, status code)
{
    enum action asked = visit(name);
    CHECK(asked != ACT_NOMEM, ST_RESOURCE, "%s: out of memory: fault planted", name);
    CHECK(asked == N_ACTIONS, code, "%s: fault planted", name);
    return OK;
}
