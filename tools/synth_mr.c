/* synth_mr: T1-like head volumes of nested ellipsoids with a curved two-part structure on both sides, uneven coil and Rician noise. */
#include "synth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NX 64
#define NY 64
#define NZ 16
#define VOXELS (NX * NY * NZ)
#define STEP_MM 2.6f
#define SLICE_MM 4.0f
#define ARC 28 /* points along the curved structure */

typedef struct head { /* millimetres; x to the left, y to the back, z up; origin in the middle of the head */
    float size[3], turn, fold, fold_phase, cortex, ventricle, tissue[6];
    float arc[2][ARC][4]; /* side, point: x, y, z, radius of the tube */
} head;

enum { FAT, BONE, FLUID, GREY, WHITE, DEEP };

static void head_draw(rng *r, head *k)
{
    for (int i = 0; i < 3; i++)
        k->size[i] = synth_between(r, 0.9f, 1.08f);
    k->turn = synth_between(r, -0.12f, 0.12f);
    k->fold = synth_between(r, 9, 13), k->fold_phase = synth_between(r, 0, 6.28f);
    k->cortex = synth_between(r, 6, 9), k->ventricle = synth_between(r, 0.8f, 1.35f);
    static const float mean[6] = { 0.95f, 0.12f, 0.22f, 0.52f, 0.82f, 0.62f };
    for (int i = 0; i < 6; i++)
        k->tissue[i] = mean[i] * synth_between(r, 0.94f, 1.06f);
    for (int side = 0; side < 2; side++) { /* open towards the middle, thick in front, thin behind, rising to the back */
        float out = synth_between(r, 29, 34), lift = synth_between(r, 5, 11), low = synth_between(r, -6, 2), thick = synth_between(r, 8.2f, 10.2f);
        float bend = synth_between(r, 25, 30);
        for (int i = 0; i < ARC; i++) {
            float t = (float)i / (ARC - 1), a = 2.5f * (t - 0.45f);
            float *p = k->arc[side][i];
            p[0] = (side ? 1.f : -1.f) * (out - 16 + 16 * cosf(a)) * k->size[0];
            p[1] = (bend * sinf(a) + 4) * k->size[1];
            p[2] = low + lift * (2 * t - 1);
            p[3] = thick * (1 - 0.42f * t) * (0.93f + 0.07f * sinf(9 * t));
        }
    }
}

/* Nearest point of the two tubes: depth below the surface (negative outside), *along 0 in front .. 1 behind. */
static float tube_depth(const head *k, const float p[3], float *along)
{
    float best = -1e9f;
    const float (*arc)[4] = k->arc[p[0] > 0];
    for (int i = 0; i < ARC; i++) {
        float dx = p[0] - arc[i][0], dy = p[1] - arc[i][1], dz = p[2] - arc[i][2], depth = arc[i][3] - sqrtf(dx * dx + dy * dy + dz * dz);
        if (depth > best)
            best = depth, *along = (float)i / (ARC - 1);
    }
    return best;
}

/* Depth below an ellipsoid's surface in mm, about. */
static float ellipsoid_depth(const float p[3], float x, float y, float z, float ax, float ay, float az)
{
    float u = (p[0] - x) / ax, v = (p[1] - y) / ay, w = (p[2] - z) / az, rho = sqrtf(u * u + v * v + w * w);
    return (1 - rho) * fminf(ax, fminf(ay, az));
}

static float over(float below, float value, float depth)
{
    return below + (value - below) * ramp(-0.55f * STEP_MM, 0.55f * STEP_MM, depth); /* partial volume at the border */
}

