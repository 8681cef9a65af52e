/* onnx_swin: the Swin encoder as an ONNX graph, for one image size. Padding, roll and cutting into windows are one Gather along the tokens,
 * as in kern/window.c, and another one leads back; position biases, masks and V2's temperature are constants. Operators are those that
 * runtimes know how to fuse (layer norm, GELU). */
#include "medley/kern.h"

#include "onnx.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct encoder {
    onnx         *g;
    const swin   *net;
    const params *pt;
    const float  *w;
    int           H, W;   /* of the stage at hand: tokens of its grid */
    int           C, stage;
} encoder;

/* Windows of a stage's grid, unshifted or shifted. */
typedef struct windows {
    int64_t    n, N;      /* windows of an image, tokens of one */
    bool       padded, masked;
    onnx_value out, back; /* token of each place in the windows (n*N); place of each token (H*W) */
    onnx_value mask;      /* (1,n,1,N,N), if masked */
} windows;

#define NO_ATTR NULL
#define INT(name_, v_) (onnx_attr[2]){{.name = name_, .v = {v_}}}
#define INTS(name_, n_, ...) (onnx_attr[2]){{.name = name_, .n = n_, .v = {__VA_ARGS__}}}
#define KEEP(axis_) (onnx_attr[3]){{.name = "axes", .n = 1, .v = {axis_}}, {.name = "keepdims", .v = {1}}}
#define LIST(g, n, ...) onnx_list(g, n, (int64_t[]){__VA_ARGS__})

/* ---- weights ----------------------------------------------------------------------------------------------------------------------------- */

static const param *find(const encoder *e, const char *prefix, const char *name, char full[160])
{
    snprintf(full, 160, "encoder.%s%s", prefix, name);
    int i = params_find(e->pt, full);
    if (i < 0) onnx_fail(e->g, status_raise(ST_BUG, __FILE__, __LINE__, "%s: no such weight", full));
    memmove(full, full + strlen("encoder."), strlen(full) - strlen("encoder.") + 1); /* in the file: torchvision's name */
    return i < 0 ? NULL : &e->pt->p[i];
}

static onnx_value weight(encoder *e, const char *prefix, const char *name)
{
    char full[160];
    const param *p = find(e, prefix, name, full);
    return p ? onnx_lend(e->g, full, p->ndim, p->shape, e->w + p->off) : (onnx_value){""};
}

/* x (..., in) to (..., out): MatMul wants the weight as (in,out). */
static onnx_value matmul(encoder *e, onnx_value x, const char *prefix, const char *name)
{
    char full[160];
    float *own;
    const param *p = find(e, prefix, name, full);
    if (!p) return x;
    int64_t rows = p->shape[0], columns = p->shape[1], shape[2] = {columns, rows};
    strcat(full, ".T");
    status st = mem_alloc(&own, sizeof *own * (size_t)p->n, full);
    if (st) return onnx_fail(e->g, st), x;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) own[c * rows + r] = e->w[p->off + r * columns + c];
    return onnx_two(e->g, "MatMul", x, onnx_own(e->g, full, 2, shape, own), NO_ATTR);
}

static onnx_value linear(encoder *e, onnx_value x, const char *prefix, const char *layer)
{
    char name[64];
    snprintf(name, sizeof name, "%s.weight", layer);
    x = matmul(e, x, prefix, name);
    snprintf(name, sizeof name, "%s.bias", layer);
    return onnx_two(e->g, "Add", x, weight(e, prefix, name), NO_ATTR);
}

static onnx_value norm(encoder *e, onnx_value x, const char *prefix, const char *layer)
{
    char name[64];
    onnx *g = e->g;
    onnx_value d = onnx_two(g, "Sub", x, onnx_one(g, "ReduceMean", x, KEEP(-1)), NO_ATTR);
    onnx_value var = onnx_one(g, "ReduceMean", onnx_two(g, "Pow", d, onnx_number(g, "two", 2.0f), NO_ATTR), KEEP(-1));
    onnx_value sd = onnx_one(g, "Sqrt", onnx_two(g, "Add", var, onnx_number(g, "epsilon", 1e-5f), NO_ATTR), NO_ATTR);
    snprintf(name, sizeof name, "%s.weight", layer);
    onnx_value y = onnx_two(g, "Mul", onnx_two(g, "Div", d, sd, NO_ATTR), weight(e, prefix, name), NO_ATTR);
    snprintf(name, sizeof name, "%s.bias", layer);
    return onnx_two(g, "Add", y, weight(e, prefix, name), NO_ATTR);
}

