/* onnx: the file format: protobuf messages of onnx.proto (https://github.com/onnx/onnx, Apache-2.0), of which a dozen fields are needed. A
 * message holds the lengths of those inside it, so small ones are made in a buffer, and what is large is counted before it is written. */
#include "onnx.h"

#include <stdlib.h>
#include <string.h>

/* Field numbers of onnx.proto. */
enum {
    MODEL_IR_VERSION = 1, MODEL_PRODUCER = 2, MODEL_PRODUCER_VERSION = 3, MODEL_GRAPH = 7, MODEL_OPSET = 8, MODEL_METADATA = 14,
    OPSET_VERSION = 2, ENTRY_KEY = 1, ENTRY_VALUE = 2,
    GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12,
    NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_NAME = 3, NODE_OP = 4, NODE_ATTRIBUTE = 5,
    ATTRIBUTE_NAME = 1, ATTRIBUTE_I = 3, ATTRIBUTE_INTS = 8, ATTRIBUTE_TYPE = 20,
    TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8, TENSOR_RAW = 9,
    INFO_NAME = 1, INFO_TYPE = 2, TYPE_TENSOR = 1, TYPE_ELEMENT = 1, TYPE_SHAPE = 2, SHAPE_DIM = 1, DIM_VALUE = 1, DIM_PARAM = 2,
};
enum { ELEMENT_FLOAT = 1, ELEMENT_INT64 = 7, ATTRIBUTE_IS_INT = 2, ATTRIBUTE_IS_INTS = 7, IR_VERSION = 8, OPSET = 13 };

typedef struct constant {
    onnx_value  name;
    int         ndim;
    int64_t     shape[5];
    int         element;
    size_t      n_bytes;
    const void *data;
    void       *own;      /* NULL: lent */
} constant;

struct onnx {
    status    st;
    constant *constant;
    int       n_constants, room, n_nodes, n_values;
    FILE     *head, *body;          /* fields of the model before the graph; of the graph without its constants */
    char     *head_text, *body_text;
    size_t    head_bytes, body_bytes;
};

/* ---- protobuf ---------------------------------------------------------------------------------------------------------------------- */

typedef struct message { uint8_t b[2048]; size_t n; bool cut; } message;

static void put_bytes(message *m, const void *data, size_t n)
{
    if (n > sizeof m->b - m->n) {
        m->cut = true;
        return;
    }
    memcpy(m->b + m->n, data, n);
    m->n += n;
}

static size_t varint(uint8_t out[10], uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) out[n++] = (uint8_t)(v | 0x80);
    out[n++] = (uint8_t)v;
    return n;
}

static void put_varint(message *m, uint64_t v)
{
    uint8_t b[10];
    put_bytes(m, b, varint(b, v));
}

enum wire { WIRE_VARINT = 0, WIRE_BYTES = 2 };

static void put_int(message *m, int field, int64_t v)
{
    put_varint(m, (uint64_t)(field << 3 | WIRE_VARINT));
    put_varint(m, (uint64_t)v);
}

static void put_field(message *m, int field, const void *data, size_t n)
{
    put_varint(m, (uint64_t)(field << 3 | WIRE_BYTES));
    put_varint(m, n);
    put_bytes(m, data, n);
}

static void put_text(message *m, int field, const char *s) { put_field(m, field, s, strlen(s)); }

static void put_message(message *m, int field, const message *inner)
{
    put_field(m, field, inner->b, inner->n);
    m->cut |= inner->cut;
}

/* ---- the model ----------------------------------------------------------------------------------------------------------------------- */

status onnx_open(onnx **out, const char *graph_name)
{
    onnx *g;
    message m = {.n = 0};
    TRY(mem_alloc(&g, sizeof *g, "model"), "ONNX");
    status st = mem_text_open(&g->head, &g->head_text, &g->head_bytes, "model");
    if (!st) st = mem_text_open(&g->body, &g->body_text, &g->body_bytes, "graph");
    if (st) return onnx_close(g), st;
    put_text(&m, GRAPH_NAME, graph_name);
    fwrite(m.b, 1, m.n, g->body);
    *out = g;
    return OK;
}

