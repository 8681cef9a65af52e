/* outliner: the regions of a mask as polygons with holes, from a mask that comes row by row and may be of any height. */
#ifndef MEDLEY_OUTLINER_H
#define MEDLEY_OUTLINER_H

#include "medley/core.h"

/* Pixels of one class that hang together over edges; those that touch at a corner alone are apart. Rings run along the edges of pixels and have no
 * corner twice, the region to their right (down is y); ring 0 is the outer one, the others are holes. Corners from..to-1 of a ring; it is not
 * closed by its first corner. */
typedef struct outline_ring { int32_t from, to; } outline_ring;
typedef struct outline_region {
    int                  cls, n_rings;
    const outline_ring  *ring;      /* (n_rings) */
    const int32_t      (*xy)[2];
} outline_region;
typedef status outline_take(void *arg, const outline_region *r);

typedef struct outliner outliner;
/* Rows of w pixels. `take` gets a region as soon as a row has nothing of it: by last rows, and from left to right. Memory: of what is in the last row. */
MUST status outliner_open(outliner **out, int w, outline_take *take, void *arg);
MUST status outliner_row(outliner *o, const uint8_t *row); /* classes; 0: in no region */
MUST status outliner_end(outliner *o);                     /* no more rows */
void outliner_close(outliner *o);                          /* NULL allowed */

#endif
