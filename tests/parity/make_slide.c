/* make_slide: a small whole slide, tiled TIFF as Aperio's scanners write it but without loss. One directory per level.
 * Usage: make_slide OUT.svs MPP LEVEL.raw W H [LEVEL.raw W H]...   rows of RGB bytes; MPP 0: the slide does not say */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>

enum { SIDE = 64 };

static int level(TIFF *t, const char *raw, int w, int h, double mpp)
{
    char about[128];
    unsigned char *px = malloc((size_t)w * (size_t)h * 3), tile[SIDE * SIDE * 3];
    FILE *f = fopen(raw, "rb");
    int bad = !px || !f || fread(px, 3, (size_t)w * (size_t)h, f) != (size_t)w * (size_t)h;
    if (f) fclose(f);
    snprintf(about, sizeof about, "Aperio Image Library v10.0.51\r\n%dx%d [0,0 %dx%d] (%dx%d)|AppMag = 20|Patient = DOE^JANE", w, h, w, h, SIDE, SIDE);
    if (mpp > 0) snprintf(about + strlen(about), 32, "|MPP = %.4f", mpp);
    TIFFSetField(t, TIFFTAG_IMAGEWIDTH, w);
    TIFFSetField(t, TIFFTAG_IMAGELENGTH, h);
    TIFFSetField(t, TIFFTAG_BITSPERSAMPLE, 8);
    TIFFSetField(t, TIFFTAG_SAMPLESPERPIXEL, 3);
    TIFFSetField(t, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB);
    TIFFSetField(t, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    TIFFSetField(t, TIFFTAG_COMPRESSION, COMPRESSION_LZW);
    TIFFSetField(t, TIFFTAG_TILEWIDTH, SIDE);
    TIFFSetField(t, TIFFTAG_TILELENGTH, SIDE);
    TIFFSetField(t, TIFFTAG_IMAGEDESCRIPTION, about);
    for (int y = 0; y < h && !bad; y += SIDE)
        for (int x = 0; x < w && !bad; x += SIDE) {
            memset(tile, 0, sizeof tile);
            for (int r = 0; r < SIDE && y + r < h; r++)
                memcpy(tile + r * SIDE * 3, px + ((size_t)(y + r) * (size_t)w + (size_t)x) * 3, (size_t)(w - x < SIDE ? w - x : SIDE) * 3);
            bad = TIFFWriteTile(t, tile, (uint32_t)x, (uint32_t)y, 0, 0) < 0;
        }
    free(px);
    return bad || !TIFFWriteDirectory(t);
}

int main(int argc, char **argv)
{
    if (argc < 6 || argc % 3) return 2;
    TIFF *t = TIFFOpen(argv[1], "w");
    int bad = !t;
    for (int i = 3; i + 2 < argc && !bad; i += 3) bad = level(t, argv[i], atoi(argv[i + 1]), atoi(argv[i + 2]), atof(argv[2]));
    if (t) TIFFClose(t);
    return bad;
}
