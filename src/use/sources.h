/* sources: files that somebody has, for the commands that look at them: which files there are and who works on which (sources.c), one file as a
 * data set's files were read (source_how.c, source_case.c, source_slide.c). */
#ifndef MEDLEY_SOURCES_H
#define MEDLEY_SOURCES_H

#include "medley/comm.h"

#include "readers.h"
#include "tiles.h"

enum { SOURCES_MOST_WORDS = 4096 }; /* of a command line; a list may have more */

/* ---- the list -------------------------------------------------------------------------------------------------------------------- */

/* path: as given; name: without its end, one of a kind; cost: bytes. Same on all ranks. */
typedef struct source_file { const char *path, *name; double cost; } source_file;
typedef struct source_files {
    int          n;
    source_file *file;
    char        *text;
    int         *rank_of;   /* (n) who works on it */
} source_files;
/* Collective: rank 0 looks at words and list (NULL: none), a text file with a path a line. Folders that are no DICOM series count as the images
 * in them. Ranks get files by size. */
MUST status sources_open(source_files *f, comm *world, const char *const *word, int n_words, const char *list);
void sources_close(source_files *f);

/* Collective: rank 0 gets every rank's bytes, one rank after another; *all: free(), NULL elsewhere. */
MUST status sources_gather(comm *world, const void *mine, size_t n, char **all, size_t *n_all);

/* Files that could not be used: noted by whoever met them, told by rank 0. */
typedef struct source_fault { int32_t file; char text[1020]; } source_fault;
typedef struct source_faults { int n, room; source_fault *v; } source_faults;
MUST status source_faults_note(source_faults *l, int file);       /* with the message of the last raise, which is cleared */
MUST status source_faults_gather(source_faults *l, comm *world);  /* collective: rank 0 has all, in the order of the files, the others none */
/* Rank 0: ST_DATA with how many of n_files, if any. */
MUST status source_faults_say(const source_faults *l, int n_files);

/* ---- how files are read ------------------------------------------------------------------------------------------------------------ */

/* What is asked for on the command line; NULL, 0: nothing. */
typedef struct source_ask { const char *range, *mpp, *slide_mpp, *tissue; int64_t tile; } source_ask;
/* Of whole slides, for the tables of options; a: of this ask. */
#define SOURCE_SLIDE_OPTIONS(a) \
    {.name = "--mpp", .arg = "UM", .text = &(a).mpp, \
     .help = "slides: micrometres per pixel of a tile (default: as the data set's tiles; else its images' pixels, if they are measured in um)"}, \
    {.name = "--tile", .arg = "N", .number = &(a).tile, .lo = 16, .hi = 8192, \
     .help = "slides: side of a tile in pixels (default: as the data set's tiles; else what the network sees at once)"}, \
    {.name = "--tissue", .arg = "SHARE", .text = &(a).tissue, \
     .help = "slides: least share of a tile that is tissue; 0: all tiles (default: as the data set was converted, or 0.5)"}, \
    {.name = "--slide-mpp", .arg = "UM", .text = &(a).slide_mpp, .help = "micrometres per pixel of the finest level, of slides that do not say"}

/* Sent as bytes. tiles.mpp 0: nobody says how fine slides are looked at. */
typedef struct source_how { image_rules image; tile_ask tiles; } source_how;
/* What the index of a data set says of reading, and the command line over it. H, W, spacing: of the network, for tiles of slides where the data set
 * has none. ST_DATA if neither tells. Local. */
MUST status source_how_of(source_how *how, const catalogue *c, const source_ask *ask, int H, int W, double spacing);

/* ---- one file (source_case.c) ------------------------------------------------------------------------------------------------------- */

typedef struct source_case {
    image m;                /* planes as a shard would store them */
    image like;             /* the volume before it was cut, without pixels */
    float range[2];
    int   h, w;             /* of a plane of the source, which m may have smaller */
} source_case;
/* Local. ST_DATA names the file. */
MUST status source_read(source_case *c, const char *path, const image_rules *r);
void source_free(source_case *c);

typedef struct plane {      /* as a shard would store it */
    const void *pixels;     /* (H,W,C) of `type` */
    enum dtype  type;
    int         H, W, C;
    float       range[2], spacing[2];
} plane;
plane source_plane(const source_case *c, int d);

/* ---- one slide (source_slide.c) ------------------------------------------------------------------------------------------------------- */

/* A tiled TIFF is a slide if it is known how fine slides are looked at, else an image. Local. */
bool source_is_slide(const char *path, const source_how *how);
typedef struct source_slide {
    tiling      t;
    image_rules rules;
    int         n, columns;
    part       *place;      /* (n) its tiles, row by row */
    uint8_t    *has;        /* (n) with tissue */
} source_slide;
/* cut_too: with the tiles that the edges cut. ST_DATA: cannot be read, nobody says how fine, no tile has tissue. */
MUST status source_slide_open(source_slide *s, const char *path, const source_how *how, bool cut_too);
MUST status source_tile(source_case *c, source_slide *s, part p); /* as a shard would store it */
void source_slide_close(source_slide *s);

#endif
