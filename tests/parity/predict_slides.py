"""predict_slides.py MEDLEY MEDLEY-DATA MAKE_SLIDE: `medley predict` and `embed` on whole slides made here (TAP). Tiles, masks and boxes against those of
the converter's tiles as PNG files, windows blended and boxes merged again in numpy, GeoJSON read by json and, where it is installed, Shapely."""
import csv, filecmp, functools, glob, json, os, shutil, subprocess, sys, tempfile

import command
from tap import done, ok, skip

try:
    import h5py
    import numpy as np
    from PIL import Image
except ImportError as e:
    skip(e)
try:
    from shapely.geometry import shape as shapely_shape
except ImportError:
    shapely_shape = None

medley, medley_data, maker = map(os.path.abspath, sys.argv[1:4])
rng = np.random.default_rng(11)
W, H, TILE, CLASSES = 720, 544, 64, ["other", "gland", "stroma"]  # slides at 0.25 um; tiles at 0.5
HEAD = 'name = "{0}"; title = "{0}"; modality = "histology"; licence = "CC0 1.0"; split = {{ fractions = [0.4, 0.2, 0.4]; seed = 1; }};\n'


run = functools.partial(command.run, medley)


def predict(task, out, *words, **how):
    return run("predict", "run", "--task", task, "--out", out, *words, **how)


def table(path):
    with open(path) as f:
        return list(csv.DictReader(f))


def smooth(h, w, n):
    y, x = np.mgrid[:h, :w]
    return sum(np.exp(-((y - rng.uniform(0, h)) ** 2 + (x - rng.uniform(0, w)) ** 2) / (2 * rng.uniform(8, 60) ** 2)) for _ in range(n))


def write_slide(path, pixels, mpp=0.25):
    words = []
    for i, a in enumerate((pixels, pixels[::4, ::4].copy())):
        a.tofile(f"level{i}.raw")
        words += [f"level{i}.raw", str(a.shape[1]), str(a.shape[0])]
    subprocess.run([maker, path, str(mpp), *words], check=True)


def tissue(h=H, w=W, bare=160):
    """Stained but for the right edge."""
    a = np.stack([200 - 90 * smooth(h, w, 12), 120 - 60 * smooth(h, w, 12), 170 - 50 * smooth(h, w, 9)], 2) + rng.normal(0, 14, (h, w, 3))
    a[:, w - bare:] = 244 + rng.integers(0, 3, (h, bare, 3))
    return np.clip(a, 0, 255).astype(np.uint8)


def make():
    os.makedirs("src"), os.makedirs("fields")
    box = lambda x0, y0, x1, y1: [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    for i in range(5):
        write_slide(f"src/{'ab'[i % 2]}_s{i}.svs", tissue())
        features = [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [box(40 * i, 30, 300, 400)]}, "properties": {"classification": {"name": "gland"}}},
                    {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [box(300, 0, 500, 500)]}, "properties": {"classification": {"name": "stroma"}}}]
        with open(f"src/{'ab'[i % 2]}_s{i}.geojson", "w") as f:
            json.dump({"type": "FeatureCollection", "features": features}, f)
    images, notes = [], []
    for i in range(6):
        field = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        images.append({"id": i, "file_name": f"f{i}.png", "width": 64, "height": 64})
        for _ in range(2):
            x, y = (int(v) for v in rng.integers(0, 40, 2))
            field[y:y + 16, x:x + 16] = 200
            notes.append({"id": len(notes), "image_id": i, "category_id": 1 + x % 2, "bbox": [x, y, 16, 16], "area": 256, "iscrowd": 0})
        Image.fromarray(field).save(f"fields/f{i}.png")
    with open("fields/boxes.json", "w") as f:
        json.dump({"images": images, "annotations": notes, "categories": [{"id": 1, "name": "odd"}, {"id": 2, "name": "even"}]}, f)
    recipes = {"slides": ("src", 'images = { files = ["{kind}_{n}.svs"]; };\nslide = { mpp = 0.5; tile = 64; tissue = 0.6; };\n'
                          'labels = ( { name = "kind"; kind = "classification"; source = "value"; value = "{kind}"; classes = ["a", "b"]; },\n'
                          '{ name = "tissue"; kind = "segmentation"; source = "regions"; file = "{stem}.geojson"; classes = ["other", "gland", "stroma"]; required = false; } );'),
               "fields": ("fields", 'images = { files = ["{f}.png"]; };\n'
                          'labels = ( { name = "squares"; kind = "detection"; source = "coco"; file = "boxes.json"; classes = ["odd", "even"]; } );')}
    for name, (source, text) in recipes.items():
        with open(f"{name}.cfg", "w") as f:
            f.write(HEAD.format(name) + text)
        p = subprocess.run([medley_data, "convert", f"{name}.cfg", "--source", source, "--out", "shards"], capture_output=True, text=True)
        if p.returncode:
            print("#", p.stdout, p.stderr)
            sys.exit(1)
    with open("job.cfg", "w") as f:  # one step of nothing: best.h5 has the weights of the start
        f.write('run = "run"; data_root = "shards"; seed = 3; model = { encoder = "swin_v2_micro"; };\n'
                "train = { steps = 1; validate_every = 1; threads = 1; }; optim = { lr = 1e-9; min_lr = 0.0; weight_decay = 0.0; warmup = 0; };\ntasks = (\n" + ",\n".join(
                    "{ image = [64, 64]; batch = 2; " + t + " }" for t in (
                        'name = "kind"; data = "slides"; label = "kind";', 'name = "tissue"; data = "slides"; label = "tissue"; aug = { flip_x = 0.5; };',
                        'name = "squares"; data = "fields"; score_min = 0.06; max_boxes = 40;')) + ");\n")
    ok(run("train", "job.cfg")[0] and run("evaluate", "run", "--boot", "0")[0], "a run, and what evaluate sees")


