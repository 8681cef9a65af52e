#!/usr/bin/python3
"""Reference values for AdamW: torch.optim.AdamW on 48 numbers, five steps, with and without weight decay.

usage: make_optim.py > ref/adamw.txt     (Debian's python3-torch 1.13)
Lines: step decay lr, then w before, gradient, w after. Inputs by formula, so both sides have the same."""
import math
import torch

n = 48
lrs = [1e-3, 5e-3, 2e-3, 1e-2, 1e-4]
for decay in (0.0, 0.05):
    w = torch.tensor([math.sin(1.7 * i + 0.3) for i in range(n)], dtype=torch.float32, requires_grad=True)
    opt = torch.optim.AdamW([w], lr=1.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
    for step, lr in enumerate(lrs):
        for group in opt.param_groups:
            group["lr"] = lr
        w.grad = torch.tensor([math.cos(0.9 * i + step) * 10.0 ** (i % 7 - 5) for i in range(n)], dtype=torch.float32)
        opt.step()
        print(step, decay, lr, *("%.9g" % x for x in w.detach().tolist()))
