/* onnx: an ONNX model as it grows (IR version 8, operator set 13; onnx.ai). Constants and nodes are declared in the order of the network;
 * the first failure is kept, later calls do nothing, and onnx_write reports it. */
#ifndef USE_ONNX_H
#define USE_ONNX_H

#include "medley/model.h"

typedef struct onnx onnx;
typedef struct onnx_value { char name[112]; } onnx_value;                              /* a tensor of the graph */
typedef struct onnx_attr { const char *name; int n; int64_t v[4]; } onnx_attr;         /* n 0: the integer v[0]; else a list of n */

MUST status onnx_open(onnx **out, const char *graph_name);
void onnx_close(onnx *g);
void onnx_fail(onnx *g, status st);                             /* keeps st, whose message is this thread's last, unless something failed before */

onnx_value onnx_input(onnx *g, const char *name, int ndim, const int64_t *shape);       /* float32; size -1: "batch" */
void       onnx_output(onnx *g, const char *name, onnx_value v, int ndim, const int64_t *shape);
/* Constants. A name that is there already is that constant. `x` is lent until onnx_write; onnx_own: the model frees it. */
onnx_value onnx_lend(onnx *g, const char *name, int ndim, const int64_t *shape, const float *x);
onnx_value onnx_own(onnx *g, const char *name, int ndim, const int64_t *shape, float *x);
onnx_value onnx_own_index(onnx *g, const char *name, int64_t n, int64_t *x);            /* (n) int64 */
bool       onnx_has(const onnx *g, const char *name, onnx_value *out);
onnx_value onnx_number(onnx *g, const char *name, float x);
onnx_value onnx_list(onnx *g, int n, const int64_t *x);                                 /* a shape or the pads of an operator, n <= 8 */

/* One node. attr: up to the one without a name; NULL: none. out: (n_out). */
void       onnx_node(onnx *g, const char *op, int n_in, const onnx_value *in, int n_out, onnx_value *out, const onnx_attr *attr);
onnx_value onnx_one(onnx *g, const char *op, onnx_value a, const onnx_attr *attr);      /* nodes with one output */
onnx_value onnx_two(onnx *g, const char *op, onnx_value a, onnx_value b, const onnx_attr *attr);

void       onnx_meta(onnx *g, const char *key, const char *value);
/* Atomically. ST_RESOURCE; whatever went wrong before. */
MUST status onnx_write(onnx *g, const char *path, const char *producer, const char *version, int *n_nodes);

/* The encoder at images of H x W (multiples of 32): input "image" (batch,3,H,W) from 0 to 1; outputs "stride4" .. "stride32" (batch,C,h,w),
 * the four stages, and "vector" (batch,8C), what `medley embed` gives. *vector: the same, for a head. */
void onnx_encoder(onnx *g, const swin *net, const params *pt, const float *w, int H, int W, onnx_value *vector);

#endif
