/* source_case: one file, read as the files of a data set were. */
#include "sources.h"

#include <string.h>

status source_read(source_case *c, const char *path, const image_rules *r)
{
    image_frames frames = {.n = r->as.n_frames};
    memcpy(frames.at, r->as.frame, sizeof frames.at);
    *c = (source_case){0};
    TRY(image_read_frames(&c->m, path, USE_PIXELS, &frames), "source");
    TRY(image_settle(&c->m, r, c->range), "%s", path);
    c->like = c->m, c->like.data = NULL;
    int axis = c->m.is_volume ? r->as.axis : 0;
    c->h = axis == 0 ? c->m.H : c->m.D, c->w = axis == 2 ? c->m.H : c->m.W;
    TRY(image_cut(&c->m, r), "%s", path);
    return OK;
}

void source_free(source_case *c)
{
    image_free(&c->m);
    *c = (source_case){0};
}

plane source_plane(const source_case *c, int d)
{
    const image *m = &c->m;
    size_t bytes = (size_t)m->H * (size_t)m->W * (size_t)m->C * dtype_bytes(m->type);
    return (plane){.pixels = (const char *)m->data + bytes * (size_t)d, .type = m->type, .H = m->H, .W = m->W, .C = m->C,
                   .range = {c->range[0], c->range[1]}, .spacing = {(float)m->spacing[1], (float)m->spacing[2]}};
}
