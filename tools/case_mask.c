/* case_mask: the segmentation masks of one source image: found, held against the image, and turned into classes; or painted from outlines. */
#include "case.h"

#include "readers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Both turned to patient axes: the corners of the two grids must meet within half a voxel. */
static status same_place(const image *px, const image *mask, const char *path)
{
    CHECK(mask->D == px->D && mask->H == px->H && mask->W == px->W, ST_DATA, "%s: mask of %d x %d x %d for an image of %d x %d x %d (z, y, x)",
          path, mask->D, mask->H, mask->W, px->D, px->H, px->W);
    if (!px->is_volume || !mask->is_volume) return OK;
    CHECK(px->has_affine == mask->has_affine, ST_DATA, "%s: only one of image and mask says how it lies in the patient", path);
    if (!px->has_affine) return OK;
    double voxel = fmin(px->spacing[0], fmin(px->spacing[1], px->spacing[2]));
    for (int corner = 0; corner < 8; corner++) {
        double at[4] = {corner & 1 ? px->W - 1 : 0, corner & 2 ? px->H - 1 : 0, corner & 4 ? px->D - 1 : 0, 1}, far = 0;
        for (int i = 0; i < 3; i++) {
            double d = 0;
            for (int j = 0; j < 4; j++) d += (px->affine[i][j] - mask->affine[i][j]) * at[j];
            far += d * d;
        }
        CHECK(sqrt(far) <= 0.5 * voxel + 1e-3, ST_DATA, "%s: the mask lies %.3g mm away from its image", path, sqrt(far));
    }
    return OK;
}

/* Of a 4-D image the mask is 4-D too, unless it can be of one time only. */
static status same_times(const image *px, const image *mask, const recipe *r, const recipe_label *l, const char *path)
{
    int n = image_volumes(mask);
    CHECK(n == image_volumes(px) || (n == 1 && (r->images.n_times == 1 || strstr(l->file, "{time}"))), ST_DATA,
          "%s: mask and image have %d and %d volumes; a mask has as many as its image, or one where images.times lists one or {time} is in the label's file", path,
          n, image_volumes(px));
    return OK;
}

/* ---- values to classes ------------------------------------------------------------------------------------------------------------- */

/* Class of voxel v of a mask: by its value, by its colour, or by a threshold, as the recipe says. -1: none. */
static int class_at(const image *m, size_t v, const source *s, int i)
{
    const recipe_label *l = &s->r->label[i];
    if (l->threshold > 0) return image_at(m, v) >= l->threshold;
    if (l->by_colour) {
        const uint8_t *p = (const uint8_t *)m->data + 3 * v;
        int32_t colour = p[0] << 16 | p[1] << 8 | p[2];
        for (int k = 0; k < l->n_map; k++)
            if (l->mask_value[k] == colour) return l->mask_class[k];
        return colour == 0 ? 0 : -1;
    }
    double x = image_at(m, v);
    return x == rint(x) && x >= -LUT_ZERO && x < LUT_SIZE - LUT_ZERO ? s->lut[i][LUT_ZERO + (int)x] : -1;
}

static status no_class(const image *m, size_t v, const recipe_label *l, const char *path)
{
    const uint8_t *p = (const uint8_t *)m->data + 3 * v;
    if (!l->by_colour) return status_raise(ST_DATA, __FILE__, __LINE__, "%s: value %g in the mask is no class of label %s", path, image_at(m, v), l->name);
    return status_raise(ST_DATA, __FILE__, __LINE__, "%s: colour #%02x%02x%02x in the mask is no class of label %s", path, p[0], p[1], p[2], l->name);
}

/* Colours want pixels as the eye sees them, a threshold their grey; else the stored numbers count. */
static status read_mask(image *m, const recipe_label *l, const char *path, int time)
{
    bool seen = l->by_colour || l->threshold > 0;
    const image_frames one = {1, {time}};
    TRY(image_read_frames(m, path, seen ? USE_PIXELS : USE_LABELS, time < 0 ? NULL : &one), "mask");
    status st = seen ? image_to_channels(m, l->by_colour ? 3 : 1) : OK;
    if (!st && l->by_colour) st = image_to_type(m, DT_U8);
    if (st) image_free(m);
    return st;
}

