/* report_confusion: confusion matrices of the report, from RUN/confusion-SPLIT-TASK.csv: a table shaded by share of its row; of many classes
 * the commonest confusions; of label vectors a table of hits and misses. */
#include "report.h"
#include "svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES_MOST = 1024, TABLE_MOST = 24, LIST_MOST = 15 };

typedef struct confusion {
    bool    square, pixels; /* (n,n) true x predicted, of images or pixels; else (n,4) of a label vector */
    int     n, cols;
    char  (*name)[64];      /* (n) */
    int64_t *count;         /* (n,cols) */
} confusion;

/* ---- reading ------------------------------------------------------------------------------------------------------------------------ */

static int count_fields(const char *p)
{
    char field[64];
    int n = 0;
    while (*p && *p != '\n' && csv_field(&p, field, sizeof field)) n++;
    return n;
}

static bool read_line(confusion *c, int i, const char *p)
{
    char field[64], *end;
    if (!csv_field(&p, c->name[i], sizeof c->name[i])) return false;
    for (int k = 0; k < c->cols; k++) {
        if (!csv_field(&p, field, sizeof field)) return false;
        int64_t v = strtoll(field, &end, 10);
        if (!field[0] || *end || v < 0) return false;
        c->count[(int64_t)i * c->cols + k] = v;
    }
    return true;
}

static void confusion_free(confusion *c)
{
    free(c->name);
    free(c->count);
    *c = (confusion){0};
}

/* n = 0 and OK if there is no such file. ST_DATA with file and line. */
static status confusion_read(confusion *c, const char *path)
{
    char *text = NULL;
    status st;
    *c = (confusion){0};
    if (!path_exists(path)) return OK;
    TRY_TO(done, file_read_all(path, 1 << 26, &text, NULL), "confusion matrix");
    c->pixels = strncmp(text, "true_pixels,", 12) == 0;
    c->square = c->pixels || strncmp(text, "true,", 5) == 0;
    c->cols = count_fields(text) - 1;
    int lines = 0;
    for (const char *p = text; *p; p++) lines += *p == '\n';
    CHECK_TO(done, (c->square || (strncmp(text, "label,", 6) == 0 && c->cols == 4)) && c->cols >= 1 && c->cols <= CLASSES_MOST && lines <= CLASSES_MOST + 1,
             ST_DATA, "%s:1: not a confusion matrix", path);
    TRY_TO(done, mem_alloc(&c->name, sizeof *c->name * (size_t)(lines + 1), "classes"), "%s", path);
    TRY_TO(done, mem_alloc(&c->count, sizeof *c->count * (size_t)(lines + 1) * (size_t)c->cols, "confusion matrix"), "%s", path);
    for (const char *p = strchr(text, '\n'); p && p[1]; p = strchr(p, '\n'), c->n++)
        CHECK_TO(done, c->n < lines && read_line(c, c->n, ++p), ST_DATA, "%s:%d: not a line of this table", path, c->n + 2);
    CHECK_TO(done, !c->square || c->n == c->cols, ST_DATA, "%s: %d rows and %d columns", path, c->n, c->cols);
done:
    if (st) confusion_free(c);
    free(text);
    return st;
}

/* ---- drawing ------------------------------------------------------------------------------------------------------------------------ */

static int64_t row_sum(const confusion *c, int i)
{
    int64_t sum = 0;
    for (int k = 0; k < c->cols; k++) sum += c->count[(int64_t)i * c->cols + k];
    return sum;
}

/* Numbers of pixels are unreadable: their shares are shown. */
static void put_cell(FILE *out, int64_t n, int64_t of, bool right, bool as_share)
{
    double share = of > 0 ? (double)n / (double)of : 0;
    fprintf(out, "<td style=\"background:rgba(%s,%.2f)\"><span title=\"%lld of %lld\">", right ? "45,138,87" : "196,65,59", 0.75 * sqrt(share),
            (long long)n, (long long)of);
    if (!as_share) fprintf(out, "%lld", (long long)n);
    else if (n) fprintf(out, share < 0.001 ? "&lt;0.1" : "%.1f", 100 * share);
    fputs("</span></td>", out);
}

