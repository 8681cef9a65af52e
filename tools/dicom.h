/* dicom: one DICOM file taken apart (dicom_parse.c), and its pixels (dicom_pixels.c).
 * Of the header only what geometry and pixels need is kept: no name, id or date of a patient enters our memory structures. Name and number
 * are compared with the file's path where they lie, for paths do reach shards. */
#ifndef MEDLEY_TOOLS_DICOM_H
#define MEDLEY_TOOLS_DICOM_H

#include "dicom_frame.h"
#include "readers.h"

/* Limits stated before anything is allocated: a compressed frame may not promise more than this many bytes per byte of the file. */
enum { DICOM_FRAMES_MAX = 65535, DICOM_DEPTH_MAX = 24, DICOM_RLE_RATIO = 130, DICOM_CODEC_RATIO = 4096 };
#define DICOM_INFLATED_MAX ((size_t)1 << 30)

typedef struct dicom_span { const uint8_t *at; size_t n; } dicom_span;

typedef struct dicom_lut { int n, first, bits; dicom_span data; } dicom_lut; /* n 0: none */

enum dicom_pixels { DICOM_NO_PIXELS, DICOM_INTEGERS, DICOM_FLOATS, DICOM_DOUBLES };

typedef struct dicom_file {
    const char *what;                    /* names the file in messages; the caller's */
    char   syntax[65], modality[17], photometric[17]; /* syntax: its UID as text */
    bool   big, explicit_vr, deflated, encapsulated;
    int    rows, cols, frames, samples, planar, allocated, stored, is_signed;
    double slope, intercept;
    bool   has_spacing, has_position, has_orientation;
    double spacing[2];                   /* mm between rows, between columns */
    double position[3], orientation[6];  /* of a file with one frame, in mm of DICOM's world (left, back, head): centre of the first pixel;
                                            directions in which columns and rows are counted */
    bool   path_tells;                   /* the patient's name or number is a word of `what` */
    uint32_t series;                     /* checksum of the series' UID, to tell series apart */
    enum dicom_pixels kind;
    dicom_span pixels;                   /* not encapsulated */
    dicom_span *fragment;                /* (n_fragments) encapsulated, without the offset table */
    int    n_fragments, fragment_room;
    dicom_span offsets;                  /* basic offset table */
    dicom_lut palette[3], lut;           /* lut: modality LUT sequence */
    uint8_t *inflated;                   /* data set of a deflated file */
    int    n_elements;
} dicom_file;

/* bytes stay the caller's and must live as long as f. ST_DATA names file and reason. */
MUST status dicom_parse(dicom_file *f, const void *bytes, size_t n, const char *what);
void dicom_free(dicom_file *f);
bool dicom_has_header(const void *bytes, size_t n);
bool dicom_is(const void *bytes, size_t n);     /* with the file header, or a bare data set of old programs (which is refused by name) */
const char *dicom_syntax_name(const char *uid); /* "JPEG-LS lossless"; NULL: unknown */

/* Pixels of all frames in file order. USE_PIXELS: palette and YBR to RGB, MONOCHROME1 turned so that more is brighter, modality LUT or
 * slope and intercept applied. USE_LABELS: the stored numbers. spacing is set in y and x, no affine. */
MUST status dicom_pixels(image *m, const dicom_file *f, enum image_use use);

/* dicom_series.c: a folder whose files are the slices of one volume (or one file with all of it). In patient axes, sorted by position. Refused
 * by name: mixed series, sizes or directions; slices that are missing or there twice; files that are no DICOM, but for DICOMDIR. */
MUST status dicom_series_read(image *m, const char *folder, enum image_use use);

#endif
