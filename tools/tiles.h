/* tiles: a whole slide as tiles of one resolution: where they are, which show tissue, their pixels. What converts and what predicts both come
 * through here, so that a network sees the same of the same place. */
#ifndef MEDLEY_TOOLS_TILES_H
#define MEDLEY_TOOLS_TILES_H

#include "image.h"

/* ---- the file (read_slide.c): the only place that knows OpenSlide ---- */

typedef struct slide_file slide_file;
typedef struct slide_facts { int64_t x, y, W, H; double mpp[2]; } slide_facts; /* part that was scanned; um per pixel in x and y, NaN: not said */
/* ST_DATA: no slide. ST_RESOURCE: built without OpenSlide. */
MUST status slide_file_open(slide_file **out, const char *path, slide_facts *about);
void slide_file_close(slide_file *f);
/* rgb (n,n,3): means of areas of scale[0] x scale[1] pixels of the finest level, the first of which begins at x, y there; beyond the slide its
 * background. Any thread. */
MUST status slide_file_window(slide_file *f, double x, double y, const double scale[2], int n, uint8_t *rgb);
/* Does OpenSlide know the file? SLIDE_MAYBE: a tiled TIFF that no scanner's maker signed. */
enum slide_kind { SLIDE_NO, SLIDE_MAYBE, SLIDE_YES };
enum slide_kind slide_file_kind(const char *path);

/* ---- tiles (tiles.c) ---- */

/* NPZ: split (enum split) and number in it. Array: 0 and number. Slide: x and y of the tile's top left corner, in pixels of the finest level. */
typedef struct part { int32_t a, b; } part;
enum { PARTS_MAX = 1 << 22 };            /* of one file */

typedef struct tile_ask {
    double mpp;                          /* micrometres per pixel of a tile */
    double spacing[2];                   /* y, x, um: of slides that do not say; 0: unknown */
    double tissue;                       /* least share of a tile */
    int    side;
} tile_ask;
/* Who to ask for what is not known, in messages: "images.spacing" and "slide.mpp", "--slide-mpp" and "--mpp". */
typedef struct tile_words { const char *spacing, *mpp; } tile_words;

typedef struct tiling {
    slide_file *file;
    slide_facts is;
    tile_ask    ask;
    double      scale[2];                /* pixels of the finest level in a tile's pixel, along x and y */
    void      (*tick)(void);             /* called for each tile that is looked at for tissue; NULL */
    char        what[1024];
} tiling;
MUST status tiling_open(tiling *t, const char *path, const tile_ask *ask, const tile_words *words);
void tiling_close(tiling *t);
/* Tiles row by row from the corner of the scanned part; cut_too: also those that the right and lower edges cut. *columns: in a row. free(). */
MUST status tiling_grid(const tiling *t, bool cut_too, part **out, int *n, int *columns);
/* has (n): do ask.tissue of tile i's area show tissue? More saturated than Otsu's threshold over the whole ones of these tiles, and than 0.05. */
MUST status tiling_tissue(tiling *t, const part *p, int n, uint8_t *has);
MUST status tiling_read(tiling *t, part p, image *out); /* (side,side,3) */

#endif
