"""predict.py CASE MEDLEY MEDLEY-DATA: what `medley predict` makes of files (TAP). CASE images: PNG, boxes, windows, mirror images, ranks, bad input.
CASE volumes: NIfTI in other axis orders, other planes, DICOM. The network has its first, random weights: its answers are as varied as can be.
The same files are seen by `medley evaluate` as shards, blending is done again in numpy, files are read by nibabel, PIL and pydicom."""
import csv
import filecmp
import functools
import glob
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile

import command
from tap import done, ok, skip

try:
    import h5py
    import nibabel
    import numpy as np
    import pydicom
    from PIL import Image
except ImportError as e:
    skip(e)

case, medley, medley_data = sys.argv[1], *(os.path.abspath(p) for p in sys.argv[2:4])
rng = np.random.default_rng(7)
HEAD = 'name = "{0}"; title = "{0}"; modality = "{1}"; licence = "CC0 1.0"; split = {{ fractions = [0.4, 0.2, 0.4]; seed = 1; }};\n'


run = functools.partial(command.run, medley)


def predict(task, out, *words, **how):
    return run("predict", "run", "--task", task, "--out", out, *words, **how)


def convert(name, recipe):
    with open(f"{name}.cfg", "w") as f:
        f.write(recipe)
    p = subprocess.run([medley_data, "convert", f"{name}.cfg", "--source", "src", "--out", "shards"], capture_output=True, text=True)
    if p.returncode or "skipped: 0 of" not in p.stdout + p.stderr:
        print("#", p.stdout, p.stderr)
        sys.exit(1)


def train(tasks):
    """One step of nothing, and validation: best.h5 has the weights of the start."""
    with open("job.cfg", "w") as f:
        f.write('run = "run"; data_root = "shards"; seed = 3; model = { encoder = "swin_v2_nano"; };\n'
                "train = { steps = 1; validate_every = 1; threads = 1; }; optim = { lr = 1e-9; min_lr = 0.0; weight_decay = 0.0; warmup = 0; };\ntasks = (\n" +
                ",\n".join("{ image = [64, 64]; batch = 2; " + t + " }" for t in tasks) + ");\n")
    good, _ = run("train", "job.cfg")
    good &= run("evaluate", "run", "--boot", "0")[0]
    ok(good, "a run, and what evaluate sees")


def table(path):
    with open(path) as f:
        return list(csv.DictReader(f))


def evaluated(task, data):
    """id -> line of samples-test-TASK.csv"""
    with h5py.File(f"shards/{data}/index.h5") as f:
        ids = [i.decode() for i in f["id"][:]]
    return {ids[int(r["sample"])]: r for r in table(f"run/samples-test-{task}.csv")}


def dice(a, b, k):
    n = (a == k).sum() + (b == k).sum()
    return 2 * ((a == k) & (b == k)).sum() / n if n else None


def same_dice(line, mask, truth, names):
    """Do the mask's scores agree with evaluate's? It prints six digits."""
    for k, name in enumerate(names, 1):
        mine, theirs = dice(mask, truth, k), line[f"dice_{name}"]
        if (mine is None) != (theirs == "") or (mine is not None and abs(mine - float(theirs)) > 1e-5):
            return False
    return True


def same_folders(a, b):
    names = sorted(os.listdir(a))
    return names == sorted(os.listdir(b)) and all(filecmp.cmp(f"{a}/{n}", f"{b}/{n}", shallow=False) for n in names)


