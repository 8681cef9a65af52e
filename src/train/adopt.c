/* adopt: what of a checkpoint belongs to this job. Tasks may come and go between two sessions of a run, if the job says so: heads lie
 * in the checkpoint by the names of their tasks, so the others keep every bit. */
#include "train_internal.h"

#include <stdlib.h>
#include <string.h>

status adopt_text(store *s, const char *path, const char *name, char **out)
{
    enum dtype type;
    int ndim;
    int64_t dims[8];
    *out = NULL;
    TRY(store_shape(s, name, &type, &ndim, dims), "%s", path);
    CHECK(type == DT_U8 && ndim == 1 && dims[0] > 0 && dims[0] < 1 << 24, ST_DATA, "%s: object %s has an unexpected shape", path, name);
    TRY(mem_alloc(out, (size_t)dims[0] + 1, name), "checkpoint");
    status st = store_read(s, name, DT_U8, dims[0], *out);
    if (st) {
        free(*out);
        *out = NULL;
    }
    return st;
}

/* ---- the plan ------------------------------------------------------------------------------------------------------------- */

/* The first line in which two plans differ. */
static status compare_plans(const char *path, const char *was, const char *is)
{
    while (*was && *is) {
        size_t n = strcspn(was, "\n"), m = strcspn(is, "\n");
        CHECK(n == m && memcmp(was, is, n) == 0, ST_USAGE,
              "%s was made by another job: it has \"%.*s\", the job file has \"%.*s\". Use another run folder, or --fresh to start "
              "over%s",
              path, (int)n, was, (int)m, is,
              strncmp(is, "tasks[", 6) == 0 ? " (train.allow_task_changes = true lets tasks come and go)" : "");
        was += n + (was[n] == '\n');
        is += m + (is[m] == '\n');
    }
    CHECK(!*was && !*is, ST_USAGE,
          "%s was made by another job (other tasks). Use another run folder, or --fresh to start over "
          "(train.allow_task_changes = true lets tasks come and go)",
          path);
    return OK;
}

/* The line of `text` that begins with the first n characters of `line`; NULL if there is none. */
static const char *find_line(const char *text, const char *line, size_t n)
{
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
        if (strncmp(text, line, n) == 0) return text;
    return NULL;
}

/* "tasks[NAME] = ..." of a plan: length of "tasks[NAME] ="; 0 for another line. */
static size_t task_key(const char *line)
{
    const char *end = strncmp(line, "tasks[", 6) == 0 ? strstr(line, "] =") : NULL;
    return end ? (size_t)(end - line) + 3 : 0;
}

/* Tasks may come and go; what both have must be the same. */
static status compare_changed(trainer *t, const char *path, const char *was, const char *is)
{
    int n_removed = 0, n_added = 0;
    for (const char *a = was; *a; a += strcspn(a, "\n"), a += *a == '\n') {
        size_t n = strcspn(a, "\n"), key = task_key(a);
        const char *b = find_line(is, a, key ? key : strcspn(a, "=\n"));
        if (key && !b) {
            if (t->rank == 0)
                log_line(LOG_WARN, "task %.*s of %s is not in the job any more: its head and state are dropped", (int)key - 9, a + 6,
                         path);
            n_removed++;
            continue;
        }
        size_t m = b ? strcspn(b, "\n") : 0;
        CHECK(n == m && memcmp(a, b, n) == 0, ST_USAGE,
              "%s was made by another job: it has \"%.*s\", the job file has \"%.*s\". Use another run "
              "folder, or --fresh to start over (train.allow_task_changes adds and removes tasks, it changes none)",
              path, (int)n, a, (int)m, b ? b : "");
    }
    for (int i = 0; i < t->n_tasks; i++) {
        char key[96];
        int n = snprintf(key, sizeof key, "tasks[%s] =", t->job.task[i].name);
        t->ts[i].added = !find_line(was, key, (size_t)n);
        if (!t->ts[i].added) continue;
        if (t->rank == 0) log_line(LOG_WARN, "task %s is not in %s: it starts with a new head", t->job.task[i].name, path);
        n_added++;
    }
    CHECK(n_added < t->n_tasks, ST_USAGE,
          "%s was made by another job: none of its tasks is in the job file. Use another run folder, or --fresh to "
          "start over",
          path);
    t->tasks_changed = n_added + n_removed > 0;
    return OK;
}

status adopt_plan(trainer *t, store *s, const char *path, bool full)
{
    char *was = NULL, *is = NULL;
    status st;
    TRY(adopt_text(s, path, "plan", &was), "checkpoint");
    TRY_TO(done, plan_text(t, &is), "checkpoint");
    st = full && t->job.train.allow_task_changes ? compare_changed(t, path, was, is) : compare_plans(path, was, is);
done:
    free(was);
    free(is);
    return st;
}

