"""times.py MEDLEY_DATA: volumes of 4-D NIfTI files as images of their own (images.times), against what nibabel reads of them and h5py finds in the shards (TAP)."""
import glob, os, shutil, subprocess, sys, tempfile

import conversion
from tap import done, ok, skip

try:
    import h5py
    import nibabel
    import numpy as np
except ImportError as e:
    skip(e)

program = os.path.abspath(sys.argv[1])
work = tempfile.TemporaryDirectory()
os.chdir(work.name)
random = np.random.default_rng(8)
X, Y, Z, T = 18, 20, 3, 6
AFFINE = np.array([[0, -1.5, 0, 7], [1.25, 0, 0, -3], [0, 0, 4, 11], [0, 0, 0, 1]])   # stored axes: front, left, head
RECIPE = ('name = "set"; title = "t"; modality = "MR"; licence = "none"; on_error = "%(on_error)s";\n'
          'images: { files = "i/{kind}_{n}.nii*"; %(images)s channels = 1; pixel = "%(pixel)s"; subject = "{n}"; id = "%(id)s"; };\n'
          'range: { rule = "window"; lo = 0; hi = 500; };\nslices: { empty = "%(empty)s"; };\n'
          'tables: ( { name = "table"; file = "t.csv"; match = ["n = {n}", "time = %(match)s"]; } );\n'
          'labels: ( { name = "k"; kind = "classification"; source = "value"; value = "{kind}"; classes = ["well", "ill"]; },\n'
          '  { name = "e"; kind = "regression"; source = "value"; value = "{table.e}"; lo = 0; hi = 100; required = false; }%(mask)s );\n')
MASK = ', { name = "m"; kind = "segmentation"; source = "mask"; file = "%s"; classes = ["ground", "a", "b"]; }'


def convert(times, mask=None, more=(), pixel="i16", id="{kind}{n}", empty="keep", on_error="skip", match="all"):
    recipe = RECIPE % {"images": f"times = {list(times)};" if times else "", "mask": MASK % mask if mask else "", "pixel": pixel, "id": id, "empty": empty,
                       "on_error": on_error, "match": match}
    return conversion.convert(program, recipe, *more)


def patient(path, time):
    """(z, y, x) as a shard has it: to the left, to the back, to the head."""
    image = nibabel.load(path)
    a = np.asanyarray(image.dataobj)
    turn = nibabel.orientations.ornt_transform(nibabel.orientations.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(("L", "P", "S")))
    return nibabel.orientations.apply_orientation(a[..., time] if a.ndim == 4 else a, turn).transpose(2, 1, 0)


def shards():
    """{id: facts of the sample}, in the order of the shards"""
    out = {}
    for name in sorted(glob.glob("out/set/set-*.h5")):
        with h5py.File(name) as f:
            for i, key in enumerate(f["id"][:]):
                h, w = f["size"][i]
                out[key.decode()] = {"image": f["image"][i, :h, :w, 0], "mask": f["label/m/mask"][i, :h, :w] if "label/m" in f else None, "slice": int(f["slice"][i]),
                                     "split": int(f["split"][i]), "k": int(f["label/k/class"][i]), "e": float(f["label/e/scalar"][i]),
                                     **{k: f[k][i].decode() for k in ("subject", "case", "source")}}
    return out


def same(a, b):
    return list(a) == list(b) and all(np.array_equal(a[i][k], b[i][k], equal_nan=k == "e") if k not in ("mask",) or a[i][k] is not None else b[i][k] is None
                                      for i in a for k in a[i])


def save(path, array, affine=AFFINE, **how):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    image = nibabel.Nifti1Image(array, affine, **how)
    nibabel.save(image, path)


N = 9
names = [(("well", "ill")[n % 2], n, f"i/{('well', 'ill')[n % 2]}_{n}.nii{'.gz' if n % 3 else ''}") for n in range(N)]
for kind, n, path in names:
    save(path, random.integers(0, 500, (X, Y, Z, T)).astype("i2"))
    mask = random.integers(0, 3, (X, Y, Z, T)).astype("u1")
    mask[:, :, 0, 1] = 0                                     # an empty slice, of time 1 alone
    save(f"m/{n}.nii.gz", mask)
    for t in range(T):
        save(f"one/{n}_{t:02d}.nii", mask[..., t])
    save(f"flat/{n}.nii", mask[..., 4])
