/* plan: everything decided before step 0. Data sets -> tasks -> parameters -> units -> placement -> arenas. After it nothing is
 * allocated, opened or negotiated in a step. */
#include "train_internal.h"

#include "medley/kern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tasks --------------------------------------------------------------------------------------------------------------- */

/* Loss weights 1/frequency, n / (classes present * count): their mean over the samples is 1, so the loss still starts near 1. */
static status class_weights(task_state *ts, dataset *data)
{
    int K = ts->task.spec.K;
    int64_t *count = NULL;
    status st = OK;
    TRY(mem_alloc(&ts->class_weight, sizeof(float) * (size_t)K, "class weights"), "plan");
    TRY_TO(done, mem_alloc(&count, sizeof *count * (size_t)K, "class counts"), "plan");
    TRY_TO(done, dataset_class_counts(data, SPLIT_TRAIN, count), "class counts");
    double total = 0;
    int present = 0;
    for (int k = 0; k < K; k++) total += (double)count[k], present += count[k] > 0;
    for (int k = 0; k < K; k++) ts->class_weight[k] = count[k] > 0 ? (float)(total / present / (double)count[k]) : 0.0f;
done:
    free(count);
    return st;
}

static status copy_names(task_state *ts, const shard_label *label)
{
    TRY(mem_alloc(&ts->class_name, sizeof *ts->class_name * (size_t)label->n_classes, "class names"), "plan");
    if (label->class_name) memcpy(ts->class_name, label->class_name, sizeof *ts->class_name * (size_t)label->n_classes);
    return OK;
}

/* The index of a data set: rank 0 reads it and sends it to the others, so that a thousand ranks do not ask the file system for the same
 * small files. Tasks of one data set share it. Collective. */
typedef struct index_bytes { char *bytes; size_t n; bool shared; } index_bytes;

static status share_index(trainer *t, index_bytes *index, int i)
{
    char dir[JOB_DIR_BYTES];
    bool reads = t->rank == 0 || t->dry;
    status st = OK;
    for (int k = 0; k < i; k++)
        if (strcmp(t->job.task[k].data, t->job.task[i].data) == 0) {
            index[i] = index[k], index[i].shared = true;
            return OK;
        }
    job_data_dir(&t->job, t->job.task[i].data, dir);
    if (reads) st = catalogue_read(dir, &index[i].bytes, &index[i].n);
    if (st) st = status_note(st, __FILE__, __LINE__, "%s:%d: task %s", t->job.file, t->job.task[i].line, t->job.task[i].name);
    TRY(comm_agree(t->world, st), "plan");
    uint64_t n = index[i].n;
    TRY(comm_bcast(t->world, &n, sizeof n, 0), "index");
    index[i].n = (size_t)n;
    if (!reads) st = mem_alloc(&index[i].bytes, index[i].n, "index");
    TRY(comm_agree(t->world, st), "plan");
    return comm_bcast(t->world, index[i].bytes, index[i].n, 0);
}

