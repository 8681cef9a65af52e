/* dicom_parse: walks the elements of a DICOM file (implicit, explicit, big endian, deflated), every length checked against the file.
 * Source: DICOM PS3.5 (data structures and encoding) and PS3.10 (files). */
#include "dicom.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* ---- transfer syntaxes -------------------------------------------------------------------------------------------------------- */

static const struct { const char *uid, *name; } syntaxes[] = {
    {"1.2.840.10008.1.2", "implicit little endian"},
    {"1.2.840.10008.1.2.1", "explicit little endian"},
    {"1.2.840.10008.1.2.1.99", "deflated explicit little endian"},
    {"1.2.840.10008.1.2.2", "explicit big endian"},
    {"1.2.840.10008.1.2.5", "RLE"},
    {"1.2.840.10008.1.2.8.1", "deflated frames"},
    {"1.2.840.10008.1.2.4.50", "JPEG baseline"},
    {"1.2.840.10008.1.2.4.51", "JPEG extended"},
    {"1.2.840.10008.1.2.4.57", "JPEG lossless"},
    {"1.2.840.10008.1.2.4.70", "JPEG lossless, first order"},
    {"1.2.840.10008.1.2.4.80", "JPEG-LS lossless"},
    {"1.2.840.10008.1.2.4.81", "JPEG-LS near-lossless"},
    {"1.2.840.10008.1.2.4.90", "JPEG 2000 lossless"},
    {"1.2.840.10008.1.2.4.91", "JPEG 2000"}};

const char *dicom_syntax_name(const char *uid)
{
    for (size_t i = 0; i < sizeof syntaxes / sizeof *syntaxes; i++)
        if (!strcmp(syntaxes[i].uid, uid)) return syntaxes[i].name;
    return NULL;
}

/* ---- numbers and texts ---------------------------------------------------------------------------------------------------------- */

typedef struct cursor { const uint8_t *at, *end; bool big, explicit_vr; } cursor;
typedef struct element { uint32_t tag; char vr[3]; uint32_t length; } element;
enum { UNDEFINED = 0xffffffffu, ITEM = 0xfffee000u, ITEM_END = 0xfffee00du, SEQUENCE_END = 0xfffee0ddu };
#define TAG(group, number) ((uint32_t)(group) << 16 | (number))

static uint32_t u16_at(const uint8_t *p, bool big) { return big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0]; }
static uint32_t u32_at(const uint8_t *p, bool big)
{
    return big ? u16_at(p, true) << 16 | u16_at(p + 2, true) : u16_at(p + 2, false) << 16 | u16_at(p, false);
}

static void text_of(dicom_span v, char *out, size_t room)
{
    size_t n = v.n < room - 1 ? v.n : room - 1;
    while (n > 0 && (v.at[n - 1] == ' ' || v.at[n - 1] == 0)) n--;
    memcpy(out, v.at, n);
    out[n] = 0;
}

/* Decimal strings "a\b\c"; false unless there are that many finite ones. */
static bool decimals(dicom_span v, double *out, int n)
{
    char text[512];
    text_of(v, text, sizeof text);
    char *p = text, *end;
    for (int i = 0; i < n; i++) {
        out[i] = strtod(p, &end);
        if (end == p || !isfinite(out[i]) || fabs(out[i]) > 1e12) return false;
        while (*end == ' ') end++;
        if (i + 1 < n && *end++ != '\\') return false;
        p = end;
    }
    return true;
}

/* ---- elements --------------------------------------------------------------------------------------------------------------------- */

enum where { TOP, GROUPS, MODALITY_LUT, ELSEWHERE }; /* GROUPS: functional groups, shared or of a frame */
static status walk(dicom_file *f, cursor *c, enum where where, int depth);

