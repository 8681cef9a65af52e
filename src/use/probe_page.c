/* probe_page: learning curves of a probe with their intervals as bands: curve.svg for papers and slides, probe.html to read. */
#include "probe.h"
#include "report.h"
#include "svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL_W = 380, CHART_W = 360, CHART_H = 220, TITLE_H = 26, KEY_H = 18 };

/* One method's curves: an encoder each, over the fractions. */
typedef struct panel {
    double x[PROBE_MOST_ENCODERS][PROBE_MOST_FRACTIONS], y[PROBE_MOST_ENCODERS][PROBE_MOST_FRACTIONS];
    double lo[PROBE_MOST_ENCODERS][PROBE_MOST_FRACTIONS], hi[PROBE_MOST_ENCODERS][PROBE_MOST_FRACTIONS];
    series s[PROBE_MOST_ENCODERS];
    chart  c;
} panel;

static const char *const colour_class[PROBE_MOST_ENCODERS] = {"c0", "c7", "c1", "c2", "c3", "c4", "c5", "c6"}; /* random weights in grey */
_Static_assert((int)PROBE_MOST_ENCODERS <= (int)SVG_MOST_CURVES, "a curve for every encoder");

static void fill_panel(const probe *p, int method, const char *place, panel *out)
{
    double first = p->fraction[0], last = p->fraction[p->n_fractions - 1];
    *out = (panel){.c = {.name = probe_methods[p->method[method]].about, .x_name = "percent", .place = place, .log_x = true, .y_lo = NAN, .y_hi = NAN,
                         .x_lo = p->n_fractions > 1 ? first : first / 2, .x_max = p->n_fractions > 1 ? last : last * 2, .x_labels = true,
                         .height = CHART_H, .x_tick = p->fraction, .n_x_tick = p->n_fractions, .n = p->n_encoders}};
    for (int e = 0; e < p->n_encoders; e++) {
        series *s = &out->s[e];
        *s = (series){.x = out->x[e], .y = out->y[e], .cap = PROBE_MOST_FRACTIONS};
        for (int f = 0; f < p->n_fractions; f++) {
            band b = probe_band(p, e, method, f);
            if (!isfinite(b.mean)) continue;
            s->x[s->n] = p->fraction[f], s->y[s->n] = b.mean, out->lo[e][s->n] = b.lo, out->hi[e][s->n] = b.hi;
            s->n++;
        }
        out->c.curve[e] = (curve){.s = s, .css = colour_class[e], .dots = true, .lo = out->lo[e], .hi = out->hi[e]};
    }
}

/* ---- curve.svg ---------------------------------------------------------------------------------------------------------------------------- */

static void put_style(FILE *out)
{
    static const char *const colour[] = {"#1f6fb4", "#d9770c", "#2d8a57", "#a4469e", "#c4413b", "#7a8a17", "#1b8a99", "#9aa3ad"};
    fputs("<style>text{font-family:sans-serif}.title{font-size:13px;font-weight:600;fill:#1d2229}.key{font-size:12px;fill:#1d2229}"
          ".tick{font-size:11px;fill:#66707c}.grid{stroke:#e3e6ea}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.band{opacity:.16}\n", out);
    for (int k = 0; k < 8; k++) fprintf(out, ".line.c%d{stroke:%s}.dot.c%d,.fill.c%d{fill:%s}\n", k, colour[k], k, k, colour[k]);
    fputs("</style>\n", out);
}

