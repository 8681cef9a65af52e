/* test_hostile: files made to do harm rather than damaged by chance. Links that name other files, groups without end, arrays that unpack to
 * more than the machine has, names that lead out of a folder, links planted where a file will be written. */
#include "../../src/store/store_internal.h" /* such files are easiest made with HDF5 itself */
#include "../shards.h"
#include "test.h"

#include "../../src/data/data_internal.h"

#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

static char dir[64];

static const char *at(const char *name)
{
    static char path[4][256];
    static int k;
    snprintf(path[k = (k + 1) % 4], sizeof path[0], "%s/%s", dir, name);
    return path[k];
}

static bool says(const char *word) { return strstr(status_message(), word) != NULL; }

/* A file with the array x in group g, open for more. */
static hid_t begin(const char *name)
{
    store *s;
    float x[4] = {1, 2, 3, 4};
    EXPECT_OK(store_create(&s, at(name)));
    EXPECT_OK(store_write(s, "g/x", DT_F32, 1, (int64_t[]){4}, x, 0));
    EXPECT_OK(store_commit(s));
    return H5Fopen(at(name), H5F_ACC_RDWR, H5P_DEFAULT);
}

static void links(void)
{
    store *s;
    float x[4];
    char text[16], (*name)[128];
    int n;
    hid_t f = begin("other.h5");
    H5Fclose(f);
    f = begin("links.h5");
    EXPECT(H5Lcreate_external(at("other.h5"), "/g/x", f, "external", H5P_DEFAULT, H5P_DEFAULT) >= 0, "made");
    EXPECT(H5Lcreate_external(at("other.h5"), "/g", f, "h", H5P_DEFAULT, H5P_DEFAULT) >= 0, "made");
    EXPECT(H5Lcreate_soft("/g/x", f, "soft", H5P_DEFAULT, H5P_DEFAULT) >= 0, "made");
    EXPECT(H5Lcreate_soft("/loop", f, "loop", H5P_DEFAULT, H5P_DEFAULT) >= 0, "made");
    H5Fclose(f);
    EXPECT_OK(store_open(&s, at("links.h5")));
    EXPECT_OK(store_read(s, "g/x", DT_F32, 4, x));
    static const char *const bad[] = {"external", "h/x", "soft", "loop"};
    for (int i = 0; i < 4; i++) {
        EXPECT_STATUS(store_read(s, bad[i], DT_F32, 4, x), ST_DATA);
        EXPECT(says("link") && says("links.h5"), "%s", status_message());
        enum dtype t;
        int64_t dims[8], count;
        int width;
        char *words;
        EXPECT_STATUS(store_shape(s, bad[i], &t, &n, dims), ST_DATA);
        EXPECT_STATUS(store_get_str(s, bad[i], "crc32c", text, sizeof text), ST_DATA);
        EXPECT_STATUS(store_read_text(s, bad[i], &count, &width, &words), ST_DATA);
    }
    EXPECT(!store_has(s, "h/x") && store_has(s, "g/x"), "what lies in another file is not there");
    EXPECT_STATUS(store_list(s, "h", &n, &name), ST_DATA);
    EXPECT_STATUS(store_list(s, "/", &n, &name), ST_DATA);
    EXPECT(says("link"), "%s", status_message());
    store_close(s);
}

static char refused[512]; /* why the last group was not listed that is no array either */

/* What a resuming run does: every group, every array. */
static long walk(store *s, const char *group)
{
    int n;
    char(*name)[128], path[400];
    if (store_list(s, group, &n, &name)) {
        if (!says("readable group")) snprintf(refused, sizeof refused, "%s", status_message());
        return 1;
    }
    long calls = 1;
    for (int i = 0; i < n; i++) {
        enum dtype t;
        int ndim;
        int64_t dims[8];
        if (snprintf(path, sizeof path, "%s%s%s", group, strcmp(group, "/") ? "/" : "", name[i]) >= (int)sizeof path) continue;
        if (store_shape(s, path, &t, &ndim, dims)) calls += walk(s, path);
    }
    free(name);
    return calls;
}

