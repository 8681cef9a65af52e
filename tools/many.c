/* many: one door to the files that hold many images. */
#include "many.h"

#include <stdlib.h>
#include <string.h>

status many_open(many *m, const recipe *r, const char *path)
{
    *m = (many){0};
    (void)r;
    return npz_open(&m->npz, path);
}

status many_parts(many *m, part **out, int *n)
{
    *out = NULL, *n = 0;
    TRY(npz_check(m->npz), "NPZ");
    for (int s = 0; s < N_SPLITS; s++) *n += npz_count(m->npz, s);
    TRY(mem_alloc(out, (size_t)*n * sizeof **out, "list of images"), "NPZ");
    for (int s = 0, k = 0; s < N_SPLITS; s++)
        for (int i = 0; i < npz_count(m->npz, s); i++) (*out)[k++] = (part){s, i};
    return OK;
}

status many_names(const many *m, part p, bindings *to)
{
    char index[24];
    (void)m;
    snprintf(index, sizeof index, "%d", p.b);
    TRY(bindings_add(to, "split", split_name[p.a]), "NPZ");
    return bindings_add(to, "index", index);
}

status many_read(many *m, part p, image *out) { return npz_read(m->npz, p, out); }

void many_close(many *m)
{
    npz_close(m->npz);
    *m = (many){0};
}
