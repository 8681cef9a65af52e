/* test_shard_damage: a shard with any one bit flipped, cut short, or written by someone careless is refused by file and object, or
 * read exactly as before; no damage crashes the reader or changes a pixel or a label silently. */
#include "../../src/store/store_internal.h" /* hostile files are easiest made with HDF5 itself */
#include "../shards.h"
#include "test.h"

#include "medley_build.h"

#include <unistd.h>
#include <zlib.h>

/* HDF5 1.10 keeps some 400 bytes each time it refuses a damaged file; ours is the rest. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

enum { N = 12 };
static char dir[64], path[256], hurt[256];
static char *bytes;
static size_t n_bytes;

static uint32_t text_crc(uint32_t c, char (*t)[SHARD_TEXT], int64_t n)
{
    for (int64_t i = 0; i < n; i++) c = crc32c(c, t[i], strlen(t[i]) + 1);
    return c;
}

/* Everything a trainer can see of a shard in one number; false if the shard refuses. */
static bool read_all(const char *file, uint32_t *digest)
{
    shard s;
    *digest = 0;
    if (shard_open(&s, file)) return false;
    uint32_t c = (uint32_t)s.n;
    size_t n = (size_t)s.n;
    static float pixels[SHARDS_SIDE * SHARDS_SIDE * 3];
    static uint8_t mask[SHARDS_SIDE * SHARDS_SIDE];
    bool good = true;
    c = crc32c(c, s.size, 8 * n), c = crc32c(c, s.range, 8 * n), c = crc32c(c, s.split, n), c = crc32c(c, s.slice, 4 * n);
    c = crc32c(c, s.spacing, 8 * n);
    c = text_crc(text_crc(text_crc(c, s.id, s.n), s.subject, s.n), s.case_id, s.n);
    c = crc32c(c, s.meta.name, strlen(s.meta.name)), c = crc32c(c, s.meta.licence, strlen(s.meta.licence));
    for (int l = 0; l < s.meta.n_labels; l++) {
        const shard_label *m = &s.meta.label[l];
        c = crc32c(c, m->name, strlen(m->name)), c = crc32c(c, &m->kind, sizeof m->kind), c = crc32c(c, &m->lo, 8),
        c = crc32c(c, &m->hi, 8);
        c = crc32c(c, m->class_name, 64 * (size_t)m->n_classes);
        c = crc32c(c, s.label[l].present, n);
        if (s.label[l].cls) c = crc32c(c, s.label[l].cls, 4 * n);
        if (s.label[l].vec) c = crc32c(c, s.label[l].vec, n * (size_t)m->n_classes);
        if (s.label[l].scalar) c = crc32c(c, s.label[l].scalar, 4 * n);
        if (s.label[l].box_off) {
            c = crc32c(c, s.label[l].box_off, 8 * (n + 1)), c = crc32c(c, s.label[l].box, 16 * (size_t)s.label[l].box_off[n]);
            c = crc32c(c, s.label[l].box_cls, 4 * (size_t)s.label[l].box_off[n]);
        }
    }
    for (int64_t i = 0; good && i < s.n; i++) {
        size_t area = (size_t)s.size[2 * i] * (size_t)s.size[2 * i + 1];
        good = area <= sizeof mask && shard_read_image(&s, i, pixels) == OK;
        if (good) c = crc32c(c, pixels, area * (size_t)s.meta.channels * dtype_bytes(s.meta.pixel));
        for (int l = 0; good && l < s.meta.n_labels; l++) {
            if (!s.label[l].has_mask || !s.label[l].present[i]) continue;
            good = shard_read_mask(&s, i, l, mask) == OK;
            if (good) c = crc32c(c, mask, area);
        }
    }
    shard_close(&s);
    *digest = c;
    return good;
}

static void write_file(const char *data, size_t n)
{
    FILE *f = fopen(hurt, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f)) exit(1);
}