def stored_tiles():
    """id -> pixels (64,64,3), as the converter stored them; and the ids in the order of samples."""
    out = {}
    for path in sorted(set(glob.glob("shards/slides/*.h5")) - {"shards/slides/index.h5"}):
        with h5py.File(path) as f:
            for name, px in zip(f["id"][:], f["image"][:]):
                out[name.decode()] = px
    return out


def check_tiles():
    files = sorted(glob.glob("src/*.svs"))
    good, _ = predict("kind", "kind", *files)
    tiles = stored_tiles()
    rows = table("kind/kind-tiles.csv")
    mine = {f"{os.path.basename(r['file'])[:-4]}/{r['x']},{r['y']}": r for r in rows}
    ok(good and list(mine) == [i for s in sorted({t.split("/")[0] for t in tiles}) for i in tiles if i.split("/")[0] == s] and 40 < len(mine) < 5 * 20,
       f"the {len(mine)} tiles with tissue that the converter takes, of {5 * 20}, row by row")
    os.makedirs("png")
    for name, px in tiles.items():
        Image.fromarray(px).save("png/" + name.replace("/", "_") + ".png")
    predict("kind", "kind-png", "png")
    theirs = {os.path.basename(r["file"])[:-4]: r for r in table("kind-png/kind.csv")}
    ok(all((r["prediction"], r["p_a"], r["p_b"]) == tuple(theirs[i.replace("/", "_")][k] for k in ("prediction", "p_a", "p_b")) for i, r in mine.items()),
       "every digit is that of the converter's tile as a PNG file")
    with h5py.File("shards/slides/index.h5") as f:
        ids = [i.decode() for i in f["id"][:]]
    scored = {ids[int(r["sample"])]: r for r in table("run/samples-test-kind.csv")}
    far = max(abs(float(mine[i]["p_a"]) - float(r["p_a"])) for i, r in scored.items())
    ok(len(scored) > 10 and far < 1e-5, f"{len(scored)} tiles of the test split as evaluate saw them, within {far:.1g}")
    r = table("kind/kind.csv")[0]
    p = [float(t["p_a"]) for t in rows if t["file"] == r["file"]]
    ok(int(r["slices"]) == len(p) and abs(float(r["p_a"]) - np.mean(p)) < 1e-6, f"{r['file']}: the mean over its {len(p)} tiles")
    right = 0
    for path in files:
        stem = os.path.basename(path)[:-4]
        with open(f"kind/{stem}.geojson") as f:
            features = json.load(f)["features"]
        own = [r for i, r in mine.items() if i.startswith(stem + "/")]
        for one, r in zip(features, own):
            x, y, p = int(r["x"]), int(r["y"]), one["properties"]
            named = {m["name"]: m["value"] for m in p["measurements"]}
            right += (one["geometry"] == {"type": "Polygon", "coordinates": [[[x, y], [x + 128, y], [x + 128, y + 128], [x, y + 128], [x, y]]]} and p["objectType"] == "tile" and
                      p["classification"]["name"] == r["prediction"] and len(p["classification"]["color"]) == 3 and named["p_a"] == float(r["p_a"]) and
                      named["probability"] == max(named["p_a"], named["p_b"]) and len(features) == len(own))
    ok(right == len(mine), f"GeoJSON: {right} tiles in pixels of the finest level, with class, colour and probability")
    good, _ = predict("kind", "all", files[0], "--tissue", "0")
    ok(good and {(int(r["x"]), int(r["y"])) for r in table("all/kind-tiles.csv")} == {(x, y) for x in range(0, 640, 128) for y in range(0, 512, 128)}, "--tissue 0: all whole tiles")
    good, _ = predict("kind", "coarse", files[0], "--mpp", "1", "--tile", "32")
    ok(good and {(int(r["x"]) % 128, int(r["width"])) for r in table("coarse/kind-tiles.csv")} == {(0, 128)}, "--mpp and --tile")