static void groups_without_end(void)
{
    store *s;
    hid_t f = begin("cycle.h5");
    H5Lcreate_hard(f, "/", f, "g/again", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_hard(f, "g", f, "g/self", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(f);
    EXPECT_OK(store_open(&s, at("cycle.h5")));
    long n = walk(s, "/");
    EXPECT(n < 10, "%ld groups visited", n);
    EXPECT(strstr(refused, "more than one name"), "%s", refused);
    store_close(s);
    f = begin("wide.h5"); /* 7 levels of 20 names for the same group below: 20^7 ways through */
    hid_t level = H5Gcreate2(f, "end", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), above;
    for (int d = 0; d < 7; d++, level = above) {
        above = H5Gcreate_anon(f, H5P_DEFAULT, H5P_DEFAULT);
        char name[2] = "";
        for (int k = 0; k < 20; k++) {
            name[0] = (char)('a' + k);
            H5Lcreate_hard(level, ".", above, name, H5P_DEFAULT, H5P_DEFAULT);
        }
        H5Gclose(level);
    }
    H5Olink(level, f, "top", H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(level), H5Fclose(f);
    EXPECT_OK(store_open(&s, at("wide.h5")));
    n = walk(s, "/");
    EXPECT(n < 10000, "%ld groups visited", n);
    EXPECT(strstr(refused, "more than one name"), "%s", refused);
    store_close(s);
    f = begin("deep.h5");
    char path[200] = "d";
    for (int d = 0; d < 40; d++) {
        hid_t g = H5Gcreate2(f, path, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Gclose(g);
        strcat(path, "/d");
    }
    H5Fclose(f);
    EXPECT_OK(store_open(&s, at("deep.h5")));
    n = walk(s, "/");
    EXPECT(n < 20 && strstr(refused, "nested"), "%ld groups visited: %s", n, refused);
    store_close(s);
}

/* An array of n bytes in one chunk of our making, stored as `packed`, with deflate named `times` in its filters. */
static void put_chunk(hid_t f, const char *name, hsize_t n, int times, const void *packed, size_t n_packed)
{
    AUTO_HID space = H5Screate_simple(1, &n, NULL);
    AUTO_HID plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 1, &n);
    for (int i = 0; i < times; i++) H5Pset_deflate(plist, 9);
    AUTO_HID set = H5Dcreate2(f, name, H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    hsize_t zero = 0;
    EXPECT(H5Dwrite_chunk(set, H5P_DEFAULT, 0, &zero, n_packed, packed) >= 0, "%s", name);
    uint32_t crc = 0;
    AUTO_HID one = H5Screate(H5S_SCALAR);
    AUTO_HID attr = H5Acreate2(set, "crc32c", H5T_STD_U32LE, one, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attr, H5T_STD_U32LE, &crc);
}

static void sizes(void)
{
    enum { BIG = 64 << 20 };
    store *s;
    enum dtype t;
    int ndim;
    int64_t dims[8];
    uLongf n1 = compressBound(BIG), n2 = compressBound(n1);
    unsigned char *zeros = calloc(1, BIG), *once = malloc(n1), *twice = malloc(n2);
    EXPECT(zeros && once && twice && compress2(once, &n1, zeros, BIG, 9) == Z_OK && compress2(twice, &n2, once, n1, 9) == Z_OK, "packed");
    hid_t f = begin("bomb.h5");
    put_chunk(f, "twice", BIG, 2, twice, n2); /* some hundred bytes that become 64 MiB */
    put_chunk(f, "short", 1000, 1, once, n1);
    hsize_t many = (hsize_t)1 << 40, one = 1, ten = 10;
    AUTO_HID space = H5Screate_simple(1, &many, NULL);
    AUTO_HID plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 1, &one);
    AUTO_HID empty = H5Dcreate2(f, "empty", H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    hid_drop(&empty);
    hsize_t chunk = (hsize_t)1 << 31, unlimited = H5S_UNLIMITED;
    AUTO_HID growing = H5Screate_simple(1, &ten, &unlimited);
    H5Pset_chunk(plist, 1, &chunk);
    H5Pset_deflate(plist, 1);
    AUTO_HID wide = H5Dcreate2(f, "wide", H5T_STD_U8LE, growing, H5P_DEFAULT, plist, H5P_DEFAULT);
    hid_drop(&wide);
    H5Fclose(f);
    int64_t before = memory_peak_bytes();
    EXPECT_OK(store_open(&s, at("bomb.h5")));
    static const char *const name[] = {"twice", "empty", "wide"}, *const why[] = {"twice", "bytes", "larger than the array"};
    for (int i = 0; i < 3; i++) {
        EXPECT_STATUS(store_shape(s, name[i], &t, &ndim, dims), ST_DATA);
        EXPECT(says(why[i]), "%s", status_message());
        EXPECT_STATUS(store_read(s, name[i], DT_U8, i == 1 ? (int64_t)many : i == 2 ? 10 : BIG, zeros), ST_DATA);
    }
    static unsigned char out[1000];
    EXPECT_STATUS(store_read(s, "short", DT_U8, 1000, out), ST_DATA); /* unpacks to more than its chunk */
    store_close(s);
    EXPECT(memory_peak_bytes() - before < 512 << 20, "%lld bytes more", (long long)(memory_peak_bytes() - before));
    free(zeros), free(once), free(twice);
}

/* ---- names and links of the file system ---- */

static void inside(void)
{
    char out[256];
    EXPECT_OK(path_make_dirs(at("home/in")));
    EXPECT_OK(path_make_dirs(at("home2")));
    EXPECT_OK(file_write_atomic(at("home2/f.h5"), "x", 1));
    EXPECT_OK(file_write_atomic(at("home/real.h5"), "x", 1));
    EXPECT_OK(path_inside(at("home"), "real.h5", out, sizeof out));
    EXPECT(strcmp(out, at("home/real.h5")) == 0, "%s", out);
    EXPECT_OK(path_inside(at("home"), "not-there.h5", out, sizeof out));
    static const char *const bad[] = {"", ".", "..", "../x", "in/x", "/etc/passwd", ".hidden", "a\nb", "a\x7f"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT_STATUS(path_inside(at("home"), bad[i], out, sizeof out), ST_DATA);
        EXPECT(says("plain file name"), "%s", status_message());
    }
    EXPECT(!symlink("../home2/f.h5", at("home/out.h5")) && !symlink("real.h5", at("home/near.h5")) && !symlink("/etc/passwd", at("home/far.h5")), "links");
    EXPECT_OK(path_inside(at("home"), "near.h5", out, sizeof out));
    EXPECT_STATUS(path_inside(at("home"), "out.h5", out, sizeof out), ST_DATA);
    EXPECT(says("leads out"), "%s", status_message());
    EXPECT_STATUS(path_inside(at("home"), "far.h5", out, sizeof out), ST_DATA);
    EXPECT_STATUS(path_inside(at("home"), "real.h5", out, 8), ST_RESOURCE);
    EXPECT(!symlink("home", at("door")), "link");
    EXPECT_OK(path_inside(at("door"), "near.h5", out, sizeof out)); /* the folder itself may be reached by a link */
}

/* An index whose shard is somewhere else: by name, by link. */
static void escaping_index(void)
{
    dataset *d;
    raw_sample raw;
    scratch t = {0};
    EXPECT_OK(shards_make(dir, "noise", DT_U8, 1, 6, 0));
    EXPECT(!rename(at("noise/noise-00000.h5"), at("elsewhere.h5")) && !symlink("../elsewhere.h5", at("noise/noise-00000.h5")), "moved");
    EXPECT_OK(dataset_open(&d, at("noise"), "z-classification"));
    EXPECT_STATUS(dataset_fetch(d, 0, &t, &raw), ST_DATA);
    EXPECT(says("leads out") && says("noise-00000.h5"), "%s", status_message());
    dataset_close(d);
    scratch_free(&t);
    EXPECT(!rename(at("noise/index.h5"), at("index.h5")) && !symlink("../index.h5", at("noise/index.h5")), "moved");
    EXPECT_STATUS(dataset_open(&d, at("noise"), "z-classification"), ST_DATA);
    EXPECT(says("leads out") && says("index.h5"), "%s", status_message());
    static const char *const bad[] = {"../elsewhere.h5", "/tmp/elsewhere.h5", "..", "a/b.h5", "."};
    for (int i = 0; i < 5; i++) {
        EXPECT_OK(shards_make(dir, "noise2", DT_U8, 1, 6, 0));
        hid_t f = H5Fopen(at("noise2/index.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
        store s = {.file = f, .writing = true, .path = "index.h5"};
        H5Ldelete(f, "file", H5P_DEFAULT);
        EXPECT_OK(write_texts(&s, "file", 1, bad[i], strlen(bad[i]) + 1));
        H5Fclose(f);
        catalogue c;
        EXPECT_STATUS(catalogue_open(&c, at("noise2")), ST_DATA);
        EXPECT(says("plain file name") && says("/file[0]"), "%s", status_message());
    }
}

static int mode_of(const char *path)
{
    struct stat info;
    return stat(path, &info) ? -1 : (int)(info.st_mode & 07777);
}

static void modes_and_planted_links(void)
{
    static const mode_t masks[] = {0, 022, 027, 077};
    store *s;
    tensors_writer *w;
    for (int i = 0; i < 4; i++) {
        mode_t old = umask(masks[i]);
        char name[64];
        snprintf(name, sizeof name, "mode%d", i);
        EXPECT_OK(path_make_dirs(at(name)));
        EXPECT(mode_of(at(name)) == (int)(0755 & ~masks[i]), "folder %o", (unsigned)mode_of(at(name)));
        EXPECT_OK(store_create(&s, at("m.h5")));
        EXPECT_OK(store_commit(s));
        EXPECT_OK(tensors_create(&w, at("m.safetensors")));
        EXPECT_OK(tensors_commit(w));
        EXPECT_OK(file_write_atomic(at("m.txt"), "x", 1));
        EXPECT_OK(shards_make(at(name), "set", DT_U8, 1, 2, 0));
        umask(old);
        static const char *const files[] = {"m.h5", "m.safetensors", "m.txt"}, *const in[] = {"set/index.h5", "set/set-00000.h5", "set/SHA256SUMS"};
        for (int k = 0; k < 3; k++) {
            EXPECT(mode_of(at(files[k])) == (int)(0644 & ~masks[i]), "%s %o", files[k], (unsigned)mode_of(at(files[k])));
            char path[128];
            snprintf(path, sizeof path, "%s/%s", name, in[k]);
            EXPECT(mode_of(at(path)) == (int)(0644 & ~masks[i]), "%s %o", path, (unsigned)mode_of(at(path)));
        }
    }
    /* a link under the name of the temporary file must not be followed */
    EXPECT_OK(file_write_atomic(at("precious"), "keep me", 7));
    static const char *const part[] = {"v.h5.part", "v.txt.part", "v.safetensors.part"};
    for (int i = 0; i < 3; i++) EXPECT(!symlink("precious", at(part[i])), "link");
    EXPECT_OK(store_create(&s, at("v.h5")));
    EXPECT_OK(store_commit(s));
    EXPECT_OK(file_write_atomic(at("v.txt"), "other", 5));
    EXPECT_OK(tensors_create(&w, at("v.safetensors")));
    EXPECT_OK(tensors_commit(w));
    char *text;
    EXPECT_OK(file_read_all(at("precious"), 100, &text, NULL));
    EXPECT(strcmp(text, "keep me") == 0, "\"%s\"", text);
    free(text);
    /* nor one under the name of a data set folder, whose files a writer would clear away */
    EXPECT_OK(path_make_dirs(at("hoard")));
    EXPECT_OK(file_write_atomic(at("hoard/mine.h5"), "x", 1));
    EXPECT(!symlink("hoard", at("set.part")) && !symlink("hoard", at("set2")), "links");
    EXPECT_STATUS(shards_make(dir, "set", DT_U8, 1, 2, 0), ST_DATA);
    EXPECT(says("symbolic link"), "%s", status_message());
    EXPECT_STATUS(shards_make(dir, "set2", DT_U8, 1, 2, 0), ST_DATA);
    EXPECT(says("symbolic link"), "%s", status_message());
    EXPECT(path_exists(at("hoard/mine.h5")), "untouched");
    shard_meta m = shards_meta("../up", DT_U8, 1);
    shard_writer *sw;
    EXPECT_STATUS(shard_writer_open(&sw, dir, &m, 0, true), ST_DATA);
}

int main(void)
{
    strcpy(dir, "/tmp/medley-hostile-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    RUN(links);
    RUN(groups_without_end);
    RUN(sizes);
    RUN(inside);
    RUN(escaping_index);
    RUN(modes_and_planted_links);
    char clean[128];
    snprintf(clean, sizeof clean, "rm -rf %s", dir);
    if (system(clean)) return 1;
    DONE();
}
