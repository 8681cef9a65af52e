/* fuzz_checkpoint: a file of named arrays, walked and read as a resuming run does. */
#include "fuzz.h"

#include "medley/store.h"

#include <stdlib.h>
#include <string.h>

const char *const fuzz_name = "checkpoint";
const char *const fuzz_words[] = {"OHDR", "OCHK", "BTHD", "weights", "task", "plan", "\x89HDF\r\n\x1a\n", NULL};
const size_t fuzz_bytes_max = 1 << 16, fuzz_memory_max = 128 << 20;
const bool fuzz_must_open = true;
const int fuzz_mutations = 2000;

static void walk(store *s, const char *group, int64_t n_file, int depth)
{
    int n;
    char(*name)[128];
    if (store_list(s, group, &n, &name)) return;
    fuzz_require(depth < 16, "groups end");
    for (int i = 0; i < n; i++) {
        char path[512];
        enum dtype t;
        int ndim;
        int64_t dims[8], count = 1;
        if (snprintf(path, sizeof path, "%s%s%s", group, strcmp(group, "/") ? "/" : "", name[i]) >= (int)sizeof path) continue;
        if (store_shape(s, path, &t, &ndim, dims)) {
            walk(s, path, n_file, depth + 1);
            continue;
        }
        for (int k = 0; k < ndim; k++) count *= dims[k];
        fuzz_require(count * (int64_t)dtype_bytes(t) <= 1100 * n_file, "an array is not longer than the file can unpack to");
        void *out = malloc((size_t)count * dtype_bytes(t) + 1);
        if (!out) abort();
        if (store_read(s, path, t, count, out)) fuzz_require(status_message()[0] != 0, "a refusal says why");
        free(out);
    }
    free(name);
}

void fuzz_one(const uint8_t *data, size_t n)
{
    store *s;
    if (store_open(&s, fuzz_file(data, n))) return;
    fuzz_taken++;
    char text[64];
    int64_t v;
    double f;
    if (store_get_str(s, "/", "format", text, sizeof text)) text[0] = 0;
    if (store_get_i64(s, "/", "step", &v)) v = 0;
    if (store_get_f64(s, "/", "best_score", &f)) f = 0;
    walk(s, "/", (int64_t)n, 0);
    store_close(s);
}
