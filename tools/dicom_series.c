/* dicom_series: the files of a folder as one volume. Where a slice lies is told by its position, never by its name or number. Each file is read
 * once: its pixels are kept, slice by slice, until all are known, so nothing is allocated that the files do not hold. */
#include "dicom.h"
#include "pattern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PATH_BYTES = 3 * PATTERN_PATH, SLICES_MAX = 20000 };

/* One file. */
typedef struct slice {
    const char *name;     /* the list's */
    double   at;          /* mm along the normal */
    double   position[3];
    double   orientation[6], spacing[2];
    int      rows, cols, frames;
    bool     placed;      /* position, orientation and spacing are known */
    uint32_t series;
    image    plane;       /* its pixels; none once it is known that the files are no volume */
} slice;

typedef struct series {
    const char *folder;
    found_list  files;
    slice      *v;
    int         n;
    size_t      bytes;    /* of the planes */
    bool        mixed;    /* same_kind will say why */
} series;

static void series_free(series *s)
{
    for (int i = 0; i < s->n; i++) image_free(&s->v[i].plane);
    free(s->v);
    found_free(&s->files);
}

static int by_place(const void *a, const void *b)
{
    const slice *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at ? 1 : strcmp(x->name, y->name);
}

/* All files but hidden ones and the index of a medium, by name. */
static status list(series *s)
{
    TRY(pattern_list(s->folder, "*", NULL, &s->files), "DICOM series");
    CHECK(s->files.n <= SLICES_MAX, ST_DATA, "%s: more than %d files", s->folder, SLICES_MAX);
    TRY(mem_alloc(&s->v, (size_t)s->files.n * sizeof *s->v, "list of slices"), "%s", s->folder);
    for (int i = 0; i < s->files.n; i++)
        if (strcasecmp(s->files.v[i].path, "DICOMDIR")) s->v[s->n++].name = s->files.v[i].path;
    CHECK(s->n > 0, ST_DATA, "%s: no file in it", s->folder);
    return OK;
}

bool image_is_series(const char *folder)
{
    series s = {.folder = folder};
    char path[PATH_BYTES], head[4096];
    size_t n = 0;
    if (list(&s)) status_clear();
    if (s.n > 0 && snprintf(path, sizeof path, "%s/%s", folder, s.v[0].name) < PATH_BYTES) {
        FILE *f = fopen(path, "rb");
        if (f) n = fread(head, 1, sizeof head, f), fclose(f);
    }
    series_free(&s);
    return dicom_is(head, n);
}

static void take_place(slice *p, const dicom_file *f)
{
    p->rows = f->rows, p->cols = f->cols, p->frames = f->frames, p->series = f->series;
    p->placed = f->has_position && f->has_orientation && f->has_spacing;
    memcpy(p->position, f->position, sizeof p->position);
    memcpy(p->orientation, f->orientation, sizeof p->orientation);
    memcpy(p->spacing, f->spacing, sizeof p->spacing);
}

/* Once a file does not fit the first one, only headers are looked at. */
static status read_slice(series *s, slice *p, enum image_use use)
{
    char path[PATH_BYTES], *bytes;
    size_t n;
    dicom_file f;
    const slice *first = &s->v[0];
    CHECK(snprintf(path, sizeof path, "%s/%s", s->folder, p->name) < PATH_BYTES, ST_DATA, "%s: path too long", s->folder);
    TRY(file_read_all(path, IMAGE_FILE_BYTES_MAX, &bytes, &n), "reading a slice");
    status st = dicom_is(bytes, n) ? dicom_parse(&f, bytes, n, path)
                                   : status_raise(ST_DATA, __FILE__, __LINE__, "%s: no DICOM, in a folder that is read as one series", path);
    if (!st) {
        take_place(p, &f);
        s->mixed |= p->series != first->series || p->rows != first->rows || p->cols != first->cols || (s->n > 1 && (p->frames != 1 || !p->placed));
        if (!s->mixed) st = dicom_pixels(&p->plane, &f, use);
        dicom_free(&f);
    }
    free(bytes);
    TRY(st, "DICOM series");
    if (p->plane.data) s->bytes += image_bytes(&p->plane);
    CHECK(s->bytes <= IMAGE_BYTES_MAX, ST_DATA, "%s: needs more than %zu MiB", s->folder, IMAGE_BYTES_MAX >> 20);
    return OK;
}

/* ---- one volume? ------------------------------------------------------------------------------------------------------------------ */

static status same_kind(const series *s)
{
    const slice *a = &s->v[0];
    int n_other = 0;
    for (int i = 1; i < s->n; i++) n_other += s->v[i].series != a->series;
    CHECK(n_other == 0, ST_DATA, "%s: mixed series: %d of %d files are of another series than %s; a series needs a folder of its own", s->folder,
          n_other, s->n, a->name);
    for (int i = 0; i < s->n; i++) {
        const slice *b = &s->v[i];
        CHECK(b->frames == 1, ST_DATA, "%s/%s: %d frames in a folder of several files", s->folder, b->name, b->frames);
        CHECK(b->placed, ST_DATA, "%s/%s: does not say where it lies (position, orientation, pixel spacing)", s->folder, b->name);
        CHECK(b->rows == a->rows && b->cols == a->cols, ST_DATA, "%s: %s has %d x %d pixels, %s has %d x %d", s->folder, b->name, b->cols, b->rows,
              a->name, a->cols, a->rows);
        double turned = 0, scaled = 0;
        for (int k = 0; k < 6; k++) turned = fmax(turned, fabs(b->orientation[k] - a->orientation[k]));
        for (int k = 0; k < 2; k++) scaled = fmax(scaled, fabs(b->spacing[k] / a->spacing[k] - 1));
        CHECK(turned < 1e-3, ST_DATA, "%s: %s lies in another direction than %s (a scout image?)", s->folder, b->name, a->name);
        CHECK(scaled < 1e-3, ST_DATA, "%s: %s has another pixel spacing than %s", s->folder, b->name, a->name);
    }
    return OK;
}

