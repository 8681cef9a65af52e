/* exchange: `medley export` and `medley import`: weights as safetensors under the names of other programs, and back; the encoder as ONNX. */
#include "medley/command.h"
#include "medley/train.h"
#include "medley/use.h"

#include "medley_build.h"

#include "onnx.h"

#include <stdlib.h>
#include <string.h>

typedef struct exchange {
    const char *from, *out, *head; /* head: name of a task, or NULL */
    bool     heads, force;
    enum weight_naming naming;
    weights  w;
    job     *job;                  /* of a run folder; NULL: not known */
    named_tensor *x;               /* (n) what is written of the encoder */
    int      n;
    void   **buffer;               /* (n) contents of those that are no weights */
    tensors_writer *file;
    onnx    *model;                /* written instead of tensors */
    int      H, W;                 /* its image size */
} exchange;

static void release(exchange *e)
{
    tensors_discard(e->file);
    onnx_close(e->model);
    for (int i = 0; i < e->n && e->buffer; i++) free(e->buffer[i]);
    free(e->buffer), free(e->x), free(e->job);
    weights_close(&e->w);
}

/* The job of a run folder, for what the weights were made from; without one there is less to tell. */
static status find_job(exchange *e)
{
    char path[1400];
    snprintf(path, sizeof path, "%.1300s/job.cfg", e->from);
    if (!path_exists(path)) return OK;
    TRY(mem_alloc(&e->job, sizeof *e->job, "job"), "export");
    status st = job_load_without_data(e->job, path, NULL, 0);
    if (st != ST_USAGE && st != ST_DATA) return st;
    log_line(LOG_WARN, "%s: data sets and licences will be missing in the header", status_message());
    free(e->job), e->job = NULL;
    status_clear();
    return OK;
}

/* ---- what the header tells ----------------------------------------------------------------------------------------------------- */

static status put_text(exchange *e, const char *key, const char *text)
{
    if (!e->model) return tensors_put_meta(e->file, key, text);
    onnx_meta(e->model, key, text);
    return OK;
}

static status put(exchange *e, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);
static status put(exchange *e, const char *key, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return put_text(e, key, text);
}

static status put_encoder(exchange *e)
{
    const swin *n = &e->w.enc;
    if (!e->model) {
        TRY(put(e, "format", "pt"), "header"); /* what transformers asks for */
        TRY(put(e, "naming", "%s", naming_name[e->naming]), "header");
        TRY(put(e, "producer", "medley %s", MEDLEY_VERSION), "header");
        TRY(put(e, "padding", "pad to whole windows, then roll, as torchvision; timm rolls first: the same where no padding is needed"), "header");
    }
    TRY(put(e, "encoder", "%s", n->variant), "header");
    TRY(put(e, "embed_dim", "%d", n->embed), "header");
    TRY(put(e, "depths", "%d,%d,%d,%d", n->depth[0], n->depth[1], n->depth[2], n->depth[3]), "header");
    TRY(put(e, "num_heads", "%d,%d,%d,%d", n->heads[0], n->heads[1], n->heads[2], n->heads[3]), "header");
    TRY(put(e, "window_size", "%d", n->window), "header");
    TRY(put(e, "input", "three colours (grey three times) from 0 to 1%s", e->model ? "; the graph normalises" : ", less mean, over std"), "header");
    TRY(put(e, "mean", "%.6g,%.6g,%.6g", (double)n->mean[0], (double)n->mean[1], (double)n->mean[2]), "header");
    TRY(put(e, "std", "%.6g,%.6g,%.6g", (double)n->std[0], (double)n->std[1], (double)n->std[2]), "header");
    const char *base = strrchr(e->w.path, '/');
    TRY(put(e, "source", "%s", base ? base + 1 : e->w.path), "header");
    if (e->w.step >= 0) TRY(put(e, "step", "%lld", (long long)e->w.step), "header");
    return e->w.average ? put(e, "weights", "moving average") : OK;
}

