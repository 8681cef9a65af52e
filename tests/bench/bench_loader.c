/* bench_loader: what one core prepares of a data set: images read from shards, augmented and laid out by the loader's thread, and where its time
 * goes. loader.py runs it next to a DataLoader of PyTorch.
 *
 *   bench_loader DIR LABEL SIDE PRESET SECONDS      prints "images N cpu_s S" of the loader, then "PART MICROSECONDS" of an image, one a line
 *   bench_loader --strengths PRESET                 prints "NAME VALUE", one a line: for the peer
 *
 * Seconds are those of the loader's thread on a core, so other work on the machine disturbs them little. */
#include "../../src/data/data_internal.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

enum { BATCH = 8, DEPTH = 2, WARM = 4 };
enum part { FETCH, READ, INFLATE, RESAMPLE, INTENSITY, LABEL, N_PARTS };
static const char *const part_name[N_PARTS] = {"fetch", "read", "inflate", "resample", "intensity", "label"};

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the whole: the loader's own thread ------------------------------------------------------------------------------------------ */

static status run_loader(const dataset_use *use, double seconds, int64_t *n_images, double *cpu_s)
{
    loader *l;
    TRY(loader_open(&l, use, 1, &(loader_unit){0}, 1, 1, 0, DEPTH), "bench");
    status st = OK;
    batch *b;
    double began = 0, cpu = 0;
    int64_t n = 0;
    for (int k = 0; !st; k++) {
        if (k == WARM) began = timer_now(), cpu = loader_cpu_s(l), n = 0;
        if (k > WARM && timer_now() - began >= seconds) break;
        st = loader_next(l, &b);
        if (st) break;
        n += b->B;
        loader_release(l, b);
    }
    *cpu_s = loader_cpu_s(l) - cpu;
    *n_images = n; /* the thread is as far ahead at the end as at the beginning */
    loader_close(l);
    return st;
}

/* ---- the parts, one after the other ----------------------------------------------------------------------------------------------- */

typedef struct packed { hid_t file, set[2]; size_t plane[2]; void *raw, *plain; size_t raw_room; } packed;

static void close_packed(packed *p)
{
    for (int i = 0; i < 2; i++)
        if (p->set[i] >= 0) H5Dclose(p->set[i]);
    if (p->file >= 0) H5Fclose(p->file);
    free(p->raw), free(p->plain);
}

/* The first shard, to read chunks as they are stored: pixels, and masks if there are some. */
static status open_packed(packed *p, const dataset *d, const char *dir)
{
    catalogue c;
    char path[800], mask[160];
    *p = (packed){.file = -1, .set = {-1, -1}};
    TRY(catalogue_open(&c, dir), "bench");
    snprintf(path, sizeof path, "%s/%s", dir, c.file[0]);
    int n_shards = c.n_shards;
    catalogue_close(&c);
    CHECK(n_shards == 1, ST_USAGE, "%s: %d shards, this bench reads the chunks of one", dir, n_shards);
    snprintf(mask, sizeof mask, "label/%s/mask", dataset_label(d)->name);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG); /* both as the data set, which has the file open too */
    H5Pset_file_locking(access, false, true);
    p->file = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    CHECK(p->file >= 0, ST_DATA, "%s: cannot open", path);
    p->set[0] = H5Dopen2(p->file, "image", H5P_DEFAULT);
    if (dataset_label(d)->kind == TASK_SEGMENTATION) p->set[1] = H5Dopen2(p->file, mask, H5P_DEFAULT);
    size_t most = 0;
    for (int i = 0; i < 2 && p->set[i] >= 0; i++) {
        hid_t plist = H5Dget_create_plist(p->set[i]), type = H5Dget_type(p->set[i]);
        hsize_t chunk[4] = {0};
        int rank = H5Pget_chunk(plist, 4, chunk);
        p->plane[i] = H5Tget_size(type);
        for (int k = 0; k < rank; k++) p->plane[i] *= (size_t)chunk[k];
        if (p->plane[i] > most) most = p->plane[i];
        H5Pclose(plist), H5Tclose(type);
    }
    p->raw_room = 2 * most + 4096;
    TRY(mem_alloc(&p->raw, p->raw_room, "chunks"), "bench");
    return mem_alloc(&p->plain, most, "chunks");
}

static status read_packed(packed *p, int64_t sample, double *took)
{
    for (int i = 0; i < 2 && p->set[i] >= 0; i++) {
        hsize_t at[4] = {(hsize_t)sample}, bytes = 0;
        uint32_t filters;
        double t = cpu_now();
        bool good = H5Dget_chunk_storage_size(p->set[i], at, &bytes) >= 0 && bytes <= p->raw_room && H5Dread_chunk(p->set[i], H5P_DEFAULT, at, &filters, p->raw) >= 0;
        CHECK(good, ST_DATA, "sample %lld: no chunk of its own", (long long)sample);
        took[READ] += cpu_now() - t;
        uLongf n = (uLongf)p->plane[i];
        t = cpu_now();
        int rc = uncompress(p->plain, &n, p->raw, (uLong)bytes - 4); /* without Fletcher's sum */
        took[INFLATE] += cpu_now() - t;
        CHECK(rc == Z_OK && n == p->plane[i], ST_DATA, "sample %lld: does not inflate", (long long)sample);
    }
    return OK;
}

