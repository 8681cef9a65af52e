/* read: walks a key table over the parsed tree and fills the struct; everything that does not fit becomes a fault. */
#include "config_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- keys and words ------------------------------------------------------------------------------------------------------ */

const key *key_find(const key *table, const char *name, size_t n)
{
    for (const key *k = table; k->name; k++)
        if (k->type != KEY_LINE && strlen(k->name) == n && memcmp(k->name, name, n) == 0) return k;
    return NULL;
}

bool key_is_list(const key *k) { return k->type == KEY_TEXT_LIST || k->type == KEY_FLOAT_LIST || k->type == KEY_INT_LIST; }

/* A field is double or int unless the table says float (4) or int64_t (8). */
size_t field_bytes(const key *k)
{
    size_t said = key_is_list(k) ? k->item_bytes : k->size;
    bool whole = k->type == KEY_INT || k->type == KEY_INT_LIST;
    return said ? said : whole ? sizeof(int) : sizeof(double);
}

static void range_text(const key *k, char *out, size_t n)
{
    out[0] = 0;
    if (k->lo == k->hi) return;
    if (isinf(k->hi)) snprintf(out, n, " of at least %.10g", k->lo);
    else snprintf(out, n, " from %.10g to %.10g", k->lo, k->hi);
}

void key_expected(const key *k, char *out, size_t n)
{
    char range[80], many[40] = "";
    range_text(k, range, sizeof range);
    if (k->least == k->size) snprintf(many, sizeof many, " of %zu", k->size);
    const char *one_of = k->choices ? ", each one of " : "", *choices = k->choices ? k->choices : "";
    switch (k->type) {
    case KEY_BOOL: snprintf(out, n, "true or false"); break;
    case KEY_INT: snprintf(out, n, "an integer%s", range); break;
    case KEY_FLOAT: snprintf(out, n, "a number%s", range); break;
    case KEY_TEXT: snprintf(out, n, k->choices ? "one of %s" : "text in quotes%s", choices); break;
    case KEY_TEXT_LIST: snprintf(out, n, "a list%s [\"...\", \"...\"]%s%s", many, one_of, choices); break;
    case KEY_INT_LIST:
        snprintf(out, n, "a list%s integers [..., ...]%s%s", *many ? many : " of", range[0] ? ", each" : "", range);
        break;
    case KEY_FLOAT_LIST:
        snprintf(out, n, "a list%s numbers [..., ...]%s%s", *many ? many : " of", range[0] ? ", each" : "", range);
        break;
    case KEY_GROUP: snprintf(out, n, "a group { ... }"); break;
    case KEY_GROUP_LIST: snprintf(out, n, "a list of groups ( { ... }, ... )"); break;
    case KEY_LINE: out[0] = 0; break;
    }
}

/* libconfig has no text where it had no memory. */
static const char *text_of(const config_setting_t *s)
{
    const char *text = config_setting_get_string(s);
    return text ? text : "";
}

/* What the file says, for "got ...". */
static const char *describe(const config_setting_t *s, char *out, size_t n)
{
    char text[64];
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT: snprintf(out, n, "%d", config_setting_get_int(s)); break;
    case CONFIG_TYPE_INT64: snprintf(out, n, "%lld", config_setting_get_int64(s)); break;
    case CONFIG_TYPE_FLOAT: print_number(config_setting_get_float(s), text), snprintf(out, n, "%s", text); break;
    case CONFIG_TYPE_BOOL: snprintf(out, n, "%s", config_setting_get_bool(s) ? "true" : "false"); break;
    case CONFIG_TYPE_STRING: snprintf(out, n, "\"%s\"", text_shown(text_of(s), text, sizeof text)); break;
    case CONFIG_TYPE_GROUP: snprintf(out, n, "a group"); break;
    default: snprintf(out, n, "a list"); break;
    }
    return out;
}

static void wrong(config_faults *f, const config_setting_t *s, const key *k, const char *path)
{
    char got[96], expected[512];
    key_expected(k, expected, sizeof expected);
    faults_of(f, s, path, "got %s, expected %s", describe(s, got, sizeof got), expected);
}

/* ---- scalars --------------------------------------------------------------------------------------------------------------- */

static bool in_range(const key *k, double v) { return k->lo == k->hi || (v >= k->lo && v <= k->hi); }

static void read_int(config_faults *f, const config_setting_t *s, const key *k, char *to, const char *path)
{
    int type = config_setting_type(s);
    long long v = type == CONFIG_TYPE_INT ? config_setting_get_int(s) : type == CONFIG_TYPE_INT64 ? config_setting_get_int64(s) : 0;
    bool narrow = field_bytes(k) == 4;
    if ((type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) || !in_range(k, (double)v) ||
        (narrow && (v > INT32_MAX || v < INT32_MIN)))
        wrong(f, s, k, path);
    else if (narrow) *(int *)to = (int)v;
    else *(int64_t *)to = v;
}

