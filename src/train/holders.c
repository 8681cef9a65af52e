/* holders: which ranks hold a shared block. The encoder: all. A decoder: the ranks that have units of tasks with it. They alone keep its
 * weights and moments, sum its gradient and update it, as the ranks of a task do with its head; to the others it is away: it has its place in
 * every arena, so that offsets are the same on all ranks, but nobody touches it and it takes no memory. What needs it elsewhere, a checkpoint
 * or best.h5, is sent by the lowest rank that holds it; a rank that comes to hold it, at a resume or when units are placed anew, reads it from
 * the checkpoint. Integers have no order, and ranks that are left out would have added zeros: the bits are those of a sum over all. */
#include "train_internal.h"

#include <stdlib.h>

const char *const block_name[BLOCK_HEAD0] = {[BLOCK_ENCODER] = "encoder", [BLOCK_SEG] = "U-Net", [BLOCK_DET] = "FPN"};

bool rank_holds(const trainer *t, int block, int rank) { return t->holds[rank * BLOCK_HEAD0 + block]; }

bool held(const param *p) { return p->off >= 0 && !p->away; }

int lead_of(const trainer *t, int block) { return block < BLOCK_HEAD0 ? t->block[block].lead : t->ts[block - BLOCK_HEAD0].lead; }

/* Who only uses weights has all of them. */
status holders_find(trainer *t)
{
    TRY(mem_alloc(&t->holds, sizeof *t->holds * (size_t)t->size * BLOCK_HEAD0, "holders of blocks"), "plan");
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++) {
        block_state *s = &t->block[b];
        bool all = b == BLOCK_ENCODER || !t->training;
        for (int r = 0; r < t->size && all; r++) t->holds[r * BLOCK_HEAD0 + b] = true;
        for (int u = 0; u < t->n_units; u++)
            if (task_uses(&t->ts[t->units[u].task].task, b)) t->holds[t->rank_of[u] * BLOCK_HEAD0 + b] = true;
        s->lead = -1;
        for (int r = 0; r < t->size; r++) {
            if (!rank_holds(t, b, r)) continue;
            if (s->lead < 0) s->lead = r;
            s->n_ranks++;
        }
        if (s->n_ranks == 0) s->lead = 0; /* a block that the model lacks */
        s->everywhere = s->n_ranks == 0 || s->n_ranks == t->size;
        s->away = !s->everywhere && !rank_holds(t, b, t->rank);
    }
    for (int i = 0; i < t->pt.n; i++) t->pt.p[i].away = t->pt.p[i].block < BLOCK_HEAD0 && t->block[t->pt.p[i].block].away;
    return OK;
}

int64_t held_elements(const trainer *t)
{
    int64_t n = t->pt.n_local;
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++) n -= t->block[b].away ? t->block[b].hi - t->block[b].lo : 0;
    return n;
}

void holders_bounds(trainer *t)
{
    for (int i = 0; i < t->pt.n; i++) {
        const param *p = &t->pt.p[i];
        if (p->block >= BLOCK_HEAD0 || p->off < 0) continue;
        block_state *s = &t->block[p->block];
        if (s->hi == 0) s->lo = p->off;
        s->hi = p->off + p->n;
    }
}

status holders_open(trainer *t)
{
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++)
        if (!t->block[b].everywhere) TRY(sum_group_open(&t->block[b].sum, &t->sum, !t->block[b].away), "ranks of a decoder");
    return OK;
}

void holders_close(trainer *t)
{
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++) sum_group_close(&t->block[b].sum);
    free(t->holds);
}

int holders_parts(const trainer *t, sum_part part[BLOCK_HEAD0])
{
    int n = 0;
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++) {
        const block_state *s = &t->block[b];
        const sum_group *group = s->everywhere ? &t->sum.all : s->away ? NULL : &s->sum;
        if (t->block_first[b] == t->block_last[b]) continue;
        if (n > 0 && s->everywhere && part[n - 1].group == group) part[n - 1].last = t->block_last[b];
        else part[n++] = (sum_part){t->block_first[b], t->block_last[b], group};
    }
    return n;
}

status holders_sum(trainer *t)
{
    sum_part part[BLOCK_HEAD0];
    int n = holders_parts(t, part);
    for (int i = 0; i < n; i++)
        if (part[i].group) TRY(sum_reduce_among(&t->sum, part[i].group, part[i].first, part[i].last, t->g), "gradient sum");
    return OK;
}
