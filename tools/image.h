/* image: what a reader of a source format hands over, a stack of D images of H x W pixels and C channels in a native type. */
#ifndef MEDLEY_TOOLS_IMAGE_H
#define MEDLEY_TOOLS_IMAGE_H

#include "medley/core.h"
#include "medley/store.h"

#define IMAGE_SIDE_MAX 65535           /* larger sides are refused: a lying header, or a slide that wants tiles */
#define IMAGE_BYTES_MAX ((size_t)4 << 30)

/* What a NIfTI file says of its grid, as it says it. */
typedef struct nifti_grid {
    bool    there, two;                /* there: the image was read from such a file; two: NIfTI-2 */
    int     n_dims, units, qform, sform; /* n_dims: of one volume (a time axis of length 1 counts); the last three are its codes */
    double  pixdim[8], quatern[3], offset[3], srow[3][4];
} nifti_grid;

/* How a volume lay in its file before it was turned. */
typedef struct image_origin {
    int64_t    size[3];                /* voxels along its own axes; 0: it was not turned */
    int        axis[3];                /* which of them runs along x, y, z */
    bool       flip[3];                /* and whether it ran the other way */
    nifti_grid nifti;
} image_origin;

/* 2-D files have D = 1. Volumes lie in DICOM's patient axes: x (columns) grows to the patient's left, y (rows) to the back, z (slices) to
 * the head. spacing NaN = unknown. */
typedef struct image {
    int    D, H, W, C;
    enum dtype type;                   /* DT_U8, DT_U16, DT_I16 or DT_F32 */
    void  *data;                       /* (D,H,W,C) */
    double spacing[3];                 /* z, y, x */
    double affine[3][4];               /* volumes: voxel (x,y,z) of `data` to millimetres in NIfTI's world (left to right, ...) */
    bool   has_affine;
    bool   is_volume;                  /* read from a volume format */
    int    n_volumes;                  /* NIfTI: in the file; 0: of another format */
    image_origin origin;
    bool   path_tells;                 /* DICOM: the patient's name or number is a word of the file's path */
} image;

MUST status image_alloc(image *m, int D, int H, int W, int C, enum dtype type, const char *what);
void image_free(image *m);
static inline size_t image_count(const image *m) { return (size_t)m->D * (size_t)m->H * (size_t)m->W * (size_t)m->C; }
static inline size_t image_bytes(const image *m) { return image_count(m) * dtype_bytes(m->type); }
static inline int image_volumes(const image *m) { return m->n_volumes ? m->n_volumes : 1; }
/* Element i as a number. */
static inline double image_at(const image *m, size_t i)
{
    switch (m->type) {
    case DT_U8: return ((const uint8_t *)m->data)[i];
    case DT_U16: return ((const uint16_t *)m->data)[i];
    case DT_I16: return ((const int16_t *)m->data)[i];
    default: return (double)((const float *)m->data)[i];
    }
}

/* In place. Type: every value must be representable exactly (u8 in u16 is; 0.5 or 300 in u8 is not), else ST_DATA. f32 takes all and
 * must be finite. Channels: 1 <-> 3; colour to grey is exact where R = G = B, else Rec. 601 luma, rounded for integers. */
MUST status image_to_type(image *m, enum dtype type);
MUST status image_to_channels(image *m, int channels);
/* Area average (pixels) or the value that covers most of the area (labels), so that max(H,W) <= max_side. */
MUST status image_shrink(image *m, int max_side, bool labels);
/* New image = the planes of `m` across an axis: 0 z (as stored), 1 y, 2 x. Rows of the planes across y and x run from head to feet. */
MUST status image_across(image *m, int axis);
MUST status image_along(image *m, int axis); /* and back; C: any */

/* orient.c. a: voxel (x,y,z) as stored to NIfTI's world. Which stored axis runs along each patient axis (x left, y back, z head), and whether
 * it runs the other way. */
void orient_find(double a[3][4], int axis[3], bool flip[3]);
/* Affine, spacing (in mm, of which `a` has 1 / mm) and origin of a volume of size (x,y,z) that was turned so. */
void orient_note(image *m, double a[3][4], const int64_t size[3], const int axis[3], const bool flip[3], double mm);
/* Where in a stored volume of size (x,y,z), `bytes` a voxel, the first voxel of the turned one lies, and the steps along its x, y and z. */
int64_t orient_steps(const int64_t size[3], int64_t bytes, const int axis[3], const bool flip[3], int64_t step[3]);
/* In place: the planes of `m`, stored along `a`'s third axis, become a volume in patient axes. */
MUST status image_turn(image *m, double a[3][4], const char *what);

/* settle.c. How an image that was read becomes what a shard stores. */
typedef struct image_rules {
    enum dtype    pixel;               /* DT_U8, DT_U16, DT_I16 or DT_F32 */
    bool          any_type;            /* what `pixel` cannot hold becomes f32; false: is refused */
    int           channels;
    shard_reading as;
} image_rules;
/* In place: channels, type, the spacing of files that say none. range: the intensities that become 0 and 1, of the whole image. */
MUST status image_settle(image *m, const image_rules *r, float range[2]);
/* In place, afterwards: planes across the axis if it is a volume, not larger than max_side. */
MUST status image_cut(image *m, const image_rules *r);

void image_hash(const image *m, char hex[65]); /* SHA-256 of shape, type and values */

#endif
