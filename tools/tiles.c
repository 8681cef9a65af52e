/* tiles: the grid of tiles over a slide, and which of them show tissue. */
#include "tiles.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CELLS = 8 };            /* a side of a tile, where tissue is looked for */
#define FINER_MOST 1.1         /* a slide may be coarser than what is asked for by so much */
#define TISSUE_LEAST 13        /* saturation (of 255) below which nothing is tissue, whatever the histogram says */

status tiling_open(tiling *t, const char *path, const tile_ask *ask, const tile_words *words)
{
    *t = (tiling){.ask = *ask};
    snprintf(t->what, sizeof t->what, "%s", path);
    status st = OK;
    TRY_TO(bad, slide_file_open(&t->file, path, &t->is), "slide");
    for (int k = 0; k < 2; k++) {
        if (!(t->is.mpp[k] > 0)) t->is.mpp[k] = ask->spacing[1 - k];
        CHECK_TO(bad, t->is.mpp[k] > 0, ST_DATA, "%s: does not say how many micrometres a pixel has; %s can", path, words->spacing);
        t->scale[k] = ask->mpp / t->is.mpp[k];
        CHECK_TO(bad, t->scale[k] * FINER_MOST >= 1, ST_DATA, "%s: %g um per pixel are the finest there are, %s asks for %g", path, t->is.mpp[k], words->mpp,
                 ask->mpp);
    }
    return OK;
bad:
    tiling_close(t);
    return st;
}

void tiling_close(tiling *t)
{
    slide_file_close(t->file);
    t->file = NULL;
}

/* ---- places ------------------------------------------------------------------------------------------------------------------------ */

status tiling_grid(const tiling *t, bool cut_too, part **out, int *n, int *columns)
{
    double step[2] = {t->ask.side * t->scale[0], t->ask.side * t->scale[1]}, c = (double)t->is.W / step[0], r = (double)t->is.H / step[1];
    int64_t across = (int64_t)(cut_too ? ceil(c - 1e-6) : floor(c + 1e-6)), rows = (int64_t)(cut_too ? ceil(r - 1e-6) : floor(r + 1e-6));
    *out = NULL, *n = 0;
    CHECK(across > 0 && rows > 0, ST_DATA, "%s: smaller than a tile (%lld x %lld pixels, a tile has %.0f x %.0f)", t->what, (long long)t->is.W, (long long)t->is.H,
          step[0], step[1]);
    CHECK(across <= PARTS_MAX / rows, ST_DATA, "%s: %lld x %lld tiles, at most %d are taken", t->what, (long long)across, (long long)rows, PARTS_MAX);
    TRY(mem_alloc(out, (size_t)(across * rows) * sizeof **out, "list of tiles"), "%s", t->what);
    *columns = (int)across;
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = 0; x < across; x++)
            (*out)[(*n)++] = (part){(int32_t)(t->is.x + llround((double)x * step[0])), (int32_t)(t->is.y + llround((double)y * step[1]))};
    return OK;
}

status tiling_read(tiling *t, part p, image *out)
{
    int side = t->ask.side;
    TRY(image_alloc(out, 1, side, side, 3, DT_U8, t->what), "tile");
    status st = slide_file_window(t->file, p.a, p.b, t->scale, side, out->data);
    out->spacing[1] = out->spacing[2] = t->ask.mpp;
    if (st) image_free(out);
    return st;
}

/* ---- tissue ------------------------------------------------------------------------------------------------------------------------ */

/* Otsu: the value that parts the histogram into two classes with the largest variance between them. */
static int otsu(const int64_t histogram[256])
{
    double n = 0, sum = 0, below = 0, sum_below = 0, best = -1;
    int at = 0;
    for (int i = 0; i < 256; i++) n += (double)histogram[i], sum += i * (double)histogram[i];
    for (int i = 0; i < 256; i++) {
        below += (double)histogram[i], sum_below += i * (double)histogram[i];
        if (below <= 0 || below >= n) continue;
        double apart = sum_below / below - (sum - sum_below) / (n - below), between = below * (n - below) * apart * apart;
        if (between > best) best = between, at = i;
    }
    return at;
}

static bool is_whole(const tiling *t, part p)
{
    return p.a + t->ask.side * t->scale[0] <= (double)(t->is.x + t->is.W) + 1 && p.b + t->ask.side * t->scale[1] <= (double)(t->is.y + t->is.H) + 1;
}

/* How colourful each cell of each tile is, 0 to 255 (n,CELLS,CELLS), and the threshold of tissue. Tiles that the edge cuts, whose rest is bare, do
 * not move it, unless there are no others. */
static status look(tiling *t, const part *p, int n, uint8_t *colourful, int *threshold)
{
    int64_t histogram[2][256] = {{0}}, n_whole = 0; /* of cut tiles, and whole ones */
    uint8_t rgb[CELLS * CELLS * 3];
    double step = (double)t->ask.side / CELLS, scale[2] = {t->scale[0] * step, t->scale[1] * step};
    for (int i = 0; i < n; i++) {
        bool whole = is_whole(t, p[i]);
        if (t->tick) t->tick();
        TRY(slide_file_window(t->file, p[i].a, p[i].b, scale, CELLS, rgb), "tissue");
        for (int k = 0; k < CELLS * CELLS; k++) {
            const uint8_t *c = rgb + 3 * k;
            int hi = c[0] > c[1] ? c[0] : c[1], lo = c[0] < c[1] ? c[0] : c[1];
            if (c[2] > hi) hi = c[2];
            if (c[2] < lo) lo = c[2];
            uint8_t s = hi ? (uint8_t)((hi - lo) * 255 / hi) : 0;
            colourful[(size_t)i * CELLS * CELLS + (size_t)k] = s;
            histogram[whole][s]++;
        }
        n_whole += whole;
    }
    *threshold = otsu(histogram[n_whole > 0]);
    if (*threshold < TISSUE_LEAST) *threshold = TISSUE_LEAST;
    return OK;
}

status tiling_tissue(tiling *t, const part *p, int n, uint8_t *has)
{
    uint8_t *colourful;
    int threshold;
    TRY(mem_alloc(&colourful, (size_t)n * CELLS * CELLS, "saturation"), "%s", t->what);
    status st = look(t, p, n, colourful, &threshold);
    for (int i = 0; i < n && !st; i++) {
        int count = 0;
        for (int k = 0; k < CELLS * CELLS; k++) count += colourful[(size_t)i * CELLS * CELLS + (size_t)k] > threshold;
        has[i] = count >= t->ask.tissue * CELLS * CELLS;
    }
    free(colourful);
    return st;
}
