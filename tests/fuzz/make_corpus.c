/* make_corpus: writes the files of tests/fuzz/corpus that only this program can write: shards, an index, a checkpoint, tensors, notes. Run once after
 * a change of a format; the other files come from make_corpus.py. Usage: make_corpus CORPUS-FOLDER */
#include "../shards.h"
#include "note.h"

#include <stdlib.h>

static status copy(const char *from, const char *to, const char *name)
{
    char path[600], *data;
    size_t n;
    TRY(file_read_all(from, 1 << 24, &data, &n), "corpus");
    TRY(path_make_dirs(to), "corpus");
    snprintf(path, sizeof path, "%s/%s", to, name);
    status st = file_write_atomic(path, data, n);
    free(data);
    return st;
}

static status shards(const char *root, const char *scratch)
{
    char from[600], to[600];
    static const struct { const char *name; enum dtype t; int channels, n; } set[] = {{"grey", DT_I16, 1, 2}, {"colour", DT_U8, 3, 2}};
    for (int i = 0; i < 2; i++) {
        TRY(shards_make(scratch, set[i].name, set[i].t, set[i].channels, set[i].n, 1 << 20), "corpus");
        snprintf(from, sizeof from, "%s/%s/%s-00000.h5", scratch, set[i].name, set[i].name);
        snprintf(to, sizeof to, "%s/shard", root);
        char name[64];
        snprintf(name, sizeof name, "%s.h5", set[i].name);
        TRY(copy(from, to, name), "corpus");
    }
    snprintf(from, sizeof from, "%s/grey/index.h5", scratch);
    snprintf(to, sizeof to, "%s/index", root);
    return copy(from, to, "index.h5");
}

static status checkpoint(const char *root, const char *scratch)
{
    char path[600], to[600];
    float x[24];
    double state[4] = {0, 1, 2, 0.5};
    int64_t exponent[2] = {3, -4}, dims[] = {4, 6}, n = 2, n_plan = 9;
    for (int i = 0; i < 24; i++) x[i] = (float)i / 7;
    store *s;
    snprintf(path, sizeof path, "%s/checkpoint.h5", scratch);
    TRY(store_create(&s, path), "corpus");
    TRY(store_put_str(s, "/", "format", "medley-checkpoint"), "corpus");
    TRY(store_put_i64(s, "/", "format_version", 1), "corpus");
    TRY(store_put_i64(s, "/", "step", 12), "corpus");
    TRY(store_put_f64(s, "/", "best_score", 0.5), "corpus");
    TRY(store_write(s, "plan", DT_U8, 1, &n_plan, "a plan\n\n", 0), "corpus");
    TRY(store_write(s, "sum_exponent", DT_I64, 1, &n, exponent, 0), "corpus");
    TRY(store_write(s, "task/cells", DT_F64, 1, (int64_t[]){4}, state, 0), "corpus");
    TRY(store_write(s, "weights/encoder.weight", DT_F32, 2, dims, x, 0), "corpus");
    TRY(store_write(s, "m/encoder.weight", DT_F32, 2, dims, x, 4), "corpus");
    TRY(store_commit(s), "corpus");
    snprintf(to, sizeof to, "%s/checkpoint", root);
    return copy(path, to, "step.h5");
}

static status weights(const char *root)
{
    char path[600];
    float x[6] = {0, 1, -2, 0.5f, 1e-30f, 3e38f};
    double d = 0.1;
    int64_t n = 77;
    tensors_writer *w;
    snprintf(path, sizeof path, "%s/safetensors", root);
    TRY(path_make_dirs(path), "corpus");
    snprintf(path, sizeof path, "%s/safetensors/ours.safetensors", root);
    TRY(tensors_create(&w, path), "corpus");
    TRY(tensors_put_meta(w, "format", "pt"), "corpus");
    TRY(tensors_put(w, "patch_embed.weight", DT_F32, 2, (int64_t[]){2, 3}, x), "corpus");
    TRY(tensors_put(w, "n", DT_I64, 0, NULL, &n), "corpus");
    TRY(tensors_put(w, "scale", DT_F64, 1, (int64_t[]){1}, &d), "corpus");
    return tensors_commit(w);
}

