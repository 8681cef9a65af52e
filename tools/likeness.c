/* likeness: images that look alike without being equal (saved again, resized, brightened), by a difference hash: is each cell of a coarse
 * grid brighter than its left neighbour? 256 bits an image, compared by the number that differ. */
#include "convert_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CELLS = 16, BITS_APART = 10, PAIRS_MOST = 20, IMAGES_MOST = 200000 };
#define FAINT 0.02 /* of the range of the cells: neighbours that differ by less say nothing */

/* Of n elements from the first. */
static double sum_of(const image *m, size_t first, size_t n)
{
    int64_t whole = 0;
    double sum = 0;
    switch (m->type) {
    case DT_U8: for (size_t i = 0; i < n; i++) whole += ((const uint8_t *)m->data)[first + i]; break;
    case DT_U16: for (size_t i = 0; i < n; i++) whole += ((const uint16_t *)m->data)[first + i]; break;
    case DT_I16: for (size_t i = 0; i < n; i++) whole += ((const int16_t *)m->data)[first + i]; break;
    default: for (size_t i = 0; i < n; i++) sum += (double)((const float *)m->data)[first + i]; break;
    }
    return sum + (double)whole;
}

void likeness_of(const image *m, likeness *out)
{
    double cell[CELLS][CELLS + 1], lo = INFINITY, hi = -INFINITY;
    size_t plane = (size_t)(m->D / 2) * (size_t)m->H * (size_t)m->W;
    *out = (likeness){0};
    if (m->H < CELLS || m->W < CELLS + 1) return;
    for (int r = 0; r < CELLS; r++)
        for (int c = 0; c <= CELLS; c++) {
            int y0 = r * m->H / CELLS, y1 = (r + 1) * m->H / CELLS, x0 = c * m->W / (CELLS + 1), x1 = (c + 1) * m->W / (CELLS + 1);
            double sum = 0;
            for (int y = y0; y < y1; y++) sum += sum_of(m, (plane + (size_t)y * (size_t)m->W + (size_t)x0) * (size_t)m->C, (size_t)((x1 - x0) * m->C));
            cell[r][c] = sum / ((double)(y1 - y0) * (x1 - x0) * m->C);
            lo = fmin(lo, cell[r][c]), hi = fmax(hi, cell[r][c]);
        }
    int n_clear = 0;
    for (int r = 0; r < CELLS; r++)
        for (int c = 0; c < CELLS; c++) {
            double step = cell[r][c + 1] - cell[r][c];
            n_clear += fabs(step) > FAINT * (hi - lo);
            if (step > FAINT * (hi - lo)) out->bit[r / 4] |= (uint64_t)1 << (r % 4 * CELLS + c);
        }
    out->known = n_clear >= CELLS * CELLS / 4; /* a nearly empty picture looks like every other one */
}

int likeness_apart(const likeness *a, const likeness *b)
{
    int n = 0;
    for (int i = 0; i < 4; i++) n += __builtin_popcountll(a->bit[i] ^ b->bit[i]);
    return n;
}

/* Warns of pairs in different splits: what is scored may have been seen. They stay where they are, for likeness is no proof. */
status likeness_report(const conversion *c)
{
    struct { likeness like; enum split split; int item; } *list; /* close together: all pairs are looked at */
    int n = 0, n_pairs = 0;
    const bool by_id = c->r->images.n_times > 0;
    TRY(mem_alloc(&list, ((size_t)c->n + 1) * sizeof *list, "list of images"), "likeness");
    for (int i = 0; i < c->n; i++)
        if (!c->item[i].st && c->item[i].likeness.known) {
            list[n].like = c->item[i].likeness, list[n].split = c->item[i].split;
            list[n++].item = i;
        }
    if (n > IMAGES_MOST) {
        log_line(LOG_INFO, "  more than %d images: not looked at for pairs that look alike", IMAGES_MOST);
        n = 0;
    }
    for (int a = 0; a < n; a++)
        for (int b = a + 1; b < n; b++) {
            if (list[a].split == list[b].split || likeness_apart(&list[a].like, &list[b].like) > BITS_APART) continue;
            const item *x = &c->item[list[a].item], *y = &c->item[list[b].item];
            if (++n_pairs <= PAIRS_MOST)
                log_line(LOG_WARN, "%s: %s (%s) and %s (%s) look alike", c->r->name, by_id || x->is_part ? x->id : x->path, split_name[x->split],
                         by_id || y->is_part ? y->id : y->path, split_name[y->split]);
        }
    if (n_pairs) log_line(LOG_INFO, "  %d pairs of images in different splits look alike: give them one subject if they are of one", n_pairs);
    free(list);
    return OK;
}
