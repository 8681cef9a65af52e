/* weights_fit: do the tensors of a safetensors file fit an encoder? In which program's names, and what is missing. */
#include "train_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_PREFIXES = 8 }; /* a file with several encoders: the first few are tried */

static bool same_shape(const named_tensor *want, const tensor_info *have)
{
    if (want->ndim != have->ndim) return false;
    for (int d = 0; d < want->ndim; d++)
        if (want->shape[d] != have->dims[d]) return false;
    return true;
}

static int by_name(const void *pa, const void *pb) { return strcmp(((const named_tensor *)pa)->name, ((const named_tensor *)pb)->name); }

static bool is_wanted(const named_tensor *x, int n, const char *name)
{
    named_tensor key;
    if (strlen(name) >= sizeof key.name) return false;
    strcpy(key.name, name);
    return bsearch(&key, x, (size_t)n, sizeof *x, by_name) != NULL;
}

/* What a tensor of the file is to the encoder whose n tensors, sorted, are x. */
enum part_of { WEIGHT, BUFFER, EXTRA, UNUSED };

static enum part_of part_of(const weights_fit *fit, const named_tensor *x, int n, const char *name)
{
    size_t skip = strlen(fit->prefix);
    if (naming_is_buffer(name)) return BUFFER;
    if (is_wanted(x, n, name)) return WEIGHT;
    return strncmp(name, fit->prefix, skip) == 0 && naming_is_stage(fit->naming, name + skip) ? EXTRA : UNUSED;
}

static void count(weights_fit *fit, const tensors *f, const named_tensor *x, int n)
{
    fit->n_wanted = fit->n_found = fit->n_shaped = fit->n_missing = 0;
    for (int i = 0; i < n; i++) {
        if (x[i].param < 0) continue;
        const tensor_info *have = tensors_find(f, x[i].name);
        fit->n_wanted++;
        if (!have) fit->n_missing++;
        else if (!same_shape(&x[i], have)) fit->n_shaped++;
        else fit->n_found++;
    }
}

static void count_others(weights_fit *fit, const tensors *f, const named_tensor *x, int n)
{
    fit->n_extra = fit->n_unused = fit->n_buffers = 0;
    for (const tensor_info *t = NULL; (t = tensors_next(f, t));)
        switch (part_of(fit, x, n, t->name)) {
        case BUFFER: fit->n_buffers++; break;
        case EXTRA: fit->n_extra++; break;
        case UNUSED: fit->n_unused++; break;
        case WEIGHT: break;
        }
}

/* Is `a` the better guess? The larger encoder if the file has all of it; the one that misses less else. */
static bool better(const weights_fit *a, const weights_fit *b)
{
    return a->n_found != b->n_found ? a->n_found > b->n_found : a->n_missing + a->n_shaped < b->n_missing + b->n_shaped;
}

/* Every prefix with which the file has a tensor called `anchor`, in this naming. */
static status try_naming(weights_fit *best, const tensors *f, const swin *net, const params *pt, enum weight_naming naming)
{
    named_tensor *bare = NULL, *x = NULL;
    int n, n_tried = 0;
    TRY(swin_named(net, pt, naming, "", &bare, &n), "names");
    const char *anchor = bare[0].name;
    size_t length = strlen(anchor);
    status st = OK;
    for (const tensor_info *t = NULL; (t = tensors_next(f, t)) && n_tried < MOST_PREFIXES && !st;) {
        size_t have = strlen(t->name);
        weights_fit fit = {.naming = naming};
        if (have < length || strcmp(t->name + have - length, anchor) != 0 || have - length >= sizeof fit.prefix) continue;
        if (have > length && t->name[have - length - 1] != '.') continue;
        snprintf(fit.encoder, sizeof fit.encoder, "%s", net->variant);
        snprintf(fit.prefix, sizeof fit.prefix, "%.*s", (int)(have - length), t->name);
        if (naming == NAMING_TORCHVISION && strcmp(fit.prefix, naming_prefix(NAMING_MEDLEY, net->version)) == 0) fit.naming = NAMING_MEDLEY;
        st = swin_named(net, pt, fit.naming, fit.prefix, &x, &n);
        if (!st) count(&fit, f, x, n);
        free(x), x = NULL;
        if (!st && (!best->n_wanted || better(&fit, best))) *best = fit;
        n_tried++;
    }
    free(bare);
    return st;
}

