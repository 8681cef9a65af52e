/* test_augment: masks and boxes move with the image, intensities stay in range, evaluation shows the whole image undistorted. */
#include "../../src/data/data_internal.h"
#include "test.h"

static scratch tmp;
static float image[300 * 300 * 3];

static raw_sample raw_u8(const uint8_t *p, int H, int W, int C)
{
    return (raw_sample){.pixels = p, .type = DT_U8, .H = H, .W = W, .C = C, .range = {0, 255}};
}

static void identity(void)
{
    enum { H = 37, W = 53 };
    static uint8_t p[H * W * 3];
    for (int i = 0; i < H * W * 3; i++) p[i] = (uint8_t)(i * 7919 % 256);
    raw_sample s = raw_u8(p, H, W, 3);
    view v;
    EXPECT_OK(sample_image(&s, NULL, (rng_key){0}, H, W, image, &v, &tmp));
    EXPECT(v.ax == 1 && v.by == 1 && v.bx == 0 && v.ay == 0 && v.cx == 0 && v.cy == 0, "%g %g %g", v.ax, v.cx, v.cy);
    double worst = 0;
    for (int i = 0; i < H * W * 3; i++) worst = fmax(worst, fabs(image[i] - p[i] / 255.0f));
    EXPECT_NEAR(worst, 0, 1e-5);
}

static void flips_and_quarter_turns(void)
{
    enum { N = 32 };
    static uint8_t p[N * N], mask[N * N], moved[N * N];
    for (int i = 0; i < N * N; i++) p[i] = (uint8_t)(i * 31 % 251), mask[i] = (uint8_t)(p[i] % 5);
    augment_spec a = {.scale_lo = 1, .scale_hi = 1, .crop_scale = 1, .flip_x = 0.5f, .flip_y = 0.5f, .rot90 = 1};
    int kinds = 0;
    bool known[8] = {false};
    for (uint32_t k = 0; k < 60; k++) {
        raw_sample s = raw_u8(p, N, N, 1);
        view v;
        EXPECT_OK(sample_image(&s, &a, (rng_key){3, k, 0}, N, N, image, &v, &tmp));
        view_mask(&v, mask, N, N, moved, N, N);
        double worst = 0;
        int bad = 0;
        for (int y = 0; y < N; y++)
            for (int x = 0; x < N; x++) {
                int xs = (int)floorf(v.ax * ((float)x + 0.5f) + v.bx * ((float)y + 0.5f) + v.cx);
                int ys = (int)floorf(v.ay * ((float)x + 0.5f) + v.by * ((float)y + 0.5f) + v.cy);
                worst = fmax(worst, fabs(image[3 * (y * N + x)] - p[ys * N + xs] / 255.0f));
                bad += moved[y * N + x] != mask[ys * N + xs];
            }
        EXPECT_NEAR(worst, 0, 1e-4);
        EXPECT(bad == 0, "%d mask pixels", bad);
        int kind = (v.ax > 0.5f) | (v.ay > 0.5f) << 1 | (v.bx > 0.5f || v.by > 0.5f) << 2;
        if (!known[kind]) known[kind] = true, kinds++;
    }
    EXPECT(kinds >= 6, "%d of 8 ways", kinds);
}

