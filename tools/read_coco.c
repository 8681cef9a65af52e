/* read_coco: boxes and outlines of a COCO annotation file (jansson). */
#include "boxes.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(((const coco_image *)a)->file_name, ((const coco_image *)b)->file_name);
}

typedef struct id_slot { int64_t id; int image; } id_slot;

static int by_id(const void *a, const void *b)
{
    int64_t x = ((const id_slot *)a)->id, y = ((const id_slot *)b)->id;
    return x < y ? -1 : x > y;
}

static status read_images(coco *c, json_t *images, const char *what)
{
    CHECK(json_is_array(images), ST_DATA, "%s: no list \"images\"", what);
    size_t n = json_array_size(images);
    TRY(mem_alloc(&c->image, (n + 1) * sizeof *c->image, "COCO images"), "%s", what);
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_array_get(images, i), *id = json_object_get(one, "id");
        const char *name = json_string_value(json_object_get(one, "file_name"));
        CHECK(name && json_is_integer(id), ST_DATA, "%s: images[%zu] has no file_name or no whole id", what, i);
        coco_image *image = &c->image[c->n];
        TRY(mem_copy(&image->file_name, name, strlen(name), "file name"), "%s", what);
        c->n++;
        image->id = json_integer_value(id);
        image->boxes.width = (int)json_integer_value(json_object_get(one, "width"));
        image->boxes.height = (int)json_integer_value(json_object_get(one, "height"));
    }
    qsort(c->image, n, sizeof *c->image, by_name);
    for (size_t i = 1; i < n; i++)
        CHECK(strcmp(c->image[i - 1].file_name, c->image[i].file_name), ST_DATA, "%s: two images are named %s", what, c->image[i].file_name);
    return OK;
}

static const char *category_name(json_t *categories, json_t *id)
{
    size_t i;
    json_t *one;
    if (!json_is_integer(id)) return NULL;
    json_array_foreach(categories, i, one) {
        json_t *other = json_object_get(one, "id");
        if (json_is_integer(other) && json_integer_value(other) == json_integer_value(id))
            return json_string_value(json_object_get(one, "name"));
    }
    return NULL;
}

/* ---- outlines ------------------------------------------------------------------------------------------------------------------ */

static status numbers_of(json_t *list, double *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        CHECK(json_is_number(json_array_get(list, i)), ST_DATA, "[%zu] is no number", i);
        out[i] = json_number_value(json_array_get(list, i));
    }
    return OK;
}

static status read_polygon(outline *o, json_t *list)
{
    size_t n = json_array_size(list);
    double (*xy)[2];
    CHECK(json_is_array(list) && n >= 6 && n % 2 == 0 && n < INT32_MAX, ST_DATA, "no list of three or more pairs of numbers");
    TRY(mem_alloc(&xy, n * sizeof(double), "corners"), "polygon");
    status st = numbers_of(list, xy[0], n);
    if (!st) st = outline_add_ring(o, (const double (*)[2])xy, (int)(n / 2));
    free(xy);
    return st;
}

static status read_runs(outline *o, json_t *seg)
{
    json_t *size = json_object_get(seg, "size"), *counts = json_object_get(seg, "counts");
    double side[2];
    CHECK(json_is_array(size) && json_array_size(size) == 2, ST_DATA, "size is no pair of numbers");
    TRY(numbers_of(size, side, 2), "size");
    for (int i = 0; i < 2; i++) CHECK(side[i] >= 1 && side[i] <= 65535 && side[i] == (int)side[i], ST_DATA, "size[%d] is %g", i, side[i]);
    if (json_is_string(counts)) return outline_unpack(o, json_string_value(counts), (int)side[0], (int)side[1]);
    size_t n = json_array_size(counts);
    CHECK(json_is_array(counts) && n > 0 && n < INT32_MAX, ST_DATA, "counts is neither a list nor a text");
    TRY(mem_alloc(&o->run, n * sizeof *o->run, "runs"), "counts");
    o->H = (int)side[0], o->W = (int)side[1];
    for (; o->n_runs < (int)n; o->n_runs++) {
        json_t *one = json_array_get(counts, (size_t)o->n_runs);
        json_int_t v = json_integer_value(one);
        CHECK(json_is_integer(one) && v >= 0 && v <= UINT32_MAX, ST_DATA, "counts[%d] is no count", o->n_runs);
        o->run[o->n_runs] = (uint32_t)v;
    }
    return outline_check_runs(o);
}

