/* predict_case: one file: read as its data set's files were, plane by plane through the network, results written where they belong. */
#include "predict.h"

#include <stdlib.h>
#include <string.h>

static predict_row row_of(const source_case *c, int number, int slice, int n)
{
    predict_row r;
    memset(&r, 0, sizeof r); /* it is sent as bytes */
    r.file = number, r.slice = c->m.is_volume ? slice : -1, r.of = c->m.is_volume ? ROW_VOLUME : ROW_IMAGE, r.H = c->h, r.W = c->w, r.n = n;
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

static status whole_image(predictor *p, const source_case *c, int number, predict_rows *rows)
{
    int K = p->plan.spec.K;
    double *out;
    TRY(mem_alloc(&out, sizeof *out * (size_t)K, "results"), "predict");
    status st = OK;
    for (int d = 0; d < c->m.D && !st; d++) {
        plane s = source_plane(c, d);
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
static status write_volume(const predictor *p, const source_case *c, image *m, const char *path)
{
    uint8_t *bytes;
    size_t n;
    TRY(image_along(m, p->plan.how.image.as.axis), "%s", path);
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

static status write_probabilities(const predictor *p, const predict_ask *ask, const source_case *c, const source_file *f, image *prob)
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

static status count_classes(const source_case *c, int number, const image *labels, int K, predict_rows *rows)
{
    double count[256] = {0};
    predict_row row = row_of(c, number, -1, K);
    const uint8_t *px = labels->data;
    for (size_t i = 0, n = image_count(labels); i < n; i++) count[px[i]]++;
    return predict_rows_add(rows, &row, count);
}

static status segment(predictor *p, const predict_ask *ask, const source_case *c, const source_file *f, int number, predict_rows *rows)
{
    int K = p->plan.spec.K;
    size_t area = (size_t)c->h * (size_t)c->w;
    image labels, prob = {.D = c->m.D, .H = c->h, .W = c->w, .C = K, .type = DT_F32};
    char path[1400];
    TRY(image_alloc(&labels, c->m.D, c->h, c->w, 1, DT_U8, f->path), "predict");
    status st = ask->probabilities ? mem_alloc(&prob.data, image_bytes(&prob), "probabilities") : OK;
    for (int d = 0; d < c->m.D && !st; d++) {
        plane s = source_plane(c, d);
        st = predict_mask(p, &s, c->h, c->w, (uint8_t *)labels.data + area * (size_t)d, prob.data ? (float *)prob.data + area * (size_t)K * (size_t)d : NULL);
    }
    if (!st) st = count_classes(c, number, &labels, K, rows);
    if (!st && ask->overlay) {
        int d = fullest(&labels);
        plane s = source_plane(c, d);
        st = predict_path(ask, f->name, "-overlay.png", path);
        if (!st) st = predict_draw_mask(p, &s, c->h, c->w, (const uint8_t *)labels.data + area * (size_t)d, path);
    }
    if (!st && ask->outlines && !c->m.is_volume) {
        st = predict_path(ask, f->name, ".geojson", path);
        if (!st) st = predict_outline_mask(p, c->h, c->w, labels.data, path);
    }
    if (!st && prob.data) st = write_probabilities(p, ask, c, f, &prob);
    if (!st) st = predict_path(ask, f->name, c->m.is_volume ? ".nii.gz" : ".png", path);
    if (!st) st = c->m.is_volume ? write_volume(p, c, &labels, path) : write_labels(p, &labels, path);
    image_free(&labels), image_free(&prob);
    return st;
}

/* ---- detection ---------------------------------------------------------------------------------------------------------------------- */

status predict_rows_boxes(predict_rows *r, predict_row row, const detection *d, int n)
{
    double *numbers;
    row.n = n * DETECTION_NUMBERS;
    TRY(mem_alloc(&numbers, sizeof *numbers * ((size_t)n * DETECTION_NUMBERS + 1), "boxes"), "predict");
    for (int i = 0; i < n; i++) {
        double *to = numbers + (size_t)i * DETECTION_NUMBERS;
        for (int k = 0; k < 4; k++) to[k] = (double)d[i].box[k];
        to[4] = (double)d[i].score, to[5] = d[i].cls;
    }
    status st = predict_rows_add(r, &row, numbers);
    free(numbers);
    return st;
}

static status detect(predictor *p, const predict_ask *ask, const source_case *c, const source_file *f, int number, predict_rows *rows)
{
    detection *best = NULL;
    int n_best = 0, at = 0;
    status st = OK;
    for (int d = 0; d < c->m.D && !st; d++) {
        plane s = source_plane(c, d);
        detection *found;
        int n;
        st = predict_boxes(p, &s, c->h, c->w, &found, &n);
        if (!st) st = predict_rows_boxes(rows, row_of(c, number, d, 0), found, n);
        if (!st && n > 0 && (!best || found[0].score > best[0].score)) {
            free(best);
            best = found, n_best = n, at = d;
        } else free(found);
    }
    char path[1400];
    if (!st && ask->outlines && !c->m.is_volume) {
        st = predict_path(ask, f->name, ".geojson", path);
        if (!st) st = predict_outline_boxes(p, best, n_best, path);
    }
    if (!st && ask->overlay) {
        plane s = source_plane(c, at);
        st = predict_path(ask, f->name, "-overlay.png", path);
        if (!st) st = predict_draw_boxes(p, &s, c->h, c->w, best, n_best, path);
    }
    free(best);
    return st;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------------ */

static status work_on_image(predictor *p, const predict_ask *ask, const source_file *f, int number, predict_rows *rows)
{
    source_case c;
    status st;
    TRY(source_read(&c, f->path, &p->plan.how.image), "predict");
    switch (p->plan.spec.kind) {
    case TASK_SEGMENTATION: st = segment(p, ask, &c, f, number, rows); break;
    case TASK_DETECTION: st = detect(p, ask, &c, f, number, rows); break;
    default: st = whole_image(p, &c, number, rows); break;
    }
    source_free(&c);
    return st ? status_note(st, __FILE__, __LINE__, "%s", f->path) : OK;
}

status predict_case(predictor *p, const predict_ask *ask, const source_file *f, int number, predict_rows *rows)
{
    size_t before = rows->n;
    watchdog_tick(-1, "read", p->plan.spec.name);
    bool slide = source_is_slide(f->path, &p->plan.how);
    status st = slide ? predict_slide(p, ask, f, number, rows) : work_on_image(p, ask, f, number, rows);
    if (st) rows->n = before; /* all of a file or nothing */
    return st;
}
