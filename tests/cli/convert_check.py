"""convert_check: converted real data against independent readers: h5py without plug-ins, nibabel, PIL, csv, json, xml. Exit code 1 if
something differs. Usage: convert_check.py SHARDS SOURCES"""
import csv
import glob
import hashlib
import json
import os
import sys
import xml.etree.ElementTree as xml

import h5py
import numpy as np

shards, sources = sys.argv[1:3]


def text(h, name):
    return [v.decode() for v in h[name][:]]


def open_set(name):
    files = sorted(f for f in glob.glob(f"{shards}/{name}/*.h5") if not f.endswith("index.h5"))
    assert len(files) == 1, files
    h = h5py.File(files[0], "r")
    assert h.attrs["format"].decode() == "medley-shard" and h.attrs["name"].decode() == name
    split, subject = h["split"][:], np.array(text(h, "subject"))
    for s in set(subject):
        assert len(set(split[subject == s])) == 1, f"{name}: subject {s} is in several splits"
    assert set(split) == {0, 1, 2}, name
    seen = {}
    for i in range(len(split)):  # equal pixels never straddle splits
        if h["slice"][i] < 0:
            key = hashlib.sha256(h["image"][i].tobytes()).hexdigest()
            assert seen.setdefault(key, split[i]) == split[i], f"{name}: equal images in two splits"
    for i in range(0, len(split), 50):
        with open(f"{sources}/{name}/{h['source'][i].decode()}", "rb") as f:
            assert hashlib.sha256(f.read()).hexdigest() == h["source_sha256"][i].decode()
    return h


def pixels(h, i):
    height, width = h["size"][i]
    assert not h["image"][i, height:].any() and not h["image"][i, :, width:].any(), "zeros beyond the sample"
    return h["image"][i, :height, :width]


def mask(h, label, i):
    height, width = h["size"][i]
    return h[f"label/{label}/mask"][i, :height, :width]


def boxes(h, label, i):
    a, b = h[f"label/{label}/box_off"][i : i + 2]
    return h[f"label/{label}/box"][a:b], h[f"label/{label}/box_class"][a:b]


