#ifndef MEDLEY_KERN_WINDOW_H
#define MEDLEY_KERN_WINDOW_H
#include "medley/core.h"
#endif
