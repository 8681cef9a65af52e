/* node_state: what the optimiser keeps of the shared blocks, once a node instead of once a rank (Rajbhandari et al., SC 2020, stage 1, inside a node):
 * the ranks of a node that hold a block map the same memory, each updates its share of it and of its weights, and fetches the other shares of
 * the weights where they lie. Gradients are complete on all of them anyway, and AdamW knows no neighbours: the bits are those of a rank that does
 * all of it. What is given up: a share that its rank computes wrongly reaches the whole node, and only other nodes can tell (replicas.c). */
#include "train_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHARE_ALIGN = 1024, PIECE = 1 << 17 };

static bool wanted(const trainer *t) { return t->training && t->size > 1 && strcmp(t->job.train.moments, "node") == 0; }

static int64_t page_floats(void) { return (int64_t)sysconf(_SC_PAGESIZE) / (int64_t)sizeof(float); }

int64_t node_state_pad(const trainer *t, int64_t end)
{
    int64_t page = page_floats();
    return wanted(t) ? (page - end % page) % page : 0;
}

/* The share of a block that rank r of the node updates: empty if it does not hold the block. Returns r's place among those who do. */
static int share_of(const trainer *t, int block, int r, int64_t *lo, int64_t *hi)
{
    const block_state *b = &t->block[block];
    int n_holders = 0, me = 0;
    for (int q = 0; q < t->node.w_of.n; q++) {
        if (!rank_holds(t, block, t->node.rank[q])) continue;
        me += q < r;
        n_holders++;
    }
    *lo = *hi = b->lo;
    if (!rank_holds(t, block, t->node.rank[r])) return me;
    int64_t n = b->hi - b->lo, each = ((n + n_holders - 1) / n_holders + SHARE_ALIGN - 1) / SHARE_ALIGN * SHARE_ALIGN;
    *lo += me * each < n ? me * each : n;
    *hi += (me + 1) * each < n ? (me + 1) * each : n;
    return me;
}

status node_state_open(trainer *t)
{
    node_state *s = &t->node;
    if (!wanted(t)) return OK;
    TRY(comm_levels_open(t->world, &s->levels), "moments of a node");
    double most = comm_size(s->levels.node);
    TRY(comm_max_f64(t->world, &most, 1), "moments of a node");
    if (most < 2) return OK; /* every node has one rank: it holds them anyway */
    for (int b = 0; b < BLOCK_HEAD0; b++) s->n = t->block[b].hi > s->n ? t->block[b].hi : s->n;
    TRY(comm_agree(t->world, mem_alloc(&s->rank, sizeof *s->rank * (size_t)comm_size(s->levels.node), "ranks of a node")), "moments of a node");
    TRY(comm_collect_all(s->levels.node, &t->rank, sizeof t->rank, s->rank), "moments of a node");
    TRY(comm_shared_open(t->world, s->levels.node, sizeof *t->w * (size_t)t->pt.n_local, &s->w_of), "moments of a node");
    CHECK(s->w_of.n > 0, ST_RESOURCE, "train.moments = \"node\": the ranks of a node do not see each other's memory here");
    size_t bytes = sizeof(float) * (size_t)(s->n + node_state_pad(t, s->n));
    arena *common[] = {&t->m_arena, &t->v_arena, &t->ema_arena};
    for (int i = 0; i < 3; i++)
        if (common[i]->base) TRY(comm_common(t->world, s->levels.node, bytes, common[i]), "moments of a node");
    arena_free(&t->weight_arena);
    t->w = (float *)(void *)s->w_of.of[comm_rank(s->levels.node)];
    return OK;
}

void node_state_close(trainer *t)
{
    comm_shared_close(&t->node.w_of);
    comm_levels_close(&t->node.levels);
    free(t->node.rank);
}

bool node_state_holds(const trainer *t, const param *p)
{
    int64_t lo, hi;
    return p->block >= BLOCK_HEAD0 || t->node.w_of.n == 0 || share_of(t, p->block, comm_rank(t->node.levels.node), &lo, &hi) == 0;
}

void node_state_share(const trainer *t, const param *p, int64_t *from, int64_t *to)
{
    int64_t lo, hi;
    *from = 0, *to = p->n;
    if (p->block >= BLOCK_HEAD0 || t->node.w_of.n == 0) return;
    share_of(t, p->block, comm_rank(t->node.levels.node), &lo, &hi);
    if (*from < lo - p->off) *from = lo - p->off;
    if (*to > hi - p->off) *to = hi - p->off;
    if (*from > *to) *from = *to = 0;
}

/* The share of the weights of a block that rank r of the node has updated. In pieces: what is seen at a time counts as this rank's memory. */
static void fetch(trainer *t, int block, int r)
{
    node_state *s = &t->node;
    int64_t from, end;
    share_of(t, block, r, &from, &end);
    for (int64_t n; from < end; from += n) {
        n = end - from < PIECE ? end - from : PIECE;
        memcpy(t->w + from, (const float *)(const void *)s->w_of.of[r] + from, sizeof *t->w * (size_t)n);
        comm_shared_unsee(&s->w_of, r, sizeof *t->w * (size_t)from, sizeof *t->w * (size_t)n);
    }
}

status node_state_spread(trainer *t)
{
    node_state *s = &t->node;
    if (s->w_of.n == 0) return OK;
    TRY(comm_meet(s->levels.node, "comm_update"), "weights of the node");
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++)
        for (int r = 0; r < s->w_of.n && !t->block[b].away; r++)
            if (r != comm_rank(s->levels.node)) fetch(t, b, r);
    return OK; /* nobody updates again before all have met in the next step's sum */
}
