/* synth_xray: chest X-rays as line integrals of attenuation through a phantom of ellipsoids, seen from behind (PA) or in front (AP). */
#include "synth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 128
#define AREA (SIDE * SIDE)
#define PIXEL_MM 2.9f
#define MAX_PARTS 1400

/* Millimetres; x to the patient's left, y to the back, z to the head; origin in the middle of the chest. mu: attenuation per mm that the
 * part adds to what it lies in. */
typedef struct part { float c[3], a[3], tilt, mu; int cut; } part; /* centre, half axes, turn in the x-z plane; less part `cut`, -1: none */

typedef struct film {
    part    part[MAX_PARTS];
    int     n;
    float   line[AREA], field[AREA], scratch[SIDE];
    uint8_t grey[AREA];
} film;

typedef struct chest { /* what all films of one person share */
    float size, lung_w, lung_h, heart, heart_x, spine, mu_bone, fat;
} chest;

#define MU_WATER 0.0165f

static void add_part(film *f, float x, float y, float z, float ax, float ay, float az, float tilt, float mu)
{
    if (f->n < MAX_PARTS)
        f->part[f->n++] = (part){ { x, y, z }, { ax, ay, az }, tilt, mu, -1 };
}

static void add_bones(film *f, const chest *k, bool ap)
{
    float s = k->size;
    for (int rib = 0; rib < 10; rib++) { /* from the spine round the side and down to the front */
        float z0 = s * (150 - 27 * (float)rib), grow = 1 - 0.022f * (float)((rib - 5) * (rib - 5)), wide = s * 128 * k->lung_w * grow, deep = s * 88 * grow;
        for (int side = -1; side <= 1; side += 2)
            for (int i = 0; i < 46; i++) {
                float t = (float)i / 45, a = 2.75f * t, x = wide * sinf(a), y = deep * cosf(a), z = z0 - s * (14 * t + 62 * t * t);
                add_part(f, (float)side * x, y, z, 4.2f, 4.2f, 4.6f, 0, k->mu_bone * (t > 0.8f ? 0.5f : 1)); /* cartilage at the end */
            }
    }
    for (int i = 0; i < 13; i++) { /* vertebrae and the discs between them, by leaving gaps */
        float z = s * (175 - 29 * (float)i);
        add_part(f, 0, s * 72, z, 17 * k->spine, 16, 12, 0, 0.8f * k->mu_bone);
        add_part(f, 0, s * 96, z - 8, 5, 14, 9, 0, 0.8f * k->mu_bone);
    }
    add_part(f, 0, s * -88, s * 35, 14, 5, 70, 0, 0.4f * k->mu_bone); /* breastbone */
    for (int side = -1; side <= 1; side += 2) {
        float up = ap ? 26 : 8; /* collar bones lie flatter and higher when the film is behind the patient */
        for (int i = 0; i < 30; i++) {
            float t = (float)i / 29;
            add_part(f, (float)side * s * (16 + 125 * t), s * (-70 + 70 * t), s * (136 + up * t + 5 * sinf(6.28f * t)), 5.5f, 5.5f, 5.5f, 0, 0.7f * k->mu_bone);
        }
        /* shoulder blades: turned out of the lung fields for PA, over them for AP */
        add_part(f, (float)side * s * (ap ? 98 : 150), s * 96, s * 88, ap ? 36 : 14, 5, 62, (float)side * (ap ? 0.25f : 0.5f), (ap ? 1.5f : 0.75f) * k->mu_bone);
        add_part(f, (float)side * s * 170, s * 30, s * 150, 24, 24, 24, 0, 0.5f * k->mu_bone); /* head of the upper arm */
    }
}

