/* source_how: how the files of a data set were read, by its index, and what the command line says over it. */
#include "medley/use.h"

#include "sources.h"

#include <math.h>
#include <string.h>

/* The first shard with samples. */
static status open_first(const catalogue *c, shard *s)
{
    int k = 0;
    char path[700];
    while (k < c->n_shards && c->n[k] == 0) k++;
    CHECK(k < c->n_shards, ST_DATA, "%s: no samples", c->dir);
    TRY(path_inside(c->dir, c->file[k], path, sizeof path), "data set");
    return shard_open(s, path);
}

/* ---- intensities ------------------------------------------------------------------------------------------------------------------------ */

/* --range dtype, window:LO:HI, percentile:LO:HI */
static status take_range(const char *text, shard_reading *r)
{
    double lo = 0, hi = 100;
    int end = 0;
    char rule[12] = "";
    bool plain = strcmp(text, "dtype") == 0;
    bool good = plain || (sscanf(text, "%11[a-z]:%lf:%lf%n", rule, &lo, &hi, &end) == 3 && !text[end] && lo < hi &&
                          (strcmp(rule, "window") == 0 || (strcmp(rule, "percentile") == 0 && lo >= 0 && hi <= 100)));
    CHECK(good, ST_USAGE, "--range: got \"%.40s\", expected dtype, window:LO:HI or percentile:LO:HI", text);
    snprintf(r->rule, sizeof r->rule, "%s", plain ? "dtype" : rule);
    r->lo = lo, r->hi = hi;
    return OK;
}

/* Shards that do not say how files were read: one range for all their samples is a window. */
static status guess_range(const catalogue *c, shard_reading *r)
{
    shard s;
    TRY(open_first(c, &s), "data set");
    bool same = true;
    for (int64_t i = 1; i < s.n; i++) same &= s.range[2 * i] == s.range[0] && s.range[2 * i + 1] == s.range[1];
    snprintf(r->rule, sizeof r->rule, "window");
    r->lo = (double)s.range[0], r->hi = (double)s.range[1];
    shard_close(&s);
    CHECK(same, ST_DATA, "%s does not say how the intensities of files become its ranges, which differ; --range can", c->dir);
    log_line(LOG_WARN, "%s does not say how files were read; taken as its samples are: %g to %g become 0 and 1, volumes are cut axially", c->dir,
             r->lo, r->hi);
    return OK;
}

/* ---- slides ------------------------------------------------------------------------------------------------------------------------- */

/* Images that were no tiles of slides, but are measured in um, all alike; 0: they are not, or are not here. */
static double guess_mpp(const catalogue *c)
{
    shard s;
    if (strcmp(c->meta.spacing_units, "um")) return 0;
    if (open_first(c, &s)) {
        status_clear(); /* the index alone may be here */
        return 0;
    }
    double mpp = (double)s.spacing[0];
    for (int64_t i = 0; i < 2 * s.n; i++)
        if (!(fabs((double)s.spacing[i] - mpp) <= 0.01 * mpp)) mpp = 0;
    shard_close(&s);
    return mpp;
}

static status take_tiles(tile_ask *t, const catalogue *c, const source_ask *ask, int H, int W, double spacing)
{
    const shard_reading *r = &c->meta.reading;
    double slide_mpp = 0;
    *t = (tile_ask){.mpp = r->mpp > 0 ? r->mpp : ask->mpp ? 0 : guess_mpp(c), .spacing = {r->spacing_y, r->spacing_x}, .tissue = r->mpp > 0 ? r->tissue : 0.5, .side = r->tile};
    TRY(use_number("--mpp", ask->mpp, 0.01, 1000, &t->mpp), "slides");
    TRY(use_number("--tissue", ask->tissue, 0, 1, &t->tissue), "slides");
    TRY(use_number("--slide-mpp", ask->slide_mpp, 0.01, 1000, &slide_mpp), "slides");
    if (slide_mpp > 0) t->spacing[0] = t->spacing[1] = slide_mpp;
    if (ask->tile) t->side = (int)ask->tile;
    if (t->side == 0 && t->mpp > 0) t->side = (int)fmin(8192, fmax(16, rint((H > W ? H : W) * (spacing > 0 ? spacing / t->mpp : 1))));
    return OK;
}

/* ---- both ------------------------------------------------------------------------------------------------------------------------------- */

status source_how_of(source_how *how, const catalogue *c, const source_ask *ask, int H, int W, double spacing)
{
    memset(how, 0, sizeof *how); /* it is sent as bytes */
    how->image = (image_rules){.pixel = c->meta.pixel, .any_type = true, .channels = c->meta.channels, .as = c->meta.reading};
    if (ask->range) TRY(take_range(ask->range, &how->image.as), "reading");
    else if (!how->image.as.rule[0]) TRY(guess_range(c, &how->image.as), "reading");
    return take_tiles(&how->tiles, c, ask, H, W, spacing);
}