def features_of(path):
    with open(path) as f:
        return json.load(f)["features"]


def paint(path, scale, shape):
    """Classes from outlines, even-odd; are they polygons between whole pixels, valid, and apart?"""
    out, good, holes = np.zeros(shape, int), True, 0
    for one in features_of(path):
        inside = np.zeros(shape, bool)
        rings = one["geometry"]["coordinates"]
        holes += len(rings) - 1
        if shapely_shape:
            good &= shapely_shape(one["geometry"]).is_valid
        for ring in rings:
            good &= ring[0] == ring[-1]
            at = np.rint(np.array(ring) / scale).astype(int)
            for (x0, y0), (x1, y1) in zip(at, at[1:]):
                good &= (x0 == x1) != (y0 == y1)
                if x0 == x1:
                    inside[min(y0, y1):max(y0, y1), x0:] ^= True
        good &= not out[inside].any() and one["properties"]["objectType"] == "annotation"
        out[inside] = CLASSES.index(one["properties"]["classification"]["name"])
    return out, good, holes


def half(path_pixels):
    """The slide at 0.5 um, with bare glass beyond it."""
    a = np.full((H + 256, W + 256, 3), 255.0)
    a[:H, :W] = path_pixels
    return np.rint(a.reshape(a.shape[0] // 2, 2, a.shape[1] // 2, 2, 3).mean((1, 3))).astype(np.uint8)


def gaussian(n):
    return np.exp(-0.5 * ((np.arange(n) + 0.5 - n / 2) / (n / 8)) ** 2)


def check_masks():
    files = sorted(glob.glob("src/*.svs"))
    good, _ = predict("tissue", "tiled", *files, "--overlap", "0")
    good &= predict("tissue", "tiled-png", "png")[0]
    right, seen = 0, set()
    shape = (H // 2, W // 2)
    painted = {os.path.basename(f)[:-4]: paint(f"tiled/{os.path.basename(f)[:-4]}.geojson", 2, shape) for f in files}
    for name in stored_tiles():
        stem, at = name.split("/")
        x, y = (int(v) // 2 for v in at.split(","))
        mask = np.asarray(Image.open("tiled-png/" + name.replace("/", "_") + ".png"))
        seen |= set(np.unique(mask))
        right += np.array_equal(painted[stem][0][y:y + TILE, x:x + TILE], mask)
    ok(good and right == len(stored_tiles()) and len(seen) > 1, f"without overlap {right} tiles have the masks of the converter's tiles as PNG files, {len(seen)} classes")
    ok(all(p[1] for p in painted.values()), "polygons along pixels, apart from each other" + (", valid for Shapely" if shapely_shape else " (no Shapely)"))
    row = table("tiled/tissue.csv")[0]
    ok(row["mask"] == "a_s0.geojson" and all(int(row[f"pixels_{k}"]) == (painted["a_s0"][0] == i).sum() and abs(float(row[f"mm2_{k}"]) - 0.25e-6 * (painted["a_s0"][0] == i).sum()) < 1e-9
                                            for i, k in enumerate(CLASSES) if i), "sizes in pixels and mm2")

    slide = tissue()
    write_slide("one.svs", slide)
    good, _ = predict("tissue", "blended", "one.svs", "--tissue", "0")
    small, places = half(slide), [(y, x) for y in range(0, 8 * 32, 32) for x in range(0, 11 * 32, 32)]
    os.makedirs("windows")
    for y, x in places:
        Image.fromarray(small[y:y + TILE, x:x + TILE]).save(f"windows/w{y}_{x}.png")
    good &= predict("tissue", "windows-out", "windows", "--probabilities")[0]
    p, blend = np.zeros(small.shape[:2] + (3,)), np.outer(gaussian(TILE), gaussian(TILE))[:, :, None]
    for y, x in places:
        p[y:y + TILE, x:x + TILE] += blend * np.load(f"windows-out/w{y}_{x}-probabilities.npy").astype(float)
    mine, valid, holes = paint("blended/one.geojson", 2, shape)
    same = (mine == p[:shape[0], :shape[1]].argmax(2)).mean()
    ok(good and valid and same > 0.9999 and holes > 0 and len(np.unique(mine)) > 1, f"windows that overlap by half, blended as numpy does: {same:.6f} of pixels, {holes} holes")
    good, _ = predict("tissue", "tta", "one.svs", "--tissue", "0", "--tta", "--mpp", "0.8")
    features = features_of("tta/one.geojson")
    corners = np.concatenate([np.array(r) for f in features for r in f["geometry"]["coordinates"]])
    ok(good and len(features) > 0 and corners.min() >= 0 and (corners.max(0) <= (W, H)).all() and (not shapely_shape or all(shapely_shape(f["geometry"]).is_valid for f in features)),
       "--tta, at a scale that parts no pixel evenly: within the slide")
    good, _ = predict("tissue", "where", files[0])
    looked = paint("where/a_s0.geojson", 2, shape)[0]
    ok(good and looked.any() and not looked[:, 320:].any(), "bare glass is background")


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both), both / ((a[2] - a[0]) * (a[3] - a[1]))


def check_boxes():
    good, said = predict("squares", "none", "one.svs", want=3)
    ok(good and "--mpp can" in said, "a task that was not trained on slides asks for --mpp")
    good, _ = predict("squares", "boxes", "one.svs", "--mpp", "0.5", "--tissue", "0")
    good &= predict("squares", "boxes-png", "windows")[0]
    with open("boxes-png/squares.json") as f:
        their = json.load(f)
    whole, cut = [], []
    for image in their["images"]:
        y0, x0 = (int(v) for v in os.path.basename(image["file_name"])[1:-4].split("_"))
        for a in (a for a in their["annotations"] if a["image_id"] == image["id"]):
            x, y, w, h = a["bbox"]
            ends = (x0 > 0 and x < 2) or (y0 > 0 and y < 2) or (x0 < 10 * 32 and x + w > TILE - 2) or (y0 < 7 * 32 and y + h > TILE - 2)
            b = [min(v, m) for v, m in zip((2 * (x0 + x), 2 * (y0 + y), 2 * (x0 + x + w), 2 * (y0 + y + h)), (W, H, W, H))]
            if b[2] > b[0] and b[3] > b[1]:
                (cut if ends else whole).append((a["score"], a["category_id"], b))
    n = len(whole), len(cut)
    whole += [c for c in cut if not any(c[1] == o[1] and iou(c[2], o[2])[1] > 0.5 for o in whole[:n[0]])]
    kept = []
    for b in sorted(whole, key=lambda b: -b[0]):
        if not any(b[1] == k[1] and iou(k[2], b[2])[0] > 0.5 for k in kept):
            kept.append(b)
    with open("boxes/squares.json") as f:
        mine = json.load(f)
    found = [(a["score"], a["category_id"], [a["bbox"][0], a["bbox"][1], a["bbox"][0] + a["bbox"][2], a["bbox"][1] + a["bbox"][3]]) for a in mine["annotations"]]
    in_order = lambda b: (-b[0], b[1], np.round(b[2], 1).tolist())  # two may have one score as JSON has it
    pairs = zip(sorted(found, key=in_order), sorted(kept, key=in_order))
    same = len(found) == len(kept) and all(a[1] == b[1] and abs(a[0] - b[0]) < 1e-6 and np.allclose(a[2], b[2], atol=0.02) for a, b in pairs)
    ok(good and same and len(found) > 10, f"{len(found)} boxes of {n[0]} whole and {n[1]} cut ones of {len(their['images'])} windows: merged as numpy does")
    features = features_of("boxes/one.geojson")
    ok(len(features) == len(found) and all(f["properties"]["objectType"] == "detection" and np.allclose(f["geometry"]["coordinates"][0][0] + f["geometry"]["coordinates"][0][2], b[2], atol=0.01) and
                                           f["properties"]["classification"]["name"] == ["odd", "even"][b[1] - 1] for f, b in zip(features, found)), "GeoJSON of the boxes")


def same_folders(a, b):
    names = sorted(os.listdir(a))
    return names == sorted(os.listdir(b)) and all(filecmp.cmp(f"{a}/{n}", f"{b}/{n}", shallow=False) for n in names)


def check_ranks():
    files = sorted(glob.glob("src/*.svs"))[:3:2] + ["fields/f0.png"]
    for task, more in (("kind", []), ("tissue", ["--overlap", "20"]), ("squares", ["--mpp", "0.5"])):
        good = all(predict(task, f"{task}-{n}", *files, *more, ranks=n)[0] for n in (1, 2, 3))
        ok(good and same_folders(f"{task}-1", f"{task}-2") and same_folders(f"{task}-1", f"{task}-3"), f"{task}: the same bytes on 1, 2 and 3 ranks, slides beside an image")
    good, said = predict("kind", "kind-1", files[0], want=2)
    ok(good and "exists" in said, "what is there is not replaced without --force")


def check_faults():
    write_slide("bare.svs", np.full((H, W, 3), 250, np.uint8))
    write_slide("mute.svs", tissue(), mpp=0)
    with open("one.svs", "rb") as f, open("short.svs", "wb") as g:
        g.write(f.read()[: os.path.getsize("one.svs") // 3])
    data = bytearray(open("one.svs", "rb").read())
    data[2000:len(data) // 2:97] = b"\xff" * len(range(2000, len(data) // 2, 97))
    open("torn.svs", "wb").write(data)
    good, said = predict("tissue", "bad", "bare.svs", "short.svs", "torn.svs", "mute.svs", "one.svs", want=3)
    ok(good and all(w in said for w in ("bare.svs: none of 30 tiles has enough tissue", "short.svs", "torn.svs", "mute.svs: does not say how many micrometres", "--slide-mpp can", "4 of 5 files")) and
       sorted(os.listdir("bad")) == ["one.geojson", "tissue.csv"], "a bare slide, one cut short, a torn one, one without a scale: named, the other one goes on")
    good, _ = predict("kind", "mute", "mute.svs", "--slide-mpp", "0.25")
    ok(good and {r["width"] for r in table("mute/kind-tiles.csv")} == {"128"}, "--slide-mpp")
    good, said = predict("kind", "none", "one.svs", "--mpp", "0.2", want=3)
    ok(good and "are the finest there are, --mpp asks for 0.2" in said, "finer than scanned is refused")
    ok(predict("kind", "none", "one.svs", "--mpp", "x", want=2)[0] and predict("kind", "none", "one.svs", "--tissue", "2", want=2)[0] and predict("kind", "none", "one.svs", "--tile", "3", want=2)[0],
       "wrong words")


def check_embed():
    vectors = lambda path: {r["id"]: [v for k, v in r.items() if k.startswith("vector_")] for r in table(path)}
    good = run("embed", "run", "--data", "shards/slides", "--out", "shards.csv")[0] and run("embed", "run", "src", "--data", "shards/slides", "--out", "files.csv")[0]
    good &= run("embed", "run", "src", "--data", "shards/slides", "--out", "files2.csv", ranks=2)[0]
    ok(good and vectors("shards.csv") == vectors("files.csv") and filecmp.cmp("files.csv", "files2.csv", shallow=False), "embed: tiles have the names and vectors of shards; the same bytes on 2 ranks")
    good, _ = run("embed", "run", "src", "--data", "shards/slides", "--by", "case", "--out", "cases.csv")
    ok(good and len(table("cases.csv")) == 5, "embed --by case: a vector for each slide")


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1", OPENBLAS_CORETYPE="Haswell",
                      OMPI_MCA_btl_vader_single_copy_mechanism="none", OMPI_MCA_mpi_yield_when_idle="1")
    make()
    check_tiles(), check_masks(), check_boxes(), check_ranks(), check_faults(), check_embed()
    os.chdir("/")
done()