bool adopt_as_new(const trainer *t, store *s, const param *p)
{
    if (p->block >= BLOCK_HEAD0) return t->ts[p->block - BLOCK_HEAD0].added;
    char name[200]; /* the first task that needs a decoder brings one */
    snprintf(name, sizeof name, "weights/%s", p->name);
    return t->tasks_changed && (p->block == BLOCK_SEG || p->block == BLOCK_DET) && !store_has(s, name);
}

/* ---- what goes with a tensor ------------------------------------------------------------------------------------------------ */

/* Step at which the block's moments began: 0, or when its task came to a running training. */
static int64_t *born_of(trainer *t, int block) { return block < BLOCK_HEAD0 ? &t->born[block] : &t->ts[block - BLOCK_HEAD0].born; }

int64_t adopt_age(const trainer *t, int block)
{
    return t->step - (block < BLOCK_HEAD0 ? t->born[block] : t->ts[block - BLOCK_HEAD0].born);
}

status adopt_put_tensors(trainer *t, store *s)
{
    char *text = NULL;
    size_t size = 0;
    int64_t *born = NULL, n = t->pt.n;
    FILE *f;
    TRY(mem_text_open(&f, &text, &size, "the names of tensors"), "checkpoint");
    for (int i = 0; i < n; i++) fprintf(f, "%s\n", t->pt.p[i].name);
    status st = mem_text_close(f, &text, "the names of tensors");
    if (!st) st = store_write(s, "tensors", DT_U8, 1, (int64_t[]){(int64_t)size + 1}, text, 0);
    if (!st) st = mem_alloc(&born, sizeof *born * (size_t)n, "tensors");
    for (int i = 0; !st && i < n; i++) born[i] = *born_of(t, t->pt.p[i].block);
    if (!st) st = store_write(s, "born", DT_I64, 1, &n, born, 0);
    free(born);
    free(text);
    return st;
}

/* Lines of a text; `at` is where the next name is expected. */
typedef struct names {
    const char *text, *at;
    int64_t next;
} names;

/* Number of the line `name`; -1 if there is none. */
static int64_t find_name(names *l, const char *name)
{
    size_t n = strlen(name);
    for (int turn = 0; turn < 2; turn++) {
        while (*l->at) {
            bool found = strncmp(l->at, name, n) == 0 && l->at[n] == '\n';
            l->at += strcspn(l->at, "\n");
            l->at += *l->at == '\n';
            l->next++;
            if (found) return l->next - 1;
        }
        l->at = l->text, l->next = 0;
    }
    return -1;
}

/* Sets exponents and births from the file's arrays of n; list: the file's names, or NULL if they are this job's. */
static status set_tensors(trainer *t, const char *path, const int64_t *exponent, const int64_t *born, int64_t n, const char *list,
                          int64_t step)
{
    names l = {list, list, 0};
    for (int i = 0, k = 0; i < t->pt.n; i++) {
        int64_t at = list ? find_name(&l, t->pt.p[i].name) : i;
        CHECK(at < n, ST_DATA, "%s: objects tensors and sum_exponent do not fit", path);
        *born_of(t, t->pt.p[i].block) = at < 0 ? step : born[at];
        if (k == t->n_local || t->local[k] != i) continue;
        t->sum.tensor[k++].exponent = at < 0 ? SUM_EXPONENT_UNKNOWN : (int)exponent[at];
    }
    return OK;
}

status adopt_tensors(trainer *t, store *s, const char *path, int64_t step)
{
    enum dtype type;
    int ndim;
    int64_t dims[8], *exponent = NULL, *born = NULL;
    char *list = NULL;
    bool named = store_has(s, "tensors"); /* not so in older checkpoints: then the order of the tensors must be this job's */
    status st = OK;
    TRY(store_shape(s, "sum_exponent", &type, &ndim, dims), "%s", path);
    CHECK(type == DT_I64 && ndim == 1 && dims[0] > 0 && dims[0] < 1 << 24 && (named || dims[0] == t->pt.n), ST_DATA,
          "%s: object sum_exponent has an unexpected shape", path);
    CHECK(named || !t->job.train.allow_task_changes, ST_USAGE,
          "%s is of an older version: go on without train.allow_task_changes first", path);
    TRY_TO(done, mem_alloc(&exponent, sizeof *exponent * (size_t)dims[0], "exponents"), "checkpoint");
    TRY_TO(done, mem_alloc(&born, sizeof *born * (size_t)dims[0], "tensors"), "checkpoint");
    TRY_TO(done, store_read(s, "sum_exponent", DT_I64, dims[0], exponent), "%s", path);
    if (named) TRY_TO(done, adopt_text(s, path, "tensors", &list), "checkpoint");
    if (named) TRY_TO(done, store_read(s, "born", DT_I64, dims[0], born), "%s", path);
    st = set_tensors(t, path, exponent, born, dims[0], list, step);
done:
    free(list);
    free(born);
    free(exponent);
    return st;
}
