/* record: RUN/record.jsonl, one flat JSON object per line, and the reader of what this file has written. */
#include "medley/train.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1 << 18, FILE_MAX_BYTES = 1 << 30 };

const time_name rank_time_name[N_RANK_TIMES] = {
    [TIME_COMPUTE] = {"compute", "units"},        [TIME_DATA] = {"data", "waiting for data"}, [TIME_WAIT] = {"wait", "waiting for other ranks"},
    [TIME_SUM] = {"sum", "sum over the ranks"},   [TIME_UPDATE] = {"update", "clip and update"},
    [TIME_READ] = {"read", "loader: reading"},    [TIME_AUGMENT] = {"augment", "loader: augmenting"}};
const time_name pause_name[N_PAUSES] = {[PAUSE_VALIDATION] = {"validation", "validation"}, [PAUSE_CHECKPOINT] = {"checkpoint", "checkpoints"}};

struct record {
    int    fd;
    char   path[1024];
    size_t n;        /* bytes of the line so far */
    bool   full;     /* the line did not fit */
    char   line[LINE_MAX_BYTES];
};

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static const char *skip_space(const char *p)
{
    while (*p == ' ' || *p == '\t') p++;
    return p;
}

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* Writes code point `c` as UTF-8; returns its bytes. */
static int utf8(int c, char out[3])
{
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    return out[0] = (char)(0xe0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)), out[2] = (char)(0x80 | (c & 63)), 3;
}

/* Text at p (behind its opening quote) to out, cut at `cap`. Returns the place behind the closing quote, NULL if damaged. */
static const char *read_text(const char *p, char *out, size_t cap)
{
    size_t n = 0;
    for (; *p != '"'; p++) {
        char piece[3] = {*p};
        int k = 1;
        if ((unsigned char)*p < 0x20) return NULL; /* also the end of the line */
        if (*p == '\\') {
            static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
            const char *at = *++p ? strchr(from, *p) : NULL;
            if (at) piece[0] = to[at - from];
            else if (*p == 'u' && hex4(p + 1) >= 0) k = utf8(hex4(p + 1), piece), p += 4;
            else return NULL;
        }
        if (n + (size_t)k < cap) memcpy(out + n, piece, (size_t)k), n += (size_t)k;
        else cap = 0; /* once cut, nothing more */
    }
    out[n] = 0;
    return p + 1;
}

static const char *read_value(const char *p, record_field *f)
{
    char *end;
    f->is_text = *p == '"';
    if (f->is_text) return read_text(p + 1, f->text, sizeof f->text);
    f->is_null = strncmp(p, "null", 4) == 0;
    f->number = NAN;
    if (f->is_null) return p + 4;
    static const struct { const char *word; double v; } words[] = {{"true", 1}, {"false", 0}};
    for (int i = 0; i < 2; i++)
        if (strncmp(p, words[i].word, strlen(words[i].word)) == 0) return f->number = words[i].v, p + strlen(words[i].word);
    if (*p != '-' && (*p < '0' || *p > '9')) return NULL;
    f->number = strtod(p, &end);
    return end;
}

/* One line without its newline. Fields beyond the table's room are checked and left out. */
static bool parse(const char *p, record_line *line)
{
    record_field beyond;
    line->n = 0;
    p = skip_space(p);
    if (*p++ != '{') return false;
    p = skip_space(p);
    while (*p != '}') {
        record_field *f = line->n < RECORD_MAX_FIELDS ? &line->field[line->n] : &beyond;
        f->is_text = f->is_null = false;
        f->number = NAN;
        f->text[0] = 0;
        if (*p != '"' || !(p = read_text(p + 1, f->key, sizeof f->key))) return false;
        p = skip_space(p);
        if (*p != ':') return false;
        p = skip_space(p + 1);
        if (!(p = read_value(p, f))) return false;
        if (f != &beyond) line->n++;
        p = skip_space(p);
        if (*p == ',') {
            p = skip_space(p + 1);
            if (*p != '"') return false;
        } else if (*p != '}') return false;
    }
    return *skip_space(p + 1) == 0;
}

const record_field *record_get(const record_line *line, const char *key)
{
    for (int i = 0; i < line->n; i++)
        if (strcmp(line->field[i].key, key) == 0) return &line->field[i];
    return NULL;
}

status record_read(const char *path, status (*each)(void *arg, const record_line *line), void *arg)
{
    char *text = NULL;
    record_line *line = NULL;
    size_t n;
    status st = OK;
    int number = 1;
    TRY_TO(done, file_read_all(path, FILE_MAX_BYTES, &text, &n), "record");
    TRY_TO(done, mem_alloc(&line, sizeof *line, "record line"), "record");
    for (char *p = text, *end; *p; p = end + 1, number++) {
        end = strchr(p, '\n');
        if (!end) break; /* being written, or cut off when the run died */
        *end = 0;
        if (!parse(p, line)) {
            CHECK_TO(done, end[1] == 0, ST_DATA, "%s:%d: not a line of a record", path, number);
            break;
        }
        TRY_TO(done, each(arg, line), "%s:%d", path, number);
    }
done:
    free(line);
    free(text);
    return st;
}

