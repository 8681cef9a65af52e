/* test_alloc: memory that runs out at any place. Each room's work is repeated with its 1st, 2nd, ... k-th request for memory refused, once
 * and from there on for ever, until it comes through: it must say ST_RESOURCE, crash nowhere and leave nothing behind. Our own requests
 * are watched through the linker (--wrap): what was not given back is a leak, in every build.
 * Usage: test_alloc [others | training-odd | training-even]: every request, of all but training, or every other one of training */
#include "../shards.h"
#include "test.h"

#include "medley/config.h"
#include "medley/kern.h"
#include "medley/data.h"
#include "medley/task.h"
#include "medley/train.h"
#include "medley/use.h"

#include "../../src/use/examples.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

/* ---- every block our code holds -------------------------------------------------------------------------------------------------- */

enum { SLOTS = 1 << 16 };
static void *held[SLOTS];
static int n_held;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void note(void *p, bool taken)
{
    if (!p) return;
    pthread_mutex_lock(&lock);
    size_t first = (size_t)((uintptr_t)p * 0x9e3779b97f4a7c15u >> 48), i = first;
    void *wanted = taken ? NULL : p;
    do {
        if (held[i] == wanted || (taken && held[i] == (void *)-1)) { /* -1: given back */
            held[i] = taken ? p : (void *)-1;
            n_held += taken ? 1 : -1;
            break;
        }
        if (!taken && !held[i]) break; /* libc's own: the text of a memory stream */
        i = (i + 1) % SLOTS;
    } while (i != first);
    pthread_mutex_unlock(&lock);
}

