/* verify_run: what the two halves of `medley verify-run` share: verify_run.c (records, folders), verify_arrays.c (checkpoint files). */
#ifndef USE_VERIFY_RUN_H
#define USE_VERIFY_RUN_H

#include "medley/core.h"

/* Where two runs differ. what: "weights/encoder.norm.weight [12]: 0.5 and 0.25; 3 of 96 values" */
typedef struct difference {
    bool found;
    int64_t step;
    char what[600];
} difference;

/* Compares two checkpoint files, array by array, and prints what differs, at most `most` arrays; `first` gets the first. Counts in
 * *n_arrays what was compared. ST_DATA if a file cannot be read. */
MUST status verify_arrays(const char *a, const char *b, int most, difference *first, int64_t *n_arrays);

#endif