static void add_chest(rng *r, film *f, const chest *k, bool ap, bool opacity)
{
    float s = k->size, lung_h = k->lung_h * (ap ? 0.90f : 1); /* lying down, the breath is less deep */
    int dome = 0;
    f->n = 0;
    add_part(f, 0, 0, -40, s * 182 + k->fat, s * 112 + k->fat, 380, 0, MU_WATER);
    add_part(f, 0, s * 20, 205 * s, 55, 55, 60, 0, 0.5f * MU_WATER); /* neck */
    for (int side = -1; side <= 1; side += 2)
        add_part(f, (float)side * s * 150, s * 20, s * 165, 80, 50, 48, (float)side * 0.5f, 0.45f * MU_WATER); /* shoulder */
    for (int side = -1; side <= 1; side += 2) {
        float x = (float)side * s * 76 * k->lung_w;
        /* diaphragm: a dome that takes its part of the lung away; the right one (negative x) stands higher */
        dome = f->n;
        add_part(f, x, 0, s * (-172 * lung_h + (side < 0 ? 14 : 0)), s * 78, s * 112, s * 92, 0, 0);
        add_part(f, x, 5, s * 6, s * 58 * k->lung_w, s * 86, s * 142 * lung_h, (float)side * 0.10f, -0.74f * MU_WATER);
        f->part[f->n - 1].cut = dome;
        for (int i = 0; i < 26; i++) { /* vessels fan out from the root of the lung */
            float a = synth_between(r, -1.3f, 1.3f), far = synth_between(r, 25, 75), y = synth_between(r, -35, 45);
            for (int j = 0; j < 5; j++) {
                float d = 18 + far * (float)j / 5, w = 4.2f - 0.6f * (float)j;
                add_part(f, (float)side * s * (14 + d * cosf(a)), y * (float)j / 5, s * (20 + 1.15f * d * sinf(a)), w * 1.6f, w, w * 1.6f, 0, 0.5f * MU_WATER);
            }
        }
        add_part(f, (float)side * s * 30, 5, s * 22, 15, 15, 24, 0, 0.5f * MU_WATER); /* root of the lung */
    }
    add_part(f, 0, s * 10, s * 60, s * 30, s * 40, s * 110, 0, 0.30f * MU_WATER); /* great vessels */
    add_part(f, s * 20, s * 5, s * 78, s * 22, s * 22, s * 20, 0, 0.45f * MU_WATER); /* arch of the aorta */
    add_part(f, s * k->heart_x, s * -42, s * -48, s * 66 * k->heart, s * 46 * k->heart, s * 52 * k->heart, -0.55f, 0.55f * MU_WATER);
    f->part[f->n - 1].cut = dome; /* it rests on the left one */
    add_bones(f, k, ap);
    if (!opacity)
        return;
    int patches = 2 + (int)rng_below(r, 3);
    for (int p = 0; p < patches; p++) { /* fluid in the air spaces: clouds of soft balls */
        float side = rng_below(r, 2) ? 1.f : -1.f, x0 = side * s * synth_between(r, 55, 98) * k->lung_w, y0 = synth_between(r, -35, 45);
        float z0 = s * synth_between(r, -55, 85) * lung_h, spread = synth_between(r, 13, 22), dense = synth_between(r, 0.6f, 0.85f);
        int balls = 14 + (int)rng_below(r, 10);
        for (int i = 0; i < balls; i++) {
            float w = synth_between(r, 8, 17);
            add_part(f, x0 + spread * rng_normal(r), y0 + spread * rng_normal(r), z0 + spread * rng_normal(r), w, w, w, 0, dense * MU_WATER);
        }
    }
}

/* A part as rays from the source meet it: in its own frame it is the unit ball. */
typedef struct seen { float o[3], ct, st, a[3]; } seen;

static seen look_at(const part *p, float source_y, float centre_z)
{
    float x = -p->c[0], y = source_y - p->c[1], z = centre_z - p->c[2], ct = cosf(p->tilt), st = sinf(p->tilt);
    return (seen){ { (ct * x + st * z) / p->a[0], y / p->a[1], (ct * z - st * x) / p->a[2] }, ct, st, { p->a[0], p->a[1], p->a[2] } };
}

/* Where the ray source + t (dx, dy, dz) is inside: [t[0], t[1]], false if it misses. */
static bool cross(const seen *s, float dx, float dy, float dz, float t[2])
{
    float d[3] = { (s->ct * dx + s->st * dz) / s->a[0], dy / s->a[1], (s->ct * dz - s->st * dx) / s->a[2] };
    float dd = d[0] * d[0] + d[1] * d[1] + d[2] * d[2], od = s->o[0] * d[0] + s->o[1] * d[1] + s->o[2] * d[2];
    float oo = s->o[0] * s->o[0] + s->o[1] * s->o[1] + s->o[2] * s->o[2], q = od * od - dd * (oo - 1);
    if (q <= 0)
        return false;
    t[0] = (-od - sqrtf(q)) / dd, t[1] = (-od + sqrtf(q)) / dd;
    return true;
}

