/* report: `medley report`: one HTML page about a run, complete in itself: no script, no font, no image from elsewhere. */
#include "report.h"

#include "medley/command.h"
#include "medley/use.h"
#include "svg.h"
#include "tensorboard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- reading: all but the record may be missing ------------------------------------------------------------------------------ */

static status load_scores(report *r)
{
    for (int s = 0; s < N_SPLITS; s++) {
        char path[800];
        snprintf(path, sizeof path, "%s/scores-%s.csv", r->run, split_name[s]);
        TRY(scores_read(path, &r->score[s], &r->n_score[s]), "report");
    }
    return OK;
}

static status load_job(report *r)
{
    char path[800];
    snprintf(path, sizeof path, "%s/job.cfg", r->run);
    if (!path_exists(path)) return OK;
    TRY(file_read_all(path, 1 << 24, &r->job_text, NULL), "report");
    TRY(mem_alloc(&r->job, sizeof *r->job, "job"), "report");
    if (job_load_without_data(r->job, path, NULL, 0) == OK) return OK;
    log_line(LOG_WARN, "%s; the report goes without the table of data sets", status_message());
    status_clear();
    free(r->job);
    r->job = NULL;
    return OK;
}

static status load(report *r)
{
    TRY(history_load(&r->h, r->run), "report");
    TRY(load_scores(r), "report");
    return load_job(r);
}

static void release(report *r)
{
    history_free(&r->h);
    for (int s = 0; s < N_SPLITS; s++) free(r->score[s]);
    free(r->job);
    free(r->job_text);
}

/* ---- the page ------------------------------------------------------------------------------------------------------------------ */

/* The last two folders of the path: "quickstart/run". */
static const char *run_name(const char *run)
{
    static char name[256];
    size_t end = strlen(run), from;
    int slashes = 0;
    while (end > 1 && run[end - 1] == '/') end--;
    for (from = end; from > 0; from--)
        if (run[from - 1] == '/' && ++slashes == 2) break;
    snprintf(name, sizeof name, "%.*s", (int)(end - from), run + from);
    return name;
}

static void card(FILE *out, const char *value, const char *what)
{
    html_printf(out, "<div class=\"card\"><b>%s</b><span>%s</span></div>\n", value, what);
}

static void put_cards(FILE *out, const report *r)
{
    const history *h = &r->h;
    char value[64], what[96];
    fputs("<div class=\"cards\">\n", out);
    snprintf(value, sizeof value, "%d", h->n_tasks);
    snprintf(what, sizeof what, "tasks, %lld units a step", (long long)h->units);
    card(out, value, what);
    snprintf(value, sizeof value, "%lld", (long long)h->step);
    snprintf(what, sizeof what, "of %lld steps", (long long)h->steps);
    card(out, value, what);
    snprintf(value, sizeof value, h->images >= 1e5 ? "%.0f k" : "%.0f", h->images >= 1e5 ? h->images / 1000 : h->images);
    snprintf(what, sizeof what, "images, %.1f per second", h->step_s > 0 ? h->images / h->step_s : 0);
    card(out, value, what);
    text_seconds(h->seconds, value);
    snprintf(what, sizeof what, "in %d session%s", h->n_starts, h->n_starts == 1 ? "" : "s");
    card(out, value, what);
    snprintf(value, sizeof value, "%lld x %lld", (long long)h->ranks, (long long)h->threads);
    card(out, value, "ranks x threads");
    snprintf(value, sizeof value, "%.2f M", 1e-6 * (double)h->parameters);
    snprintf(what, sizeof what, "parameters, encoder %.40s", h->encoder);
    card(out, value, what);
    double best = -INFINITY, at = 0;
    for (int i = 0; i < h->mean_score.n; i++)
        if (h->mean_score.y[i] > best) best = h->mean_score.y[i], at = h->mean_score.x[i];
    if (isfinite(best)) {
        snprintf(value, sizeof value, "%.3f", best);
        snprintf(what, sizeof what, "best mean validation score, step %.0f", at);
        card(out, value, what);
    }
    double test = report_mean_score(r, SPLIT_TEST);
    if (isfinite(test)) {
        snprintf(value, sizeof value, "%.3f", test);
        card(out, value, "mean test score");
    }
    fputs("</div>\n", out);
}

