/* outliner: the regions of a mask as polygons, row by row. Two rows are in memory. On the line between them every corner of pixels joins the edges
 * that meet there to chains; a chain that meets its own beginning is a ring of its region, and a region without a pixel in the newer row is
 * complete. */
#include "outliner.h"

#include <stdlib.h>
#include <string.h>

enum { NONE = -1 };

/* A list whose members go and come: numbers, not addresses, so that it may move. Each begins with an int32_t, the number of the next one. */
typedef struct pool { char *v; size_t size; int32_t n, room, spare; } pool;

static void *at(const pool *p, int32_t i) { return p->v + p->size * (size_t)i; }

static status take(pool *p, int32_t *out)
{
    if (p->spare != NONE) {
        *out = p->spare;
        memcpy(&p->spare, at(p, *out), sizeof p->spare);
    } else {
        if (p->n == p->room) {
            CHECK(p->room < INT32_MAX / 4, ST_RESOURCE, "outlines of more than %d corners at once", INT32_MAX / 4);
            int32_t room = 2 * p->room + 256;
            TRY(mem_grow(&p->v, p->size * (size_t)room, "outlines"), "outlines");
            p->room = room;
        }
        *out = p->n++;
    }
    memset(at(p, *out), 0, p->size);
    return OK;
}

static void give(pool *p, int32_t i)
{
    memcpy(at(p, i), &p->spare, sizeof p->spare);
    p->spare = i;
}

typedef struct corner { int32_t next, x, y; } corner;
typedef struct chain { int32_t next, first, last, *tail_at; } chain;          /* tail_at: the one that knows it by its open end */
typedef struct ring { int32_t next, first; } ring;                            /* its corners */
typedef struct piece { int32_t next, into, first, last, row, cls; } piece;    /* of a region: its rings; `into`: itself, or the one it is part of */

struct outliner {
    int           w;
    int32_t       y;
    outline_take *take;
    void         *arg;
    pool          corners, chains, rings, pieces;
    uint8_t      *px[2];    /* (w) classes of the older row and of the newer one */
    int32_t      *label[2]; /* (w) pieces; NONE */
    int32_t      *down, *up; /* (w + 1) chains along the left edges of the older row's pixels: that end there, that begin there; NONE */
    int32_t       east, west; /* the same along the line between the rows, left of the corner at hand */
    int32_t      *gone;     /* pieces that became part of others in this row */
    int           n_gone, room_gone;
    int32_t     (*xy)[2], (*cut)[2], *rank, *seen; /* a region that is complete */
    int32_t      *order;
    outline_ring *out;
    int32_t       n_xy, room_xy, room_cut, room_out;
    int           n_out;
};

static corner *corner_at(const outliner *o, int32_t i) { return at(&o->corners, i); }
static chain *chain_at(const outliner *o, int32_t i) { return at(&o->chains, i); }
static piece *piece_at(const outliner *o, int32_t i) { return at(&o->pieces, i); }

static int32_t whole(const outliner *o, int32_t i)
{
    while (piece_at(o, i)->into != i) i = piece_at(o, i)->into;
    return i;
}

/* ---- chains ------------------------------------------------------------------------------------------------------------------------- */

static status new_corner(outliner *o, int x, int32_t *out)
{
    TRY(take(&o->corners, out), "outlines");
    *corner_at(o, *out) = (corner){NONE, x, o->y};
    return OK;
}

static status append(outliner *o, int32_t c, int x)
{
    int32_t p;
    TRY(new_corner(o, x, &p), "outlines");
    chain *to = chain_at(o, c);
    corner_at(o, to->last)->next = p, to->last = p;
    return OK;
}

static status prepend(outliner *o, int32_t c, int x)
{
    int32_t p;
    TRY(new_corner(o, x, &p), "outlines");
    chain *to = chain_at(o, c);
    corner_at(o, p)->next = to->first, to->first = p;
    return OK;
}

static void ends_at(outliner *o, int32_t c, int32_t *where)
{
    *where = c;
    chain_at(o, c)->tail_at = where;
}

/* Chain c is a ring of the piece. */
static status close_ring(outliner *o, int32_t c, int32_t of)
{
    int32_t r;
    TRY(take(&o->rings, &r), "outlines");
    piece *p = piece_at(o, whole(o, of));
    *(ring *)at(&o->rings, r) = (ring){NONE, chain_at(o, c)->first};
    if (p->first == NONE) p->first = r;
    else ((ring *)at(&o->rings, p->last))->next = r;
    p->last = r;
    give(&o->chains, c);
    return OK;
}

