/* order: which sample stands at a position of the endless training sequence; a function of seed, task and position alone. */
#include "data_internal.h"

#include <stdlib.h>
#include <string.h>

void order_epoch(uint64_t seed, uint64_t task_hash, uint32_t epoch, int64_t n, int64_t *out)
{
    rng r = rng_open((rng_key){seed ^ task_hash, (uint32_t)(task_hash >> 32), epoch}, RNG_ORDER, 0);
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)rng_below(&r, (uint32_t)(i + 1)), keep = out[i];
        out[i] = out[j];
        out[j] = keep;
    }
}

/* A list of samples dealt out epoch by epoch. Two permutations are kept, since a unit may straddle two epochs. */
typedef struct deck { int64_t n; const int64_t *list; int64_t *perm[2], epoch[2]; uint64_t hash; } deck;

struct picker {
    uint64_t seed, hash;
    int      n_decks;           /* 1, or the classes that occur if balanced */
    deck    *deck;
    int64_t *memory, *turn;     /* permutations and class lists; (n_decks) order of the classes in this round */
    int64_t  round;
};

static void deal(picker *p, deck *d, int64_t k, int64_t *sample, uint32_t *epoch)
{
    int64_t e = k / d->n;
    int slot = (int)(e & 1);
    if (d->epoch[slot] != e) {
        order_epoch(p->seed, d->hash, (uint32_t)e, d->n, d->perm[slot]);
        d->epoch[slot] = e;
    }
    *sample = d->list[d->perm[slot][k % d->n]];
    *epoch = (uint32_t)e;
}

void picker_at(picker *p, int64_t position, int64_t *sample, uint32_t *epoch)
{
    if (p->n_decks == 1) {
        deal(p, &p->deck[0], position, sample, epoch);
        return;
    }
    int64_t round = position / p->n_decks;
    if (round != p->round) { /* every class once per round, in an order of its own */
        order_epoch(p->seed, p->hash ^ hash_text("classes"), (uint32_t)round, p->n_decks, p->turn);
        p->round = round;
    }
    deal(p, &p->deck[p->turn[position % p->n_decks]], round, sample, epoch);
}

static status fill_decks(picker *p, const dataset_use *use, int64_t n, const int64_t *list)
{
    int K = use->balance ? dataset_label(use->data)->n_classes : 1;
    TRY(mem_alloc(&p->memory, sizeof *p->memory * 3 * (size_t)n, "order of samples"), "order");
    TRY(mem_alloc(&p->deck, sizeof *p->deck * (size_t)K, "order of samples"), "order");
    TRY(mem_alloc(&p->turn, sizeof *p->turn * (size_t)K, "order of classes"), "order");
    int64_t *member = p->memory, *perm = p->memory + n;
    for (int c = 0; c < K; c++) {
        deck d = {.list = member, .epoch = {-1, -1}, .hash = p->hash};
        if (use->balance) d.hash ^= (uint64_t)(c + 1) * 0x9E3779B97F4A7C15u;
        for (int64_t i = 0; i < n; i++)
            if (!use->balance || dataset_class(use->data, list[i]) == c) member[d.n++] = list[i];
        if (d.n == 0) continue;
        d.perm[0] = perm, d.perm[1] = perm + d.n;
        member += d.n, perm += 2 * d.n;
        p->deck[p->n_decks++] = d;
    }
    return OK;
}

status picker_open(picker **out, const dataset_use *use, uint64_t seed)
{
    *out = NULL;
    int64_t n = dataset_count(use->data, SPLIT_TRAIN);
    const char *name = dataset_meta(use->data)->name;
    CHECK(n > 0, ST_DATA, "data set %s, label %s: no labelled samples in split train", name, dataset_label(use->data)->name);
    CHECK(!use->balance || dataset_label(use->data)->kind == TASK_CLASSIFICATION, ST_USAGE,
          "data set %s, label %s: balanced sampling is for classification", name, dataset_label(use->data)->name);
    picker *p;
    TRY(mem_alloc(&p, sizeof *p, "order of samples"), "data set %s", name);
    p->seed = seed, p->hash = use->task_hash, p->round = -1;
    status st = fill_decks(p, use, n, dataset_list(use->data, SPLIT_TRAIN));
    if (st) picker_close(p);
    else *out = p;
    return st;
}

void picker_close(picker *p)
{
    if (!p) return;
    free(p->memory), free(p->deck), free(p->turn);
    free(p);
}
