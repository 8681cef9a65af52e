/* predict_plane: the network on one image: in one view, as evaluation sees it, or in windows that overlap and are blended; mirror images. */
#include "predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- windows -------------------------------------------------------------------------------------------------------------------- */

/* A grid of GH x GW network pixels about the middle of the image, and the windows of (H,W) that cover it. One window: evaluation's view. */
typedef struct window_grid { float step; int GH, GW, ny, nx; } window_grid;

static int count_along(int grid, int side, float overlap)
{
    int stride = (int)((float)side * (1 - overlap));
    if (stride < 1) stride = 1;
    return grid <= side ? 1 : (grid - side + stride - 1) / stride + 1;
}

/* Windows are spread evenly, the first and the last at the grid's edges. */
static int place_along(int i, int n, int grid, int side) { return n == 1 ? 0 : (int)((int64_t)i * (grid - side) / (n - 1)); }

static window_grid grid_of(const predictor *p, const plane *s)
{
    const predict_plan *plan = &p->plan;
    int H = plan->spec.H, W = plan->spec.W;
    window_grid g = {.step = plan->scale > 0 ? plan->scale : image_step(s->spacing, plan->spacing), .GH = H, .GW = W, .ny = 1, .nx = 1};
    if (!(g.step > 0)) return g; /* fitted whole */
    int h = (int)ceil((double)s->H / (double)g.step - 0.5), w = (int)ceil((double)s->W / (double)g.step - 0.5);
    if (h > H) g.GH = h, g.ny = count_along(h, H, plan->overlap);
    if (w > W) g.GW = w, g.nx = count_along(w, W, plan->overlap);
    return g;
}

/* Network pixels of the grid, from (oy,ox) on, in the stored image. */
static view view_from(const window_grid *g, const plane *s, int oy, int ox)
{
    double step = (double)g->step;
    return (view){.ax = g->step, .cx = (float)(s->W / 2.0 - step * (g->GW / 2.0 - ox)),
                  .by = g->step, .cy = (float)(s->H / 2.0 - step * (g->GH / 2.0 - oy))};
}

/* The window's pixels into p->input. */
static status look(predictor *p, const plane *s, const window_grid *g, int oy, int ox, view *v)
{
    int H = p->plan.spec.H, W = p->plan.spec.W;
    if (g->ny * g->nx == 1) return image_fit(s->pixels, s->type, s->H, s->W, s->C, s->range, g->step, H, W, p->input, v);
    *v = view_from(g, s, oy, ox);
    return image_through(s->pixels, s->type, s->H, s->W, s->C, s->range, v, H, W, p->input);
}

/* ---- passes ----------------------------------------------------------------------------------------------------------------------- */

/* Bit 0: mirrored left to right, bit 1: top to bottom. Pass i of count_passes. */
static int count_passes(const predictor *p) { return (p->plan.flip_x ? 2 : 1) * (p->plan.flip_y ? 2 : 1); }
static int mirror_of(const predictor *p, int i) { return p->plan.flip_x ? i : i << 1; }

static void run_network(predictor *p, int mirror)
{
    int H = p->plan.spec.H, W = p->plan.spec.W;
    batch b = {.B = 1, .H = H, .W = W, .n_valid = 1, .step = -1, .image = p->input};
    watchdog_tick(-1, "predict", p->plan.spec.name);
    if (mirror) {
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                memcpy(p->mirrored + 3 * ((size_t)y * (size_t)W + (size_t)x),
                       p->input + 3 * ((size_t)(mirror & 2 ? H - 1 - y : y) * (size_t)W + (size_t)(mirror & 1 ? W - 1 - x : x)), 3 * sizeof(float));
        b.image = p->mirrored;
    }
    task_forward(p->run, &p->pt, p->w, &b, false);
}

static status all_finite(const float *z, int64_t n)
{
    for (int64_t i = 0; i < n; i++) CHECK(isfinite(z[i]), ST_NUMERIC, "the network's output is not finite");
    return OK;
}

