/* npy: the head of a numpy array file: {'descr': '|u1', 'fortran_order': False, 'shape': (10, 28, 28), }. */
#include "many.h"

#include <stdlib.h>
#include <string.h>

typedef struct reader { const char *at, *end; } reader;

static void blanks(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t')) r->at++;
}

static bool take(reader *r, const char *word)
{
    blanks(r);
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n)) return false;
    r->at += n;
    return true;
}

static bool take_text(reader *r, char *out, size_t room)
{
    blanks(r);
    if (r->at == r->end || (*r->at != '\'' && *r->at != '"')) return false;
    const char *from = r->at + 1, *to = memchr(from, *r->at, (size_t)(r->end - from));
    if (!to || (size_t)(to - from) >= room) return false;
    memcpy(out, from, (size_t)(to - from));
    out[to - from] = 0;
    r->at = to + 1;
    return true;
}

static status take_shape(reader *r, npy *h, const char *what)
{
    CHECK(take(r, "("), ST_DATA, "%s: shape is no tuple", what);
    h->ndim = 0, h->count = 1;
    while (!take(r, ")")) {
        int64_t v = 0;
        const char *from = r->at;
        CHECK(h->ndim < NPY_DIMS, ST_DATA, "%s: more than %d dimensions", what, NPY_DIMS);
        for (; r->at < r->end && *r->at >= '0' && *r->at <= '9' && v < INT64_MAX / 20; r->at++) v = 10 * v + (*r->at - '0');
        CHECK(r->at > from, ST_DATA, "%s: shape has something that is no number", what);
        CHECK(v == 0 || h->count <= ((int64_t)1 << 48) / v, ST_DATA, "%s: shape is too large", what);
        h->dim[h->ndim++] = v;
        h->count *= v;
        if (take(r, ",")) continue;
        CHECK(take(r, ")"), ST_DATA, "%s: shape has no end", what);
        break;
    }
    return OK;
}

static status take_type(npy *h, const char *descr, const char *what)
{
    const char *order = "<>|=", *rest = strchr(order, *descr) ? descr + 1 : descr;
    char *end = NULL;
    h->big = *descr == '>';
    h->kind = *rest;
    CHECK(*rest, ST_DATA, "%s: elements of type \"%.20s\"", what, descr);
    h->bytes = (int)strtol(rest + 1, &end, 10);
    if (strchr("US", *rest) && !*end && h->bytes >= 1 && h->bytes <= NPY_TEXT_MAX / 4) {
        h->bytes *= *rest == 'U' ? 4 : 1;
        return OK;
    }
    CHECK(strchr("uibf", *rest) && !*end && (h->bytes == 1 || h->bytes == 2 || h->bytes == 4 || h->bytes == 8), ST_DATA,
          "%s: elements of type \"%.20s\", whole numbers are read", what, descr);
    return OK;
}

status npy_parse(npy *h, const void *bytes, size_t n, const char *what)
{
    const uint8_t *b = bytes;
    *h = (npy){0};
    CHECK(n >= 12 && !memcmp(b, "\x93NUMPY", 6), ST_DATA, "%s: no numpy array", what);
    CHECK(b[6] >= 1 && b[6] <= 3, ST_DATA, "%s: numpy format version %d, 1 to 3 are read", what, b[6]);
    size_t start = b[6] == 1 ? 10 : 12, length = b[8] | (size_t)b[9] << 8;
    if (b[6] > 1) length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    CHECK(length <= NPY_HEAD_MAX - start && start + length <= n, ST_DATA, "%s: a head of %zu bytes", what, length);
    h->head = start + length;
    reader r = {(const char *)b + start, (const char *)b + start + length};
    char word[32], descr[32] = "";
    unsigned seen = 0;
    CHECK(take(&r, "{"), ST_DATA, "%s: damaged head", what);
    while (!take(&r, "}")) {
        CHECK(take_text(&r, word, sizeof word) && take(&r, ":"), ST_DATA, "%s: damaged head", what);
        unsigned bit = !strcmp(word, "descr") ? 1 : !strcmp(word, "fortran_order") ? 2 : !strcmp(word, "shape") ? 4 : 0;
        CHECK(bit && !(seen & bit), ST_DATA, "%s: key \"%s\" in the head", what, word);
        seen |= bit;
        if (bit == 1) {
            CHECK(take_text(&r, descr, sizeof descr), ST_DATA, "%s: elements that are records, whole numbers are read", what);
            TRY(take_type(h, descr, what), "head");
        } else if (bit == 2) {
            h->fortran = take(&r, "True");
            CHECK(h->fortran || take(&r, "False"), ST_DATA, "%s: damaged head", what);
        } else TRY(take_shape(&r, h, what), "head");
        if (take(&r, ",")) continue;
        CHECK(take(&r, "}"), ST_DATA, "%s: damaged head", what);
        break;
    }
    blanks(&r);
    CHECK(seen == 7 && r.at == r.end, ST_DATA, "%s: damaged head", what);
    return OK;
}
