/* probe_draw: which training subjects a fraction takes. The same draws for every encoder, so that comparisons are pairs. */
#include "probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Samples of subject k: list[first[k] .. first[k + 1]). */
typedef struct members { int64_t *first, *list; } members;

static status members_open(members *m, const roll *r)
{
    int64_t S = r->n_subjects, *next;
    *m = (members){0};
    TRY(mem_alloc(&m->first, sizeof *m->first * (size_t)(S + 2), "subjects"), "draw");
    TRY(mem_alloc(&m->list, sizeof *m->list * (size_t)(r->n + 1), "subjects"), "draw");
    next = m->first + 1; /* while it is filled: where the next sample of a subject goes */
    for (int64_t i = 0; i < r->n; i++)
        if (r->subject[i] >= 0) next[r->subject[i] + 1]++;
    for (int64_t k = 0; k < S; k++) next[k + 1] += next[k];
    for (int64_t i = 0; i < r->n; i++)
        if (r->subject[i] >= 0) m->list[next[r->subject[i]]++] = i;
    return OK;
}

/* Marks the classes of sample i; returns whether one of them was new. */
static bool mark(const roll *r, int64_t i, bool *seen)
{
    bool fresh = false;
    if (r->cls && r->cls[i] >= 0) {
        fresh = !seen[r->cls[i]];
        seen[r->cls[i]] = true;
    }
    for (int k = 0; r->vec && k < r->K; k++)
        if (r->vec[i * r->K + k] == 1 && !seen[k]) fresh = seen[k] = true;
    return fresh;
}

status draw_order(const roll *r, uint64_t seed, int repeat, int64_t *place, int64_t *least)
{
    int64_t S = r->n_subjects, *order = NULL, at = 0;
    bool *seen = NULL, *early = NULL;
    members m = {0};
    status st;
    TRY_TO(done, mem_alloc(&order, sizeof *order * (size_t)(S + 1), "order of subjects"), "draw");
    TRY_TO(done, mem_alloc(&early, (size_t)S + 1, "order of subjects"), "draw");
    TRY_TO(done, mem_alloc(&seen, (size_t)r->K + 1, "classes"), "draw");
    TRY_TO(done, members_open(&m, r), "draw");
    order_epoch(seed, hash_text("probe subjects"), (uint32_t)repeat, S, order);
    for (int64_t j = 0; j < S; j++) /* the first in the order who brings a class goes before all who bring none */
        for (int64_t i = m.first[order[j]]; i < m.first[order[j] + 1]; i++) early[order[j]] |= mark(r, m.list[i], seen);
    for (int pass = 1; pass >= 0; pass--) {
        for (int64_t j = 0; j < S; j++)
            if (early[order[j]] == pass) place[order[j]] = at++;
        if (pass) *least = at;
    }
done:
    free(order), free(early), free(seen), free(m.first), free(m.list);
    return st;
}

int64_t draw_count(double percent, int64_t n_subjects, int64_t least)
{
    int64_t n = (int64_t)floor(percent / 100 * (double)n_subjects + 0.5);
    if (n < 1) n = 1;
    if (n < least) n = least;
    return n < n_subjects ? n : n_subjects;
}

int64_t draw_rows(const roll *r, const int64_t *place, int64_t subjects, int64_t *rows)
{
    int64_t n = 0;
    for (int64_t i = 0; i < r->n; i++)
        if (r->subject[i] >= 0 && place[r->subject[i]] < subjects) rows[n++] = i;
    return n;
}
