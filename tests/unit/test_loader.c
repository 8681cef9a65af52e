/* test_loader: batches depend on seed and step alone, not on depth, pauses, restarts or which units a rank owns; evaluation shows
 * every sample once; a failure of the thread arrives with its message. */
#include "../shards.h"
#include "medley/data.h"
#include "test.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];
static const char *const label_name[] = {"z-classification", "y-multilabel", "x-regression", "w-segmentation", "v-detection"};
static dataset *data[N_TASK_KINDS];
static dataset_use use[N_TASK_KINDS];

static void open_all(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/noise", dir);
    for (int k = 0; k < N_TASK_KINDS; k++) {
        EXPECT_OK(dataset_open(&data[k], path, label_name[k]));
        use[k] = (dataset_use){.data = data[k], .task = 10 + k, .task_hash = hash_text(label_name[k]), .batch = 3 + k, .H = 32, .W = 48,
                               .K = dataset_label(data[k])->n_classes, .units = k == 1 ? 2 : 1, .max_boxes = 6};
        EXPECT_OK(augment_preset(&use[k].augment, "microscopy"));
    }
}

/* Everything a task may read of a batch, in one number. */
static uint32_t digest(const batch *b)
{
    size_t B = (size_t)b->B, area = (size_t)b->H * (size_t)b->W;
    uint32_t c = crc32c(0, b->image, B * area * 3 * sizeof *b->image);
    c = crc32c(c, b->sample, B * sizeof *b->sample);
    c = crc32c(c, b->key, B * sizeof *b->key);
    c = crc32c(c, b->view, B * sizeof *b->view);
    if (b->cls) c = crc32c(c, b->cls, B * sizeof *b->cls);
    if (b->vec) c = crc32c(c, b->vec, B * SHARDS_CLASSES * sizeof *b->vec);
    if (b->scalar) c = crc32c(c, b->scalar, B * sizeof *b->scalar);
    if (b->mask) c = crc32c(c, b->mask, B * area);
    if (b->box_off) {
        c = crc32c(c, b->box_off, (B + 1) * sizeof *b->box_off);
        c = crc32c(c, b->box, (size_t)b->box_off[B] * 16);
        c = crc32c(c, b->box_cls, (size_t)b->box_off[B] * 4);
    }
    return crc32c(c, (int[]){b->B, b->H, b->W, b->n_valid, b->task, (int)b->step, b->unit}, 28);
}

enum { STEPS = 12 };
static const loader_unit units[] = {{3, 0}, {0, 0}, {1, 1}, {4, 0}, {1, 0}, {2, 0}};
enum { UNITS = sizeof units / sizeof *units };

static void run(uint32_t *out, const loader_unit *order, int n, int64_t first, int depth)
{
    loader *l;
    EXPECT_OK(loader_open(&l, use, N_TASK_KINDS, order, n, 42, first, depth));
    for (int i = 0; i < (int)(STEPS - first) * n; i++) {
        batch *b = NULL;
        EXPECT_OK(loader_next(l, &b));
        EXPECT(b && b->step == first + i / n && b->unit == order[i % n].number && b->task == 10 + order[i % n].use, "unit %d", i);
        out[(size_t)(first * n + i)] = digest(b);
        loader_release(l, b);
    }
    EXPECT(loader_wait_s(l) >= 0, "%g", loader_wait_s(l));
    loader_close(l);
}

static uint32_t want[STEPS * UNITS];

static void same_for_any_depth_and_timing(void)
{
    uint32_t got[STEPS * UNITS];
    run(want, units, UNITS, 0, 2);
    for (int depth = 1; depth <= 7; depth += 3) {
        setenv("MEDLEY_LOADER_DELAY_MS", depth == 4 ? "3" : "0", 1);
        memset(got, 0, sizeof got);
        run(got, units, UNITS, 0, depth);
        EXPECT(memcmp(got, want, sizeof got) == 0, "depth %d", depth);
    }
    unsetenv("MEDLEY_LOADER_DELAY_MS");
    for (int i = 1; i < STEPS; i++) EXPECT(want[i * UNITS] != want[0], "step %d repeats", i);
}

