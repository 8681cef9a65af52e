/* svg: curves, stacked bars and interval marks as inline SVG, and text made safe for HTML. */
#include "svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 360, LEFT = 48, RIGHT = 10, TOP = 8, BOTTOM = 22, MAX_POINTS = 400, MAX_TICKS = 12 };

/* ---- text ---------------------------------------------------------------------------------------------------------------- */

void html_text(FILE *out, const char *s)
{
    for (; *s; s++) {
        switch (*s) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&#39;", out); break;
        default:
            if ((unsigned char)*s >= 0x20 || *s == '\n' || *s == '\t') fputc(*s, out);
        }
    }
}

void html_printf(FILE *out, const char *fmt, ...)
{
    /* the format's own text is HTML and goes out as it is; what it takes in is escaped, conversion by conversion */
    va_list args;
    va_start(args, fmt);
    while (*fmt) {
        size_t plain = strcspn(fmt, "%");
        fwrite(fmt, 1, plain, out);
        fmt += plain;
        if (!*fmt) break;
        if (fmt[1] == '%') {
            fputc('%', out);
            fmt += 2;
            continue;
        }
        char spec[32];
        size_t n = strcspn(fmt, "sdfge") + 1; /* conversions used on the page */
        if (n >= sizeof spec) break;
        memcpy(spec, fmt, n);
        spec[n] = 0;
        fmt += n;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        if (spec[n - 1] == 's') html_text(out, va_arg(args, const char *));
        else if (spec[n - 1] != 'd') fprintf(out, spec, va_arg(args, double));
        else if (strstr(spec, "ll")) fprintf(out, spec, va_arg(args, long long));
        else fprintf(out, spec, va_arg(args, int));
#pragma GCC diagnostic pop
    }
    va_end(args);
}

/* ---- scales -------------------------------------------------------------------------------------------------------------- */

typedef struct scale { double lo, hi; bool log; int from, to; } scale; /* values lo..hi to pixels from..to */

static double at(const scale *s, double v)
{
    double t = s->log ? log(v / s->lo) / log(s->hi / s->lo) : (v - s->lo) / (s->hi - s->lo);
    return s->from + fmin(1, fmax(0, t)) * (s->to - s->from);
}

static double nice_step(double span, int n)
{
    double raw = span / n, base = pow(10, floor(log10(raw))), f = raw / base;
    return base * (f <= 1 ? 1 : f <= 2 ? 2 : f <= 5 ? 5 : 10);
}

static int ticks(const scale *s, int wanted, double out[MAX_TICKS])
{
    int n = 0;
    if (s->log) {
        bool few = log10(s->hi / s->lo) < 2;
        for (double base = pow(10, floor(log10(s->lo))); base <= s->hi; base *= 10)
            for (int k = 0; k < (few ? 3 : 1); k++) {
                double v = base * (double[]){1, 2, 5}[k];
                if (v >= s->lo * 0.999 && v <= s->hi * 1.001 && n < MAX_TICKS) out[n++] = v;
            }
        return n;
    }
    double step = nice_step(s->hi - s->lo, wanted);
    for (double v = ceil(s->lo / step - 1e-9) * step; v <= s->hi + 1e-9 * step && n < MAX_TICKS; v += step)
        out[n++] = fabs(v) < 1e-9 * step ? 0 : v;
    return n;
}

static void tick_text(double v, char out[24])
{
    if (fabs(v) >= 1e6) snprintf(out, 24, "%gM", v / 1e6);
    else if (fabs(v) >= 1e4) snprintf(out, 24, "%gk", v / 1e3);
    else snprintf(out, 24, "%.4g", v);
}

/* ---- curves --------------------------------------------------------------------------------------------------------------- */

/* At most MAX_POINTS points: means of equal groups. */
static int thin(const series *s, double *x, double *y)
{
    int n = s->n < MAX_POINTS ? s->n : MAX_POINTS;
    for (int i = 0; i < n; i++) {
        int from = (int)((int64_t)i * s->n / n), to = (int)((int64_t)(i + 1) * s->n / n);
        x[i] = y[i] = 0;
        for (int k = from; k < to; k++) x[i] += s->x[k], y[i] += s->y[k];
        x[i] /= to - from;
        y[i] /= to - from;
    }
    if (n) x[n - 1] = s->x[s->n - 1];
    return n;
}

/* Running mean with weights that fall off over about a twentieth of the curve, right from the first point. */
static void smooth(int n, double *y)
{
    double keep = 1 - 1 / fmax(3, n / 20.0), sum = 0, weight = 0;
    for (int i = 0; i < n; i++) {
        sum = keep * sum + y[i];
        weight = keep * weight + 1;
        y[i] = sum / weight;
    }
}

static void polyline(FILE *out, const char *css, int n, const double *x, const double *y, const scale *sx, const scale *sy)
{
    fprintf(out, "<polyline class=\"%s\" points=\"", css);
    for (int i = 0; i < n; i++) fprintf(out, "%s%.1f,%.1f", i ? " " : "", at(sx, x[i]), at(sy, y[i]));
    fputs("\"/>", out);
}

/* Between lo and hi of neighbouring points that have them. */
static void draw_band(FILE *out, const curve *c, const scale *sx, const scale *sy)
{
    const series *s = c->s;
    if (s->n > MAX_POINTS) return;
    for (int i = 0, k; i < s->n; i = k + 1) {
        for (k = i; k < s->n && isfinite(c->lo[k]) && isfinite(c->hi[k]); k++) {}
        if (k - i < 2) continue;
        fprintf(out, "<polygon class=\"fill band %s\" points=\"", c->css);
        for (int j = i; j < k; j++) fprintf(out, "%.1f,%.1f ", at(sx, s->x[j]), at(sy, c->lo[j]));
        for (int j = k - 1; j >= i; j--) fprintf(out, "%.1f,%.1f%s", at(sx, s->x[j]), at(sy, c->hi[j]), j > i ? " " : "");
        fputs("\"/>", out);
    }
}

