/* outline: the shape of one object as polygons (COCO, YOLO, GeoJSON) or as runs of pixels (COCO), and its pixels in a mask. */
#ifndef MEDLEY_TOOLS_OUTLINE_H
#define MEDLEY_TOOLS_OUTLINE_H

#include "medley/core.h"

/* Polygons in pixel edges of the image (the left edge of the first pixel is 0), or runs down the columns from the left, off and on in turn. */
typedef struct outline {
    int       n_rings, n_runs;
    double  (*xy)[2];      /* (ring_end[n_rings - 1]) corners of all rings, one ring after another */
    int      *ring_end;    /* (n_rings) */
    uint32_t *run;         /* (n_runs) they add up to H * W */
    int       H, W;        /* of the image the runs are made for */
    bool      crowd;       /* many objects at once (COCO's iscrowd) */
} outline;
void outline_free(outline *o);
static inline bool outline_empty(const outline *o) { return !o->n_rings && !o->n_runs; }
MUST status outline_add_ring(outline *o, const double (*xy)[2], int n); /* corners, (n,2), n >= 3 */
/* COCO's compressed counts: groups of 5 bits in printable letters, from the fourth count on the difference to the one before the last. */
MUST status outline_unpack(outline *o, const char *text, int H, int W);
MUST status outline_check_runs(const outline *o);       /* they fill the image exactly */
void outline_extent(const outline *o, double edge[4]);  /* x0 y0 x1 y1 around corners or pixels; all 0 without any */

/* Sets the object's pixels of px (H,W). Polygons: which pixels those are is told as by pycocotools, bit for bit: corners are rounded to a fifth of
 * a pixel. even_odd: a ring within a ring is a hole (GeoJSON); else the rings are united (COCO, YOLO). ST_DATA: runs for another size. */
MUST status outline_paint(const outline *o, uint8_t *px, int H, int W, uint8_t value, bool even_odd);

#endif
