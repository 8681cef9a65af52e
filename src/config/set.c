/* set: --set key=value overrides. They change the parsed tree, so that the one table checks them like the file. */
#include "config_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char from_set; /* its address marks settings that no file holds */

bool set_is_from(const config_setting_t *s)
{
    for (; s; s = config_setting_parent(s))
        if (config_setting_get_hook(s) == &from_set) return true;
    return false;
}

/* One step of a path: "name", "name[3]" or "name[label]". */
typedef struct part { char name[64], element[96]; bool has_element, last; } part;

static bool next_part(const char **path, part *out)
{
    const char *p = *path;
    size_t n = strcspn(p, ".[");
    if (n == 0 || n >= sizeof out->name) return false;
    snprintf(out->name, sizeof out->name, "%.*s", (int)n, p);
    p += n;
    out->has_element = *p == '[';
    if (out->has_element) {
        size_t m = strcspn(p, "]");
        if (p[m] != ']' || m < 2 || m > sizeof out->element) return false;
        snprintf(out->element, sizeof out->element, "%.*s", (int)m - 1, p + 1);
        p += m + 1;
    }
    out->last = *p == 0;
    if (!out->last && *p++ != '.') return false;
    *path = p;
    return true;
}

/* The element of a list of groups by number or by its member "name". */
static config_setting_t *find_element(const config_setting_t *list, const char *word)
{
    for (int i = 0; i < config_setting_length(list); i++) {
        config_setting_t *e = config_setting_get_elem(list, (unsigned)i);
        const char *name = NULL;
        if (config_setting_is_group(e) && config_setting_lookup_string(e, "name", &name) && strcmp(name, word) == 0) return e;
    }
    char *end;
    errno = 0;
    long i = strtol(word, &end, 10);
    bool number = isdigit((unsigned char)word[0]) && *end == 0 && !errno && i < config_setting_length(list);
    return number ? config_setting_get_elem(list, (unsigned)i) : NULL;
}

config_setting_t *set_find(const config_faults *f, const char *path, config_setting_t **deepest)
{
    config_setting_t *s = config_root_setting(&f->tree);
    part p;
    while (s && *path) {
        *deepest = s;
        if (!config_setting_is_group(s) || !next_part(&path, &p)) return NULL;
        s = config_setting_get_member(s, p.name);
        if (s && p.has_element) {
            *deepest = s;
            s = config_setting_is_aggregate(s) ? find_element(s, p.element) : NULL;
        }
    }
    return s;
}

/* ---- values ----------------------------------------------------------------------------------------------------------------- */

static void copy_setting(config_setting_t *parent, const char *name, const config_setting_t *from)
{
    int type = config_setting_type(from);
    config_setting_t *s = config_setting_add(parent, name, type);
    if (!s) return;
    switch (type) {
    case CONFIG_TYPE_INT: config_setting_set_int(s, config_setting_get_int(from)); break;
    case CONFIG_TYPE_INT64: config_setting_set_int64(s, config_setting_get_int64(from)); break;
    case CONFIG_TYPE_FLOAT: config_setting_set_float(s, config_setting_get_float(from)); break;
    case CONFIG_TYPE_BOOL: config_setting_set_bool(s, config_setting_get_bool(from)); break;
    case CONFIG_TYPE_STRING: config_setting_set_string(s, config_setting_get_string(from)); break;
    default:
        for (int i = 0; i < config_setting_length(from); i++) {
            config_setting_t *e = config_setting_get_elem(from, (unsigned)i);
            copy_setting(s, config_setting_name(e), e);
        }
    }
}

/* "[1, 2]" and the like: the parser's own syntax. */
static void put_aggregate(config_faults *f, config_setting_t *parent, const char *name, const char *key_path, const char *value)
{
    config_faults inner = {.path = "--set", .dir = "."};
    char *text;
    if (mem_alloc(&text, strlen(value) + 16, "setting")) {
        f->out_of_memory = true;
        return;
    }
    sprintf(text, "v = %s;", value);
    config_init(&inner.tree);
    scan_text(&inner, "--set", text, 0);
    config_setting_t *s = NULL;
    if (inner.n) faults_set(f, key_path, "%s", inner.list[0].text);
    else if (strstr(text, "@include") || !config_read_string(&inner.tree, text) || !(s = config_lookup(&inner.tree, "v")))
        faults_set(f, key_path, "cannot be read: \"%.80s\"", value);
    if (s) copy_setting(parent, name, s);
    f->out_of_memory |= inner.out_of_memory;
    config_destroy(&inner.tree);
    faults_free(&inner);
    free(text);
}

