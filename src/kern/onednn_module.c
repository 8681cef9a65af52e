/* onednn_module: the door to oneDNN, and the table of the module. */
#if defined(HAVE_ONEDNN) /* the module alone is compiled so */
#include "onednn_module.h"

#include "medley_build.h"

#include <dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static dnnl_engine_t engine;

static bool open_engine(char name[64], bool *amx)
{
    const dnnl_version_t *v = dnnl_version();
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa(); /* asks the kernel for AMX, too; ONEDNN_MAX_CPU_ISA may say less */
    bool bf16 = (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
    *amx = (isa & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx;
    int n = snprintf(name, 64, "%s by oneDNN %d.%d.%d", *amx ? "AMX" : bf16 ? "AVX512-BF16" : "fp32", v->major, v->minor, v->patch);
    if (*amx) snprintf(name + n, 64 - (size_t)n, ", L2 %ld KiB", sysconf(_SC_LEVEL2_CACHE_SIZE) / 1024); /* by which it cuts there, K too */
    return bf16 && v->major == DNNL_VERSION_MAJOR && (engine || dnnl_engine_create(&engine, dnnl_cpu, 0) == dnnl_success);
}

static dnnl_format_tag_t panels(int width)
{
    return width == 64 ? dnnl_BA16a64b2a : width == 48 ? dnnl_BA16a48b2a : width == 32 ? dnnl_BA16a32b2a : dnnl_BA16a16b2a;
}

/* *p stays NULL where there is only the reference, which is a thousand times slower. */
static dnnl_status_t make_alone(const onednn_shape *s, dnnl_primitive_attr_t attr, dnnl_primitive_t *p, size_t *scratch)
{
    dnnl_memory_desc_t a, b, bias, c;
    dnnl_matmul_desc_t d;
    dnnl_post_ops_t add = NULL;
    dnnl_primitive_desc_t pd = NULL;
    const char *how = "";
#define STEP(call)                         \
    do {                                   \
        dnnl_status_t st_ = (call);        \
        if (st_ != dnnl_success) return st_; \
    } while (0)
    STEP(dnnl_memory_desc_init_by_tag(&a, 2, (dnnl_dims_t){s->M, s->K}, dnnl_bf16, dnnl_ab));
    STEP(dnnl_memory_desc_init_by_tag(&b, 2, (dnnl_dims_t){s->K, s->N}, dnnl_bf16, panels(s->width)));
    STEP(dnnl_memory_desc_init_by_tag(&bias, 2, (dnnl_dims_t){1, s->N}, dnnl_f32, dnnl_ab));
    STEP(dnnl_memory_desc_init_by_tag(&c, 2, (dnnl_dims_t){s->M, s->N}, dnnl_f32, dnnl_ab));
    STEP(dnnl_matmul_desc_init(&d, &a, &b, s->kind == ONEDNN_BIAS ? &bias : NULL, &c));
    STEP(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    if (s->kind == ONEDNN_ADD) {
        STEP(dnnl_post_ops_create(&add));
        dnnl_status_t st = dnnl_post_ops_append_sum(add, 1.0f);
        if (st == dnnl_success) st = dnnl_primitive_attr_set_post_ops(attr, add); /* which copies */
        dnnl_post_ops_destroy(add);
        STEP(st);
    }
    dnnl_status_t st = dnnl_primitive_desc_create(&pd, &d, attr, engine, NULL);
    if (st == dnnl_unimplemented) return dnnl_success;
    STEP(st);
    *scratch = dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0));
    st = dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &how);
    if (st == dnnl_success && strncmp(how, "ref", 3) != 0) st = dnnl_primitive_create(p, pd);
    dnnl_primitive_desc_destroy(pd);
    return st;
#undef STEP
}

static int make(const onednn_shape *s, void **matmul, size_t *scratch)
{
    int threads = omp_get_max_threads();
    dnnl_primitive_attr_t attr;
    dnnl_primitive_t p = NULL;
    *matmul = NULL;
    *scratch = 0;
    dnnl_status_t st = dnnl_primitive_attr_create(&attr);
    if (st != dnnl_success) return (int)st;
    omp_set_num_threads(1);
    st = make_alone(s, attr, &p, scratch);
    omp_set_num_threads(threads);
    dnnl_primitive_attr_destroy(attr);
    *matmul = p;
    return (int)st;
}

static int run(void *matmul, const uint32_t *A, const uint32_t *B, const float *bias, float *C, void *scratch)
{
    enum { ARGS = 5 };
    const int index[ARGS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD, DNNL_ARG_BIAS};
    const dnnl_query_t what[ARGS] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md, dnnl_query_scratchpad_md, dnnl_query_weights_md};
    void *const at[ARGS] = {(void *)(uintptr_t)A, (void *)(uintptr_t)B, C, scratch, (void *)(uintptr_t)bias};
    dnnl_exec_arg_t arg[ARGS];
    dnnl_stream_t stream;
    const_dnnl_primitive_desc_t pd;
    int threads = omp_get_max_threads(), n = 0;
    dnnl_status_t st = dnnl_primitive_get_primitive_desc(matmul, &pd);
    if (st == dnnl_success) st = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    if (st != dnnl_success) return (int)st;
    for (; n < ARGS - !bias && st == dnnl_success; n++) {
        arg[n] = (dnnl_exec_arg_t){index[n], NULL};
        st = dnnl_memory_create(&arg[n].memory, dnnl_primitive_desc_query_md(pd, what[n], what[n] == dnnl_query_weights_md && n == 4), engine, at[n]);
    }
    omp_set_num_threads(1);
    if (st == dnnl_success) st = dnnl_primitive_execute(matmul, stream, n, arg);
    if (st == dnnl_success) st = dnnl_stream_wait(stream);
    omp_set_num_threads(threads);
    while (n-- > 0) dnnl_memory_destroy(arg[n].memory);
    dnnl_stream_destroy(stream);
    return (int)st;
}

static void drop(void *matmul) { dnnl_primitive_destroy(matmul); }

extern const onednn_module medley_onednn;
const onednn_module medley_onednn = {.version = MEDLEY_VERSION, .open = open_engine, .make = make, .run = run, .drop = drop};
#endif
