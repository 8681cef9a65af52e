/* writers: image files for other programs. Each returns the file's bytes, free(); the same bytes every time. */
#ifndef MEDLEY_TOOLS_WRITERS_H
#define MEDLEY_TOOLS_WRITERS_H

#include "canvas.h"
#include "image.h"

/* Values for the voxels of a volume that was read: m (D,H,W,C) of DT_U8 or DT_F32 in patient axes, as `like`, whose pixels are not needed, was
 * when it came from its reader. A .nii.gz file: on the grid of a NIfTI source (version, order of voxels, sform, qform, units), else in
 * patient axes with what `like` says of affine and spacing. C > 1: a fourth dimension. One channel of DT_U8: marked as labels. */
MUST status nifti_encode(const image *m, const image *like, uint8_t **bytes, size_t *n_bytes);

/* float32 of these sizes in C order as a .npy file. */
MUST status npy_encode(const float *x, int n_dims, const int64_t *dims, uint8_t **bytes, size_t *n_bytes);

/* px (h,w) of numbers below n_colours, as a PNG with a colour table: programs show the colours and read the numbers. */
MUST status png_encode_labels(int w, int h, const uint8_t *px, const rgb8 *colour, int n_colours, uint8_t **bytes, size_t *n_bytes);

#endif
