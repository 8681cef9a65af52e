/* test_npz: heads of numpy arrays, right and wrong; NPZ files read in any order and by several threads in little memory; damaged ones.
 * tests/parity/npz.py holds what numpy writes against what the shards have. */
#include "test.h"

#include "many.h"

#include <pthread.h>
#include <unistd.h>
#include <zip.h>

static char folder[64], path[128];

static size_t head_of(char *out, int version, const char *dict)
{
    size_t start = version == 1 ? 10 : 12, n = strlen(dict);
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (char)version, out[7] = 0;
    for (size_t i = 8; i < start; i++) out[i] = (char)(n >> 8 * (i - 8));
    memcpy(out + start, dict, n);
    return start + n;
}

static void heads(void)
{
    char b[512];
    npy h;
    for (int version = 1; version <= 3; version++) {
        size_t n = head_of(b, version, "{'descr': '<u2', 'fortran_order': False, 'shape': (10, 28, 3), }      \n");
        EXPECT_OK(npy_parse(&h, b, n, "a.npy"));
        EXPECT(h.kind == 'u' && h.bytes == 2 && !h.big && !h.fortran && h.ndim == 3 && h.dim[1] == 28 && h.count == 840 && h.head == n, "version %d", version);
    }
    EXPECT_OK(npy_parse(&h, b, head_of(b, 1, "{\"shape\":(7,),\"fortran_order\":True,\"descr\":\">i8\"}"), "a.npy"));
    EXPECT(h.big && h.fortran && h.ndim == 1 && h.count == 7 && h.bytes == 8, "another order of keys");
    EXPECT_OK(npy_parse(&h, b, head_of(b, 1, "{'descr': '|b1', 'fortran_order': False, 'shape': ()}"), "a.npy"));
    EXPECT(h.ndim == 0 && h.count == 1, "a number alone");
    static const char *const bad[] = {
        "", "{}", "{'descr': '|u1', 'fortran_order': False}", "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), 'x': 1}",
        "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (1,)}", "{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "{'descr': '<u3', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (1,)}", "{'descr': '|u1', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}", "{'descr': '|u1', 'fortran_order': False, 'shape': (1,2,3,4,5,6)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000,1000000000)}", "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': [1]}", "{'descr': '|u1', 'fortran_order': False, 'shape': (1 2)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1,)} more", "{'descr': '', 'fortran_order': False, 'shape': (1,)}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT_STATUS(npy_parse(&h, b, head_of(b, 1, bad[i]), "a.npy"), ST_DATA);
        EXPECT(strstr(status_message(), "a.npy"), "%s", status_message());
    }
    size_t n = head_of(b, 4, "{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}");
    EXPECT_STATUS(npy_parse(&h, b, n, "a.npy"), ST_DATA);
    b[6] = 2, b[11] = 127; /* a head of 2 GB */
    EXPECT_STATUS(npy_parse(&h, b, n, "a.npy"), ST_DATA);
    EXPECT_STATUS(npy_parse(&h, b, 11, "a.npy"), ST_DATA);
}

/* ---- files ---------------------------------------------------------------------------------------------------------------------- */

enum { SIDE = 64, N = 4096 };

static void add(zip_t *zip, const char *name, const char *dict, const void *data, size_t n, bool deflate)
{
    char head[512];
    size_t k = head_of(head, 1, dict);
    char *all = malloc(k + n);
    memcpy(all, head, k);
    if (n) memcpy(all + k, data, n);
    zip_int64_t at = zip_file_add(zip, name, zip_source_buffer(zip, all, k + n, 1), 0);
    EXPECT(at >= 0 && !zip_set_file_compression(zip, (zip_uint64_t)at, deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0), "%s", zip_strerror(zip));
}

static zip_t *new_zip(void)
{
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    EXPECT(zip, "zip");
    return zip;
}

static uint8_t *pixels;
static uint8_t value(int i, int p) { return (uint8_t)(i * 31 + i / 256 + p * 7); }

static void write_large(bool deflate)
{
    static int32_t label[2 * N];
    for (int i = 0; i < 2 * N; i++) label[i] = i;
    zip_t *zip = new_zip();
    add(zip, "train_images.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (4096, 64, 64), }", pixels, (size_t)N * SIDE * SIDE, deflate);
    add(zip, "train_labels.npy", "{'descr': '<i4', 'fortran_order': False, 'shape': (4096, 2), }", label, sizeof label, deflate);
    EXPECT(zip_close(zip) == 0, "%s", zip_strerror(zip));
}

static bool is_image(npz *z, int i)
{
    image m;
    if (npz_read(z, (part){0, i}, &m)) return false;
    bool same = m.H == SIDE && m.W == SIDE && m.C == 1 && m.D == 1 && m.type == DT_U8 && !m.is_volume;
    for (int p = 0; p < SIDE * SIDE && same; p++) same = ((uint8_t *)m.data)[p] == value(i, p);
    image_free(&m);
    return same;
}

typedef struct reading { npz *z; int from, step, wrong; } reading;

