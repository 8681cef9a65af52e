/* watchdog: ends the job when a rank makes no progress or has died, and names that rank, not the ones that wait for it. A thread of its
 * own on every rank; it calls neither MPI nor anything that may block on it, since the main thread can be inside MPI.
 *
 * Every rank keeps its place on the board of its node (board.h) up to date: step, verb, task, and whether it works or waits in MPI.
 *
 *   works, and no tick for the watchdog's time       it hangs: named, exit 6
 *   its process is stopped for that time             the same, wherever it was
 *   its process is gone and it had not said goodbye  it died: named at once; the launcher ends the job with its code for that (mpirun: 137
 *                                                    for SIGKILL, 139 for SIGSEGV), or exit 6 if it does not within 2 s
 *   all wait, and no tick anywhere for that time     named are those who are behind, or of whom nothing is heard; exit 6
 *
 * A rank that waits is never to blame while another one moves: a long validation on rank 0 ends nothing. Between nodes only the lowest
 * rank of a node judges who waits, from the files of board.c; each node judges its own ranks that work. One rank of a node speaks; the
 * others follow it 2 s later if the launcher has not ended them. Silence is counted in seconds this process was awake. */
#include "watchdog_internal.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SPEECH_BYTES = 1600, FOLLOW_S = 2, MOST_NAMED = 4, EARLY = 8 };

static struct {
    pthread_t thread;
    pthread_mutex_t lock; /* over everything but the seat */
    pthread_cond_t wake;
    bool running, leave, told_to_end, has_courier;
    double seconds, end_at;
    int end_code;
    seat *_Atomic seat; /* this rank's; NULL before watchdog_start */
    board b;
} dog = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* ---- what is said ------------------------------------------------------------------------------------------------------------- */

typedef struct speech { char text[SPEECH_BYTES]; size_t n; } speech;

static void PRINTF_LIKE(2, 3) say(speech *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(s->text + s->n, sizeof s->text - s->n, fmt, args);
    va_end(args);
    s->n += n > 0 ? (size_t)n : 0;
    if (s->n >= sizeof s->text) s->n = sizeof s->text - 1;
}

static void say_place(speech *s, const seat *at)
{
    if (at->step >= 0) say(s, "step %lld, ", (long long)at->step);
    say(s, "%s", at->verb[0] ? at->verb : "start");
    if (at->task[0]) say(s, ", task %s", at->task);
}

static const char *state_text(char state)
{
    switch (state) {
    case 'R': return "computing";
    case 'S': return "asleep";
    case 'D': return "blocked in the kernel: disk or network";
    case 'T': return "stopped by a signal";
    case 't': return "stopped by a debugger";
    case 'Z': case 'X': case 0: return "dead";
    }
    return "in an unknown state";
}

/* "medley: rank 2 of 4: error: " */
static void say_rank(speech *s, int r)
{
    bool alone = dog.b.size == 1;
    say(s, "medley: rank %d of %d: error: ", alone ? dog.b.shown : r, alone ? dog.b.shown_size : dog.b.size);
}

static bool is_local(int r) { return dog.b.view[r].node == dog.b.node; }

static int seat_state_of(int r) { return dog.b.view[r].heard ? atomic_load(&dog.b.view[r].last.state) : SEAT_UNKNOWN; }

static double file_period(void)
{
    double p = dog.seconds / 8, least = dog.b.n_nodes / 10.0;
    p = p > 2 ? 2 : p < 0.25 ? 0.25 : p;
    return least > p && least < dog.seconds / 8 ? least : p; /* many nodes: fewer look-ups in the run folder */
}

static void say_waiting(speech *s, const bool *guilty)
{
    int n = 0;
    for (int r = 0; r < dog.b.size; r++) {
        const view *v = &dog.b.view[r];
        if ((r < WATCH_MOST && guilty[r]) || !v->heard || atomic_load(&v->last.state) != SEAT_WAITS) continue;
        if (n++ >= MOST_NAMED) continue;
        say(s, "%srank %d in %s (", n == 1 ? "; waiting: " : ", ", dog.b.size == 1 ? dog.b.shown : r, v->last.waits_in);
        say_place(s, &v->last);
        say(s, ")");
    }
    if (n > MOST_NAMED) say(s, " and %d more", n - MOST_NAMED);
}

