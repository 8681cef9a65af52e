/* boxes: a growing list of boxes with class names. */
#include "boxes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void boxes_free(boxes *b)
{
    for (int i = 0; i < b->n; i++) outline_free(&b->shape[i]);
    free(b->shape);
    free(b->edge);
    free(b->name);
    *b = (boxes){0};
}

status boxes_add(boxes *b, double x0, double y0, double x1, double y1, const char *name)
{
    double far = fmax(fmax(fabs(x0), fabs(y0)), fmax(fabs(x1), fabs(y1)));
    CHECK(!isnan(x0 + y0 + x1 + y1) && far < 1e9, ST_DATA, "a box with a corner at %g, %g, %g or %g", x0, y0, x1, y1);
    CHECK(strlen(name) < sizeof *b->name, ST_DATA, "class name \"%.40s...\" is too long", name);
    if (b->n == b->room) {
        int room = b->room ? 2 * b->room : 16;
        TRY(mem_grow(&b->edge, (size_t)room * sizeof *b->edge, "boxes"), "boxes");
        TRY(mem_grow(&b->name, (size_t)room * sizeof *b->name, "boxes"), "boxes");
        TRY(mem_grow(&b->shape, (size_t)room * sizeof *b->shape, "boxes"), "boxes");
        b->room = room;
    }
    b->edge[b->n][0] = (float)x0, b->edge[b->n][1] = (float)y0, b->edge[b->n][2] = (float)x1, b->edge[b->n][3] = (float)y1;
    snprintf(b->name[b->n], sizeof *b->name, "%s", name);
    b->shape[b->n] = (outline){0};
    b->n++;
    return OK;
}
