/* test_series: folders of DICOM slices made here: sorted by position, turned to patient axes, and what is no volume is refused by name. */
#include "test.h"

#include "dicom.h"
#include "pattern.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

/* ---- small files ------------------------------------------------------------------------------------------------------------- */

typedef struct out { uint8_t b[2048]; size_t n; } out;

static void put(out *o, const void *p, size_t n)
{
    memcpy(o->b + o->n, p, n);
    o->n += n;
}

static void element(out *o, int group, int number, const char *vr, const void *p, size_t n)
{
    uint8_t head[8] = {(uint8_t)group, (uint8_t)(group >> 8), (uint8_t)number, (uint8_t)(number >> 8), (uint8_t)vr[0], (uint8_t)vr[1]};
    size_t length = n + n % 2;
    bool wide = !strcmp(vr, "OW");
    if (!wide) head[6] = (uint8_t)length, head[7] = (uint8_t)(length >> 8);
    put(o, head, 8);
    if (wide) put(o, (uint8_t[]){(uint8_t)length, (uint8_t)(length >> 8), 0, 0}, 4);
    put(o, p, n);
    if (n % 2) put(o, " ", 1);
}

static void text(out *o, int group, int number, const char *vr, const char *s) { element(o, group, number, vr, s, strlen(s)); }
static void number(out *o, int group, int n, int value) { element(o, group, n, "US", (uint8_t[]){(uint8_t)value, (uint8_t)(value >> 8)}, 2); }

/* A slice of `rows` x 2 pixels: value + 0, 1, 2, ...; texts are NULL if the element is not to be there. */
typedef struct made { const char *name, *series, *position, *orientation, *slope; int rows, value; } made;

static void write_bytes(const char *name, const void *p, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, p, n) != (ssize_t)n) abort();
    close(fd);
}

/* frames 0: one, and it is not said. */
static void make_more(const made *m, int frames, const char *patient)
{
    static out o;
    o.n = 0;
    put(&o, (char[128]){0}, 128), put(&o, "DICM", 4);
    text(&o, 2, 0x10, "UI", "1.2.840.10008.1.2.1");
    if (patient) text(&o, 0x10, 0x10, "PN", patient);
    if (m->series) text(&o, 0x20, 0x0e, "UI", m->series);
    if (m->position) text(&o, 0x20, 0x32, "DS", m->position);
    if (m->orientation) text(&o, 0x20, 0x37, "DS", m->orientation);
    number(&o, 0x28, 2, 1);
    text(&o, 0x28, 4, "CS", "MONOCHROME2");
    if (frames) text(&o, 0x28, 8, "IS", (char[]){(char)('0' + frames), 0});
    number(&o, 0x28, 0x10, m->rows), number(&o, 0x28, 0x11, 2);
    text(&o, 0x28, 0x30, "DS", "3\\0.5");
    number(&o, 0x28, 0x100, 16), number(&o, 0x28, 0x101, 16), number(&o, 0x28, 0x102, 15), number(&o, 0x28, 0x103, 0);
    if (m->slope) text(&o, 0x28, 0x1052, "DS", "0"), text(&o, 0x28, 0x1053, "DS", m->slope);
    uint8_t px[128];
    int n = 2 * m->rows * (frames ? frames : 1);
    for (int i = 0; i < n; i++) px[2 * i] = (uint8_t)(m->value + i), px[2 * i + 1] = 0;
    element(&o, 0x7fe0, 0x10, "OW", px, (size_t)(2 * n));
    write_bytes(m->name, o.b, o.n);
}

static void make(const made *m) { make_more(m, 0, NULL); }

static void clear(void)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s && mkdir %s", dir, dir);
    if (system(command)) abort();
}

#define AXIAL "1\\0\\0\\0\\1\\0"

/* ---- tests --------------------------------------------------------------------------------------------------------------------- */

