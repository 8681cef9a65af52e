/* onednn_module: products of bf16 matrices by oneDNN, in a module of its own: the library is 38 MB, and only CPUs with AMX want it. The module
 * knows nothing of the program, so tests and benches load it too. */
#ifndef MEDLEY_KERN_ONEDNN_MODULE_H
#define MEDLEY_KERN_ONEDNN_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ONEDNN_MODULE_FILE "medley-onednn.so"
#define ONEDNN_MODULE_TABLE "medley_onednn"

/* C (M,N) = A B, or + bias (N), or += A B; fp32, from bf16 in pairs along K, sums in fp32. A (M,K) lies dense. B (K,N) lies in panels of `width`
 * columns, each (K/2,width) pairs. K is a multiple of 32, N one of width, which is 16, 32, 48 or 64. */
typedef struct onednn_shape {
    int64_t M, N, K;
    int width;
    enum { ONEDNN_SET, ONEDNN_BIAS, ONEDNN_ADD } kind;
} onednn_shape;

/* `make` and `run` work as if there were one thread, whoever calls them: oneDNN cuts sums by threads else. Both may be called by many at once. */
typedef struct onednn_module {
    const char *version; /* MEDLEY_VERSION; the rest is of that version alone */
    /* What it computes with here, as far as bits depend on it, e.g. "AMX by oneDNN 2.6.3, L2 2048 KiB". False: nothing faster than fp32; `name`
     * says what there is. */
    bool (*open)(char name[64], bool *amx);
    /* *matmul NULL: no fast way for this shape. scratch: bytes that `run` wants. Returns 0 or oneDNN's error. */
    int (*make)(const onednn_shape *s, void **matmul, size_t *scratch);
    int (*run)(void *matmul, const uint32_t *A, const uint32_t *B, const float *bias, float *C, void *scratch);
    void (*drop)(void *matmul);
} onednn_module;

#endif
