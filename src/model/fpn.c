/* fpn: the shared box decoder, a feature pyramid (arXiv 1612.03144) of five levels and two towers of four layers, as in the reference's
 * detection decoder: lateral 1x1, nearest top-down addition, 3x3 outputs, two more levels by stride 2; a tower layer is 3x3 with bias,
 * group norm with 32 groups, GELU. The five levels lie one after another in one buffer, so a tower layer is one convolution call. */
#include "medley/kern.h"
#include "medley/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { C = FPN_CHANNELS, LATERALS = 3, EXTRAS = 2, TOWERS = 2, DEPTH = 4, GROUPS = 32,
       /* places in fpn.index: weight, bias of every convolution; tower layers have norm weight, norm bias too */
       LATERAL = 0, OUTPUT = LATERAL + 2 * LATERALS, TOWER = OUTPUT + 2 * FPN_LEVELS };
static const float norm_eps = 1e-5f;
const int fpn_stride[FPN_LEVELS] = {8, 16, 32, 64, 128};

/* ---- parameters -------------------------------------------------------------------------------------------------------------- */

static status add_conv(fpn *net, params *t, int *index, const char *name, int c_in, int k, float half_width)
{
    char full[128];
    snprintf(full, sizeof full, "%s.weight", name);
    TRY(params_add(t, index, full, 4, (const int64_t[]){C, c_in, k, k}, INIT_UNIFORM, half_width, true, BLOCK_DET), "box decoder");
    snprintf(full, sizeof full, "%s.bias", name);
    TRY(params_add(t, index + 1, full, 1, (const int64_t[]){C}, INIT_ZERO, 0, false, BLOCK_DET), "box decoder");
    net->n_params += 2;
    return OK;
}

static status add_norm(fpn *net, params *t, int *index, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%s.weight", name);
    TRY(params_add(t, index, full, 1, (const int64_t[]){C}, INIT_ONE, 0, false, BLOCK_DET), "box decoder");
    snprintf(full, sizeof full, "%s.bias", name);
    TRY(params_add(t, index + 1, full, 1, (const int64_t[]){C}, INIT_ZERO, 0, false, BLOCK_DET), "box decoder");
    net->n_params += 2;
    return OK;
}

/* Glorot's bound in the pyramid, whose convolutions have no norm behind them; He's in the towers, where a normal of 0.01 (FCOS) would
 * make Adam's first steps a tenth of the weight. */
static float glorot(int c_in, int k) { return sqrtf(6.0f / (float)((c_in + C) * k * k)); }

status fpn_init(fpn *net, const swin *enc, params *t)
{
    *net = (fpn){.in = {2 * enc->embed, 4 * enc->embed, 8 * enc->embed}};
    char name[64];
    for (int i = 0; i < LATERALS; i++) {
        snprintf(name, sizeof name, "det.lateral%d", i + 1);
        TRY(add_conv(net, t, net->index + LATERAL + 2 * i, name, net->in[i], 1, glorot(net->in[i], 1)), "%s", name);
    }
    for (int i = 0; i < FPN_LEVELS; i++) {
        snprintf(name, sizeof name, i < LATERALS ? "det.output%d" : "det.extra%d", i < LATERALS ? i + 1 : i - LATERALS + 1);
        TRY(add_conv(net, t, net->index + OUTPUT + 2 * i, name, C, 3, glorot(C, 3)), "%s", name);
    }
    for (int i = 0; i < TOWERS * DEPTH; i++) {
        const char *tower = i < DEPTH ? "cls" : "reg";
        snprintf(name, sizeof name, "det.%s.conv%d", tower, i % DEPTH + 1);
        TRY(add_conv(net, t, net->index + TOWER + 4 * i, name, C, 3, sqrtf(6.0f / (9.0f * C))), "%s", name);
        snprintf(name, sizeof name, "det.%s.norm%d", tower, i % DEPTH + 1);
        TRY(add_norm(net, t, net->index + TOWER + 4 * i + 2, name), "%s", name);
    }
    return OK;
}

/* ---- placing ----------------------------------------------------------------------------------------------------------------- */

typedef struct tower_layer {
    float *z, *a;    /* (levels,B,h,w,C): output of the convolution, output of the layer */
    float *stats;    /* (levels,B,GROUPS,2) */
} tower_layer;

