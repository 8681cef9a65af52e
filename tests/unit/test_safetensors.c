/* test_safetensors: round trip, every kind of element, and headers that lie. */
#include "test.h"

#include "medley/store.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static const char *at(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void round_trip(void)
{
    tensors_writer *w;
    tensors *t;
    float x[6] = {0, -1.5f, 3e38f, 1e-40f, INFINITY, NAN}, back[6];
    double d[2] = {0.1, -1e300}, dback[2];
    int64_t n = INT64_MIN + 1, nback = 0;
    EXPECT_OK(tensors_create(&w, at("a.safetensors")));
    EXPECT_OK(tensors_put_meta(w, "format", "pt"));
    EXPECT_OK(tensors_put(w, "features.0.0.weight", DT_F32, 3, (int64_t[]){1, 2, 3}, x));
    EXPECT_OK(tensors_put(w, "num_batches_tracked", DT_I64, 0, NULL, &n));
    EXPECT_OK(tensors_put(w, "empty", DT_F32, 2, (int64_t[]){0, 7}, NULL));
    EXPECT_OK(tensors_put(w, "d\xc3\xa4\"\\", DT_F64, 1, (int64_t[]){2}, d));
    EXPECT_OK(tensors_put_meta(w, "licence", "line\nnext \xe2\x82\xac"));
    EXPECT_STATUS(tensors_put(w, "empty", DT_F32, 0, NULL, x), ST_BUG);
    EXPECT_STATUS(tensors_put(w, "u8", DT_U8, 0, NULL, x), ST_BUG);
    EXPECT_STATUS(tensors_put(w, "\xff", DT_F32, 0, NULL, x), ST_DATA);
    EXPECT_STATUS(tensors_put_meta(w, "k", "\xff"), ST_DATA);
    EXPECT_OK(tensors_commit(w));
    EXPECT(!path_exists(at("a.safetensors.part")), "the part is gone");
    EXPECT_OK(tensors_open(&t, at("a.safetensors")));
    EXPECT(tensors_count(t) == 4, "%d", tensors_count(t));
    const char *key, *value;
    EXPECT(tensors_meta(t, 1, &key, &value) && strcmp(key, "licence") == 0 && strcmp(value, "line\nnext \xe2\x82\xac") == 0, "second text");
    EXPECT(!tensors_meta(t, 2, &key, &value), "two texts");
    EXPECT(strcmp(tensors_meta_find(t, "format"), "pt") == 0 && !tensors_meta_find(t, "author"), "texts by key");
    const tensor_info *first = tensors_next(t, NULL), *f = tensors_find(t, "features.0.0.weight");
    EXPECT(first && first->type == TT_I64 && first->ndim == 0 && first->n == 1 && first->from == 0, "wide elements come first");
    EXPECT(f && f->type == TT_F32 && f->ndim == 3 && f->dims[0] == 1 && f->dims[1] == 2 && f->dims[2] == 3 && f->n == 6, "shape");
    EXPECT(!tensors_find(t, "feature") && !tensors_find(t, "__metadata__"), "no such tensors");
    EXPECT_OK(tensors_read(t, f, DT_F32, 6, back));
    EXPECT(memcmp(x, back, sizeof x) == 0, "the same bits");
    EXPECT_OK(tensors_read(t, tensors_find(t, "num_batches_tracked"), DT_I64, 1, &nback));
    EXPECT(nback == n, "%lld", (long long)nback);
    EXPECT_OK(tensors_read(t, tensors_find(t, "d\xc3\xa4\"\\"), DT_F64, 2, dback));
    EXPECT(memcmp(d, dback, sizeof d) == 0, "the same bits");
    EXPECT_OK(tensors_read(t, tensors_find(t, "empty"), DT_F32, 0, NULL));
    EXPECT_STATUS(tensors_read(t, f, DT_F32, 5, back), ST_DATA);
    EXPECT_STATUS(tensors_read(t, f, DT_I64, 6, back), ST_DATA);
    EXPECT_STATUS(tensors_read(t, tensors_find(t, "d\xc3\xa4\"\\"), DT_F32, 2, back), ST_DATA); /* -1e300 */
    EXPECT(strstr(status_message(), "a.safetensors") && strstr(status_message(), "too large"), "%s", status_message());
    tensors_close(t);
    EXPECT_OK(tensors_create(&w, at("a.safetensors")));
    EXPECT_OK(tensors_commit(w)); /* no tensors: also a file */
    EXPECT_OK(tensors_open(&t, at("a.safetensors")));
    EXPECT(tensors_count(t) == 0 && !tensors_next(t, NULL), "nothing in it");
    tensors_close(t);
    EXPECT_OK(tensors_create(&w, at("gone/b.safetensors")));
    EXPECT_STATUS(tensors_commit(w), ST_RESOURCE);
}

/* A file of this header and n bytes of data. */
static void write_file(const char *header, size_t n)
{
    FILE *f = fopen(at("h.safetensors"), "wb");
    uint64_t length = strlen(header);
    static const char zeros[4096];
    fwrite(&length, 8, 1, f), fwrite(header, 1, length, f), fwrite(zeros, 1, n, f);
    fclose(f);
}

