/* conv: 3x3 convolution, forward and both gradients: cuts the work into strips and tasks that depend on the shape only. */
#include "medley/kern.h"
#include "conv_inner.h"

#include <omp.h>
#include <string.h>

enum { STRIP_FLOATS = 96 * 1024,  /* gathered strip: a part of the second-level cache */
       COLUMN = 2,                /* output blocks per task of the weight gradient */
       TASKS = 16,                /* about so many tasks share a weight gradient */
       SQUARE_TASKS = 4,          /* with minimal filtering */
       ROW_PIXELS = 256 };        /* pixels per visit of a weight gradient tile: strip rows that stay in the first-level cache */

conv conv_plan(int B, int n_grid, const int (*size)[2], int Cin, int Cout, int stride)
{
    conv c = {.B = B, .Cin = Cin, .Cout = Cout, .stride = stride, .n_grid = n_grid, .threads = kern_threads()};
    for (int g = 0; g < n_grid; g++) {
        int H = size[g][0], W = size[g][1], Ho = (H + stride - 1) / stride, Wo = (W + stride - 1) / stride;
        c.grid[g].H = H, c.grid[g].W = W, c.grid[g].Ho = Ho, c.grid[g].Wo = Wo;
        c.grid[g].in = c.in_pixels, c.grid[g].out = c.out_pixels;
        c.in_pixels += (int64_t)B * H * W, c.out_pixels += (int64_t)B * Ho * Wo;
    }
    return c;
}

double conv_flops(const conv *c) { return 9.0 * (double)c->out_pixels * c->Cin * c->Cout; }

/* Rows per strip, even so that 2x2 squares do not straddle strips. */
static int strip_rows(int H, int W, int k)
{
    int rows = STRIP_FLOATS / ((W + 2) * blocks(min_int(k, KC)) * LANES) - 2;
    rows = rows > H ? H + (H & 1) : rows & ~1;
    return rows < 2 ? 2 : rows;
}

/* Strips of the input grids (gradients) or the output grids (forward); k: channels gathered, n_to: channels they become. The weight
 * gradient does the grids with minimal filtering and the others in two lists. */
enum which_grids { GRIDS_ALL, GRIDS_PLAIN, GRIDS_SQUARES };
typedef struct strip_list { const conv *c; bool out; int k, n_to, n; enum which_grids which; } strip_list;
typedef struct strip { int g, b, row, rows; } strip;

static void grid_size(const strip_list *l, int g, int *H, int *W, int *rows)
{
    *H = l->out ? l->c->grid[g].Ho : l->c->grid[g].H, *W = l->out ? l->c->grid[g].Wo : l->c->grid[g].W;
    if (winograd_suits(l->c, g)) *rows = winograd_rows(*H, *W, l->k, l->n_to);
    else *rows = strip_rows(*H, l->out ? *W * l->c->stride : *W, l->k);
}

static int strips_in(const strip_list *l, int g)
{
    int H, W, rows;
    if (l->which != GRIDS_ALL && (l->which == GRIDS_SQUARES) != winograd_suits(l->c, g)) return 0;
    grid_size(l, g, &H, &W, &rows);
    return l->c->B * ((H + rows - 1) / rows);
}

static strip_list strips_of(const conv *c, bool out, int k, int n_to, enum which_grids which)
{
    strip_list l = {c, out, k, n_to, 0, which};
    for (int g = 0; g < c->n_grid; g++) l.n += strips_in(&l, g);
    return l;
}

static strip strip_at(const strip_list *l, int i)
{
    int H, W, rows, g = 0;
    for (int n; i >= (n = strips_in(l, g)); g++) i -= n;
    grid_size(l, g, &H, &W, &rows);
    int per_image = (H + rows - 1) / rows, row = i % per_image * rows;
    return (strip){g, i / per_image, row, min_int(rows, H - row)};
}

static strip_view input_view(const conv *c, const strip *s, int row, int rows)
{
    int H = c->grid[s->g].H, W = c->grid[s->g].W;
    return (strip_view){s->b, c->grid[s->g].in + (int64_t)s->b * H * W, H, W, row, rows, 1, false};
}

