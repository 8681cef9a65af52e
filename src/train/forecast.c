/* forecast: what `medley check` prints. The real planning code runs once per rank, in one process, without MPI and without training. */
#include "train_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MIB = 1 << 20 };

/* Ring of the loader: `prefetch` batches of the largest task of the rank. */
static double ring_bytes(const trainer *t)
{
    double most = 0;
    for (int i = 0; i < t->n_tasks; i++) {
        const task_spec *s = &t->ts[i].task.spec;
        double pixels = (double)s->batch * s->H * s->W, bytes = pixels * 3 * sizeof(float);
        if (s->kind == TASK_SEGMENTATION) bytes += pixels;
        if (t->ts[i].mine && bytes > most) most = bytes;
    }
    return most * t->job.train.prefetch;
}

static status one_rank(const job *j, int rank, int n_ranks, FILE *out, double *load, double *sent)
{
    trainer *t;
    TRY(mem_alloc(&t, sizeof *t, "trainer"), "forecast");
    t->rank = rank, t->size = n_ranks, t->job = *j, t->dry = true;
    status st = plan_make(t, true);
    if (!st) {
        double state = (double)t->pt.n_local * (4 * 4 + (strcmp(j->train.sum, "exact") == 0 ? 8 : 4) + (j->train.ema > 0 ? 4 : 0));
        double ring = ring_bytes(t), act = (double)t->act_arena.size;
        double save = rank == 0 ? (double)(checkpoint_room(t, true) + checkpoint_room(t, false)) : 0; /* rank 0 writes for all */
        *load = 0;
        for (int u = 0; u < t->n_units; u++)
            if (t->rank_of[u] == rank) *load += t->units[u].cost;
        *sent = (double)(params_count(&t->pt, BLOCK_ENCODER) + params_count(&t->pt, BLOCK_SEG) + params_count(&t->pt, BLOCK_DET)) *
                (strcmp(j->train.sum, "exact") == 0 ? 8 : 4);
        if (rank == 0) {
            fprintf(out, "encoder %s: %.2f M parameters in shared blocks, %.2f M in all; %d tasks, %d units a step\n", t->shared.enc.variant,
                    1e-6 * *sent / (strcmp(j->train.sum, "exact") == 0 ? 8 : 4), 1e-6 * (double)params_count(&t->pt, -1), t->n_tasks, t->n_units);
            for (int i = 0; i < t->n_tasks; i++)
                fprintf(out, "  %-24s %-14s %3d classes  train %lld, val %lld, test %lld  %dx%d, batch %d x %d units, %.2f GFLOP forward a unit\n",
                        t->ts[i].task.spec.name, task_kind_name[t->ts[i].task.spec.kind], t->ts[i].task.spec.K, (long long)t->ts[i].n_split[0],
                        (long long)t->ts[i].n_split[1], (long long)t->ts[i].n_split[2], t->ts[i].task.spec.H, t->ts[i].task.spec.W,
                        t->ts[i].task.spec.batch, j->task[i].units, 2e-9 * task_flops(&t->ts[i].task, &t->shared));
            fprintf(out, "rank  units  planned cost  weights+gradients+moments  activations  batches  checkpoint copy  total\n");
        }
        fprintf(out, "%4d  %5d  %12.3f  %21.1f MiB  %7.1f MiB  %3.0f MiB  %11.1f MiB  %.1f MiB  ", rank, t->n_mine, *load, state / MIB, act / MIB, ring / MIB,
                save / MIB, (state + act + ring + save) / MIB);
        const char *comma = "";
        for (int i = 0; i < t->n_tasks; i++)
            if (t->ts[i].mine) fprintf(out, "%s%s", comma, t->ts[i].task.spec.name), comma = ", ";
        fprintf(out, "%s\n", t->n_mine ? "" : "idle: more ranks than units");
    }
    plan_free(t);
    free(t);
    return st;
}

status trainer_forecast(const job *j, int n_ranks, FILE *out)
{
    double most = 0, total = 0, sent = 0;
    for (int r = 0; r < n_ranks; r++) {
        double load = 0;
        TRY(one_rank(j, r, n_ranks, out, &load, &sent), "check");
        total += load;
        if (load > most) most = load;
    }
    fprintf(out, "imbalance (largest over mean cost) %.3f; each step sums %.1f MiB over %d ranks\n", total > 0 ? most * n_ranks / total : 1.0,
            sent / MIB, n_ranks);
    return OK;
}
