/* data_internal: what the files of src/data share. */
#ifndef MEDLEY_DATA_INTERNAL_H
#define MEDLEY_DATA_INTERNAL_H

#include "medley/data.h"

/* ---- growing buffers of one reader -------------------------------------------------------------------------------- */

typedef struct buffer { void *at; size_t size; } buffer; /* grows to its maximum and stays */
MUST status buffer_need(buffer *b, size_t n_bytes, const char *what);

typedef struct scratch { buffer pixels, mask, boxes, box_cls, vec, planes, row, work, blur; } scratch;
void scratch_free(scratch *s);

/* ---- one stored sample, as dataset_fetch hands it over; pointers into the scratch --------------------------------------- */

typedef struct raw_sample {
    const void    *pixels;      /* (H,W,C) of `type` */
    enum dtype     type;
    int            H, W, C;
    int            H_most, W_most; /* largest image of its shard; 0: unknown */
    float          range[2];
    float          spacing[2];  /* row, column; NaN unknown */
    float          step;        /* stored pixels per network pixel; 0: the whole image is fitted */
    int32_t        cls;
    float          scalar;
    const uint8_t *vec;         /* (K) */
    const uint8_t *mask;        /* (H,W) */
    int            n_box;
    const float   *box;         /* (n_box,4) */
    const int32_t *box_cls;     /* (n_box) */
} raw_sample;
MUST status dataset_fetch(dataset *d, int64_t global_index, scratch *s, raw_sample *out);
const int64_t *dataset_list(const dataset *d, enum split s); /* (dataset_count) global indices of labelled samples, ascending */
int32_t dataset_class(const dataset *d, int64_t global_index); /* classification; IGNORE_CLASS otherwise */

/* ---- which sample stands at position p of the endless training sequence ------------------------------------------------- */

typedef struct picker picker;
MUST status picker_open(picker **out, const dataset_use *use, uint64_t seed);
void picker_close(picker *p);
/* epoch: how often this sample was taken before; (sample, epoch) never repeats. */
void picker_at(picker *p, int64_t position, int64_t *global_index, uint32_t *epoch);

/* ---- augmentation of one sample ------------------------------------------------------------------------------------------ */

typedef struct augment_draw {   /* what the random numbers decided */
    view  v;
    float window[2];            /* shift of the ends of /range, fraction of its width */
    float brightness, contrast, gamma; /* added; factor; exponent */
    float noise, blur;          /* standard deviations */
    float hue, saturation;      /* turn of colour in radians; factor */
    bool  invert;
} augment_draw;
view view_fit(int Hs, int Ws, int H, int W);  /* whole stored image in the middle of the network's grid */
augment_draw augment_decide(const augment_spec *a, rng_key key, const raw_sample *s, int H, int W); /* a == NULL: evaluation */

/* Columns [from, to) of row y whose centres lie in the stored image (Hs,Ws). */
typedef struct span { int from, to; } span;
span view_span(const view *v, int y, int W, int Hs, int Ws);
/* mask (H,W) from stored (Hs,Ws), nearest; IGNORE_MASK outside. */
void view_mask(const view *v, const uint8_t *stored, int Hs, int Ws, uint8_t *mask, int H, int W);
void view_box_whole(const view *v, const float stored[4], float out[4]); /* one stored box in network pixels */
/* The same, clipped to the grid. False if less than a quarter of it, or fewer than two pixels a side, remain. */
bool view_box(const view *v, const float stored[4], int H, int W, float out[4]);

/* Room for any image of up to (Hs,Ws,C) at (H,W): what resample and intensity_apply ask for stays below it. */
MUST status sample_room(int Hs, int Ws, int C, int H, int W, scratch *tmp);
/* Pixels mapped to [0,1] by lo..hi and resampled: out (H,W,C), 0 outside. */
MUST status resample(const raw_sample *s, const view *v, float lo, float hi, int H, int W, float *out, scratch *tmp);
/* Brightness, contrast, colour, gamma, blur, noise, inversion and clipping, in place on (H,W,C) inside the stored image. */
MUST status intensity_apply(const augment_draw *d, rng_key key, float *image, int H, int W, int C, int Hs, int Ws, scratch *tmp);
/* (H,W,C) -> (H,W,3) */
void replicate(const float *image, int C, size_t n_pixels, float *out);
/* All of the above: image (H,W,3) of one sample and its view. a == NULL: evaluation. */
MUST status sample_image(const raw_sample *s, const augment_spec *a, rng_key key, int H, int W, float *out, view *v, scratch *tmp);

enum { SUB_GEOMETRY, SUB_INTENSITY, SUB_NOISE }; /* sub-streams of RNG_AUGMENT: switching one part off leaves the others as they were */

#endif