with open("t.csv", "w") as f:
    f.write("n,time,e\n" + "".join(f"{n},{t},{e}\n" for n in range(N) for t, e in [("all", n)] + [(f"{t:02d}", 10 * n + t) for t in range(T)]))


def right(got, times, mask=True, empty=False, e=lambda n, t: n):
    """All samples that should be there, each of the place and time that it names."""
    want = 0
    for kind, n, path in names:
        for t in times:
            pixels, marks = patient(path, t), patient(f"m/{n}.nii.gz", t)
            for z in range(Z):
                s = got.get(f"{kind}{n}-t{t:02d}/{z:03d}")
                if empty and not marks[z].any():
                    if s: return False
                    continue
                want += 1
                if not s or not np.array_equal(s["image"], pixels[z]) or (mask and not np.array_equal(s["mask"], marks[z])):
                    return False
                if (s["slice"], s["subject"], s["case"], s["source"], s["k"], s["e"]) != (z, str(n), f"{kind}{n}-t{t:02d}", path, n % 2, e(n, t)):
                    return False
    splits = {}
    for s in got.values():
        splits.setdefault(s["subject"], set()).add(s["split"])
    return len(got) == want and all(len(s) == 1 for s in splits.values()) and len(set.union(*splits.values())) == 3


code, said = convert([4, 1], "m/{n}.nii.gz")
whole = shards() if code == 0 else {}
ok(code == 0 and right(whole, [4, 1]), "times 4 and 1 of six: pixels, masks, ids, labels of the case; one split for all of a file")
ok([i for i in whole][:2 * Z] == [f"ill1-t{t:02d}/{z:03d}" for t in (4, 1) for z in range(Z)], "in the order of the list")
ok(f"{2 * N * Z} samples from {2 * N} images of {N} subjects" in said, "counts")
ok(subprocess.run([program, "verify", "out/set"], capture_output=True).returncode == 0, "verify")
code, said = convert([4, 1], "m/{n}.nii.gz", more=("--jobs", "4"))
ok(code == 0 and same(shards(), whole), "four threads")
shutil.rmtree("out/set")
runs = [convert([4, 1], "m/{n}.nii.gz", more=("--part", f"{p}/5"))[0] for p in (5, 2, 1, 4, 3)]
joined = subprocess.run([program, "index", "out/set"], capture_output=True).returncode
ok(not any(runs) and joined == 0 and same(shards(), whole), "five parts, which begin between the times of a file, joined")
code, said = convert(range(T), "m/{n}.nii.gz", empty="drop")
ok(code == 0 and right(shards(), range(T), empty=True), "all times; a slice is empty at one of them")
code, said = convert([0, 5], match="{time}")
ok(code == 0 and right(shards(), [0, 5], mask=False, e=lambda n, t: 10 * n + t), "a row of the table for each time")
code, said = convert([], id="{kind}{n}{time}")
ok(code == 2 and "{time} is no name" in said, "no {time} without times")
code, said = convert([2], "m/{n}.nii.gz", id="{time}:{kind}{n}")
ok(code == 0 and sorted(shards())[0] == "02:ill1/000" and len(shards()) == N * Z, "{time} in the id: nothing is added")
code, said = convert([5, 3], "one/{n}_{time}.nii")
ok(code == 0 and right(shards(), [5, 3]), "a mask file for each time, found by {time}")
code, said = convert([4], "flat/{n}.nii")
ok(code == 0 and right(shards(), [4]), "one mask for the one time that is listed")


def reading(times):
    convert(times)
    with h5py.File(sorted(glob.glob("out/set/set-*.h5"))[0]) as f:
        return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in f.attrs.items() if k.startswith("reading_")}


noted = reading([4])
shutil.move("i", "kept")
for kind, n, path in names:
    save(path, np.asanyarray(nibabel.load(path.replace("i/", "kept/", 1)).dataobj)[..., 4])
