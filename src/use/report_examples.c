/* report_examples: the report's pictures: per task the confusion matrix, and examples with what is true and what was predicted, in the page. */
#include "report.h"

#include "examples.h"
#include "svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PNG_MOST_BYTES = 1 << 20 };

static void put_base64(FILE *out, const uint8_t *p, size_t n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (; n; p += 3) {
        uint32_t v = (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0) | (n > 2 ? p[2] : 0);
        char four[4] = {digit[v >> 18], digit[v >> 12 & 63], n > 1 ? digit[v >> 6 & 63] : '=', n > 2 ? digit[v & 63] : '='};
        fwrite(four, 1, 4, out);
        n -= n < 3 ? n : 3;
    }
}

static uint32_t big_endian(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

/* The list of examples comes from a file: what it names is shown only if it is a small PNG in the same folder. */
static status put_picture(FILE *out, const char *dir, const char *name, const char *what)
{
    static const uint8_t magic[16] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R'};
    char path[1000], *bytes;
    size_t n;
    TRY(path_inside(dir, name, path, sizeof path), "examples");
    TRY(file_read_all(path, PNG_MOST_BYTES, &bytes, &n), "examples");
    const uint8_t *p = (const uint8_t *)bytes;
    bool good = n > 24 && memcmp(bytes, magic, sizeof magic) == 0;
    uint32_t w = good ? big_endian(p + 16) : 0, h = good ? big_endian(p + 20) : 0;
    good = good && w <= 4096 && h <= 4096;
    if (good) {
        html_printf(out, "<img alt=\"%s\" width=\"%d\" height=\"%d\" src=\"data:image/png;base64,", what, (int)w, (int)h);
        put_base64(out, p, n);
        fputs("\"/>", out);
    }
    free(bytes);
    CHECK(good, ST_DATA, "%s: not a small PNG picture", path);
    return OK;
}

static status put_example(FILE *out, const examples *e, const example_row *r)
{
    bool two = r->file[1][0];
    fputs("<figure class=\"example\"><div class=\"panes\">", out);
    for (int k = 0; k < (two ? 2 : 1); k++) {
        fputs("<div>", out);
        const char *what = k ? "predicted" : "true";
        TRY(put_picture(out, e->dir, r->file[k], what), "examples");
        html_printf(out, "<small>%s: %s</small></div>", what, k ? r->guess : r->truth);
    }
    fputs("</div>", out);
    if (!two)
        html_printf(out, "<small class=\"%s\">predicted: %s</small>", r->right == 1 ? "right" : r->right == 0 ? "wrong" : "", r->guess);
    html_printf(out, "<small class=\"id\">%s</small></figure>\n", r->id);
    return OK;
}

static status put_examples(FILE *out, const report *r, enum split s, const char *task_name)
{
    examples e;
    TRY(examples_read(&e, r->run, split_name[s], task_name), "report");
    status st = OK;
    if (e.n) fputs("<div class=\"examples\">\n", out);
    for (int i = 0; i < e.n && !st; i++) st = put_example(out, &e, &e.row[i]);
    if (e.n) fputs("</div>\n", out);
    if (e.n && e.n_classes) {
        fputs("<ul class=\"keys\">", out);
        for (int k = 0; k < e.n_classes; k++)
            html_printf(out, "<li><svg viewBox=\"0 0 10 10\"><rect fill=\"%s\" width=\"10\" height=\"10\" rx=\"2\"/></svg>%s</li>", e.cls[k].colour, e.cls[k].name);
        fputs("</ul>\n", out);
    }
    examples_free(&e);
    return st;
}

/* What cannot be shown is left out, with a warning: it is an addition to the page. */
static void tolerate(status st)
{
    if (!st) return;
    log_line(LOG_WARN, "%s", status_message());
    status_clear();
}

static bool has_pictures(const report *r, enum split s, const char *task_name)
{
    static const char *const file[][2] = {{"confusion", ".csv"}, {"examples", "/index.csv"}};
    char path[900];
    for (int k = 0; k < 2; k++) {
        status st = run_file(path, r->run, file[k][0], split_name[s], task_name, file[k][1]);
        if (!st && path_exists(path)) return true;
        tolerate(st);
    }
    return false;
}

/* One task's part as a text of its own, so that half a picture never gets into the page. */
static status put_part(FILE *out, status (*put)(FILE *, const report *, enum split, const char *), const report *r, enum split s, const char *task_name)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f;
    TRY(mem_text_open(&f, &text, &n, "examples"), "report");
    status st = put(f, r, s, task_name), closed = mem_text_close(f, &text, "examples");
    if (!st) st = closed;
    if (!st) fwrite(text, 1, n, out);
    free(text);
    return st;
}

void report_pictures(FILE *out, const report *r)
{
    static const enum split order[] = {SPLIT_TEST, SPLIT_VAL, SPLIT_TRAIN};
    bool any = false;
    for (int k = 0; k < N_SPLITS && !any; k++)
        for (int i = 0; i < r->n_score[order[k]]; i++) {
            const score_row *row = &r->score[order[k]][i];
            if ((i && strcmp(row->task, row[-1].task) == 0) || !has_pictures(r, order[k], row->task)) continue;
            if (!any) html_printf(out, "<h2>Predictions on the %s split</h2>\n", split_name[order[k]]);
            any = true;
            html_printf(out, "<section><h3 class=\"name\">%s</h3>\n", row->task);
            tolerate(put_part(out, report_confusion, r, order[k], row->task));
            tolerate(put_part(out, put_examples, r, order[k], row->task));
            fputs("</section>\n", out);
        }
    if (any)
        html_printf(out, "<p class=\"sub\">Examples are spread over the split, not chosen by how good they are; images are seen as the network sees them. "
                         "Boxes found with a score below %.1f are not shown.</p>\n", (double)EXAMPLE_SURE);
}
