/* not_built: what a reader says whose library was not there when Medley was built. */
#ifndef MEDLEY_TOOLS_NOT_BUILT_H
#define MEDLEY_TOOLS_NOT_BUILT_H

#include "medley/core.h"

/* packages: Debian's names. The first value is the file. tests/cli/readers_off.sh has a line for each use. */
#define NOT_BUILT(packages, format, ...) \
    status_raise(ST_RESOURCE, __FILE__, __LINE__, "%s: this build cannot read " format ": install " packages " (Debian) and build again", __VA_ARGS__)

#endif