/* Signal without coil and noise at p, and the label there. */
static float head_signal(const head *k, const float p[3], uint8_t *label)
{
    const float *t = k->tissue, *s = k->size;
    float skin = ellipsoid_depth(p, 0, 0, -10, 70 * s[0], 82 * s[1], 90 * s[2]), v = over(0.02f, t[FAT], skin);
    v = over(v, t[BONE], skin - 5);
    float inner = skin - 11;
    v = over(v, t[FLUID], inner);
    float angle = atan2f(p[1], p[0]), wave = sinf(k->fold * angle + 0.05f * p[2] + k->fold_phase) + 0.6f * sinf((k->fold * 1.7f) * angle - 0.08f * p[2]);
    v = over(v, t[GREY], inner - 2.5f - 1.1f * wave);
    v = over(v, t[WHITE], inner - 2.5f - k->cortex - 2.6f * wave);
    float gap = fabsf(p[0]); /* the cleft between the halves, in front and behind */
    if (inner > 0 && fabsf(p[1]) > 34 * s[1])
        v = over(v, t[FLUID], 2.0f - gap);
    for (int side = -1; side <= 1; side += 2) {
        float out = (float)side;
        v = over(v, t[DEEP], ellipsoid_depth(p, out * 15 * s[0], 2, 4, 9, 14, 13));
        v = over(v, t[FLUID], ellipsoid_depth(p, out * (6 + 5 * k->ventricle), -20 * s[1], 12, 5 * k->ventricle, 14, 15));
        v = over(v, t[FLUID], ellipsoid_depth(p, out * (10 + 5 * k->ventricle), 27 * s[1], 14, 5 * k->ventricle, 13, 12));
    }
    float along = 0, depth = tube_depth(k, p, &along);
    if (depth > -4) {
        v = over(v, t[FLUID], depth + 1.6f); /* a thin sheet of fluid around it */
        v = over(v, along < 0.45f ? t[GREY] : t[GREY] * 1.18f, depth);
    }
    *label = depth > 0 ? (along < 0.45f ? 1 : 2) : 0;
    return v;
}

static void head_scan(rng *r, const head *k, float *volume, uint8_t *label)
{
    float gain = expf(synth_between(r, 4.6f, 7.6f)), noise = synth_between(r, 0.025f, 0.05f), slope[6], c = cosf(k->turn), s = sinf(k->turn);
    float shift[3] = { synth_between(r, -5, 5), synth_between(r, -5, 5), synth_between(r, -4, 4) };
    for (int i = 0; i < 6; i++)
        slope[i] = 0.22f * rng_normal(r);
    for (int z = 0; z < NZ; z++)
        for (int y = 0; y < NY; y++)
            for (int x = 0; x < NX; x++) {
                float px = ((float)x - 0.5f * (NX - 1)) * STEP_MM - shift[0], py = ((float)y - 0.5f * (NY - 1)) * STEP_MM - shift[1];
                float p[3] = { c * px + s * py, c * py - s * px, ((float)z - 0.5f * (NZ - 1)) * SLICE_MM - shift[2] };
                float u = px / 83, v = py / 83, w = p[2] / 40;
                float coil = expf(slope[0] * u + slope[1] * v + slope[2] * w + slope[3] * u * v + slope[4] * (u * u - 0.3f) + slope[5] * (v * v - 0.3f));
                int i = (z * NY + y) * NX + x;
                float signal = coil * head_signal(k, p, &label[i]), re = signal + noise * rng_normal(r), im = noise * rng_normal(r);
                volume[i] = gain * sqrtf(re * re + im * im);
            }
}

status synth_make_mr(const synth_job *job)
{
    struct scan { float volume[VOXELS]; uint8_t label[VOXELS]; } *m;
    TRY(mem_alloc(&m, sizeof *m, "MR phantom"), "synth-mr");
    static const int n[3] = { NX, NY, NZ };
    static const float spacing[3] = { STEP_MM, STEP_MM, SLICE_MM };
    status st = OK;
    for (int subject = 0; subject < job->n_subject; subject++) {
        rng r = synth_rng(job, "synth-mr", subject, 0);
        head k;
        head_draw(&r, &k);
        int visits = subject % 4 == 0 ? 2 : 1; /* the same head, another day: gain, coil and position differ */
        for (int visit = 1; visit <= visits; visit++) {
            rng ri = synth_rng(job, "synth-mr", subject, visit);
            head_scan(&ri, &k, m->volume, m->label);
            char path[96];
            snprintf(path, sizeof path, "images/head%03d_%d.nii.gz", subject, visit);
            TRY_TO(done, source_nifti(job, path, n, spacing, DT_F32, m->volume), "synth-mr");
            snprintf(path, sizeof path, "labels/head%03d_%d.nii.gz", subject, visit);
            TRY_TO(done, source_nifti(job, path, n, spacing, DT_U8, m->label), "synth-mr");
        }
    }
done:
    free(m);
    return st;
}
