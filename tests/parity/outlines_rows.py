"""outlines_rows.py OUTLINE_ROWS: regions of masks as polygons against scipy's connected components and, where Shapely is installed, its validity and
area (TAP)."""
import json, os, subprocess, sys, tempfile

from tap import done, ok, skip

try:
    import numpy as np
    from scipy import ndimage
except ImportError as e:
    skip(e)
try:
    from shapely.geometry import Polygon
except ImportError:
    Polygon = None

program = os.path.abspath(sys.argv[1])
rng = np.random.default_rng(4)


def regions(mask):
    mask.tofile("mask.raw")
    out = subprocess.run([program, "mask.raw", str(mask.shape[1])], capture_output=True, text=True, check=True).stdout
    return [(r[0], r[1:]) for r in json.loads(out)]


def paint(rings, shape):
    """Even-odd: each vertical edge turns over what lies to its right."""
    inside = np.zeros(shape, bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1]):
            if (x0 == x1) == (y0 == y1):
                return None
            if x0 == x1:
                inside[min(y0, y1):max(y0, y1), x0:] ^= True
    return inside


def signed(ring):
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:] + ring[:1])) / 2


def right(mask):
    """Is every region of every class there once, as its pixels, with one outer ring, valid?"""
    found, good = regions(mask), True
    wanted = {}
    for k in np.unique(mask[mask > 0]):
        label, n = ndimage.label(mask == k)
        for i, at in enumerate(ndimage.find_objects(label), 1):
            one = np.zeros(mask.shape, bool)
            one[at] = label[at] == i
            wanted[(int(k), one.tobytes())] = one
    for k, rings in found:
        inside = paint(rings, mask.shape)
        good &= inside is not None and wanted.pop((k, inside.tobytes()), None) is not None
        good &= signed(rings[0]) > 0 and all(signed(r) < 0 for r in rings[1:]) and all(len(set(map(tuple, r))) == len(r) for r in rings)
        holes = 0 if inside is None else ndimage.label(np.pad(~inside, 1, constant_values=True), np.ones((3, 3)))[1] - 1
        good &= holes <= len(rings) - 1
        if Polygon:
            polygon = Polygon(rings[0], rings[1:])
            good &= polygon.is_valid and abs(polygon.area - inside.sum()) < 1e-9
    return good and not wanted, len(found)


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    for shape in ((1, 1), (1, 9), (9, 1), (3, 3)):
        ok(right(np.ones(shape, np.uint8))[0], f"all of {shape}")
    ok(right(np.zeros((5, 7), np.uint8)) == (True, 0), "nothing")
    ring = np.ones((9, 9), np.uint8)
    ring[2:7, 2:7] = 0
    ring[3:6, 3:6] = 1
    ring[4, 4] = 2
    ok(right(ring) == (True, 3), "a hole, an island in it with a hole that is another class")
    touch = np.ones((8, 8), np.uint8)
    touch[2, 2] = touch[3, 3] = touch[4, 2] = touch[0, 5] = touch[1, 6] = 0
    ok(right(touch)[0], "holes that touch each other and the outside at corners")
    spiral = np.zeros((15, 15), np.uint8)
    spiral[0, :] = spiral[:, 14] = spiral[14, :] = spiral[2:, 0] = spiral[2, :13] = spiral[2:13, 12] = spiral[12, 2:13] = spiral[4:13, 2] = 1
    ok(right(spiral)[0], "a spiral, whose parts are known late to be one")
    ok(right((np.indices((16, 16)).sum(0) % 2).astype(np.uint8)) == (True, 128), "a chequerboard")
    for share in (0.05, 0.3, 0.5, 0.6, 0.7, 0.95):
        masks = [(rng.random((rng.integers(2, 40), rng.integers(2, 40))) < share).astype(np.uint8) for _ in range(12)]
        results = [right(m) for m in masks]
        ok(all(r[0] for r in results), f"noise, {share}: {sum(r[1] for r in results)} regions")
    ok(all(right(rng.integers(0, 4, (30, 25)).astype(np.uint8))[0] for _ in range(8)), "four classes of noise")
    smooth = ndimage.gaussian_filter(rng.normal(size=(300, 260)), 4)
    ok(right(np.digitize(smooth, np.quantile(smooth, [0.5, 0.75, 0.9])).astype(np.uint8))[0], "levels within levels" + ("" if Polygon else " (without Shapely)"))
    os.chdir("/")
done()
