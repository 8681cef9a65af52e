/* many: one door to the files that hold many images. */
#include "case.h"
#include "slide.h"

#include <stdlib.h>
#include <string.h>

status many_open(many *m, const struct source *s, const bindings *known, const char *path)
{
    *m = (many){0};
    if (s->r->form == FORM_NPZ) return npz_open(&m->npz, path);
    return s->r->form == FORM_NPY ? npy_open(&m->npy, s, known, path) : slide_open(&m->slide, s, known, path);
}

status many_parts(many *m, part **out, int *n)
{
    *out = NULL, *n = 0;
    if (m->slide) return slide_tiles(m->slide, out, n);
    if (m->npy) {
        *n = npy_count(m->npy);
        TRY(mem_alloc(out, (size_t)*n * sizeof **out, "list of images"), "numpy");
        for (int i = 0; i < *n; i++) (*out)[i].b = i;
        return OK;
    }
    TRY(npz_check(m->npz), "NPZ");
    for (int s = 0; s < N_SPLITS; s++) *n += npz_count(m->npz, s);
    TRY(mem_alloc(out, (size_t)*n * sizeof **out, "list of images"), "NPZ");
    for (int s = 0, k = 0; s < N_SPLITS; s++)
        for (int i = 0; i < npz_count(m->npz, s); i++) (*out)[k++] = (part){s, i};
    return OK;
}

status many_names(const recipe *r, part p, bindings *to)
{
    char a[24], b[24];
    snprintf(a, sizeof a, "%d", p.a);
    snprintf(b, sizeof b, "%d", p.b);
    if (r->form == FORM_SLIDE) {
        TRY(bindings_add(to, "x", a), "tile");
        return bindings_add(to, "y", b);
    }
    if (r->form == FORM_NPZ) TRY(bindings_add(to, "split", split_name[p.a]), "NPZ");
    return bindings_add(to, "index", b);
}

status many_read(many *m, part p, image *out)
{
    return m->slide ? slide_read(m->slide, p, out) : m->npy ? npy_read(m->npy, p, out) : npz_read(m->npz, p, out);
}

void many_close(many *m)
{
    npz_close(m->npz);
    npy_close(m->npy);
    slide_close(m->slide);
    *m = (many){0};
}