ok(noted and noted == reading([]), "what predict is told of reading is that of the volume alone")
code, said = convert([0], "flat/{n}.nii")
ok(code == 0 and len(shards()) == N * Z, "3-D files have a time 0")

# bad ones
for more, why in (("arrays = true; ", "is for 4-D NIfTI files"), ("frames = [1]; ", "beside images.times"), ("frames = [1]; ", "0 appears twice")):
    with open("bad.cfg", "w") as f:
        f.write(RECIPE % {"images": more + "times = [0, 0];", "mask": "", "pixel": "u8", "id": "{n}", "empty": "keep", "on_error": "skip", "match": "all"})
    run = subprocess.run([program, "convert", "bad.cfg", "--print"], capture_output=True, text=True)
    ok(run.returncode == 2 and why in run.stderr and "bad.cfg:2: images." in run.stderr, f"refused: {why}")
shutil.rmtree("i")
shutil.move("kept", "i")
kind, n, path = names[3]
keep = nibabel.load(path).get_fdata().astype("i2")
save(path, keep[..., :4])
save(f"m/{n}.nii.gz", np.zeros((X, Y, Z, 4), "u1"))
code, said = convert([1, 4], "m/{n}.nii.gz")
ok(code == 0 and f"{path}: volume 4 is asked for, the file has 4" in said and len(shards()) == 2 * (N - 1) * Z and "3" not in {s["subject"] for s in shards().values()},
   "a file with fewer volumes is left out whole, and named")
code, said = convert([1, 4], "m/{n}.nii.gz", on_error="fatal")
ok(code == 3 and f"{path}: volume 4 is asked for, the file has 4" in said, "on_error = \"fatal\"")
save(path, keep[..., 0])
code, said = convert([1, 4], "m/{n}.nii.gz", on_error="fatal")
ok(code == 3 and f"{path}: volume" in said and "the file has 1, counted from 0" in said, "a 3-D file has one time")
code, said = convert([])
ok("6 volumes in one file" in said and "images.times" in said and len(shards()) == Z, "without frames and times 4-D files are refused")
save(path, keep)
code, said = convert([1, 2], "m/{n}.nii.gz", on_error="fatal")
ok(code == 3 and f"m/{n}.nii.gz: mask and image have 4 and 6 volumes" in said, "a mask with other times")
save(f"m/{n}.nii.gz", np.zeros((X, Y, Z), "u1"))
code, said = convert([1, 2], "m/{n}.nii.gz", on_error="fatal")
ok(code == 3 and f"m/{n}.nii.gz: mask and image have 1 and 6 volumes" in said, "one mask for two times")
save(f"m/{n}.nii.gz", np.full((X, Y, Z, T), [0, 0, 7, 0, 0, 0], "u1"))
code, said = convert([1, 2], "m/{n}.nii.gz")
ok(code == 0 and f"{kind}{n}-t02: " in said and "value 7 in the mask" in said and len(shards()) == (2 * N - 1) * Z and f"{kind}{n}-t01/000" in shards(),
   "a mask that is bad at one time: that time is named and left out")

# values of floating point and a scale, and images that look alike
shutil.rmtree("i")
field = np.cumsum(random.normal(0, 1, (X, Y, Z, T)), 0) * np.linspace(1, 3, Y)[None, :, None, None]
for kind, n, path in names:
    save(path, (field + 1e-3 * random.normal(0, 1, field.shape)).astype("f4"))
code, said = convert([0, 3], pixel="f32")
ok(code == 0 and right(shards(), [0, 3], mask=False), "float32")
ok("-t03 (train)" in said and "look alike" in said, "images that look alike are named with their time")
for kind, n, path in names:
    image = nibabel.Nifti1Image(random.normal(100, 20, (X, Y, Z, T)), AFFINE)
    image.set_data_dtype("i2")                               # nibabel picks slope and intercept
    nibabel.save(image, path)
code, said = convert([5], pixel="f32")
got = shards()
ok(code == 0 and all(np.allclose(got[f"{kind}{n}-t05/{z:03d}"]["image"], patient(path, 5)[z], rtol=1e-6, atol=1e-5) for kind, n, path in names for z in range(Z)), "scaled")
done()