static bool named(void) { return strstr(status_message(), "hurt.h5") != NULL; }

static void any_flipped_bit(void)
{
    uint32_t whole, now;
    EXPECT(read_all(path, &whole), "%s", status_message());
    size_t refused = 0, harmless = 0, silent = 0, step = getenv("MEDLEY_DAMAGE_ALL") ? 1 : n_bytes / 1500 + 1;
    for (size_t i = 0; i < n_bytes; i += i < 512 ? 1 : step) {
        bytes[i] ^= (char)(1 << (i % 8));
        write_file(bytes, n_bytes);
        bytes[i] ^= (char)(1 << (i % 8));
        if (!read_all(hurt, &now)) {
            refused++;
            EXPECT(named(), "byte %zu: %s", i, status_message());
        } else if (now == whole) harmless++;
        else {
            silent++;
            printf("# byte %zu of %zu changed the contents silently\n", i, n_bytes);
        }
    }
    printf("# %zu damages refused, %zu in unused bytes\n", refused, harmless);
    EXPECT(silent == 0 && refused > 2 * harmless, "%zu silent", silent);
}

static void bursts(void)
{
    uint32_t whole, now;
    EXPECT(read_all(path, &whole), "%s", status_message());
    char *copy = malloc(n_bytes);
    for (uint32_t k = 0; k < 400; k++) { /* a sector of zeros, of ones, or of noise */
        rng r = rng_open((rng_key){11, k, 0}, RNG_TEST, 0);
        memcpy(copy, bytes, n_bytes);
        size_t at = rng_below(&r, (uint32_t)n_bytes), n = 1 + rng_below(&r, 600);
        for (size_t i = at; i < at + n && i < n_bytes; i++) copy[i] = k % 3 == 0 ? 0 : k % 3 == 1 ? -1 : (char)rng_u32(&r);
        write_file(copy, n_bytes);
        bool good = read_all(hurt, &now);
        EXPECT(good ? now == whole : named(), "burst at %zu of %zu: %s", at, n, good ? "silent" : status_message());
    }
    free(copy);
}

static void cut_short(void)
{
    uint32_t now;
    for (size_t n = 0; n < n_bytes; n += 1 + n_bytes / 211) {
        write_file(bytes, n);
        EXPECT(!read_all(hurt, &now) && named(), "cut to %zu: %s", n, status_message());
    }
}

/* ---- wrong contents with right checksums ---- */

/* Opens the copy for writing and lets `name` be replaced. */
static store *edit(void)
{
    write_file(bytes, n_bytes);
    static store s;
    s = (store){.writing = true, .file_bytes = INT64_MAX};
    snprintf(s.path, sizeof s.path, "%s", hurt), snprintf(s.part, sizeof s.part, "%s", hurt);
    s.file = H5Fopen(hurt, H5F_ACC_RDWR, H5P_DEFAULT);
    return &s;
}

static void refuse(store *s, const char *object)
{
    uint32_t now;
    H5Fclose(s->file);
    EXPECT(!read_all(hurt, &now), "%s accepted", object);
    EXPECT(named() && strstr(status_message(), object), "wanted %s: %s", object, status_message());
}

/* One array with one element changed, checksum made right. */
static void replace(const char *name, enum dtype t, int ndim, int64_t d0, int64_t d1, int64_t at, const void *value)
{
    store *s = edit();
    int64_t dims[2] = {d0, d1}, n = d0 * (ndim == 2 ? d1 : 1);
    char *data = calloc((size_t)n + 1, 16);
    s->writing = false;
    enum dtype found;
    int rank;
    int64_t was[8] = {0}, n_was = 1;
    EXPECT_OK(store_shape(s, name, &found, &rank, was));
    for (int i = 0; i < rank; i++) n_was *= was[i];
    if (n_was <= n && found == t) EXPECT_OK(store_read(s, name, t, n_was, data));
    s->writing = true;
    if (value) memcpy(data + (size_t)at * dtype_bytes(t), value, dtype_bytes(t));
    H5Ldelete(s->file, name, H5P_DEFAULT);
    EXPECT_OK(store_write(s, name, t, ndim, dims, data, 0));
    free(data);
    refuse(s, name);
}

