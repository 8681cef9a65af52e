/* predict_boxes: boxes of several windows become those of the image: cut ones, and what two windows saw twice, go. Boxes are looked up by place,
 * for a slide may have very many. */
#include "predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

status boxes_push(box_list *l, const detection *d)
{
    if (l->n == l->room) {
        int room = 2 * l->room + 256;
        TRY(mem_grow(&l->d, sizeof *l->d * (size_t)room, "boxes"), "detection");
        l->room = room;
    }
    l->d[l->n++] = *d;
    return OK;
}

/* ---- boxes by place ------------------------------------------------------------------------------------------------------------------- */

/* Lists of boxes by the square their upper left corner lies in; no box is larger than a square. */
typedef struct squares { double side; uint32_t n_lists; int32_t *first, *next; } squares; /* (n_lists) hashed, (n) */
typedef bool box_test(const detection *mine, const detection *other, float limit);

static uint32_t list_of(const squares *q, int64_t x, int64_t y) { return (uint32_t)((uint64_t)(x * 73856093 ^ y * 19349663) % q->n_lists); }
static int64_t square_of(const squares *q, float v) { return (int64_t)floor((double)v / q->side); }

static status squares_open(squares *q, int n, double side)
{
    q->side = side, q->n_lists = (uint32_t)n + 1;
    TRY(mem_alloc(&q->first, sizeof *q->first * q->n_lists, "boxes by place"), "detection");
    TRY(mem_alloc(&q->next, sizeof *q->next * (size_t)(n + 1), "boxes by place"), "detection");
    for (uint32_t i = 0; i < q->n_lists; i++) q->first[i] = -1;
    return OK;
}

static void squares_close(squares *q) { free(q->first), free(q->next); }

static void squares_add(squares *q, const detection *d, int i)
{
    uint32_t list = list_of(q, square_of(q, d[i].box[0]), square_of(q, d[i].box[1]));
    q->next[i] = q->first[list], q->first[list] = i;
}

/* Does one of the boxes that were added pass the test with b? Only those that may overlap it are asked. */
static bool any(const squares *q, const detection *d, const detection *b, box_test *test, float limit)
{
    int64_t x1 = square_of(q, b->box[2]), y1 = square_of(q, b->box[3]);
    for (int64_t y = square_of(q, b->box[1]) - 1; y <= y1; y++)
        for (int64_t x = square_of(q, b->box[0]) - 1; x <= x1; x++)
            for (int32_t i = q->first[list_of(q, x, y)]; i >= 0; i = q->next[i])
                if (d[i].cls == b->cls && test(b, &d[i], limit)) return true;
    return false;
}

/* ---- what stays ------------------------------------------------------------------------------------------------------------------------- */

/* Share of mine that other covers. */
static bool is_covered(const detection *mine, const detection *other, float limit)
{
    const float *a = mine->box, *b = other->box;
    float w = fminf(a[2], b[2]) - fmaxf(a[0], b[0]), h = fminf(a[3], b[3]) - fmaxf(a[1], b[1]), area = (a[2] - a[0]) * (a[3] - a[1]);
    return w > 0 && h > 0 && area > 0 && w * h / area > limit;
}

static bool is_same(const detection *mine, const detection *other, float limit) { return task_iou(other->box, mine->box) > limit; }

static double largest(const box_list *l, double side)
{
    for (int i = 0; i < l->n; i++) side = fmax(side, fmax((double)(l->d[i].box[2] - l->d[i].box[0]), (double)(l->d[i].box[3] - l->d[i].box[1])));
    return side;
}

static status add_cut(box_list *whole, const box_list *cut, double side)
{
    squares q = {0};
    int n_whole = whole->n;
    status st = squares_open(&q, n_whole, side);
    for (int i = 0; i < n_whole && !st; i++) squares_add(&q, whole->d, i);
    for (int i = 0; i < cut->n && !st; i++)
        if (!any(&q, whole->d, &cut->d[i], is_covered, 0.5f)) st = boxes_push(whole, &cut->d[i]);
    squares_close(&q);
    return st;
}

static int best_first(const void *pa, const void *pb, void *boxes)
{
    int32_t a = *(const int32_t *)pa, b = *(const int32_t *)pb;
    const detection *d = boxes;
    return d[a].score != d[b].score ? (d[a].score > d[b].score ? -1 : 1) : a < b ? -1 : a > b;
}

/* As the network's own suppression: the best first, equal scores in their order. */
static status suppress(box_list *l, float iou, double side)
{
    squares q = {0};
    int32_t *order = NULL;
    detection *kept = NULL;
    int n = 0;
    status st;
    TRY_TO(done, squares_open(&q, l->n, side), "detection");
    TRY_TO(done, mem_alloc(&order, sizeof *order * (size_t)l->n, "order of boxes"), "detection");
    TRY_TO(done, mem_alloc(&kept, sizeof *kept * (size_t)l->n, "boxes"), "detection");
    for (int i = 0; i < l->n; i++) order[i] = i;
    qsort_r(order, (size_t)l->n, sizeof *order, best_first, l->d);
    for (int i = 0; i < l->n; i++) {
        const detection *d = &l->d[order[i]];
        if (any(&q, kept, d, is_same, iou)) continue;
        kept[n] = *d;
        squares_add(&q, kept, n++);
    }
    free(l->d);
    l->d = kept, l->n = n, kept = NULL;
done:
    squares_close(&q);
    free(order), free(kept);
    return st;
}

status boxes_merge(box_list *whole, const box_list *cut, float iou)
{
    double side = largest(cut, largest(whole, 1));
    if (cut->n) TRY(add_cut(whole, cut, side), "detection");
    return whole->n ? suppress(whole, iou, side) : OK;
}
