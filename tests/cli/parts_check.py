"""parts_check: do two data set folders hold the same samples in the same order, however they are cut into shards? Usage: parts_check.py A B"""
import itertools
import sys
import h5py
import numpy as np


def shards(folder):
    with h5py.File(f"{folder}/index.h5") as f:
        return [f"{folder}/{x.decode()}" for x in f["file"][:]]


def samples(folder):
    """Every sample as a dictionary; images and masks without their padding."""
    for name in shards(folder):
        with h5py.File(name) as f:
            plain = {}
            f.visititems(lambda key, x: plain.__setitem__(key, x[:]) if isinstance(x, h5py.Dataset) else None)
            attributes = sorted((k, str(v)) for k, v in f.attrs.items())
            for i, (h, w) in enumerate(plain["size"]):
                out = {"attributes": attributes}
                for key, value in plain.items():
                    base = key.split("/")[-1]
                    if base in ("image", "mask"): out[key] = value[i, :h, :w].tobytes()
                    elif base == "names": continue
                    elif base in ("box", "box_class"):
                        off = plain[key.rsplit("/", 1)[0] + "/box_off"]
                        out[key] = value[off[i]:off[i + 1]].tobytes()
                    elif base != "box_off": out[key] = value[i].tobytes() if value.dtype.kind != "S" else bytes(value[i])
                yield out


def main(a, b):
    n = 0
    for x, y in itertools.zip_longest(samples(a), samples(b)):
        assert x and y, f"one ends after {n} samples"
        assert x == y, (n, x["id"], [key for key in x if x[key] != y[key]])
        n += 1
    assert n > 0
    with h5py.File(f"{a}/index.h5") as f, h5py.File(f"{b}/index.h5") as g:
        assert f["n"][:].sum() == g["n"][:].sum() == n
        assert (f["n_split"][:].sum(0) == g["n_split"][:].sum(0)).all()
        for key in ("split", "id", "case"):
            assert (f[key][:] == g[key][:]).all(), key
        for label in f["label"]:
            for key in f[f"label/{label}"]:
                assert np.array_equal(f[f"label/{label}/{key}"][()], g[f"label/{label}/{key}"][()]), (label, key)
    print(n, "samples are the same")


main(sys.argv[1], sys.argv[2])