/* Wide image into a square: centred, bars are 0 and ignored, the picture undistorted. */
static void fitted(void)
{
    enum { HS = 20, WS = 80, N = 40 };
    static uint8_t p[HS * WS], mask[HS * WS], moved[N * N];
    memset(p, 255, sizeof p), memset(mask, 1, sizeof mask);
    raw_sample s = raw_u8(p, HS, WS, 1);
    view v;
    EXPECT_OK(sample_image(&s, NULL, (rng_key){0}, N, N, image, &v, &tmp));
    view_mask(&v, mask, HS, WS, moved, N, N);
    EXPECT(v.ax == 2 && v.by == 2 && v.cx == 0 && v.cy == -30, "%g %g", v.ax, v.cy);
    for (int y = 0; y < N; y++) {
        bool in = y >= 15 && y < 25;
        for (int x = 0; x < N; x++) {
            EXPECT(image[3 * (y * N + x)] == (in ? 1.0f : 0.0f), "pixel %d %d: %g", x, y, image[3 * (y * N + x)]);
            EXPECT(moved[y * N + x] == (in ? 1 : IGNORE_MASK), "mask %d %d: %d", x, y, moved[y * N + x]);
        }
    }
    float box[4] = {10, 5, 30, 15}, out[4];
    EXPECT(view_box(&v, box, N, N, out), "visible");
    EXPECT(out[0] == 5 && out[1] == 17.5f && out[2] == 15 && out[3] == 22.5f, "%g %g %g %g", out[0], out[1], out[2], out[3]);
}

static void stated_pixel_size(void)
{
    enum { HS = 60, WS = 80, N = 40 };
    static uint8_t p[HS * WS];
    raw_sample s = raw_u8(p, HS, WS, 1);
    s.step = 1.5f; /* network pixels of one and a half stored ones: the middle 60 x 60 */
    view v;
    EXPECT_OK(sample_image(&s, NULL, (rng_key){0}, N, N, image, &v, &tmp));
    EXPECT(v.ax == 1.5f && v.by == 1.5f && v.cx == 10 && v.cy == 0, "%g %g %g", v.ax, v.cx, v.cy);
    augment_spec a = {.scale_lo = 2, .scale_hi = 2, .crop_scale = 1};
    EXPECT_OK(sample_image(&s, &a, (rng_key){0}, N, N, image, &v, &tmp));
    EXPECT_NEAR(v.ax, 0.75, 1e-6);
    EXPECT_NEAR(v.cx, 40 - 0.75 * 20, 1e-5);
    float out[4]; /* what leaves the grid keeps its size for scoring */
    view_box_whole(&v, (float[]){0, 0, 15, 15}, out);
    EXPECT(out[0] < 0 && fabsf(out[2] - out[0] - 20) < 1e-4f, "%g %g", out[0], out[2]);
}

/* Shrinking averages: a fine checkerboard becomes grey, not a pattern. */
static void no_aliasing(void)
{
    enum { S = 256 };
    static uint8_t p[S * S];
    for (int y = 0; y < S; y++)
        for (int x = 0; x < S; x++) p[y * S + x] = (x + y) % 2 ? 255 : 0;
    for (int n = 30; n <= 170; n += 7) {
        raw_sample s = raw_u8(p, S, S, 1);
        view v;
        EXPECT_OK(sample_image(&s, NULL, (rng_key){0}, n, n, image, &v, &tmp));
        double sum = 0, square = 0;
        for (int i = 0; i < n * n; i++) sum += image[3 * i], square += image[3 * i] * image[3 * i];
        double mean = sum / (n * n), sd = sqrt(fmax(square / (n * n) - mean * mean, 0));
        EXPECT_NEAR(mean, 0.5, 0.02);
        EXPECT(sd < (S / n >= 2 || S % n == 0 ? 0.1 : 0.30), "%d pixels: sd %g", n, sd);
    }
}

/* An ellipse painted into image, mask and box: after any geometry the three still agree. */
/* Every way through: NaN and Inf come out as NaN, so that training finds them; clipping would have made a white spot of +Inf, and a table
 * of gamma values indexed by NaN ends the program. */
