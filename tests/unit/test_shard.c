/* test_shard: data set folders come back as written, are made of the same bytes every time, and refuse what does not fit. */
#include "../shards.h"
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static made want;

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

static int shell(const char *fmt, const char *a, const char *b)
{
    char command[1024];
    snprintf(command, sizeof command, fmt, a, b);
    return system(command);
}

static void compare_label(const shard *s, int64_t k, int l)
{
    const sample_label *v = &want.s.label[l];
    EXPECT(s->label[l].present[k] == v->present, "present");
    uint8_t mask[SHARDS_SIDE * SHARDS_SIDE];
    size_t area = (size_t)want.s.H * (size_t)want.s.W;
    switch (s->meta.label[l].kind) {
    case TASK_CLASSIFICATION: EXPECT(s->label[l].cls[k] == (v->present ? v->cls : -1), "class"); break;
    case TASK_REGRESSION: EXPECT(v->present ? s->label[l].scalar[k] == v->scalar : isnan(s->label[l].scalar[k]), "scalar"); break;
    case TASK_MULTILABEL:
        for (int c = 0; c < SHARDS_CLASSES; c++)
            EXPECT(s->label[l].vec[k * SHARDS_CLASSES + c] == (v->present ? want.vec[c] : 255), "vector of %s", s->id[k]);
        break;
    case TASK_SEGMENTATION:
        if (!v->present) break;
        EXPECT_OK(shard_read_mask((shard *)s, k, l, mask));
        EXPECT(memcmp(mask, want.mask, area) == 0, "mask of %s", s->id[k]);
        break;
    case TASK_DETECTION: {
        int64_t from = s->label[l].box_off[k], n = s->label[l].box_off[k + 1] - from;
        EXPECT(n == (v->present ? v->n_box : 0), "%lld boxes", (long long)n);
        EXPECT(n == 0 || (memcmp(s->label[l].box + 4 * from, want.box, 16 * (size_t)n) == 0 &&
                          memcmp(s->label[l].box_cls + from, want.box_cls, 4 * (size_t)n) == 0), "boxes of %s", s->id[k]);
        break;
    }
    case N_TASK_KINDS: break;
    }
}

static void round_trip(enum dtype pixel, int channels, int n, int64_t shard_bytes)
{
    char name[64];
    snprintf(name, sizeof name, "noise-%s-%d", dtype_name(pixel), channels);
    EXPECT_OK(shards_make(dir, name, pixel, channels, n, shard_bytes));
    catalogue c;
    EXPECT_OK(catalogue_open(&c, in_dir(name)));
    EXPECT(c.n_total == n && (shard_bytes > 0 ? c.n_shards > 2 : c.n_shards == 1), "%lld samples in %d shards", (long long)c.n_total,
           c.n_shards);
    uint32_t i = 0;
    for (int f = 0; f < c.n_shards; f++) {
        char path[800], hex[65];
        snprintf(path, sizeof path, "%s/%s", c.dir, c.file[f]);
        EXPECT_OK(sha256_file(path, hex));
        EXPECT(strcmp(hex, c.sha256[f]) == 0, "sha256 of %s", path);
        shard s;
        EXPECT_OK(shard_open(&s, path));
        EXPECT(s.n == c.n[f] && strcmp(s.meta.label[2].name, "x-regression") == 0 && s.meta.label[2].lo == -1, "meta of %s", path);
        EXPECT(strcmp(s.meta.label[0].class_name[2], "nuclei\xc3\xa4") == 0 && strcmp(s.meta.spacing_units, "um") == 0, "meta of %s",
               path);
        for (int64_t k = 0; k < s.n; k++, i++) {
            static float pixels[SHARDS_SIDE * SHARDS_SIDE * 3];
            shards_sample(&want, i, pixel, channels);
            EXPECT_OK(shard_read_image(&s, k, pixels));
            size_t bytes = (size_t)want.s.H * (size_t)want.s.W * (size_t)channels * dtype_bytes(pixel);
            EXPECT(memcmp(pixels, want.pixels, bytes) == 0, "pixels of %s", s.id[k]);
            EXPECT(strcmp(s.id[k], want.s.id) == 0 && strcmp(s.subject[k], want.s.subject) == 0 &&
                       strcmp(s.case_id[k], want.s.case_id) == 0 && strcmp(s.source[k], want.s.source) == 0 &&
                       strcmp(s.source_sha256[k], want.s.source_sha256) == 0 && s.centre[k][0] == 0,
                   "texts");
            EXPECT(s.size[2 * k] == want.s.H && s.size[2 * k + 1] == want.s.W && s.slice[k] == want.s.slice &&
                       s.split[k] == want.s.split && s.range[2 * k + 1] == 500 && s.spacing[2 * k] == 0.5f &&
                       isnan(s.spacing[2 * k + 1]),
                   "columns");
            EXPECT(strcmp(c.id + i * (uint32_t)c.id_width, want.s.id) == 0 && c.split[i] == want.s.split, "index");
            for (int l = 0; l < SHARDS_LABELS; l++) compare_label(&s, k, l);
        }
        shard_close(&s);
    }
    EXPECT(i == (uint32_t)n, "%u samples read", i);
    catalogue_close(&c);
}

