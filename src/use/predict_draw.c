/* predict_draw: what was found, drawn on what was looked at. */
#include "predict.h"

#include <math.h>
#include <string.h>

enum { LINE = 14, GAP = 6, SWATCH = 8 };
static const rgb8 paper = {24, 26, 31}, bright = {236, 238, 242};

static int first_class(const predictor *p) { return p->plan.spec.kind == TASK_SEGMENTATION ? 1 : 0; }

rgb8 predict_colour(const predictor *p, int k)
{
    int first = first_class(p);
    return k < first ? (rgb8){0, 0, 0} : canvas_colour(k - first);
}

/* Classes by colour and name, in lines of at most `width` pixels, from y on; c NULL: only counts. Returns how many lines. */
static int legend(canvas *c, const predictor *p, int width, int y)
{
    int x = GAP, lines = 1;
    for (int k = first_class(p); k < p->plan.spec.K; k++) {
        char name[64];
        canvas_text_fit(p->class_name[k], width > 80 ? width - 40 : 40, 1, name, sizeof name);
        int wide = SWATCH + 3 + canvas_text_width(name, 1) + 2 * GAP;
        if (x > GAP && x + wide > width) x = GAP, lines++;
        if (c) {
            int top = y + (lines - 1) * LINE + 3;
            canvas_fill(c, x, top, x + SWATCH, top + SWATCH, predict_colour(p, k), 1);
            canvas_text(c, x + SWATCH + 3, top, 1, bright, name);
        }
        x += wide;
    }
    return lines;
}

static uint8_t shade(const plane *s, size_t i)
{
    image m = {.type = s->type, .data = (void *)(uintptr_t)s->pixels};
    double v = (image_at(&m, i) - (double)s->range[0]) / ((double)s->range[1] - (double)s->range[0]);
    return (uint8_t)(v <= 0 ? 0 : v >= 1 ? 255 : 255 * v + 0.5);
}

/* The plane at (h,w), with room for the legend below it. */
static status begin(canvas *c, const predictor *p, const plane *s, int h, int w)
{
    int lines = legend(NULL, p, w, 0);
    TRY(canvas_init(c, w, h + lines * LINE + 2, paper), "overlay");
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            size_t i = ((size_t)((int64_t)y * s->H / h) * (size_t)s->W + (size_t)((int64_t)x * s->W / w)) * (size_t)s->C;
            uint8_t r = shade(s, i);
            canvas_put(c, x, y, s->C == 3 ? (rgb8){r, shade(s, i + 1), shade(s, i + 2)} : (rgb8){r, r, r});
        }
    legend(c, p, w, h + 2);
    return OK;
}

static bool is_edge(const uint8_t *mask, int h, int w, int y, int x)
{
    const uint8_t *m = mask + (size_t)y * (size_t)w + (size_t)x;
    return (x > 0 && m[-1] != *m) || (x + 1 < w && m[1] != *m) || (y > 0 && m[-w] != *m) || (y + 1 < h && m[w] != *m);
}

status predict_draw_mask(const predictor *p, const plane *s, int h, int w, const uint8_t *mask, const char *path)
{
    canvas c = {0};
    TRY(begin(&c, p, s, h, w), "%s", path);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            int k = mask[(size_t)y * (size_t)w + (size_t)x];
            if (k > 0) canvas_mix(&c, x, y, predict_colour(p, k), is_edge(mask, h, w, y, x) ? 1.0f : 0.3f);
        }
    status st = canvas_save(&c, path);
    canvas_free(&c);
    return st;
}

status predict_draw_boxes(const predictor *p, const plane *s, int h, int w, const detection *d, int n, const char *path)
{
    canvas c = {0};
    int thick = 1 + (h < w ? h : w) / 500;
    TRY(begin(&c, p, s, h, w), "%s", path);
    for (int i = n - 1; i >= 0; i--) { /* the best on top */
        rgb8 ink = predict_colour(p, d[i].cls);
        int x0 = (int)floorf(d[i].box[0]), y0 = (int)floorf(d[i].box[1]), x1 = (int)ceilf(d[i].box[2]), y1 = (int)ceilf(d[i].box[3]);
        char text[16];
        canvas_frame(&c, x0, y0, x1, y1, ink, thick);
        snprintf(text, sizeof text, "%.2f", (double)d[i].score);
        int wide = canvas_text_width(text, 1), top = y0 >= CANVAS_LETTER_H ? y0 - CANVAS_LETTER_H : y0 + thick;
        if (x1 - x0 < wide / 2) continue;
        canvas_fill(&c, x0, top, x0 + wide + 2, top + CANVAS_LETTER_H, paper, 0.6f);
        canvas_text(&c, x0 + 1, top + 1, 1, ink, text);
    }
    status st = canvas_save(&c, path);
    canvas_free(&c);
    return st;
}
