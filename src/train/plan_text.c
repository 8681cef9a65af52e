/* plan_text: the settings that decide the result, as text that a checkpoint carries and a resumed run must repeat. Settings that only
 * change how a run is watched or placed (threads, ranks, prefetch, logging, validation, checkpoints, limits) are left out. */
#include "train_internal.h"

#include <stdlib.h>
#include <string.h>

status plan_text(const trainer *t, char **out)
{
    const job *j = &t->job;
    char *text = NULL;
    size_t n = 0;
    FILE *f;
    TRY(mem_text_open(&f, &text, &n, "plan's text"), "plan");
    /* the folder of the file may move; what was in it is in every checkpoint */
    const char *init = job_starts_from_file(j) ? strrchr(j->model.init, '/') + 1 : j->model.init;
    fprintf(f, "seed = %lld\nmodel.encoder = %s\nmodel.drop_path = %.9g\nmodel.init = %s%s\n", (long long)j->seed, j->model.encoder,
            j->model.drop_path, job_starts_from_file(j) ? "file " : "", init);
    if (strcmp(j->train.precision, "bf16") == 0) fprintf(f, "train.precision = bf16\n"); /* older checkpoints do not say */
    fprintf(f, "train.steps = %lld\ntrain.sum = %s\ntrain.ema = %.9g\n", (long long)j->train.steps, j->train.sum, j->train.ema);
    fprintf(f, "optim.lr = %.9g\noptim.min_lr = %.9g\noptim.weight_decay = %.9g\noptim.betas = %.9g %.9g\noptim.eps = %.9g\noptim.clip = %.9g\n"
               "optim.warmup = %lld\n", j->optim.lr, j->optim.min_lr, j->optim.weight_decay, j->optim.beta1, j->optim.beta2, j->optim.eps,
            j->optim.clip, (long long)j->optim.warmup);
    for (int i = 0; i < t->n_tasks; i++) {
        const job_task *k = &j->task[i];
        const task_state *ts = &t->ts[i];
        const augment_spec *a = t->uses ? &t->uses[i].augment : NULL;
        fprintf(f, "tasks[%s] = %s, %d classes, %lld samples, image %dx%d, batch %d, units %d, weight %.9g, dropout %.9g, balance %d %d, "
                   "center_sampling %d, max_boxes %d, spacing %.9g", k->name, task_kind_name[ts->task.spec.kind], ts->task.spec.K,
                (long long)ts->n_split[SPLIT_TRAIN], k->image[0], k->image[1], k->batch, k->units, k->weight, k->dropout, k->balance_loss,
                k->balance_sampling, k->center_sampling, k->max_boxes, k->spacing);
        if (ts->task.spec.micro && ts->task.spec.micro != k->batch) fprintf(f, ", %d images at a time", ts->task.spec.micro);
        if (a)
            fprintf(f, ", augment %s %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g", a->preset,
                    (double)a->flip_x, (double)a->flip_y, (double)a->rot90, (double)a->rotate_deg, (double)a->scale_lo, (double)a->scale_hi,
                    (double)a->crop_scale, (double)a->shift, (double)a->brightness, (double)a->contrast, (double)a->gamma, (double)a->noise,
                    (double)a->blur, (double)a->hue, (double)a->saturation, (double)a->window, (double)a->invert);
        fprintf(f, "\n");
    }
    TRY(mem_text_close(f, &text, "plan's text"), "plan");
    *out = text;
    return OK;
}
