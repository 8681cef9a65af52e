"""npy.py MEDLEY_DATA: arrays that numpy writes, images with masks and classes, against what h5py finds in the shards (TAP)."""
import glob, os, subprocess, sys, tempfile

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
random = np.random.default_rng(5)
N, H, W = 9, 21, 17
HEAD = ('name = "set"; title = "t"; modality = "histology"; licence = "none"; images: {{ files = "{files}"; arrays = true; channels = {channels}; pixel = "{pixel}"; }};\n'
        'range: {{ rule = "window"; lo = 0; hi = 255; }};\n')
MASK = '{ name = "m"; kind = "segmentation"; source = "npy"; file = "m.npy"; classes = ["ground", "a", "b", "c"]; %s }'
KIND = '{ name = "k"; kind = "classification"; source = "npy"; file = "k.npy"; classes = ["Breast", "Colon", "Bile-duct"]; %s }'


def convert(pixel="u8", channels=3, labels="", more=(), files="x.npy", expect=""):
    return conversion.convert(program, HEAD.format(files=files, channels=channels, pixel=pixel) + f"labels: ( {labels} );\nexpect: {{ {expect} }};\n", *more)


def shards():
    """{id: (image, mask, class)}"""
    out = {}
    for name in sorted(glob.glob("out/set/set-*.h5")):
        with h5py.File(name) as f:
            for i, key in enumerate(f["id"][:]):
                h, w = f["size"][i]
                mask = f["label/m/mask"][i, :h, :w] if "label/m" in f else None
                out[key.decode()] = (f["image"][i, :h, :w], mask, f["label/k/class"][i] if "label/k" in f else None)
    return out


def images(want):
    got = shards()
    return len(got) == len(want) and all(np.array_equal(got[f"x/{i}"][0], a if a.ndim == 3 else a[..., None]) for i, a in enumerate(want))


values = random.integers(0, 128, (N, H, W, 3))
for descr in ("u1", "i1", "<u2", ">u2", "<i2", ">i2", "<i4", ">i4", "<u4", "<i8", ">u8", "<f4", ">f4", "<f8", ">f8"):
    np.save("x.npy", values.astype(descr))
    code, said = convert()
    ok(code == 0 and images(values), f"{descr} as u8")
np.save("x.npy", (values[..., 0] - 64).astype("<i2"))
ok(convert("i16", 1)[0] == 0 and images(values[..., 0] - 64), "grey, below zero")
np.save("x.npy", (values[..., :1] > 50))
ok(convert("u8", 1)[0] == 0 and images(values[..., :1] > 50), "truth values")
exact = random.normal(0, 1, (N, H, W)).astype("f4")
np.save("x.npy", exact.astype("f8"))
ok(convert("f32", 1)[0] == 0 and images(exact), "f8 that f4 holds")
for version in ((2, 0), (3, 0)):
    with open("x.npy", "wb") as f:
        np.lib.format.write_array(f, values.astype("u1"), version=version)
    ok(convert()[0] == 0 and images(values), f"numpy's format {version[0]}")

one = values.astype("f8")
one[3, 2, 1, 0] += 0.5
np.save("x.npy", one)
code, said = convert()
ok(code == 0 and len(shards()) == N - 1 and "x/3" not in shards() and "x/3" in said, "an image that u8 cannot hold is named and left out, the others are not")
code, said = convert(more=("--strict",))
ok(code == 3 and len(shards()) == N - 1 and "1 files were skipped" in said and "--strict" in said, "--strict: exit 3, and the data set is there")
for more, expected, want in (((), 0, 0), (("--strict",), 0, 3), (("--strict",), 1, 0)): # the parts are removed by index: made anew each time
    codes = [convert(more=("--part", f"{i}/2"), expect=f"skipped = {expected};")[0] for i in (1, 2)]
    run = subprocess.run([program, "index", "out/set", "--force", *more], capture_output=True, text=True)
    told = "1 files were skipped" in run.stderr and f"expects {expected} (--strict)" in run.stderr
    ok(codes == [0, 0] and run.returncode == want and told == (want == 3) and len(shards()) == N - 1 and "x/3" not in shards(),
       f"index {' '.join(more)}, {expected} expected: exit {want}, and the data set is there")
one[3, 2, 1, 0] = np.nan
np.save("x.npy", one)
code, said = convert()
ok(code == 0 and "x/3" in said and len(shards()) == N - 1, "NaN")

