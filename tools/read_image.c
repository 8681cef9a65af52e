/* read_image: tells a file's format by its first bytes and hands it to its reader. */
#include "dicom.h"
#include "readers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool starts(const char *bytes, size_t n, const char *magic, size_t length)
{
    return n >= length && !memcmp(bytes, magic, length);
}

static bool is_nifti(const char *b, size_t n)
{
    static const char sizes[4][4] = {{92, 1, 0, 0}, {0, 0, 1, 92}, {28, 2, 0, 0}, {0, 0, 2, 28}}; /* 348 and 540, either endian */
    for (int i = 0; i < 4; i++)
        if (starts(b, n, sizes[i], 4)) return true;
    return starts(b, n, "\x1f\x8b", 2);
}

static status one_channel(image *m, const char *path, enum image_use use)
{
    if (use != USE_LABELS || m->C == 1) return OK;
    status st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: a label image needs one channel, not %d", path, m->C);
    image_free(m);
    return st;
}

status image_read(image *m, const char *path, enum image_use use) { return image_read_frames(m, path, use, NULL); }

status image_read_frames(image *m, const char *path, enum image_use use, const image_frames *frames)
{
    *m = (image){0};
    char *b;
    size_t n;
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        TRY(dicom_series_read(m, path, use), "reading a folder");
        return one_channel(m, path, use);
    }
    TRY(file_read_all(path, IMAGE_FILE_BYTES_MAX, &b, &n), "reading an image");
    static const struct { const char *magic; size_t length; const char *name; } unread[] = {
        {"GIF8", 4, "GIF"}, {"RIFF", 4, "WebP"},
        {"\0\0\0\x0cjP  ", 8, "JPEG 2000"}, {"PK\3\4", 4, "ZIP"}, {"\x89HDF", 4, "HDF5"}, {"NRRD", 4, "NRRD"},
        {"version https://git-lfs", 23, "Git LFS pointer (the file itself was not fetched)"}};
    status st = OK;
    if (dicom_has_header(b, n)) { /* first: its 128 free bytes may hold the head of a TIFF */
        st = dicom_decode(m, b, n, use, path);
    } else if (starts(b, n, "\x89PNG\r\n\x1a\n", 8)) {
        st = png_decode(m, b, n, use, path);
    } else if (starts(b, n, "\xff\xd8\xff", 3)) {
        st = jpeg_decode(m, b, n, path);
    } else if (is_nifti(b, n)) {
        st = nifti_decode_frames(m, b, n, frames, path);
    } else if (starts(b, n, "II*", 4) || starts(b, n, "MM\0*", 4) || starts(b, n, "II+", 4)) {
        st = tiff_decode(m, b, n, use, path);
    } else if (starts(b, n, "BM", 2)) {
        st = bmp_decode(m, b, n, use, path);
    } else if (dicom_is(b, n)) {
        st = dicom_decode(m, b, n, use, path);
    } else {
        const char *name = n == 0 ? "empty file" : NULL;
        for (size_t i = 0; !name && i < sizeof unread / sizeof *unread; i++)
            if (starts(b, n, unread[i].magic, unread[i].length)) name = unread[i].name;
        st = name ? status_raise(ST_DATA, __FILE__, __LINE__, "%s: %s; PNG, JPEG, BMP, TIFF, NIfTI and DICOM are read", path, name)
                  : status_raise(ST_DATA, __FILE__, __LINE__, "%s: neither PNG, JPEG, BMP, TIFF, NIfTI nor DICOM (first bytes %02x %02x %02x %02x)", path,
                                 n > 0 ? (unsigned char)b[0] : 0, n > 1 ? (unsigned char)b[1] : 0, n > 2 ? (unsigned char)b[2] : 0,
                                 n > 3 ? (unsigned char)b[3] : 0);
    }
    free(b);
    return st ? st : one_channel(m, path, use);
}