static status open_task(trainer *t, int i, const index_bytes *index)
{
    const job_task *jt = &t->job.task[i];
    task_state *ts = &t->ts[i];
    char dir[JOB_DIR_BYTES];
    if (!t->dry) TRY(watchdog_point(t->step, "plan", jt->name, ST_DATA), "step %lld, plan, task %s", (long long)t->step, jt->name);
    job_data_dir(&t->job, jt->data, dir);
    TRY(dataset_open_bytes(&ts->data, dir, jt->label, index->bytes, index->n), "%s:%d: task %s", t->job.file, jt->line, jt->name);
    if (t->only) TRY(dataset_restrict(ts->data, SPLIT_TRAIN, t->only, t->n_only), "task %s", jt->name);
    const shard_label *label = dataset_label(ts->data);
    CHECK(!jt->kind[0] || task_kind_find(jt->kind) == (int)label->kind, ST_USAGE, "%s:%d: task %s: kind is \"%s\" but label %s of %s is \"%s\"",
          t->job.file, jt->line, jt->name, jt->kind, label->name, dir, task_kind_name[label->kind]);
    ts->meta = *dataset_meta(ts->data);
    ts->meta.n_labels = 0; /* label lists belong to the data set */
    TRY(copy_names(ts, label), "task %s", jt->name);
    for (int s = 0; s < N_SPLITS; s++) ts->n_split[s] = dataset_count(ts->data, (enum split)s);
    ts->suspended = task_rests(ts);
    if (task_rests(ts) && t->training && !t->dry && t->rank == 0)
        log_line(LOG_WARN, "%s: label %s: no training samples: task %s rests", dir, label->name, jt->name);

    task_spec spec = {.kind = label->kind, .K = label->n_classes, .class_name = ts->class_name, .lo = label->lo, .hi = label->hi,
                      .H = jt->image[0], .W = jt->image[1], .batch = jt->batch, .weight = (float)jt->weight,
                      .dropout = (float)jt->dropout, .center_sampling = jt->center_sampling, .max_boxes = jt->max_boxes,
                      .score_min = (float)jt->score_min, .nms_iou = (float)jt->nms_iou, .frozen = t->frozen};
    snprintf(spec.name, sizeof spec.name, "%s", jt->name);
    ts->task.spec = spec;
    if (jt->balance_loss && label->kind == TASK_CLASSIFICATION) {
        TRY(class_weights(ts, ts->data), "task %s", jt->name);
        ts->task.spec.class_weight = ts->class_weight;
    }
    if (spec.kind == TASK_SEGMENTATION) t->shared.has_seg = true;
    if (spec.kind == TASK_DETECTION) t->shared.has_det = true;
    ts->loss = NAN;
    return OK;
}

static status open_tasks(trainer *t)
{
    index_bytes *index;
    bool all_rest = true;
    status st = mem_alloc(&index, sizeof *index * (size_t)t->n_tasks, "indices");
    TRY(comm_agree(t->world, st), "plan");
    for (int i = 0; i < t->n_tasks && !st; i++) st = share_index(t, index, i);
    if (!st) {
        for (int i = 0; i < t->n_tasks && !st; i++) {
            st = open_task(t, i, &index[i]);
            all_rest &= task_rests(&t->ts[i]);
        }
        if (!st && t->training && all_rest) st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: no task has training samples", t->job.file);
        st = comm_agree(t->world, st);
    }
    for (int i = 0; i < t->n_tasks; i++)
        if (!index[i].shared) free(index[i].bytes);
    free(index);
    return st;
}

static status make_model(trainer *t)
{
    TRY(swin_init(&t->shared.enc, t->job.model.encoder, (float)t->job.model.drop_path, &t->pt), "model");
    if (t->shared.has_seg) TRY(unet_init(&t->shared.seg, &t->shared.enc, &t->pt), "model");
    if (t->shared.has_det) TRY(fpn_init(&t->shared.det, &t->shared.enc, &t->pt), "model");
    for (int i = 0; i < t->n_tasks; i++) {
        task_spec spec = t->ts[i].task.spec;
        TRY(task_init(&t->ts[i].task, &spec, i, &t->shared, &t->pt), "task %s", spec.name);
    }
    return OK;
}

/* ---- how tasks read their data -------------------------------------------------------------------------------------------------------- */

