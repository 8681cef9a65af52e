/* ladder_kern: the limits of the core (a large GEMM, a streams triad) and the kernels one by one, at the sizes of swin_t's four stages with
 * a batch of 8 images of 224 px, and of the decoders at 256 px. */
#include "ladder.h"

#include "../../src/train/train_internal.h"
#include "medley/kern.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 8, BUFFERS = 10 };

/* What every kernel item needs: buffers, an arena for a grid, and its arguments. */
typedef struct kernel {
    const item *it;
    float *b[BUFFERS];
    int64_t R, C, N, K;
    arena a;
    window_grid grid;
    int64_t windows;
    int heads;
    conv shape;
    gradient_sum sum;
} kernel;

static kernel *kernel_open(const item *it, void **state)
{
    kernel *k = calloc(1, sizeof *k);
    if (!k) abort();
    k->it = it;
    *state = k;
    return k;
}

static void kernel_close(void *state)
{
    kernel *k = state;
    for (int i = 0; i < BUFFERS; i++) free(k->b[i]);
    arena_free(&k->a);
    sum_free(&k->sum);
    free(k);
}

/* ---- limits ---------------------------------------------------------------------------------------------------------------------- */

enum { GEMM_N = 1536, TRIAD_N = 16 << 20 };

static status gemm_open(const item *it, void **state)
{
    kernel *k = kernel_open(it, state);
    for (int i = 0; i < 3; i++) k->b[i] = ladder_floats(GEMM_N * GEMM_N, (uint32_t)i);
    return OK;
}

static void gemm_run(void *state)
{
    kernel *k = state;
    kern_gemm(false, true, GEMM_N, GEMM_N, GEMM_N, 1.0f, k->b[0], GEMM_N, k->b[1], GEMM_N, 0.0f, k->b[2], GEMM_N);
}

static status triad_open(const item *it, void **state)
{
    kernel *k = kernel_open(it, state);
    for (int i = 0; i < 3; i++) k->b[i] = ladder_floats(TRIAD_N, (uint32_t)i);
    return OK;
}

static void triad_run(void *state)
{
    kernel *k = state;
    float *restrict a = k->b[0];
    const float *restrict b = k->b[1], *restrict c = k->b[2];
    for (int64_t i = 0; i < TRIAD_N; i++) a[i] = b[i] + 0.5f * c[i];
}

/* ---- linear layers: qkv, proj, fc1, fc2 of a stage --------------------------------------------------------------------------------- */

enum { WAY_FORWARD, WAY_INPUT, WAY_WEIGHT };

static int stage_rows(int stage) { return BATCH * (56 >> stage) * (56 >> stage); }
static int stage_channels(int stage) { return 96 << stage; }

static status linear_open(const item *it, void **state)
{
    kernel *k = kernel_open(it, state);
    int64_t R = stage_rows(it->arg[0]), C = stage_channels(it->arg[0]);
    k->R = R, k->C = C;
    k->b[0] = ladder_floats(R * 4 * C, 1), k->b[1] = ladder_floats(R * 4 * C, 2), k->b[2] = ladder_floats(4 * C * C, 3);
    k->b[3] = ladder_floats(4 * C, 4), k->b[4] = ladder_floats(4 * C * C, 5), k->b[5] = ladder_floats(4 * C, 6);
    return OK;
}

static void linear_run(void *state)
{
    kernel *k = state;
    int64_t C = k->C, size[4][2] = {{3 * C, C}, {C, C}, {4 * C, C}, {C, 4 * C}};
    float *x = k->b[0], *y = k->b[1], *W = k->b[2], *b = k->b[3], *dW = k->b[4], *db = k->b[5];
    for (int i = 0; i < 4; i++) {
        int64_t N = size[i][0], K = size[i][1];
        if (k->it->arg[1] == WAY_FORWARD) linear_forward(y, x, W, b, k->R, N, K);
        else if (k->it->arg[1] == WAY_INPUT) linear_backward(x, false, NULL, NULL, y, NULL, W, k->R, N, K);
        else linear_backward(NULL, false, dW, db, y, x, NULL, k->R, N, K);
    }
}

/* ---- window attention -------------------------------------------------------------------------------------------------------------- */

static status attention_open(const item *it, void **state)
{
    kernel *k = kernel_open(it, state);
    int stage = it->arg[0], ws = it->arg[2] == 2 ? 8 : 7, side = 8 * ws >> stage;
    arena plan = {0};
    window_grid_place(&k->grid, side, side, ws, ws / 2, &plan);
    TRY(arena_init(&k->a, plan.used, "grid"), "bench");
    window_grid_place(&k->grid, side, side, ws, ws / 2, &k->a);
    k->windows = (int64_t)BATCH * k->grid.n_windows, k->heads = 3 << stage;
    int64_t C = stage_channels(stage), R = k->windows * k->grid.N, bias = (int64_t)k->heads * k->grid.N * k->grid.Np;
    k->b[0] = ladder_floats(R * C, 1), k->b[1] = ladder_floats(R * 3 * C, 2), k->b[2] = ladder_floats(bias, 3);
    k->b[3] = ladder_floats(k->heads, 4), k->b[4] = ladder_floats(R * 3 * C, 5), k->b[5] = ladder_floats(bias, 6);
    k->b[6] = ladder_floats(k->heads, 7), k->b[7] = ladder_floats(window_scratch(&k->grid, k->heads), 8);
    for (int h = 0; h < k->heads; h++) k->b[3][h] = 10.0f;
    return OK;
}