static void read_float(config_faults *f, const config_setting_t *s, const key *k, char *to, const char *path)
{
    double v = NAN;
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT: v = config_setting_get_int(s); break;
    case CONFIG_TYPE_INT64: v = (double)config_setting_get_int64(s); break;
    case CONFIG_TYPE_FLOAT: v = config_setting_get_float(s); break;
    }
    if (!isfinite(v) || !in_range(k, v) || (field_bytes(k) == 4 && !isfinite((float)v))) wrong(f, s, k, path);
    else if (field_bytes(k) == 4) *(float *)to = (float)v;
    else *(double *)to = v;
}

/* Is `word` one of "a|b|c"? nearest: the choice that may have been meant. */
static bool is_choice(const char *choices, const char *word, char nearest[64])
{
    char copy[512], *list[64];
    const char *names[64];
    int n = 0;
    snprintf(copy, sizeof copy, "%s", choices);
    for (char *at = copy; at && n < 64; n++) list[n] = strsep(&at, "|");
    for (int i = 0; i < n; i++) {
        names[i] = list[i];
        if (strcmp(list[i], word) == 0) return true;
    }
    const char *near = text_nearest(word, names, n);
    snprintf(nearest, 64, "%s", near ? near : "");
    return false;
}

static void read_text(config_faults *f, const config_setting_t *s, const key *k, char *to, size_t n, const char *path)
{
    const char *v = config_setting_type(s) == CONFIG_TYPE_STRING ? config_setting_get_string(s) : NULL;
    char near[64] = "", got[96], expected[512];
    if (!v) {
        wrong(f, s, k, path);
        return;
    }
    for (const char *p = v; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127) {
            faults_of(f, s, path, "got %s: no control characters (here number %d) in text", describe(s, got, sizeof got),
                      (unsigned char)*p);
            return;
        }
    if (strlen(v) >= n) faults_of(f, s, path, "got %zu characters, at most %zu fit", strlen(v), n - 1);
    else if (k->choices && !(!v[0] && k->def && !k->def[0]) && !is_choice(k->choices, v, near)) {
        key_expected(k, expected, sizeof expected);
        if (near[0]) faults_of(f, s, path, "got \"%.60s\", expected %s (did you mean \"%s\"?)", v, expected, near);
        else faults_of(f, s, path, "got \"%.60s\", expected %s", v, expected);
    } else memcpy(to, v, strlen(v) + 1);
}

/* ---- lists ------------------------------------------------------------------------------------------------------------------ */

static void put_count(const key *k, char *base, int n)
{
    if (k->least != k->size || k->least == 0) *(int *)(base + k->count_offset) = n;
}

static void read_item(config_faults *f, const config_setting_t *s, const key *k, char *to, const char *path)
{
    if (k->type == KEY_INT_LIST) read_int(f, s, k, to, path);
    else if (k->type == KEY_FLOAT_LIST) read_float(f, s, k, to, path);
    else read_text(f, s, k, to, k->item_bytes, path);
}

static void join_element(char out[PATH_BYTES], const char *path, int i)
{
    snprintf(out, PATH_BYTES, "%.*s[%d]", PATH_BYTES - 16, path, i);
}

static void read_list(config_faults *f, const config_setting_t *s, const key *k, char *base, const char *path)
{
    int type = config_setting_type(s);
    bool single = config_setting_is_scalar(s); /* files = "*.png" means ["*.png"] */
    if (type == CONFIG_TYPE_GROUP || (single && k->least > 1)) {
        wrong(f, s, k, path);
        return;
    }
    int n = single ? 1 : config_setting_length(s);
    if ((size_t)n > k->size || (size_t)n < k->least) {
        if (k->least == k->size) faults_of(f, s, path, "got %d elements, expected %zu", n, k->size);
        else faults_of(f, s, path, "got %d elements, expected %zu to %zu", n, k->least, k->size);
        return;
    }
    char item_path[PATH_BYTES];
    size_t step = k->type == KEY_TEXT_LIST ? k->item_bytes : field_bytes(k);
    for (int i = 0; i < n; i++) {
        join_element(item_path, path, i);
        read_item(f, single ? s : config_setting_get_elem(s, (unsigned)i), k, base + k->offset + (size_t)i * step, item_path);
    }
    put_count(k, base, n);
}

/* ---- groups ------------------------------------------------------------------------------------------------------------------ */

static void read_group(config_faults *f, const config_setting_t *s, const config_setting_t *near, const key *table, char *base,
                       const char *path, bool quiet);

