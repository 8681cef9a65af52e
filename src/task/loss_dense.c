/* loss_dense: softmax focal + Dice over pixels.
 *
 *   loss  = 1/2 focal / f0 + 1/2 dice / d0,   f0 = (1 - 1/K)^2 ln K,   d0 = 1 - 1/K: their values for uniform logits (Dice: and equally
 *           frequent classes), so the loss starts near 1 for any K
 *   focal = mean over the sample's valid pixels of (1 - p_y)^2 (-ln p_y), p the softmax
 *   dice  = mean over the classes present in the sample's mask (background included) of 1 - (2 I + 1) / (S + T + 1), with sums over the
 *           sample's valid pixels: I of p where the class is, S of p, T of pixels of the class. A class absent from the mask has no
 *           Dice: focal and the Dice of the classes that are there punish it where it is predicted.
 *
 * Both are per sample, then averaged over the samples with valid pixels: nothing couples samples, as with the norms of the model.
 * Pixels are taken in blocks, turned so that the inner loops run over pixels: K is small. Partial sums per fixed chunk of pixels. */
#include "task_internal.h"

#include "../kern/fastmath.h"

#include <math.h>
#include <string.h>

enum { CHUNKS = 16, BLOCK = 128, PLANE_FLOATS = 32768 };

/* Chunk sums: focal, valid pixels, then I, S, T per class. */
static int64_t part_doubles(int64_t K) { return 2 + 3 * K; }

static int64_t block_pixels(int64_t K)
{
    int64_t n = PLANE_FLOATS / K;
    return n > BLOCK ? BLOCK : n < 1 ? 1 : n;
}

static int64_t plane_doubles(int64_t K) { return (block_pixels(K) * K + 1) / 2; }

int64_t loss_dense_work(int64_t B, int64_t P, int64_t K)
{
    (void)P;
    return B * CHUNKS * (part_doubles(K) + plane_doubles(K)) + B * (2 + 2 * K);
}

/* planes (K,n) <- rows (n,K), and back. */
static void turn(float *planes, const float *rows, int64_t n, int64_t K)
{
    for (int64_t k = 0; k < K; k++)
        for (int64_t i = 0; i < n; i++) planes[k * n + i] = rows[i * K + k];
}

static void turn_back(float *rows, const float *planes, int64_t n, int64_t K)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < K; k++) rows[i * K + k] = planes[k * n + i];
}

/* Softmax of a block in planes; log_p (n): of the true class; adds to the chunk's sums. */
static void block_sums(float *q, int64_t n, int64_t K, const uint8_t *y, double *part)
{
    float top[BLOCK], sum[BLOCK], chosen[BLOCK], valid[BLOCK];
    double *I = part + 2, *S = I + K, *T = S + K;
    for (int64_t i = 0; i < n; i++) {
        valid[i] = pixel_counts(y[i], K);
        chosen[i] = q[(valid[i] > 0 ? y[i] : 0) * n + i];
        top[i] = q[i];
        sum[i] = 0;
    }
    for (int64_t k = 1; k < K; k++)
        for (int64_t i = 0; i < n; i++) top[i] = q[k * n + i] > top[i] ? q[k * n + i] : top[i];
    for (int64_t k = 0; k < K; k++)
        for (int64_t i = 0; i < n; i++) {
            float e = fast_exp(q[k * n + i] - top[i]);
            q[k * n + i] = e;
            sum[i] += e;
        }
    for (int64_t k = 0; k < K; k++) {
        float s = 0;
#pragma omp simd reduction(+ : s)
        for (int64_t i = 0; i < n; i++) {
            float p = q[k * n + i] / sum[i];
            q[k * n + i] = p;
            s += p * valid[i];
        }
        S[k] += s;
    }
    for (int64_t i = 0; i < n; i++) {
        if (valid[i] == 0) continue;
        float p = q[y[i] * n + i], log_p = chosen[i] - top[i] - logf(sum[i]);
        part[0] -= (double)((1 - p) * (1 - p) * log_p);
        part[1] += 1;
        I[y[i]] += p;
        T[y[i]] += 1;
    }
}

/* Gradient of a block of probabilities in planes, in place. focal: factor of the focal term; ab (2,K): factors a, b of the Dice term
 * d dice / d p_k = a_k [y == k] + b_k. */
static void block_gradient(float *q, int64_t n, int64_t K, const uint8_t *y, float focal, const double *ab)
{
    float at[BLOCK], shift[BLOCK], valid[BLOCK];
    for (int64_t i = 0; i < n; i++) {
        valid[i] = pixel_counts(y[i], K);
        shift[i] = 0;
    }
    for (int64_t k = 0; k < K; k++) {
        float b = (float)ab[K + k];
        for (int64_t i = 0; i < n; i++) shift[i] += q[k * n + i] * b;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t c = valid[i] > 0 ? y[i] : 0;
        float p = q[c * n + i], log_p = logf(p > 1e-37f ? p : 1e-37f), a = (float)ab[c];
        float f = focal * (1 - p) * (2 * p * log_p - (1 - p)); /* p dL/dp of the focal term */
        at[i] = p * a + f;
        shift[i] = -(shift[i] + p * a + f);
    }
    for (int64_t k = 0; k < K; k++) {
        float b = (float)ab[K + k];
        for (int64_t i = 0; i < n; i++) q[k * n + i] *= valid[i] * (b + shift[i]);
    }
    for (int64_t i = 0; i < n; i++)
        if (valid[i] > 0) q[y[i] * n + i] += at[i];
}

