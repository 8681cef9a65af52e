/* faults: collects everything wrong with a file, in the order of its lines, into one message. */
#include "config_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_FAULTS = 1000, MESSAGE_ROOM = 7800 };

bool faults_has(const config_faults *f, const char *where)
{
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->list[i].key, where) == 0) return true;
    return false;
}

/* A fault with texts of its own. */
static status fill(fault *out, const char *file, int line, const char *where, const char *text)
{
    *out = (fault){.line = line};
    status st = file ? mem_copy(&out->file, file, strlen(file), "fault") : OK;
    if (!st) st = mem_copy(&out->key, where, strlen(where), "fault");
    if (!st) st = mem_copy(&out->text, text, strlen(text), "fault");
    if (st) free(out->file), free(out->key);
    return st;
}

static void add(config_faults *f, const char *file, int line, const char *where, const char *fmt, va_list args)
{
    if (f->n >= MOST_FAULTS || (where[0] && faults_has(f, where))) return;
    if (f->n == f->room) {
        int room = f->room ? 2 * f->room : 16;
        if (mem_grow(&f->list, sizeof *f->list * (size_t)room, "list of faults")) { f->out_of_memory = true; return; }
        f->room = room;
    }
    char text[768];
    vsnprintf(text, sizeof text, fmt, args);
    fault *new = &f->list[f->n];
    if (fill(new, file, line, where, text)) f->out_of_memory = true;
    else new->number = f->n++;
}

void faults_at(config_faults *f, const char *file, int line, const char *where, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add(f, file, line, where, fmt, args);
    va_end(args);
}

void faults_set(config_faults *f, const char *where, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add(f, NULL, 0, where, fmt, args);
    va_end(args);
}

/* The name of the file a setting lies in, as the user would type it. */
static const char *source(const config_faults *f, const config_setting_t *s, char *buf, size_t n)
{
    const char *file = config_setting_source_file(s);
    if (!file || strcmp(file, f->path) == 0) return f->path;
    scan_include_path(f, file, buf, n);
    return buf;
}

static void add_of(config_faults *f, const config_setting_t *s, int line, const char *where, const char *fmt, va_list args)
{
    char buf[1024];
    if (set_is_from(s)) add(f, NULL, 0, where, fmt, args);
    else add(f, source(f, s, buf, sizeof buf), line ? line : (int)config_setting_source_line(s), where, fmt, args);
}

void faults_of(config_faults *f, const config_setting_t *s, const char *where, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add_of(f, s, 0, where, fmt, args);
    va_end(args);
}

void config_fault(config_faults *f, int line, const char *where, const char *fmt, ...)
{
    config_setting_t *deepest = NULL, *s = set_find(f, where, &deepest);
    va_list args;
    va_start(args, fmt);
    if (s) add_of(f, s, 0, where, fmt, args);
    else if (deepest) add_of(f, deepest, line, where, fmt, args);
    else add(f, f->path, line, where, fmt, args);
    va_end(args);
}

void faults_hint(config_faults *f, const char *file, int line, const char *where, const char *text)
{
    if (f->n_hints >= 64) return;
    status st = mem_grow(&f->hint, sizeof *f->hint * (size_t)(f->n_hints + 1), "list of hints");
    if (!st) st = fill(&f->hint[f->n_hints], file, line, where, text);
    if (st) f->out_of_memory = true;
    else f->n_hints++;
}

/* The job file first, its includes by name, --set last; then by line. */
static int by_place(const void *pa, const void *pb)
{
    const fault *a = pa, *b = pb;
    if (!a->file != !b->file) return a->file ? -1 : 1;
    int d = a->file ? strcmp(a->file, b->file) : 0;
    if (d) return d;
    if (a->line != b->line) return a->line < b->line ? -1 : 1;
    return a->number - b->number;
}

static int put_fault(char *to, size_t n, const fault *a)
{
    const char *colon = a->key[0] ? ": " : "";
    if (!a->file) return snprintf(to, n, "\n--set %s: %s", a->key, a->text);
    if (a->line > 0) return snprintf(to, n, "\n%s:%d: %s%s%s", a->file, a->line, a->key, colon, a->text);
    return snprintf(to, n, "\n%s: %s%s%s", a->file, a->key, colon, a->text);
}

status faults_raise(config_faults *f)
{
    CHECK(!f->out_of_memory, ST_RESOURCE, "%s: out of memory while reading", f->path);
    if (f->n == 0) return OK;
    qsort(f->list, (size_t)f->n, sizeof *f->list, by_place);
    char *text, one[2048];
    TRY(mem_alloc(&text, MESSAGE_ROOM + 64, "message"), "faults");
    size_t used = 0;
    for (int i = 0; i < f->n; i++) {
        put_fault(one, sizeof one, &f->list[i]);
        size_t n = strlen(one);
        if (used + n > MESSAGE_ROOM) {
            snprintf(text + used, 64, "\n... and %d more", f->n - i);
            break;
        }
        memcpy(text + used, one, n + 1);
        used += n;
    }
    char path[200];
    status st = status_raise(ST_USAGE, __FILE__, __LINE__, "%s: %d fault%s%s", text_shown(f->path, path, sizeof path), f->n,
                             f->n == 1 ? "" : "s", text);
    free(text);
    return st;
}

void faults_free(config_faults *f)
{
    for (int i = 0; i < f->n; i++) free(f->list[i].file), free(f->list[i].key), free(f->list[i].text);
    for (int i = 0; i < f->n_hints; i++) free(f->hint[i].file), free(f->hint[i].key), free(f->hint[i].text);
    free(f->list);
    free(f->hint);
    f->list = f->hint = NULL;
    f->n = f->room = f->n_hints = 0;
}