static status make_uses(trainer *t)
{
    TRY(mem_alloc(&t->uses, sizeof *t->uses * (size_t)t->n_tasks, "data uses"), "plan");
    t->n_uses = t->n_tasks;
    for (int i = 0; i < t->n_tasks; i++) {
        const job_task *jt = &t->job.task[i];
        task_state *ts = &t->ts[i];
        dataset_use *u = &t->uses[i];
        *u = (dataset_use){.data = ts->data, .task = i, .task_hash = hash_text(jt->name), .batch = jt->batch, .H = jt->image[0],
                           .W = jt->image[1], .K = ts->task.spec.K, .units = jt->units, .max_boxes = jt->max_boxes, .spacing = jt->spacing,
                           .balance = jt->balance_sampling && ts->task.spec.kind == TASK_CLASSIFICATION};
        const char *preset = jt->augment[0] ? jt->augment : augment_for_modality(ts->meta.modality);
        TRY(augment_preset(&u->augment, preset), "task %s", jt->name);
        const double *from = &jt->aug.flip_x;
        static const size_t to[] = {offsetof(augment_spec, flip_x), offsetof(augment_spec, flip_y), offsetof(augment_spec, rot90),
                                    offsetof(augment_spec, rotate_deg), offsetof(augment_spec, scale_lo), offsetof(augment_spec, scale_hi),
                                    offsetof(augment_spec, crop_scale), offsetof(augment_spec, shift), offsetof(augment_spec, brightness),
                                    offsetof(augment_spec, contrast), offsetof(augment_spec, gamma), offsetof(augment_spec, noise),
                                    offsetof(augment_spec, blur), offsetof(augment_spec, hue), offsetof(augment_spec, saturation),
                                    offsetof(augment_spec, window), offsetof(augment_spec, invert)};
        _Static_assert(sizeof jt->aug == sizeof to / sizeof *to * sizeof(double), "aug and augment_spec have the same members in order");
        for (size_t k = 0; k < sizeof to / sizeof *to; k++)
            if (!isnan(from[k])) *(float *)((char *)&u->augment + to[k]) = (float)from[k];
    }
    return OK;
}

/* ---- placement -------------------------------------------------------------------------------------------------------------- */

/* Seconds of one unit, forward and backward, before any was measured. Only ratios matter: of the encoder's multiply-adds to the decoders',
 * which run at twice the rate (3x3 convolutions by minimal filtering), and to the passes of the sum over the parameters. Fitted to the
 * costs that jobs/real-small.cfg measured. */
static double guess_seconds(const trainer *t, const task *k)
{
    double encoder = k->spec.batch * swin_flops(&t->shared.enc, k->spec.H, k->spec.W), rest = task_flops(k, &t->shared) - encoder, summed = 0;
    for (int block = BLOCK_ENCODER; block < BLOCK_HEAD0; block++)
        if (task_uses(k, block)) summed += (double)params_count(&t->pt, block);
    double again = k->spec.batch * swin_recompute_flops(&t->shared.enc, k->spec.recompute, k->spec.H, k->spec.W);
    return 1.2e-10 * encoder + 4e-11 * again + 5e-11 * rest + 3e-9 * summed;
}

static status make_units(trainer *t)
{
    for (int i = 0; i < t->n_tasks; i++) t->n_units += t->job.task[i].units;
    TRY(mem_alloc(&t->units, sizeof *t->units * (size_t)t->n_units, "units"), "plan");
    TRY(mem_alloc(&t->rank_of, sizeof *t->rank_of * (size_t)t->n_units, "placement"), "plan");
    TRY(mem_alloc(&t->mine, sizeof *t->mine * (size_t)t->n_units, "units"), "plan");
    TRY(mem_alloc(&t->mine_unit, sizeof *t->mine_unit * (size_t)t->n_units, "units"), "plan");
    for (int i = 0, u = 0; i < t->n_tasks; i++)
        for (int k = 0; k < t->job.task[i].units; k++, u++) {
            /* measured seconds, if there are any, else arithmetic */
            double cost = t->unit_s && t->unit_s[i] > 0 ? t->unit_s[i] : t->ts[i].cost_s > 0 ? t->ts[i].cost_s : guess_seconds(t, &t->ts[i].task);
            t->units[u] = (unit){.task = i, .number = k, .cost = cost};
        }
    return OK;
}

