/* sum_ahead: the sum over the nodes while the last unit of a step is still in backward.
 *
 * Why it can be: an accumulator is a sum of integers, so it is final for a tensor as soon as this rank's last gradient of it has been added, and
 * who adds what when changes no bit. Backward finishes tensors from the end of the parameter table to its beginning, so each rank has one
 * falling mark, and the arena is cut into buckets from its end; a bucket lies in one part (decoders are summed among the ranks that have them).
 * The exponents are known before the step (from the maxima of the step before),
 * so integers can be formed tensor by tensor; what is not known is whether the whole unit is good. If its rest turns out not to be, its rank
 * takes back what it had added (the gradient is still there, and integers forget nothing), says so in the step's report, and all ranks throw
 * this sum away and make it again afterwards: rare, and right.
 *
 * Who does what: inside a node there is nothing to send, but a sum of the node needs the marks of all its ranks; they lie in shared memory.
 * Rank r of a group's ranks of the node (of the first `lanes`) owns a slice of its buckets, and for one bucket after the other
 *     gather     once all these ranks are done with the bucket: adds up their accumulators, into memory of its own
 *     exchange   integers with the ranks that own this slice on other nodes (MPI_Ialltoallv); adds up and rounds its part of the slice
 *     share      the floats (MPI_Iallgatherv), into `result`, where its node fetches them in the end
 * The accumulators themselves stay as they are, for the case that all has to be done again. One exchange is under way at a time, and a group
 * that is on one node has none: the order of collectives is the same on all ranks whatever the timing. Ranks that differ in their number of units
 * differ only in when their marks fall.
 *
 * Who turns the wheel: nobody, unless MPI is called. SUM_POLL: backward itself, whenever it has finished a layer. SUM_THREAD: a thread that
 * looks a few thousand times a second; main calls no MPI meanwhile, and takes over when its units are done. */
#include "comm_internal.h"
#include "sum_internal.h"
#include "watchdog_internal.h"

#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NAP_NS = 200000, WAIT_NS = 20000 };
enum phase { GATHER, EXCHANGE, SHARE, THROUGH };

enum { BUCKETS_MOST = 256 };        /* a mark holds their number in 8 bits */

typedef struct bucket { int64_t lo, hi; const sum_group *group; } bucket; /* group NULL: other ranks' */

struct sum_ahead {
    gradient_sum *s;
    int      n_tensors, n_buckets;
    bucket   of[BUCKETS_MOST];      /* (n_buckets) from the end, the same on all ranks but for the groups */
    int64_t  n, stride;             /* elements: in all, of a rank's slice of a bucket (most) */
    enum sum_mode mode;
    shared_arena mark_of, result_of; /* of every rank of the node: its mark; (n) floats, of which only its slices are touched */
    int64_t *sum, *incoming;        /* (stride) the node's sum of a slice; what other nodes send of it */
    const int64_t **other;          /* (n_ranks) */
    uint64_t step;
    int      mark;                  /* tensors from here on are done; main's */
    /* the wheel: main's, but the thread's while it is turning */
    int      bucket;
    enum phase phase;
    status   st;
    char     why[512];
    pthread_t thread;
    pthread_mutex_t lock;           /* over awake, turning, quit */
    pthread_cond_t  wake, still;
    bool     threaded, awake, turning, quit;
};

/* The slice of a bucket that rank r of its group's ranks of the node owns. */
static int64_t slice(const bucket *b, int r, int64_t *from)
{
    int64_t n = b->hi - b->lo;
    int lanes = b->group->levels.lanes;
    *from = b->lo + slice_at(n, lanes, r < lanes ? r : lanes);
    return r < lanes ? b->lo + slice_at(n, lanes, r + 1) - *from : 0;
}

static _Atomic uint64_t *mark_of(const sum_ahead *a, int place) { return (_Atomic uint64_t *)(void *)a->mark_of.of[place]; }
static float *result_of(const sum_ahead *a, int place, int64_t from) { return (float *)(void *)a->result_of.of[place] + from; }
static int here(const sum_ahead *a) { return comm_rank(a->s->all.levels.node); }

