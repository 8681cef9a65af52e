"""empty_shard.py SET: puts a shard without a sample first in the data set folder SET. Its arrays have the shapes of the first shard's, n = 0."""
import hashlib, os, sys

import h5py

folder = sys.argv[1]
index = os.path.join(folder, "index.h5")
with h5py.File(index) as f:
    first = f["file"][0].decode()
name = first.rsplit("-", 1)[0] + "-99999.h5"
path = os.path.join(folder, name)


def crc32c(data):
    c = 0xFFFFFFFF
    for b in data:
        c ^= b
        for _ in range(8):
            c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
    return c ^ 0xFFFFFFFF


def put(group, key, data, like, **layout):
    x = group.create_dataset(key, data=data, **layout)
    for name in like.attrs:
        kind = like.attrs.get_id(name).dtype
        x.attrs.create(name, crc32c(x[:].tobytes()) if name == "crc32c" else like.attrs[name], dtype=kind)


def copy(source, target, n):
    """Everything of a group; arrays over samples become empty, box_off keeps its first entry."""
    target.attrs.update(source.attrs)
    for key, x in source.items():
        if isinstance(x, h5py.Group):
            copy(x, target.create_group(key), n)
        else:
            keep = 1 if key == "box_off" else 0 if x.shape and (x.shape[0] == n or key in ("box", "box_class")) else x.shape[0]
            put(target, key, x[:keep], x, dtype=x.dtype, chunks=x.chunks, maxshape=(None,) + x.shape[1:] if x.chunks else None)


with h5py.File(os.path.join(folder, first)) as f, h5py.File(path, "w") as g:
    for key, value in f.attrs.items():
        g.attrs.create(key, value, dtype=f.attrs.get_id(key).dtype)
    copy(f, g, f["image"].shape[0])

add = {"file": name.encode(), "sha256": hashlib.sha256(open(path, "rb").read()).hexdigest().encode(), "n": 0, "bytes": os.path.getsize(path), "n_split": [0, 0, 0]}
with h5py.File(index, "r+") as f:
    for key, value in add.items():
        like, kind = f[key], f[key].dtype
        old = like[:].tolist()
        if kind.kind == "S":
            kind = f"S{max(kind.itemsize, len(value) + 1)}"
        f.move(key, "old-" + key)
        put(f, key, [value] + old, f["old-" + key], dtype=h5py.string_dtype("utf-8", int(kind[1:])) if isinstance(kind, str) else kind)
        del f["old-" + key]
