/* scores: RUN/scores-SPLIT.csv, one metric of one task per line; the first line of a task is the score that selects models. */
#ifndef USE_SCORES_H
#define USE_SCORES_H

#include "medley/core.h"

typedef struct score_row {
    char    task[64], metric[64], weights[64];
    double  value, lo, hi;      /* NaN: empty field */
    int64_t n_samples, n_cases, step;
} score_row;

void csv_text(FILE *out, const char *s);   /* quoted if it has to be (RFC 4180) */
void csv_number(FILE *out, double v);      /* empty if not finite */
void scores_head(FILE *out);
void scores_line(FILE *out, const score_row *r);
/* rows: free(). *n = 0 and OK if there is no such file. ST_DATA with file and line. */
MUST status scores_read(const char *path, score_row **rows, int *n);
/* "0.912 [0.884, 0.935]" or "0.912" */
void scores_text(const score_row *r, char out[64]);

#endif
