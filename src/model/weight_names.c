/* weight_names: the encoder's weights under the names of other programs. One table of renames, walked along the parameter table; export
 * writes what it yields, import reads it back. (shared/reading/ecosystem.md 2.5; tests/parity/make_names.py asks the programs.) */
#include "swin_internal.h"

#include <stdlib.h>
#include <string.h>

const char *const naming_name[N_NAMINGS] = {"medley", "torchvision", "timm", "microsoft", "huggingface"};

enum place { STEM, BLOCK, MERGE, TOP, N_PLACES };

/* What stands before a tensor's own name. {s} stage, {b} block, {o} and {m}: torchvision's numbers of a stage and of the merge behind it,
 * {n}: the stage that the merge leads to. */
static const char *const place_prefix[N_PLACES][N_NAMINGS] = {
    [STEM] = {"features.0.", "features.0.", "patch_embed.", "patch_embed.", "embeddings."},
    [BLOCK] = {"features.{o}.{b}.", "features.{o}.{b}.", "layers.{s}.blocks.{b}.", "layers.{s}.blocks.{b}.", "encoder.layers.{s}.blocks.{b}."},
    [MERGE] = {"features.{m}.", "features.{m}.", "layers.{n}.downsample.", "layers.{s}.downsample.", "encoder.layers.{s}.downsample."},
    [TOP] = {"", "", "", "", ""},
};

enum part { WHOLE, THIRD0, THIRD1, THIRD2 }; /* of a tensor's rows: queries, keys, values */

/* ours: a tensor, or a layer whose weight and bias keep their names. The other columns: the name in timm (and Microsoft's files) and in
 * Hugging Face's; NULL: this row is not for them. In V2 the keys have no bias: ours, like torchvision's, is 0 and has no effect. */
static const struct rename {
    enum place  place;
    const char *ours;
    int         versions; /* bit 0: V1, bit 1: V2 */
    enum part   part;
    const char *timm, *huggingface;
} renames[] = {
    {STEM, "0", 3, WHOLE, "proj", "patch_embeddings.projection"},
    {STEM, "2", 3, WHOLE, "norm", "norm"},
    {BLOCK, "norm1", 3, WHOLE, "norm1", "layernorm_before"},
    {BLOCK, "norm2", 3, WHOLE, "norm2", "layernorm_after"},
    {BLOCK, "attn.relative_position_bias_table", 1, WHOLE, "attn.relative_position_bias_table", "attention.self.relative_position_bias_table"},
    {BLOCK, "attn.logit_scale", 2, WHOLE, "attn.logit_scale", "attention.self.logit_scale"},
    {BLOCK, "attn.cpb_mlp", 2, WHOLE, "attn.cpb_mlp", "attention.self.continuous_position_bias_mlp"},
    {BLOCK, "attn.qkv.weight", 3, WHOLE, "attn.qkv.weight", NULL},
    {BLOCK, "attn.qkv.weight", 3, THIRD0, NULL, "attention.self.query.weight"},
    {BLOCK, "attn.qkv.weight", 3, THIRD1, NULL, "attention.self.key.weight"},
    {BLOCK, "attn.qkv.weight", 3, THIRD2, NULL, "attention.self.value.weight"},
    {BLOCK, "attn.qkv.bias", 1, WHOLE, "attn.qkv.bias", NULL},
    {BLOCK, "attn.qkv.bias", 2, THIRD0, "attn.q_bias", NULL},
    {BLOCK, "attn.qkv.bias", 2, THIRD2, "attn.v_bias", NULL},
    {BLOCK, "attn.qkv.bias", 3, THIRD0, NULL, "attention.self.query.bias"},
    {BLOCK, "attn.qkv.bias", 1, THIRD1, NULL, "attention.self.key.bias"},
    {BLOCK, "attn.qkv.bias", 3, THIRD2, NULL, "attention.self.value.bias"},
    {BLOCK, "attn.proj", 3, WHOLE, "attn.proj", "attention.output.dense"},
    {BLOCK, "mlp.0", 3, WHOLE, "mlp.fc1", "intermediate.dense"},
    {BLOCK, "mlp.3", 3, WHOLE, "mlp.fc2", "output.dense"},
    {MERGE, "reduction", 3, WHOLE, "reduction", "reduction"},
    {MERGE, "norm", 3, WHOLE, "norm", "norm"},
    {TOP, "norm", 3, WHOLE, "norm", "layernorm"},
};
enum { N_RENAMES = sizeof renames / sizeof *renames };