static void u8_colour_many_shards(void) { round_trip(DT_U8, 3, 60, 60000); }
static void u16_one_shard(void) { round_trip(DT_U16, 1, 20, 0); }
static void i16_one_shard(void) { round_trip(DT_I16, 1, 20, 0); }
static void f32_colour(void) { round_trip(DT_F32, 3, 12, 0); }

static void same_bytes_and_sums(void)
{
    EXPECT_OK(path_make_dirs(in_dir("again")));
    EXPECT_OK(shards_make(in_dir("again"), "noise-u8-3", DT_U8, 3, 60, 60000));
    EXPECT(shell("diff -r %s %s", in_dir("again/noise-u8-3"), in_dir("noise-u8-3")) == 0, "folders differ");
    EXPECT(shell("cd %s && sha256sum -c --quiet SHA256SUMS%s", in_dir("noise-u8-3"), "") == 0, "SHA256SUMS");
}

static void replace_and_refuse(void)
{
    static made m;
    shard_meta meta = shards_meta("noise-u16-1", DT_U16, 1);
    shard_writer *w;
    EXPECT_STATUS(shard_writer_open(&w, dir, &meta, 0, false), ST_DATA);
    EXPECT(strstr(status_message(), "noise-u16-1"), "%s", status_message());
    EXPECT_OK(shard_writer_open(&w, dir, &meta, 0, true)); /* a writer that gives up leaves the old folder */
    shards_sample(&m, 1, DT_U16, 1);
    EXPECT_OK(shard_writer_add(w, &m.s));
    shard_writer_discard(w);
    EXPECT(!path_exists(in_dir("noise-u16-1.part")), "part is gone");
    catalogue c;
    EXPECT_OK(catalogue_open(&c, in_dir("noise-u16-1")));
    EXPECT(c.n_total == 20, "%lld", (long long)c.n_total);
    catalogue_close(&c);
    EXPECT_OK(shards_make(dir, "noise-u16-1", DT_U16, 1, 5, 0)); /* force replaces */
    EXPECT_OK(catalogue_open(&c, in_dir("noise-u16-1")));
    EXPECT(c.n_total == 5 && !path_exists(in_dir("noise-u16-1.part")), "%lld", (long long)c.n_total);
    catalogue_close(&c);
    EXPECT_OK(shard_writer_open(&w, dir, &(shard_meta){.name = "empty", .pixel = DT_U8, .channels = 1, .n_labels = 1,
              .label = {{.name = "a", .kind = TASK_REGRESSION, .n_classes = 1, .lo = 0, .hi = 1}}}, 0, false));
    EXPECT_STATUS(shard_writer_close(w), ST_DATA);
    EXPECT(!path_exists(in_dir("empty.part")) && !path_exists(in_dir("empty")), "nothing left of the empty set");
    meta.channels = 2;
    EXPECT_STATUS(shard_writer_open(&w, dir, &meta, 0, true), ST_DATA);
    meta.channels = 1;
    strcpy(meta.name, "../up");
    EXPECT_STATUS(shard_writer_open(&w, dir, &meta, 0, true), ST_DATA);
}

static void bad_samples(void)
{
    static made m;
    shard_meta meta = shards_meta("bad", DT_F32, 1);
    shard_writer *w;
    EXPECT_OK(shard_writer_open(&w, dir, &meta, 0, true));
    for (int k = 0; k < 13; k++) {
        shards_sample(&m, 1, DT_F32, 1);
        sample *s = &m.s;
        s->label[TASK_DETECTION].n_box = 1;
        memcpy(m.box, (float[]){1, 1, 5, 5}, 16);
        switch (k) {
        case 0: s->H = 0; break;
        case 1: m.pixels[3] = NAN; break;
        case 2: s->range[1] = s->range[0]; break;
        case 3: s->label[TASK_CLASSIFICATION].cls = SHARDS_CLASSES; break;
        case 4: m.vec[1] = 2; break;
        case 5: s->label[TASK_REGRESSION].scalar = INFINITY; break;
        case 6: m.mask[5] = SHARDS_CLASSES; break;
        case 7: m.box[2] = (float)s->W + 1; break;
        case 8: m.box[1] = NAN; break;
        case 9: m.box[2] = m.box[0]; break;
        case 10: m.box_cls[0] = -1; break;
        case 11: s->id[0] = 0; break;
        case 12: s->split = N_SPLITS; break;
        }
        EXPECT_STATUS(shard_writer_add(w, s), ST_DATA);
        EXPECT(k == 11 || strstr(status_message(), "sample-1"), "%s", status_message());
    }
    shards_sample(&m, 1, DT_F32, 1);
    EXPECT_OK(shard_writer_add(w, &m.s)); /* the writer still works */
    EXPECT_OK(shard_writer_close(w));
}

