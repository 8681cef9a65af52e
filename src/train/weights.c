/* weights: a network's weights without its trainer and data: from a run folder, a checkpoint, or a file of another program. */
#include "train_internal.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* The file that `from` means. */
static status find_file(weights *o, const char *from, const char *which)
{
    char found[600];
    CHECK(strlen(from) < sizeof o->path - 100, ST_USAGE, "path too long: %.80s...", from);
    if (!is_folder(from)) {
        CHECK(path_exists(from), ST_DATA, "%s: no such run folder or file", from);
        CHECK(!which, ST_USAGE, "%s is a file, no run folder to choose weights \"%s\" from", from, which);
        snprintf(o->path, sizeof o->path, "%s", from);
    } else if (!which || strcmp(which, "best") == 0) {
        snprintf(o->path, sizeof o->path, "%s/best.h5", from);
        CHECK(path_exists(o->path), ST_DATA, "%s: no best.h5: no validation has chosen the best weights yet (or this is no run folder); "
              "\"last\" takes the newest checkpoint", from);
    } else if (strcmp(which, "last") == 0) {
        TRY(checkpoint_newest(from, found), "weights");
        CHECK(found[0], ST_DATA, "%s: no checkpoint", from);
        snprintf(o->path, sizeof o->path, "%s", found);
    } else snprintf(o->path, sizeof o->path, "%.1200s", which);
    return OK;
}

static status make_room(weights *o)
{
    bool all[BLOCK_HEAD0 + 1] = {true, true, true, true};
    params_layout(&o->pt, all, BLOCK_HEAD0 + 1);
    return mem_alloc(&o->w, sizeof *o->w * (size_t)o->pt.n_local, "weights");
}

/* ---- checkpoint ---------------------------------------------------------------------------------------------------------- */

static status encoder_of_plan(store *s, const char *path, char out[32])
{
    static const char key[] = "model.encoder = ";
    char *plan = NULL;
    TRY(adopt_text(s, path, "plan", &plan), "weights");
    const char *at = strstr(plan, key);
    if (at) snprintf(out, 32, "%.*s", (int)strcspn(at + strlen(key), "\n"), at + strlen(key));
    free(plan);
    CHECK(at, ST_DATA, "%s: its plan does not say which encoder it has", path);
    return OK;
}

/* Declares what the file holds beside the encoder. Heads share one block: nothing here runs them. */
static status declare_heads(weights *o, store *s)
{
    char(*name)[128] = NULL;
    int n = 0;
    status st = OK;
    TRY(store_list(s, "weights", &n, &name), "%s", o->path);
    for (int i = 0; i < n && !st; i++) {
        char full[200];
        enum dtype type;
        int ndim;
        int64_t dims[8];
        if (strncmp(name[i], "encoder.", 8) == 0) continue;
        snprintf(full, sizeof full, "weights/%s", name[i]);
        st = store_shape(s, full, &type, &ndim, dims);
        int block = strncmp(name[i], "seg.", 4) == 0 ? BLOCK_SEG : strncmp(name[i], "det.", 4) == 0 ? BLOCK_DET : BLOCK_HEAD0;
        if (!st && (type != DT_F32 || ndim > 4)) st = status_raise(ST_DATA, __FILE__, __LINE__, "object %s has an unexpected shape", full);
        if (!st) st = params_add(&o->pt, NULL, name[i], ndim, dims, INIT_ZERO, 0, false, block);
        if (st) st = status_note(st, __FILE__, __LINE__, "%s", o->path);
    }
    free(name);
    return st;
}

static status read_arrays(weights *o, store *s, bool raw)
{
    o->average = !raw && store_has(s, "ema");
    for (int i = 0; i < o->pt.n; i++) { /* before any memory is taken for them */
        const param *p = &o->pt.p[i];
        char name[200];
        enum dtype type;
        int ndim;
        int64_t dims[8];
        snprintf(name, sizeof name, "%s/%s", o->average ? "ema" : "weights", p->name);
        TRY(store_shape(s, name, &type, &ndim, dims), "%s", o->path);
        CHECK(type == DT_F32 && ndim == p->ndim && memcmp(dims, p->shape, sizeof *dims * (size_t)ndim) == 0, ST_DATA,
              "%s: object %s has another shape than %s wants", o->path, name, o->enc.variant);
    }
    TRY(make_room(o), "%s", o->path);
    for (int i = 0; i < o->pt.n; i++) {
        const param *p = &o->pt.p[i];
        char name[200];
        snprintf(name, sizeof name, "%s/%s", o->average ? "ema" : "weights", p->name);
        TRY(store_read(s, name, DT_F32, p->n, o->w + p->off), "%s", o->path);
    }
    return OK;
}

static status open_checkpoint(weights *o, const weights_ask *ask)
{
    store *s = NULL;
    char encoder[32];
    status st;
    TRY(store_verify(o->path), "weights");
    TRY(store_open(&s, o->path), "weights");
    TRY_TO(done, checkpoint_check_format(s, o->path), "weights");
    TRY_TO(done, store_get_i64(s, "/", "step", &o->step), "%s", o->path);
    TRY_TO(done, encoder_of_plan(s, o->path, encoder), "weights");
    CHECK_TO(done, !ask->encoder || strcmp(encoder, ask->encoder) == 0, ST_USAGE, "%s: its encoder is %s, not %s", o->path, encoder, ask->encoder);
    TRY_TO(done, swin_init(&o->enc, encoder, -1, &o->pt), "%s", o->path);
    if (ask->heads) TRY_TO(done, declare_heads(o, s), "weights");
    TRY_TO(done, read_arrays(o, s, ask->raw), "weights");
done:
    store_close(s);
    return st;
}

