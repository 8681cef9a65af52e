#!/usr/bin/python3
"""Reference values of the Swin encoder: torchvision's features and gradients, in double precision, for weights and inputs that both
sides make from counter-based random numbers. Writes tests/parity/ref/swin_*.txt; --check DIR compares with stored files instead.

File: a line "case VARIANT B H W drop_path", then one line per array: name, L2 norm, two random projections, samples."""
import argparse
import os
import sys

try:
    import numpy as np
    import torch
    from torchvision.models import swin_transformer as tv
    from torchvision.models.swin_transformer import SwinTransformer, SwinTransformerBlock, SwinTransformerBlockV2, PatchMerging, PatchMergingV2
except ImportError as e:
    print("1..0 # SKIP no torch and torchvision:", e)
    sys.exit(0)

CASES = [("swin_t", 1, 224, 224), ("swin_t", 1, 256, 256), ("swin_v2_t", 1, 224, 224), ("swin_v2_t", 1, 256, 256),
         ("swin_micro", 2, 96, 160), ("swin_v2_micro", 2, 96, 160), ("swin_nano", 2, 96, 160), ("swin_v2_nano", 2, 96, 160)]
OURS = {"micro": (48, [2, 2, 4, 2], [3, 6, 12, 24]), "nano": (16, [2, 2, 2, 2], [1, 2, 4, 8])}  # width, blocks, heads of what torchvision lacks
RNG_TEST, RNG_DROP_PATH = 9, 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def hash_text(s):
    h = 0xCBF29CE484222325
    for c in s.encode():
        h = ((h ^ c) * 0x100000001B3) & (2**64 - 1)
    return h


def philox(seed, purpose, sub, a, b, n):
    """First n 32-bit draws of rng_open({seed, a, b}, purpose, sub) (src/core/rng.c)."""
    blocks = (n + 3) // 4
    m = np.uint64(0xFFFFFFFF)
    c = [np.arange(blocks, dtype=np.uint64), np.full(blocks, purpose | sub << 8, np.uint64), np.full(blocks, a, np.uint64),
         np.full(blocks, b, np.uint64)]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & m, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & m]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, 1).reshape(-1)[:n]


def uniform(name, n):
    return ((philox(hash_text(name), RNG_TEST, 0, 0, 0, n) >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24))


def symmetric(name, n):
    return np.float32(2) * uniform(name, n) - np.float32(1)


def parameter(name, shape):
    """name: with "encoder."; the rule is repeated in test_swin_parity.c."""
    u = symmetric(name, int(np.prod(shape)))
    if name.endswith("relative_position_bias_table"):
        v = np.float32(0.5) * u
    elif name.endswith("logit_scale"):
        v = np.float32(1.5) + np.float32(1.5) * u
    elif len(shape) >= 2:
        v = np.sqrt(np.float32(3.0) / np.float32(np.prod(shape[1:]))) * u
    elif name.endswith("weight"):
        v = np.float32(1) + np.float32(0.1) * u
    else:
        v = np.float32(0.1) * u
    return v.astype(np.float32).reshape(shape)


def build(variant):
    size = variant.split("_")[-1]
    if size not in OURS:
        return getattr(tv, variant)()
    v2 = "v2" in variant
    window = 8 if v2 else 7
    return SwinTransformer([4, 4], *OURS[size], [window, window], stochastic_depth_prob=0.1,
                           block=SwinTransformerBlockV2 if v2 else SwinTransformerBlock, downsample_layer=PatchMergingV2 if v2 else PatchMerging)


class Drop(torch.nn.Module):
    """Row-mode stochastic depth with our draws; one object serves both branches of a block in turn."""

    def __init__(self, block, rate):
        super().__init__()
        self.block, self.rate, self.calls = block, rate, 0

    def forward(self, x):
        branch = 2 * self.block + self.calls % 2
        self.calls += 1
        u = [float(philox(77, RNG_DROP_PATH, branch, b, 3, 1)[0] >> np.uint64(8)) * 2.0**-24 for b in range(x.shape[0])]
        keep = torch.tensor([0.0 if v < self.rate else 1.0 / (1.0 - self.rate) for v in u], dtype=x.dtype)
        return x * keep.reshape(-1, *[1] * (x.ndim - 1))