static void draw_curve(FILE *out, const chart *in, const curve *c, const scale *sx, const scale *sy)
{
    double x[MAX_POINTS], y[MAX_POINTS];
    char css[32], value[24];
    int n = thin(c->s, x, y);
    if (n == 0) return;
    if (c->lo && c->hi) draw_band(out, c, sx, sy);
    if (c->smooth) {
        snprintf(css, sizeof css, "line faint %s", c->css);
        polyline(out, css, n, x, y, sx, sy);
        smooth(n, y);
    }
    snprintf(css, sizeof css, "line %s", c->css);
    if (n > 1) polyline(out, css, n, x, y, sx, sy);
    if (!c->dots && n > 1) return;
    for (int i = 0; i < n; i++) {
        tick_text(y[i], value);
        fprintf(out, "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"><title>%s %.10g: %s</title></circle>", c->css,
                at(sx, x[i]), at(sy, y[i]), n > 60 ? "1.5" : "2.5", in->x_name ? in->x_name : "step", x[i], value);
    }
}

static void y_range(const chart *c, scale *sy)
{
    double lo = INFINITY, hi = -INFINITY;
    for (int i = 0; i < c->n; i++)
        for (int k = 0; k < c->curve[i].s->n; k++) {
            lo = fmin(lo, c->curve[i].s->y[k]), hi = fmax(hi, c->curve[i].s->y[k]);
            if (c->curve[i].lo) lo = fmin(lo, c->curve[i].lo[k]), hi = fmax(hi, c->curve[i].hi[k]); /* fmin leaves NaN aside */
        }
    if (!(lo <= hi)) lo = 0, hi = 1;
    sy->log = c->log_y && lo > 0 && hi / lo > 20;
    if (!sy->log) {
        if (lo > 0 && lo < 0.6 * hi) lo = 0; /* show zero where it is near */
        double pad = hi > lo ? 0.05 * (hi - lo) : fmax(fabs(hi) * 0.1, 1e-9);
        hi += pad;
        if (lo != 0) lo -= pad;
    }
    sy->lo = isfinite(c->y_lo) ? c->y_lo : lo;
    sy->hi = isfinite(c->y_hi) ? c->y_hi : hi;
    if (!(sy->hi > sy->lo)) sy->hi = sy->lo + 1;
}

void svg_chart(FILE *out, const chart *c)
{
    double x_max = c->x_max, tick[MAX_TICKS];
    char text[24];
    for (int i = 0; i < c->n; i++)
        if (c->x_max == 0 && c->curve[i].s->n) x_max = fmax(x_max, c->curve[i].s->x[c->curve[i].s->n - 1]);
    int bottom = c->height - (c->x_labels ? BOTTOM : 8);
    scale sx = {c->x_lo, fmax(x_max, 1), c->log_x, LEFT, WIDTH - RIGHT}, sy = {.from = bottom, .to = TOP};
    y_range(c, &sy);
    html_printf(out, "<svg ");
    if (c->place) fprintf(out, "%s ", c->place);
    html_printf(out, "viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">", WIDTH, c->height, c->name);
    int n = ticks(&sy, c->height > 120 ? 4 : 3, tick);
    for (int i = 0; i < n; i++) {
        double y = at(&sy, tick[i]);
        tick_text(tick[i], text);
        fprintf(out,
                "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"tick\" x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%s</text>",
                LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 3.5, text);
    }
    const double *below = c->x_tick ? c->x_tick : tick;
    n = !c->x_labels ? 0 : c->x_tick ? c->n_x_tick : ticks(&sx, 6, tick);
    for (int i = 0; i < n; i++) {
        tick_text(below[i], text);
        fprintf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", at(&sx, below[i]), bottom + 15, text);
    }
    for (int i = 0; i < c->n; i++) draw_curve(out, c, &c->curve[i], &sx, &sy);
    fputs("</svg>\n", out);
}

/* ---- bars ------------------------------------------------------------------------------------------------------------------ */

void svg_stack(FILE *out, int n, const double *value, const char *const *name)
{
    double total = 0, x = 0;
    for (int i = 0; i < n; i++) total += value[i];
    fputs("<svg class=\"stack\" viewBox=\"0 0 1000 36\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"time by part\">", out);
    for (int i = 0; i < n && total > 0; i++) {
        double w = 1000 * value[i] / total;
        html_printf(out, "<rect class=\"fill c%d\" x=\"%.2f\" y=\"0\" width=\"%.2f\" height=\"36\"><title>%s: %.1f %%</title></rect>",
                    i, x, fmax(0, w - 1), name[i], 0.1 * w);
        x += w;
    }
    fputs("</svg>\n", out);
}

void svg_interval(FILE *out, double value, double from, double to, double lo, double hi)
{
    scale s = {lo, hi > lo ? hi : lo + 1, false, 4, 116};
    if (!isfinite(value)) return;
    fputs("<svg class=\"interval\" viewBox=\"0 0 120 16\" role=\"img\" aria-label=\"value on its range\"><line class=\"grid\" x1=\"4\" "
          "x2=\"116\" "
          "y1=\"8\" y2=\"8\"/>",
          out);
    if (isfinite(from) && isfinite(to))
        fprintf(out, "<line class=\"span c0\" x1=\"%.1f\" x2=\"%.1f\" y1=\"8\" y2=\"8\"/>", at(&s, from), at(&s, to));
    fprintf(out, "<circle class=\"dot c0\" cx=\"%.1f\" cy=\"8\" r=\"3.5\"/></svg>", at(&s, value));
}
