"""convert: `medley-data convert` against a Python script that makes the same arrays with nibabel or PIL, numpy and h5py: same chunks, same
filters (shuffle, deflate 4, Fletcher32), same checksums (SHA-256 of files and shards; CRC-32 of zlib in place of CRC-32C), one process each.
Both are run in turn; what counts is CPU time (user and system) of one job, which other work on the machine disturbs least. Then: what
--jobs gains in wall time, and how memory grows with the data. Every pixel is compared at the end of each pair.

Usage: convert.py MEDLEY-DATA SOURCE-ROOT [--rounds N]     with /usr/bin/python3 (python3-h5py, -nibabel, -pil, -numpy)
"""
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib

import h5py
import nibabel as nib
import numpy as np
from PIL import Image

RECIPE = '''name = "%(name)s"; title = "t"; modality = "MR"; licence = "none";
images: { files = "%(files)s"; channels = %(channels)d; pixel = "%(pixel)s"; id = "%(id)s"; subject = "%(id)s"; };
range: { rule = "%(rule)s"; lo = %(lo)s; hi = %(hi)s; };
labels: ( %(label)s );
'''


# ---- the script a group would write ----------------------------------------------------------------------------------------------

def sha(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            h.update(block)
    return h.hexdigest()


class Shard:
    """Samples of one file, kept until they fill it, as medley-data does."""

    def __init__(self, folder, name, limit=256 << 20):
        self.folder, self.name, self.limit, self.n, self.sums = folder, name, limit, 0, []
        self.clear()

    def clear(self):
        self.rows, self.images, self.masks, self.bytes = [], [], [], 0

    def add(self, row, image, mask=None):
        size = image.nbytes + (0 if mask is None else mask.nbytes)
        if self.images and self.bytes + size > self.limit:
            self.write()
        self.rows.append(row), self.images.append(image), self.masks.append(mask)
        self.bytes += size

    def write(self):
        path = f"{self.folder}/{self.name}-{self.n:05d}.h5"
        H, W = max(x.shape[0] for x in self.images), max(x.shape[1] for x in self.images)
        C, N = self.images[0].shape[2], len(self.images)
        with h5py.File(path, "w", libver="latest") as f:
            def stack(name, like, shape, fill):
                return f.create_dataset(name, (N, *shape), like.dtype, chunks=(1, *shape), compression="gzip", compression_opts=4,
                                        shuffle=like.dtype.itemsize > 1, fletcher32=True, fillvalue=fill)
            pixels = stack("image", self.images[0], (H, W, C), 0)
            crc, mask_crc = [], []
            for i, x in enumerate(self.images):
                if x.shape != (H, W, C):
                    whole = np.zeros((H, W, C), x.dtype)
                    whole[:x.shape[0], :x.shape[1]] = x
                    pixels[i] = whole
                else:
                    pixels[i] = x
                crc.append(zlib.crc32(np.ascontiguousarray(x)))
            if self.masks[0] is not None:
                planes = stack("label/mask/mask", self.masks[0], (H, W), 255)
                for i, x in enumerate(self.masks):
                    whole = np.full((H, W), 255, np.uint8)
                    whole[:x.shape[0], :x.shape[1]] = x
                    planes[i] = whole
                    mask_crc.append(zlib.crc32(np.ascontiguousarray(x)))
                f["label/mask/mask_crc32c"] = np.array(mask_crc, np.uint32)
            f["image_crc32c"] = np.array(crc, np.uint32)
            f["size"] = np.array([x.shape[:2] for x in self.images], np.int32)
            for key in self.rows[0]:
                column = [r[key] for r in self.rows]
                f[key] = np.array([c.encode() for c in column]) if isinstance(column[0], str) else np.array(column)
        with open(path, "rb") as f:
            os.fsync(f.fileno())
        self.sums.append((sha(path), os.path.basename(path)))
        self.n += 1
        self.clear()

    def close(self):
        self.write()
        with open(f"{self.folder}/SHA256SUMS", "w") as f:
            f.writelines(f"{a}  {b}\n" for a, b in self.sums)


def python_nifti(source, out):
    shard = Shard(out, "set")
    pixel = np.int16 if source.endswith("ct") else np.float32
    for path in sorted(glob.glob(f"{source}/images/*.nii.gz")):
        stem = os.path.basename(path)[:-7]
        label = f"{source}/labels/{stem}.nii.gz"
        if not os.path.exists(label):
            continue

        def volume(path):
            v = nib.as_closest_canonical(nib.load(path))
            return v, np.asanyarray(v.dataobj)[::-1, ::-1].transpose(2, 1, 0)  # RAS to (z, y, x) of DICOM's axes
        head, px = volume(path)
        mask = volume(label)[1].astype(np.uint8)
        px = np.ascontiguousarray(px, pixel)
        lo, hi = np.percentile(px, [0.5, 99.5])
        pixel_hash, file_hash = hashlib.sha256(px).hexdigest(), sha(path)
        dx, dy, _ = head.header.get_zooms()[:3]
        for z in range(len(px)):
            row = dict(id=f"{stem}/{z:03d}", subject=stem, case=stem, source=os.path.relpath(path, source), source_sha256=file_hash, split=np.uint8(len(pixel_hash) % 3),
                       slice=np.int32(z), range=np.float32([lo, hi]), spacing=np.float32([dy, dx]))
            shard.add(row, px[z][..., None], mask[z])
    shard.close()


def python_png(source, out):
    shard = Shard(out, "set")
    for path in sorted(glob.glob(f"{source}/*/*.png")):
        px = np.asarray(Image.open(path))
        kind, stem = path.split("/")[-2], os.path.basename(path)[:-4]
        pixel_hash, file_hash = hashlib.sha256(np.ascontiguousarray(px)).hexdigest(), sha(path)
        row = dict(id=f"{kind}-{stem}", subject=f"{kind}-{stem}", case=f"{kind}-{stem}", source=os.path.relpath(path, source), source_sha256=file_hash,
                   split=np.uint8(len(pixel_hash) % 3), slice=np.int32(-1), range=np.float32([0, 255]), spacing=np.float32([np.nan, np.nan]))
        row["label/kind/class"] = np.int32(kind == "b")
        shard.add(row, px)
    shard.close()


# ---- data ------------------------------------------------------------------------------------------------------------------------

def make_ct(folder, n=16, side=160, slices=48):
    """Volumes like a CT: smooth organs, noise of a dozen units, air around; masks of two blobs."""
    rng = np.random.default_rng(1)
    os.makedirs(f"{folder}/images"), os.makedirs(f"{folder}/labels")
    z, y, x = np.meshgrid(np.linspace(-1, 1, slices), np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    for i in range(n):
        body = (x * x + (1.3 * y) ** 2 < 0.8)
        blob = ((x - 0.3) ** 2 + (y - 0.02 * i) ** 2 + z * z < 0.08).astype(np.uint8)
        blob[(x + 0.3) ** 2 + y * y + z * z < 0.05] = 2
        hu = np.where(body, 40 + 30 * np.sin(9 * x + i) + 120 * (blob > 0) + rng.normal(0, 12, x.shape), -1000).astype(np.int16)
        for kind, data in (("images", hu), ("labels", blob)):
            v = nib.Nifti1Image(np.ascontiguousarray(data.transpose(2, 1, 0)[::-1, ::-1]), np.diag([0.8, 0.8, 2.5, 1]))
            nib.save(v, f"{folder}/{kind}/case{i:03d}.nii.gz")


def make_png(folder, shared, n=120, side=512):
    tiles = sorted(glob.glob(f"{shared}/histo-lc25000-lung/**/*.jp*g", recursive=True))
    rng = np.random.default_rng(2)
    for i in range(n):
        kind = "ab"[i % 2]
        os.makedirs(f"{folder}/{kind}", exist_ok=True)
        if tiles:
            px = np.asarray(Image.open(tiles[i % len(tiles)]).convert("RGB").resize((side, side), Image.BICUBIC))
        else:
            px = (128 + 60 * np.sin(np.arange(side * side * 3).reshape(side, side, 3) / (50 + i)) + rng.normal(0, 6, (side, side, 3))).astype(np.uint8)
        Image.fromarray(px).save(f"{folder}/{kind}/{i:04d}.png")
    return "real pixels (LC25000)" if tiles else "made up"


# ---- running ---------------------------------------------------------------------------------------------------------------------

def run(command, out):
    """CPU seconds, wall seconds and peak MiB of a command that writes into `out`."""
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    begin = time.monotonic()
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak, done = 0, 0
    while not done:  # the high-water mark of wait4 would be this process's own, from before exec
        try:
            with open(f"/proc/{p.pid}/status") as f:
                peak = max([peak] + [int(line.split()[1]) for line in f if line.startswith("VmHWM")])
        except OSError:
            pass
        time.sleep(0.02)
        done, status, use = os.wait4(p.pid, os.WNOHANG)
    if status:
        sys.exit(f"{command} failed")
    return use.ru_utime + use.ru_stime, time.monotonic() - begin, peak / 1024


def compare(theirs, ours):
    """The same pixels under the same id; and the size of both."""
    def pixels(folder):
        for path in sorted(glob.glob(f"{folder}/**/*.h5", recursive=True)):
            if path.endswith("index.h5"):
                continue
            with h5py.File(path) as f:
                for i, name in enumerate(f["id"][:]):
                    h, w = f["size"][i]
                    mask = [f[f"label/{k}/mask"][i, :h, :w] for k in f["label"] if "mask" in f[f"label/{k}"]]
                    yield name, f["image"][i, :h, :w], mask
    n = 0
    for (a, x, m), (b, y, k) in zip(pixels(theirs), pixels(ours), strict=True):
        assert a == b and np.array_equal(x, y), (a, b)
        assert all(np.array_equal(p, q) for p, q in zip(m, k, strict=True)), a
        n += 1
    size = [sum(os.path.getsize(p) for p in glob.glob(f"{d}/**/*.h5", recursive=True)) / 2**20 for d in (theirs, ours)]
    return n, size


def recipe(work, name, **what):
    path = f"{work}/{name}.cfg"
    with open(path, "w") as f:
        f.write(RECIPE % dict(dict(name=name, channels=1, id="{stem}", lo="0.5", hi="99.5", rule="percentile"), **what))
    return path


def main():
    program, root = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
    rounds = int(sys.argv[sys.argv.index("--rounds") + 1]) if "--rounds" in sys.argv else 3
    shared = f"{root}/../shared/data"
    with tempfile.TemporaryDirectory(prefix="medley-bench-") as work:
        mask = '{ name = "mask"; kind = "segmentation"; source = "mask"; file = "labels/{stem}.nii.gz"; classes = ["ground", "one", "two"]; }'
        kind = '{ name = "kind"; kind = "classification"; source = "value"; value = "{kind}"; classes = ["a", "b"]; }'
        sets = []
        make_ct(f"{work}/ct")
        sets.append(("nifti-ct", f"{work}/ct", recipe(work, "nifti-ct", files="images/{stem}.nii.gz", pixel="i16", label=mask), "nifti", "16 volumes 160x160x48, made up"))
        if os.path.isdir(f"{shared}/mr-hippocampus"):
            os.makedirs(f"{work}/mr/images"), os.makedirs(f"{work}/mr/labels")
            for path in sorted(glob.glob(f"{shared}/mr-hippocampus/labels/*.nii.gz"))[:40]:
                stem = os.path.basename(path)
                if os.path.exists(f"{shared}/mr-hippocampus/images/{stem}"):
                    for k in ("images", "labels"):
                        os.symlink(f"{shared}/mr-hippocampus/{k}/{stem}", f"{work}/mr/{k}/{stem}")
            sets.append(("nifti-mr", f"{work}/mr", recipe(work, "nifti-mr", files="images/{stem}.nii.gz", pixel="f32", label=mask), "nifti", "40 volumes of mr-hippocampus"))
        origin = make_png(f"{work}/png", shared)
        sets.append(("png", f"{work}/png", recipe(work, "png", files="{kind}/{n}.png", pixel="u8", channels=3, id="{kind}-{n}", rule="dtype", label=kind), "png",
                     f"120 images 512x512 RGB, {origin}"))
        print(f"{'set':10} {'Python CPU s':>13} {'Medley CPU s':>13} {'ratio':>6} {'Python MiB':>11} {'Medley MiB':>11}")
        for name, source, cfg, reader, what in sets:
            best = [float("inf")] * 2
            for _ in range(rounds):
                for who, command in enumerate(([sys.executable, os.path.abspath(__file__), "--script", reader, source, f"{work}/out0"],
                                               [program, "convert", cfg, "--source", source, "--out", f"{work}/out1", "--jobs", "1"])):
                    best[who] = min(best[who], run(command, f"{work}/out{who}")[0])
            n, size = compare(f"{work}/out0", f"{work}/out1")
            print(f"{name:10} {best[0]:13.2f} {best[1]:13.2f} {best[0] / best[1]:6.2f} {size[0]:11.1f} {size[1]:11.1f}   {what}; {n} samples, equal pixels", flush=True)
        start = min(run([sys.executable, os.path.abspath(__file__), "--script", "nothing", "x", "y"], f"{work}/out0")[0] for _ in range(rounds))
        print(f"of which Python needs {start:.2f} s to import its packages")
        name, source, cfg = sets[-1][:3]
        for jobs in (1, 2, 4, 8, 16):
            if jobs > (os.cpu_count() or 1):
                break
            walls = [run([program, "convert", cfg, "--source", source, "--out", f"{work}/out1", "--jobs", str(jobs)], f"{work}/out1") for _ in range(rounds)]
            print(f"{name} --jobs {jobs}: {min(w[1] for w in walls):.2f} s wall, {max(w[2] for w in walls):.0f} MiB", flush=True)
        for k in range(3):  # four times the files
            for path in glob.glob(f"{source}/?/????.png"):
                px = np.array(Image.open(path))
                px[0, :, 0] = k
                Image.fromarray(px).save(path[:-4] + f"x{k}.png")
        use = run([program, "convert", cfg, "--source", source, "--out", f"{work}/out1", "--jobs", "1", "--shard-mib", "32"], f"{work}/out1")
        for path in glob.glob(f"{source}/?/*x?.png"):
            os.unlink(path)
        less = run([program, "convert", cfg, "--source", source, "--out", f"{work}/out1", "--jobs", "1", "--shard-mib", "32"], f"{work}/out1")
        print(f"peak memory in shards of 32 MiB: {less[2]:.0f} MiB for {name}, {use[2]:.0f} MiB for four times as much")


if len(sys.argv) > 2 and sys.argv[1] == "--script":
    if sys.argv[2] != "nothing":
        {"nifti": python_nifti, "png": python_png}[sys.argv[2]](sys.argv[3], sys.argv[4])
else:
    main()