/* The output gradient seen on the input grid: with stride 2, zeros between its pixels. */
static strip_view dy_view(const conv *c, const strip *s, int row, int rows, int pad)
{
    int64_t pixels = (int64_t)c->grid[s->g].Ho * c->grid[s->g].Wo;
    return (strip_view){s->b, c->grid[s->g].out + s->b * pixels, c->grid[s->g].H, c->grid[s->g].W, row, rows, pad, c->stride == 2};
}

/* ---- sizes ----------------------------------------------------------------------------------------------------------------- */

/* Largest gathered strip in floats, and what is made of it: rows is the number of output rows; `dy`: also a column of the output gradient.
 */
static int64_t strip_floats(const conv *c, bool out, int k, int n_to, bool dy)
{
    strip_list l = {c, out, k, n_to, 0, GRIDS_ALL};
    int64_t most = 0, k16 = blocks(min_int(k, KC)) * LANES;
    for (int g = 0; g < c->n_grid; g++) {
        int H, W, rows;
        grid_size(&l, g, &H, &W, &rows);
        bool winograd = winograd_suits(c, g);
        if (!winograd) rows = min_int(rows, H);
        int64_t in_rows = out ? (rows - 1) * c->stride + 3 : rows + 2;
        int64_t n = in_rows * (c->grid[g].W + 2) * k16, dy_blocks = winograd ? blocks(min_int(n_to, WINOGRAD_COLUMNS)) : COLUMN;
        if (dy) n += rows * (W + 4) * dy_blocks * LANES;
        if (winograd) n += winograd_floats(rows, W, k, n_to);
        if (n > most) most = n;
    }
    return most;
}

/* Result strip of the input gradient: all channels if they need several passes, else one tile column. */
static int64_t result_step(const conv *c, int g, int n_in)
{
    if (winograd_suits(c, g)) return WINOGRAD_COLUMNS;
    return c->Cout > KC ? blocks(n_in) * LANES : tile_blocks(blocks(n_in)) * LANES;
}

static int64_t result_floats(const conv *c, int n_in)
{
    strip_list l = {c, false, c->Cout, c->Cin, 0, GRIDS_ALL};
    int64_t most = 0;
    for (int g = 0; g < c->n_grid; g++) {
        int H, W, rows;
        grid_size(&l, g, &H, &W, &rows);
        int64_t n = (int64_t)min_int(rows, H) * W * result_step(c, g, n_in);
        if (n > most) most = n;
    }
    return most;
}

/* Tasks of the weight gradient: input passes x output columns x groups of strips. */
typedef struct weight_tasks { int n_pass, n_column, n_group; int64_t part; } weight_tasks;

static weight_tasks weight_tasks_of(const conv *c, int n_strip)
{
    weight_tasks t = {(c->Cin + KC - 1) / KC, (blocks(c->Cout) + COLUMN - 1) / COLUMN, 0, 0};
    t.n_group = min_int(n_strip, (TASKS + t.n_pass * t.n_column - 1) / (t.n_pass * t.n_column));
    t.part = (int64_t)COLUMN * LANES * (1 + 9 * LANES * blocks(min_int(c->Cin, KC)));
    return t;
}

/* The same with minimal filtering: whole passes and columns of the 16 products, in few groups, for the sums are large. */
typedef struct square_tasks { int n_pass, n_column, n_group; int64_t part; } square_tasks;

static square_tasks square_tasks_of(const conv *c, int n_strip)
{
    square_tasks t = {(c->Cin + KC - 1) / KC, (c->Cout + WINOGRAD_COLUMNS - 1) / WINOGRAD_COLUMNS, 0, 0};
    t.n_group = min_int(n_strip, (SQUARE_TASKS + t.n_pass * t.n_column - 1) / (t.n_pass * t.n_column));
    t.part = winograd_part(min_int(c->Cin, KC), min_int(c->Cout, WINOGRAD_COLUMNS));
    return t;
}

/* Transformed weights, which stand before the plain packed ones. */
static int64_t winograd_total(const conv *c) { return winograd_any(c) ? (int64_t)16 * c->Cin * c->Cout : 0; }

