/* place: which rank runs which unit. Longest processing time first over groups of units; groups are whole tasks until that costs
 * balance. */
#include "medley/task.h"

#include <stdlib.h>
#include <string.h>

enum { KEPT_MOST = 1024 }; /* of more units none are kept together: trying takes their number squared, times the ranks */

/* Units [first, last) of the sorted list: they stay on one rank. */
typedef struct group {
    int first, last, rank;
    double cost;
} group;

typedef struct packing {
    const unit **sorted;
    group *group;
    int n_group, n_ranks;
    double *load;
    int *held;
} packing;

static int by_task(const void *pa, const void *pb)
{
    const unit *a = *(const unit *const *)pa, *b = *(const unit *const *)pb;
    if (a->task != b->task) return a->task < b->task ? -1 : 1;
    if (a->number != b->number) return a->number < b->number ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* Most expensive first; equal ones in the order of (task, unit), which is the order of `first`. */
static int by_cost(const void *pa, const void *pb)
{
    const group *a = pa, *b = pb;
    if (a->cost != b->cost) return a->cost > b->cost ? -1 : 1;
    return a->first < b->first ? -1 : a->first > b->first;
}

/* Gives each group in turn to the rank with the least load (then the fewest groups, then the lowest number). Returns the largest load.
 */
static double pack(packing *p)
{
    memset(p->load, 0, sizeof *p->load * (size_t)p->n_ranks);
    memset(p->held, 0, sizeof *p->held * (size_t)p->n_ranks);
    qsort(p->group, (size_t)p->n_group, sizeof *p->group, by_cost);
    double most = 0;
    for (int i = 0; i < p->n_group; i++) {
        int best = 0;
        for (int r = 1; r < p->n_ranks; r++)
            if (p->load[r] < p->load[best] || (p->load[r] == p->load[best] && p->held[r] < p->held[best])) best = r;
        p->group[i].rank = best;
        p->load[best] += p->group[i].cost;
        p->held[best]++;
        if (p->load[best] > most) most = p->load[best];
    }
    return most;
}

static double cost_of(const packing *p, int first, int last)
{
    double sum = 0;
    for (int i = first; i < last; i++) sum += p->sorted[i]->cost > 0 ? p->sorted[i]->cost : 0;
    return sum;
}

static void group_by_unit(packing *p, int n_units)
{
    p->n_group = n_units;
    for (int i = 0; i < n_units; i++) p->group[i] = (group){i, i + 1, 0, cost_of(p, i, i + 1)};
}

static void group_by_task(packing *p, int n_units)
{
    p->n_group = 0;
    for (int i = 0, from = 0; i < n_units; i++)
        if (i + 1 == n_units || p->sorted[i + 1]->task != p->sorted[i]->task) {
            p->group[p->n_group++] = (group){from, i + 1, 0, cost_of(p, from, i + 1)};
            from = i + 1;
        }
}

static bool any_idle(const packing *p)
{
    for (int r = 0; r < p->n_ranks; r++)
        if (p->held[r] == 0) return true;
    return false;
}

/* Halves the most expensive group that has more than one unit, on the fullest rank if there is one. False if all are single. */
static bool split_one(packing *p)
{
    int full = 0, best = -1;
    for (int r = 1; r < p->n_ranks; r++)
        if (p->load[r] > p->load[full]) full = r;
    for (int i = 0; i < p->n_group; i++) {
        const group *g = &p->group[i], *b = best >= 0 ? &p->group[best] : NULL;
        if (g->last - g->first < 2) continue;
        if (!b || (g->rank == full && b->rank != full)) best = i; /* the list is sorted: the first of its kind is the most expensive */
    }
    if (best < 0) return false;
    group *g = &p->group[best];
    int middle = (g->first + g->last + 1) / 2;
    p->group[p->n_group++] = (group){middle, g->last, 0, cost_of(p, middle, g->last)};
    g->last = middle;
    g->cost = cost_of(p, g->first, middle);
    return true;
}

double place_units(const unit *u, int n_units, int n_ranks, int *rank_of)
{
    if (n_units <= 0 || n_ranks <= 0) return 1.0;
    packing p = {.n_ranks = n_ranks};
    double most = -1, total = 0;
    status st = mem_alloc(&p.sorted, sizeof *p.sorted * (size_t)n_units, "placement");
    if (!st) st = mem_alloc(&p.group, sizeof *p.group * (size_t)n_units, "placement");
    if (!st) st = mem_alloc(&p.load, sizeof *p.load * (size_t)n_ranks, "placement");
    if (!st) st = mem_alloc(&p.held, sizeof *p.held * (size_t)n_ranks, "placement");
    if (st) goto done; /* no other plan instead: it would be this rank's alone */
    for (int i = 0; i < n_units; i++) p.sorted[i] = &u[i];
    qsort(p.sorted, (size_t)n_units, sizeof *p.sorted, by_task);
    total = cost_of(&p, 0, n_units);

    group_by_unit(&p, n_units);
    double reachable = most = pack(&p); /* the yardstick: the same rule with nothing kept together */
    bool idle_anyway = n_units < n_ranks;
    if (n_units <= KEPT_MOST) {
        group_by_task(&p, n_units);
        most = pack(&p);
        while ((most > 1.05 * reachable || (any_idle(&p) && !idle_anyway)) && split_one(&p)) most = pack(&p);
    }
    if (idle_anyway || most > 1.05 * reachable) { /* fewer units than ranks: one unit per rank is the best there is */
        group_by_unit(&p, n_units);
        most = pack(&p);
    }
    for (int i = 0; i < p.n_group; i++)
        for (int k = p.group[i].first; k < p.group[i].last; k++) rank_of[p.sorted[k] - u] = p.group[i].rank;
done:
    free(p.sorted);
    free(p.group);
    free(p.load);
    free(p.held);
    return most < 0 ? -1.0 : total > 0 ? most * n_ranks / total : 1.0;
}
