/* make_shards DIR [N [train] | KIND=TRAIN,VAL,TEST[,PER][:centres]...]: five tiny data sets, or those named, one per kind of label, for tests that train: 64x64 pictures of one bright disc.
 * class: quadrant of the disc; vector: left, top; scalar: radius; mask: the disc; box: around the disc, class by brightness.
 * Three of five samples are for training, or all of them; or the given numbers of each split, one after another in shards of 4 samples, so
 * that there are shards without a sample of a split; then PER samples (1) have one subject. centres: two samples a case, two cases a subject, from three centres in turn, with a spacing. */
#include "medley/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 64 };

typedef struct disc { float x, y, r; int bright; } disc;

static disc draw(uint8_t *pixels, uint8_t *mask, uint32_t i, int kind)
{
    rng r = rng_open((rng_key){99, i, (uint32_t)kind}, RNG_TEST, 0);
    disc d = {14 + 36 * rng_uniform(&r), 14 + 36 * rng_uniform(&r), 5 + 8 * rng_uniform(&r), (int)rng_below(&r, 2)};
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            bool in = hypotf((float)x + 0.5f - d.x, (float)y + 0.5f - d.y) < d.r;
            float v = (in ? (d.bright ? 220.0f : 140.0f) : 60.0f) + 12 * rng_normal(&r);
            pixels[y * SIDE + x] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            mask[y * SIDE + x] = in;
        }
    return d;
}

static const char *const names[] = {"quadrant", "sides", "radius", "disc", "discs"};

/* count: samples of each split, then samples of a subject; NULL: n in all */
static status make(const char *dir, int kind, int n, bool all_train, const int *count, bool centres)
{
    static char class_name[4][64] = {"a", "b", "c", "d"};
    static const int classes[] = {4, 2, 1, 2, 2};
    shard_meta meta = {.pixel = DT_U8, .channels = 1, .n_labels = 1};
    snprintf(meta.name, sizeof meta.name, "tiny-%s", names[kind]);
    strcpy(meta.title, "discs"), strcpy(meta.modality, "microscopy"), strcpy(meta.licence, "CC0"), strcpy(meta.citation, "-");
    strcpy(meta.origin, "tests/mpi/make_shards.c"), strcpy(meta.spacing_units, centres ? "mm" : ""), memset(meta.recipe_sha256, '0', 64);
    shard_label *l = &meta.label[0];
    snprintf(l->name, sizeof l->name, "%s", names[kind]);
    l->kind = (enum task_kind)kind, l->n_classes = classes[kind], l->class_name = class_name, l->lo = 5, l->hi = 13;
    shard_writer *w;
    TRY(shard_writer_open(&w, dir, &meta, count ? 4 * SIDE * SIDE : 1 << 20, true), "%s", meta.name);
    if (count) n = count[0] + count[1] + count[2];
    for (int i = 0; i < n; i++) {
        static uint8_t pixels[SIDE * SIDE], mask[SIDE * SIDE], vec[2];
        disc d = draw(pixels, mask, (uint32_t)i, kind);
        float box[4] = {d.x - d.r, d.y - d.r, d.x + d.r, d.y + d.r};
        int32_t box_class = d.bright;
        vec[0] = d.x < 32, vec[1] = d.y < 32;
        sample s = {.slice = -1, .H = SIDE, .W = SIDE, .range = {0, 255}, .spacing = {NAN, NAN}, .pixels = pixels};
        s.split = all_train ? SPLIT_TRAIN : i % 5 == 3 ? SPLIT_VAL : i % 5 == 4 ? SPLIT_TEST : SPLIT_TRAIN;
        if (count) s.split = i < count[0] ? SPLIT_TRAIN : i < count[0] + count[1] ? SPLIT_VAL : SPLIT_TEST;
        snprintf(s.id, sizeof s.id, "%d", i), snprintf(s.subject, sizeof s.subject, "s%d", count ? i / count[3] : i), snprintf(s.case_id, sizeof s.case_id, "c%d", i);
        if (centres) {
            static const char *const centre[] = {"north", "south", "east, \"old\""};
            snprintf(s.subject, sizeof s.subject, "s%d", i / 4), snprintf(s.case_id, sizeof s.case_id, "c%d", i / 2);
            snprintf(s.centre, sizeof s.centre, "%s", centre[i / 4 % 3]), s.spacing[0] = 0.5f, s.spacing[1] = 0.75f, s.slice = i % 2;
        }
        snprintf(s.source, sizeof s.source, "disc %d", i), memset(s.source_sha256, '0', 64);
        s.label[0] = (sample_label){.present = true, .cls = (d.x < 32) + 2 * (d.y < 32), .vec = vec, .scalar = d.r, .mask = mask, .n_box = 1,
                                    .box = box, .box_cls = &box_class};
        status st = shard_writer_add(w, &s);
        if (st) {
            shard_writer_discard(w);
            return st;
        }
    }
    return shard_writer_close(w);
}

static status make_named(const char *dir, const char *spec)
{
    for (int kind = 0; kind < N_TASK_KINDS; kind++) {
        int count[4] = {0, 0, 0, 1};
        size_t n = strlen(names[kind]);
        if (strncmp(spec, names[kind], n) == 0 && sscanf(spec + n, "=%d,%d,%d,%d", &count[0], &count[1], &count[2], &count[3]) >= 3 && count[3] > 0)
            return make(dir, kind, 0, false, count, strstr(spec, ":centres") != NULL);
    }
    return status_raise(ST_USAGE, __FILE__, __LINE__, "%s: KIND=TRAIN,VAL,TEST[,PER] is wanted", spec);
}

int main(int argc, char **argv)
{
    bool named = argc > 2 && strchr(argv[2], '=');
    int n = argc > 2 ? atoi(argv[2]) : 40;
    status st = argc > 1 ? path_make_dirs(argv[1]) : ST_USAGE;
    for (int i = 2; !st && named && i < argc; i++) st = make_named(argv[1], argv[i]);
    for (int kind = 0; !st && !named && kind < N_TASK_KINDS; kind++) st = make(argv[1], kind, n, argc > 3, NULL, false);
    if (st) fprintf(stderr, "make_shards: %s\n", status_message());
    return (int)st;
}