def smooth(shape, n):
    """A field of n bumps."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return sum(np.exp(-((y - rng.uniform(0, shape[0])) ** 2 + (x - rng.uniform(0, shape[1])) ** 2) / (2 * rng.uniform(3, 9) ** 2)) for _ in range(n))


# ---- images ----------------------------------------------------------------------------------------------------------------------


def make_images():
    os.makedirs("src/cells"), os.makedirs("src/masks"), os.makedirs("src/photos"), os.makedirs("src/fields")
    for i in range(12):
        shape = (96, 128) if i % 3 == 0 else (64, 64) if i % 3 == 1 else (40, 52)
        a, b = smooth(shape, 9), smooth(shape, 5)
        grey = np.clip(90 * a + 60 * b + rng.normal(20, 12, shape), 0, 255).astype(np.uint8)
        Image.fromarray(grey).save(f"src/cells/c{i:02d}.png")
        Image.fromarray((np.where(a > 1, 1, 0) + np.where((b > 1) & (a <= 1), 2, 0)).astype(np.uint8)).save(f"src/masks/c{i:02d}.png")
    for i in range(16):
        kind, tags = ("red", "blue")[i % 2], "+".join(t for t, has in (("old", i & 2), ("wet", i & 4)) if has) or "none"
        rgb = rng.integers(0, 90, (48, 72, 3), dtype=np.uint8)
        rgb[10:30, 10 + i:40 + i, 2 * (i % 2)] += 140
        Image.fromarray(rgb).save(f"src/photos/{kind}_p{i:02d}_{20 + 3 * i}_{tags}.png")
    images, notes = [], []
    for i in range(8):
        field = rng.integers(0, 60, (128, 160) if i == 7 else (64, 96), dtype=np.uint8)
        images.append({"id": i, "file_name": f"f{i}.png", "width": field.shape[1], "height": field.shape[0]})
        for _ in range(3):
            x, y, s = (int(v) for v in rng.integers((0, 0, 8), (60, 36, 24)))
            field[y:y + s, x:x + s] = 200
            notes.append({"id": len(notes), "image_id": i, "category_id": 1 + s % 2, "bbox": [x, y, s, s], "area": s * s, "iscrowd": 0})
        Image.fromarray(np.stack([field] * 3, 2)).save(f"src/fields/f{i}.png")
    with open("src/boxes.json", "w") as f:
        json.dump({"images": images, "annotations": notes, "categories": [{"id": 1, "name": "odd, one"}, {"id": 2, "name": "even"}]}, f)
    convert("cells", HEAD.format("cells", "microscopy") + 'images = { files = ["cells/{c}.png"]; channels = 1; };\n'
            'labels = ( { name = "cells"; kind = "segmentation"; source = "mask"; file = "masks/{c}.png"; classes = ["ground", "cell", "debris"]; } );')
    convert("photos", HEAD.format("photos", "photographs") + 'images = { files = ["photos/{kind}_{person}_{age}_{tags}.png"]; subject = "{person}"; };\n'
            'labels = ( { name = "kind"; kind = "classification"; source = "value"; value = "{kind}"; classes = ["red", "blue"]; },\n'
            '{ name = "age"; kind = "regression"; source = "value"; value = "{age}"; lo = 0; hi = 100; },\n'
            '{ name = "tags"; kind = "multilabel"; source = "value"; value = "{tags}"; separator = "+"; classes = ["old", "wet", "none"]; } );')
    convert("fields", HEAD.format("fields", "microscopy") + 'images = { files = ["fields/{f}.png"]; };\n'
            'labels = ( { name = "squares"; kind = "detection"; source = "coco"; file = "boxes.json"; classes = ["odd, one", "even"]; } );')
    train(['name = "cells"; data = "cells"; aug = { flip_x = 0.5; flip_y = 0.5; };', 'name = "kind"; data = "photos"; label = "kind"; aug = { flip_x = 0.5; };',
           'name = "age"; data = "photos"; label = "age";', 'name = "tags"; data = "photos"; label = "tags";',
           'name = "squares"; data = "fields"; score_min = 0.06; max_boxes = 40;'])


def check_values():
    files = sorted(glob.glob("src/photos/*.png"))
    for task, columns in (("kind", {"p_red": "p_red", "p_blue": "p_blue"}), ("age", {"value": "prediction"}), ("tags", {f"p_{t}": f"p_{t}" for t in ("old", "wet", "none")})):
        good, _ = predict(task, "values", *files)
        mine, theirs = {os.path.basename(r["file"])[:-4]: r for r in table(f"values/{task}.csv")}, evaluated(task, "photos")
        far = max(abs(float(mine[i][a]) - float(r[b])) / max(1, abs(float(r[b]))) for i, r in theirs.items() for a, b in columns.items())
        ok(good and len(mine) == 16 and len(theirs) >= 4 and far < 1e-5, f"{task}: {len(theirs)} files of the test split as evaluate saw them, within {far:.1g}")
    rows = table("values/kind.csv")
    ok(all(r["prediction"] == ("red" if float(r["p_red"]) >= float(r["p_blue"]) else "blue") and r["slices"] == "1" for r in rows)
       and [r["file"] for r in rows] == files, "classes by name, in the order of the command line")
    ok(all(r["prediction"].split(";") == [t for t in ("old", "wet", "none") if float(r[f"p_{t}"]) > 0.5] or r["prediction"] == "" for r in table("values/tags.csv")),
       "labels by name")
    Image.fromarray(np.asarray(Image.open(files[0]))[:, ::-1]).save("flipped.png")
    good = predict("kind", "mirror", files[0], "flipped.png")[0] and predict("kind", "tta", files[0], "--tta")[0]
    a, t = table("mirror/kind.csv"), table("tta/kind.csv")
    far = abs(float(t[0]["p_red"]) - (float(a[0]["p_red"]) + float(a[1]["p_red"])) / 2)
    ok(good and far < 1e-6 and a[0]["p_red"] != a[1]["p_red"], "--tta: the mean with the mirror image")
    good, said = predict("age", "tta", files[0], "--tta")
    ok(good and "trained without mirror images" in said, "--tta for a task without: a warning")


def mask_of(path):
    image = Image.open(path)
    return np.asarray(image), image.mode


def check_masks():
    files = sorted(glob.glob("src/cells/*.png"))
    good, _ = predict("cells", "masks", *files, "--overlay", "--probabilities")
    theirs, right, seen = evaluated("cells", "cells"), 0, set()
    for name, line in theirs.items():
        mask, mode = mask_of(f"masks/{name}.png")
        seen |= set(np.unique(mask))
        right += mode == "P" and same_dice(line, mask, np.asarray(Image.open(f"src/masks/{name}.png")), ["cell", "debris"])
    ok(good and right == len(theirs) >= 3 and len(seen) == 3, f"{right} of {len(theirs)} masks score as evaluate's, {len(seen)} classes in them")
    prob = np.load("masks/c00-probabilities.npy")
    ok(prob.shape == (96, 128, 3) and prob.dtype == np.float32 and np.allclose(prob.sum(2), 1, atol=1e-5) and
       np.array_equal(prob.argmax(2), mask_of("masks/c00.png")[0]), "probabilities: NPY, their largest is the mask")
    rows = table("masks/cells.csv")
    ok(len(rows) == 12 and all([int(r[f"pixels_{k}"]) for k in ("ground", "cell", "debris")] == [int((mask_of("masks/" + r["mask"])[0] == k).sum()) for k in range(3)]
                               for r in rows), "sizes in the table")
    shape = np.asarray(Image.open("masks/c00-overlay.png")).shape
    colours = Image.open("masks/c00.png").getpalette()
    ok(shape[0] > 96 and shape[1:] == (128, 3) and colours[:3] == [0, 0, 0] and colours[3:6] != colours[6:9], "overlay with a legend, colour table")


def check_outlines():
    good, _ = predict("cells", "lines", "src/cells", "--geojson")
    right = 0
    for path in glob.glob("lines/*.geojson"):
        mask, painted = mask_of(path[:-8] + ".png")[0], np.zeros((200, 200), np.uint8)
        with open(path) as f:
            features = json.load(f)["features"]
        for one in features:
            inside = np.zeros((200, 200), bool)
            for ring in one["geometry"]["coordinates"]:  # even-odd: each edge down or up turns over what lies to its right
                closed = ring[0] == ring[-1]
                for (x0, y0), (x1, y1) in zip(ring, ring[1:]):
                    closed &= (x0 == x1) != (y0 == y1)
                    if x0 == x1:
                        inside[min(y0, y1):max(y0, y1), x0:] ^= True
            k = ["ground", "cell", "debris"].index(one["properties"]["classification"]["name"])
            painted[inside] += k
        h, w = mask.shape
        right += closed and np.array_equal(painted[:h, :w], mask) and painted.sum() == mask.sum()
    ok(good and right == 12, f"GeoJSON: {right} of 12 masks filled from their outlines, {len(features)} regions in the last")
    good, _ = predict("squares", "lines", "src/fields/f0.png", "--geojson")
    with open("lines/f0.geojson") as f, open("lines/squares.json") as g:
        rings, boxes = [one["geometry"]["coordinates"][0] for one in json.load(f)["features"]], [a["bbox"] for a in json.load(g)["annotations"]]
    ok(good and len(rings) == len(boxes) > 0 and np.allclose([r[0] + [r[2][0] - r[0][0], r[2][1] - r[0][1]] for r in rings], boxes, atol=1e-3), "GeoJSON of boxes")


def gaussian(n):
    return np.exp(-0.5 * ((np.arange(n) + 0.5 - n / 2) / (n / 8)) ** 2)


def check_windows():
    """Windows of a large image, each predicted by itself, blended in numpy. log p is a logit but for what all classes share."""
    whole = np.asarray(Image.open("src/cells/c00.png"))
    places = list(itertools.product((0, 32), (0, 32, 64)))
    os.makedirs("crops")
    for y, x in places:
        Image.fromarray(whole[y:y + 64, x:x + 64]).save(f"crops/w{y}_{x}.png")
    good = predict("cells", "big", "src/cells/c00.png", "--scale", "1", "--probabilities")[0] and predict("cells", "small", "crops", "--scale", "1", "--probabilities")[0]
    z, w = np.zeros((96, 128, 3)), np.zeros((96, 128, 1))
    blend = np.outer(gaussian(64), gaussian(64))[:, :, None]
    for y, x in places:
        z[y:y + 64, x:x + 64] += blend * np.log(np.load(f"small/w{y}_{x}-probabilities.npy").astype("f8"))
        w[y:y + 64, x:x + 64] += blend
    p = np.exp(z / w)
    p /= p.sum(2, keepdims=True)
    far = np.abs(p - np.load("big/c00-probabilities.npy")).max()
    ok(good and far < 1e-4, f"6 windows with an overlap of 50 % are blended as in numpy, within {far:.1g}")
    good = predict("cells", "one", "src/cells/c01.png", "--probabilities")[0] and predict("cells", "one1", "src/cells/c01.png", "--scale", "1", "--probabilities")[0]
    ok(good and same_folders("one", "one1"), "an image that fits one window: a single pass")
    for x, y in itertools.product((1, -1), (1, -1)):
        Image.fromarray(np.asarray(Image.open("src/cells/c02.png"))[::y, ::x]).save(f"crops/m{x}_{y}.png")
    good = predict("cells", "tta2", "src/cells/c02.png", "--tta", "--probabilities")[0] and \
        predict("cells", "tta3", *(f"crops/m{x}_{y}.png" for x in (1, -1) for y in (1, -1)), "--probabilities")[0]
    z = sum(np.log(np.load(f"tta3/m{x}_{y}-probabilities.npy").astype("f8"))[::y, ::x] for x in (1, -1) for y in (1, -1)) / 4
    p = np.exp(z) / np.exp(z).sum(2, keepdims=True)
    far = np.abs(p - np.load("tta2/c02-probabilities.npy")).max()
    ok(good and far < 1e-4, f"--tta: four mirror images, within {far:.1g}")


def overlap(a, b):
    w, h = (min(a[k] + a[k + 2], b[k] + b[k + 2]) - max(a[k], b[k]) for k in (0, 1))
    return w * h / (a[2] * a[3] + b[2] * b[3] - w * h) if w > 0 and h > 0 else 0


def check_boxes():
    files = sorted(glob.glob("src/fields/*.png"))
    good, _ = predict("squares", "boxes", *files, "--overlay")
    with open("boxes/squares.json") as f:
        coco = json.load(f)
    theirs, names = evaluated("squares", "fields"), {i["id"]: i["file_name"] for i in coco["images"]}
    found = {os.path.basename(n)[:-4]: [a for a in coco["annotations"] if a["image_id"] == i] for i, n in names.items()}
    ok(good and [i["file_name"] for i in coco["images"]] == files and [(c["id"], c["name"]) for c in coco["categories"]] == [(1, "odd, one"), (2, "even")] and
       all(os.path.basename(i["file_name"]) != "f7.png" or (i["width"], i["height"]) == (160, 128) for i in coco["images"]), "COCO JSON: images and categories")
    with open("src/boxes.json") as f:
        source = json.load(f)
    right = 0
    for name, line in theirs.items():
        truth = [(a["category_id"], a["bbox"]) for a in source["annotations"] if a["image_id"] == int(name[1:])]
        matched, left = 0, list(truth)
        for a in sorted(found[name], key=lambda a: -a["score"]):
            best = max((t for t in left if t[0] == a["category_id"]), key=lambda t: overlap(a["bbox"], t[1]), default=None)
            if best and overlap(a["bbox"], best[1]) >= 0.5:
                left.remove(best)
                matched += 1
        right += len(found[name]) == int(line["found"]) and matched == int(line["matched_50"])
    ok(right == len(theirs) >= 2 and len(coco["annotations"]) > 10, f"{right} of {len(theirs)} images: as many boxes and matches as evaluate's, {len(coco['annotations'])} in all")
    ok(all(0 <= a["bbox"][0] and 0 <= a["bbox"][1] and a["bbox"][0] + a["bbox"][2] < 160.001 and 0.06 <= a["score"] <= 1 and
           abs(a["area"] - a["bbox"][2] * a["bbox"][3]) < 1e-3 for a in coco["annotations"]), "boxes in pixels of the source, scores")
    shape = np.asarray(Image.open("boxes/f7-overlay.png")).shape
    ok(shape[0] > 128 and shape[1:] == (160, 3), "boxes drawn on the image")
    good, _ = predict("squares", "tiles", "src/fields/f7.png", "--scale", "1", "--tta", "--score", "0.065")
    with open("tiles/squares.json") as f:
        tiles = json.load(f)["annotations"]
    pairs = [(a, b) for a, b in itertools.combinations(tiles, 2) if a["category_id"] == b["category_id"]]
    ok(good and len(tiles) > 3 and max(overlap(a["bbox"], b["bbox"]) for a, b in pairs) <= 0.5 + 1e-6 and min(a["score"] for a in tiles) >= 0.065
       and max(a["bbox"][0] + a["bbox"][2] for a in tiles) > 70, f"{len(tiles)} boxes of windows and mirror images, none twice")


def check_ranks():
    for task, words in (("cells", ["src/cells", "--overlay", "--probabilities", "--geojson"]), ("squares", ["src/fields", "--overlay"]), ("kind", ["src/photos"])):
        good = all(predict(task, f"{task}-on-{n}", *words, ranks=n)[0] for n in (1, 2, 3))
        ok(good and all(same_folders(f"{task}-on-1", f"{task}-on-{n}") for n in (2, 3)), f"{task}: the same bytes on 1, 2 and 3 ranks")


def check_faults():
    with open("bad.png", "w") as f:
        f.write("no picture at all")
    with open("src/cells/c05.png", "rb") as f, open("half.png", "wb") as g:
        g.write(f.read()[:300])
    for n in (0, 2):
        good, said = predict("cells", f"some{n}", "bad.png", "src/cells/c05.png", "missing.png", "half.png", want=3, ranks=n)
        ok(good and all(s in said for s in ("bad.png: neither PNG", "missing.png", "half.png", "3 of 4 files could not be used")) and
           os.path.exists(f"some{n}/c05.png") and [r["file"] for r in table(f"some{n}/cells.csv")] == ["src/cells/c05.png"],
           f"three bad files of four, {n or 1} ranks: named and counted, the fourth is there, exit 3")
    ok(predict("cells", "some0", "src/cells/c05.png", want=2)[0] and predict("cells", "some0", "src/cells/c05.png", "--force")[0], "nothing is replaced without --force")
    before = open("src/cells/c05.png", "rb").read()
    good, said = predict("cells", "src/cells", "src/cells/c05.png", "--force", want=2)
    ok(good and "is a source" in said and open("src/cells/c05.png", "rb").read() == before, "sources are never replaced")
    good, said = predict("cels", "none", "src/cells/c05.png", want=2)
    ok(good and 'did you mean "cells"' in said and not os.path.exists("none"), "no such task")
    ok(run("predict", "nowhere", "--task", "cells", "--out", "none", "bad.png", want=3)[0] and run("predict", "run", "--out", "none", "bad.png", want=2)[0]
       and run("predict", "run", "--task", "cells", "bad.png", want=2)[0] and predict("cells", "none", want=2)[0]
       and predict("cells", "none", "bad.png", "--scale", "x", want=2)[0] and predict("cells", "none", "bad.png", "--range", "window:5:5", want=2)[0]
       and not os.path.exists("none"), "wrong words")
    for d in ("p", "q"):
        os.makedirs(f"twice/{d}")
        shutil.copy("src/cells/c01.png", f"twice/{d}/x.png")
    with open("list.txt", "w") as f:
        f.write("twice/p/x.png\ntwice/q/x.png\n")
    good, _ = predict("cells", "named", "src/cells/c01.png", "--list", "list.txt")
    ok(good and sorted(os.listdir("named")) == ["c01.png", "cells.csv", "twice_p_x.png", "twice_q_x.png"] and filecmp.cmp("named/c01.png", "named/twice_q_x.png", shallow=False),
       "a list; files of one name get their folders")
    good, said = predict("cells", "none", "src/cells/c01.png", "src/cells/c01.png", want=2)
    ok(good and "outputs of one name" in said, "a file given twice")


def check_index():
    os.makedirs("alone")
    shutil.copy("shards/cells/index.h5", "alone")
    good, _ = predict("cells", "from-index", "src/cells", "--data", "alone")
    ok(good and same_folders("from-index", "cells-plain"), "of the data set only the index is needed")
    shutil.copytree("shards/cells", "old")
    with h5py.File("old/index.h5", "r+") as f:
        ok(f.attrs["reading_rule"] == b"dtype" and f.attrs["reading_axis"] == 0, "the index says how files were read")
        del f.attrs["reading_rule"]
    good, said = predict("cells", "guessed", "src/cells", "--data", "old")
    ok(good and "does not say how files were read" in said and same_folders("guessed", "cells-plain"), "an index of before: its one range is a window, with a warning")


def same_vectors(a, b):
    """Two tables of vectors: the same numbers for the same ids."""
    a, b = ({r["id"]: [v for k, v in r.items() if k.startswith("vector_")] for r in table(path)} for path in (a, b))
    return len(a) > 0 and a == b


def check_embed():
    words = ["src/cells", "bad.png", "--data", "shards/cells"]
    good = run("embed", "run", "--data", "shards/cells", "--out", "shards.csv")[0] and run("embed", "run", "src/cells", "--out", "one.csv")[0]
    ok(good and same_vectors("shards.csv", "one.csv") and [r["source"] for r in table("one.csv")] == sorted(glob.glob("src/cells/*")), "embed: files give the vectors of their shards")
    good, said = run("embed", "run", *words, "--out", "some.csv", want=3)
    good &= run("embed", "run", *words, "--out", "some3.csv", want=3, ranks=3)[0]
    ok(good and "bad.png: neither PNG" in said and filecmp.cmp("some.csv", "one.csv", shallow=False) and filecmp.cmp("some3.csv", "one.csv", shallow=False),
       "embed: a bad file is named, the others are there; the same bytes on 3 ranks")


# ---- volumes -----------------------------------------------------------------------------------------------------------------------


def to_lps(array, affine):
    """(x,y,z) with its affine, turned to left, back, head, as (z,y,x)."""
    want = nibabel.orientations.axcodes2ornt(("L", "P", "S"))
    turn = nibabel.orientations.ornt_transform(nibabel.orientations.io_orientation(affine), want)
    return nibabel.orientations.apply_orientation(array, turn).transpose(2, 1, 0)


def volume_of(path):
    image = nibabel.load(path)
    return to_lps(np.asanyarray(image.dataobj), image.affine), image


def make_volumes():
    os.makedirs("src/vol/a"), os.makedirs("src/vol/b"), os.makedirs("src/lab")
    turn = np.array([[-0.9, 0.05, 0.1], [0.06, -0.91, 0.02], [-0.08, 0.03, 2.2]])
    for i in range(6):
        field = np.stack([smooth((24, 28), 5) for _ in range(5)], 0).transpose(2, 1, 0)
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = turn, (20, 30, -10 - i)
        image = nibabel.Nifti1Image(np.clip(300 * field + rng.normal(0, 20, field.shape), -1000, 3000).astype(np.int16), affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, f"src/vol/{'ab'[i % 2]}/v{i}.nii.gz")
        nibabel.save(nibabel.Nifti1Image((field > 1).astype(np.uint8) + (field > 1.6), affine), f"src/lab/v{i}.nii.gz")
    for name, axis in (("axial", "axial"), ("cor", "coronal"), ("sag", "sagittal")):
        convert(name, HEAD.format(name, "MR") + 'images = { files = ["vol/{kind}/{v}.nii.gz"]; id = "{v}"; subject = "{v}"; pixel = "i16"; channels = 1; units = "mm"; };\n'
                f'range = {{ rule = "percentile"; lo = 1; hi = 99; }}; slices = {{ axis = "{axis}"; }};\n'
                'labels = ( { name = "organ"; kind = "segmentation"; source = "mask"; file = "lab/{v}.nii.gz"; classes = ["none", "wall", "core"]; },\n'
                '{ name = "kind"; kind = "classification"; source = "value"; value = "{kind}"; classes = ["a", "b"]; } );')
    train(['name = "organ"; data = "axial"; label = "organ";', 'name = "cor"; data = "cor"; label = "organ";', 'name = "sag"; data = "sag"; label = "organ";',
           'name = "kind"; data = "axial"; label = "kind";', 'name = "scaled"; data = "axial"; label = "organ"; spacing = 1.0;'])


def slice_of(volume, axis, d):
    return volume[d] if axis == 0 else volume[::-1, d, :] if axis == 1 else volume[::-1, :, d]


def check_volumes():
    files = sorted(glob.glob("src/vol/*/*.nii.gz"))
    for task, data, axis in (("organ", "axial", 0), ("cor", "cor", 1), ("sag", "sag", 2), ("scaled", "axial", 0)):
        theirs, right, seen = evaluated(task, data), 0, set()
        test = {i.split("/")[0] for i in theirs}
        good, _ = predict(task, task, *(f for f in files if task == "organ" or os.path.basename(f)[:2] in test))
        for name, line in theirs.items():
            stem, d = name.split("/")
            mask, image = volume_of(f"{task}/{stem}.nii.gz")
            seen |= set(np.unique(mask))
            right += same_dice(line, slice_of(mask, axis, int(d)), slice_of(volume_of(f"src/lab/{stem}.nii.gz")[0], axis, int(d)), ["wall", "core"])
        ok(good and right == len(theirs) >= 7 and len(seen) > 1, f"{task}: {right} of {len(theirs)} planes score as evaluate's, {len(seen)} classes")
    good, _ = predict("kind", "kind", *files)
    theirs, slices = evaluated("kind", "axial"), {}
    for r in table("kind/kind-slices.csv"):
        slices.setdefault(os.path.basename(r["file"])[:2], []).append(float(r["p_a"]))
    far = max(abs(slices[i.split("/")[0]][int(i.split("/")[1])] - float(r["p_a"])) for i, r in theirs.items())
    means = max(abs(float(r["p_a"]) - np.mean(slices[os.path.basename(r["file"])[:2]])) for r in table("kind/kind.csv"))
    ok(good and far < 1e-5 and means < 1e-6 and all(len(v) == 5 for v in slices.values()) and table("kind/kind.csv")[0]["slices"] == "5",
       f"classes of planes as evaluate's within {far:.1g}, of volumes their mean")
    rows = table("organ/organ.csv")
    voxel = abs(np.linalg.det(nibabel.load(files[0]).affine[:3, :3])) / 1000
    mask, _ = volume_of("organ/" + rows[0]["mask"])
    ok(int(rows[0]["pixels_wall"]) == (mask == 1).sum() and abs(float(rows[0]["ml_wall"]) - voxel * (mask == 1).sum()) < 0.02 * voxel * mask.size, "sizes of the volumes' classes")
    good, _ = predict("cor", "windows", files[0], "--spacing", "0.5", "--probabilities")
    p = nibabel.load(f"windows/{os.path.basename(files[0])[:2]}-probabilities.nii.gz")
    mask = nibabel.load(f"windows/{os.path.basename(files[0])}")
    ok(good and p.shape == mask.shape + (3,) and p.get_data_dtype() == np.float32 and np.array_equal(np.asanyarray(p.dataobj).argmax(3), np.asanyarray(mask.dataobj)) and
       np.allclose(np.asanyarray(p.dataobj).sum(3), 1, atol=1e-5) and np.array_equal(p.affine, mask.affine), "windows of coronal planes; probabilities: the largest is the mask")


def variants(path):
    """The same volume in other axis orders, versions and with other words for where it lies."""
    image = nibabel.load(path)
    for codes in ("LPS", "RAS", "SAR", "PIL", "IRP"):
        turn = nibabel.orientations.ornt_transform(nibabel.orientations.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(codes))
        yield codes, image.as_reoriented(turn)
    data = np.asanyarray(image.dataobj)
    s = nibabel.Nifti1Image(data, image.affine)
    s.set_qform(None, 0), s.set_sform(image.affine, 2)
    yield "sform", s
    rigid = np.diag([-0.9, -0.9, 2.2, 1.0])
    rigid[:3, 3] = 7
    q = nibabel.Nifti1Image(data, rigid)
    q.set_sform(None, 0), q.set_qform(rigid, 1)
    yield "qform", q
    yield "two", nibabel.Nifti2Image(data, image.affine)
    yield "plain", nibabel.Nifti1Image(data, image.affine)
    big = nibabel.Nifti1Image(data.astype(">i2"), image.affine, image.header.as_byteswapped(">"))
    yield "big", big


def check_round_trip():
    os.makedirs("turned")
    made = {}
    for name, image in variants("src/vol/a/v0.nii.gz"):
        image.header.set_xyzt_units("mm", "sec")
        made[name] = f"turned/{name}.nii" + ("" if name == "plain" else ".gz")
        nibabel.save(image, made[name])
    good, _ = predict("organ", "round", *made.values())
    wanted, _ = volume_of("organ/v0.nii.gz")
    for name, path in made.items():
        source = nibabel.load(path)
        mask, image = volume_of(f"round/{name}.nii.gz")
        h, g = image.header, source.header
        same = image.shape == source.shape and np.array_equal(image.affine, source.affine) and image.get_data_dtype() == np.uint8 and type(image) is type(source)
        same &= h.get_qform(coded=True)[1] == g.get_qform(coded=True)[1] and h.get_sform(coded=True)[1] == g.get_sform(coded=True)[1]
        same &= np.array_equal(h["pixdim"][:4], g["pixdim"][:4]) and h.get_xyzt_units()[0] == g.get_xyzt_units()[0] and h.get_intent()[0] == "label"
        same &= np.array_equal(h.get_qform(), g.get_qform())
        ok(good and same and np.array_equal(mask, wanted), f"NIfTI {name}: shape, affine, codes, units of the source; the labels where they belong")


def check_dicom():
    os.makedirs("dicom")
    values = volume_of("src/vol/b/v1.nii.gz")[0]
    uid, spacing, thick, origin = pydicom.uid.generate_uid(), (1.5, 0.75), 3.0, np.array([-20.0, 15.0, 40.0])
    for z in range(len(values)):
        d = pydicom.dataset.FileDataset("slice", {}, preamble=b"\0" * 128)
        d.file_meta = pydicom.dataset.FileMetaDataset()
        d.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = pydicom.uid.generate_uid()
        d.SeriesInstanceUID, d.Modality, d.PatientName = uid, "MR", "Nobody^Anna"
        d.ImagePositionPatient, d.ImageOrientationPatient = [*origin[:2], origin[2] + thick * z], [1, 0, 0, 0, 1, 0]
        d.PixelSpacing, d.Rows, d.Columns = list(spacing), *values[z].shape
        d.SamplesPerPixel, d.PhotometricInterpretation, d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 1, "MONOCHROME2", 16, 16, 15, 1
        d.PixelData = values[z].astype("<i2").tobytes()
        d.is_little_endian, d.is_implicit_VR = True, False
        d.save_as(f"dicom/{(z * 2) % 5}.dcm", write_like_original=False)  # not in order
    affine = np.array([[-spacing[1], 0, 0, -origin[0]], [0, -spacing[0], 0, -origin[1]], [0, 0, thick, origin[2]], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), affine), "same.nii.gz")
    good, _ = predict("organ", "series", "dicom", "same.nii.gz", "dicom/0.dcm", "--overlay")
    mask, image = volume_of("series/dicom.nii.gz")
    ok(good and np.allclose(image.affine, affine) and image.shape == values.shape[::-1] and np.array_equal(mask, volume_of("series/same.nii.gz")[0]),
       "a DICOM series: NIfTI in its place, with the labels of the same volume as NIfTI")
    one = np.asarray(Image.open("series/0.png"))
    ok(one.shape == values[0].shape and sorted(os.listdir("series")) == ["0-overlay.png", "0.png", "dicom-overlay.png", "dicom.nii.gz", "organ.csv", "same-overlay.png", "same.nii.gz"]
       and b"Anna" not in b"".join(open(f"series/{n}", "rb").read() for n in os.listdir("series")), "a DICOM image: PNG; no names in what is written")


def check_more():
    good = all(predict("organ", f"on-{n}", "src/vol/a", "src/vol/b", "--overlay", ranks=n)[0] for n in (1, 2, 3))
    ok(good and same_folders("on-1", "on-2") and same_folders("on-1", "on-3"), "volumes: the same bytes on 1, 2 and 3 ranks")
    good = run("embed", "run", "--data", "shards/axial", "--by", "case", "--out", "a.csv")[0] and run("embed", "run", "src/vol/a", "src/vol/b", "--by", "case", "--out", "b.csv")[0]
    ok(good and same_vectors("a.csv", "b.csv") and all(r["slices"] == "5" for r in table("b.csv")), "embed: volumes as files")
    data = nibabel.load("src/vol/a/v2.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(data.dataobj).astype(np.float32) + 0.25, data.affine), "float.nii.gz")
    with open("src/vol/a/v2.nii.gz", "rb") as f, open("short.nii.gz", "wb") as g:
        g.write(f.read()[:2000])
    good, said = predict("organ", "float", "float.nii.gz", "short.nii.gz", want=3)
    a, b = volume_of("float/float.nii.gz")[0], volume_of("organ/v2.nii.gz")[0]
    ok(good and "short.nii.gz" in said and (a == b).mean() > 0.99, "values that the data set's type cannot hold are taken as float; a file cut short is named")
    shutil.copytree("shards/axial", "old")
    with h5py.File("old/index.h5", "r+") as f:
        del f.attrs["reading_rule"]
    good, said = predict("organ", "none", "src/vol/a/v2.nii.gz", "--data", "old", want=3)
    good &= predict("organ", "ranged", "src/vol/a/v2.nii.gz", "--data", "old", "--range", "percentile:1:99")[0]
    ok(good and "--range can" in said and np.array_equal(volume_of("ranged/v2.nii.gz")[0], b), "an index of before with ranges that differ asks for --range")


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1", OPENBLAS_CORETYPE="Haswell",
                      OMPI_MCA_btl_vader_single_copy_mechanism="none", OMPI_MCA_mpi_yield_when_idle="1")
    if case == "images":
        make_images()
        check_values(), check_masks(), check_outlines(), check_windows(), check_boxes(), check_ranks(), check_faults()
        predict("cells", "cells-plain", "src/cells")
        check_index(), check_embed()
    else:
        make_volumes()
        check_volumes(), check_round_trip(), check_dicom(), check_more()
    os.chdir("/")
done()
