/* swin: the Swin encoder as a whole: variants, parameters with torchvision's names, placing, forward, backward. */
#include "swin_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct variant {
    const char *name;
    int   version, embed, depth[4], heads[4], window;
    float drop_path;
} variant_table[] = {
    {"swin_t", 1, 96, {2, 2, 6, 2}, {3, 6, 12, 24}, 7, 0.2f},
    {"swin_s", 1, 96, {2, 2, 18, 2}, {3, 6, 12, 24}, 7, 0.3f},
    {"swin_b", 1, 128, {2, 2, 18, 2}, {4, 8, 16, 32}, 7, 0.5f},
    {"swin_micro", 1, 48, {2, 2, 4, 2}, {3, 6, 12, 24}, 7, 0.1f},
    {"swin_nano", 1, 16, {2, 2, 2, 2}, {1, 2, 4, 8}, 7, 0.1f},
    {"swin_v2_t", 2, 96, {2, 2, 6, 2}, {3, 6, 12, 24}, 8, 0.2f},
    {"swin_v2_s", 2, 96, {2, 2, 18, 2}, {3, 6, 12, 24}, 8, 0.3f},
    {"swin_v2_b", 2, 128, {2, 2, 18, 2}, {4, 8, 16, 32}, 8, 0.5f},
    {"swin_v2_micro", 2, 48, {2, 2, 4, 2}, {3, 6, 12, 24}, 8, 0.1f},
    {"swin_v2_nano", 2, 16, {2, 2, 2, 2}, {1, 2, 4, 8}, 8, 0.1f},
};
enum { N_VARIANTS = sizeof variant_table / sizeof *variant_table };
const char *const swin_variants[] = {"swin_t",    "swin_s",    "swin_b",    "swin_micro",    "swin_nano",
                                     "swin_v2_t", "swin_v2_s", "swin_v2_b", "swin_v2_micro", "swin_v2_nano", NULL};

/* Preprocessing of torchvision's ImageNet weights. */
static const float imagenet_mean[3] = {0.485f, 0.456f, 0.406f}, imagenet_std[3] = {0.229f, 0.224f, 0.225f};

/* ---- parameters ------------------------------------------------------------------------------------------------------------- */

/* Sizes a block's tensors are made of. */
enum { D_NONE, D_ONE, D_TWO, D_HIDDEN, D_C, D_3C, D_4C, D_HEADS, D_T };

/* The tensors of a block, in torchvision's order. Linear weights start from a normal of 0.02, biases from 0. */
static const struct tensor {
    const char *name;
    size_t field;      /* in block_index */
    int    versions;   /* bit 0: V1, bit 1: V2 */
    int    dims[3];
    enum param_init init;
    float  value;
    bool   decay;
} block_tensors[] = {
    {"norm1.weight", offsetof(block_index, norm1_w), 3, {D_C}, INIT_ONE, 0.0f, false},
    {"norm1.bias", offsetof(block_index, norm1_b), 3, {D_C}, INIT_ZERO, 0.0f, false},
    {"attn.relative_position_bias_table", offsetof(block_index, table), 1, {D_T, D_HEADS}, INIT_TRUNC_NORMAL, 0.02f, false},
    {"attn.logit_scale", offsetof(block_index, logit_scale), 2, {D_HEADS, D_ONE, D_ONE}, INIT_CONST, 2.30258509f /* ln 10 */, false},
    {"attn.qkv.weight", offsetof(block_index, qkv_w), 3, {D_3C, D_C}, INIT_TRUNC_NORMAL, 0.02f, true},
    {"attn.qkv.bias", offsetof(block_index, qkv_b), 3, {D_3C}, INIT_ZERO, 0.0f, false},
    {"attn.proj.weight", offsetof(block_index, proj_w), 3, {D_C, D_C}, INIT_TRUNC_NORMAL, 0.02f, true},
    {"attn.proj.bias", offsetof(block_index, proj_b), 3, {D_C}, INIT_ZERO, 0.0f, false},
    {"attn.cpb_mlp.0.weight", offsetof(block_index, cpb0_w), 2, {D_HIDDEN, D_TWO}, INIT_TRUNC_NORMAL, 0.02f, true},
    {"attn.cpb_mlp.0.bias", offsetof(block_index, cpb0_b), 2, {D_HIDDEN}, INIT_ZERO, 0.0f, false},
    {"attn.cpb_mlp.2.weight", offsetof(block_index, cpb2_w), 2, {D_HEADS, D_HIDDEN}, INIT_TRUNC_NORMAL, 0.02f, true},
    {"norm2.weight", offsetof(block_index, norm2_w), 3, {D_C}, INIT_ONE, 0.0f, false},
    {"norm2.bias", offsetof(block_index, norm2_b), 3, {D_C}, INIT_ZERO, 0.0f, false},
    {"mlp.0.weight", offsetof(block_index, fc1_w), 3, {D_4C, D_C}, INIT_TRUNC_NORMAL, 0.02f, true},
    {"mlp.0.bias", offsetof(block_index, fc1_b), 3, {D_4C}, INIT_ZERO, 0.0f, false},
    {"mlp.3.weight", offsetof(block_index, fc2_w), 3, {D_C, D_4C}, INIT_TRUNC_NORMAL, 0.02f, true},
    {"mlp.3.bias", offsetof(block_index, fc2_b), 3, {D_C}, INIT_ZERO, 0.0f, false},
};
enum { N_BLOCK_TENSORS = sizeof block_tensors / sizeof *block_tensors };