static void same_after_restart(void)
{
    uint32_t got[STEPS * UNITS] = {0};
    run(got, units, UNITS, 7, 3);
    EXPECT(memcmp(got + 7 * UNITS, want + 7 * UNITS, sizeof *got * (STEPS - 7) * UNITS) == 0, "restart at step 7");
}

/* A rank that owns only some of the units gets the same batches for them. */
static void same_for_any_owner(void)
{
    const loader_unit mine[] = {{1, 0}, {4, 0}};
    const int at[] = {4, 3};
    uint32_t got[STEPS * 2];
    run(got, mine, 2, 0, 2);
    for (int s = 0; s < STEPS; s++)
        for (int k = 0; k < 2; k++) EXPECT(got[2 * s + k] == want[s * UNITS + at[k]], "step %d unit %d", s, k);
}

static void once_per_epoch(void)
{
    loader *l;
    int64_t n = dataset_count(data[1], SPLIT_TRAIN), seen[200] = {0}, taken = 0;
    loader_unit both[] = {{1, 0}, {1, 1}};
    EXPECT_OK(loader_open(&l, use, N_TASK_KINDS, both, 2, 42, 0, 2));
    while (taken < 3 * n) {
        batch *b;
        EXPECT_OK(loader_next(l, &b));
        for (int i = 0; i < b->B; i++, taken++)
            if (taken < 3 * n) seen[b->sample[i]]++;
        loader_release(l, b);
    }
    loader_close(l);
    int distinct = 0;
    for (int i = 0; i < 200; i++) {
        EXPECT(seen[i] == 0 || seen[i] == 3, "sample %d seen %lld times in 3 epochs", i, (long long)seen[i]);
        distinct += seen[i] > 0;
    }
    EXPECT(distinct == n, "%d of %lld", distinct, (long long)n);
}

static void labels_right(void)
{
    static made m;
    loader *l;
    for (int k = 0; k < N_TASK_KINDS; k++) {
        use[k].augment = (augment_spec){.scale_lo = 1, .scale_hi = 1, .crop_scale = 1};
        EXPECT_OK(loader_open(&l, use, N_TASK_KINDS, (loader_unit[]){{k, 0}}, 1, 1, 0, 2));
        for (int turn = 0; turn < 8; turn++) {
            batch *b;
            EXPECT_OK(loader_next(l, &b));
            EXPECT(b->n_valid == b->B && (b->cls != NULL) == (k == 0) && (b->mask != NULL) == (k == 3) && !b->native_mask,
                   "fields of kind %d", k);
            for (int i = 0; i < b->B; i++) {
                shards_sample(&m, (uint32_t)b->sample[i], DT_U8, 3);
                const sample_label *v = &m.s.label[k];
                if (k == 0) EXPECT(b->cls[i] == v->cls, "%d", b->cls[i]);
                if (k == 2) EXPECT(b->scalar[i] == v->scalar, "%g", b->scalar[i]);
                for (int c = 0; k == 1 && c < SHARDS_CLASSES; c++)
                    EXPECT(b->vec[i * SHARDS_CLASSES + c] == (m.vec[c] == 255 ? -1.0f : (float)m.vec[c]), "vector");
                if (k == 4) EXPECT(b->box_off[i + 1] - b->box_off[i] <= v->n_box, "boxes");
                view w = b->view[i];
                int x = 24, y = 16; /* the middle of the network's grid is always in the image */
                int xs = (int)(w.ax * ((float)x + 0.5f) + w.cx), ys = (int)(w.by * ((float)y + 0.5f) + w.cy);
                if (k == 3) EXPECT(b->mask[(i * b->H + y) * b->W + x] == m.mask[ys * m.s.W + xs], "mask");
            }
            loader_release(l, b);
        }
        loader_close(l);
    }
}