/* ---- opening: what a resumed run has not done yet, or what is damaged, must go --------------------------------------------- */

/* Moves the lines that stay to the front of text and returns their bytes. */
static size_t keep_lines(char *text, int64_t last_step, record_line *line, int *n_damaged)
{
    size_t kept = 0;
    *n_damaged = 0;
    for (char *p = text, *end; *p; p = end) {
        end = strchr(p, '\n');
        bool whole = end != NULL;
        if (whole) *end = 0;
        else end = p + strlen(p);
        bool good = whole && parse(p, line);
        const record_field *step = good ? record_get(line, "step") : NULL;
        bool late = step && step->number > (double)last_step;
        size_t n = strlen(p);
        if (whole) *end++ = '\n', n++;
        *n_damaged += !good;
        if (!good || late) continue;
        memmove(text + kept, p, n);
        kept += n;
    }
    return kept;
}

/* Rewrites the file aside if a line must go; the old one stays until the new one is complete. */
static status tidy(const char *path, int64_t last_step)
{
    char *text = NULL;
    record_line *line = NULL;
    size_t n = 0;
    int n_damaged = 0;
    status st = OK;
    if (!path_exists(path)) return OK;
    TRY_TO(done, file_read_all(path, FILE_MAX_BYTES, &text, &n), "record");
    TRY_TO(done, mem_alloc(&line, sizeof *line, "record line"), "record");
    size_t kept = keep_lines(text, last_step, line, &n_damaged);
    if (n_damaged) log_line(LOG_WARN, "%s: %d damaged line%s left out", path, n_damaged, n_damaged > 1 ? "s" : "");
    if (kept < n) TRY_TO(done, file_write_atomic(path, text, kept), "record");
done:
    free(line);
    free(text);
    return st;
}

status record_open(record **out, const char *path, int64_t truncate_after_step)
{
    record *r;
    TRY(tidy(path, truncate_after_step), "record");
    CHECK(strlen(path) < sizeof r->path, ST_RESOURCE, "path too long: %.80s...", path);
    TRY(mem_alloc(&r, sizeof *r, "record"), "record");
    strcpy(r->path, path);
    r->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (r->fd < 0) {
        int why = errno;
        free(r);
        return status_raise(ST_RESOURCE, __FILE__, __LINE__, "cannot write %s: %s", path, why == ELOOP ? "it is a symbolic link" : strerror(why));
    }
    *out = r;
    return OK;
}

void record_close(record *r)
{
    if (!r) return;
    close(r->fd);
    free(r);
}

/* ---- writing ------------------------------------------------------------------------------------------------------------- */

static void put(record *r, const char *text, size_t n)
{
    r->full |= r->n + n + 2 > sizeof r->line; /* room for "}\n" */
    if (r->full) return;
    memcpy(r->line + r->n, text, n);
    r->n += n;
}

static void put_text(record *r, const char *s)
{
    put(r, "\"", 1);
    for (; *s; s++) {
        char code[8];
        if (*s == '"' || *s == '\\') put(r, (char[]){'\\', *s}, 2);
        else if ((unsigned char)*s < 0x20) put(r, code, (size_t)snprintf(code, sizeof code, "\\u%04x", (unsigned)*s));
        else put(r, s, 1);
    }
    put(r, "\"", 1);
}

static void put_key(record *r, const char *key)
{
    if (r->n > 1) put(r, ",", 1);
    put_text(r, key);
    put(r, ":", 1);
}

void record_begin(record *r, const char *event)
{
    char now[32];
    time_t t = time(NULL);
    struct tm utc;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &utc));
    r->n = 0;
    r->full = false;
    put(r, "{", 1);
    record_str(r, "event", event);
    record_str(r, "time", now);
}

void record_i64(record *r, const char *key, int64_t v)
{
    char text[32];
    put_key(r, key);
    put(r, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)v));
}

void record_f64(record *r, const char *key, double v)
{
    char text[40] = "null";
    int digits = 6;
    if (isfinite(v)) /* the shortest text that reads back as the same number */
        do snprintf(text, sizeof text, "%.*g", digits, v);
        while (strtod(text, NULL) != v && ++digits <= 17);
    put_key(r, key);
    put(r, text, strlen(text));
}

void record_str(record *r, const char *key, const char *v)
{
    put_key(r, key);
    put_text(r, v ? v : "");
}

status record_end(record *r)
{
    CHECK(!r->full, ST_BUG, "%s: a line of more than %d bytes", r->path, LINE_MAX_BYTES);
    memcpy(r->line + r->n, "}\n", 2);
    r->n += 2;
    return file_write(r->fd, r->path, r->line, r->n); /* one write per line: a reader sees whole lines, a crash costs at most the last one */
}
