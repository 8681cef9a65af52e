/* comm: the door to MPI. Errors return as statuses; counts above INT_MAX are split here and nowhere else. */
#include "comm_internal.h"
#include "watchdog_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Most elements of one MPI call: far below INT_MAX bytes for 8-byte elements, so that every library copes. */
enum { SLICE = 1 << 27 };

/* Seconds of the watchdog until a job says otherwise (MEDLEY_WATCHDOG_S), and for MPI_Abort. */
enum { START_S = 300, ABORT_S = 3 };

status comm_check(int code, const char *what)
{
    if (code == MPI_SUCCESS) return OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    watchdog_failed();
    MPI_Error_string(code, text, &n);
    return status_raise(ST_COMM, __FILE__, __LINE__, "%s: %s", what, text);
}

status comm_enter(const char *name)
{
    status st = fault_check(name, ST_COMM);
    if (st) watchdog_failed();
    else watchdog_wait(name);
    return st;
}

status comm_leave(int code, const char *what)
{
    watchdog_go();
    return comm_check(code, what);
}

static status wrap(comm **out, MPI_Comm mpi)
{
    comm *c;
    TRY(mem_alloc(&c, sizeof *c, "communicator"), "comm");
    c->mpi = mpi;
    MPI_Comm_rank(mpi, &c->rank);
    MPI_Comm_size(mpi, &c->size);
    status st = mem_alloc(&c->counts, 4 * sizeof *c->counts * (size_t)c->size, "communicator");
    if (st) {
        free(c);
        return st;
    }
    MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN);
    *out = c;
    return OK;
}

status comm_open(int *argc, char ***argv, comm **world)
{
    int level = 0;
    const char *seconds = getenv("MEDLEY_WATCHDOG_S");
    watchdog_start(seconds ? atof(seconds) : START_S);
    TRY(MPI_WAIT("MPI_Init", MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &level), "MPI_Init_thread"), "start");
    CHECK(level >= MPI_THREAD_FUNNELED, ST_COMM, "MPI gives thread level %d, FUNNELED is needed for the loader thread", level);
    TRY(wrap(world, MPI_COMM_WORLD), "start");
    (*world)->any_thread = level >= MPI_THREAD_SERIALIZED;
    TRY(MPI_WAIT("comm_dup", MPI_Comm_dup(MPI_COMM_WORLD, &(*world)->leaving), "MPI_Comm_dup"), "start");
    MPI_Comm_set_errhandler((*world)->leaving, MPI_ERRORS_RETURN);
    return comm_join_board(*world);
}

