/* canvas: an RGB picture to draw thumbnails, boxes and words on, and a small PNG writer over zlib. */
#ifndef MEDLEY_TOOLS_CANVAS_H
#define MEDLEY_TOOLS_CANVAS_H

#include "medley/core.h"

typedef struct rgb8 { uint8_t r, g, b; } rgb8;
typedef struct canvas { int w, h; uint8_t *px; } canvas; /* px (h,w,3) */

MUST status canvas_init(canvas *c, int w, int h, rgb8 fill);
void canvas_free(canvas *c);
void canvas_put(canvas *c, int x, int y, rgb8 ink);                 /* outside: nothing */
void canvas_mix(canvas *c, int x, int y, rgb8 ink, float alpha);    /* alpha 0: keeps the pixel, 1: replaces it */
void canvas_fill(canvas *c, int x0, int y0, int x1, int y1, rgb8 ink, float alpha); /* [x0,x1) x [y0,y1) */
void canvas_frame(canvas *c, int x0, int y0, int x1, int y1, rgb8 ink, int thick);  /* outline inside the same rectangle */
/* Text in a 5x7 face (6 pixels a letter, two pixels below the line for g, p, y), top-left corner at (x,y). Bytes outside ASCII are drawn
 * as a small box. */
#define CANVAS_LETTER_W 6
#define CANVAS_LETTER_H 9
void canvas_text(canvas *c, int x, int y, int scale, rgb8 ink, const char *text);
int  canvas_text_width(const char *text, int scale);
/* At most `width` pixels of text: a longer one loses its middle ("abc..xyz"). out_bytes >= 8. */
void canvas_text_fit(const char *text, int width, int scale, char *out, size_t out_bytes);
rgb8 canvas_colour(int k); /* a colour for class k, easy to tell from its neighbours; repeats after 12 */
MUST status canvas_save(const canvas *c, const char *path); /* PNG, written aside and renamed */

/* px (h,w,channels) of `bits` 8 (uint8_t) or 16 (uint16_t, native byte order); channels 1 grey, 3 RGB. out: the file's bytes, free(). */
MUST status png_encode(int w, int h, int channels, int bits, const void *px, uint8_t **out, size_t *out_bytes);

#endif
