/* source_slide: a whole slide as tiles, each as a shard would store it. */
#include "sources.h"

#include <stdlib.h>
#include <string.h>

bool source_is_slide(const char *path, const source_how *how)
{
    enum slide_kind kind = slide_file_kind(path);
    return kind == SLIDE_YES || (kind == SLIDE_MAYBE && how->tiles.mpp > 0);
}

static void still_looking(void) { watchdog_tick(-1, "tissue", NULL); }

static status find_tissue(source_slide *s)
{
    int n_has = 0;
    TRY(mem_alloc(&s->has, (size_t)s->n, "tissue"), "%s", s->t.what);
    if (s->t.ask.tissue > 0) TRY(tiling_tissue(&s->t, s->place, s->n, s->has), "slide");
    else memset(s->has, 1, (size_t)s->n);
    for (int i = 0; i < s->n; i++) n_has += s->has[i];
    CHECK(n_has > 0, ST_DATA, "%s: none of %d tiles has enough tissue (--tissue 0 takes all)", s->t.what, s->n);
    return OK;
}

status source_slide_open(source_slide *s, const char *path, const source_how *how, bool cut_too)
{
    static const tile_words words = {.spacing = "--slide-mpp", .mpp = "--mpp"};
    *s = (source_slide){.rules = how->image};
    CHECK(how->tiles.mpp > 0, ST_DATA, "%s: a slide, and the task's data set does not say how many micrometres a pixel of a tile has; --mpp can", path);
    TRY(tiling_open(&s->t, path, &how->tiles, &words), "slide");
    s->t.tick = still_looking;
    status st = tiling_grid(&s->t, cut_too, &s->place, &s->n, &s->columns);
    if (!st) st = find_tissue(s);
    if (st) source_slide_close(s);
    return st;
}

status source_tile(source_case *c, source_slide *s, part p)
{
    *c = (source_case){0};
    TRY(tiling_read(&s->t, p, &c->m), "tile");
    c->h = c->m.H, c->w = c->m.W;
    status st = image_settle(&c->m, &s->rules, c->range);
    if (!st) st = image_cut(&c->m, &s->rules);
    if (!st) return OK;
    source_free(c);
    return status_note(st, __FILE__, __LINE__, "%s: tile at %d, %d", s->t.what, (int)p.a, (int)p.b);
}

void source_slide_close(source_slide *s)
{
    tiling_close(&s->t);
    free(s->place), free(s->has);
    *s = (source_slide){0};
}
