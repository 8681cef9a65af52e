/* sum_ahead: the sum over the nodes while the last unit of a step is still in backward.
 *
 * Why it can be: an accumulator is a sum of integers, so it is final for a tensor as soon as this rank's last gradient of it has been added, and
 * who adds what when changes no bit. Backward finishes tensors from the end of the parameter table to its beginning, so each rank has one
 * falling mark, and the arena is cut into buckets from its end. The exponents are known before the step (from the maxima of the step before),
 * so integers can be formed tensor by tensor; what is not known is whether the whole unit is good. If its rest turns out not to be, its rank
 * takes back what it had added (the gradient is still there, and integers forget nothing), says so in the step's report, and all ranks throw
 * this sum away and make it again afterwards: rare, and right.
 *
 * Who does what: inside a node there is nothing to send, but a sum of the node needs the marks of all its ranks; they lie in shared memory.
 * Rank r of the node (of the first `lanes`) owns a slice of every bucket, and for one bucket after the other
 *     gather     once all ranks of its node are done with the bucket: adds up their accumulators, into memory of its own
 *     exchange   integers with the ranks that own this slice on other nodes (MPI_Ialltoallv); adds up and rounds its part of the slice
 *     share      the floats (MPI_Iallgatherv), into `result`, where its node fetches them in the end
 * The accumulators themselves stay as they are, for the case that all has to be done again. One exchange is under way at a time: the order of
 * collectives is the same on all ranks whatever the timing. Ranks that differ in their number of units differ only in when their marks fall.
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

struct sum_ahead {
    gradient_sum *s;
    int      n_tensors, n_buckets;
    int64_t  n, size, stride;       /* elements: in all, of a bucket, of a rank's slice of one (most) */
    enum sum_mode mode;
    shared_arena mark_of, result_of; /* of every rank of the node: its mark; (n_buckets, stride) floats */
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

static int64_t low(const sum_ahead *a, int bucket) { return a->n > (bucket + 1) * a->size ? a->n - (bucket + 1) * a->size : 0; }
static int64_t high(const sum_ahead *a, int bucket) { return a->n - bucket * a->size; }

/* The slice of a bucket that rank r of a node owns. */
static int64_t slice(const sum_ahead *a, int bucket, int r, int64_t *from)
{
    int64_t lo = low(a, bucket), n = high(a, bucket) - lo;
    int lanes = a->s->levels.lanes;
    *from = lo + slice_at(n, lanes, r < lanes ? r : lanes);
    return r < lanes ? lo + slice_at(n, lanes, r + 1) - *from : 0;
}

static _Atomic uint64_t *mark_of(const sum_ahead *a, int r) { return (_Atomic uint64_t *)(void *)a->mark_of.of[r]; }
static float *result_of(const sum_ahead *a, int r, int bucket) { return (float *)(void *)a->result_of.of[r] + bucket * a->stride; }

/* What the others of the node may read: the step, and how many buckets this rank is done with. */
static void publish(const sum_ahead *a)
{
    int done = 0;
    int64_t from = a->mark < a->n_tensors ? a->s->tensor[a->mark].off : a->n;
    while (done < a->n_buckets && low(a, done) >= from) done++;
    atomic_store_explicit(mark_of(a, comm_rank(a->s->levels.node)), a->step << 8 | (uint64_t)done, memory_order_release);
}

static bool node_is_done(const sum_ahead *a)
{
    for (int r = 0; r < comm_size(a->s->levels.node); r++) {
        uint64_t mark = atomic_load_explicit(mark_of(a, r), memory_order_acquire);
        if (mark >> 8 != a->step || (int)(mark & 255) <= a->bucket) return false;
    }
    return true;
}

static void gather(sum_ahead *a, int64_t lo, int64_t n)
{
    gradient_sum *s = a->s;
    int size = comm_size(s->levels.node), rank = comm_rank(s->levels.node);
    memcpy(a->sum, s->fixed + lo, sizeof *a->sum * (size_t)n);
    if (size == 1) return;
    for (int64_t from = lo; from < lo + n; from += PIECE) {
        int64_t len = lo + n - from < PIECE ? lo + n - from : PIECE;
        for (int r = 0, k = 0; r < size; r++)
            if (r != rank) a->other[k++] = (const int64_t *)(const void *)s->fixed_of.of[r] + from;
        sum_add_others(a->other, a->sum + (from - lo), 0, len, size - 1);
        for (int r = 0; r < size; r++)
            if (r != rank) comm_shared_unsee(&s->fixed_of, r, sizeof *s->fixed * (size_t)from, sizeof *s->fixed * (size_t)len);
    }
}

