/* report_curves: the report's drawings: learning curves, rates, and where the time went. */
#include "report.h"
#include "svg.h"

#include <math.h>
#include <string.h>

static double last(const series *s) { return s->n ? s->y[s->n - 1] : NAN; }

/* ---- learning curves -------------------------------------------------------------------------------------------------------- */

/* Scores of 0 to 1 are drawn on that range, so that tasks can be compared by eye. */
static void unit_range(const series *s, double *lo, double *hi)
{
    bool inside = true;
    for (int i = 0; i < s->n; i++) inside &= s->y[i] >= 0 && s->y[i] <= 1;
    *lo = inside ? 0 : NAN;
    *hi = inside ? 1 : NAN;
}

static void task_figure(FILE *out, const report *r, const task_history *t)
{
    double x_max = (double)(r->h.steps > r->h.step ? r->h.steps : r->h.step);
    html_printf(out, "<figure><figcaption><b class=\"name\">%s</b><span>", t->name);
    if (t->suspended) fputs("suspended; ", out);
    if (isfinite(last(&t->loss))) html_printf(out, "loss %.3f", last(&t->loss));
    if (isfinite(t->best)) html_printf(out, "; best %s %.3f at step %lld", t->score_name, t->best, (long long)t->best_step);
    fputs("</span></figcaption>\n<p class=\"part\">training loss</p>", out);
    svg_chart(out, &(chart){.name = "training loss",
                            .x_max = x_max,
                            .y_lo = NAN,
                            .y_hi = NAN,
                            .height = 110,
                            .n = 1,
                            .x_labels = t->score.n == 0,
                            .curve = {{.s = &t->loss, .css = "c0", .smooth = true}}});
    if (t->score.n) {
        double lo, hi;
        unit_range(&t->score, &lo, &hi);
        html_printf(out, "<p class=\"part\">validation %s</p>", t->score_name);
        svg_chart(out, &(chart){.name = "validation score",
                                .x_max = x_max,
                                .y_lo = lo,
                                .y_hi = hi,
                                .height = 110,
                                .n = 1,
                                .x_labels = true,
                                .curve = {{.s = &t->score, .css = "c1", .dots = true}}});
    }
    fputs("</figure>\n", out);
}

static void figure(FILE *out, const report *r, const char *title, const char *value, const series *s, const char *css, bool smooth,
                   bool log_y, bool from_zero)
{
    if (s->n == 0) return;
    double lo = NAN, hi = NAN;
    if (s == &r->h.mean_score) unit_range(s, &lo, &hi);
    if (from_zero) lo = 0;
    double x_max = (double)(r->h.steps > r->h.step ? r->h.steps : r->h.step);
    html_printf(out, "<figure><figcaption><b>%s</b><span>%s</span></figcaption>", title, value);
    svg_chart(out, &(chart){.name = title, .x_max = x_max, .y_lo = lo, .y_hi = hi, .log_y = log_y, .height = 130, .n = 1,
                            .x_labels = true, .curve = {{.s = s, .css = css, .smooth = smooth, .dots = s->n < 40 && !smooth}}});
    fputs("</figure>\n", out);
}

void report_curves(FILE *out, const report *r)
{
    const history *h = &r->h;
    char text[64];
    fputs("<h2>Learning curves</h2>\n<div class=\"pair\">\n", out);
    snprintf(text, sizeof text, "mean over tasks, last %.3f", last(&h->loss));
    figure(out, r, "Training loss", text, &h->loss, "c0", true, false, false);
    snprintf(text, sizeof text, "mean over tasks, last %.3f", last(&h->mean_score));
    figure(out, r, "Validation score", text, &h->mean_score, "c1", false, false, false);
    fputs("</div>\n<div class=\"grid2\" style=\"margin-top:12px\">\n", out);
    for (int i = 0; i < h->n_tasks; i++) task_figure(out, r, &h->task[i]);
    fputs("</div>\n<h2>Optimiser</h2>\n<div class=\"pair\">\n", out);
    snprintf(text, sizeof text, "last %.2e", last(&h->lr));
    figure(out, r, "Learning rate", text, &h->lr, "c2", false, false, true);
    snprintf(text, sizeof text, "before clipping, last %.2f", last(&h->grad_norm));
    figure(out, r, "Gradient norm", text, &h->grad_norm, "c3", true, true, false);
    fputs("</div>\n", out);
}

/* ---- time, memory, balance ---------------------------------------------------------------------------------------------------- */

static void put_key(FILE *out, int part, double share, double ms)
{
    html_printf(
        out,
        "<li><svg viewBox=\"0 0 10 10\"><rect class=\"fill c%d\" width=\"10\" height=\"10\" rx=\"2\"/></svg>%s %.1f %% (%.1f ms)</li>",
        part, part_name[part], share, ms);
}

static void time_split(FILE *out, const history *h)
{
    double total = 0, steps = h->loss.n ? (double)h->step : 0;
    for (int p = 0; p < N_PARTS; p++) total += h->part_s[p];
    if (total <= 0 || steps <= 0) return;
    fputs("<figure style=\"margin-bottom:12px\"><figcaption><b>Where a step's time goes</b><span>slowest rank of each part, mean over "
          "the run"
          "</span></figcaption>\n",
          out);
    svg_stack(out, N_PARTS, h->part_s, part_name);
    fputs("<ul class=\"keys\">", out);
    for (int p = 0; p < N_PARTS; p++)
        if (h->part_s[p] > 0) put_key(out, p, 100 * h->part_s[p] / total, 1000 * h->part_s[p] / steps);
    fputs("</ul>\n", out);
    html_printf(out, "<p class=\"part\">%.3f s per step. \"load\" is what a rank waits for its loader thread", h->step_s / steps);
    if (h->ranks > 1 && h->step_s > 0) {
        html_printf(out, "; the rank with the least work waits %.1f %% of a step for the others (part of \"sum\")",
                    100 * h->wait_s / h->step_s);
        if (isfinite(h->imbalance))
            html_printf(out, "; placed with planned load of the fullest rank over the mean of %.2f", h->imbalance);
    }
    fputs(".</p>\n", out);
    char said[600];
    efficiency_text(h, said, sizeof said);
    if (said[0]) html_printf(out, "<p class=\"part\">Of the time of the mean rank: %s.</p>\n", said);
    slowest_text(h, false, said, sizeof said);
    if (said[0]) html_printf(out, "<p class=\"part\">Slowest: %s.</p>\n", said);
    fputs("</figure>\n", out);
}

void report_time(FILE *out, const report *r)
{
    const history *h = &r->h;
    char text[64];
    fputs("<h2>Time and memory</h2>\n", out);
    time_split(out, h);
    fputs("<div class=\"pair\">\n", out);
    snprintf(text, sizeof text, "all ranks, mean %.1f", h->step_s > 0 ? h->images / h->step_s : NAN);
    figure(out, r, "Images per second", text, &h->rate, "c6", true, false, true);
    if (h->ranks > 1) {
        snprintf(text, sizeof text, "mean %.1f %% of a step", h->step_s > 0 ? 100 * h->wait_s / h->step_s : NAN);
        figure(out, r, "Balance: wait of the rank with the least work (%)", text, &h->wait, "c4", true, false, true);
    }
    snprintf(text, sizeof text, "peak of the largest rank, %.0f MiB", last(&h->memory));
    figure(out, r, "Memory (MiB)", text, &h->memory, "c5", false, false, true);
    fputs("</div>\n", out);
}
