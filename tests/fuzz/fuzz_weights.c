/* fuzz_weights: a weights file of another program held against the encoders, as `medley import` and a job's `init` do. */
#include "fuzz.h"

#include "medley/model.h"
#include "medley/train.h"

#include <stdlib.h>
#include <string.h>

const char *const fuzz_name = "weights";
const char *const fuzz_words[] = {"features.0.0.weight", "patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight", "encoder.", "layers.0.blocks.0.",
                                  "attn.qkv.weight", "relative_position_index", "\"dtype\":\"F32\"", "\"shape\":[", "\"data_offsets\":[", "{", "}", ",", NULL};
const size_t fuzz_bytes_max = 1 << 14, fuzz_memory_max = 32 << 20;
const int fuzz_mutations = 300;

static void check(const tensors *f, const char *encoder)
{
    weights_fit fit;
    char *text = NULL;
    size_t length = 0;
    if (weights_compare(&fit, f, encoder)) {
        fuzz_require(status_message()[0] != 0, "a refusal says why");
        return;
    }
    fuzz_require(fit.n_found >= 0 && fit.n_found + fit.n_shaped + fit.n_missing == fit.n_wanted, "every tensor of the encoder is counted once");
    fuzz_require(fit.n_found + fit.n_shaped + fit.n_extra + fit.n_unused + fit.n_buffers <= tensors_count(f), "and every tensor of the file");
    fuzz_require(!encoder || !strcmp(fit.encoder, encoder), "it is the encoder that was asked for");
    FILE *out = open_memstream(&text, &length);
    if (!out || weights_differences(out, &fit, f, 3)) abort();
    fclose(out);
    for (size_t i = 0; i < length; i++) fuzz_require(text[i] == '\n' || (unsigned char)text[i] >= 32, "names are shown without control characters");
    free(text);
}

void fuzz_one(const uint8_t *data, size_t n)
{
    tensors *t;
    if (tensors_open(&t, fuzz_file(data, n))) return;
    check(t, NULL);
    check(t, swin_variants[n % 2]);
    tensors_close(t);
}
