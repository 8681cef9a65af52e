/* outline_rows: the regions of a mask, handed over row by row, as JSON: [[class, ring, ring...], ...]. Usage: outline_rows MASK.raw W */
#include "outliner.h"

#include <stdlib.h>

static int n_regions;

static status put(void *arg, const outline_region *r)
{
    (void)arg;
    printf("%s[%d", n_regions++ ? ",\n" : "", r->cls);
    for (int i = 0; i < r->n_rings; i++)
        for (int32_t k = r->ring[i].from; k < r->ring[i].to; k++)
            printf("%s[%d, %d]%s", k == r->ring[i].from ? ", [" : ", ", (int)r->xy[k][0], (int)r->xy[k][1], k + 1 == r->ring[i].to ? "]" : "");
    putchar(']');
    return OK;
}

int main(int argc, char **argv)
{
    outliner *o = NULL;
    int w = argc == 3 ? atoi(argv[2]) : 0;
    FILE *f = w > 0 ? fopen(argv[1], "rb") : NULL;
    uint8_t *row = f ? malloc((size_t)w) : NULL;
    if (!row) return 2;
    putchar('[');
    status st = outliner_open(&o, w, put, NULL);
    while (!st && fread(row, 1, (size_t)w, f) == (size_t)w) st = outliner_row(o, row);
    if (!st) st = outliner_end(o);
    puts("]");
    outliner_close(o);
    free(row);
    fclose(f);
    return (int)st;
}