static void attention_run(void *state)
{
    kernel *k = state;
    const float *tau = k->it->arg[2] == 2 ? k->b[3] : NULL;
    if (k->it->arg[1] == WAY_FORWARD) window_attention_forward(k->b[0], k->b[1], k->b[2], tau, &k->grid, k->windows, k->heads, 32);
    else
        window_attention_backward(k->b[4], k->b[5], k->b[6], k->b[0], k->b[1], k->b[2], tau, &k->grid, k->windows, k->heads, 32, k->b[7]);
}

/* ---- rows: layer norm, GELU. Twice the batch of stage 1: larger than the third-level cache ------------------------------------------- */

enum { NORM_ROWS = 4 * BATCH * 56 * 56, NORM_C = 96 };

static status rows_open(const item *it, void **state)
{
    kernel *k = kernel_open(it, state);
    for (int i = 0; i < 3; i++) k->b[i] = ladder_floats((int64_t)NORM_ROWS * NORM_C, (uint32_t)i);
    for (int i = 3; i < 7; i++) k->b[i] = ladder_floats(NORM_C, (uint32_t)i);
    k->b[7] = ladder_floats(2 * NORM_ROWS, 9);
    return OK;
}

static void norm_run(void *state)
{
    kernel *k = state;
    float **b = k->b;
    if (k->it->arg[0] == WAY_FORWARD) layernorm_forward(b[0], b[7], b[1], b[3], b[4], NORM_ROWS, NORM_C, 1e-5f);
    else layernorm_backward(b[0], false, b[5], b[6], b[2], b[1], b[7], b[3], NORM_ROWS, NORM_C);
}

static void gelu_run(void *state)
{
    kernel *k = state;
    if (k->it->arg[0] == WAY_FORWARD) gelu_forward(k->b[0], k->b[1], (int64_t)NORM_ROWS * NORM_C);
    else gelu_backward(k->b[0], k->b[2], k->b[1], (int64_t)NORM_ROWS * NORM_C);
}

/* ---- convolution ------------------------------------------------------------------------------------------------------------------- */

static const struct { const char *name, *label; int side, c_in, c_out; } conv_size[] = {
    {"tower", "box tower, 32x32, 128 to 128", 32, 128, 128},
    {"unet1", "U-Net block 1, 16x16, 1152 to 96", 16, 1152, 96},
    {"unet3", "U-Net block 3, 64x64, 160 to 32", 64, 160, 32},
    {"unet5", "U-Net block 5, 256x256, 16 to 16", 256, 16, 16},
};

static status conv_open(const item *it, void **state)
{
    kernel *k = kernel_open(it, state);
    int side = it->arg[2], c_in = it->arg[3], c_out = it->arg[4], size[1][2] = {{side, side}};
    k->shape = conv_plan(BATCH, 1, size, c_in, c_out, 1);
    k->b[0] = ladder_floats(k->shape.in_pixels * c_in, 1), k->b[1] = ladder_floats(k->shape.out_pixels * c_out, 2);
    k->b[2] = ladder_floats((int64_t)9 * c_in * c_out, 3), k->b[3] = ladder_floats(c_out, 4);
    k->b[4] = ladder_floats((int64_t)9 * c_in * c_out, 5);
    k->b[5] = ladder_floats(c_out, 6), k->b[6] = ladder_floats(conv_scratch(&k->shape, true), 7);
    return OK;
}

static void conv_run(void *state)
{
    kernel *k = state;
    float **b = k->b;
    conv_in in = {.x = b[0], .C = k->shape.Cin};
    if (k->it->arg[1] == WAY_FORWARD) conv_forward(&k->shape, b[1], &in, 1, b[2], b[3], b[6]);
    else if (k->it->arg[1] == WAY_INPUT)
        conv_backward_input(&k->shape, &(conv_out){.d = b[0], .C = k->shape.Cin}, 1, b[1], b[2], b[6]);
    else conv_backward_weight(&k->shape, b[4], b[5], b[1], &in, 1, b[6]);
}

/* ---- optimiser and sums: as many values as swin_t has weights ------------------------------------------------------------------------ */

enum { WEIGHTS = 28 << 20 };

static status adamw_open(const item *it, void **state)
{
    kernel *k = kernel_open(it, state);
    for (int i = 0; i < 4; i++) k->b[i] = ladder_floats(WEIGHTS, (uint32_t)i);
    for (int64_t i = 0; i < WEIGHTS; i++) k->b[3][i] *= k->b[3][i];
    return OK;
}

