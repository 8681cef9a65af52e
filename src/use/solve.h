/* solve: the heads that a probe fits to fixed vectors: logistic regression, ridge regression, nearest neighbours. In double precision and
 * without chance: the same bits for any number of threads. They minimise what scikit-learn's StandardScaler, LogisticRegression, Ridge and
 * KNeighborsClassifier minimise (tests/parity/test_solve.c). n samples, D features, K classes. */
#ifndef USE_SOLVE_H
#define USE_SOLVE_H

#include "medley/core.h"

/* Rows of a table of vectors (.., D): row i is x + at[i] * D. */
typedef struct rows { const float *x; int D; const int64_t *at; int64_t n; } rows;

/* mean (D) and inv (D), 1 / standard deviation (of the n samples, not n - 1; 1 where all are equal). */
void scale_fit(const rows *r, double *mean, double *inv);
void scale_row(const float *x, int D, const double *mean, const double *inv, double *out); /* out (D) */

/* A linear head: W (outputs, D + 1), the intercept last and free of any penalty. */
static inline int logistic_outputs(int K) { return K == 2 ? 1 : K; } /* two classes: one output, the log odds of class 1 */

typedef struct solve_limits { double gradient; int steps; } solve_limits; /* largest entry of the gradient at the end; most steps */
/* Minimises 1/n sum_i cross entropy_i + |W|^2 / (2 C n), from what W holds, by L-BFGS (Nocedal & Wright 2006, algorithm 7.5) with a line
 * search to the weak Wolfe conditions. X (n,D); y (n) classes 0..K-1, K >= 2; samples with y < 0 do not count. *steps: how many were taken,
 * or NULL. */
MUST status logistic_fit(const double *X, int64_t n, int D, const int32_t *y, int K, double C, const solve_limits *until, double *W, int *steps);
/* z (K): log probabilities but for a constant. */
void logistic_scores(const double *W, int D, int K, const double *x, double *z);

/* Minimises |y - X w - b|^2 + alpha |w|^2 for each alpha; W (n_alpha, D + 1). Cholesky on the smaller of X'X and XX'. */
MUST status ridge_fit(const double *X, int64_t n, int D, const double *y, const double *alpha, int n_alpha, double *W);
double linear_value(const double *w, int D, const double *x); /* w (D + 1) */

/* Share of each class among the k rows of `train` with the largest cosine to each row of `test`; of equal ones the first. y (train->n);
 * p (test->n, K). k <= train->n. */
MUST status neighbours(const rows *train, const int32_t *y, const rows *test, int K, int k, double *p);

#endif