/* Data sets of the job with their licences, and the image sizes it trained on. */
static status put_data(exchange *e)
{
    char *text = NULL, sizes[512] = "", dir[JOB_DIR_BYTES];
    size_t n = 0;
    FILE *f;
    if (!e->job) return OK;
    TRY(mem_text_open(&f, &text, &n, "data sets"), "header");
    for (int i = 0; i < e->job->n_tasks; i++) {
        const job_task *t = &e->job->task[i];
        bool seen = false;
        char size[32];
        snprintf(size, sizeof size, "%s%dx%d", sizes[0] ? "," : "", t->image[0], t->image[1]);
        if (!strstr(sizes, size + (size[0] == ',')) && strlen(sizes) + strlen(size) < sizeof sizes) strcat(sizes, size);
        for (int k = 0; k < i; k++) seen |= strcmp(e->job->task[k].data, t->data) == 0;
        if (seen) continue;
        catalogue c;
        job_data_dir(e->job, t->data, dir);
        bool known = catalogue_open(&c, dir) == OK;
        if (known) fprintf(f, "%s: %s\n", c.meta.name, c.meta.licence[0] ? c.meta.licence : "licence not stated");
        else fprintf(f, "%s: no longer readable, licence not known\n", t->data);
        if (known) catalogue_close(&c);
        else status_clear();
    }
    TRY(mem_text_close(f, &text, "data sets"), "header");
    if (n && text[n - 1] == '\n') text[n - 1] = 0;
    status st = put_text(e, "data_sets", text);
    free(text);
    TRY(st, "header");
    return put(e, "image_size", "%s", sizes);
}

/* Names of the classes of the task whose head goes with the encoder, one a line, if its data are there. */
static status put_classes(exchange *e)
{
    char *text = NULL, dir[JOB_DIR_BYTES];
    size_t n = 0;
    FILE *f;
    catalogue c;
    const job_task *t = NULL;
    for (int i = 0; e->job && i < e->job->n_tasks; i++)
        if (strcmp(e->job->task[i].name, e->head) == 0) t = &e->job->task[i];
    if (!t) return OK;
    job_data_dir(e->job, t->data, dir);
    if (catalogue_open(&c, dir)) return status_clear(), OK;
    status st = mem_text_open(&f, &text, &n, "classes");
    if (!st) {
        for (int i = 0; i < c.meta.n_labels; i++) {
            const shard_label *l = &c.meta.label[i];
            if (t->label[0] ? strcmp(l->name, t->label) == 0 : c.meta.n_labels == 1)
                for (int k = 0; k < l->n_classes && l->class_name; k++) fprintf(f, "%s%s", k ? "\n" : "", l->class_name[k]);
        }
        st = mem_text_close(f, &text, "classes");
    }
    if (!st && n) st = put_text(e, "classes", text);
    free(text);
    catalogue_close(&c);
    return st;
}

/* ---- tensors --------------------------------------------------------------------------------------------------------------------- */

static status put_buffer(exchange *e, int i)
{
    const named_tensor *x = &e->x[i];
    bool index = x->what == NAMED_INDEX;
    enum dtype type = index ? DT_I64 : DT_F32;
    TRY(mem_alloc(&e->buffer[i], dtype_bytes(type) * (size_t)x->n, x->name), "export");
    if (index) swin_position_index(e->w.enc.window, e->buffer[i]);
    else swin_position_coords(e->w.enc.window, e->buffer[i]);
    return tensors_put(e->file, x->name, type, x->ndim, x->shape, e->buffer[i]);
}

static status put_tensors(exchange *e)
{
    const weights *w = &e->w;
    TRY(swin_named(&w->enc, &w->pt, e->naming, naming_prefix(e->naming, w->enc.version), &e->x, &e->n), "export");
    TRY(mem_alloc(&e->buffer, sizeof *e->buffer * (size_t)e->n, "buffers"), "export");
    for (int i = 0; i < e->n; i++) {
        const named_tensor *x = &e->x[i];
        if (x->param < 0) TRY(put_buffer(e, i), "export");
        else TRY(tensors_put(e->file, x->name, DT_F32, x->ndim, x->shape, PW(&w->pt, w->w, x->param) + x->from), "export");
    }
    for (int i = 0; e->heads && i < w->pt.n; i++) {
        const param *p = &w->pt.p[i];
        if (p->block != BLOCK_ENCODER) TRY(tensors_put(e->file, p->name, DT_F32, p->ndim, p->shape, w->w + p->off), "export");
    }
    return OK;
}

