/* core: known answers of the generators and checksums, arenas, text helpers, status messages. */
#include "medley/core.h"
#include "test.h"

#include <math.h>
#include <unistd.h>

/* the same on every CPU: crc32c of the first 2^22 draws of the stream (7, 1, 2) */
#define MANY_NORMAL 0xae41b393u
#define MANY_UNIFORM 0x1159394eu

static void philox_known_answers(void) /* from the Random123 distribution's known-answer file */
{
    uint32_t out[4];
    philox4x32((uint32_t[]){0, 0}, (uint32_t[]){0, 0, 0, 0}, out);
    EXPECT(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c && out[3] == 0x9b00dbd8, "%08x %08x", out[0], out[1]);
    uint32_t f = 0xffffffff;
    philox4x32((uint32_t[]){f, f}, (uint32_t[]){f, f, f, f}, out);
    EXPECT(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 && out[3] == 0x6d5451fd, "%08x %08x", out[0], out[1]);
}

static void draws(void)
{
    rng r = rng_open((rng_key){7, 1, 2}, RNG_TEST, 0), again = rng_open((rng_key){7, 1, 2}, RNG_TEST, 0);
    double sum = 0, sq = 0, usum = 0;
    int count[3] = {0};
    for (int i = 0; i < 30000; i++) {
        float x = rng_normal(&r);
        EXPECT(x == rng_normal(&again), "stream differs");
        sum += x, sq += (double)x * x;
        float u = rng_uniform(&r);
        EXPECT(u == rng_uniform(&again) && u >= 0 && u < 1, "%g", u);
        usum += u;
        count[rng_below(&r, 3)]++;
        (void)rng_below(&again, 3);
    }
    EXPECT_NEAR(sum / 30000, 0, 0.02);
    EXPECT_NEAR(sq / 30000, 1, 0.03);
    EXPECT_NEAR(usum / 30000, 0.5, 0.01);
    for (int k = 0; k < 3; k++) EXPECT_NEAR(count[k] / 30000.0, 1 / 3.0, 0.01);
    rng other = rng_open((rng_key){7, 1, 2}, RNG_TEST, 1);
    r = rng_open((rng_key){7, 1, 2}, RNG_TEST, 0);
    EXPECT(rng_u32(&other) != rng_u32(&r), "streams of two subs are equal");
}

/* Moments, tails and correlations of 4M draws, the bits of a few (the same with and without FMA), and that a prefix is a prefix. */
static void many_draws(void)
{
    enum { N = 1 << 22 };
    static float x[N], few[300];
    rng_key key = {7, 1, 2};
    rng_fill_normal(key, RNG_TEST, 0, x, N);
    double m[5] = {0}, next = 0, pair = 0, beyond[4] = {0};
    for (int i = 0; i < N; i++) {
        double p = 1;
        for (int k = 0; k < 5; k++, p *= x[i]) m[k] += p / N;
        if (i) next += (double)x[i] * x[i - 1] / N;
        if (i % 256 < 128) pair += (double)x[i] * x[i + 128] / (N / 2);
        for (int k = 0; k < 4; k++) beyond[k] += fabs((double)x[i]) > k + 1;
    }
    EXPECT_NEAR(m[1], 0, 0.002);
    EXPECT_NEAR(m[2], 1, 0.003);
    EXPECT_NEAR(m[3], 0, 0.008);
    EXPECT_NEAR(m[4], 3, 0.03);
    EXPECT_NEAR(next, 0, 0.002);
    EXPECT_NEAR(pair, 0, 0.003);
    const double tail[4] = {0.317311, 0.0455003, 0.00269980, 0.0000633425}; /* erfc(k / sqrt 2) */
    for (int k = 0; k < 4; k++) EXPECT(fabs(beyond[k] - N * tail[k]) < 5 * sqrt(N * tail[k]), "beyond %d sd: %g of %g", k + 1, beyond[k], N * tail[k]);
    EXPECT(crc32c(0, x, sizeof x) == MANY_NORMAL, "bits of the normal draws: %08x", crc32c(0, x, sizeof x));
    rng_fill_normal(key, RNG_TEST, 0, few, 300);
    EXPECT(memcmp(few, x, sizeof few) == 0, "a shorter fill has other values");
    rng_fill_uniform(key, RNG_TEST, 0, x, N);
    double mean = 0, least = 1, most = 0;
    for (int i = 0; i < N; i++) mean += x[i] / (double)N, least = fmin(least, x[i]), most = fmax(most, x[i]);
    EXPECT_NEAR(mean, 0.5, 0.001);
    EXPECT(least >= 0 && least < 1e-5 && most < 1 && most > 1 - 1e-5, "uniform draws from %g to %g", least, most);
    EXPECT(crc32c(0, x, sizeof x) == MANY_UNIFORM, "bits of the uniform draws: %08x", crc32c(0, x, sizeof x));
    /* against libm, pair by pair */
    rng r = rng_open(key, RNG_TEST, 0);
    uint32_t word[256];
    for (int i = 0; i < 256; i++) word[i] = rng_u32(&r);
    for (int i = 0; i < 128; i++) {
        double radius = sqrt(-2 * log(((double)(word[i] >> 1) + 0.5) * 0x1p-31)), angle = 2 * 3.14159265358979 * (word[i + 128] >> 8) * 0x1p-24;
        EXPECT_NEAR(few[i], radius * cos(angle), 2e-6);
        EXPECT_NEAR(few[i + 128], radius * sin(angle), 2e-6);
    }
}

