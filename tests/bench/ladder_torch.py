#!/usr/bin/python3
"""The speed ladder's peer: the items of ladder_kern.c and ladder_step.c in torch and torchvision, one thread, the same sizes. Where torch
has two ways (memory format, foreach), the faster one counts.

  ladder_torch.py [--bf16] --version       what it runs
  ladder_torch.py [--bf16] --peak NAME     runs the item twice and prints the peak memory of the process in bytes
  ladder_torch.py [--bf16]                 reads "NAME SECONDS" lines and answers "NAME BEST_SECONDS" or "NAME -"

--bf16: forward passes of whole steps under bf16 autocast; kernels are not measured."""
import contextlib
import gc
import os
import resource
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "parity"))
sys.dont_write_bytecode = True

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import torchvision  # noqa: E402
from torchvision.models import swin_transformer as tv  # noqa: E402

BATCH, CLASSES = 8, 10
torch.set_flush_denormal(True)  # not torch's default, but what its users would set on a CPU where it counts
BF16 = "--bf16" in sys.argv


def cast():
    return torch.autocast("cpu", dtype=torch.bfloat16) if BF16 else contextlib.nullcontext()


def backward_of(y, inputs, dy):
    return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)


def linear(stage, way):
    C, rows = 96 << stage, BATCH * (56 >> stage) ** 2
    runs = []
    for n, k in ((3 * C, C), (C, C), (4 * C, C), (C, 4 * C)):
        x = torch.randn(rows, k, requires_grad=way == "dx")
        w = torch.randn(n, k, requires_grad=way == "dw")
        b = torch.randn(n, requires_grad=way == "dw")
        if way == "fwd":
            runs.append(lambda x=x, w=w, b=b: F.linear(x, w, b))
        else:
            y = F.linear(x, w, b)
            runs.append(backward_of(y, [x] if way == "dx" else [w, b], torch.randn(rows, n)))
    return [lambda: [r() for r in runs]]


