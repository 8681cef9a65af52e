/* dicom_series: the files of a folder as one volume. Where a slice lies is told by its position, never by its name or number. */
#include "dicom.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { PATH_BYTES = 1024, SLICES_MAX = 20000 };

/* What is kept of one file between looking and reading. */
typedef struct slice {
    char    *name;
    double   at;          /* mm along the normal */
    double   position[3];
    double   orientation[6], spacing[2];
    int      rows, cols, frames;
    bool     placed;      /* position, orientation and spacing are known */
    uint32_t series;
} slice;

typedef struct series { const char *folder; slice *v; int n, room; } series;

static void series_free(series *s)
{
    for (int i = 0; i < s->n; i++) free(s->v[i].name);
    free(s->v);
}

static int by_name(const void *a, const void *b) { return strcmp(((const slice *)a)->name, ((const slice *)b)->name); }

static int by_place(const void *a, const void *b)
{
    const slice *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at ? 1 : by_name(a, b);
}

static status list(series *s)
{
    DIR *d = opendir(s->folder);
    CHECK(d, ST_DATA, "%s: cannot be listed", s->folder);
    status st = OK;
    for (struct dirent *e; (e = readdir(d));) {
        char path[PATH_BYTES];
        struct stat info;
        if (*e->d_name == '.' || !strcasecmp(e->d_name, "DICOMDIR")) continue;
        snprintf(path, sizeof path, "%s/%s", s->folder, e->d_name);
        if (stat(path, &info) || !S_ISREG(info.st_mode)) continue;
        if (s->n == s->room) {
            int room = s->room ? 2 * s->room : 64;
            TRY_TO(out, mem_grow(&s->v, (size_t)room * sizeof *s->v, "list of slices"), "%s", s->folder);
            s->room = room;
        }
        s->v[s->n] = (slice){0};
        TRY_TO(out, mem_copy(&s->v[s->n].name, e->d_name, strlen(e->d_name), "name"), "%s", s->folder);
        s->n++;
        CHECK_TO(out, s->n <= SLICES_MAX, ST_DATA, "%s: more than %d files", s->folder, SLICES_MAX);
    }
    CHECK_TO(out, s->n > 0, ST_DATA, "%s: no file in it", s->folder);
    qsort(s->v, (size_t)s->n, sizeof *s->v, by_name);
out:
    closedir(d);
    return st;
}

bool image_is_series(const char *folder)
{
    char first[256] = "", path[PATH_BYTES], head[4096];
    size_t n = 0;
    DIR *d = opendir(folder);
    if (!d) return false;
    for (struct dirent *e; (e = readdir(d));) {
        struct stat info;
        if (*e->d_name == '.' || !strcasecmp(e->d_name, "DICOMDIR") || (*first && strcmp(e->d_name, first) >= 0)) continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= PATH_BYTES || stat(path, &info) || !S_ISREG(info.st_mode)) continue;
        snprintf(first, sizeof first, "%s", e->d_name);
    }
    closedir(d);
    snprintf(path, sizeof path, "%s/%s", folder, first);
    FILE *f = *first ? fopen(path, "rb") : NULL;
    if (f) n = fread(head, 1, sizeof head, f), fclose(f);
    return dicom_is(head, n);
}

static status read_bytes(const series *s, const slice *p, char path[PATH_BYTES], char **bytes, size_t *n)
{
    CHECK(snprintf(path, PATH_BYTES, "%s/%s", s->folder, p->name) < PATH_BYTES, ST_DATA, "%s: path too long", s->folder);
    TRY(file_read_all(path, IMAGE_FILE_BYTES_MAX, bytes, n), "reading a slice");
    return OK;
}

static status look_at(const series *s, slice *p)
{
    char path[PATH_BYTES], *bytes;
    size_t n;
    dicom_file f;
    TRY(read_bytes(s, p, path, &bytes, &n), "DICOM series");
    status st = dicom_is(bytes, n) ? dicom_parse(&f, bytes, n, path)
                                   : status_raise(ST_DATA, __FILE__, __LINE__, "%s: no DICOM, in a folder that is read as one series", path);
    if (!st) {
        p->rows = f.rows, p->cols = f.cols, p->frames = f.frames, p->series = f.series;
        p->placed = f.has_position && f.has_orientation && f.has_spacing;
        memcpy(p->position, f.position, sizeof p->position);
        memcpy(p->orientation, f.orientation, sizeof p->orientation);
        memcpy(p->spacing, f.spacing, sizeof p->spacing);
        dicom_free(&f);
    }
    free(bytes);
    return st;
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
    for (int k = 0; k < 3; k++) length += normal[k] * normal[k];
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

/* The slice into plane k; slices of other types make float32 of the volume, which holds them all exactly. */
static status take_plane(image *m, image *plane, int n, int k, const char *path)
{
    if (k == 0) TRY(image_alloc(m, n, plane->H, plane->W, plane->C, plane->type, path), "DICOM series");
    m->path_tells |= plane->path_tells;
    CHECK(plane->C == m->C, ST_DATA, "%s: %d channels, the slices before have %d", path, plane->C, m->C);
    if (plane->type != m->type) {
        TRY(image_to_type(m, DT_F32), "%s", path);
        TRY(image_to_type(plane, DT_F32), "%s", path);
    }
    memcpy((char *)m->data + (size_t)k * image_bytes(plane), plane->data, image_bytes(plane));
    return OK;
}

static status read_planes(image *m, const series *s, enum image_use use)
{
    for (int k = 0; k < s->n; k++) {
        char path[PATH_BYTES], *bytes;
        size_t n;
        image plane;
        TRY(read_bytes(s, &s->v[k], path, &bytes, &n), "DICOM series");
        status st = dicom_decode(&plane, bytes, n, use, path);
        free(bytes);
        if (st) return status_note(st, __FILE__, __LINE__, "DICOM series");
        st = take_plane(m, &plane, s->n, k, path);
        image_free(&plane);
        if (st) return st;
    }
    return OK;
}

static status read_series(image *m, series *s, enum image_use use)
{
    TRY(list(s), "DICOM series");
    for (int i = 0; i < s->n; i++) TRY(look_at(s, &s->v[i]), "DICOM series");
    if (s->n == 1) { /* all frames in one file, or one slice */
        TRY(read_planes(m, s, use), "DICOM series");
        m->is_volume = true;
        return OK;
    }
    TRY(same_kind(s), "DICOM series");
    TRY(sort_by_place(s), "DICOM series");
    TRY(read_planes(m, s, use), "DICOM series");
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
