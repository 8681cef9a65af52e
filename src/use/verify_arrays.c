/* verify_arrays: two checkpoint files, array by array, bit by bit. */
#include "verify_run.h"

#include "medley/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct pair {
    store *s[2];
    const char *path[2];
    int most, n_printed;
    int64_t step, n_arrays;
    difference *first;
    void *buf[2];
    size_t room;
} pair;

/* In this order: what comes first explains what follows. Groups of tensors; "/" ends a group's name. */
static const char *const order[] = {"plan", "weights/", "m/", "v/", "ema/", "sum_exponent", "task/"};
/* Said of the run, not computed by it. */
static const char *const ignored[] = {"conditions", "tensors"};

static void PRINTF_LIKE(2, 3) note(pair *p, const char *fmt, ...)
{
    char what[600];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    if (p->n_printed++ < p->most) printf("step %lld: %s\n", (long long)p->step, what);
    if (p->first->found) return;
    p->first->found = true;
    p->first->step = p->step;
    snprintf(p->first->what, sizeof p->first->what, "%s", what);
}

static void value_text(enum dtype t, const void *at, int64_t i, char out[40])
{
    switch (t) {
    case DT_F32:
        snprintf(out, 40, "%.9g", (double)((const float *)at)[i]);
        break;
    case DT_F64:
        snprintf(out, 40, "%.17g", ((const double *)at)[i]);
        break;
    case DT_I64:
        snprintf(out, 40, "%lld", (long long)((const int64_t *)at)[i]);
        break;
    case DT_I32:
        snprintf(out, 40, "%d", ((const int32_t *)at)[i]);
        break;
    case DT_U32:
        snprintf(out, 40, "%u", ((const uint32_t *)at)[i]);
        break;
    case DT_I16:
        snprintf(out, 40, "%d", ((const int16_t *)at)[i]);
        break;
    case DT_U16:
        snprintf(out, 40, "%u", ((const uint16_t *)at)[i]);
        break;
    default:
        snprintf(out, 40, "%u", ((const uint8_t *)at)[i]);
    }
}

/* "[3,0,7]" */
static void place_text(int64_t i, int ndim, const int64_t *dims, char out[120])
{
    int64_t index[8];
    size_t n = 0;
    for (int d = ndim - 1; d >= 0; d--) index[d] = i % dims[d], i /= dims[d];
    out[0] = 0;
    for (int d = 0; d < ndim; d++) n += (size_t)snprintf(out + n, 120 - n, "%s%lld", d ? "," : "[", (long long)index[d]);
    snprintf(out + n, 120 - n, "]");
}

static void compare_values(pair *p, const char *name, enum dtype t, int ndim, const int64_t *dims, int64_t n)
{
    size_t size = dtype_bytes(t);
    const char *a = p->buf[0], *b = p->buf[1];
    int64_t first = -1, count = 0;
    if (memcmp(a, b, (size_t)n * size) == 0) return;
    for (int64_t i = 0; i < n; i++)
        if (memcmp(a + (size_t)i * size, b + (size_t)i * size, size) != 0) {
            if (first < 0) first = i;
            count++;
        }
    char x[40], y[40], place[120];
    value_text(t, a, first, x), value_text(t, b, first, y);
    place_text(first, ndim, dims, place);
    note(p, "%s %s: %s and %s; %lld of %lld values differ", name, place, x, y, (long long)count, (long long)n);
}

/* A text: the first line that differs. */
static void compare_text(pair *p, const char *name, int64_t n, int64_t m)
{
    char *a = p->buf[0], *b = p->buf[1];
    a[n - 1] = b[m - 1] = 0;
    while (*a || *b) {
        size_t k = strcspn(a, "\n"), l = strcspn(b, "\n");
        if (k != l || memcmp(a, b, k) != 0) {
            note(p, "%s: \"%.*s\" and \"%.*s\"", name, k < 200 ? (int)k : 200, a, l < 200 ? (int)l : 200, b);
            return;
        }
        a += k + (a[k] == '\n'), b += l + (b[l] == '\n');
    }
}

static status need_room(pair *p, size_t bytes)
{
    if (bytes <= p->room) return OK;
    p->room = 0;
    for (int i = 0; i < 2; i++) {
        free(p->buf[i]);
        p->buf[i] = NULL;
        TRY(mem_alloc(&p->buf[i], bytes, "comparison"), "verify-run");
    }
    p->room = bytes;
    return OK;
}

static status compare_array(pair *p, const char *name)
{
    enum dtype t[2];
    int ndim[2];
    int64_t dims[2][8], n[2] = {1, 1};
    for (int i = 0; i < 2; i++) {
        TRY(store_shape(p->s[i], name, &t[i], &ndim[i], dims[i]), "%s", p->path[i]);
        for (int d = 0; d < ndim[i]; d++) n[i] *= dims[i][d];
    }
    bool text = t[0] == DT_U8 && t[1] == DT_U8;
    p->n_arrays++;
    if (!text && (t[0] != t[1] || ndim[0] != ndim[1] || memcmp(dims[0], dims[1], sizeof **dims * (size_t)ndim[0]) != 0)) {
        note(p, "%s: other type or shape", name);
        return OK;
    }
    TRY(need_room(p, (size_t)(n[0] > n[1] ? n[0] : n[1]) * dtype_bytes(t[0]) + 1), "%s", name);
    for (int i = 0; i < 2; i++) TRY(store_read(p->s[i], name, t[i], n[i], p->buf[i]), "%s", p->path[i]);
    if (text && n[0] > 0 && n[1] > 0)
        compare_text(p, name, n[0], n[1]);
    else if (!text)
        compare_values(p, name, t[0], ndim[0], dims[0], strncmp(name, "task/", 5) == 0 && n[0] == 4 ? 3 : n[0]);
    return OK; /* the fourth number of a task is measured seconds */
}