static void adamw_run(void *state)
{
    kernel *k = state;
    adamw o = adamw_at(1e-4, 0.05, 0.9, 0.999, 1e-8, 10);
    adamw_update(k->b[0], k->b[1], k->b[2], k->b[3], NULL, WEIGHTS, &o);
}

static status sum_open(const item *it, void **state)
{
    kernel *k = kernel_open(it, state);
    k->b[0] = ladder_floats(WEIGHTS, 1);
    TRY(sum_init(&k->sum, NULL, it->arg[0], 1, 1, WEIGHTS, 16, NULL), "bench");
    k->sum.tensor[0].off = 0, k->sum.tensor[0].n = WEIGHTS;
    return OK;
}

static void sum_run(void *state)
{
    kernel *k = state;
    if (sum_check(&k->sum, k->b[0], 0, 1) < 0) sum_add(&k->sum, k->b[0], 0, 1);
}

/* ---- the table --------------------------------------------------------------------------------------------------------------------- */

static item *add(ladder *l, const char *unit, const char *limit, double work, const char *name, const char *label,
                 status (*open)(const item *, void **), void (*run)(void *))
{
    item *it = ladder_add(l, unit, limit, work, name, label);
    it->open = open, it->run = run, it->close = kernel_close;
    return it;
}

#define FLOPS "GFLOP/s", "gemm"
#define BYTES "GB/s", "triad"

void ladder_kernels(ladder *l)
{
    static const char *const way_name[] = {"fwd", "dx", "dw"}, *const way_label[] = {"forward", "input gradient", "weight gradient"};
    char name[48], label[120];
    add(l, FLOPS, 2e-9 * GEMM_N * GEMM_N * (double)GEMM_N, "gemm", "large GEMM, 1536 x 1536 x 1536", gemm_open, gemm_run);
    /* bytes here and below: what moves between memory and cache, so a line that is only written counts twice: it is fetched first */
    add(l, BYTES, 16e-9 * TRIAD_N, "triad", "streams triad, 3 x 64 MiB", triad_open, triad_run);
    for (int s = 0; s < 4; s++)
        for (int way = 0; way < 3; way++) {
            double C = stage_channels(s), flops = 2.0 * stage_rows(s) * 12 * C * C;
            snprintf(name, sizeof name, "linear%d_%s", s + 1, way_name[way]);
            snprintf(label, sizeof label, "linear layers, stage %d (C = %d), %s", s + 1, (int)C, way_label[way]);
            item *it = add(l, FLOPS, 1e-9 * flops, name, label, linear_open, linear_run);
            it->arg[0] = s, it->arg[1] = way;
        }
    for (int version = 1; version <= 2; version++)
        for (int s = 0; s < 4; s += 2)
            for (int way = 0; way < 2; way++) {
                int N = version == 2 ? 64 : 49, windows = BATCH * (64 >> (2 * s));
                double flops = (way ? 8.0 : 4.0) * windows * N * N * stage_channels(s);
                snprintf(name, sizeof name, "attention_v%d_%d_%s", version, s + 1, way ? "bwd" : "fwd");
                snprintf(label, sizeof label, "window attention V%d, stage %d, %s", version, s + 1, way ? "backward" : "forward");
                item *it = add(l, FLOPS, 1e-9 * flops, name, label, attention_open, attention_run);
                it->arg[0] = s, it->arg[1] = way, it->arg[2] = version;
            }
    for (int way = 0; way < 2; way++) {
        double n = (double)NORM_ROWS * NORM_C * 4e-9 * (way ? 4 : 3);
        add(l, BYTES, n, way ? "layernorm_bwd" : "layernorm_fwd", way ? "layer norm, backward" : "layer norm, forward", rows_open,
            norm_run)->arg[0] = way;
        add(l, BYTES, n, way ? "gelu_bwd" : "gelu_fwd", way ? "GELU, backward" : "GELU, forward", rows_open, gelu_run)->arg[0] = way;
    }
    for (size_t i = 0; i < sizeof conv_size / sizeof *conv_size; i++)
        for (int way = 0; way < 3; way++) {
            double flops = 18.0 * BATCH * conv_size[i].side * conv_size[i].side * conv_size[i].c_in * conv_size[i].c_out;
            snprintf(name, sizeof name, "conv_%s_%s", conv_size[i].name, way_name[way]);
            snprintf(label, sizeof label, "3x3 convolution, %s, %s", conv_size[i].label, way_label[way]);
            item *it = add(l, FLOPS, 1e-9 * flops, name, label, conv_open, conv_run);
            it->arg[1] = way, it->arg[2] = conv_size[i].side, it->arg[3] = conv_size[i].c_in, it->arg[4] = conv_size[i].c_out;
        }
    add(l, BYTES, 32e-9 * WEIGHTS, "adamw", "AdamW, 29 million weights", adamw_open, adamw_run);
    add(l, BYTES, 28e-9 * WEIGHTS, "sum_exact", "exact sum of a unit's gradient (check and add)", sum_open, sum_run)->arg[0] = true;
    add(l, BYTES, 20e-9 * WEIGHTS, "sum_float", "float sum of a unit's gradient (check and add)", sum_open, sum_run)->arg[0] = false;
}
