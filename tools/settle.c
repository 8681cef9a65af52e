/* settle: from an image as it was read to one as a shard stores it: channels, type, intensity range, plane, size. What converts and what
 * predicts both come through here, so that a network sees the same of the same file. */
#include "image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- values in their order ---------------------------------------------------------------------------------------------------- */

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

/* ---- intensity range ---------------------------------------------------------------------------------------------------------- */

static status find_range(const image *m, const shard_reading *r, enum dtype file_type, float range[2])
{
    double lo = r->lo, hi = r->hi;
    if (!strcmp(r->rule, "dtype")) {
        lo = file_type == DT_I16 ? -32768 : 0;
        hi = file_type == DT_U8 ? 255 : file_type == DT_U16 ? 65535 : 32767;
        CHECK(file_type != DT_F32, ST_DATA, "range.rule \"dtype\" says nothing about float images");
    } else if (!strcmp(r->rule, "percentile")) {
        uint64_t *count;
        TRY(mem_alloc(&count, 3 * 65536 * sizeof *count, "a histogram"), "range");
        count_values(m, count);
        lo = percentile(m, r->lo, count, count + 2 * 65536);
        hi = percentile(m, r->hi, count, count + 2 * 65536);
        free(count);
    }
    range[0] = (float)lo;
    range[1] = (float)hi;
    /* An image of one value maps to 0; the step is one that float32 can tell at this magnitude. */
    if (!(range[1] > range[0])) range[1] = range[0] + fmaxf(1, fabsf(range[0]) * 1e-3f);
    return OK;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------- */

status image_settle(image *m, const image_rules *r, float range[2])
{
    enum dtype file_type = m->type;
    const double spacing[2] = {r->as.spacing_y, r->as.spacing_x};
    status st = image_to_channels(m, r->channels);
    if (!st) st = image_to_type(m, r->pixel);
    if (st == ST_DATA && m->C == r->channels && r->any_type) {
        status_clear();
        st = image_to_type(m, DT_F32);
    }
    if (!st) st = find_range(m, &r->as, file_type, range);
    for (int i = 0; i < 2; i++)
        if (!isfinite(m->spacing[1 + i]) && spacing[i] > 0) m->spacing[1 + i] = spacing[i];
    return st;
}

status image_cut(image *m, const image_rules *r)
{
    if (m->is_volume) TRY(image_across(m, r->as.axis), "image");
    return image_shrink(m, r->as.max_side, false);
}
