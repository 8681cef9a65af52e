/* examples_list: the lists beside the pictures of an evaluation, index.csv and classes.csv, written and read. */
#include "examples.h"

#include "scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char index_head[] = "file,predicted_file,id,subject,truth,prediction,quality,right";
static const char class_head[] = "class,colour";

/* ---- writing ------------------------------------------------------------------------------------------------------------------------ */

static void put_classes(FILE *f, const examples *e)
{
    fprintf(f, "%s\n", class_head);
    for (const example_class *c = e->cls; c < e->cls + e->n_classes; c++) {
        csv_text(f, c->name);
        fprintf(f, ",%s\n", c->colour);
    }
}

static void put_index(FILE *f, const examples *e)
{
    fprintf(f, "%s\n", index_head);
    for (const example_row *r = e->row; r < e->row + e->n; r++) {
        const char *const texts[] = {r->file[0], r->file[1], r->id, r->subject, r->truth, r->guess};
        for (int k = 0; k < 6; k++) csv_text(f, texts[k]), fputc(',', f);
        csv_number(f, r->quality);
        if (r->right >= 0) fprintf(f, ",%d\n", r->right);
        else fputs(",\n", f);
    }
}

static status write_list(const char *dir, const char *name, void (*put)(FILE *f, const examples *e), const examples *e)
{
    char path[1000], *text = NULL;
    size_t n = 0;
    FILE *f;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    TRY(mem_text_open(&f, &text, &n, "list of examples"), "%s", path);
    put(f, e);
    TRY(mem_text_close(f, &text, "list of examples"), "%s", path);
    status st = file_write_atomic(path, text, n);
    free(text);
    return st;
}

status examples_save(const examples *e, const char *dir)
{
    TRY(write_list(dir, "classes.csv", put_classes, e), "examples");
    return write_list(dir, "index.csv", put_index, e);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------------ */

static bool read_row(const char *p, example_row *r)
{
    char quality[40], right[8], *end;
    struct { char *to; size_t cap; } texts[] = {{r->file[0], sizeof r->file[0]}, {r->file[1], sizeof r->file[1]}, {r->id, sizeof r->id},
                                                {r->subject, sizeof r->subject}, {r->truth, sizeof r->truth}, {r->guess, sizeof r->guess},
                                                {quality, sizeof quality}, {right, sizeof right}};
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
        if (!csv_field(&p, texts[k].to, texts[k].cap)) return false;
    r->quality = quality[0] ? strtod(quality, &end) : NAN;
    r->right = right[0] == '1' ? 1 : right[0] == '0' ? 0 : -1;
    return r->file[0][0] && (!quality[0] || !*end);
}

static bool read_class(const char *p, example_class *c)
{
    if (!csv_field(&p, c->name, sizeof c->name) || !csv_field(&p, c->colour, sizeof c->colour)) return false;
    return strlen(c->colour) == 7 && c->colour[0] == '#' && strspn(c->colour + 1, "0123456789abcdef") == 6;
}

/* Calls row or cls for every line behind the head. */
static status read_lines(const char *path, const char *head, int most, example_row *row, example_class *cls, int *n)
{
    char *text = NULL;
    status st;
    *n = 0;
    TRY_TO(done, file_read_all(path, 1 << 24, &text, NULL), "examples");
    CHECK_TO(done, strncmp(text, head, strlen(head)) == 0, ST_DATA, "%s:1: the columns are not %s", path, head);
    for (const char *p = strchr(text, '\n'); p && p[1]; p = strchr(p, '\n')) {
        p++;
        CHECK_TO(done, *n < most && (row ? read_row(p, &row[*n]) : read_class(p, &cls[*n])), ST_DATA, "%s:%d: not a line of this table", path, *n + 2);
        ++*n;
    }
done:
    free(text);
    return st;
}

status examples_read(examples *e, const char *run, const char *split, const char *task_name)
{
    char path[1000];
    *e = (examples){0};
    TRY(run_file(e->dir, run, "examples", split, task_name, ""), "examples");
    snprintf(path, sizeof path, "%s/index.csv", e->dir);
    if (!path_exists(path)) return OK;
    status st = mem_alloc(&e->row, sizeof *e->row * EXAMPLES_MOST, "examples");
    if (!st) st = mem_alloc(&e->cls, sizeof *e->cls * EXAMPLES_CLASSES, "classes");
    if (!st) st = read_lines(path, index_head, EXAMPLES_MOST, e->row, NULL, &e->n);
    snprintf(path, sizeof path, "%s/classes.csv", e->dir);
    if (!st && path_exists(path)) st = read_lines(path, class_head, EXAMPLES_CLASSES, NULL, e->cls, &e->n_classes);
    if (st) examples_free(e);
    return st;
}

void examples_free(examples *e)
{
    free(e->row);
    free(e->cls);
    *e = (examples){0};
}
