/* predict_geojson: what was found in an image or slide, in pixels of the source, as QuPath reads and writes it: a feature for each connected region
 * of a class, with its holes, for each box, or for each tile. Written as it comes. */
#include "predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

status geojson_begin(geojson *g, const predictor *p, const char *path)
{
    *g = (geojson){.p = p, .step = {1, 1}, .most = {INFINITY, INFINITY}};
    snprintf(g->path, sizeof g->path, "%s", path);
    TRY(file_stream_open(&g->f, path), "outlines");
    fputs("{\"type\": \"FeatureCollection\", \"features\": [", g->f);
    return OK;
}

status geojson_end(geojson *g, status st)
{
    FILE *f = g->f;
    if (!f) return st;
    g->f = NULL;
    if (!st) fputs("]}\n", f);
    return file_stream_close(f, g->path, st);
}

/* ---- features ---------------------------------------------------------------------------------------------------------------------- */

static void begin_feature(geojson *g)
{
    fprintf(g->f, "%s\n{\"type\": \"Feature\", \"geometry\": {\"type\": \"Polygon\", \"coordinates\": [", g->n++ ? "," : "");
}

/* name NULL: of no class. */
static void put_properties(const geojson *g, const char *object, const char *name, int k)
{
    fprintf(g->f, "]}, \"properties\": {\"objectType\": \"%s\"", object);
    if (!name) return;
    rgb8 c = predict_colour(g->p, k);
    fputs(", \"classification\": {\"name\": ", g->f);
    predict_json_text(g->f, name);
    fprintf(g->f, ", \"color\": [%d, %d, %d]}", c.r, c.g, c.b);
}

/* A corner of a mask in the source, to a hundredth of a pixel. */
static void put_corner(const geojson *g, const int32_t at[2])
{
    double v[2];
    for (int k = 0; k < 2; k++) v[k] = rint(100 * fmin(g->from[k] + at[k] * g->step[k], g->most[k])) / 100;
    fprintf(g->f, "[%.11g, %.11g]", v[0], v[1]);
}

/* outline_take */
static status put_region(void *arg, const outline_region *r)
{
    geojson *g = arg;
    begin_feature(g);
    for (int i = 0; i < r->n_rings; i++) {
        fputs(i ? ", [" : "[", g->f);
        for (int32_t c = r->ring[i].from; c < r->ring[i].to; c++) put_corner(g, r->xy[c]), fputs(", ", g->f);
        put_corner(g, r->xy[r->ring[i].from]);
        fputc(']', g->f);
    }
    put_properties(g, "annotation", g->p->class_name[r->cls], r->cls);
    fputs("}}", g->f);
    return OK;
}

static void put_rectangle(geojson *g, double x0, double y0, double x1, double y1)
{
    begin_feature(g);
    fprintf(g->f, "[[%.9g, %.9g], [%.9g, %.9g], [%.9g, %.9g], [%.9g, %.9g], [%.9g, %.9g]]", x0, y0, x1, y0, x1, y1, x0, y1, x0, y0);
}

void geojson_box(geojson *g, const char *object, const detection *d)
{
    put_rectangle(g, (double)d->box[0], (double)d->box[1], (double)d->box[2], (double)d->box[3]);
    put_properties(g, object, g->p->class_name[d->cls], d->cls);
    fprintf(g->f, ", \"measurements\": [{\"name\": \"score\", \"value\": %.9g}]}}", (double)d->score);
}

/* The labels above a half, joined as QuPath does: "a: b". *first: whose colour. False: none. */
static bool joined_labels(const predictor *p, const double *x, char *out, size_t room, int *first)
{
    size_t n = 0;
    *first = -1, out[0] = 0;
    for (int k = 0; k < p->plan.spec.K; k++) {
        if (!(x[k] > 0.5)) continue;
        if (n < room) n += (size_t)snprintf(out + n, room - n, "%s%s", n ? ": " : "", p->class_name[k]);
        if (*first < 0) *first = k;
    }
    return *first >= 0;
}

void geojson_tile(geojson *g, const double box[4], const double *x)
{
    const predictor *p = g->p;
    int K = p->plan.spec.K, k = 0;
    char labels[2048];
    enum task_kind kind = p->plan.spec.kind;
    put_rectangle(g, box[0], box[1], box[2], box[3]);
    if (kind == TASK_CLASSIFICATION) {
        for (int i = 1; i < K; i++)
            if (x[i] > x[k]) k = i;
        put_properties(g, "tile", p->class_name[k], k);
    } else {
        bool named = kind == TASK_MULTILABEL && joined_labels(p, x, labels, sizeof labels, &k);
        put_properties(g, "tile", named ? labels : NULL, k);
    }
    fputs(", \"measurements\": [", g->f);
    if (kind == TASK_CLASSIFICATION) fprintf(g->f, "{\"name\": \"probability\", \"value\": %.9g}", x[k]);
    for (int i = 0; i < K; i++) {
        char name[80];
        snprintf(name, sizeof name, "p_%s", p->class_name[i]);
        fputs(i || kind == TASK_CLASSIFICATION ? ", {\"name\": " : "{\"name\": ", g->f);
        predict_json_text(g->f, kind == TASK_REGRESSION ? "value" : name);
        fprintf(g->f, ", \"value\": %.9g}", x[i]);
    }
    fputs("]}}", g->f);
}

status geojson_regions(geojson *g, outliner **out, int w) { return outliner_open(out, w, put_region, g); }

/* ---- images ------------------------------------------------------------------------------------------------------------------------------ */

status predict_outline_mask(const predictor *p, int h, int w, const uint8_t *mask, const char *path)
{
    geojson g;
    outliner *o = NULL;
    TRY(geojson_begin(&g, p, path), "%s", path);
    status st = geojson_regions(&g, &o, w);
    for (int y = 0; y < h && !st; y++) st = outliner_row(o, mask + (size_t)y * (size_t)w);
    if (!st) st = outliner_end(o);
    outliner_close(o);
    return geojson_end(&g, st);
}

status predict_outline_boxes(const predictor *p, const detection *d, int n, const char *path)
{
    geojson g;
    TRY(geojson_begin(&g, p, path), "%s", path);
    for (int i = 0; i < n; i++) geojson_box(&g, "annotation", &d[i]);
    return geojson_end(&g, OK);
}
