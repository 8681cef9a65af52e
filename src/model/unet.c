/* unet: the shared pixel decoder, from the encoder's pyramid to 16 channels at full resolution.
 *
 * Five blocks, each: nearest x2, concatenation with a skip, 2 x (3x3 convolution without bias, group norm with one group, ReLU). Skips:
 * stages 3, 2, 1 of the encoder, none at stride 2, and the image itself, mapped to [-1,1], at full resolution. Only the raw outputs z of the
 * convolutions are kept; up-sampled, concatenated and normalised inputs are made again wherever a convolution reads (kern_conv.h). */
#include "medley/kern.h"
#include "medley/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 5, PER_BLOCK = 6, CONV2 = 3, IMAGE = 3 }; /* tensors of a block: conv, norm weight, norm bias, twice */
static const float norm_eps = 1e-5f;

/* Channels of block i: 96, 64, 32, 16, 16 as in the reference; encoders narrower than 96 get embed, 2/3 and 1/3 of it in the first
 * three, rounded up to a multiple of 16. */
static int out_channels(const unet *net, int i)
{
    static const int reference[BLOCKS] = {96, 64, 32, 16, UNET_OUT};
    if (i >= 3) return reference[i];
    int scaled = ((3 - i) * net->in[0] + 47) / 48 * 16;
    return scaled < reference[i] ? scaled : reference[i];
}

static int deep_channels(const unet *net, int i) { return i ? out_channels(net, i - 1) : net->in[4]; }
static int skip_channels(const unet *net, int i) { return i < 3 ? net->in[2 - i] : i == 4 ? IMAGE : 0; }

static status add_layer(unet *net, params *t, int block, int layer, int c_in, int c_out)
{
    char name[128];
    int *index = net->index + block * PER_BLOCK + (layer - 1) * CONV2;
    /* He's bound; the norm behind takes the scale out, what is left is the size of a step relative to the weight. */
    snprintf(name, sizeof name, "seg.block%d.conv%d.weight", block + 1, layer);
    TRY(params_add(t, index, name, 4, (const int64_t[]){c_out, c_in, 3, 3}, INIT_UNIFORM, sqrtf(6.0f / (9.0f * (float)c_in)), true,
                   BLOCK_SEG), "pixel decoder");
    snprintf(name, sizeof name, "seg.block%d.norm%d.weight", block + 1, layer);
    TRY(params_add(t, index + 1, name, 1, (const int64_t[]){c_out}, INIT_ONE, 0, false, BLOCK_SEG), "pixel decoder");
    snprintf(name, sizeof name, "seg.block%d.norm%d.bias", block + 1, layer);
    TRY(params_add(t, index + 2, name, 1, (const int64_t[]){c_out}, INIT_ZERO, 0, false, BLOCK_SEG), "pixel decoder");
    net->n_params += 3;
    return OK;
}

status unet_init(unet *net, const swin *enc, params *t)
{
    *net = (unet){.n_params = 0};
    for (int i = 0; i < 5; i++) net->in[i] = enc->embed << (i < 3 ? i : 3);
    for (int i = 0; i < BLOCKS; i++) {
        TRY(add_layer(net, t, i, 1, deep_channels(net, i) + skip_channels(net, i), out_channels(net, i)), "block %d", i + 1);
        TRY(add_layer(net, t, i, 2, out_channels(net, i), out_channels(net, i)), "block %d", i + 1);
    }
    return OK;
}

/* ---- placing --------------------------------------------------------------------------------------------------------------- */

typedef struct layer {
    conv  shape;
    int64_t pixels;                /* of one image */
    float *z;                      /* (B,H,W,Cout): output of the convolution */
    float *scale, *shift, *stats;  /* (B,Cout), (B,Cout), (B,2) */
} layer;

struct unet_run {
    unet    net;
    layer   layer[BLOCKS][2];
    feature out;
    float  *image_scale, *image_shift; /* (B,3) */
    float  *grad1, *grad2;             /* gradients of the first layer's output, of a block's output */
    float  *work, *scratch;
};

status unet_place(unet_run **out, const unet *net, int B, int H, int W, bool train, arena *a)
{
    CHECK(B > 0 && H > 0 && W > 0 && H % 32 == 0 && W % 32 == 0, ST_BUG, "pixel decoder: %d images of %dx%d, sides must be multiples of 32",
          B, H, W);
    unet_run *r;
    TRY(mem_alloc(&r, sizeof *r, "table of buffers"), "pixel decoder");
    r->net = *net;
    int64_t scratch = 0, grad1 = 0, grad2 = 0, work = 0;
    for (int i = 0; i < BLOCKS; i++) {
        int size[1][2] = {{H >> (BLOCKS - 1 - i), W >> (BLOCKS - 1 - i)}}, c = out_channels(net, i);
        for (int j = 0; j < 2; j++) {
            layer *l = &r->layer[i][j];
            l->shape = conv_plan(B, 1, size, j ? c : deep_channels(net, i) + skip_channels(net, i), c, 1);
            l->pixels = l->shape.out_pixels / B;
            l->z = ARENA_F32(a, l->shape.out_pixels * c);
            l->scale = ARENA_F32(a, B * c), l->shift = ARENA_F32(a, B * c), l->stats = ARENA_F32(a, B * 2);
            int64_t need = conv_scratch(&l->shape, train);
            if (need > scratch) scratch = need;
        }
        int64_t n = r->layer[i][1].shape.out_pixels * c;
        if (n > grad1) grad1 = n;
        if (n > grad2 && i < BLOCKS - 1) grad2 = n;
        if (norm_relu_work(B, c) > work) work = norm_relu_work(B, c);
    }
    int64_t n_out = (int64_t)B * H * W * UNET_OUT;
    r->out = (feature){H, W, UNET_OUT, ARENA_F32(a, n_out), train ? ARENA_F32(a, n_out) : NULL};
    r->image_scale = ARENA_F32(a, B * IMAGE), r->image_shift = ARENA_F32(a, B * IMAGE);
    if (train) r->grad1 = ARENA_F32(a, grad1), r->grad2 = ARENA_F32(a, grad2);
    r->work = ARENA_F32(a, work), r->scratch = ARENA_F32(a, scratch);
    *out = r;
    return OK;
}

