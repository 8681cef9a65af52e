"""evaluate_check.py RUN: the scores of RUN/scores-test.csv, of all samples and of each centre, computed again from the tables beside it."""
import csv
import sys

import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score, confusion_matrix, f1_score, roc_auc_score

run, checked = sys.argv[1], 0


def table(name):
    with open(f"{run}/{name}.csv", newline="") as f:
        return list(csv.DictReader(f))


def column(rows, name):
    return np.array([float(r[name]) if r[name] else np.nan for r in rows])


scores = {(r["task"], r["centre"], r["metric"]): r for r in table("scores-test")}


def same(task, centre, metric, want, tol=1e-5):
    global checked
    row = scores[task, centre, metric]
    got = float(row["value"]) if row["value"] else np.nan
    assert np.isclose(got, want, atol=tol, rtol=tol, equal_nan=True), (task, centre, metric, got, want)
    if row["lo"]:
        assert float(row["lo"]) <= float(row["hi"]), row
    checked += 1


def per_centre(rows):
    names = sorted({r["centre"] for r in rows} - {""})
    yield "", rows
    for name in names if len(names) > 1 else []:
        yield name, [r for r in rows if r["centre"] == name]


for centre, rows in per_centre(table("samples-test-quadrant")):
    y, guess = [r["label"] for r in rows], [r["prediction"] for r in rows]
    p = {k: column(rows, f"p_{k}") for k in "abcd"}
    same("quadrant", centre, "balanced_accuracy", balanced_accuracy_score(y, guess))
    same("quadrant", centre, "accuracy", accuracy_score(y, guess))
    same("quadrant", centre, "f1", f1_score(y, guess, average="macro"))
    for k in "abcd":
        truth = np.array(y) == k
        if truth.any() and not truth.all():  # probabilities have six digits in the table: near ties may turn
            same("quadrant", centre, f"auroc/{k}", roc_auc_score(truth, p[k]), 0.01)
            same("quadrant", centre, f"average_precision/{k}", average_precision_score(truth, p[k]), 0.01)
    assert int(scores["quadrant", centre, "accuracy"]["n_subjects"]) == len({r["subject"] for r in rows})
    if not centre:
        stored = table("confusion-test-quadrant")
        assert ([[int(r[k]) for k in "abcd"] for r in stored] == confusion_matrix(y, guess, labels=list("abcd"))).all()

rows = table("samples-test-radius")
error = column(rows, "prediction") - column(rows, "label")
same("radius", "", "mae", np.abs(error).mean())
same("radius", "", "rmse", np.sqrt((error**2).mean()))

rows = table("samples-test-sides")
for k in "ab":
    y, p = column(rows, f"label_{k}"), column(rows, f"p_{k}")
    same("sides", "", f"auroc/{k}", roc_auc_score(y, p), 0.01)
    stored = {r["label"]: r for r in table("confusion-test-sides")}[k]
    tn, fp, fn, tp = confusion_matrix(y, p > 0.5, labels=[0, 1]).ravel()
    assert [int(stored[c]) for c in ("true_positive", "false_positive", "false_negative", "true_negative")] == [tp, fp, fn, tn], stored

cases, samples = table("cases-test-disc"), table("samples-test-disc")
for centre, rows in per_centre(cases):
    same("disc", centre, "dice", np.nanmean(column(rows, "dice_b")))
    hd = column(rows, "hd95_mm_b")
    same("disc", centre, "hd95_mm", np.nanmean(hd) if np.isfinite(hd).any() else np.nan)
    same("disc", centre, "hd95_missing", 1 - np.isfinite(hd).sum() / np.isfinite(column(rows, "dice_b")).sum())
for r in cases:  # a case's distance is the mean over its images
    hd = column([s for s in samples if s["case"] == r["case"]], "hd95_mm_b")
    assert len(hd) == int(r["images"]) == 2
    assert np.isclose(float(r["hd95_mm_b"]) if r["hd95_mm_b"] else np.nan, np.nanmean(hd) if np.isfinite(hd).any() else np.nan, rtol=1e-5, equal_nan=True), r
pixels = np.array([[int(r[k]) for k in "ab"] for r in table("confusion-test-disc")])
assert pixels.sum() == 24 * 64 * 64, pixels
print(f"{checked} scores computed again")
assert checked > 40
