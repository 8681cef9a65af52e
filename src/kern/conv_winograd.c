/* conv_winograd: 3x3 convolution with stride 1 by minimal filtering (Winograd; Lavin & Gray, arXiv 1509.09308, F(2x2,3x3)): a square of
 * 2x2 outputs from 4x4 inputs takes 16 products per pair of channels instead of 36. The 16 products of all squares of a strip are 16
 * matrix products, done by the tiles of gemm_tile.h. All constants are 1 and 1/2, so rounding stays that of the plain sum, or nearly. */
#include "conv_inner.h"
#include "gemm_tile.h"

#include <string.h>

/* The parts of a block of 16 channels that a vector holds: all of them with AVX-512. */
#define EACH_PART for (int h = 0; h < LANES; h += VL)

enum { SQUARE = 16, LEAST_SQUARES = 32, LEAST_CHANNELS = 16, COLUMNS = WINOGRAD_COLUMNS,
       SPACE = 16384 };      /* squares times channels in and out whose transforms fill the second-level cache */

bool winograd_suits(const conv *c, int g)
{
    int H = c->grid[g].H, W = c->grid[g].W;
    return c->stride == 1 && c->Cin % LANES == 0 && c->Cout % LANES == 0 && c->Cin >= LEAST_CHANNELS && c->Cout >= LEAST_CHANNELS &&
           W % 2 == 0 && (H + 1) / 2 * (W / 2) >= LEAST_SQUARES;
}

static int columns_at(int n, int n0) { return min_int(COLUMNS, n - n0); }

int winograd_rows(int H, int W, int k, int n)
{
    int squares = SPACE / (min_int(k, KC) + min_int(n, COLUMNS)), rows = squares / (W / 2) * 2;
    return rows < 2 ? 2 : rows > H + (H & 1) ? H + (H & 1) : rows;
}

/* Strides of the transforms: [16][squares][channels]. One line more than whole, so that the 16 planes do not meet in one cache set. */
static int64_t row_step(int channels) { return channels + LANES; }
static int64_t plane(int squares, int channels) { return squares * row_step(channels) + LANES; }

int64_t winograd_floats(int rows, int W, int k, int n)
{
    int squares = rows / 2 * (W / 2);
    return SQUARE * (plane(squares, min_int(k, KC)) + plane(squares, min_int(n, COLUMNS)));
}

/* ---- weights --------------------------------------------------------------------------------------------------------------------- */

/* First weight of product i for the columns n0.. and the pass k0.., of (K,N) in all. */
static int64_t weight_at(int k0, int k, int n0, int nw, int n, int i)
{
    return SQUARE * ((int64_t)k0 * n + (int64_t)k * n0) + (int64_t)i * k * nw;
}

/* to (16,16) = the transpose of `from`. */
static void transpose_block(float (*to)[LANES], float (*from)[LANES])
{
    for (int i = 0; i < LANES; i += VL)
        for (int j = 0; j < LANES; j += VL) transpose_square(to[j] + i, LANES, from[i] + j, LANES, VL, 1.0f);
}

/* u (16) = G g G^T of VL pairs of channels; g (9). */
static void transform_weight(vecf *u, const vecf *g)
{
    vecf t[4][3];
    for (int c = 0; c < 3; c++) {
        vecf side = 0.5f * (g[c] + g[6 + c]), mid = 0.5f * g[3 + c];
        t[0][c] = g[c], t[1][c] = side + mid, t[2][c] = side - mid, t[3][c] = g[6 + c];
    }
    for (int r = 0; r < 4; r++) {
        vecf side = 0.5f * (t[r][0] + t[r][2]), mid = 0.5f * t[r][1];
        u[4 * r] = t[r][0], u[4 * r + 1] = side + mid, u[4 * r + 2] = side - mid, u[4 * r + 3] = t[r][2];
    }
}

