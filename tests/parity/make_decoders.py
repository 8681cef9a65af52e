#!/usr/bin/python3
"""Reference values of the two shared decoders: the same modules in torch, in double precision, for weights and inputs that both sides make
from counter-based random numbers (rules of make_swin.py). Writes tests/parity/ref/{seg,det}_*.txt; --check DIR compares instead.

File: a line "case KIND EMBED B H W", then one line per array: name, L2 norm, two random projections, samples."""
import argparse
import os
import sys

from make_swin import compare, numbers, parameter, symmetric, uniform  # skips by itself where torch is not installed

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

CASES = [("seg", 48, 2, 64, 96), ("seg", 96, 1, 64, 32), ("det", 48, 2, 96, 64), ("det", 96, 1, 128, 128)]


class Block(nn.Module):
    """Nearest x2, concatenation, 2 x (3x3 convolution, group norm with one group, ReLU)."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.GroupNorm(1, c_out)
        self.conv2, self.norm2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False), nn.GroupNorm(1, c_out)

    def forward(self, x, skip):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = torch.cat([x] + skip, 1)
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class Seg(nn.Module):
    def __init__(self, E):
        super().__init__()
        c = [min(r, -(-E * k // 48) * 16) for r, k in ((96, 3), (64, 2), (32, 1))] + [16, 16]
        skip = [4 * E, 2 * E, E, 0, 3]
        for i in range(5):
            setattr(self, f"block{i + 1}", Block((c[i - 1] if i else 8 * E) + skip[i], c[i]))

    def forward(self, p, image):
        x = p["top"]
        skips = [[p["level2"]], [p["level1"]], [p["level0"]], [], [2 * image - 1]]
        for i, skip in enumerate(skips):
            x = getattr(self, f"block{i + 1}")(x, skip)
        return {"out": x}


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        for j in range(4):
            setattr(self, f"conv{j + 1}", nn.Conv2d(128, 128, 3, padding=1))
            setattr(self, f"norm{j + 1}", nn.GroupNorm(32, 128))

    def forward(self, x):
        for j in range(4):
            x = F.gelu(getattr(self, f"norm{j + 1}")(getattr(self, f"conv{j + 1}")(x)))
        return x


class Det(nn.Module):
    def __init__(self, E):
        super().__init__()
        for i, c in enumerate((2 * E, 4 * E, 8 * E)):
            setattr(self, f"lateral{i + 1}", nn.Conv2d(c, 128, 1))
            setattr(self, f"output{i + 1}", nn.Conv2d(128, 128, 3, padding=1))
        for i in range(2):
            setattr(self, f"extra{i + 1}", nn.Conv2d(128, 128, 3, stride=2, padding=1))
        self.cls, self.reg = Tower(), Tower()

    def forward(self, p, image):
        inner = [self.lateral1(p["level1"]), self.lateral2(p["level2"]), self.lateral3(p["top"])]
        for i in (1, 0):
            inner[i] = inner[i] + F.interpolate(inner[i + 1], scale_factor=2, mode="nearest")
        levels = [getattr(self, f"output{i + 1}")(x) for i, x in enumerate(inner)]
        levels.append(self.extra1(levels[-1]))
        levels.append(self.extra2(F.relu(levels[-1])))
        out = {}
        for i, x in enumerate(levels):
            out[f"cls{i}"], out[f"reg{i}"] = self.cls(x), self.reg(x)
        return out


def last(x):
    return x.permute(0, 2, 3, 1).contiguous()


def make(kind, E, B, H, W):
    net = (Seg if kind == "seg" else Det)(E).double()
    with torch.no_grad():
        for n, p in net.named_parameters():
            p.copy_(torch.from_numpy(parameter(f"{kind}.{n}", tuple(p.shape))))
    image = torch.from_numpy(uniform("image", B * H * W * 3).astype(np.float64)).reshape(B, H, W, 3).permute(0, 3, 1, 2)
    used = {"seg": ("level0", "level1", "level2", "top"), "det": ("level1", "level2", "top")}[kind]
    p = {}
    for name, stride, c in (("level0", 4, E), ("level1", 8, 2 * E), ("level2", 16, 4 * E), ("top", 32, 8 * E)):
        x = torch.from_numpy(symmetric(name, B * H * W // stride**2 * c).astype(np.float64))
        p[name] = x.reshape(B, H // stride, W // stride, c).requires_grad_()
    out = {n: last(x) for n, x in net({n: x.permute(0, 3, 1, 2) for n, x in p.items()}, image).items()}
    sum((x.reshape(-1) * torch.from_numpy(symmetric("d." + n, x.numel()).astype(np.float64))).sum() for n, x in out.items()).backward()
    lines = [f"case {kind} {E} {B} {H} {W}"]
    lines += [numbers(n, x, 24) for n, x in out.items()]
    lines += [numbers("grad." + n, p[n].grad, 24) for n in used]
    lines += [numbers(f"{kind}.{n}", q.grad, 8) for n, q in net.named_parameters()]
    return lines


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--check", metavar="DIR", help="compare with the files of DIR, as a TAP test")
    ap.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "ref"))
    a = ap.parse_args()
    bad = 0
    if a.check:
        print("1..%d" % len(CASES))
    for i, case in enumerate(CASES):
        name = "%s_%d_%dx%d.txt" % (case[0], case[1], case[3], case[4])
        lines = make(*case)
        if a.check:
            with open(os.path.join(a.check, name)) as f:
                why = compare(f.read().splitlines(), lines)
            bad += why != ""
            print("%s %d - %s%s" % ("not ok" if why else "ok", i + 1, name, ": " + why if why else ""), flush=True)
        else:
            with open(os.path.join(a.out, name), "w") as f:
                f.write("\n".join(lines) + "\n")
            print(name, len(lines), "lines", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