static void sorted_by_position(void)
{
    clear();
    make(&(made){"a", "1.2", "10\\20\\34", AXIAL, NULL, 3, 200});
    make(&(made){"b", "1.2", "10\\20\\32", AXIAL, NULL, 3, 100});
    make(&(made){"c", "1.2", "10\\20\\30", AXIAL, NULL, 3, 0});
    write_bytes("DICOMDIR", "index", 5);
    write_bytes(".hidden", "x", 1);
    image m;
    EXPECT_OK(dicom_series_read(&m, dir, USE_PIXELS));
    EXPECT(m.D == 3 && m.H == 3 && m.W == 2 && m.type == DT_U16 && m.is_volume && m.has_affine, "%d x %d x %d", m.D, m.H, m.W);
    for (size_t i = 0; i < 18; i++) EXPECT(image_at(&m, i) == (double)(100 * (i / 6) + i % 6), "voxel %zu: %g", i, image_at(&m, i));
    EXPECT(m.spacing[0] == 2 && m.spacing[1] == 3 && m.spacing[2] == 0.5, "%g %g %g", m.spacing[0], m.spacing[1], m.spacing[2]);
    EXPECT(m.affine[0][0] == -0.5 && m.affine[1][1] == -3 && m.affine[2][2] == 2 && m.affine[0][3] == -10 && m.affine[1][3] == -20
           && m.affine[2][3] == 30, "voxels lie elsewhere");
    image_free(&m);
    /* the same in a path of image_read */
    EXPECT_OK(image_read(&m, dir, USE_LABELS));
    EXPECT(m.D == 3, "as labels");
    image_free(&m);
}

/* Sagittal slices: columns run to the back, rows to the feet, slices to the right. */
static void turned_to_the_patient(void)
{
    clear();
    make(&(made){"1", "1.2", "8\\0\\0", "0\\1\\0\\0\\0\\-1", NULL, 3, 0});
    make(&(made){"2", "1.2", "4\\0\\0", "0\\1\\0\\0\\0\\-1", NULL, 3, 100});
    image m;
    EXPECT_OK(dicom_series_read(&m, dir, USE_PIXELS));
    EXPECT(m.D == 3 && m.H == 2 && m.W == 2, "%d x %d x %d", m.D, m.H, m.W);
    EXPECT(m.spacing[0] == 3 && m.spacing[1] == 0.5 && m.spacing[2] == 4, "%g %g %g", m.spacing[0], m.spacing[1], m.spacing[2]);
    for (int z = 0; z < 3; z++)
        for (int y = 0; y < 2; y++)
            for (int x = 0; x < 2; x++) { /* x grows to the left, where the first file lies; z to the head, where the first row lies */
                double want = (x ? 0 : 100) + 2 * (2 - z) + y, got = image_at(&m, (size_t)((z * 2 + y) * 2 + x));
                EXPECT(got == want, "voxel %d %d %d: %g, expected %g", z, y, x, got, want);
            }
    image_free(&m);
}

static void slices_of_several_types(void)
{
    clear();
    make(&(made){"1", "1.2", "0\\0\\0", AXIAL, NULL, 1, 7});
    make(&(made){"2", "1.2", "0\\0\\1", AXIAL, "0.5", 1, 7});
    make(&(made){"3", "1.2", "0\\0\\2", AXIAL, "1", 1, 7});
    image m;
    EXPECT_OK(dicom_series_read(&m, dir, USE_PIXELS));
    EXPECT(m.type == DT_F32 && image_at(&m, 0) == 7 && image_at(&m, 2) == 3.5 && image_at(&m, 3) == 4 && image_at(&m, 4) == 7, "values");
    image_free(&m);
}

static void refused(const made *v, int n, const char *words)
{
    image m;
    clear();
    for (int i = 0; i < n; i++) make(&v[i]);
    EXPECT_STATUS(dicom_series_read(&m, dir, USE_PIXELS), ST_DATA);
    EXPECT(strstr(status_message(), words), "\"%s\" instead of \"%s\"", status_message(), words);
    EXPECT(!m.data, "an image in spite of it");
}

static void no_volume(void)
{
    const made a = {"a", "1.2", "0\\0\\0", AXIAL, NULL, 3, 0}, b = {"b", "1.2", "0\\0\\2", AXIAL, NULL, 3, 0};
    made c = {"c", "1.2", "0\\0\\6", AXIAL, NULL, 3, 0}, d = {"d", "1.2", "0\\0\\8", AXIAL, NULL, 3, 0};
    refused((made[]){a, b, c, d}, 4, "gap: b and c are 4 mm apart, the others 2 mm");
    c.position = "1\\0\\2";
    refused((made[]){a, b, c}, 3, "b and c lie at the same place");
    c.position = "0\\0\\4", c.series = "1.3";
    refused((made[]){a, b, c}, 3, "mixed series: 1 of 3 files");
    c.series = "1.2", c.orientation = "0\\1\\0\\0\\0\\-1";
    refused((made[]){a, b, c}, 3, "lies in another direction");
    c.orientation = "1\\0\\0\\1\\0\\0";
    refused((made[]){c, {"e", "1.2", "0\\0\\6", c.orientation, NULL, 3, 0}}, 2, "right angles");
    c.orientation = "2\\0\\0\\0\\0.5\\0";
    refused((made[]){c, {"e", "1.2", "0\\0\\6", c.orientation, NULL, 3, 0}}, 2, "not of length 1");
    c.orientation = AXIAL, c.rows = 4;
    refused((made[]){a, b, c}, 3, "2 x 4 pixels, a has 2 x 3");
    c.rows = 3, c.position = NULL;
    refused((made[]){a, b, c}, 3, "does not say where it lies");
    refused(NULL, 0, "no file in it");
    clear();
    make(&a);
    write_bytes("notes.txt", "these are notes about the scan", 30);
    image m;
    EXPECT_STATUS(dicom_series_read(&m, dir, USE_PIXELS), ST_DATA);
    EXPECT(strstr(status_message(), "notes.txt: no DICOM"), "%s", status_message());
}

