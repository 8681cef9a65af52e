/* slide: the tiles of a slide that become samples, and the regions on them. */
#include "slide.h"

#include "case.h"

#include <stdlib.h>
#include <string.h>

struct slide {
    const recipe *r;
    tiling      tiles;
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
    const recipe *r = s->r;
    const tile_ask ask = {.mpp = r->slide.mpp, .spacing = {r->images.spacing[0], r->images.spacing[1]}, .tissue = r->slide.tissue, .side = r->slide.tile};
    static const tile_words words = {.spacing = "images.spacing", .mpp = "slide.mpp"};
    status st = OK;
    TRY_TO(bad, tiling_open(&v->tiles, path, &ask, &words), "slide");
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
    tiling_close(&v->tiles);
    for (int i = 0; i < SHARD_MAX_LABELS; i++) boxes_free(&v->region[i]);
    free(v);
}

/* ---- tissue ------------------------------------------------------------------------------------------------------------------------ */

static status keep_tissue(slide *v, part *p, int *n)
{
    uint8_t *has;
    int kept = 0;
    TRY(mem_alloc(&has, (size_t)*n, "tissue"), "%s", v->tiles.what);
    status st = tiling_tissue(&v->tiles, p, *n, has);
    for (int i = 0; i < *n && !st; i++)
        if (has[i]) p[kept++] = p[i];
    free(has);
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
        if (cls < 0 || (double)e[2] < p.a || (double)e[3] < p.b || (double)e[0] > p.a + side * v->tiles.scale[0] || (double)e[1] > p.b + side * v->tiles.scale[1]) continue;
        outline o = {.n_rings = from->n_rings, .ring_end = from->ring_end};
        int n = o.ring_end[o.n_rings - 1];
        TRY(mem_alloc(&o.xy, (size_t)n * sizeof *o.xy, "corners"), "%s", v->tiles.what);
        for (int c = 0; c < n; c++) o.xy[c][0] = (from->xy[c][0] - p.a) / v->tiles.scale[0], o.xy[c][1] = (from->xy[c][1] - p.b) / v->tiles.scale[1];
        status st = outline_paint(&o, px, side, side, (uint8_t)(cls + first), true);
        free(o.xy);
        if (st) return status_note(st, __FILE__, __LINE__, "%s", v->tiles.what);
    }
    return OK;
}

status slide_class(const slide *v, int i, part p, int *cls)
{
    int64_t count[256] = {0}, side = v->r->slide.tile, best = 0;
    uint8_t *px;
    bool any;
    *cls = -1;
    TRY(mem_alloc(&px, (size_t)(side * side), "a tile's regions"), "%s", v->tiles.what);
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
        CHECK(v->has[i], ST_DATA, "%s: no label %s", v->tiles.what, l->name);
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
    int columns;
    TRY(tiling_grid(&v->tiles, false, out, n, &columns), "slide");
    int all = *n;
    status st = keep_labelled(v, *out, n);
    if (!st && v->r->slide.tissue > 0 && *n > 0) st = keep_tissue(v, *out, n);
    CHECK_TO(out, st || *n > 0, ST_DATA, "%s: none of %d tiles has enough tissue or lies in a region", v->tiles.what, all);
out:
    if (st) free(*out), *out = NULL;
    return st;
}

status slide_read(slide *v, part p, image *out) { return tiling_read(&v->tiles, p, out); }
