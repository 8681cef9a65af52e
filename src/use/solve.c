/* solve: logistic regression by L-BFGS. Loops over samples and over blocks of features are shared out to threads so that every number is
 * added up in one order. */
#include "solve.h"
#include "solve_lanes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- standardisation ------------------------------------------------------------------------------------------------------------ */

void scale_fit(const rows *r, double *mean, double *inv)
{
    memset(mean, 0, sizeof *mean * (size_t)r->D);
    memset(inv, 0, sizeof *inv * (size_t)r->D);
    for (int64_t i = 0; i < r->n; i++)
        for (int d = 0; d < r->D; d++) mean[d] += (double)r->x[r->at[i] * r->D + d];
    for (int d = 0; d < r->D; d++) mean[d] /= (double)r->n;
    for (int64_t i = 0; i < r->n; i++)
        for (int d = 0; d < r->D; d++) {
            double e = (double)r->x[r->at[i] * r->D + d] - mean[d];
            inv[d] += e * e;
        }
    for (int d = 0; d < r->D; d++) {
        double sd = sqrt(inv[d] / (double)r->n);
        inv[d] = sd > 1e-12 * fabs(mean[d]) && sd > 0 ? 1 / sd : 1; /* equal numbers, but for the rounding of their mean */
    }
}

void scale_row(const float *x, int D, const double *mean, const double *inv, double *out)
{
    for (int d = 0; d < D; d++) out[d] = ((double)x[d] - mean[d]) * inv[d];
}

/* ---- the function that is minimised ---------------------------------------------------------------------------------------------- */

typedef struct problem {
    const double  *X;
    int64_t        n;
    int            D, K, R;         /* R: outputs */
    const int32_t *y;
    double         of, penalty;     /* 1 / samples that count; 1 / (C n) */
    double        *residual, *loss; /* (n,R), (n) */
} problem;

double linear_value(const double *w, int D, const double *x) { return dot(w, x, D) + w[D]; }

void logistic_scores(const double *W, int D, int K, const double *x, double *z)
{
    if (K == 2) z[0] = 0, z[1] = linear_value(W, D, x);
    else
        for (int k = 0; k < K; k++) z[k] = linear_value(W + (int64_t)k * (D + 1), D, x);
}

/* Loss of sample i, and its gradient at the outputs into r (R). */
static double sample_loss(const problem *p, const double *W, int64_t i, double *r)
{
    const double *x = p->X + i * p->D;
    int y = p->y[i];
    if (y < 0) {
        memset(r, 0, sizeof *r * (size_t)p->R);
        return 0;
    }
    if (p->R == 1) {
        double z = linear_value(W, p->D, x), s = y ? -z : z; /* log(1 + exp(s)) */
        r[0] = 1 / (1 + exp(-z)) - y;
        return (s > 0 ? s : 0) + log1p(exp(-fabs(s)));
    }
    double top = -INFINITY, total = 0;
    for (int k = 0; k < p->R; k++) r[k] = linear_value(W + (int64_t)k * (p->D + 1), p->D, x), top = fmax(top, r[k]);
    double loss = top - r[y];
    for (int k = 0; k < p->R; k++) total += r[k] = exp(r[k] - top);
    for (int k = 0; k < p->R; k++) r[k] = r[k] / total - (k == y);
    return loss + log(total);
}

/* Value at W, gradient into g; both (R, D + 1). */
static double evaluate(const problem *p, const double *W, double *g)
{
    enum { BLOCK = 64 }; /* features of a thread's turn */
    int64_t n = p->n, D = p->D, R = p->R;
    double value = 0, square = 0;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) p->loss[i] = sample_loss(p, W, i, p->residual + i * R);
    memset(g, 0, sizeof *g * (size_t)(R * (D + 1)));
#pragma omp parallel for schedule(static)
    for (int64_t from = 0; from < D; from += BLOCK) {
        int64_t m = D - from < BLOCK ? D - from : BLOCK;
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < R; k++) add_scaled(g + k * (D + 1) + from, p->residual[i * R + k], p->X + i * D + from, m);
    }
    for (int64_t i = 0; i < n; i++) {
        value += p->loss[i];
        for (int64_t k = 0; k < R; k++) g[k * (D + 1) + D] += p->residual[i * R + k];
    }
    for (int64_t k = 0; k < R; k++) {
        const double *w = W + k * (D + 1);
        double *at = g + k * (D + 1);
        square += dot(w, w, D);
        for (int64_t d = 0; d < D; d++) at[d] = at[d] * p->of + p->penalty * w[d];
        at[D] *= p->of;
    }
    return value * p->of + 0.5 * p->penalty * square;
}

/* ---- L-BFGS ------------------------------------------------------------------------------------------------------------------------ */

enum { MEMORY = 10, MOST_TRIES = 40 };

typedef struct lbfgs {
    int64_t n;                      /* unknowns */
    int     held, next;             /* pairs in memory; where the next goes */
    double *s[MEMORY], *y[MEMORY], rho[MEMORY]; /* steps, changes of the gradient, 1 / (s'y) */
    double *d, *w, *g;              /* direction; the point that is tried, and its gradient */
    double *memory;
} lbfgs;