/* One pass over the pixels of a chunk: sums (ab NULL) or gradient. */
static void run_chunk(float *z, const uint8_t *mask, int64_t from, int64_t to, int64_t K, float *planes, double *part, bool store,
                      float focal, const double *ab)
{
    int64_t step = block_pixels(K);
    for (int64_t p = from; p < to; p += step) {
        int64_t n = to - p < step ? to - p : step;
        turn(planes, z + p * K, n, K);
        if (ab)
            block_gradient(planes, n, K, mask + p, focal, ab);
        else
            block_sums(planes, n, K, mask + p, part);
        if (ab || store) turn_back(z + p * K, planes, n, K);
    }
}

/* From a sample's sums: its losses and the factors a, b of its Dice gradient. False: no valid pixel. */
static bool sample_loss(const double *sum, int64_t K, double d0, double *focal, double *dice, double *ab)
{
    const double *I = sum + 2, *S = I + K, *T = S + K;
    int n_present = 0;
    *focal = *dice = 0;
    memset(ab, 0, sizeof *ab * (size_t)(2 * K));
    if (sum[1] == 0) return false;
    for (int64_t k = 0; k < K; k++) n_present += T[k] > 0;
    for (int64_t k = 0; k < K; k++) {
        if (T[k] == 0) continue;
        double bottom = S[k] + T[k] + 1, top = 2 * I[k] + 1, scale = 0.5 / (d0 * n_present);
        *dice += (1 - top / bottom) / n_present;
        ab[k] = -2 * scale / bottom;
        ab[K + k] = scale * top / (bottom * bottom);
    }
    *focal = sum[0] / sum[1];
    return true;
}

double loss_dense(float *z, float gradient, const uint8_t *mask, int64_t B, int64_t P, int64_t K, double *work, int64_t *n_valid,
                  double parts[4])
{
    double classes = K > 1 ? (double)K : 2.0, d0 = 1 - 1 / classes, f0 = d0 * d0 * log(classes);
    int64_t n_part = part_doubles(K), per_chunk = n_part + plane_doubles(K), chunk = (P + CHUNKS - 1) / CHUNKS;
    double *coefficient = work + B * CHUNKS * per_chunk; /* per sample: focal factor, valid, a (K), b (K) */
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < B * CHUNKS; c++) {
        int64_t b = c / CHUNKS, from = c % CHUNKS * chunk, to = from + chunk < P ? from + chunk : P;
        double *part = work + c * per_chunk;
        memset(part, 0, sizeof *part * (size_t)n_part);
        run_chunk(z + b * P * K, mask + b * P, from, to, K, (float *)(part + n_part), part, gradient != 0, 0, NULL);
    }
    double focal_sum = 0, dice_sum = 0;
    int64_t n = 0;
    for (int64_t b = 0; b < B; b++) {
        double *total = work + b * CHUNKS * per_chunk, *co = coefficient + b * (2 + 2 * K), focal, dice;
        for (int c = 1; c < CHUNKS; c++)
            for (int64_t i = 0; i < n_part; i++) total[i] += total[c * per_chunk + i];
        co[1] = sample_loss(total, K, d0, &focal, &dice, co + 2);
        co[0] = co[1] > 0 ? 0.5 / (f0 * total[1]) : 0;
        focal_sum += 0.5 * focal / f0;
        dice_sum += 0.5 * dice / d0;
        n += co[1] > 0;
    }
    *n_valid = n;
    double mean = n ? 1.0 / (double)n : 0;
    for (int64_t b = 0; b < B; b++)
        for (int64_t i = 0; i < 2 + 2 * K; i++)
            if (i != 1) coefficient[b * (2 + 2 * K) + i] *= mean * gradient;
    parts[0] = focal_sum * mean;
    parts[1] = dice_sum * mean;
    parts[2] = parts[3] = 0;
    if (gradient == 0) return parts[0] + parts[1];
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < B * CHUNKS; c++) {
        int64_t b = c / CHUNKS, from = c % CHUNKS * chunk, to = from + chunk < P ? from + chunk : P;
        const double *co = coefficient + b * (2 + 2 * K);
        run_chunk(z + b * P * K, mask + b * P, from, to, K, (float *)(work + c * per_chunk + n_part), NULL, true, (float)co[0], co + 2);
    }
    return parts[0] + parts[1];
}