static void join(outliner *o, int32_t a, int32_t b)
{
    chain *to = chain_at(o, a), *from = chain_at(o, b);
    corner_at(o, to->last)->next = from->first, to->last = from->last;
    ends_at(o, a, from->tail_at);
    give(&o->chains, b);
}

/* ---- one corner of pixels --------------------------------------------------------------------------------------------------------------- */

enum way { UP, RIGHT, DOWN, LEFT };
typedef struct meeting { int x; int32_t east, west, up, down; } meeting; /* chains that go on to the right of the corner and below it */

/* An edge arrives in direction `in` and the outline leaves in direction `to`. from: the chain that ends here, where it is known; NONE: what arrives is
 * still to come. to UP and LEFT, there is a chain that begins here. of: the piece whose outline it is. */
static status link(outliner *o, meeting *m, enum way in, enum way to, int32_t from, int32_t of)
{
    int32_t *head = in == LEFT ? &m->west : &m->up, *tail = to == RIGHT ? &m->east : &m->down;
    bool leaves = to == UP || to == LEFT, turns = in != to;
    int32_t next = to == UP ? o->up[m->x] : to == LEFT ? o->west : NONE;
    if (from != NONE) {
        if (turns) TRY(append(o, from, m->x), "outlines");
        if (!leaves) ends_at(o, from, tail);
        else if (from == next) TRY(close_ring(o, from, of), "outlines");
        else join(o, from, next);
    } else if (leaves) {
        if (turns) TRY(prepend(o, next, m->x), "outlines");
        *head = next;
    } else {
        int32_t p, c;
        TRY(new_corner(o, m->x, &p), "outlines");
        TRY(take(&o->chains, &c), "outlines");
        *chain_at(o, c) = (chain){NONE, p, p, NULL};
        ends_at(o, c, tail);
        *head = c;
    }
    return OK;
}

/* Pixels a b over c d. Outlines turn right where they can, so that regions are apart that touch here alone. */
static status meet(outliner *o, int x, int a, int b, int c, int d)
{
    meeting m = {x, NONE, NONE, NONE, NONE};
    const int32_t *above = o->label[0], *below = o->label[1];
    if (a && a != b) TRY(link(o, &m, DOWN, a != c ? LEFT : c != d ? DOWN : RIGHT, o->down[x], above[x - 1]), "outlines");
    if (c && a != c) TRY(link(o, &m, RIGHT, c != d ? DOWN : d != b ? RIGHT : UP, o->east, below[x - 1]), "outlines");
    if (b && b != d) TRY(link(o, &m, LEFT, a != b ? UP : a != c ? LEFT : DOWN, NONE, above[x]), "outlines");
    if (d && c != d) TRY(link(o, &m, UP, b != d ? RIGHT : a != b ? UP : LEFT, NONE, below[x]), "outlines");
    o->west = m.west, o->up[x] = m.up;
    o->east = o->down[x] = NONE;
    if (m.east != NONE) ends_at(o, m.east, &o->east);
    if (m.down != NONE) ends_at(o, m.down, &o->down[x]);
    return OK;
}

/* ---- regions --------------------------------------------------------------------------------------------------------------------------- */

static status unite(outliner *o, int32_t a, int32_t b)
{
    if (o->n_gone == o->room_gone) {
        int room = 2 * o->room_gone + 64;
        TRY(mem_grow(&o->gone, sizeof *o->gone * (size_t)room, "outlines"), "outlines");
        o->room_gone = room;
    }
    piece *to = piece_at(o, a), *from = piece_at(o, b);
    if (to->first == NONE) to->first = from->first, to->last = from->last;
    else if (from->first != NONE) ((ring *)at(&o->rings, to->last))->next = from->first, to->last = from->last;
    from->into = a;
    o->gone[o->n_gone++] = b;
    return OK;
}

/* Which pieces the newer row's pixels belong to. */
static status label_row(outliner *o)
{
    const uint8_t *old = o->px[0], *px = o->px[1];
    for (int x = 0, end; x < o->w; x = end) {
        int32_t one = NONE;
        for (end = x; end < o->w && px[end] == px[x]; end++) {
            if (!px[x] || old[end] != px[x]) continue;
            int32_t above = whole(o, o->label[0][end]);
            if (one == NONE) one = above;
            else if (one != above) TRY(unite(o, one, above), "outlines");
        }
        if (px[x] && one == NONE) {
            TRY(take(&o->pieces, &one), "outlines");
            *piece_at(o, one) = (piece){.next = NONE, .into = one, .first = NONE, .last = NONE, .cls = px[x]};
        }
        for (int k = x; k < end; k++) o->label[1][k] = one;
        if (one != NONE) piece_at(o, one)->row = o->y;
    }
    return OK;
}