void unet_run_free(unet_run *r) { free(r); }

feature *unet_out(unet_run *r) { return &r->out; }

/* ---- running --------------------------------------------------------------------------------------------------------------- */

/* The inputs of layer j of block i, as the convolution reads them. */
static int layer_input(const unet_run *r, int i, int j, const pyramid *p, const float *image, conv_in in[2])
{
    const layer *before = j ? &r->layer[i][0] : i ? &r->layer[i - 1][1] : NULL;
    if (before) in[0] = (conv_in){before->z, before->shape.Cout, !j, before->scale, before->shift, true};
    else in[0] = (conv_in){.x = p->top.x, .C = p->top.C, .up = true};
    if (j || !skip_channels(&r->net, i)) return 1;
    if (i < 3) in[1] = (conv_in){.x = p->level[2 - i].x, .C = p->level[2 - i].C};
    else in[1] = (conv_in){.x = image, .C = IMAGE, .scale = r->image_scale, .shift = r->image_shift};
    return 2;
}

/* Where tensor k (convolution weight, norm weight, norm bias) of layer j of block i lies in weights and gradients. */
static int64_t tensor_at(const unet_run *r, const params *t, int i, int j, int k)
{
    return t->p[r->net.index[i * PER_BLOCK + j * CONV2 + k]].off;
}

void unet_forward(unet_run *r, const params *t, const float *w, const pyramid *p, const float *image)
{
    /* written here, not when placed: plans of several tasks share the arena's bytes */
    for (int i = 0; i < r->layer[0][0].shape.B * IMAGE; i++) r->image_scale[i] = 2.0f, r->image_shift[i] = -1.0f;
    for (int i = 0; i < BLOCKS; i++)
        for (int j = 0; j < 2; j++) {
            layer *l = &r->layer[i][j];
            conv_in in[2];
            int n_in = layer_input(r, i, j, p, image, in);
            conv_forward(&l->shape, l->z, in, n_in, w + tensor_at(r, t, i, j, 0), NULL, r->scratch);
            norm_relu_prepare(l->scale, l->shift, l->stats, l->z, w + tensor_at(r, t, i, j, 1), w + tensor_at(r, t, i, j, 2),
                              l->shape.B, l->pixels, l->shape.Cout, norm_eps, r->work);
        }
    layer *l = &r->layer[BLOCKS - 1][1];
    norm_relu_forward(r->out.x, l->z, l->scale, l->shift, l->shape.B, l->pixels, l->shape.Cout);
    if (r->out.d) memset(r->out.d, 0, (size_t)(l->shape.out_pixels * UNET_OUT) * sizeof(float));
}

void unet_backward(unet_run *r, const params *t, const float *w, float *g, pyramid *p, const float *image)
{
    for (int i = BLOCKS - 1; i >= 0; i--)
        for (int j = 1; j >= 0; j--) {
            layer *l = &r->layer[i][j];
            float *d = !j ? r->grad1 : i == BLOCKS - 1 ? r->out.d : r->grad2;
            norm_relu_backward(d, g + tensor_at(r, t, i, j, 1), g + tensor_at(r, t, i, j, 2), l->z, l->scale, l->shift, l->stats,
                               w + tensor_at(r, t, i, j, 1), l->shape.B, l->pixels, l->shape.Cout, r->work);
            conv_in in[2];
            int n_in = layer_input(r, i, j, p, image, in);
            conv_backward_weight(&l->shape, g + tensor_at(r, t, i, j, 0), NULL, d, in, n_in, r->scratch);
            conv_out to[2] = {{.d = j ? r->grad1 : i ? r->grad2 : p->top.d, .C = in[0].C, .up = in[0].up, .add = !i && !j}};
            if (n_in > 1) to[1] = (conv_out){.d = i < 3 ? p->level[2 - i].d : NULL, .C = in[1].C, .add = true};
            conv_backward_input(&l->shape, to, n_in, d, w + tensor_at(r, t, i, j, 0), r->scratch);
        }
}

bool unet_outputs(const unet_run *r, output_visit *visit, void *arg)
{
    for (int i = 0; i < BLOCKS; i++)
        for (int j = 0; j < 2; j++) {
            const layer *l = &r->layer[i][j];
            char name[64];
            snprintf(name, sizeof name, "seg.block%d.conv%d", i + 1, j + 1);
            if (visit(arg, name, l->z, l->shape.B, l->pixels * l->shape.Cout)) return true;
        }
    return visit(arg, "seg", r->out.x, r->layer[0][0].shape.B, (int64_t)r->out.H * r->out.W * r->out.C);
}

double unet_flops(const unet *net, int H, int W)
{
    double sum = 0;
    for (int i = 0; i < BLOCKS; i++) {
        double pixels = (double)(H >> (BLOCKS - 1 - i)) * (W >> (BLOCKS - 1 - i)), c = out_channels(net, i);
        sum += 9 * pixels * c * (deep_channels(net, i) + skip_channels(net, i) + c);
    }
    return sum;
}