static onnx_value gelu(encoder *e, onnx_value x)
{
    onnx *g = e->g;
    onnx_value y = onnx_one(g, "Erf", onnx_two(g, "Div", x, onnx_number(g, "sqrt2", sqrtf(2.0f)), NO_ATTR), NO_ATTR);
    y = onnx_two(g, "Mul", x, onnx_two(g, "Add", y, onnx_number(g, "one", 1.0f), NO_ATTR), NO_ATTR);
    return onnx_two(g, "Mul", y, onnx_number(g, "half", 0.5f), NO_ATTR);
}

/* ---- windows ------------------------------------------------------------------------------------------------------------------------------ */

static void fill_windows(const window_grid *grid, int64_t *out, int64_t *back, float *mask)
{
    int64_t n = grid->n_windows, N = grid->N, outside = (int64_t)grid->H * grid->W;
    for (int64_t k = 0; k < n * N; k++) {
        out[k] = grid->src[k] < 0 ? outside : grid->src[k];
        if (grid->src[k] >= 0) back[grid->src[k]] = k;
    }
    for (int64_t w = 0; w < n; w++)
        for (int64_t i = 0; i < N; i++)
            for (int64_t j = 0; j < N; j++) mask[(w * N + i) * N + j] = grid->mask[(grid->kind[w] * N + j) * grid->Np + i];
}

static status make_windows(encoder *e, const window_grid *grid, const char *name, windows *k)
{
    char full[64];
    int64_t *out = NULL, *back = NULL, n = grid->n_windows, N = grid->N, HW = (int64_t)grid->H * grid->W, shape[5] = {1, n, 1, N, N};
    float *mask = NULL;
    status st = mem_alloc(&out, sizeof *out * (size_t)(n * N), "windows");
    if (!st) st = mem_alloc(&back, sizeof *back * (size_t)HW, "windows");
    if (!st) st = mem_alloc(&mask, sizeof *mask * (size_t)(n * N * N), "mask");
    if (st) {
        free(out), free(back), free(mask);
        return st;
    }
    fill_windows(grid, out, back, mask);
    snprintf(full, sizeof full, "%s.out", name);
    k->out = onnx_own_index(e->g, full, n * N, out);
    snprintf(full, sizeof full, "%s.back", name);
    k->back = onnx_own_index(e->g, full, HW, back);
    snprintf(full, sizeof full, "%s.mask", name);
    if (k->masked) k->mask = onnx_own(e->g, full, 5, shape, mask);
    else free(mask);
    return OK;
}

/* The constants of a stage's windows, made when a block first asks. */
static void windows_of(encoder *e, bool shifted, windows *k)
{
    char name[32], full[64];
    arena a = {0};
    window_grid grid;
    int ws = e->net->window;
    snprintf(name, sizeof name, "stage%d.%s", e->stage + 1, shifted ? "shifted" : "windows");
    window_grid_place(&grid, e->H, e->W, ws, shifted ? ws / 2 : 0, &a); /* measures */
    *k = (windows){.n = grid.n_windows, .N = grid.N, .padded = grid.pad_H > e->H || grid.pad_W > e->W, .masked = grid.shift_H || grid.shift_W};
    snprintf(full, sizeof full, "%s.out", name);
    if (onnx_has(e->g, full, &k->out)) {
        snprintf(full, sizeof full, "%s.back", name);
        onnx_has(e->g, full, &k->back);
        snprintf(full, sizeof full, "%s.mask", name);
        onnx_has(e->g, full, &k->mask);
        return;
    }
    size_t bytes = a.peak;
    status st = arena_init(&a, bytes, "windows");
    if (!st) {
        window_grid_place(&grid, e->H, e->W, ws, shifted ? ws / 2 : 0, &a);
        st = make_windows(e, &grid, name, k);
        arena_free(&a);
    }
    if (st) onnx_fail(e->g, st);
}

/* ---- attention ---------------------------------------------------------------------------------------------------------------------------- */

