/* ladder: what the files of the speed ladder share. An item is one thing to time; the peer (ladder_torch.py) has the same names. */
#ifndef LADDER_H
#define LADDER_H

#include "medley/core.h"

typedef struct item {
    char        name[48], label[120];
    status    (*open)(const struct item *it, void **state);
    void      (*run)(void *state);
    void      (*close)(void *state);
    int         arg[8];
    double      shown;  /* work of one run in the unit shown: GFLOP, GB, images */
    const char *unit;   /* "GFLOP/s", "GB/s", "images/s" */
    double      work;   /* GFLOP or GB of one run, for the share of the limit */
    const char *limit;  /* "gemm" or "triad" */
} item;

enum { LADDER_MAX = 96 };
typedef struct ladder { item item[LADDER_MAX]; int n; } ladder;

item *ladder_add(ladder *l, const char *unit, const char *limit, double work, const char *name, const char *label);
void ladder_kernels(ladder *l); /* ladder_kern.c */
void ladder_steps(ladder *l);   /* ladder_step.c */
void ladder_joint(ladder *l);   /* ladder_joint.c */

/* n floats in [-0.5,0.5), never NULL; free(). */
float *ladder_floats(int64_t n, uint32_t seed);

#endif