static void not_finite_stays(void)
{
    enum { N = 48 };
    static float p[N * N];
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < N * N; i++) p[i] = (float)(i % 97);
        p[20 * N + 23] = k == 0 ? NAN : k == 1 ? INFINITY : -INFINITY;
        raw_sample s = {.pixels = p, .type = DT_F32, .H = N, .W = N, .C = 1, .range = {0, 96}};
        augment_spec a = {.scale_lo = 1, .scale_hi = 1, .crop_scale = 1, .gamma = 0.5f, .contrast = 0.3f, .blur = 1.5f, .noise = 0.02f};
        view v;
        for (int augmented = 0; augmented < 2; augmented++) {
            EXPECT_OK(sample_image(&s, augmented ? &a : NULL, (rng_key){4, 1, 0}, N, N, image, &v, &tmp));
            int n_nan = 0;
            for (int i = 0; i < N * N * 3; i++) n_nan += isnan(image[i]) != 0;
            EXPECT(n_nan >= 3, "planted %g, augmented %d: %d numbers are not finite", (double)p[20 * N + 23], augmented, n_nan);
        }
    }
}

static void labels_follow(void)
{
    enum { HS = 90, WS = 120, N = 96 };
    static uint8_t p[HS * WS], mask[HS * WS], moved[N * N];
    float box[4] = {30, 20, 66, 44}, out[4];
    for (int y = 0; y < HS; y++)
        for (int x = 0; x < WS; x++) {
            float u = ((float)x + 0.5f - 48) / 18, w = ((float)y + 0.5f - 32) / 12;
            mask[y * WS + x] = u * u + w * w < 1;
            p[y * WS + x] = mask[y * WS + x] ? 255 : 40;
        }
    augment_spec a;
    EXPECT_OK(augment_preset(&a, "microscopy"));
    a.brightness = a.contrast = a.gamma = a.noise = a.blur = 0;
    a.rotate_deg = 30;
    int shown = 0, hidden = 0;
    for (uint32_t k = 0; k < 300; k++) {
        raw_sample s = raw_u8(p, HS, WS, 1);
        view v;
        a.crop_scale = k % 2 ? 2.0f : 1.0f;
        EXPECT_OK(sample_image(&s, &a, (rng_key){1, k, 0}, N, N, image, &v, &tmp));
        view_mask(&v, mask, HS, WS, moved, N, N);
        int both = 0, either = 0, count = 0, x0 = N, y0 = N, x1 = 0, y1 = 0;
        for (int y = 0; y < N; y++)
            for (int x = 0; x < N; x++) {
                bool m = moved[y * N + x] == 1, i = image[3 * (y * N + x)] > 0.58f;
                EXPECT((moved[y * N + x] == IGNORE_MASK) == (image[3 * (y * N + x)] == 0), "outside is ignored and black");
                both += m && i, either += m || i;
                if (!m) continue;
                count++;
                if (x < x0) x0 = x;
                if (y < y0) y0 = y;
                if (x + 1 > x1) x1 = x + 1;
                if (y + 1 > y1) y1 = y + 1;
            }
        if (count < 200) { /* nearly out of sight */
            hidden += count < 40 && !view_box(&v, box, N, N, out);
            continue;
        }
        EXPECT(both >= 0.93 * either, "mask and image overlap %d of %d", both, either);
        if (!view_box(&v, box, N, N, out)) continue;
        shown++;
        bool cut_off = out[0] == 0 || out[1] == 0 || out[2] == N || out[3] == N; /* there the box of the visible part is smaller */
        float slack = cut_off ? 14 : 1.6f;
        EXPECT(fabsf(out[0] - (float)x0) < slack && fabsf(out[1] - (float)y0) < slack && fabsf(out[2] - (float)x1) < slack &&
                   fabsf(out[3] - (float)y1) < slack,
               "%u: box %g %g %g %g, painted %d %d %d %d", k, out[0], out[1], out[2], out[3], x0, y0, x1, y1);
    }
    EXPECT(shown > 150 && hidden > 0, "%d shown, %d hidden", shown, hidden);
}

