/* source_case: one file, read as the files of a data set were. */
#include "sources.h"

#include <string.h>

/* ---- how ---------------------------------------------------------------------------------------------------------------------------- */

/* --range dtype, window:LO:HI, percentile:LO:HI */
static status take_range(const char *text, shard_reading *r)
{
    double lo = 0, hi = 100;
    int end = 0;
    char rule[12] = "";
    bool plain = strcmp(text, "dtype") == 0;
    bool good = plain || (sscanf(text, "%11[a-z]:%lf:%lf%n", rule, &lo, &hi, &end) == 3 && !text[end] && lo < hi &&
                          (strcmp(rule, "window") == 0 || (strcmp(rule, "percentile") == 0 && lo >= 0 && hi <= 100)));
    CHECK(good, ST_USAGE, "--range: got \"%.40s\", expected dtype, window:LO:HI or percentile:LO:HI", text);
    snprintf(r->rule, sizeof r->rule, "%s", plain ? "dtype" : rule);
    r->lo = lo, r->hi = hi;
    return OK;
}

/* Shards that do not say how files were read: one range for all their samples is a window. */
static status guess_range(const catalogue *c, shard_reading *r)
{
    int k = 0;
    char path[700];
    shard s;
    while (k < c->n_shards && c->n[k] == 0) k++;
    CHECK(k < c->n_shards, ST_DATA, "%s: no samples", c->dir);
    TRY(path_inside(c->dir, c->file[k], path, sizeof path), "data set");
    TRY(shard_open(&s, path), "data set");
    bool same = true;
    for (int64_t i = 1; i < s.n; i++) same &= s.range[2 * i] == s.range[0] && s.range[2 * i + 1] == s.range[1];
    snprintf(r->rule, sizeof r->rule, "window");
    r->lo = (double)s.range[0], r->hi = (double)s.range[1];
    shard_close(&s);
    CHECK(same, ST_DATA, "%s does not say how the intensities of files become its ranges, which differ; --range can", c->dir);
    log_line(LOG_WARN, "%s does not say how files were read; taken as its samples are: %g to %g become 0 and 1, volumes are cut axially", c->dir,
             r->lo, r->hi);
    return OK;
}

status source_rules(image_rules *r, const catalogue *c, const char *range)
{
    *r = (image_rules){.pixel = c->meta.pixel, .any_type = true, .channels = c->meta.channels, .as = c->meta.reading};
    if (range) return take_range(range, &r->as);
    return r->as.rule[0] ? OK : guess_range(c, &r->as);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------------ */

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
