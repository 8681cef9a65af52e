/* predict: what the files of `medley predict` share. predict.c: the command; predict_paths.c: names of outputs; predict_open.c: run, task and network;
 * predict_plane.c: the network on one image; predict_boxes.c: boxes of several windows; predict_case.c: one file from reading to writing;
 * predict_slide.c, predict_slide_mask.c: a whole slide; predict_tables.c: the tables of all files; predict_draw.c, predict_geojson.c: pictures and
 * outlines. */
#ifndef MEDLEY_PREDICT_H
#define MEDLEY_PREDICT_H

#include "medley/train.h"
#include "medley/use.h"

#include "outliner.h"
#include "sources.h"
#include "writers.h"

/* What is asked for on the command line. */
typedef struct predict_ask {
    const char *run, *task, *out, *data, *spacing, *scale, *score, *list;
    source_ask  files;
    const char **word;      /* (n_words) files and folders */
    int         n_words;
    weights_ask weights;
    int64_t     overlap;    /* of windows, percent */
    bool        tta, overlay, outlines, probabilities, force;
} predict_ask;

/* ---- outputs (predict_paths.c) ------------------------------------------------------------------------------------------------------ */

/* OUT/name + end; ST_USAGE if too long. */
MUST status predict_path(const predict_ask *ask, const char *name, const char *end, char out[1400]);

void predict_safe_name(const char *name, char out[64]); /* a task's name as part of a file's */

/* ---- network (predict_open.c) ---------------------------------------------------------------------------------------------------- */

/* What the task expects of an image and what its outputs mean. Made by rank 0 of job, weights and the data set's index; sent as bytes. */
typedef struct predict_plan {
    task_spec   spec;       /* class_name: each rank's own */
    char        encoder[32], data[64], weights[1300];
    int64_t     step;       /* of the training */
    source_how  how;        /* files are read */
    double      spacing;    /* of a network pixel, in the units of the data; 0: the whole image is fitted */
    float       scale;      /* source pixels in a network pixel, instead; 0: not given */
    float       overlap;    /* of windows, share of their side */
    bool        flip_x, flip_y; /* mirror images that are looked at too */
} predict_plan;

typedef struct predictor {
    predict_plan plan;
    char (*class_name)[64]; /* (K) */
    shared    sh;
    params    pt;
    task      task;
    float    *w;            /* (pt.n_local) */
    arena     act;
    task_run *run;          /* one image at a time: no result depends on its neighbours */
    float    *input, *mirrored; /* (H,W,3) */
    float    *blend;        /* (H + W) weights of a window's rows and columns */
} predictor;
MUST status predictor_open(predictor *p, comm *world, const predict_ask *ask); /* collective */
void predictor_close(predictor *p);
void predict_blend(float *out, int n); /* smooth weights of a window's n rows or columns */

/* Rank 0, before any work: what may be written is not there yet, or --force; and it is none of the sources. */
MUST status predict_may_write(const source_files *f, const predict_ask *ask, const predict_plan *plan);

/* ---- one image (predict_plane.c) -------------------------------------------------------------------------------------------------- */

/* Image kinds: out (K) probabilities, or the scalar. Seen as in evaluation. */
MUST status predict_image(predictor *p, const plane *s, double *out);
/* Segmentation: mask (h,w) on the grid of the source, of which s may be a smaller copy; prob (h,w,K) or NULL. An image that does not fit the
 * network's field at its scale is covered by windows. */
MUST status predict_mask(predictor *p, const plane *s, int h, int w, uint8_t *mask, float *prob);
/* Detection: boxes in pixels of the source (h,w), best first. *out: free(). */
MUST status predict_boxes(predictor *p, const plane *s, int h, int w, detection **out, int *n);

/* ---- boxes of several windows (predict_boxes.c) ------------------------------------------------------------------------------------------ */

typedef struct box_list { detection *d; int n, room; } box_list;
MUST status boxes_push(box_list *l, const detection *d);
/* Boxes that a window cut count only where no whole one of their class covers more than half of them; then the usual suppression over all windows:
 * the best first. */
MUST status boxes_merge(box_list *whole, const box_list *cut, float iou);

/* ---- one file (predict_case.c) ---------------------------------------------------------------------------------------------------- */

/* A row of the tables: head and n numbers behind it. Image kinds: one a plane or tile, K numbers. Segmentation: one a file, K counts of voxels.
 * Detection: one a plane or slide, DETECTION_NUMBERS for each box: x0 y0 x1 y1 score class. */
enum { DETECTION_NUMBERS = 6 };
enum row_of { ROW_IMAGE, ROW_VOLUME, ROW_SLIDE };
typedef struct predict_row {
    int32_t file, slice;    /* slice: plane or tile; -1: an image of two dimensions, a whole volume or slide */
    int32_t of;             /* enum row_of */
    int32_t H, W, n;
    int32_t x, y;           /* of a tile */
    float   voxel[3];       /* mm (um) along z, y, x; NaN: not known */
} predict_row;
typedef struct predict_rows { char *bytes; size_t n, room; } predict_rows;
MUST status predict_rows_add(predict_rows *r, const predict_row *row, const double *numbers);

/* Reads, predicts, writes what is the file's own, adds its rows. ST_DATA: the file cannot be used. Local. */
MUST status predict_case(predictor *p, const predict_ask *ask, const source_file *f, int number, predict_rows *rows);
/* The same of a slide, tile by tile or in bands, with its GeoJSON (predict_slide.c). */
MUST status predict_slide(predictor *p, const predict_ask *ask, const source_file *f, int number, predict_rows *rows);
MUST status predict_rows_boxes(predict_rows *r, predict_row row, const detection *d, int n);

/* ---- tables of all files (predict_tables.c) ------------------------------------------------------------------------------------------ */

/* Rank 0. rows: of all ranks, in any order. */
MUST status predict_tables(const predictor *p, const predict_ask *ask, const source_files *f, const predict_rows *rows);

void predict_json_text(FILE *f, const char *s); /* quoted */

/* ---- outlines (predict_geojson.c) ---------------------------------------------------------------------------------------------------- */

/* GeoJSON for QuPath: regions of a mask (h,w) with their holes, or boxes, in pixels of the source. */
MUST status predict_outline_mask(const predictor *p, int h, int w, const uint8_t *mask, const char *path);
MUST status predict_outline_boxes(const predictor *p, const detection *d, int n, const char *path);
/* The same piece by piece, for slides. */
typedef struct geojson {
    const predictor *p;
    FILE            *f;
    char             path[1400];
    int              n;
    double           from[2], step[2], most[2]; /* of masks: x, y of pixel 0 in the source, size of a pixel, where the source ends */
} geojson;
MUST status geojson_begin(geojson *g, const predictor *p, const char *path);
MUST status geojson_end(geojson *g, status st); /* st: of the work, which is returned, and then there is no file */
void geojson_box(geojson *g, const char *object, const detection *d);
void geojson_tile(geojson *g, const double box[4], const double *x); /* x: what task_readout gives */
MUST status geojson_regions(geojson *g, outliner **out, int w); /* of the mask whose rows it then gets */

/* ---- pictures (predict_draw.c) ------------------------------------------------------------------------------------------------------ */

rgb8 predict_colour(const predictor *p, int k); /* of class k; segmentation: the background is black */
/* The plane at the source's size (h,w) with its mask, or boxes, and a legend. */
MUST status predict_draw_mask(const predictor *p, const plane *s, int h, int w, const uint8_t *mask, const char *path);
MUST status predict_draw_boxes(const predictor *p, const plane *s, int h, int w, const detection *d, int n, const char *path);

#endif