int64_t conv_scratch(const conv *c, bool train)
{
    int64_t in16 = blocks(c->Cin) * LANES, out16 = blocks(c->Cout) * LANES;
    int64_t most = winograd_total(c) + out16 * (9 * c->Cin + 1) + c->threads * strip_floats(c, true, c->Cin, c->Cout, false);
    if (!train) return most;
    int64_t strip = strip_floats(c, false, c->Cout, c->Cin, false) + result_floats(c, c->Cin);
    int64_t input = winograd_total(c) + in16 * 9 * c->Cout + c->threads * strip;
    weight_tasks t = weight_tasks_of(c, strips_of(c, false, c->Cin, c->Cout, GRIDS_PLAIN).n);
    square_tasks q = square_tasks_of(c, strips_of(c, false, c->Cin, c->Cout, GRIDS_SQUARES).n);
    int64_t parts = t.n_pass * t.n_column * t.n_group * t.part, square_parts = q.n_pass * q.n_column * q.n_group * q.part;
    int64_t weight = (parts > square_parts ? parts : square_parts) + c->threads * strip_floats(c, false, c->Cin, c->Cout, true);
    if (input > most) most = input;
    return weight > most ? weight : most;
}

/* The strip again, for minimal filtering: an even number of rows, and the border. */
static strip_view even_view(strip_view v, const strip *s)
{
    v.row = s->row - 1, v.rows = s->rows + (s->rows & 1) + 2, v.pad = 1;
    return v;
}

/* Floats of the gathered part of such a strip. */
static int64_t gathered(const strip_view *v, int k) { return (int64_t)v->rows * (v->W + 2) * blocks(min_int(k, KC)) * LANES; }

/* ---- forward --------------------------------------------------------------------------------------------------------------- */

static void forward_strip(const conv *c, const strip *s, float *y, const conv_in *in, int n_in, const float *squares, const float *packed,
                          const float *bias, float *xs)
{
    int n_blocks = blocks(c->Cout), per_tile = tile_blocks(n_blocks), Ho = c->grid[s->g].Ho, Wo = c->grid[s->g].Wo;
    strip_view view = input_view(c, s, s->row * c->stride - 1, (s->rows - 1) * c->stride + 3);
    int64_t row_step = (int64_t)(view.W + 2) * LANES;
    float *out = y + (c->grid[s->g].out + ((int64_t)s->b * Ho + s->row) * Wo) * c->Cout;
    if (winograd_suits(c, s->g)) {
        winograd_job job = {.in = in, .n_in = n_in, .n_sum = c->Cin, .n = c->Cout, .view = even_view(view, s), .rows = s->rows,
                            .weights = squares, .bias = bias, .y = out, .step = c->Cout};
        winograd_strip(&job, xs, xs + gathered(&job.view, c->Cin));
        return;
    }
    for (int k0 = 0; k0 < c->Cin; k0 += KC) {
        int k = min_int(KC, c->Cin - k0);
        strip_gather(xs, &view, in, n_in, k0, k);
        for (int v0 = 0; v0 < n_blocks; v0 += per_tile) {
            int nv = min_int(per_tile, n_blocks - v0);
            tile_job job = {.w = packed + packed_at(k0, k, v0, n_blocks), .bias = bias && !k0 ? bias + v0 * LANES : NULL,
                            .block_step = view.rows * row_step, .row_step = row_step, .n_block = blocks(k), .last = (k - 1) % LANES + 1,
                            .n_valid = min_int(nv * LANES, c->Cout - v0 * LANES), .add = k0 > 0, .out_step = c->Cout};
            for (int r = 0; r < s->rows; r++)
                tile_row(&job, nv, c->stride, xs + r * c->stride * row_step, out + (int64_t)r * Wo * c->Cout + v0 * LANES, Wo);
        }
    }
}

