/* case: loads one source image: pixels in the recipe's type, channels and plane, intensity range, labels, and the slices that count. */
#include "case.h"

#include "readers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- intensity range ------------------------------------------------------------------------------------------------------- */

/* How many voxels have each value of an integer type, or of a float the upper half of its bits, made to rise with the value. */
static uint32_t order_of(float v)
{
    uint32_t u;
    memcpy(&u, &v, 4);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

static float value_of(uint32_t order)
{
    uint32_t u = order & 0x80000000u ? order & 0x7fffffffu : ~order;
    float v;
    memcpy(&v, &u, 4);
    return v;
}

/* Two tables in turn, for neighbours are often equal and would wait for each other. count: (2,65536). */
static void count_values(const image *m, uint64_t *count)
{
    size_t n = image_count(m);
    uint64_t *other = count + 65536;
#define COUNT(type, bin)                                                                            \
    do {                                                                                            \
        const type *p = m->data;                                                                    \
        for (size_t i = 0; i + 1 < n; i += 2) count[bin(p[i])]++, other[bin(p[i + 1])]++;           \
        if (n & 1) count[bin(p[n - 1])]++;                                                          \
    } while (0)
#define PLAIN(v) (v)
#define SHIFTED(v) ((v) + 32768)
#define UPPER(v) (order_of(v) >> 16)
    switch (m->type) {
    case DT_U8: COUNT(uint8_t, PLAIN); break;
    case DT_U16: COUNT(uint16_t, PLAIN); break;
    case DT_I16: COUNT(int16_t, SHIFTED); break;
    default: COUNT(float, UPPER); break;
    }
#undef COUNT
#undef PLAIN
#undef SHIFTED
#undef UPPER
    for (size_t k = 0; k < 65536; k++) count[k] += other[k];
}

/* The value with `rank` smaller or equal ones before it. count: of count_values; low: room for (65536). */
static double ranked(const image *m, size_t rank, const uint64_t *count, uint64_t *low)
{
    uint32_t bin = 0, high;
    for (; rank >= count[bin]; bin++) rank -= count[bin];
    if (m->type != DT_F32) return (double)bin - (m->type == DT_I16 ? 32768 : 0);
    high = bin;
    memset(low, 0, 65536 * sizeof *low);
    const float *p = m->data;
    for (size_t i = 0, n = image_count(m); i < n; i++) {
        uint32_t u = order_of(p[i]);
        if (u >> 16 == high) low[u & 65535]++;
    }
    for (bin = 0; rank >= low[bin]; bin++) rank -= low[bin];
    return (double)value_of(high << 16 | bin);
}

static double percentile(const image *m, double p, const uint64_t *count, uint64_t *low)
{
    double at = p / 100 * (double)(image_count(m) - 1), below = floor(at);
    double a = ranked(m, (size_t)below, count, low);
    return at > below ? a + (at - below) * (ranked(m, (size_t)below + 1, count, low) - a) : a;
}

static status find_range(one_case *c, const recipe *r, enum dtype file_type)
{
    double lo = r->range.lo, hi = r->range.hi;
    if (!strcmp(r->range.rule, "dtype")) {
        lo = file_type == DT_I16 ? -32768 : 0;
        hi = file_type == DT_U8 ? 255 : file_type == DT_U16 ? 65535 : 32767;
        CHECK(file_type != DT_F32, ST_DATA, "range.rule \"dtype\" says nothing about float images");
    } else if (!strcmp(r->range.rule, "percentile")) {
        uint64_t *count;
        TRY(mem_alloc(&count, 3 * 65536 * sizeof *count, "a histogram"), "range");
        count_values(&c->px, count);
        lo = percentile(&c->px, r->range.lo, count, count + 2 * 65536);
        hi = percentile(&c->px, r->range.hi, count, count + 2 * 65536);
        free(count);
    }
    c->range[0] = (float)lo;
    c->range[1] = (float)hi;
    /* An image of one value maps to 0; the step is one that float32 can tell at this magnitude. */
    if (!(c->range[1] > c->range[0])) c->range[1] = c->range[0] + fmaxf(1, fabsf(c->range[0]) * 1e-3f);
    return OK;
}

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

static status load(one_case *c, const source *s, const names *n, const place *at)
{
    const recipe *r = s->r;
    const char *path = at->path;
    if (at->in) TRY(many_read(at->in, at->part, &c->px), "image");
    else TRY(image_read_frames(&c->px, path, USE_PIXELS, &r->images.frames), "image");
    enum dtype file_type = c->px.type;
    TRY(image_to_channels(&c->px, r->images.channels), "%s", path);
    TRY(image_to_type(&c->px, r->pixel), "%s", path);
    TRY(find_range(c, r, file_type), "%s", path);
    image_hash(&c->px, c->pixel_hash);
    for (int i = 0; i < 2; i++)
        if (!isfinite(c->px.spacing[1 + i]) && r->images.spacing[i] > 0) c->px.spacing[1 + i] = r->images.spacing[i];
    image shape = c->px; /* labels are checked against the image as it is in the file */
    shape.data = NULL;
    if (c->px.is_volume) TRY(image_across(&c->px, r->axis), "%s", path);
    TRY(image_shrink(&c->px, r->images.max_side, false), "%s", path);
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
