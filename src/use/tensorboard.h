/* tensorboard: the curves of a run as an event file that TensorBoard reads. */
#ifndef USE_TENSORBOARD_H
#define USE_TENSORBOARD_H

#include "report.h"

/* Makes DIR and replaces the file of this run in it. path (1000): which that is. */
MUST status tensorboard_write(const report *r, const char *dir, char *path);

#endif