/* ---- image kinds ------------------------------------------------------------------------------------------------------------------ */

status predict_image(predictor *p, const plane *s, double *out)
{
    int K = p->plan.spec.K, n = count_passes(p);
    view v;
    window_grid g = grid_of(p, s);
    double *one;
    g.ny = g.nx = 1; /* such tasks are trained and scored on one view of an image */
    TRY(look(p, s, &g, 0, 0, &v), "image");
    TRY(mem_alloc(&one, sizeof *one * (size_t)K, "probabilities"), "image");
    memset(out, 0, sizeof *out * (size_t)K);
    status st = OK;
    for (int i = 0; i < n && !st; i++) {
        run_network(p, mirror_of(p, i));
        st = all_finite(task_output(p->run), K);
        task_readout(&p->plan.spec, task_output(p->run), one);
        for (int k = 0; k < K; k++) out[k] += one[k];
    }
    for (int k = 0; k < K && n > 1; k++) out[k] /= n;
    free(one);
    return st;
}

/* ---- segmentation ------------------------------------------------------------------------------------------------------------------- */

typedef struct canvas_of_logits { float *z, *weight; } canvas_of_logits; /* (GH,GW,K), (GH,GW) */

static void add_window(const predictor *p, canvas_of_logits *c, const window_grid *g, int oy, int ox, int mirror)
{
    int H = p->plan.spec.H, W = p->plan.spec.W, K = p->plan.spec.K;
    const float *z = task_output(p->run), *rows = p->blend, *columns = p->blend + H;
    bool alone = g->ny * g->nx == 1;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            size_t to = (size_t)(oy + y) * (size_t)g->GW + (size_t)(ox + x);
            const float *from = z + ((size_t)(mirror & 2 ? H - 1 - y : y) * (size_t)W + (size_t)(mirror & 1 ? W - 1 - x : x)) * (size_t)K;
            float weight = alone ? 1 : rows[y] * columns[x];
            c->weight[to] += weight;
            for (int k = 0; k < K; k++) c->z[to * (size_t)K + (size_t)k] += weight * from[k];
        }
}

/* v: the view of the whole grid. */
static status cover(predictor *p, const plane *s, const window_grid *g, canvas_of_logits *c, view *v)
{
    int H = p->plan.spec.H, W = p->plan.spec.W, K = p->plan.spec.K;
    size_t cells = (size_t)g->GH * (size_t)g->GW;
    TRY(mem_alloc(&c->z, sizeof *c->z * cells * (size_t)K, "outputs of all windows"), "segmentation");
    TRY(mem_alloc(&c->weight, sizeof *c->weight * cells, "weights of all windows"), "segmentation");
    for (int j = 0; j < g->ny; j++)
        for (int i = 0; i < g->nx; i++) {
            int oy = place_along(j, g->ny, g->GH, H), ox = place_along(i, g->nx, g->GW, W);
            TRY(look(p, s, g, oy, ox, v), "window");
            for (int m = 0; m < count_passes(p); m++) {
                run_network(p, mirror_of(p, m));
                TRY(all_finite(task_output(p->run), (int64_t)H * W * K), "window");
                add_window(p, c, g, oy, ox, mirror_of(p, m));
            }
        }
    for (size_t i = 0; i < cells; i++)
        for (int k = 0; k < K; k++) c->z[i * (size_t)K + (size_t)k] /= c->weight[i];
    if (g->ny * g->nx > 1) *v = view_from(g, s, 0, 0);
    return OK;
}