/* The three items, whole and as the second half of six; numbers that no file of this size can keep; items packed out of nothing. */
static status notes(const char *root, const char *scratch)
{
    static const struct { const char *name; part_note n; int n_samples; } set[] = {
        {"whole.h5", {1, 1, NOTE_ITEMS, 0, NOTE_ITEMS, 0, 0, 1}, 1},
        {"half.h5", {2, 2, 2 * NOTE_ITEMS, 0, NOTE_ITEMS, 0, 1, 0}, 1},
        {"many-files.h5", {1, 1, INT32_MAX, 0, NOTE_ITEMS, 0, 0, 1}, 1},
        {"many-samples.h5", {1, 1, NOTE_ITEMS, 0, NOTE_ITEMS, 1, 0, 1}, 1 << 24}};
    char path[1024], dir[600], to[600];
    recipe *r;
    snprintf(to, sizeof to, "%s/note", root);
    snprintf(path, sizeof path, "%s/noted.cfg", scratch);
    TRY(note_load_recipe(&r, path), "corpus");
    conversion c = {.r = r};
    status st = note_items(&c);
    for (size_t i = 0; i < sizeof set / sizeof *set && !st; i++) {
        snprintf(dir, sizeof dir, "%s/notes%zu", scratch, i);
        c.item[0].n_samples = set[i].n_samples;
        st = path_make_dirs(dir);
        if (!st) st = note_write(&c, &set[i].n, dir);
        note_path(path, dir, 0);
        if (!st) st = copy(path, to, set[i].name);
    }
    note_drop_items(&c);
    snprintf(path, sizeof path, "%s/packed.h5", scratch);
    if (!st) st = note_packed(path, r, 1000000);
    if (!st) st = copy(path, to, "packed.h5");
    free(r);
    return st;
}

/* Weights in the names of three programs: whole tensors at the anchors, others of wrong shapes; an encoder's name behind a prefix. */
static status encoders(const char *root)
{
    static const struct { const char *file, *name[3]; int n[3]; } set[] = {
        {"torchvision.safetensors", {"features.0.0.weight", "features.0.0.bias", "head.weight"}, {24 * 3 * 16, 24, 7}},
        {"timm.safetensors", {"net.patch_embed.proj.weight", "net.layers.0.blocks.0.attn.qkv.bias", "net.layers.0.blocks.0.attn.relative_position_index"}, {3, 288, 1}},
        {"huggingface.safetensors", {"swin.embeddings.patch_embeddings.projection.weight", "embeddings.patch_embeddings.projection.weight", "layernorm.weight"}, {6, 2, 4}}};
    char path[600];
    float x[24 * 3 * 16];
    for (int i = 0; i < 24 * 3 * 16; i++) x[i] = (float)i / 1000;
    snprintf(path, sizeof path, "%s/weights", root);
    TRY(path_make_dirs(path), "corpus");
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) {
        tensors_writer *w;
        snprintf(path, sizeof path, "%s/weights/%s", root, set[i].file);
        TRY(tensors_create(&w, path), "corpus");
        for (int k = 0; k < 3; k++) {
            int64_t n = set[i].n[k], patch[] = {24, 3, 4, 4};
            bool whole = n == 24 * 3 * 16;
            TRY(tensors_put(w, set[i].name[k], DT_F32, whole ? 4 : 1, whole ? patch : &n, x), "corpus");
        }
        TRY(tensors_commit(w), "corpus");
    }
    return OK;
}

int main(int argc, char **argv)
{
    char scratch[] = "/tmp/medley-corpus-XXXXXX", clean[64];
    if (argc != 2 || !mkdtemp(scratch)) return 2;
    status st = shards(argv[1], scratch);
    if (!st) st = checkpoint(argv[1], scratch);
    if (!st) st = weights(argv[1]);
    if (!st) st = notes(argv[1], scratch);
    if (!st) st = encoders(argv[1]);
    if (st) fprintf(stderr, "make_corpus: %s\n", status_message());
    snprintf(clean, sizeof clean, "rm -rf %s", scratch);
    return system(clean) ? 1 : st;
}
