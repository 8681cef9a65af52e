/* slide: the grid of tiles over a slide, tissue and regions on it. */
#include "slide.h"

#include "case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CELLS = 8 };            /* a side of a tile, where tissue is looked for */
#define FINER_MOST 1.1         /* a slide may be coarser than the recipe asks for by so much */
#define TISSUE_LEAST 13        /* saturation (of 255) below which nothing is tissue, whatever the histogram says */

struct slide {
    const recipe *r;
    char        what[2 * PATTERN_PATH];
    slide_file *file;
    slide_facts is;
    double      scale[2];      /* pixels of the finest level in a tile's pixel */
    boxes       region[SHARD_MAX_LABELS];
    bool        has[SHARD_MAX_LABELS];
};

static status open_regions(slide *v, const source *s, const bindings *known, int i)
{
    const recipe_label *l = &v->r->label[i];
    found_list files = {0};
    char *text = NULL, path[2 * PATTERN_PATH];
    size_t n;
    int n_left;
    status st = OK;
    TRY_TO(out, pattern_list(s->root, l->file, known, &files), "label %s", l->name);
    if (files.n == 0) goto out;
    CHECK_TO(out, files.n == 1, ST_DATA, "label %s: %d files match %s", l->name, files.n, l->file);
    snprintf(path, sizeof path, "%s/%s", s->root, files.v[0].path);
    TRY_TO(out, file_read_all(path, (size_t)1 << 30, &text, &n), "label %s", l->name);
    TRY_TO(out, geojson_parse(&v->region[i], &n_left, text, n, path), "label %s", l->name);
    for (int k = 0; k < v->region[i].n; k++)
        CHECK_TO(out, label_class_of(l, v->region[i].name[k]) != VALUE_UNKNOWN, ST_DATA, "%s: class \"%s\" is none of label %s", path, v->region[i].name[k], l->name);
    v->has[i] = true;
out:
    free(text);
    found_free(&files);
    return st;
}

status slide_open(slide **out, const struct source *s, const bindings *known, const char *path)
{
    slide *v;
    *out = NULL;
    TRY(mem_alloc(&v, sizeof *v, "a slide"), "%s", path);
    v->r = s->r;
    snprintf(v->what, sizeof v->what, "%s", path);
    status st = OK;
    TRY_TO(bad, slide_file_open(&v->file, path, &v->is), "slide");
    for (int k = 0; k < 2; k++) {
        if (!(v->is.mpp[k] > 0)) v->is.mpp[k] = s->r->images.spacing[1 - k];
        CHECK_TO(bad, v->is.mpp[k] > 0, ST_DATA, "%s: does not say how many micrometres a pixel has; images.spacing can", path);
        v->scale[k] = s->r->slide.mpp / v->is.mpp[k];
        CHECK_TO(bad, v->scale[k] * FINER_MOST >= 1, ST_DATA, "%s: %g um per pixel are the finest there are, slide.mpp asks for %g", path, v->is.mpp[k], s->r->slide.mpp);
    }
    for (int i = 0; i < s->r->n_labels; i++)
        if (!strcmp(s->r->label[i].source, "regions")) TRY_TO(bad, open_regions(v, s, known, i), "slide");
    *out = v;
    return OK;
bad:
    slide_close(v);
    return st;
}

void slide_close(slide *v)
{
    if (!v) return;
    slide_file_close(v->file);
    for (int i = 0; i < SHARD_MAX_LABELS; i++) boxes_free(&v->region[i]);
    free(v);
}

/* ---- tissue ------------------------------------------------------------------------------------------------------------------------ */

/* Otsu: the value that parts the histogram into two classes with the largest variance between them. */
static int otsu(const int64_t histogram[256])
{
    double n = 0, sum = 0, below = 0, sum_below = 0, best = -1;
    int at = 0;
    for (int i = 0; i < 256; i++) n += (double)histogram[i], sum += i * (double)histogram[i];
    for (int i = 0; i < 256; i++) {
        below += (double)histogram[i], sum_below += i * (double)histogram[i];
        if (below <= 0 || below >= n) continue;
        double apart = sum_below / below - (sum - sum_below) / (n - below), between = below * (n - below) * apart * apart;
        if (between > best) best = between, at = i;
    }
    return at;
}

/* How colourful each cell of each tile is, 0 to 255 (n,CELLS,CELLS), and the threshold of tissue. */
static status look(slide *v, const part *p, int n, uint8_t *colourful, int *threshold)
{
    int64_t histogram[256] = {0};
    uint8_t rgb[CELLS * CELLS * 3];
    double step = (double)v->r->slide.tile / CELLS, scale[2] = {v->scale[0] * step, v->scale[1] * step};
    for (int i = 0; i < n; i++) {
        TRY(slide_file_window(v->file, p[i].a, p[i].b, scale, CELLS, rgb), "tissue");
        for (int k = 0; k < CELLS * CELLS; k++) {
            const uint8_t *c = rgb + 3 * k;
            int hi = c[0] > c[1] ? c[0] : c[1], lo = c[0] < c[1] ? c[0] : c[1];
            if (c[2] > hi) hi = c[2];
            if (c[2] < lo) lo = c[2];
            uint8_t s = hi ? (uint8_t)((hi - lo) * 255 / hi) : 0;
            colourful[(size_t)i * CELLS * CELLS + (size_t)k] = s;
            histogram[s]++;
        }
    }
    *threshold = otsu(histogram);
    if (*threshold < TISSUE_LEAST) *threshold = TISSUE_LEAST;
    return OK;
}

