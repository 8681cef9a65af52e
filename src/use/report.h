/* report: what the files of the HTML report share. */
#ifndef USE_REPORT_H
#define USE_REPORT_H

#include "history.h"
#include "scores.h"

extern const char report_style[];

typedef struct report {
    const char *run;
    history    h;
    job       *job;            /* NULL: RUN/job.cfg missing or not readable */
    char      *job_text;       /* RUN/job.cfg as it stands; NULL = missing */
    score_row *score[N_SPLITS];
    int        n_score[N_SPLITS];
} report;

void report_curves(FILE *out, const report *r);  /* report_curves.c */
void report_time(FILE *out, const report *r);
void report_scores(FILE *out, const report *r);  /* report_tables.c */
void report_data(FILE *out, const report *r);
void report_pictures(FILE *out, const report *r); /* report_examples.c */
MUST status report_confusion(FILE *out, const report *r, enum split s, const char *task_name); /* report_confusion.c */

/* Mean of the tasks' scores on a split (first line of each task); NaN if there are none. */
double report_mean_score(const report *r, enum split s);

#endif
