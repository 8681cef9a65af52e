/* convert_write: cases to samples. */
#include "convert_internal.h"

#include <math.h>
#include <string.h>

status convert_meta(shard_meta *m, const recipe *r, bool volumes)
{
    *m = (shard_meta){.pixel = r->pixel, .channels = r->images.channels, .reading = recipe_rules(r).as, .n_labels = r->n_labels};
    snprintf(m->name, sizeof m->name, "%s", r->name);
    snprintf(m->title, sizeof m->title, "%s", r->title);
    snprintf(m->modality, sizeof m->modality, "%s", r->modality);
    snprintf(m->licence, sizeof m->licence, "%s", r->licence);
    snprintf(m->citation, sizeof m->citation, "%s", r->citation);
    snprintf(m->origin, sizeof m->origin, "%s", r->origin);
    snprintf(m->recipe_sha256, sizeof m->recipe_sha256, "%s", r->sha256);
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

/* Samples [first,..) of the item, until one of them cuts a shard: *at is behind the last that was added. */
status convert_write(shard_cutter *to_shard, const recipe *r, const item *it, int first, int *at, bool *cut)
{
    const one_case *k = it->loaded;
    const image *px = &k->px;
    size_t plane = (size_t)px->H * (size_t)px->W;
    *cut = false;
    for (int s = first; s < k->n_slices && !*cut; s++) {
        int d = k->slice[s];
        sample out = {.slice = px->is_volume ? d : -1, .H = px->H, .W = px->W, .range = {k->range[0], k->range[1]},
                      .spacing = {(float)px->spacing[1], (float)px->spacing[2]},
                      .pixels = (const char *)px->data + plane * (size_t)px->C * dtype_bytes(px->type) * (size_t)d};
        if (px->is_volume) {
            int length = snprintf(out.id, sizeof out.id, "%s/%03d", it->id, d);
            CHECK(length < (int)sizeof out.id, ST_DATA, "%s: id \"%s\" is too long", it->path, it->id);
        } else snprintf(out.id, sizeof out.id, "%s", it->id);
        snprintf(out.subject, sizeof out.subject, "%s", it->subject);
        snprintf(out.centre, sizeof out.centre, "%s", it->centre);
        snprintf(out.case_id, sizeof out.case_id, "%s", it->id);
        memcpy(out.source_sha256, it->file_sha256, sizeof out.source_sha256);
        put_source(out.source, it->path);
        for (int i = 0; i < r->n_labels; i++) {
            const case_label *from = &k->label[i];
            sample_label *to = &out.label[i];
            *to = (sample_label){.present = k->has[s] >> i & 1, .cls = IGNORE_CLASS, .scalar = NAN};
            if (!to->present) continue;
            to->cls = from->cls, to->scalar = from->scalar, to->vec = from->vec;
            to->n_box = from->n_box, to->box = from->box, to->box_cls = from->box_cls;
            if (from->mask.data) to->mask = (uint8_t *)from->mask.data + plane * (size_t)d;
        }
        TRY(shard_cutter_add(to_shard, &out, cut), "%s", it->path);
        *at = s + 1;
    }
    return OK;
}