/* V2: the position network's answer to each relative position, table (T,heads) = 16 sigmoid(mlp). */
static status position_table(const encoder *e, const char *prefix, int heads, float *table)
{
    char full[160];
    int side = 2 * e->net->window - 1, T = side * side;
    const param *w0 = find(e, prefix, "attn.cpb_mlp.0.weight", full), *b0 = find(e, prefix, "attn.cpb_mlp.0.bias", full),
                *w2 = find(e, prefix, "attn.cpb_mlp.2.weight", full);
    float *coords;
    double *hidden;
    if (!w0 || !b0 || !w2) return ST_BUG;
    int64_t M = b0->n;
    TRY(mem_alloc(&coords, sizeof *coords * (size_t)T * 2, "positions"), "ONNX");
    status st = mem_alloc(&hidden, sizeof *hidden * (size_t)M, "positions");
    if (!st) swin_position_coords(e->net->window, coords);
    for (int t = 0; t < T && !st; t++) {
        for (int64_t m = 0; m < M; m++) {
            const float *w = e->w + w0->off + 2 * m;
            hidden[m] = fmax(0.0, (double)w[0] * (double)coords[2 * t] + (double)w[1] * (double)coords[2 * t + 1] + (double)e->w[b0->off + m]);
        }
        for (int h = 0; h < heads; h++) {
            double x = 0;
            for (int64_t m = 0; m < M; m++) x += (double)e->w[w2->off + h * M + m] * hidden[m];
            table[t * heads + h] = (float)(16.0 / (1.0 + exp(-x)));
        }
    }
    free(coords);
    if (!st) free(hidden);
    return st;
}

static status fill_bias(const encoder *e, const char *prefix, int heads, float *bias)
{
    char full[160];
    int window = e->net->window, side = 2 * window - 1;
    int64_t N = (int64_t)window * window, *index;
    float *own = NULL;
    const float *table = NULL;
    TRY(mem_alloc(&index, sizeof *index * (size_t)(N * N), "positions"), "ONNX");
    status st = OK;
    if (e->net->version == 1) {
        const param *p = find(e, prefix, "attn.relative_position_bias_table", full);
        if (p) table = e->w + p->off;
        else st = ST_BUG;
    } else {
        st = mem_alloc(&own, sizeof *own * (size_t)(side * side * heads), "positions");
        if (!st) st = position_table(e, prefix, heads, own);
        table = own;
    }
    if (!st) {
        swin_position_index(window, index);
        for (int h = 0; h < heads; h++)
            for (int64_t k = 0; k < N * N; k++) bias[h * N * N + k] = table[index[k] * heads + h];
    }
    free(index), free(own);
    return st;
}

static onnx_value position_bias(encoder *e, const char *prefix, int heads)
{
    char name[96];
    int64_t N = (int64_t)e->net->window * e->net->window, shape[4] = {1, heads, N, N};
    float *bias;
    snprintf(name, sizeof name, "%sattn.position_bias", prefix);
    status st = mem_alloc(&bias, sizeof *bias * (size_t)(heads * N * N), name);
    if (st) return onnx_fail(e->g, st), (onnx_value){""};
    st = fill_bias(e, prefix, heads, bias);
    if (st) onnx_fail(e->g, st);
    return onnx_own(e->g, name, 4, shape, bias);
}

/* V2's temperature, (1,heads,1,1). */
static onnx_value temperature(encoder *e, const char *prefix, int heads)
{
    char full[160];
    float *tau;
    int64_t shape[4] = {1, heads, 1, 1};
    const param *p = find(e, prefix, "attn.logit_scale", full);
    status st = p ? mem_alloc(&tau, sizeof *tau * (size_t)heads, full) : ST_BUG;
    if (st) return onnx_fail(e->g, st), (onnx_value){""};
    for (int h = 0; h < heads; h++) tau[h] = (float)exp(fmin((double)e->w[p->off + h], log(100.0)));
    snprintf(full, sizeof full, "%sattn.temperature", prefix);
    return onnx_own(e->g, full, 4, shape, tau);
}

/* The bias of queries, keys and values. V2 has none of keys; what a file holds there has no effect. */
static onnx_value qkv_bias(encoder *e, const char *prefix)
{
    char full[160];
    float *own;
    const param *p = find(e, prefix, "attn.qkv.bias", full);
    if (!p || e->net->version == 1) return weight(e, prefix, "attn.qkv.bias");
    status st = mem_alloc(&own, sizeof *own * (size_t)p->n, full);
    if (st) return onnx_fail(e->g, st), (onnx_value){""};
    memcpy(own, e->w + p->off, sizeof *own * (size_t)p->n);
    memset(own + p->n / 3, 0, sizeof *own * (size_t)(p->n / 3));
    return onnx_own(e->g, full, 1, p->shape, own);
}

