/* record: what is written reads back, resuming drops what will be done again, damage costs a line and no more. */
#include "medley/train.h"

#include "test.h"

#include <unistd.h>

static char dir[64] = "/tmp/medley-record-XXXXXX", path[128];

static void write_file(const char *text)
{
    FILE *f = fopen(path, "wb");
    fwrite(text, 1, strlen(text), f);
    fclose(f);
}

typedef struct seen { int n; char event[16][32]; double step[16]; record_line last; } seen;
static seen got;

static status look(void *arg, const record_line *line)
{
    seen *s = arg;
    const record_field *event = record_get(line, "event"), *step = record_get(line, "step");
    snprintf(s->event[s->n], sizeof s->event[0], "%.31s", event ? event->text : "");
    s->step[s->n++] = step ? step->number : NAN;
    s->last = *line;
    return s->n < 16 ? OK : ST_BUG;
}

static status read_all(void)
{
    memset(&got, 0, sizeof got);
    return record_read(path, look, &got);
}

static status write_step(record *r, int64_t step)
{
    record_begin(r, "step");
    record_i64(r, "step", step);
    record_f64(r, "loss", 1.0 / (double)step);
    return record_end(r);
}

static void round_trip(void)
{
    record *r;
    const char *text = "quote \" slash \\ line \n tab \t Gr\xc3\xbc\xc3\x9f" "e \x01";
    unlink(path);
    EXPECT_OK(record_open(&r, path, 0));
    record_begin(r, "start");
    record_str(r, "text", text);
    record_f64(r, "third", 1.0 / 3);
    record_f64(r, "tiny", 4.9e-324);
    record_f64(r, "bad", NAN);
    record_f64(r, "worse", -INFINITY);
    record_i64(r, "big", 9007199254740991);
    EXPECT_OK(record_end(r));
    record_close(r);
    EXPECT_OK(read_all());
    EXPECT(got.n == 1, "%d lines", got.n);
    const record_line *l = &got.last;
    EXPECT(strcmp(record_get(l, "text")->text, text) == 0, "%s", record_get(l, "text")->text);
    EXPECT(record_get(l, "third")->number == 1.0 / 3, "%.17g", record_get(l, "third")->number);
    EXPECT(record_get(l, "tiny")->number == 4.9e-324, "%g", record_get(l, "tiny")->number);
    EXPECT(record_get(l, "bad")->is_null && isnan(record_get(l, "bad")->number), "not null");
    EXPECT(record_get(l, "worse")->is_null, "not null");
    EXPECT(record_get(l, "big")->number == 9007199254740991.0, "%.17g", record_get(l, "big")->number);
    EXPECT(record_get(l, "time")->is_text && strlen(record_get(l, "time")->text) == 20, "%s", record_get(l, "time")->text);
    EXPECT(!record_get(l, "absent"), "found what is not there");
}

static void resume_drops_later_steps(void)
{
    record *r;
    unlink(path);
    EXPECT_OK(record_open(&r, path, 0));
    for (int64_t s = 1; s <= 6; s++) EXPECT_OK(write_step(r, s));
    record_begin(r, "stop");
    EXPECT_OK(record_end(r)); /* no step: stays */
    record_close(r);
    EXPECT_OK(record_open(&r, path, 4));
    EXPECT_OK(write_step(r, 5));
    record_close(r);
    EXPECT_OK(read_all());
    EXPECT(got.n == 6, "%d lines", got.n);
    EXPECT(got.step[3] == 4 && strcmp(got.event[4], "stop") == 0 && got.step[5] == 5, "%g %s %g", got.step[3], got.event[4],
           got.step[5]);
    char part[140];
    snprintf(part, sizeof part, "%s.part", path);
    EXPECT(access(part, F_OK) != 0, "%s is left over", part);
}

static void half_a_line_at_the_end(void)
{
    record *r;
    write_file("{\"event\":\"step\",\"step\":1}\n{\"event\":\"step\",\"st");
    EXPECT_OK(read_all());
    EXPECT(got.n == 1, "%d lines", got.n);
    EXPECT_OK(record_open(&r, path, 100));
    EXPECT_OK(write_step(r, 2));
    record_close(r);
    EXPECT_OK(read_all());
    EXPECT(got.n == 2 && got.step[1] == 2, "%d lines, step %g", got.n, got.step[1]);
}

static void damage_in_the_middle(void)
{
    record *r;
    write_file("{\"event\":\"step\",\"step\":1}\n{\"event\":oops}\n{\"event\":\"step\",\"step\":2}\n");
    EXPECT_STATUS(read_all(), ST_DATA);
    EXPECT(strstr(status_message(), ":2:"), "%s", status_message());
    EXPECT_OK(record_open(&r, path, 100));
    record_close(r);
    EXPECT_OK(read_all());
    EXPECT(got.n == 2 && got.step[1] == 2, "%d lines", got.n);
}

static void refuses_what_is_not_ours(void)
{
    static const char *const bad[] = {
        "[1]", "{\"a\":{\"b\":1}}", "{\"a\":1,}", "{\"a\" 1}", "{\"a\":1} x", "{\"a\":\"\\q\"}", "{\"a\":\"open}", "{a:1}",
        "",    "{\"a\":\"\\u12\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[128];
        snprintf(text, sizeof text, "%s\n{\"step\":1}\n", bad[i]);
        write_file(text);
        EXPECT_STATUS(read_all(), ST_DATA);
    }
    write_file("{ \"a\" : 1 , \"b\" : \"x\" , \"c\" : true , \"d\":null }\n{}\n");
    EXPECT_OK(read_all());
    EXPECT(got.n == 2, "%d", got.n);
    unlink(path);
    EXPECT_STATUS(read_all(), ST_DATA);
}

static void long_text_and_many_fields(void)
{
    record *r;
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    unlink(path);
    EXPECT_OK(record_open(&r, path, 0));
    record_begin(r, "step");
    record_str(r, "text", text);
    for (int i = 0; i < RECORD_MAX_FIELDS + 20; i++) {
        char key[32];
        snprintf(key, sizeof key, "loss/task-%d", i);
        record_i64(r, key, i);
    }
    EXPECT_OK(record_end(r));
    record_begin(r, "step");
    for (int i = 0; i < 2000; i++) record_str(r, "key", text);
    EXPECT_STATUS(record_end(r), ST_BUG); /* beyond a line: refused, the file stays whole */
    EXPECT_OK(write_step(r, 7));
    record_close(r);
    EXPECT_OK(read_all());
    EXPECT(got.n == 2 && got.step[1] == 7, "%d lines", got.n);
}

static void two_writers(void)
{
    record *a, *b;
    unlink(path);
    EXPECT_OK(record_open(&a, path, 0));
    EXPECT_OK(write_step(a, 1));
    EXPECT_OK(record_open(&b, path, INT64_MAX)); /* as `medley evaluate` does beside a run */
    EXPECT_OK(write_step(b, 1));
    EXPECT_OK(write_step(a, 2));
    record_close(a);
    record_close(b);
    EXPECT_OK(read_all());
    EXPECT(got.n == 3 && got.step[2] == 2, "%d lines", got.n);
}

int main(void)
{
    if (!mkdtemp(dir)) return 1;
    snprintf(path, sizeof path, "%s/record.jsonl", dir);
    RUN(round_trip);
    RUN(resume_drops_later_steps);
    RUN(half_a_line_at_the_end);
    RUN(damage_in_the_middle);
    RUN(refuses_what_is_not_ours);
    RUN(long_text_and_many_fields);
    RUN(two_writers);
    unlink(path);
    rmdir(dir);
    DONE();
}
