/* sum: gradient sums whose bits do not depend on who adds what first.
 *
 * What crosses the ranks is 8 + 4 bytes a value instead of the 8 + 8 of an integer allreduce: every rank adds up and rounds the slice it
 * owns, and hands out the rounded values. The ranks of a node read each other's accumulators where they lie, so that one sum of the node
 * crosses to the other nodes, each rank sending a share of it. What goes through MPI goes in pieces that fit the cache: the accumulators
 * travel through memory once. Integers have no order, so the bits are the same whoever adds what. */
#include "medley/comm.h"

#include "sum_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GROWTH_BITS = 12 };

/* Accumulators and gradients that all ranks of a node see, or neither. Not if every node has one rank. */
static status share(gradient_sum *s, comm *c)
{
    comm_levels *levels = &s->all.levels;
    TRY(comm_levels_open(c, levels), "sum");
    double most = comm_size(levels->node);
    TRY(comm_max_f64(c, &most, 1), "sum");
    if (most < 2) return OK;
    TRY(comm_shared_open(c, levels->node, sizeof *s->fixed * (size_t)s->n, &s->fixed_of), "sum");
    if (s->fixed_of.n == 0) return OK;
    TRY(comm_shared_open(c, levels->node, sizeof *s->g * (size_t)s->n, &s->g_of), "sum");
    if (s->g_of.n > 0) TRY(comm_shared_open(c, levels->node, (size_t)s->n_global, &s->has_of), "sum");
    if (s->g_of.n > 0 && s->has_of.n > 0) return OK;
    comm_shared_close(&s->fixed_of);
    comm_shared_close(&s->g_of);
    return OK;
}

static status allocate(gradient_sum *s, comm *c, bool with_g)
{
    size_t ranks = (size_t)comm_size(c), n = (size_t)s->n, nodes_ranks = (size_t)comm_size(s->all.levels.node);
    TRY(mem_alloc(&s->tensor, sizeof *s->tensor * (size_t)s->n_tensors, "sum table"), "sum");
    TRY(mem_alloc(&s->other, sizeof *s->other * ranks, "sum table"), "sum");
    TRY(mem_alloc(&s->scratch, sizeof *s->scratch * (size_t)s->n_global, "maxima"), "sum");
    TRY(mem_alloc(&s->all.place, sizeof *s->all.place * nodes_ranks, "sum table"), "sum");
    for (size_t r = 0; r < nodes_ranks; r++) s->all.place[r] = (int)r;
    if (s->g_of.n > 0) {
        s->fixed = (int64_t *)s->fixed_of.of[comm_rank(s->all.levels.node)];
        s->g = (float *)s->g_of.of[comm_rank(s->all.levels.node)];
        s->has = (uint8_t *)s->has_of.of[comm_rank(s->all.levels.node)];
    } else { /* pages come when they are touched: never, where a tensor is away */
        TRY(arena_init(&s->own_sums, (s->exact ? sizeof *s->fixed : sizeof *s->floating) * n, "gradient sum"), "sum");
        if (s->exact) s->fixed = (int64_t *)(void *)s->own_sums.base;
        else s->floating = (float *)(void *)s->own_sums.base;
        if (with_g) TRY(arena_init(&s->own_g, sizeof *s->g * n, "gradients"), "sum");
        s->g = (float *)(void *)s->own_g.base;
        TRY(mem_alloc(&s->own_has, (size_t)s->n_tensors, "sum table"), "sum");
        s->has = s->own_has;
    }
    if (s->exact && ranks > 1)
        TRY(mem_alloc(&s->incoming, sizeof *s->incoming * (size_t)(piece_of((int)ranks) + (int64_t)ranks * ALIGN), "sums of other ranks"), "sum");
    return OK;
}