/* Weight (outputs,8C) and bias (outputs) of the linear head of task e->head. */
static status find_head(const exchange *e, const param *head[2])
{
    static const char *const leaf[] = {"weight", "bias"};
    for (int i = 0; i < 2; i++) {
        char ours[192];
        snprintf(ours, sizeof ours, "head.%s.%s", e->head, leaf[i]);
        int k = params_find(&e->w.pt, ours);
        const param *p = head[i] = k < 0 ? NULL : &e->w.pt.p[k];
        CHECK(p && (i ? p->ndim == 1 : p->ndim == 2 && p->shape[1] == (int64_t)e->w.enc.embed * 8), ST_USAGE,
              "%s: no task \"%s\" with a linear head over the pooled vector (classification, multilabel, regression)", e->w.path, e->head);
    }
    return OK;
}

/* That head as the classifier of the other program. */
static status put_head(exchange *e)
{
    const param *head[2];
    TRY(find_head(e, head), "export");
    for (int i = 0; i < 2; i++) {
        char theirs[64];
        snprintf(theirs, sizeof theirs, "%s.%s", naming_head(e->naming), i ? "bias" : "weight");
        TRY(tensors_put(e->file, theirs, DT_F32, head[i]->ndim, head[i]->shape, e->w.w + head[i]->off), "export");
    }
    return put_classes(e);
}

static status write_out(exchange *e)
{
    TRY(tensors_create(&e->file, e->out), "export");
    TRY(put_encoder(e), "export");
    TRY(put_data(e), "export");
    TRY(put_tensors(e), "export");
    if (e->head) TRY(put_head(e), "export");
    tensors_writer *file = e->file;
    e->file = NULL;
    return tensors_commit(file);
}

/* ---- ONNX ------------------------------------------------------------------------------------------------------------------------ */

/* The image size of the first task, or what the weights of other programs were trained at. */
static void choose_size(exchange *e)
{
    if (e->H) return;
    e->H = e->W = swin_trained_side(&e->w.enc);
    if (e->job) e->H = e->job->task[0].image[0], e->W = e->job->task[0].image[1];
    for (int i = 0; e->job && e->head && i < e->job->n_tasks; i++)
        if (strcmp(e->job->task[i].name, e->head) == 0) e->H = e->job->task[i].image[0], e->W = e->job->task[i].image[1];
}

static status write_onnx(exchange *e)
{
    const weights *w = &e->w;
    const param *head[2];
    onnx_value vector;
    int n_nodes;
    choose_size(e);
    TRY(onnx_open(&e->model, w->enc.variant), "export");
    TRY(put_encoder(e), "export");
    TRY(put_data(e), "export");
    onnx_encoder(e->model, &w->enc, &w->pt, w->w, e->H, e->W, &vector);
    if (e->head) {
        TRY(find_head(e, head), "export");
        onnx_value in[3] = {vector, onnx_lend(e->model, "head.weight", 2, head[0]->shape, w->w + head[0]->off),
                            onnx_lend(e->model, "head.bias", 1, head[1]->shape, w->w + head[1]->off)}, scores;
        onnx_node(e->model, "Gemm", 3, in, 1, &scores, (onnx_attr[2]){{.name = "transB", .v = {1}}});
        onnx_output(e->model, "logits", scores, 2, (int64_t[2]){-1, head[1]->shape[0]});
        TRY(put_classes(e), "export");
    }
    TRY(onnx_write(e->model, e->out, "medley", MEDLEY_VERSION, &n_nodes), "export");
    printf("%s: %s for images of %dx%d as ONNX, %d nodes%s%s, from %s\n", e->out, w->enc.variant, e->H, e->W, n_nodes, e->head ? "; head of task " : "",
           e->head ? e->head : "", w->path);
    return OK;
}

/* ---- export -------------------------------------------------------------------------------------------------------------------- */

