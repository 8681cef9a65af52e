#ifndef MEDLEY_KERN_CONV_H
#define MEDLEY_KERN_CONV_H
#include "medley/core.h"
#endif
