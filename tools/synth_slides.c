/* synth_slides: stained slides: blood cells with boxes and tissue tiles of three classes. */
#include "synth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 128 /* both sets: square pictures of this many pixels */
#define AREA (SIDE * SIDE)

/* Buffers of one picture, kept for the whole set. */
typedef struct slide {
    float   od[AREA * 3], field[AREA], scratch[SIDE];
    uint8_t rgb[AREA * 3];
} slide;

static stain stain_shift(rng *r, stain s, float by)
{
    float all = 1 + by * rng_normal(r);
    for (int c = 0; c < 3; c++)
        s.od[c] *= fmaxf(0.3f, all + 0.5f * by * rng_normal(r));
    return s;
}

/* ---- blood: red cells with a pale centre, white cells with a dark lobed nucleus, platelets --------------------------- */

#define MAX_CELLS 32
enum { RED, WHITE, PLATELET };
static const char *const cell_name[] = { "RBC", "WBC", "Platelet" };

typedef struct smear { stain red, cytoplasm, nucleus, grain; float light[3], crowd; } smear;

static smear smear_draw(rng *r)
{
    smear s;
    s.red = stain_shift(r, (stain){ { 0.10f, 0.33f, 0.26f } }, 0.12f);
    s.cytoplasm = stain_shift(r, (stain){ { 0.26f, 0.22f, 0.10f } }, 0.12f);
    s.nucleus = stain_shift(r, (stain){ { 0.62f, 0.78f, 0.32f } }, 0.10f);
    s.grain = stain_shift(r, (stain){ { 0.42f, 0.52f, 0.20f } }, 0.12f);
    float warm = synth_between(r, -0.03f, 0.03f);
    s.light[0] = 0.93f + warm, s.light[1] = 0.90f, s.light[2] = 0.88f - warm;
    s.crowd = rng_uniform(r);
    return s;
}

/* A place for a cell of radius `radius`: at most a touch of overlap with the others, centre inside the picture. */
static bool place_cell(rng *r, const float (*taken)[3], int n, float radius, float overlap, float out[2])
{
    for (int tries = 0; tries < 60; tries++) {
        out[0] = synth_between(r, 0.3f * radius, SIDE - 0.3f * radius), out[1] = synth_between(r, 0.3f * radius, SIDE - 0.3f * radius);
        bool free = true;
        for (int i = 0; i < n && free; i++)
            free = hypotf(out[0] - taken[i][0], out[1] - taken[i][1]) > (1 - overlap) * (radius + taken[i][2]);
        if (free)
            return true;
    }
    return false;
}

static void paint_red(rng *r, float *od, const blob *b, const smear *s)
{
    stain_blob(od, SIDE, SIDE, b, &s->red, 1, 0.9f);
    blob pale = *b;
    float f = synth_between(r, 0.42f, 0.55f);
    pale.rx *= f, pale.ry *= f;
    stain_blob(od, SIDE, SIDE, &pale, &s->red, synth_between(r, -0.75f, -0.55f), 2.2f); /* thin in the middle: less to absorb */
}

static void paint_white(rng *r, float *od, const blob *b, const smear *s)
{
    stain_blob(od, SIDE, SIDE, b, &s->cytoplasm, 1, 1.0f);
    int lobes = 1 + (int)rng_below(r, 4);
    float radius = sqrtf(b->rx * b->ry), turn = synth_between(r, 0, 6.2832f);
    static const float lobe_size[] = { 0, 0.66f, 0.48f, 0.42f, 0.38f };
    blob lobe[4];
    for (int i = 0; i < lobes; i++) {
        float a = turn + 4.4f * (float)i / (float)lobes, d = lobes == 1 ? 0.12f * radius : 0.42f * radius;
        lobe[i] = blob_draw(r, b->x + d * cosf(a), b->y + d * sinf(a), lobe_size[lobes] * radius, 0.15f, 0.05f);
    }
    int x0 = (int)fmaxf(0, b->x - 1.4f * radius), x1 = (int)fminf(SIDE - 1, b->x + 1.4f * radius);
    int y0 = (int)fmaxf(0, b->y - 1.4f * radius), y1 = (int)fminf(SIDE - 1, b->y + 1.4f * radius);
    for (int y = y0; y <= y1; y++)
        for (int x = x0; x <= x1; x++) {
            float in = 0; /* lobes overlap: their union absorbs, not their sum */
            for (int i = 0; i < lobes; i++)
                in = fmaxf(in, ramp(-0.9f, 0.9f, blob_edge(&lobe[i], (float)x + 0.5f, (float)y + 0.5f)));
            for (int c = 0; c < 3; c++)
                od[3 * (y * SIDE + x) + c] += in * s->nucleus.od[c];
        }
}

