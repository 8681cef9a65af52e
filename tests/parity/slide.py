"""slide.py MEDLEY_DATA MAKE_SLIDE: whole slides made here, lossless, as tiles against numpy's means of areas and against openslide-python; tissue
and regions (TAP)."""
import glob, json, os, subprocess, sys, tempfile

import conversion
from tap import done, ok, skip

try:
    import h5py
    import numpy as np
except ImportError as e:
    skip(e)

program, maker = map(os.path.abspath, sys.argv[1:3])
work = tempfile.TemporaryDirectory()
os.chdir(work.name)
random = np.random.default_rng(5)
HEAD = 'name = "set"; title = "t"; modality = "histology"; licence = "none"; images: { files = "{case}_{n}.svs"; subject = "{case}"; };\n'
ONE = 'labels: ( { name = "y"; kind = "classification"; source = "value"; value = "{case}"; classes = ["a", "b"]; } );\n'


def convert(recipe, *more):
    return conversion.convert(program, recipe, *more)


def tiles():
    out = {}
    for n in sorted(glob.glob("out/set/set-*.h5")):
        f = h5py.File(n)
        for i, name in enumerate(f["id"][:]):
            out[name.decode()] = {"image": f["image"][i], "subject": f["subject"][i].decode(), "spacing": f["spacing"][i], "units": f.attrs.get("spacing_units"),
                                  **{k: f[f"label/y/{k}"][i] for k in ("class", "mask") if f"label/y/{k}" in f}}
    return out


def slide(name, mpp, *levels):
    words = []
    for i, a in enumerate(levels):
        a.tofile(f"level{i}.raw")
        words += [f"level{i}.raw", str(a.shape[1]), str(a.shape[0])]
    subprocess.run([maker, name, str(mpp), *words], check=True)


def mean(a, x, y, s, n):
    """(n,n,3): means over s x s pixels from x, y on."""
    def weights(from_, size):
        w = np.zeros((n, size))
        for i in range(n):
            lo, hi = from_ + i * s, from_ + (i + 1) * s
            for k in range(int(lo), min(size, int(np.ceil(hi)))):
                w[i, k] = max(0, min(k + 1, hi) - max(k, lo)) / s
        return w
    rows = np.tensordot(weights(y, a.shape[0]), a.astype(float), 1)
    return np.tensordot(weights(x, a.shape[1]), rows, (1, 1)).swapaxes(0, 1)


def near(got, want):
    return np.abs(got.astype(float) - want).max() <= 0.5 + 1e-6