/* The encoder that the fit speaks of and its tensors, sorted. */
static status list_wanted(const weights_fit *fit, params *pt, named_tensor **x, int *n)
{
    swin net;
    TRY(swin_init(&net, fit->encoder, -1, pt), "names");
    TRY(swin_named(&net, pt, fit->naming, fit->prefix, x, n), "names");
    qsort(*x, (size_t)*n, sizeof **x, by_name);
    return OK;
}

status weights_compare(weights_fit *out, const tensors *f, const char *encoder)
{
    *out = (weights_fit){0};
    for (int v = 0; swin_variants[v]; v++) {
        if (encoder && strcmp(encoder, swin_variants[v]) != 0) continue;
        swin net;
        params pt = {0};
        status st = swin_init(&net, swin_variants[v], -1, &pt);
        for (int k = NAMING_TORCHVISION; k < N_NAMINGS && !st; k++) st = try_naming(out, f, &net, &pt, (enum weight_naming)k);
        params_free(&pt);
        TRY(st, "names");
    }
    CHECK(out->n_wanted, ST_DATA, "no Swin encoder in it: no tensor is called like the patch embedding of torchvision (features.0.0.weight), timm "
          "(patch_embed.proj.weight) or Hugging Face (embeddings.patch_embeddings.projection.weight)");
    params pt = {0};
    named_tensor *x = NULL;
    int n;
    status st = list_wanted(out, &pt, &x, &n);
    if (!st) count_others(out, f, x, n);
    params_free(&pt);
    free(x);
    return st;
}

static void put_shape(FILE *out, int ndim, const int64_t *dims)
{
    fputc('[', out);
    for (int d = 0; d < ndim; d++) fprintf(out, "%s%lld", d ? "," : "", (long long)dims[d]);
    fputc(']', out);
}

static void put_line(FILE *out, const char *what, const char *name, int ndim, const int64_t *dims)
{
    char shown[204];
    fprintf(out, "  %-8s %s ", what, text_shown(name, shown, sizeof shown));
    put_shape(out, ndim, dims);
}

static void put_rest(FILE *out, const char *what, int n, int most)
{
    if (n > most) fprintf(out, "  %-8s and %d more\n", what, n - most);
}

status weights_differences(FILE *out, const weights_fit *fit, const tensors *f, int most)
{
    params pt = {0};
    named_tensor *x = NULL;
    int n = 0, n_missing = 0, n_shaped = 0, n_extra = 0, n_unused = 0;
    status st = list_wanted(fit, &pt, &x, &n);
    for (int i = 0; i < n && !st; i++) {
        const tensor_info *have = tensors_find(f, x[i].name);
        if (x[i].param < 0 || (have && same_shape(&x[i], have))) continue;
        if (have ? n_shaped++ >= most : n_missing++ >= most) continue;
        if (!have) put_line(out, "missing", x[i].name, x[i].ndim, x[i].shape);
        else {
            put_line(out, "shape", have->name, have->ndim, have->dims);
            fputs(", wanted ", out);
            put_shape(out, x[i].ndim, x[i].shape);
        }
        fputc('\n', out);
    }
    put_rest(out, "missing", n_missing, most);
    put_rest(out, "shape", n_shaped, most);
    for (int turn = 0; turn < 2 && !st; turn++)
        for (const tensor_info *t = NULL; (t = tensors_next(f, t));) {
            enum part_of part = part_of(fit, x, n, t->name);
            if (part != (turn ? UNUSED : EXTRA) || (turn ? n_unused++ : n_extra++) >= most) continue;
            put_line(out, turn ? "unused" : "extra", t->name, t->ndim, t->dims);
            fputc('\n', out);
        }
    put_rest(out, "extra", n_extra, most);
    put_rest(out, "unused", n_unused, most);
    params_free(&pt);
    free(x);
    return st;
}
