/* dicom_frame: what the C reader and the C++ door to GDCM (dicom_gdcm.cpp) say to each other; plain enough for both languages. */
#ifndef MEDLEY_TOOLS_DICOM_FRAME_H
#define MEDLEY_TOOLS_DICOM_FRAME_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dicom_frame {
    const char *syntax;                  /* transfer syntax UID */
    char photometric[17];                /* in: of the file; out: after decoding */
    int  rows, cols, samples, planar;    /* planar: also after decoding */
    int  allocated, stored, is_signed;   /* bits */
};

/* One frame of a JPEG, JPEG-LS or JPEG 2000 file through GDCM into out (out_bytes = rows * cols * samples * allocated / 8, host byte
 * order). 0, or 1 with a reason in why. */
int dicom_gdcm_frame(struct dicom_frame *f, const void *bytes, size_t n, void *out, size_t out_bytes, char *why, size_t why_room);

#ifdef __cplusplus
}
#endif
#endif
