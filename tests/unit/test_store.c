/* test_store: named arrays, texts and attributes come back as written; damage, misuse and half-written files are refused by name. */
#include "medley/store.h"
#include "test.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

/* HDF5 1.10 keeps some 400 bytes each time it refuses a damaged file; ours is the rest. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

static char dir[64];
static const char *at(const char *name)
{
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

static void arrays(void)
{
    store *s;
    int64_t dims[3] = {7, 3, 500};
    size_t n = 7 * 3 * 500;
    static double values[7 * 3 * 500], back[7 * 3 * 500];
    for (size_t i = 0; i < n; i++) values[i] = (double)i * 0.25 - 3;
    EXPECT_OK(store_create(&s, at("a.h5")));
    EXPECT(!path_exists(at("a.h5")) && path_exists(at("a.h5.part")), "written aside");
    for (int t = 0; t < N_DTYPES; t++)
        for (int deflate = 0; deflate <= 4; deflate += 4) {
            char name[64];
            snprintf(name, sizeof name, "group/%s/%d", dtype_name((enum dtype)t), deflate);
            EXPECT_OK(store_write(s, name, (enum dtype)t, 3, dims, values, deflate));
        }
    EXPECT_OK(store_write(s, "scalar", DT_I64, 0, NULL, &(int64_t){-5}, 0));
    EXPECT_OK(store_write(s, "empty", DT_F32, 2, (int64_t[]){0, 4}, NULL, 0));
    EXPECT_OK(store_write(s, "empty_deflate", DT_F32, 2, (int64_t[]){0, 4}, NULL, 4));
    EXPECT_OK(store_commit(s));
    EXPECT(path_exists(at("a.h5")) && !path_exists(at("a.h5.part")), "renamed");
    EXPECT_OK(store_open(&s, at("a.h5")));
    for (int t = 0; t < N_DTYPES; t++)
        for (int deflate = 0; deflate <= 4; deflate += 4) {
            char name[64];
            snprintf(name, sizeof name, "group/%s/%d", dtype_name((enum dtype)t), deflate);
            enum dtype got;
            int ndim;
            int64_t shape[8];
            EXPECT_OK(store_shape(s, name, &got, &ndim, shape));
            EXPECT(got == (enum dtype)t && ndim == 3 && shape[0] == 7 && shape[1] == 3 && shape[2] == 500, "%s", name);
            memset(back, 1, sizeof back);
            EXPECT_OK(store_read(s, name, (enum dtype)t, (int64_t)n, back));
            EXPECT(memcmp(back, values, n * dtype_bytes((enum dtype)t)) == 0, "%s differs", name);
        }
    int64_t scalar = 0;
    EXPECT_OK(store_read(s, "scalar", DT_I64, 1, &scalar));
    EXPECT(scalar == -5, "%lld", (long long)scalar);
    EXPECT_OK(store_read(s, "empty", DT_F32, 0, back));
    EXPECT_OK(store_read(s, "empty_deflate", DT_F32, 0, back));
    EXPECT_STATUS(store_read(s, "group/f32/0", DT_F32, (int64_t)n - 1, back), ST_DATA);
    EXPECT(strstr(status_message(), "a.h5") && strstr(status_message(), "group/f32/0"), "%s", status_message());
    EXPECT_STATUS(store_read(s, "group/f32/0", DT_U32, (int64_t)n, back), ST_DATA);
    EXPECT_STATUS(store_read(s, "group/none", DT_U32, 1, back), ST_DATA);
    EXPECT_STATUS(store_read(s, "none/at/all", DT_U32, 1, back), ST_DATA);
    EXPECT_STATUS(store_read(s, "group", DT_U32, 1, back), ST_DATA);
    EXPECT(store_has(s, "group/f32/0") && store_has(s, "/group") && !store_has(s, "group/x") && !store_has(s, "no/no"), "store_has");
    int members;
    char(*name)[128];
    EXPECT_OK(store_list(s, "group", &members, &name));
    EXPECT(members == N_DTYPES && strcmp(name[0], "f32") == 0 && strcmp(name[N_DTYPES - 1], "u8") == 0, "%d members", members);
    free(name);
    EXPECT_STATUS(store_list(s, "nothing", &members, &name), ST_DATA);
    store_close(s);
}

static void texts_and_attributes(void)
{
    store *s;
    static const char words[3][8] = {"eins", "z\xc3\xbc", "drei333"};
    char filled[2][4];
    memcpy(filled[0], "abcd", 4), memcpy(filled[1], "ef\0", 4);
    char long_text[3000];
    memset(long_text, 'x', sizeof long_text);
    long_text[sizeof long_text - 1] = 0;
    EXPECT_OK(store_create(&s, at("t.h5")));
    EXPECT_OK(store_write_text(s, "words", 3, 8, words[0]));
    EXPECT_OK(store_write_text(s, "deep/filled", 2, 4, filled[0]));
    EXPECT_OK(store_write_text(s, "none", 0, 4, NULL));
    EXPECT_OK(store_put_str(s, "/", "licence", "CC BY"));
    EXPECT_OK(store_put_str(s, "/", "empty", ""));
    EXPECT_OK(store_put_str(s, "new/group", "long", long_text));
    EXPECT_OK(store_put_i64(s, "/", "n", INT64_MIN));
    EXPECT_OK(store_put_i64(s, "/", "n", 41));
    EXPECT_OK(store_put_f64(s, "words", "f", 0.1));
    EXPECT_OK(store_commit(s));
    EXPECT_OK(store_open(&s, at("t.h5")));
    int64_t n, i;
    int width;
    char *data, text[4000], small[5];
    double f;
    EXPECT_OK(store_read_text(s, "words", &n, &width, &data));
    EXPECT(n == 3 && width == 8 && memcmp(data, words, 24) == 0, "%lld %d", (long long)n, width);
    free(data);
    EXPECT_OK(store_text_shape(s, "deep/filled", &n, &width));
    EXPECT(n == 2 && width == 4, "%lld texts of %d bytes, as stored", (long long)n, width);
    EXPECT_STATUS(store_text_shape(s, "nothing", &n, &width), ST_DATA);
    EXPECT_OK(store_read_text(s, "deep/filled", &n, &width, &data));
    EXPECT(n == 2 && width == 5 && strcmp(data, "abcd") == 0 && strcmp(data + 5, "ef") == 0, "%d", width);
    free(data);
    EXPECT_OK(store_read_text(s, "none", &n, &width, &data));
    EXPECT(n == 0, "%lld", (long long)n);
    free(data);
    EXPECT_OK(store_get_str(s, "/", "licence", text, sizeof text));
    EXPECT(strcmp(text, "CC BY") == 0, "%s", text);
    EXPECT_STATUS(store_get_str(s, "/", "licence", small, sizeof small), ST_DATA);
    EXPECT_OK(store_get_str(s, "/", "empty", text, sizeof text));
    EXPECT(text[0] == 0, "%s", text);
    EXPECT_OK(store_get_str(s, "new/group", "long", text, sizeof text));
    EXPECT(strcmp(text, long_text) == 0, "long text");
    EXPECT_OK(store_get_i64(s, "/", "n", &i));
    EXPECT(i == 41, "%lld", (long long)i);
    EXPECT_OK(store_get_f64(s, "words", "f", &f));
    EXPECT(f == 0.1, "%g", f);
    EXPECT_STATUS(store_get_i64(s, "words", "f", &i), ST_DATA);
    EXPECT_STATUS(store_get_str(s, "/", "n", text, sizeof text), ST_DATA);
    EXPECT_STATUS(store_get_i64(s, "/", "missing", &i), ST_DATA);
    EXPECT(strstr(status_message(), "missing") && strstr(status_message(), "t.h5"), "%s", status_message());
    store_close(s);
}

static void many_members(void)
{
    store *s;
    EXPECT_OK(store_create(&s, at("m.h5")));
    for (int64_t i = 0; i < 600; i++) {
        char name[64];
        snprintf(name, sizeof name, "weights/block%lld.weight", (long long)i);
        EXPECT_OK(store_write(s, name, DT_I64, 1, (int64_t[]){1}, &i, 0));
    }
    EXPECT_OK(store_commit(s));
    EXPECT_OK(store_open(&s, at("m.h5")));
    int n;
    char(*name)[128];
    EXPECT_OK(store_list(s, "weights", &n, &name));
    EXPECT(n == 600, "%d", n);
    for (int i = 1; i < n; i++) EXPECT(strcmp(name[i - 1], name[i]) < 0, "order at %d", i);
    int64_t v = 0;
    EXPECT_OK(store_read(s, "weights/block599.weight", DT_I64, 1, &v));
    EXPECT(v == 599, "%lld", (long long)v);
    free(name);
    store_close(s);
}

static void aside_and_discard(void)
{
    store *s;
    float x = 1, y = 0;
    EXPECT_OK(store_create(&s, at("d.h5")));
    EXPECT_OK(store_write(s, "x", DT_F32, 1, (int64_t[]){1}, &x, 0));
    EXPECT_OK(store_commit(s));
    EXPECT_OK(store_create(&s, at("d.h5"))); /* a second writer that gives up leaves the first file whole */
    x = 2;
    EXPECT_OK(store_write(s, "x", DT_F32, 1, (int64_t[]){1}, &x, 0));
    store_discard(s);
    EXPECT(!path_exists(at("d.h5.part")), "part removed");
    EXPECT_OK(store_open(&s, at("d.h5")));
    EXPECT_OK(store_read(s, "x", DT_F32, 1, &y));
    EXPECT(y == 1, "%g", y);
    EXPECT_STATUS(store_write(s, "z", DT_F32, 1, (int64_t[]){1}, &x, 0), ST_BUG);
    store_close(s);
    store_close(NULL);
    store_discard(NULL);
    EXPECT_STATUS(store_create(&s, at("no/such/folder.h5")), ST_RESOURCE);
    EXPECT_STATUS(store_open(&s, at("absent.h5")), ST_DATA);
    EXPECT(strstr(status_message(), "absent.h5"), "%s", status_message());
    EXPECT_STATUS(store_open(&s, dir), ST_DATA);
    EXPECT_OK(file_write_atomic(at("text.h5"), "no hdf5 here", 12));
    EXPECT_STATUS(store_open(&s, at("text.h5")), ST_DATA);
    EXPECT_OK(file_write_atomic(at("zero.h5"), "", 0));
    EXPECT_STATUS(store_open(&s, at("zero.h5")), ST_DATA);
}