/* x / max(|x|, 1e-12) along the last axis. */
static onnx_value unit_length(onnx *g, onnx_value x)
{
    onnx_value n = onnx_two(g, "Max", onnx_one(g, "ReduceL2", x, KEEP(-1)), onnx_number(g, "tiny", 1e-12f), NO_ATTR);
    return onnx_two(g, "Div", x, n, NO_ATTR);
}

/* x (windows,N,C) to the same: attention in each window. */
static onnx_value attention(encoder *e, onnx_value x, const windows *k, const char *prefix)
{
    onnx *g = e->g;
    int heads = e->net->heads[e->stage];
    int64_t N = k->N, C = e->C, d = C / heads;
    onnx_value part[3], scores;
    x = onnx_two(g, "Add", matmul(e, x, prefix, "attn.qkv.weight"), qkv_bias(e, prefix), NO_ATTR);
    onnx_node(g, "Split", 1, &x, 3, part, INT("axis", 2));
    for (int i = 0; i < 3; i++) {
        part[i] = onnx_two(g, "Reshape", part[i], LIST(g, 4, -1, N, heads, d), NO_ATTR);
        part[i] = onnx_one(g, "Transpose", part[i], INTS("perm", 4, 0, 2, 1, 3));
    }
    if (e->net->version == 1) {
        char name[32];
        snprintf(name, sizeof name, "scale%d", (int)d);
        part[0] = onnx_two(g, "Mul", part[0], onnx_number(g, name, 1.0f / sqrtf((float)d)), NO_ATTR);
    } else {
        part[0] = unit_length(g, part[0]), part[1] = unit_length(g, part[1]);
    }
    scores = onnx_two(g, "MatMul", part[0], onnx_one(g, "Transpose", part[1], INTS("perm", 4, 0, 1, 3, 2)), NO_ATTR);
    if (e->net->version == 2) scores = onnx_two(g, "Mul", scores, temperature(e, prefix, heads), NO_ATTR);
    scores = onnx_two(g, "Add", scores, position_bias(e, prefix, heads), NO_ATTR);
    if (k->masked) {
        scores = onnx_two(g, "Reshape", scores, LIST(g, 5, -1, k->n, heads, N, N), NO_ATTR);
        scores = onnx_two(g, "Add", scores, k->mask, NO_ATTR);
        scores = onnx_two(g, "Reshape", scores, LIST(g, 4, -1, heads, N, N), NO_ATTR);
    }
    x = onnx_two(g, "MatMul", onnx_one(g, "Softmax", scores, INT("axis", -1)), part[2], NO_ATTR);
    x = onnx_two(g, "Reshape", onnx_one(g, "Transpose", x, INTS("perm", 4, 0, 2, 1, 3)), LIST(g, 3, -1, N, C), NO_ATTR);
    return linear(e, x, prefix, "attn.proj");
}

/* x (batch,H*W,C) to the same. */
static onnx_value window_attention(encoder *e, onnx_value x, bool shifted, const char *prefix)
{
    onnx *g = e->g;
    windows k;
    windows_of(e, shifted, &k);
    if (k.padded) x = onnx_two(g, "Pad", x, LIST(g, 6, 0, 0, 0, 0, 1, 0), NO_ATTR); /* one token of zeros behind the last: what padding is */
    x = onnx_two(g, "Gather", x, k.out, INT("axis", 1));
    x = onnx_two(g, "Reshape", x, LIST(g, 3, -1, k.N, e->C), NO_ATTR);
    x = attention(e, x, &k, prefix);
    x = onnx_two(g, "Reshape", x, LIST(g, 3, -1, k.n * k.N, e->C), NO_ATTR);
    return onnx_two(g, "Gather", x, k.back, INT("axis", 1));
}

/* ---- the network --------------------------------------------------------------------------------------------------------------------------- */

static onnx_value mlp(encoder *e, onnx_value x, const char *prefix)
{
    return linear(e, gelu(e, linear(e, x, prefix, "mlp.0")), prefix, "mlp.3");
}

static onnx_value block(encoder *e, onnx_value x, int number)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "features.%d.%d.", 2 * e->stage + 1, number);
    bool shifted = number % 2, before = e->net->version == 1; /* V1 normalises before a layer, V2 after it */
    onnx_value y = window_attention(e, before ? norm(e, x, prefix, "norm1") : x, shifted, prefix);
    x = onnx_two(e->g, "Add", x, before ? y : norm(e, y, prefix, "norm1"), NO_ATTR);
    y = mlp(e, before ? norm(e, x, prefix, "norm2") : x, prefix);
    return onnx_two(e->g, "Add", x, before ? y : norm(e, y, prefix, "norm2"), NO_ATTR);
}