/* MEDLEY_PLACEMENT=seed: any first placement instead of a good one, for the tests that no placement changes a result. Returns its imbalance. */
static double place_anyhow(trainer *t, const char *seed)
{
    double load[1024] = {0}, most = 0, total = 0;
    rng r = rng_open((rng_key){strtoull(seed, NULL, 10), (uint32_t)t->size, (uint32_t)t->n_units}, RNG_TEST, 0);
    for (int u = 0; u < t->n_units; u++) {
        int k = t->rank_of[u] = (int)rng_below(&r, (uint32_t)t->size);
        if (k < 1024) load[k] += t->units[u].cost, most = load[k] > most ? load[k] : most;
        total += t->units[u].cost;
    }
    return total > 0 ? most * t->size / total : 1;
}

/* Is everything the ranks are about to do together decided alike? The programs' arithmetic could differ. Collective. */
static status agree_on_plan(trainer *t)
{
    char *plan = NULL, *text = NULL;
    size_t n = 0;
    FILE *f;
    status st = plan_text(t, &plan);
    if (!st) st = mem_text_open(&f, &text, &n, "the plan's text");
    if (!st) {
        fprintf(f, "%splacement =", plan);
        for (int u = 0; u < t->n_units; u++) fprintf(f, " %d", t->rank_of[u]);
        st = mem_text_close(f, &text, "the plan's text");
    }
    st = comm_agree(t->world, st);
    if (!st) st = comm_same_text(t->world, text, ST_USAGE, "the ranks do not plan the same training");
    free(plan);
    free(text);
    return st;
}

static status place(trainer *t)
{
    const char *anyhow = getenv("MEDLEY_PLACEMENT");
    t->imbalance = place_units(t->units, t->n_units, t->size, t->rank_of);
    TRY(comm_agree(t->world, t->imbalance < 0 ? ST_RESOURCE : OK), "plan");
    if (anyhow && !t->from[0]) t->imbalance = place_anyhow(t, anyhow);
    if (!t->dry) TRY(agree_on_plan(t), "plan");
    TRY(comm_agree(t->world, holders_find(t)), "plan");
    for (int i = 0; i < t->n_tasks; i++) t->ts[i].lead = -1;
    for (int u = 0; u < t->n_units; u++) {
        task_state *ts = &t->ts[t->units[u].task];
        if (ts->lead < 0 || t->rank_of[u] < ts->lead) ts->lead = t->rank_of[u];
        if (t->rank_of[u] == t->rank) ts->mine = true;
    }
    for (int i = 0; i < t->n_tasks; i++) { /* every rank takes part in every split, in task order */
        bool several = false;
        for (int u = 0; u < t->n_units; u++) several |= t->units[u].task == i && t->rank_of[u] != t->ts[i].lead;
        if (several && !t->dry) TRY(comm_group(t->world, t->ts[i].mine, &t->ts[i].group), "ranks of task %s", t->ts[i].task.spec.name);
    }
    for (int u = 0; u < t->n_units; u++)
        if (t->rank_of[u] == t->rank && !task_rests(&t->ts[t->units[u].task])) {
            t->mine_unit[t->n_mine] = u;
            t->mine[t->n_mine++] = (loader_unit){.use = t->units[u].task, .number = t->units[u].number};
        }
    return OK;
}

/* ---- arenas ------------------------------------------------------------------------------------------------------------------- */

