/* fuzz_index: the index of a data set folder. */
#include "fuzz.h"

#include "medley/store.h"

#include <string.h>

const char *const fuzz_name = "index";
const char *const fuzz_words[] = {"OHDR", "OCHK", "BTHD", "label", "../", "/etc/passwd", "\x89HDF\r\n\x1a\n", NULL};
const size_t fuzz_bytes_max = 1 << 16, fuzz_memory_max = 128 << 20;
const int fuzz_mutations = 2000;

void fuzz_one(const uint8_t *data, size_t n)
{
    catalogue c;
    if (catalogue_open(&c, fuzz_folder("index.h5", data, n))) return;
    int64_t total = 0;
    char path[800];
    for (int i = 0; i < c.n_shards; i++) {
        total += c.n[i];
        if (path_inside(c.dir, c.file[i], path, sizeof path)) continue;
        fuzz_require(!strchr(path + strlen(c.dir) + 1, '/') && strncmp(path, c.dir, strlen(c.dir)) == 0, "shards lie in the folder");
    }
    fuzz_require(total == c.n_total && total <= (int64_t)n, "samples are counted");
    for (int64_t i = 0; i < total; i++) fuzz_require(strlen(c.id + i * c.id_width) < (size_t)c.id_width, "ids end");
    catalogue_close(&c);
}