bool comm_all_leave(comm *world, double seconds)
{
    MPI_Request all_here;
    int done = 0, signal = stop_requested();
    double end = timer_now() + seconds;
    if (MPI_Ibarrier(world->leaving, &all_here) != MPI_SUCCESS) return false;
    while (MPI_Test(&all_here, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done && stop_requested() == signal && timer_now() < end)
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    return done;
}

void comm_close(comm *world)
{
    if (!world) return;
    fault_hit("comm_close");
    watchdog_wait("MPI_Finalize"); /* watched too: a rank may never come */
    MPI_Comm_free(&world->leaving);
    free(world->counts);
    free(world);
    MPI_Finalize();
    watchdog_stop();
}

void comm_abort(comm *world, int code)
{
    watchdog_leave(ABORT_S, code); /* MPI_Abort talks to the launcher and may wait for it */
    fault_hit("comm_abort");
    MPI_Abort(world ? world->mpi : MPI_COMM_WORLD, code);
    _Exit(code);
}

int comm_rank(const comm *c) { return c ? c->rank : 0; }
int comm_size(const comm *c) { return c ? c->size : 1; }

const char *comm_library(void)
{
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int n = 0;
    MPI_Get_library_version(text, &n);
    char *end = strchr(text, ',');
    if (end) *end = 0;
    return text;
}

status comm_agree(comm *c, status mine)
{
    if (comm_size(c) == 1) return mine;
    /* The gravest code wins, then the lowest rank: both in one maximum. */
    int64_t packed = (int64_t)mine << 32 | (uint32_t)(mine ? 0x7fffffff - c->rank : 0), worst = 0;
    TRY(MPI_WAIT("comm_agree", MPI_Allreduce(&packed, &worst, 1, MPI_INT64_T, MPI_MAX, c->mpi), "MPI_Allreduce"), "agreement");
    if (worst == 0) return OK;
    int guilty = 0x7fffffff - (int)(worst & 0xffffffff);
    status code = (status)(worst >> 32);
    char text[2048] = "";
    if (c->rank == guilty) snprintf(text, sizeof text, "%.2000s", status_message());
    TRY(MPI_WAIT("comm_agree_text", MPI_Bcast(text, sizeof text, MPI_CHAR, guilty, c->mpi), "MPI_Bcast"), "agreement");
    char full[2200];
    snprintf(full, sizeof full, "rank %d of %d: %s", guilty, c->size, text);
    return status_set(code, full);
}

/* Loop over slices of at most SLICE elements. */
#define SLICED(n, i, len) for (int64_t i = 0, len; i < (n) && (len = (n) - i < SLICE ? (n) - i : SLICE, true); i += len)

status comm_bcast(comm *c, void *data, size_t n_bytes, int root)
{
    if (comm_size(c) == 1) return OK;
    SLICED((int64_t)n_bytes, i, len)
        TRY(MPI_WAIT("comm_bcast", MPI_Bcast((char *)data + i, (int)len, MPI_BYTE, root, c->mpi), "MPI_Bcast"), "broadcast of %zu bytes", n_bytes);
    return OK;
}

status comm_send(comm *c, int to, int tag, const void *data, size_t n_bytes)
{
    SLICED((int64_t)n_bytes, i, len)
        TRY(MPI_WAIT("comm_send", MPI_Send((const char *)data + i, (int)len, MPI_BYTE, to, tag, c->mpi), "MPI_Send"), "to rank %d", to);
    return OK;
}

status comm_recv(comm *c, int from, int tag, void *data, size_t n_bytes)
{
    SLICED((int64_t)n_bytes, i, len)
        TRY(MPI_WAIT("comm_recv", MPI_Recv((char *)data + i, (int)len, MPI_BYTE, from, tag, c->mpi, MPI_STATUS_IGNORE), "MPI_Recv"),
            "from rank %d", from);
    return OK;
}

status comm_gather(comm *c, const void *data, size_t n_bytes, int root, void **all, size_t *sizes)
{
    *all = NULL;
    int size = comm_size(c), rank = comm_rank(c);
    int64_t mine = (int64_t)n_bytes;
    status st = OK;
    char *buf = NULL;
    int64_t *count;
    TRY(mem_alloc(&count, sizeof *count * (size_t)size, "gather counts"), "gather");
    if (size > 1)
        TRY_TO(done, MPI_WAIT("comm_gather", MPI_Gather(&mine, 1, MPI_INT64_T, count, 1, MPI_INT64_T, root, c->mpi), "MPI_Gather"), "gather");
    else count[0] = mine;
    if (rank == root) {
        size_t total = 0;
        for (int r = 0; r < size; r++) sizes[r] = (size_t)count[r], total += sizes[r];
        st = mem_alloc(&buf, total, "gathered bytes");
    }
    TRY_TO(done, comm_agree(c, st), "gather");
    if (rank != root) {
        if (n_bytes) TRY_TO(done, comm_send(c, root, 77, data, n_bytes), "gather");
    } else {
        char *at = buf;
        for (int r = 0; r < size; at += sizes[r], r++) {
            if (r == root) {
                if (n_bytes) memcpy(at, data, n_bytes);
            } else if (sizes[r]) TRY_TO(done, comm_recv(c, r, 77, at, sizes[r]), "gather");
        }
        *all = buf;
        buf = NULL;
    }
done:
    free(buf);
    free(count);
    return st;
}

status comm_collect(comm *c, const void *data, size_t n_bytes, int root, void *all)
{
    int n = (int)n_bytes;
    if (comm_size(c) > 1)
        return MPI_WAIT("comm_collect", MPI_Gather(data, n, MPI_BYTE, all, n, MPI_BYTE, root, c->mpi), "MPI_Gather");
    memcpy(all, data, n_bytes);
    return OK;
}

status comm_collect_all(comm *c, const void *data, size_t n_bytes, void *all)
{
    TRY(comm_collect(c, data, n_bytes, 0, all), "collect");
    return comm_bcast(c, all, n_bytes * (size_t)comm_size(c), 0);
}

/* One row of what differs between the sums: `name` is the fault point and what the watchdog says of a rank that waits in it. */
typedef struct reduction { const char *name, *what; MPI_Datatype type; MPI_Op op; size_t bytes; } reduction;

static status reduce(comm *c, void *data, int64_t n, const reduction *r)
{
    if (comm_size(c) == 1) return OK;
    SLICED(n, i, len) {
        void *at = (char *)data + (size_t)i * r->bytes;
        TRY(MPI_WAIT(r->name, MPI_Allreduce(MPI_IN_PLACE, at, (int)len, r->type, r->op, c->mpi), "MPI_Allreduce"), "%s", r->what);
    }
    return OK;
}

static double bytes_sent; /* main's and the sum's thread's, who are never in MPI at once */

double comm_bytes_sent(void) { return bytes_sent; }

status comm_sum_f32(comm *c, float *data, int64_t n)
{
    bytes_sent += 8.0 * (double)n * (comm_size(c) - 1) / comm_size(c);
    return reduce(c, data, n, &(reduction){"comm_sum_f32", "float sum", MPI_FLOAT, MPI_SUM, 4});
}

status comm_sum_f64(comm *c, double *data, int64_t n)
{
    return reduce(c, data, n, &(reduction){"comm_sum_f64", "sum", MPI_DOUBLE, MPI_SUM, 8});
}

status comm_max_f64(comm *c, double *data, int64_t n)
{
    return reduce(c, data, n, &(reduction){"comm_max_f64", "maximum", MPI_DOUBLE, MPI_MAX, 8});
}

status comm_min_f64(comm *c, double *data, int64_t n)
{
    return reduce(c, data, n, &(reduction){"comm_min_f64", "minimum", MPI_DOUBLE, MPI_MIN, 8});
}

/* Bytes of MPI calls stay far below INT_MAX: n < 2^30 elements. What each rank sends and gets, into c->counts. */
static void count_exchange(comm *c, int64_t n, int64_t slice)
{
    int size = comm_size(c), *sent = c->counts, *from = sent + size, *got = from + size, *to = got + size, at = 0;
    for (int r = 0; r < size; r++) {
        int64_t lo = r * slice < n ? r * slice : n, hi = lo + slice < n ? lo + slice : n;
        sent[r] = r == c->rank ? 0 : (int)(hi - lo);
        bytes_sent += 8.0 * sent[r];
        from[r] = (int)lo;
    }
    int64_t lo = c->rank * slice < n ? c->rank * slice : n, mine = n - lo < slice ? n - lo : slice;
    for (int r = 0; r < size; r++) {
        got[r] = r == c->rank ? 0 : (int)mine;
        to[r] = at;
        at += got[r];
    }
}

status comm_exchange_i64(comm *c, const int64_t *data, int64_t n, int64_t slice, int64_t *in)
{
    const int size = comm_size(c), *k = c->counts;
    count_exchange(c, n, slice);
    return MPI_WAIT("comm_exchange", MPI_Alltoallv(data, k, k + size, MPI_INT64_T, in, k + 2 * size, k + 3 * size, MPI_INT64_T, c->mpi), "MPI_Alltoallv");
}

static void count_share(comm *c, int64_t n, int64_t slice)
{
    int size = comm_size(c), *count = c->counts, *place = count + size;
    for (int r = 0; r < size; r++) {
        int64_t lo = r * slice < n ? r * slice : n;
        count[r] = (int)(n - lo < slice ? n - lo : slice);
        place[r] = (int)lo;
    }
    bytes_sent += 4.0 * count[c->rank] * (size - 1);
}

status comm_share_f32(comm *c, float *data, int64_t n, int64_t slice)
{
    count_share(c, n, slice);
    return MPI_WAIT("comm_share", MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, c->counts, c->counts + comm_size(c), MPI_FLOAT, c->mpi),
                    "MPI_Allgatherv");
}

