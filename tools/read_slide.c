/* read_slide: whole slides through OpenSlide, in windows at any scale: from the nearest finer level, averaged over areas. A window is read in
 * strips, so that memory depends on neither the slide nor the scale. */
#include "tiles.h"

#include "medley_build.h"

#ifdef HAVE_OPENSLIDE
#include <math.h>
#include <openslide.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS_MOST = 64 };
#define STRIP_BYTES ((size_t)16 << 20)
#define COARSER 1.01 /* a level is still the wanted one if it is coarser by so little: levels are rounded to whole pixels */

struct slide_file {
    openslide_t *open;
    char    what[1024];
    int     n_levels;
    double  down[LEVELS_MOST];
    uint8_t back[3];           /* colour where the slide has no pixels */
};

static double property(openslide_t *o, const char *name)
{
    const char *text = openslide_get_property_value(o, name);
    char *end;
    double v = text ? strtod(text, &end) : NAN;
    return text && end != text && isfinite(v) ? v : NAN;
}

/* Also after each read: an error stays. */
static status no_error(const slide_file *f)
{
    const char *why = openslide_get_error(f->open);
    CHECK(!why, ST_DATA, "%s: %s", f->what, why);
    return OK;
}

static status facts(slide_file *f, slide_facts *out)
{
    openslide_t *o = f->open;
    openslide_get_level0_dimensions(o, &out->W, &out->H);
    TRY(no_error(f), "slide");
    CHECK(out->W > 0 && out->H > 0 && out->W <= INT32_MAX && out->H <= INT32_MAX, ST_DATA, "%s: a slide of %lld x %lld pixels", f->what, (long long)out->W,
          (long long)out->H);
    f->n_levels = openslide_get_level_count(o);
    CHECK(f->n_levels >= 1 && f->n_levels <= LEVELS_MOST, ST_DATA, "%s: %d levels", f->what, f->n_levels);
    for (int i = 0; i < f->n_levels; i++) {
        f->down[i] = openslide_get_level_downsample(o, i);
        CHECK(f->down[i] >= 1 && f->down[i] < 1e6, ST_DATA, "%s: level %d is smaller by %g", f->what, i, f->down[i]);
    }
    out->mpp[0] = property(o, OPENSLIDE_PROPERTY_NAME_MPP_X), out->mpp[1] = property(o, OPENSLIDE_PROPERTY_NAME_MPP_Y);
    double x = property(o, OPENSLIDE_PROPERTY_NAME_BOUNDS_X), y = property(o, OPENSLIDE_PROPERTY_NAME_BOUNDS_Y);
    double w = property(o, OPENSLIDE_PROPERTY_NAME_BOUNDS_WIDTH), h = property(o, OPENSLIDE_PROPERTY_NAME_BOUNDS_HEIGHT);
    bool bounds = x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= (double)out->W && y + h <= (double)out->H;
    out->x = bounds ? (int64_t)x : 0, out->y = bounds ? (int64_t)y : 0;
    if (bounds) out->W = (int64_t)w, out->H = (int64_t)h;
    const char *back = openslide_get_property_value(o, OPENSLIDE_PROPERTY_NAME_BACKGROUND_COLOR);
    unsigned long colour = back && strlen(back) == 6 ? strtoul(back, NULL, 16) : 0xffffff;
    for (int c = 0; c < 3; c++) f->back[c] = (uint8_t)(colour >> (16 - 8 * c));
    return OK;
}

status slide_file_open(slide_file **out, const char *path, slide_facts *about)
{
    slide_file *f;
    *out = NULL;
    *about = (slide_facts){0};
    TRY(mem_alloc(&f, sizeof *f, "a slide"), "%s", path);
    snprintf(f->what, sizeof f->what, "%s", path);
    f->open = openslide_open(path);
    status st = OK;
    CHECK_TO(bad, f->open, ST_DATA, "%s: no slide that OpenSlide reads", path);
    TRY_TO(bad, no_error(f), "slide");
    TRY_TO(bad, facts(f, about), "slide");
    *out = f;
    return OK;
bad:
    slide_file_close(f);
    return st;
}

enum slide_kind slide_file_kind(const char *path)
{
    const char *vendor = openslide_detect_vendor(path);
    return !vendor ? SLIDE_NO : strcmp(vendor, "generic-tiff") == 0 ? SLIDE_MAYBE : SLIDE_YES;
}

