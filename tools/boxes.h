/* boxes: objects of one image, as read from Pascal VOC, YOLO or COCO files, in pixel edges (the left edge of the first pixel is 0). */
#ifndef MEDLEY_TOOLS_BOXES_H
#define MEDLEY_TOOLS_BOXES_H

#include "outline.h"

typedef struct boxes {
    int    n, room;
    float (*edge)[4];      /* (n,4) x0 y0 x1 y1 */
    char  (*name)[64];     /* (n) class name in the file; "" if the file has none */
    outline *shape;        /* (n) empty where the file has a box alone, or outlines were not asked for */
    int    width, height;  /* of the image as the file says; 0 unknown */
} boxes;
void   boxes_free(boxes *b);
MUST status boxes_add(boxes *b, double x0, double y0, double x1, double y1, const char *name);

/* Pascal VOC XML. VOC counts pixels from 1 and both corners belong to the object: one_based turns xmin, ymin into edges by taking 1 off.
 * Files of tools that count from 0 take the numbers as edges. */
MUST status voc_parse(boxes *b, const char *text, size_t n, bool one_based, const char *what);

/* YOLO: shares of an image of width x height pixels become edges; of a polygon the box around it, and its outline. Names are the classes'
 * numbers. An empty file is an image without objects. */
MUST status yolo_parse(boxes *b, const char *text, size_t n, int width, int height, const char *what);

/* COCO JSON: all images of the file at once. Outlines are polygons or runs, compressed or not. A box that the file leaves out is the one around
 * the outline. */
typedef struct coco_rules {
    bool outlines;         /* keep outlines, crowd regions among them; annotations without one are left out */
    bool crowd_is_object;  /* iscrowd means nothing; else a crowd region gives no box, and its outline is marked */
} coco_rules;
typedef struct coco_image { char *file_name; int64_t id; boxes boxes; } coco_image;
typedef struct coco {
    int n;
    coco_image *image;     /* (n) sorted by file_name */
    int n_no_category, n_no_image, n_no_outline; /* annotations left out: no (known) category, no (known) image, no outline */
    int n_crowd;           /* crowd regions that are no objects */
} coco;
MUST status coco_parse(coco *c, const char *text, size_t n, const coco_rules *rules, const char *what);
const coco_image *coco_find(const coco *c, const char *file_name);
void coco_free(coco *c);

#endif
