/* costs: what `medley check --time` has measured, as a text file: measured once, on a node of the cluster, it serves forecasts for any number of
 * nodes. Lines "KEY VALUE", and "unit SECONDS TASK" for each task. */
#include "train_internal.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const char head[] = "medley costs 1";
static const struct { const char *key; size_t at; } numbers[] = {
    {"load_s", offsetof(step_cost, load_s)},       {"end_s", offsetof(step_cost, end_s)},         {"backward", offsetof(step_cost, backward)},
    {"core_rate", offsetof(step_cost, core_rate)}, {"node_rate", offsetof(step_cost, node_rate)}};
enum { N_NUMBERS = sizeof numbers / sizeof *numbers };

status costs_write(const job *j, const step_cost *c, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f;
    TRY(mem_text_open(&f, &text, &n, "costs"), "costs");
    fprintf(f, "%s\ncpus %d\nthreads %d\n", head, c->cpus, c->threads);
    for (int i = 0; i < N_NUMBERS; i++) fprintf(f, "%s %.9g\n", numbers[i].key, *(const double *)(const void *)((const char *)c + numbers[i].at));
    for (int i = 0; i < j->n_tasks; i++) fprintf(f, "unit %.9g %s\n", c->unit_s[i], j->task[i].name);
    TRY(mem_text_close(f, &text, "costs"), "costs");
    status st = file_write_atomic(path, text, n);
    free(text);
    return st;
}

static void take_line(const job *j, step_cost *c, const char *line, int *found)
{
    char key[32], task[64];
    double v;
    if (sscanf(line, "unit %lf %63s", &v, task) == 2) {
        for (int i = 0; i < j->n_tasks; i++)
            if (strcmp(j->task[i].name, task) == 0 && v >= 0 && isfinite(v)) c->unit_s[i] = v;
        return;
    }
    if (sscanf(line, "%31s %lf", key, &v) != 2 || !(v >= 0 && v < 1e15)) return;
    if (strcmp(key, "cpus") == 0 && v >= 1 && v < 1e6) c->cpus = (int)v, ++*found;
    if (strcmp(key, "threads") == 0 && v >= 1 && v < 1e6) c->threads = (int)v, ++*found;
    for (int i = 0; i < N_NUMBERS; i++)
        if (strcmp(key, numbers[i].key) == 0) *(double *)(void *)((char *)c + numbers[i].at) = v, ++*found;
}

status costs_read(const job *j, step_cost *c, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    int found = 0;
    status st = OK;
    TRY(file_read_all(path, 1 << 24, &text, &n), "costs");
    for (int i = 0; i < j->n_tasks; i++) c->unit_s[i] = NAN;
    CHECK_TO(done, strncmp(text, head, sizeof head - 1) == 0, ST_DATA, "%s: not costs that medley check has written", path);
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) take_line(j, c, line, &found);
    CHECK_TO(done, found == N_NUMBERS + 2, ST_DATA, "%s: %d of %d numbers are there; remove it, and they are measured anew", path, found, N_NUMBERS + 2);
    for (int i = 0; i < j->n_tasks; i++)
        CHECK_TO(done, isfinite(c->unit_s[i]), ST_DATA, "%s: nothing about task %s; remove it, and all are measured anew", path, j->task[i].name);
done:
    free(text);
    return st;
}