static status next_element(const dicom_file *f, cursor *c, element *e)
{
    CHECK(c->end - c->at >= 8, ST_DATA, "%s: the file ends inside a DICOM element", f->what);
    e->tag = TAG(u16_at(c->at, c->big), u16_at(c->at + 2, c->big));
    c->at += 4;
    memset(e->vr, 0, sizeof e->vr);
    if (!c->explicit_vr || e->tag >> 16 == 0xfffe) {
        e->length = u32_at(c->at, c->big);
        c->at += 4;
        return OK;
    }
    memcpy(e->vr, c->at, 2);
    static const char wide[] = "OB OW OF OD OL OV SQ UC UR UT UN SV UV ";
    bool letters = e->vr[0] >= 'A' && e->vr[0] <= 'Z' && e->vr[1] >= 'A' && e->vr[1] <= 'Z';
    CHECK(letters, ST_DATA, "%s: no type of values at element (%04x,%04x)", f->what, e->tag >> 16, e->tag & 0xffff);
    if (strstr(wide, e->vr)) {
        CHECK(c->end - c->at >= 8, ST_DATA, "%s: the file ends inside a DICOM element", f->what);
        e->length = u32_at(c->at + 4, c->big);
        c->at += 8;
    } else {
        e->length = u16_at(c->at + 2, c->big);
        c->at += 4;
    }
    return OK;
}

static status fits(const dicom_file *f, const cursor *c, const element *e)
{
    CHECK(e->length <= (size_t)(c->end - c->at), ST_DATA, "%s: element (%04x,%04x) says %u bytes, the file has %zu more", f->what, e->tag >> 16,
          e->tag & 0xffff, e->length, (size_t)(c->end - c->at));
    return OK;
}

/* Items of a sequence from behind its head. end NULL: to the sequence's own end mark. */
static status walk_items(dicom_file *f, cursor *c, const uint8_t *end, enum where inside, int depth)
{
    CHECK(depth < DICOM_DEPTH_MAX, ST_DATA, "%s: DICOM sequences nested more than %d deep", f->what, DICOM_DEPTH_MAX);
    while (!end || c->at < end) {
        element e = {0};
        TRY(next_element(f, c, &e), "a sequence");
        if (e.tag == SEQUENCE_END) return OK;
        CHECK(e.tag == ITEM, ST_DATA, "%s: element (%04x,%04x) where an item of a sequence should be", f->what, e.tag >> 16, e.tag & 0xffff);
        cursor in = *c;
        if (e.length != UNDEFINED) {
            TRY(fits(f, c, &e), "a sequence");
            in.end = c->at + e.length;
        }
        TRY(walk(f, &in, inside, depth + (e.length == UNDEFINED ? 1 : 0)), "a sequence");
        c->at = e.length == UNDEFINED ? in.at : in.end;
    }
    return OK;
}

static status take_fragments(dicom_file *f, cursor *c)
{
    f->encapsulated = true;
    for (int i = 0;; i++) {
        element e = {0};
        TRY(next_element(f, c, &e), "compressed pixels");
        if (e.tag == SEQUENCE_END) return OK;
        CHECK(e.tag == ITEM, ST_DATA, "%s: compressed pixels are cut or damaged", f->what);
        TRY(fits(f, c, &e), "compressed pixels");
        dicom_span s = {c->at, e.length};
        c->at += e.length;
        if (i == 0) {
            f->offsets = s;
            continue;
        }
        if (f->n_fragments == f->fragment_room) {
            int room = f->fragment_room ? 2 * f->fragment_room : 16;
            TRY(mem_grow(&f->fragment, (size_t)room * sizeof *f->fragment, "fragments"), "%s", f->what);
            f->fragment_room = room;
        }
        f->fragment[f->n_fragments++] = s;
    }
}

static void take_lut(dicom_lut *l, bool data, dicom_span v, bool big)
{
    if (data) l->data = v;
    if (data || v.n < 6) return;
    int n = (int)u16_at(v.at, big);
    l->n = n ? n : 65536, l->first = (int)u16_at(v.at + 2, big), l->bits = (int)u16_at(v.at + 4, big);
}

