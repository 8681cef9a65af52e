/* fuzz: files for the targets, and mutations that know nothing but the words of the format. */
#include "fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void fuzz_require(bool kept, const char *promise)
{
    if (kept) return;
    fprintf(stderr, "fuzz %s: broken promise: %s\n", fuzz_name, promise);
    abort();
}

static void fill(int fd, const uint8_t *data, size_t n)
{
    bool good = fd >= 0 && ftruncate(fd, 0) == 0 && (n == 0 || pwrite(fd, data, n, 0) == (ssize_t)n);
    fuzz_require(good, "the harness can write its file");
}

int fuzz_taken;
__attribute__((weak)) const bool fuzz_must_open = false;

static char file_path[64];

static void remove_file(void) { unlink(file_path); }

const char *fuzz_file(const uint8_t *data, size_t n)
{
    static int fd = -1;
    if (fd < 0) { /* a name in a folder: HDF5 refuses one that leads nowhere, as those in /proc/self/fd do */
        snprintf(file_path, sizeof file_path, "%s/medley-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
        fd = mkstemp(file_path);
        atexit(remove_file);
    }
    fill(fd, data, n);
    return file_path;
}

enum { FOLDER_FILES = 16 };
static char folder[64], in_folder[FOLDER_FILES][128];
static int n_in_folder;

static void remove_folder(void)
{
    for (int i = 0; i < n_in_folder; i++) unlink(in_folder[i]);
    rmdir(folder);
}

static const char *path_in_folder(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (int i = 0; i < n_in_folder; i++)
        if (!strcmp(in_folder[i], path)) return in_folder[i];
    fuzz_require(n_in_folder < FOLDER_FILES, "the harness knows its files");
    return memcpy(in_folder[n_in_folder++], path, sizeof path);
}

const char *fuzz_folder(const char *name, const uint8_t *data, size_t n)
{
    if (!folder[0]) {
        strcpy(folder, "/dev/shm/medley-fuzz-XXXXXX"); /* memory, where there is such a folder: thousands of files */
        bool made = mkdtemp(folder) != NULL;
        if (!made) strcpy(folder, "/tmp/medley-fuzz-XXXXXX");
        fuzz_require(made || mkdtemp(folder), "the harness can make a folder");
        atexit(remove_folder);
    }
    if (!data) {
        unlink(path_in_folder(name));
        return folder;
    }
    int fd = open(path_in_folder(name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    fill(fd, data, n);
    close(fd);
    return folder;
}

/* ---- mutations ---- */

static size_t insert(uint8_t *data, size_t n, size_t room, size_t at, const void *what, size_t k)
{
    if (n + k > room) return n;
    memmove(data + at + k, data + at, n - at);
    memmove(data + at, what, k); /* `what` may lie in data */
    return n + k;
}

/* A number of 1, 2, 4 or 8 bytes, either endian, at the edges of what it can hold. */
static void put_number(uint8_t *data, size_t n, rng *r)
{
    static const int64_t edges[] = {0, 1, -1, 2, 7, 8, 255, 256, 32767, 32768, 65535, 65536, INT32_MAX, INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN,
                                    INT64_C(1) << 40, INT64_C(1) << 20, 1000000000};
    size_t k = (size_t)1 << rng_below(r, 4);
    if (n < k) return;
    uint64_t v = (uint64_t)edges[rng_below(r, sizeof edges / sizeof *edges)] + rng_below(r, 3) - 1;
    uint8_t *at = data + rng_below(r, (uint32_t)(n - k + 1));
    bool big = rng_below(r, 2);
    for (size_t i = 0; i < k; i++) at[big ? k - 1 - i : i] = (uint8_t)(v >> 8 * i);
}

size_t fuzz_mutate(uint8_t *data, size_t n, size_t room, rng *r)
{
    uint32_t at = n ? rng_below(r, (uint32_t)n) : 0, kind = rng_below(r, 9), n_words = 0;
    while (fuzz_words[n_words]) n_words++;
    if (n == 0) kind = 6;
    uint32_t most = n ? (uint32_t)(n - at) : 0, span = most ? 1 + rng_below(r, most > 64 && rng_below(r, 4) ? 64 : most) : 0;
    switch (kind) {
    case 0: data[at] ^= (uint8_t)(1u << rng_below(r, 8)); break;
    case 1: data[at] = (uint8_t)rng_u32(r); break;
    case 2: put_number(data, n, r); break;
    case 3: memmove(data + at, data + at + span, n - at - span), n -= span; break; /* leave out */
    case 4: n = insert(data, n, room, rng_below(r, (uint32_t)n + 1), data + at, n + span <= room ? span : 0); break; /* repeat */
    case 5: memset(data + at, (int)rng_below(r, 256), span); break;
    case 6:
        if (n_words) {
            const char *word = fuzz_words[rng_below(r, n_words)];
            size_t k = strlen(word);
            if (rng_below(r, 2) || at + k > n) n = insert(data, n, room, at, word, k);
            else memcpy(data + at, word, k);
        } else if (n < room) data[n++] = (uint8_t)rng_u32(r);
        break;
    case 7: /* two stretches change places */
        for (uint32_t i = 0, to = rng_below(r, (uint32_t)n); i < span && to + i < n; i++) {
            uint8_t keep = data[at + i];
            data[at + i] = data[to + i], data[to + i] = keep;
        }
        break;
    default: n = rng_below(r, 4) ? n : at; break; /* cut short, now and then */
    }
    return n;
}
