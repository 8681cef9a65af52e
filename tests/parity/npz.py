"""npz.py MEDLEY_DATA: files that numpy writes in MedMNIST's form, against what h5py finds in the shards (TAP)."""
import glob, os, sys, tempfile

import conversion
from tap import done, ok, skip

try:
    import h5py
    import numpy as np
except ImportError as e:
    skip(e)

program = os.path.abspath(sys.argv[1])
work = tempfile.TemporaryDirectory()
os.chdir(work.name)
random = np.random.default_rng(3)
HEAD = 'name = "set"; title = "t"; modality = "CT"; licence = "none"; images: {{ files = "{stem}*.npz"; channels = {channels}; pixel = "{pixel}"; }};\n'


def convert(recipe, *more):
    return conversion.convert(program, recipe, *more)


def shards():
    return [h5py.File(n) for n in sorted(glob.glob("out/set/set-*.h5"))]


def make(shape, labels, counts=(("train", 30), ("val", 7), ("test", 9)), dtype=np.uint8):
    out = {}
    for split, n in counts:
        out[split + "_images"] = random.integers(0, np.iinfo(dtype).max, (n, *shape)).astype(dtype)
        out[split + "_labels"] = labels(n)
    return out


def same(arrays, label, planes=lambda a: [a], ids=lambda s, i, d: f"a/{s}-{i}"):
    """Every image, in its split, under its id, with its label; nothing else. label: what the shard has for a row."""
    found = {}
    for f in shards():
        for i, name in enumerate(f["id"][:]):
            h, w = f["size"][i]
            value = {k: f[f"label/y/{k}"][i] for k in ("class", "vector", "scalar") if f"label/y/{k}" in f}
            found[name.decode()] = (f["image"][i, :h, :w], ("train", "val", "test")[f["split"][i]], next(iter(value.values())), f["subject"][i].decode())
    n = 0
    for key in arrays:
        if not key.endswith("_images"):
            continue
        split = key.split("_")[0]
        for i, (a, y) in enumerate(zip(arrays[key], arrays[split + "_labels"])):
            for d, plane in enumerate(planes(a)):
                image, where, got, subject = found[ids(split, i, d)]
                plane = plane if plane.ndim == 3 else plane[..., None]
                if image.dtype != plane.dtype.newbyteorder("=") or not np.array_equal(image, plane) or where != split or not np.array_equal(got, label(y)) or subject != f"a/{split}-{i}":
                    return False
                n += 1
    return n == len(found)


one = lambda k: lambda n: random.integers(0, k, (n, 1)).astype(np.uint8)
CLASSES = 'labels: ( { name = "y"; kind = "classification"; source = "npz"; classes = ["a", "b", "c"]; } );\n'
rgb = make((28, 28, 3), one(3))
for pack in (np.savez, np.savez_compressed):
    pack("a.npz", **rgb)
    code, said = convert(HEAD.format(stem="a", channels=3, pixel="u8") + CLASSES)
    ok(code == 0 and same(rgb, lambda y: y[0]), f"colour images and classes, {pack.__name__}")
files = [open(n, "rb").read() for n in sorted(glob.glob("out/set/*.h5"))]
code, said = convert(HEAD.format(stem="a", channels=3, pixel="u8") + CLASSES, "--jobs", "4")
ok(code == 0 and files == [open(n, "rb").read() for n in sorted(glob.glob("out/set/*.h5"))], "any number of threads, the same bytes")

many = make((28, 28), lambda n: random.integers(0, 2, (n, 5)).astype(np.uint8))
np.savez("a.npz", **many)
code, said = convert(HEAD.format(stem="a", channels=1, pixel="u8") + 'labels: ( { name = "y"; kind = "multilabel"; source = "npz"; classes = ["a", "b", "c", "d", "e"]; } );\n')
ok(code == 0 and same(many, lambda y: y), "grey images and several labels")
code, said = convert(HEAD.format(stem="a", channels=1, pixel="u8") + 'labels: ( { name = "y"; kind = "multilabel"; source = "npz"; classes = ["a", "b"]; } );\n')
ok(code == 3 and "5 columns for 2 classes" in said, "as many columns as classes")

grade = make((9, 17, 1), one(5), dtype=np.uint16)
np.savez("a.npz", **{k: v.astype(v.dtype.newbyteorder(">")) for k, v in grade.items()})
code, said = convert(HEAD.format(stem="a", channels=1, pixel="u16") + 'labels: ( { name = "y"; kind = "regression"; source = "npz"; lo = 0; hi = 4; } );\n')
ok(code == 0 and same(grade, lambda y: float(y[0])), "big endian uint16 and a scalar")
code, said = convert(HEAD.format(stem="a", channels=1, pixel="u16") + 'labels: ( { name = "y"; kind = "classification"; source = "npz"; classes = ["low", "high"]; '
                     'map = ["0 -> low", "1 -> low", "3 -> high", "4 -> high"]; missing = ["2"]; } );\n')
n = sum(int((v != 2).sum()) for k, v in grade.items() if k.endswith("labels"))
ok(code == 0 and f"set: {n} samples" in said and f"skipped: {46 - n} of 46" in said, "labels mapped, some of them missing")

volume = make((6, 8, 5), lambda n: random.integers(0, 3, n).astype(np.int64))
np.savez_compressed("a.npz", **volume)
code, said = convert(HEAD.format(stem="a", channels=1, pixel="u8") + CLASSES)
ok(code == 0 and same(volume, lambda y: y, list, lambda s, i, d: f"a/{s}-{i}/{d:03d}"), "volumes: planes become samples")

for version in ((2, 0), (3, 0)):
    import io, zipfile
    with zipfile.ZipFile("a.npz", "w", zipfile.ZIP_DEFLATED) as z:
        for k, v in many.items():
            b = io.BytesIO()
            np.lib.format.write_array(b, v, version=version)
            z.writestr(k + ".npy", b.getvalue())
    code, said = convert(HEAD.format(stem="a", channels=1, pixel="u8") + 'labels: ( { name = "y"; kind = "multilabel"; source = "npz"; classes = ["a", "b", "c", "d", "e"]; } );\n')
    ok(code == 0 and same(many, lambda y: y), f"numpy's format {version[0]}")

np.savez("a.npz", **rgb)
bad = dict(rgb)
bad["val_images"] = np.asfortranarray(rgb["val_images"])
np.savez("a2.npz", **bad)
data = bytearray(open("a.npz", "rb").read())
data[2000] ^= 4
open("a3.npz", "wb").write(data)
open("a4.npz", "wb").write(data[: len(data) // 2])
code, said = convert(HEAD.format(stem="a", channels=3, pixel="u8") + CLASSES)
ok(code == 0 and "a2.npz: val_images.npy: Fortran order" in said and "a3.npz: train_images.npy is damaged" in said and "a4.npz: damaged" in said
   and "46 samples" in said and "skipped: 3 of 49" in said, "bad files are named and left out")
code, said = convert(HEAD.format(stem="a", channels=3, pixel="u8") + CLASSES + 'on_error = "fatal";\n')
ok(code == 3 and "a2.npz" in said, "or end the conversion")
os.unlink("a2.npz"), os.unlink("a3.npz"), os.unlink("a4.npz")
rgb["train_labels"][4] = 3
np.savez("a.npz", **rgb)
code, said = convert(HEAD.format(stem="a", channels=3, pixel="u8") + CLASSES)
ok(code == 0 and "a/train-4: labels: a.npz: label y: class 3 of 3" in said and "45 samples" in said, "a class that is none is a bad image")
done()