int   __real_posix_memalign(void **out, size_t align, size_t n);
void *__real_malloc(size_t n);
void *__real_realloc(void *p, size_t n);
void  __real_free(void *p);
int   __wrap_posix_memalign(void **out, size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_realloc(void *p, size_t n);
void  __wrap_free(void *p);

int __wrap_posix_memalign(void **out, size_t align, size_t n)
{
    int bad = __real_posix_memalign(out, align, n);
    if (!bad) note(*out, true);
    return bad;
}

void *__wrap_malloc(size_t n)
{
    void *p = __real_malloc(n);
    note(p, true);
    return p;
}

void *__wrap_realloc(void *p, size_t n)
{
    note(p, false);
    void *q = __real_realloc(p, n);
    note(q ? q : p, true);
    return q;
}

void __wrap_free(void *p)
{
    note(p, false);
    __real_free(p);
}

/* ---- the rooms' work ----------------------------------------------------------------------------------------------------------------- */

static char dir[64], job_path[128];
static job the_job; /* loaded once: hundreds of KiB */

static const char *in_dir(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static status work_config(void)
{
    static job j;
    const char *set[] = {"train.steps=3", "tasks[mask].image=[64, 64]"};
    TRY(job_load(&j, job_path, set, 2), "config");
    FILE *f;
    char *text;
    size_t n;
    TRY(mem_text_open(&f, &text, &n, "job"), "config");
    status st = job_print(&j, f), closed = mem_text_close(f, &text, "job");
    free(text);
    return st ? st : closed;
}

static status work_faulty_config(void)
{
    static job j;
    status st = job_load(&j, job_path, (const char *[]){"train.stebs=3", "optim.lr=\"x\"", "model.encoder=\"swim\""}, 3);
    return st == ST_USAGE ? OK : st; /* with memory, three faults */
}

static status work_store(void)
{
    store *s = NULL;
    status st;
    int64_t dims[2] = {30, 7}, three = 3, n;
    float x[210] = {1}, y[210];
    char texts[3][8] = {"a", "bc", "def"}, (*names)[128] = NULL, *read = NULL;
    int n_names, width;
    TRY_TO(done, store_create(&s, in_dir("s.h5")), "store");
    TRY_TO(done, store_write(s, "a/x", DT_F32, 2, dims, x, 4), "store");
    TRY_TO(done, store_write_text(s, "t", three, 8, texts[0]), "store");
    st = store_commit(s);
    s = NULL;
    TRY_TO(done, st, "store");
    TRY_TO(done, store_open(&s, in_dir("s.h5")), "store");
    TRY_TO(done, store_read(s, "a/x", DT_F32, 210, y), "store");
    TRY_TO(done, store_read_text(s, "t", &n, &width, &read), "store");
    TRY_TO(done, store_list(s, "/", &n_names, &names), "store");
done:
    store_close(s);
    free(read);
    free(names);
    return st;
}

static status work_shards(void) { return shards_make(dir, "written", DT_U16, 3, 9, 9000); }

static status work_loader(void)
{
    dataset *d[N_TASK_KINDS] = {NULL};
    dataset_use use[N_TASK_KINDS];
    loader *l = NULL;
    status st = OK;
    static const char *const label[] = {"z-classification", "y-multilabel", "x-regression", "w-segmentation", "v-detection"};
    for (int k = 0; k < N_TASK_KINDS && !st; k++) {
        st = dataset_open(&d[k], in_dir("noise"), label[k]);
        use[k] = (dataset_use){.data = d[k], .task = k, .task_hash = hash_text(label[k]), .batch = 2, .H = 32, .W = 32, .units = 1,
                               .K = k == TASK_REGRESSION ? 1 : SHARDS_CLASSES, .max_boxes = 4};
        if (!st) st = augment_preset(&use[k].augment, "histology");
    }
    if (!st) st = loader_open(&l, use, N_TASK_KINDS, (loader_unit[]){{0, 0}, {1, 0}, {2, 0}, {3, 0}, {4, 0}}, 5, 1, 0, 2);
    for (int i = 0; i < 7 && !st; i++) {
        batch *b;
        st = loader_next(l, &b);
        if (!st) loader_release(l, b);
    }
    if (l) loader_close(l);
    l = NULL;
    if (!st) st = loader_open_eval(&l, &use[TASK_SEGMENTATION], SPLIT_VAL, 0, 1, 2);
    for (batch *b; !st && !(st = loader_next(l, &b)) && b;) loader_release(l, b);
    if (l) loader_close(l);
    for (int k = 0; k < N_TASK_KINDS; k++) dataset_close(d[k]);
    return st;
}

static status work_model(void)
{
    params pt = {0};
    static shared sh;
    arena measure = {0}, real = {0};
    task_run *run = NULL;
    status st;
    sh = (shared){.has_seg = true, .has_det = true};
    TRY_TO(done, swin_init(&sh.enc, "swin_nano", -1, &pt), "model");
    TRY_TO(done, unet_init(&sh.seg, &sh.enc, &pt), "model");
    TRY_TO(done, fpn_init(&sh.det, &sh.enc, &pt), "model");
    for (int k = 0; k < N_TASK_KINDS; k++) {
        task t;
        task_spec spec = {.kind = (enum task_kind)k, .K = k == TASK_REGRESSION ? 1 : 3, .H = 32, .W = 32, .batch = 1, .weight = 1, .max_boxes = 3};
        snprintf(spec.name, sizeof spec.name, "t%d", k);
        TRY_TO(done, task_init(&t, &spec, k, &sh, &pt), "model");
        measure = (arena){0};
        TRY_TO(done, task_place(&run, &t, &sh, true, &measure), "model");
        task_run_free(run);
        run = NULL;
        TRY_TO(done, arena_init(&real, measure.peak, "buffers"), "model");
        TRY_TO(done, task_place(&run, &t, &sh, true, &real), "model");
        task_run_free(run);
        run = NULL;
        arena_free(&real);
    }
done:
    arena_free(&real);
    params_free(&pt);
    return st;
}

static status work_place(void)
{
    unit u[6];
    int rank_of[6];
    for (int i = 0; i < 6; i++) u[i] = (unit){.task = i / 2, .number = i % 2, .cost = i + 1};
    return place_units(u, 6, 2, rank_of) < 0 ? ST_RESOURCE : OK;
}

static status work_forecast(void)
{
    FILE *f = fopen("/dev/null", "w");
    status st = trainer_forecast(&the_job, &(cluster){.ranks = 2, .nodes = 1}, f);
    fclose(f);
    return st;
}

/* Two steps with validation and a checkpoint; then from that checkpoint one step more. */
static status work_training(void)
{
    trainer *t = NULL;
    the_job.train.steps = 2;
    TRY(trainer_open(&t, NULL, &the_job, true), "training");
    bool again;
    status st = trainer_run(t, &again);
    trainer_close(t);
    return st;
}

static status work_resume(void)
{
    trainer *t = NULL;
    TRY(trainer_open(&t, NULL, &the_job, false), "training");
    trainer_close(t);
    t = NULL;
    TRY(trainer_open_run(&t, NULL, the_job.run, "last"), "use");
    metric *m = NULL;
    metric_result *r = NULL;
    status st = trainer_evaluate(t, 3, SPLIT_VAL, &m);
    if (!st) st = mem_alloc(&r, sizeof *r, "result");
    if (!st) st = metric_finish(m, 10, 1, r);
    metric_free(m);
    free(r);
    trainer_close(t);
    return st;
}

static void no_line(void *arg, const char *csv)
{
    (void)arg, (void)csv;
}

/* What `medley evaluate` asks for beyond scores, of masks and of boxes. */
static status examine(trainer *t, int i)
{
    metric *m = NULL;
    metric_result *r = NULL;
    char (*centre)[SHARD_TEXT] = NULL;
    int n;
    status st = trainer_examine(t, i, SPLIT_VAL, 2, &m);
    if (!st) st = mem_alloc(&r, sizeof *r, "result");
    if (!st) st = metric_finish(m, 3, 1, r);
    if (!st) st = metric_centres(m, &n, &centre);
    if (!st) st = metric_each(m, no_line, NULL);
    if (!st) st = metric_each_case(m, no_line, NULL);
    if (!st) st = metric_confusion(m, no_line, NULL);
    if (!st) st = examples_write(the_job.run, "val", trainer_task(t, i), m);
    metric_free(m);
    free(r), free(centre);
    return st;
}

static status work_evaluate(void)
{
    trainer *t = NULL;
    TRY(trainer_open_run(&t, NULL, the_job.run, "last"), "use");
    status st = examine(t, 3);
    if (!st) st = examine(t, 4);
    trainer_close(t);
    return st;
}

static status work_report(void)
{
    char name[] = "report", *words[] = {name, the_job.run};
    return cmd_report(2, words);
}

static status work_status(void)
{
    char name[] = "status", *words[] = {name, the_job.run};
    return cmd_status(2, words);
}

/* ---- the loop -------------------------------------------------------------------------------------------------------------------------- */

static const struct work {
    const char *name;
    status (*run)(void);
    bool tolerant, slow; /* tolerant: may do without what was refused; slow: not every k in the short suite */
} works[] = {
    {"config", work_config, false, false},   {"faulty config", work_faulty_config, true, false}, {"store", work_store, false, false},
    {"shards", work_shards, false, false},   {"loader", work_loader, false, true},               {"model", work_model, false, true},
    {"place", work_place, false, false},     {"forecast", work_forecast, false, true},           {"training", work_training, false, true},
    {"resume", work_resume, false, true},    {"evaluate", work_evaluate, false, true},           {"report", work_report, true, true},
    {"status", work_status, false, false},
};
static const struct work *now;
static bool every_k, training_only;
static int64_t parity; /* of the requests that are refused once in training: the two halves run beside each other */

/* What the work prints is no TAP. */
static status run_quietly(void)
{
    fflush(stdout);
    int keep = dup(STDOUT_FILENO), nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDOUT_FILENO);
    status st = now->run();
    fflush(stdout);
    dup2(keep, STDOUT_FILENO);
    close(keep);
    close(nowhere);
    return st;
}

static void run_out(bool forever)
{
    int64_t before = mem_calls();
    status st = run_quietly();
    int64_t total = mem_calls() - before;
    EXPECT(st == OK, "with all memory: %d %s", st, status_message());
    int base = n_held, n_tried = 0;
    /* refused for ever: the first refusal is what counts, and that was tried alone before */
    int64_t step = !now->slow ? 1 : every_k ? (forever ? 20 : 1) : (total + 7) / 8;
    for (int64_t k = 1; k <= total; k += k > 8 ? step : 1) {
        if (training_only && !forever && k % 2 != parity) continue;
        if (training_only && forever && k / step % 2 != parity) continue;
        mem_fail_at(k, forever);
        st = run_quietly();
        mem_fail_at(0, false);
        n_tried++;
        EXPECT(st == ST_RESOURCE || (now->tolerant && st == OK), "request %lld of %lld refused: %d %s", (long long)k, (long long)total, st,
               status_message());
        EXPECT(st == OK || strstr(status_message(), "out of memory"), "request %lld: message \"%s\"", (long long)k, status_message());
        EXPECT(n_held == base, "request %lld of %lld refused: %d blocks left behind (%s)", (long long)k, (long long)total, n_held - base,
               status_message());
        base = n_held;
        if (test_case_bad > 5) break;
    }
    printf("# %s, %s: %lld requests, %d of them refused\n", now->name, forever ? "for ever" : "once", (long long)total, n_tried);
}

static void once(void) { run_out(false); }
static void for_ever(void) { run_out(true); }

static bool write_job(void)
{
    static const char *const label[] = {"z-classification", "y-multilabel", "x-regression", "w-segmentation", "v-detection"};
    static const char *const name[] = {"class", "labels", "scalar", "mask", "boxes"};
    snprintf(job_path, sizeof job_path, "%s/job.cfg", dir);
    FILE *f = fopen(job_path, "w");
    if (!f) return false;
    fprintf(f, "run = \"%s/run\"; data_root = \"%s\";\nmodel = { encoder = \"swin_v2_nano\"; };\n", dir, dir);
    fprintf(f, "train = { steps = 2; threads = 1; checkpoint_every = 1; validate_every = 1; log_every = 0; watchdog_s = 0.0; };\ntasks = (\n");
    for (int k = 0; k < N_TASK_KINDS; k++)
        fprintf(f, "%s{ name = \"%s\"; data = \"noise\"; label = \"%s\"; image = [32, 32]; batch = 1; }", k ? ",\n" : "", name[k], label[k]);
    fprintf(f, ");\n");
    return fclose(f) == 0;
}

int main(int argc, char **argv)
{
    every_k = argc > 1;
    training_only = argc > 1 && strncmp(argv[1], "training", 8) == 0;
    parity = training_only && strcmp(argv[1], "training-odd") == 0;
    strcpy(dir, "/tmp/medley-alloc-XXXXXX");
    if (!mkdtemp(dir) || shards_make(dir, "noise", DT_F32, 3, 10, 0) || !write_job()) return 1;
    log_open(1, LOG_ERROR);
    kern_init(1);
    if (job_load(&the_job, job_path, NULL, 0)) return printf("# %s\n", status_message()), 1;
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        now = &works[i];
        if (every_k && training_only != (now->run == work_training)) {
            if (now->run == work_training && run_quietly()) return 1; /* what comes after it needs its checkpoint */
            continue;
        }
        printf("# %s\n", now->name);
        RUN(once);
        RUN(for_ever);
    }
    char clean[128];
    snprintf(clean, sizeof clean, "rm -rf %s", dir);
    if (system(clean)) return 1;
    DONE();
}
