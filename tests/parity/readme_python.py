"""readme_python.py README MEDLEY-DATA MEDLEY: the Python of the README runs, on shards and weights made here, and finds what they hold (TAP)."""
import contextlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

from tap import done, ok, skip

try:
    import h5py
    import numpy as np
    import torch
    import torchvision
except ImportError as e:
    skip(e)

readme, program, medley = (os.path.abspath(p) for p in sys.argv[1:4])
blocks = re.findall(r"```python\n(.*?)```", open(readme).read(), re.S)



def save(path, tensors):
    at, header = 0, {}
    for k, x in tensors.items():
        n = x.numel() * x.element_size()
        header[k] = {"dtype": "I64" if x.dtype == torch.int64 else "F32", "shape": list(x.shape), "data_offsets": [at, at + n]}
        at += n
    with open(path, "wb") as f:
        text = json.dumps(header).encode()
        f.write(struct.pack("<Q", len(text)) + text + b"".join(x.numpy().tobytes() for x in tensors.values()))


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    for name in ("synth-histo", "synth-mr"):
        subprocess.run([program, "synth", "--out", name, "--only", name], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.makedirs("shards/mydata")
    os.symlink(f"{folder}/synth-histo/shards/synth-histo/synth-histo-00000.h5", "shards/mydata/mydata-00000.h5")
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(blocks[0], names)
    ok("uint8" in said.getvalue(), "what the example prints")
    ok(names["image"].ndim == 3 and 0 <= names["shown"].min() < names["shown"].max() <= 1, "an image of a shard")
    exec(blocks[1], names)
    for data, label in (("synth-histo", "tissue"), ("synth-mr", None)):
        at = f"{data}/shards/{data}"
        with h5py.File(f"{at}/{data}-00000.h5") as f:
            label = label or list(f["label"])[0]
            wanted = [int((f["split"][:] == s).sum()) for s in range(3)]
        sets = [names["Shards"](at, label, s) for s in range(3)]
        ok([len(s) for s in sets] == wanted, f"{data}: samples of the three splits")
        image, target = sets[0][0]
        ok(image.dtype == torch.float32 and image.ndim == 3 and 0 <= float(image.min()) and float(image.max()) <= 1, f"{data}: image {tuple(image.shape)}")
        ok(target.ndim == 0 or tuple(target.shape) == tuple(image.shape[1:]), f"{data}: target {tuple(target.shape)}")
        loader = torch.utils.data.DataLoader(sets[1], batch_size=1, num_workers=2)
        ok(sum(1 for _ in loader) == wanted[1], f"{data}: through a loader with two workers")
    theirs = torchvision.models.swin_t().eval()
    save("theirs.safetensors", theirs.state_dict())
    for words in (["import", "theirs.safetensors", "--out", "ours.safetensors"], ["export", "ours.safetensors", "--out", "swin_t.safetensors"]):
        subprocess.run([medley, *words], check=True, stdout=subprocess.DEVNULL)
    exec(blocks[2], names)
    theirs.head = torch.nn.Identity()
    x = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        ok(torch.equal(theirs(x), names["net"].eval()(x)), "a net of torchvision with weights that came through import and export")
    os.chdir("/")
done()