/* What the others of the node may read: the step, and how many buckets this rank is done with. */
static void publish(const sum_ahead *a)
{
    int done = 0;
    int64_t from = a->mark < a->n_tensors ? a->s->tensor[a->mark].off : a->n;
    while (done < a->n_buckets && a->of[done].lo >= from) done++;
    atomic_store_explicit(mark_of(a, here(a)), a->step << 8 | (uint64_t)done, memory_order_release);
}

static bool node_is_done(const sum_ahead *a)
{
    const sum_group *group = a->of[a->bucket].group;
    for (int r = 0; r < comm_size(group->levels.node); r++) {
        uint64_t mark = atomic_load_explicit(mark_of(a, group->place[r]), memory_order_acquire);
        if (mark >> 8 != a->step || (int)(mark & 255) <= a->bucket) return false;
    }
    return true;
}

static void gather(sum_ahead *a, int64_t lo, int64_t n)
{
    gradient_sum *s = a->s;
    const sum_group *group = a->of[a->bucket].group;
    const int *place = group->place;
    int size = comm_size(group->levels.node), rank = comm_rank(group->levels.node);
    memcpy(a->sum, s->fixed + lo, sizeof *a->sum * (size_t)n);
    if (size == 1) return;
    for (int64_t from = lo; from < lo + n; from += PIECE) {
        int64_t len = lo + n - from < PIECE ? lo + n - from : PIECE;
        for (int r = 0, k = 0; r < size; r++)
            if (r != rank) a->other[k++] = (const int64_t *)(const void *)s->fixed_of.of[place[r]] + from;
        sum_add_others(a->other, a->sum + (from - lo), 0, len, size - 1);
        for (int r = 0; r < size; r++)
            if (r != rank) comm_shared_unsee(&s->fixed_of, place[r], sizeof *s->fixed * (size_t)from, sizeof *s->fixed * (size_t)len);
    }
}

/* The bucket at which this rank has something to do, from `b` on. */
static int next_bucket(const sum_ahead *a, int b)
{
    for (; b < a->n_buckets; b++) {
        const sum_group *group = a->of[b].group;
        if (group && comm_rank(group->levels.node) < group->levels.lanes) break;
    }
    return b;
}

static void start_bucket(sum_ahead *a, int from)
{
    a->bucket = next_bucket(a, from);
    a->phase = a->bucket < a->n_buckets ? GATHER : THROUGH;
}

/* Goes on with the bucket as far as it goes without waiting for anybody. *moved: it did. */
static status turn(sum_ahead *a, bool *moved)
{
    *moved = false;
    if (a->phase == THROUGH) return OK;
    const bucket *b = &a->of[a->bucket];
    comm *across = b->group->levels.across;
    int64_t lo, n = slice(b, comm_rank(b->group->levels.node), &lo);
    int nodes = comm_size(across), at = 0;
    float *result = result_of(a, here(a), lo);
    bool through = false;
    switch (a->phase) {
    case GATHER:
        if (!node_is_done(a)) return OK;
        if (n > 0) gather(a, lo, n);
        if (nodes == 1) sum_round(a->s, a->other, 0, a->sum, result, lo, lo + n, &at);
        else if (n > 0) TRY(comm_exchange_begin(across, a->sum, n, slice_of(n, nodes), a->incoming), "early sum");
        if (n > 0 && nodes > 1) a->phase = EXCHANGE;
        else start_bucket(a, a->bucket + 1);
        break;
    case EXCHANGE: {
        TRY(comm_begun_test(across, &through), "early sum");
        if (!through) return OK;
        int64_t mine = slice_at(n, nodes, comm_rank(across)), end = slice_at(n, nodes, comm_rank(across) + 1);
        for (int r = 0; r + 1 < nodes; r++) a->other[r] = a->incoming + r * (end - mine);
        sum_round(a->s, a->other, nodes - 1, a->sum + mine, result + mine, lo + mine, lo + end, &at);
        TRY(comm_share_begin(across, result, n, slice_of(n, nodes)), "early sum");
        a->phase = SHARE;
        break;
    }
    case SHARE:
        TRY(comm_begun_test(across, &through), "early sum");
        if (!through) return OK;
        start_bucket(a, a->bucket + 1);
        break;
    case THROUGH: break;
    }
    *moved = true;
    return OK;
}

