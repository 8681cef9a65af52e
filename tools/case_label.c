/* case_label: finds and reads the labels of one source image. */
#include "case.h"
#include "slide.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ------------------------------------------------------------------------------------------------------------------ */

enum { VECTOR_MISSING = 255 };

static bool is_one_of(const char (*words)[64], int n, const char *text)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(words[i], text)) return true;
    return false;
}

static bool is_missing(const recipe_label *l, const char *text) { return is_one_of(l->missing, l->n_missing, text); }

/* Class of a value of the source: by the map, else by its own name. */
int label_class_of(const recipe_label *l, const char *text)
{
    if (is_missing(l, text)) return VALUE_MISSING;
    for (int i = 0; i < l->n_map; i++) {
        char from[160], to[160];
        if (split_pair(l->map[i], "->", from, to, sizeof from) && !strcmp(from, text))
            return l->task == TASK_SEGMENTATION && !strcmp(to, "ignore") ? IGNORE_MASK : label_class_find(l, to);
    }
    int k = label_class_find(l, text);
    return k < 0 ? VALUE_UNKNOWN : k;
}

static char *trim(char *s)
{
    size_t n = strlen(s);
    while (n > 0 && strchr(" \t\r\n", s[n - 1])) s[--n] = 0;
    return s + strspn(s, " \t\r\n");
}

static status load_classes(case_label *out, const recipe_label *l, char *text)
{
    TRY(mem_alloc(&out->vec, (size_t)l->n_classes, "a label vector"), "label %s", l->name);
    bool any = false;
    for (char *rest = text; rest;) {
        char *one = rest, *at = *l->separator ? strstr(rest, l->separator) : NULL;
        rest = at ? at + strlen(l->separator) : NULL;
        if (at) *at = 0;
        int k = label_class_of(l, trim(one));
        CHECK(k != VALUE_UNKNOWN, ST_DATA, "label %s: value \"%s\" is none of the classes", l->name, trim(one));
        if (k >= 0) out->vec[k] = 1, any = true;
    }
    out->present = any;
    return OK;
}

static status take_value(case_label *out, const recipe_label *l, char *s)
{
    if (is_missing(l, s)) return OK;
    if (l->task == TASK_MULTILABEL) return load_classes(out, l, s);
    if (l->task == TASK_REGRESSION) {
        char *end;
        double v = strtod(s, &end);
        CHECK(end != s && !*end && isfinite(v), ST_DATA, "label %s: \"%s\" is no number", l->name, s);
        CHECK(v >= l->lo && v <= l->hi, ST_DATA, "label %s: %g is outside of %g to %g", l->name, v, l->lo, l->hi);
        out->scalar = (float)v;
        out->present = true;
        return OK;
    }
    int k = label_class_of(l, s);
    CHECK(k != VALUE_UNKNOWN, ST_DATA, "label %s: value \"%s\" is none of the classes", l->name, s);
    out->present = k >= 0;
    out->cls = k >= 0 ? k : IGNORE_CLASS;
    return OK;
}

static status load_value(case_label *out, const recipe_label *l, const names *n)
{
    char text[PATTERN_PATH * 4];
    for (int t = 0; t < n->s->r->n_tables; t++) { /* an image that a table does not know has no label from it */
        char mark[40];
        snprintf(mark, sizeof mark, "{%s.", n->s->r->table[t].name);
        if (n->row[t] < 0 && strstr(l->value, mark)) return OK;
    }
    TRY(pattern_expand(l->value, &n->is, text, sizeof text), "label %s", l->name);
    return take_value(out, l, trim(text));
}

/* A table with a column per class. Several findings may be there, and each may be unknown; or exactly one, if the label is one class. */
static status load_columns(case_label *out, const recipe_label *l, const names *n)
{
    const source *s = n->s;
    int t = recipe_table_find(s->r, l->value), n_yes = 0, n_known = 0;
    if (n->row[t] < 0) return OK;
    if (l->task == TASK_MULTILABEL) TRY(mem_alloc(&out->vec, (size_t)l->n_classes, "a label vector"), "label %s", l->name);
    for (int k = 0; k < l->n_classes; k++) {
        const char *cell = table_cell(&s->table[t], n->row[t], table_column(&s->table[t], l->classes[k]));
        bool yes = is_one_of(l->yes, l->n_yes, cell), no = !yes && is_one_of(l->no, l->n_no, cell);
        CHECK(yes || no || is_missing(l, cell), ST_DATA, "label %s: \"%s\" in column \"%s\" is none of yes, no and missing", l->name, cell, l->classes[k]);
        n_yes += yes, n_known += yes || no;
        if (out->vec) out->vec[k] = yes ? 1 : no ? 0 : VECTOR_MISSING;
        else if (yes) out->cls = k;
    }
    CHECK(out->vec || n_yes <= 1, ST_DATA, "label %s: %d classes at once, a classification has one", l->name, n_yes);
    out->present = out->vec ? n_known > 0 : n_yes == 1;
    return OK;
}