static int by_number(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }

/* Sorts the slices along their normal; they must lie evenly. */
static status sort_by_place(series *s)
{
    const double *u = s->v[0].orientation, *w = u + 3;
    double normal[3] = {u[1] * w[2] - u[2] * w[1], u[2] * w[0] - u[0] * w[2], u[0] * w[1] - u[1] * w[0]}, length = 0;
    double rows = 0, columns = 0;
    for (int k = 0; k < 3; k++) length += normal[k] * normal[k], rows += u[k] * u[k], columns += w[k] * w[k];
    CHECK(fabs(rows - 1) < 0.02 && fabs(columns - 1) < 0.02, ST_DATA, "%s: the directions of rows and columns are not of length 1", s->folder);
    CHECK(fabs(length - 1) < 0.02, ST_DATA, "%s: rows and columns do not stand at right angles", s->folder);
    for (int i = 0; i < s->n; i++) {
        s->v[i].at = 0;
        for (int k = 0; k < 3; k++) s->v[i].at += normal[k] * s->v[i].position[k];
    }
    qsort(s->v, (size_t)s->n, sizeof *s->v, by_place);
    double *step;
    TRY(mem_alloc(&step, sizeof *step * (size_t)s->n, "distances of slices"), "%s", s->folder);
    for (int i = 0; i + 1 < s->n; i++) step[i] = s->v[i + 1].at - s->v[i].at;
    qsort(step, (size_t)(s->n - 1), sizeof *step, by_number);
    double usual = step[(s->n - 1) / 2];
    free(step);
    for (int i = 0; i + 1 < s->n; i++) {
        double here = s->v[i + 1].at - s->v[i].at;
        const char *a = s->v[i].name, *b = s->v[i + 1].name;
        CHECK(here > 1e-3, ST_DATA, "%s: %s and %s lie at the same place (a series over time?)", s->folder, a, b);
        CHECK(fabs(here - usual) <= 0.05 * usual + 0.01, ST_DATA, "%s: gap: %s and %s are %.3g mm apart, the others %.3g mm", s->folder, a, b, here, usual);
    }
    return OK;
}

/* Voxel (column, row, slice) to NIfTI's world, whose x and y run against DICOM's. */
static void affine_of(const series *s, double a[3][4])
{
    const slice *first = &s->v[0], *last = &s->v[s->n - 1];
    for (int i = 0; i < 3; i++) {
        double sign = i < 2 ? -1 : 1;
        a[i][0] = sign * first->orientation[i] * first->spacing[1];
        a[i][1] = sign * first->orientation[3 + i] * first->spacing[0];
        a[i][2] = sign * (last->position[i] - first->position[i]) / (s->n - 1);
        a[i][3] = sign * first->position[i];
    }
}

/* ---- pixels ------------------------------------------------------------------------------------------------------------------------- */

/* The planes in the order of the slices; slices of several types make float32 of the volume, which holds them all exactly. */
static status stack(image *m, series *s)
{
    const image *first = &s->v[0].plane;
    enum dtype type = first->type;
    for (int k = 1; k < s->n; k++) {
        const image *p = &s->v[k].plane;
        CHECK(p->C == first->C, ST_DATA, "%s/%s: %d channels, the slices before have %d", s->folder, s->v[k].name, p->C, first->C);
        if (p->type != type) type = DT_F32;
    }
    TRY(image_alloc(m, s->n, first->H, first->W, first->C, type, s->folder), "DICOM series");
    size_t each = image_bytes(m) / (size_t)s->n;
    for (int k = 0; k < s->n; k++) {
        image *p = &s->v[k].plane;
        if (p->type != type) TRY(image_to_type(p, type), "%s/%s", s->folder, s->v[k].name);
        m->path_tells |= p->path_tells;
        memcpy((char *)m->data + (size_t)k * each, p->data, each);
        image_free(p);
    }
    return OK;
}

static status read_series(image *m, series *s, enum image_use use)
{
    TRY(list(s), "DICOM series");
    for (int i = 0; i < s->n; i++) TRY(read_slice(s, &s->v[i], use), "DICOM series");
    if (s->n == 1) { /* all frames in one file, or one slice */
        *m = s->v[0].plane;
        s->v[0].plane = (image){0};
        m->is_volume = true;
        return OK;
    }
    TRY(same_kind(s), "DICOM series");
    TRY(sort_by_place(s), "DICOM series");
    TRY(stack(m, s), "DICOM series");
    double a[3][4];
    affine_of(s, a);
    return image_turn(m, a, s->folder);
}

status dicom_series_read(image *m, const char *folder, enum image_use use)
{
    series s = {.folder = folder};
    *m = (image){0};
    status st = read_series(m, &s, use);
    series_free(&s);
    if (st) image_free(m);
    return st;
}