static void put_matrix(FILE *out, const confusion *c)
{
    html_printf(out, "<p class=\"part\">Confusion matrix: rows are true classes, columns predicted ones; %s.</p>\n<div class=\"wide\">"
                     "<table class=\"confusion%s\"><thead><tr><td></td>", c->pixels ? "percent of the row's pixels" : "number of images", c->n > 6 ? " tall" : "");
    for (int k = 0; k < c->n; k++) html_printf(out, "<th><span>%s</span></th>", c->name[k]);
    fputs("<th class=\"sum\"><span>all</span></th></tr></thead><tbody>\n", out);
    for (int i = 0; i < c->n; i++) {
        int64_t of = row_sum(c, i);
        html_printf(out, "<tr><th>%s</th>", c->name[i]);
        for (int k = 0; k < c->n; k++) put_cell(out, c->count[(int64_t)i * c->cols + k], of, i == k, c->pixels);
        fprintf(out, "<td class=\"sum\">%lld</td></tr>\n", (long long)of);
    }
    fputs("</tbody></table></div>\n", out);
}

typedef struct slip { int truth, guess; int64_t n, of; } slip;

static int commonest(const void *pa, const void *pb)
{
    const slip *a = pa, *b = pb;
    if (a->n != b->n) return a->n > b->n ? -1 : 1;
    return a->truth != b->truth ? a->truth - b->truth : a->guess - b->guess;
}

/* The commonest confusions of more classes than a table can show. `best` keeps LIST_MOST and one that is looked at. */
static void put_slips(FILE *out, const confusion *c)
{
    slip best[LIST_MOST + 1];
    int n = 0;
    for (int i = 0; i < c->n; i++)
        for (int k = 0; k < c->n; k++) {
            int64_t count = c->count[(int64_t)i * c->cols + k];
            if (i == k || count == 0) continue;
            best[n++] = (slip){i, k, count, row_sum(c, i)};
            qsort(best, (size_t)n, sizeof *best, commonest);
            if (n > LIST_MOST) n = LIST_MOST;
        }
    html_printf(out, "<p class=\"part\">the commonest confusions of %d classes; all of them stand in the file</p><div class=\"wide\"><table><thead><tr>"
                     "<th>true</th><th>predicted as</th><th class=\"n\">of those</th></tr></thead><tbody>\n", c->n);
    for (int i = 0; i < n; i++)
        html_printf(out, "<tr><td class=\"name\">%s</td><td class=\"name\">%s</td><td class=\"n\">%lld of %lld (%.1f %%)</td></tr>\n", c->name[best[i].truth],
                    c->name[best[i].guess], (long long)best[i].n, (long long)best[i].of, 100 * (double)best[i].n / (double)best[i].of);
    fputs("</tbody></table></div>\n", out);
}

static void put_share(FILE *out, int64_t n, int64_t of)
{
    if (of > 0) html_printf(out, "<td class=\"n\">%.3f</td>", (double)n / (double)of);
    else fputs("<td class=\"n\"></td>", out);
}

static void put_labels(FILE *out, const confusion *c)
{
    fputs("<div class=\"wide\"><table><thead><tr><th>label, at probability 0.5</th><th class=\"n\">true positive</th><th class=\"n\">false positive</th>"
          "<th class=\"n\">false negative</th><th class=\"n\">true negative</th><th class=\"n\">sensitivity</th><th class=\"n\">specificity</th></tr></thead>"
          "<tbody>\n", out);
    for (int i = 0; i < c->n; i++) {
        const int64_t *v = c->count + 4 * (int64_t)i;
        html_printf(out, "<tr><td class=\"name\">%s</td>", c->name[i]);
        for (int k = 0; k < 4; k++) html_printf(out, "<td class=\"n\">%lld</td>", (long long)v[k]);
        put_share(out, v[0], v[0] + v[2]);
        put_share(out, v[3], v[3] + v[1]);
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

status report_confusion(FILE *out, const report *r, enum split s, const char *task_name)
{
    char path[900];
    confusion c;
    TRY(run_file(path, r->run, "confusion", split_name[s], task_name, ".csv"), "report");
    TRY(confusion_read(&c, path), "report");
    if (c.n && !c.square) put_labels(out, &c);
    else if (c.n > TABLE_MOST) put_slips(out, &c);
    else if (c.n) put_matrix(out, &c);
    confusion_free(&c);
    return OK;
}
