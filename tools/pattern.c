/* pattern: finds files by path patterns with named parts, and fills templates. */
#include "pattern.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *bindings_find(const bindings *b, const char *name)
{
    for (int i = 0; i < b->n; i++)
        if (!strcmp(b->v[i].name, name)) return b->v[i].text;
    return b->more ? b->more(b->ctx, name) : NULL;
}

static status bind(bindings *b, const char *name, const char *text, size_t n)
{
    int at = 0;
    while (at < b->n && strcmp(b->v[at].name, name)) at++;
    CHECK(at < PATTERN_NAMES, ST_USAGE, "more than %d names in a pattern", PATTERN_NAMES);
    CHECK(n < sizeof b->v[0].text, ST_DATA, "\"%.60s...\" is too long for {%s}", text, name);
    binding *v = &b->v[at];
    if (at == b->n) b->n++;
    snprintf(v->name, sizeof v->name, "%s", name);
    memcpy(v->text, text, n);
    v->text[n] = 0;
    return OK;
}

status bindings_add(bindings *b, const char *name, const char *text) { return bind(b, name, text, strlen(text)); }

/* The name that starts at "{"; *next is behind its "}". */
static status name_at(const char *p, char out[32], const char **next)
{
    size_t n = strcspn(p + 1, "{}/");
    CHECK(p[1 + n] == '}', ST_USAGE, "\"%s\": a brace is not closed", p);
    CHECK(n > 0 && n < 32, ST_USAGE, "\"%s\": a name of %zu characters in braces", p, n);
    memcpy(out, p + 1, n);
    out[n] = 0;
    *next = p + n + 2;
    return OK;
}

status pattern_names(const char *pattern, status (*each)(void *ctx, const char *name), void *ctx)
{
    char name[32];
    for (const char *p = pattern; *p;) {
        CHECK(*p != '}', ST_USAGE, "\"%s\": a brace is closed that was not opened", pattern);
        if (*p == '{') {
            TRY(name_at(p, name, &p), "\"%s\"", pattern);
            TRY(each(ctx, name), "\"%s\"", pattern);
        } else p++;
    }
    return OK;
}

status pattern_expand(const char *pattern, const bindings *known, char *out, size_t out_bytes)
{
    size_t n = 0;
    char name[32];
    for (const char *p = pattern; *p;) {
        const char *text = p;
        size_t length = 1;
        if (*p == '{') {
            TRY(name_at(p, name, &p), "\"%s\"", pattern);
            text = bindings_find(known, name);
            CHECK(text, ST_DATA, "nothing to put for {%s} in \"%s\"", name, pattern);
            length = strlen(text);
        } else p++;
        CHECK(n + length < out_bytes, ST_DATA, "\"%s\" becomes longer than %zu characters", pattern, out_bytes - 1);
        memcpy(out + n, text, length);
        n += length;
    }
    out[n] = 0;
    return OK;
}

/* ---- matching one path segment, shortest parts first, with going back ------------------------------------------------ */

static status match(const char *p, const char *p_end, const char *s, bindings *b, bool *hit)
{
    *hit = false;
    for (; p < p_end && *p != '*' && *p != '{'; p++, s++)
        if (*s != *p) return OK;
    if (p == p_end) {
        *hit = !*s;
        return OK;
    }
    if (*p == '*') {
        for (size_t n = 0, left = strlen(s); n <= left && !*hit; n++) TRY(match(p + 1, p_end, s + n, b, hit), "matching");
        return OK;
    }
    char name[32];
    TRY(name_at(p, name, &p), "matching");
    const char *known = bindings_find(b, name);
    if (known) {
        size_t n = strlen(known);
        return strncmp(s, known, n) ? OK : match(p, p_end, s + n, b, hit);
    }
    int before = b->n;
    for (size_t n = 1, left = strlen(s); n <= left && !*hit; n++) {
        b->n = before;
        TRY(bind(b, name, s, n), "matching");
        TRY(match(p, p_end, s + n, b, hit), "matching");
    }
    if (!*hit) b->n = before;
    return OK;
}

/* A segment whose every part is known, as text; false if it has open parts. */
static bool settled(const char *p, const char *p_end, const bindings *b, char *out, size_t room)
{
    size_t n = 0;
    while (p < p_end) {
        char name[32];
        const char *text = p;
        size_t length = 1;
        if (*p == '*') return false;
        if (*p == '{') {
            if (name_at(p, name, &p) || !(text = bindings_find(b, name))) return false;
            length = strlen(text);
        } else p++;
        if (n + length >= room) return false;
        memcpy(out + n, text, length);
        n += length;
    }
    out[n] = 0;
    return true;
}

/* Texts of tables and captures become parts of paths: none may lead out of the source folder. */
static bool leads_out(const char *text)
{
    for (const char *p = text; *p; p += strspn(p, "/")) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') return true;
        p += n;
    }
    return *text == '/';
}

/* ---- walking ------------------------------------------------------------------------------------------------------------ */

static status pack(const bindings *b, found *f)
{
    size_t n = 0;
    for (int i = 0; i < b->n; i++) n += strlen(b->v[i].name) + strlen(b->v[i].text) + 2;
    TRY(mem_alloc(&f->parts, n + 1, "list of files"), "%s", f->path);
    char *at = f->parts;
    for (int i = 0; i < b->n; i++) at = stpcpy(stpcpy(at, b->v[i].name) + 1, b->v[i].text) + 1;
    f->n_parts = b->n;
    return OK;
}