static void *read_some(void *arg)
{
    reading *r = arg;
    for (int i = r->from; i < N; i += r->step) r->wrong += !is_image(r->z, i);
    return NULL;
}

static void any_order(void)
{
    for (int deflate = 0; deflate < 2; deflate++) {
        npz *z;
        int k;
        write_large(deflate);
        int64_t before = memory_peak_bytes();
        EXPECT_OK(npz_open(&z, path));
        if (!z) return;
        EXPECT_OK(npz_check(z));
        EXPECT(npz_count(z, SPLIT_TRAIN) == N && npz_count(z, SPLIT_VAL) == 0, "%d images", npz_count(z, SPLIT_TRAIN));
        const int32_t *label = npz_label(z, (part){0, 77}, &k);
        EXPECT(k == 2 && label[0] == 154 && label[1] == 155, "labels");
        for (int i = 0; i < N; i++) EXPECT(is_image(z, i), "image %d", i);
        int64_t grown = memory_peak_bytes() - before; /* of 16 MiB of images */
#ifdef __SANITIZE_ADDRESS__
        before = 0; /* it keeps what was freed */
#endif
        EXPECT(before == 0 || grown < 4 << 20, "%lld KiB of memory", (long long)grown >> 10);
        static const int order[] = {4095, 4032, 4031, 5, 4, 100, 99, 0, 2000};
        for (size_t i = 0; i < sizeof order / sizeof *order; i++) EXPECT(is_image(z, order[i]), "image %d, out of order", order[i]);
        reading r[4];
        pthread_t t[4];
        for (int i = 0; i < 4; i++) {
            r[i] = (reading){z, i, 4, 0};
            EXPECT(pthread_create(&t[i], NULL, read_some, &r[i]) == 0, "thread");
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(t[i], NULL);
            EXPECT(r[i].wrong == 0, "thread %d: %d images are wrong", i, r[i].wrong);
        }
        npz_close(z);
    }
}

/* One byte of the pixels changes: the file is refused, for nobody knows in which image. */
static void flipped(void)
{
    npz *z;
    write_large(false);
    FILE *f = fopen(path, "r+b");
    EXPECT(f && !fseek(f, 100000, SEEK_SET) && fputc(value(24, 1) ^ 1, f) != EOF, "%s", path);
    if (f) fclose(f);
    EXPECT_OK(npz_open(&z, path));
    if (!z) return;
    EXPECT_STATUS(npz_check(z), ST_DATA);
    EXPECT(strstr(status_message(), "train_images.npy is damaged"), "%s", status_message());
    npz_close(z);
}

static void refused(void)
{
    static const struct { const char *images, *labels, *says; size_t n, n_labels; } bad[] = {
        {"{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2, 2)}", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", "Fortran order", 8, 2},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2)}", NULL, "no train_labels.npy", 8, 0},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2)}", "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 1)}", "3 rows", 8, 3},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2)}", "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1)}", "whole numbers", 8, 16},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 2)}", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1)}", "u1, u2 and i2", 32, 2},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3)}", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1)}", "12 elements", 8, 2},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4)}", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1)}", "2 dimensions", 8, 2},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (0, 2, 2)}", NULL, "empty", 0, 0},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 0, 2)}", NULL, "0 pixels", 0, 0},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (9999999, 1, 1)}", NULL, "9999999 elements", 8, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        npz *z;
        zip_t *zip = new_zip();
        add(zip, "train_images.npy", bad[i].images, pixels, bad[i].n, true);
        if (bad[i].labels) add(zip, "train_labels.npy", bad[i].labels, pixels, bad[i].n_labels, true);
        EXPECT(zip_close(zip) == 0, "%s", zip_strerror(zip));
        EXPECT_STATUS(npz_open(&z, path), ST_DATA);
        EXPECT(strstr(status_message(), bad[i].says) && strstr(status_message(), "set.npz"), "%zu: %s", i, status_message());
    }
    npz *z;
    EXPECT_OK(file_write_atomic(path, "PK\3\4 no archive", 15));
    EXPECT_STATUS(npz_open(&z, path), ST_DATA);
    zip_t *zip = new_zip();
    add(zip, "x.npy", "{}", NULL, 0, false);
    EXPECT(zip_close(zip) == 0, "zip");
    EXPECT_STATUS(npz_open(&z, path), ST_DATA);
    EXPECT(strstr(status_message(), "none of train_images"), "%s", status_message());
}

int main(void)
{
    strcpy(folder, "/tmp/medley-npz-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/set.npz", folder);
    pixels = malloc((size_t)N * SIDE * SIDE);
    if (!pixels) return 1;
    for (int i = 0; i < N; i++)
        for (int p = 0; p < SIDE * SIDE; p++) pixels[(size_t)i * SIDE * SIDE + (size_t)p] = value(i, p);
    RUN(heads);
    RUN(any_order);
    RUN(flipped);
    RUN(refused);
    free(pixels);
    unlink(path);
    rmdir(folder);
    DONE();
}