/* Ends this process. The first of a node to come here speaks, and waits for the launcher if that is to end the job with its own code. */
static _Noreturn void give_up(const speech *s, bool launcher_first)
{
    bool speaks = atomic_exchange(dog.b.speaker, 1) == 0;
    atomic_store(&dog.b.seats[dog.b.me].state, SEAT_LEAVES);
    if (speaks) {
        ssize_t ignored = write(STDERR_FILENO, s->text, s->n);
        (void)ignored;
    }
    if (!speaks || launcher_first) nanosleep(&(struct timespec){FOLLOW_S, 0}, NULL);
    _exit(ST_COMM);
}

/* ---- who is to blame ------------------------------------------------------------------------------------------------------------ */

static void blame_dead(int r)
{
    const view *v = &dog.b.view[r];
    speech s = {.n = 0};
    bool guilty[WATCH_MOST] = {false};
    if (r < WATCH_MOST) guilty[r] = true;
    say_rank(&s, r);
    say(&s, "the process has died at ");
    say_place(&s, &v->last);
    say(&s, " (killed, out of memory or crashed?); the job ends");
    say_waiting(&s, guilty);
    say(&s, "\n");
    give_up(&s, true);
}

static void blame_silent(const bool *guilty)
{
    speech s = {.n = 0};
    int n = 0;
    for (int r = 0; r < dog.b.size && r < WATCH_MOST; r++) {
        const view *v = &dog.b.view[r];
        if (!guilty[r]) continue;
        if (n++ >= MOST_NAMED) continue;
        if (n > 1) say(&s, "\n");
        say_rank(&s, r);
        say(&s, "no progress for %.0f s at ", dog.seconds);
        say_place(&s, &v->last);
        if (is_local(r)) say(&s, " (the process is %s)", state_text(process_state(&v->last)));
        else say(&s, " (on another node, which wrote this up to %.1f s before it fell silent)", file_period());
        say(&s, "; the job ends");
    }
    if (n > MOST_NAMED) say(&s, "; %d more like it", n - MOST_NAMED);
    say_waiting(&s, guilty);
    say(&s, "\n");
    give_up(&s, false);
}

/* Everybody waits, as far as is known: to blame is a node that was heard of and no longer writes its file, for it is stopped or cut off; else
 * those at the lowest step are behind; if all are at the same one, nobody can be told from the others. */
static void blame_waiting(void)
{
    bool guilty[WATCH_MOST] = {false};
    int64_t lowest = INT64_MAX, highest = -1;
    int n_unheard = 0, first_unheard = -1, n_guilty = 0;
    double too_old = 3 * file_period() + 0.5;
    for (int r = 0; r < dog.b.size; r++) {
        const view *v = &dog.b.view[r];
        if (!v->heard) first_unheard = n_unheard++ ? first_unheard : r;
        else if (v->last.step < lowest) lowest = v->last.step;
        if (v->heard && v->last.step > highest) highest = v->last.step;
    }
    for (int r = 0; r < dog.b.size && r < WATCH_MOST; r++) {
        const view *v = &dog.b.view[r];
        bool here = seat_state_of(r) == SEAT_WORKS || seat_state_of(r) == SEAT_WAITS;
        n_guilty += guilty[r] = here && !is_local(r) && dog.b.view[v->node].stale > too_old;
    }
    for (int r = 0; r < dog.b.size && r < WATCH_MOST && n_guilty == 0; r++) {
        const view *v = &dog.b.view[r];
        bool works = v->heard && atomic_load(&v->last.state) == SEAT_WORKS;
        n_guilty += guilty[r] = works || (v->heard && lowest < highest && v->last.step == lowest);
    }
    if (n_guilty) blame_silent(guilty);
    const view *me = &dog.b.view[dog.b.rank];
    speech s = {.n = 0};
    say_rank(&s, dog.b.rank);
    say(&s, "no progress for %.0f s at ", dog.seconds);
    say_place(&s, &me->last);
    if (n_unheard) say(&s, " (nothing is heard of %d rank%s, the first is rank %d)", n_unheard, n_unheard > 1 ? "s" : "", first_unheard);
    else say(&s, " (all ranks wait: network or MPI trouble)");
    say(&s, "; the job ends");
    say_waiting(&s, guilty);
    say(&s, "\n");
    give_up(&s, false);
}

/* ---- judging ---------------------------------------------------------------------------------------------------------------- */

static bool has_died(int r)
{
    char state = process_state(&dog.b.view[r].last);
    if (state != 0 && state != 'Z' && state != 'X') return false;
    /* it may have left between the last look and now */
    for (int i = 0; i < dog.b.n_local; i++)
        if (dog.b.seats[i].rank == r) return atomic_load(&dog.b.seats[i].state) != SEAT_LEAVES && atomic_load(dog.b.speaker) == 0;
    return false;
}

