/* bf16_choose: which kernel computes in bf16 here, asked of CPU, operating system, build and the module of oneDNN, which is loaded for CPUs with AMX
 * alone: on others our own kernel is as fast. */
#include "medley/kern.h"

#include "gemm_bf16.h"
#include "medley_build.h"
#include "onednn_module.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* What the CPU has, the operating system saves, and the build has kernels for. */
static bool has_avx512_bf16(void)
{
#if defined(HAVE_AVX512_BF16)
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

#define NO_AVX512_BF16 "this CPU has no AVX512-BF16, or the program was built by a compiler without it"

/* The state of the tiles has to be saved by the operating system, which XCR0 says; that it lets this process use them oneDNN asks itself. */
static bool has_amx(void)
{
    if (fault_hit("amx")) return true; /* `raise`: tests have a CPU with AMX */
#if defined(__x86_64__)
    enum { OSXSAVE = 1u << 27, AMX = 1u << 22 | 1u << 24, TILES = 3u << 17 }; /* amx-bf16, amx-tile; tile configuration and data */
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE)) return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & AMX) != AMX) return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & TILES) == TILES;
#else
    return false;
#endif
}

#if defined(HAVE_AVX512_BF16)
static bool by_onednn;
#endif
static bf16_kernel *pieces = bf16_plain;
static char name[80], lacks[640];

/* ---- oneDNN -------------------------------------------------------------------------------------------------------------------------------- */

#if defined(HAVE_AVX512_BF16) && defined(HAVE_ONEDNN)
/* Whole numbers so small that products and sums are exact: any order of sums gives the bits of the plain kernel. */
static status same_as_plain(int M, int N, int K, const char *who)
{
    enum { MOST = 1 << 16 };
    float A[MOST], B[MOST], C[2][MOST / 4], bias[256], row_sum[2][256];
    for (int i = 0; i < MOST; i++) A[i] = (float)(i * 7 % 31 - 15), B[i] = (float)(i * 5 % 23 - 11);
    for (int i = 0; i < N; i++) bias[i] = (float)(i % 9);
    for (int form = 0; form < 3; form++) { /* forward, input gradient, weight gradient */
        for (int i = 0; i < 2; i++) {
            for (int j = 0; j < M * N; j++) C[i][j] = form ? (float)(j % 17) : NAN;
            memset(row_sum[i], 0, sizeof row_sum[i]);
            product p = {.trans_a = form == 2, .trans_b = form == 0, .M = M, .N = N, .K = K, .alpha = 1.0f, .beta = form ? 1.0f : 0.0f, .A = A,
                         .lda = form == 2 ? M : K, .B = B, .ldb = form == 0 ? K : N, .C = C[i], .ldc = N, .bias = form ? NULL : bias,
                         .row_sum = form == 2 ? row_sum[i] : NULL, .bf16 = true, .threads = 1};
            if (!i) bf16_plain(&p, 0, M);
            else CHECK(onednn_product(&p), ST_USAGE, "%s has no fast way for a product of %d x %d x %d", who, M, N, K);
        }
        CHECK(memcmp(C[0], C[1], sizeof(float) * (size_t)(M * N)) == 0 && memcmp(row_sum[0], row_sum[1], sizeof row_sum[0]) == 0, ST_USAGE,
              "%s: a product of small whole numbers, %d x %d x %d, is wrong", who, M, N, K);
    }
    return OK;
}

