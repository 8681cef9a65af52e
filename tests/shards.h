/* shards: small data sets made on the spot for tests of store and data: noise images of varying size, every kind of label. */
#ifndef MEDLEY_TEST_SHARDS_H
#define MEDLEY_TEST_SHARDS_H

#include "medley/store.h"

#include <math.h>
#include <string.h>

enum { SHARDS_LABELS = N_TASK_KINDS, SHARDS_CLASSES = 3, SHARDS_SIDE = 40 };

typedef struct made {
    sample s;
    float pixels[SHARDS_SIDE * SHARDS_SIDE * 3];
    uint8_t mask[SHARDS_SIDE * SHARDS_SIDE], vec[SHARDS_CLASSES];
    float box[5 * 4];
    int32_t box_cls[5];
} made;

static char shards_class_name[SHARDS_CLASSES][64] = {"background", "cell", "nuclei\xc3\xa4"};

static inline shard_meta shards_meta(const char *name, enum dtype pixel, int channels)
{
    shard_meta m = {.pixel = pixel, .channels = channels, .n_labels = SHARDS_LABELS};
    snprintf(m.name, sizeof m.name, "%s", name);
    snprintf(m.title, sizeof m.title, "Noise"), snprintf(m.modality, sizeof m.modality, "microscopy"),
        snprintf(m.licence, sizeof m.licence, "CC0");
    snprintf(m.citation, sizeof m.citation, "none"), snprintf(m.origin, sizeof m.origin, "tests/shards.h");
    snprintf(m.spacing_units, sizeof m.spacing_units, "um"), memset(m.recipe_sha256, 'a', 64);
    for (int l = 0; l < SHARDS_LABELS; l++) {
        snprintf(m.label[l].name, sizeof m.label[l].name, "%c-%s", 'z' - l, task_kind_name[l]); /* name order is not the order given */
        m.label[l].kind = (enum task_kind)l, m.label[l].n_classes = l == TASK_REGRESSION ? 1 : SHARDS_CLASSES;
        m.label[l].class_name = shards_class_name, m.label[l].lo = -1, m.label[l].hi = 1;
    }
    return m;
}

/* Sample i; one in seven lacks its labels. */
static inline void shards_sample(made *m, uint32_t i, enum dtype pixel, int channels)
{
    rng r = rng_open((rng_key){7, i, (uint32_t)pixel}, RNG_TEST, 0);
    memset(m, 0, sizeof *m);
    sample *s = &m->s;
    s->H = 9 + (int)rng_below(&r, SHARDS_SIDE - 8), s->W = 9 + (int)rng_below(&r, SHARDS_SIDE - 8);
    for (int k = 0; k < s->H * s->W * channels; k++) {
        float v = 1000 * rng_uniform(&r);
        if (pixel == DT_F32) m->pixels[k] = v - 500;
        if (pixel == DT_I16) ((int16_t *)(void *)m->pixels)[k] = (int16_t)(v - 500);
        if (pixel == DT_U16) ((uint16_t *)(void *)m->pixels)[k] = (uint16_t)v;
        if (pixel == DT_U8) ((uint8_t *)(void *)m->pixels)[k] = (uint8_t)(v / 4);
    }
    snprintf(s->id, sizeof s->id, "sample-%u", i), snprintf(s->subject, sizeof s->subject, "subject-%u", i / 3);
    snprintf(s->case_id, sizeof s->case_id, "case-%u", i / 2), snprintf(s->source, sizeof s->source, "noise %u", i);
    memset(s->source_sha256, 'b', 64);
    s->slice = (int)i, s->range[0] = -500, s->range[1] = 500, s->spacing[0] = 0.5f, s->spacing[1] = NAN;
    s->split = i % 5 == 3 ? SPLIT_VAL : i % 5 == 4 ? SPLIT_TEST : SPLIT_TRAIN;
    s->pixels = m->pixels;
    for (int k = 0; k < s->H * s->W; k++) m->mask[k] = rng_below(&r, 8) == 0 ? IGNORE_MASK : (uint8_t)rng_below(&r, SHARDS_CLASSES);
    for (int k = 0; k < SHARDS_CLASSES; k++) m->vec[k] = rng_below(&r, 5) == 0 ? 255 : (uint8_t)rng_below(&r, 2);
    int n_box = (int)rng_below(&r, 6);
    for (int k = 0; k < n_box; k++) {
        float x = (float)(s->W - 6) * rng_uniform(&r), y = (float)(s->H - 6) * rng_uniform(&r);
        float box[4] = {x, y, x + 2.5f + 3 * rng_uniform(&r), y + 2.5f + 3 * rng_uniform(&r)};
        memcpy(m->box + 4 * k, box, sizeof box);
        m->box_cls[k] = (int32_t)rng_below(&r, SHARDS_CLASSES);
    }
    for (int l = 0; l < SHARDS_LABELS; l++)
        s->label[l] = (sample_label){.present = i % 7 != 6,
                                     .cls = (int32_t)(i * i % SHARDS_CLASSES),
                                     .vec = m->vec,
                                     .scalar = rng_uniform(&r),
                                     .mask = m->mask,
                                     .n_box = n_box,
                                     .box = m->box,
                                     .box_cls = m->box_cls};
}

static inline status shards_make(const char *dir, const char *name, enum dtype pixel, int channels, int n, int64_t shard_bytes)
{
    static made m;
    shard_meta meta = shards_meta(name, pixel, channels);
    shard_writer *w;
    TRY(shard_writer_open(&w, dir, &meta, shard_bytes, true), "test data");
    for (int i = 0; i < n; i++) {
        shards_sample(&m, (uint32_t)i, pixel, channels);
        status st = shard_writer_add(w, &m.s);
        if (st) {
            shard_writer_discard(w);
            return st;
        }
    }
    return shard_writer_close(w);
}

#endif