/* Turns until something has to be waited for. */
static void turn_on(sum_ahead *a)
{
    for (bool moved = true; moved && !a->st && a->phase != THROUGH;) {
        a->st = turn(a, &moved);
        if (a->st) snprintf(a->why, sizeof a->why, "%s", status_message());
    }
}

static void nap(long ns) { nanosleep(&(struct timespec){0, ns}, NULL); }

static void *thread_main(void *arg)
{
    sum_ahead *a = arg;
    omp_set_num_threads(1); /* this thread's own loops */
    pthread_mutex_lock(&a->lock);
    while (!a->quit) {
        if (!a->awake || a->st || a->phase == THROUGH) {
            a->awake = false;
            pthread_cond_wait(&a->wake, &a->lock);
            continue;
        }
        a->turning = true;
        pthread_mutex_unlock(&a->lock);
        turn_on(a);
        pthread_mutex_lock(&a->lock);
        a->turning = false;
        pthread_cond_signal(&a->still);
        pthread_mutex_unlock(&a->lock);
        nap(NAP_NS);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- open, close ------------------------------------------------------------------------------------------------------------ */

static status start_thread(sum_ahead *a)
{
    int why = thread_start(&a->thread, thread_main, a);
    CHECK(why == 0, ST_RESOURCE, "cannot start the thread of the sum: %s", strerror(why));
    a->threaded = true;
    return OK;
}

/* Buckets of about the same size, from the end; none lies in two parts. */
static status cut(sum_ahead *a, const sum_part *part, int n_parts)
{
    int64_t hi = a->n, size = bucket_of(a->n);
    for (int p = n_parts - 1; p >= 0; p--) {
        if (part[p].first == part[p].last) continue;
        int64_t lo = a->s->tensor[part[p].first].off, each = bucket_each(hi - lo, size);
        CHECK(a->n_buckets + (hi - lo) / each + 1 < BUCKETS_MOST, ST_BUG, "early sum: too many buckets");
        for (; hi > lo; hi = a->of[a->n_buckets++].lo) {
            bucket *b = &a->of[a->n_buckets];
            *b = (bucket){hi > lo + each ? hi - each : lo, hi, part[p].group};
            int64_t stride = b->group ? slice_of(b->hi - b->lo, b->group->levels.lanes) : 0;
            if (stride > a->stride) a->stride = stride;
        }
    }
    return OK;
}

static status make(sum_ahead **out, gradient_sum *s, const sum_part *part, int n_parts, enum sum_mode mode)
{
    sum_ahead *a;
    TRY(mem_alloc(&a, sizeof *a, "early sum"), "sum");
    *out = a;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->wake, NULL);
    pthread_cond_init(&a->still, NULL);
    a->s = s, a->n_tensors = part[n_parts - 1].last, a->mode = mode;
    a->n = s->tensor[a->n_tensors - 1].off + s->tensor[a->n_tensors - 1].n;
    TRY(cut(a, part, n_parts), "sum");
    size_t ranks = (size_t)comm_size(s->all.ranks);
    TRY(mem_alloc(&a->sum, sizeof *a->sum * (size_t)a->stride, "early sum"), "sum");
    TRY(mem_alloc(&a->incoming, sizeof *a->incoming * ((size_t)a->stride + ranks * ALIGN), "early sum"), "sum");
    TRY(mem_alloc(&a->other, sizeof *a->other * ranks, "early sum"), "sum");
    return mode == SUM_THREAD ? start_thread(a) : OK;
}

/* The ranks of a node must see each other's accumulators, if there are several. Collective. */
static status worth(gradient_sum *s, bool *yes, double *nodes)
{
    const sum_group *all = &s->all;
    double blind = all->levels.node && comm_size(all->levels.node) > 1 && s->fixed_of.n == 0;
    *nodes = all->levels.across ? comm_size(all->levels.across) : 1;
    TRY(comm_max_f64(all->ranks, &blind, 1), "sum");
    TRY(comm_max_f64(all->ranks, nodes, 1), "sum");
    *yes = blind == 0 && *nodes > 1;
    return OK;
}

status sum_ahead_open(sum_ahead **out, gradient_sum *s, const sum_part *part, int n_parts, enum sum_mode mode)
{
    sum_ahead *a = NULL;
    comm *world = s->all.ranks;
    bool yes = false;
    double nodes = 1;
    *out = NULL;
    if (mode == SUM_AFTER || comm_size(world) == 1) return OK;
    if (s->exact && n_parts > 0) TRY(worth(s, &yes, &nodes), "early sum");
    if (!yes) {
        if (comm_rank(world) == 0) log_line(LOG_INFO, "the sum begins after the units: %s",
                                               !s->exact ? "it is not exact" : nodes > 1 ? "the ranks of a node do not see each other's memory" : "there is one node");
        return OK;
    }
    if (mode == SUM_THREAD && !world->any_thread) {
        if (comm_rank(world) == 0) log_line(LOG_WARN, "this MPI lets the main thread alone call it: the sum goes on between layers");
        mode = SUM_POLL;
    }
    comm *node = s->all.levels.node;
    status st = comm_agree(world, make(&a, s, part, n_parts, mode));
    if (!st) st = comm_shared_open(world, node, sizeof(uint64_t), &a->mark_of);
    if (!st && a->mark_of.n > 0) st = comm_shared_open(world, node, sizeof(float) * (size_t)a->n, &a->result_of);
    if (st || a->result_of.n == 0) {
        sum_ahead_close(a);
        return st;
    }
    if (comm_rank(world) == 0)
        log_line(LOG_INFO, "the sum over %.0f nodes begins during backward, in %d buckets, %s", nodes, a->n_buckets,
                 mode == SUM_THREAD ? "by a thread" : "between layers");
    *out = a;
    return OK;
}

void sum_ahead_close(sum_ahead *a)
{
    if (!a) return;
    if (a->threaded) {
        pthread_mutex_lock(&a->lock);
        a->quit = true;
        pthread_cond_signal(&a->wake);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
    }
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->wake);
    pthread_cond_destroy(&a->still);
    comm_shared_close(&a->mark_of);
    comm_shared_close(&a->result_of);
    free(a->sum);
    free(a->incoming);
    free(a->other);
    free(a);
}

