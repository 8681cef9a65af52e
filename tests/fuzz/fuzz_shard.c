/* fuzz_shard: a shard from somebody else, opened and read to its last sample. */
#include "fuzz.h"

#include "medley/store.h"

#include <stdlib.h>

const char *const fuzz_name = "shard";
const char *const fuzz_words[] = {"OHDR", "OCHK", "FRHP", "TREE", "BTHD", "label", "image", "mask", "\x89HDF\r\n\x1a\n", NULL};
const size_t fuzz_bytes_max = 1 << 16, fuzz_memory_max = 128 << 20;
const bool fuzz_must_open = true;
const int fuzz_mutations = 1500;

void fuzz_one(const uint8_t *data, size_t n)
{
    shard s;
    if (shard_open(&s, fuzz_file(data, n))) return;
    fuzz_taken++;
    size_t pixel = dtype_bytes(s.meta.pixel), plane = (size_t)s.Hmax * (size_t)s.Wmax;
    for (int64_t i = 0; i < s.n && i < 64; i++) {
        size_t area = (size_t)s.size[2 * i] * (size_t)s.size[2 * i + 1];
        fuzz_require(area <= plane, "a sample is not larger than the largest");
        if (area > 1 << 22) continue; /* the caller's memory, not the reader's */
        uint8_t *out = malloc(area * (size_t)s.meta.channels * pixel);
        if (!out) abort();
        if (shard_read_image(&s, i, out)) fuzz_require(status_message()[0] != 0, "a refusal says why");
        for (int l = 0; l < s.meta.n_labels; l++)
            if (s.label[l].has_mask && s.label[l].present[i] && !shard_read_mask(&s, i, l, out))
                for (size_t k = 0; k < area; k++) fuzz_require(out[k] < s.meta.label[l].n_classes || out[k] == IGNORE_MASK, "masks hold classes");
        free(out);
    }
    shard_close(&s);
}