/* The members of a group in both files, in the order of names; those of one file only differ. */
static status compare_group(pair *p, const char *group)
{
    int n[2] = {0, 0};
    char(*name[2])[128] = {NULL, NULL}, path[300];
    status st = OK;
    for (int i = 0; i < 2; i++)
        if (store_has(p->s[i], group)) TRY_TO(done, store_list(p->s[i], group, &n[i], &name[i]), "%s", p->path[i]);
    for (int i = 0, j = 0; !st && (i < n[0] || j < n[1]);) {
        int side = i == n[0] ? 1 : j == n[1] ? -1 : strcmp(name[0][i], name[1][j]);
        snprintf(path, sizeof path, "%s/%s", group, side > 0 ? name[1][j] : name[0][i]);
        if (side == 0)
            st = compare_array(p, path);
        else
            note(p, "%s: only in %s", path, p->path[side > 0]);
        i += side <= 0, j += side >= 0;
    }
done:
    free(name[0]);
    free(name[1]);
    return st;
}

static status compare_head(pair *p)
{
    static const char *const numbers[] = {"seed", "full", "best_step"};
    for (int k = 0; k < 3; k++) {
        int64_t v[2];
        for (int i = 0; i < 2; i++) TRY(store_get_i64(p->s[i], "/", numbers[k], &v[i]), "%s", p->path[i]);
        if (v[0] != v[1]) note(p, "%s: %lld and %lld", numbers[k], (long long)v[0], (long long)v[1]);
    }
    double best[2];
    for (int i = 0; i < 2; i++) TRY(store_get_f64(p->s[i], "/", "best_score", &best[i]), "%s", p->path[i]);
    if (memcmp(&best[0], &best[1], sizeof best[0]) != 0) note(p, "best_score: %.17g and %.17g", best[0], best[1]);
    return OK;
}

static bool is_known(const char *name)
{
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (strcmp(name, ignored[i]) == 0) return true;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        size_t n = strcspn(order[i], "/");
        if (strncmp(name, order[i], n) == 0 && name[n] == 0) return true;
    }
    return false;
}

/* What this version does not know is compared too. */
static status compare_others(pair *p)
{
    int n;
    char(*name)[128];
    TRY(store_list(p->s[0], "/", &n, &name), "%s", p->path[0]);
    status st = OK;
    for (int i = 0; !st && i < n; i++) {
        enum dtype t;
        int ndim;
        int64_t dims[8];
        if (is_known(name[i])) continue;
        if (!store_has(p->s[1], name[i]))
            note(p, "%s: only in %s", name[i], p->path[0]);
        else if (store_shape(p->s[0], name[i], &t, &ndim, dims) == OK)
            st = compare_array(p, name[i]);
        else
            st = compare_group(p, name[i]);
    }
    free(name);
    return st;
}

static status compare_all(pair *p)
{
    int64_t step[2];
    for (int i = 0; i < 2; i++) {
        char format[64];
        TRY(store_get_str(p->s[i], "/", "format", format, sizeof format), "%s", p->path[i]);
        CHECK(strcmp(format, "medley-checkpoint") == 0, ST_DATA, "%s: not a checkpoint", p->path[i]);
        TRY(store_get_i64(p->s[i], "/", "step", &step[i]), "%s", p->path[i]);
    }
    p->step = step[0] < step[1] ? step[0] : step[1];
    if (step[0] != step[1]) note(p, "step: %lld and %lld", (long long)step[0], (long long)step[1]);
    for (size_t k = 0; k < sizeof order / sizeof *order; k++) {
        char name[32];
        size_t n = strcspn(order[k], "/");
        snprintf(name, sizeof name, "%.*s", (int)n, order[k]);
        bool has[2] = {store_has(p->s[0], name), store_has(p->s[1], name)};
        if (has[0] != has[1])
            note(p, "%s: only in %s", name, p->path[has[1]]);
        else if (has[0] && order[k][n])
            TRY(compare_group(p, name), "verify-run");
        else if (has[0])
            TRY(compare_array(p, name), "verify-run");
    }
    TRY(compare_others(p), "verify-run");
    return compare_head(p);
}

status verify_arrays(const char *a, const char *b, int most, difference *first, int64_t *n_arrays)
{
    pair p = {.path = {a, b}, .most = most, .first = first};
    status st;
    TRY_TO(done, store_open(&p.s[0], a), "verify-run");
    TRY_TO(done, store_open(&p.s[1], b), "verify-run");
    st = compare_all(&p);
    if (p.n_printed > most) printf("step %lld: and %d more\n", (long long)p.step, p.n_printed - most);
    *n_arrays += p.n_arrays;
done:
    for (int i = 0; i < 2; i++) {
        store_close(p.s[i]);
        free(p.buf[i]);
    }
    return st;
}