/* ---- what is complete --------------------------------------------------------------------------------------------------------------------- */

static status add_ring(outliner *o, int32_t from)
{
    if (o->n_out == o->room_out) {
        int32_t room = 2 * o->room_out + 16;
        TRY(mem_grow(&o->out, sizeof *o->out * (size_t)room, "outlines"), "outlines");
        o->room_out = room;
    }
    o->out[o->n_out++] = (outline_ring){from, o->n_xy};
    return OK;
}

static int by_place(const void *pa, const void *pb, void *corners)
{
    const int32_t (*xy)[2] = corners, *a = xy[*(const int32_t *)pa], *b = xy[*(const int32_t *)pb];
    return a[1] != b[1] ? (a[1] < b[1] ? -1 : 1) : a[0] < b[0] ? -1 : a[0] > b[0];
}

static status room_for(outliner *o, int32_t n)
{
    if (o->n_xy + n > o->room_xy) {
        int32_t room = 2 * (o->n_xy + n);
        TRY(mem_grow(&o->xy, sizeof *o->xy * (size_t)room, "outlines"), "outlines");
        o->room_xy = room;
    }
    if (n <= o->room_cut) return OK;
    TRY(mem_grow(&o->cut, sizeof *o->cut * 2 * (size_t)n, "outlines"), "outlines");
    TRY(mem_grow(&o->order, sizeof *o->order * 2 * (size_t)n, "outlines"), "outlines");
    TRY(mem_grow(&o->rank, sizeof *o->rank * 2 * (size_t)n, "outlines"), "outlines");
    TRY(mem_grow(&o->seen, sizeof *o->seen * 2 * (size_t)n, "outlines"), "outlines");
    o->room_cut = 2 * n;
    return OK;
}

/* A ring that touches itself (a hole that touches another, or the outside, at a corner) becomes several: cut (n) to xy. */
static status part_ring(outliner *o, int32_t n)
{
    int32_t n_places = 0, from = o->n_xy, *stack = o->order, depth = 0;
    for (int32_t i = 0; i < n; i++) o->order[i] = i;
    qsort_r(o->order, (size_t)n, sizeof *o->order, by_place, o->cut);
    for (int32_t i = 0; i < n; i++) {
        if (i > 0 && by_place(&o->order[i - 1], &o->order[i], o->cut) != 0) n_places++;
        o->rank[o->order[i]] = n_places;
    }
    if (n_places == n - 1) {
        memcpy(o->xy + o->n_xy, o->cut, sizeof *o->xy * (size_t)n);
        o->n_xy += n;
        return add_ring(o, from);
    }
    for (int32_t i = 0; i < n; i++) o->seen[i] = NONE;
    for (int32_t i = 0; i <= n; i++) {
        int32_t back = i < n ? o->seen[o->rank[i]] : 0; /* at the end, what is left is a ring, too */
        if (back != NONE) {
            from = o->n_xy;
            for (int32_t k = back; k < depth; k++, o->n_xy++) {
                memcpy(o->xy[o->n_xy], o->cut[stack[k]], sizeof *o->xy);
                if (k > back) o->seen[o->rank[stack[k]]] = NONE;
            }
            TRY(add_ring(o, from), "outlines");
            depth = back + 1;
        } else {
            o->seen[o->rank[i]] = depth;
            stack[depth++] = i;
        }
    }
    return OK;
}

static bool is_outer(const outliner *o, outline_ring r)
{
    double area = 0;
    for (int32_t i = r.from; i < r.to; i++) {
        const int32_t *a = o->xy[i], *b = o->xy[i + 1 < r.to ? i + 1 : r.from];
        area += (double)a[0] * b[1] - (double)b[0] * a[1];
    }
    return area > 0;
}