static status add(swin *net, params *t, const char *name, int ndim, const int64_t *shape, enum param_init init, float value, bool decay)
{
    char full[128];
    snprintf(full, sizeof full, "encoder.%s", name);
    CHECK(net->n_params < (int)(sizeof net->index / sizeof *net->index), ST_BUG, "more tensors than swin.index holds");
    TRY(params_add(t, &net->index[net->n_params], full, ndim, shape, init, value, decay, BLOCK_ENCODER), "encoder");
    net->n_params++;
    return OK;
}

static status add_norm(swin *net, params *t, const char *prefix, int64_t C)
{
    char name[96];
    snprintf(name, sizeof name, "%s.weight", prefix);
    TRY(add(net, t, name, 1, &C, INIT_ONE, 0.0f, false), "norm");
    snprintf(name, sizeof name, "%s.bias", prefix);
    TRY(add(net, t, name, 1, &C, INIT_ZERO, 0.0f, false), "norm");
    return OK;
}

static status add_block(swin *net, params *t, int stage, int number)
{
    int64_t C = net->embed << stage, side = 2 * net->window - 1;
    int64_t size[] = {[D_ONE] = 1, [D_TWO] = 2, [D_HIDDEN] = CPB_HIDDEN, [D_C] = C, [D_3C] = 3 * C, [D_4C] = 4 * C,
                      [D_HEADS] = net->heads[stage], [D_T] = side * side};
    for (int i = 0; i < N_BLOCK_TENSORS; i++) {
        const struct tensor *e = &block_tensors[i];
        if (!(e->versions & net->version)) continue;
        int64_t shape[3];
        int ndim = 0;
        while (ndim < 3 && e->dims[ndim] != D_NONE) shape[ndim] = size[e->dims[ndim]], ndim++;
        char name[96];
        snprintf(name, sizeof name, "features.%d.%d.%s", 2 * stage + 1, number, e->name);
        TRY(add(net, t, name, ndim, shape, e->init, e->value, e->decay), "stage %d block %d", stage, number);
    }
    return OK;
}

static status add_merge(swin *net, params *t, int stage)
{
    int64_t C = net->embed << stage, shape[2] = {2 * C, 4 * C};
    char name[96], norm[64];
    snprintf(name, sizeof name, "features.%d.reduction.weight", 2 * stage + 2);
    snprintf(norm, sizeof norm, "features.%d.norm", 2 * stage + 2);
    TRY(add(net, t, name, 2, shape, INIT_TRUNC_NORMAL, 0.02f, true), "merge %d", stage);
    TRY(add_norm(net, t, norm, net->version == 1 ? 4 * C : 2 * C), "merge %d", stage);
    return OK;
}