# masks and classes
np.save("x.npy", values.astype("u1"))
flat = random.integers(0, 4, (N, H, W))
planes = np.zeros((N, H, W, 5))
planes[..., 4] = flat
names = np.array(["Breast", "Colon", "Bile-duct"])[np.arange(N) % 3]
for what, array, more, want in (
        ("(n,H,W)", flat.astype("u1"), "", flat),
        ("plane 4 of 5, f8", planes, "planes = [4];", flat),
        ("mapped", (flat * 10).astype(">i4"), 'map = ["10 -> b", "20 -> a", "30 -> ignore"];', np.array([0, 2, 1, 255])[flat])):
    np.save("m.npy", array)
    np.save("k.npy", names)
    code, said = convert(labels=MASK % more + ", " + KIND % "")
    got = shards()
    ok(code == 0 and all(np.array_equal(got[f"x/{i}"][1], want[i]) and got[f"x/{i}"][2] == i % 3 for i in range(N)), f"masks {what}, classes by name")
numbered = np.zeros((N, H, W, 4), "<u2")
for c in range(3):
    numbered[..., c] = np.where(random.random((N, H, W)) < 0.3, random.integers(1, 900, (N, H, W)), 0)
want = np.zeros((N, H, W), int)
for k, c in enumerate((2, 0, 1)):
    want[numbered[..., c] > 0] = k + 1
np.save("m.npy", numbered)
np.save("k.npy", (np.arange(N) % 3).astype("<i8"))
code, said = convert(labels=MASK % "planes = [2, 0, 1];" + ", " + KIND % "", more=("--jobs", "4"))
got = shards()
ok(code == 0 and all(np.array_equal(got[f"x/{i}"][1], want[i]) and got[f"x/{i}"][2] == i % 3 for i in range(N)), "a plane for each class, classes by number, four threads")
np.save("k.npy", names.astype("S"))
ok(convert(labels=KIND % "")[0] == 0 and all(shards()[f"x/{i}"][2] == i % 3 for i in range(N)), "names as bytes")
np.save("k.npy", names.astype(">U20"))
ok(convert(labels=KIND % "")[0] == 0 and all(shards()[f"x/{i}"][2] == i % 3 for i in range(N)), "names in the other byte order")


def refused(why, **how):
    code, said = convert(**how)
    ok(code == 3 and why in said, f"refused: {why}")


np.save("m.npy", flat.astype("u1") + 1)
code, said = convert(labels=MASK % "")
ok(code == 3 and "value 4 is no class" in said, "a value that is no class")
np.save("m.npy", flat[1:].astype("u1"))
refused(f"{N - 1} rows for {N} images", labels=MASK % "")
np.save("m.npy", flat[:, 1:].astype("u1"))
refused("as the images are", labels=MASK % "")
np.save("m.npy", planes)
refused("has no plane 5", labels=MASK % "planes = [5];")
refused("say in the recipe which ones", labels=MASK % "")
np.save("k.npy", np.array(["Breast"] * (N - 1) + ["Lung"]))
code, said = convert(labels=KIND % "")
ok(code == 0 and "Lung" in said and len(shards()) == N - 1, "a name that is no class")

np.save("m.npy", np.asfortranarray(values.astype("u1")))
os.rename("m.npy", "x.npy")
refused("Fortran")
np.save("x.npy", values.astype("c8"))
refused("elements of type")
np.save("x.npy", values[..., :2].astype("u1"))
refused("(n,H,W,3) are read")
np.save("x.npy", np.array(["a", "b"]))
refused("whole numbers")
np.save("x.npy", values.astype("u1"))
data = open("x.npy", "rb").read()
for what, bad in (("cut short", data[:-1]), ("longer", data + b"x"), ("a lying shape", data.replace(f"({N}, {H}".encode(), f"({N + 1}, {H}".encode())),
                  ("half a head", data[:60]), ("nothing", b""), ("no array", b"x" * 4000)):
    with open("x.npy", "wb") as f:
        f.write(bad)
    code, said = convert()
    ok(code == 3 and "x.npy" in said, f"{what}: {code}")
with open("x.npy", "wb") as f:  # promises 2^40 bytes
    f.write(data.replace(f"({N}, {H}, {W}, 3), }}".encode(), b"(99999,9999,999,3),}"))
code, said = convert()
ok(code == 3 and "its head says" in said, "a head that promises far more than there is")

# memory does not follow the array: 16 and 64 images of 3 MB of float64
def peak(n):
    a = np.lib.format.open_memmap("x.npy", "w+", "<f8", (n, 256, 512, 3))
    for i in range(n):
        a[i] = random.integers(0, 4, (256, 512, 3))
    del a
    with open("set.cfg", "w") as f:
        f.write(HEAD.format(files="x.npy", channels=3, pixel="u8") + "labels: ( );\n")
    run = subprocess.run(["/usr/bin/time", "-f", "%M", program, "convert", "set.cfg", "--source", ".", "--out", "out", "--force", "--shard-mib", "2"], capture_output=True, text=True)
    return int(run.stderr.split()[-1]) / 1024 if run.returncode == 0 else 1e9


if os.path.exists("/usr/bin/time"):
    small, large = peak(16), peak(64)
    ok(large < small + 8, f"memory: {small:.0f} MiB for 48 MiB, {large:.0f} MiB for 192 MiB")
done()