static void wrong_values(void)
{
    shard s;
    EXPECT_OK(shard_open(&s, path));
    int64_t M = s.label[4].box_off[N];
    int32_t big = SHARDS_SIDE + 1;
    shard_close(&s);
    float nan = NAN, huge = 1e9f;
    replace("size", DT_I32, 2, N, 2, 3, &(int32_t){0});
    replace("size", DT_I32, 2, N, 2, 3, &(int32_t){-5});
    replace("size", DT_I32, 2, N, 2, 2, &big);
    replace("size", DT_I32, 2, N - 1, 2, 0, NULL);
    replace("size", DT_I32, 1, 2 * N, 0, 0, NULL);
    replace("slice", DT_I64, 1, N, 0, 0, NULL);
    replace("range", DT_F32, 2, N, 2, 0, &nan);
    replace("range", DT_F32, 2, N, 2, 0, &huge);
    replace("split", DT_U8, 1, N, 0, 2, &(uint8_t){3});
    replace("image_crc32c", DT_U32, 1, N + 1, 0, 0, NULL);
    replace("label/z-classification/present", DT_U8, 1, N, 0, 2, &(uint8_t){2});
    replace("label/z-classification/class", DT_I32, 1, N, 0, 2, &(int32_t){SHARDS_CLASSES});
    replace("label/z-classification/class", DT_I32, 1, N, 0, 2, &(int32_t){-1});
    replace("label/y-multilabel/vector", DT_U8, 2, N, SHARDS_CLASSES, 4, &(uint8_t){2});
    replace("label/y-multilabel/vector", DT_U8, 2, N, SHARDS_CLASSES + 1, 0, NULL);
    replace("label/x-regression/scalar", DT_F32, 1, N, 0, 2, &nan);
    replace("label/v-detection/box_off", DT_I64, 1, N + 1, 0, 4, &(int64_t){-1});
    replace("label/v-detection/box_off", DT_I64, 1, N + 1, 0, 4, &(int64_t){INT64_MAX});
    replace("label/v-detection/box_off", DT_I64, 1, N + 1, 0, N, &(int64_t){1 << 30});
    replace("label/v-detection/box_off", DT_I64, 1, N + 1, 0, 0, &(int64_t){1});
    replace("label/v-detection/box", DT_F32, 2, M, 4, 2, &huge);
    replace("label/v-detection/box", DT_F32, 2, M, 4, 2, &nan);
    replace("label/v-detection/box", DT_F32, 2, M, 5, 0, NULL);
    replace("label/v-detection/box_class", DT_I32, 1, M, 0, 1, &(int32_t){SHARDS_CLASSES});
    replace("label/v-detection/box_class", DT_I32, 1, M + 1, 0, 0, NULL);
}

static void wrong_header(void)
{
    store *s = edit();
    EXPECT_OK(store_put_str(s, "/", "format", "medley-checkpoint"));
    refuse(s, "medley-checkpoint");
    s = edit();
    EXPECT_OK(store_put_i64(s, "/", "format_version", 99));
    refuse(s, "99");
    s = edit();
    EXPECT_OK(store_put_i64(s, "/", "channels", 4));
    refuse(s, "channels");
    s = edit();
    EXPECT_OK(store_put_i64(s, "/label/z-classification", "n_classes", INT64_C(1) << 40));
    refuse(s, "z-classification");
    s = edit();
    EXPECT_OK(store_put_i64(s, "/label/z-classification", "n_classes", -3));
    refuse(s, "z-classification");
    s = edit();
    EXPECT_OK(store_put_i64(s, "/label/z-classification", "n_classes", 2)); /* names has three */
    refuse(s, "z-classification/names");
    s = edit();
    EXPECT_OK(store_put_i64(s, "/label/z-classification", "position", 1)); /* another has it */
    refuse(s, "position");
    s = edit();
    EXPECT_OK(store_put_str(s, "/label/z-classification", "kind", "regresion"));
    refuse(s, "regresion");
    s = edit();
    H5Ldelete(s->file, "label/w-segmentation/mask_crc32c", H5P_DEFAULT);
    refuse(s, "mask_crc32c");
    s = edit();
    H5Ldelete(s->file, "image", H5P_DEFAULT);
    refuse(s, "image");
}

