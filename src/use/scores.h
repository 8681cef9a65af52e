/* scores: RUN/scores-SPLIT.csv, one metric of one task per line; the first line of a task is the score that selects models. Lines with a centre,
 * after the others of the task, are of that centre's samples alone. And the CSV that all tables of a run are written and read with. */
#ifndef USE_SCORES_H
#define USE_SCORES_H

#include "medley/core.h"

typedef struct score_row {
    char    task[64], metric[64], weights[64], centre[160];
    double  value, lo, hi;      /* NaN: empty field */
    int64_t n_samples, n_cases, n_subjects, step;
} score_row;

void csv_text(FILE *out, const char *s);   /* quoted if it has to be (RFC 4180) */
void csv_number(FILE *out, double v);      /* empty if not finite */
/* The field at *p, cut to cap - 1 bytes; *p moves behind it and its comma. False at damage. */
bool csv_field(const char **p, char *out, size_t cap);
/* RUN/WHAT-SPLIT-TASK and what follows: letters of the task's name that do not belong into a file's name are _. ST_USAGE: too long. */
MUST status run_file(char out[900], const char *run, const char *what, const char *split, const char *task, const char *end);
void scores_head(FILE *out);
void scores_line(FILE *out, const score_row *r);
/* rows: free(). *n = 0 and OK if there is no such file. ST_DATA with file and line. */
MUST status scores_read(const char *path, score_row **rows, int *n);
/* "0.912 [0.884, 0.935]" or "0.912" */
void scores_text(const score_row *r, char out[64]);

#endif
