/* synth_ct: pieces of a chest in Hounsfield units around one nodule, smooth and round (benign) or larger and spiculated (malign). */
#include "synth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NX 96
#define NY 96
#define NZ 10
#define PLANE (NX * NY)
#define STEP_MM 0.75f
#define SLICE_MM 3.0f
#define VESSELS 18
#define SPIKES 14

typedef struct thorax { /* millimetres; x to the left, y to the back, z up */
    float wide, deep, fat, heart[5], lung_hu, texture;
    float vessel[2][VESSELS][7]; /* from, to, radius at the thick end */
    float rib_turn;
} thorax;

typedef struct nodule { float c[3], radius, hu, core_hu, spike[SPIKES][5], lobe[3][4]; bool malign; int n_spikes; } nodule;

static float ellipse_depth(float x, float y, float cx, float cy, float ax, float ay)
{
    float u = (x - cx) / ax, v = (y - cy) / ay;
    return (1 - sqrtf(u * u + v * v)) * fminf(ax, ay);
}

/* Depth below the inner chest wall. */
static float cage_depth(const thorax *k, float x, float y)
{
    return ellipse_depth(x, y, 0, 0, k->wide, k->deep) - k->fat - 9;
}

/* Depth inside a lung: both sides, apart from the middle and the heart. */
static float lung_depth(const thorax *k, float x, float y)
{
    float lung = fminf(cage_depth(k, x, y) - 9, fabsf(x) - 21 + 0.0022f * y * y);
    return fminf(lung, -ellipse_depth(x, y, k->heart[0], k->heart[1], k->heart[2], k->heart[3]));
}

static void direction(rng *r, float d[3])
{
    float n = 0;
    for (int i = 0; i < 3; i++)
        d[i] = rng_normal(r), n += d[i] * d[i];
    for (int i = 0; i < 3; i++)
        d[i] /= sqrtf(n) + 1e-6f;
}

static void thorax_draw(rng *r, thorax *k)
{
    k->wide = synth_between(r, 145, 165), k->deep = synth_between(r, 98, 115), k->fat = synth_between(r, 8, 22);
    k->heart[0] = synth_between(r, 18, 30), k->heart[1] = synth_between(r, -35, -20);
    k->heart[2] = synth_between(r, 46, 58), k->heart[3] = synth_between(r, 36, 46);
    k->lung_hu = synth_between(r, -880, -830), k->texture = synth_between(r, 12, 28), k->rib_turn = synth_between(r, 0, 0.5f);
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < VESSELS; i++) { /* from the root of the lung outwards */
            float *v = k->vessel[side][i], out = side ? 1.f : -1.f, a = synth_between(r, -1.5f, 1.5f), far = synth_between(r, 35, 95);
            v[0] = out * synth_between(r, 36, 50), v[1] = synth_between(r, -8, 22), v[2] = synth_between(r, -14, 14);
            v[3] = v[0] + out * far * cosf(a), v[4] = v[1] + 0.8f * far * sinf(a), v[5] = v[2] + synth_between(r, -24, 24);
            v[6] = synth_between(r, 1.6f, 3.6f);
        }
}

