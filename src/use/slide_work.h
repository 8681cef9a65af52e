/* slide_work: what predict_slide.c and predict_slide_mask.c share: a slide that is worked on, and the windows that cover it. */
#ifndef MEDLEY_SLIDE_WORK_H
#define MEDLEY_SLIDE_WORK_H

#include "predict.h"

typedef struct slide_work {
    predictor    *p;
    int           number;       /* of the file */
    predict_rows *rows;
    source_slide  s;
    geojson       g;
} slide_work;

/* Windows of side x side pixels of a tile's resolution, `stride` apart, that cover the scanned part, (H,W) such pixels; the last ones may reach beyond
 * it. Without overlap they are the tiles of a conversion. */
typedef struct slide_windows { int side, stride, W, H, nx, ny; } slide_windows;
slide_windows slide_windows_of(const slide_work *k);
part slide_window_at(const slide_work *k, const slide_windows *g, int j, int i);         /* row j, column i */
bool slide_window_has_tissue(const slide_work *k, const slide_windows *g, int j, int i); /* in a tile of the grid that it reaches into */

predict_row slide_row(const slide_work *k, int n); /* of the slide as a whole */
MUST status slide_mask(slide_work *k);

#endif