static bool put_number(config_setting_t *parent, const char *name, const char *value)
{
    char *end;
    errno = 0;
    long long i = strtoll(value, &end, 10);
    if (*value && !isspace((unsigned char)*value) && *end == 0 && !errno)
        return config_setting_set_int64(config_setting_add(parent, name, CONFIG_TYPE_INT64), i);
    double v = strtod(value, &end);
    if (!*value || isspace((unsigned char)*value) || *end) return false;
    return config_setting_set_float(config_setting_add(parent, name, CONFIG_TYPE_FLOAT), v);
}

static void put_value(config_faults *f, config_setting_t *parent, const part *p, const key *k, const char *key_path, const char *value)
{
    config_setting_t *old = config_setting_get_member(parent, p->name);
    if (old) config_setting_remove(parent, p->name);
    size_t n = strlen(value);
    bool text = k && k->type == KEY_TEXT;
    if (!text && (*value == '[' || *value == '(' || *value == '{')) put_aggregate(f, parent, p->name, key_path, value);
    else if (!text && (strcmp(value, "true") == 0 || strcmp(value, "false") == 0))
        config_setting_set_bool(config_setting_add(parent, p->name, CONFIG_TYPE_BOOL), *value == 't');
    else if (text || !put_number(parent, p->name, value)) {
        char *copy = NULL;
        bool quoted = n >= 2 && value[0] == '"' && value[n - 1] == '"';
        status st = mem_copy(&copy, value + quoted, n - 2 * quoted, "setting");
        config_setting_t *s = config_setting_add(parent, p->name, CONFIG_TYPE_STRING);
        if (s && !st) config_setting_set_string(s, copy);
        else f->out_of_memory = true;
        free(copy);
    }
    config_setting_t *new = config_setting_get_member(parent, p->name);
    if (new) config_setting_set_hook(new, &from_set);
}

/* ---- the path -------------------------------------------------------------------------------------------------------------------- */

static bool is_key_name(const char *s)
{
    if (!isalpha((unsigned char)*s)) return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("-_*", *s)) return false;
    return true;
}

static config_setting_t *into_element(config_faults *f, config_setting_t *list, const part *p, const char *key_path)
{
    config_setting_t *e = config_setting_is_aggregate(list) ? find_element(list, p->element) : NULL;
    if (e && config_setting_is_group(e)) return e;
    const char *names[256];
    int n = 0;
    for (int i = 0; config_setting_is_list(list) && i < config_setting_length(list) && n < 256; i++) {
        config_setting_t *g = config_setting_get_elem(list, (unsigned)i);
        if (config_setting_is_group(g) && config_setting_lookup_string(g, "name", &names[n])) n++;
    }
    const char *near = text_nearest(p->element, names, n);
    if (near) faults_set(f, key_path, "no \"%s\" in %s (did you mean \"%s\"?)", p->element, p->name, near);
    else faults_set(f, key_path, "no \"%s\" in %s, which has %d groups", p->element, p->name, n);
    return NULL;
}

void set_apply(config_faults *f, const key *table, const char *set)
{
    char path[PATH_BYTES], shown[120];
    const char *equals = strchr(set, '='), *at = path;
    if (!equals || equals == set || equals - set >= PATH_BYTES || strlen(set) > 4096) {
        faults_set(f, text_shown(set, shown, sizeof shown), "expected key=value");
        return;
    }
    snprintf(path, sizeof path, "%.*s", (int)(equals - set), set);
    config_setting_t *s = config_root_setting(&f->tree);
    part p;
    for (;;) {
        if (!next_part(&at, &p) || !is_key_name(p.name)) {
            faults_set(f, path, "not a key; keys look like train.steps or tasks[NAME].batch");
            return;
        }
        const key *k = table ? key_find(table, p.name, strlen(p.name)) : NULL;
        table = k ? k->sub : NULL;
        if (p.last) {
            if (p.has_element) faults_set(f, path, "set the whole list, or a key of a group in it");
            else if (k && (k->type == KEY_GROUP || k->type == KEY_GROUP_LIST))
                faults_set(f, path, "is a group; set its keys one by one");
            else put_value(f, s, &p, k, path, equals + 1);
            return;
        }
        config_setting_t *m = config_setting_get_member(s, p.name);
        if (!m && !p.has_element) {
            m = config_setting_add(s, p.name, CONFIG_TYPE_GROUP);
            if (m) config_setting_set_hook(m, &from_set);
        }
        if (!m) {
            faults_set(f, path, "no list \"%s\" in the file", p.name);
            return;
        }
        if (p.has_element) m = into_element(f, m, &p, path);
        else if (!config_setting_is_group(m)) {
            faults_set(f, path, "\"%s\" is not a group", p.name);
            return;
        }
        if (!m) return;
        s = m;
    }
}