/* Regions of a slide on a tile: a mask, or the class of most of it. */
static status load_regions(one_case *c, case_label *out, const source *s, const place *at, int i, const image *original)
{
    const recipe_label *l = &s->r->label[i];
    if (l->task == TASK_SEGMENTATION) {
        TRY(image_alloc(&out->mask, 1, original->H, original->W, 1, DT_U8, l->name), "label %s", l->name);
        TRY(slide_paint(at->in->slide, i, at->part, out->mask.data, &out->present), "label %s", l->name);
        if (!out->present) image_free(&out->mask);
        return out->present ? mask_finish(c, out, s) : OK;
    }
    int k;
    TRY(slide_class(at->in->slide, i, at->part, &k), "label %s", l->name);
    out->present = k >= 0;
    out->cls = k >= 0 ? k : IGNORE_CLASS;
    return OK;
}

/* Labels that lie beside the images in an NPZ file: a number of a class, a value, or a column of 0 and 1 for each class. */
static status load_npz(case_label *out, const recipe_label *l, const place *at)
{
    int k;
    const int32_t *row = npz_label(at->in->npz, at->part, &k);
    char text[24];
    if (l->task == TASK_MULTILABEL) {
        CHECK(k == l->n_classes, ST_DATA, "label %s: %d columns for %d classes", l->name, k, l->n_classes);
        TRY(mem_alloc(&out->vec, (size_t)k, "a label vector"), "label %s", l->name);
        for (int i = 0; i < k; i++) {
            CHECK(row[i] == 0 || row[i] == 1, ST_DATA, "label %s: %d in column %d is neither 0 nor 1", l->name, row[i], i);
            out->vec[i] = (uint8_t)row[i];
        }
        out->present = true;
        return OK;
    }
    CHECK(k == 1, ST_DATA, "label %s: %d columns, a %s has one", l->name, k, l->kind);
    snprintf(text, sizeof text, "%d", row[0]);
    if (l->task == TASK_REGRESSION || l->n_map || is_missing(l, text)) return take_value(out, l, text);
    CHECK(row[0] >= 0 && row[0] < l->n_classes, ST_DATA, "label %s: class %d of %d, counted from 0", l->name, row[0], l->n_classes);
    out->cls = row[0];
    out->present = true;
    return OK;
}

/* Labels of an array beside that of the images: masks, or a class by its number or name. */
static status load_npy(one_case *c, case_label *out, const source *s, const place *at, int i, const image *original)
{
    const recipe_label *l = &s->r->label[i];
    const npy_set *v = at->in->npy;
    if (!npy_has(v, i)) return OK;
    if (l->task == TASK_SEGMENTATION) {
        TRY(image_alloc(&out->mask, 1, original->H, original->W, 1, DT_U8, l->name), "label %s", l->name);
        TRY(npy_mask(v, i, at->part, l, s->lut[i], out->mask.data), "label %s", l->name);
        return mask_finish(c, out, s);
    }
    char text[NPY_TEXT_MAX + 1];
    bool number;
    TRY(npy_value(v, i, at->part, text, sizeof text, &number), "label %s", l->name);
    if (!number || l->n_map || is_missing(l, text)) return take_value(out, l, text);
    double k = strtod(text, NULL);
    CHECK(k == rint(k) && k >= 0 && k < l->n_classes, ST_DATA, "label %s: class %s of %d, counted from 0", l->name, text, l->n_classes);
    out->cls = (int)k;
    out->present = true;
    return OK;
}

/* ---- boxes --------------------------------------------------------------------------------------------------------------------- */

static float clip(float v, int size) { return v < 0 ? 0 : v > (float)size ? (float)size : v; }

status boxes_fit(const one_case *c, const boxes *b, const image *original, const char *path)
{
    CHECK(c->px.D == 1, ST_DATA, "%s: objects need 2-D images", path);
    CHECK((b->width == 0 || b->width == original->W) && (b->height == 0 || b->height == original->H), ST_DATA,
          "%s: made for an image of %d x %d pixels, the image has %d x %d", path, b->width, b->height, original->W, original->H);
    return OK;
}

/* original: size in source pixels, which the boxes are given in; c->px: as stored. */
static status take_boxes(one_case *c, case_label *out, const recipe_label *l, const boxes *b, const image *original, const char *path)
{
    TRY(boxes_fit(c, b, original, path), "label %s", l->name);
    TRY(mem_alloc(&out->box, ((size_t)b->n + 1) * 4 * sizeof(float), "boxes"), "label %s", l->name);
    TRY(mem_alloc(&out->box_cls, ((size_t)b->n + 1) * sizeof(int32_t), "boxes"), "label %s", l->name);
    float sx = (float)c->px.W / (float)original->W, sy = (float)c->px.H / (float)original->H;
    for (int i = 0; i < b->n; i++) {
        int k = label_class_of(l, b->name[i]);
        CHECK(k != VALUE_UNKNOWN, ST_DATA, "%s: class \"%s\" is none of label %s", path, b->name[i], l->name);
        const float *e = b->edge[i];
        float x0 = clip(e[0], original->W), y0 = clip(e[1], original->H), x1 = clip(e[2], original->W), y1 = clip(e[3], original->H);
        if (k < 0 || !(x1 - x0 >= (float)l->min_box && y1 - y0 >= (float)l->min_box) || x1 <= x0 || y1 <= y0) {
            c->n_box_dropped++;
            continue;
        }
        c->n_box_clipped += x0 != e[0] || y0 != e[1] || x1 != e[2] || y1 != e[3];
        float *to = out->box + 4 * (size_t)out->n_box;
        to[0] = x0 * sx, to[1] = y0 * sy, to[2] = x1 * sx, to[3] = y1 * sy;
        out->box_cls[out->n_box++] = k;
    }
    out->present = true;
    return OK;
}