struct fpn_run {
    fpn     net;
    conv    all;                       /* a tower layer: all levels */
    conv    output[LATERALS], extra[EXTRAS];
    int     size[FPN_LEVELS][2];
    float  *inner[LATERALS], *d_inner[LATERALS]; /* (B,h,w,C): lateral + top-down */
    float  *level, *d_level;           /* (levels,B,h,w,C): input of the towers */
    tower_layer tower[TOWERS][DEPTH];
    feature out[TOWERS][FPN_LEVELS];
    float  *d_out[TOWERS];
    float  *norm, *d_extra;            /* (levels,B,h,w,C): normalised values; gradient behind a ReLU */
    float  *d[2];                      /* (levels,B,h,w,C): gradients on the way down a tower */
    float  *scratch;
};

/* First element of level l in a buffer of all levels. */
static int64_t at(const fpn_run *r, int l) { return r->all.grid[l].in * C; }
static int64_t level_pixels(const fpn_run *r, int l) { return (int64_t)r->size[l][0] * r->size[l][1]; }

status fpn_place(fpn_run **out, const fpn *net, int B, int H, int W, bool train, arena *a)
{
    CHECK(B > 0 && H > 0 && W > 0 && H % 32 == 0 && W % 32 == 0, ST_BUG, "box decoder: %d images of %dx%d, sides must be multiples of 32",
          B, H, W);
    fpn_run *r;
    TRY(mem_alloc(&r, sizeof *r, "table of buffers"), "box decoder");
    r->net = *net;
    for (int l = 0; l < FPN_LEVELS; l++) {
        r->size[l][0] = l < LATERALS ? H / fpn_stride[l] : (r->size[l - 1][0] + 1) / 2;
        r->size[l][1] = l < LATERALS ? W / fpn_stride[l] : (r->size[l - 1][1] + 1) / 2;
    }
    r->all = conv_plan(B, FPN_LEVELS, r->size, C, C, 1);
    int64_t n = r->all.in_pixels * C, scratch = conv_scratch(&r->all, train);
    for (int l = 0; l < FPN_LEVELS - 1; l++) {
        conv *c = l < LATERALS ? &r->output[l] : NULL, *e = l >= LATERALS - 1 ? &r->extra[l - LATERALS + 1] : NULL;
        if (c) *c = conv_plan(B, 1, r->size + l, C, C, 1);
        if (e) *e = conv_plan(B, 1, r->size + l, C, C, 2);
        if (c && conv_scratch(c, train) > scratch) scratch = conv_scratch(c, train);
        if (e && conv_scratch(e, train) > scratch) scratch = conv_scratch(e, train);
    }
    for (int l = 0; l < LATERALS; l++) {
        r->inner[l] = ARENA_F32(a, B * level_pixels(r, l) * C);
        r->d_inner[l] = train ? ARENA_F32(a, B * level_pixels(r, l) * C) : NULL;
    }
    r->level = ARENA_F32(a, n), r->norm = ARENA_F32(a, n);
    for (int i = 0; i < TOWERS; i++) {
        for (int j = 0; j < DEPTH; j++) {
            bool own = train || j == DEPTH - 1 || j == 0; /* without backward, inner layers take turns in one buffer */
            tower_layer *t = &r->tower[i][j];
            t->z = train ? ARENA_F32(a, n) : r->norm;
            t->a = own ? ARENA_F32(a, n) : r->tower[i][0].a;
            t->stats = ARENA_F32(a, (int64_t)FPN_LEVELS * B * GROUPS * 2);
        }
        r->d_out[i] = train ? ARENA_F32(a, n) : NULL;
        for (int l = 0; l < FPN_LEVELS; l++) {
            float *x = r->tower[i][DEPTH - 1].a, *d = r->d_out[i];
            r->out[i][l] = (feature){r->size[l][0], r->size[l][1], C, x ? x + at(r, l) : NULL, d ? d + at(r, l) : NULL};
        }
    }
    if (train) {
        r->d_level = ARENA_F32(a, n);
        r->d_extra = ARENA_F32(a, B * level_pixels(r, LATERALS) * C);
        for (int i = 0; i < 2; i++) r->d[i] = ARENA_F32(a, n);
    }
    r->scratch = ARENA_F32(a, scratch);
    *out = r;
    return OK;
}