/* An empty outline if there is none: tools write null, [] and [[]] for that. */
static status read_outline(outline *o, json_t *seg)
{
    *o = (outline){0};
    if (json_is_object(seg)) return read_runs(o, seg);
    CHECK(!seg || json_is_null(seg) || json_is_array(seg), ST_DATA, "neither polygons nor runs");
    for (size_t i = 0; i < json_array_size(seg); i++) {
        json_t *list = json_array_get(seg, i);
        if (!json_is_array(list) || json_array_size(list) > 0) TRY(read_polygon(o, list), "[%zu]", i);
    }
    return OK;
}

/* ---- annotations --------------------------------------------------------------------------------------------------------------- */

static status read_one(coco *c, boxes *to, json_t *one, const char *name, const coco_rules *rules)
{
    json_t *bbox = json_object_get(one, "bbox");
    bool crowd = !rules->crowd_is_object && json_integer_value(json_object_get(one, "iscrowd")) == 1;
    bool boxed = json_is_array(bbox) && json_array_size(bbox) > 0;
    double v[4] = {0};
    outline shape = {0};
    status st = OK;
    c->n_crowd += crowd;
    if (crowd && !rules->outlines) return OK; /* a region of many objects is no box of one */
    if (rules->outlines || !boxed) TRY_TO(out, read_outline(&shape, json_object_get(one, "segmentation")), "segmentation");
    if (rules->outlines && outline_empty(&shape)) {
        c->n_no_outline++;
        goto out;
    }
    if (boxed) {
        CHECK_TO(out, json_array_size(bbox) == 4, ST_DATA, "bbox has not 4 numbers");
        TRY_TO(out, numbers_of(bbox, v, 4), "bbox");
        v[2] += v[0], v[3] += v[1];
    } else {
        CHECK_TO(out, !outline_empty(&shape), ST_DATA, "no bbox of 4 numbers and no segmentation");
        outline_extent(&shape, v);
    }
    TRY_TO(out, boxes_add(to, v[0], v[1], v[2], v[3], name), "bbox");
    if (!rules->outlines) goto out;
    to->shape[to->n - 1] = shape;
    to->shape[to->n - 1].crowd = crowd;
    return OK;
out:
    outline_free(&shape);
    return st;
}

static status read_annotations(coco *c, json_t *annotations, json_t *categories, const coco_rules *rules, const char *what)
{
    CHECK(json_is_array(annotations), ST_DATA, "%s: no list \"annotations\"", what);
    id_slot *slot;
    TRY(mem_alloc(&slot, ((size_t)c->n + 1) * sizeof *slot, "COCO ids"), "%s", what);
    for (int i = 0; i < c->n; i++) slot[i] = (id_slot){c->image[i].id, i};
    qsort(slot, (size_t)c->n, sizeof *slot, by_id);
    status st = OK;
    size_t i;
    json_t *one;
    json_array_foreach(annotations, i, one) {
        json_t *image_id = json_object_get(one, "image_id");
        id_slot want = {json_integer_value(image_id), 0};
        const id_slot *hit = json_is_integer(image_id) ? bsearch(&want, slot, (size_t)c->n, sizeof *slot, by_id) : NULL;
        const char *name = category_name(categories, json_object_get(one, "category_id"));
        if (!hit) c->n_no_image++;
        else if (!name) c->n_no_category++;
        else TRY_TO(out, read_one(c, &c->image[hit->image].boxes, one, name, rules), "%s: annotations[%zu]", what, i);
    }
out:
    free(slot);
    return st;
}

status coco_parse(coco *c, const char *text, size_t n, const coco_rules *rules, const char *what)
{
    *c = (coco){0};
    json_error_t error;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    CHECK(root, ST_DATA, "%s:%d: %s", what, error.line, error.text);
    status st = OK;
    json_t *categories = json_object_get(root, "categories");
    CHECK_TO(out, json_is_array(categories), ST_DATA, "%s: no list \"categories\"", what);
    TRY_TO(out, read_images(c, json_object_get(root, "images"), what), "COCO");
    TRY_TO(out, read_annotations(c, json_object_get(root, "annotations"), categories, rules, what), "COCO");
out:
    json_decref(root);
    if (st) coco_free(c);
    return st;
}

const coco_image *coco_find(const coco *c, const char *file_name)
{
    coco_image want = {.file_name = (char *)(uintptr_t)file_name};
    return bsearch(&want, c->image, (size_t)c->n, sizeof *c->image, by_name);
}

void coco_free(coco *c)
{
    for (int i = 0; i < c->n; i++) {
        free(c->image[i].file_name);
        boxes_free(&c->image[i].boxes);
    }
    free(c->image);
    *c = (coco){0};
}
