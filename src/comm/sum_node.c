/* sum_node: the sum where ranks see each other's memory. A tensor of a rank is in its accumulators, in its gradients (of its only unit, sum_leave),
 * in both, or nowhere; each rank adds up and rounds a share of the arena from where things lie. A unit that nothing is added to is never
 * written as integers: that would be two thirds of the bytes that a sum moves. */
#include "comm_internal.h"
#include "sum_internal.h"

enum { HAS_FIXED = 1, HAS_LEFT = 2, SPAN = 1024 /* elements whose sum stays in the first-level cache */ };

/* What a rank has. */
typedef struct source { const uint8_t *has; const int64_t *fixed; const float *g; } source;

static void add_source(int64_t *restrict sum, const source *from, int k, int64_t off, int64_t n, double scale)
{
    const int64_t *restrict fixed = from->fixed + off;
    const float *restrict g = from->g + off;
    if (from->has[k] & HAS_FIXED)
        for (int64_t i = 0; i < n; i++) sum[i] += fixed[i];
    if (from->has[k] & HAS_LEFT)
        for (int64_t i = 0; i < n; i++) sum[i] += to_fixed(g[i], scale);
}

/* Elements lo..hi-1: what n ranks have of them, to g, which may be one of theirs. *at as for sum_round. */
static void round_sources(const gradient_sum *s, const source *from, int n_from, float *g, int64_t lo, int64_t hi, int *at)
{
    *at = tensor_at(s, *at, lo);
    for (int k = *at; k < s->n_tensors && s->tensor[k].off < hi; k++) {
        const sum_tensor *t = &s->tensor[k];
        int64_t begin, end;
        tensor_part(t, lo, hi, &begin, &end);
        double scale = ldexp(1.0, exponent_of(s, t)), back = ldexp(1.0, -exponent_of(s, t));
#pragma omp parallel for schedule(static) if (end - begin > CHUNK)
        for (int64_t off = begin; off < end; off += SPAN) {
            int64_t sum[SPAN] __attribute__((aligned(64))), n = end - off < SPAN ? end - off : SPAN;
            memset(sum, 0, sizeof *sum * (size_t)n);
            for (int r = 0; r < n_from; r++) add_source(sum, &from[r], k, off, n, scale);
            for (int64_t i = 0; i < n; i++) g[off + i] = from_fixed(sum[i], back);
        }
    }
}

/* What this rank has of tensors first..last-1, for all to read; they are empty again. */
static void put_has(gradient_sum *s, int first, int last)
{
    for (int k = first; k < last; k++) {
        sum_tensor *t = &s->tensor[k];
        s->has[k] = (uint8_t)((t->filled ? HAS_FIXED : 0) | (t->left ? HAS_LEFT : 0));
        t->filled = t->left = false;
    }
}

void sum_alone(gradient_sum *s, int first, int last, float *g)
{
    const source own = {s->has, s->fixed, g};
    int at = first;
    put_has(s, first, last);
    round_sources(s, &own, 1, g, s->tensor[first].off, s->tensor[last - 1].off + s->tensor[last - 1].n, &at);
}

static void fetch(gradient_sum *s, float *g, int owner, int64_t from, int64_t n)
{
    const float *restrict theirs = (const float *)s->g_of.of[owner] + from;
    float *restrict x = g + from;
#pragma omp parallel for simd schedule(static) if (n > CHUNK)
    for (int64_t i = 0; i < n; i++) x[i] = theirs[i];
    comm_shared_unsee(&s->g_of, owner, sizeof *g * (size_t)from, sizeof *g * (size_t)n);
}

/* A share of the arena whose sum crosses to the other nodes. */
static status share_across(gradient_sum *s, const sum_group *group, int *at, int64_t mine, int64_t end, float *g)
{
    comm *node = group->levels.node, *across = group->levels.across;
    int size = comm_size(node), rank = comm_rank(node);
    int64_t piece = piece_of(comm_size(across));
    for (int64_t from = mine; from < end; from += piece) {
        int64_t n = end - from < piece ? end - from : piece;
        for (int r = 0, k = 0; r < size; r++)
            if (r != rank) s->other[k++] = (const int64_t *)s->fixed_of.of[group->place[r]] + from;
        sum_add_others(s->other, s->fixed + from, 0, n, size - 1);
        TRY(sum_through_mpi(s, across, at, from, from + n, g), "nodes");
        for (int r = 0; r < size; r++)
            if (r != rank) comm_shared_unsee(&s->fixed_of, group->place[r], sizeof *s->fixed * (size_t)from, sizeof *s->fixed * (size_t)n);
    }
    return OK;
}

/* The same where there is no other node. */
static void share_here(gradient_sum *s, const sum_group *group, int *at, int64_t mine, int64_t end, float *g)
{
    int size = comm_size(group->levels.node), rank = comm_rank(group->levels.node);
    source from[size];
    for (int r = 0; r < size; r++) {
        int place = group->place[r];
        from[r] = (source){(const uint8_t *)s->has_of.of[place], (const int64_t *)(const void *)s->fixed_of.of[place], (const float *)(const void *)s->g_of.of[place]};
    }
    for (int64_t lo = mine; lo < end; lo += PIECE) {
        int64_t n = end - lo < PIECE ? end - lo : PIECE;
        round_sources(s, from, size, g, lo, lo + n, at);
        for (int r = 0; r < size; r++) {
            if (r == rank) continue;
            comm_shared_unsee(&s->fixed_of, group->place[r], sizeof *s->fixed * (size_t)lo, sizeof *s->fixed * (size_t)n);
            comm_shared_unsee(&s->g_of, group->place[r], sizeof *g * (size_t)lo, sizeof *g * (size_t)n);
        }
    }
}

/* Each of the first `lanes` ranks of a node adds up a share of the arena, reading what the others have where it lies, and makes the
 * sum over the nodes with the ranks that have the same share; then every rank fetches the shares of the others of its node. */
status sum_on_nodes(gradient_sum *s, const sum_group *group, int first, int last, float *g)
{
    comm *node = group->levels.node;
    int rank = comm_rank(node), lanes = group->levels.lanes, at = first;
    int64_t lo = s->tensor[first].off, hi = s->tensor[last - 1].off + s->tensor[last - 1].n;
    int64_t mine = lo + slice_at(hi - lo, lanes, rank), end = lo + slice_at(hi - lo, lanes, rank + 1); /* beyond the lanes: nothing */
    bool one_node = comm_size(group->ranks) == comm_size(node);
    if (one_node) put_has(s, first, last);
    else sum_settle(s, first, last, g);
    TRY(comm_meet(node, "comm_exchange"), "exact sum"); /* all of the node have added their units */
    if (one_node) share_here(s, group, &at, mine, end, g);
    else TRY(share_across(s, group, &at, mine, end, g), "exact sum");
    TRY(comm_meet(node, "comm_share"), "exact sum"); /* all shares are made, and nobody reads what others have any more */
    for (int r = 0; r < lanes; r++) {
        int64_t until = lo + slice_at(hi - lo, lanes, r + 1);
        for (int64_t from = lo + slice_at(hi - lo, lanes, r); r != rank && from < until; from += PIECE)
            fetch(s, g, group->place[r], from, until - from < PIECE ? until - from : PIECE);
    }
    return comm_barrier(node); /* nobody changes its gradients while another fetches them */
}