void fpn_run_free(fpn_run *r) { free(r); }

feature *fpn_cls(fpn_run *r, int level) { return &r->out[0][level]; }
feature *fpn_reg(fpn_run *r, int level) { return &r->out[1][level]; }

static const feature *lateral_input(const pyramid *p, int i) { return i < 2 ? &p->level[i + 1] : &p->top; }

/* ---- forward ----------------------------------------------------------------------------------------------------------------- */

static void pyramid_forward(fpn_run *r, const params *t, const float *w, const pyramid *p)
{
    const int *index = r->net.index;
    int B = r->all.B;
    for (int i = LATERALS - 1; i >= 0; i--) {
        const int *lat = index + LATERAL + 2 * i, *out = index + OUTPUT + 2 * i;
        linear_forward(r->inner[i], lateral_input(p, i)->x, PW(t, w, lat[0]), PW(t, w, lat[1]), B * level_pixels(r, i), C, r->net.in[i]);
        if (i < LATERALS - 1) upsample2_forward(r->inner[i], true, r->inner[i + 1], B, r->size[i + 1][0], r->size[i + 1][1], C);
        conv_forward(&r->output[i], r->level + at(r, i), &(conv_in){.x = r->inner[i], .C = C}, 1, PW(t, w, out[0]), PW(t, w, out[1]),
                     r->scratch);
    }
    for (int i = 0; i < EXTRAS; i++) {
        const int *out = index + OUTPUT + 2 * (LATERALS + i);
        conv_in in = {.x = r->level + at(r, LATERALS - 1 + i), .C = C, .relu = i > 0};
        conv_forward(&r->extra[i], r->level + at(r, LATERALS + i), &in, 1, PW(t, w, out[0]), PW(t, w, out[1]), r->scratch);
    }
}

static void tower_norm(fpn_run *r, const tower_layer *layer, const params *t, const float *w, const int *index)
{
    int B = r->all.B;
    for (int l = 0; l < FPN_LEVELS; l++)
        groupnorm_forward(r->norm + at(r, l), layer->stats + (int64_t)l * B * GROUPS * 2, layer->z + at(r, l), PW(t, w, index[2]),
                          PW(t, w, index[3]), B, level_pixels(r, l), C, GROUPS, norm_eps);
}

void fpn_forward(fpn_run *r, const params *t, const float *w, const pyramid *p)
{
    int64_t n = r->all.in_pixels * C;
    pyramid_forward(r, t, w, p);
    for (int i = 0; i < TOWERS; i++) {
        const float *x = r->level;
        for (int j = 0; j < DEPTH; j++) {
            const int *index = r->net.index + TOWER + 4 * (i * DEPTH + j);
            tower_layer *layer = &r->tower[i][j];
            conv_forward(&r->all, layer->z, &(conv_in){.x = x, .C = C}, 1, PW(t, w, index[0]), PW(t, w, index[1]), r->scratch);
            tower_norm(r, layer, t, w, index);
            gelu_forward(layer->a, r->norm, n);
            x = layer->a;
        }
        if (r->d_out[i]) memset(r->d_out[i], 0, (size_t)n * sizeof(float));
    }
}

/* ---- backward ---------------------------------------------------------------------------------------------------------------- */

/* From d_out of tower i to d_level (set by the first tower, added to by the second). */
static void tower_backward(fpn_run *r, const params *t, const float *w, float *g, int i)
{
    int64_t n = r->all.in_pixels * C;
    int B = r->all.B;
    const float *dy = r->d_out[i];
    for (int j = DEPTH - 1; j >= 0; j--) {
        const int *index = r->net.index + TOWER + 4 * (i * DEPTH + j);
        tower_layer *layer = &r->tower[i][j];
        float *dn = r->d[0], *dz = r->d[1];
        tower_norm(r, layer, t, w, index); /* the normalised values again: cheaper than keeping them */
        gelu_backward(dn, dy, r->norm, n);
        for (int l = 0; l < FPN_LEVELS; l++)
            groupnorm_backward(dz + at(r, l), PW(t, g, index[2]), PW(t, g, index[3]), dn + at(r, l), layer->z + at(r, l),
                               layer->stats + (int64_t)l * B * GROUPS * 2, PW(t, w, index[2]), B, level_pixels(r, l), C, GROUPS);
        conv_in in = {.x = j ? r->tower[i][j - 1].a : r->level, .C = C};
        conv_backward_weight(&r->all, PW(t, g, index[0]), PW(t, g, index[1]), dz, &in, 1, r->scratch);
        conv_out to = {.d = j ? r->d[0] : r->d_level, .C = C, .add = !j && i > 0};
        conv_backward_input(&r->all, &to, 1, dz, PW(t, w, index[0]), r->scratch);
        dy = r->d[0];
    }
}