static void evaluation(void)
{
    for (int k = 0; k < N_TASK_KINDS; k++)
        for (int n_parts = 1; n_parts <= 9; n_parts += 2) {
            int seen[200] = {0}, total = 0;
            for (int part = 0; part < n_parts; part++) {
                loader *l;
                EXPECT_OK(loader_open_eval(&l, &use[k], SPLIT_VAL, part, n_parts, 2));
                for (;;) {
                    batch *b;
                    EXPECT_OK(loader_next(l, &b));
                    if (!b) break;
                    EXPECT(b->B == use[k].batch && b->n_valid >= 1 && b->n_valid <= b->B && b->step == -1, "%d of %d", b->n_valid,
                           b->B);
                    const uint8_t *native = b->native_mask;
                    for (int i = 0; i < b->n_valid; i++) {
                        static made m;
                        shards_sample(&m, (uint32_t)b->sample[i], DT_U8, 3);
                        seen[b->sample[i]]++, total++;
                        EXPECT(b->native_size[2 * i] == m.s.H && b->native_size[2 * i + 1] == m.s.W, "native size");
                        if (k == 4) EXPECT(b->box_off[i + 1] - b->box_off[i] == m.s.label[k].n_box, "every box");
                        if (k != 3) continue;
                        EXPECT(memcmp(native, m.mask, (size_t)m.s.H * (size_t)m.s.W) == 0, "native mask");
                        native += (size_t)m.s.H * (size_t)m.s.W;
                    }
                    loader_release(l, b);
                }
                batch *again;
                EXPECT_OK(loader_next(l, &again));
                EXPECT(!again, "the end stays the end");
                loader_close(l);
            }
            EXPECT(total == dataset_count(data[k], SPLIT_VAL), "%d parts: %d", n_parts, total);
            for (int i = 0; i < 200; i++) EXPECT(seen[i] <= 1, "sample %d seen %d times", i, seen[i]);
        }
}

static void close_is_prompt(void)
{
    loader *l;
    setenv("MEDLEY_LOADER_DELAY_MS", "20", 1);
    double begin = timer_now();
    for (int i = 0; i < 5; i++) {
        EXPECT_OK(loader_open(&l, use, N_TASK_KINDS, units, UNITS, 42, 0, 4));
        batch *b;
        if (i % 2) EXPECT_OK(loader_next(l, &b)); /* closed with a batch still held */
        loader_close(l);
    }
    loader_close(NULL);
    unsetenv("MEDLEY_LOADER_DELAY_MS");
    EXPECT(timer_now() - begin < 3, "%g s", timer_now() - begin);
}

/* Images of many sizes and label lists of many lengths, and yet nothing is asked for once every shard has been opened. */
static void nothing_grows(void)
{
    dataset *d[N_TASK_KINDS];
    dataset_use u[N_TASK_KINDS];
    loader_unit unit[N_TASK_KINDS];
    char folder[128];
    EXPECT_OK(shards_make(dir, "one", DT_U16, 3, 60, 0));
    snprintf(folder, sizeof folder, "%s/one", dir);
    for (int k = 0; k < N_TASK_KINDS; k++) {
        EXPECT_OK(dataset_open(&d[k], folder, label_name[k]));
        u[k] = use[k], u[k].data = d[k];
        EXPECT_OK(augment_preset(&u[k].augment, "histology"));
        unit[k] = (loader_unit){k, 0};
    }
    loader *l;
    batch *b;
    EXPECT_OK(loader_open(&l, u, N_TASK_KINDS, unit, N_TASK_KINDS, 3, 0, 1));
    int64_t before = 0;
    for (int i = 0; i < 40 * N_TASK_KINDS; i++) {
        EXPECT_OK(loader_next(l, &b));
        if (i == N_TASK_KINDS - 1) before = mem_calls(); /* the thread waits: the ring has one place */
        loader_release(l, b);
    }
    loader_close(l);
    EXPECT(before > 0 && mem_calls() == before, "%lld requests after the first batch of each data set", (long long)(mem_calls() - before));
    for (int k = 0; k < N_TASK_KINDS; k++) dataset_close(d[k]);
}