/* ---- safetensors --------------------------------------------------------------------------------------------------------- */

static status read_named(weights *o, tensors *f, const weights_fit *fit)
{
    named_tensor *x = NULL;
    int n;
    TRY(make_room(o), "%s", o->path); /* zeros: what the file has no tensor for */
    TRY(swin_named(&o->enc, &o->pt, fit->naming, fit->prefix, &x, &n), "%s", o->path);
    status st = OK;
    for (int i = 0; i < n && !st; i++) {
        if (x[i].param < 0) continue;
        float *to = o->w + o->pt.p[x[i].param].off + x[i].from;
        st = tensors_read(f, tensors_find(f, x[i].name), DT_F32, x[i].n, to);
        for (int64_t k = 0; k < x[i].n && !st; k++)
            if (!isfinite(to[k]))
                st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: tensor \"%s\": element %lld is %g", o->path, x[i].name, (long long)k,
                                  (double)to[k]);
    }
    free(x);
    return st;
}

/* What does not fit, in one message. */
static status refuse(const char *path, const tensors *f, const weights_fit *fit)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out;
    TRY(mem_text_open(&out, &text, &n, "message"), "%s", path);
    status st = weights_differences(out, fit, f, 3), closed = mem_text_close(out, &text, "message");
    if (!st) st = closed;
    if (!st) {
        while (n && isspace((unsigned char)text[n - 1])) text[--n] = 0;
        char extra[64] = "";
        if (fit->n_extra) snprintf(extra, sizeof extra, ", %d of blocks that it does not have", fit->n_extra);
        st = status_raise(ST_DATA, __FILE__, __LINE__,
                          "%s does not fit %s: of %d weights, by the names of %s, %d are there, %d missing, %d of another shape%s\n%s", path,
                          fit->encoder, fit->n_wanted, naming_name[fit->naming], fit->n_found, fit->n_missing, fit->n_shaped, extra, text);
    }
    free(text);
    return st;
}

static status open_tensors(weights *o, const weights_ask *ask)
{
    tensors *f = NULL;
    weights_fit fit;
    status st;
    CHECK(!ask->heads, ST_USAGE, "%s: heads and decoders are taken from runs and checkpoints only", o->path);
    TRY(tensors_open(&f, o->path), "weights");
    TRY_TO(done, weights_compare(&fit, f, ask->encoder), "%s", o->path);
    if (fit.n_found < fit.n_wanted || fit.n_extra) {
        st = refuse(o->path, f, &fit);
        goto done;
    }
    o->naming = fit.naming, o->n_unused = fit.n_unused, o->step = -1;
    TRY_TO(done, swin_init(&o->enc, fit.encoder, -1, &o->pt), "%s", o->path);
    TRY_TO(done, read_named(o, f, &fit), "weights");
done:
    tensors_close(f);
    return st;
}

/* ---- either ---------------------------------------------------------------------------------------------------------------- */

static status is_hdf5(const char *path, bool *yes)
{
    static const char signature[8] = "\x89HDF\r\n\x1a\n";
    char head[8] = "";
    FILE *f = fopen(path, "rb");
    CHECK(f, ST_DATA, "%s: cannot open", path);
    *yes = fread(head, 1, sizeof head, f) == sizeof head && memcmp(head, signature, sizeof head) == 0;
    fclose(f);
    return OK;
}

status weights_open(weights *out, const char *from, const weights_ask *ask)
{
    static const weights_ask nothing;
    bool hdf5 = false;
    if (!ask) ask = &nothing;
    *out = (weights){.naming = NAMING_MEDLEY};
    TRY(find_file(out, from, ask->which), "weights");
    TRY(is_hdf5(out->path, &hdf5), "weights");
    status st = hdf5 ? open_checkpoint(out, ask) : open_tensors(out, ask);
    if (st) weights_close(out);
    return st;
}

status weights_open_all(weights *out, comm *world, const char *from, const weights_ask *ask)
{
    bool reads = comm_rank(world) == 0;
    weights sent = {0};
    status st = reads ? weights_open(out, from, ask) : OK;
    TRY(comm_agree(world, st), "weights");
    if (reads) sent = *out;
    TRY_TO(done, comm_bcast(world, &sent, sizeof sent, 0), "weights");
    if (!reads) {
        *out = sent, out->pt = (params){0}, out->w = NULL; /* rank 0's addresses */
        st = swin_init(&out->enc, sent.enc.variant, -1, &out->pt);
        if (!st) st = make_room(out);
    }
    TRY_TO(done, comm_agree(world, st), "weights");
    TRY_TO(done, comm_bcast(world, out->w, sizeof *out->w * (size_t)out->pt.n_local, 0), "weights");
done:
    if (st) weights_close(out);
    return st;
}

void weights_close(weights *o)
{
    params_free(&o->pt);
    free(o->w);
    o->w = NULL;
}

status weights_random(weights *out, const char *encoder, uint64_t seed)
{
    *out = (weights){.naming = NAMING_MEDLEY, .step = -1};
    snprintf(out->path, sizeof out->path, "random weights");
    status st = swin_init(&out->enc, encoder, -1, &out->pt);
    if (!st) st = make_room(out);
    if (st) weights_close(out);
    else params_init_weights(&out->pt, seed, out->w);
    return st;
}