/* What a block of other programs keeps beside its parameters, and a strict load asks for. W: the window's side. */
static const struct buffer {
    enum weight_naming naming;
    int                versions;
    const char        *name;
    enum named_what    what;
    bool               square; /* (W*W,W*W) instead of (W^4) */
} buffers[] = {
    {NAMING_TORCHVISION, 3, "attn.relative_position_index", NAMED_INDEX, false},
    {NAMING_TORCHVISION, 2, "attn.relative_coords_table", NAMED_COORDS, false},
    {NAMING_HUGGINGFACE, 1, "attention.self.relative_position_index", NAMED_INDEX, true},
};
enum { N_BUFFERS = sizeof buffers / sizeof *buffers };

const char *naming_prefix(enum weight_naming naming, int version)
{
    if (naming == NAMING_MEDLEY) return "encoder.";
    if (naming == NAMING_HUGGINGFACE) return version == 1 ? "swin." : "swinv2.";
    return "";
}

const char *naming_head(enum weight_naming naming)
{
    static const char *const head[N_NAMINGS] = {NULL, "head", "head.fc", "head", "classifier"};
    return head[naming];
}

bool naming_is_buffer(const char *name)
{
    static const char *const tail[] = {"relative_position_index", "relative_coords_table", "attn_mask"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof tail / sizeof *tail; i++)
        if (n >= strlen(tail[i]) && strcmp(name + n - strlen(tail[i]), tail[i]) == 0) return true;
    return false;
}

bool naming_is_stage(enum weight_naming naming, const char *name)
{
    return strncmp(name, place_prefix[BLOCK][naming], strcspn(place_prefix[BLOCK][naming], "{")) == 0;
}

/* Where a parameter stands in the network, and the rest of its name. */
typedef struct spot { enum place place; int stage, block; const char *tail; } spot;

static spot find_spot(const char *name)
{
    int number, at = 0;
    name += strlen("encoder.");
    if (sscanf(name, "features.%d.%n", &number, &at) != 1 || at == 0) return (spot){.place = TOP, .tail = name};
    spot s = {.place = number == 0 ? STEM : number % 2 ? BLOCK : MERGE, .stage = (number - 1) / 2, .tail = name + at};
    if (s.place == BLOCK) {
        s.block = atoi(s.tail);
        s.tail = strchr(s.tail, '.') + 1;
    }
    return s;
}

/* PREFIX, the place, the tensor's own name. */
static status put_name(char *out, size_t room, const char *prefix, const spot *s, enum weight_naming naming, const char *own,
                       const char *rest)
{
    size_t n = (size_t)snprintf(out, room, "%s", prefix);
    for (const char *p = place_prefix[s->place][naming]; *p && n < room; p++) {
        int number = 0;
        if (*p != '{') {
            n += (size_t)snprintf(out + n, room - n, "%c", *p);
            continue;
        }
        switch (p[1]) {
        case 's': number = s->stage; break;
        case 'b': number = s->block; break;
        case 'o': number = 2 * s->stage + 1; break;
        case 'm': number = 2 * s->stage + 2; break;
        case 'n': number = s->stage + 1; break;
        }
        n += (size_t)snprintf(out + n, room - n, "%d", number);
        p += 2;
    }
    if (n < room) n += (size_t)snprintf(out + n, room - n, "%s%s", own, rest);
    CHECK(n < room, ST_USAGE, "name of a tensor too long: %.60s...", out);
    return OK;
}