status swin_init(swin *net, const char *variant, float drop_path, params *t)
{
    const struct variant *v = NULL;
    for (int i = 0; i < N_VARIANTS; i++)
        if (strcmp(variant_table[i].name, variant) == 0) v = &variant_table[i];
    if (!v) {
        const char *near = text_nearest(variant, swin_variants, N_VARIANTS);
        return status_raise(ST_USAGE, __FILE__, __LINE__, "unknown encoder \"%s\"%s%s%s", variant, near ? " (did you mean " : "",
                            near ? near : "", near ? "?)" : "");
    }
    *net = (swin){.version = v->version, .embed = v->embed, .window = v->window, .drop_path = drop_path < 0 ? v->drop_path : drop_path};
    CHECK(net->drop_path < 1.0f, ST_USAGE, "encoder %s: drop path rate %g is not below 1", variant, net->drop_path);
    snprintf(net->variant, sizeof net->variant, "%s", v->name);
    memcpy(net->depth, v->depth, sizeof net->depth);
    memcpy(net->heads, v->heads, sizeof net->heads);
    memcpy(net->mean, imagenet_mean, sizeof net->mean);
    memcpy(net->std, imagenet_std, sizeof net->std);

    int64_t C = net->embed, kernel[4] = {C, 3, 4, 4};
    float fan_in = 1.0f / sqrtf(48.0f); /* torch.nn.Conv2d's default for 3*4*4 inputs, weight and bias */
    TRY(add(net, t, "features.0.0.weight", 4, kernel, INIT_UNIFORM, fan_in, true), "patch");
    TRY(add(net, t, "features.0.0.bias", 1, &C, INIT_UNIFORM, fan_in, false), "patch");
    TRY(add_norm(net, t, "features.0.2", C), "patch");
    for (int s = 0; s < 4; s++) {
        for (int b = 0; b < net->depth[s]; b++) TRY(add_block(net, t, s, b), "%s", variant);
        if (s < 3) TRY(add_merge(net, t, s), "%s", variant);
    }
    TRY(add_norm(net, t, "norm", C << 3), "%s", variant);
    return OK;
}

/* Reads the indices back in the order of swin_init. */
static block_index next_block(const swin *net, int *at)
{
    block_index k;
    for (int i = 0; i < N_BLOCK_TENSORS; i++) {
        int value = block_tensors[i].versions & net->version ? net->index[(*at)++] : -1;
        memcpy((char *)&k + block_tensors[i].field, &value, sizeof value);
    }
    return k;
}

/* ---- buffers ----------------------------------------------------------------------------------------------------------------- */

struct swin_run {
    swin        net;
    bool        train;
    pyramid     out;
    scratch     s;
    window_grid grid[4][2]; /* per stage: unshifted, shifted */
    patch_run   patch;
    merge_run   merge[3];
    int         n_blocks;
    block_run  *block;      /* all stages one after another */
    block_run   remade;     /* the buffers that blocks of recomputed stages share */
    int         norm_w, norm_b;
    grad_done  *done;       /* NULL: nobody wants to know */
    void       *done_arg;
    float      *top_stats;  /* (B*h*w,2) */
};

static void scratch_place(scratch *s, const scratch_need *n, bool train, bool v2, arena *a)
{
    s->a = ARENA_F32(a, n->a);
    s->b = ARENA_F32(a, n->a);
    s->c = ARENA_F32(a, train && n->qkv > n->mid ? n->qkv : n->mid);
    s->rows = arena_take(a, sizeof(int32_t) * (size_t)n->rows);
    s->qkv_b = ARENA_F32(a, n->qkv_b);
    if (v2) {
        s->hidden = ARENA_F32(a, n->T * CPB_HIDDEN);
        s->coords = ARENA_F32(a, n->T * 2);
    }
    if (!train) return;
    s->d = ARENA_F32(a, n->mid);
    s->dbias = ARENA_F32(a, n->bias);
    s->part = ARENA_F32(a, n->part);
    if (v2) {
        s->dtable = ARENA_F32(a, n->T * n->heads);
        s->dhidden = ARENA_F32(a, n->T * CPB_HIDDEN);
    }
}

