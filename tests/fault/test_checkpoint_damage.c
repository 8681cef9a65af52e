/* test_checkpoint_damage [CHECKPOINT]: any flipped bit of a sealed file shows, wherever it is: arrays, attributes, HDF5's bookkeeping, unused
 * bytes, the seal. So does any cut, any byte more. Every byte of a small file; with CHECKPOINT, one that training made, 190 places of it, or
 * 1000 with MEDLEY_DAMAGE_ALL. */
#include "medley/store.h"

#include "test.h"

#include <unistd.h>

static char dir[64], whole[200], hurt[200];
static const char *real_file;
static char *bytes;
static size_t n_bytes;

static void put(const char *path, const char *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f)) exit(1);
}

static void get(const char *path)
{
    free(bytes);
    bytes = NULL;
    if (file_read_all(path, (size_t)1 << 32, &bytes, &n_bytes)) exit(1);
}

/* Arrays of all sizes, groups, attributes: what a checkpoint has. */
static status make(store_image *m, bool sealed)
{
    store *s;
    float data[600];
    for (int i = 0; i < 600; i++) data[i] = (float)i * 0.37f;
    TRY(store_create_image(&s, whole, m), "make");
    if (sealed) TRY(store_put_i64(s, "/", "sealed", 1), "make");
    TRY(store_put_f64(s, "/", "best_score", 0.75), "make");
    for (int i = 0; i < 12; i++) {
        char name[40];
        int64_t dims[] = {i + 1, 50};
        snprintf(name, sizeof name, "%s/layer%d.weight", i % 2 ? "weights" : "m", i);
        TRY(store_write(s, name, DT_F32, 2, dims, data, 0), "make");
    }
    return store_close_image(s);
}

static void a_sealed_file_is_plain_hdf5(void)
{
    store_image m = {0};
    EXPECT_OK(make(&m, true)); /* no room at first: it grows */
    size_t n = m.n;
    EXPECT_OK(make(&m, true));
    EXPECT(m.n == n && n > 10000, "%zu then %zu bytes", n, m.n);
    _Atomic int64_t progress = 0;
    EXPECT_OK(store_write_image(&m, whole, &progress));
    EXPECT(progress > 0, "no progress told");
    EXPECT_OK(store_verify(whole));
    get(whole);
    EXPECT(n_bytes == n + 64 && memcmp(bytes, m.bytes, n) == 0 && memcmp(bytes, "\211HDF", 4) == 0, "%zu of %zu bytes", n_bytes, n);
    store *s;
    double score = 0;
    float x[12 * 50];
    EXPECT_OK(store_open(&s, whole));
    EXPECT_OK(store_get_f64(s, "/", "best_score", &score));
    EXPECT_OK(store_read(s, "weights/layer11.weight", DT_F32, 600, x));
    EXPECT(score == 0.75 && x[599] == 599 * 0.37f, "%g %g", score, (double)x[599]);
    store_close(s);
    char command[600];
    snprintf(command, sizeof command, "! /usr/bin/python3 -c 'import h5py' 2>/dev/null || /usr/bin/python3 -c \"import h5py; f = h5py.File('%s', 'r'); "
             "assert f.attrs['sealed'] == 1 and abs(f['m/layer10.weight'][10, 49] - 549 * 0.37) < 1e-4 and len(f['weights']) == 6\"", whole);
    EXPECT(system(command) == 0, "h5py does not read it");
    free(m.bytes);
}

static void files_of_before(void)
{
    store_image m = {0};
    EXPECT_OK(make(&m, false));
    put(hurt, m.bytes, m.n); /* neither seal nor attribute */
    EXPECT_OK(store_verify(hurt));
    char *at = memmem(m.bytes, m.n, (float[]){37 * 0.37f, 38 * 0.37f}, 8);
    EXPECT(at != NULL, "the numbers are not there");
    if (at) *at ^= 4;
    put(hurt, m.bytes, m.n);
    EXPECT_STATUS(store_verify(hurt), ST_DATA);
    EXPECT(strstr(status_message(), "checksum"), "%s", status_message());
    free(m.bytes);
}

/* Flips one bit at `places` offsets spread over the file, and at all of the first and last `ends`. */
static void flip(const char *path, size_t places, size_t ends)
{
    get(path);
    size_t step = places < n_bytes ? n_bytes / places : 1, missed = 0, tried = 0;
    put(hurt, bytes, n_bytes);
    FILE *f = fopen(hurt, "r+b");
    if (!f) exit(1);
    setvbuf(f, NULL, _IONBF, 0);
    for (size_t i = 0; i < n_bytes; i += i < ends || i + ends >= n_bytes ? 1 : step) {
        char bad = (char)(bytes[i] ^ 1 << (i * 5 + i / 8) % 8);
        fseek(f, (long)i, SEEK_SET), fputc(bad, f);
        tried++;
        if (store_verify(hurt) != ST_DATA || !strstr(status_message(), "hurt.h5")) {
            if (missed++ == 0) printf("# byte %zu: %s\n", i, status_message());
        }
        fseek(f, (long)i, SEEK_SET), fputc(bytes[i], f);
        if (i + ends < n_bytes && i + step >= n_bytes - ends) i = n_bytes - ends - (i < ends ? 1 : step);
    }
    fclose(f);
    EXPECT_OK(store_verify(hurt)); /* put back as it was */
    EXPECT(missed == 0 && tried >= (places < n_bytes ? places : n_bytes) / 2, "%zu of %zu flipped bits were not seen", missed, tried);
    printf("# %zu places of %zu bytes\n", tried, n_bytes);
}

static void every_byte(void)
{
    get(whole);
    flip(whole, n_bytes, 0);
}

static void a_real_checkpoint(void)
{
    if (!real_file) SKIP("no file given");
    flip(real_file, getenv("MEDLEY_DAMAGE_ALL") ? 1000 : 150, 20);
}

static void cut_and_longer(void)
{
    get(whole);
    int missed = 0;
    for (size_t n = 0; n < n_bytes; n += n + 200 < n_bytes ? 97 : 1) {
        put(hurt, bytes, n);
        missed += store_verify(hurt) != ST_DATA;
    }
    EXPECT(missed == 0, "%d cuts were not seen", missed);
    put(hurt, bytes, n_bytes - 64); /* exactly the seal */
    EXPECT_STATUS(store_verify(hurt), ST_DATA);
    EXPECT(strstr(status_message(), "seal"), "%s", status_message());
    put(hurt, bytes, n_bytes);
    FILE *f = fopen(hurt, "ab");
    if (!f || fputc(0, f) || fclose(f)) exit(1);
    EXPECT_STATUS(store_verify(hurt), ST_DATA);
    EXPECT_STATUS(store_verify("/nowhere/at/all.h5"), ST_DATA);
}

int main(int argc, char **argv)
{
    real_file = argc > 1 ? argv[1] : NULL;
    snprintf(dir, sizeof dir, "/tmp/medley-damage-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    snprintf(whole, sizeof whole, "%s/whole.h5", dir), snprintf(hurt, sizeof hurt, "%s/hurt.h5", dir);
    RUN(a_sealed_file_is_plain_hdf5);
    RUN(files_of_before);
    RUN(every_byte);
    RUN(a_real_checkpoint);
    RUN(cut_and_longer);
    unlink(whole), unlink(hurt), rmdir(dir);
    free(bytes);
    DONE();
}
