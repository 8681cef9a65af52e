/* readers: source formats to images. Formats are told by content, never by file name. All of them check every length they read. */
#ifndef MEDLEY_TOOLS_READERS_H
#define MEDLEY_TOOLS_READERS_H

#include "image.h"

/* Pixels: what the eye sees (palette and low bit depths widened, alpha laid over black, colour as RGB, grey as one channel).
 * Labels: the stored numbers (palette indices, 1-bit masks as 0 and 1), one channel. */
enum image_use { USE_PIXELS, USE_LABELS };

#define IMAGE_FILE_BYTES_MAX ((size_t)2 << 30)

MUST status image_read(image *m, const char *path, enum image_use use); /* any format below; a folder: a DICOM series */

bool image_is_series(const char *folder); /* is its first file (in the order of names) a DICOM file? */

/* Which volumes of a 4-D NIfTI file become the channels, counted from 0. n 0: such files are refused. */
typedef struct image_frames { int n, at[3]; } image_frames;
MUST status image_read_frames(image *m, const char *path, enum image_use use, const image_frames *frames); /* NULL: none */

/* The same from memory; `what` names the file in messages. */
MUST status png_decode(image *m, const void *bytes, size_t n, enum image_use use, const char *what);  /* 8- and 16-bit results */
MUST status jpeg_decode(image *m, const void *bytes, size_t n, const char *what);  /* grey or RGB; CMYK and YCCK are refused */
MUST status nifti_decode(image *m, const void *bytes, size_t n, const char *what); /* NIfTI-1 and -2, plain or gzipped, either endian */
MUST status nifti_decode_frames(image *m, const void *bytes, size_t n, const image_frames *frames, const char *what);
MUST status dicom_decode(image *m, const void *bytes, size_t n, enum image_use use, const char *what); /* one DICOM file, all its frames */
MUST status tiff_decode(image *m, const void *bytes, size_t n, enum image_use use, const char *what);  /* all pages; see read_tiff.c */
MUST status bmp_decode(image *m, const void *bytes, size_t n, enum image_use use, const char *what);   /* 1, 4, 8, 24, 32 bits, not packed */

#endif
