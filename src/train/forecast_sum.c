/* forecast_sum: what crosses the ranks in a step, as holders.c, step.c and comm/sum.c move it. Exact, to be held against what comm counts. */
#include "train_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct roads {
    const trainer *t;
    int  per_node;
    bool exact;
    int *members;     /* (nodes) of a group, by node */
    double *leave;    /* (nodes) bytes */
    sum_traffic *out;
} roads;

static int n_nodes(const roads *o) { return (o->t->size + o->per_node - 1) / o->per_node; }

/* Of a block in an arena: each tensor begins on 16. */
static double elements(const params *pt, int block)
{
    int64_t end = 0;
    for (int i = 0; i < pt->n; i++)
        if (pt->p[i].block == block) end = (end + 15) / 16 * 16 + pt->p[i].n;
    return (double)end;
}

/* n elements over the ranks counted in o->members. Ranks of a node that read each other's integers send one sum a node; the others each one. */
static void add(roads *o, double n, bool seen)
{
    double sites = 0, each = o->exact ? 12 : 8; /* bytes a value: integers and floats, or floats there and back */
    for (int q = 0; q < n_nodes(o); q++) sites += seen ? o->members[q] > 0 : o->members[q];
    for (int q = 0; q < n_nodes(o); q++) {
        double here = seen ? o->members[q] > 0 : o->members[q];
        o->leave[q] += each * n / sites * here * (sites - here);
    }
    o->out->bytes += each * n * (sites - 1);
}

static void count(roads *o, const bool *member, int stride)
{
    memset(o->members, 0, sizeof *o->members * (size_t)n_nodes(o));
    for (int r = 0; r < o->t->size; r++) o->members[r / o->per_node] += member[r * stride];
}

static void heads(roads *o, bool *runs)
{
    const trainer *t = o->t;
    for (int i = 0, u = 0; i < t->n_tasks; i++) {
        memset(runs, 0, sizeof *runs * (size_t)t->size);
        for (int k = 0; k < t->job.task[i].units; k++, u++) runs[t->rank_of[u]] = true;
        count(o, runs, 1);
        add(o, elements(&t->pt, BLOCK_HEAD0 + i), false);
    }
}

status forecast_traffic(const trainer *t, int per_node, sum_traffic *out)
{
    roads o = {.t = t, .per_node = per_node, .exact = strcmp(t->job.train.sum, "exact") == 0, .out = out};
    bool *runs = NULL;
    status st;
    *out = (sum_traffic){0};
    TRY_TO(done, mem_alloc(&o.members, sizeof *o.members * (size_t)n_nodes(&o), "forecast"), "check");
    TRY_TO(done, mem_alloc(&o.leave, sizeof *o.leave * (size_t)n_nodes(&o), "forecast"), "check");
    TRY_TO(done, mem_alloc(&runs, sizeof *runs * (size_t)t->size, "forecast"), "check");
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++) {
        if (t->block[b].n_ranks == 0) continue;
        count(&o, t->holds + b, BLOCK_HEAD0);
        add(&o, elements(&t->pt, b), o.exact);
    }
    heads(&o, runs);
    for (int q = 0; q < n_nodes(&o); q++) out->leave = fmax(out->leave, o.leave[q]);
    st = OK;
done:
    free(o.members);
    free(o.leave);
    free(runs);
    return st;
}