/* A nanometre to a kilometre: beyond lie slips, and numbers that cannot be squared. */
static bool spacing_of(dicom_file *f, dicom_span v)
{
    return decimals(v, f->spacing, 2) && f->spacing[0] > 1e-6 && f->spacing[0] < 1e6 && f->spacing[1] > 1e-6 && f->spacing[1] < 1e6;
}

/* Geometry and scale, of the file or of its functional groups. */
static void take_geometry(dicom_file *f, uint32_t tag, dicom_span v)
{
    switch (tag) {
    case TAG(0x0028, 0x0030): f->has_spacing = spacing_of(f, v); break;
    case TAG(0x0018, 0x1164): /* at the detector, if nothing better is said */
        if (!f->has_spacing) f->has_spacing = spacing_of(f, v);
        break;
    case TAG(0x0028, 0x1052): (void)decimals(v, &f->intercept, 1); break;
    case TAG(0x0028, 0x1053): (void)decimals(v, &f->slope, 1); break;
    default: break;
    }
}

static bool letter(int c) { return isalnum((unsigned char)c); }

/* Is it a word, or some words, of the path? Upper and lower case are the same. */
static bool mentions(const char *path, const char *words)
{
    size_t n = strlen(words);
    for (const char *at = path; n >= 3 && (at = strcasestr(at, words)); at++)
        if ((at == path || !letter(at[-1])) && !letter(at[n])) return true;
    return false;
}

/* A patient's name, "family^given^middle^...", or number. */
static bool path_tells(const char *path, dicom_span v)
{
    char whole[65], part[65];
    text_of(v, whole, sizeof whole);
    if (mentions(path, whole)) return true;
    for (const char *at = whole; *at;) {
        size_t n = strcspn(at, "^= ,");
        snprintf(part, sizeof part, "%.*s", (int)n, at);
        if (mentions(path, part)) return true;
        at += n;
        at += strspn(at, "^= ,");
    }
    return false;
}

static void take_top(dicom_file *f, uint32_t tag, dicom_span v, bool big)
{
    int number = v.n >= 2 ? (int)u16_at(v.at, big) : 0;
    double d;
    switch (tag) {
    case TAG(0x0008, 0x0060): text_of(v, f->modality, sizeof f->modality); break;
    case TAG(0x0010, 0x0010):
    case TAG(0x0010, 0x0020): f->path_tells |= path_tells(f->what, v); break;
    case TAG(0x0020, 0x000e): f->series = crc32c(0, v.at, v.n); break;
    case TAG(0x0020, 0x0032): f->has_position = decimals(v, f->position, 3); break;
    case TAG(0x0020, 0x0037): f->has_orientation = decimals(v, f->orientation, 6); break;
    case TAG(0x0028, 0x0002): f->samples = number; break;
    case TAG(0x0028, 0x0004): text_of(v, f->photometric, sizeof f->photometric); break;
    case TAG(0x0028, 0x0006): f->planar = number; break;
    case TAG(0x0028, 0x0008): f->frames = decimals(v, &d, 1) && d >= 0 && d < 1e9 ? (int)d : -1; break;
    case TAG(0x0028, 0x0010): f->rows = number; break;
    case TAG(0x0028, 0x0011): f->cols = number; break;
    case TAG(0x0028, 0x0100): f->allocated = number; break;
    case TAG(0x0028, 0x0101): f->stored = number; break;
    case TAG(0x0028, 0x0103): f->is_signed = number; break;
    default:
        for (uint32_t k = 0; k < 3; k++) {
            if (tag == TAG(0x0028, 0x1101 + k)) take_lut(&f->palette[k], false, v, big);
            if (tag == TAG(0x0028, 0x1201 + k)) take_lut(&f->palette[k], true, v, big);
        }
    }
}