def numbers(name, x, samples):
    x = x.detach().numpy().astype(np.float64).reshape(-1)
    p = [float(x @ symmetric(f"{name}.projection{i}", x.size).astype(np.float64)) for i in range(2)]
    s = [x[(i * 7919 + 13) % x.size] for i in range(samples)]
    return " ".join([name] + ["%.9g" % v for v in [float(np.linalg.norm(x)), *p, *s]])


def make(variant, B, H, W):
    net = build(variant).double().eval()
    net.head = torch.nn.Identity()
    drop = 0.3 if variant.split("_")[-1] in OURS else 0.0
    with torch.no_grad():
        for n, p in net.named_parameters():
            p.copy_(torch.from_numpy(parameter("encoder." + n, tuple(p.shape))))
    if drop:
        blocks = [b for s in (1, 3, 5, 7) for b in net.features[s]]
        for i, b in enumerate(blocks):
            b.stochastic_depth = Drop(i, drop * i / (len(blocks) - 1))
    image = torch.from_numpy(uniform("image", B * H * W * 3).astype(np.float64)).reshape(B, H, W, 3).requires_grad_()
    x = ((image - torch.tensor(MEAN, dtype=torch.float64)) / torch.tensor(STD, dtype=torch.float64)).permute(0, 3, 1, 2)
    out = []
    for i, layer in enumerate(net.features):
        x = layer(x)
        if i in (1, 3, 5, 7):
            out.append((f"level{i // 2}", x))
    out.append(("top", net.norm(x)))
    loss = sum((f.reshape(-1) * torch.from_numpy(symmetric("d." + n, f.numel()).astype(np.float64))).sum() for n, f in out)
    loss.backward()
    lines = [f"case {variant} {B} {H} {W} {drop}"]
    lines += [numbers(n, f, 32) for n, f in out]
    lines.append(numbers("image", image.grad, 16))
    lines += [numbers("encoder." + n, p.grad, 6) for n, p in net.named_parameters() if p.grad is not None]
    return lines


def compare(old, new):
    """Numbers equal up to the rounding of double arithmetic in another order."""
    a, b = [l.split() for l in old], [l.split() for l in new]
    if [l[0] for l in a] != [l[0] for l in b] or a[0] != b[0]:
        return "names or sizes differ"
    for x, y in zip(a[1:], b[1:]):
        u, v = np.array(x[1:], float), np.array(y[1:], float)
        if u.shape != v.shape or np.abs(u - v).max() > 1e-7 * u[0]:
            return "%s differs" % x[0]
    return ""


def main():
    ap = argparse.ArgumentParser()
    here = os.path.dirname(os.path.abspath(__file__))
    ap.add_argument("--check", metavar="DIR", help="compare with the files of DIR, as a TAP test")
    ap.add_argument("--out", default=os.path.join(here, "ref"))
    ap.add_argument("--only", default="", help="cases whose file name contains this")
    a = ap.parse_args()
    cases = [c for c in CASES if a.only in f"{c[0]}_{c[2]}x{c[3]}"]
    bad = 0
    if a.check:
        print("1..%d" % len(cases))
    for i, (variant, B, H, W) in enumerate(cases):
        name = f"{variant}_{H}x{W}.txt"
        lines = make(variant, B, H, W)
        if a.check:
            with open(os.path.join(a.check, name)) as f:
                why = compare(f.read().splitlines(), lines)
            bad += why != ""
            print("%s %d - %s%s" % ("not ok" if why else "ok", i + 1, name, ": " + why if why else ""), flush=True)
        else:
            os.makedirs(a.out, exist_ok=True)
            with open(os.path.join(a.out, name), "w") as f:
                f.write("\n".join(lines) + "\n")
            print(name, len(lines), "lines", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    torch.manual_seed(0)
    sys.exit(main())
