/* slide: whole slides as samples: which tiles there are (tiles.h), and the regions that are drawn on them. */
#ifndef MEDLEY_TOOLS_SLIDE_H
#define MEDLEY_TOOLS_SLIDE_H

#include "boxes.h"
#include "many.h"
#include "tiles.h"

/* ---- GeoJSON (read_geojson.c) ---- */

/* Polygons and multi-polygons with a classification (QuPath's export: features, a list of them, or one), in pixels of the finest level. Names are
 * those of the classifications; holes are even-odd. n_left: features that are no areas, or have no classification. */
MUST status geojson_parse(boxes *b, int *n_left, const char *text, size_t n, const char *what);

/* ---- tiles (slide.c) ---- */

/* Opens the slide and the regions of labels with source "regions"; known: names of the file, for their patterns. */
struct source;
MUST status slide_open(slide **out, const struct source *s, const bindings *known, const char *path);
void slide_close(slide *v);
/* Tiles on a grid, without the ones cut by the edge, with too little tissue, or outside of the regions of a required classification. */
MUST status slide_tiles(slide *v, part **out, int *n);
MUST status slide_read(slide *v, part p, image *out);
/* Regions of label i on a tile: px (tile,tile) of classes, 0 where none lies (for a classification: class + 1). *any: the slide has the file. */
MUST status slide_paint(const slide *v, int i, part p, uint8_t *px, bool *any);
/* The class that covers most of the tile, if that is at least the label's share; -1. */
MUST status slide_class(const slide *v, int i, part p, int *cls);

#endif