/* Shapes that promise far more than the file holds must be refused before memory is taken. */
static void promises(void)
{
    const hsize_t shape[3][4] = {{1u << 31, 8, 8, 3}, {N, 1u << 20, 8, 3}, {N, 30000, 30000, 3}};
    for (int k = 0; k < 3; k++) {
        store *s = edit();
        H5Ldelete(s->file, "image", H5P_DEFAULT);
        hsize_t chunk[4] = {1, shape[k][1], shape[k][2], 3};
        AUTO_HID space = H5Screate_simple(4, shape[k], NULL);
        AUTO_HID plist = H5Pcreate(H5P_DATASET_CREATE);
        H5Pset_chunk(plist, 4, chunk);
        AUTO_HID set = H5Dcreate2(s->file, "image", H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT);
        EXPECT(set >= 0, "made");
        hid_drop(&set);
        refuse(s, "image");
    }
    store *s = edit(); /* many samples in one chunk: a trap for random access */
    H5Ldelete(s->file, "image", H5P_DEFAULT);
    hsize_t dims[4] = {N, 8, 8, 3};
    AUTO_HID space = H5Screate_simple(4, dims, NULL);
    AUTO_HID plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 4, dims);
    AUTO_HID set = H5Dcreate2(s->file, "image", H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    hid_drop(&set);
    refuse(s, "one sample per chunk");
    s = edit(); /* a column that claims 2^40 elements and stores none */
    H5Ldelete(s->file, "label/v-detection/box", H5P_DEFAULT);
    hsize_t many[2] = {(hsize_t)1 << 40, 4};
    AUTO_HID wide = H5Screate_simple(2, many, NULL);
    AUTO_HID box = H5Dcreate2(s->file, "label/v-detection/box", H5T_IEEE_F32LE, wide, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_drop(&box);
    refuse(s, "v-detection/box");
}

/* ---- chunks that come past HDF5 ---- */

/* Chunk of sample 2 of /image as it is stored, put back changed. */
static void put_chunk(const void *data, size_t n, uint32_t skipped)
{
    store *s = edit();
    hsize_t at[4] = {2};
    AUTO_HID set = H5Dopen2(s->file, "image", H5P_DEFAULT);
    EXPECT(H5Dwrite_chunk(set, H5P_DEFAULT, skipped, at, n, data) >= 0, "written");
    hid_drop(&set);
    H5Fclose(s->file);
}

/* Behind a right Fletcher sum: what is put there is n bytes. */
static void put_sealed(uint8_t *data, size_t n)
{
    uint32_t sum = fletcher32(data, n);
    memcpy(data + n, &sum, 4);
    put_chunk(data, n + 4, 0);
}

static void odd_chunks(void)
{
    uint32_t whole, now;
    shard s;
    EXPECT(read_all(path, &whole), "%s", status_message());
    EXPECT_OK(shard_open(&s, path));
    size_t raw_bytes = (size_t)s.Hmax * (size_t)s.Wmax * 3;
    uLongf n = compressBound(raw_bytes) + 1000;
    uint8_t *raw = malloc(raw_bytes + 1000), *packed = malloc(n + 8);
    hsize_t start[4] = {2}, count[4] = {1, (hsize_t)s.Hmax, (hsize_t)s.Wmax, 3};
    AUTO_HID space = H5Dget_space(s.file->image);
    AUTO_HID memory = H5Screate_simple(4, count, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
    EXPECT(H5Dread(s.file->image, H5T_STD_U8LE, memory, space, H5P_DEFAULT, raw) >= 0, "read");
    shard_close(&s);

    compress2(packed, &n, raw, raw_bytes, 9); /* another packer's */
    put_sealed(packed, n);
    EXPECT(read_all(hurt, &now) && now == whole, "packed at level 9: %s", status_message());
    put_chunk(raw, raw_bytes, 7); /* no filter used: HDF5 may do that */
    EXPECT(read_all(hurt, &now) && now == whole, "not packed at all: %s", status_message());

    for (int k = -1; k <= 1; k += 2) { /* unpacks to one byte more or less than a chunk has */
        memset(raw + raw_bytes, 1, 1000);
        n = compressBound(raw_bytes) + 1000;
        compress2(packed, &n, raw, raw_bytes + (size_t)(k * 500), 4);
        put_sealed(packed, n);
        bool good = read_all(hurt, &now);
        EXPECT(good ? now == whole : named(), "%d bytes: %s", k * 500, good ? "silent" : status_message());
    }
    n = compressBound(raw_bytes);
    compress2(packed, &n, raw, raw_bytes, 4);
    put_sealed(packed, n / 2); /* the stream ends early */
    EXPECT(!read_all(hurt, &now) && named(), "half a stream");
    packed[n / 2] ^= 64;
    put_sealed(packed, n);
    EXPECT(!read_all(hurt, &now) && named(), "a wrong bit behind a right sum");
    for (size_t k = 1; k < 8; k++) { /* too short for a sum, or for a stream */
        put_chunk(packed, k, 0);
        EXPECT(!read_all(hurt, &now) && named(), "%zu bytes", k);
    }
    store *edited = edit(); /* and the same of an array that is read whole */
    H5Ldelete(edited->file, "split", H5P_DEFAULT);
    AUTO_HID plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 1, (hsize_t[]){N});
    H5Pset_fletcher32(plist);
    AUTO_HID line = H5Screate_simple(1, (hsize_t[]){N}, NULL);
    AUTO_HID split = H5Dcreate2(edited->file, "split", H5T_STD_U8LE, line, H5P_DEFAULT, plist, H5P_DEFAULT);
    EXPECT(H5Dwrite_chunk(split, H5P_DEFAULT, 0, (hsize_t[]){0}, 2, packed) >= 0, "written");
    hid_drop(&split);
    refuse(edited, "split");
    uint8_t *bomb = calloc(4, raw_bytes + 4096); /* longer than any packed chunk of this size */
    put_chunk(bomb, 4 * raw_bytes, 0);
    EXPECT(!read_all(hurt, &now) && named(), "a chunk of %zu bytes", 4 * raw_bytes);
    free(bomb), free(raw), free(packed);
}

/* Of every type, full chunks and padded ones, masks too: what unpack.c hands over is what HDF5 does. */
static void the_same_as_hdf5(void)
{
    static const enum dtype types[] = {DT_U8, DT_U16, DT_I16, DT_F32};
    for (int k = 0; k < 8; k++) {
        enum dtype t = types[k / 2];
        int C = k % 2 ? 3 : 1, n_ours = 0;
        char name[32], file[256];
        snprintf(name, sizeof name, "kind%d", k);
        EXPECT_OK(shards_make(dir, name, t, C, N, 0));
        snprintf(file, sizeof file, "%s/%s/%s-00000.h5", dir, name, name);
        shard s;
        EXPECT_OK(shard_open(&s, file));
        static float a[SHARDS_SIDE * SHARDS_SIDE * 3], b[SHARDS_SIDE * SHARDS_SIDE * 3];
        for (int64_t i = 0; i < s.n; i++)
            for (int l = -1; l < s.meta.n_labels; l++) {
                if (l >= 0 && (!s.label[l].has_mask || !s.label[l].present[i])) continue;
                size_t row = (size_t)s.size[2 * i + 1] * (l < 0 ? (size_t)C * dtype_bytes(t) : 1), n = (size_t)s.size[2 * i] * row;
                memset(b, 0x55, sizeof b);
                EXPECT_OK(l < 0 ? shard_read_image(&s, i, b) : shard_read_mask(&s, i, l, (uint8_t *)b)); /* whichever way it goes */
                hsize_t start[4] = {(hsize_t)i}, count[4] = {1, (hsize_t)s.size[2 * i], (hsize_t)s.size[2 * i + 1], (hsize_t)C};
                hid_t set = l < 0 ? s.file->image : s.file->mask[l];
                AUTO_HID space = H5Dget_space(set);
                AUTO_HID memory = H5Screate_simple(l < 0 ? 4 : 3, count, NULL);
                H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
                EXPECT(H5Dread(set, l < 0 ? hdf5_type(t) : H5T_STD_U8LE, memory, space, H5P_DEFAULT, a) >= 0, "read");
                EXPECT(!memcmp(a, b, n), "%s[%lld], label %d", name, (long long)i, l);
                memset(b, 0x55, sizeof b);
                if (!unpack_chunk(l < 0 ? &s.file->image_form : &s.file->mask_form[l], set, i, s.size[2 * i], row, b)) continue;
                n_ours++;
                EXPECT(!memcmp(a, b, n) && ((uint8_t *)b)[n] == 0x55, "%s[%lld], label %d", name, (long long)i, l);
            }
#ifdef HAVE_DEFLATE
        EXPECT(n_ours > N, "%d chunks came past HDF5", n_ours);
#endif
        shard_close(&s);
    }
}

static void damaged_index(void)
{
    char index[256], *data, whole[256];
    size_t n;
    snprintf(whole, sizeof whole, "%s/noise/index.h5", dir), snprintf(index, sizeof index, "%s/hurt-index", dir);
    EXPECT_OK(file_read_all(whole, 1 << 24, &data, &n));
    EXPECT_OK(path_make_dirs(index));
    snprintf(hurt, sizeof hurt, "%s/hurt-index/index.h5", dir);
    size_t refused = 0;
    size_t tried = 0;
    for (size_t i = 0; i < n; i += getenv("MEDLEY_DAMAGE_ALL") ? 1 : 7, tried++) {
        data[i] ^= (char)(1 << (i % 8));
        write_file(data, n);
        data[i] ^= (char)(1 << (i % 8));
        catalogue c;
        if (catalogue_open(&c, index)) {
            refused++;
            EXPECT(strstr(status_message(), "hurt-index"), "%s", status_message());
            continue;
        }
        EXPECT(c.n_total == N && c.n_shards == 1 && c.n[0] == N && strcmp(c.file[0], "noise-00000.h5") == 0, "byte %zu", i);
        catalogue_close(&c);
    }
    EXPECT(refused > tried / 2, "%zu of %zu", refused, tried);
    free(data);
}

int main(void)
{
    strcpy(dir, "/tmp/medley-damage-XXXXXX");
    if (!mkdtemp(dir) || shards_make(dir, "noise", DT_U8, 3, N, 0)) return 1;
    snprintf(path, sizeof path, "%s/noise/noise-00000.h5", dir), snprintf(hurt, sizeof hurt, "%s/hurt.h5", dir);
    if (file_read_all(path, 1 << 26, &bytes, &n_bytes)) return 1;
    RUN(any_flipped_bit);
    RUN(bursts);
    RUN(cut_short);
    RUN(wrong_values);
    RUN(wrong_header);
    RUN(promises);
    RUN(odd_chunks);
    RUN(the_same_as_hdf5);
    RUN(damaged_index);
    free(bytes);
    char clean[128];
    snprintf(clean, sizeof clean, "rm -rf %s", dir);
    if (system(clean)) return 1;
    DONE();
}
