/* verify_run: `medley verify-run A B`: are two runs the same, bit for bit? Looks at the checkpoints both have, and at what their
 * records say of the same steps. */
#include "medley/command.h"
#include "medley/train.h"
#include "medley/use.h"

#include "verify_run.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_STEPS = 100000 };

/* ---- records ---------------------------------------------------------------------------------------------------------------- */

/* One number of a record that the bits decide. key: "loss/nuclei", or "nuclei dice" of a validation. */
typedef struct fact {
    int64_t step;
    char key[168], text[64];
    bool null;
    double number;
    int64_t order;
} fact;
typedef struct facts {
    fact *f;
    int64_t n, room;
} facts;

static status add(facts *all, int64_t step, const char *task, const record_field *f)
{
    if (all->n == all->room) {
        int64_t room = all->room ? 2 * all->room : 1024;
        TRY(mem_grow(&all->f, sizeof *all->f * (size_t)room, "record fields"), "record");
        all->room = room;
    }
    fact *to = &all->f[all->n];
    *to = (fact){.step = step, .null = f->is_null, .number = f->is_text ? 0 : f->number, .order = all->n};
    snprintf(to->key, sizeof to->key, "%.63s%s%.95s", task, task[0] ? " " : "", f->key);
    if (f->is_text) snprintf(to->text, sizeof to->text, "%.63s", f->text);
    all->n++;
    return OK;
}

/* Of a step's line: loss, learning rate, norm. The rest is time, and counts since the last line. Of a validation's: everything. */
static status keep_line(void *arg, const record_line *line)
{
    const record_field *event = record_get(line, "event"), *step = record_get(line, "step"), *task = record_get(line, "task");
    if (!event || !step) return OK;
    bool validate = strcmp(event->text, "validate") == 0;
    if (!validate && strcmp(event->text, "step") != 0) return OK;
    for (int i = 0; i < line->n; i++) {
        const record_field *f = &line->field[i];
        const char *k = f->key;
        if (validate ? strcmp(k, "event") == 0 || strcmp(k, "time") == 0 || strcmp(k, "step") == 0 || strcmp(k, "task") == 0
                     : strcmp(k, "lr") != 0 && strcmp(k, "grad_norm") != 0 && strcmp(k, "loss") != 0 && strncmp(k, "loss/", 5) != 0)
            continue;
        TRY(add(arg, (int64_t)step->number, validate && task ? task->text : "", f), "record");
    }
    return OK;
}

static int by_step(const void *pa, const void *pb)
{
    const fact *a = pa, *b = pb;
    if (a->step != b->step) return a->step < b->step ? -1 : 1;
    int c = strcmp(a->key, b->key);
    return c ? c : a->order < b->order ? -1 : a->order > b->order;
}

static status read_facts(const char *run, facts *all)
{
    char path[1100];
    snprintf(path, sizeof path, "%.1000s/record.jsonl", run);
    if (!path_exists(path)) return OK;
    TRY(record_read(path, keep_line, all), "verify-run");
    if (all->n) qsort(all->f, (size_t)all->n, sizeof *all->f, by_step);
    return OK;
}

static void show(const fact *f, char out[80])
{
    if (f->text[0])
        snprintf(out, 80, "\"%s\"", f->text);
    else if (f->null)
        snprintf(out, 80, "null");
    else
        snprintf(out, 80, "%.17g", f->number);
}