void conv_forward(const conv *c, float *y, const conv_in *in, int n_in, const float *w, const float *b, float *scratch)
{
    int64_t out16 = blocks(c->Cout) * LANES, per_thread = strip_floats(c, true, c->Cin, c->Cout, false);
    float *squares = scratch, *bias = squares + winograd_total(c), *packed = bias + out16, *strips = packed + out16 * 9 * c->Cin;
    if (winograd_any(c)) winograd_weights(squares, w, c->Cin, c->Cout, 9, (int64_t)c->Cin * 9, false);
    if (!winograd_all(c)) pack_forward(packed, w, c->Cin, c->Cout);
    memset(bias, 0, (size_t)out16 * sizeof *bias);
    if (b) memcpy(bias, b, (size_t)c->Cout * sizeof *bias);
    strip_list l = strips_of(c, true, c->Cin, c->Cout, GRIDS_ALL);
#pragma omp parallel for schedule(dynamic) num_threads(c->threads) if (c->threads > 1 && l.n > 1)
    for (int i = 0; i < l.n; i++) {
        strip s = strip_at(&l, i);
        forward_strip(c, &s, y, in, n_in, squares, packed, b ? bias : NULL, strips + omp_get_thread_num() * per_thread);
    }
}

/* ---- input gradient: the stride 1 convolution of dy with flipped taps ------------------------------------------------------ */

static void input_strip(const conv *c, const strip *s, const conv_out *out, int n_out, int n_in, const float *dy, const float *squares,
                        const float *packed, float *xs, float *ys)
{
    int n_blocks = blocks(n_in), per_tile = tile_blocks(n_blocks);
    bool once = c->Cout <= KC;
    int64_t step = result_step(c, s->g, n_in);
    strip_view view = dy_view(c, s, s->row - 1, s->rows + 2, 1), sink = input_view(c, s, s->row, s->rows);
    int64_t row_step = (int64_t)(view.W + 2) * LANES;
    conv_in in = {.x = dy, .C = c->Cout};
    if (winograd_suits(c, s->g)) {
        winograd_job job = {.in = &in, .n_in = 1, .n_sum = c->Cout, .n = n_in, .view = even_view(view, s), .rows = s->rows,
                            .weights = squares, .y = ys, .step = step, .scatter = true, .out = out, .n_out = n_out, .sink = sink};
        winograd_strip(&job, xs, xs + gathered(&job.view, c->Cout));
        return;
    }
    for (int k0 = 0; k0 < c->Cout; k0 += KC) {
        int k = min_int(KC, c->Cout - k0);
        strip_gather(xs, &view, &in, 1, k0, k);
        for (int v0 = 0; v0 < n_blocks; v0 += per_tile) {
            int nv = min_int(per_tile, n_blocks - v0);
            tile_job job = {.w = packed + packed_at(k0, k, v0, n_blocks), .block_step = view.rows * row_step, .row_step = row_step,
                            .n_block = blocks(k), .last = (k - 1) % LANES + 1, .n_valid = nv * LANES, .add = k0 > 0, .out_step = step};
            float *column = ys + (once ? 0 : v0 * LANES);
            for (int r = 0; r < s->rows; r++) tile_row(&job, nv, 1, xs + r * row_step, column + r * view.W * step, view.W);
            if (once) strip_scatter(out, n_out, &sink, ys, step, v0 * LANES, min_int(nv * LANES, n_in - v0 * LANES));
        }
    }
    if (!once) strip_scatter(out, n_out, &sink, ys, step, 0, n_in);
}

void conv_backward_input(const conv *c, const conv_out *out, int n_out, const float *dy, const float *w, float *scratch)
{
    int n_in = 0; /* channels up to the last wanted one */
    for (int i = 0, s = 0; i < n_out; i++) {
        s += out[i].C;
        if (out[i].d) n_in = s;
    }
    if (!n_in) return;
    if (winograd_any(c) && n_in % LANES) n_in = c->Cin; /* whole blocks */
    int64_t xs = strip_floats(c, false, c->Cout, c->Cin, false), per_thread = xs + result_floats(c, n_in);
    float *squares = scratch, *packed = squares + winograd_total(c), *strips = packed + (int64_t)blocks(n_in) * LANES * 9 * c->Cout;
    if (winograd_any(c)) winograd_weights(squares, w, c->Cout, n_in, (int64_t)c->Cin * 9, 9, true);
    if (!winograd_all(c)) pack_backward(packed, w, c->Cin, n_in, c->Cout);
    strip_list l = strips_of(c, false, c->Cout, c->Cin, GRIDS_ALL);
#pragma omp parallel for schedule(dynamic) num_threads(c->threads) if (c->threads > 1 && l.n > 1)
    for (int i = 0; i < l.n; i++) {
        strip s = strip_at(&l, i);
        float *mine = strips + omp_get_thread_num() * per_thread;
        input_strip(c, &s, out, n_out, n_in, dy, squares, packed, mine, mine + xs);
    }
}

