/* svg: curves, stacked bars and interval marks as inline SVG, coloured by the page's style; and text made safe for HTML. */
#ifndef USE_SVG_H
#define USE_SVG_H

#include "history.h"

typedef struct curve {
    const series *s;
    const char   *css;     /* colour class: "c0" .. "c7" */
    bool          smooth;  /* the curve itself faint, a running mean on top */
    bool          dots;    /* a mark with a tooltip at every point (few points) */
    const double *lo, *hi; /* (s->n) a band around it, or NULL; NaN: none here */
} curve;

enum { SVG_MOST_CURVES = 8 };

typedef struct chart {
    const char *name;      /* what is drawn, for readers of the text alternative */
    const char *x_name;    /* of the tooltips; NULL: "step" */
    const char *place;     /* attributes of the <svg>, such as where it lies in another one, or NULL */
    double  x_max;         /* right end; 0 = last point */
    double  x_lo;          /* left end; with log_x above 0 */
    bool    log_x;
    const double *x_tick;  /* (n_x_tick) labels below, or NULL: round numbers */
    int     n_x_tick;
    double  y_lo, y_hi;    /* NaN = from the data */
    bool    log_y;         /* if the data are positive and span much */
    bool    x_labels;
    int     height;        /* of the drawing, in units of its width of 360 */
    int     n;
    curve   curve[SVG_MOST_CURVES];
} chart;

void svg_chart(FILE *out, const chart *c);
/* Horizontal bar of n parts; value in any unit, name for the tooltip; colour class c0.. by part. */
void svg_stack(FILE *out, int n, const double *value, const char *const *name);
/* Value with its interval on the range lo..hi; interval left out where it is NaN. */
void svg_interval(FILE *out, double value, double from, double to, double lo, double hi);

void html_text(FILE *out, const char *s);            /* & < > " ' escaped, control characters left out */
/* printf whose every %s argument is made safe: do not use other string conversions. */
void html_printf(FILE *out, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