static void checksums(void)
{
    EXPECT(crc32c(0, "123456789", 9) == 0xE3069283, "%08x", crc32c(0, "123456789", 9)); /* RFC 3720 B.4 */
    EXPECT(crc32c(crc32c(0, "1234", 4), "56789", 5) == 0xE3069283, "not incremental");
    sha256 s;
    char hex[65];
    sha256_begin(&s);
    sha256_add(&s, "abc", 3);
    sha256_end(&s, hex);
    EXPECT(strcmp(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0, "%s", hex);
    sha256_begin(&s);
    for (int i = 0; i < 1000000; i++) sha256_add(&s, "a", 1);
    sha256_end(&s, hex);
    EXPECT(strcmp(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0") == 0, "%s", hex);
}

/* FIPS 180-4's examples, and both ways of computing for every length and alignment around the blocks. */
static void sha256_twins(void)
{
    static const struct { const char *text, *hex; } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
    uint8_t data[400];
    for (int i = 0; i < 400; i++) data[i] = (uint8_t)(i * 89 + 7);
    bool has = sha256_hardware(true);
    for (int way = 0; way < 2; way++) {
        sha256 s;
        char hex[65];
        EXPECT(sha256_hardware(way) == (way && has), "way %d", way);
        for (int k = 0; k < 3; k++) {
            sha256_begin(&s);
            sha256_add(&s, known[k].text, strlen(known[k].text));
            sha256_end(&s, hex);
            EXPECT(strcmp(hex, known[k].hex) == 0, "way %d: %s", way, hex);
        }
    }
    for (size_t n = 0; n < 380; n++) {
        char hex[2][65];
        for (int way = 0; way < 2; way++) {
            sha256 s;
            (void)sha256_hardware(way);
            sha256_begin(&s);
            sha256_add(&s, data + n % 16, n / 3); /* in two pieces */
            sha256_add(&s, data + n % 16 + n / 3, n - n / 3);
            sha256_end(&s, hex[way]);
        }
        EXPECT(strcmp(hex[0], hex[1]) == 0, "%zu bytes: %s and %s", n, hex[0], hex[1]);
    }
    if (!has) printf("# this CPU has no SHA instructions: one way only\n");
}

static void arenas(void)
{
    arena m, a;
    EXPECT_OK(arena_init(&m, 0, "measure"));
    EXPECT(arena_take(&m, 10) == NULL && arena_take(&m, 100) == NULL, "measuring gives memory");
    EXPECT(m.used == 64 + 128, "%zu", m.used);
    EXPECT_OK(arena_init(&a, m.used, "place"));
    char *p = arena_take(&a, 10), *q = arena_take(&a, 100);
    EXPECT(p && q == p + 64 && (uintptr_t)p % 64 == 0, "placement");
    arena_free(&a);
}

static void doors_to_the_heap(void)
{
    char *p = NULL, *text;
    FILE *f;
    size_t n;
    arena a;
    EXPECT_OK(mem_grow(&p, 10, "a list"));
    memcpy(p, "123456789", 10);
    EXPECT_OK(mem_grow(&p, 10000, "a list"));
    EXPECT(strcmp(p, "123456789") == 0, "contents are kept");
    mem_fail_at(1, false);
    EXPECT_STATUS(mem_grow(&p, 20000, "a list"), ST_RESOURCE);
    EXPECT(strcmp(p, "123456789") == 0 && strstr(status_message(), "20000 bytes for a list"), "%s", status_message());
    mem_fail_at(2, true);
    EXPECT_OK(mem_copy(&text, "abcdef", 3, "a text"));
    EXPECT(strcmp(text, "abc") == 0, "%s", text);
    free(text);
    EXPECT_STATUS(mem_copy(&text, "abc", 3, "a text"), ST_RESOURCE);
    EXPECT_STATUS(mem_text_open(&f, &text, &n, "a page"), ST_RESOURCE);
    EXPECT_STATUS(arena_init(&a, 4096, "buffers"), ST_RESOURCE);
    mem_fail_at(0, false);
    EXPECT_OK(mem_text_open(&f, &text, &n, "a page"));
    fprintf(f, "%d", 42);
    EXPECT_OK(mem_text_close(f, &text, "a page"));
    EXPECT(strcmp(text, "42") == 0 && n == 2, "%s", text);
    free(text);
    EXPECT_OK(mem_text_open(&f, &text, &n, "a page"));
    mem_fail_at(1, false);
    EXPECT_STATUS(mem_text_close(f, &text, "a page"), ST_RESOURCE);
    EXPECT(text == NULL, "nothing is left to free");
    free(p);
}

static void messages(void)
{
    status st = status_raise(ST_DATA, "a/b.c", 7, "object %d is bad", 3);
    EXPECT(st == ST_DATA && strcmp(status_place(), "b.c:7") == 0, "%s", status_place());
    st = status_note(st, "c.c", 1, "file %s", "x.h5");
    EXPECT(strcmp(status_message(), "file x.h5: object 3 is bad") == 0, "%s", status_message());
    void *p;
    EXPECT_STATUS(mem_alloc(&p, SIZE_MAX / 4, "a huge thing"), ST_RESOURCE);
    EXPECT(strstr(status_message(), "a huge thing") != NULL, "%s", status_message());
}

static void texts(void)
{
    const char *keys[] = {"weight", "batch", "units"};
    EXPECT(text_distance("weigth", "weight") == 2, "%d", text_distance("weigth", "weight"));
    EXPECT(text_nearest("weigth", keys, 3) == keys[0], "nearest");
    EXPECT(text_nearest("colour", keys, 3) == NULL, "nothing is near");
}

static void files(void)
{
    char dir[] = "/tmp/medley-core-XXXXXX", path[64], *text;
    EXPECT(mkdtemp(dir) != NULL, "mkdtemp");
    snprintf(path, sizeof path, "%s/a/b", dir);
    EXPECT_OK(path_make_dirs(path));
    snprintf(path, sizeof path, "%s/a/b/f", dir);
    EXPECT_OK(file_write_atomic(path, "hello", 5));
    size_t n = 0;
    EXPECT_OK(file_read_all(path, 100, &text, &n));
    EXPECT(n == 5 && strcmp(text, "hello") == 0, "%s", text);
    free(text);
    EXPECT_STATUS(file_read_all(path, 4, &text, &n), ST_DATA);
    EXPECT_STATUS(path_make_dirs(path), ST_RESOURCE);
    char hex[65], cmd[96];
    EXPECT_OK(sha256_file(path, hex));
    EXPECT(strncmp(hex, "2cf24dba", 8) == 0, "%s", hex);
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    EXPECT(system(cmd) == 0, "clean up");
}

int main(void)
{
    RUN(philox_known_answers);
    RUN(many_draws);
    RUN(draws);
    RUN(checksums);
    RUN(sha256_twins);
    RUN(arenas);
    RUN(doors_to_the_heap);
    RUN(messages);
    RUN(texts);
    RUN(files);
    DONE();
}
