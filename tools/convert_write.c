/* convert_write: cases to samples to shards. */
#include "convert_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* shard_meta of a recipe; class names are allocated. */
static status make_meta(shard_meta *m, const conversion *c)
{
    const recipe *r = c->r;
    *m = (shard_meta){.pixel = r->pixel, .channels = r->images.channels, .n_labels = r->n_labels};
    snprintf(m->name, sizeof m->name, "%s", r->name);
    snprintf(m->title, sizeof m->title, "%s", r->title);
    snprintf(m->modality, sizeof m->modality, "%s", r->modality);
    snprintf(m->licence, sizeof m->licence, "%s", r->licence);
    snprintf(m->citation, sizeof m->citation, "%s", r->citation);
    snprintf(m->origin, sizeof m->origin, "%s", r->origin);
    snprintf(m->recipe_sha256, sizeof m->recipe_sha256, "%s", r->sha256);
    bool volumes = false;
    for (int i = 0; i < c->n; i++) volumes |= !c->item[i].st && c->item[i].is_volume;
    snprintf(m->spacing_units, sizeof m->spacing_units, "%s", volumes ? "mm" : r->images.units);
    for (int i = 0; i < r->n_labels; i++) {
        const recipe_label *l = &r->label[i];
        shard_label *to = &m->label[i];
        snprintf(to->name, sizeof to->name, "%s", l->name);
        to->kind = l->task;
        to->n_classes = label_columns(l);
        to->lo = l->lo, to->hi = l->hi;
        TRY(mem_alloc(&to->class_name, (size_t)to->n_classes * sizeof *to->class_name, "class names"), "%s", r->name);
        for (int k = 0; k < to->n_classes; k++) snprintf(to->class_name[k], sizeof *to->class_name, "%s", k < l->n_classes ? l->classes[k] : l->name);
    }
    return OK;
}

/* The end of a long path says more than its beginning. */
static void put_source(char out[SHARD_TEXT], const char *path)
{
    size_t n = strlen(path);
    if (n < SHARD_TEXT) memcpy(out, path, n + 1);
    else snprintf(out, SHARD_TEXT, "...%s", path + n - (SHARD_TEXT - 4));
}

static status write_case(shard_writer *w, const conversion *c, const item *it, const one_case *k)
{
    const image *px = &k->px;
    size_t plane = (size_t)px->H * (size_t)px->W;
    for (int s = 0; s < k->n_slices; s++) {
        int d = k->slice[s];
        sample out = {.slice = px->is_volume ? d : -1, .H = px->H, .W = px->W, .split = it->split, .range = {k->range[0], k->range[1]},
                      .spacing = {(float)px->spacing[1], (float)px->spacing[2]},
                      .pixels = (const char *)px->data + plane * (size_t)px->C * dtype_bytes(px->type) * (size_t)d};
        if (px->is_volume) {
            int length = snprintf(out.id, sizeof out.id, "%s/%03d", it->id, d);
            CHECK(length < (int)sizeof out.id, ST_DATA, "%s: id \"%s\" is too long", item_path(c, it), it->id);
        } else memcpy(out.id, it->id, sizeof out.id);
        memcpy(out.subject, it->subject, sizeof out.subject);
        memcpy(out.centre, it->centre, sizeof out.centre);
        memcpy(out.case_id, it->id, sizeof out.case_id);
        memcpy(out.source_sha256, c->file[it->file].sha256, sizeof out.source_sha256);
        put_source(out.source, item_path(c, it));
        for (int i = 0; i < c->r->n_labels; i++) {
            const case_label *from = &k->label[i];
            sample_label *to = &out.label[i];
            *to = (sample_label){.present = k->has[s] >> i & 1, .cls = IGNORE_CLASS, .scalar = NAN};
            if (!to->present) continue;
            to->cls = from->cls, to->scalar = from->scalar, to->vec = from->vec;
            to->n_box = from->n_box, to->box = from->box, to->box_cls = from->box_cls;
            if (from->mask.data) to->mask = (uint8_t *)from->mask.data + plane * (size_t)d;
        }
        TRY(shard_writer_add(w, &out), "%s", item_path(c, it));
    }
    return OK;
}

static status write_item(shard_writer *w, conversion *c, item *it)
{
    if (it->kept) {
        TRY(write_case(w, c, it, it->kept), "writing");
        case_free(it->kept);
        free(it->kept);
        it->kept = NULL;
        return OK;
    }
    char path[2 * PATTERN_PATH];
    place at = {.path = path, .in = it->is_part ? &c->file[it->file].many : NULL, .part = it->part};
    names n;
    one_case k = {0};
    snprintf(path, sizeof path, "%s/%s", c->source.root, item_path(c, it));
    TRY(item_hold(c, it), "%s was good a moment ago", item_path(c, it));
    status st = OK;
    TRY_TO(out, item_names(&n, c, it), "%s", item_path(c, it));
    TRY_TO(out, case_load(&k, &c->source, &n, &at), "%s was good a moment ago", item_path(c, it));
    CHECK_TO(out, !strcmp(k.pixel_hash, it->pixel_hash), ST_DATA, "%s changed while it was converted", path);
    st = write_case(w, c, it, &k);
out:
    item_release(c, it);
    case_free(&k);
    return st;
}

status convert_write(conversion *c, const char *out_dir)
{
    shard_meta meta;
    shard_writer *w = NULL;
    status st = make_meta(&meta, c);
    int64_t bytes = c->options.shard_bytes > 0 ? c->options.shard_bytes : (int64_t)256 << 20;
    if (!st) st = shard_writer_open(&w, out_dir, &meta, bytes, c->options.force);
    for (int i = 0; !st && i < c->n; i++)
        if (!c->item[i].st) st = write_item(w, c, &c->item[i]);
    if (!st) st = shard_writer_close(w);
    else if (w) shard_writer_discard(w);
    shard_meta_free(&meta);
    if (st) return status_note(st, __FILE__, __LINE__, "writing %s/%s", out_dir, c->r->name);
    return OK;
}