/* ---- weight gradient ------------------------------------------------------------------------------------------------------- */

/* Adds one strip's products to a partial sum: tiles (out block, in block, kh, half) of (3 kw, 8 in, 16 out). */
static void weight_strip(const conv *c, const strip *s, float *part, float *part_b, const float *dy, const conv_in *in, int n_in, int k0,
                         int k, int v0, int nv, float *xs)
{
    strip_view xv = input_view(c, s, s->row - 1, s->rows + 2), dv = dy_view(c, s, s->row, s->rows, 2);
    int n_block = blocks(k), rows_once = xv.W < ROW_PIXELS ? ROW_PIXELS / xv.W : 1;
    int64_t x_row = (int64_t)(xv.W + 2) * LANES, x_block = xv.rows * x_row, d_row = (int64_t)(xv.W + 4) * LANES, d_block = s->rows * d_row;
    float *ds = xs + n_block * x_block;
    conv_in grad = {.x = dy, .C = c->Cout};
    strip_gather(xs, &xv, in, n_in, k0, k);
    strip_gather(ds, &dv, &grad, 1, v0 * LANES, min_int(nv * LANES, c->Cout - v0 * LANES));
    for (int r = 0; r < s->rows; r += rows_once)
        for (int v = 0; v < nv; v++)
            for (int b = 0; b < n_block; b++)
                for (int i = 0; i < 6; i++) { /* kh, half */
                    if (b * LANES + i % 2 * 8 >= k) continue;
                    float *acc = part + (((int64_t)v * n_block + b) * 6 + i) * 24 * LANES;
                    weight_rows(acc, xs + b * x_block + (r + i / 2) * x_row + i % 2 * 8, x_row, ds + v * d_block + r * d_row, d_row,
                                min_int(rows_once, s->rows - r), xv.W);
                }
    for (int v = 0; part_b && v < nv; v++) {
        for (int i = 0; i < LANES; i += WIDTH) {
            vec sum = {0};
            for (int64_t p = i; p < d_block; p += LANES) sum += LOAD(ds + v * d_block + p);
            STORE(part_b + v * LANES + i, LOAD(part_b + v * LANES + i) + sum);
        }
    }
}

