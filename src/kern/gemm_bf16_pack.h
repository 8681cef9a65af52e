/* gemm_bf16_pack: operands rounded to bf16 in pairs along K. The file including this defines before:
 *   vecu                      VL pairs
 *   pair_two(lo, hi)          VL pairs from VL values each
 *   pair_row(x)               VL pairs from 2 VL values that follow each other */

static inline uint32_t round_one(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    if ((u & 0x7fffffff) > 0x7f800000) return u | 0x400000; /* NaN stays NaN */
    return u + 0x7fff + ((u >> 16) & 1);
}

static inline uint32_t pair_one(float lo, float hi) { return round_one(lo) >> 16 | (round_one(hi) & 0xffff0000u); }

/* panel (K2,n) = rows k0.. and columns n0.. of op(B), in pairs of rows; a missing last row counts as zero. */
static void pack_b(uint32_t *panel, const product *p, int64_t k0, int64_t K, int64_t n0, int64_t n)
{
    int64_t k = 0;
    if (!p->trans_b) {
        const float *b = p->B + k0 * p->ldb + n0;
        for (; k + 2 <= K; k += 2, b += 2 * p->ldb, panel += n)
            for (int64_t v = 0; v < n; v += VL) *(vecu *)(panel + v) = pair_two(*(const vecf *)(b + v), *(const vecf *)(b + p->ldb + v));
        for (int64_t v = 0; k < K && v < n; v++) panel[v] = pair_one(b[v], 0.0f);
        return;
    }
    for (; k + 2 * VL <= K; k += 2 * VL)
        for (int64_t v = 0; v < n; v += VL) {
            vecf pairs[VL]; /* bits that only move */
            const float *b = p->B + (n0 + v) * p->ldb + k0 + k;
            for (int64_t r = 0; r < VL; r++) {
                __builtin_prefetch(b + r * p->ldb + 64);
                pairs[r] = (vecf)pair_row(b + r * p->ldb);
            }
            transpose_square((float *)panel + k / 2 * n + v, n, (const float *)pairs, VL, VL, 1.0f);
        }
    for (; k < K; k += 2)
        for (int64_t v = 0; v < n; v++) {
            const float *b = p->B + (n0 + v) * p->ldb + k0 + k;
            panel[k / 2 * n + v] = pair_one(b[0], k + 1 < K ? b[1] : 0.0f);
        }
}

/* Rows of A, pairs of neighbours. */
static void pack_rows(uint32_t *to, int64_t step, const product *p, int64_t k0, int64_t K, int64_t m0, int64_t m)
{
    for (int64_t i = 0; i < m; i++, to += step) {
        const float *a = p->A + (m0 + i) * p->lda + k0;
        int64_t k = 0;
        for (; k + 2 * VL <= K; k += 2 * VL) *(vecu *)(to + k / 2) = pair_row(a + k);
        for (; k < K; k += 2) to[k / 2] = pair_one(a[k], k + 1 < K ? a[k + 1] : 0.0f);
    }
}
