/* thumbnail: one sample on a contact sheet or by itself: its pixels as the trainer sees them, outlines of masks, boxes with their names. */
#include "thumbnail.h"

#include <math.h>

static const rgb8 bright = {236, 238, 242}, black = {0, 0, 0};

void thumb_fit(thumb *t, int tile, const float spacing[2])
{
    float tall = (float)t->H, wide = (float)t->W;
    if (isfinite(spacing[0]) && isfinite(spacing[1])) tall *= spacing[0] / spacing[1];
    float fit = fminf((float)tile / tall, (float)tile / wide);
    t->w = (int)fminf(fmaxf(1, rintf(wide * fit)), (float)tile), t->h = (int)fminf(fmaxf(1, rintf(tall * fit)), (float)tile);
}

static float pixel_at(enum dtype t, const void *px, int64_t i)
{
    switch (t) {
    case DT_U8: return ((const uint8_t *)px)[i];
    case DT_U16: return ((const uint16_t *)px)[i];
    case DT_I16: return ((const int16_t *)px)[i];
    default: return ((const float *)px)[i];
    }
}

/* Mean over the source area of one thumbnail pixel, or bilinear if the image is enlarged. */
static float sampled(const pixels *p, const thumb *t, int x, int y, int c)
{
    int C = p->C;
    float sx = (float)t->W / (float)t->w, sy = (float)t->H / (float)t->h;
    float x0 = (float)x * sx, y0 = (float)y * sy;
    if (sx <= 1) {
        float u = fminf(fmaxf(x0 + 0.5f * sx - 0.5f, 0), (float)t->W - 1), v = fminf(fmaxf(y0 + 0.5f * sy - 0.5f, 0), (float)t->H - 1);
        int iu = (int)u, iv = (int)v, ju = iu + 1 < t->W ? iu + 1 : iu, jv = iv + 1 < t->H ? iv + 1 : iv;
        float fu = u - (float)iu, fv = v - (float)iv;
#define AT(yy, xx) pixel_at(p->type, p->px, ((int64_t)(yy) * t->W + (xx)) * C + c)
        return (1 - fv) * ((1 - fu) * AT(iv, iu) + fu * AT(iv, ju)) + fv * ((1 - fu) * AT(jv, iu) + fu * AT(jv, ju));
    }
    int ax = (int)x0, bx = (int)fminf((float)t->W, ceilf(x0 + sx)), ay = (int)y0, by = (int)fminf((float)t->H, ceilf(y0 + sy));
    double sum = 0;
    for (int yy = ay; yy < by; yy++)
        for (int xx = ax; xx < bx; xx++) sum += (double)AT(yy, xx);
#undef AT
    int area = (by - ay) * (bx - ax);
    return area > 0 ? (float)(sum / area) : 0;
}

void thumb_pixels(canvas *c, const pixels *p, const thumb *t)
{
    float lo = p->range[0], scale = 255 / (p->range[1] - lo);
    for (int y = 0; y < t->h; y++)
        for (int x = 0; x < t->w; x++) {
            uint8_t v[3] = {0};
            for (int k = 0; k < p->C; k++) {
                float g = (sampled(p, t, x, y, k) - lo) * scale;
                v[k] = (uint8_t)(g > 0 ? g < 255 ? g + 0.5f : 255 : 0); /* not a number: 0 */
            }
            if (p->C == 1) v[1] = v[2] = v[0];
            canvas_put(c, t->x + x, t->y + y, (rgb8){v[0], v[1], v[2]});
        }
}

void thumb_mask(canvas *c, const uint8_t *mask, const thumb *t, int first_colour)
{
#define AT(yy, xx) mask[(int64_t)((yy) * t->H / t->h) * t->W + (int64_t)((xx) * t->W / t->w)]
    for (int y = 0; y < t->h; y++)
        for (int x = 0; x < t->w; x++) {
            int v = AT(y, x);
            if (v == 0) continue;
            if (v == IGNORE_MASK) {
                if ((x + y) % 6 == 0) canvas_mix(c, t->x + x, t->y + y, bright, 0.5f); /* hatched: takes no part */
                continue;
            }
            bool edge = x == 0 || y == 0 || x + 1 == t->w || y + 1 == t->h || AT(y, x - 1) != v || AT(y, x + 1) != v || AT(y - 1, x) != v ||
                        AT(y + 1, x) != v;
            if (edge) canvas_put(c, t->x + x, t->y + y, canvas_colour(first_colour + v - 1));
        }
#undef AT
}

typedef struct spot { int x0, y0, x1, y1; } spot;
enum { TAGS_MOST = 256 };

static bool free_spot(const spot *taken, int n, const spot *want, const thumb *t)
{
    if (want->x0 < t->x || want->y0 < t->y || want->x1 > t->x + t->w || want->y1 > t->y + t->h) return false;
    for (int i = 0; i < n; i++)
        if (want->x0 < taken[i].x1 && taken[i].x0 < want->x1 && want->y0 < taken[i].y1 && taken[i].y0 < want->y1) return false;
    return true;
}

/* A whole name on a dark ground, above its box, below it, or inside: wherever no other name is. Where all are taken the colour must do. */
static void draw_tag(canvas *c, const spot *box, const thumb *t, rgb8 ink, const char *name, spot *taken, int *n)
{
    int w = canvas_text_width(name, 1) + 3, h = CANVAS_LETTER_H + 1, right = t->x + t->w - w, x = box->x0 < right ? box->x0 : right;
    const spot place[] = {{x, box->y0 - h, x + w, box->y0}, {x, box->y1, x + w, box->y1 + h}, {box->x0 + 1, box->y0 + 1, box->x0 + 1 + w, box->y0 + 1 + h},
                          {box->x1 - 1 - w, box->y1 - 1 - h, box->x1 - 1, box->y1 - 1}};
    for (int k = 0; k < 4 && *n < TAGS_MOST; k++) {
        if (!free_spot(taken, *n, &place[k], t)) continue;
        taken[(*n)++] = place[k];
        canvas_fill(c, place[k].x0, place[k].y0, place[k].x1, place[k].y1, black, 0.65f);
        canvas_text(c, place[k].x0 + 1, place[k].y0 + 1, 1, ink, name);
        return;
    }
}

void thumb_boxes(canvas *c, const thumb_box *box, int n_boxes, const thumb *t)
{
    float sx = (float)t->w / (float)t->W, sy = (float)t->h / (float)t->H;
    spot taken[TAGS_MOST];
    int n = 0;
    for (int pass = 0; pass < 2; pass++) /* names over all frames */
        for (int b = 0; b < n_boxes; b++) {
            const float *e = box[b].edge;
            spot at = {t->x + (int)floorf(e[0] * sx), t->y + (int)floorf(e[1] * sy), t->x + (int)ceilf(e[2] * sx), t->y + (int)ceilf(e[3] * sy)};
            if (!pass) canvas_frame(c, at.x0, at.y0, at.x1, at.y1, canvas_colour(box[b].colour), 1);
            else draw_tag(c, &at, t, canvas_colour(box[b].colour), box[b].name, taken, &n);
        }
}