/* Each rank looks after the next one of its node, so that a node of N ranks reads /proc N times and not N * N. When the launcher asks to
 * end (it does when a rank has died) there is a second at most: then one look at all, and no more, for it ends the others itself. */
static int neighbour(void)
{
    int i = (dog.b.me + 1) % dog.b.n_local;
    return dog.b.n_local > 1 && atomic_load(&dog.b.seats[i].state) != SEAT_UNKNOWN ? dog.b.seats[i].rank : -1;
}

static void judge_dead(void)
{
    if (dog.told_to_end) return;
    dog.told_to_end = stop_requested() == SIGTERM || stop_requested() == SIGINT;
    int next = neighbour();
    for (int r = 0; r < dog.b.size; r++) {
        if (!is_local(r) || r == dog.b.rank || (r != next && !dog.told_to_end)) continue;
        int state = seat_state_of(r);
        if ((state == SEAT_WORKS || state == SEAT_WAITS) && has_died(r)) blame_dead(r);
    }
}

/* Those of this node who work, or are stopped, and have not moved for too long. */
static void judge_node(void)
{
    bool guilty[WATCH_MOST] = {false};
    int n = 0, next = neighbour();
    for (int r = 0; r < dog.b.size && r < WATCH_MOST; r++) {
        if (!is_local(r) || dog.b.view[r].silent < dog.seconds) continue;
        int state = seat_state_of(r);
        bool stopped = r == next && state == SEAT_WAITS && process_state(&dog.b.view[r].last) == 'T';
        n += guilty[r] = state == SEAT_WORKS || stopped;
    }
    if (n) blame_silent(guilty);
}

/* All of this node wait; does anybody move elsewhere? */
static void judge_all(void)
{
    bool waits = false;
    double enough = dog.seconds - 2 * file_period();
    if (dog.b.n_nodes > 1 && dog.b.me != 0) return; /* the lowest rank of the node knows of the others */
    for (int r = 0; r < dog.b.size; r++) {
        const view *v = &dog.b.view[r];
        int state = seat_state_of(r);
        if (state == SEAT_LEAVES || state == SEAT_UNKNOWN) continue;
        if (v->silent < (is_local(r) ? dog.seconds : enough)) return;
        waits |= is_local(r) && state == SEAT_WAITS;
    }
    if (waits) blame_waiting();
}

/* ---- the threads -------------------------------------------------------------------------------------------------------------- */

static void nap(double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)((seconds - (double)(long)seconds) * 1e9);
    until.tv_sec += (long)seconds + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&dog.wake, &dog.lock, &until);
}

static void *watch(void *arg)
{
    (void)arg;
    double before = timer_now();
    pthread_mutex_lock(&dog.lock);
    while (!dog.leave) {
        double pause = dog.seconds > 0 && dog.seconds < 5 ? dog.seconds / 20 : 0.25;
        nap(pause);
        double now = timer_now(), awake = now - before;
        before = now;
        if (awake > pause + 2) awake = pause + 2; /* the job was suspended, or the machine has no time for us: not the ranks' fault */
        if (dog.end_at > 0 && now > dog.end_at) _exit(dog.end_code);
        board_look(&dog.b, awake);
        if (dog.seconds <= 0) continue;
        judge_dead();
        judge_node();
        judge_all();
    }
    pthread_mutex_unlock(&dog.lock);
    return NULL;
}

/* Carries the states between nodes. Not joined: the file system may hold it for ever. */
static void *carry(void *arg)
{
    (void)arg;
    board *b = &dog.b;
    pthread_mutex_lock(&dog.lock);
    while (!dog.leave) {
        bool wait = true; /* nobody reads while this node moves */
        for (int i = 0; i < b->n_local; i++) wait &= b->view[b->seats[i].rank].silent >= 0.5;
        pthread_mutex_unlock(&dog.lock);
        board_write_file(b);
        for (int r = 0; wait && r < b->size; r++) {
            if (b->view[r].node != r || r == b->node) continue;
            uint64_t beat = 0;
            int n = board_read_file(b, r, &beat);
            pthread_mutex_lock(&dog.lock);
            board_heard(&dog.b, r, n, beat);
            pthread_mutex_unlock(&dog.lock);
        }
        pthread_mutex_lock(&dog.lock);
        if (!dog.leave) nap(b->beat < EARLY ? file_period() / EARLY : file_period()); /* the run folder may be younger than this thread */
    }
    pthread_mutex_unlock(&dog.lock);
    board_remove_file(b);
    return NULL;
}