/* What a reader must not overlook. */
static void put_notes(FILE *out, const history *h)
{
    if (!h->ended)
        html_printf(out, "<p class=\"note\">%s at step %lld of %lld when this page was made.</p>\n",
                    h->stopped ? "Stopped" : "Not finished", (long long)h->step, (long long)h->steps);
    for (int i = 0; i < h->n_tasks; i++)
        if (h->task[i].suspended)
            html_printf(out,
                        "<p class=\"note\">Task %s was suspended at step %lld: its units had numbers that were not finite or out of range in too "
                        "many steps in a row. The other tasks went on.</p>\n",
                        h->task[i].name, (long long)h->task[i].suspended_step);
    if (h->dropped)
        html_printf(out, "<p class=\"note\">%lld units were dropped because a number was not finite or out of range.</p>\n",
                    (long long)h->dropped);
    if (h->n_dropped_events == 0) return;
    fputs("<div class=\"wide\"><table><thead><tr><th>task</th><th class=\"n\">units dropped</th><th>the last one</th></tr></thead><tbody>\n", out);
    for (int i = 0; i < h->n_tasks; i++) {
        char last[400];
        const task_history *t = &h->task[i];
        if (t->n_dropped == 0) continue;
        history_drop_text(t, last);
        html_printf(out, "<tr><td class=\"name\">%s</td><td class=\"n\">%lld</td><td class=\"name\">%s</td></tr>\n", t->name,
                    (long long)t->n_dropped, last);
    }
    fputs("</tbody></table></div>\n", out);
}

static void put_settings(FILE *out, const report *r)
{
    char *text = NULL;
    size_t n = 0;
    fputs("<h2>Settings and versions</h2>\n", out);
    if (r->job_text) {
        fputs("<details><summary>job file, as resolved</summary><pre>", out);
        html_text(out, r->job_text);
        fputs("</pre></details>\n", out);
    }
    FILE *f;
    if (mem_text_open(&f, &text, &n, "versions") == OK) {
        use_version(f);
        if (mem_text_close(f, &text, "versions")) text = NULL; /* the page goes without them */
    }
    if (text) {
        fputs("<details open><summary>versions of the program that made this page</summary><pre>", out);
        html_text(out, text);
        fputs("</pre></details>\n", out);
    }
    free(text);
    html_printf(out, "<p class=\"sub\">The run used %s and %s; gradients are summed in %s mode.</p>\n",
                r->h.mpi[0] ? r->h.mpi : "an unknown MPI", r->h.blas[0] ? r->h.blas : "an unknown BLAS",
                r->h.sum[0] ? r->h.sum : "unknown");
}

static void put_page(FILE *out, const report *r)
{
    char now[64], first[64] = "";
    time_t t = time(NULL), t0 = (time_t)r->h.first_time;
    struct tm utc;
    strftime(now, sizeof now, "%Y-%m-%d %H:%M UTC", gmtime_r(&t, &utc));
    strftime(first, sizeof first, "%Y-%m-%d %H:%M UTC", gmtime_r(&t0, &utc));
    html_printf(out,
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,"
                "initial-scale=1\"><title>%s: Medley run</title><style>\n",
                run_name(r->run));
    fputs(report_style, out);
    html_printf(out, "</style></head><body><main>\n<h1>%s</h1><p class=\"sub\">Medley run in %s, begun %s</p>\n", run_name(r->run),
                r->run, first);
    put_cards(out, r);
    put_notes(out, &r->h);
    report_scores(out, r);
    report_pictures(out, r);
    report_curves(out, r);
    report_time(out, r);
    report_data(out, r);
    put_settings(out, r);
    html_printf(out, "<footer>Made by medley report on %s.</footer>\n</main></body></html>\n", now);
}

status cmd_report(int argc, char **argv)
{
    const char *out = NULL, *events = NULL, *args[1];
    char path[800], event_path[1000], *text = NULL;
    size_t n = 0;
    int n_args = 0;
    const command_option options[] = {
        {.name = "--out", .arg = "FILE", .text = &out, .help = "where the page goes (default RUN/report.html)"},
        {.name = "--tensorboard", .arg = "DIR", .text = &events, .help = "the curves and scores also as an event file for TensorBoard, in this folder"},
        {0}};
    const command_line c = {"medley report RUN [--out FILE] [--tensorboard DIR]",
                           "Writes one HTML page about a run: scores with intervals, of each centre too, confusion matrices, example "
                           "predictions, learning curves, time and memory, data sets with licences and citations, settings. Self-contained; "
                           "works beside a running job.",
                           options, 1, 1};
    if (command_help(&c, argc, argv)) return OK;
    TRY(command_parse(&c, argc, argv, args, &n_args), "report");
    CHECK(strlen(args[0]) < 700, ST_USAGE, "path too long: %.80s...", args[0]);
    report r = {.run = args[0]};
    snprintf(path, sizeof path, "%s/report.html", args[0]);
    status st = load(&r);
    FILE *f;
    if (!st) st = mem_text_open(&f, &text, &n, "report");
    if (!st) {
        put_page(f, &r);
        st = mem_text_close(f, &text, "report");
    }
    if (!st) st = file_write_atomic(out ? out : path, text, n);
    if (!st) printf("report: %s (%.0f KiB)\n", out ? out : path, (double)n / 1024);
    if (!st && events) st = tensorboard_write(&r, events, event_path);
    if (!st && events) printf("events: %s\n", event_path);
    release(&r);
    free(text);
    return st;
}