/* The counts stay until the call is through: one at a time. */
status comm_exchange_begin(comm *c, const int64_t *data, int64_t n, int64_t slice, int64_t *in)
{
    const int size = comm_size(c), *k = c->counts;
    count_exchange(c, n, slice);
    return comm_check(MPI_Ialltoallv(data, k, k + size, MPI_INT64_T, in, k + 2 * size, k + 3 * size, MPI_INT64_T, c->mpi, &c->begun), "MPI_Ialltoallv");
}

status comm_share_begin(comm *c, float *data, int64_t n, int64_t slice)
{
    count_share(c, n, slice);
    return comm_check(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, c->counts, c->counts + comm_size(c), MPI_FLOAT, c->mpi, &c->begun),
                      "MPI_Iallgatherv");
}

status comm_begun_test(comm *c, bool *through)
{
    int flag = 0;
    TRY(comm_check(MPI_Test(&c->begun, &flag, MPI_STATUS_IGNORE), "MPI_Test"), "exchange");
    *through = flag;
    return OK;
}

status comm_meet(comm *c, const char *point) { return comm_size(c) == 1 ? OK : MPI_WAIT(point, MPI_Barrier(c->mpi), "MPI_Barrier"); }

status comm_barrier(comm *c) { return comm_meet(c, "comm_barrier"); }

static status split(comm *c, int colour, comm **out)
{
    *out = NULL;
    MPI_Comm sub;
    TRY(MPI_WAIT("comm_group", MPI_Comm_split(c->mpi, colour, c->rank, &sub), "MPI_Comm_split"), "group");
    return sub == MPI_COMM_NULL ? OK : wrap(out, sub);
}

status comm_group(comm *c, bool member, comm **out) { return split(c, member ? 1 : MPI_UNDEFINED, out); }

void comm_group_close(comm *g)
{
    if (!g) return;
    MPI_Comm_free(&g->mpi);
    free(g->counts);
    free(g);
}

status comm_levels_open(comm *world, comm_levels *out)
{
    *out = (comm_levels){0};
    if (comm_size(world) == 1) return OK;
    status st = split(world, watchdog_board()->node, &out->node);
    TRY_TO(failed, comm_agree(world, st), "ranks of a node");
    double lanes = out->node->size;
    TRY_TO(failed, comm_min_f64(world, &lanes, 1), "ranks of a node");
    out->lanes = (int)lanes;
    st = split(world, out->node->rank < out->lanes ? out->node->rank : MPI_UNDEFINED, &out->across);
    TRY_TO(failed, comm_agree(world, st), "ranks across nodes");
    return OK;
failed:
    comm_levels_close(out);
    return st;
}

void comm_levels_close(comm_levels *l)
{
    comm_group_close(l->node);
    comm_group_close(l->across);
    *l = (comm_levels){0};
}
