/* scan: reads the text of a file before the parser does. libconfig 1.5 wraps integers beyond 32 bits, drops a string that is never
 * closed and names the wrong line for an @include it cannot open, all of it silently or nearly so (ecosystem.md 2.1). */
#include "config_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* Where we are: a stack of open groups and lists, so that a literal can be named by its path. */
typedef struct scan {
    config_faults *f;
    const char *path, *p; /* file, position */
    int  line, include_depth, depth;
    bool value;           /* after '=' or ':' */
    char name[DEPTH_LIMIT + 1][64];
    int  index[DEPTH_LIMIT + 1]; /* -1: a group */
} scan;

void scan_include_path(const config_faults *f, const char *name, char *out, size_t n)
{
    if (name[0] == '/' || strcmp(f->dir, ".") == 0) snprintf(out, n, "%s", name);
    else snprintf(out, n, "%s/%s", f->dir, name);
}

static const char *here(const scan *s, char out[PATH_BYTES])
{
    int used = 0;
    out[0] = 0;
    for (int d = 0; d <= s->depth && used < PATH_BYTES; d++) {
        if (d > 0 && s->index[d] < 0 && !s->name[d][0]) continue;
        if (s->name[d][0]) used += snprintf(out + used, (size_t)(PATH_BYTES - used), "%s%s", used ? "." : "", s->name[d]);
        if (d < s->depth && s->index[d + 1] >= 0 && used < PATH_BYTES)
            used += snprintf(out + used, (size_t)(PATH_BYTES - used), "[%d]", s->index[d + 1]);
    }
    return out;
}

static void check_integer(scan *s, const char *from, int n, bool is_long)
{
    char text[64], where[PATH_BYTES];
    snprintf(text, sizeof text, "%.*s", n, from);
    bool hex = n > 1 && (text[1] == 'x' || text[1] == 'X');
    errno = 0;
    long long v = strtoll(text, NULL, hex ? 16 : 10);
    if (n > 60 || errno == ERANGE)
        faults_at(s->f, s->path, s->line, here(s, where), "got %s, which does not fit 64 bits", text);
    else if (!is_long && (v > INT32_MAX || v < INT32_MIN))
        faults_at(s->f, s->path, s->line, here(s, where), "got %s, which does not fit 32 bits and would be read as %d; write %sL", text,
                  (int32_t)(uint32_t)(uint64_t)v, text);
}

/* After a value: a list waits for the next one, a group for a name. */
static void end_value(scan *s) { s->value = s->index[s->depth] >= 0; }

static const char *past_digits(const char *p)
{
    while (isdigit((unsigned char)*p)) p++;
    return p;
}

static void take_number(scan *s)
{
    const char *from = s->p, *p = from + (*from == '+' || *from == '-'), *digits = p;
    end_value(s);
    if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
        for (p += 2; isxdigit((unsigned char)*p);) p++;
    } else {
        p = past_digits(p);
        if (*p == '.' || *p == 'e' || *p == 'E') { /* a float: the reader checks its value */
            if (*p == '.') p = past_digits(p + 1);
            if (*p == 'e' || *p == 'E') p = past_digits(p + 1 + (p[1] == '+' || p[1] == '-'));
            s->p = p;
            return;
        }
    }
    if (p > digits) check_integer(s, from, (int)(p - from), *p == 'L');
    while (*p == 'L') p++;
    s->p = p > from ? p : from + 1;
}

/* Past a string; reports one that is not closed. */
static void take_string(scan *s)
{
    int opened = s->line;
    for (s->p++; *s->p != '"'; s->p++) {
        if (*s->p == '\\' && s->p[1]) s->p++;
        if (*s->p == '\n') s->line++;
        if (!*s->p) {
            char where[PATH_BYTES];
            faults_at(s->f, s->path, opened, here(s, where), "the text that starts here is never closed with \"");
            s->f->fatal = true;
            return;
        }
    }
    s->p++;
}

static bool take_comment(scan *s)
{
    const char *p = s->p;
    if (*p == '#' || (p[0] == '/' && p[1] == '/')) {
        s->p = p + strcspn(p, "\n");
        return true;
    }
    if (p[0] != '/' || p[1] != '*') return false;
    const char *end = strstr(p + 2, "*/");
    if (!end) {
        faults_at(s->f, s->path, s->line, "", "the comment that starts here is never closed with */");
        s->f->fatal = true;
        s->p = p + strlen(p);
        return true;
    }
    for (; p < end; p++) s->line += *p == '\n';
    s->p = end + 2;
    return true;
}