static void take(dicom_file *f, uint32_t tag, dicom_span v, enum where where, bool big)
{
    if (where == MODALITY_LUT && (tag == TAG(0x0028, 0x3002) || tag == TAG(0x0028, 0x3006)))
        take_lut(&f->lut, tag == TAG(0x0028, 0x3006), v, big);
    if (where == MODALITY_LUT || where == ELSEWHERE) return;
    if (where == TOP) take_top(f, tag, v, big);
    take_geometry(f, tag, v);
}

static enum dicom_pixels pixels_of(uint32_t tag)
{
    switch (tag) {
    case TAG(0x7fe0, 0x0010): return DICOM_INTEGERS;
    case TAG(0x7fe0, 0x0008): return DICOM_FLOATS;
    case TAG(0x7fe0, 0x0009): return DICOM_DOUBLES;
    default: return DICOM_NO_PIXELS;
    }
}

/* What the items of a sequence are that is met at `where`. */
static enum where inside_of(enum where where, uint32_t tag)
{
    if (where == GROUPS || (where == TOP && (tag == TAG(0x5200, 0x9229) || tag == TAG(0x5200, 0x9230)))) return GROUPS;
    return where == TOP && tag == TAG(0x0028, 0x3000) ? MODALITY_LUT : ELSEWHERE;
}

/* A data set: to the end of c, or to the mark that ends an item. */
static status walk(dicom_file *f, cursor *c, enum where where, int depth)
{
    while (c->at < c->end) {
        element e = {0};
        if (where == TOP && depth == 0 && c->end - c->at < 8) return OK; /* padding behind the last element */
        TRY(next_element(f, c, &e), "data set");
        if (e.tag == ITEM_END || e.tag == SEQUENCE_END) return OK;
        CHECK(++f->n_elements <= 4000000, ST_DATA, "%s: more than 4000000 DICOM elements", f->what);
        enum dicom_pixels pixels = where == TOP ? pixels_of(e.tag) : DICOM_NO_PIXELS;
        if (pixels) {
            f->kind = pixels;
            if (e.length == UNDEFINED) {
                TRY(take_fragments(f, c), "pixels");
                continue;
            }
        }
        enum where inside = inside_of(where, e.tag);
        bool sequence = e.length == UNDEFINED || !strcmp(e.vr, "SQ");
        /* without value types a sequence of known length looks like any value: the few we want are known by their tags */
        if (!*e.vr || !strcmp(e.vr, "UN"))
            sequence |= (where == TOP && inside != ELSEWHERE) || e.tag == TAG(0x0020, 0x9113) || e.tag == TAG(0x0020, 0x9116)
                        || e.tag == TAG(0x0028, 0x9110) || e.tag == TAG(0x0028, 0x9145);
        cursor in = *c;
        if (!strcmp(e.vr, "UN") && sequence) in.explicit_vr = in.big = false;
        if (e.length != UNDEFINED) {
            TRY(fits(f, c, &e), "data set");
            in.end = c->at + e.length;
        }
        if (!sequence || (e.length != UNDEFINED && inside == ELSEWHERE)) {
            dicom_span v = {c->at, e.length};
            if (pixels) f->pixels = v;
            else take(f, e.tag, v, where, c->big);
            c->at = in.end;
            continue;
        }
        TRY(walk_items(f, &in, e.length == UNDEFINED ? NULL : in.end, inside, depth + 1), "data set");
        c->at = e.length == UNDEFINED ? in.at : in.end;
    }
    return OK;
}

/* ---- files ---------------------------------------------------------------------------------------------------------------------- */

bool dicom_has_header(const void *bytes, size_t n) { return n > 132 && !memcmp((const char *)bytes + 128, "DICM", 4); }

bool dicom_is(const void *bytes, size_t n)
{
    const uint8_t *b = bytes;
    if (dicom_has_header(b, n)) return true;
    /* a data set without file header begins with group 2 or 8, little endian */
    if (n < 16 || b[1] || (b[0] != 8 && b[0] != 2) || b[3]) return false;
    bool letters = b[4] >= 'A' && b[4] <= 'Z' && b[5] >= 'A' && b[5] <= 'Z';
    return letters || (u32_at(b + 4, false) <= 64 && u32_at(b + 4, false) % 2 == 0);
}