status sum_init(gradient_sum *s, comm *c, bool exact, int n_tensors, int n_global, int64_t n, int n_units, float **g)
{
    *s = (gradient_sum){.exact = exact, .n_tensors = n_tensors, .n_global = n_global, .n = n, .all.ranks = c};
    while ((1 << s->unit_bits) < n_units) s->unit_bits++;
    if (exact && g) TRY(share(s, c), "sum");
    TRY(comm_agree(c, allocate(s, c, g != NULL)), "sum");
    if (g) *g = s->g;
    for (int t = 0; t < n_tensors; t++) s->tensor[t].exponent = SUM_EXPONENT_UNKNOWN;
    return OK;
}

status sum_group_open(sum_group *out, gradient_sum *s, bool member)
{
    sum_group o = {0};
    comm *world = s->all.ranks;
    int mine = comm_rank(s->all.levels.node);
    *out = o;
    status st = comm_group(world, member, &o.ranks);
    if (!st && s->all.levels.node) st = comm_levels_open(o.ranks, &o.levels);
    if (!st && member) st = mem_alloc(&o.place, sizeof *o.place * (size_t)comm_size(o.levels.node), "sum table");
    st = comm_agree(world, st);
    if (!st && o.levels.node) st = comm_collect_all(o.levels.node, &mine, sizeof mine, o.place);
    if (!st && member && !o.levels.node) o.place[0] = mine, o.levels.lanes = 1; /* this rank alone */
    *out = o;
    if (st) sum_group_close(out);
    return st;
}

void sum_group_close(sum_group *group)
{
    comm_levels_close(&group->levels);
    comm_group_close(group->ranks);
    free(group->place);
    *group = (sum_group){0};
}

void sum_free(gradient_sum *s)
{
    arena_free(&s->own_sums);
    arena_free(&s->own_g);
    free(s->own_has);
    comm_shared_close(&s->fixed_of);
    comm_shared_close(&s->g_of);
    comm_shared_close(&s->has_of);
    comm_levels_close(&s->all.levels);
    free(s->all.place);
    free(s->tensor);
    free(s->other);
    free(s->incoming);
    free(s->scratch);
    *s = (gradient_sum){0};
}

/* ---- units ------------------------------------------------------------------------------------------------------------------ */

/* Largest |x| as bits; anything from 0x7f800000 on is Inf or NaN. Integer comparison keeps NaN visible. */
static uint32_t largest_bits(const float *x, int64_t n)
{
    uint32_t most = 0;
#pragma omp parallel for reduction(max : most) schedule(static) if (n > CHUNK)
    for (int64_t i = 0; i < n; i++) {
        uint32_t b;
        memcpy(&b, x + i, 4);
        b &= 0x7fffffffu;
        most = b > most ? b : most;
    }
    return most;
}

int sum_check(gradient_sum *s, const float *g, int first, int last)
{
    int bad = -1;
    for (int k = first; k < last; k++) {
        sum_tensor *t = &s->tensor[k];
        uint32_t bits = largest_bits(g + t->off, t->n);
        float most;
        memcpy(&most, &bits, 4);
        if (bits >= 0x7f800000u) {
            if (bad < 0) bad = k;
            continue;
        }
        if (most > t->max) t->max = most;
        if (s->exact && most > ldexpf(1.0f, 62 - s->unit_bits - exponent_of(s, t)) && bad < 0) bad = k;
    }
    return bad;
}

/* The first unit of a step sets the accumulators, so that nobody has to clear them. clear: x becomes 0. */
static void add_exact(int64_t *restrict sum, float *restrict x, int64_t n, double scale, bool set, bool clear)
{
    if (!clear && set) {
#pragma omp parallel for simd schedule(static) if (n > CHUNK)
        for (int64_t i = 0; i < n; i++) sum[i] = to_fixed(x[i], scale);
    } else if (!clear) {
#pragma omp parallel for simd schedule(static) if (n > CHUNK)
        for (int64_t i = 0; i < n; i++) sum[i] += to_fixed(x[i], scale);
    } else if (set) {
#pragma omp parallel for simd schedule(static) if (n > CHUNK)
        for (int64_t i = 0; i < n; i++) {
            sum[i] = to_fixed(x[i], scale);
            x[i] = 0;
        }
    } else {
#pragma omp parallel for simd schedule(static) if (n > CHUNK)
        for (int64_t i = 0; i < n; i++) {
            sum[i] += to_fixed(x[i], scale);
            x[i] = 0;
        }
    }
}

