/* read_yolo: the text files of YOLO, one line an object: "class cx cy w h", or "class x1 y1 x2 y2 ..." for a polygon, as shares of the
 * image's width and height. */
#include "boxes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS_MAX = 2 + 4096 }; /* of a line: a polygon of so many corners */

/* Shares lie in 0 to 1; tools overshoot by a little. Numbers beyond are pixels: another format. */
static bool is_share(double v) { return v >= -0.5 && v <= 1.5; }

/* v (n) is used up: corners of a polygon become pixels. */
static status add_line(boxes *b, double *v, int n, int width, int height, const char *what, int line)
{
    double x0, y0, x1, y1;
    char name[24];
    CHECK(v[0] >= 0 && v[0] == rint(v[0]) && v[0] < 1e6, ST_DATA, "%s:%d: class %g is no number of a class", what, line, v[0]);
    CHECK(n == 5 || (n >= 7 && n % 2 == 1), ST_DATA, "%s:%d: %d numbers; a box has 5, a polygon a class and three or more pairs", what, line, n);
    for (int i = 1; i < n; i++)
        CHECK(is_share(v[i]), ST_DATA, "%s:%d: %g is no share of the image (0 to 1)", what, line, v[i]);
    if (n == 5) {
        CHECK(v[3] >= 0 && v[4] >= 0, ST_DATA, "%s:%d: a box of size %g x %g", what, line, v[3], v[4]);
        x0 = v[1] - v[3] / 2, x1 = v[1] + v[3] / 2, y0 = v[2] - v[4] / 2, y1 = v[2] + v[4] / 2;
    } else {
        x0 = x1 = v[1], y0 = y1 = v[2];
        for (int i = 3; i < n; i += 2) {
            x0 = fmin(x0, v[i]), x1 = fmax(x1, v[i]);
            y0 = fmin(y0, v[i + 1]), y1 = fmax(y1, v[i + 1]);
        }
    }
    snprintf(name, sizeof name, "%.0f", v[0]);
    TRY(boxes_add(b, x0 * width, y0 * height, x1 * width, y1 * height, name), "%s:%d", what, line);
    if (n == 5) return OK;
    for (int i = 1; i < n; i += 2) v[i] *= width, v[i + 1] *= height;
    return outline_add_ring(&b->shape[b->n - 1], (const double (*)[2])(v + 1), n / 2);
}

/* The numbers of a line, or -1 if there is anything else in it, or too many. text ends with 0. */
static int numbers_of(const char *text, const char *end, double *v)
{
    for (int n = 0;;) {
        while (text < end && (*text == ' ' || *text == '\t' || *text == '\r')) text++;
        if (text == end) return n;
        char *next;
        if (n == NUMBERS_MAX) return -1;
        v[n] = strtod(text, &next);
        if (next == text || next > end || !isfinite(v[n])) return -1;
        n++;
        text = next;
        if (text < end && *text != ' ' && *text != '\t' && *text != '\r') return -1;
    }
}

status yolo_parse(boxes *b, const char *text, size_t n, int width, int height, const char *what)
{
    double *v;
    char *copy;
    int line = 0;
    *b = (boxes){0};
    TRY(mem_alloc(&v, sizeof *v * NUMBERS_MAX, "numbers"), "%s", what);
    status st = mem_copy(&copy, text, n, "a label file");
    if (st) {
        free(v);
        return st;
    }
    for (char *at = copy, *stop = copy + n; !st && at < stop;) {
        char *end = memchr(at, '\n', (size_t)(stop - at));
        if (!end) end = stop;
        *end = 0;
        int got = numbers_of(at, end, v);
        line++;
        if (got < 0) st = status_raise(ST_DATA, __FILE__, __LINE__, "%s:%d: not \"class cx cy w h\" or a polygon of at most %d corners", what, line, (NUMBERS_MAX - 2) / 2);
        else if (got > 0) st = add_line(b, v, got, width, height, what, line);
        at = end + 1;
    }
    free(copy);
    free(v);
    if (st) boxes_free(b);
    return st;
}