/* One set of buffers of the largest sizes for many blocks: all of them without train, those of recomputed stages with it. */
static void shared_place(block_run *k, const scratch_need *n, bool train, bool v2, arena *a)
{
    if (train) k->x2 = ARENA_F32(a, n->a);
    k->qkv = ARENA_F32(a, n->qkv);
    k->o = ARENA_F32(a, n->a);
    k->h = ARENA_F32(a, n->mid);
    k->stats1 = ARENA_F32(a, n->rows * 2);
    k->stats2 = ARENA_F32(a, n->rows * 2);
    k->bias = ARENA_F32(a, n->bias);
    if (!v2) return;
    k->a = ARENA_F32(a, n->a);
    k->m = ARENA_F32(a, n->mid / 4);
    k->table = ARENA_F32(a, n->T * n->heads);
    k->tau = ARENA_F32(a, n->heads);
}

static void feature_place(feature *f, int B, int H, int W, int C, bool train, arena *a)
{
    int64_t n = (int64_t)B * H * W * C;
    *f = (feature){.H = H, .W = W, .C = C, .x = ARENA_F32(a, n), .d = train ? ARENA_F32(a, n) : NULL};
}

/* The stages from `first` on: blocks and the merge to the next stage. */
static void stages_place(swin_run *r, const block_run *shared, int *at, arena *a)
{
    const swin *net = &r->net;
    int B = r->out.B, id = 0;
    float *x = r->patch.y;
    for (int s = 0; s < 4; s++) {
        feature *f = &r->out.level[s];
        int64_t n = (int64_t)B * f->H * f->W * f->C;
        for (int b = 0; b < net->depth[s]; b++, id++) {
            float *y = !r->train || b == net->depth[s] - 1 ? f->x : ARENA_F32(a, n);
            block_run *k = &r->block[id];
            *k = (block_run){.version = net->version, .B = B, .H = f->H, .W = f->W, .C = f->C, .heads = net->heads[s], .id = id,
                             .drop = net->drop_path * (float)id / (float)(r->n_blocks - 1), .train = r->train,
                             .remake = r->train && (net->recompute >> s & 1), .p = next_block(net, at), .grid = &r->grid[s][b % 2],
                             .s = &r->s};
            block_place(k, x, y, k->remake ? &r->remade : shared, a);
            x = y;
        }
        if (s == 3) break;
        merge_run *m = &r->merge[s];
        *m = (merge_run){.version = net->version, .B = B, .H = f->H, .W = f->W, .C = f->C, .s = &r->s};
        m->p.reduction_w = net->index[(*at)++];
        m->p.norm_w = net->index[(*at)++];
        m->p.norm_b = net->index[(*at)++];
        const feature *next = &r->out.level[s + 1];
        x = r->train ? ARENA_F32(a, (int64_t)B * next->H * next->W * next->C) : next->x;
        merge_place(m, f->x, x, r->train, a);
    }
}

status swin_place(swin_run **out, const swin *net, int B, int H, int W, bool train, arena *a)
{
    *out = NULL;
    CHECK(B > 0 && H > 0 && W > 0 && H % 32 == 0 && W % 32 == 0, ST_USAGE, "image size %d x %d (batch %d): sides must be multiples of 32", H, W,
          B);
    CHECK((int64_t)B * H * W * net->embed < INT32_MAX / 4, ST_USAGE, "batch of %d images of %d x %d is too large for %s", B, H, W, net->variant);
    swin_run *r;
    int n_blocks = net->depth[0] + net->depth[1] + net->depth[2] + net->depth[3];
    TRY(mem_alloc(&r, sizeof *r, "table of buffers"), "encoder");
    status st = mem_alloc(&r->block, sizeof *r->block * (size_t)n_blocks, "table of blocks");
    if (st) {
        free(r);
        return status_note(st, __FILE__, __LINE__, "encoder");
    }
    r->net = *net;
    r->train = train;
    r->n_blocks = n_blocks;
    r->out.B = B;
    scratch_need need = {0}, remade = {0};
    for (int s = 0; s < 4; s++) {
        int h = H >> (s + 2), w = W >> (s + 2), C = net->embed << s;
        feature_place(&r->out.level[s], B, h, w, C, train, a);
        for (int i = 0; i < 2; i++) window_grid_place(&r->grid[s][i], h, w, net->window, i ? net->window / 2 : 0, a);
        block_need(&need, &r->grid[s][0], B, C, net->heads[s]);
        if (net->recompute >> s & 1) block_need(&remade, &r->grid[s][0], B, C, net->heads[s]);
        if (s < 3) merge_need(&need, B, h, w, C);
    }
    const feature *last = &r->out.level[3];
    feature_place(&r->out.top, B, last->H, last->W, last->C, train, a);
    r->top_stats = ARENA_F32(a, (int64_t)B * last->H * last->W * 2);
    scratch_place(&r->s, &need, train, net->version == 2, a);
    block_run shared = {0};
    if (!train) shared_place(&shared, &need, false, net->version == 2, a);
    else if (net->recompute) shared_place(&r->remade, &remade, true, net->version == 2, a);

    int at = 4;
    const feature *first = &r->out.level[0];
    r->patch = (patch_run){.B = B, .H = H, .W = W, .C = net->embed, .p = {net->index[0], net->index[1], net->index[2], net->index[3]}};
    patch_place(&r->patch, train ? ARENA_F32(a, (int64_t)B * first->H * first->W * first->C) : first->x, a);
    stages_place(r, train ? NULL : &shared, &at, a);
    r->norm_w = net->index[at++];
    r->norm_b = net->index[at++];
    *out = r;
    return OK;
}