static void nodule_draw(rng *r, const thorax *t, nodule *k, bool malign)
{
    k->malign = malign;
    k->radius = malign ? synth_between(r, 8, 13) : synth_between(r, 4.5f, 8);
    for (int tries = 0; tries < 50; tries++) { /* in the lung, though it may touch what is around it */
        float out = rng_below(r, 2) ? 1.f : -1.f, a = synth_between(r, -1.4f, 1.4f), far = synth_between(r, 10, 55);
        k->c[0] = out * (65 + far * cosf(a)), k->c[1] = 5 + far * sinf(a), k->c[2] = synth_between(r, -2.5f, 2.5f);
        if (lung_depth(t, k->c[0], k->c[1]) > 0.7f * k->radius)
            break;
    }
    k->hu = malign ? synth_between(r, -10, 45) : synth_between(r, 10, 70);
    k->core_hu = !malign && rng_below(r, 3) == 0 ? synth_between(r, 180, 420) : k->hu; /* a calcified centre speaks for benign */
    k->n_spikes = malign ? 8 + (int)rng_below(r, SPIKES - 7) : 0;
    for (int i = 0; i < SPIKES; i++) {
        direction(r, k->spike[i]);
        k->spike[i][2] *= 0.5f; /* most of them near the plane of the slices */
        float n = sqrtf(k->spike[i][0] * k->spike[i][0] + k->spike[i][1] * k->spike[i][1] + k->spike[i][2] * k->spike[i][2]) + 1e-6f;
        for (int j = 0; j < 3; j++)
            k->spike[i][j] /= n;
        k->spike[i][3] = synth_between(r, 3.5f, 8), k->spike[i][4] = synth_between(r, 0.12f, 0.2f); /* length, half width in radians */
    }
    for (int i = 0; i < 3; i++) {
        direction(r, k->lobe[i]);
        k->lobe[i][3] = malign ? synth_between(r, 0.06f, 0.2f) : synth_between(r, 0, 0.05f);
    }
}

