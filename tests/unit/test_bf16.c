/* test_bf16: linear layers in bf16 against sums in double precision of operands that were rounded by their definition. */
#include "medley/kern.h"

#include "test.h"

static rng draws;

static float *random_f(int64_t n)
{
    float *x;
    if (mem_alloc(&x, sizeof(float) * (size_t)(n > 0 ? n : 1), "test")) abort();
    for (int64_t i = 0; i < n; i++) x[i] = 2 * rng_uniform(&draws) - 1;
    return x;
}

/* The nearest value with 8 significant bits, of two equally near ones the even: bf16 but for its smallest and largest numbers. */
static double rounded(double x)
{
    int exponent;
    if (x == 0 || !isfinite(x)) return x;
    frexp(x, &exponent);
    return ldexp(rint(ldexp(x, 8 - exponent)), exponent - 8);
}

static double *rounded_all(const float *x, int64_t n)
{
    double *y = malloc(sizeof *y * (size_t)n);
    for (int64_t i = 0; i < n; i++) y[i] = rounded(x[i]);
    return y;
}

/* Largest |got - want| over the largest |want|. */
static double difference(const float *got, const double *want, int64_t n)
{
    double worst = 0, top = 1e-30;
    for (int64_t i = 0; i < n; i++) worst = fmax(worst, isfinite(got[i]) ? fabs(got[i] - want[i]) : INFINITY), top = fmax(top, fabs(want[i]));
    return worst / top;
}

/* C (M,N) = op(A) op(B) in double; a step of 1 along one index, the other apart. */
static double *product_of(const double *A, int64_t a_row, int64_t a_k, const double *B, int64_t b_k, int64_t b_col, int64_t M, int64_t N, int64_t K)
{
    double *C = calloc((size_t)(M * N), sizeof *C);
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < K; k++) {
            double a = A[m * a_row + k * a_k];
            for (int64_t n = 0; n < N; n++) C[m * N + n] += a * B[k * b_k + n * b_col];
        }
    return C;
}

/* What a linear layer computes, forward and backward. */
typedef struct layer { int64_t R, N, K; float *x, *W, *b, *dy, *out[4]; } layer; /* out: y, dx, dW, db */
static void layer_make(layer *l, int64_t R, int64_t N, int64_t K)
{
    *l = (layer){R, N, K, random_f(R * K), random_f(N * K), random_f(N), random_f(R * N), {NULL}};
}
static int64_t layer_size(const layer *l, int i) { return (int64_t[]){l->R * l->N, l->R * l->K, l->N * l->K, l->N}[i]; }
static void layer_run(layer *l, bool bf16)
{
    for (int i = 0; i < 4; i++) {
        l->out[i] = random_f(layer_size(l, i));
        memset(l->out[i], 0, sizeof(float) * (size_t)layer_size(l, i));
    }
    EXPECT(!kern_use_bf16(bf16), "bf16 was on");
    linear_forward(l->out[0], l->x, l->W, l->b, l->R, l->N, l->K);
    linear_backward(l->out[1], false, l->out[2], l->out[3], l->dy, l->x, l->W, l->R, l->N, l->K);
    EXPECT(kern_use_bf16(false) == bf16, "bf16 was not as it had been set");
}
static void layer_free(layer *l)
{
    for (int i = 0; i < 4; i++) free(l->out[i]);
    free(l->x), free(l->W), free(l->b), free(l->dy);
}

/* R, N, K: odd rows and pairs, one, two and three vectors, depths of several blocks, several pieces. */
static const int64_t shape[][3] = {{533, 80, 112}, {391, 48, 400}, {1101, 304, 96}, {263, 16, 800}, {1601, 48, 1568}, {97, 1600, 48}, {64, 176, 144}};

static void products(void)
{
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        layer l, full;
        int64_t R = shape[s][0], N = shape[s][1], K = shape[s][2];
        layer_make(&l, R, N, K);
        full = l;
        layer_run(&l, true);
        layer_run(&full, false);
        double *x = rounded_all(l.x, R * K), *W = rounded_all(l.W, N * K), *dy = rounded_all(l.dy, R * N);
        double *want[4] = {product_of(x, K, 1, W, 1, K, R, N, K), product_of(dy, N, 1, W, K, 1, R, K, N), product_of(dy, 1, N, x, K, 1, N, K, R),
                           calloc((size_t)N, sizeof(double))};
        for (int64_t i = 0; i < R * N; i++) want[0][i] += l.b[i % N], want[3][i % N] += l.dy[i]; /* these are not rounded */
        for (int i = 0; i < 4; i++) {
            double far = difference(l.out[i], want[i], layer_size(&l, i)), fp32 = difference(full.out[i], want[i], layer_size(&l, i));
            EXPECT(far < 3e-6, "result %d of %lld x %lld x %lld: %g", i, (long long)R, (long long)N, (long long)K, far);
            EXPECT(i == 3 || fp32 > 1e-4, "result %d of fp32 is that of rounded operands, within %g", i, fp32);
            free(want[i]), free(full.out[i]);
        }
        free(x), free(W), free(dy);
        layer_free(&l);
    }
}