static status export_weights(exchange *e, const weights_ask *ask, bool as_onnx)
{
    TRY(use_may_write(e->out, e->force), "export");
    TRY(weights_open(&e->w, e->from, ask), "export");
    TRY(find_job(e), "export");
    if (as_onnx) return write_onnx(e);
    TRY(write_out(e), "export");
    int64_t n = 0;
    for (int i = 0; i < e->n; i++) n += e->x[i].param >= 0 ? e->x[i].n : 0;
    printf("%s: %s with the names of %s, %d tensors, %.2f M weights of the encoder%s%s%s%s, from %s", e->out, e->w.enc.variant,
           naming_name[e->naming], e->n, 1e-6 * (double)n, e->heads ? "; decoders and heads" : "", e->head ? "; head of task " : "", e->head ? e->head : "",
           e->w.average ? "; moving average" : "", e->w.path);
    if (e->w.step >= 0) printf(", step %lld", (long long)e->w.step);
    printf("\n");
    return OK;
}

static enum weight_naming naming_find(const char *name)
{
    int i = 0;
    while (strcmp(naming_name[i], name) != 0) i++;
    return (enum weight_naming)i;
}

status cmd_export(int argc, char **argv)
{
    exchange e = {0};
    weights_ask ask = {0};
    const char *args[1], *format = "torchvision", *with = "encoder", *image = NULL;
    int n_args;
    const command_option options[] = {
        {.name = "--out", .arg = "FILE", .text = &e.out, .help = "the file to write"},
        {.name = "--format", .arg = "NAMES", .text = &format, .choices = "torchvision|timm|huggingface|microsoft|medley|onnx",
         .help = "safetensors with whose names: torchvision (default), timm (0.9 and later), huggingface (transformers), microsoft (the "
                 "authors' files, older timm) or medley; or the network itself: onnx"},
        {.name = "--image", .arg = "HxW", .text = &image,
         .help = "of ONNX: the images' size, such as 224x224 (default: the job's, of the task of --head or the first)"},
        {.name = "--weights", .arg = "WHICH", .text = &ask.which,
         .help = "of a run: best (by validation, default), last (newest checkpoint) or a checkpoint file"},
        {.name = "--raw", .flag = &ask.raw, .help = "the trained weights themselves, not their moving average (train.ema)"},
        {.name = "--head", .arg = "TASK", .text = &e.head, .help = "the linear head of this task as the other program's classifier"},
        {.name = "--with", .arg = "PARTS", .text = &with, .choices = "encoder|heads",
         .help = "encoder (default), or heads: all decoders and heads too, under Medley's names"},
        {.name = "--force", .flag = &e.force, .help = "replace FILE"},
        {0},
    };
    const command_line c = {
        "medley export RUN|FILE --out FILE [--format NAMES] [--weights WHICH] [--head TASK] [--with heads]",
        "The encoder of a run folder, a checkpoint or a safetensors file as safetensors, with the names, shapes and buffers that another "
        "program's strict load asks for; or as an ONNX model (operator set 13, any batch, one image size) with the four stages and the pooled "
        "vector as outputs. The header tells encoder, sizes, normalisation, step, data sets and their licences. Needs no data and no MPI.",
        options, 1, 1};
    if (command_help(&c, argc, argv)) return OK;
    TRY(command_parse(&c, argc, argv, args, &n_args), "export");
    if (!e.out) return command_missing(&c, "--out FILE");
    bool as_onnx = strcmp(format, "onnx") == 0;
    e.from = args[0], e.naming = as_onnx ? NAMING_TORCHVISION : naming_find(format), e.heads = strcmp(with, "heads") == 0;
    ask.heads = e.heads || e.head;
    if (image) TRY(use_image_size(image, &e.H, &e.W), "--image");
    CHECK(as_onnx || !image, ST_USAGE, "--image is for --format onnx; weights fit any size");
    CHECK(!as_onnx || !e.heads, ST_USAGE, "decoders and heads cannot be exported as ONNX yet: --head TASK adds a linear head");
    CHECK(!e.head || naming_head(e.naming), ST_USAGE, "--head names another program's classifier; with --format medley say --with heads");
    CHECK(!e.head || !e.heads, ST_USAGE, "--head (the other program's classifier) and --with heads (all under Medley's names) do not go together");
    status st = export_weights(&e, &ask, as_onnx);
    release(&e);
    return st;
}