/* Adds mu times the length of each ray inside the part. Rays start at (0, source_y, centre_z) and end on the film at y = film_y. */
static void project(film *f, const part *p, float source_y, float film_y, float centre_z)
{
    if (p->mu == 0)
        return;
    float along = film_y - source_y, grow = along / (p->c[1] - source_y);
    float reach = 1.1f * grow * fmaxf(p->a[0], fmaxf(p->a[1], p->a[2])) + PIXEL_MM, u = grow * p->c[0], v = grow * (p->c[2] - centre_z);
    int x0 = (int)fmaxf(0, (u - reach) / PIXEL_MM + SIDE / 2), x1 = (int)fminf(SIDE - 1, (u + reach) / PIXEL_MM + SIDE / 2);
    int y0 = (int)fmaxf(0, SIDE / 2 - (v + reach) / PIXEL_MM), y1 = (int)fminf(SIDE - 1, SIDE / 2 - (v - reach) / PIXEL_MM);
    seen me = look_at(p, source_y, centre_z), cut = look_at(p->cut >= 0 ? &f->part[p->cut] : p, source_y, centre_z);
    for (int y = y0; y <= y1; y++)
        for (int x = x0; x <= x1; x++) {
            float dx = ((float)x + 0.5f - SIDE / 2) * PIXEL_MM, dz = (SIDE / 2 - 0.5f - (float)y) * PIXEL_MM, t[2], c[2];
            if (!cross(&me, dx, along, dz, t))
                continue;
            float inside = t[1] - t[0];
            if (p->cut >= 0 && cross(&cut, dx, along, dz, c))
                inside -= fmaxf(0, fminf(t[1], c[1]) - fmaxf(t[0], c[0]));
            f->line[y * SIDE + x] += p->mu * inside * sqrtf(dx * dx + along * along + dz * dz);
        }
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void expose(rng *r, film *f, bool ap)
{
    float distance = ap ? 900 : 1800, gap = 150, height = synth_between(r, -12, 12);
    float film_y = ap ? gap : -gap, source_y = ap ? gap - distance : distance - gap;
    memset(f->line, 0, sizeof f->line);
    for (int i = 0; i < f->n; i++)
        project(f, &f->part[i], source_y, film_y, height);
    /* photons that arrive, some of them scattered, counted with Poisson-like noise, then the logarithm of the count */
    float photons = ap ? 2500 : 14000, scatter = ap ? 0.012f : 0.003f; /* the portable tube: fewer photons, no grid */
    field_blur(f->line, SIDE, SIDE, 1, ap ? 0.75f : 0.45f, f->scratch);
    for (int i = 0; i < AREA; i++) {
        float n = photons * (expf(-f->line[i]) + scatter);
        n += sqrtf(n) * rng_normal(r);
        f->line[i] = -logf(fmaxf(n, 1) / photons);
    }
    memcpy(f->field, f->line, sizeof f->field);
    qsort(f->field, AREA, sizeof *f->field, by_value);
    float lo = f->field[AREA / 250], hi = f->field[AREA - AREA / 200], gamma = synth_between(r, 0.94f, 1.06f);
    lo += synth_between(r, -0.03f, 0.02f) * (hi - lo), hi += synth_between(r, -0.03f, 0.03f) * (hi - lo);
    for (int i = 0; i < AREA; i++) {
        float v = (f->line[i] - lo) / (hi - lo);
        f->grey[i] = (uint8_t)(255 * powf(v < 0 ? 0 : v > 1 ? 1 : v, gamma) + 0.5f);
    }
}

status synth_make_xray(const synth_job *job)
{
    film *f;
    TRY(mem_alloc(&f, sizeof *f, "X-ray phantom"), "synth-xray");
    char *table = NULL;
    size_t bytes = 0;
    status st = OK;
    FILE *csv = NULL;
    TRY_TO(done, mem_text_open(&csv, &table, &bytes, "table"), "synth-xray");
    fprintf(csv, "filename,patient,view,finding\n");
    for (int subject = 0; subject < job->n_subject; subject++) {
        rng r = synth_rng(job, "synth-xray", subject, 0);
        chest k = { .size = synth_between(&r, 0.88f, 1.08f), .lung_w = synth_between(&r, 0.92f, 1.08f), .lung_h = synth_between(&r, 0.88f, 1.08f),
                    .heart = synth_between(&r, 0.88f, 1.10f), .heart_x = synth_between(&r, 18, 28), .spine = synth_between(&r, 0.9f, 1.1f),
                    .mu_bone = MU_WATER * synth_between(&r, 0.75f, 1.05f), .fat = synth_between(&r, 0, 16) };
        for (int image = 1; image <= 3; image++) {
            rng ri = synth_rng(job, "synth-xray", subject, image);
            bool ap = image == 2 || (image == 3 && rng_below(&ri, 2)), opacity = rng_below(&ri, 2);
            add_chest(&ri, f, &k, ap, opacity);
            expose(&ri, f, ap);
            char name[64], path[96];
            snprintf(name, sizeof name, "patient%03d_%d.png", subject, image);
            snprintf(path, sizeof path, "images/%s", name);
            TRY_TO(done, source_png(job, path, SIDE, SIDE, 1, 8, f->grey), "synth-xray");
            fprintf(csv, "%s,patient%03d,%s,%s\n", name, subject, ap ? "AP" : "PA", opacity ? "opacity" : "clear");
        }
    }
    st = mem_text_close(csv, &table, "table");
    csv = NULL;
    TRY_TO(done, st, "synth-xray");
    TRY_TO(done, source_bytes(job, "films.csv", table, bytes), "synth-xray");
done:
    if (csv)
        fclose(csv);
    free(table);
    free(f);
    return st;
}