/* ---- a step ------------------------------------------------------------------------------------------------------------------- */

void sum_ahead_begin(sum_ahead *a)
{
    a->step++;
    start_bucket(a, 0); /* the thread sleeps */
    a->mark = a->n_tensors;
    publish(a);
}

static void mark_done(sum_ahead *a, int from)
{
    gradient_sum *s = a->s;
    for (int k = from; k < a->mark; k++) {
        if (s->tensor[k].away) continue;
        if (!s->tensor[k].filled) memset(s->fixed + s->tensor[k].off, 0, sizeof *s->fixed * (size_t)s->tensor[k].n);
        s->tensor[k].filled = true;
    }
    if (from < a->mark) a->mark = from;
    publish(a);
}

void sum_ahead_done(sum_ahead *a, int from)
{
    mark_done(a, from);
    if (!a->threaded) {
        turn_on(a);
        return;
    }
    pthread_mutex_lock(&a->lock);
    a->awake = true;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

status sum_ahead_finish(sum_ahead *a)
{
    if (a->threaded) { /* from here on main alone is in MPI */
        pthread_mutex_lock(&a->lock);
        a->awake = false;
        while (a->turning) pthread_cond_wait(&a->still, &a->lock);
        pthread_mutex_unlock(&a->lock);
    }
    mark_done(a, 0);
    status st = comm_enter("comm_ahead");
    while (!st && !a->st && a->phase != THROUGH) {
        turn_on(a);
        if (a->phase != THROUGH) nap(WAIT_NS);
    }
    if (!st) watchdog_go();
    if (!st && a->st) st = status_set(a->st, a->why);
    return st;
}

void sum_ahead_take(sum_ahead *a, float *g)
{
    for (int i = 0; i < a->n_buckets; i++) {
        const bucket *b = &a->of[i];
        for (int r = 0; b->group && r < b->group->levels.lanes; r++) {
            int64_t from, n = slice(b, r, &from);
            int place = b->group->place[r];
            if (n == 0) continue;
            memcpy(g + from, result_of(a, place, from), sizeof *g * (size_t)n);
            if (place != here(a)) comm_shared_unsee(&a->result_of, place, sizeof *g * (size_t)from, sizeof *g * (size_t)n);
        }
    }
    for (int k = 0; k < a->n_tensors; k++) a->s->tensor[k].filled = false;
}
