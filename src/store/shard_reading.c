/* shard_reading: how source files became samples, as attributes of a shard and its index, so that other files can be seen the same way. */
#include "store_internal.h"

#include <math.h>
#include <string.h>

static const char *const rules[] = {"dtype", "window", "percentile"};
enum { SIDE_MOST = 65535 };

/* One table for writing and reading; a number outside of lo..hi makes the file a bad one. */
static const struct { const char *key; size_t offset; double lo, hi; } reals[] = {
#define REAL(field, lo, hi) {"reading_" #field, offsetof(shard_reading, field), lo, hi}
    REAL(lo, -1e30, 1e30), REAL(hi, -1e30, 1e30), REAL(spacing_y, 0, 1e6), REAL(spacing_x, 0, 1e6), REAL(mpp, 0, 1e3),
    REAL(tissue, 0, 1)};
static const double tissue_before = 0.5; /* what recipes had unless they said otherwise, of shards that do not tell */
static const struct { const char *key; size_t offset; int lo, hi; } whole[] = {
#define WHOLE(key, field, lo, hi) {"reading_" key, offsetof(shard_reading, field), lo, hi}
    WHOLE("axis", axis, 0, 2), WHOLE("max_side", max_side, 0, SIDE_MOST), WHOLE("tile", tile, 0, SIDE_MOST), WHOLE("frames", n_frames, 0, 3),
    WHOLE("frame_0", frame[0], 0, SIDE_MOST), WHOLE("frame_1", frame[1], 0, SIDE_MOST), WHOLE("frame_2", frame[2], 0, SIDE_MOST)};

status reading_write(store *s, const shard_reading *r)
{
    if (!r->rule[0]) return OK;
    TRY(store_put_str(s, "/", "reading_rule", r->rule), "header");
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        TRY(store_put_f64(s, "/", reals[i].key, *(const double *)((const char *)r + reals[i].offset)), "header");
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        TRY(store_put_i64(s, "/", whole[i].key, *(const int *)((const char *)r + whole[i].offset)), "header");
    return OK;
}

status reading_check(const shard_reading *r, const char *what)
{
    bool known = false;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) known |= strcmp(r->rule, rules[i]) == 0;
    CHECK(known, ST_DATA, "%s: reading_rule is \"%s\"", what, r->rule);
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        double v = *(const double *)((const char *)r + reals[i].offset);
        CHECK(v >= reals[i].lo && v <= reals[i].hi, ST_DATA, "%s: %s is %g", what, reals[i].key, v);
    }
    CHECK(strcmp(r->rule, "percentile") != 0 || (r->lo >= 0 && r->hi <= 100), ST_DATA, "%s: percentiles %g and %g", what, r->lo, r->hi);
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        int v = *(const int *)((const char *)r + whole[i].offset);
        CHECK(v >= whole[i].lo && v <= whole[i].hi, ST_DATA, "%s: %s is %d", what, whole[i].key, v);
    }
    return OK;
}

status reading_read(store *s, shard_reading *r)
{
    *r = (shard_reading){0};
    if (!store_has_attr(s, "reading_rule")) return OK; /* not converted from files, or by an older program */
    TRY(store_get_str(s, "/", "reading_rule", r->rule, sizeof r->rule), "reading");
    r->tissue = tissue_before;
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (reals[i].offset != offsetof(shard_reading, tissue) || store_has_attr(s, reals[i].key))
            TRY(store_get_f64(s, "/", reals[i].key, (double *)(void *)((char *)r + reals[i].offset)), "reading");
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        int64_t v;
        TRY(store_get_i64(s, "/", whole[i].key, &v), "reading");
        CHECK(v >= whole[i].lo && v <= whole[i].hi, ST_DATA, "%s: %s is %lld", s->path, whole[i].key, (long long)v);
        *(int *)(void *)((char *)r + whole[i].offset) = (int)v;
    }
    return reading_check(r, s->path);
}