static void add_floating(float *restrict sum, float *restrict x, int64_t n, bool set)
{
#pragma omp parallel for simd schedule(static) if (n > CHUNK)
    for (int64_t i = 0; i < n; i++) {
        sum[i] = set ? x[i] : sum[i] + x[i];
        x[i] = 0;
    }
}

void sum_add(gradient_sum *s, float *g, int first, int last)
{
    for (int k = first; k < last; k++) {
        sum_tensor *t = &s->tensor[k];
        if (s->exact) add_exact(s->fixed + t->off, g + t->off, t->n, ldexp(1.0, exponent_of(s, t)), !t->filled, true);
        else add_floating(s->floating + t->off, g + t->off, t->n, !t->filled);
        t->filled = true;
    }
}

void sum_add_early(gradient_sum *s, float *g, int first, int last)
{
    for (int k = first; k < last; k++) {
        sum_tensor *t = &s->tensor[k];
        add_exact(s->fixed + t->off, g + t->off, t->n, ldexp(1.0, exponent_of(s, t)), !t->filled, false);
        t->filled = true;
    }
}

/* Rounding is odd: what -x adds is what x has added. */
void sum_take_back(gradient_sum *s, float *g, int first, int last)
{
    for (int k = first; k < last; k++) {
        const sum_tensor *t = &s->tensor[k];
        add_exact(s->fixed + t->off, g + t->off, t->n, -ldexp(1.0, exponent_of(s, t)), false, false);
    }
}

void sum_leave(gradient_sum *s, float *g, int first, int last)
{
    if (!s->exact) sum_add(s, g, first, last);
    for (int k = first; k < last && s->exact; k++) s->tensor[k].left = true;
}

void sum_reject(gradient_sum *s, float *g, int first, int last)
{
    for (int k = first; k < last; k++) memset(g + s->tensor[k].off, 0, sizeof *g * (size_t)s->tensor[k].n);
}

/* ---- ranks ------------------------------------------------------------------------------------------------------------------ */

void sum_add_others(const int64_t *const *other, int64_t *restrict sum, int64_t at, int64_t n, int n_others)
{
    for (int r = 0; r < n_others; r++) {
        const int64_t *restrict in = other[r] + at;
#pragma omp parallel for simd schedule(static) if (n > CHUNK)
        for (int64_t i = 0; i < n; i++) sum[i] += in[i];
    }
}

void sum_round(const gradient_sum *s, const int64_t *const *other, int n_others, int64_t *all, float *g, int64_t lo, int64_t hi, int *at)
{
    *at = tensor_at(s, *at, lo);
    for (int k = *at; k < s->n_tensors && s->tensor[k].off < hi; k++) {
        const sum_tensor *t = &s->tensor[k];
        int64_t from, end;
        tensor_part(t, lo, hi, &from, &end);
        int64_t n = end - from;
        int64_t *restrict sum = all + (from - lo);
        float *restrict x = g + (from - lo);
        double scale = ldexp(1.0, -exponent_of(s, t));
        sum_add_others(other, sum, from - lo, n, n_others - 1); /* the last one is added while rounding */
        if (n_others == 0) {
#pragma omp parallel for simd schedule(static) if (n > CHUNK)
            for (int64_t i = 0; i < n; i++) x[i] = from_fixed(sum[i], scale);
        } else {
            const int64_t *restrict in = other[n_others - 1] + from - lo;
#pragma omp parallel for simd schedule(static) if (n > CHUNK)
            for (int64_t i = 0; i < n; i++) x[i] = from_fixed(sum[i] + in[i], scale);
        }
    }
}