/* ---- import -------------------------------------------------------------------------------------------------------------------- */

/* What the file holds, measured against an encoder: all of it, for people. */
static status describe(const char *path, const char *encoder, bool *fits)
{
    tensors *f;
    weights_fit fit;
    const char *key, *value;
    char prefix[64];
    TRY(tensors_open(&f, path), "import");
    status st = weights_compare(&fit, f, encoder);
    if (st) st = status_note(st, __FILE__, __LINE__, "%s", path);
    if (!st) {
        *fits = fit.n_found == fit.n_wanted && !fit.n_extra;
        printf("%s: %d tensors; %s with the names of %s%s%s%s: of %d weights %d are there, %d missing, %d of another shape", path,
               tensors_count(f), fit.encoder, naming_name[fit.naming], fit.prefix[0] ? " behind \"" : "",
               text_shown(fit.prefix, prefix, sizeof prefix), fit.prefix[0] ? "\"" : "", fit.n_wanted,
               fit.n_found, fit.n_missing, fit.n_shaped);
        if (fit.n_extra) printf(", %d of blocks that it does not have", fit.n_extra);
        printf("; %d buffers; %d others\n", fit.n_buffers, fit.n_unused);
        st = weights_differences(stdout, &fit, f, 40);
        char name[64], text[304];
        for (int i = 0; !st && tensors_meta(f, i, &key, &value); i++)
            printf("  header   %s = %s\n", text_shown(key, name, sizeof name), text_shown(value, text, sizeof text));
    }
    tensors_close(f);
    return st;
}

static status import_weights(exchange *e, const char *encoder)
{
    bool fits = false;
    if (e->out) TRY(use_may_write(e->out, e->force), "import");
    TRY(describe(e->from, encoder, &fits), "import");
    fflush(stdout);
    TRY(weights_open(&e->w, e->from, &(weights_ask){.encoder = encoder}), "import");
    if (!e->out) return printf("fits: model = { encoder = \"%s\"; init = \"%s\"; }\n", e->w.enc.variant, e->from), OK;
    TRY(write_out(e), "import");
    printf("written to %s: model = { encoder = \"%s\"; init = \"%s\"; }\n", e->out, e->w.enc.variant, e->out);
    return OK;
}

status cmd_import(int argc, char **argv)
{
    exchange e = {.naming = NAMING_MEDLEY};
    const char *args[1], *encoder = NULL;
    char choices[256] = "";
    int n_args;
    for (int i = 0; swin_variants[i]; i++) {
        size_t n = strlen(choices);
        snprintf(choices + n, sizeof choices - n, "%s%s", i ? "|" : "", swin_variants[i]);
    }
    const command_option options[] = {
        {.name = "--encoder", .arg = "NAME", .text = &encoder, .choices = choices,
         .help = "the encoder it has to fit, such as swin_t (default: the one that fits best)"},
        {.name = "--out", .arg = "FILE", .text = &e.out, .help = "write the encoder with Medley's names and no more"},
        {.name = "--force", .flag = &e.force, .help = "replace FILE"},
        {0},
    };
    const command_line c = {
        "medley import FILE.safetensors [--encoder NAME] [--out FILE.safetensors]",
        "Is there a Swin encoder in a safetensors file? Finds out whose names it has (torchvision, timm, Microsoft, Hugging Face, Medley; behind "
        "any prefix), lists what is missing, of another shape or not needed, and reads every weight. Exit status 3 if it does not fit. A job "
        "starts from the file itself, or from what --out writes, with model.init. PyTorch's .pth files hold code: save their state_dict as "
        "safetensors first.",
        options, 1, 1};
    if (command_help(&c, argc, argv)) return OK;
    TRY(command_parse(&c, argc, argv, args, &n_args), "import");
    e.from = args[0];
    status st = import_weights(&e, encoder);
    release(&e);
    return st;
}
