/* case: loads one source image: pixels in the recipe's type, channels and plane, intensity range, labels, and the slices that count. */
#include "case.h"

#include "readers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- slices ---------------------------------------------------------------------------------------------------------------- */

static int64_t foreground(const image *mask, int plane)
{
    size_t n = (size_t)mask->H * (size_t)mask->W;
    const uint8_t *p = (const uint8_t *)mask->data + n * (size_t)plane;
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += p[i] != 0 && p[i] != IGNORE_MASK;
    return sum;
}

static void choose_slices(one_case *c, const recipe *r)
{
    const case_label *tell = c->px.is_volume && r->slice_label >= 0 ? &c->label[r->slice_label] : NULL;
    bool known = tell && tell->present && strcmp(r->slices.empty, "keep");
    int every = c->px.is_volume ? r->slices.every : 1, n_full = 0, n_empty = 0;
    for (int d = 0; known && d < c->px.D; d += every) *(foreground(&tell->mask, d) >= r->slices.min_foreground ? &n_full : &n_empty) += 1;
    int64_t keep = 0;
    if (known && !strcmp(r->slices.empty, "cap")) keep = (int64_t)floor(r->slices.empty_share * n_full + 0.5);
    if (keep > n_empty) keep = n_empty;
    int64_t seen = 0;
    for (int d = 0; d < c->px.D; d += every) {
        bool take = true;
        if (known && foreground(&tell->mask, d) < r->slices.min_foreground) {
            take = keep * (seen + 1) / n_empty > keep * seen / n_empty; /* evenly spread over the empty ones */
            seen++;
        }
        if (take) c->slice[c->n_slices++] = d;
    }
}

static void choose_labels(one_case *c, const recipe *r)
{
    for (int i = 0; i < r->n_labels; i++) {
        int area = recipe_label_find(r, r->label[i].where);
        const case_label *mask = *r->label[i].where && area >= 0 && c->px.is_volume ? &c->label[area] : NULL;
        int64_t fullest = 0;
        for (int d = 0; mask && mask->present && d < c->px.D; d++) {
            int64_t here = foreground(&mask->mask, d);
            if (here > fullest) fullest = here;
        }
        for (int s = 0; s < c->n_slices; s++) {
            bool has = c->label[i].present;
            if (mask) {
                double here = mask->present ? (double)foreground(&mask->mask, c->slice[s]) : 0;
                has = has && here > 0 && here >= r->label[i].where_share * (double)fullest;
            }
            c->has[s] |= (uint8_t)(has << i);
        }
    }
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------- */

/* A time of a file that lacks another one is not taken either: the file is not what the recipe speaks of. */
static status load_pixels(one_case *c, const recipe *r, const place *at)
{
    if (at->in) return many_read(at->in, at->part, &c->px);
    if (at->time < 0) return image_read_frames(&c->px, at->path, USE_PIXELS, &r->images.frames);
    TRY(image_read_frames(&c->px, at->path, USE_PIXELS, &(image_frames){1, {at->time}}), "time %d", at->time);
    for (int t = 0; t < r->images.n_times; t++)
        CHECK(r->images.times[t] < image_volumes(&c->px), ST_DATA, "%s: volume %d is asked for, the file has %d, counted from 0", at->path, r->images.times[t],
              image_volumes(&c->px));
    return OK;
}

static status load(one_case *c, const source *s, const names *n, const place *at)
{
    const recipe *r = s->r;
    const char *path = at->path;
    TRY(load_pixels(c, r, at), "image");
    const image_rules rules = recipe_rules(r);
    TRY(image_settle(&c->px, &rules, c->range), "%s", path);
    image_hash(&c->px, c->pixel_hash);
    image shape = c->px; /* labels are checked against the image as it is in the file */
    shape.data = NULL;
    TRY(image_cut(&c->px, &rules), "%s", path);
    TRY(labels_load(c, s, n, at, &shape), "labels");
    TRY(mem_alloc(&c->slice, (size_t)c->px.D * sizeof *c->slice, "slice numbers"), "%s", path);
    TRY(mem_alloc(&c->has, (size_t)c->px.D, "slice labels"), "%s", path);
    choose_slices(c, r);
    choose_labels(c, r);
    CHECK(c->n_slices > 0, ST_DATA, "%s: no slice is left by the rule slices.empty = \"%s\"", path, r->slices.empty);
    return OK;
}

status case_load(one_case *c, const source *s, const names *n, const place *at)
{
    *c = (one_case){0};
    status st = load(c, s, n, at);
    if (st) case_free(c);
    return st;
}

void case_free(one_case *c)
{
    image_free(&c->px);
    for (int i = 0; i < SHARD_MAX_LABELS; i++) {
        free(c->label[i].vec);
        image_free(&c->label[i].mask);
        free(c->label[i].box);
        free(c->label[i].box_cls);
    }
    free(c->slice);
    free(c->has);
    *c = (one_case){0};
}

size_t case_bytes(const one_case *c, const recipe *r)
{
    size_t n = image_bytes(&c->px);
    for (int i = 0; i < r->n_labels; i++)
        if (c->label[i].mask.data) n += image_bytes(&c->label[i].mask);
    return n;
}
