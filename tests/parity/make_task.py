#!/usr/bin/env python3
"""Makes tests/parity/ref/task.txt: losses, FCOS assignment, detections and metrics as torch, torchvision, scikit-learn and scipy
compute them in double precision. Inputs come from a small generator that tests/parity/test_task_parity.c repeats, so only results
are stored. pycocotools is not in Debian: average precision is computed here by a plain numpy version of COCO's definition. Nor is MONAI: its
compute_hausdorff_distance(percentile=95) is computed here from scipy's erosion and distance transform, which MONAI calls too.

make_task.py FILE           writes FILE
make_task.py --check FILE   compares FILE with fresh values; exit 77 (skip) without the packages
"""
import math
import sys
from types import SimpleNamespace

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from scipy import ndimage
    from sklearn.metrics import (accuracy_score, average_precision_score, balanced_accuracy_score, confusion_matrix, f1_score, recall_score,
                                 roc_auc_score)
    from torchvision.models.detection import _utils as det_utils
    from torchvision.models.detection.fcos import FCOS, FCOSHead
    from torchvision.ops import generalized_box_iou_loss
except ImportError as e:
    print(f"1..0 # SKIP {e}")
    sys.exit(77)

STRIDES = (8, 16, 32, 64, 128)
OUT = []


class Lcg:
    def __init__(self, seed):
        self.x = seed

    def u(self):
        self.x = (self.x * 1664525 + 1013904223) % 2**32
        return (self.x >> 8) / 2**24

    def many(self, n, scale):
        """n float32 values in [-scale/2, scale/2); scale a power of two keeps them exact."""
        return np.array([(self.u() - 0.5) * scale for _ in range(n)])

    def below(self, n):
        return int(self.u() * n)


def put(name, values):
    v = np.asarray(values, dtype=np.float64).ravel()
    OUT.append((name, v))


def put_gradient(name, g):
    """A gradient as its norm, its product with generated numbers, and its first values."""
    g = g.detach().numpy().ravel()
    put(name, [np.linalg.norm(g), float(g @ Lcg(99).many(g.size, 2.0)), *g[:12]])


def image_losses():
    r = Lcg(1)
    B, K = 12, 5
    z = torch.tensor(r.many(B * K, 8.0).reshape(B, K), requires_grad=True)
    y = torch.tensor([r.below(K + 1) - 1 for _ in range(B)])
    w = torch.tensor([0.5, 1.0, 1.5, 0.75, 1.25], dtype=torch.float64)
    valid = y >= 0
    loss = (F.cross_entropy(z[valid], y[valid], reduction="none") * w[y[valid]]).mean() / math.log(K)
    loss.backward()
    put("classes", [loss.item(), valid.sum()])
    put_gradient("classes_gradient", z.grad)

    z = torch.tensor(r.many(B * K, 8.0).reshape(B, K), requires_grad=True)
    y = torch.tensor([[r.below(3) - 1.0 for _ in range(K)] for _ in range(B)], dtype=torch.float64)
    valid = y >= 0
    loss = F.binary_cross_entropy_with_logits(z[valid], y[valid]) / math.log(2)
    loss.backward()
    put("labels", [loss.item(), valid.sum()])
    put_gradient("labels_gradient", z.grad)

    z = torch.tensor(r.many(B, 2.0), requires_grad=True)
    y = torch.tensor(r.many(B, 32.0) + 50)
    loss = 12 * F.mse_loss(z, (y - 50) / 40)
    loss.backward()
    put("scalar", [loss.item(), B])
    put_gradient("scalar_gradient", z.grad)