void onnx_close(onnx *g)
{
    if (!g) return;
    for (int i = 0; i < g->n_constants; i++) free(g->constant[i].own);
    if (g->head) fclose(g->head);
    if (g->body) fclose(g->body);
    free(g->constant), free(g->head_text), free(g->body_text), free(g);
}

void onnx_fail(onnx *g, status st)
{
    if (!g->st) g->st = st;
}

/* Writes one message as a field of the model or the graph. */
static void add(onnx *g, FILE *to, int field, const message *inner)
{
    message m = {.n = 0};
    put_varint(&m, (uint64_t)(field << 3 | WIRE_BYTES));
    put_varint(&m, inner->n);
    if (inner->cut) onnx_fail(g, status_raise(ST_BUG, __FILE__, __LINE__, "ONNX: a message of more than %zu bytes", sizeof inner->b));
    if (g->st) return;
    fwrite(m.b, 1, m.n, to); /* mem_text_close reports what failed */
    fwrite(inner->b, 1, inner->n, to);
}

static onnx_value value_named(const char *name)
{
    onnx_value v;
    snprintf(v.name, sizeof v.name, "%s", name);
    return v;
}

static void add_info(onnx *g, int field, const char *name, int ndim, const int64_t *shape)
{
    message dims = {.n = 0}, tensor = {.n = 0}, type = {.n = 0}, info = {.n = 0};
    for (int i = 0; i < ndim; i++) {
        message dim = {.n = 0};
        if (shape[i] < 0) put_text(&dim, DIM_PARAM, "batch");
        else put_int(&dim, DIM_VALUE, shape[i]);
        put_message(&dims, SHAPE_DIM, &dim);
    }
    put_int(&tensor, TYPE_ELEMENT, ELEMENT_FLOAT);
    put_message(&tensor, TYPE_SHAPE, &dims);
    put_message(&type, TYPE_TENSOR, &tensor);
    put_text(&info, INFO_NAME, name);
    put_message(&info, INFO_TYPE, &type);
    add(g, g->body, field, &info);
}

onnx_value onnx_input(onnx *g, const char *name, int ndim, const int64_t *shape)
{
    add_info(g, GRAPH_INPUT, name, ndim, shape);
    return value_named(name);
}

void onnx_output(onnx *g, const char *name, onnx_value v, int ndim, const int64_t *shape)
{
    message node = {.n = 0};
    put_text(&node, NODE_INPUT, v.name);
    put_text(&node, NODE_OUTPUT, name);
    put_text(&node, NODE_NAME, name);
    put_text(&node, NODE_OP, "Identity");
    add(g, g->body, GRAPH_NODE, &node);
    add_info(g, GRAPH_OUTPUT, name, ndim, shape);
    g->n_nodes++;
}

void onnx_meta(onnx *g, const char *key, const char *value)
{
    message entry = {.n = 0}, m = {.n = 0}; /* the value may be longer than they hold */
    size_t n = strlen(value);
    put_text(&entry, ENTRY_KEY, key);
    put_varint(&entry, ENTRY_VALUE << 3 | WIRE_BYTES);
    put_varint(&entry, n);
    put_varint(&m, MODEL_METADATA << 3 | WIRE_BYTES);
    put_varint(&m, entry.n + n);
    fwrite(m.b, 1, m.n, g->head);
    fwrite(entry.b, 1, entry.n, g->head);
    fwrite(value, 1, n, g->head);
}

/* ---- constants ------------------------------------------------------------------------------------------------------------------------ */

