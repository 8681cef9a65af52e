/* read_geojson: areas with a classification in GeoJSON (jansson), as QuPath exports them. */
#include "slide.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static status read_ring(outline *o, json_t *ring)
{
    size_t n = json_array_size(ring);
    double (*xy)[2];
    CHECK(json_is_array(ring) && n >= 3 && n < INT32_MAX / 32, ST_DATA, "a ring of %zu corners", n);
    TRY(mem_alloc(&xy, n * sizeof *xy, "corners"), "ring");
    status st = OK;
    for (size_t i = 0; i < n && !st; i++) {
        json_t *at = json_array_get(ring, i), *x = json_array_get(at, 0), *y = json_array_get(at, 1);
        if (!json_is_number(x) || !json_is_number(y)) st = status_raise(ST_DATA, __FILE__, __LINE__, "corner %zu is no pair of numbers", i);
        xy[i][0] = json_number_value(x), xy[i][1] = json_number_value(y);
    }
    if (!st) st = outline_add_ring(o, (const double (*)[2])xy, (int)n);
    free(xy);
    return st;
}

static status read_polygon(outline *o, json_t *rings)
{
    CHECK(json_is_array(rings) && json_array_size(rings) > 0, ST_DATA, "a polygon without rings");
    for (size_t i = 0; i < json_array_size(rings); i++) TRY(read_ring(o, json_array_get(rings, i)), "ring %zu", i);
    return OK;
}

static status read_feature(boxes *b, int *n_left, json_t *one)
{
    json_t *geometry = json_object_get(one, "geometry"), *lists = json_object_get(geometry, "coordinates");
    const char *kind = json_string_value(json_object_get(geometry, "type"));
    const char *name = json_string_value(json_object_get(json_object_get(json_object_get(one, "properties"), "classification"), "name"));
    bool polygon = kind && !strcmp(kind, "Polygon"), several = kind && !strcmp(kind, "MultiPolygon");
    CHECK(json_is_object(one), ST_DATA, "no feature");
    if (!name || (!polygon && !several)) {
        ++*n_left;
        return OK;
    }
    outline o = {0};
    status st = OK;
    double edge[4];
    if (polygon) TRY_TO(bad, read_polygon(&o, lists), "%s", name);
    CHECK_TO(bad, polygon || (json_is_array(lists) && json_array_size(lists) > 0), ST_DATA, "%s: no list of polygons", name);
    for (size_t i = 0; several && i < json_array_size(lists); i++) TRY_TO(bad, read_polygon(&o, json_array_get(lists, i)), "%s: polygon %zu", name, i);
    outline_extent(&o, edge);
    TRY_TO(bad, boxes_add(b, edge[0], edge[1], edge[2], edge[3], name), "region");
    b->shape[b->n - 1] = o;
    return OK;
bad:
    outline_free(&o);
    return st;
}

status geojson_parse(boxes *b, int *n_left, const char *text, size_t n, const char *what)
{
    *b = (boxes){0};
    *n_left = 0;
    json_error_t error;
    json_t *root = json_loadb(text, n, 0, &error);
    CHECK(root, ST_DATA, "%s:%d: %s", what, error.line, error.text);
    status st = OK;
    json_t *list = json_is_array(root) ? root : json_object_get(root, "features");
    const char *type = json_string_value(json_object_get(root, "type"));
    if (json_is_array(list))
        for (size_t i = 0; i < json_array_size(list); i++) TRY_TO(out, read_feature(b, n_left, json_array_get(list, i)), "%s: features[%zu]", what, i);
    else {
        CHECK_TO(out, type && !strcmp(type, "Feature"), ST_DATA, "%s: neither features nor a feature of GeoJSON", what);
        TRY_TO(out, read_feature(b, n_left, root), "%s", what);
    }
out:
    json_decref(root);
    if (st) boxes_free(b);
    return st;
}
