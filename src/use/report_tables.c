/* report_tables: the report's tables: scores with intervals, data sets with licences. */
#include "report.h"
#include "svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double report_mean_score(const report *r, enum split s)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < r->n_score[s]; i++) {
        const score_row *row = &r->score[s][i];
        bool first = i == 0 || strcmp(row->task, row[-1].task) != 0;
        if (first && isfinite(row->value)) sum += row->value, n++;
    }
    return n ? sum / n : NAN;
}

static void score_line(FILE *out, const score_row *s, bool with_task)
{
    char text[64];
    scores_text(s, text);
    html_printf(out, "<tr><td class=\"name\">%s</td><td class=\"name\">%s</td><td class=\"n\">%s</td><td>", with_task ? s->task : "",
                s->metric, isfinite(s->value) ? text : "no value");
    if (s->value >= 0 && s->value <= 1 && !(s->hi > 1)) svg_interval(out, s->value, s->lo, s->hi, 0, 1);
    html_printf(out, "</td><td class=\"n\">%lld</td><td class=\"n\">%lld</td></tr>\n", (long long)s->n_samples, (long long)s->n_cases);
}

static void score_table(FILE *out, const score_row *s, int n, bool all)
{
    fputs("<div class=\"wide\"><table><thead><tr><th>task</th><th>metric</th><th class=\"n\">value [95 %]</th><th></th><th "
          "class=\"n\">samples</th>"
          "<th class=\"n\">cases</th></tr></thead><tbody>\n",
          out);
    for (int i = 0; i < n; i++) {
        bool first = i == 0 || strcmp(s[i].task, s[i - 1].task) != 0;
        if (!s[i].centre[0] && (all || first)) score_line(out, &s[i], first);
    }
    fputs("</tbody></table></div>\n", out);
}

/* ---- centres -------------------------------------------------------------------------------------------------------------------- */

/* A centre's first line is its score. */
static bool begins_centre(const score_row *s, int i)
{
    return s[i].centre[0] && (strcmp(s[i].task, s[i - 1].task) != 0 || strcmp(s[i].centre, s[i - 1].centre) != 0);
}

static int best_first(const void *pa, const void *pb)
{
    const score_row *a = *(const score_row *const *)pa, *b = *(const score_row *const *)pb;
    bool no_a = !isfinite(a->value), no_b = !isfinite(b->value);
    if (no_a != no_b) return no_a ? 1 : -1;
    if (!no_a && a->value != b->value) return a->value > b->value ? -1 : 1;
    return strcmp(a->centre, b->centre);
}

/* The ladder of a task: all samples, then its centres, best first. */
static void centre_ladder(FILE *out, const score_row *all, const score_row **centre, int n)
{
    qsort(centre, (size_t)n, sizeof *centre, best_first);
    for (int k = -1; k < n; k++) {
        const score_row *s = k < 0 ? all : centre[k];
        char text[64];
        scores_text(s, text);
        html_printf(out, "<tr><td class=\"name\">%s</td><td class=\"name\">%s</td><td class=\"n\">%s</td><td>", k < 0 ? all->task : "",
                    k < 0 ? "all centres" : s->centre, isfinite(s->value) ? text : "no value");
        if (s->value >= 0 && s->value <= 1 && !(s->hi > 1)) svg_interval(out, s->value, s->lo, s->hi, 0, 1);
        html_printf(out, "</td><td class=\"n\">%lld</td><td class=\"n\">%lld</td></tr>\n", (long long)s->n_samples, (long long)s->n_subjects);
    }
}

/* list: room for n. */
static void centre_table(FILE *out, const score_row *s, int n, const score_row **list)
{
    int first = 0, found = 0;
    bool any = false;
    for (int i = 1; i <= n; i++) {
        bool next = i == n || strcmp(s[i].task, s[first].task) != 0;
        if (!next && begins_centre(s, i)) list[found++] = &s[i];
        if (!next) continue;
        if (found && !any)
            fputs("<p><b>By centre</b></p><div class=\"wide\"><table><thead><tr><th>task</th><th>centre</th><th class=\"n\">score [95 %]</th><th></th>"
                  "<th class=\"n\">samples</th><th class=\"n\">subjects</th></tr></thead><tbody>\n", out);
        if (found) centre_ladder(out, &s[first], list, found), any = true;
        first = i, found = 0;
    }
    if (any) fputs("</tbody></table></div>\n", out);
}