W, H = 640, 448
fine = random.integers(0, 256, (H, W, 3), dtype=np.uint8)
coarse = random.integers(0, 256, (H // 4, W // 4, 3), dtype=np.uint8)  # not the same picture: which level was read shows
slide("a_1.svs", 0.25, fine, coarse)
code, said = convert(HEAD + 'slide: { mpp = 0.25; tile = 128; tissue = 0; };\n' + ONE)
got = tiles()
want = {f"a_1/{x},{y}" for x in range(0, 640, 128) for y in range(0, 384, 128)}
ok(code == 0 and set(got) == want, "a tile for every place that fits: id, x and y")
ok(all(np.array_equal(t["image"], fine[int(k.split(",")[1]):][:128, int(k.split("/")[1].split(",")[0]):][:, :128]) for k, t in got.items()), "at the scanner's scale the pixels as they are")
ok(all(t["subject"] == "a" and np.allclose(t["spacing"], 0.25) and t["units"] in (b"um", "um") for t in got.values()), "subject by the name's pattern, um per pixel recorded")
try:
    import openslide
    with openslide.OpenSlide("a_1.svs") as o:
        same = all(np.array_equal(t["image"], np.asarray(o.read_region(tuple(map(int, k.split("/")[1].split(","))), 0, (128, 128)))[..., :3]) for k, t in got.items())
    ok(same, "as openslide-python reads them")
except ImportError:
    ok(True, "as openslide-python reads them # SKIP no openslide-python")
files = [open(n, "rb").read() for n in sorted(glob.glob("out/set/*.h5"))]
ok(not any(b"DOE" in b or b"Aperio" in b for b in files), "what the slide says of the patient stays behind")
convert(HEAD + 'slide: { mpp = 0.25; tile = 128; tissue = 0; };\n' + ONE, "--jobs", "3")
ok(files == [open(n, "rb").read() for n in sorted(glob.glob("out/set/*.h5"))], "any number of threads, the same bytes")


def at(scale, size, level, down, tile):
    got = tiles()
    step = tile * scale
    want = {f"a_1/{round(c * step)},{round(r * step)}": (round(c * step), round(r * step)) for r in range(int(H / step + 1e-6)) for c in range(int(W / step + 1e-6))}
    return set(got) == set(want) and all(near(got[k]["image"], mean(level, x / down, y / down, scale / down, tile)) for k, (x, y) in want.items())


for mpp, level, down in ((0.5, fine, 1), (0.4, fine, 1), (0.9, fine, 1), (1.0, coarse, 4), (1.3, coarse, 4), (2.0, coarse, 4), (0.24, fine, 1)):
    code, said = convert(HEAD + f'slide: {{ mpp = {mpp}; tile = 32; tissue = 0; }};\n' + ONE)
    ok(code == 0 and at(mpp / 0.25, (W, H), level, down, 32), f"{mpp} um per pixel, averaged from level {0 if down == 1 else 1}")
code, said = convert(HEAD + 'slide: { mpp = 0.2; tile = 32; };\n' + ONE)
ok(code == 3 and "0.25 um per pixel are the finest there are, slide.mpp asks for 0.2" in said, "finer than scanned is refused")
code, said = convert(HEAD + 'slide: { mpp = 4; tile = 64; };\n' + ONE)
ok(code == 3 and "smaller than a tile" in said, "and a tile larger than the slide")

# tissue: one half is stained, with a grey dirt spot in the other
stained = np.full((512, 512, 3), 245, np.uint8)
stained[:, :256] = (200, 120, 170)
stained[:, 256:] += random.integers(0, 4, (512, 256, 3), dtype=np.uint8)
stained[320:384, 320:384] = 60
slide("a_1.svs", 0.5, stained, stained[::4, ::4].copy())
code, said = convert(HEAD + 'slide: { mpp = 0.5; tile = 64; };\n' + ONE)
ok(code == 0 and set(tiles()) == {f"a_1/{x},{y}" for x in range(0, 256, 64) for y in range(0, 512, 64)}, "tiles with tissue")
code, said = convert(HEAD + 'slide: { mpp = 0.5; tile = 96; tissue = 0.6; };\n' + ONE)
ok(code == 0 and {k.split("/")[1].split(",")[0] for k in tiles()} == {"0", "96", "192"}, "two thirds of a tile are enough for 0.6")
code, said = convert(HEAD + 'slide: { mpp = 0.5; tile = 96; tissue = 0.7; };\n' + ONE)
ok(code == 0 and {k.split("/")[1].split(",")[0] for k in tiles()} == {"0", "96"}, "but not for 0.7")
slide("a_1.svs", 0.5, np.full((256, 256, 3), 250, np.uint8))
code, said = convert(HEAD + 'slide: { mpp = 0.5; tile = 64; };\n' + ONE)
ok(code == 3 and "none of 16 tiles has enough tissue" in said, "an empty glass has none")
slide("a_1.svs", 0, stained)
code, said = convert(HEAD + 'slide: { mpp = 0.5; tile = 64; };\n' + ONE)
ok(code == 3 and "does not say how many micrometres" in said, "a slide that says no scale is named")
code, said = convert(HEAD.replace("subject =", "spacing = [0.5, 0.5]; subject =") + 'slide: { mpp = 1; tile = 64; };\n' + ONE)
ok(code == 0 and set(tiles()) == {f"a_1/{x},{y}" for x in (0, 128) for y in range(0, 512, 128)}, "unless the recipe says it")

# regions: QuPath's GeoJSON, in pixels of the finest level
slide("a_1.svs", 0.5, np.tile(random.integers(0, 256, (512, 512, 3), dtype=np.uint8), (1, 1, 1)))
slide("b_1.svs", 0.5, random.integers(0, 256, (512, 512, 3), dtype=np.uint8))


def box(x0, y0, x1, y1):
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def feature(name, kind, coordinates):
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": {"objectType": "annotation", **({"classification": {"name": name, "color": [200, 0, 0]}} if name else {})}}


json.dump({"type": "FeatureCollection", "features": [
    feature("Tumor", "Polygon", [box(0, 0, 256, 200), box(64, 64, 128, 128)]), feature("Stroma", "MultiPolygon", [[box(256, 256, 512, 512)], [box(320, 0, 384, 64)]]),
    feature("Tumor", "Polygon", [box(256, 256, 320, 320)]), feature(None, "Polygon", [box(0, 0, 9, 9)]), feature("Stroma", "Point", [3, 4])]}, open("a_1.geojson", "w"))
truth = np.zeros((512, 512), np.uint8)
truth[0:200, 0:256] = 1
truth[64:128, 64:128] = 0
truth[256:512, 256:512] = 2
truth[0:64, 320:384] = 2
truth[256:320, 256:320] = 1
REGIONS = 'labels: ( {{ name = "y"; kind = "{kind}"; source = "regions"; file = "{{stem}}.geojson"; classes = [{classes}]; map = ["Tumor -> tumour", "Stroma -> stroma"]; {more} }} );\n'
for share in (0.5, 0.1, 1.0):
    code, said = convert(HEAD + 'slide: { mpp = 0.5; tile = 64; tissue = 0; };\n' + REGIONS.format(kind="classification", classes='"tumour", "stroma"', more=f"share = {share};"))
    want = {}
    for y in range(0, 512, 64):
        for x in range(0, 512, 64):
            n = [(truth[y:y + 64, x:x + 64] == k).mean() for k in (1, 2)]
            if max(n) >= share and max(n) > 0:
                want[f"a_1/{x},{y}"] = int(np.argmax(n))
    ok(code == 0 and {k: t["class"] for k, t in tiles().items()} == want and "b_1.svs: no label y" in said, f"classes by regions, share {share}")
code, said = convert(HEAD + 'slide: { mpp = 1; tile = 64; tissue = 0; };\n' + REGIONS.format(kind="segmentation", classes='"other", "tumour", "stroma"', more="required = false;"))
got = tiles()
inside = all(np.array_equal(t["mask"], truth[int(k.split(",")[1]):][:128:2, int(k.split("/")[1].split(",")[0]):][:, :128:2]) for k, t in got.items() if k[0] == "a")
ok(code == 0 and len(got) == 32 and inside, "masks of regions at the tile's scale")
json.dump([feature("Necrosis", "Polygon", [box(0, 0, 9, 9)])], open("b_1.geojson", "w"))
code, said = convert(HEAD + 'slide: { mpp = 0.5; tile = 64; tissue = 0; };\n' + REGIONS.format(kind="classification", classes='"tumour", "stroma"', more=""))
ok(code == 0 and 'class "Necrosis" is none of label y' in said, "a class that the recipe does not name is a bad slide")
open("b_1.geojson", "w").write('{"type": "FeatureCollection"}')
code, said = convert(HEAD + 'slide: { mpp = 0.5; tile = 64; tissue = 0; };\n' + REGIONS.format(kind="classification", classes='"tumour", "stroma"', more=""))
ok(code == 0 and "b_1.geojson: neither features" in said, "as is a file without features")

data = open("b_1.svs", "rb").read()
open("b_1.svs", "wb").write(data[: len(data) // 3])
open("b_2.svs", "wb").write(b"no slide")
code, said = convert(HEAD + 'slide: { mpp = 0.5; tile = 64; tissue = 0; };\n' + ONE)
ok(code == 0 and "b_2.svs: no slide that OpenSlide reads" in said and "b_1.svs" in said and "64 images" in said, "damaged slides are named and left out")
done()
