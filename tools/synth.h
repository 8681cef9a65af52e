/* synth: a small learnable stand-in for real data, made from physics-like phantoms and written as ordinary source files. */
#ifndef MEDLEY_TOOLS_SYNTH_H
#define MEDLEY_TOOLS_SYNTH_H

#include "medley/core.h"
#include "medley/store.h"

/* ---- one set being made ------------------------------------------------------------------------------------------- */

typedef struct synth_job {
    char     root[400];  /* folder of the set's source files, exists */
    uint64_t seed;
    int      n_subject;
} synth_job;

typedef struct synth_set {
    const char *name;      /* "synth-mr": folder of sources, stem of the recipe, folder of shards */
    const char *about;     /* one line for help and SOURCE.md */
    const char *labels;    /* label meaning, for SOURCE.md */
    int         n_subject[2]; /* small, medium */
    status    (*make)(const synth_job *job);
    const char *recipe;    /* text of the recipe file */
} synth_set;
extern const synth_set synth_sets[]; /* ends with name == NULL */

MUST status synth_make_mr(const synth_job *job);
MUST status synth_make_ct(const synth_job *job);
MUST status synth_make_blood(const synth_job *job);
MUST status synth_make_xray(const synth_job *job);
MUST status synth_make_histo(const synth_job *job);

/* Stream of one subject or image: `set` as in the table above, so that no two sets share numbers. */
rng synth_rng(const synth_job *job, const char *set, int subject, int image);
static inline float synth_between(rng *r, float lo, float hi) { return lo + (hi - lo) * rng_uniform(r); }

/* ---- source files (synth_write.c); paths are root/NAME, folders are made ------------------------------------------------- */

MUST status source_bytes(const synth_job *job, const char *name, const void *data, size_t n_bytes);
MUST status source_png(const synth_job *job, const char *name, int w, int h, int channels, int bits, const void *px);
/* data (nz,ny,nx) in `t` (DT_U8, DT_I16, DT_F32); spacing x, y, z in mm. x grows to the patient's left, y to the back, z to the head. */
MUST status source_nifti(const synth_job *job, const char *name, const int n[3], const float spacing[3], enum dtype t, const void *data);
typedef struct voc_box { const char *name; int x0, y0, x1, y1; } voc_box; /* pixels first and last, as Pascal VOC counts: from 1 */
MUST status source_voc(const synth_job *job, const char *name, const char *image_name, int w, int h, const voc_box *box, int n);

/* ---- fields: pictures of floats (synth_field.c) ------------------------------------------------------------------------- */

float ramp(float lo, float hi, float x); /* smooth step: 0 at lo, 1 at hi (also falling, lo > hi) */
/* Value noise over a lattice of `cell` pixels, `octaves` of halving cell and weight, scaled to about sd 1. */
void  field_noise(rng *r, int w, int h, float cell, int octaves, float *out);
/* Gaussian blur of `channels` interleaved pictures; edges repeat. scratch: max(w,h) floats. */
void  field_blur(float *f, int w, int h, int channels, float sd, float *scratch);

/* ---- stained microscopy: absorbance adds up, light follows Beer and Lambert ---------------------------------------------- */

typedef struct stain { float od[3]; } stain;      /* optical density per channel at concentration 1 */
/* A blob with a wavy outline. */
typedef struct blob { float x, y, rx, ry, turn, wave[4], phase[4]; } blob;
blob  blob_draw(rng *r, float x, float y, float radius, float squash, float waviness);
float blob_edge(const blob *b, float x, float y); /* distance inside (+) or outside (-) the outline, in pixels, about */
void  blob_bounds(const blob *b, float box[4]);   /* x0 y0 x1 y1 of the outline */
void  stain_blob(float *od, int w, int h, const blob *b, const stain *s, float amount, float softness);
/* rgb = light * exp(-od), blurred by the optics, with shot noise. od (h,w,3) is used up. */
void  stain_develop(rng *r, float *od, int w, int h, const float light[3], float blur, float noise, uint8_t *rgb, float *scratch);

#endif
