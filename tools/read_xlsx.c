/* read_xlsx: one sheet of an Office Open XML workbook (libzip, expat) as a table of texts; numbers as they are written in the file. */
#include "table.h"

#include "medley_build.h"

#if defined(HAVE_ZIP) && defined(HAVE_EXPAT)
#include <expat.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#define PART_BYTES_MAX ((zip_uint64_t)512 << 20)

typedef struct text_buffer { char *s; size_t n, room; } text_buffer;

typedef struct xlsx {
    const char *what, *sheet;
    status      st;              /* first failure inside a parser callback */
    XML_Parser  parser;
    /* workbook and relations */
    char        id[128], target[256];
    bool        found;
    /* shared strings */
    char      **shared;
    size_t      n_shared, shared_room;
    /* where we are */
    int         depth_text, phonetic, row, column;
    bool        in_item;
    char        type[16];
    text_buffer text;
    table_builder table;
} xlsx;

static status append(text_buffer *b, const char *s, size_t n)
{
    if (b->n + n + 1 > b->room) {
        size_t room = 2 * (b->n + n + 1);
        TRY(mem_grow(&b->s, room, "text"), "table");
        b->room = room;
    }
    memcpy(b->s + b->n, s, n);
    b->n += n;
    b->s[b->n] = 0;
    return OK;
}

static void keep(xlsx *x, status st)
{
    if (st && !x->st) {
        x->st = st;
        XML_StopParser(x->parser, XML_FALSE);
    }
}

static const char *attribute(const char **atts, const char *name)
{
    for (; *atts; atts += 2)
        if (!strcmp(atts[0], name)) return atts[1];
    return NULL;
}

static const char *local(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon ? colon + 1 : name;
}

/* Runs one part of the archive through expat. */
static status parse_part(xlsx *x, zip_t *zip, const char *part, XML_StartElementHandler start, XML_EndElementHandler end,
                         XML_CharacterDataHandler text)
{
    zip_stat_t info;
    CHECK(zip_stat(zip, part, 0, &info) == 0 && (info.valid & ZIP_STAT_SIZE), ST_DATA, "%s: no part %s in the workbook", x->what, part);
    CHECK(info.size < PART_BYTES_MAX, ST_DATA, "%s: part %s has %llu bytes", x->what, part, (unsigned long long)info.size);
    zip_file_t *file = zip_fopen(zip, part, 0);
    CHECK(file, ST_DATA, "%s: part %s: %s", x->what, part, zip_strerror(zip));
    XML_Parser p = XML_ParserCreate(NULL);
    status st = OK;
    char buf[16384];
    CHECK_TO(out, p, ST_RESOURCE, "%s: no memory for the XML parser", x->what);
    x->parser = p;
    XML_SetUserData(p, x);
    XML_SetElementHandler(p, start, end);
    XML_SetCharacterDataHandler(p, text);
    zip_uint64_t unpacked = 0;
    for (zip_int64_t n = 1; n > 0;) {
        n = zip_fread(file, buf, sizeof buf);
        if (n > 0) unpacked += (zip_uint64_t)n;
        CHECK_TO(out, unpacked <= info.size, ST_DATA, "%s: part %s is longer than it says", x->what, part);
        CHECK_TO(out, n >= 0, ST_DATA, "%s: part %s is damaged: %s", x->what, part, zip_file_strerror(file));
        enum XML_Status ok = XML_Parse(p, buf, (int)n, n == 0);
        if (x->st) st = status_note(x->st, __FILE__, __LINE__, "%s: part %s", x->what, part);
        if (st) goto out;
        CHECK_TO(out, ok == XML_STATUS_OK, ST_DATA, "%s: part %s, line %lu: %s", x->what, part, XML_GetCurrentLineNumber(p),
                 XML_ErrorString(XML_GetErrorCode(p)));
    }
out:
    if (p) XML_ParserFree(p);
    zip_fclose(file);
    return st;
}

static void workbook_start(void *user, const char *name, const char **atts)
{
    xlsx *x = user;
    if (strcmp(local(name), "sheet") || x->found) return;
    const char *title = attribute(atts, "name"), *id = attribute(atts, "r:id");
    if (!title || !id || (*x->sheet && strcmp(title, x->sheet))) return;
    snprintf(x->id, sizeof x->id, "%s", id);
    x->found = true;
}

static void relations_start(void *user, const char *name, const char **atts)
{
    xlsx *x = user;
    const char *id = attribute(atts, "Id"), *target = attribute(atts, "Target");
    if (strcmp(local(name), "Relationship") || !id || !target || strcmp(id, x->id)) return;
    if (*target == '/') snprintf(x->target, sizeof x->target, "%s", target + 1);
    else snprintf(x->target, sizeof x->target, "xl/%s", target);
}

static void strings_start(void *user, const char *name, const char **atts)
{
    (void)atts;
    xlsx *x = user;
    name = local(name);
    if (!strcmp(name, "si")) x->text.n = 0;
    else if (!strcmp(name, "rPh")) x->phonetic++; /* reading aids are no part of the text */
    else if (!strcmp(name, "t") && !x->phonetic) x->depth_text = 1;
}