/* Numbers that both records have of a step are compared; how often a run logs or validates does not matter. */
static void compare_facts(const facts *a, const facts *b, int most, difference *first, int64_t *n_same)
{
    int n_printed = 0;
    for (int64_t i = 0, j = 0; i < a->n && j < b->n;) {
        const fact *x = &a->f[i], *y = &b->f[j];
        int c = x->step != y->step ? (x->step < y->step ? -1 : 1) : strcmp(x->key, y->key);
        i += c <= 0, j += c >= 0;
        if (c) continue;
        if (first->found && x->step > first->step) break; /* the first step that differs says it all */
        if (strcmp(x->text, y->text) == 0 && x->null == y->null && (x->null || memcmp(&x->number, &y->number, sizeof x->number) == 0)) {
            ++*n_same;
            continue;
        }
        char was[80], is[80], what[400];
        show(x, was), show(y, is);
        snprintf(what, sizeof what, "record, %s: %s and %s", x->key, was, is);
        if (n_printed++ < most) printf("step %lld: %s\n", (long long)x->step, what);
        if (first->found) continue;
        first->found = true, first->step = x->step;
        snprintf(first->what, sizeof first->what, "%s", what);
    }
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static status list_steps(const char *run, int64_t **steps, int *n)
{
    char dir[1100];
    snprintf(dir, sizeof dir, "%.1000s/checkpoints", run);
    *n = 0;
    TRY(mem_alloc(steps, sizeof **steps * MOST_STEPS, "list of checkpoints"), "%s", run);
    DIR *d = opendir(dir);
    if (!d) return OK;
    for (struct dirent *e; (e = readdir(d)) && *n < MOST_STEPS;) {
        long long step;
        char tail[8];
        if (sscanf(e->d_name, "step-%lld.%7s", &step, tail) == 2 && strcmp(tail, "h5") == 0) (*steps)[(*n)++] = step;
    }
    closedir(d);
    qsort(*steps, (size_t)*n, sizeof **steps, ascending);
    return OK;
}

typedef struct counts {
    int64_t checkpoints, arrays, numbers, first_step, last_step;
} counts;

/* Checkpoints of the same step, from the first on, until one differs. */
static status compare_checkpoints(const char *a, const char *b, int most, difference *first, counts *c)
{
    int64_t *x = NULL, *y = NULL;
    int n = 0, m = 0;
    status st = list_steps(a, &x, &n);
    if (!st) st = list_steps(b, &y, &m);
    for (int i = 0, j = 0; !st && i < n && j < m && !first->found;) {
        if (x[i] != y[j]) {
            if (x[i] < y[j])
                i++;
            else
                j++;
            continue;
        }
        char p[1200], q[1200];
        snprintf(p, sizeof p, "%.1000s/checkpoints/step-%09lld.h5", a, (long long)x[i]);
        snprintf(q, sizeof q, "%.1000s/checkpoints/step-%09lld.h5", b, (long long)x[i]);
        st = verify_arrays(p, q, most, first, &c->arrays);
        if (!c->checkpoints++) c->first_step = x[i];
        c->last_step = x[i];
        i++, j++;
    }
    free(x);
    free(y);
    return st;
}

/* ---- the command ------------------------------------------------------------------------------------------------------------- */

static status compare_runs(const char *a, const char *b, int most)
{
    facts x = {0}, y = {0};
    difference in_record = {0}, in_file = {0};
    counts c = {0};
    status st = read_facts(a, &x);
    if (!st) st = read_facts(b, &y);
    if (!st) compare_facts(&x, &y, most, &in_record, &c.numbers);
    free(x.f);
    free(y.f);
    if (st) return st;
    TRY(compare_checkpoints(a, b, most, &in_file, &c), "verify-run");
    CHECK(c.checkpoints + c.numbers > 0 || in_record.found, ST_DATA, "%s and %s have no step in common: nothing to compare", a, b);
    if (in_record.found && in_file.found)
        return status_raise(ST_DIFFER, __FILE__, __LINE__,
                            "%s and %s differ: first number of the record at step %lld, %s; first checkpoint at step %lld, %s", a, b,
                            (long long)in_record.step, in_record.what + strlen("record, "), (long long)in_file.step, in_file.what);
    const difference *d = in_file.found ? &in_file : &in_record;
    CHECK(!d->found, ST_DIFFER, "%s and %s differ first at step %lld: %s", a, b, (long long)d->step, d->what);
    printf("same bits: %lld checkpoints", (long long)c.checkpoints);
    if (c.checkpoints)
        printf(" of steps %lld to %lld (%lld arrays)", (long long)c.first_step, (long long)c.last_step, (long long)c.arrays);
    printf(", %lld numbers of the records\n", (long long)c.numbers);
    return OK;
}

static status compare_files(const char *a, const char *b, int most)
{
    difference first = {0};
    int64_t n = 0;
    TRY(verify_arrays(a, b, most, &first, &n), "verify-run");
    CHECK(!first.found, ST_DIFFER, "%s and %s differ first at step %lld: %s", a, b, (long long)first.step, first.what);
    printf("same bits: %lld arrays\n", (long long)n);
    return OK;
}

status cmd_verify_run(int argc, char **argv)
{
    const char *args[2];
    int64_t most = 10;
    int n_args = 0;
    const command_option options[] = {
        {.name = "--most",
         .arg = "N",
         .number = &most,
         .lo = 0,
         .hi = 1000000,
         .help = "print at most N arrays and numbers that differ (default 10)"},
        {0},
    };
    const command_line c = {"medley verify-run A B [--most N]",
                           "Are two runs the same, bit for bit? A and B are run folders: the checkpoints of the steps both have, from "
                           "the first on, and the losses, "
                           "norms and validation scores their records have of the same steps; or two checkpoint files. Weights, "
                           "moments, moving averages, scales and "
                           "plan must be equal; times may differ. Names the first step and array that differ, with index, both values "
                           "and the number of values that "
                           "differ. Exit status: 0 the same, 1 different, 3 nothing to compare or a damaged file.",
                           options, 2, 2};
    if (command_help(&c, argc, argv)) return OK;
    TRY(command_parse(&c, argc, argv, args, &n_args), "verify-run");
    struct stat info[2];
    for (int i = 0; i < 2; i++) CHECK(stat(args[i], &info[i]) == 0, ST_USAGE, "%s: no such run folder or checkpoint", args[i]);
    bool folder = S_ISDIR(info[0].st_mode);
    CHECK(folder == S_ISDIR(info[1].st_mode), ST_USAGE, "%s and %s: give two run folders or two checkpoint files", args[0], args[1]);
    return folder ? compare_runs(args[0], args[1], (int)most) : compare_files(args[0], args[1], (int)most);
}