static status finish(outliner *o, int32_t which)
{
    piece *p = piece_at(o, which);
    o->n_xy = o->n_out = 0;
    for (int32_t r = p->first, next; r != NONE; r = next) {
        int32_t n = 0, first = ((ring *)at(&o->rings, r))->first;
        for (int32_t c = first; c != NONE; c = corner_at(o, c)->next) n++;
        TRY(room_for(o, n), "outlines");
        n = 0;
        for (int32_t c = first, after; c != NONE; c = after, n++) {
            const corner *k = corner_at(o, c);
            o->cut[n][0] = k->x, o->cut[n][1] = k->y, after = k->next;
            give(&o->corners, c);
        }
        TRY(part_ring(o, n), "outlines");
        next = ((ring *)at(&o->rings, r))->next;
        give(&o->rings, r);
    }
    for (int i = 0; i < o->n_out; i++)
        if (is_outer(o, o->out[i])) {
            outline_ring outer = o->out[i];
            memmove(o->out + 1, o->out, sizeof outer * (size_t)i);
            o->out[0] = outer;
            break;
        }
    const outline_region region = {.cls = p->cls, .n_rings = o->n_out, .ring = o->out, .xy = (const int32_t (*)[2])o->xy};
    give(&o->pieces, which);
    return o->take(o->arg, &region);
}

/* Regions of the older row that have no pixel in the newer one. */
static status finish_row(outliner *o)
{
    for (int x = 0; x < o->w; x++) {
        int32_t i = o->label[0][x];
        if (i == NONE || (x > 0 && o->label[0][x - 1] == i)) continue;
        int32_t all = whole(o, i);
        piece *p = piece_at(o, all);
        if (p->row == o->y || p->row == NONE) continue;
        p->row = NONE;
        TRY(finish(o, all), "outlines");
    }
    return OK;
}

/* ---- rows -------------------------------------------------------------------------------------------------------------------------------- */

status outliner_open(outliner **out, int w, outline_take *taker, void *arg)
{
    outliner *o;
    TRY(mem_alloc(out, sizeof **out, "outlines"), "outlines");
    o = *out;
    *o = (outliner){.w = w, .take = taker, .arg = arg, .east = NONE, .west = NONE};
    o->corners = (pool){.size = sizeof(corner), .spare = NONE};
    o->chains = (pool){.size = sizeof(chain), .spare = NONE};
    o->rings = (pool){.size = sizeof(ring), .spare = NONE};
    o->pieces = (pool){.size = sizeof(piece), .spare = NONE};
    for (int i = 0; i < 2; i++) {
        TRY(mem_alloc(&o->px[i], (size_t)w, "a row"), "outlines");
        TRY(mem_alloc(&o->label[i], sizeof *o->label[i] * (size_t)w, "a row"), "outlines");
    }
    TRY(mem_alloc(&o->down, sizeof *o->down * ((size_t)w + 1), "a row"), "outlines");
    TRY(mem_alloc(&o->up, sizeof *o->up * ((size_t)w + 1), "a row"), "outlines");
    for (int x = 0; x <= w; x++) o->down[x] = o->up[x] = NONE;
    for (int x = 0; x < w; x++) o->label[0][x] = NONE;
    return OK;
}

status outliner_row(outliner *o, const uint8_t *row)
{
    int w = o->w;
    memcpy(o->px[1], row, (size_t)w);
    TRY(label_row(o), "outlines");
    const uint8_t *old = o->px[0];
    for (int x = 0; x <= w; x++) {
        int a = x > 0 ? old[x - 1] : 0, b = x < w ? old[x] : 0, c = x > 0 ? row[x - 1] : 0, d = x < w ? row[x] : 0;
        if (a != b || c != d || a != c) TRY(meet(o, x, a, b, c, d), "outlines");
    }
    TRY(finish_row(o), "outlines");
    for (int x = 0; x < w; x++)
        if (o->label[1][x] != NONE) o->label[1][x] = whole(o, o->label[1][x]);
    for (int i = 0; i < o->n_gone; i++) give(&o->pieces, o->gone[i]);
    o->n_gone = 0;
    uint8_t *px = o->px[0];
    int32_t *label = o->label[0];
    o->px[0] = o->px[1], o->px[1] = px;
    o->label[0] = o->label[1], o->label[1] = label;
    o->y++;
    return OK;
}

status outliner_end(outliner *o)
{
    uint8_t *none;
    TRY(mem_alloc(&none, (size_t)o->w, "a row"), "outlines");
    status st = outliner_row(o, none);
    free(none);
    return st;
}

void outliner_close(outliner *o)
{
    if (!o) return;
    pool *p[] = {&o->corners, &o->chains, &o->rings, &o->pieces};
    for (int i = 0; i < 4; i++) free(p[i]->v);
    for (int i = 0; i < 2; i++) free(o->px[i]), free(o->label[i]);
    free(o->down), free(o->up), free(o->gone), free(o->xy), free(o->cut), free(o->rank), free(o->seen), free(o->order), free(o->out);
    free(o);
}