static void plain_weight(const conv *c, float *dw, float *db, const float *dy, const conv_in *in, int n_in, float *scratch)
{
    strip_list l = strips_of(c, false, c->Cin, c->Cout, GRIDS_PLAIN);
    weight_tasks t = weight_tasks_of(c, l.n);
    int n_cells = t.n_pass * t.n_column, n_tasks = n_cells * t.n_group;
    int64_t per_thread = strip_floats(c, false, c->Cin, c->Cout, true);
    float *strips = scratch + n_tasks * t.part;
#pragma omp parallel for schedule(dynamic) num_threads(c->threads) if (c->threads > 1 && n_tasks > 1)
    for (int i = 0; i < n_tasks; i++) {
        int group = i % t.n_group, cell = i / t.n_group, k0 = cell % t.n_pass * KC, v0 = cell / t.n_pass * COLUMN;
        float *part_b = scratch + i * t.part, *part = part_b + COLUMN * LANES;
        memset(part_b, 0, (size_t)t.part * sizeof *part_b);
        int last = (int)((int64_t)l.n * (group + 1) / t.n_group);
        for (int j = (int)((int64_t)l.n * group / t.n_group); j < last; j++) {
            strip s = strip_at(&l, j);
            weight_strip(c, &s, part, db && !k0 ? part_b : NULL, dy, in, n_in, k0, min_int(KC, c->Cin - k0), v0,
                         min_int(COLUMN, blocks(c->Cout) - v0), strips + omp_get_thread_num() * per_thread);
        }
    }
#pragma omp parallel for schedule(static) num_threads(c->threads) if (c->threads > 1 && n_cells > 1)
    for (int cell = 0; cell < n_cells; cell++) {
        int k0 = cell % t.n_pass * KC, v0 = cell / t.n_pass * COLUMN, nv = min_int(COLUMN, blocks(c->Cout) - v0);
        const float *part_b = scratch + (int64_t)cell * t.n_group * t.part;
        unpack_weight(dw, part_b + COLUMN * LANES, t.n_group, t.part, c->Cin, k0, min_int(KC, c->Cin - k0), c->Cout, v0, nv);
        int n = min_int(nv * LANES, c->Cout - v0 * LANES);
        for (int i = 0; db && !k0 && i < n; i++) {
            float sum = part_b[i];
            for (int g = 1; g < t.n_group; g++) sum += part_b[g * t.part + i];
            db[v0 * LANES + i] += sum;
        }
    }
}

/* The grids with minimal filtering. */
static void square_weight(const conv *c, float *dw, float *db, const float *dy, const conv_in *in, int n_in, float *scratch)
{
    strip_list l = strips_of(c, false, c->Cin, c->Cout, GRIDS_SQUARES);
    square_tasks t = square_tasks_of(c, l.n);
    int n_cells = t.n_pass * t.n_column, n_tasks = n_cells * t.n_group;
    int64_t per_thread = strip_floats(c, false, c->Cin, c->Cout, true);
    float *strips = scratch + n_tasks * t.part;
#pragma omp parallel for schedule(dynamic) num_threads(c->threads) if (c->threads > 1 && n_tasks > 1)
    for (int i = 0; i < n_tasks; i++) {
        int group = i % t.n_group, cell = i / t.n_group, k0 = cell % t.n_pass * KC, n0 = cell / t.n_pass * WINOGRAD_COLUMNS;
        float *xs = strips + omp_get_thread_num() * per_thread;
        winograd_weight_job job = {.in = in, .n_in = n_in, .dy = {.x = dy, .C = c->Cout}, .k0 = k0, .k = min_int(KC, c->Cin - k0), .n0 = n0,
                                   .n = min_int(WINOGRAD_COLUMNS, c->Cout - n0), .part = scratch + i * t.part};
        memset(job.part, 0, (size_t)t.part * sizeof *job.part);
        int last = (int)((int64_t)l.n * (group + 1) / t.n_group);
        for (int j = (int)((int64_t)l.n * group / t.n_group); j < last; j++) {
            strip s = strip_at(&l, j);
            job.x_view = even_view(input_view(c, &s, s.row, s.rows), &s);
            job.dy_view = dy_view(c, &s, s.row, s.rows + (s.rows & 1), 0);
            winograd_weight_strip(&job, xs);
        }
    }
#pragma omp parallel for schedule(static) num_threads(c->threads) if (c->threads > 1 && n_cells > 1)
    for (int cell = 0; cell < n_cells; cell++) {
        int k0 = cell % t.n_pass * KC, n0 = cell / t.n_pass * WINOGRAD_COLUMNS;
        winograd_unpack(dw, k0 ? NULL : db, scratch + (int64_t)cell * t.n_group * t.part, t.n_group, t.part, c->Cin, k0,
                        min_int(KC, c->Cin - k0), n0, min_int(WINOGRAD_COLUMNS, c->Cout - n0));
    }
}

void conv_backward_weight(const conv *c, float *dw, float *db, const float *dy, const conv_in *in, int n_in, float *scratch)
{
    if (winograd_any(c)) square_weight(c, dw, db, dy, in, n_in, scratch);
    if (!winograd_all(c)) plain_weight(c, dw, db, dy, in, n_in, scratch);
}