static void paint_platelet(rng *r, float *od, const blob *b, const smear *s)
{
    stain_blob(od, SIDE, SIDE, b, &s->grain, 0.6f, 0.9f);
    blob core = *b;
    core.rx *= 0.5f, core.ry *= 0.5f, core.x += 0.4f * rng_normal(r), core.y += 0.4f * rng_normal(r);
    stain_blob(od, SIDE, SIDE, &core, &s->grain, 0.7f, 0.9f);
}

/* The visible part of the outline, in Pascal VOC's inclusive pixels from 1; false if less than a quarter is in the picture. */
static bool cell_box(const blob *b, int kind, voc_box *out)
{
    float e[4];
    blob_bounds(b, e);
    float x0 = fmaxf(e[0], 0), y0 = fmaxf(e[1], 0), x1 = fminf(e[2], SIDE), y1 = fminf(e[3], SIDE);
    if ((x1 - x0) * (y1 - y0) < 0.25f * (e[2] - e[0]) * (e[3] - e[1]))
        return false;
    out->name = cell_name[kind];
    out->x0 = (int)floorf(x0) + 1, out->y0 = (int)floorf(y0) + 1;
    out->x1 = (int)fminf(ceilf(x1), SIDE), out->y1 = (int)fminf(ceilf(y1), SIDE);
    return out->x1 > out->x0 && out->y1 > out->y0;
}

static int paint_smear(rng *r, const smear *s, slide *p, voc_box box[MAX_CELLS])
{
    static const float size[3][2] = { { 9.0f, 11.5f }, { 17, 21 }, { 4.0f, 5.5f } }, squash[3] = { 0.22f, 0.15f, 0.35f },
                       wavy[3] = { 0.02f, 0.035f, 0.08f };
    int want[3] = { 5 + (int)(9 * s->crowd) + (int)rng_below(r, 4), rng_below(r, 4) ? 1 : (int)rng_below(r, 2) * 2, 1 + (int)rng_below(r, 4) };
    float taken[MAX_CELLS][3];
    int n = 0, n_box = 0;

    memset(p->od, 0, sizeof p->od);
    field_noise(r, SIDE, SIDE, 60, 3, p->field);
    for (int i = 0; i < AREA; i++)
        for (int c = 0; c < 3; c++) /* uneven plasma film and illumination */
            p->od[3 * i + c] = 0.03f + 0.012f * p->field[i] + 0.03f * s->red.od[c];
    static const int order[3] = { WHITE, RED, PLATELET }; /* the large ones first, while there is room */
    for (int o = 0; o < 3; o++) {
        int kind = order[o];
        for (int i = 0; i < want[kind] && n < MAX_CELLS; i++) {
            float radius = synth_between(r, size[kind][0], size[kind][1]);
            if (!place_cell(r, (const float (*)[3])taken, n, radius, kind == RED ? 0.12f : -0.05f, taken[n]))
                continue;
            blob b = blob_draw(r, taken[n][0], taken[n][1], radius, squash[kind], wavy[kind]);
            taken[n++][2] = radius;
            (kind == RED ? paint_red : kind == WHITE ? paint_white : paint_platelet)(r, p->od, &b, s);
            if (cell_box(&b, kind, &box[n_box]))
                n_box++;
        }
    }
    stain_develop(r, p->od, SIDE, SIDE, s->light, 0.6f, 0.02f, p->rgb, p->scratch);
    return n_box;
}

status synth_make_blood(const synth_job *job)
{
    slide *p;
    TRY(mem_alloc(&p, sizeof *p, "blood smear"), "synth-blood");
    status st = OK;
    for (int subject = 0; subject < job->n_subject; subject++) {
        rng r = synth_rng(job, "synth-blood", subject, 0);
        smear s = smear_draw(&r);
        for (int image = 1; image <= 3; image++) {
            rng ri = synth_rng(job, "synth-blood", subject, image);
            voc_box box[MAX_CELLS];
            int n = paint_smear(&ri, &s, p, box);
            char name[64], picture[80], path[128];
            snprintf(name, sizeof name, "slide%03d_%d", subject, image);
            snprintf(picture, sizeof picture, "%s.png", name);
            snprintf(path, sizeof path, "images/%s", picture);
            TRY_TO(done, source_png(job, path, SIDE, SIDE, 3, 8, p->rgb), "synth-blood");
            snprintf(path, sizeof path, "annotations/%s.xml", name);
            TRY_TO(done, source_voc(job, path, picture, SIDE, SIDE, box, n), "synth-blood");
        }
    }
done:
    free(p);
    return st;
}