bool onnx_has(const onnx *g, const char *name, onnx_value *out)
{
    for (int i = 0; i < g->n_constants; i++)
        if (strcmp(g->constant[i].name.name, name) == 0) return *out = g->constant[i].name, true;
    return false;
}

static onnx_value constant_of(onnx *g, const char *name, int element, int ndim, const int64_t *shape, const void *x, void *own)
{
    onnx_value v;
    constant c = {.name = value_named(name), .ndim = ndim, .element = element, .data = x, .own = own};
    if (g->st || onnx_has(g, name, &v)) {
        free(own);
        return c.name;
    }
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) n *= c.shape[i] = shape[i];
    c.n_bytes = (size_t)n * (element == ELEMENT_INT64 ? 8 : 4);
    if (g->n_constants == g->room) {
        int room = g->room ? 2 * g->room : 256;
        status st = mem_grow(&g->constant, sizeof c * (size_t)room, "constants of the model");
        if (st) {
            onnx_fail(g, st);
            free(own);
            return c.name;
        }
        g->room = room;
    }
    g->constant[g->n_constants++] = c;
    return c.name;
}

onnx_value onnx_lend(onnx *g, const char *name, int ndim, const int64_t *shape, const float *x)
{
    return constant_of(g, name, ELEMENT_FLOAT, ndim, shape, x, NULL);
}

onnx_value onnx_own(onnx *g, const char *name, int ndim, const int64_t *shape, float *x)
{
    return constant_of(g, name, ELEMENT_FLOAT, ndim, shape, x, x);
}

onnx_value onnx_own_index(onnx *g, const char *name, int64_t n, int64_t *x)
{
    return constant_of(g, name, ELEMENT_INT64, 1, &n, x, x);
}

onnx_value onnx_number(onnx *g, const char *name, float x)
{
    float *own = NULL;
    onnx_value v = value_named(name);
    if (g->st || onnx_has(g, name, &v)) return v;
    status st = mem_alloc(&own, sizeof *own, "number");
    if (st) return onnx_fail(g, st), v;
    *own = x;
    return onnx_own(g, name, 0, NULL, own);
}