/* One mask file into `to`; classes other than background cover what earlier files said. */
static status merge_mask(image *to, const source *s, int i, const image *original, int time, const char *path)
{
    image m;
    TRY(read_mask(&m, &s->r->label[i], path, time), "%s", path);
    status st = same_place(original, &m, path);
    if (!st && time >= 0) st = same_times(original, &m, s->r, &s->r->label[i], path);
    uint8_t *out = to->data;
    const recipe_label *l = &s->r->label[i];
    bool table = m.type == DT_U8 && m.C == 1 && !l->by_colour && l->threshold <= 0; /* nearly all masks */
    for (size_t v = 0, n = (size_t)m.D * (size_t)m.H * (size_t)m.W; !st && v < n; v++) {
        if (table) {
            int k = s->lut[i][LUT_ZERO + ((const uint8_t *)m.data)[v]];
            if (k > 0) out[v] = (uint8_t)k;
            if (k >= 0) continue;
        }
        int k = class_at(&m, v, s, i);
        if (k < 0) st = no_class(&m, v, &s->r->label[i], path);
        else if (k > 0) out[v] = (uint8_t)k;
    }
    image_free(&m);
    return st;
}

status mask_finish(const one_case *c, case_label *out, const source *s)
{
    out->mask.is_volume = c->px.is_volume;
    if (c->px.is_volume) TRY(image_across(&out->mask, s->r->axis), "mask");
    TRY(image_shrink(&out->mask, s->r->images.max_side, true), "mask");
    out->present = true;
    return OK;
}

status mask_load(one_case *c, case_label *out, const source *s, const names *n, int i, const image *original, int time)
{
    const recipe_label *l = &s->r->label[i];
    found_list files = {0};
    status st = OK;
    TRY_TO(out, pattern_list(s->root, l->file, &n->is, &files), "label %s", l->name);
    if (files.n == 0) goto out;
    TRY_TO(out, image_alloc(&out->mask, original->D, original->H, original->W, 1, DT_U8, l->name), "label %s", l->name);
    for (int f = 0; f < files.n; f++) {
        char path[2 * PATTERN_PATH];
        snprintf(path, sizeof path, "%s/%s", s->root, files.v[f].path);
        TRY_TO(out, merge_mask(&out->mask, s, i, original, time, path), "label %s", l->name);
    }
    TRY_TO(out, mask_finish(c, out, s), "label %s", l->name);
out:
    found_free(&files);
    return st;
}

/* Crowd regions first, then objects in the order of the file: a later one covers an earlier one. */
status mask_paint(one_case *c, case_label *out, const source *s, int i, const boxes *b, const image *original, const char *path)
{
    const recipe_label *l = &s->r->label[i];
    TRY(boxes_fit(c, b, original, path), "label %s", l->name);
    TRY(image_alloc(&out->mask, 1, original->H, original->W, 1, DT_U8, l->name), "label %s", l->name);
    for (int crowd = 1; crowd >= 0; crowd--)
        for (int o = 0; o < b->n; o++) {
            int k = label_class_of(l, b->name[o]);
            CHECK(k != VALUE_UNKNOWN, ST_DATA, "%s: class \"%s\" is none of label %s", path, b->name[o], l->name);
            CHECK(!outline_empty(&b->shape[o]), ST_DATA, "%s: object %d is a box, a mask needs polygons or runs", path, o + 1);
            if (k < 0 || b->shape[o].crowd != crowd) continue;
            TRY(outline_paint(&b->shape[o], out->mask.data, original->H, original->W, crowd ? IGNORE_MASK : (uint8_t)k, false), "%s: object %d", path, o + 1);
        }
    return mask_finish(c, out, s);
}
