/* compare_checkpoints A B [TOLERANCE [GROUP]]: are two checkpoints equal bit for bit (default), or is the vector of all float arrays below
 * GROUP within TOLERANCE, as |a - b| / |a|? Prints the worst array. Exit 1 if not. */
#include "medley/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static store *a, *b;
static double tolerance;
static int n_arrays;
static double worst, total_off, total;
static char worst_name[300];

static status compare(const char *name)
{
    enum dtype t, u;
    int nd, md;
    int64_t dims[8], ems[8], n = 1;
    TRY(store_shape(a, name, &t, &nd, dims), "A");
    TRY(store_shape(b, name, &u, &md, ems), "B");
    CHECK(t == u && nd == md && memcmp(dims, ems, sizeof *dims * (size_t)nd) == 0, ST_DATA, "%s: other type or shape", name);
    for (int k = 0; k < nd; k++) n *= dims[k];
    char *x = malloc((size_t)n * 8 + 8), *y = malloc((size_t)n * 8 + 8);
    CHECK(x && y, ST_RESOURCE, "memory");
    TRY(store_read(a, name, t, n, x), "A");
    TRY(store_read(b, name, t, n, y), "B");
    n_arrays++;
    double off = 0;
    if (tolerance == 0) off = memcmp(x, y, (size_t)n * dtype_bytes(t)) != 0;
    else if (t == DT_F32) {
        double square = 0, diff = 0;
        for (int64_t i = 0; i < n; i++) {
            double u0 = ((float *)x)[i], d = u0 - (double)((float *)y)[i];
            square += u0 * u0, diff += d * d;
        }
        total += square, total_off += diff;
        off = sqrt(diff / (square + 1e-30));
    }
    if (off > worst) worst = off, snprintf(worst_name, sizeof worst_name, "%s", name);
    free(x);
    free(y);
    return OK;
}

static status walk(const char *group)
{
    int n;
    char(*name)[128];
    TRY(store_list(a, group, &n, &name), "A");
    status st = OK;
    for (int i = 0; i < n && !st; i++) {
        char path[300];
        enum dtype t;
        int nd;
        int64_t dims[8];
        snprintf(path, sizeof path, "%s%s%s", group, strcmp(group, "/") ? "/" : "", name[i]);
        if (strncmp(path, "task", 4) == 0 || strncmp(path, "/task", 5) == 0) continue; /* holds measured seconds */
        st = store_shape(a, path, &t, &nd, dims) == OK ? compare(path) : walk(path);
    }
    free(name);
    return st;
}

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    tolerance = argc > 3 ? atof(argv[3]) : 0;
    status st = store_open(&a, argv[1]);
    if (!st) st = store_open(&b, argv[2]);
    if (!st) st = walk(argc > 4 ? argv[4] : "/");
    if (st) {
        printf("# %s\n", status_message());
        return 1;
    }
    double all = sqrt(total_off / (total + 1e-30));
    printf("# %d arrays, difference of all %g, worst %g %s\n", n_arrays, all, worst, worst_name);
    return n_arrays > 50 && (tolerance > 0 ? all <= tolerance && total > 0 : worst == 0) ? 0 : 1;
}
