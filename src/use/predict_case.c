/* predict_case: one file: read as its data set's files were, plane by plane through the network, results written where they belong. */
#include "predict.h"

#include <stdlib.h>
#include <string.h>

/* ---- reading ----------------------------------------------------------------------------------------------------------------------- */

typedef struct case_file {
    image m;            /* planes as a shard would store them */
    image like;         /* the volume before it was cut, without pixels */
    float range[2];
    int   h, w;         /* of a plane of the source, which m may have smaller */
} case_file;

static status read_case(case_file *c, const predictor *p, const char *path)
{
    const image_rules *r = &p->plan.rules;
    image_frames frames = {.n = r->as.n_frames};
    memcpy(frames.at, r->as.frame, sizeof frames.at);
    *c = (case_file){0};
    TRY(image_read_frames(&c->m, path, USE_PIXELS, &frames), "predict");
    TRY(image_settle(&c->m, r, c->range), "%s", path);
    c->like = c->m, c->like.data = NULL;
    int axis = c->m.is_volume ? r->as.axis : 0;
    c->h = axis == 0 ? c->m.H : c->m.D, c->w = axis == 2 ? c->m.H : c->m.W;
    TRY(image_cut(&c->m, r), "%s", path);
    return OK;
}

static plane plane_of(const case_file *c, int d)
{
    const image *m = &c->m;
    size_t bytes = (size_t)m->H * (size_t)m->W * (size_t)m->C * dtype_bytes(m->type);
    return (plane){.pixels = (const char *)m->data + bytes * (size_t)d, .type = m->type, .H = m->H, .W = m->W, .C = m->C,
                   .range = {c->range[0], c->range[1]}, .spacing = {(float)m->spacing[1], (float)m->spacing[2]}};
}

static predict_row row_of(const case_file *c, int number, int slice, int n)
{
    predict_row r;
    memset(&r, 0, sizeof r); /* it is sent as bytes */
    r.file = number, r.slice = c->m.is_volume ? slice : -1, r.volume = c->m.is_volume, r.H = c->h, r.W = c->w, r.n = n;
    for (int k = 0; k < 3; k++) r.voxel[k] = (float)c->like.spacing[k];
    return r;
}

status predict_rows_add(predict_rows *r, const predict_row *row, const double *numbers)
{
    size_t tail = sizeof *numbers * (size_t)row->n, need = r->n + sizeof *row + tail;
    if (need > r->room) {
        TRY(mem_grow(&r->bytes, 2 * need, "results"), "predict");
        r->room = 2 * need;
    }
    memcpy(r->bytes + r->n, row, sizeof *row);
    if (tail) memcpy(r->bytes + r->n + sizeof *row, numbers, tail);
    r->n = need;
    return OK;
}

/* ---- image kinds ------------------------------------------------------------------------------------------------------------------- */

static status whole_image(predictor *p, const case_file *c, int number, predict_rows *rows)
{
    int K = p->plan.spec.K;
    double *out;
    TRY(mem_alloc(&out, sizeof *out * (size_t)K, "results"), "predict");
    status st = OK;
    for (int d = 0; d < c->m.D && !st; d++) {
        plane s = plane_of(c, d);
        predict_row row = row_of(c, number, d, K);
        st = predict_image(p, &s, out);
        if (!st) st = predict_rows_add(rows, &row, out);
    }
    free(out);
    return st;
}

/* ---- segmentation ------------------------------------------------------------------------------------------------------------------- */

static status write_bytes(const char *path, uint8_t *bytes, size_t n)
{
    status st = file_write_atomic(path, bytes, n);
    free(bytes);
    return st;
}

/* m: planes of labels or probabilities; becomes a volume on the way. */
static status write_volume(const predictor *p, const case_file *c, image *m, const char *path)
{
    uint8_t *bytes;
    size_t n;
    TRY(image_along(m, p->plan.rules.as.axis), "%s", path);
    TRY(nifti_encode(m, &c->like, &bytes, &n), "%s", path);
    return write_bytes(path, bytes, n);
}

static status write_labels(const predictor *p, const image *m, const char *path)
{
    rgb8 colour[256];
    uint8_t *bytes;
    size_t n;
    for (int k = 0; k < p->plan.spec.K; k++) colour[k] = predict_colour(p, k);
    TRY(png_encode_labels(m->W, m->H, m->data, colour, p->plan.spec.K, &bytes, &n), "%s", path);
    return write_bytes(path, bytes, n);
}

static status write_probabilities(const predictor *p, const predict_ask *ask, const case_file *c, const predict_file *f, image *prob)
{
    char path[1400];
    uint8_t *bytes;
    size_t n;
    if (c->m.is_volume) {
        TRY(predict_path(ask, f->name, "-probabilities.nii.gz", path), "predict");
        return write_volume(p, c, prob, path);
    }
    TRY(predict_path(ask, f->name, "-probabilities.npy", path), "predict");
    TRY(npy_encode(prob->data, 3, (int64_t[]){prob->H, prob->W, prob->C}, &bytes, &n), "%s", path);
    return write_bytes(path, bytes, n);
}

