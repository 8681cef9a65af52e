/* run_task: a task of a run by its name. */
#ifndef MEDLEY_RUN_TASK_H
#define MEDLEY_RUN_TASK_H

#include "medley/train.h"

/* name NULL: the only one. ST_USAGE: none, with the nearest name; or several. */
MUST status run_task_find(job *j, const char *name, job_task **out);

#endif
