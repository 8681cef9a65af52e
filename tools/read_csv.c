/* read_csv: comma-separated tables with quotes and line breaks within quotes. */
#include "table.h"

#include <stdlib.h>
#include <string.h>

/* The separator is the commonest of , ; and tab outside quotes in the first row. */
static char separator_of(const char *s, const char *end)
{
    int n[3] = {0};
    bool quoted = false;
    for (; s < end; s++) {
        if (*s == '"') quoted = !quoted;
        if (quoted) continue;
        if (*s == '\n' || *s == '\r') break;
        n[0] += *s == ',', n[1] += *s == ';', n[2] += *s == '\t';
    }
    return n[1] > n[0] && n[1] >= n[2] ? ';' : n[2] > n[0] ? '\t' : ',';
}

/* One cell from *s into buf (as large as the text); *s ends at the separator, the line break or the end. */
static status cell(const char **s, const char *end, char sep, char *buf, size_t *length, const char *what, int *line)
{
    const char *p = *s;
    size_t n = 0;
    if (p < end && *p == '"') {
        int first = *line;
        for (p++;; p++) {
            CHECK(p < end, ST_DATA, "%s:%d: a quote is opened and never closed", what, first);
            if (*p == '"' && p + 1 < end && p[1] == '"') p++;
            else if (*p == '"') break;
            if (*p == '\n') ++*line;
            buf[n++] = *p;
        }
        p++;
        CHECK(p == end || *p == sep || *p == '\n' || *p == '\r', ST_DATA, "%s:%d: text after a closing quote", what, *line);
    } else {
        while (p < end && *p != sep && *p != '\n' && *p != '\r') buf[n++] = *p++;
    }
    *s = p;
    *length = n;
    return OK;
}

status csv_parse(table *t, const char *text, size_t n, const char *what)
{
    *t = (table){0};
    const char *s = text, *end = text + n;
    CHECK(!memchr(text, 0, n), ST_DATA, "%s: zero bytes; not a text table (UTF-16 is not read)", what);
    if (n >= 3 && !memcmp(s, "\xef\xbb\xbf", 3)) s += 3;
    char sep = separator_of(s, end), *buf;
    TRY(mem_alloc(&buf, n + 1, "a table cell"), "%s", what);
    table_builder b = {0};
    status st = OK;
    int line = 1;
    while (s < end) {
        int first = line;
        bool blank = *s == '\n' || *s == '\r';
        while (!blank) {
            size_t length = 0;
            TRY_TO(out, cell(&s, end, sep, buf, &length, what, &line), "CSV");
            TRY_TO(out, table_add(&b, buf, length), "%s:%d", what, first);
            if (s == end || *s != sep) break;
            s++;
        }
        if (s < end && *s == '\r') s++;
        if (s < end && *s == '\n') s++;
        line++;
        if (!blank) TRY_TO(out, table_end_row(&b, what, first), "CSV");
    }
    st = table_finish(&b, t, what);
out:
    table_abandon(&b);
    free(buf);
    return st;
}