static status take_objects(one_case *c, case_label *out, const source *s, int i, const boxes *b, const image *original, const char *path)
{
    const recipe_label *l = &s->r->label[i];
    return l->task == TASK_SEGMENTATION ? mask_paint(c, out, s, i, b, original, path) : take_boxes(c, out, l, b, original, path);
}

/* Class numbers of YOLO are places in the list of classes, behind a mask's background, unless the recipe maps them. */
static status name_numbers(boxes *b, const recipe_label *l, const char *path)
{
    for (int i = 0; i < b->n && l->n_map == 0; i++) {
        int first = l->task == TASK_SEGMENTATION, k = atoi(b->name[i]) + first;
        CHECK(k < l->n_classes, ST_DATA, "%s: class %d, label %s has %d classes, counted from 0", path, k - first, l->name, l->n_classes - first);
        snprintf(b->name[i], sizeof *b->name, "%s", l->classes[k]);
    }
    return OK;
}

/* One annotation file of an image: Pascal VOC or YOLO. */
static status load_box_file(one_case *c, case_label *out, const source *s, const names *n, int i, const image *original)
{
    const recipe_label *l = &s->r->label[i];
    found_list files = {0};
    boxes b = {0};
    char *text = NULL, path[2 * PATTERN_PATH];
    size_t bytes;
    status st = OK;
    TRY_TO(out, pattern_list(s->root, l->file, &n->is, &files), "label %s", l->name);
    if (files.n == 0) goto out;
    CHECK_TO(out, files.n == 1, ST_DATA, "label %s: %d annotation files match %s", l->name, files.n, l->file);
    snprintf(path, sizeof path, "%s/%s", s->root, files.v[0].path);
    TRY_TO(out, file_read_all(path, (size_t)64 << 20, &text, &bytes), "label %s", l->name);
    if (!strcmp(l->source, "yolo")) {
        TRY_TO(out, yolo_parse(&b, text, bytes, original->W, original->H, path), "label %s", l->name);
        TRY_TO(out, name_numbers(&b, l, path), "label %s", l->name);
    } else TRY_TO(out, voc_parse(&b, text, bytes, l->one_based, path), "label %s", l->name);
    TRY_TO(out, take_objects(c, out, s, i, &b, original, path), "label %s", l->name);
out:
    free(text);
    boxes_free(&b);
    found_free(&files);
    return st;
}

static status load_coco(one_case *c, case_label *out, const source *s, const names *n, int i, const image *original)
{
    const recipe_label *l = &s->r->label[i];
    char name[PATTERN_PATH];
    TRY(pattern_expand(l->image_name, &n->is, name, sizeof name), "label %s", l->name);
    const coco_image *hit = coco_find(&s->coco[i], name);
    return hit ? take_objects(c, out, s, i, &hit->boxes, original, l->file) : OK;
}

status labels_load(one_case *c, const source *s, const names *n, const place *at, const image *original)
{
    for (int i = 0; i < s->r->n_labels; i++) {
        const recipe_label *l = &s->r->label[i];
        case_label *out = &c->label[i];
        out->cls = IGNORE_CLASS;
        out->scalar = NAN;
        if (!strcmp(l->source, "columns")) TRY(load_columns(out, l, n), "%s", bindings_find(&n->is, "path"));
        else if (!strcmp(l->source, "value")) TRY(load_value(out, l, n), "%s", bindings_find(&n->is, "path"));
        else if (!strcmp(l->source, "npz")) TRY(load_npz(out, l, at), "%s", bindings_find(&n->is, "path"));
        else if (!strcmp(l->source, "npy")) TRY(load_npy(c, out, s, at, i, original), "%s", bindings_find(&n->is, "path"));
        else if (!strcmp(l->source, "regions")) TRY(load_regions(c, out, s, at, i, original), "%s", bindings_find(&n->is, "path"));
        else if (!strcmp(l->source, "mask")) TRY(mask_load(c, out, s, n, i, original, at->time), "%s", bindings_find(&n->is, "path"));
        else if (!strcmp(l->source, "coco")) TRY(load_coco(c, out, s, n, i, original), "%s", bindings_find(&n->is, "path"));
        else TRY(load_box_file(c, out, s, n, i, original), "%s", bindings_find(&n->is, "path"));
        CHECK(out->present || !l->required, ST_DATA, "%s: no label %s", bindings_find(&n->is, "path"), l->name);
    }
    return OK;
}