/* Does the row speak of this tensor? *rest: what the layer's name leaves, ".weight" or "". */
static bool row_fits(const struct rename *r, const spot *s, int version, const char **rest)
{
    size_t n = strlen(r->ours);
    if (r->place != s->place || !(r->versions & version) || strncmp(s->tail, r->ours, n) != 0) return false;
    *rest = s->tail + n;
    return **rest == 0 || **rest == '.';
}

typedef struct named_list { named_tensor *x; int n, room; } named_list;

static status add(named_list *l, const named_tensor *one)
{
    if (l->n == l->room) {
        int room = l->room ? 2 * l->room : 512;
        TRY(mem_grow(&l->x, sizeof *l->x * (size_t)room, "names of weights"), "names");
        l->room = room;
    }
    l->x[l->n++] = *one;
    return OK;
}

static status add_param(named_list *l, const swin *net, const param *p, int index, enum weight_naming naming, const char *prefix)
{
    spot s = find_spot(p->name);
    named_tensor one = {.param = index, .ndim = p->ndim, .n = p->n, .what = NAMED_WEIGHT};
    memcpy(one.shape, p->shape, sizeof one.shape);
    if (naming == NAMING_MEDLEY || naming == NAMING_TORCHVISION) {
        TRY(put_name(one.name, sizeof one.name, prefix, &s, naming, s.tail, ""), "names");
        return add(l, &one);
    }
    bool found = false;
    const char *rest;
    for (int i = 0; i < N_RENAMES; i++) {
        const struct rename *r = &renames[i];
        const char *own = naming == NAMING_HUGGINGFACE ? r->huggingface : r->timm;
        if (!own || !row_fits(r, &s, net->version, &rest)) continue;
        named_tensor part = one;
        if (r->part != WHOLE) {
            part.n = p->n / 3, part.shape[0] = p->shape[0] / 3;
            part.from = (r->part - THIRD0) * part.n;
        }
        TRY(put_name(part.name, sizeof part.name, prefix, &s, naming, own, rest), "names");
        TRY(add(l, &part), "names");
        found = true;
    }
    CHECK(found, ST_BUG, "%s has no name in %s", p->name, naming_name[naming]);
    return OK;
}

static status add_buffers(named_list *l, const swin *net, const char *first, enum weight_naming naming, const char *prefix)
{
    spot s = find_spot(first);
    int64_t W = net->window, side = 2 * W - 1;
    for (int i = 0; i < N_BUFFERS; i++) {
        const struct buffer *b = &buffers[i];
        if (b->naming != naming || !(b->versions & net->version)) continue;
        named_tensor one = {.param = -1, .what = b->what, .ndim = 1, .n = W * W * W * W, .shape = {W * W * W * W}};
        if (b->square) one.ndim = 2, one.shape[0] = one.shape[1] = W * W;
        if (b->what == NAMED_COORDS) {
            one.ndim = 4, one.n = side * side * 2;
            one.shape[0] = 1, one.shape[1] = one.shape[2] = side, one.shape[3] = 2;
        }
        TRY(put_name(one.name, sizeof one.name, prefix, &s, naming, b->name, ""), "names");
        TRY(add(l, &one), "names");
    }
    return OK;
}

status swin_named(const swin *net, const params *t, enum weight_naming naming, const char *prefix, named_tensor **out, int *n)
{
    named_list l = {0};
    status st = OK;
    *out = NULL;
    for (int i = 0; i < net->n_params && !st; i++) {
        const param *p = &t->p[net->index[i]];
        spot s = find_spot(p->name);
        if (s.place == BLOCK && strcmp(s.tail, "norm1.weight") == 0) st = add_buffers(&l, net, p->name, naming, prefix);
        if (!st) st = add_param(&l, net, p, net->index[i], naming, prefix);
    }
    if (st) {
        free(l.x);
        return st;
    }
    *out = l.x;
    *n = l.n;
    return OK;
}

void swin_position_index(int window, int64_t *index)
{
    int W = window, N = W * W;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) index[i * N + j] = (i / W - j / W + W - 1) * (2 * W - 1) + i % W - j % W + W - 1;
}

void swin_position_coords(int window, float *coords) { position_coords(coords, window); }