void found_parts(const found *f, bindings *out)
{
    *out = (bindings){.n = f->n_parts};
    const char *at = f->parts;
    for (int i = 0; i < f->n_parts; i++) {
        at += snprintf(out->v[i].name, sizeof out->v->name, "%s", at) + 1;
        at += snprintf(out->v[i].text, sizeof out->v->text, "%s", at) + 1;
    }
}

static status add_match(const char *path, const bindings *known, bool is_folder, found_list *out)
{
    if (out->n == out->room) {
        int room = out->room ? 2 * out->room : 64;
        TRY(mem_grow(&out->v, (size_t)room * sizeof *out->v, "list of files"), "%s", path);
        out->room = room;
    }
    bindings is = *known;
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path, *folder = slash;
    size_t stem = strlen(file);
    for (int i = 0; i < 2 && !is_folder; i++) { /* name.nii.gz -> name */
        const char *dot = memrchr(file, '.', stem);
        if (!dot || dot == file || (i == 1 && strcmp(file + stem, ".gz"))) break;
        stem = (size_t)(dot - file);
    }
    while (folder && folder > path && folder[-1] != '/') folder--;
    TRY(bind(&is, "path", path, strlen(path)), "%s", path);
    TRY(bind(&is, "file", file, strlen(file)), "%s", path);
    TRY(bind(&is, "stem", file, stem), "%s", path);
    TRY(bind(&is, "folder", slash ? folder : "", slash ? (size_t)(slash - folder) : 0), "%s", path);
    found f = {0};
    status st = mem_copy(&f.path, path, strlen(path), "list of files");
    if (!st) st = pack(&is, &f);
    if (st) found_drop(&f);
    else out->v[out->n++] = f;
    return st;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static status names_in(const char *folder, char ***out, int *n_out)
{
    char **v = NULL;
    int n = 0, room = 0;
    *out = NULL, *n_out = 0;
    DIR *d = opendir(folder);
    if (!d && (errno == ENOENT || errno == ENOTDIR)) return OK; /* nothing matches there */
    CHECK(d, ST_RESOURCE, "cannot list the folder %s: %s", folder, strerror(errno)); /* else its files would be missing without a word */
    status st = OK;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (n == room) {
            room = room ? 2 * room : 64;
            TRY_TO(out, mem_grow(&v, (size_t)room * sizeof *v, "names"), "folder %s", folder);
        }
        TRY_TO(out, mem_copy(&v[n], e->d_name, strlen(e->d_name), "name"), "folder %s", folder);
        n++;
    }
    if (n) qsort(v, (size_t)n, sizeof *v, by_text); /* v is NULL else */
out:
    closedir(d);
    *out = v, *n_out = n;
    return st;
}

static status walk(const char *root, const char *done, const char *pattern, const bindings *b, found_list *out)
{
    while (*pattern == '/') pattern++;
    const char *end = pattern + strcspn(pattern, "/");
    bool folder = !strcmp(end, "/"), last = !*end || folder;
    char path[PATTERN_PATH], full[2 * PATTERN_PATH], text[PATTERN_PATH], **names = NULL, *one = text;
    int n = 0;
    status st = OK;
    bool known = settled(pattern, end, b, text, sizeof text);
    if (known) {
        CHECK(!leads_out(text), ST_DATA, "\"%s\" would lead out of the source folder", text);
        n = 1;
    } else {
        snprintf(full, sizeof full, "%s/%s", root, done);
        TRY(names_in(full, &names, &n), "source files");
    }
    for (int i = 0; i < n; i++) {
        const char *name = known ? one : names[i];
        bindings mine = *b;
        bool hit = known;
        if (!known && *name == '.' && *pattern != '.') continue; /* hidden files only if asked for */
        if (!known) TRY_TO(out, match(pattern, end, name, &mine, &hit), "%s", name);
        if (!hit) continue;
        int length = snprintf(path, sizeof path, "%s%s%s", done, *done ? "/" : "", name);
        CHECK_TO(out, length < (int)sizeof path, ST_DATA, "path too long: %.80s...", path);
        snprintf(full, sizeof full, "%s/%s", root, path);
        struct stat info;
        if (stat(full, &info)) continue;
        if (last && (folder ? S_ISDIR(info.st_mode) : S_ISREG(info.st_mode))) TRY_TO(out, add_match(path, &mine, folder, out), "%s", full);
        if (!last && S_ISDIR(info.st_mode)) TRY_TO(out, walk(root, path, end, &mine, out), "%s", full);
    }
out:
    for (int i = 0; names && i < n; i++) free(names[i]);
    free(names);
    return st;
}

status pattern_list(const char *root, const char *pattern, const bindings *known, found_list *out)
{
    CHECK(strlen(root) < PATTERN_PATH - 1, ST_DATA, "path too long: %.80s...", root);
    bindings none = {0};
    return walk(root, "", pattern, known ? known : &none, out);
}

void found_drop(found *f)
{
    free(f->path);
    free(f->parts);
    *f = (found){0};
}

void found_free(found_list *l)
{
    for (int i = 0; i < l->n; i++) found_drop(&l->v[i]);
    free(l->v);
    *l = (found_list){0};
}