def dense_loss():
    for K in (2, 4, 19):
        r = Lcg(10 + K)
        B, P = 2, 300
        z = torch.tensor(r.many(B * P * K, 4.0).reshape(B, P, K), requires_grad=True)
        y = torch.tensor([r.below(K + 1) for _ in range(B * P)]).reshape(B, P)  # K: ignored
        y[1, y[1] == 1] = 0  # class 1 is absent from the second sample
        d0 = 1 - 1 / K
        total = 0
        for b in range(B):
            valid = y[b] < K
            logp = F.log_softmax(z[b][valid], dim=1)
            p, t = logp.exp(), F.one_hot(y[b][valid], K).double()
            log_true = (logp * t).sum(1)
            focal = -((1 - log_true.exp()) ** 2 * log_true).mean()
            present = t.sum(0) > 0
            dice = 1 - (2 * (p * t).sum(0) + 1) / (p.sum(0) + t.sum(0) + 1)
            total = total + 0.5 * focal / (d0 * d0 * math.log(K)) + 0.5 * dice[present].mean() / d0
        loss = total / B
        loss.backward()
        put(f"dense_{K}", [loss.item()])
        put_gradient(f"dense_{K}_gradient", z.grad)


def anchors_of(H, W):
    a, per_level = [], []
    for s in STRIDES:
        h, w = -(-H // s), -(-W // s)
        for i in range(h):
            for j in range(w):
                a.append([j * s, i * s, (j + 1) * s, (i + 1) * s])
        per_level.append(h * w)
    return torch.tensor(a, dtype=torch.float64), per_level


def random_boxes(r, n, H, W):
    b = []
    for _ in range(n):
        x, y = np.float32(r.u() * W * 0.75), np.float32(r.u() * H * 0.75)
        b.append([x, y, np.float32(x + np.float32(3 + r.u() * W * 0.5)), np.float32(y + np.float32(3 + r.u() * H * 0.5))])
    return torch.tensor(np.array(b, dtype=np.float64).reshape(-1, 4))


def assign(boxes, labels, anchors, per_level, center):
    got = []
    catch = SimpleNamespace(compute_loss=lambda t, h, a, m: got.extend(m))
    stub = SimpleNamespace(center_sampling_radius=1.5 if center else 1e9, head=catch)
    FCOS.compute_loss(stub, [{"boxes": b, "labels": l} for b, l in zip(boxes, labels)], None, [anchors] * len(boxes), per_level)
    return got


def fcos():
    r = Lcg(20)
    for case in range(8):
        H, W, n = (256, 320, 3 + 4 * case) if case else (128, 128, 5)
        anchors, per_level = anchors_of(H, W)
        boxes = random_boxes(r, n, H, W)
        for center in (0, 1):
            match = assign([boxes], [torch.zeros(n, dtype=torch.int64)], anchors, per_level, center)[0].numpy()
            code = 0
            for m in match:
                code = (code * 31 + int(m) + 2) % 1000003
            put(f"assign_{case}_{center}", [len(match), (match >= 0).sum(), code])

    for K in (1, 3):
        r = Lcg(30 + K)
        H = W = 256
        anchors, per_level = anchors_of(H, W)
        L = len(anchors)
        boxes = [random_boxes(r, 4, H, W), torch.zeros(0, 4, dtype=torch.float64), random_boxes(r, 7, H, W)]
        labels = [torch.tensor([r.below(K) for _ in range(len(b))], dtype=torch.int64) for b in boxes]
        cls = torch.tensor(r.many(3 * L * K, 8.0).reshape(3, L, K), requires_grad=True)
        raw = torch.tensor(r.many(3 * L * 5, 4.0).reshape(3, L, 5), requires_grad=True)
        scale = torch.tensor([1.0, 0.5, 1.25, 2.0, 0.75], dtype=torch.float64, requires_grad=True)
        level = torch.repeat_interleave(torch.arange(5), torch.tensor(per_level))
        dist = torch.exp(scale[level][None, :, None] * raw[..., :4])
        match = assign(boxes, labels, anchors, per_level, K == 3)
        head = FCOSHead(32, 1, K, num_convs=1)
        out = {"cls_logits": cls, "bbox_regression": dist, "bbox_ctrness": raw[..., 4:]}
        loss = head.compute_loss([{"boxes": b, "labels": l} for b, l in zip(boxes, labels)], out, [anchors] * 3, match)
        parts = [loss["classification"], loss["bbox_regression"], loss["bbox_ctrness"]]
        sum(parts).backward()
        put(f"fcos_{K}", [p.item() for p in parts] + [sum((m >= 0).sum() for m in match)])
        put_gradient(f"fcos_{K}_cls", cls.grad)
        put_gradient(f"fcos_{K}_reg", raw.grad)
        put(f"fcos_{K}_scale", scale.grad)

        stub = SimpleNamespace(box_coder=det_utils.BoxLinearCoder(True), score_thresh=0.3, topk_candidates=1000, nms_thresh=0.5,
                               detections_per_img=40)
        cut = lambda t: list(torch.split(t.detach(), per_level, dim=1))
        out = {"cls_logits": cut(cls), "bbox_regression": cut(dist), "bbox_ctrness": cut(raw[..., 4:])}
        found = FCOS.postprocess_detections(stub, out, [list(torch.split(anchors, per_level))] * 3, [(H, W)] * 3)
        for i, f in enumerate(found):
            put(f"detect_{K}_{i}", torch.cat([f["boxes"], f["scores"][:, None], f["labels"][:, None].double()], 1))

    r = Lcg(40)
    a, b = random_boxes(r, 30, 64, 64), random_boxes(r, 30, 64, 64)
    a.requires_grad_()
    loss = generalized_box_iou_loss(a, b)
    loss.sum().backward()
    put("giou", loss.detach())
    put("giou_gradient", a.grad)


def classes():
    for K in (2, 4):
        r = Lcg(50 + K)
        N = 150
        y = np.array([r.below(K) for _ in range(N)])
        p = np.array([[r.below(16) / 16 for _ in range(K)] for _ in range(N)])
        p[np.arange(N), y] += 0.25
        area = [roc_auc_score(y == c, p[:, c]) for c in range(K)]
        guess = p.argmax(1)
        both = [balanced_accuracy_score(y, guess), accuracy_score(y, guess)]
        put(f"metric_class_{K}", [*both, area[1] if K == 2 else np.mean(area), *area])
        ap = [average_precision_score(y == c, p[:, c]) for c in range(K)]
        put(f"metric_class_more_{K}", [f1_score(y, guess, average="macro"), ap[1] if K == 2 else np.mean(ap), *ap, *recall_score(y, guess, average=None)])
        put(f"metric_confusion_{K}", confusion_matrix(y, guess, labels=range(K)))
    r = Lcg(60)
    N, K = 120, 3
    y = np.array([[r.below(3) - 1 for _ in range(K)] for _ in range(N)])
    p = np.array([[r.below(32) / 32 for _ in range(K)] for _ in range(N)])
    area = [roc_auc_score(y[y[:, c] >= 0, c], p[y[:, c] >= 0, c]) for c in range(K)]
    put("metric_labels", [np.mean(area), *area, np.mean((p > 0.5)[y >= 0] == (y[y >= 0] > 0))])
    ap = [average_precision_score(y[y[:, c] >= 0, c], p[y[:, c] >= 0, c]) for c in range(K)]
    put("metric_labels_more", [np.mean(ap), *ap])


def surface_of(mask):
    return mask & ~ndimage.binary_erosion(mask)


def hd95(a, b, spacing):
    if not a.any() or not b.any():
        return -1.0
    a, b = surface_of(a), surface_of(b)
    there = ndimage.distance_transform_edt(~b, sampling=spacing)[a]
    back = ndimage.distance_transform_edt(~a, sampling=spacing)[b]
    return max(np.percentile(there, 95), np.percentile(back, 95))


def surfaces():
    """Masks of discs and single pixels, with pixels that are ignored; -1: a class that one of the two lacks."""
    r, found = Lcg(80), []
    for case in range(40):
        H, W = 8 + r.below(60), 8 + r.below(60)
        masks = np.zeros((2, H, W), np.uint8)
        y, x = np.mgrid[:H, :W]
        for _ in range(r.below(7)):
            which, k, cx, cy, rad = r.below(3), 1 + r.below(2), r.below(W), r.below(H), r.below(12)
            for m in range(2):
                if which != 1 - m:
                    masks[m][(x - cx - 2 * m * (case % 3)) ** 2 + (y - cy) ** 2 <= rad * rad] = k
        masks[1][r.below(H)] = 255
        spacing = (0.25 + r.below(8) / 4, 0.25 + r.below(8) / 4) if case % 2 else (1.0, 1.0)
        for k in (1, 2):
            found.append(hd95((masks[0] == k) & (masks[1] != 255), masks[1] == k, spacing))
    put("metric_surfaces", found)


def coco_ap(images, K):
    """images: list of (det (D,6), gt (G,5)); mean AP at 0.5 and at 0.5:0.95 over classes with boxes, and AP50 per class."""
    thresholds, per_class = np.linspace(0.5, 0.95, 10), []
    for k in range(K):
        n_gt = sum(int((gt[:, 4] == k).sum()) for _, gt in images)
        if n_gt == 0:
            continue
        ap = []
        for t in thresholds:
            scores, hits = [], []
            for det, gt in images:
                d, g = det[det[:, 5] == k], gt[gt[:, 4] == k]
                free = np.ones(len(g), bool)
                for row in d[np.argsort(-d[:, 4], kind="mergesort")]:
                    hit = False
                    if len(g):
                        lo, hi = np.maximum(row[:2], g[:, :2]), np.minimum(row[2:4], g[:, 2:4])
                        both = np.prod(np.clip(hi - lo, 0, None), axis=1)
                        overlap = both / (np.prod(row[2:4] - row[:2]) + np.prod(g[:, 2:4] - g[:, :2], axis=1) - both)
                        overlap = np.where(free, overlap, -1)
                        if overlap.max() >= min(t, 1 - 1e-10):
                            hit = True
                            free[overlap.argmax()] = False
                    scores.append(row[4])
                    hits.append(hit)
            order = np.argsort(-np.array(scores), kind="mergesort")
            tp = np.cumsum(np.array(hits, float)[order])
            recall, precision = tp / n_gt, tp / np.arange(1, len(tp) + 1)
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
            ap.append(np.mean([precision[i] if i < len(precision) else 0.0 for i in at]))
        per_class.append(ap)
    per_class = np.array(per_class)
    return [per_class[:, 0].mean(), per_class.mean(), *per_class[:, 0]]


def boxes():
    r = Lcg(70)
    K, images = 3, []
    for _ in range(25):
        gt = random_boxes(r, r.below(6), 64, 64).numpy()
        gt = np.concatenate([gt, np.array([[r.below(K)] for _ in gt], float).reshape(-1, 1)], 1)
        det = []
        for g in gt:  # moved copies, some of another class, some doubled
            for _ in range(1 + r.below(2)):
                move = r.many(4, 8.0)
                det.append([*(g[:4] + move), r.below(64) / 64, g[4] if r.u() < 0.9 else r.below(K)])
        for row in random_boxes(r, r.below(4), 64, 64).numpy():
            det.append([*row, r.below(64) / 64, r.below(K)])
        det = np.array(det, float).reshape(-1, 6)
        det = det[np.argsort(-det[:, 4], kind="mergesort")]
        images.append((det, gt))
    put("metric_boxes", coco_ap(images, K))


def main():
    check = sys.argv[1] == "--check"
    path = sys.argv[-1]
    for make in (image_losses, dense_loss, fcos, classes, surfaces, boxes):
        make()
    if not check:
        with open(path, "w") as f:
            for name, v in OUT:
                f.write(f"{name} {len(v)} " + " ".join(f"{x:.9g}" for x in v) + "\n")
        return
    stored = {p[0]: np.array(p[2:], float) for p in (line.split() for line in open(path))}
    bad = [n for n, v in OUT if n not in stored or stored[n].shape != v.shape or not np.allclose(stored[n], v, rtol=1e-6, atol=1e-8)]
    for n in bad:
        print(f"# {n}: stored and fresh values differ")
    print(f"{'not ok' if bad else 'ok'} 1 - {len(OUT)} stored reference values equal fresh ones\n1..1")
    sys.exit(bool(bad))


main()