/* ---- tissue: glands around an opening, solid sheets of large nuclei, thin septa between air spaces -------------------------- */

static const char *const tissue_name[] = { "gland", "sheet", "septa" };

typedef struct block { stain h, e; float light[3], grade; } block; /* one patient's stains: haematoxylin, eosin */

static void add_stain(slide *p, int i, const stain *s, float amount)
{
    for (int c = 0; c < 3; c++)
        p->od[3 * i + c] += amount * s->od[c];
}

static void nucleus(rng *r, slide *p, const block *k, float x, float y, float radius, float squash, float turn)
{
    blob b = blob_draw(r, x, y, radius, 0.05f, 0.05f);
    b.rx *= squash, b.ry /= squash, b.turn = turn;
    stain_blob(p->od, SIDE, SIDE, &b, &k->h, synth_between(r, 0.55f, 0.85f), 0.8f);
    b.rx *= 0.45f, b.ry *= 0.45f, b.x += 0.25f * radius * rng_normal(r), b.y += 0.25f * radius * rng_normal(r);
    stain_blob(p->od, SIDE, SIDE, &b, &k->h, 0.35f, 0.8f); /* coarse chromatin */
}

/* Eosin background with fibres: noise drawn out along one direction. */
static void stroma(rng *r, slide *p, const block *k, float level)
{
    field_noise(r, SIDE, SIDE, 24, 4, p->field);
    float a = synth_between(r, 0, 3.1416f), f = synth_between(r, 0.5f, 0.8f), phase = synth_between(r, 0, 6.28f);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int i = y * SIDE + x;
            float across = (float)x * cosf(a) + (float)y * sinf(a);
            add_stain(p, i, &k->e, fmaxf(0, level * (1 + 0.25f * p->field[i] + 0.22f * sinf(f * across + 2.2f * p->field[i] + phase))));
        }
}

static void paint_gland(rng *r, slide *p, const block *k)
{
    stroma(r, p, k, 0.36f);
    int n = 2 + (int)rng_below(r, 3);
    float taken[4][3];
    for (int g = 0, placed = 0; g < n; g++) {
        float radius = synth_between(r, 17, 27);
        if (!place_cell(r, (const float (*)[3])taken, placed, radius, -0.05f, taken[placed]))
            continue;
        blob wall = blob_draw(r, taken[placed][0], taken[placed][1], radius, 0.35f, 0.05f), lumen = wall;
        taken[placed++][2] = radius;
        float f = synth_between(r, 0.38f, 0.55f);
        lumen.rx *= f, lumen.ry *= f;
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                int i = y * SIDE + x;
                float in_wall = ramp(-1, 1, blob_edge(&wall, (float)x, (float)y)), open = ramp(-1, 1, blob_edge(&lumen, (float)x, (float)y));
                for (int c = 0; c < 3; c++)
                    p->od[3 * i + c] *= 1 - in_wall;
                add_stain(p, i, &k->e, in_wall * (1 - open) * 0.33f);
                add_stain(p, i, &k->h, in_wall * (1 - open) * 0.12f);
            }
        int ring = (int)(radius * 0.95f); /* nuclei stand side by side near the outer edge, long axis towards the opening */
        for (int m = 0; m < ring; m++) {
            float a = 6.2832f * ((float)m + 0.3f * rng_normal(r)) / (float)ring, d = synth_between(r, 0.72f, 0.86f);
            float c = cosf(wall.turn), s = sinf(wall.turn), u = d * wall.rx * cosf(a), v = d * wall.ry * sinf(a);
            nucleus(r, p, k, wall.x + c * u - s * v, wall.y + s * u + c * v, synth_between(r, 2.3f, 3.0f), 1.3f, atan2f(s * u + c * v, c * u - s * v));
        }
    }
    for (int m = 0; m < 16; m++)
        nucleus(r, p, k, synth_between(r, 0, SIDE), synth_between(r, 0, SIDE), synth_between(r, 1.7f, 2.2f), 1.7f, synth_between(r, 0, 3.14f));
}