void winograd_weights(float *out, const float *w, int n_sum, int n_lane, int64_t sum_step, int64_t lane_step, bool flip)
{
    for (int k0 = 0; k0 < n_sum; k0 += KC)
        for (int n0 = 0; n0 < n_lane; n0 += COLUMNS) {
            int k = min_int(KC, n_sum - k0), nw = columns_at(n_lane, n0), vectors = nw / LANES, n_panels = tile_panels(vectors);
            for (int v = 0, panel = 0; v < vectors; v++) {
                while (v >= vectors * (panel + 1) / n_panels) panel++;
                int first = vectors * panel / n_panels, NV = vectors * (panel + 1) / n_panels - first;
                for (int c = 0; c < k; c++) {
                    float rows[LANES][LANES] __attribute__((aligned(64))), lanes[LANES][LANES] __attribute__((aligned(64)));
                    vecf g[9], u[SQUARE];
                    for (int l = 0; l < LANES; l++)
                        memcpy(rows[l], w + (n0 + v * LANES + l) * lane_step + (k0 + c) * sum_step, 9 * sizeof(float));
                    transpose_block(lanes, rows);
                    float *o = out + weight_at(k0, k, n0, nw, n_lane, 0) + ((int64_t)first * k + c * NV + v - first) * LANES;
                    EACH_PART
                    {
                        for (int t = 0; t < 9; t++) g[t] = LOAD(lanes[flip ? 8 - t : t] + h);
                        transform_weight(u, g);
                        for (int i = 0; i < SQUARE; i++) STORE(o + (int64_t)i * k * nw + h, u[i]);
                    }
                }
            }
        }
}

/* ---- a strip --------------------------------------------------------------------------------------------------------------------- */

/* o (16), `far` apart = B^T d B of one 4x4 square of VL channels whose rows are `line` apart. */
static inline void square_part(float *o, int64_t far, const float *x, int64_t line)
{
    vecf t[4][4];
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        vecf d0 = LOAD(x + c * LANES), d1 = LOAD(x + line + c * LANES);
        vecf d2 = LOAD(x + 2 * line + c * LANES), d3 = LOAD(x + 3 * line + c * LANES);
        t[0][c] = d0 - d2, t[1][c] = d1 + d2, t[2][c] = d2 - d1, t[3][c] = d1 - d3;
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++, o += 4 * far) {
        STORE(o, t[r][0] - t[r][2]);
        STORE(o + far, t[r][1] + t[r][2]);
        STORE(o + 2 * far, t[r][2] - t[r][1]);
        STORE(o + 3 * far, t[r][1] - t[r][3]);
    }
}

static inline void square_in(float *o, int64_t far, const float *x, int64_t line)
{
    EACH_PART square_part(o + h, far, x + h, line);
}

/* V (16,squares,k) of the gathered strip xs (block,rows+2,W+2,16). */
static void transform_input(float *V, const float *xs, int rows, int W, int k)
{
    int across = W / 2, squares = rows / 2 * across;
    int64_t line = (int64_t)(W + 2) * LANES, step = row_step(k), far = plane(squares, k);
    for (int b = 0; b < k / LANES; b++)
        for (int s = 0; s < squares; s++)
            square_in(V + s * step + b * LANES, far, xs + (b * (rows + 2) + s / across * 2) * line + s % across * 2 * LANES, line);
}

/* Output pixels (rows,W), `step` floats apart = A^T M A of every square, + bias; n channels. rows may be odd: half of the last squares. */
static void transform_output(float *y, int64_t step, const float *M, const float *bias, int rows, int W, int n)
{
    int across = W / 2, squares = (rows + 1) / 2 * across;
    int64_t m_step = row_step(n), far = plane(squares, n);
    for (int s = 0; s < squares; s++) {
        int r0 = s / across * 2, n_rows = min_int(2, rows - r0);
        float *o = y + ((int64_t)r0 * W + s % across * 2) * step;
        for (int c = 0; c < n; c += VL) {
            const float *m = M + s * m_step + c;
            vecf t[2][4], add = {0};
            if (bias) add = LOAD(bias + c);
#pragma GCC unroll 4
            for (int q = 0; q < 4; q++) {
                vecf m0 = LOAD(m + q * far), m1 = LOAD(m + (4 + q) * far);
                vecf m2 = LOAD(m + (8 + q) * far), m3 = LOAD(m + (12 + q) * far);
                t[0][q] = m0 + m1 + m2, t[1][q] = m1 - m2 - m3;
            }
#pragma GCC unroll 2
            for (int r = 0; r < 2; r++) {
                if (r >= n_rows) break;
                STORE(o + r * W * step + c, t[r][0] + t[r][1] + t[r][2] + add);
                STORE(o + (r * W + 1) * step + c, t[r][1] - t[r][2] - t[r][3] + add);
            }
        }
    }
}