static void strings_end(void *user, const char *name)
{
    xlsx *x = user;
    name = local(name);
    if (!strcmp(name, "t")) x->depth_text = 0;
    else if (!strcmp(name, "rPh")) x->phonetic--;
    if (strcmp(name, "si")) return;
    if (x->n_shared == x->shared_room) {
        size_t room = x->shared_room ? 2 * x->shared_room : 1024;
        status st = mem_grow(&x->shared, room * sizeof *x->shared, "texts");
        if (st) {
            keep(x, st);
            return;
        }
        x->shared_room = room;
    }
    status st = mem_copy(&x->shared[x->n_shared], x->text.n ? x->text.s : "", x->text.n, "text");
    if (st) keep(x, st);
    else x->n_shared++;
}

static void text_in(void *user, const char *s, int n)
{
    xlsx *x = user;
    if (x->depth_text) keep(x, append(&x->text, s, (size_t)n));
}

/* "BC12" to column 54 (0-based); -1 if it is no cell name. */
static int column_of(const char *ref)
{
    int c = 0;
    for (; *ref >= 'A' && *ref <= 'Z' && c < 16384; ref++) c = 26 * c + *ref - 'A' + 1;
    return c - 1;
}

static void sheet_start(void *user, const char *name, const char **atts)
{
    xlsx *x = user;
    name = local(name);
    if (!strcmp(name, "row")) {
        x->row++;
        x->column = -1;
    } else if (!strcmp(name, "c")) {
        const char *ref = attribute(atts, "r"), *type = attribute(atts, "t");
        int column = ref ? column_of(ref) : x->column + 1;
        if (column <= x->column || column > 16383) {
            keep(x, status_raise(ST_DATA, __FILE__, __LINE__, "cell %s is out of order", ref ? ref : "?"));
            return;
        }
        while (++x->column < column && !x->st) keep(x, table_add(&x->table, "", 0)); /* empty cells are left out of the file */
        if (x->st) return;
        snprintf(x->type, sizeof x->type, "%s", type ? type : "n");
        x->text.n = 0;
        x->in_item = true;
    } else if (!strcmp(name, "rPh")) {
        x->phonetic++;
    } else if (x->in_item && !x->phonetic && (!strcmp(name, "v") || !strcmp(name, "t"))) {
        x->depth_text = 1;
    }
}

static void sheet_end(void *user, const char *name)
{
    xlsx *x = user;
    name = local(name);
    if (x->st) return;
    if (!strcmp(name, "v") || !strcmp(name, "t")) x->depth_text = 0;
    else if (!strcmp(name, "rPh")) x->phonetic--;
    else if (!strcmp(name, "c")) {
        const char *s = x->text.n ? x->text.s : "";
        size_t n = x->text.n;
        if (!strcmp(x->type, "s")) {
            char *end;
            unsigned long i = strtoul(s, &end, 10);
            if (end == s || *end || i >= x->n_shared) {
                keep(x, status_raise(ST_DATA, __FILE__, __LINE__, "row %d: shared text \"%s\" of %zu", x->row, s, x->n_shared));
                return;
            }
            s = x->shared[i];
            n = strlen(s);
        }
        keep(x, table_add(&x->table, s, n));
        x->in_item = false;
    } else if (!strcmp(name, "row")) {
        if (x->column >= 0) keep(x, table_end_row(&x->table, x->what, x->row));
    }
}

status xlsx_parse(table *t, const char *path, const char *sheet)
{
    *t = (table){0};
    xlsx x = {.what = path, .sheet = sheet ? sheet : ""};
    int code = 0;
    zip_t *zip = zip_open(path, ZIP_RDONLY, &code);
    CHECK(zip, ST_DATA, "%s: damaged or no workbook (libzip error %d)", path, code);
    status st = OK;
    TRY_TO(out, parse_part(&x, zip, "xl/workbook.xml", workbook_start, NULL, NULL), "XLSX");
    CHECK_TO(out, x.found, ST_DATA, "%s: no sheet \"%s\"", path, x.sheet);
    TRY_TO(out, parse_part(&x, zip, "xl/_rels/workbook.xml.rels", relations_start, NULL, NULL), "XLSX");
    CHECK_TO(out, *x.target, ST_DATA, "%s: sheet \"%s\" has no file in the workbook", path, x.sheet);
    if (zip_name_locate(zip, "xl/sharedStrings.xml", 0) >= 0)
        TRY_TO(out, parse_part(&x, zip, "xl/sharedStrings.xml", strings_start, strings_end, text_in), "XLSX");
    TRY_TO(out, parse_part(&x, zip, x.target, sheet_start, sheet_end, text_in), "XLSX");
    st = table_finish(&x.table, t, path);
out:
    zip_discard(zip);
    table_abandon(&x.table);
    for (size_t i = 0; i < x.n_shared; i++) free(x.shared[i]);
    free(x.shared);
    free(x.text.s);
    return st;
}
#else
#include "not_built.h"

status xlsx_parse(table *t, const char *path, const char *sheet)
{
    (void)t, (void)sheet;
    return NOT_BUILT("libzip-dev and libexpat1-dev", "XLSX", path);
}
#endif