static void paint_sheet(rng *r, slide *p, const block *k)
{
    stroma(r, p, k, 0.5f);
    int n = 70 + (int)(40 * k->grade);
    float taken[128][3];
    for (int m = 0, placed = 0; m < n; m++) {
        float radius = synth_between(r, 3.0f, 4.6f + 1.4f * k->grade);
        if (!place_cell(r, (const float (*)[3])taken, placed, radius, -0.15f, taken[placed]))
            continue;
        nucleus(r, p, k, taken[placed][0], taken[placed][1], radius, synth_between(r, 1, 1.35f), synth_between(r, 0, 3.14f));
        taken[placed++][2] = radius;
    }
    if (rng_below(r, 2)) { /* a keratin pearl: concentric layers */
        float x0 = synth_between(r, 30, SIDE - 30), y0 = synth_between(r, 30, SIDE - 30), size = synth_between(r, 12, 20);
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                float d = hypotf((float)x - x0, (float)y - y0), in = ramp(size, size - 3, d);
                for (int c = 0; c < 3; c++)
                    p->od[3 * (y * SIDE + x) + c] *= 1 - 0.8f * in;
                add_stain(p, y * SIDE + x, &k->e, in * (0.62f + 0.2f * sinf(1.5f * d)));
            }
    }
}

static void paint_septa(rng *r, slide *p, const block *k)
{
    float site[40][2];
    int n = 7 + (int)rng_below(r, 7);
    for (int i = 0; i < n; i++)
        site[i][0] = synth_between(r, -15, SIDE + 15), site[i][1] = synth_between(r, -15, SIDE + 15);
    float thick = synth_between(r, 1.8f, 3.2f);
    field_noise(r, SIDE, SIDE, 18, 3, p->field);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            float wx = (float)x + 3 * p->field[y * SIDE + x], wy = (float)y + 3 * p->field[(SIDE - 1 - y) * SIDE + x], best = 1e9f, next = 1e9f;
            for (int i = 0; i < n; i++) { /* distance to the border between the two nearest sites */
                float d = hypotf(wx - site[i][0], wy - site[i][1]);
                if (d < best)
                    next = best, best = d;
                else if (d < next)
                    next = d;
            }
            float wall = ramp(thick + 1, thick - 1, 0.5f * (next - best));
            add_stain(p, y * SIDE + x, &k->e, 0.02f + 0.42f * wall * (1 + 0.15f * p->field[y * SIDE + x]));
            if (wall > 0.8f && rng_uniform(r) < 0.011f)
                nucleus(r, p, k, (float)x, (float)y, synth_between(r, 1.9f, 2.6f), synth_between(r, 1, 1.6f), synth_between(r, 0, 3.14f));
        }
    for (int m = 0, cells = (int)rng_below(r, 4); m < cells; m++) { /* macrophages in the air */
        blob b = blob_draw(r, synth_between(r, 10, SIDE - 10), synth_between(r, 10, SIDE - 10), synth_between(r, 4, 5), 0.2f, 0.04f);
        stain_blob(p->od, SIDE, SIDE, &b, &k->e, 0.3f, 1);
        nucleus(r, p, k, b.x, b.y, 2.2f, 1.1f, 0);
    }
}

status synth_make_histo(const synth_job *job)
{
    static void (*const paint[3])(rng *, slide *, const block *) = { paint_gland, paint_sheet, paint_septa };
    slide *p;
    TRY(mem_alloc(&p, sizeof *p, "tissue tile"), "synth-histo");
    status st = OK;
    for (int subject = 0; subject < job->n_subject; subject++) {
        rng r = synth_rng(job, "synth-histo", subject, 0);
        block k = { .h = stain_shift(&r, (stain){ { 0.72f, 0.62f, 0.28f } }, 0.12f),
                    .e = stain_shift(&r, (stain){ { 0.09f, 0.62f, 0.26f } }, 0.15f),
                    .light = { 0.96f, 0.95f, 0.96f },
                    .grade = rng_uniform(&r) };
        for (int image = 1; image <= 6; image++) { /* two tiles of each tissue */
            rng ri = synth_rng(job, "synth-histo", subject, image);
            int tissue = (image - 1) % 3;
            memset(p->od, 0, sizeof p->od);
            paint[tissue](&ri, p, &k);
            stain_develop(&ri, p->od, SIDE, SIDE, k.light, 0.55f, 0.018f, p->rgb, p->scratch);
            char path[128];
            snprintf(path, sizeof path, "tiles/%s/patient%03d_%d.png", tissue_name[tissue], subject, image);
            TRY_TO(done, source_png(job, path, SIDE, SIDE, 3, 8, p->rgb), "synth-histo");
        }
    }
done:
    free(p);
    return st;
}