static void one_file(void)
{
    clear();
    make(&(made){"a", "1.2", NULL, NULL, NULL, 3, 5});
    image m;
    EXPECT_OK(dicom_series_read(&m, dir, USE_PIXELS));
    EXPECT(m.D == 1 && m.is_volume && !m.has_affine && image_at(&m, 0) == 5, "one slice");
    EXPECT(m.spacing[1] == 3 && m.spacing[2] == 0.5, "%g %g", m.spacing[1], m.spacing[2]);
    image_free(&m);
}

static void one_file_of_many_frames(void)
{
    clear();
    make_more(&(made){"a", "1.2", NULL, NULL, NULL, 3, 5}, 9, NULL);
    image m;
    EXPECT_OK(dicom_series_read(&m, dir, USE_PIXELS));
    EXPECT(m.D == 9 && m.H == 3 && m.W == 2 && m.is_volume, "%d x %d x %d", m.D, m.H, m.W);
    for (size_t i = 0; m.D == 9 && i < 54; i++) EXPECT(image_at(&m, i) == (double)(5 + i), "voxel %zu: %g", i, image_at(&m, i));
    image_free(&m);
    make(&(made){"b", "1.2", "0\\0\\4", AXIAL, NULL, 3, 5});
    EXPECT_STATUS(dicom_series_read(&m, dir, USE_PIXELS), ST_DATA);
    EXPECT(strstr(status_message(), "a: 9 frames in a folder of several files"), "%s", status_message());
}

/* The folder is called medley-series-..., and so is the patient. */
static void path_that_tells(void)
{
    for (int tells = 0; tells < 2; tells++) {
        clear();
        for (int i = 0; i < 2; i++)
            make_more(&(made){i ? "b" : "a", "1.2", i ? "0\\0\\2" : "0\\0\\0", AXIAL, NULL, 3, 0}, 0, !i ? "ANYBODY" : tells ? "DOE^MEDLEY" : "DOE^JANE");
        image m;
        EXPECT_OK(dicom_series_read(&m, dir, USE_PIXELS));
        EXPECT(m.path_tells == (tells == 1), "the patient's name is %sin the path", tells ? "" : "not ");
        image_free(&m);
    }
}

/* Folders are found by patterns that end with a slash, and nothing else is. */
static void folders_by_pattern(void)
{
    clear();
    char path[256], parent[] = "/tmp";
    snprintf(path, sizeof path, "%s/study-1.2", dir);
    mkdir(path, 0700);
    write_bytes("study-file", "x", 1);
    found_list l = {0};
    bindings parts = {0};
    snprintf(path, sizeof path, "%s/study-{n}/", strrchr(dir, '/') + 1);
    EXPECT_OK(pattern_list(parent, path, NULL, &l));
    if (l.n == 1) found_parts(&l.v[0], &parts);
    EXPECT(l.n == 1 && !strcmp(bindings_find(&parts, "stem"), "study-1.2") && !strcmp(bindings_find(&parts, "n"), "1.2"), "%d folders", l.n);
    found_free(&l);
    path[strlen(path) - 1] = 0;
    EXPECT_OK(pattern_list(parent, path, NULL, &l));
    if (l.n == 1) found_parts(&l.v[0], &parts);
    EXPECT(l.n == 1 && !strcmp(bindings_find(&parts, "n"), "file"), "%d files", l.n);
    found_free(&l);
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/medley-series-%d", (int)getpid());
    RUN(sorted_by_position);
    RUN(turned_to_the_patient);
    RUN(slices_of_several_types);
    RUN(no_volume);
    RUN(one_file);
    RUN(one_file_of_many_frames);
    RUN(path_that_tells);
    RUN(folders_by_pattern);
    clear();
    rmdir(dir);
    DONE();
}