void winograd_strip(const winograd_job *j, float *xs, float *work)
{
    int rows = j->rows + (j->rows & 1), W = j->view.W, squares = rows / 2 * (W / 2);
    float *V = work, *M = V + SQUARE * plane(squares, min_int(j->n_sum, KC));
    for (int n0 = 0; n0 < j->n; n0 += COLUMNS) {
        int nw = columns_at(j->n, n0), vectors = nw / LANES, n_panels = tile_panels(vectors);
        for (int k0 = 0; k0 < j->n_sum; k0 += KC) {
            int k = min_int(KC, j->n_sum - k0);
            if (n0 == 0 || j->n_sum > KC) { /* else V still holds the only pass */
                strip_gather(xs, &j->view, j->in, j->n_in, k0, k);
                transform_input(V, xs, rows, W, k);
            }
            for (int i = 0; i < SQUARE; i++)
                for (int p = 0; p < n_panels; p++) {
                    int first = vectors * p / n_panels, NV = vectors * (p + 1) / n_panels - first;
                    const float *panel = j->weights + weight_at(k0, k, n0, nw, j->n, i) + (int64_t)first * k * LANES;
                    tile_columns(M + i * plane(squares, nw) + first * LANES, row_step(nw), V + i * plane(squares, k), row_step(k), panel,
                                 NV, squares, k, k0 > 0);
                }
        }
        transform_output(j->y + (j->scatter ? 0 : n0), j->step, M, j->bias ? j->bias + n0 : NULL, j->rows, W, nw);
        if (j->scatter) strip_scatter(j->out, j->n_out, &j->sink, j->y, j->step, n0, nw);
    }
}

/* ---- weight gradient: the same products transposed, summed over the squares ------------------------------------------------------- */

int64_t winograd_part(int k, int n) { return (int64_t)SQUARE * k * n + n; }

/* V (16)(k/16,squares,16): rows of squares, as the tiles read them across. */
static void spread_input(float *V, const float *xs, int rows, int W, int k)
{
    int across = W / 2, squares = rows / 2 * across;
    int64_t line = (int64_t)(W + 2) * LANES, far = (int64_t)squares * k + LANES;
    for (int b = 0; b < k / LANES; b++)
        for (int s = 0; s < squares; s++)
            square_in(V + ((int64_t)b * squares + s) * LANES, far, xs + (b * (rows + 2) + s / across * 2) * line + s % across * 2 * LANES,
                      line);
}

/* o (16), `far` apart = A d A^T of one 2x2 square of VL channels whose rows are `line` apart. */
static inline void gradient_part(float *o, int64_t far, const float *d, int64_t line)
{
    vecf t[4][2];
    for (int c = 0; c < 2; c++) {
        vecf d0 = LOAD(d + c * LANES), d1 = LOAD(d + line + c * LANES);
        t[0][c] = d0, t[1][c] = d0 + d1, t[2][c] = d0 - d1, t[3][c] = -d1;
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++, o += 4 * far) {
        STORE(o, t[r][0]);
        STORE(o + far, t[r][0] + t[r][1]);
        STORE(o + 2 * far, t[r][0] - t[r][1]);
        STORE(o + 3 * far, -t[r][1]);
    }
}

/* D (16)(panel,squares,16 NV) = A dY A^T of every 2x2 square of the gathered strip ds (block,rows,W,16). */
static void spread_gradient(float *D, const float *ds, int rows, int W, int n)
{
    int across = W / 2, squares = rows / 2 * across, vectors = n / LANES, n_panels = tile_panels(vectors);
    int64_t line = (int64_t)W * LANES, far = (int64_t)squares * n + LANES;
    for (int p = 0; p < n_panels; p++) {
        int first = vectors * p / n_panels, NV = vectors * (p + 1) / n_panels - first;
        for (int v = 0; v < NV; v++)
            for (int s = 0; s < squares; s++) {
                const float *d = ds + ((int64_t)(first + v) * rows + s / across * 2) * line + s % across * 2 * LANES;
                float *o = D + ((int64_t)first * squares + (int64_t)s * NV + v) * LANES;
                EACH_PART gradient_part(o + h, far, d + h, line);
            }
    }
}

