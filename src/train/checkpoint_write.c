/* checkpoint_write: the state of all ranks into one HDF5 file in the memory of rank 0 (format: checkpoint.c). MPI and HDF5 stay in the main
 * thread; what follows, bytes to disk, is the saver's. */
#include "train_internal.h"

#include <string.h>

enum { TAG_TENSOR = 900 };

/* Writes one array of tensor i; rank 0 takes heads and decoders it does not hold from their lead rank. Collective in its sends and receives only. */
static status put_tensor(trainer *t, store *s, int i, const char *group, const float *arena, float *buf, status *local)
{
    const param *p = &t->pt.p[i];
    int lead = lead_of(t, p->block);
    const float *data = held(p) ? arena + p->off : NULL;
    if (lead != 0) {
        if (t->rank == lead) TRY(comm_send(t->world, 0, TAG_TENSOR, data, sizeof(float) * (size_t)p->n), "%s", p->name);
        if (t->rank == 0) {
            TRY(comm_recv(t->world, lead, TAG_TENSOR, buf, sizeof(float) * (size_t)p->n), "%s", p->name);
            data = buf;
        }
    }
    if (t->rank != 0 || *local) return OK;
    char name[200];
    snprintf(name, sizeof name, "%s/%s", group, p->name);
    *local = store_write(s, name, DT_F32, p->ndim, p->shape, data, 0); /* what fails here is agreed on after the last tensor */
    return OK;
}

static status put_head(trainer *t, store *s, bool full)
{
    const struct { const char *key; int64_t value; } number[] = {
        {"format_version", CHECKPOINT_VERSION}, {"sealed", 1}, {"step", t->step}, {"seed", t->job.seed}, {"full", full},
        {"best_step", t->best_step}, {"total_images", t->total_images}, {"validation_due", t->validation_due}};
    TRY(store_put_str(s, "/", "format", "medley-checkpoint"), "header");
    for (size_t i = 0; i < sizeof number / sizeof *number; i++) TRY(store_put_i64(s, "/", number[i].key, number[i].value), "header");
    TRY(store_put_f64(s, "/", "best_score", t->best_score), "header");
    int64_t n = (int64_t)strlen(t->save.plan) + 1, count = t->pt.n, four = 4;
    TRY(store_write(s, "plan", DT_U8, 1, &n, t->save.plan, 0), "header");
    TRY(conditions_put(t, s), "header");
    TRY(adopt_put_tensors(t, s), "header");
    TRY(store_write(s, "sum_exponent", DT_I64, 1, &count, t->save.exponent, 0), "header");
    for (int i = 0; i < t->n_tasks; i++) {
        const task_state *ts = &t->ts[i];
        char name[128];
        snprintf(name, sizeof name, "task/%s", ts->task.spec.name);
        double state[] = {ts->suspended && !task_rests(ts), (double)ts->failures, (double)ts->dropped, ts->cost_s};
        TRY(store_write(s, name, DT_F64, 1, &four, state, 0), "task state");
    }
    return OK;
}

/* All ranks' exponents, indexed by tensor: heads are known to their ranks only. */
static status gather_exponents(trainer *t)
{
    double *d = t->save.exponent_f;
    for (int i = 0; i < t->pt.n; i++) d[i] = -1e18;
    for (int k = 0; t->sum.tensor && k < t->n_local; k++) d[t->local[k]] = t->sum.tensor[k].exponent;
    TRY(comm_max_f64(t->world, d, t->pt.n), "exponents");
    for (int i = 0; i < t->pt.n; i++) t->save.exponent[i] = d[i] < -1e17 ? SUM_EXPONENT_UNKNOWN : (int64_t)d[i];
    return OK;
}

status checkpoint_snapshot(trainer *t, store_image *m, const char *path, bool full)
{
    store *s = NULL;
    status local = OK, st;
    fault_hit("save_begin");
    TRY(gather_exponents(t), "checkpoint");
    if (t->rank == 0) {
        local = store_create_image(&s, path, m);
        if (!local) local = put_head(t, s, full);
    }
    TRY_TO(done, comm_agree(t->world, local), "checkpoint %s", path);
    struct { const char *group; const float *arena; } part[] = {{"weights", t->w}, {"ema", t->ema}, {"m", t->m}, {"v", t->v}};
    for (int a = 0; a < (full ? 4 : 2); a++)
        for (int i = 0; part[a].arena && i < t->pt.n; i++) {
            watchdog_tick(t->step, "save", NULL);
            fault_hit("save_array");
            TRY_TO(done, put_tensor(t, s, i, part[a].group, part[a].arena, t->save.buf, &local), "checkpoint");
        }
    if (t->rank == 0 && !local) {
        local = store_close_image(s);
        s = NULL;
    }
    fault_hit("save_image");
    st = comm_agree(t->world, local);
done:
    store_discard(s);
    return st;
}

size_t checkpoint_room(const trainer *t, bool full)
{
    enum { PER_ARRAY = 1024, PER_FILE = 1 << 20 }; /* HDF5's bookkeeping, on the large side: what is not used is not in memory either */
    size_t copies = (size_t)(full ? 3 : 1) + (t->job.train.ema > 0), bytes = 0;
    for (int i = 0; i < t->pt.n; i++) bytes += copies * (sizeof(float) * (size_t)t->pt.p[i].n + PER_ARRAY);
    return bytes + (size_t)t->n_tasks * PER_ARRAY + PER_FILE;
}