static void put_centres(FILE *out, const score_row *s, int n)
{
    const score_row **list;
    if (mem_alloc(&list, sizeof *list * (size_t)(n + 1), "centres")) { /* the page goes without them */
        status_clear();
        return;
    }
    centre_table(out, s, n, list);
    free(list);
}

void report_scores(FILE *out, const report *r)
{
    static const enum split order[] = {SPLIT_TEST, SPLIT_VAL, SPLIT_TRAIN};
    fputs("<h2>Scores</h2>\n", out);
    bool any = false;
    for (int k = 0; k < N_SPLITS; k++) {
        enum split s = order[k];
        int n = r->n_score[s];
        if (n == 0) continue;
        any = true;
        html_printf(out, "<p><b>%s split</b> <span class=\"sub\">%s weights of step %lld; mean of the tasks' scores %.3f</span></p>\n",
                    split_name[s], r->score[s][0].weights, (long long)r->score[s][0].step, report_mean_score(r, s));
        score_table(out, r->score[s], n, false);
        put_centres(out, r->score[s], n);
        fputs("<details><summary>all metrics and classes</summary>\n", out);
        score_table(out, r->score[s], n, true);
        fputs("</details>\n", out);
    }
    if (any)
        fputs("<p class=\"sub\">Intervals: percentile bootstrap over subjects, 95 %. The test split takes no part in training or in the choice of "
              "weights. HD95 is that of single images; the mean is over cases with the class in truth and prediction, hd95_missing is the share of "
              "those that have it in one of them alone.</p>\n", out);
    else
        html_printf(out, "<p class=\"sub\">Not evaluated yet: <code>medley evaluate %s</code> writes scores with intervals.</p>\n",
                    r->run);
}

/* ---- data sets ------------------------------------------------------------------------------------------------------------------ */

static void tasks_of(FILE *out, const job *j, const char *data)
{
    const char *comma = "";
    for (int i = 0; i < j->n_tasks; i++)
        if (strcmp(j->task[i].data, data) == 0) html_printf(out, "%s%s", comma, j->task[i].name), comma = ", ";
}

static void data_line(FILE *out, const job *j, const char *data)
{
    char dir[JOB_DIR_BYTES];
    catalogue c;
    job_data_dir(j, data, dir);
    if (catalogue_open(&c, dir) != OK) {
        html_printf(out, "<tr><td class=\"name\"><b>%s</b><br><small>", data);
        tasks_of(out, j, data);
        html_printf(out, "</small></td><td colspan=\"4\" class=\"sub\">no longer readable at %s</td></tr>\n", dir);
        status_clear();
        return;
    }
    int64_t n[N_SPLITS] = {0};
    for (int i = 0; i < c.n_shards; i++)
        for (int s = 0; s < N_SPLITS; s++) n[s] += c.n_split[i * N_SPLITS + s];
    html_printf(out, "<tr><td class=\"name\"><b>%s</b>%s%s<br><small>", c.meta.name, c.meta.title[0] ? ": " : "", c.meta.title);
    tasks_of(out, j, data);
    html_printf(out,
                "</small></td><td>%s</td><td class=\"n\">%lld / %lld / %lld</td><td>%s</td><td "
                "class=\"name\"><small>%s%s%s</small></td></tr>\n",
                c.meta.modality, (long long)n[SPLIT_TRAIN], (long long)n[SPLIT_VAL], (long long)n[SPLIT_TEST],
                c.meta.licence[0] ? c.meta.licence : "not stated", c.meta.citation, c.meta.citation[0] && c.meta.origin[0] ? ". " : "",
                c.meta.origin);
    catalogue_close(&c);
}

void report_data(FILE *out, const report *r)
{
    const job *j = r->job;
    fputs("<h2>Data</h2>\n", out);
    if (!j) {
        fputs("<p class=\"sub\">The job file of this run is missing or from another version, so its data sets cannot be listed.</p>\n",
              out);
        return;
    }
    fputs("<div class=\"wide\"><table><thead><tr><th>data set and its tasks</th><th>modality</th><th class=\"n\">train / val / "
          "test</th><th>licence</th>"
          "<th>citation and origin</th></tr></thead><tbody>\n",
          out);
    for (int i = 0; i < j->n_tasks; i++) {
        bool seen = false;
        for (int k = 0; k < i; k++) seen |= strcmp(j->task[k].data, j->task[i].data) == 0;
        if (!seen) data_line(out, j, j->task[i].data);
    }
    fputs("</tbody></table></div>\n<p class=\"sub\">Weights trained on these images may be bound by the licences of all of them.</p>\n",
          out);
}
