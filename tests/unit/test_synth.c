/* test_synth: phantoms are a function of the seed, their shards verify clean, planted faults are found, contact sheets are real PNGs. */
#include "canvas.h"
#include "commands.h"
#include "synth.h"
#include "test.h"
#include "thumbnail.h"
#include "../shards.h"

#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <stdarg.h>
#include <unistd.h>
#include <zlib.h>

static char root[64], said[65536]; /* a scratch folder; what the last command printed */

static int remove_entry(const char *path, const struct stat *about, int type, struct FTW *where)
{
    (void)about, (void)type, (void)where;
    return remove(path);
}

static const char *at(const char *fmt, ...)
{
    static char path[4][512];
    static int turn;
    char *p = path[turn++ % 4];
    int n = snprintf(p, 512, "%s/", root);
    va_list args;
    va_start(args, fmt);
    vsnprintf(p + n, (size_t)(512 - n), fmt, args);
    va_end(args);
    return p;
}

/* Runs a subcommand with its words, NULL at the end; its standard output goes to `said`. */
static status run(status (*command)(int, char **), const char *word, ...)
{
    char words[16][512], *argv[17];
    int argc = 0;
    va_list args;
    va_start(args, word);
    for (; word && argc < 16; word = va_arg(args, const char *)) {
        snprintf(words[argc], 512, "%s", word);
        argv[argc] = words[argc];
        argc++;
    }
    va_end(args);
    argv[argc] = NULL;
    fflush(stdout);
    int keep = dup(1), file = open(at("said"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(file, 1);
    status st = command(argc, argv);
    fflush(stdout);
    dup2(keep, 1);
    close(keep);
    ssize_t n = pread(file, said, sizeof said - 1, 0);
    said[n > 0 ? n : 0] = 0;
    close(file);
    return st;
}

/* Sum over the contents of a folder's files, in name order of the sums. */
static uint64_t sum_all;
static int add_entry(const char *path, const struct stat *about, int type, struct FTW *where)
{
    (void)about;
    char hex[65];
    if (type == FTW_F && !sha256_file(path, hex)) sum_all += hash_text(hex) ^ hash_text(path + where->base);
    return 0;
}

static uint64_t folder_sum(const char *path)
{
    sum_all = 0;
    nftw(path, add_entry, 16, FTW_PHYS);
    return sum_all;
}

static void a_seed_makes_the_same_files(void)
{
    for (const synth_set *s = synth_sets; s->name; s++) {
        synth_job job = {.seed = 5, .n_subject = 2};
        uint64_t sum[3];
        for (int k = 0; k < 3; k++) {
            snprintf(job.root, sizeof job.root, "%s/seed%d/%s", root, k, s->name);
            job.seed = k == 2 ? 6 : 5;
            EXPECT_OK(s->make(&job));
            sum[k] = folder_sum(job.root);
        }
        EXPECT(sum[0] && sum[0] == sum[1], "%s differs from run to run", s->name);
        EXPECT(sum[0] != sum[2], "%s does not depend on the seed", s->name);
    }
}

static void a_set_converts_and_verifies_clean(void)
{
    EXPECT_OK(run(cmd_synth, "synth", "--out", at("data"), "--only", "synth-ct", NULL));
    EXPECT_STATUS(run(cmd_synth, "synth", "--out", at("data"), "--only", "synth-ct", NULL), ST_USAGE);
    EXPECT(strstr(status_message(), "--force"), "%s", status_message());
    EXPECT_OK(run(cmd_verify, "verify", at("data/shards"), NULL));
    EXPECT(strstr(said, "no errors, 0 warnings"), "%s", said);
    EXPECT_OK(run(cmd_info, "info", at("data/shards/synth-ct"), NULL));
    EXPECT(strstr(said, "label nodule: segmentation") && strstr(said, "1 malign") && strstr(said, "CC0 1.0"), "%s", said);
    EXPECT_OK(run(cmd_info, "info", at("data/shards"), NULL));
    EXPECT(strstr(said, "diagnosis (classification, 2)"), "%s", said);
}

static void force_replaces_only_our_own_folder(void)
{
    EXPECT_OK(path_make_dirs(at("other/source/synth-histo")));
    EXPECT_OK(file_write_atomic(at("other/source/synth-histo/SOURCE.md"), "mine\n", 5));
    EXPECT_STATUS(run(cmd_synth, "synth", "--out", at("other"), "--only", "synth-histo", "--force", NULL), ST_USAGE);
    EXPECT(path_exists(at("other/source/synth-histo/SOURCE.md")), "it was removed");
}

/* ---- planted faults ------------------------------------------------------------------------------------------------------ */

enum { N = 15 };

/* NAME: 15 samples, split by subject; each fault changes one sample before it is written. */
static void write_set(const char *name, void (*fault)(made *, uint32_t))
{
    shard_meta m = shards_meta(name, DT_F32, 1);
    shard_writer *w;
    static made one;
    EXPECT_OK(shard_writer_open(&w, root, &m, 0, false));
    for (uint32_t i = 0; i < N; i++) {
        shards_sample(&one, i, DT_F32, 1);
        one.s.split = i / 3 == 3 ? SPLIT_VAL : i / 3 == 4 ? SPLIT_TEST : SPLIT_TRAIN; /* subjects are three samples each */
        snprintf(one.s.case_id, sizeof one.s.case_id, "case-%u", i / 3);
        if (fault) fault(&one, i);
        EXPECT_OK(shard_writer_add(w, &one.s));
    }
    EXPECT_OK(shard_writer_close(w));
}

static void no_fault(void)
{
    write_set("clean", NULL);
    EXPECT_OK(run(cmd_verify, "verify", at("clean"), NULL));
    EXPECT(strstr(said, "no errors"), "%s", said);
    EXPECT_OK(run(cmd_verify, "verify", at("clean/clean-00000.h5"), "--quick", NULL));
}

static void leak_subject(made *m, uint32_t i)
{
    if (i == 14) snprintf(m->s.subject, sizeof m->s.subject, "subject-0");
}

static void leak_case(made *m, uint32_t i)
{
    if (i == 14) snprintf(m->s.case_id, sizeof m->s.case_id, "case-1");
}

static void leak_pixels(made *m, uint32_t i)
{
    if (i != 1 && i != 14) return;
    m->s.H = m->s.W = 9;
    for (int k = 0; k < 81; k++) m->pixels[k] = (float)(k * k);
    for (int l = 0; l < SHARDS_LABELS; l++) m->s.label[l].n_box = 0;
}

static void same_id(made *m, uint32_t i)
{
    if (i == 1) snprintf(m->s.id, sizeof m->s.id, "sample-0");
}

static void leaks_are_found(void)
{
    static const struct { const char *name, *line; void (*fault)(made *, uint32_t); } leak[] = {
        {"subject", "error: leak-subject: subject subject-0 is in train (sample sample-0) and test (sample sample-14)", leak_subject},
        {"case", "error: leak-case: case case-1 is in train (sample sample-3) and test (sample sample-14)", leak_case},
        {"pixels", "error: leak-pixels: the same pixels in train (sample sample-1) and test (sample sample-14)", leak_pixels},
        {"id", "error: duplicate-id: 2 samples have the id sample-0", same_id}};
    for (size_t k = 0; k < sizeof leak / sizeof *leak; k++) {
        write_set(leak[k].name, leak[k].fault);
        EXPECT_STATUS(run(cmd_verify, "verify", at("%s", leak[k].name), NULL), ST_DATA);
        EXPECT(strstr(said, leak[k].line) && strstr(said, ": 1 error, "), "%s: %s", leak[k].name, said);
        EXPECT_STATUS(run(cmd_verify, "verify", at("%s", leak[k].name), "--quick", NULL), ST_DATA);
    }
}

/* Turns one bit of the byte at `from`. */
static void flip(const char *path, long from)
{
    FILE *f = fopen(path, "r+b");
    EXPECT(f, "%s", path);
    if (!f) return;
    fseek(f, 0, SEEK_END);
    long end = ftell(f);
    fseek(f, from, SEEK_SET);
    int c = fgetc(f);
    EXPECT(end > from && c >= 0, "%s is short", path);
    fseek(f, from, SEEK_SET);
    fputc(c ^ 0x10, f);
    fclose(f);
}

/* Every bit that may turn is noticed: by the sum of the file at least. */
static void a_flipped_bit_is_found(void)
{
    write_set("flip", NULL);
    const char *path = "flip/flip-00000.h5";
    for (long from = 9000; from < 30000; from += 6007) {
        flip(at("%s", path), from);
        EXPECT_STATUS(run(cmd_verify, "verify", at("flip"), NULL), ST_DATA);
        EXPECT(strstr(said, "flip-00000.h5: changed or damaged: SHA-256"), "byte %ld: %s", from, said);
        flip(at("%s", path), from);
    }
    EXPECT_OK(run(cmd_verify, "verify", at("flip"), NULL));
}

static void damage_inside_is_named_by_object(void)
{
    EXPECT_OK(run(cmd_synth, "synth", "--out", at("damage"), "--only", "synth-histo", NULL));
    char path[512];
    snprintf(path, sizeof path, "%s", at("damage/shards/synth-histo/synth-histo-00000.h5"));
    FILE *f = fopen(path, "rb");
    fseek(f, 0, SEEK_END);
    long middle = ftell(f) / 2; /* pixels are nearly all of the file */
    fclose(f);
    flip(path, middle);
    EXPECT_STATUS(run(cmd_verify, "verify", at("damage/shards/synth-histo"), NULL), ST_DATA);
    EXPECT(strstr(said, "error: pixels:") && strstr(said, "/image[") && strstr(said, "error: sums:"), "%s", said);
    EXPECT_STATUS(run(cmd_inspect, "inspect", path, "--png", at("damaged.png"), "--n", "2000", NULL), ST_DATA);
    EXPECT(!path_exists(at("damaged.png")), "a sheet was written");
    unlink(path);
    EXPECT_STATUS(run(cmd_verify, "verify", at("damage/shards/synth-histo"), "--quick", NULL), ST_DATA);
    EXPECT(strstr(said, "is missing"), "%s", said);
}

/* A shard by hand, as no writer of ours would: several wrong values, all of which are listed. */
static void values_out_of_range_are_listed(void)
{
    store *s;
    EXPECT_OK(path_make_dirs(at("values")));
    EXPECT_OK(store_create(&s, at("values/values-00000.h5")));
    int64_t n = 4, dims[4] = {4, 8, 8, 1}, off[5] = {0, 1, 2, 2, 3};
    uint8_t px[4 * 64] = {0}, split[4] = {0, 0, 1, 7}, present[4] = {1, 1, 1, 1};
    int32_t size[8] = {8, 8, 8, 8, 9, 8, 8, 8}, cls[4] = {0, 5, 1, -1}, slice[4] = {0}, box_cls[3] = {0, 3, 1};
    float range[8] = {0, 1, 5, 5, 0, 1, 0, 1}, spacing[8] = {1, 1, 1, 1, 1, 1, 1, 1}, box[12] = {0, 0, 4, 4, 2, 2, 2, 6, 1, 1, 9, 3};
    uint32_t crc[4] = {0};
    EXPECT_OK(store_write(s, "image", DT_U8, 4, dims, px, 0));
    EXPECT_OK(store_write(s, "size", DT_I32, 2, (int64_t[]){4, 2}, size, 0));
    EXPECT_OK(store_write(s, "range", DT_F32, 2, (int64_t[]){4, 2}, range, 0));
    EXPECT_OK(store_write(s, "spacing", DT_F32, 2, (int64_t[]){4, 2}, spacing, 0));
    EXPECT_OK(store_write(s, "slice", DT_I32, 1, &n, slice, 0));
    EXPECT_OK(store_write(s, "split", DT_U8, 1, &n, split, 0));
    EXPECT_OK(store_write(s, "image_crc32c", DT_U32, 1, &n, crc, 0));
    static const char *const texts[] = {"id", "subject", "centre", "case", "source", "source_sha256"};
    for (int k = 0; k < 6; k++) EXPECT_OK(store_write_text(s, texts[k], 4, 2, "a\0b\0c\0d"));
    EXPECT_OK(store_write(s, "label/kind/present", DT_U8, 1, &n, present, 0));
    EXPECT_OK(store_write(s, "label/kind/class", DT_I32, 1, &n, cls, 0));
    EXPECT_OK(store_write_text(s, "label/kind/names", 2, 2, "x\0y"));
    EXPECT_OK(store_put_str(s, "/label/kind", "kind", "classification"));
    EXPECT_OK(store_put_i64(s, "/label/kind", "n_classes", 2));
    EXPECT_OK(store_write(s, "label/cells/present", DT_U8, 1, &n, present, 0));
    EXPECT_OK(store_write(s, "label/cells/box_off", DT_I64, 1, (int64_t[]){5}, off, 0));
    EXPECT_OK(store_write(s, "label/cells/box", DT_F32, 2, (int64_t[]){3, 4}, box, 0));
    EXPECT_OK(store_write(s, "label/cells/box_class", DT_I32, 1, (int64_t[]){3}, box_cls, 0));
    EXPECT_OK(store_write_text(s, "label/cells/names", 3, 2, "p\0q\0r"));
    EXPECT_OK(store_put_str(s, "/label/cells", "kind", "detection"));
    EXPECT_OK(store_put_i64(s, "/label/cells", "n_classes", 2));
    EXPECT_OK(store_commit(s));
    EXPECT_STATUS(run(cmd_verify, "verify", at("values"), NULL), ST_DATA);
    static const char *const want[] = {
        ": b: label kind: class 5 of 2", ": d: label kind: class -1 of 2", ": c: size 8x9, the images have at most 8x8", ": b: intensity range 5 to 5",
        ": d: split 7", ": b: label cells: box 0 (2 2 2 6) is empty", ": d: label cells: box 0 (1 1 9 3)", ": b: label cells: box 0 has class 3 of 2",
        "label cells: 3 names for 2 classes", "no index.h5", "SHA256SUMS is missing"};
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) EXPECT(strstr(said, want[k]), "not listed: %s\n%s", want[k], said);
}

/* ---- contact sheets -------------------------------------------------------------------------------------------------------- */

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Decodes a PNG written by us: 1 or 3 channels, 8 or 16 bits, filters 0 to 2. NULL if anything is off. */
static uint8_t *decode(const uint8_t *file, size_t n, int *w, int *h, int *step)
{
    if (n < 60 || memcmp(file, "\x89PNG\r\n\x1a\n", 8)) return NULL;
    uint8_t *raw = NULL;
    uLongf n_raw = 0;
    const uint8_t *p = file + 8;
    for (; p + 12 <= file + n; p += 12 + be32(p)) {
        if (be32(p + 8 + be32(p)) != crc32(0, p + 4, be32(p) + 4)) return NULL;
        if (!memcmp(p + 4, "IHDR", 4)) {
            *w = (int)be32(p + 8), *h = (int)be32(p + 12), *step = (p[17] == 2 ? 3 : 1) * p[16] / 8;
            n_raw = (uLongf)*h * ((uLongf)*w * (uLongf)*step + 1);
            raw = malloc(n_raw);
        }
        if (!memcmp(p + 4, "IDAT", 4) && (!raw || uncompress(raw, &n_raw, p + 8, be32(p)) != Z_OK)) return NULL;
    }
    if (p != file + n) return NULL;
    size_t line = (size_t)*w * (size_t)*step;
    for (int y = 0; y < *h; y++) {
        uint8_t *row = raw + (size_t)y * (line + 1), *to = raw + (size_t)y * line;
        int kind = row[0];
        memmove(to, row + 1, line);
        for (size_t x = 0; x < line; x++)
            to[x] = (uint8_t)(to[x] + (kind == 1 && x >= (size_t)*step ? to[x - (size_t)*step] : kind == 2 && y ? to[x - line] : 0));
    }
    return raw;
}

static void png_holds_what_was_given(void)
{
    uint16_t deep[6 * 5];
    uint8_t colour[7 * 3 * 3], *file, *back;
    size_t n;
    int w, h, step;
    for (int i = 0; i < 30; i++) deep[i] = (uint16_t)(i * 2179);
    for (int i = 0; i < 63; i++) colour[i] = (uint8_t)(i * 37);
    EXPECT_OK(png_encode(6, 5, 1, 16, deep, &file, &n));
    back = decode(file, n, &w, &h, &step);
    EXPECT(back && w == 6 && h == 5 && step == 2, "16 bits");
    for (int i = 0; back && i < 30; i++) EXPECT(back[2 * i] << 8 == (deep[i] & 0xff00) && back[2 * i + 1] == (deep[i] & 0xff), "sample %d", i);
    free(file), free(back);
    EXPECT_OK(png_encode(7, 3, 3, 8, colour, &file, &n));
    back = decode(file, n, &w, &h, &step);
    EXPECT(back && step == 3 && memcmp(back, colour, sizeof colour) == 0, "colour");
    free(file), free(back);
}

/* A mask hides nothing of what it surrounds, pixels keep their proportions, and names of boxes do not cover each other. */
static void a_thumbnail_is_for_looking(void)
{
    canvas c;
    rgb8 ground = {10, 20, 30}, line = canvas_colour(3);
    uint8_t mask[64] = {0};
    for (int y = 2; y < 7; y++)
        for (int x = 1; x < 6; x++) mask[8 * y + x] = 1;
    EXPECT_OK(canvas_init(&c, 8, 8, ground));
    thumb_mask(&c, mask, &(thumb){0, 0, 8, 8, 8, 8}, 3);
    int n_line = 0, n_ground = 0;
    for (int i = 0; i < 64; i++) {
        n_line += memcmp(c.px + 3 * i, &line, 3) == 0;
        n_ground += memcmp(c.px + 3 * i, &ground, 3) == 0;
    }
    EXPECT(n_line == 16 && n_ground == 48, "%d pixels of outline, %d untouched", n_line, n_ground);
    canvas_free(&c);
    thumb t = {.H = 40, .W = 100};
    thumb_fit(&t, 200, (float[]){5, 1}); /* slices 5 mm apart, 1 mm pixels: 200 x 100 mm */
    EXPECT(t.h == 200 && t.w == 100, "%d x %d", t.w, t.h);
    thumb_fit(&t, 200, (float[]){NAN, NAN});
    EXPECT(t.h == 80 && t.w == 200, "%d x %d", t.w, t.h);
}

static void a_sheet_shows_images_masks_and_names(void)
{
    const char *png = at("sheet.png");
    EXPECT_OK(run(cmd_inspect, "inspect", at("data/shards/synth-ct"), "--png", png, "--n", "10", "--cols", "5", "--tile", "100", "--split", "train", NULL));
    char *file;
    size_t n;
    int w = 0, h = 0, step = 0;
    EXPECT_OK(file_read_all(png, 1 << 26, &file, &n));
    uint8_t *px = decode((uint8_t *)file, n, &w, &h, &step);
    EXPECT(px && w == 2 * 16 + 5 * 100 + 4 * 10 && step == 3, "%d wide", w);
    EXPECT(h > 2 * 100 + 60 && h < 2 * 100 + 240, "%d high", h);
    int count[5] = {0};
    rgb8 nodule = canvas_colour(0), benign = canvas_colour(1), malign = canvas_colour(2);
    for (int i = 0; px && i < w * h; i++) {
        const uint8_t *p = px + 3 * i;
        count[0] += p[0] == nodule.r && p[1] == nodule.g && p[2] == nodule.b;
        count[1] += p[0] == benign.r && p[1] == benign.g && p[2] == benign.b;
        count[2] += p[0] == malign.r && p[1] == malign.g && p[2] == malign.b;
        count[3] += p[0] == p[1] && p[1] == p[2] && p[0] > 60; /* grey: tissue */
        count[4] += p[0] == 236 && p[1] == 238;                /* letters of the title */
    }
    EXPECT(count[0] > 100 && count[1] > 60 && count[2] > 60 && count[3] > 10000 && count[4] > 100, "outline %d, names %d and %d, tissue %d, title %d",
           count[0], count[1], count[2], count[3], count[4]);
    free(px), free(file);
}

static void a_sheet_of_every_kind_of_label(void)
{
    EXPECT_OK(run(cmd_inspect, "inspect", at("clean"), "--png", at("kinds.png"), NULL));
    EXPECT_OK(run(cmd_inspect, "inspect", at("clean/clean-00000.h5"), "--png", at("kinds.png"), "--label", "v-detection", "--n", "3", "--tile", "48", NULL));
    EXPECT_STATUS(run(cmd_inspect, "inspect", at("clean"), "--png", at("kinds.png"), "--label", "v-detecton", NULL), ST_USAGE);
    EXPECT(strstr(status_message(), "v-detection"), "%s", status_message());
}

static void command_lines(void)
{
    EXPECT_STATUS(run(cmd_synth, "synth", NULL), ST_USAGE);
    EXPECT_STATUS(run(cmd_synth, "synth", "--out", at("x"), "--only", "synth-mri", NULL), ST_USAGE);
    EXPECT(strstr(status_message(), "did you mean \"synth-mr\""), "%s", status_message());
    EXPECT_STATUS(run(cmd_synth, "synth", "--out", at("x"), "--size", "huge", NULL), ST_USAGE);
    EXPECT_STATUS(run(cmd_synth, "synth", "--out", at("x"), "--seed", "-1", NULL), ST_USAGE);
    EXPECT_STATUS(run(cmd_inspect, "inspect", at("clean"), NULL), ST_USAGE);
    EXPECT_STATUS(run(cmd_inspect, "inspect", at("clean"), "--png", at("k.png"), "--n", "0", NULL), ST_USAGE);
    EXPECT_STATUS(run(cmd_verify, "verify", at("nowhere"), NULL), ST_DATA);
    EXPECT_STATUS(run(cmd_info, "info", at("said"), NULL), ST_DATA); /* a file, but no shard */
    EXPECT_OK(run(cmd_verify, "verify", "--help", NULL));
    EXPECT(strstr(said, "usage: medley-data verify DIR|FILE"), "%s", said);
}

int main(void)
{
    snprintf(root, sizeof root, "/tmp/medley-synth-XXXXXX");
    if (!mkdtemp(root)) return 1;
    RUN(a_seed_makes_the_same_files);
    RUN(a_set_converts_and_verifies_clean);
    RUN(force_replaces_only_our_own_folder);
    RUN(no_fault);
    RUN(leaks_are_found);
    RUN(a_flipped_bit_is_found);
    RUN(damage_inside_is_named_by_object);
    RUN(values_out_of_range_are_listed);
    RUN(png_holds_what_was_given);
    RUN(a_thumbnail_is_for_looking);
    RUN(a_sheet_shows_images_masks_and_names);
    RUN(a_sheet_of_every_kind_of_label);
    RUN(command_lines);
    nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    DONE();
}
