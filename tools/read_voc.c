/* read_voc: Pascal VOC annotation files (expat). */
#include "boxes.h"

#include "medley_build.h"

#ifdef HAVE_EXPAT
#include <expat.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct voc {
    boxes     *out;
    XML_Parser parser;
    bool       one_based;
    status     st;
    char       path[256];   /* "/annotation/object/bndbox/xmin" */
    char       text[128];
    size_t     n_text;
    char       name[64];
    double     corner[4];
    unsigned   seen;        /* bits of the corners met in this object */
} voc;

static void fail(voc *v, status st)
{
    if (!v->st) v->st = st;
    XML_StopParser(v->parser, XML_FALSE);
}

static bool at(const voc *v, const char *path) { return !strcmp(v->path, path); }

static void on_start(void *user, const char *name, const char **atts)
{
    (void)atts;
    voc *v = user;
    size_t n = strlen(v->path), add = strlen(name) + 1;
    if (n + add >= sizeof v->path) {
        fail(v, status_raise(ST_DATA, __FILE__, __LINE__, "elements are nested too deep"));
        return;
    }
    v->path[n] = '/';
    memcpy(v->path + n + 1, name, add);
    v->n_text = 0;
    if (at(v, "/annotation/object")) *v->name = 0, v->seen = 0;
}

static void on_text(void *user, const char *s, int n)
{
    voc *v = user;
    for (int i = 0; i < n && v->n_text + 1 < sizeof v->text; i++) v->text[v->n_text++] = s[i];
}

/* The text of the element that ends, without white space around it. */
static const char *trimmed(voc *v)
{
    char *s = v->text;
    v->text[v->n_text] = 0;
    while (v->n_text > 0 && strchr(" \t\r\n", v->text[v->n_text - 1])) v->text[--v->n_text] = 0;
    return s + strspn(s, " \t\r\n");
}

static void on_end(void *user, const char *name)
{
    voc *v = user;
    if (v->st) return; /* expat still ends an empty element whose start was refused; the path has no such element */
    static const char *const corner[4] = {"/annotation/object/bndbox/xmin", "/annotation/object/bndbox/ymin",
                                          "/annotation/object/bndbox/xmax", "/annotation/object/bndbox/ymax"};
    if (at(v, "/annotation/object/name")) snprintf(v->name, sizeof v->name, "%.63s", trimmed(v));
    else if (at(v, "/annotation/size/width")) v->out->width = atoi(trimmed(v));
    else if (at(v, "/annotation/size/height")) v->out->height = atoi(trimmed(v));
    for (int i = 0; i < 4; i++) {
        if (!at(v, corner[i])) continue;
        char *end;
        const char *s = trimmed(v);
        v->corner[i] = strtod(s, &end);
        if (end == s || *end || !isfinite(v->corner[i])) {
            fail(v, status_raise(ST_DATA, __FILE__, __LINE__, "%s is \"%s\"", name, s));
            return;
        }
        v->seen |= 1u << i;
    }
    if (at(v, "/annotation/object")) {
        if (v->seen != 15) {
            fail(v, status_raise(ST_DATA, __FILE__, __LINE__, "object \"%s\" has no complete bndbox", v->name));
            return;
        }
        int one = v->one_based;
        status st = boxes_add(v->out, v->corner[0] - one, v->corner[1] - one, v->corner[2], v->corner[3], v->name);
        if (st) fail(v, st);
    }
    v->path[strlen(v->path) - strlen(name) - 1] = 0;
    v->n_text = 0;
}

status voc_parse(boxes *b, const char *text, size_t n, bool one_based, const char *what)
{
    *b = (boxes){0};
    CHECK(n < (size_t)1 << 30, ST_DATA, "%s: %zu bytes are no VOC annotation", what, n);
    voc v = {.out = b, .one_based = one_based, .parser = XML_ParserCreate(NULL)};
    CHECK(v.parser, ST_RESOURCE, "%s: no memory for the XML parser", what);
    XML_SetUserData(v.parser, &v);
    XML_SetElementHandler(v.parser, on_start, on_end);
    XML_SetCharacterDataHandler(v.parser, on_text);
    status st = OK;
    enum XML_Status ok = XML_Parse(v.parser, text, (int)n, 1);
    unsigned long line = XML_GetCurrentLineNumber(v.parser);
    if (v.st) st = status_note(v.st, __FILE__, __LINE__, "%s:%lu", what, line);
    else if (ok != XML_STATUS_OK)
        st = status_raise(ST_DATA, __FILE__, __LINE__, "%s:%lu: %s", what, line, XML_ErrorString(XML_GetErrorCode(v.parser)));
    XML_ParserFree(v.parser);
    if (st) boxes_free(b);
    return st;
}
#else
#include "not_built.h"

status voc_parse(boxes *b, const char *text, size_t n, bool one_based, const char *what)
{
    (void)b, (void)text, (void)n, (void)one_based;
    return NOT_BUILT("libexpat1-dev", "Pascal VOC", what);
}
#endif