void winograd_weight_strip(const winograd_weight_job *j, float *xs)
{
    int rows = j->dy_view.rows, W = j->dy_view.W, squares = rows / 2 * (W / 2), vectors = j->n / LANES, n_panels = tile_panels(vectors);
    float *ds = xs + (int64_t)(rows + 2) * (W + 2) * j->k, *V = ds + (int64_t)rows * W * j->n;
    int64_t v_far = (int64_t)squares * j->k + LANES, d_far = (int64_t)squares * j->n + LANES;
    float *D = V + SQUARE * v_far, *sum = j->part + (int64_t)SQUARE * j->k * j->n;
    strip_gather(xs, &j->x_view, j->in, j->n_in, j->k0, j->k);
    strip_gather(ds, &j->dy_view, &j->dy, 1, j->n0, j->n);
    spread_input(V, xs, rows, W, j->k);
    spread_gradient(D, ds, rows, W, j->n);
    for (int i = 0; i < SQUARE; i++)
        for (int p = 0; p < n_panels; p++) {
            int first = vectors * p / n_panels, NV = vectors * (p + 1) / n_panels - first;
            for (int b = 0; b < j->k / LANES; b++)
                tile_across(j->part + ((int64_t)i * j->k + b * LANES) * j->n + first * LANES, j->n,
                            V + i * v_far + (int64_t)b * squares * LANES, LANES, D + i * d_far + (int64_t)first * squares * LANES, NV,
                            squares);
        }
    for (int v = 0; v < vectors; v++)
        EACH_PART
        {
            vecf total = LOAD(sum + v * LANES + h);
            for (int64_t q = 0; q < (int64_t)rows * W; q++) total += LOAD(ds + ((int64_t)v * rows * W + q) * LANES + h);
            STORE(sum + v * LANES + h, total);
        }
}

/* g (9) = G^T u G of VL pairs of channels; u (16). */
static void gather_weight(vecf *g, const vecf *u)
{
    vecf t[3][4];
    for (int c = 0; c < 4; c++) {
        vecf both = 0.5f * (u[4 + c] + u[8 + c]);
        t[0][c] = u[c] + both, t[1][c] = 0.5f * (u[4 + c] - u[8 + c]), t[2][c] = both + u[12 + c];
    }
    for (int r = 0; r < 3; r++) {
        vecf both = 0.5f * (t[r][1] + t[r][2]);
        g[3 * r] = t[r][0] + both, g[3 * r + 1] = 0.5f * (t[r][1] - t[r][2]), g[3 * r + 2] = both + t[r][3];
    }
}

void winograd_unpack(float *dw, float *db, float *part, int n_part, int64_t part_step, int Cin, int k0, int k, int n0, int n)
{
    for (int p = 1; p < n_part; p++)
        for (int64_t i = 0; i < winograd_part(k, n); i += VL) STORE(part + i, LOAD(part + i) + LOAD(part + p * part_step + i));
    for (int c = 0; c < k; c++)
        for (int v = 0; v < n; v += LANES) {
            float rows[LANES][LANES] __attribute__((aligned(64))) = {{0}}, lanes[LANES][LANES] __attribute__((aligned(64)));
            vecf u[SQUARE], g[9];
            EACH_PART
            {
                for (int i = 0; i < SQUARE; i++) u[i] = LOAD(part + ((int64_t)i * k + c) * n + v + h);
                gather_weight(g, u);
                for (int t = 0; t < 9; t++) STORE(rows[t] + h, g[t]);
            }
            transpose_block(lanes, rows);
            for (int l = 0; l < LANES; l++) {
                float *o = dw + ((int64_t)(n0 + v + l) * Cin + k0 + c) * 9;
                for (int t = 0; t < 9; t++) o[t] += lanes[l][t];
            }
        }
    for (int i = 0; db && i < n; i++) db[n0 + i] += part[(int64_t)SQUARE * k * n + i];
}

bool winograd_any(const conv *c)
{
    for (int g = 0; g < c->n_grid; g++)
        if (winograd_suits(c, g)) return true;
    return false;
}

bool winograd_all(const conv *c)
{
    for (int g = 0; g < c->n_grid; g++)
        if (!winograd_suits(c, g)) return false;
    return true;
}
