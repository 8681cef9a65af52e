/* png_quick: a shortcut beside libpng. */
#ifndef MEDLEY_TOOLS_PNG_QUICK_H
#define MEDLEY_TOOLS_PNG_QUICK_H

#include "image.h"

/* False: the file is none of the usual kind, or damaged; libpng must be asked. m: grey or RGB as png_decode makes them. */
bool png_quick(image *m, const void *bytes, size_t n, bool grey_only);

#endif
