/* write_npy: an array as numpy keeps it: version 1.0, a Python dict padded so that the numbers begin at a multiple of 64 bytes. */
#include "writers.h"

#include <string.h>

status npy_encode(const float *x, int n_dims, const int64_t *dims, uint8_t **bytes, size_t *n_bytes)
{
    enum { HEAD = 128 };
    char dict[HEAD], shape[80] = "";
    size_t n = sizeof *x;
    CHECK(n_dims >= 1 && n_dims <= 3, ST_BUG, "an array of %d dimensions", n_dims);
    for (int i = 0; i < n_dims; i++) {
        size_t used = strlen(shape);
        snprintf(shape + used, sizeof shape - used, "%lld%s", (long long)dims[i], n_dims == 1 ? "," : i + 1 < n_dims ? ", " : "");
        n *= (size_t)dims[i];
    }
    TRY(mem_alloc(bytes, HEAD + n, "NPY file"), "NPY");
    uint8_t *p = *bytes;
    memcpy(p, "\x93NUMPY\x01\x00", 8);
    p[8] = HEAD - 10, p[9] = 0;
    memset(p + 10, ' ', HEAD - 11);
    p[HEAD - 1] = '\n';
    int length = snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
    memcpy(p + 10, dict, (size_t)length);
    memcpy(p + HEAD, x, n);
    *n_bytes = HEAD + n;
    return OK;
}
