#!/usr/bin/python3
"""Makes tests/parity/ref/solve.txt: what scikit-learn's StandardScaler, LogisticRegression, Ridge and KNeighborsClassifier give on small
vectors, and scipy's quantiles of Student's t. Inputs come from a small generator that tests/parity/test_solve.c repeats, so only results are
stored.

make_solve.py FILE           writes FILE
make_solve.py --check FILE   compares FILE with fresh values; exit 77 (skip) without the packages
"""
import sys

try:
    import numpy as np
    from scipy.stats import t as student
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler
except ImportError as e:
    print(f"1..0 # SKIP {e}")
    sys.exit(77)

OUT = []


class Lcg:
    def __init__(self, seed):
        self.x = seed

    def u(self):
        self.x = (self.x * 1664525 + 1013904223) % 2**32
        return (self.x >> 8) / 2**24


def put(name, values):
    OUT.append((name, np.asarray(values, dtype=np.float64).ravel()))


def vectors(seed, n, D):
    """(n, D) multiples of 2^-23 in [-1, 1), column d times d + 1 and moved by d: exact in float32."""
    r = Lcg(seed)
    x = np.array([[2 * r.u() - 1 for _ in range(D)] for _ in range(n)])
    return ((x * (np.arange(D) % 4 + 1)).astype(np.float32) + (np.arange(D) % 3).astype(np.float32)).astype(np.float32).astype(np.float64)


def labels(seed, x, K):
    """The largest of K columns after some noise; every class occurs."""
    r = Lcg(seed)
    y = np.array([int(np.argmax([row[k] - k % 3 + 2 * (r.u() - 0.5) for k in range(K)])) for row in x])
    y[:K] = np.arange(K)
    return y


def logistic():
    for i, (n, D, K) in enumerate([(60, 5, 2), (80, 6, 4), (12, 30, 3), (40, 9, 2)]):
        x = vectors(10 + i, n, D)
        y = labels(20 + i, x, K)
        s = StandardScaler().fit(x)
        put(f"scale {i}", np.concatenate([s.mean_, 1 / s.scale_]))
        for C in (0.01, 1.0, 100.0):
            m = LogisticRegression(C=C, solver="newton-cg", tol=1e-8, max_iter=300).fit(s.transform(x), y)
            put(f"logistic {i} {C:g}", np.hstack([m.coef_, m.intercept_[:, None]]))
            m = LogisticRegression(C=C, tol=1e-6, max_iter=3000).fit(s.transform(x), y)  # what people call: its own L-BFGS
            put(f"probability {i} {C:g}", m.predict_proba(s.transform(vectors(30 + i, 7, D))))


def ridge():
    for i, (n, D) in enumerate([(50, 6), (8, 20)]):
        x = vectors(40 + i, n, D)
        r = Lcg(50 + i)
        y = 3 * x[:, 0] - x[:, 1] + 40 + np.array([r.u() for _ in range(n)])
        for alpha in (0.01, 1.0, 100.0):
            m = Ridge(alpha=alpha, solver="svd").fit(x, y)
            put(f"ridge {i} {alpha:g}", np.append(m.coef_, m.intercept_))


def nearest():
    x, q = vectors(60, 30, 5), vectors(61, 15, 5)
    y = labels(62, x, 3)
    for k in (1, 5, 20):
        m = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(x, y)
        put(f"neighbours {k}", m.predict_proba(q))


def quantiles():
    put("student", [student.ppf(0.975, v) for v in [*range(1, 31), 31, 40, 99, 999]])


def main():
    check = len(sys.argv) == 3 and sys.argv[1] == "--check"
    if len(sys.argv) != 2 and not check:
        sys.exit(__doc__)
    for part in (logistic, ridge, nearest, quantiles):
        part()
    if not check:
        with open(sys.argv[1], "w") as f:
            for name, v in OUT:
                f.write(f"{name} : {len(v)}\n{' '.join('%.12g' % x for x in v)}\n")
        return
    with open(sys.argv[2]) as f:
        lines = f.read().split("\n")
    bad = 0
    print(f"1..{len(OUT)}")
    for i, (name, v) in enumerate(OUT):
        same = lines[2 * i] == f"{name} : {len(v)}" and np.allclose(np.array(lines[2 * i + 1].split(), float), v, rtol=1e-5, atol=1e-6)
        bad += not same
        print(f"{'ok' if same else 'not ok'} {i + 1} - {name}")
    sys.exit(bad > 0)


main()