/* Group 2, always explicit little endian: only the transfer syntax counts. */
static status parse_header(dicom_file *f, cursor *c)
{
    while (c->end - c->at >= 8 && u16_at(c->at, false) == 2) {
        element e = {0};
        TRY(next_element(f, c, &e), "file header");
        TRY(fits(f, c, &e), "file header");
        if (e.tag == TAG(0x0002, 0x0010)) text_of((dicom_span){c->at, e.length}, f->syntax, sizeof f->syntax);
        c->at += e.length;
    }
    CHECK(*f->syntax, ST_DATA, "%s: DICOM that names no transfer syntax", f->what);
    CHECK(dicom_syntax_name(f->syntax), ST_DATA, "%s: DICOM transfer syntax %s is not read", f->what, f->syntax);
    f->explicit_vr = strcmp(f->syntax, "1.2.840.10008.1.2") != 0;
    f->big = !strcmp(f->syntax, "1.2.840.10008.1.2.2");
    f->deflated = !strcmp(f->syntax, "1.2.840.10008.1.2.1.99");
    return OK;
}

static status inflate_rest(dicom_file *f, cursor *c)
{
    size_t n = (size_t)(c->end - c->at), room = 0, got = 0;
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)c->at, .avail_in = (uInt)(n < UINT32_MAX ? n : UINT32_MAX)};
    CHECK(inflateInit2(&z, -15) == Z_OK, ST_RESOURCE, "%s: no memory for zlib", f->what);
    int rc = Z_OK;
    status st = OK;
    while (rc == Z_OK) {
        if (got == room) {
            room = room ? 2 * room : 4 * n + 65536;
            CHECK_TO(out, room <= DICOM_INFLATED_MAX, ST_DATA, "%s: inflates to more than %zu MiB", f->what, DICOM_INFLATED_MAX >> 20);
            TRY_TO(out, mem_grow(&f->inflated, room, "inflated DICOM"), "%s", f->what);
        }
        z.next_out = f->inflated + got;
        z.avail_out = (uInt)(room - got);
        rc = inflate(&z, Z_NO_FLUSH);
        got = (size_t)(z.next_out - f->inflated);
    }
    CHECK_TO(out, rc == Z_STREAM_END, ST_DATA, "%s: damaged deflated data", f->what);
    c->at = f->inflated;
    c->end = f->inflated + got;
out:
    inflateEnd(&z);
    return st;
}

static status parse(dicom_file *f, const uint8_t *b, size_t n)
{
    CHECK(dicom_has_header(b, n), ST_DATA, "%s: DICOM without its file header; how its numbers are stored is not said", f->what);
    cursor c = {.at = b + 132, .end = b + n, .explicit_vr = true};
    TRY(parse_header(f, &c), "DICOM");
    if (f->deflated) TRY(inflate_rest(f, &c), "DICOM");
    c.explicit_vr = f->explicit_vr;
    /* some programs write an implicit data set under a compressed syntax: its first element has no letters where the type belongs */
    if (f->explicit_vr && !f->big && c.end - c.at >= 8 && (c.at[4] < 'A' || c.at[4] > 'Z')) c.explicit_vr = f->explicit_vr = false;
    c.big = f->big;
    return walk(f, &c, TOP, 0);
}

status dicom_parse(dicom_file *f, const void *bytes, size_t n, const char *what)
{
    *f = (dicom_file){.what = what, .frames = 1, .samples = 1, .slope = 1};
    status st = parse(f, bytes, n);
    if (st) dicom_free(f);
    return st;
}

void dicom_free(dicom_file *f)
{
    free(f->fragment);
    free(f->inflated);
    f->fragment = NULL, f->inflated = NULL;
}