/* Offsets: shared blocks first, the same on all ranks, also of decoders that others hold; then the heads of this rank. */
static status lay_out(trainer *t)
{
    bool *owned;
    TRY(mem_alloc(&owned, sizeof *owned * (size_t)(BLOCK_HEAD0 + t->n_tasks), "owned blocks"), "plan");
    for (int b = 0; b < BLOCK_HEAD0; b++) owned[b] = true;
    for (int i = 0; i < t->n_tasks; i++) owned[BLOCK_HEAD0 + i] = t->ts[i].mine;
    params_layout(&t->pt, owned, BLOCK_HEAD0 + t->n_tasks);
    free(owned);
    holders_bounds(t);
    int64_t end = 0, pad;
    for (int b = 0; b < BLOCK_HEAD0; b++) end = t->block[b].hi > end ? t->block[b].hi : end;
    pad = node_state_pad(t, end);
    for (int i = 0; i < t->pt.n; i++)
        if (t->pt.p[i].block >= BLOCK_HEAD0 && t->pt.p[i].off >= 0) t->pt.p[i].off += pad;
    t->pt.n_local += pad;
    TRY(mem_alloc(&t->local, sizeof *t->local * (size_t)t->pt.n, "tensor list"), "plan");
    int last_block = -1;
    for (int i = 0; i < t->pt.n; i++) {
        const param *p = &t->pt.p[i];
        if (p->off < 0) continue;
        int k = t->n_local++;
        t->local[k] = i;
        int *first = p->block < BLOCK_HEAD0 ? &t->block_first[p->block] : &t->ts[p->block - BLOCK_HEAD0].head_first;
        int *last = p->block < BLOCK_HEAD0 ? &t->block_last[p->block] : &t->ts[p->block - BLOCK_HEAD0].head_last;
        CHECK(p->block >= last_block, ST_BUG, "parameter %s: blocks are not in order", p->name);
        if (p->block != last_block) *first = k;
        *last = k + 1;
        last_block = p->block;
    }
    /* a missing decoder is an empty range behind the one before it */
    for (int b = 1; b < BLOCK_HEAD0; b++)
        if (t->block_last[b] == 0) t->block_first[b] = t->block_last[b] = t->block_last[b - 1];
    return OK;
}

/* Places the runs of all tasks of this rank one over the other in `a`: only one unit is alive at a time. */
static status place_runs(trainer *t, arena *a, bool keep)
{
    size_t mark = a->used;
    for (int i = 0; i < t->n_tasks; i++) {
        task_state *ts = &t->ts[i];
        if (!ts->mine) continue;
        for (int train = 0; train < 2; train++) {
            if (train && !t->training) continue;
            task_run *run;
            a->used = mark;
            TRY(task_place(&run, &ts->task, &t->shared, train, a), "task %s", ts->task.spec.name);
            if (!keep) task_run_free(run);
            else if (train) ts->run = run;
            else ts->eval_run = run;
        }
    }
    return OK;
}

static status make_arenas(trainer *t)
{
    size_t bytes = sizeof(float) * (size_t)t->pt.n_local;
    arena measure = {0};
    TRY(place_runs(t, &measure, false), "measuring activations");
    if (t->dry) {
        t->act_arena.size = measure.peak;
        return OK;
    }
    TRY(arena_init(&t->weight_arena, bytes, "weights"), "plan");
    t->w = (float *)t->weight_arena.base;
    if (t->training) {
        TRY(arena_init(&t->m_arena, bytes, "first moments"), "plan");
        TRY(arena_init(&t->v_arena, bytes, "second moments"), "plan");
        t->m = (float *)t->m_arena.base, t->v = (float *)t->v_arena.base;
        if (t->job.train.ema > 0) {
            TRY(arena_init(&t->ema_arena, bytes, "moving average"), "plan");
            t->ema = (float *)t->ema_arena.base;
        }
        TRY(mem_alloc(&t->norms, sizeof *t->norms * (size_t)t->pt.n, "norms"), "plan");
        TRY(mem_alloc(&t->report, sizeof *t->report * (size_t)(REPORT_HEAD + t->n_units * REPORT_UNIT), "step report"), "plan");
        TRY(numbers_init(t), "plan");
    }
    if (measure.peak == 0) return OK; /* a rank without units */
    TRY(arena_init(&t->act_arena, measure.peak, "activations"), "plan");
    return place_runs(t, &t->act_arena, true);
}

