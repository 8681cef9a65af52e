/* read_coco: boxes of a COCO annotation file (jansson). */
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

static status read_annotations(coco *c, json_t *annotations, json_t *categories, const char *what)
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
        json_t *bbox = json_object_get(one, "bbox"), *image_id = json_object_get(one, "image_id");
        id_slot want = {json_integer_value(image_id), 0};
        const id_slot *hit = json_is_integer(image_id) ? bsearch(&want, slot, (size_t)c->n, sizeof *slot, by_id) : NULL;
        const char *name = category_name(categories, json_object_get(one, "category_id"));
        if (!hit || !name || json_integer_value(json_object_get(one, "iscrowd")) == 1) {
            if (!hit) c->n_no_image++;
            else if (!name) c->n_no_category++;
            else c->n_crowd++; /* a region of many objects is no box of one */
            continue;
        }
        CHECK_TO(out, json_is_array(bbox) && json_array_size(bbox) == 4, ST_DATA, "%s: annotations[%zu] has no bbox of 4 numbers", what, i);
        double v[4];
        for (size_t k = 0; k < 4; k++) {
            CHECK_TO(out, json_is_number(json_array_get(bbox, k)), ST_DATA, "%s: annotations[%zu].bbox[%zu] is no number", what, i, k);
            v[k] = json_number_value(json_array_get(bbox, k));
        }
        TRY_TO(out, boxes_add(&c->image[hit->image].boxes, v[0], v[1], v[0] + v[2], v[1] + v[3], name), "%s: annotations[%zu]", what, i);
    }
out:
    free(slot);
    return st;
}

status coco_parse(coco *c, const char *text, size_t n, const char *what)
{
    *c = (coco){0};
    json_error_t error;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    CHECK(root, ST_DATA, "%s:%d: %s", what, error.line, error.text);
    status st = OK;
    json_t *categories = json_object_get(root, "categories");
    CHECK_TO(out, json_is_array(categories), ST_DATA, "%s: no list \"categories\"", what);
    TRY_TO(out, read_images(c, json_object_get(root, "images"), what), "COCO");
    TRY_TO(out, read_annotations(c, json_object_get(root, "annotations"), categories, what), "COCO");
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