static void small_among_large(void) /* one large picture does not blow up all the others */
{
    static uint8_t pixels[600 * 600];
    shard_meta meta = {.name = "mixed", .pixel = DT_U8, .channels = 1, .n_labels = 1,
                       .label = {{.name = "y", .kind = TASK_REGRESSION, .n_classes = 1, .lo = 0, .hi = 1}}};
    shard_writer *w;
    EXPECT_OK(shard_writer_open(&w, dir, &meta, 1 << 20, false));
    for (int i = 0; i < 200; i++) {
        sample s = {.H = i == 100 ? 600 : 10,
                    .W = i == 100 ? 600 : 10,
                    .slice = -1,
                    .range = {0, 255},
                    .spacing = {NAN, NAN},
                    .pixels = pixels};
        snprintf(s.id, sizeof s.id, "%d", i);
        s.label[0] = (sample_label){.present = true, .scalar = 0.5f};
        EXPECT_OK(shard_writer_add(w, &s));
    }
    EXPECT_OK(shard_writer_close(w));
    catalogue c;
    EXPECT_OK(catalogue_open(&c, in_dir("mixed")));
    for (int f = 0; f < c.n_shards; f++) {
        char path[800];
        shard s;
        snprintf(path, sizeof path, "%s/%s", c.dir, c.file[f]);
        EXPECT_OK(shard_open(&s, path));
        EXPECT((int64_t)s.n * s.Hmax * s.Wmax <= 5 << 20, "%lld x %d x %d", (long long)s.n, s.Hmax, s.Wmax);
        EXPECT(strcmp(s.case_id[0], "") == 0 && strcmp(s.meta.label[0].class_name[0], "0") == 0, "defaults");
        shard_close(&s);
    }
    catalogue_close(&c);
}

/* How files were read: in shard and index, or not there at all; what makes no sense is refused before anything is written. */
static void how_files_were_read(void)
{
    shard_meta m = shards_meta("read", DT_U8, 1);
    m.reading = (shard_reading){.rule = "percentile", .lo = 0.5, .hi = 99.5, .spacing_x = 0.25, .axis = 2, .max_side = 512, .n_frames = 2, .frame = {3, 1}};
    shard_writer *w;
    EXPECT_OK(shard_writer_open(&w, dir, &m, 0, true));
    shards_sample(&want, 1, DT_U8, 1);
    EXPECT_OK(shard_writer_add(w, &want.s));
    EXPECT_OK(shard_writer_close(w));
    catalogue c;
    shard s;
    EXPECT_OK(catalogue_open(&c, in_dir("read")));
    EXPECT_OK(shard_open(&s, in_dir("read/read-00000.h5")));
    const shard_reading *both[2] = {&c.meta.reading, &s.meta.reading};
    for (int i = 0; i < 2; i++) {
        const shard_reading *r = both[i];
        EXPECT(strcmp(r->rule, "percentile") == 0 && r->lo == 0.5 && r->hi == 99.5 && r->spacing_x == 0.25 && r->spacing_y == 0 && r->axis == 2, "%s", r->rule);
        EXPECT(r->max_side == 512 && r->n_frames == 2 && r->frame[0] == 3 && r->frame[1] == 1 && r->mpp == 0, "%d", r->max_side);
    }
    shard_close(&s);
    catalogue_close(&c);
    EXPECT_OK(catalogue_open(&c, in_dir("noise-u16-1")));
    EXPECT(c.meta.reading.rule[0] == 0, "not of files");
    catalogue_close(&c);
    static const shard_reading bad[] = {{.rule = "guess"}, {.rule = "percentile", .hi = 101}, {.rule = "window", .lo = NAN}, {.rule = "dtype", .axis = 3},
                                        {.rule = "dtype", .max_side = -1}, {.rule = "dtype", .n_frames = 4}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        m.reading = bad[i];
        EXPECT_STATUS(shard_writer_open(&w, dir, &m, 0, true), ST_DATA);
    }
}

int main(void)
{
    strcpy(dir, "/tmp/medley-shard-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    RUN(u8_colour_many_shards);
    RUN(u16_one_shard);
    RUN(i16_one_shard);
    RUN(f32_colour);
    RUN(same_bytes_and_sums);
    RUN(replace_and_refuse);
    RUN(bad_samples);
    RUN(small_among_large);
    RUN(how_files_were_read);
    if (shell("rm -rf %s%s", dir, "")) return 1;
    DONE();
}