/* Goes on with the bucket as far as it goes without waiting for anybody. *moved: it did. */
static status turn(sum_ahead *a, bool *moved)
{
    comm *across = a->s->levels.across;
    int64_t lo, n = slice(a, a->bucket, comm_rank(a->s->levels.node), &lo);
    int nodes = comm_size(across);
    float *result = result_of(a, comm_rank(a->s->levels.node), a->bucket);
    bool through = false;
    *moved = false;
    switch (a->phase) {
    case GATHER:
        if (!node_is_done(a)) return OK;
        if (n > 0) {
            gather(a, lo, n);
            TRY(comm_exchange_begin(across, a->sum, n, slice_of(n, nodes), a->incoming), "early sum");
        }
        a->phase = n > 0 ? EXCHANGE : SHARE;
        break;
    case EXCHANGE: {
        TRY(comm_begun_test(across, &through), "early sum");
        if (!through) return OK;
        int64_t mine = slice_at(n, nodes, comm_rank(across)), end = slice_at(n, nodes, comm_rank(across) + 1);
        int at = 0;
        for (int r = 0; r + 1 < nodes; r++) a->other[r] = a->incoming + r * (end - mine);
        sum_round(a->s, a->other, nodes - 1, a->sum + mine, result + mine, lo + mine, lo + end, &at);
        TRY(comm_share_begin(across, result, n, slice_of(n, nodes)), "early sum");
        a->phase = SHARE;
        break;
    }
    case SHARE:
        if (n > 0) TRY(comm_begun_test(across, &through), "early sum");
        if (n > 0 && !through) return OK;
        a->phase = ++a->bucket == a->n_buckets ? THROUGH : GATHER;
        break;
    case THROUGH: return OK;
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

static status make(sum_ahead **out, gradient_sum *s, int n_tensors, enum sum_mode mode)
{
    sum_ahead *a;
    const sum_tensor *last = &s->tensor[n_tensors - 1];
    TRY(mem_alloc(&a, sizeof *a, "early sum"), "sum");
    *out = a;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->wake, NULL);
    pthread_cond_init(&a->still, NULL);
    a->s = s, a->n_tensors = n_tensors, a->mode = mode;
    a->n = last->off + last->n;
    a->size = bucket_of(a->n);
    a->n_buckets = (int)((a->n + a->size - 1) / a->size);
    a->stride = slice_of(a->size, s->levels.lanes);
    size_t ranks = (size_t)comm_size(s->world);
    TRY(mem_alloc(&a->sum, sizeof *a->sum * (size_t)a->stride, "early sum"), "sum");
    TRY(mem_alloc(&a->incoming, sizeof *a->incoming * ((size_t)a->stride + ranks * ALIGN), "early sum"), "sum");
    TRY(mem_alloc(&a->other, sizeof *a->other * ranks, "early sum"), "sum");
    return mode == SUM_THREAD ? start_thread(a) : OK;
}

/* The ranks of a node must see each other's accumulators, if there are several. Collective. */
static status worth(gradient_sum *s, bool *yes, double *nodes)
{
    double blind = s->levels.node && comm_size(s->levels.node) > 1 && s->fixed_of.n == 0;
    *nodes = s->levels.across ? comm_size(s->levels.across) : 1;
    TRY(comm_max_f64(s->world, &blind, 1), "sum");
    TRY(comm_max_f64(s->world, nodes, 1), "sum");
    *yes = blind == 0 && *nodes > 1;
    return OK;
}

status sum_ahead_open(sum_ahead **out, gradient_sum *s, int n_tensors, enum sum_mode mode)
{
    sum_ahead *a = NULL;
    bool yes = false;
    double nodes = 1;
    *out = NULL;
    if (mode == SUM_AFTER || comm_size(s->world) == 1) return OK;
    if (s->exact && n_tensors > 0) TRY(worth(s, &yes, &nodes), "early sum");
    if (!yes) {
        if (comm_rank(s->world) == 0) log_line(LOG_INFO, "the sum begins after the units: %s",
                                               !s->exact ? "it is not exact" : nodes > 1 ? "the ranks of a node do not see each other's memory" : "there is one node");
        return OK;
    }
    if (mode == SUM_THREAD && !s->world->any_thread) {
        if (comm_rank(s->world) == 0) log_line(LOG_WARN, "this MPI lets the main thread alone call it: the sum goes on between layers");
        mode = SUM_POLL;
    }
    status st = comm_agree(s->world, make(&a, s, n_tensors, mode));
    int lanes = s->levels.lanes, rank = comm_rank(s->levels.node);
    if (!st) st = comm_shared_open(s->world, s->levels.node, sizeof(uint64_t), &a->mark_of);
    if (!st && a->mark_of.n > 0)
        st = comm_shared_open(s->world, s->levels.node, rank < lanes ? sizeof(float) * (size_t)(a->n_buckets * a->stride) : 64, &a->result_of);
    if (st || a->result_of.n == 0) {
        sum_ahead_close(a);
        return st;
    }
    if (comm_rank(s->world) == 0)
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

static bool owns(const sum_ahead *a) { return comm_rank(a->s->levels.node) < a->s->levels.lanes; }

void sum_ahead_begin(sum_ahead *a)
{
    a->step++;
    a->bucket = 0;
    a->phase = owns(a) ? GATHER : THROUGH; /* the thread sleeps */
    a->mark = a->n_tensors;
    publish(a);
}

static void mark_done(sum_ahead *a, int from)
{
    gradient_sum *s = a->s;
    for (int k = from; k < a->mark; k++) {
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
    int rank = comm_rank(a->s->levels.node);
    for (int r = 0; r < a->s->levels.lanes; r++)
        for (int b = 0; b < a->n_buckets; b++) {
            int64_t from, n = slice(a, b, r, &from);
            const float *theirs = result_of(a, r, b);
            if (n == 0) continue;
            memcpy(g + from, theirs, sizeof *g * (size_t)n);
            if (r != rank) comm_shared_unsee(&a->result_of, r, sizeof *g * (size_t)(b * a->stride), sizeof *g * (size_t)n);
        }
    for (int k = 0; k < a->n_tensors; k++) a->s->tensor[k].filled = false;
}