static int64_t foreground(const uint8_t *mask, size_t n)
{
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += mask[i] != 0;
    return sum;
}

/* The plane that shows most of what was found. */
static int fullest(const image *labels)
{
    size_t n = (size_t)labels->H * (size_t)labels->W;
    int best = 0;
    int64_t most = -1;
    for (int d = 0; d < labels->D; d++) {
        int64_t here = foreground((const uint8_t *)labels->data + n * (size_t)d, n);
        if (here > most) most = here, best = d;
    }
    return best;
}

static status count_classes(const case_file *c, int number, const image *labels, int K, predict_rows *rows)
{
    double count[256] = {0};
    predict_row row = row_of(c, number, -1, K);
    const uint8_t *px = labels->data;
    for (size_t i = 0, n = image_count(labels); i < n; i++) count[px[i]]++;
    return predict_rows_add(rows, &row, count);
}

static status segment(predictor *p, const predict_ask *ask, const case_file *c, const predict_file *f, int number, predict_rows *rows)
{
    int K = p->plan.spec.K;
    size_t area = (size_t)c->h * (size_t)c->w;
    image labels, prob = {.D = c->m.D, .H = c->h, .W = c->w, .C = K, .type = DT_F32};
    char path[1400];
    TRY(image_alloc(&labels, c->m.D, c->h, c->w, 1, DT_U8, f->path), "predict");
    status st = ask->probabilities ? mem_alloc(&prob.data, image_bytes(&prob), "probabilities") : OK;
    for (int d = 0; d < c->m.D && !st; d++) {
        plane s = plane_of(c, d);
        st = predict_mask(p, &s, c->h, c->w, (uint8_t *)labels.data + area * (size_t)d, prob.data ? (float *)prob.data + area * (size_t)K * (size_t)d : NULL);
    }
    if (!st) st = count_classes(c, number, &labels, K, rows);
    if (!st && ask->overlay) {
        int d = fullest(&labels);
        plane s = plane_of(c, d);
        st = predict_path(ask, f->name, "-overlay.png", path);
        if (!st) st = predict_draw_mask(p, &s, c->h, c->w, (const uint8_t *)labels.data + area * (size_t)d, path);
    }
    if (!st && prob.data) st = write_probabilities(p, ask, c, f, &prob);
    if (!st) st = predict_path(ask, f->name, c->m.is_volume ? ".nii.gz" : ".png", path);
    if (!st) st = c->m.is_volume ? write_volume(p, c, &labels, path) : write_labels(p, &labels, path);
    image_free(&labels), image_free(&prob);
    return st;
}

/* ---- detection ---------------------------------------------------------------------------------------------------------------------- */

static status add_boxes(predict_rows *rows, const case_file *c, int number, int slice, const detection *d, int n)
{
    double *numbers;
    predict_row row = row_of(c, number, slice, n * DETECTION_NUMBERS);
    TRY(mem_alloc(&numbers, sizeof *numbers * (size_t)(n * DETECTION_NUMBERS + 1), "boxes"), "predict");
    for (int i = 0; i < n; i++) {
        double *to = numbers + (size_t)i * DETECTION_NUMBERS;
        for (int k = 0; k < 4; k++) to[k] = (double)d[i].box[k];
        to[4] = (double)d[i].score, to[5] = d[i].cls;
    }
    status st = predict_rows_add(rows, &row, numbers);
    free(numbers);
    return st;
}

static status detect(predictor *p, const predict_ask *ask, const case_file *c, const predict_file *f, int number, predict_rows *rows)
{
    detection *best = NULL;
    int n_best = 0, at = 0;
    status st = OK;
    for (int d = 0; d < c->m.D && !st; d++) {
        plane s = plane_of(c, d);
        detection *found;
        int n;
        st = predict_boxes(p, &s, c->h, c->w, &found, &n);
        if (!st) st = add_boxes(rows, c, number, d, found, n);
        if (!st && n > 0 && (!best || found[0].score > best[0].score)) {
            free(best);
            best = found, n_best = n, at = d;
        } else free(found);
    }
    if (!st && ask->overlay) {
        char path[1400];
        plane s = plane_of(c, at);
        st = predict_path(ask, f->name, "-overlay.png", path);
        if (!st) st = predict_draw_boxes(p, &s, c->h, c->w, best, n_best, path);
    }
    free(best);
    return st;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------------ */

status predict_case(predictor *p, const predict_ask *ask, const predict_file *f, int number, predict_rows *rows)
{
    case_file c;
    size_t before = rows->n;
    watchdog_tick(-1, "read", p->plan.spec.name);
    status st = read_case(&c, p, f->path);
    if (!st) {
        switch (p->plan.spec.kind) {
        case TASK_SEGMENTATION: st = segment(p, ask, &c, f, number, rows); break;
        case TASK_DETECTION: st = detect(p, ask, &c, f, number, rows); break;
        default: st = whole_image(p, &c, number, rows); break;
        }
        if (st) st = status_note(st, __FILE__, __LINE__, "%s", f->path);
    }
    if (st) rows->n = before; /* all of a file or nothing */
    image_free(&c.m);
    return st;
}
