/* params: the one table of parameters that arenas, optimiser, checkpoint, sum and export walk. */
#include "medley/model.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN_ELEMENTS = 16 }; /* 64 bytes: one cache line, one AVX-512 register */

status params_add(params *t, int *out_index, const char *name, int ndim, const int64_t *shape, enum param_init init, float init_value,
                  bool decay, int block)
{
    param p = {.ndim = ndim, .n = 1, .off = -1, .block = block, .init = init, .init_value = init_value, .decay = decay};
    CHECK(strlen(name) < sizeof p.name, ST_USAGE, "parameter name longer than %zu characters: \"%s\"", sizeof p.name - 1, name);
    CHECK(ndim >= 0 && ndim <= 4, ST_BUG, "parameter %s: %d dimensions", name, ndim);
    CHECK(init != INIT_TRUNC_NORMAL || init_value * 6.7f < 2, ST_BUG, "parameter %s: sd %g would be cut", name, (double)init_value);
    CHECK(params_find(t, name) < 0, ST_BUG, "parameter %s is declared twice", name);
    memcpy(p.name, name, strlen(name) + 1);
    for (int d = 0; d < ndim; d++) {
        CHECK(shape[d] > 0 && shape[d] < INT32_MAX && p.n < INT64_MAX / shape[d], ST_USAGE, "parameter %s: size %lld of dimension %d",
              name, (long long)shape[d], d);
        p.shape[d] = shape[d];
        p.n *= shape[d];
    }
    if (t->n == t->cap) {
        int cap = t->cap ? 2 * t->cap : 256;
        TRY(mem_grow(&t->p, (size_t)cap * sizeof *t->p, "parameter table"), "%s", name);
        t->cap = cap;
    }
    t->p[t->n] = p;
    if (out_index) *out_index = t->n;
    t->n++;
    return OK;
}

void params_layout(params *t, const bool *owned, int n_blocks)
{
    int64_t off = 0;
    for (int i = 0; i < t->n; i++) {
        param *p = &t->p[i];
        p->off = -1;
        if (p->block >= n_blocks || !owned[p->block]) continue;
        p->off = off;
        off += (p->n + ALIGN_ELEMENTS - 1) / ALIGN_ELEMENTS * ALIGN_ELEMENTS;
    }
    t->n_local = off;
}

static void init_tensor(const param *p, uint64_t seed, float *w)
{
    uint64_t name = hash_text(p->name);
    rng_key key = {.seed = seed, .a = (uint32_t)name, .b = (uint32_t)(name >> 32)};
    float v = p->init_value;
    switch (p->init) {
    case INIT_ZERO: v = 0.0f; break;
    case INIT_ONE: v = 1.0f; break;
    case INIT_CONST: break;
    case INIT_UNIFORM:
        rng_fill_uniform(key, RNG_INIT, 0, w, p->n);
        for (int64_t i = 0; i < p->n; i++) w[i] = v * (2.0f * w[i] - 1.0f);
        return;
    case INIT_TRUNC_NORMAL: /* cut at +-2, not at two standard deviations: torch.nn.init.trunc_normal_'s default; no draw comes near */
        rng_fill_normal(key, RNG_INIT, 0, w, p->n);
        for (int64_t i = 0; i < p->n; i++) w[i] *= v;
        return;
    }
    for (int64_t i = 0; i < p->n; i++) w[i] = v;
}

void params_init_weights(const params *t, uint64_t seed, float *w)
{
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < t->n; i++)
        if (t->p[i].off >= 0 && !t->p[i].away) init_tensor(&t->p[i], seed, w + t->p[i].off);
}

int params_find(const params *t, const char *name)
{
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->p[i].name, name) == 0) return i;
    return -1;
}

int64_t params_count(const params *t, int block)
{
    int64_t n = 0;
    for (int i = 0; i < t->n; i++)
        if (block < 0 || t->p[i].block == block) n += t->p[i].n;
    return n;
}

void params_free(params *t)
{
    free(t->p);
    *t = (params){0};
}