def attention_core(qkv, bias, tau, ws, side, heads, version):
    """torchvision's shifted_window_attention between its two linear layers, after the qkv layer: qkv (windows, N, 3C)."""
    windows, N, C = qkv.size(0), qkv.size(1), qkv.size(2) // 3
    shift, per_image = ws // 2, (side // ws) ** 2
    q, k, v = qkv.reshape(windows, N, 3, heads, C // heads).permute(2, 0, 3, 1, 4)
    if version == 2:
        attn = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        attn = attn * torch.clamp(tau, max=4.6052).exp()
    else:
        q = q * (C // heads) ** -0.5
        attn = q.matmul(k.transpose(-2, -1))
    attn = attn + bias
    mask = qkv.new_zeros((side, side))
    slices = ((0, -ws), (-ws, -shift), (-shift, None))
    count = 0
    for h in slices:
        for w in slices:
            mask[h[0] : h[1], w[0] : w[1]] = count
            count += 1
    mask = mask.view(side // ws, ws, side // ws, ws).permute(0, 2, 1, 3).reshape(per_image, ws * ws)
    mask = mask.unsqueeze(1) - mask.unsqueeze(2)
    mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
    attn = attn.view(windows // per_image, per_image, heads, N, N) + mask.unsqueeze(1).unsqueeze(0)
    attn = F.softmax(attn.view(-1, heads, N, N), dim=-1)
    return attn.matmul(v).transpose(1, 2).reshape(windows, N, C)


def attention(version, stage, way):
    ws, C, heads = (8 if version == 2 else 7), 96 << stage, 3 << stage
    side = 8 * ws >> stage
    windows, grad = BATCH * (side // ws) ** 2, way == "bwd"
    qkv = torch.randn(windows, ws * ws, 3 * C, requires_grad=grad)
    bias = torch.randn(1, heads, ws * ws, ws * ws, requires_grad=grad)
    tau = torch.full((heads, 1, 1), 2.302585, requires_grad=grad and version == 2)
    if not grad:
        return [lambda: attention_core(qkv, bias, tau, ws, side, heads, version)]
    y = attention_core(qkv, bias, tau, ws, side, heads, version)
    return [backward_of(y, [qkv, bias] + ([tau] if version == 2 else []), torch.randn_like(y))]


def rows(kind, way):
    n, C = 4 * BATCH * 56 * 56, 96
    x = torch.randn(n, C, requires_grad=way == "bwd")
    if kind == "gelu":
        f, inputs = (lambda: F.gelu(x)), [x]
    else:
        g, b = torch.randn(C, requires_grad=way == "bwd"), torch.randn(C, requires_grad=way == "bwd")
        f, inputs = (lambda: F.layer_norm(x, (C,), g, b)), [x, g, b]
    return [f] if way == "fwd" else [backward_of(f(), inputs, torch.randn(n, C))]


def conv(name, way):
    side, c_in, c_out = {"tower": (32, 128, 128), "unet1": (16, 1152, 96), "unet3": (64, 160, 32), "unet5": (256, 16, 16)}[name]
    runs = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(BATCH, c_in, side, side).contiguous(memory_format=layout).requires_grad_(way == "dx")
        w = torch.randn(c_out, c_in, 3, 3).contiguous(memory_format=layout).requires_grad_(way == "dw")
        b = torch.randn(c_out, requires_grad=way == "dw")
        if way == "fwd":
            runs.append(lambda x=x, w=w, b=b: F.conv2d(x, w, b, padding=1))
        else:
            y = F.conv2d(x, w, b, padding=1)
            dy = torch.randn_like(y).contiguous(memory_format=layout)
            runs.append(backward_of(y, [x] if way == "dx" else [w, b], dy))
    return runs


def adamw():
    shapes, runs = [p.shape for p in tv.swin_t().parameters()], []
    for foreach in (False, True):
        weights = [torch.nn.Parameter(torch.randn(s)) for s in shapes]
        for p in weights:
            p.grad = torch.randn_like(p)
        opt = torch.optim.AdamW(weights, lr=1e-4, weight_decay=0.05, foreach=foreach)
        scale = (28 << 20) / sum(p.numel() for p in weights)
        runs.append((opt.step, scale))
    return runs


def sum_float():
    total, g = torch.zeros(28 << 20), torch.randn(28 << 20)

    def run():
        total.add_(g)
        g.zero_()

    return [run]


def swin(variant):
    net = getattr(tv, variant)(num_classes=CLASSES)
    for m in net.modules():
        if isinstance(m, torchvision.ops.StochasticDepth):
            m.p = 0.0  # no drop path: both sides do all of the arithmetic
    return net


def step(variant, side):
    net = swin(variant).train()
    opt = torch.optim.AdamW(net.parameters(), lr=1e-5, weight_decay=0.05, foreach=True)
    image, label = torch.rand(BATCH, 3, side, side), torch.arange(BATCH) % CLASSES

    def run():
        opt.zero_grad(set_to_none=True)
        with cast():
            loss = F.cross_entropy(net(image).float(), label)
        loss.backward()
        opt.step()

    return [run]


def infer(variant, side):
    net = swin(variant).eval()
    image = torch.rand(BATCH, 3, side, side)

    def run():
        with torch.inference_mode(), cast():
            net.norm(net.features(image))

    return [run]


def branch(kind):
    import make_decoders

    side, runs = 256, []
    for layout in (torch.contiguous_format, torch.channels_last):
        net = (make_decoders.Seg if kind == "unet" else make_decoders.Det)(96).to(memory_format=layout)
        opt = torch.optim.AdamW(net.parameters(), lr=1e-5, weight_decay=0.05, foreach=True)
        p = {}
        for name, stride, c in (("level0", 4, 96), ("level1", 8, 192), ("level2", 16, 384), ("top", 32, 768)):
            p[name] = torch.randn(BATCH, c, side // stride, side // stride).contiguous(memory_format=layout).requires_grad_()
        image = torch.rand(BATCH, 3, side, side).contiguous(memory_format=layout)

        def run(net=net, opt=opt, p=p, image=image):
            opt.zero_grad(set_to_none=True)
            with cast():
                loss = sum((1e-3 * x).float().sum() for x in net(p, image).values())
            loss.backward()
            opt.step()

        runs.append(run)
    return runs


def joint():
    """Gradients of seven units, one after the other, then one AdamW: what users write who do not want to hold seven graphs at once."""
    import make_decoders

    runs = []
    for layout in (torch.contiguous_format, torch.channels_last):
        net = swin("swin_t").train()
        seg, det = make_decoders.Seg(96).to(memory_format=layout), make_decoders.Det(96).to(memory_format=layout)
        heads = [torch.nn.Linear(768, CLASSES) for _ in range(4)] + [torch.nn.Conv2d(16, 4, 1) for _ in range(2)]
        weights = [p for m in (net.features, net.norm, seg, det, *heads) for p in m.parameters()]
        opt = torch.optim.AdamW(weights, lr=1e-5, weight_decay=0.05, foreach=True)
        small, large, label = torch.rand(BATCH, 3, 224, 224), torch.rand(BATCH, 3, 256, 256), torch.arange(BATCH) % CLASSES
        mask = torch.arange(BATCH * 256 * 256).reshape(BATCH, 256, 256) // 32 % 4

        def pyramid(image, net=net, layout=layout):
            x, p = image, {}
            for i, stage in enumerate(net.features):
                x = stage(x)
                if i in (1, 3, 5):
                    p["level%d" % (i // 2)] = x.permute(0, 3, 1, 2).contiguous(memory_format=layout)
            p["top"] = net.norm(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
            return p

        def run(net=net, seg=seg, det=det, heads=heads, opt=opt, pyramid=pyramid, layout=layout):
            opt.zero_grad(set_to_none=True)
            image = large.contiguous(memory_format=layout)
            for i in range(7):
                with cast():
                    if i < 4:
                        loss = F.cross_entropy(heads[i](net.norm(net.features(small)).mean((1, 2))).float(), label)
                    elif i < 6:
                        loss = F.cross_entropy(heads[i](seg(pyramid(large), image)["out"]).float(), mask)
                    else:
                        loss = sum((1e-3 * x).float().sum() for x in det(pyramid(large), image).values())
                loss.backward()
            opt.step()

        runs.append(run)
    return runs


def make(name):
    w = name.split("_")
    if name.startswith("step_"):
        return step(name[5:], 256 if "v2" in name else 224)
    if name.startswith("infer_"):
        return infer(name[6:], 256 if "v2" in name else 224)
    if name in ("unet", "fpn"):
        return branch(name)
    if name == "joint":
        return joint()
    if BF16:
        return None
    if name.startswith("linear"):
        return linear(int(w[0][6:]) - 1, w[1])
    if name.startswith("attention"):
        return attention(int(w[1][1:]), int(w[2]) - 1, w[3])
    if w[0] in ("layernorm", "gelu"):
        return rows(w[0], w[1])
    if w[0] == "conv":
        return conv(w[1], w[2])
    if name == "adamw":
        return adamw()
    if name == "sum_float":
        return sum_float()
    if name == "gemm":
        a, b = torch.randn(1536, 1536), torch.randn(1536, 1536)
        return [lambda: a @ b.t()]
    return None


def best(name, seconds):
    runs = make(name)
    if not runs:
        return None
    least = 1e30
    for run in runs:
        run, scale = run if isinstance(run, tuple) else (run, 1.0)
        run()
        began, n = time.perf_counter(), 0
        while n < 2 or time.perf_counter() - began < seconds / len(runs):
            t = time.process_time()
            run()
            least = min(least, (time.process_time() - t) * scale)
            n += 1
    return least


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if "--version" in sys.argv:
        print("torch %s, torchvision %s, one thread%s" % (torch.__version__, torchvision.__version__, ", bf16 autocast" if BF16 else ""))
    elif "--peak" in sys.argv:
        run = make(sys.argv[sys.argv.index("--peak") + 1])[0]
        run()
        run()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    else:
        for line in sys.stdin:
            name, seconds = line.split()
            t = best(name, float(seconds))
            gc.collect()
            print(name, "-" if t is None else "%.9g" % t, flush=True)


if __name__ == "__main__":
    main()
