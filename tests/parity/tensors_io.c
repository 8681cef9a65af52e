/* tensors_io: prints what is in a safetensors file, or writes a fixed one, for tensors_numpy.py. Usage: tensors_io read|write FILE */
#include "medley/store.h"

#include <stdlib.h>
#include <string.h>

static status dump(const char *path)
{
    tensors *t;
    const char *key, *value;
    TRY(tensors_open(&t, path), "reading");
    for (int i = 0; tensors_meta(t, i, &key, &value); i++) printf("meta %s %s\n", key, value);
    status st = OK;
    for (const tensor_info *x = NULL; !st && (x = tensors_next(t, x));) {
        bool whole = x->type == TT_I64;
        double *v;
        if ((st = mem_alloc(&v, (size_t)x->n * sizeof *v, "elements"))) break;
        st = tensors_read(t, x, whole ? DT_I64 : DT_F64, x->n, v);
        printf("%s %s [", x->name, tensor_type_name(x->type));
        for (int i = 0; i < x->ndim; i++) printf("%s%lld", i ? "," : "", (long long)x->dims[i]);
        printf("]");
        for (int64_t i = 0; !st && i < x->n; i++) {
            int64_t n;
            memcpy(&n, &v[i], sizeof n);
            if (whole) printf(" %lld", (long long)n);
            else printf(" %a", v[i]);
        }
        printf("\n");
        free(v);
    }
    tensors_close(t);
    return st;
}

static status make(const char *path)
{
    static const float x[6] = {0.1f, -2, 3e-39f, 4, 5, 6};
    static const double d[2] = {0.1, 1e300};
    static const int64_t n = -5;
    tensors_writer *w;
    TRY(tensors_create(&w, path), "writing");
    TRY(tensors_put_meta(w, "format", "pt"), "writing");
    TRY(tensors_put(w, "w", DT_F32, 2, (int64_t[]){2, 3}, x), "writing");
    TRY(tensors_put(w, "n", DT_I64, 0, NULL, &n), "writing");
    TRY(tensors_put(w, "d", DT_F64, 1, (int64_t[]){2}, d), "writing");
    return tensors_commit(w);
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    status st = strcmp(argv[1], "read") == 0 ? dump(argv[2]) : make(argv[2]);
    if (st) fprintf(stderr, "tensors_io: %s\n", status_message());
    return st;
}