void probe_svg(const probe *p, FILE *out)
{
    int width = PANEL_W * p->n_methods, below = TITLE_H + CHART_H + 16, height = below + KEY_H * p->n_encoders + 6;
    char place[128];
    panel q;
    html_printf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n", width, height, width, height);
    html_printf(out, "<title>%s: %s over percent of the training subjects</title>\n", p->name, p->result->score_name);
    put_style(out);
    html_printf(out, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", width, height);
    for (int m = 0; m < p->n_methods; m++) {
        snprintf(place, sizeof place, "x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"", PANEL_W * m, TITLE_H, CHART_W, CHART_H);
        fill_panel(p, m, place, &q);
        html_printf(out, "<text class=\"title\" x=\"%d\" y=\"17\">%s: %s</text>\n", PANEL_W * m + 10, p->name, probe_methods[p->method[m]].about);
        svg_chart(out, &q.c);
        html_printf(out, "<text class=\"tick\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s over percent of the training subjects</text>\n",
                    PANEL_W * m + CHART_W / 2, below - 6, p->result->score_name);
    }
    for (int e = 0; e < p->n_encoders; e++) {
        int y = below + KEY_H * e + 12;
        html_printf(out, "<rect class=\"fill %s\" x=\"48\" y=\"%d\" width=\"10\" height=\"10\" rx=\"2\"/><text class=\"key\" x=\"64\" y=\"%d\">%s (%s)</text>\n",
                    colour_class[e], y - 9, y, p->encoder[e].name, p->encoder[e].variant);
    }
    fputs("</svg>\n", out);
}

/* ---- probe.html ------------------------------------------------------------------------------------------------------------------------------ */

static void put_keys(const probe *p, FILE *out)
{
    fputs("<ul class=\"keys\">", out);
    for (int e = 0; e < p->n_encoders; e++)
        html_printf(out, "<li><svg viewBox=\"0 0 10 10\"><rect class=\"fill %s\" width=\"10\" height=\"10\" rx=\"2\"/></svg>%s (%s, %s)</li>", colour_class[e],
                    p->encoder[e].name, p->encoder[e].variant, p->encoder[e].file);
    fputs("</ul>\n", out);
}

static void put_band(FILE *out, const band *b, bool sign)
{
    if (!isfinite(b->mean)) fputs("<td class=\"n\">&#8211;</td>", out);
    else {
        fprintf(out, sign ? "<td class=\"n\">%+.3f" : "<td class=\"n\">%.3f", b->mean);
        if (isfinite(b->lo)) fprintf(out, sign ? " <small>[%+.3f, %+.3f]</small>" : " <small>[%.3f, %.3f]</small>", b->lo, b->hi);
        fputs("</td>", out);
    }
}

/* A row for every encoder, a column for every fraction. */
static void put_table(const probe *p, int method, bool difference, FILE *out)
{
    html_printf(out, "<div class=\"wide\"><table><thead><tr><th>%s</th>", difference ? "minus random, draw by draw" : p->result->score_name);
    for (int f = 0; f < p->n_fractions; f++) html_printf(out, "<th class=\"n\">%g %%</th>", p->fraction[f]);
    fputs("</tr></thead><tbody>\n", out);
    for (int e = 0; e < p->n_encoders; e++) {
        if (difference && e == ENCODER_RANDOM) continue;
        html_printf(out, "<tr><td class=\"name\">%s</td>", p->encoder[e].name);
        for (int f = 0; f < p->n_fractions; f++) {
            band b = difference ? probe_difference(p, e, method, f) : probe_band(p, e, method, f);
            put_band(out, &b, difference);
        }
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

static void put_protocol(const probe *p, FILE *out)
{
    const roll *r = &p->roll;
    html_printf(out, "<p class=\"sub\">%s of data set %s, label %s, at %dx%d. %lld training samples of %lld subjects, %lld validation and %lld test "
                     "samples.</p>\n", task_kind_name[r->kind], r->data_name, r->label_name, p->seen.H, p->seen.W,
                (long long)r->n_split[SPLIT_TRAIN], (long long)r->n_subjects, (long long)r->n_split[SPLIT_VAL], (long long)r->n_split[SPLIT_TEST]);
    html_printf(out, "<p>Each repeat (%lld, seed %lld) puts the training subjects in a random order; a fraction takes the first of them, at least one "
                     "sample of every class among them. All encoders learn from the same draws; the whole test split is scored. Bands and brackets "
                     "are Student's 95 %% intervals over the repeats: they tell of the draws, not of the size of the test split. Where all subjects are drawn and nothing else is left to chance, there is one "
                     "score and no interval.</p>\n",
                (long long)p->repeats, (long long)p->seed);
    for (int m = 0; m < p->n_methods; m++) {
        if (p->method[m] == METHOD_NEIGHBOURS) html_printf(out, "<p>knn: nearest neighbours by cosine, as many as the root of the number of samples, at most %lld.</p>\n", (long long)p->neighbours);
        if (p->method[m] == METHOD_LINEAR && p->strength > 0) html_printf(out, "<p>linear: C = %g.</p>\n", p->strength);
        else if (p->method[m] == METHOD_LINEAR)
            html_printf(out, "<p>linear: standardised vectors; %s.</p>\n",
                        r->n_split[SPLIT_VAL] ? "C is the best of 1e-5 to 100 on all of the validation split, whatever the fraction"
                                              : "C = 1, for want of a validation split");
        if (probe_methods[p->method[m]].trained)
            html_printf(out, "<p>%s: %lld steps of %d images, AdamW, learning rate %g after %lld steps of warm-up, then a half cosine to 0.</p>\n",
                        probe_methods[p->method[m]].name, (long long)p->steps, p->job->task[0].batch,
                        p->method[m] == METHOD_DECODER ? p->decoder_lr : p->lr, (long long)(p->steps / 10));
    }
}

static void put_sayings(const probe *p, int method, FILE *out)
{
    for (int e = 0; e < p->n_encoders; e++) {
        char line[PROBE_SAYING];
        if (e == ENCODER_RANDOM) continue;
        probe_says(p, e, method, line);
        html_printf(out, "<p>%s.</p>\n", line);
    }
}

void probe_html(const probe *p, FILE *out)
{
    panel q;
    html_printf(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                     "<title>%s: probe</title><style>\n", p->name);
    fputs(report_style, out);
    html_printf(out, "</style></head><body><main>\n<h1>%s: what the encoder is worth with little data</h1>\n", p->name);
    put_protocol(p, out);
    put_keys(p, out);
    for (int m = 0; m < p->n_methods; m++) {
        fill_panel(p, m, NULL, &q);
        html_printf(out, "<h2>%s: %s</h2>\n<div class=\"pair\"><figure><figcaption><b>%s</b><span>over percent of the training subjects</span></figcaption>",
                    probe_methods[p->method[m]].name, probe_methods[p->method[m]].about, p->result->score_name);
        svg_chart(out, &q.c);
        fputs("</figure>\n<div>\n", out);
        put_sayings(p, m, out);
        fputs("</div></div>\n", out);
        put_table(p, m, false, out);
        put_table(p, m, true, out);
    }
    fputs("<footer>Made by medley probe. Every repeat is in probe.csv, who was drawn in draws.csv.</footer>\n</main></body></html>\n", out);
}
