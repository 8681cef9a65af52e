/* thumbnail: one sample drawn on a canvas. */
#ifndef MEDLEY_TOOLS_THUMBNAIL_H
#define MEDLEY_TOOLS_THUMBNAIL_H

#include "canvas.h"
#include "medley/store.h"

typedef struct thumb { int x, y, w, h, H, W; } thumb; /* place on the sheet, size there; size of the image */

/* w and h, at most `tile`, in the patient's proportions: pixels need not be square. spacing: rows, columns; NaN unknown. */
void thumb_fit(thumb *t, int tile, const float spacing[2]);
/* px (H,W,C) of `type`, C 1 or 3; range is drawn from black to white. */
typedef struct pixels { enum dtype type; int C; float range[2]; const void *px; } pixels;
void thumb_pixels(canvas *c, const pixels *p, const thumb *t);
/* Outlines alone, for what is inside must be seen as it is: the pixels of a class at its border, in the colour of the class; ignored pixels
 * are hatched. mask (H,W); class k has colour first_colour + k - 1. */
void thumb_mask(canvas *c, const uint8_t *mask, const thumb *t, int first_colour);
/* Frames and names. edge: x0 y0 x1 y1 in pixels of the image. */
typedef struct thumb_box { float edge[4]; int colour; const char *name; } thumb_box;
void thumb_boxes(canvas *c, const thumb_box *box, int n_boxes, const thumb *t);

#endif
