/* convert_split: whole groups of images into training, validation and test, each class in about the wanted shares.
 * Greedy: groups by falling size, then in a random order that depends on the seed and their own names alone, each to the split where it
 * lowers (or least raises) the chi-square distance between the class counts so far and the wanted ones. */
#include "convert_internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct group {
    const char *name;
    uint64_t    order;
    int         n_images, given;
    bool        straddles;
    double     *count;  /* (n_columns) */
} group;

enum { PARTS = 1 + RECIPE_FOLDS };

static int root_of(int *parent, int i)
{
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

static void join(int *parent, int a, int b)
{
    a = root_of(parent, a), b = root_of(parent, b);
    if (a < b) parent[b] = a;
    else parent[a] = b;
}

typedef struct text_of { const char *text; int i; } text_of;

static int by_text(const void *a, const void *b)
{
    const text_of *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order ? order : x->i - y->i;
}

/* Items with equal texts become one group. */
static void join_equal(text_of *list, int n, int *parent)
{
    qsort(list, (size_t)n, sizeof *list, by_text);
    for (int i = 1; i < n; i++)
        if (!strcmp(list[i].text, list[i - 1].text)) join(parent, list[i].i, list[i - 1].i);
}

static status make_groups(conversion *c)
{
    int *parent, *number;
    text_of *list;
    size_t n = (size_t)c->n + 1;
    TRY(mem_alloc(&parent, n * sizeof *parent, "groups"), "split");
    status st = mem_alloc(&number, n * sizeof *number, "groups");
    if (!st) st = mem_alloc(&list, n * sizeof *list, "groups");
    else list = NULL;
    if (!st) {
        int good = 0;
        for (int i = 0; i < c->n; i++) {
            parent[i] = i;
            if (!c->item[i].st) list[good++] = (text_of){c->item[i].subject, i};
        }
        join_equal(list, good, parent);
        for (int k = 0; k < good; k++) c->n_subjects += k == 0 || strcmp(list[k].text, list[k - 1].text);
        for (int k = 0; k < good; k++) list[k].text = c->item[list[k].i].pixel_hash;
        join_equal(list, good, parent);
        for (int k = 1; k < good; k++)
            if (!strcmp(list[k].text, list[k - 1].text)) c->item[list[k].i].is_duplicate = true, c->n_duplicates++;
        if (c->r->images.n_times) { /* a table may give times of one file different subjects */
            for (int k = 0; k < good; k++) list[k].text = c->item[list[k].i].path;
            join_equal(list, good, parent);
        }
        for (int i = 0; i < c->n; i++) {
            if (c->item[i].st) continue;
            int top = root_of(parent, i); /* the smallest index of the group, so it has its number already */
            if (top == i) number[i] = c->n_groups++;
            c->item[i].group = number[top];
        }
    }
    free(parent);
    free(number);
    free(list);
    return st;
}

/* The label that is balanced: the recipe's, else the first with classes per image, else the first with boxes. -1: only sizes count. */
static int stratify_label(const recipe *r)
{
    if (*r->split.stratify) return recipe_label_find(r, r->split.stratify);
    for (int i = 0; i < r->n_labels; i++)
        if (r->label[i].task == TASK_CLASSIFICATION || r->label[i].task == TASK_MULTILABEL) return i;
    for (int i = 0; i < r->n_labels; i++)
        if (r->label[i].task == TASK_DETECTION) return i;
    return -1;
}

/* Column 0: images; 1: images with the label; then one per class (images for classes, boxes for detection). */
static void count_item(double *count, const item *it, const recipe *r, int label)
{
    count[0] += 1;
    if (label < 0) return;
    count[1] += it->labelled[label];
    for (int k = 0; it->count[label] && k < label_columns(&r->label[label]); k++) {
        int n = it->count[label][k];
        count[2 + k] += r->label[label].task == TASK_DETECTION ? n : n > 0;
    }
}

static int by_size(const void *a, const void *b)
{
    const group *x = *(group *const *)a, *y = *(group *const *)b;
    if (x->n_images != y->n_images) return y->n_images - x->n_images;
    if (x->order != y->order) return x->order < y->order ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Shares of the parts that groups are dealt to: the three splits; or the test split and k folds. Their number. */
static int shares_of(const recipe *r, double share[PARTS])
{
    int k = r->split.folds;
    for (int s = 0; s < N_SPLITS; s++) share[s] = r->split.fractions[s];
    if (k == 0) return N_SPLITS;
    share[0] = r->split.fractions[SPLIT_TEST];
    for (int i = 0; i < k; i++) share[1 + i] = (1 - share[0]) / k;
    return 1 + k;
}

static enum split split_of_part(const recipe *r, int number)
{
    if (r->split.folds == 0) return (enum split)number;
    return number == 0 ? SPLIT_TEST : number - 1 == r->split.fold ? SPLIT_VAL : SPLIT_TRAIN;
}

static void deal(const recipe *r, group **sorted, int n_groups, int n_columns, enum split *to)
{
    double total[2 + RECIPE_CLASSES] = {0}, have[PARTS][2 + RECIPE_CLASSES] = {{0}}, share[PARTS];
    int n_parts = shares_of(r, share);
    for (int g = 0; g < n_groups; g++)
        for (int k = 0; k < n_columns && sorted[g]->given == SPLIT_REST; k++) total[k] += sorted[g]->count[k];
    for (int g = 0; g < n_groups; g++) {
        int best = -1;
        double best_cost = 0;
        if (sorted[g]->given != SPLIT_REST) {
            to[g] = (enum split)sorted[g]->given;
            continue;
        }
        for (int s = 0; s < n_parts; s++) {
            double cost = 0;
            if (share[s] <= 0) continue;
            for (int k = 0; k < n_columns; k++) {
                double n = sorted[g]->count[k], want = share[s] * total[k];
                if (total[k] > 0) cost += (2 * n * (have[s][k] - want) + n * n) / (want * total[k]);
            }
            if (best < 0 || cost < best_cost - 1e-12) best = s, best_cost = cost;
        }
        to[g] = split_of_part(r, best);
        for (int k = 0; k < n_columns; k++) have[best][k] += sorted[g]->count[k];
    }
}

/* A group that the publisher has in several splits trains: what is scored must not have been seen. */
static void take_given(conversion *c, group *g, const item *it)
{
    if (g->n_images == 1) g->given = it->given;
    if (g->given == it->given || g->straddles) return;
    g->straddles = true;
    g->given = SPLIT_TRAIN;
    if (++c->n_straddling <= 20)
        log_line(LOG_WARN, "%s: subject %s, or an image with the same pixels, is in several of the publisher's splits: all of it trains", c->r->name, g->name);
}

status convert_split(conversion *c)
{
    TRY(make_groups(c), "split");
    const recipe *r = c->r;
    int label = stratify_label(r), n_columns = label < 0 ? 1 : 2 + label_columns(&r->label[label]);
    size_t n = (size_t)c->n_groups + 1;
    group *all = NULL, **sorted = NULL;
    double *counts = NULL;
    enum split *to = NULL;
    status st = OK;
    TRY_TO(out, mem_alloc(&all, n * sizeof *all, "groups"), "split");
    TRY_TO(out, mem_alloc(&sorted, n * sizeof *sorted, "groups"), "split");
    TRY_TO(out, mem_alloc(&counts, n * (size_t)n_columns * sizeof *counts, "groups"), "split");
    TRY_TO(out, mem_alloc(&to, n * sizeof *to, "groups"), "split");
    for (int i = 0; i < c->n; i++) {
        const item *it = &c->item[i];
        if (it->st) continue;
        group *g = &all[it->group];
        g->count = counts + (size_t)it->group * (size_t)n_columns;
        if (!g->name || strcmp(it->subject, g->name) < 0) g->name = it->subject;
        g->n_images++;
        take_given(c, g, it);
        count_item(g->count, it, r, label);
    }
    for (int g = 0; g < c->n_groups; g++) {
        uint64_t h = hash_text(all[g].name);
        rng random = rng_open((rng_key){(uint64_t)r->split.seed, (uint32_t)h, (uint32_t)(h >> 32)}, RNG_SPLIT, 0);
        all[g].order = (uint64_t)rng_u32(&random) << 32;
        all[g].order |= rng_u32(&random);
        sorted[g] = &all[g];
    }
    qsort(sorted, (size_t)c->n_groups, sizeof *sorted, by_size);
    deal(r, sorted, c->n_groups, n_columns, to);
    for (int g = 0; g < c->n_groups; g++) sorted[g]->order = (uint64_t)to[g];
    for (int i = 0; i < c->n; i++)
        if (!c->item[i].st) c->item[i].split = (enum split)all[c->item[i].group].order;
out:
    free(all);
    free(sorted);
    free(counts);
    free(to);
    return st;
}