static status lbfgs_open(lbfgs *b, int64_t n)
{
    *b = (lbfgs){.n = n};
    TRY(mem_alloc(&b->memory, sizeof *b->memory * (size_t)n * (2 * MEMORY + 3), "L-BFGS"), "solve");
    double *at = b->memory;
    for (int k = 0; k < MEMORY; k++, at += 2 * n) b->s[k] = at, b->y[k] = at + n;
    b->d = at, b->w = at + n, b->g = at + 2 * n;
    return OK;
}

/* d = -H g, by the pairs in memory (two loops). */
static void direction(lbfgs *b, const double *g)
{
    double a[MEMORY];
    for (int64_t i = 0; i < b->n; i++) b->d[i] = -g[i];
    for (int k = 1; k <= b->held; k++) {
        int j = (b->next - k + MEMORY) % MEMORY;
        a[j] = b->rho[j] * dot(b->s[j], b->d, b->n);
        add_scaled(b->d, -a[j], b->y[j], b->n);
    }
    if (b->held > 0) {
        int j = (b->next - 1 + MEMORY) % MEMORY;
        double gamma = 1 / (b->rho[j] * dot(b->y[j], b->y[j], b->n));
        for (int64_t i = 0; i < b->n; i++) b->d[i] *= gamma;
    }
    for (int k = b->held; k >= 1; k--) {
        int j = (b->next - k + MEMORY) % MEMORY;
        add_scaled(b->d, a[j] - b->rho[j] * dot(b->y[j], b->d, b->n), b->s[j], b->n);
    }
}

/* From W with value f and gradient g along d: leaves the point in b->w, its gradient in b->g, and returns whether the value fell enough while
 * the slope rose enough (weak Wolfe conditions, by halving and doubling); *f becomes its value. */
static bool search(lbfgs *b, const problem *p, const double *W, const double *g, double *f, bool first)
{
    double slope = dot(g, b->d, b->n), lo = 0, hi = INFINITY, norm = sqrt(dot(b->d, b->d, b->n)), t = first ? fmin(1, 1 / norm) : 1;
    if (!(slope < 0)) return false;
    for (int i = 0; i < MOST_TRIES; i++) {
        memcpy(b->w, W, sizeof *W * (size_t)b->n);
        add_scaled(b->w, t, b->d, b->n);
        double value = evaluate(p, b->w, b->g);
        if (!(value <= *f + 1e-4 * t * slope)) hi = t;
        else if (dot(b->g, b->d, b->n) < 0.9 * slope) lo = t;
        else {
            *f = value;
            return true;
        }
        t = isfinite(hi) ? 0.5 * (lo + hi) : 2 * lo;
    }
    return false; /* as good as rounding allows */
}

static double largest(const double *g, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(g[i]));
    return most;
}

static void remember(lbfgs *b, const double *W, const double *g)
{
    double *s = b->s[b->next], *y = b->y[b->next];
    for (int64_t i = 0; i < b->n; i++) s[i] = b->w[i] - W[i], y[i] = b->g[i] - g[i];
    double sy = dot(s, y, b->n);
    if (!(sy > 0)) return;
    b->rho[b->next] = 1 / sy;
    b->next = (b->next + 1) % MEMORY;
    if (b->held < MEMORY) b->held++;
}

static void minimise(lbfgs *b, const problem *p, const solve_limits *until, double *W, double *g, int *steps)
{
    double f = evaluate(p, W, g);
    int taken = 0;
    while (taken < until->steps && largest(g, b->n) > until->gradient) {
        progress_beat();
        direction(b, g);
        if (!search(b, p, W, g, &f, b->held == 0)) {
            if (b->held == 0) break;
            b->held = 0; /* once more, straight down */
            continue;
        }
        remember(b, W, g);
        memcpy(W, b->w, sizeof *W * (size_t)b->n);
        memcpy(g, b->g, sizeof *g * (size_t)b->n);
        taken++;
    }
    if (steps) *steps = taken;
}

status logistic_fit(const double *X, int64_t n, int D, const int32_t *y, int K, double C, const solve_limits *until, double *W, int *steps)
{
    problem p = {.X = X, .n = n, .D = D, .K = K, .R = logistic_outputs(K), .y = y};
    lbfgs b = {0};
    double *g = NULL;
    int64_t unknowns = (int64_t)p.R * (D + 1), counts = 0;
    status st;
    for (int64_t i = 0; i < n; i++) counts += y[i] >= 0;
    CHECK(counts > 0 && K >= 2 && C > 0, ST_BUG, "logistic regression of %lld samples, %d classes, C = %g", (long long)counts, K, C);
    p.of = 1 / (double)counts, p.penalty = 1 / (C * (double)counts);
    TRY_TO(done, mem_alloc(&p.residual, sizeof *p.residual * (size_t)(n * p.R), "residuals"), "solve");
    TRY_TO(done, mem_alloc(&p.loss, sizeof *p.loss * (size_t)n, "losses"), "solve");
    TRY_TO(done, mem_alloc(&g, sizeof *g * (size_t)unknowns, "gradient"), "solve");
    TRY_TO(done, lbfgs_open(&b, unknowns), "solve");
    minimise(&b, &p, until, W, g, steps);
    for (int64_t i = 0; i < unknowns; i++)
        CHECK_TO(done, isfinite(W[i]), ST_NUMERIC, "logistic regression: weight %lld is not finite", (long long)i);
done:
    free(b.memory);
    free(g), free(p.residual), free(p.loss);
    return st;
}
