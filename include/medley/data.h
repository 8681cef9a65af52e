/* data: which samples a step takes, how they are augmented, and the thread that prepares batches. No MPI, no model. */
#ifndef MEDLEY_DATA_H
#define MEDLEY_DATA_H

#include "medley/batch.h"
#include "medley/store.h"

/* ---- order of samples: a function of (seed, task, epoch) alone ------------------------------------------------------- */

/* out (n): permutation of 0..n-1, Fisher-Yates keyed by (seed, RNG_ORDER, task_hash, epoch). */
void order_epoch(uint64_t seed, uint64_t task_hash, uint32_t epoch, int64_t n, int64_t *out);

/* ---- augmentation ------------------------------------------------------------------------------------------------- */

/* Strengths; 0 switches a part off. Presets by modality: "none", "weak", "ct", "mr", "xray", "histology", "microscopy". */
typedef struct augment_spec {
    char  preset[16];
    float flip_x, flip_y;        /* probabilities */
    float rot90;                 /* probability of a random multiple of 90 degrees */
    float rotate_deg;            /* uniform in +- */
    float scale_lo, scale_hi;    /* log-uniform zoom about the fitted size */
    float crop_scale;            /* > 1: zoom range centre for crops of large images; 1 = whole image fitted */
    float shift;                 /* fraction of the input size */
    float brightness, contrast, gamma;  /* +- strengths */
    float noise;                 /* sd of Gaussian noise, uniform 0..noise */
    float blur;                  /* sd in pixels, uniform 0..blur */
    float hue, saturation;       /* colour images only */
    float window;                /* jitter of /range ends, fraction of the width (CT window, MR percentiles) */
    float invert;                /* probability of inversion */
} augment_spec;
extern const char *const augment_presets[]; /* NULL-terminated */
MUST status augment_preset(augment_spec *a, const char *name);
const char *augment_for_modality(const char *modality); /* "CT" -> "ct" ...; "weak" if unknown */

/* One image as evaluation sees it: mapped to [0,1] by range and centred; step: stored pixels per network pixel, 0: fitted whole.
 * pixels (Hs,Ws,C) of `type`, C 1 or 3; out (H,W,3), 0 around the image; v: where its pixels lie in the stored one. */
MUST status image_fit(const void *pixels, enum dtype type, int Hs, int Ws, int C, const float range[2], float step, int H, int W, float *out,
                      view *v);
/* The same through any view, which says where the network's pixels lie: a window of a large image. */
MUST status image_through(const void *pixels, enum dtype type, int Hs, int Ws, int C, const float range[2], const view *v, int H, int W, float *out);
/* `step` of an image with this spacing (row, column) when network pixels are `wanted` units wide; 0 if either is unknown. */
float image_step(const float spacing[2], double wanted);

/* ---- a task's samples ------------------------------------------------------------------------------------------------ */

typedef struct dataset dataset; /* open shards of one data set, seen through one label set */
/* dir: data set folder. label: name of the label set; NULL or "" = the only one. Opens the index; shards are opened on first use, at most
 * 64 at a time. ST_DATA with file and object. */
MUST status dataset_open(dataset **out, const char *dir, const char *label);
/* The same with the bytes of dir/index.h5 (catalogue_read), which are not needed afterwards. */
MUST status dataset_open_bytes(dataset **out, const char *dir, const char *label, const void *bytes, size_t n_bytes);
/* A second reader of the same samples, for another thread: shares the index, which `of` keeps and must outlive it; opens shards of its own. */
MUST status dataset_twin(dataset **out, const dataset *of);
/* Are all shards there, in the size the index was written with? Opens none. ST_DATA with the first that is not. */
MUST status dataset_check_files(const dataset *d);
/* Only these of the labelled samples of split s are left, ascending. Before any twin is made. ST_BUG: one of them is not among them. */
MUST status dataset_restrict(dataset *d, enum split s, const int64_t *global_index, int64_t n);
void dataset_close(dataset *d);
const shard_meta *dataset_meta(const dataset *d);
const shard_label *dataset_label(const dataset *d);
int64_t dataset_count(const dataset *d, enum split s);          /* labelled samples of a split */
uint64_t dataset_case(const dataset *d, int64_t global_index);   /* hash of (data set, case) */
const char *dataset_sample_id(const dataset *d, int64_t global_index);
int64_t dataset_at(const dataset *d, enum split s, int64_t k);   /* global index of labelled sample k of the split; they ascend */
MUST status dataset_describe(dataset *d, int64_t global_index, sample_note *out); /* opens its shard */
/* K entries. Classification: samples of each class in a split. Other kinds, of all of the split whatever dataset_restrict left: positives
 * (multilabel), boxes, or images with the class. */
MUST status dataset_class_counts(dataset *d, enum split s, int64_t *out);

/* What an open data set holds in memory. with_shards: opens its first one, which stands for all; else only `index` is filled. */
typedef struct dataset_cost {
    size_t index;                /* the index and lists of samples: from dataset_open on */
    size_t shards;               /* index arrays of the shards that come to be open */
    int    n_open;               /* how many that are */
    int    H, W, boxes;          /* largest stored image; most boxes of an image */
} dataset_cost;
MUST status dataset_measure(dataset *d, bool with_shards, dataset_cost *out);

typedef struct dataset_use {     /* how one task reads its data set */
    dataset *data;
    int      task;               /* index in the job */
    uint64_t task_hash;          /* hash_text(task name) */
    int      batch, H, W, K, units; /* units per step */
    int      max_boxes;
    double   spacing;            /* size of a network pixel in the shard's units (mm, um); 0: the whole image is fitted into H x W */
    bool     balance;            /* class-balanced sampling of the training split (classification) */
    augment_spec augment;
} dataset_use;

/* ---- loader ---------------------------------------------------------------------------------------------------------- */

typedef struct loader loader;
typedef struct loader_unit { int use, number; } loader_unit;   /* index into uses; unit number within the task's step */
/* One reader thread and a ring of `depth` batches. Delivers, for step = first_step, first_step+1, ...: the units in the order
 * given. Sample choice: position p = (step*units + number)*batch + i in the endless sequence of epochs of the training split. */
MUST status loader_open(loader **out, const dataset_use *uses, int n_uses, const loader_unit *units, int n_units, uint64_t seed,
                        int64_t first_step, int depth);
/* The next batch, owned by the loader until loader_release. A failure in the thread is returned here with its message. */
MUST status loader_next(loader *l, batch **out);
void loader_release(loader *l, batch *b);
void loader_close(loader *l);   /* joins the thread */
double loader_wait_s(const loader *l); /* seconds loader_next has blocked so far */
double loader_cpu_s(const loader *l);  /* processor seconds of its thread so far */

/* Evaluation: batches of `use` over split s in index order, no augmentation, the image fitted whole and centred; only every
 * n_parts-th batch starting with `part`. The last batch is padded (n_valid < B). */
MUST status loader_open_eval(loader **out, const dataset_use *use, enum split s, int part, int n_parts, int depth);
/* *out = NULL at the end. */

/* Bytes a loader takes: its ring of `depth` batches of the largest of n uses (those with takes[i]), and its scratch. Opens a shard of each. */
MUST status loader_measure(const dataset_use *uses, const bool *takes, int n, int depth, bool eval, size_t *bytes);

#endif