/* As sample_image and the loader do it. */
static status one_sample(const dataset_use *u, int64_t sample, uint32_t epoch, scratch *tmp, float *out, uint8_t *mask, double *took)
{
    raw_sample s;
    rng_key key = {u->task_hash, (uint32_t)sample, epoch};
    double t[5];
    t[0] = cpu_now();
    TRY(dataset_fetch(u->data, sample, tmp, &s), "bench");
    t[1] = cpu_now();
    augment_draw d = augment_decide(&u->augment, key, &s, u->H, u->W);
    float width = s.range[1] - s.range[0], lo = s.range[0] + d.window[0] * width, hi = s.range[1] + d.window[1] * width;
    TRY(sample_room(s.H_most, s.W_most, s.C, u->H, u->W, tmp), "bench");
    TRY(resample(&s, &d.v, lo, hi, u->H, u->W, tmp->work.at, tmp), "bench");
    t[2] = cpu_now();
    TRY(intensity_apply(&d, key, tmp->work.at, u->H, u->W, s.C, s.H, s.W, tmp), "bench");
    t[3] = cpu_now();
    replicate(tmp->work.at, s.C, (size_t)u->H * (size_t)u->W, out);
    if (s.mask) view_mask(&d.v, s.mask, s.H, s.W, mask, u->H, u->W);
    for (int i = 0; i < s.n_box; i++) {
        float box[4];
        (void)view_box(&d.v, s.box + 4 * i, u->H, u->W, box);
    }
    t[4] = cpu_now();
    static const enum part of[4] = {FETCH, RESAMPLE, INTENSITY, LABEL};
    for (int k = 0; k < 4; k++) took[of[k]] += t[k + 1] - t[k];
    return OK;
}

static status run_parts(const dataset_use *u, const char *dir, double seconds, double *took, int64_t *n)
{
    scratch tmp = {0};
    packed p = {.file = -1, .set = {-1, -1}};
    float *out = NULL;
    uint8_t *mask = NULL;
    const int64_t *list = dataset_list(u->data, SPLIT_TRAIN);
    int64_t count = dataset_count(u->data, SPLIT_TRAIN);
    size_t area = (size_t)u->H * (size_t)u->W;
    status st = OK;
    TRY_TO(done, open_packed(&p, u->data, dir), "bench");
    TRY_TO(done, mem_alloc(&out, area * 3 * sizeof *out, "image"), "bench");
    TRY_TO(done, mem_alloc(&mask, area, "mask"), "bench");
    for (double began = timer_now(); *n < 2 * count || timer_now() - began < seconds; (*n)++) {
        int64_t i = list[(*n * 7919) % count];
        if (*n == count) memset(took, 0, N_PARTS * sizeof *took); /* pages and caches are warm */
        TRY_TO(done, one_sample(u, i, (uint32_t)(*n / count), &tmp, out, mask, took), "bench");
        TRY_TO(done, read_packed(&p, i, took), "bench");
    }
    *n -= count;
done:
    scratch_free(&tmp);
    close_packed(&p);
    free(out), free(mask);
    return st;
}

static status bench(const char *dir, const char *label, int side, const char *preset, double seconds)
{
    dataset_use use = {.task_hash = hash_text("bench"), .batch = BATCH, .H = side, .W = side, .units = 1, .max_boxes = 200};
    double took[N_PARTS] = {0}, cpu_s = 0;
    int64_t n_images = 0, n = 0;
    TRY(augment_preset(&use.augment, preset), "bench");
    TRY(dataset_open(&use.data, dir, label), "bench");
    use.K = dataset_label(use.data)->n_classes;
    status st = run_loader(&use, seconds, &n_images, &cpu_s);
    if (!st) st = run_parts(&use, dir, seconds, took, &n);
    dataset_close(use.data);
    TRY(st, "%s", dir);
    printf("images %lld\ncpu_s %.6f\n", (long long)n_images, cpu_s);
    for (int k = 0; k < N_PARTS; k++) printf("%s %.3f\n", part_name[k], 1e6 * took[k] / (double)n);
    return OK;
}

static status strengths(const char *preset)
{
    augment_spec a;
    TRY(augment_preset(&a, preset), "bench");
    const struct { const char *name; float v; } all[] = {
        {"flip_x", a.flip_x}, {"flip_y", a.flip_y}, {"rot90", a.rot90}, {"rotate_deg", a.rotate_deg}, {"scale_lo", a.scale_lo}, {"scale_hi", a.scale_hi},
        {"shift", a.shift}, {"brightness", a.brightness}, {"contrast", a.contrast}, {"gamma", a.gamma}, {"noise", a.noise}, {"blur", a.blur}, {"hue", a.hue},
        {"saturation", a.saturation}, {"window", a.window}, {"invert", a.invert}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) printf("%s %g\n", all[i].name, (double)all[i].v);
    return OK;
}

int main(int argc, char **argv)
{
    status st;
    if (argc == 3 && !strcmp(argv[1], "--strengths")) st = strengths(argv[2]);
    else if (argc == 6) st = bench(argv[1], argv[2], atoi(argv[3]), argv[4], atof(argv[5]));
    else st = status_raise(ST_USAGE, __FILE__, __LINE__, "usage: %s DIR LABEL SIDE PRESET SECONDS | --strengths PRESET", argv[0]);
    if (st) fprintf(stderr, "%s\n", status_message());
    return st;
}
