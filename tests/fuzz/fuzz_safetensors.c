/* fuzz_safetensors: a weights file of another program. */
#include "fuzz.h"

#include "medley/store.h"

#include <stdlib.h>

const char *const fuzz_name = "safetensors";
const char *const fuzz_words[] = {"\"__metadata__\":", "\"dtype\":", "\"shape\":", "\"data_offsets\":", "\"F32\"", "\"F16\"", "\"BF16\"", "\"F64\"",
                                  "\"I64\"", "[]", "[0]", "[9223372036854775807,2]", "-1", "{", "}", ",", "\"\"", NULL};
const size_t fuzz_bytes_max = 1 << 14, fuzz_memory_max = 32 << 20;
const int fuzz_mutations = 20000;

void fuzz_one(const uint8_t *data, size_t n)
{
    tensors *t;
    if (tensors_open(&t, fuzz_file(data, n))) return;
    int64_t seen = 0, elements = 0;
    const char *key, *value;
    for (const tensor_info *x = NULL; (x = tensors_next(t, x));) {
        fuzz_require(tensors_find(t, x->name) == x, "a listed tensor is found by its name");
        fuzz_require(x->from >= 0 && x->from <= x->to && x->to <= (int64_t)n, "ranges lie in the file");
        seen++, elements += x->n;
        double *out = malloc((size_t)x->n * 8 + 1);
        if (!out) abort();
        static const enum dtype as[] = {DT_F32, DT_F64, DT_I64};
        for (int k = 0; k < 3; k++)
            if (tensors_read(t, x, as[k], x->n, out)) fuzz_require(status_message()[0] != 0, "a refusal says why");
        free(out);
    }
    fuzz_require(seen == tensors_count(t), "all tensors are listed");
    fuzz_require(elements <= (int64_t)n, "elements are bytes of the file");
    for (int i = 0; tensors_meta(t, i, &key, &value); i++) fuzz_require(key && value, "metadata are pairs");
    tensors_close(t);
}