status predict_mask(predictor *p, const plane *s, int h, int w, uint8_t *mask, float *prob)
{
    int K = p->plan.spec.K;
    window_grid g = grid_of(p, s);
    canvas_of_logits c = {0};
    const float *z;
    view v;
    status st;
    if (g.ny * g.nx * count_passes(p) == 1) {
        TRY(look(p, s, &g, 0, 0, &v), "image");
        run_network(p, 0);
        z = task_output(p->run);
        st = all_finite(z, (int64_t)g.GH * g.GW * K);
    } else {
        st = cover(p, s, &g, &c, &v);
        z = c.z;
    }
    if (!st) { /* the stored image may be a smaller copy of the source */
        float sx = (float)((double)w / s->W), sy = (float)((double)h / s->H);
        const view source = {v.ax * sx, v.bx * sx, v.cx * sx, v.ay * sy, v.by * sy, v.cy * sy};
        task_mask_of(z, g.GH, g.GW, K, w == s->W && h == s->H ? &v : &source, h, w, mask, prob);
    }
    free(c.z), free(c.weight);
    return st;
}

/* ---- detection ---------------------------------------------------------------------------------------------------------------------- */

/* Does it end where only the window ends, not the image? Then another window sees more of it. */
static bool is_cut(const predictor *p, const window_grid *g, int oy, int ox, const float box[4])
{
    const float near = 2;
    float H = (float)p->plan.spec.H, W = (float)p->plan.spec.W;
    return (ox > 0 && box[0] < near) || (oy > 0 && box[1] < near) || (ox + p->plan.spec.W < g->GW && box[2] > W - near) ||
           (oy + p->plan.spec.H < g->GH && box[3] > H - near);
}

static status take_boxes(predictor *p, const plane *s, const window_grid *g, int oy, int ox, const view *v, int mirror, detection *room,
                         box_list *whole, box_list *cut)
{
    float H = (float)p->plan.spec.H, W = (float)p->plan.spec.W;
    int n = task_detect(p->run, 0, room);
    for (int i = 0; i < n; i++) {
        const float *b = room[i].box;
        float at[4] = {mirror & 1 ? W - b[2] : b[0], mirror & 2 ? H - b[3] : b[1], mirror & 1 ? W - b[0] : b[2], mirror & 2 ? H - b[1] : b[3]};
        detection d = {.score = room[i].score, .cls = room[i].cls};
        CHECK(isfinite(d.score) && isfinite(at[0] + at[1] + at[2] + at[3]), ST_NUMERIC, "the network's output is not finite");
        task_box_native(v, s->H, s->W, at, d.box);
        TRY(boxes_push(is_cut(p, g, oy, ox, at) ? cut : whole, &d), "detection");
    }
    return OK;
}

status predict_boxes(predictor *p, const plane *s, int h, int w, detection **out, int *n)
{
    window_grid g = grid_of(p, s);
    box_list whole = {0}, cut = {0};
    detection *room;
    status st = OK;
    *out = NULL, *n = 0;
    TRY(mem_alloc(&room, sizeof *room * (size_t)p->plan.spec.max_boxes, "boxes"), "detection");
    for (int j = 0; j < g.ny && !st; j++)
        for (int i = 0; i < g.nx && !st; i++) {
            int oy = place_along(j, g.ny, g.GH, p->plan.spec.H), ox = place_along(i, g.nx, g.GW, p->plan.spec.W);
            view v;
            st = look(p, s, &g, oy, ox, &v);
            for (int m = 0; m < count_passes(p) && !st; m++) {
                run_network(p, mirror_of(p, m));
                st = take_boxes(p, s, &g, oy, ox, &v, mirror_of(p, m), room, &whole, &cut);
            }
        }
    if (!st && g.ny * g.nx * count_passes(p) > 1) st = boxes_merge(&whole, &cut, p->plan.spec.nms_iou);
    free(room), free(cut.d);
    if (st) free(whole.d), whole = (box_list){0};
    float sx = (float)((double)w / s->W), sy = (float)((double)h / s->H);
    for (int i = 0; i < whole.n; i++)
        for (int k = 0; k < 4; k++) whole.d[i].box[k] *= k & 1 ? sy : sx;
    *out = whole.d, *n = whole.n;
    return st;
}