static void boxes_dropped(void)
{
    view v = view_fit(100, 100, 100, 100);
    float out[4];
    EXPECT(view_box(&v, (float[]){10, 10, 20, 20}, 100, 100, out), "inside");
    v.cx = 17; /* the network's left edge is at stored column 17: 3 of 10 remain */
    EXPECT(view_box(&v, (float[]){10, 10, 20, 20}, 100, 100, out) && out[0] == 0 && out[2] == 3, "30 %% remain");
    v.cx = 18;
    EXPECT(!view_box(&v, (float[]){10, 10, 20, 20}, 100, 100, out), "20 %% remain");
    v.cx = 0;
    EXPECT(!view_box(&v, (float[]){10, 10, 11.5f, 20}, 100, 100, out), "too narrow");
}

static void ranges_and_presets(void)
{
    enum { N = 48 };
    static int16_t ct[N * N];
    static uint8_t rgb[N * N * 3];
    for (int i = 0; i < N * N; i++) ct[i] = (int16_t)(i * 37 % 4000 - 1000);
    for (int i = 0; i < N * N * 3; i++) rgb[i] = (uint8_t)(i * 101 % 256);
    for (int p = 0; augment_presets[p]; p++) {
        augment_spec a;
        EXPECT_OK(augment_preset(&a, augment_presets[p]));
        double change = 0;
        static float first[N * N * 3];
        for (uint32_t k = 0; k < 40; k++) {
            raw_sample s =
                k % 2 ? raw_u8(rgb, N, N, 3) : (raw_sample){.pixels = ct, .type = DT_I16, .H = N, .W = N, .C = 1, .range = {-160, 240}};
            view v;
            EXPECT_OK(sample_image(&s, &a, (rng_key){1, k, 0}, N, N, image, &v, &tmp));
            float lo = 2, hi = -1;
            for (int i = 0; i < N * N * 3; i++) {
                EXPECT(image[i] >= 0 && image[i] <= 1, "%s: %g", a.preset, image[i]); /* false for NaN */
                lo = fminf(lo, image[i]), hi = fmaxf(hi, image[i]);
            }
            EXPECT(hi - lo > 0.2f, "%s: contrast %g", a.preset, hi - lo);
            if (k == 1) memcpy(first, image, sizeof first);
            if (k == 3)
                for (int i = 0; i < N * N * 3; i++) change += fabsf(image[i] - first[i]);
        }
        EXPECT(p == 0 ? change == 0 : change > 10, "%s: change %g", augment_presets[p], change);
    }
    augment_spec a;
    EXPECT_STATUS(augment_preset(&a, "histologi"), ST_USAGE);
    EXPECT(strstr(status_message(), "histology"), "%s", status_message());
    static const char *const pairs[][2] = {{"CT", "ct"},
                                           {"MR", "mr"},
                                           {"MRI", "mr"},
                                           {"X-ray", "xray"},
                                           {"Histology", "histology"},
                                           {"microscopy", "microscopy"},
                                           {"fluorescence microscopy", "microscopy"},
                                           {"ultrasound", "weak"},
                                           {"", "weak"},
                                           {"electron", "weak"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        EXPECT(strcmp(augment_for_modality(pairs[i][0]), pairs[i][1]) == 0, "%s: %s", pairs[i][0], augment_for_modality(pairs[i][0]));
}

/* Brightness and contrast are no hue shift; hue keeps grey grey; inversion inverts; noise has the sd asked for. */
static void intensities(void)
{
    enum { N = 64 };
    augment_draw d = {.v = view_fit(N, N, N, N), .contrast = 1, .gamma = 1, .saturation = 1};
    rng_key key = {5, 6, 7};
    float x[3] = {0.2f, 0.5f, 0.7f};
#define FILL() for (int i = 0; i < N * N * 3; i++) image[i] = x[i % 3]
    FILL();
    EXPECT_OK(intensity_apply(&d, key, image, N, N, 3, N, N, &tmp));
    EXPECT(image[0] == x[0] && image[100] == x[1], "nothing asked, nothing done");
    d.invert = true;
    EXPECT_OK(intensity_apply(&d, key, image, N, N, 3, N, N, &tmp));
    EXPECT_NEAR(image[0], 0.8, 1e-6);
    d.invert = false, d.hue = 2.0943951f; /* a third of a turn carries each channel to the next */
    FILL();
    EXPECT_OK(intensity_apply(&d, key, image, N, N, 3, N, N, &tmp));
    EXPECT(fabsf(image[1] - x[0]) + fabsf(image[2] - x[1]) + fabsf(image[0] - x[2]) < 1e-5f ||
           fabsf(image[2] - x[0]) + fabsf(image[0] - x[1]) + fabsf(image[1] - x[2]) < 1e-5f, "%g %g %g", image[0], image[1], image[2]);
    d.hue = 0, d.saturation = 0.5f;
    FILL();
    EXPECT_OK(intensity_apply(&d, key, image, N, N, 3, N, N, &tmp));
    EXPECT_NEAR(image[0] + image[1] + image[2], 1.4, 1e-5);
    EXPECT_NEAR(image[2] - image[0], 0.25, 1e-5);
    d.saturation = 1, d.contrast = 2, d.brightness = 0.1f;
    for (int i = 0; i < N * N; i++) image[i] = i % 2 ? 0.4f : 0.5f;
    EXPECT_OK(intensity_apply(&d, key, image, N, N, 1, N, N, &tmp));
    EXPECT_NEAR(image[0], 0.65, 1e-5);
    EXPECT_NEAR(image[1], 0.45, 1e-5);
    d.contrast = 1, d.brightness = 0, d.gamma = 2;
    for (int i = 0; i < N * N; i++) image[i] = 0.3f;
    EXPECT_OK(intensity_apply(&d, key, image, N, N, 1, N, N, &tmp));
    EXPECT_NEAR(image[0], 0.09, 1e-4);
    d.gamma = 1, d.noise = 0.05f;
    for (int i = 0; i < N * N; i++) image[i] = 0.5f;
    EXPECT_OK(intensity_apply(&d, key, image, N, N, 1, N, N, &tmp));
    double sum = 0, square = 0;
    for (int i = 0; i < N * N; i++) sum += image[i] - 0.5, square += (image[i] - 0.5) * (image[i] - 0.5);
    EXPECT_NEAR(sum / (N * N), 0, 0.003);
    EXPECT_NEAR(sqrt(square / (N * N)), 0.05, 0.002);
    d.noise = 0, d.blur = 1;
    memset(image, 0, sizeof image);
    image[32 * N + 32] = 1;
    EXPECT_OK(intensity_apply(&d, key, image, N, N, 1, N, N, &tmp));
    sum = 0;
    for (int i = 0; i < N * N; i++) sum += image[i];
    EXPECT_NEAR(sum, 1, 1e-4);
    EXPECT_NEAR(image[32 * N + 33] / image[32 * N + 32], exp(-0.5), 1e-4);
    EXPECT_NEAR(image[33 * N + 32] / image[32 * N + 32], exp(-0.5), 1e-4);
}

static void public_fit(void)
{
    float p[2 * 2] = {-1, 0, 1, 3};
    float out[2 * 2 * 3];
    view v;
    EXPECT_OK(image_fit(p, DT_F32, 2, 2, 1, (float[]){-1, 1}, 0, 2, 2, out, &v));
    EXPECT(out[0] == 0 && out[3] == 0.5f && out[6] == 1 && out[9] == 1 && out[11] == 1, "%g %g %g %g", out[0], out[3], out[6], out[9]);
    EXPECT_STATUS(image_fit(p, DT_F32, 2, 2, 1, (float[]){1, 1}, 0, 2, 2, out, &v), ST_DATA);
}

int main(void)
{
    RUN(identity);
    RUN(flips_and_quarter_turns);
    RUN(fitted);
    RUN(stated_pixel_size);
    RUN(no_aliasing);
    RUN(not_finite_stays);
    RUN(labels_follow);
    RUN(boxes_dropped);
    RUN(ranges_and_presets);
    RUN(intensities);
    RUN(public_fit);
    scratch_free(&tmp);
    DONE();
}