static status keep_tissue(slide *v, part *p, int *n)
{
    uint8_t *colourful;
    int threshold, kept = 0;
    TRY(mem_alloc(&colourful, (size_t)*n * CELLS * CELLS, "saturation"), "%s", v->what);
    status st = look(v, p, *n, colourful, &threshold);
    for (int i = 0; i < *n && !st; i++) {
        int count = 0;
        for (int k = 0; k < CELLS * CELLS; k++) count += colourful[(size_t)i * CELLS * CELLS + (size_t)k] > threshold;
        if (count >= v->r->slide.tissue * CELLS * CELLS) p[kept++] = p[i];
    }
    free(colourful);
    if (!st) *n = kept;
    return st;
}

/* ---- regions ----------------------------------------------------------------------------------------------------------------------- */

status slide_paint(const slide *v, int i, part p, uint8_t *px, bool *any)
{
    const recipe_label *l = &v->r->label[i];
    int side = v->r->slide.tile, first = l->task == TASK_SEGMENTATION ? 0 : 1;
    memset(px, 0, (size_t)side * (size_t)side);
    *any = v->has[i];
    for (int k = 0; k < v->region[i].n; k++) {
        const float *e = v->region[i].edge[k];
        const outline *from = &v->region[i].shape[k];
        int cls = label_class_of(l, v->region[i].name[k]);
        if (cls < 0 || (double)e[2] < p.a || (double)e[3] < p.b || (double)e[0] > p.a + side * v->scale[0] || (double)e[1] > p.b + side * v->scale[1]) continue;
        outline o = {.n_rings = from->n_rings, .ring_end = from->ring_end};
        int n = o.ring_end[o.n_rings - 1];
        TRY(mem_alloc(&o.xy, (size_t)n * sizeof *o.xy, "corners"), "%s", v->what);
        for (int c = 0; c < n; c++) o.xy[c][0] = (from->xy[c][0] - p.a) / v->scale[0], o.xy[c][1] = (from->xy[c][1] - p.b) / v->scale[1];
        status st = outline_paint(&o, px, side, side, (uint8_t)(cls + first), true);
        free(o.xy);
        if (st) return status_note(st, __FILE__, __LINE__, "%s", v->what);
    }
    return OK;
}

status slide_class(const slide *v, int i, part p, int *cls)
{
    int64_t count[256] = {0}, side = v->r->slide.tile, best = 0;
    uint8_t *px;
    bool any;
    *cls = -1;
    TRY(mem_alloc(&px, (size_t)(side * side), "a tile's regions"), "%s", v->what);
    status st = slide_paint(v, i, p, px, &any);
    for (int64_t k = 0; k < side * side && !st; k++) count[px[k]]++;
    for (int k = 1; k < 256; k++)
        if (count[k] > best && (double)count[k] >= v->r->label[i].share * (double)(side * side)) best = count[k], *cls = k - 1;
    free(px);
    return st;
}

static status keep_labelled(const slide *v, part *p, int *n)
{
    for (int i = 0; i < v->r->n_labels; i++) {
        const recipe_label *l = &v->r->label[i];
        if (strcmp(l->source, "regions") || l->task != TASK_CLASSIFICATION || !l->required) continue;
        int kept = 0;
        CHECK(v->has[i], ST_DATA, "%s: no label %s", v->what, l->name);
        for (int k = 0; k < *n; k++) {
            int cls;
            TRY(slide_class(v, i, p[k], &cls), "regions");
            if (cls >= 0) p[kept++] = p[k];
        }
        *n = kept;
    }
    return OK;
}

/* ---- tiles ------------------------------------------------------------------------------------------------------------------------- */

status slide_tiles(slide *v, part **out, int *n)
{
    double step[2] = {v->r->slide.tile * v->scale[0], v->r->slide.tile * v->scale[1]};
    int64_t columns = (int64_t)((double)v->is.W / step[0] + 1e-6), rows = (int64_t)((double)v->is.H / step[1] + 1e-6);
    *out = NULL, *n = 0;
    CHECK(columns > 0 && rows > 0, ST_DATA, "%s: smaller than a tile (%lld x %lld pixels, a tile has %.0f x %.0f)", v->what, (long long)v->is.W, (long long)v->is.H,
          step[0], step[1]);
    CHECK(columns <= PARTS_MAX / rows, ST_DATA, "%s: %lld x %lld tiles, at most %d are taken", v->what, (long long)columns, (long long)rows, PARTS_MAX);
    TRY(mem_alloc(out, (size_t)(columns * rows) * sizeof **out, "list of tiles"), "%s", v->what);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            (*out)[(*n)++] = (part){(int32_t)(v->is.x + llround((double)c * step[0])), (int32_t)(v->is.y + llround((double)r * step[1]))};
    status st = keep_labelled(v, *out, n);
    if (!st && v->r->slide.tissue > 0 && *n > 0) st = keep_tissue(v, *out, n);
    CHECK_TO(out, st || *n > 0, ST_DATA, "%s: none of %lld tiles has enough tissue or lies in a region", v->what, (long long)(columns * rows));
out:
    if (st) free(*out), *out = NULL;
    return st;
}

status slide_read(slide *v, part p, image *out)
{
    int side = v->r->slide.tile;
    TRY(image_alloc(out, 1, side, side, 3, DT_U8, v->what), "tile");
    status st = slide_file_window(v->file, p.a, p.b, v->scale, side, out->data);
    out->spacing[1] = out->spacing[2] = v->r->slide.mpp;
    if (st) image_free(out);
    return st;
}
