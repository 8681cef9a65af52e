/* rebalance: units are placed by guessed costs at first. Some steps after every start the measured ones are looked at: if they allow a clearly
 * better placement, the run is saved, and opened again with it. No placement changes a result. */
#include "train_internal.h"

#include <math.h>
#include <stdlib.h>

/* Saving and opening again has to pay. */
static const double worth = 1.1;

/* Seconds of the busiest rank as units are placed now, and as they could be. */
static status compare(const trainer *t, double *now, double *then)
{
    unit *u = NULL;
    int *rank_of = NULL;
    double *load = NULL, total = 0;
    status st;
    TRY_TO(done, mem_alloc(&u, sizeof *u * (size_t)t->n_units, "units"), "rebalance");
    TRY_TO(done, mem_alloc(&rank_of, sizeof *rank_of * (size_t)t->n_units, "placement"), "rebalance");
    TRY_TO(done, mem_alloc(&load, sizeof *load * (size_t)t->size, "loads"), "rebalance");
    *now = 0;
    for (int i = 0; i < t->n_units; i++) {
        u[i] = t->units[i];
        u[i].cost = t->ts[u[i].task].cost_s; /* 0: rests */
        total += u[i].cost;
        load[t->rank_of[i]] += u[i].cost;
        *now = fmax(*now, load[t->rank_of[i]]);
    }
    double imbalance = place_units(u, t->n_units, t->size, rank_of);
    *then = imbalance * total / t->size;
    st = imbalance < 0 ? ST_RESOURCE : OK;
done:
    free(u);
    free(rank_of);
    free(load);
    return st;
}

static status note(trainer *t, double now, double then)
{
    if (t->rank != 0) return OK;
    log_line(LOG_INFO, "step %lld: units are placed anew by what they cost: %.3f s on the busiest rank become %.3f s", (long long)t->step, now, then);
    record_begin(t->record, "rebalance");
    record_i64(t->record, "step", t->step);
    record_f64(t->record, "busiest_s", now);
    record_f64(t->record, "planned_s", then);
    return record_end(t->record);
}

status rebalance_look(trainer *t, bool *due)
{
    double now = 0, then = 0;
    *due = false;
    if (t->size == 1 || t->job.train.rebalance_after == 0 || t->step - t->opened != t->job.train.rebalance_after) return OK;
    TRY(comm_agree(t->world, compare(t, &now, &then)), "rebalance"); /* the same costs on all ranks: they decide alike */
    *due = now > worth * then;
    return *due ? comm_agree(t->world, note(t, now, then)) : OK;
}