/* dx is added to where that is asked for; dW always is. */
static void sums(void)
{
    layer l;
    layer_make(&l, 200, 96, 112);
    layer_run(&l, true);
    kern_use_bf16(true);
    float *twice[2] = {random_f(l.R * l.K), random_f(l.N * l.K)};
    for (int i = 0; i < 2; i++) memcpy(twice[i], l.out[1 + i], sizeof(float) * (size_t)layer_size(&l, 1 + i));
    linear_backward(twice[0], true, twice[1], NULL, l.dy, l.x, l.W, l.R, l.N, l.K);
    kern_use_bf16(false);
    for (int i = 0; i < 2; i++)
        for (int64_t k = 0; k < layer_size(&l, 1 + i); k++) EXPECT(twice[i][k] == 2 * l.out[1 + i][k], "%d: %g is not twice %g", i, twice[i][k], l.out[1 + i][k]);
    free(twice[0]), free(twice[1]);
    layer_free(&l);
}

/* Identity times x is what x was rounded to. Values as torch rounds them: torch.tensor(x).bfloat16().float(). */
static void rounding(void)
{
    const float value[][2] = {{1.0f, 1.0f}, {1.00390625f, 1.0f}, {1.01171875f, 1.015625f}, {1.00390637f, 1.0078125f}, {-1.00390625f, -1.0f}, {3.14159274f, 3.140625f},
                              {65535.0f, 65536.0f}, {0.1f, 0.10009765625f}, {1e-20f, 1.00055766894e-20f}, {3.3e38f, 3.29648542955e38f}, {-0.333333343f, -0.333984375f},
                              {0.0f, 0.0f}};
    enum { N = 112, VALUES = sizeof value / sizeof *value };
    float *one = random_f(N * N), *x = random_f(N * N), *y = random_f(N * N);
    for (int i = 0; i < N * N; i++) one[i] = i / N == i % N, x[i] = value[(i + i / N) % VALUES][0];
    kern_use_bf16(true);
    linear_forward(y, one, x, NULL, N, N, N); /* the transpose of x */
    kern_use_bf16(false);
    for (int i = 0; i < N * N; i++) EXPECT(y[i % N * N + i / N] == value[(i + i / N) % VALUES][1], "%g became %.9g", x[i], y[i % N * N + i / N]);
    memset(y, 0, sizeof(float) * N * N);
    kern_use_bf16(true);
    linear_backward(NULL, false, y, NULL, one, x, NULL, N, N, N); /* x, as the other operand, packed otherwise */
    kern_use_bf16(false);
    for (int i = 0; i < N * N; i++) EXPECT(y[i] == value[(i + i / N) % VALUES][1], "%g became %.9g", x[i], y[i]);
    free(one), free(x), free(y);
}

/* What is not finite stays so, in its row alone: failures are looked for in the sums. */
static void not_finite(void)
{
    layer l;
    layer_make(&l, 131, 96, 112);
    union { uint32_t bits; float x; } most = {0x7fffffff}; /* a NaN that a carry would turn into a zero */
    l.x[5 * l.K + 7] = most.x, l.x[130 * l.K + 111] = INFINITY, l.x[64 * l.K] = -NAN;
    layer_run(&l, true);
    for (int64_t r = 0; r < l.R; r++)
        for (int64_t n = 0; n < l.N; n++) {
            float y = l.out[0][r * l.N + n];
            EXPECT(r == 5 || r == 64 ? isnan(y) : r == 130 ? isinf(y) : isfinite(y), "row %lld: %g", (long long)r, y);
        }
    for (int64_t n = 0; n < l.N; n++) EXPECT(isnan(l.out[2][n * l.K + 7]) && isnan(l.out[2][n * l.K]) && isinf(l.out[2][n * l.K + 111]) && isfinite(l.out[2][n * l.K + 1]), "dW");
    layer_free(&l);
}

/* The number of threads decides how a product is cut, never what comes out; nor what else is computed. */
static void bits(void)
{
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        layer l, other;
        layer_make(&l, shape[s][0], shape[s][1], shape[s][2]);
        other = l;
        layer_run(&l, true);
        kern_init(3);
        layer_run(&other, true);
        kern_init(1);
        for (int i = 0; i < 4; i++) {
            EXPECT(memcmp(l.out[i], other.out[i], sizeof(float) * (size_t)layer_size(&l, i)) == 0, "result %d of shape %zu depends on the threads", i, s);
            free(other.out[i]);
        }
        layer_free(&l);
    }
}

/* Heads of few classes and tables of positions are small: they stay as they were. */
static void small_ones(void)
{
    const int64_t small[][3] = {{16, 16, 768}, {225, 16, 256}, {8, 7, 96}, {100, 10, 2000}};
    for (size_t s = 0; s < sizeof small / sizeof *small; s++) {
        layer l, full;
        layer_make(&l, small[s][0], small[s][1], small[s][2]);
        full = l;
        layer_run(&l, true);
        layer_run(&full, false);
        EXPECT(memcmp(l.out[0], full.out[0], sizeof(float) * (size_t)layer_size(&l, 0)) == 0, "shape %zu was rounded", s);
        for (int i = 0; i < 4; i++) free(full.out[i]);
        layer_free(&l);
    }
}

int main(void)
{
    draws = rng_open((rng_key){.seed = 2}, RNG_TEST, 0);
    kern_init(1);
    if (kern_bf16_choose()) {
        const char *kernel = getenv("MEDLEY_BF16_KERNEL");
        bool known = kernel && (strcmp(kernel, "onednn") == 0 || strcmp(kernel, "avx512") == 0) && !strstr(status_message(), "is wrong");
        printf(known ? "1..0 # SKIP %s\n" : "Bail out! %s\n", status_message());
        return !known;
    }
    printf("# %s\n", kern_bf16_name() ? kern_bf16_name() : "the plain kernel");
    RUN(products);
    RUN(sums);
    RUN(rounding);
    RUN(not_finite);
    RUN(bits);
    RUN(small_ones);
    DONE();
}
