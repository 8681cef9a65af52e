"""loader: what one core prepares for training: our loader's thread (bench_loader) and a DataLoader of PyTorch with one worker, over the same shards
(h5py), with the same augmentation: one bilinear warp, colours by one matrix, gamma, blur, noise, the same strengths. In turn; what counts is the
processor time of the thread or worker for an image, which other work on the machine disturbs least. And what share of a training step of swin_t on
one core (bench_ladder, in the same run) that is: a rank's loader shares the rank's core.

Usage: loader.py BENCH-LOADER BENCH-LADDER MEDLEY-DATA SOURCE-ROOT [--rounds N] [--seconds S]     Debian: python3-torch, -h5py, -nibabel, -pil
"""
import glob
import math
import os
import subprocess
import sys
import tempfile
import time

SCANS = '''name = "ct"; title = "t"; modality = "CT"; licence = "none";
images: { files = "images/{stem}.nii.gz"; channels = 1; pixel = "i16"; id = "{stem}"; subject = "{stem}"; };
range: { rule = "window"; lo = -160; hi = 240; };
labels: ( { name = "organs"; kind = "segmentation"; source = "mask"; file = "labels/{stem}.nii.gz"; classes = ["ground", "one", "two"]; } );
split: { fractions = [1.0, 0.0, 0.0]; };
'''
TILES = '''name = "tiles"; title = "t"; modality = "histology"; licence = "none";
images: { files = "{kind}/{n}.png"; id = "{kind}-{n}"; subject = "{kind}-{n}"; };
labels: ( { name = "tissue"; kind = "classification"; source = "value"; value = "{kind}"; classes = ["a", "b"]; } );
split: { fractions = [1.0, 0.0, 0.0]; };
'''


# ---- data ------------------------------------------------------------------------------------------------------------------------