void swin_run_free(swin_run *r)
{
    if (!r) return;
    free(r->block);
    free(r);
}

pyramid *swin_pyramid(swin_run *r) { return &r->out; }

/* ---- running ------------------------------------------------------------------------------------------------------------------ */

static void zero_gradient(const feature *f, int B)
{
    if (f->d) memset(f->d, 0, sizeof(float) * (size_t)B * (size_t)f->H * (size_t)f->W * (size_t)f->C);
}

void swin_forward(swin_run *r, const params *t, const float *w, const float *image, const rng_key *key)
{
    const swin *net = &r->net;
    for (int s = 0; s < 4; s++) /* plans of several tasks share the arena's bytes */
        for (int i = 0; i < 2; i++) window_grid_fill(&r->grid[s][i]);
    if (net->version == 2) position_coords(r->s.coords, net->window);
    patch_forward(&r->patch, t, w, image, net->mean, net->std);
    block_run *k = r->block;
    for (int s = 0; s < 4; s++) {
        for (int b = 0; b < net->depth[s]; b++) block_forward(k++, t, w, key);
        if (s == 1 && fault_hit("activation")) r->out.level[s].x[0] = NAN;
        if (s < 3) merge_forward(&r->merge[s], t, w);
        zero_gradient(&r->out.level[s], r->out.B);
    }
    const feature *last = &r->out.level[3], *top = &r->out.top;
    layernorm_forward(top->x, r->top_stats, last->x, PW(t, w, r->norm_w), PW(t, w, r->norm_b), (int64_t)r->out.B * last->H * last->W, last->C,
                      SWIN_EPS);
    zero_gradient(top, r->out.B);
}

void swin_watch(swin_run *r, grad_done *done, void *arg) { r->done = done, r->done_arg = arg; }

static void tell(const swin_run *r, int param)
{
    if (r->done) r->done(r->done_arg, param);
}

void swin_backward(swin_run *r, const params *t, const float *w, float *g, float *d_image)
{
    const swin *net = &r->net;
    const feature *last = &r->out.level[3], *top = &r->out.top;
    layernorm_backward(last->d, true, PW(t, g, r->norm_w), PW(t, g, r->norm_b), top->d, last->x, r->top_stats, PW(t, w, r->norm_w),
                       (int64_t)r->out.B * last->H * last->W, last->C);
    tell(r, r->norm_w);
    block_run *k = r->block + r->n_blocks;
    for (int s = 3; s >= 0; s--) {
        float *d = r->out.level[s].d; /* walks back through the stage */
        for (int b = 0; b < net->depth[s]; b++) {
            block_backward(--k, t, w, g, d);
            tell(r, k->p.norm1_w); /* a block's first tensor */
        }
        if (s > 0) merge_backward(&r->merge[s - 1], t, w, g, d, r->out.level[s - 1].d);
        else patch_backward(&r->patch, t, w, g, d, d_image, net->std);
        tell(r, s > 0 ? r->merge[s - 1].p.reduction_w : net->index[0]);
    }
}