static void wrong_use(void)
{
    loader *l;
    dataset_use u = use[0];
    u.K = 7;
    EXPECT_STATUS(loader_open(&l, &u, 1, (loader_unit[]){{0, 0}}, 1, 1, 0, 2), ST_BUG);
    u = use[0], u.batch = 0;
    EXPECT_STATUS(loader_open(&l, &u, 1, (loader_unit[]){{0, 0}}, 1, 1, 0, 2), ST_USAGE);
    EXPECT_STATUS(loader_open(&l, use, N_TASK_KINDS, (loader_unit[]){{0, 1}}, 1, 1, 0, 2), ST_BUG);
}

/* The fault point of the loader, in a process of its own since fault points are read once. */
static void fault_point(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setenv("MEDLEY_FAULT", "load@3:raise", 1);
        loader *l;
        batch *b;
        int good = 0;
        status st = loader_open(&l, use, N_TASK_KINDS, units, UNITS, 42, 0, 2);
        while (!st && !(st = loader_next(l, &b))) loader_release(l, b), good++;
        _exit(st == ST_DATA && good == 2 && strstr(status_message(), "load") ? 0 : 1);
    }
    int how = -1;
    EXPECT(waitpid(child, &how, 0) == child && how == 0, "child says %d", how);
}

/* A shard disappears, another is damaged, a third belongs elsewhere: the thread's message reaches the caller. */
static void failures_arrive(void)
{
    char path[256];
    snprintf(path, sizeof path, "%s/noise/noise-00001.h5", dir);
    EXPECT(truncate(path, 5000) == 0, "truncate");
    dataset *d;
    char folder[128];
    snprintf(folder, sizeof folder, "%s/noise", dir);
    EXPECT_OK(dataset_open(&d, folder, label_name[0]));
    dataset_use u = use[0];
    u.data = d;
    loader *l;
    EXPECT_OK(loader_open(&l, &u, 1, (loader_unit[]){{0, 0}}, 1, 1, 0, 2));
    status st = OK;
    int good = 0;
    for (batch *b; !(st = loader_next(l, &b)) && good < 1000; good++) loader_release(l, b);
    EXPECT(st == ST_DATA && strstr(status_message(), "noise-00001.h5"), "%d after %d: %s", st, good, status_message());
    batch *b;
    EXPECT_STATUS(loader_next(l, &b), ST_DATA);
    loader_close(l);
    dataset_close(d);
    unlink(path);
    EXPECT_OK(dataset_open(&d, folder, label_name[0]));
    u.data = d;
    EXPECT_OK(loader_open_eval(&l, &u, SPLIT_TRAIN, 0, 1, 2));
    while (!(st = loader_next(l, &b)) && b) loader_release(l, b);
    EXPECT(st == ST_DATA && strstr(status_message(), "noise-00001.h5"), "%d: %s", st, status_message());
    loader_close(l);
    dataset_close(d);
    char other[256];
    snprintf(other, sizeof other, "%s/noise/noise-00002.h5", dir);
    EXPECT(rename(other, path) == 0, "rename");
    EXPECT_OK(dataset_open(&d, folder, label_name[0]));
    u.data = d;
    EXPECT_OK(loader_open_eval(&l, &u, SPLIT_TRAIN, 0, 1, 2));
    while (!(st = loader_next(l, &b)) && b) loader_release(l, b);
    EXPECT(st == ST_DATA && strstr(status_message(), "noise-00001.h5") && strstr(status_message(), "index.h5"), "%d: %s", st,
           status_message());
    loader_close(l);
    dataset_close(d);
}

int main(void)
{
    strcpy(dir, "/tmp/medley-loader-XXXXXX");
    if (!mkdtemp(dir) || shards_make(dir, "noise", DT_U8, 3, 120, 60000)) return 1;
    RUN(open_all);
    RUN(fault_point);
    RUN(same_for_any_depth_and_timing);
    RUN(same_after_restart);
    RUN(same_for_any_owner);
    RUN(once_per_epoch);
    RUN(labels_right);
    RUN(evaluation);
    RUN(close_is_prompt);
    RUN(nothing_grows);
    RUN(wrong_use);
    RUN(failures_arrive);
    for (int k = 0; k < N_TASK_KINDS; k++) dataset_close(data[k]);
    char clean[128];
    snprintf(clean, sizeof clean, "rm -rf %s", dir);
    if (system(clean)) return 1;
    DONE();
}