static void same_bytes(void)
{
    char hex[2][65];
    for (int k = 0; k < 2; k++) {
        store *s;
        float x[64] = {1, 2, 3};
        if (k) sleep(1); /* time stamps would differ */
        EXPECT_OK(store_create(&s, at("b.h5")));
        EXPECT_OK(store_write(s, "group/x", DT_F32, 2, (int64_t[]){8, 8}, x, 0));
        EXPECT_OK(store_write(s, "group/y", DT_F32, 2, (int64_t[]){8, 8}, x, 4));
        EXPECT_OK(store_put_str(s, "group", "key", "value"));
        EXPECT_OK(store_write_text(s, "t", 2, 4, "abc\0def"));
        EXPECT_OK(store_commit(s));
        EXPECT_OK(sha256_file(at("b.h5"), hex[k]));
    }
    EXPECT(strcmp(hex[0], hex[1]) == 0, "%s %s", hex[0], hex[1]);
}

/* Every byte of a small file, each damaged in turn: opened, listed and read, the values are right or the status says no. */
static void every_byte(void)
{
    store *s;
    int32_t x[100], back[100];
    for (int i = 0; i < 100; i++) x[i] = i * i;
    EXPECT_OK(store_create(&s, at("e.h5")));
    EXPECT_OK(store_write(s, "plain", DT_I32, 1, (int64_t[]){100}, x, 0));
    EXPECT_OK(store_write(s, "group/packed", DT_I32, 1, (int64_t[]){100}, x, 4));
    EXPECT_OK(store_write_text(s, "words", 2, 4, "abc\0def"));
    EXPECT_OK(store_put_i64(s, "group", "n", 77));
    EXPECT_OK(store_commit(s));
    char *data;
    size_t n, refused = 0;
    EXPECT_OK(file_read_all(at("e.h5"), 1 << 20, &data, &n));
    for (size_t i = 0; i < n; i++) {
        data[i] ^= (char)(1 << (i % 8));
        FILE *f = fopen(at("f.h5"), "wb");
        fwrite(data, 1, n, f), fclose(f);
        data[i] ^= (char)(1 << (i % 8));
        if (store_open(&s, at("f.h5"))) {
            refused++;
            continue;
        }
        bool no = false;
        static const char *const arrays[] = {"plain", "group/packed"};
        for (int a = 0; a < 2; a++) {
            if (store_read(s, arrays[a], DT_I32, 100, back)) no = true;
            else EXPECT(memcmp(x, back, sizeof x) == 0, "byte %zu changed %s silently", i, arrays[a]);
        }
        char *text = NULL;
        int64_t count, number;
        int width;
        if (store_read_text(s, "words", &count, &width, &text)) no = true;
        else EXPECT(count == 2 && memcmp(text, "abc\0def", 8) == 0, "byte %zu changed the texts silently", i);
        free(text);
        if (store_get_i64(s, "group", "n", &number)) no = true;
        else EXPECT(number == 77, "byte %zu changed the attribute silently", i);
        refused += no;
        store_close(s);
    }
    printf("# %zu of %zu single-bit damages refused, the others hit unused bytes\n", refused, n);
    EXPECT(refused > n / 3, "%zu", refused);
    for (size_t cut = 0; cut < n; cut += 1 + n / 97) {
        FILE *f = fopen(at("f.h5"), "wb");
        fwrite(data, 1, cut, f), fclose(f);
        EXPECT_STATUS(store_open(&s, at("f.h5")), ST_DATA);
    }
    free(data);
}

static void *reader(void *unused)
{
    (void)unused;
    long bad = 0;
    for (int k = 0; k < 60; k++) {
        store *s;
        static _Thread_local double back[7 * 3 * 500];
        if (store_open(&s, at("a.h5"))) {
            bad++;
            continue;
        }
        bad += store_read(s, "group/f64/4", DT_F64, 7 * 3 * 500, back) != OK;
        store_close(s);
    }
    return (void *)bad;
}

static void threads(void)
{
    pthread_t t[4];
    for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, reader, NULL);
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(t[i], &bad);
        EXPECT(bad == NULL, "%ld failures in thread %d", (long)bad, i);
    }
}

int main(void)
{
    strcpy(dir, "/tmp/medley-store-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    RUN(arrays);
    RUN(texts_and_attributes);
    RUN(many_members);
    RUN(aside_and_discard);
    RUN(same_bytes);
    RUN(every_byte);
    RUN(threads);
    char clean[128];
    snprintf(clean, sizeof clean, "rm -rf %s", dir);
    if (system(clean)) return 1;
    DONE();
}
