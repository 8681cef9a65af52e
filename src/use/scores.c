/* scores: writes and reads RUN/scores-SPLIT.csv, and the CSV of the other tables of a run. */
#include "scores.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char header[] = "task,metric,value,lo,hi,n_samples,n_cases,n_subjects,step,weights,centre";

void csv_text(FILE *out, const char *s)
{
    if (!strpbrk(s, ",\"\r\n")) {
        fputs(s, out);
        return;
    }
    fputc('"', out);
    for (; *s; s++) {
        if (*s == '"') fputc('"', out);
        fputc(*s, out);
    }
    fputc('"', out);
}

void csv_number(FILE *out, double v)
{
    if (isfinite(v)) fprintf(out, "%.9g", v);
}

void scores_head(FILE *out) { fprintf(out, "%s\n", header); }

void scores_line(FILE *out, const score_row *r)
{
    csv_text(out, r->task);
    fputc(',', out);
    csv_text(out, r->metric);
    double v[3] = {r->value, r->lo, r->hi};
    for (int i = 0; i < 3; i++) fputc(',', out), csv_number(out, v[i]);
    fprintf(out, ",%lld,%lld,%lld,%lld,", (long long)r->n_samples, (long long)r->n_cases, (long long)r->n_subjects, (long long)r->step);
    csv_text(out, r->weights);
    fputc(',', out);
    csv_text(out, r->centre);
    fputc('\n', out);
}

status run_file(char out[900], const char *run, const char *what, const char *split, const char *task, const char *end)
{
    char safe[64];
    size_t k = 0;
    for (; task[k] && k + 1 < sizeof safe; k++) safe[k] = isalnum((unsigned char)task[k]) || strchr("._-", task[k]) ? task[k] : '_';
    safe[k] = 0;
    CHECK(snprintf(out, 900, "%s/%s-%s-%s%s", run, what, split, safe, end) < 900, ST_USAGE, "path too long: %.80s...", run);
    return OK;
}

bool csv_field(const char **p, char *out, size_t cap)
{
    size_t n = 0;
    bool quoted = **p == '"';
    for (*p += quoted; **p; (*p)++) {
        if (quoted && **p == '"') {
            if ((*p)[1] != '"') break;
            (*p)++;
        } else if (!quoted && (**p == ',' || **p == '\n' || **p == '\r')) break;
        if (n + 1 < cap) out[n++] = **p;
    }
    out[n] = 0;
    if (quoted && *(*p)++ != '"') return false;
    if (**p == ',') (*p)++;
    else if (**p && **p != '\n' && **p != '\r') return false;
    return true;
}

static bool number(const char **p, double *v)
{
    char text[64], *end;
    if (!csv_field(p, text, sizeof text)) return false;
    *v = text[0] ? strtod(text, &end) : NAN;
    return !text[0] || *end == 0;
}

static bool row(const char *p, score_row *r)
{
    double v[7];
    if (!csv_field(&p, r->task, sizeof r->task) || !csv_field(&p, r->metric, sizeof r->metric)) return false;
    for (int i = 0; i < 7; i++)
        if (!number(&p, &v[i])) return false;
    r->value = v[0], r->lo = v[1], r->hi = v[2];
    int64_t *count[] = {&r->n_samples, &r->n_cases, &r->n_subjects, &r->step};
    for (int i = 0; i < 4; i++) *count[i] = v[3 + i] > 0 && v[3 + i] < 9e18 ? (int64_t)v[3 + i] : 0;
    return csv_field(&p, r->weights, sizeof r->weights) && csv_field(&p, r->centre, sizeof r->centre) && r->task[0] && r->metric[0];
}

status scores_read(const char *path, score_row **rows, int *n)
{
    char *text = NULL;
    status st = OK;
    *rows = NULL;
    *n = 0;
    if (!path_exists(path)) return OK;
    TRY_TO(done, file_read_all(path, 1 << 28, &text, NULL), "scores");
    int lines = 0, number_of_line = 2;
    for (const char *p = text; *p; p++) lines += *p == '\n';
    CHECK_TO(done, strncmp(text, header, strlen(header)) == 0, ST_DATA, "%s:1: the columns are not %s", path, header);
    TRY_TO(done, mem_alloc(rows, sizeof **rows * (size_t)(lines + 1), "scores"), "scores");
    for (const char *p = strchr(text, '\n'); p && p[1]; p = strchr(p, '\n'), number_of_line++) {
        p++;
        CHECK_TO(done, row(p, *rows + *n), ST_DATA, "%s:%d: not a line of scores", path, number_of_line);
        ++*n;
    }
done:
    if (st) free(*rows), *rows = NULL, *n = 0;
    free(text);
    return st;
}

void scores_text(const score_row *r, char out[64])
{
    if (isfinite(r->lo) && isfinite(r->hi)) snprintf(out, 64, "%.3f [%.3f, %.3f]", r->value, r->lo, r->hi);
    else snprintf(out, 64, "%.3f", r->value);
}