/* 2x2 tokens to one of twice the channels: (0,0), (1,0), (0,1), (1,1) as (row, column). Sides are even here: the image's are
 * multiples of 32. */
static onnx_value merge(encoder *e, onnx_value x)
{
    onnx *g = e->g;
    char prefix[64], name[32];
    int h = e->H / 2, w = e->W / 2;
    int64_t *index, n = 0;
    snprintf(prefix, sizeof prefix, "features.%d.", 2 * e->stage + 2);
    snprintf(name, sizeof name, "stage%d.quarters", e->stage + 1);
    status st = mem_alloc(&index, sizeof *index * (size_t)h * (size_t)w * 4, name);
    if (st) return onnx_fail(g, st), x;
    for (int y = 0; y < h; y++)
        for (int c = 0; c < w; c++)
            for (int q = 0; q < 4; q++) index[n++] = (int64_t)(2 * y + (q & 1)) * e->W + 2 * c + (q >> 1);
    x = onnx_two(g, "Gather", x, onnx_own_index(g, name, n, index), INT("axis", 1));
    x = onnx_two(g, "Reshape", x, LIST(g, 3, -1, (int64_t)h * w, 4 * e->C), NO_ATTR);
    bool before = e->net->version == 1;
    if (before) x = norm(e, x, prefix, "norm");
    x = matmul(e, x, prefix, "reduction.weight");
    if (!before) x = norm(e, x, prefix, "norm");
    e->H = h, e->W = w, e->C *= 2;
    return x;
}

static onnx_value patches(encoder *e, onnx_value image, int H, int W)
{
    static const int64_t shape[3] = {3, 1, 1};
    onnx *g = e->g;
    onnx_value x = onnx_two(g, "Sub", image, onnx_lend(g, "mean", 3, shape, e->net->mean), NO_ATTR);
    x = onnx_two(g, "Div", x, onnx_lend(g, "std", 3, shape, e->net->std), NO_ATTR);
    onnx_value in[3] = {x, weight(e, "features.0.0.", "weight"), weight(e, "features.0.0.", "bias")};
    const onnx_attr attr[] = {{.name = "kernel_shape", .n = 2, .v = {4, 4}}, {.name = "strides", .n = 2, .v = {4, 4}}, {.name = NULL}};
    onnx_node(g, "Conv", 3, in, 1, &x, attr);
    e->H = H / 4, e->W = W / 4, e->C = e->net->embed;
    x = onnx_two(g, "Reshape", x, LIST(g, 3, -1, e->C, (int64_t)e->H * e->W), NO_ATTR);
    return norm(e, onnx_one(g, "Transpose", x, INTS("perm", 3, 0, 2, 1)), "features.0.", "2");
}

/* x (batch,H*W,C) as (batch,C,H,W). */
static void put_stage(encoder *e, onnx_value x)
{
    char name[16];
    snprintf(name, sizeof name, "stride%d", 4 << e->stage);
    x = onnx_one(e->g, "Transpose", x, INTS("perm", 3, 0, 2, 1));
    x = onnx_two(e->g, "Reshape", x, LIST(e->g, 4, -1, e->C, e->H, e->W), NO_ATTR);
    onnx_output(e->g, name, x, 4, (int64_t[4]){-1, e->C, e->H, e->W});
}

void onnx_encoder(onnx *g, const swin *net, const params *pt, const float *w, int H, int W, onnx_value *vector)
{
    static const onnx_attr over_tokens[] = {{.name = "axes", .n = 1, .v = {1}}, {.name = "keepdims", .v = {0}}, {.name = NULL}};
    encoder e = {.g = g, .net = net, .pt = pt, .w = w};
    onnx_value x = patches(&e, onnx_input(g, "image", 4, (int64_t[4]){-1, 3, H, W}), H, W);
    for (e.stage = 0; e.stage < 4; e.stage++) {
        for (int b = 0; b < net->depth[e.stage]; b++) x = block(&e, x, b);
        put_stage(&e, x);
        if (e.stage < 3) x = merge(&e, x);
    }
    *vector = onnx_one(g, "ReduceMean", norm(&e, x, "", "norm"), over_tokens);
    onnx_output(g, "vector", *vector, 2, (int64_t[2]){-1, e.C});
}
