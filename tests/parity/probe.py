"""probe.py MEDLEY MAKE-SHARDS: the scores of `medley probe` from its own draws and from the vectors of `medley embed`, by scikit-learn (TAP)."""
import csv
import glob
import math
import os
import subprocess
import sys
import tempfile

from tap import done, ok, skip

try:
    import h5py
    import numpy as np
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler
except ImportError as e:
    skip(e)

medley, make_shards = (os.path.abspath(p) for p in sys.argv[1:3])
FRACTIONS, REPEATS = (10, 50, 100), 2
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100)
JOB = """run = "a"; data_root = "shards"; seed = 5; model : { encoder = "swin_v2_nano"; };
train : { steps = 3; threads = 1; validate_every = 3; }; optim : { lr = 1e-3; warmup = 1; };
tasks = ( { name = "quadrant"; data = "tiny-quadrant"; image = [64, 64]; batch = 2; }, { name = "sides"; data = "tiny-sides"; image = [64, 64]; batch = 2; },
          { name = "radius"; data = "tiny-radius"; image = [64, 64]; batch = 2; } );
"""


def run(program, *words):
    p = subprocess.run([program, *words], capture_output=True, text=True)
    if p.returncode:
        print("#", " ".join(words), "exit", p.returncode, (p.stdout + p.stderr)[-800:])
    return p.returncode == 0


def table(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


class Data:
    """Vectors, splits and labels of a data set, in the order of its index."""

    def __init__(self, task):
        ok(run(medley, "embed", "a", "--data", f"shards/tiny-{task}", "--out", f"{task}.npy"), f"{task}: vectors")
        self.x = np.load(f"{task}.npy").astype(np.float64)
        split, label = [], []
        for name in sorted(set(glob.glob(f"shards/tiny-{task}/*.h5")) - {f"shards/tiny-{task}/index.h5"}):
            with h5py.File(name) as f:
                split += list(f["split"][:])
                group = f[f"label/{task}"]
                label += list(group["class" if "class" in group else "vector" if "vector" in group else "scalar"][:])
        self.split, self.y = np.array(split), np.array(label)

    def part(self, s):
        return self.x[self.split == s], self.y[self.split == s]


def probe(task, *more):
    out = f"{task}-{len(more)}"
    ok(run(medley, "probe", "a", "--task", task, "--fractions", ",".join(map(str, FRACTIONS)), "--repeats", str(REPEATS), "--out", out, *more), f"{task}: {' '.join(more)}")
    rows = [r for r in table(f"{out}/probe.csv") if r["encoder"] == "pretrained"]
    draws = table(f"{out}/draws.csv")
    for r in rows:
        r["taken"] = [int(d["sample"]) for d in draws if d["repeat"] == r["repeat"] and d["percent"] and float(d["percent"]) <= float(r["percent"])]
    return rows


def near(row, key, want, what):
    same = abs(float(row[key]) - want) < 1e-6
    ok(same, f"{what}: {key} {want:.6f}" + ("" if same else f", not {row[key]}"))


def classes(m, x, y):
    p = m.predict_proba(x)
    return balanced_accuracy_score(y, m.predict(x)), accuracy_score(y, m.predict(x)), roc_auc_score(y, p, multi_class="ovr", labels=m.classes_)


def classification():
    d = Data("quadrant")
    xt, yt = d.part(2)
    xv, yv = d.part(1)
    for chosen, rows in ((False, probe("quadrant", "--strength", "0.1", "--neighbours", "5")), (True, probe("quadrant"))):
        for r in rows:
            x, y = d.x[r["taken"]], d.y[r["taken"]]
            what = f"{r['method']}, {r['percent']} %, repeat {r['repeat']}"
            s = StandardScaler().fit(x)
            if len(r["taken"]) != int(r["samples"]):
                ok(False, f"{what}: samples")
            if r["method"] == "knn" and not chosen:
                m = KNeighborsClassifier(min(5, math.isqrt(len(x))), metric="cosine", algorithm="brute").fit(x, y)
                score = classes(m, xt, yt)
            elif r["method"] == "linear":
                fits = {C: LogisticRegression(C=C, tol=1e-6, max_iter=3000).fit(s.transform(x), y) for C in (STRENGTHS if chosen else (0.1,))}
                best = max(fits, key=lambda C: (balanced_accuracy_score(yv, fits[C].predict(s.transform(xv))), -C))
                near(r, "setting", best, what)
                score = classes(fits[best], s.transform(xt), yt)
            else:
                continue
            for key, want in zip(("score", "accuracy", "auroc"), score):
                near(r, key, want, what)


def labels():
    d = Data("sides")
    xt, yt = d.part(2)
    for r in probe("sides", "--strength", "0.1"):
        x, y = d.x[r["taken"]], d.y[r["taken"]]
        s = StandardScaler().fit(x)
        area = [roc_auc_score(yt[:, k], LogisticRegression(C=0.1, tol=1e-6, max_iter=3000).fit(s.transform(x), y[:, k]).decision_function(s.transform(xt)))
                if len(set(y[:, k])) > 1 else 0.5 for k in range(2)]
        near(r, "score", np.mean(area), f"labels, {r['percent']} %, repeat {r['repeat']}")


def scalars():
    d = Data("radius")
    xt, yt = d.part(2)
    for r in probe("radius", "--strength", "0.1"):
        x, y = d.x[r["taken"]], d.y[r["taken"]]
        s = StandardScaler().fit(x)
        error = np.mean(np.abs(Ridge(alpha=10).fit(s.transform(x), y).predict(s.transform(xt)) - yt))
        near(r, "mae", error, f"scalars, {r['percent']} %, repeat {r['repeat']}")
        near(r, "score", max(0, 1 - error / 8), f"scalars, {r['percent']} %, repeat {r['repeat']}")


with tempfile.TemporaryDirectory(prefix="medley-probe-") as folder:
    os.chdir(folder)
    with open("a.cfg", "w") as f:
        f.write(JOB)
    if run(make_shards, "shards", "quadrant=60,10,30,3", "sides=40,6,20,2", "radius=40,6,20,2") and run(medley, "train", "a.cfg"):
        classification()
        labels()
        scalars()
    else:
        ok(False, "a run to probe")
    os.chdir("/")
done()
