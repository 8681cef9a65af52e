/* predict_geojson: outlines of what was found in an image, in pixels of the source, as QuPath reads and writes them: one annotation for each
 * connected region of a class, with its holes, or for each box. */
#include "predict.h"

#include <stdlib.h>
#include <string.h>

/* ---- regions ---------------------------------------------------------------------------------------------------------------------- */

typedef struct region { int32_t first, x0, y0, x1, y1; } region; /* its first pixel, and the rectangle [x0,x1) x [y0,y1) around it */
typedef struct regions {
    const uint8_t *mask;    /* (h,w) */
    int            h, w, n, room;
    region        *v;       /* (n) in the order of their first pixels */
    int32_t       *of;      /* (h,w) number of the region from 1; 0: background, or not yet */
    int32_t       *stack;   /* (h,w) */
    uint8_t       *walked;  /* (h,w) the upper edge of this pixel has been walked along */
} regions;

/* The pixels that hang together with `start` over edges. */
static region fill(regions *r, int32_t start, int32_t number)
{
    region v = {start, r->w, r->h, 0, 0};
    int n = 0;
    r->of[start] = number;
    for (r->stack[n++] = start; n > 0;) {
        int32_t at = r->stack[--n], x = at % r->w, y = at / r->w;
        const int32_t next[4] = {x > 0 ? at - 1 : -1, x + 1 < r->w ? at + 1 : -1, y > 0 ? at - r->w : -1, y + 1 < r->h ? at + r->w : -1};
        if (x < v.x0) v.x0 = x;
        if (x >= v.x1) v.x1 = x + 1;
        if (y < v.y0) v.y0 = y;
        if (y >= v.y1) v.y1 = y + 1;
        for (int k = 0; k < 4; k++)
            if (next[k] >= 0 && !r->of[next[k]] && r->mask[next[k]] == r->mask[start]) r->of[next[k]] = number, r->stack[n++] = next[k];
    }
    return v;
}

static status find_regions(regions *r)
{
    size_t area = (size_t)r->h * (size_t)r->w;
    CHECK(area < INT32_MAX, ST_DATA, "outlines of %d x %d pixels: too many", r->w, r->h);
    TRY(mem_alloc(&r->of, sizeof *r->of * area, "regions"), "outlines");
    TRY(mem_alloc(&r->stack, sizeof *r->stack * area, "regions"), "outlines");
    TRY(mem_alloc(&r->walked, area, "regions"), "outlines");
    for (size_t i = 0; i < area; i++) {
        if (!r->mask[i] || r->of[i]) continue;
        if (r->n == r->room) {
            int room = 2 * r->room + 64;
            TRY(mem_grow(&r->v, sizeof *r->v * (size_t)room, "regions"), "outlines");
            r->room = room;
        }
        r->v[r->n] = fill(r, (int32_t)i, r->n + 1);
        r->n++;
    }
    return OK;
}

static bool inside(const regions *r, int x, int y, int32_t number)
{
    return x >= 0 && y >= 0 && x < r->w && y < r->h && r->of[(int64_t)y * r->w + x] == number;
}

/* A ring along the edges of pixels, the region to the right, from the upper edge of pixel (x0,y0). Pixels that touch at a corner are apart. */
static void put_ring(regions *r, int x0, int y0, int32_t number, FILE *f)
{
    static const int step[4][2] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};                     /* right, down, left, up */
    static const int right[4][2] = {{0, 0}, {-1, 0}, {-1, -1}, {0, -1}}, left[4][2] = {{0, -1}, {0, 0}, {-1, 0}, {-1, -1}}; /* pixels ahead */
    int x = x0, y = y0, d = 0;
    fprintf(f, "[[%d, %d]", x, y);
    do {
        if (d == 0) r->walked[(int64_t)y * r->w + x] = 1;
        x += step[d][0], y += step[d][1];
        int turn = !inside(r, x + right[d][0], y + right[d][1], number) ? 1 : inside(r, x + left[d][0], y + left[d][1], number) ? 3 : 0;
        bool home = x == x0 && y == y0 && (d + turn) % 4 == 0;
        if (turn || home) fprintf(f, ", [%d, %d]", x, y);
        d = (d + turn) % 4;
        if (home) break;
    } while (true);
    fputc(']', f);
}

/* ---- features ---------------------------------------------------------------------------------------------------------------------- */

static void begin_feature(FILE *f, int n)
{
    fprintf(f, "%s\n{\"type\": \"Feature\", \"geometry\": {\"type\": \"Polygon\", \"coordinates\": [", n ? "," : "");
}

static void end_feature(const predictor *p, FILE *f, int k, double score)
{
    rgb8 c = predict_colour(p, k);
    fputs("]}, \"properties\": {\"objectType\": \"annotation\", \"classification\": {\"name\": ", f);
    predict_json_text(f, p->class_name[k]);
    fprintf(f, ", \"color\": [%d, %d, %d]}", c.r, c.g, c.b);
    if (score >= 0) fprintf(f, ", \"measurements\": [{\"name\": \"score\", \"value\": %.9g}]", score);
    fputs("}}", f);
}

/* The first ring is the outer one, the others are holes. */
static void put_region(const predictor *p, regions *r, int number, FILE *f)
{
    const region *v = &r->v[number - 1];
    bool any = false;
    begin_feature(f, number - 1);
    for (int y = v->y0; y < v->y1; y++)
        for (int x = v->x0; x < v->x1; x++) {
            if (!inside(r, x, y, number) || inside(r, x, y - 1, number) || r->walked[(int64_t)y * r->w + x]) continue;
            if (any) fputs(", ", f);
            put_ring(r, x, y, number, f);
            any = true;
        }
    end_feature(p, f, r->mask[v->first], -1);
}

static void put_box(const predictor *p, const detection *d, int n, FILE *f)
{
    double x0 = (double)d->box[0], y0 = (double)d->box[1], x1 = (double)d->box[2], y1 = (double)d->box[3];
    begin_feature(f, n);
    fprintf(f, "[[%.9g, %.9g], [%.9g, %.9g], [%.9g, %.9g], [%.9g, %.9g], [%.9g, %.9g]]", x0, y0, x1, y0, x1, y1, x0, y1, x0, y0);
    end_feature(p, f, d->cls, (double)d->score);
}

/* ---- files ------------------------------------------------------------------------------------------------------------------------------ */

static status write_features(const predictor *p, regions *r, const detection *d, int n, const char *path)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *f;
    TRY(mem_text_open(&f, &text, &bytes, "outlines"), "%s", path);
    fputs("{\"type\": \"FeatureCollection\", \"features\": [", f);
    for (int i = 0; r && i < r->n; i++) put_region(p, r, i + 1, f);
    for (int i = 0; i < n; i++) put_box(p, &d[i], i, f);
    fputs("]}\n", f);
    status st = mem_text_close(f, &text, "outlines");
    if (!st) st = file_write_atomic(path, text, bytes);
    free(text);
    return st;
}

status predict_outline_mask(const predictor *p, int h, int w, const uint8_t *mask, const char *path)
{
    regions r = {.mask = mask, .h = h, .w = w};
    status st = find_regions(&r);
    if (!st) st = write_features(p, &r, NULL, 0, path);
    free(r.v), free(r.of), free(r.stack), free(r.walked);
    return st;
}

status predict_outline_boxes(const predictor *p, const detection *d, int n, const char *path) { return write_features(p, NULL, d, n, path); }
