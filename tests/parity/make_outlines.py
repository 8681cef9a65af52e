#!/usr/bin/env python3
"""Writes ref/outlines.json: outlines of objects in COCO's form, and what pycocotools (2.0.11, PyPI) makes of them. Objects come in threes: the
polygons, the same pixels as compressed runs, and as plain counts; "area", "bbox" and "crc32" (of the mask's rows) are pycocotools' and zlib's.
pycocotools is not in Debian: python3 -m venv V && V/bin/pip install pycocotools && V/bin/python make_outlines.py ref/outlines.json"""
import json
import random
import sys
import zlib

import numpy as np
from pycocotools import mask as coco

random.seed(7)
H, W = 37, 53


def num(v):
    return round(v, random.choice([0, 1, 2, 6]))


def star(cx, cy, r, n):
    out = []
    for i in range(n):
        a, far = 2 * np.pi * i / n, r * random.uniform(0.3, 1)
        out += [num(cx + far * np.cos(a)), num(cy + far * np.sin(a))]
    return out


shapes = [
    [[5, 5, 20, 5, 20, 15, 5, 15]],                       # whole pixels
    [[0, 0, W, 0, W, H, 0, H]],                           # all of the image
    [[4.5, 3.5, 30.5, 3.5, 30.5, 3.9, 4.5, 3.9]],         # thinner than a pixel
    [[-10, -10, 70, 18, -10, 50]],                        # out on three sides
    [[60, 5, 80, 5, 80, 20]],                             # wholly outside
    [[10, 10, 30, 30, 30, 10, 10, 30]],                   # crosses itself
    [[10, 10, 10, 10, 10, 10]],                           # a point
    [[3, 3, 17, 3, 17, 17], [17, 17, 40, 20, 25, 33]],    # two parts that touch
    [[2, 2, 30, 2, 30, 30, 2, 30], [10, 10, 20, 10, 20, 20, 10, 20]],  # a part within: united
    [[0.1, 36.9, 52.9, 36.9, 52.9, 0.1]],
]
for _ in range(40):
    parts = random.choice([1, 1, 1, 2, 3])
    shapes.append([star(random.uniform(-5, W + 5), random.uniform(-5, H + 5), random.choice([3, 8, 25, 60]), random.randint(3, 14)) for _ in range(parts)])

annotations = []
for shape in shapes:
    rle = coco.merge(coco.frPyObjects(shape, H, W))
    m = coco.decode(rle)
    flat = m.flatten(order="F")
    counts, last, run = [], 0, 0
    for v in flat:
        if v != last:
            counts.append(run)
            last, run = v, 0
        run += 1
    counts.append(run)
    assert coco.frPyObjects({"size": [H, W], "counts": counts}, H, W)["counts"] == rle["counts"]
    for seg in (shape, {"size": [H, W], "counts": rle["counts"].decode()}, {"size": [H, W], "counts": counts}):
        annotations.append({"id": len(annotations) + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": seg,
                            "area": int(coco.area(rle)), "bbox": [float(v) for v in coco.toBbox(rle)],
                            "crc32": zlib.crc32(np.ascontiguousarray(m).tobytes())})
with open(sys.argv[1], "w") as f:
    json.dump({"images": [{"id": 1, "file_name": "a.png", "width": W, "height": H}], "categories": [{"id": 1, "name": "thing"}],
               "annotations": annotations}, f, separators=(",", ":"))
    f.write("\n")