void slide_file_close(slide_file *f)
{
    if (f && f->open) openslide_close(f->open);
    free(f);
}

/* Adds `weight` times the means of n stretches of a row (w pixels, premultiplied ARGB) to sum (n,3); stretch i is [from + i step, from + (i + 1) step). */
static void add_row(const slide_file *f, const uint32_t *row, int64_t w, double from, double step, int n, double weight, double *sum)
{
    for (int i = 0; i < n; i++) {
        double a = from + i * step, b = a + step, mean[3] = {0};
        for (int64_t x = (int64_t)a; x < w && (double)x < b; x++) {
            double share = (fmin((double)x + 1, b) - fmax((double)x, a)) / step;
            uint32_t p = row[x], clear = 255 - (p >> 24);
            for (int c = 0; c < 3; c++) mean[c] += share * ((double)(p >> (16 - 8 * c) & 255) + clear * f->back[c] / 255.0);
        }
        for (int c = 0; c < 3; c++) sum[3 * i + c] += weight * mean[c];
    }
}

status slide_file_window(slide_file *f, double x, double y, const double scale[2], int n, uint8_t *rgb)
{
    int level = 0;
    double finest = fmin(scale[0], scale[1]);
    for (int i = 1; i < f->n_levels; i++)
        if (f->down[i] <= finest * COARSER && f->down[i] > f->down[level]) level = i;
    double d = f->down[level], sx = scale[0] / d, sy = scale[1] / d, x0 = x / d, y0 = y / d;
    /* the corner of a level's pixel that is a whole pixel of level 0 as well: what lies between is averaged here, not by OpenSlide */
    int64_t left = (int64_t)floor(x0 + 1e-6), top = (int64_t)floor(y0 + 1e-6);
    if (x0 < (double)left) x0 = (double)left;
    if (y0 < (double)top) y0 = (double)top;
    int64_t w = (int64_t)ceil(x0 + n * sx - 1e-6) - left;
    CHECK(w > 0 && w <= INT32_MAX / 8, ST_DATA, "%s: a window of %lld pixels", f->what, (long long)w);
    int64_t rows = (int64_t)ceil(y0 + n * sy - 1e-6) - top, most = (int64_t)(STRIP_BYTES / 4) / w;
    most = most < 1 ? 1 : most > rows ? rows : most;
    uint32_t *strip;
    double *sum = NULL;
    TRY(mem_alloc(&strip, (size_t)(w * most) * 4, "a strip of a slide"), "%s", f->what);
    status st = mem_alloc(&sum, (size_t)n * 3 * sizeof *sum, "a row of a tile");
    int64_t have = 0, got = 0; /* rows [have, have + got) are in the strip */
    for (int r = 0; r < n && !st; r++) {
        double a = y0 - (double)top + r * sy, b = a + sy;
        memset(sum, 0, (size_t)n * 3 * sizeof *sum);
        for (int64_t row = (int64_t)a; !st && (double)row < b - 1e-9; row++) {
            if (row >= have + got) {
                have = row, got = rows - row < most ? rows - row : most;
                if (got < 1) got = 1;
                openslide_read_region(f->open, strip, (int64_t)llround((double)left * d), (int64_t)llround((double)(top + row) * d), level, w, got);
                st = no_error(f);
            }
            double share = (fmin((double)row + 1, b) - fmax((double)row, a)) / sy;
            if (!st) add_row(f, strip + (row - have) * w, w, x0 - (double)left, sx, n, share, sum);
        }
        for (int i = 0; i < 3 * n; i++) rgb[(size_t)r * (size_t)n * 3 + (size_t)i] = (uint8_t)fmin(255, fmax(0, rint(sum[i])));
    }
    free(strip);
    free(sum);
    return st;
}
#else
#include "not_built.h"

status slide_file_open(slide_file **out, const char *path, slide_facts *about)
{
    *out = NULL;
    *about = (slide_facts){0};
    return NOT_BUILT("libopenslide-dev", "slides", path);
}
void slide_file_close(slide_file *f) { (void)f; }
enum slide_kind slide_file_kind(const char *path) { return (void)path, SLIDE_NO; }
status slide_file_window(slide_file *f, double x, double y, const double scale[2], int n, uint8_t *rgb)
{
    (void)f, (void)x, (void)y, (void)scale, (void)n, (void)rgb;
    return status_raise(ST_BUG, __FILE__, __LINE__, "no slide");
}
#endif
