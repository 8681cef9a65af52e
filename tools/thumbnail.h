/* thumbnail: one sample drawn on a canvas. */
#ifndef MEDLEY_TOOLS_THUMBNAIL_H
#define MEDLEY_TOOLS_THUMBNAIL_H

#include "canvas.h"
#include "medley/store.h"

typedef struct thumb { int x, y, w, h, H, W; } thumb; /* place on the sheet, size there; size of the image */

/* w and h, at most `tile`, in the patient's proportions: pixels need not be square. spacing: rows, columns; NaN unknown. */
void thumb_fit(thumb *t, int tile, const float spacing[2]);
/* px (H,W,C) of sample i; its range is drawn from black to white. */
void thumb_pixels(canvas *c, const shard *f, int64_t i, const void *px, const thumb *t);
/* Outlines alone, for what is inside must be seen as it is: the pixels of a class at its border, in the colour of the class; ignored pixels
 * are hatched. mask (H,W); class k has colour first_colour + k - 1. */
void thumb_mask(canvas *c, const uint8_t *mask, const thumb *t, int first_colour);
/* Frames and names of label set l; class k has colour first_colour + k. */
void thumb_boxes(canvas *c, const shard *f, int l, int64_t i, const thumb *t, int first_colour);

#endif
