/* trace: RUN/samples/rank-N.csv, a line "step,task,unit,epoch,id" for every sample that was trained on (train.trace_samples): the
 * evidence that an epoch takes every sample once. Whatever rank wrote a line, the union of the files is the history of the run: a
 * resumed run takes back the steps its checkpoint does not have. */
#include "train_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX_BYTES = 1 << 30 };

/* Lines of steps 0..step-1 stay, and a line cut off by a kill goes. Lines are in the order of steps. */
static status cut(const char *path, int64_t step)
{
    char *text;
    size_t n, kept = 0;
    TRY(file_read_all(path, FILE_MAX_BYTES, &text, &n), "samples");
    for (char *end; (end = strchr(text + kept, '\n')) && strtoll(text + kept, NULL, 10) < step;) kept = (size_t)(end + 1 - text);
    status st = kept < n ? file_write_atomic(path, text, kept) : OK;
    free(text);
    return st;
}

status trace_tidy(const trainer *t)
{
    char dir[600], path[1000];
    if (!t->job.train.trace_samples) return OK;
    snprintf(dir, sizeof dir, "%s/samples", t->job.run);
    TRY(path_make_dirs(dir), "samples");
    DIR *d = opendir(dir);
    CHECK(d, ST_RESOURCE, "cannot read %s: %s", dir, strerror(errno));
    status st = OK;
    for (struct dirent *e; !st && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (strncmp(e->d_name, "rank-", 5) != 0 || n < 5 || strcmp(e->d_name + n - 4, ".csv") != 0) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        st = cut(path, t->step);
    }
    closedir(d);
    return st;
}

status trace_open(trainer *t)
{
    char path[700];
    if (!t->job.train.trace_samples) return OK;
    snprintf(path, sizeof path, "%s/samples/rank-%d.csv", t->job.run, t->rank);
    t->trace = fopen(path, "ae");
    CHECK(t->trace, ST_RESOURCE, "cannot write %s: %s", path, strerror(errno));
    return OK;
}

void trace_unit(trainer *t, int unit, const batch *b)
{
    if (!t->trace) return;
    const task_state *ts = &t->ts[t->units[unit].task];
    for (int i = 0; i < b->n_valid; i++)
        fprintf(t->trace, "%lld,%s,%d,%u,%s\n", (long long)t->step, ts->task.spec.name, t->units[unit].number, b->key[i].b,
                dataset_sample_id(ts->data, b->sample[i]));
}

status trace_flush(trainer *t)
{
    CHECK(!t->trace || (fflush(t->trace) == 0 && !ferror(t->trace)), ST_RESOURCE, "cannot write %s/samples/rank-%d.csv: %s", t->job.run,
          t->rank, strerror(errno));
    return OK;
}