static void extra_backward(fpn_run *r, const params *t, const float *w, float *g, int i)
{
    const int *out = r->net.index + OUTPUT + 2 * (LATERALS + i);
    const float *dy = r->d_level + at(r, LATERALS + i), *x = r->level + at(r, LATERALS - 1 + i);
    float *dx = r->d_level + at(r, LATERALS - 1 + i);
    bool relu = i > 0;
    conv_backward_weight(&r->extra[i], PW(t, g, out[0]), PW(t, g, out[1]), dy, &(conv_in){.x = x, .C = C, .relu = relu}, 1, r->scratch);
    conv_out to = {.d = relu ? r->d_extra : dx, .C = C, .add = !relu};
    conv_backward_input(&r->extra[i], &to, 1, dy, PW(t, w, out[0]), r->scratch);
    for (int64_t k = 0, n = r->extra[i].in_pixels * C; relu && k < n; k++) dx[k] += x[k] > 0.0f ? r->d_extra[k] : 0.0f;
}

void fpn_backward(fpn_run *r, const params *t, const float *w, float *g, pyramid *p)
{
    const int *index = r->net.index;
    int B = r->all.B;
    for (int i = 0; i < TOWERS; i++) tower_backward(r, t, w, g, i);
    for (int i = EXTRAS - 1; i >= 0; i--) extra_backward(r, t, w, g, i);
    for (int i = 0; i < LATERALS; i++) {
        const int *lat = index + LATERAL + 2 * i, *out = index + OUTPUT + 2 * i;
        const float *dy = r->d_level + at(r, i);
        const feature *in = lateral_input(p, i);
        conv_backward_weight(&r->output[i], PW(t, g, out[0]), PW(t, g, out[1]), dy, &(conv_in){.x = r->inner[i], .C = C}, 1, r->scratch);
        conv_backward_input(&r->output[i], &(conv_out){.d = r->d_inner[i], .C = C}, 1, dy, PW(t, w, out[0]), r->scratch);
        if (i) upsample2_backward(r->d_inner[i], true, r->d_inner[i - 1], B, r->size[i][0], r->size[i][1], C);
        linear_backward(in->d, true, PW(t, g, lat[0]), PW(t, g, lat[1]), r->d_inner[i], in->x, PW(t, w, lat[0]), B * level_pixels(r, i), C,
                        r->net.in[i]);
    }
}

bool fpn_outputs(const fpn_run *r, output_visit *visit, void *arg)
{
    int B = r->all.B;
    char name[64];
    for (int l = 0; l < FPN_LEVELS; l++) {
        snprintf(name, sizeof name, l < LATERALS ? "det.output%d" : "det.extra%d", l < LATERALS ? l + 1 : l - LATERALS + 1);
        if (visit(arg, name, r->level + at(r, l), B, level_pixels(r, l) * C)) return true;
    }
    for (int i = 0; i < TOWERS; i++)
        for (int j = 0; j < DEPTH; j++)
            for (int l = 0; l < FPN_LEVELS; l++) {
                snprintf(name, sizeof name, "det.%s.norm%d", i ? "reg" : "cls", j + 1);
                if (visit(arg, name, r->tower[i][j].a + at(r, l), B, level_pixels(r, l) * C)) return true;
            }
    return false;
}

/* ---- cost -------------------------------------------------------------------------------------------------------------------- */

double fpn_flops(const fpn *net, int H, int W)
{
    double sum = 0;
    int h = H / 8, w = W / 8;
    for (int l = 0; l < FPN_LEVELS; l++) {
        double layers = 1 + TOWERS * DEPTH; /* 3x3: output or extra, towers */
        sum += (double)h * w * (layers * 9 * C * C + (l < LATERALS ? (double)net->in[l] * C : 0));
        h = (h + 1) / 2, w = (w + 1) / 2;
    }
    return sum;
}