/* Gradients and their sum. Collective. */
static status make_sum(trainer *t)
{
    TRY(sum_init(&t->sum, t->world, strcmp(t->job.train.sum, "exact") == 0, t->n_local, t->pt.n, t->pt.n_local, t->n_units, &t->g), "plan");
    for (int k = 0; k < t->n_local; k++) {
        const param *p = &t->pt.p[t->local[k]];
        t->sum.tensor[k].off = p->off, t->sum.tensor[k].n = p->n, t->sum.tensor[k].away = p->away;
    }
    TRY(holders_open(t), "plan");
    return ahead_open(t);
}

/* ---- the plan ------------------------------------------------------------------------------------------------------------------- */

/* Threads of this rank: as the job says, else OMP_NUM_THREADS, else its share of the node's CPUs. Said at the start; crowding is warned of. */
static status use_threads(trainer *t)
{
    int asked = cores_asked(t->job.train.threads);
    const char *from = t->job.train.threads > 0 ? "train.threads" : asked > 0 ? "OMP_NUM_THREADS" : "its share of the CPUs";
    core_share cores;
    TRY(comm_cores(t->world, asked, &cores), "threads");
    log_line(LOG_INFO, "threads: %d on rank 0 (%s); its node has %d rank%s, %d thread%s, %d CPU%s (%s)", cores.threads, from, cores.ranks,
             cores.ranks == 1 ? "" : "s", cores.all_threads, cores.all_threads == 1 ? "" : "s", cores.cpus, cores.cpus == 1 ? "" : "s", cores.list);
    if (cores.first && cores.crowded[0]) log_line(LOG_WARN, "%s", cores.crowded);
    kern_init(cores.threads);
    return OK;
}

status plan_make(trainer *t, bool training)
{
    t->training = training;
    t->n_tasks = t->job.n_tasks;
    if (!t->dry && !t->quiet) TRY(use_threads(t), "plan");
    TRY(comm_agree(t->world, precision_set(t)), "start");
    if (!t->dry) TRY(conditions_agree(t), "start");
    TRY(mem_alloc(&t->ts, sizeof *t->ts * (size_t)t->n_tasks, "tasks"), "plan");
    TRY(open_tasks(t), "plan");
    if (t->from[0]) TRY(checkpoint_costs(t), "placement");
    status st = make_model(t);
    if (!st) st = make_uses(t);
    TRY(comm_agree(t->world, st), "plan");
    st = budget_plan(t);
    if (!st) st = make_units(t);
    TRY(comm_agree(t->world, st), "plan");
    TRY(place(t), "placement");
    for (int i = 0; i < t->n_tasks && !st; i++) /* now, not when the first of its samples is due hours from here */
        if (t->ts[i].mine) st = dataset_check_files(t->ts[i].data);
    if (!st) st = lay_out(t);
    if (!st) st = make_arenas(t);
    TRY(comm_agree(t->world, st), "plan");
    if (!training || t->dry) return OK;
    TRY(node_state_open(t), "plan");
    return make_sum(t);
}

void plan_free(trainer *t)
{
    for (int i = 0; t->ts && i < t->n_tasks; i++) {
        task_state *ts = &t->ts[i];
        task_run_free(ts->run);
        task_run_free(ts->eval_run);
        dataset_close(ts->eval_data); /* before the one whose index it shares */
        dataset_close(ts->data);
        comm_group_close(ts->group);
        free(ts->class_name);
        free(ts->class_weight);
    }
    void *owned[] = {t->ts, t->units, t->rank_of, t->mine, t->mine_unit, t->uses, t->local, t->norms, t->report};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    if (t->dry) t->act_arena = (arena){0};
    node_state_close(t);
    arena *arenas[] = {&t->weight_arena, &t->m_arena, &t->v_arena, &t->ema_arena, &t->act_arena};
    for (size_t i = 0; i < sizeof arenas / sizeof *arenas; i++) arena_free(arenas[i]);
    numbers_free(t);
    sum_ahead_close(t->ahead.sum);
    holders_close(t);
    sum_free(&t->sum);
    params_free(&t->pt);
}