onnx_value onnx_list(onnx *g, int n, const int64_t *x)
{
    char name[112] = "list";
    int64_t *own = NULL;
    onnx_value v;
    for (int i = 0; i < n; i++) {
        size_t used = strlen(name);
        snprintf(name + used, sizeof name - used, "%c%lld", i ? 'x' : ' ', (long long)x[i]);
    }
    if (g->st || onnx_has(g, name, &v)) return value_named(name);
    status st = mem_alloc(&own, sizeof *own * (size_t)n, "list");
    if (st) return onnx_fail(g, st), value_named(name);
    memcpy(own, x, sizeof *own * (size_t)n);
    return onnx_own_index(g, name, n, own);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------------------------------ */

void onnx_node(onnx *g, const char *op, int n_in, const onnx_value *in, int n_out, onnx_value *out, const onnx_attr *attr)
{
    message node = {.n = 0};
    for (int i = 0; i < n_in; i++) put_text(&node, NODE_INPUT, in[i].name);
    for (int i = 0; i < n_out; i++) {
        snprintf(out[i].name, sizeof out[i].name, "%s.%d", op, g->n_values++);
        put_text(&node, NODE_OUTPUT, out[i].name);
    }
    put_text(&node, NODE_NAME, out[0].name);
    put_text(&node, NODE_OP, op);
    for (; attr && attr->name; attr++) {
        message a = {.n = 0};
        put_text(&a, ATTRIBUTE_NAME, attr->name);
        if (attr->n == 0) put_int(&a, ATTRIBUTE_I, attr->v[0]);
        for (int i = 0; i < attr->n; i++) put_int(&a, ATTRIBUTE_INTS, attr->v[i]);
        put_int(&a, ATTRIBUTE_TYPE, attr->n ? ATTRIBUTE_IS_INTS : ATTRIBUTE_IS_INT);
        put_message(&node, NODE_ATTRIBUTE, &a);
    }
    add(g, g->body, GRAPH_NODE, &node);
    g->n_nodes++;
}

onnx_value onnx_one(onnx *g, const char *op, onnx_value a, const onnx_attr *attr)
{
    onnx_value out;
    onnx_node(g, op, 1, &a, 1, &out, attr);
    return out;
}

onnx_value onnx_two(onnx *g, const char *op, onnx_value a, onnx_value b, const onnx_attr *attr)
{
    onnx_value out;
    onnx_node(g, op, 2, (onnx_value[2]){a, b}, 1, &out, attr);
    return out;
}

/* ---- writing ---------------------------------------------------------------------------------------------------------------------------- */

/* All of a constant's message but its numbers, which come last. */
static message tensor_head(const constant *c)
{
    message m = {.n = 0};
    for (int i = 0; i < c->ndim; i++) put_int(&m, TENSOR_DIMS, c->shape[i]);
    put_int(&m, TENSOR_TYPE, c->element);
    put_text(&m, TENSOR_NAME, c->name.name);
    put_varint(&m, TENSOR_RAW << 3 | WIRE_BYTES);
    put_varint(&m, c->n_bytes);
    return m;
}

/* Tag and length of a field of n bytes. */
static size_t field_head(uint8_t out[20], int field, size_t n)
{
    size_t used = varint(out, (uint64_t)(field << 3 | WIRE_BYTES));
    return used + varint(out + used, n);
}

static status close_texts(onnx *g)
{
    FILE *head = g->head, *body = g->body;
    g->head = g->body = NULL;
    status st = mem_text_close(head, &g->head_text, "model"), other = mem_text_close(body, &g->body_text, "graph");
    return st ? st : other;
}

status onnx_write(onnx *g, const char *path, const char *producer, const char *version, int *n_nodes)
{
    message model = {.n = 0}, opset = {.n = 0};
    uint8_t b[20], *file, *to;
    TRY(g->st, "ONNX");
    put_int(&model, MODEL_IR_VERSION, IR_VERSION);
    put_text(&model, MODEL_PRODUCER, producer);
    put_text(&model, MODEL_PRODUCER_VERSION, version);
    put_int(&opset, OPSET_VERSION, OPSET);
    put_message(&model, MODEL_OPSET, &opset);
    CHECK(!model.cut, ST_BUG, "ONNX: name of the producer too long");
    TRY(close_texts(g), "ONNX");
    size_t graph = g->body_bytes;
    for (int i = 0; i < g->n_constants; i++) {
        size_t n = tensor_head(&g->constant[i]).n + g->constant[i].n_bytes;
        graph += field_head(b, GRAPH_INITIALIZER, n) + n;
    }
    CHECK(graph < (size_t)2000000000, ST_USAGE, "%s: more than the 2 GB that protobuf holds", path);
    size_t all = model.n + g->head_bytes + field_head(b, MODEL_GRAPH, graph) + graph;
    TRY(mem_alloc(&file, all, "ONNX file"), "%s", path);
    to = file;
#define APPEND(data, n) (memcpy(to, (data), (n)), to += (n))
    APPEND(model.b, model.n);
    if (g->head_bytes) APPEND(g->head_text, g->head_bytes);
    APPEND(b, field_head(b, MODEL_GRAPH, graph));
    APPEND(g->body_text, g->body_bytes);
    for (int i = 0; i < g->n_constants; i++) {
        const constant *c = &g->constant[i];
        message m = tensor_head(c);
        size_t n = field_head(b, GRAPH_INITIALIZER, m.n + c->n_bytes);
        APPEND(b, n);
        APPEND(m.b, m.n);
        APPEND(c->data, c->n_bytes);
    }
#undef APPEND
    status st = file_write_atomic(path, file, all);
    free(file);
    *n_nodes = g->n_nodes;
    return st;
}
