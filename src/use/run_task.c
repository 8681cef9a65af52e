/* run_task: a task of a run by its name. */
#include "run_task.h"

#include <string.h>

status run_task_find(job *j, const char *name, job_task **out)
{
    const char *names[JOB_MAX_TASKS];
    *out = NULL;
    for (int i = 0; i < j->n_tasks; i++) {
        names[i] = j->task[i].name;
        if (name && strcmp(name, names[i]) == 0) *out = &j->task[i];
    }
    if (!name && j->n_tasks == 1) *out = &j->task[0];
    if (*out) return OK;
    CHECK(name, ST_USAGE, "%s has %d tasks (%s, %s ...): --task says which", j->file, j->n_tasks, names[0], names[1]);
    const char *near = text_nearest(name, names, j->n_tasks);
    return status_raise(ST_USAGE, __FILE__, __LINE__, "%s: no task \"%.60s\"%s%s%s", j->file, name, near ? ", did you mean \"" : "", near ? near : "",
                        near ? "\"?" : "");
}