def make_scans(folder, n=6, side=512, slices=20):
    """Slices as large as those of a CT: smooth organs, noise of a dozen units, air around; masks of two blobs."""
    import nibabel as nib
    import numpy as np
    rng = np.random.default_rng(1)
    os.makedirs(f"{folder}/images"), os.makedirs(f"{folder}/labels")
    z, y, x = np.meshgrid(np.linspace(-1, 1, slices), np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    for i in range(n):
        blob = ((x - 0.3) ** 2 + (y - 0.02 * i) ** 2 + z * z < 0.08).astype(np.uint8)
        blob[(x + 0.3) ** 2 + y * y + z * z < 0.05] = 2
        hu = np.where(x * x + (1.3 * y) ** 2 < 0.8, 40 + 30 * np.sin(9 * x + i) + 120 * (blob > 0) + rng.normal(0, 12, x.shape), -1000).astype(np.int16)
        for kind, data in (("images", hu), ("labels", blob)):
            nib.save(nib.Nifti1Image(np.ascontiguousarray(data.transpose(2, 1, 0)[::-1, ::-1]), np.diag([0.8, 0.8, 2.5, 1])), f"{folder}/{kind}/case{i:03d}.nii.gz")


def make_tiles(folder, n=200, side=224):
    import numpy as np
    from PIL import Image
    rng = np.random.default_rng(2)
    for i in range(n):
        os.makedirs(f"{folder}/{'ab'[i % 2]}", exist_ok=True)
        px = 128 + 60 * np.sin(np.arange(side * side * 3).reshape(side, side, 3) / (50 + i)) + rng.normal(0, 6, (side, side, 3))
        Image.fromarray(px.clip(0, 255).astype(np.uint8)).save(f"{folder}/{'ab'[i % 2]}/{i:04d}.png")


# ---- the peer: what a group would write, once it has looked where the time goes ------------------------------------------------------

def peer(folder, label, side, seconds, strength):
    import h5py
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torchvision.transforms.functional import gaussian_blur

    def either(v):
        return v * (2 * torch.rand(()).item() - 1)

    def warp_of(s, H, W):
        """Network pixels to stored ones: x = A q + c with q from the centre, as in src/data/view.c; and how much it shrinks."""
        turn = math.radians(either(s["rotate_deg"])) + (math.pi / 2 * torch.randint(4, ()).item() if torch.rand(()).item() < s["rot90"] else 0)
        zoom = math.exp(math.log(s["scale_lo"]) + (math.log(s["scale_hi"]) - math.log(s["scale_lo"])) * torch.rand(()).item())
        scale = max(H, W) / side / zoom
        fx, fy = (-1 if torch.rand(()).item() < s[k] else 1 for k in ("flip_x", "flip_y"))
        A = scale * np.array([[math.cos(turn) * fx, -math.sin(turn) * fy], [math.sin(turn) * fx, math.cos(turn) * fy]])
        return A, np.array([W / 2, H / 2]) - A @ np.array([either(s["shift"]) * side, either(s["shift"]) * side]), scale

    def grid(A, c, H, W):
        theta = torch.tensor(np.concatenate([A * side / np.array([[W], [H]]), (2 * c / [W, H] - 1)[:, None]], 1)[None], dtype=torch.float32)
        return F.affine_grid(theta, (1, 1, side, side), align_corners=False)

    def colours(x, s):
        """Contrast about the mean, brightness; hue turns and saturation scales the chroma plane around grey."""
        contrast, bright = math.exp(either(s["contrast"])), either(s["brightness"])
        mean = x.mean((1, 2))
        if x.shape[0] == 1:
            return x * contrast + ((1 - contrast) * mean.item() + bright)
        h, sat = either(s["hue"]) * 2 * math.pi, math.exp(either(s["saturation"]))
        a, b = sat * math.cos(h), sat * math.sin(h) / math.sqrt(3)
        m = torch.full((3, 3), (1 - a) / 3) + a * torch.eye(3) + b * torch.tensor([[0., -1, 1], [1, 0, -1], [-1, 1, 0]])
        return (contrast * m @ x.reshape(3, -1)).reshape(x.shape) + ((1 - contrast) * (m @ mean) + bright)[:, None, None]

    class Shards(torch.utils.data.Dataset):
        def __init__(self):
            (self.name,) = set(glob.glob(f"{folder}/*.h5")) - {f"{folder}/index.h5"}
            self.file = None
            with h5py.File(self.name) as f:
                self.items = np.flatnonzero((f["split"][:] == 0) & (f[f"label/{label}/present"][:] == 1))

        def __len__(self):
            return len(self.items)

        def __getitem__(self, n):
            i, s = self.items[n], strength
            if self.file is None:
                self.file = h5py.File(self.name)
            f = self.file
            (h, w), (lo, hi) = f["size"][i], f["range"][i]
            lo, hi = lo + either(s["window"]) * (hi - lo), hi + either(s["window"]) * (hi - lo)
            x = torch.from_numpy(((f["image"][i, :h, :w].astype(np.float32) - lo) / (hi - lo)).clip(0, 1)).permute(2, 0, 1)
            A, c, scale = warp_of(s, h, w)
            k = int(scale + 0.5) if scale >= 1.5 else 1
            g = grid(A, c, h, w)
            x = F.grid_sample((F.avg_pool2d(x, k) if k > 1 else x)[None], g, align_corners=False)[0]
            x = colours(x, s).clip(0, 1)
            if s["gamma"]:
                x = x.pow(math.exp(either(s["gamma"])))
            sd = s["blur"] * torch.rand(()).item()
            if sd > 0.2:
                x = gaussian_blur(x, 2 * math.ceil(2.5 * sd) + 1, sd)
            if s["noise"]:
                x = x + s["noise"] * torch.rand(()).item() * torch.randn_like(x)
            x = x.clip(0, 1)
            if s["invert"] and torch.rand(()).item() < s["invert"]:
                x = 1 - x
            x = x.expand(3, -1, -1).contiguous()
            at = f[f"label/{label}"]
            if "mask" in at:
                mask = torch.from_numpy(at["mask"][i, :h, :w].astype(np.float32))
                target = F.grid_sample(mask[None, None] - 255, g, mode="nearest", align_corners=False)[0, 0].add_(255).to(torch.uint8)
            elif "box" in at:
                a, b = at["box_off"][i:i + 2]
                corner = at["box"][a:b].reshape(-1, 2, 2)
                q = (np.stack([corner, np.stack([corner[:, ::-1, 0], corner[:, :, 1]], 2)], 1).reshape(-1, 4, 2) - c) @ np.linalg.inv(A).T + side / 2
                box = np.zeros((200, 4), np.float32)
                box[:b - a] = np.concatenate([q.min(1), q.max(1)], 1).clip(0, side)[:200]
                target = torch.from_numpy(box)
            else:
                target = torch.tensor(int(at["class"][i]))
            return x, target, time.process_time()  # of the worker, so far

    torch.manual_seed(1)
    data, stamps, began = Shards(), [], None
    while began is None or time.monotonic() - began < seconds:
        for _, _, stamp in torch.utils.data.DataLoader(data, batch_size=8, shuffle=True, num_workers=1, drop_last=True):
            began = began or time.monotonic()
            stamps.append(stamp)
            if time.monotonic() - began > seconds:
                break
        # a new worker begins at 0 again: only batches of the same one are compared
    spent = [(b[-1] - a[-1]).item() / 8 for a, b in zip(stamps[1:], stamps[2:]) if b[-1] > a[-1]]
    print(f"images {8 * len(spent)}\ncpu_s {8 * sum(spent)}")


# ---- running ---------------------------------------------------------------------------------------------------------------------

def run(command):
    """What it prints, "NAME VALUE" a line."""
    env = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    out = subprocess.run(command, stdout=subprocess.PIPE, env=env, check=True, text=True).stdout
    return {line.split()[0]: float(line.split()[1]) for line in out.splitlines()}


def step_seconds(ladder, item, seconds):
    """Of an image, in a training step on one core."""
    out = subprocess.run([ladder], input=f"{item} {seconds}\n", stdout=subprocess.PIPE, env=dict(os.environ, OMP_NUM_THREADS="1"), check=True, text=True).stdout
    return float(out.split()[1]) / 8


def main():
    loader, ladder, program, root = (os.path.realpath(p) for p in sys.argv[1:5])
    value = lambda key, default: type(default)(sys.argv[sys.argv.index(key) + 1]) if key in sys.argv else default
    rounds, seconds = value("--rounds", 2), value("--seconds", 3.0)
    shared = f"{root}/../shared/data"
    with tempfile.TemporaryDirectory(prefix="medley-bench-") as work:
        sets = []

        def add(what, recipe, source, label, side, preset):
            name = os.path.basename(recipe)[:-4]
            subprocess.run([program, "convert", recipe, "--source", source, "--out", work, "--shard-mib", "2048"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            sets.append((what, f"{work}/{name}", label, side, preset))
        if os.path.isdir(f"{shared}/histo-lc25000-lung"):
            add("RGB 224x224 to 224, classes", f"{root}/datasets/histo-lc25000-lung.cfg", shared, "tissue", 224, "histology")
        else:
            make_tiles(f"{work}/source-tiles")
            with open(f"{work}/tiles.cfg", "w") as f:
                f.write(TILES)
            add("RGB 224x224 to 224, made up, classes", f"{work}/tiles.cfg", f"{work}/source-tiles", "tissue", 224, "histology")
        make_scans(f"{work}/source-ct")
        with open(f"{work}/ct.cfg", "w") as f:
            f.write(SCANS)
        add("CT 512x512 to 256, made up, masks", f"{work}/ct.cfg", f"{work}/source-ct", "organs", 256, "ct")
        if os.path.isdir(f"{shared}/micro-bccd"):
            add("RGB 640x480 to 256, boxes", f"{root}/datasets/micro-bccd.cfg", shared, "cells", 256, "microscopy")
        step = {"classes": step_seconds(ladder, "step_swin_t", seconds)}
        whole = step["classes"] * (256 / 224) ** 2  # the encoder's work grows with the area
        step["masks"] = whole + step_seconds(ladder, "unet", seconds)
        step["boxes"] = whole + step_seconds(ladder, "fpn", seconds)
        print(f"one core; least of {rounds} rounds of {seconds:g} s in turn; a step of swin_t takes {1e3 * step['classes']:.0f} ms an image at 224, "
              f"{1e3 * step['masks']:.0f} with masks and {1e3 * step['boxes']:.0f} with boxes at 256\n")
        print("| set | ours, images/s | torch DataLoader | ratio | ours, ms | of a step | read | inflate | rest of fetch | resample | intensity | labels, layout |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for what, folder, label, side, preset in sets:
            best, parts = [float("inf")] * 2, None
            strength = run([loader, "--strengths", preset])
            for _ in range(rounds):
                ours = run([loader, folder, label, str(side), preset, str(seconds)])
                if ours["cpu_s"] / ours["images"] < best[0]:
                    best[0], parts = ours["cpu_s"] / ours["images"], ours
                theirs = run([sys.executable, os.path.abspath(__file__), "--peer", folder, label, str(side), str(seconds)] + [f"{k}={v}" for k, v in strength.items()])
                best[1] = min(best[1], theirs["cpu_s"] / theirs["images"])
            cost = step[what.split()[-1]]
            share = [parts["read"], parts["inflate"], parts["fetch"] - parts["read"] - parts["inflate"], parts["resample"], parts["intensity"], parts["label"]]
            cells = [what, f"{1 / best[0]:.0f}", f"{1 / best[1]:.0f}", f"{best[1] / best[0]:.1f}", f"{1e3 * best[0]:.2f}", f"{100 * best[0] / cost:.2f} %"]
            print("| " + " | ".join(cells + [f"{v / 1e3:.2f} ms" for v in share]) + " |", flush=True)


if sys.argv[1:2] == ["--peer"]:
    peer(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]), {k: float(v) for k, v in (a.split("=") for a in sys.argv[6:])})
else:
    main()