/* Depth below the nodule's surface in mm, negative outside. */
static float nodule_depth(const nodule *k, const float p[3])
{
    float d[3] = { p[0] - k->c[0], p[1] - k->c[1], p[2] - k->c[2] }, dist = sqrtf(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
    if (dist > k->radius * 1.6f + 9)
        return -99;
    float surface = k->radius, scale = 1 / (dist + 1e-4f);
    for (int i = 0; i < 3; i++) {
        float c = scale * (d[0] * k->lobe[i][0] + d[1] * k->lobe[i][1] + d[2] * k->lobe[i][2]);
        surface += k->radius * k->lobe[i][3] * c * fabsf(c);
    }
    for (int i = 0; i < k->n_spikes; i++) {
        float c = scale * (d[0] * k->spike[i][0] + d[1] * k->spike[i][1] + d[2] * k->spike[i][2]), off = (1 - c) / (0.5f * k->spike[i][4] * k->spike[i][4]);
        if (off < 8)
            surface += k->spike[i][3] * expf(-off);
    }
    return surface - dist;
}

static float segment_depth(const float v[7], const float p[3])
{
    float d[3] = { v[3] - v[0], v[4] - v[1], v[5] - v[2] }, q[3] = { p[0] - v[0], p[1] - v[1], p[2] - v[2] };
    float t = (q[0] * d[0] + q[1] * d[1] + q[2] * d[2]) / (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    float x = q[0] - t * d[0], y = q[1] - t * d[1], z = q[2] - t * d[2];
    return v[6] * (1 - 0.65f * t) - sqrtf(x * x + y * y + z * z);
}

static float over(float below, float value, float depth)
{
    return below + (value - below) * ramp(-0.6f * STEP_MM, 0.6f * STEP_MM, depth);
}

static float thorax_hu(const thorax *k, const float p[3])
{
    float x = p[0], y = p[1], z = p[2];
    float wall = ellipse_depth(x, y, 0, 0, k->wide, k->deep), v = over(-1000, -95, wall); /* fat */
    v = over(v, 48, wall - k->fat);                                                     /* muscle */
    float cage = cage_depth(k, x, y), out = x > 0 ? 1.f : -1.f, lung = lung_depth(k, x, y);
    if (lung > -2) {
        v = over(v, k->lung_hu, lung);
        for (int i = 0; i < VESSELS; i++) {
            float depth = segment_depth(k->vessel[x > 0][i], p);
            if (depth > -2 && lung > 0)
                v = over(v, 35, depth);
        }
    }
    v = over(v, 130, ellipse_depth(x, y, 12, 42, 12, 12)); /* aorta with some contrast agent */
    float spine = ellipse_depth(x, y, 0, 68, 19, 16);
    v = over(v, 380, spine);
    v = over(v, 190, spine - 4); /* spongy inside */
    v = over(v, 20, ellipse_depth(x, y, 0, 89, 8, 7));
    float turn = atan2f(y, out * x) + 0.02f * z + k->rib_turn, nearest = turn - 0.5f * rintf(turn / 0.5f); /* ribs slope through the slices */
    float along = nearest * hypotf(x, y), u = along / 11, w = (cage - 2) / 4.2f, rib = (1 - sqrtf(u * u + w * w)) * 4.2f;
    if (cage > -6 && cage < 10 && rib > -2) {
        v = over(v, 420, rib);
        v = over(v, 180, rib - 2.2f);
    }
    return v;
}

typedef struct scan { float plane[PLANE], field[PLANE], scratch[NX]; int16_t hu[PLANE * NZ]; uint8_t mask[PLANE * NZ]; } scan;

static void scan_volume(rng *r, const thorax *t, const nodule *k, scan *m)
{
    float x0 = k->c[0] + synth_between(r, -9, 9), y0 = k->c[1] + synth_between(r, -9, 9), noise = synth_between(r, 22, 38);
    for (int z = 0; z < NZ; z++) {
        field_noise(r, NX, NY, 6, 2, m->field);
        for (int y = 0; y < NY; y++)
            for (int x = 0; x < NX; x++) {
                float p[3] = { x0 + ((float)x - 0.5f * (NX - 1)) * STEP_MM, y0 + ((float)y - 0.5f * (NY - 1)) * STEP_MM, ((float)z - 0.5f * (NZ - 1)) * SLICE_MM };
                int i = y * NX + x;
                float v = thorax_hu(t, p), depth = nodule_depth(k, p);
                if (v < -700)
                    v += t->texture * m->field[i];
                v = over(v, k->hu, depth);
                if (k->core_hu != k->hu)
                    v = over(v, k->core_hu, depth - 0.5f * k->radius);
                m->plane[i] = v + 1.6f * noise * rng_normal(r);
                m->mask[z * PLANE + i] = depth > 0;
            }
        field_blur(m->plane, NX, NY, 1, 0.6f, m->scratch); /* the scanner's kernel: also makes neighbouring noise alike */
        for (int i = 0; i < PLANE; i++) {
            float v = fmaxf(-1024, fminf(3071, m->plane[i]));
            m->hu[z * PLANE + i] = (int16_t)lrintf(v);
        }
    }
}

status synth_make_ct(const synth_job *job)
{
    scan *m;
    TRY(mem_alloc(&m, sizeof *m, "CT phantom"), "synth-ct");
    static const int n[3] = { NX, NY, NZ };
    static const float spacing[3] = { STEP_MM, STEP_MM, SLICE_MM };
    char *table = NULL;
    size_t bytes = 0;
    status st = OK;
    FILE *csv = NULL;
    TRY_TO(done, mem_text_open(&csv, &table, &bytes, "table"), "synth-ct");
    fprintf(csv, "filename,patient,diagnosis,diameter_mm\n");
    for (int subject = 0; subject < job->n_subject; subject++) {
        rng r = synth_rng(job, "synth-ct", subject, 0);
        thorax t;
        thorax_draw(&r, &t);
        int nodules = 1 + subject % 2;
        for (int which = 1; which <= nodules; which++) {
            rng ri = synth_rng(job, "synth-ct", subject, which);
            nodule k;
            nodule_draw(&ri, &t, &k, (subject / 2 + which) % 2);
            scan_volume(&ri, &t, &k, m);
            char name[64], path[96];
            snprintf(name, sizeof name, "patient%03d_%d.nii.gz", subject, which);
            snprintf(path, sizeof path, "images/%s", name);
            TRY_TO(done, source_nifti(job, path, n, spacing, DT_I16, m->hu), "synth-ct");
            snprintf(path, sizeof path, "masks/%s", name);
            TRY_TO(done, source_nifti(job, path, n, spacing, DT_U8, m->mask), "synth-ct");
            fprintf(csv, "%s,patient%03d,%s,%.1f\n", name, subject, k.malign ? "malign" : "benign", 2 * (double)k.radius);
        }
    }
    st = mem_text_close(csv, &table, "table");
    csv = NULL;
    TRY_TO(done, st, "synth-ct");
    TRY_TO(done, source_bytes(job, "nodules.csv", table, bytes), "synth-ct");
done:
    if (csv)
        fclose(csv);
    free(table);
    free(m);
    return st;
}