static void take_include(scan *s, const char *text)
{
    char name[512], path[1200];
    const char *p = s->p + 8;
    while (*p == ' ' || *p == '\t') p++;
    const char *q = s->p;
    bool alone = true;
    while (q > text && q[-1] != '\n') alone &= q[-1] == ' ' || q[-1] == '\t', q--;
    size_t n = *p == '"' ? strcspn(p + 1, "\"\n") : 0;
    if (!alone || *p != '"' || n == 0 || n >= sizeof name || p[1 + n] != '"') {
        faults_at(s->f, s->path, s->line, "", "expected @include \"FILE\" alone on its line");
        s->f->fatal = true;
        s->p = p + strcspn(p, "\n");
        return;
    }
    snprintf(name, sizeof name, "%.*s", (int)n, p + 1);
    s->p = p + n + 2;
    scan_include_path(s->f, name, path, sizeof path);
    char *included = NULL;
    struct stat info;
    status st;
    if (stat(path, &info) || !S_ISREG(info.st_mode)) {
        faults_at(s->f, s->path, s->line, "", "@include: cannot open %s", path);
        s->f->fatal = true;
    } else if (s->include_depth >= 8 || s->f->n_files >= INCLUDE_LIMIT) {
        faults_at(s->f, s->path, s->line, "", "@include \"%s\": nested too deep or too many files; does it include itself?", name);
        s->f->fatal = true;
    } else if ((st = file_read_all(path, FILE_LIMIT, &included, NULL))) {
        s->f->out_of_memory |= st == ST_RESOURCE;
        faults_at(s->f, s->path, s->line, "", "@include: %s", status_message());
        s->f->fatal = true;
    } else scan_text(s->f, path, included, s->include_depth + 1);
    free(included);
}

static void open_bracket(scan *s, bool group)
{
    if (s->depth == DEPTH_LIMIT) {
        if (!s->f->fatal) faults_at(s->f, s->path, s->line, "", "nested more than %d deep", DEPTH_LIMIT);
        s->f->fatal = true;
        return;
    }
    s->depth++;
    s->name[s->depth][0] = 0;
    s->index[s->depth] = group ? -1 : 0;
    s->value = !group;
}

/* A comma before the closing bracket, a bare word as a value: both are plain syntax errors to the parser. */
static void close_bracket(scan *s, const char *text)
{
    const char *q = s->p;
    while (q > text && isspace((unsigned char)q[-1])) q--;
    char where[PATH_BYTES];
    if (*s->p != '}' && q > text && q[-1] == ',')
        faults_hint(s->f, s->path, s->line, here(s, where), "no comma before a closing bracket");
    if (s->depth > 0) s->depth--;
    end_value(s);
}

static void take_word(scan *s)
{
    const char *from = s->p;
    while (isalnum((unsigned char)*s->p) || *s->p == '_' || *s->p == '-' || *s->p == '*') s->p++;
    size_t n = (size_t)(s->p - from);
    char word[64], where[PATH_BYTES], text[192];
    snprintf(word, sizeof word, "%.*s", (int)n, from);
    if (!s->value) {
        snprintf(s->name[s->depth], sizeof s->name[0], "%s", word);
        return;
    }
    end_value(s);
    if (strcasecmp(word, "true") == 0 || strcasecmp(word, "false") == 0) return;
    if (strcasecmp(word, "yes") == 0 || strcasecmp(word, "on") == 0) snprintf(text, sizeof text, "got %s, write true", word);
    else if (strcasecmp(word, "no") == 0 || strcasecmp(word, "off") == 0) snprintf(text, sizeof text, "got %s, write false", word);
    else snprintf(text, sizeof text, "got the bare word %s; text is written \"%s\"", word, word);
    faults_hint(s->f, s->path, s->line, here(s, where), text);
}

void scan_text(config_faults *f, const char *path, const char *text, int depth)
{
    scan s = {.f = f, .path = path, .p = text, .line = 1, .include_depth = depth};
    s.index[0] = -1;
    f->n_files++;
    while (*s.p && !(f->fatal && s.depth == DEPTH_LIMIT)) {
        char c = *s.p;
        if (take_comment(&s)) continue;
        if (c == '"') take_string(&s), end_value(&s);
        else if (strncmp(s.p, "@include", 8) == 0) take_include(&s, text);
        else if (isdigit((unsigned char)c) || c == '+' || c == '-' || c == '.') take_number(&s);
        else if (isalpha((unsigned char)c) || c == '*') take_word(&s);
        else {
            if (c == '\n') s.line++;
            else if (c == '=' || c == ':') s.value = true;
            else if (c == '{' || c == '(' || c == '[') open_bracket(&s, c == '{');
            else if (c == '}' || c == ')' || c == ']') close_bracket(&s, text);
            else if (c == ',' && s.index[s.depth] >= 0) s.index[s.depth]++;
            else if (c == ';' || c == ',') s.name[s.depth][0] = 0, end_value(&s);
            s.p++;
        }
    }
}

/* Why the last file could not be read, without its name. */
static const char *why(const char *path)
{
    size_t n = strlen(path);
    const char *m = status_message();
    return strncmp(m, path, n) == 0 && strncmp(m + n, ": ", 2) == 0 ? m + n + 2 : m;
}

void scan_file(config_faults *f, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    struct stat info;
    status st;
    f->fatal = true;
    if (stat(path, &info)) faults_at(f, path, 0, "", "cannot open: %s", strerror(errno));
    else if (!S_ISREG(info.st_mode)) faults_at(f, path, 0, "", "not a regular file");
    else if ((st = file_read_all(path, FILE_LIMIT, &text, &n))) {
        f->out_of_memory |= st == ST_RESOURCE; /* no fault of the file */
        faults_at(f, path, 0, "", "%s", why(path));
    } else if (memchr(text, 0, n)) faults_at(f, path, 0, "", "not a text file: it holds a NUL byte");
    else {
        f->fatal = false;
        scan_text(f, path, text, 0);
    }
    free(text);
}