void swin_pool(float *vector, const feature *f, int64_t i)
{
    int64_t P = (int64_t)f->H * f->W, C = f->C;
    const float *x = f->x + i * P * C;
    memset(vector, 0, sizeof *vector * (size_t)C);
    for (int64_t p = 0; p < P; p++)
        for (int64_t c = 0; c < C; c++) vector[c] += x[p * C + c];
    for (int64_t c = 0; c < C; c++) vector[c] *= 1.0f / (float)P;
}

bool swin_outputs(const swin_run *r, output_visit *visit, void *arg)
{
    const feature *first = &r->out.level[0], *top = &r->out.top;
    int B = r->out.B, id = 0;
    char name[64];
    if (visit(arg, "encoder.features.0", r->patch.y, B, (int64_t)first->H * first->W * first->C)) return true;
    for (int s = 0; s < 4; s++) {
        const feature *f = &r->out.level[s];
        int64_t n = (int64_t)f->H * f->W * f->C;
        for (int b = 0; b < r->net.depth[s]; b++, id++) {
            snprintf(name, sizeof name, "encoder.features.%d.%d", 2 * s + 1, b);
            if (visit(arg, name, r->block[id].y, B, n)) return true;
        }
        if (s == 3) break;
        const feature *next = &r->out.level[s + 1];
        snprintf(name, sizeof name, "encoder.features.%d", 2 * s + 2);
        if (visit(arg, name, r->merge[s].y, B, (int64_t)next->H * next->W * next->C)) return true;
    }
    return visit(arg, "encoder.norm", top->x, B, (int64_t)top->H * top->W * top->C);
}

/* Multiply-adds of the forward of one block of stage s and one image: attention, then each of the two layers of the MLP. */
static void block_flops(const swin *net, int s, int H, int W, double *attention, double *layer)
{
    int h = H >> (s + 2), w = W >> (s + 2), ws = net->window;
    double C = net->embed << s, Rw = (double)((h + ws - 1) / ws * ws) * ((w + ws - 1) / ws * ws);
    *attention = Rw * (4.0 * C * C + 2.0 * C * ws * ws);
    *layer = (double)h * w * 4.0 * C * C;
}

double swin_flops(const swin *net, int H, int W)
{
    double total = (double)(H / 4) * (W / 4) * 48.0 * net->embed, attention, layer;
    for (int s = 0; s < 4; s++) {
        double C = net->embed << s, R = (double)(H >> (s + 2)) * (W >> (s + 2));
        block_flops(net, s, H, W, &attention, &layer);
        total += net->depth[s] * (attention + 2 * layer);
        if (s < 3) total += R / 4.0 * 8.0 * C * C;
    }
    return total;
}

double swin_backward_share(const swin *net, int param, int H, int W)
{
    double before = 0, total = swin_flops(net, H, W), attention, layer, flops = (double)(H / 4) * (W / 4) * 48.0 * net->embed;
    int at = 4; /* tensors of the layers before; `flops` is theirs */
    for (int s = 0; s < 4; s++) {
        double C = net->embed << s, R = (double)(H >> (s + 2)) * (W >> (s + 2));
        block_flops(net, s, H, W, &attention, &layer);
        for (int b = 0; b < net->depth[s]; b++) {
            if (net->index[at] <= param) before = flops;
            flops += attention + 2 * layer;
            next_block(net, &at);
        }
        if (s == 3) break;
        if (net->index[at] <= param) before = flops;
        flops += R / 4.0 * 8.0 * C * C;
        at += 3;
    }
    if (net->index[at] <= param) before = flops; /* the last norm */
    return 1 - before / total;
}

double swin_recompute_flops(const swin *net, unsigned stages, int H, int W)
{
    double total = 0, attention, layer;
    for (int s = 0; s < 4; s++) {
        block_flops(net, s, H, W, &attention, &layer);
        if (stages >> s & 1) total += net->depth[s] * (attention + net->version * layer); /* V1 does not need the MLP's output again */
    }
    return total;
}