/* ---- what the main thread calls ------------------------------------------------------------------------------------------------- */

void watchdog_start(double seconds)
{
    if (dog.running) return;
    board_alone(&dog.b);
    dog.seconds = seconds;
    dog.leave = false;
    dog.end_at = 0;
    dog.seat = dog.b.seats;
    progress_watch(&dog.b.seats->ticks);
    dog.running = thread_start(&dog.thread, watch, NULL) == 0;
    if (!dog.running) log_line(LOG_WARN, "no thread for the watchdog: a rank that hangs will not be noticed");
}

board *watchdog_board(void) { return &dog.b; }
void watchdog_lock(void) { pthread_mutex_lock(&dog.lock); }
void watchdog_unlock(void) { pthread_mutex_unlock(&dog.lock); }

void watchdog_move_in(void)
{
    seat *old = dog.seat, *new = &dog.b.seats[dog.b.me];
    old->rank = dog.b.rank;
    if (new != old) {
        atomic_store(&old->state, SEAT_UNKNOWN);
        memcpy(new, old, sizeof *new);
    }
    dog.seat = new;
    progress_watch(&new->ticks);
    atomic_store(&new->state, SEAT_WORKS);
    atomic_fetch_add(&new->ticks, 1);
}

void watchdog_limit(double seconds, const char *folder)
{
    pthread_mutex_lock(&dog.lock);
    dog.seconds = seconds;
    snprintf(dog.b.folder, sizeof dog.b.folder, "%s", folder ? folder : "");
    for (int r = 0; r < dog.b.size; r++) dog.b.view[r].silent = 0;
    bool needs = dog.running && dog.b.n_nodes > 1 && dog.b.me == 0 && seconds > 0 && folder && !dog.has_courier;
    if (needs) dog.has_courier = true;
    pthread_mutex_unlock(&dog.lock);
    pthread_t courier;
    if (needs && thread_start(&courier, carry, NULL) == 0) pthread_detach(courier);
}

static void moved(seat *s, enum seat_state state)
{
    atomic_store(&s->state, state);
    atomic_fetch_add_explicit(&s->ticks, 1, memory_order_release);
}

void watchdog_tick(int64_t step, const char *verb, const char *task)
{
    seat *s = dog.seat;
    if (!s) return;
    s->step = step;
    snprintf(s->verb, sizeof s->verb, "%s", verb);
    snprintf(s->task, sizeof s->task, "%s", task ? task : "");
    moved(s, SEAT_WORKS);
}

status watchdog_point(int64_t step, const char *verb, const char *task, status code)
{
    watchdog_tick(step, verb, task);
    return fault_check(verb, code);
}

void watchdog_wait(const char *where)
{
    seat *s = dog.seat;
    if (!s) return;
    snprintf(s->waits_in, sizeof s->waits_in, "%s", where);
    moved(s, SEAT_WAITS);
}

void watchdog_go(void)
{
    seat *s = dog.seat;
    if (s) moved(s, SEAT_WORKS);
}

static speech failed_at;

void watchdog_failed(void)
{
    const seat *s = dog.seat;
    if (s && s->step >= 0 && failed_at.n == 0) say_place(&failed_at, s);
}

const char *watchdog_where(void)
{
    watchdog_failed();
    return failed_at.text;
}

void watchdog_leave(double seconds, int code)
{
    pthread_mutex_lock(&dog.lock);
    if (dog.seat) {
        atomic_store(dog.b.speaker, 1);
        atomic_store(&((seat *)dog.seat)->state, SEAT_LEAVES);
    }
    dog.end_at = timer_now() + seconds;
    dog.end_code = code;
    pthread_mutex_unlock(&dog.lock);
    if (!dog.running) alarm((unsigned)seconds + 1);
}

void watchdog_stop(void)
{
    if (!dog.running) return;
    pthread_mutex_lock(&dog.lock);
    atomic_store(&((seat *)dog.seat)->state, SEAT_LEAVES);
    dog.leave = true;
    pthread_cond_broadcast(&dog.wake);
    pthread_mutex_unlock(&dog.lock);
    pthread_join(dog.thread, NULL);
    if (dog.has_courier) board_remove_file(&dog.b);
    dog.running = false;
}
