/* gemm: matrix products, by our own tiles (gemm_tile.h) or through the door to OpenBLAS. Large products are cut into fixed pieces, each
 * computed by one thread. */
#include "medley/kern.h"

#include "gemm_bf16.h"

#include <cblas.h> /* cblas_sgemm, openblas_set_num_threads */
#include <omp.h>
#include <string.h>
#include <strings.h>

static int n_threads = 1;

void kern_init(int threads)
{
    n_threads = threads > 0 ? threads : 1;
    openblas_set_num_threads(1);
    omp_set_num_threads(n_threads); /* behind the line above, which sets both where OpenBLAS was built with OpenMP */
#pragma omp parallel num_threads(n_threads)
    kern_flush_denormals(); /* threads that were there before */
}

int kern_threads(void) { return n_threads; }

const char *kern_blas_name(void)
{
    static char name[128];
    char config[96]; /* "OpenBLAS 0.3.21 ..." names the kernels it was built for; what counts is what it chose */
    snprintf(config, sizeof config, "%s", openblas_get_config());
    char *end = strchr(config, ' ');
    end = end ? strchr(end + 1, ' ') : NULL;
    if (end) *end = 0;
    snprintf(name, sizeof name, "%s %s", config, openblas_get_corename());
    return name;
}

/* OpenBLAS 0.3.21 does not know CPUs that came after it. It takes its Haswell kernels on newer AMD ones although AVX-512 is present, at 60 %
 * of the rate, and its Prescott ones, of 2004, on newer Intel ones, at a fifth. */
const char *kern_better_core(void)
{
#if defined(__x86_64__)
    const char *core = openblas_get_corename(), *wide[] = {"SkylakeX", "Cooperlake", "SapphireRapids"}, *narrow[] = {"Haswell", "Zen"};
    for (int i = 0; i < 3; i++)
        if (strcasecmp(core, wide[i]) == 0) return NULL;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return "SkylakeX";
    for (int i = 0; i < 2; i++)
        if (strcasecmp(core, narrow[i]) == 0) return NULL;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
    return NULL;
}

/* Rows per chunk: a function of the shape alone, so that chunks, and with them the bits, are the same for any thread count.
 * 256 rows keep OpenBLAS near its large-matrix rate; small products stay whole. */
static int64_t chunk_rows(int64_t M, int64_t N, int64_t K)
{
    if ((double)M * (double)N * (double)K < 2e6) return M;
    int64_t rows = 256;
    while (rows < M && rows * N * K < 2000000) rows *= 2;
    return rows < M ? rows : M;
}

/* One thread: a GEMM's bits may depend on their number (ecosystem.md 2.4), and outside a parallel region OpenBLAS takes as many as OpenMP has,
 * whatever it was told. */
static void blas_alone(const product *p, int64_t m0, int64_t m)
{
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    cblas_sgemm(CblasRowMajor, p->trans_a ? CblasTrans : CblasNoTrans, p->trans_b ? CblasTrans : CblasNoTrans, (int)m, (int)p->N,
                (int)p->K, p->alpha, p->A + (p->trans_a ? m0 : m0 * p->lda), (int)p->lda, p->B, (int)p->ldb, p->beta,
                p->C + m0 * p->ldc, (int)p->ldc);
    omp_set_num_threads(threads);
}

static void blas_run(const product *p)
{
    int64_t rows = chunk_rows(p->M, p->N, p->K), n_chunks = (p->M + rows - 1) / rows;
#pragma omp parallel for schedule(dynamic) if (n_chunks > 1 && n_threads > 1 && !omp_in_parallel())
    for (int64_t c = 0; c < n_chunks; c++) blas_alone(p, c * rows, p->M - c * rows < rows ? p->M - c * rows : rows);
}

static bool bf16; /* in linear layers */

bool kern_use_bf16(bool on)
{
    bool was = bf16;
    if (on && kern_bf16_choose()) status_clear(); /* by what there is */
    bf16 = on;
    return was;
}

/* True if tiles of ours computed it. */
static bool tiles_run(product *p)
{
    p->threads = omp_in_parallel() ? 1 : n_threads;
    if (bf16 && p->bf16 && bf16_fits(p)) {
        bf16_product(p);
        return true;
    }
    if (!product_fits(p)) return false;
    int64_t n = product_pieces(p);
#pragma omp parallel for schedule(dynamic) if (n > 1 && n_threads > 1 && !omp_in_parallel())
    for (int64_t i = 0; i < n; i++) product_run(p, i);
    return true;
}

void kern_gemm(bool trans_a, bool trans_b, int64_t M, int64_t N, int64_t K, float alpha, const float *A, int64_t lda, const float *B,
               int64_t ldb, float beta, float *C, int64_t ldc)
{
    if (M <= 0 || N <= 0) return;
    product p = {.trans_a = trans_a, .trans_b = trans_b, .M = M, .N = N, .K = K, .alpha = alpha, .beta = beta, .A = A, .B = B, .lda = lda,
                 .ldb = ldb, .C = C, .ldc = ldc};
    if (!tiles_run(&p)) blas_run(&p);
}

void linear_forward(float *y, const float *x, const float *W, const float *b, int64_t R, int64_t N, int64_t K)
{
    if (R <= 0 || N <= 0) return;
    product p = {.trans_b = true, .M = R, .N = N, .K = K, .alpha = 1.0f, .A = x, .lda = K, .B = W, .ldb = K, .C = y, .ldc = N, .bias = b, .bf16 = true};
    if (tiles_run(&p)) return;
    if (b) {
        p.beta = 1.0f;
#pragma omp parallel for schedule(static) if (R * N > 65536 && n_threads > 1)
        for (int64_t r = 0; r < R; r++) memcpy(y + r * N, b, (size_t)N * sizeof *y);
    }
    blas_run(&p);
}

/* db (N) += column sums of dy (R,N). */
static void column_sums(float *db, const float *dy, int64_t R, int64_t N)
{
    enum { COLS = 64 };
#pragma omp parallel for schedule(static) if (R * N > 65536 && n_threads > 1)
    for (int64_t n0 = 0; n0 < N; n0 += COLS) {
        int64_t n1 = n0 + COLS < N ? n0 + COLS : N;
        float sum[COLS] = {0};
        for (int64_t r = 0; r < R; r++)
            for (int64_t n = n0; n < n1; n++) sum[n - n0] += dy[r * N + n];
        for (int64_t n = n0; n < n1; n++) db[n] += sum[n - n0];
    }
}

void linear_backward(float *dx, bool acc_dx, float *dW, float *db, const float *dy, const float *x, const float *W, int64_t R, int64_t N,
                     int64_t K)
{
    if (dx && R > 0 && K > 0) {
        product p = {.M = R, .N = K, .K = N, .alpha = 1.0f, .beta = acc_dx ? 1.0f : 0.0f, .A = dy, .lda = N, .B = W, .ldb = K, .C = dx, .ldc = K,
                     .bf16 = true};
        if (!tiles_run(&p)) blas_run(&p);
    }
    if (dW && R > 0) {
        product p = {.trans_a = true, .M = N, .N = K, .K = R, .alpha = 1.0f, .beta = 1.0f, .A = dy, .lda = N, .B = x, .ldb = K, .C = dW,
                     .ldc = K, .row_sum = db, .bf16 = true};
        if (tiles_run(&p)) return;
        blas_run(&p);
    }
    if (db) column_sums(db, dy, R, N);
}