static status onednn_load(bool amx_wanted)
{
    char path[4300], has[64] = "";
    bool amx = false;
    CHECK(has_avx512_bf16(), ST_USAGE, "oneDNN: %s", NO_AVX512_BF16);
    TRY(program_module(ONEDNN_MODULE_FILE, path, sizeof path), "oneDNN");
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(handle, ST_USAGE, "oneDNN cannot be loaded: %s; the module wants libdnnl2 (Debian)", dlerror()); /* which names the file */
    const onednn_module *m = dlsym(handle, ONEDNN_MODULE_TABLE);
    CHECK(m && strcmp(m->version, MEDLEY_VERSION) == 0, ST_USAGE, "%s: made for another version of this program", path);
    CHECK(m->open(has, &amx) && (amx || !amx_wanted), ST_USAGE, "oneDNN does not use it here: it would compute with %s", has);
    TRY(onednn_use(m), "oneDNN");
    const int size[][3] = {{72, 192, 210}, {200, 48, 311}, {16, 32, 1111}, {49, 144, 256}}; /* panels of every width, tails, blocks of K */
    for (int i = 0; i < 4; i++) TRY(same_as_plain(size[i][0], size[i][1], size[i][2], has), "oneDNN");
    snprintf(name, sizeof name, "%s", has);
    by_onednn = true;
    return OK;
}
#else
static status onednn_load(bool amx_wanted)
{
    (void)amx_wanted;
    return status_raise(ST_USAGE, __FILE__, __LINE__, "this build has no oneDNN: install libdnnl-dev (Debian) and build again");
}
#endif

/* ---- the choice ------------------------------------------------------------------------------------------------------------------------------ */

static void choose_own(void)
{
#if defined(HAVE_AVX512_BF16)
    if (!has_avx512_bf16()) return;
    pieces = bf16_avx512;
    snprintf(name, sizeof name, "AVX512-BF16");
#endif
}

static status choose_best(void)
{
    choose_own();
    if (!has_amx()) {
        if (!name[0]) snprintf(lacks, sizeof lacks, "%s", NO_AVX512_BF16);
        return OK;
    }
    status st = onednn_load(true);
    if (st != ST_USAGE) return st;
    snprintf(lacks, sizeof lacks, "the CPU's AMX is not used: %s", status_message());
    status_clear();
    return OK;
}

static status choose(void)
{
    const char *wish = getenv("MEDLEY_BF16_KERNEL");
    if (!wish || !wish[0]) {
        TRY(choose_best(), "bf16");
    } else if (strcmp(wish, "plain") == 0) {
        snprintf(lacks, sizeof lacks, "MEDLEY_BF16_KERNEL=plain asks for fp32 instructions");
    } else if (strcmp(wish, "avx512") == 0) {
        CHECK(has_avx512_bf16(), ST_USAGE, "MEDLEY_BF16_KERNEL=avx512: %s", NO_AVX512_BF16);
        choose_own();
    } else {
        CHECK(strcmp(wish, "onednn") == 0, ST_USAGE, "MEDLEY_BF16_KERNEL=%.40s: no such kernel; there are onednn, avx512 and plain", wish);
        choose_own(); /* for shapes that oneDNN has no fast way for */
        status st = onednn_load(false);
        if (st) name[0] = 0, pieces = bf16_plain;
        TRY(st, "MEDLEY_BF16_KERNEL=onednn");
    }
    return OK;
}

status kern_bf16_choose(void)
{
    static bool chosen;
    static status st;
    static char why[640];
    if (chosen) return st ? status_set(st, why) : OK;
    chosen = true;
    st = choose();
    if (st) snprintf(why, sizeof why, "%s", status_message());
    return st;
}

const char *kern_bf16_name(void)
{
    if (kern_bf16_choose()) status_clear();
    return name[0] ? name : NULL;
}

const char *kern_bf16_lacks(void)
{
    if (kern_bf16_choose()) status_clear();
    return lacks[0] ? lacks : NULL;
}

/* Measured: peak of the same training with oneDNN 2.6.3 and with our kernel. */
int64_t kern_bf16_bytes(void)
{
    if (kern_bf16_choose()) status_clear();
#if defined(HAVE_AVX512_BF16)
    if (by_onednn) return 17 << 20;
#endif
    return 0;
}

void bf16_product(const product *p)
{
#if defined(HAVE_AVX512_BF16)
    if (by_onednn && onednn_product(p)) return;
#endif
    int64_t rows = bf16_rows(p), n = (p->M + rows - 1) / rows;
#pragma omp parallel for schedule(dynamic) if (n > 1 && p->threads > 1)
    for (int64_t i = 0; i < n; i++) pieces(p, i * rows, p->M - i * rows < rows ? p->M - i * rows : rows);
}