static void hostile_headers(void)
{
    static const struct { const char *header; size_t n; const char *why; } bad[] = {
        {"[]", 0, "begin with {"},
        {"{", 0, "has 1 bytes"},
        {"{ ", 0, "header, byte"},
        {"{}", 4, "end at byte 0"},
        {"{} x", 0, "header, byte"},
        {"{\"a\":7}", 0, "not an object"},
        {"{\"__metadata__\":[]}", 0, "__metadata__"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "not a text"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "duplicate"},
        {"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "without a name"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "needs dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "needs dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "nothing else"},
        {"{\"a\":{\"dtype\":\"Q4\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "impossible shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "impossible shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "impossible shape"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}", 0, "impossible shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0, "header, byte"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "leave the file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[9223372036854775807,9223372036854775807]}}", 4, "leave the file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "leave the file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "leave the file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "8 bytes of data for a shape of 4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "gap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, "end at byte 4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "overlap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "overlap"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "overlap"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tensors *t;
        write_file(bad[i].header, bad[i].n);
        status st = tensors_open(&t, at("h.safetensors"));
        EXPECT(st == ST_DATA && !t && strstr(status_message(), bad[i].why) && strstr(status_message(), "h.safetensors"), "%s: %d, %s", bad[i].header,
               st, status_message());
        if (!st) tensors_close(t);
    }
}

/* Lying lengths in front of the header, and files that are no files. */
static void lengths(void)
{
    tensors *t;
    static const uint64_t lies[] = {0, 1, 3, 100, TENSORS_HEADER_MAX, TENSORS_HEADER_MAX + 1, UINT64_MAX, INT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        FILE *f = fopen(at("l.safetensors"), "wb");
        fwrite(&lies[i], 8, 1, f), fwrite("{}", 1, 2, f);
        fclose(f);
        int64_t before = memory_peak_bytes();
        EXPECT_STATUS(tensors_open(&t, at("l.safetensors")), ST_DATA);
        EXPECT(memory_peak_bytes() - before < 8 << 20, "no memory for a lie");
    }
    EXPECT_OK(file_write_atomic(at("s.safetensors"), "\2\0\0\0\0\0\0\0{", 9));
    EXPECT_STATUS(tensors_open(&t, at("s.safetensors")), ST_DATA);
    EXPECT_STATUS(tensors_open(&t, at("none.safetensors")), ST_DATA);
    EXPECT_STATUS(tensors_open(&t, dir), ST_DATA);
    EXPECT(mkfifo(at("pipe"), 0600) == 0, "fifo");
    EXPECT_STATUS(tensors_open(&t, at("pipe")), ST_DATA); /* and does not wait for somebody to write into it */
    size_t n = 40000;
    char *deep = malloc(n + 1);
    memset(deep, '[', n), deep[n] = 0, memcpy(deep, "{\"a\":", 5);
    write_file(deep, 0);
    EXPECT_STATUS(tensors_open(&t, at("h.safetensors")), ST_DATA);
    free(deep);
}

/* Every half there is, against the definition. */
static void halves(void)
{
    static uint16_t all[65536];
    static float got[65536];
    char header[128];
    for (int i = 0; i < 65536; i++) all[i] = (uint16_t)i;
    for (int k = 0; k < 2; k++) {
        FILE *f = fopen(at("f16.safetensors"), "wb");
        snprintf(header, sizeof header, "{\"a\":{\"data_offsets\":[0,131072],\"shape\":[256,256],\"dtype\":\"%s\"}}", k ? "BF16" : "F16");
        uint64_t length = strlen(header);
        fwrite(&length, 8, 1, f), fwrite(header, 1, length, f), fwrite(all, 2, 65536, f);
        fclose(f);
        tensors *t;
        EXPECT_OK(tensors_open(&t, at("f16.safetensors")));
        EXPECT_OK(tensors_read(t, tensors_find(t, "a"), DT_F32, 65536, got));
        int bad = 0;
        for (int i = 0; i < 65536; i++) {
            int e = k ? i >> 7 & 255 : i >> 10 & 31, m = k ? i & 127 : i & 1023, bias = k ? 127 : 15, bits = k ? 7 : 10;
            double v = e ? ldexp(1 + ldexp(m, -bits), e - bias) : ldexp(m, 1 - bias - bits);
            if (e == (k ? 255 : 31)) v = m ? NAN : INFINITY;
            if (i & 0x8000) v = -v;
            bad += isnan(v) ? !isnan(got[i]) : got[i] != (float)v || !signbit(got[i]) != !signbit(v);
        }
        EXPECT(bad == 0, "%d of 65536 wrong", bad);
        tensors_close(t);
    }
}

int main(void)
{
    strcpy(dir, "/tmp/medley-tensors-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    RUN(round_trip);
    RUN(hostile_headers);
    RUN(lengths);
    RUN(halves);
    char clean[128];
    snprintf(clean, sizeof clean, "rm -rf %s", dir);
    if (system(clean)) return 1;
    DONE();
}