def check_files(Image):
    h = open_set("histo-lc25000-lung")
    names = text(h, "label/tissue/names")
    folder = {"lung_aca": "adenocarcinoma", "lung_scc": "squamous cell carcinoma", "lung_n": "benign"}
    for i, source in enumerate(text(h, "source")):
        assert names[h["label/tissue/class"][i]] == folder[source.split("/")[-2]]
        if i % 50 == 0:
            want = np.asarray(Image.open(f"{sources}/histo-lc25000-lung/{source}").convert("RGB"))
            assert np.abs(pixels(h, i).astype(int) - want).max() <= 2, source

    h = open_set("micro-bccd")
    names = text(h, "label/cells/names")
    for i, name in enumerate(text(h, "id")):
        want = []
        for o in xml.parse(f"{sources}/micro-bccd/BCCD/Annotations/{name}.xml").getroot().iter("object"):
            b = [int(o.find("bndbox/" + k).text) for k in ("xmin", "ymin", "xmax", "ymax")]
            if b[2] > b[0]:
                want.append((b[0] - 1, b[1] - 1, b[2], b[3], o.find("name").text))
        got, cls = boxes(h, "cells", i)
        assert sorted(want) == sorted((*(int(v) for v in b), names[c]) for b, c in zip(got, cls)), name

    h = open_set("xray-chest-covid")
    root = f"{sources}/xray-chest-covid"
    coco = json.load(open(f"{root}/annotations/annotations.json"))
    rows = {r["filename"]: r for r in csv.DictReader(open(f"{root}/metadata.csv"))}
    lungs, view = text(h, "label/lungs/names"), text(h, "label/view/names")
    for i, name in enumerate(text(h, "id")):
        im = Image.open(f"{root}/images/{name}")
        scale = min(1, 640 / max(im.size))
        assert abs(h["size"][i][1] - im.size[0] * scale) <= 1 and abs(h["size"][i][0] - im.size[1] * scale) <= 1, name
        if scale == 1 and i % 10 == 0:
            want = np.asarray(im.convert("RGB").convert("L")).astype(int)
            assert np.abs(pixels(h, i)[..., 0].astype(int) - want).max() <= 2, name
        key = [e["id"] for e in coco["images"] if e["file_name"] == name][0]
        want = {c["name"]: None for c in coco["categories"]}
        for a in coco["annotations"]:
            if a["image_id"] == key:
                x, y, w, d = a["bbox"]
                want[lungs[a["category_id"] - 1]] = np.array([x, y, x + w, y + d], float)
        got, cls = boxes(h, "lungs", i)
        sx, sy = h["size"][i][1] / im.size[0], h["size"][i][0] / im.size[1]
        for b, c in zip(got, cls):
            assert np.allclose(b, want[lungs[c]] * [sx, sy, sx, sy], atol=1e-2), name
        assert h["subject"][i].decode() == rows[name]["patientid"]
        said = {"PA": "PA", "AP": "AP", "AP Supine": "AP"}.get(rows[name]["view"])
        assert bool(h["label/view/present"][i]) == (said is not None), name
        assert said is None or view[h["label/view/class"][i]] == said, name

    h = open_set("micro-nuclei-fluo")
    for i, name in enumerate(text(h, "id")):
        folder = f"{sources}/micro-nuclei-fluo/stage1_train/{name}"
        im = np.asarray(Image.open(f"{folder}/images/{name}.png"))
        assert np.array_equal(pixels(h, i)[..., 0], im[..., 0]), name
        if i % 8 == 0:
            want = sum(np.asarray(Image.open(f)) > 0 for f in glob.glob(f"{folder}/masks/*.png"))
            assert np.array_equal(mask(h, "nuclei", i), want > 0), name


def check_volumes(nib):
    for name, image, label, key in (("mr-hippocampus", "images", "labels", "hippocampus"), ("ct-lidc-nodules", "VOIs/image", "VOIs/nodule_mask", "nodule")):
        h = open_set(name)
        case, slices = text(h, "case"), h["slice"][:]
        for i in range(0, len(case), 61):
            def load(folder):
                n = nib.as_closest_canonical(nib.load(f"{sources}/{name}/{folder}/{case[i]}.nii.gz"))
                a = n.get_fdata()  # RAS; ours: columns to the left, rows to the back, slices to the head
                return n, a[::-1, ::-1, slices[i]].T
            n, want = load(image)
            assert np.array_equal(pixels(h, i)[..., 0], want.astype(h["image"].dtype)), case[i]
            assert np.array_equal(mask(h, key, i), load(label)[1]), case[i]
            assert np.allclose(h["spacing"][i], np.array(n.header.get_zooms())[[1, 0]], rtol=1e-4), case[i]
            if name == "mr-hippocampus":
                assert np.allclose(h["range"][i], np.percentile(n.get_fdata(), [0.5, 99.5]), rtol=1e-4), case[i]
        if name == "ct-lidc-nodules":
            present, cls, area = h["label/diagnosis/present"][:], h["label/diagnosis/class"][:], {}
            for i, c in enumerate(case):
                area.setdefault(c, {})[i] = int((mask(h, key, i) > 0).sum())
            for c, of in area.items():
                assert all(bool(present[i]) == (a > 0 and a >= 0.5 * max(of.values())) for i, a in of.items()), c
                assert len({cls[i] for i in of if present[i]}) == 1, c
            benign = sum(cls[[i for i in of if present[i]][0]] == 0 for of in area.values())
            assert benign == 175 and len(area) == 321


try:
    from PIL import Image
except ImportError:
    print("no PIL: pixels of PNG and JPEG not compared")
else:
    check_files(Image)
try:
    import nibabel
except ImportError:
    print("no nibabel: volumes not compared")
else:
    check_volumes(nibabel)
