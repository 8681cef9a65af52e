"""h5py_shard.py MAKE_SHARDS: what h5py, an independent reader, finds in shards and index made by the C writer (TAP)."""
import os, subprocess, sys, tempfile

from tap import done, ok, skip

try:
    import h5py
    import numpy as np
except ImportError as e:
    skip(e)


def crc32c(data):
    table = crc32c.table
    c = 0xFFFFFFFF
    for b in data:
        c = (c >> 8) ^ table[(c ^ b) & 255]
    return c ^ 0xFFFFFFFF


crc32c.table = []
for i in range(256):
    for _ in range(8):
        i = (i >> 1) ^ (0x82F63B78 if i & 1 else 0)
    crc32c.table.append(i)


def check_arrays(f, path):
    """Every array reads, carries a right checksum (planes have theirs per sample), and no object has a time stamp or a foreign filter."""
    wrong = []

    def visit(name, obj):
        if not isinstance(obj, h5py.Dataset):
            return
        plist = obj.id.get_create_plist()
        filters = {plist.get_filter(k)[0] for k in range(plist.get_nfilters())}
        if not filters <= {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}:
            wrong.append(f"{name}: filters {filters}")
        value = obj[()]
        if name == "image" or name.endswith("/mask"):
            if obj.chunks != (1,) + obj.shape[1:] or not obj.fletcher32:
                wrong.append(f"{name}: chunks {obj.chunks}")
        elif crc32c(value.tobytes()) != obj.attrs["crc32c"]:
            wrong.append(f"{name}: checksum")
        if obj.dtype.kind == "S" and h5py.check_string_dtype(obj.dtype).encoding != "utf-8":
            wrong.append(f"{name}: not UTF-8")

    f.visititems(visit)
    ok(not wrong, f"{path}: arrays readable, checksums right, filters built in {wrong}")


def check_shard(path, kind, name):
    with h5py.File(path, "r") as f:
        check_arrays(f, os.path.basename(path))
        a = {k: v.decode() if isinstance(v, bytes) else v for k, v in f.attrs.items()}
        ok(a["format"] == "medley-shard" and a["format_version"] == 1 and a["name"] == name and a["licence"] == "CC0"
           and a["axes"] == "sample,y,x,channel" and a["modality"] == "microscopy", "attributes of /")
        n, h, w, c = f["image"].shape
        ok((h, w, c) == (64, 64, 1) and f["image"].dtype == np.uint8 and np.all(f["size"][()] == 64), "image and size")
        sums = [crc32c(f["image"][i, : f["size"][i, 0], : f["size"][i, 1]].tobytes()) for i in range(0, n, 7)]
        ok(sums == list(f["image_crc32c"][::7]), "checksum of every seventh image")
        ok(f["id"].asstr()[3] == str(int(f["id"].asstr()[0]) + 3) and f["spacing"].attrs["units"] == b"", "texts")
        g = f["label"][name[5:]]
        ok(g.attrs["kind"] == kind.encode() and g["names"].asstr()[0] == "a" and np.all(g["present"][()] == 1), f"label group, {kind}")
        image = f["image"][()].astype(float)[..., 0]
        bright = image > 100
        if kind == "classification":
            cy, cx = [np.array([np.nonzero(b)[k].mean() for b in bright]) for k in (0, 1)]
            ok(np.mean(g["class"][()] == (cx < 31.5) + 2 * (cy < 31.5)) > 0.95, "class is the quadrant of the disc")
        elif kind == "multilabel":
            cy, cx = [np.array([np.nonzero(b)[k].mean() for b in bright]) for k in (0, 1)]
            ok(np.mean(g["vector"][()] == np.stack([cx < 31.5, cy < 31.5], 1)) > 0.95, "vector is left, top")
        elif kind == "regression":
            r = np.sqrt(bright.sum((1, 2)) / np.pi)
            ok(np.abs(g["scalar"][()] - r).max() < 0.5 and g.attrs["lo"] == 5 and g.attrs["hi"] == 13, "scalar is the radius")
        elif kind == "segmentation":
            ok(np.mean(g["mask"][()] == bright) > 0.995, "mask is the disc")
            ok(crc32c(g["mask"][5].tobytes()) == g["mask_crc32c"][5], "checksum of a mask")
        elif kind == "detection":
            off, box = g["box_off"][()], g["box"][()]
            ok(off[0] == 0 and off[-1] == len(box) == n and len(g["box_class"]) == n, "offsets")
            centre = np.stack([np.array([np.nonzero(b)[k].mean() + 0.5 for b in bright]) for k in (1, 0)], 1)
            side = 2 * np.sqrt(bright.sum((1, 2)) / np.pi)
            near = (np.abs((box[:, :2] + box[:, 2:]) / 2 - centre).max(1) < 1) & (np.abs(box[:, 2] - box[:, 0] - side) < 1)
            ok(near.mean() > 0.9, "box is around the disc")


def main():
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([sys.argv[1], out, "150"], check=True)
        for kind, label in [("classification", "quadrant"), ("multilabel", "sides"), ("regression", "radius"), ("segmentation", "disc"),
                            ("detection", "discs")]:
            name = "tiny-" + label
            check_shard(f"{out}/{name}/{name}-00000.h5", kind, name)
            with h5py.File(f"{out}/{name}/index.h5", "r") as f:
                check_arrays(f, f"{name}/index.h5")
                ok(f["n"][()].sum() == 150 == len(f["split"]) and f["n_split"][()].sum() == 150 and
                   f["label"][label]["n_present"][()].sum() == 150, "index counts")
    done()


main()