static void join(char out[PATH_BYTES], const char *path, const char *name)
{
    snprintf(out, PATH_BYTES, "%.*s%s%.80s", PATH_BYTES - 96, path, path[0] ? "." : "", name);
}

static void read_group_list(config_faults *f, const config_setting_t *s, const key *k, char *base, const char *path)
{
    if (config_setting_type(s) != CONFIG_TYPE_LIST && !(config_setting_type(s) == CONFIG_TYPE_ARRAY && config_setting_length(s) == 0)) {
        wrong(f, s, k, path);
        return;
    }
    int n = config_setting_length(s), least = k->least ? (int)k->least : k->def ? 0 : 1;
    if ((size_t)n > k->size || n < least) {
        faults_of(f, s, path, "got %d groups, expected %d to %zu", n, least, k->size);
        if ((size_t)n > k->size) n = (int)k->size;
    }
    for (int i = 0; i < n; i++) {
        char item_path[PATH_BYTES];
        join_element(item_path, path, i);
        config_setting_t *item = config_setting_get_elem(s, (unsigned)i);
        bool group = config_setting_is_group(item);
        if (!group) faults_of(f, item, item_path, "expected a group { ... }");
        read_group(f, group ? item : NULL, item, k->sub, base + k->offset + (size_t)i * k->sub_bytes, item_path, !group);
    }
    put_count(k, base, n);
}

/* The table's default, read by the same functions as the file's values. */
static void read_default(const key *k, char *base)
{
    char *to = base + k->offset;
    const char *def = k->def ? k->def : "";
    switch (k->type) {
    case KEY_BOOL: *(bool *)to = strcmp(def, "true") == 0; return;
    case KEY_INT:
        if (field_bytes(k) == 4) *(int *)to = (int)strtol(def, NULL, 10);
        else *(int64_t *)to = strtoll(def, NULL, 10);
        return;
    case KEY_FLOAT:
        if (field_bytes(k) == 4) *(float *)to = strtof(def, NULL);
        else *(double *)to = strtod(def, NULL);
        return;
    case KEY_TEXT: snprintf(to, k->size, "%s", def); return;
    case KEY_LINE: *(int *)to = 0; return;
    default: break;
    }
    if (k->type != KEY_GROUP) put_count(k, base, 0);
    if (!key_is_list(k) || !def[0]) return;
    config_faults f = {.path = "default", .dir = "."};
    char text[512];
    snprintf(text, sizeof text, "v = (%.*s);", (int)strlen(def) - 2, def + 1); /* a ( ) list may mix 1 and 2.5 */
    config_init(&f.tree);
    if (config_read_string(&f.tree, text)) read_list(&f, config_lookup(&f.tree, "v"), k, base, k->name);
    config_destroy(&f.tree);
    faults_free(&f);
}

static void read_key(config_faults *f, const config_setting_t *s, const key *k, char *base, const char *path)
{
    char *to = base + k->offset;
    switch (k->type) {
    case KEY_BOOL:
        if (config_setting_type(s) != CONFIG_TYPE_BOOL) wrong(f, s, k, path);
        else *(bool *)to = config_setting_get_bool(s);
        break;
    case KEY_INT: read_int(f, s, k, to, path); break;
    case KEY_FLOAT: read_float(f, s, k, to, path); break;
    case KEY_TEXT: read_text(f, s, k, to, k->size, path); break;
    case KEY_GROUP_LIST: read_group_list(f, s, k, base, path); break;
    case KEY_GROUP:
        if (!config_setting_is_group(s)) wrong(f, s, k, path);
        read_group(f, config_setting_is_group(s) ? s : NULL, s, k->sub, to, path, !config_setting_is_group(s));
        break;
    case KEY_LINE: break;
    default: read_list(f, s, k, base, path); break;
    }
}

/* Another group's key of exactly this name: the setting may just be in the wrong place. */
static bool find_elsewhere(const key *table, const char *name, const char *path, char out[PATH_BYTES])
{
    for (const key *k = table; k->name; k++) {
        char sub[PATH_BYTES];
        if (k->type == KEY_LINE) continue;
        join(sub, path, k->name);
        if (strcmp(k->name, name) == 0) {
            snprintf(out, PATH_BYTES, "%s", sub);
            return true;
        }
        if (k->type == KEY_GROUP_LIST) strncat(sub, "[]", sizeof sub - strlen(sub) - 1);
        if (k->sub && find_elsewhere(k->sub, name, sub, out)) return true;
    }
    return false;
}