/* Elements lo..hi-1 of the arena, from the accumulators and s->other to g. */
static void round_piece(gradient_sum *s, float *g, int64_t lo, int64_t hi, int n_others, int *at)
{
    sum_round(s, s->other, n_others, s->fixed + lo, g + lo, lo, hi, at);
}

status sum_through_mpi(gradient_sum *s, comm *c, int *at, int64_t from, int64_t hi, float *g)
{
    int size = comm_size(c), rank = comm_rank(c);
    for (int64_t piece = piece_of(size); from < hi; from += piece) {
        int64_t n = hi - from < piece ? hi - from : piece, slice = slice_of(n, size);
        int64_t mine = slice_at(n, size, rank), end = slice_at(n, size, rank + 1);
        TRY(comm_exchange_i64(c, s->fixed + from, n, slice, s->incoming), "exact sum");
        for (int r = 0; r + 1 < size; r++) s->other[r] = s->incoming + r * (end - mine);
        round_piece(s, g, from + mine, from + end, size - 1, at);
        TRY(comm_share_f32(c, g + from, n, slice), "exact sum");
    }
    return OK;
}

void sum_settle(gradient_sum *s, int first, int last, float *g)
{
    for (int k = first; k < last; k++) {
        sum_tensor *t = &s->tensor[k];
        if (t->left) add_exact(s->fixed + t->off, g + t->off, t->n, ldexp(1.0, exponent_of(s, t)), !t->filled, false);
        else if (!t->filled && s->exact) memset(s->fixed + t->off, 0, sizeof *s->fixed * (size_t)t->n);
        else if (!t->filled) memset(s->floating + t->off, 0, sizeof *s->floating * (size_t)t->n);
        t->filled = t->left = false;
    }
}

/* Over the ranks of c through MPI. */
static status reduce_anywhere(gradient_sum *s, comm *c, int first, int last, float *g)
{
    int64_t lo = s->tensor[first].off, hi = s->tensor[last - 1].off + s->tensor[last - 1].n;
    int at = first;
    if (s->exact && comm_size(c) == 1) {
        sum_alone(s, first, last, g);
        return OK;
    }
    sum_settle(s, first, last, g);
    if (s->exact) return sum_through_mpi(s, c, &at, lo, hi, g);
    memcpy(g + lo, s->floating + lo, sizeof *g * (size_t)(hi - lo));
    return comm_size(c) > 1 ? comm_sum_f32(c, g + lo, hi - lo) : OK;
}

status sum_reduce_among(gradient_sum *s, const sum_group *group, int first, int last, float *g)
{
    if (first >= last) return OK;
    if (!group->levels.node || g != s->g || s->g_of.n == 0) return reduce_anywhere(s, group->ranks, first, last, g);
    return sum_on_nodes(s, group, first, last, g);
}

status sum_reduce(gradient_sum *s, comm *c, int first, int last, float *g)
{
    if (c == s->all.ranks) return sum_reduce_among(s, &s->all, first, last, g);
    return first < last ? reduce_anywhere(s, c, first, last, g) : OK;
}

status sum_rescale(gradient_sum *s, comm *c, const int *id)
{
    memset(s->scratch, 0, sizeof *s->scratch * (size_t)s->n_global);
    for (int k = 0; k < s->n_tensors; k++) s->scratch[id[k]] = s->tensor[k].max;
    TRY(comm_max_f64(c, s->scratch, s->n_global), "largest gradients");
    for (int k = 0; k < s->n_tensors; k++) {
        sum_tensor *t = &s->tensor[k];
        t->max = 0;
        double most = s->scratch[id[k]];
        if (most <= 0) continue; /* no gradient this time: keep the range */
        int exponent = 62 - s->unit_bits - GROWTH_BITS - ((int)ceil(log2(most)) + 1);
        t->exponent = exponent < -60 ? -60 : exponent > 100 ? 100 : exponent;
    }
    return OK;
}