static void unknown(config_faults *f, const config_setting_t *s, const key *table, const char *path)
{
    const char *names[256], *name = config_setting_name(s);
    int n = 0;
    char full[PATH_BYTES], elsewhere[PATH_BYTES], shown[80];
    for (const key *k = table; k->name && n < 256; k++)
        if (k->type != KEY_LINE) names[n++] = k->name;
    const char *near = text_nearest(name, names, n);
    join(full, path, text_shown(name, shown, sizeof shown));
    if (near) faults_of(f, s, full, "unknown key (did you mean \"%s\"?)", near);
    else if (find_elsewhere(f->table, name, "", elsewhere)) faults_of(f, s, full, "unknown key here (did you mean \"%s\"?)", elsewhere);
    else {
        char list[400] = "";
        for (int i = 0; i < n && strlen(list) < 300; i++) {
            if (i) strcat(list, ", ");
            strncat(list, names[i], 60);
        }
        faults_of(f, s, full, "unknown key; known here: %s", list);
    }
}

static bool asks(const key *table)
{
    for (const key *k = table; k->name; k++) {
        if (k->type == KEY_LINE) continue;
        if (!k->def && (k->type != KEY_GROUP || asks(k->sub))) return true;
    }
    return false;
}

/* s NULL: the group is absent, its keys take their defaults. near: where to point for what is missing. */
static void read_group(config_faults *f, const config_setting_t *s, const config_setting_t *near, const key *table, char *base,
                       const char *path, bool quiet)
{
    for (int i = 0; s && i < config_setting_length(s); i++) {
        config_setting_t *m = config_setting_get_elem(s, (unsigned)i);
        const char *name = config_setting_name(m);
        if (name && !key_find(table, name, strlen(name))) unknown(f, m, table, path);
    }
    for (const key *k = table; k->name; k++) {
        char full[PATH_BYTES];
        join(full, path, k->name);
        read_default(k, base);
        if (k->type == KEY_LINE) {
            *(int *)(base + k->offset) = s && !set_is_from(s) ? (int)config_setting_source_line(s) : 0;
            continue;
        }
        config_setting_t *m = s ? config_setting_get_member(s, k->name) : NULL;
        if (m && config_setting_type(m) != CONFIG_TYPE_NONE) read_key(f, m, k, base, full);
        else if (k->type == KEY_GROUP)
            read_group(f, NULL, near, k->sub, base + k->offset, full, quiet || (k->def && !k->def[0]) || !asks(k->sub));
        else if (!k->def && !quiet && !f->partial) {
            char expected[512];
            key_expected(k, expected, sizeof expected);
            faults_of(f, near, full, "missing; expected %s: %s", expected, k->help ? k->help : "");
        }
    }
}

/* ---- the whole ----------------------------------------------------------------------------------------------------------------- */

/* The parser stops at its first error; the scan may know better what is wrong there. */
static void parse_failed(config_faults *f)
{
    char file[1200];
    const char *reported = config_error_file(&f->tree); /* NULL if the file could not be opened */
    int line = config_error_line(&f->tree);
    bool known = false;
    if (!reported || strcmp(reported, f->path) == 0) snprintf(file, sizeof file, "%s", f->path);
    else scan_include_path(f, reported, file, sizeof file);
    for (int i = 0; i < f->n_hints; i++) {
        const fault *h = &f->hint[i];
        if (!h->file || !h->key || !h->text) continue;
        known |= strcmp(h->file, file) == 0 && (h->line == line || h->line == line - 1);
        faults_at(f, h->file, h->line, h->key, "%s", h->text);
    }
    const char *what = config_error_text(&f->tree);
    bool mixed = what && strstr(what, "mismatched");
    if (!known) faults_at(f, file, line, "", "%s%s", what ? what : "cannot be read", mixed ? "; write 1.0 for 1, or ( ) for [ ]" : "");
    f->partial = true;
}

status config_load(const char *path, const key *table, void *out, const char *const *set, int n_set,
                   void (*check)(void *, config_faults *))
{
    char dir[1024];
    CHECK(strlen(path) < 1000, ST_USAGE, "path too long: %.100s...", path);
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash ? slash - path : 1), slash ? path : ".");
    config_faults f = {.path = path, .dir = dir, .table = table};
    config_init(&f.tree);
    config_set_include_dir(&f.tree, dir);
    scan_file(&f, path);
    if (!f.fatal) {
        if (!config_read_file(&f.tree, path)) parse_failed(&f);
        for (int i = 0; i < n_set && !f.partial; i++) set_apply(&f, table, set[i]);
        if (!f.out_of_memory) read_group(&f, config_root_setting(&f.tree), config_root_setting(&f.tree), table, out, "", false);
        if (check && !f.partial && !f.out_of_memory) check(out, &f);
    }
    status st = faults_raise(&f);
    config_destroy(&f.tree);
    faults_free(&f);
    return st;
}
