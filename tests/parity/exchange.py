"""exchange.py MEDLEY MEDLEY-DATA: weights go out to torchvision, timm and Hugging Face and come back; the other programs load them strictly and
see the same features as `medley embed` (TAP). Weights by the rule of make_swin.py. timm and transformers are looked at if they are installed."""
import csv
import functools
import importlib.util
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib

import command
from tap import done, ok, skip

try:
    import h5py
    import numpy as np
    import torch
    import make_swin
except ImportError as e:
    skip(e)

medley, medley_data = (os.path.abspath(p) for p in sys.argv[1:3])
MEAN, STD = np.array(make_swin.MEAN, "f4"), np.array(make_swin.STD, "f4")
KIND = {"F32": "<f4", "I64": "<i8", "F16": "<f2", "BF16": "<u2"}


def installed(naming):
    return importlib.util.find_spec({"huggingface": "transformers"}.get(naming, naming)) is not None


def save(path, tensors, kind="F32"):
    """A safetensors file; float tensors as F32, F16 or BF16."""
    at, header, data = 0, {}, []
    for name, x in tensors.items():
        x = x.numpy()
        t = "I64" if x.dtype == np.int64 else kind
        raw = (x.view("<u4") >> 16).astype("<u2") if t == "BF16" else x.astype(KIND[t])
        header[name] = {"dtype": t, "shape": list(x.shape), "data_offsets": [at, at + raw.nbytes]}
        at += raw.nbytes
        data.append(raw.tobytes())
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def load(path):
    with open(path, "rb") as f:
        header, data = json.loads(f.read(struct.unpack("<Q", f.read(8))[0])), f.read()
    meta = header.pop("__metadata__", {})
    return {k: torch.from_numpy(np.frombuffer(data[slice(*v["data_offsets"])], KIND[v["dtype"]]).reshape(v["shape"]).copy()) for k, v in header.items()}, meta


run = functools.partial(command.run, medley)


def embed(weights, data, size, out, *more):
    return run("embed", weights, "--data", data, "--image", f"{size}x{size}", "--out", out, "--force", *more)[0]


def png(path, x):
    def chunk(tag, data):
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
    head = struct.pack(">IIBBBBB", x.shape[1], x.shape[0], 8, 2, 0, 0, 0)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in x))) + chunk(b"IEND", b""))


def make_images(size, n):
    """n colour images of size x size as source files and, by a recipe, as shards. Returns the pixels."""
    os.makedirs(f"src{size}")
    pixels = np.random.default_rng(size).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    pixels[:, : size // 2] //= 4  # not the same everywhere
    for i in range(n):
        png(f"src{size}/p{i}.png", pixels[i])
    with open(f"r{size}.cfg", "w") as f:
        f.write(f"""name = "noise{size}"; title = "noise"; modality = "microscopy"; licence = "CC0 1.0";
images = {{ files = ["{{patient}}.png"]; id = "{{patient}}"; subject = "{{patient}}"; channels = 3; }};
labels = ();
""")
    subprocess.run([medley_data, "convert", f"r{size}.cfg", "--source", f"src{size}", "--out", "shards"], check=True, stdout=subprocess.DEVNULL)
    return pixels


def network_input(pixels):
    return torch.from_numpy(((pixels.astype("f4") / 255 - MEAN) / STD).transpose(0, 3, 1, 2).copy())


def torchvision_features(net, x):
    stages = []
    with torch.no_grad():
        for i, layer in enumerate(net.features):
            x = layer(x)
            if i in (1, 3, 5, 7):
                stages.append(x.mean((1, 2)).numpy())
        return stages, net.norm(x).mean((1, 2)).numpy()


def near(a, b):
    """The largest difference on the scale of the values."""
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


def read(path):
    with h5py.File(path) as f:
        return [f[f"stage{s}"][:] for s in (1, 2, 3, 4)], f["vector"][:], [v.decode() for v in f["id"][:]]


def check_torchvision(encoder, size, pixels):
    """torchvision's own file in, ours out; its net loads that strictly and sees what we see. Returns our vectors and file."""
    net = make_swin.build(encoder).eval()
    with torch.no_grad():
        for n, p in net.named_parameters():
            p.copy_(torch.from_numpy(make_swin.parameter("encoder." + n, tuple(p.shape))))
        for n, p in net.named_parameters():  # what the key third of V2's bias holds has no effect
            if "v2" in encoder and n.endswith("qkv.bias"):
                p[p.numel() // 3 : 2 * p.numel() // 3] = 0
    theirs, ours = f"{encoder}.tv.safetensors", f"{encoder}.safetensors"
    save(theirs, net.state_dict())
    good, said = run("import", theirs, "--out", ours, "--force")
    ok(good and f"{encoder} with the names of torchvision" in said and "0 missing" in said, f"{encoder}: import of torchvision's file")
    good, _ = run("export", ours, "--out", "out.safetensors", "--force")
    tensors, meta = load("out.safetensors")
    wanted = {k: v for k, v in net.state_dict().items() if not k.startswith("head.")}
    ok(good and tensors.keys() == wanted.keys() and all(torch.equal(v, tensors[k]) or "coords" in k and torch.allclose(v, tensors[k], atol=1e-6)
                                                         for k, v in wanted.items()), f"{encoder}: export is what came in, bit by bit")
    ok(meta["format"] == "pt" and meta["encoder"] == encoder and meta["mean"].startswith("0.485,0.456"), f"{encoder}: metadata {meta.get('encoder')}")
    fresh = make_swin.build(encoder).eval()
    fresh.head = torch.nn.Identity()
    fresh.load_state_dict(tensors)  # strict
    stages, vector = torchvision_features(fresh, network_input(pixels))
    good = embed(ours, f"shards/noise{size}", size, "a.h5", "--stages")
    s, v, ids = read("a.h5")
    order = [int(i[1:]) for i in ids]
    worst = max([near(a, b[order]) for a, b in zip(s, stages)] + [near(v, vector[order])])
    ok(good and worst < 1e-4, f"{encoder} at {size}: features of torchvision within {worst:.2g}")
    return v, ours, order


def check_naming(encoder, size, naming, ours, vector):
    """Out under the names of another program and back: the same features."""
    good, _ = run("export", ours, "--format", naming, "--out", "n.safetensors", "--force")
    back, said = run("import", "n.safetensors", "--out", "back.safetensors", "--force")
    embedded = embed("n.safetensors", f"shards/noise{size}", size, "n.h5", "--stages")
    with open("back.safetensors", "rb") as a, open(ours, "rb") as b:
        same = load("back.safetensors")[0], load(ours)[0]
    equal = same[0].keys() == same[1].keys() and all(torch.equal(same[0][k], same[1][k]) for k in same[0])
    ok(good and back and equal and f"{encoder} with the names of {naming}" in said and embedded and np.array_equal(read("n.h5")[1], vector),
       f"{encoder}: out to {naming} and back, same bits")
    return load("n.safetensors")[0]


def check_programs(encoder, size, pixels, tensors, vector, order):
    x = network_input(pixels)
    try:
        import timm
        net = timm.create_model({"swin_t": "swin_tiny_patch4_window7_224", "swin_v2_t": "swinv2_tiny_window8_256"}[encoder], num_classes=0).eval()
        net.load_state_dict(tensors["timm"])
        with torch.no_grad():
            worst = near(vector, net(x).numpy()[order])
        ok(worst < 1e-4, f"{encoder}: timm {timm.__version__} loads it and sees the same within {worst:.2g}")
    except ImportError as e:
        ok(True, f"{encoder}: timm # SKIP {e}")
    try:
        import transformers as hf
        net = hf.SwinModel(hf.SwinConfig()) if encoder == "swin_t" else hf.Swinv2Model(hf.Swinv2Config(window_size=8, image_size=256))
        net.eval().load_state_dict({k.split(".", 1)[1]: v for k, v in tensors["huggingface"].items()})
        with torch.no_grad():
            worst = near(vector, net(x).pooler_output.numpy()[order])
        ok(worst < 1e-4, f"{encoder}: transformers {hf.__version__} loads it and sees the same within {worst:.2g}")
    except ImportError as e:
        ok(True, f"{encoder}: transformers # SKIP {e}")


def check_faults(ours):
    good, _ = load(ours)
    tensors = dict(good)
    del tensors["encoder.features.5.1.mlp.0.bias"]
    tensors["encoder.norm.weight"] = torch.zeros(7)
    tensors["encoder.features.5.99.norm1.bias"] = torch.zeros(7)
    tensors["decoder.weight"] = torch.zeros(1)
    save("bad.safetensors", tensors)
    fails, said = run("import", "bad.safetensors", want=3)
    ok(fails and all(s in said for s in ("missing  encoder.features.5.1.mlp.0.bias [256]", "1 missing, 1 of another shape",
                                         "encoder.norm.weight [7], wanted [128]", "extra    encoder.features.5.99.norm1.bias",
                                         "unused   decoder.weight [1]")), "import names what is missing, of another shape, too many, unused")
    tensors = dict(good)
    tensors["encoder.norm.bias"] = torch.full((128,), float("nan"))
    save("bad.safetensors", tensors)
    fails, said = run("import", "bad.safetensors", want=3)
    ok(fails and 'tensor "encoder.norm.bias": element 0 is nan' in said, "import refuses weights that are not finite")
    save("bad.safetensors", {"x": torch.zeros(3)})
    fails, said = run("import", "bad.safetensors", want=3)
    ok(fails and "no Swin encoder in it" in said, "import of something else")
    ok(run("import", ours, "--encoder", "swin_v2_nano", want=3)[0], "import for another encoder")
    ok(run("export", ours, "--out", ours, want=2)[0] and load(ours)[0].keys() == good.keys(), "nothing is overwritten without --force")
    wrapped = {"module.backbone." + k.split(".", 1)[1]: v for k, v in good.items()}
    save("half.safetensors", wrapped, "BF16")
    fits, said = run("import", "half.safetensors", "--out", "h.safetensors", "--force")
    half = load("h.safetensors")[0]
    ok(fits and 'behind "module.backbone."' in said and all(near(half[k].numpy(), good[k].numpy()) < 0.01 for k in good), "import of bfloat16 behind a prefix")


def check_formats(ours, size):
    data = f"shards/noise{size}"
    good = all(embed(ours, data, size, f"f{end}", "--stages") for end in (".h5", ".csv"))
    good &= embed(ours, data, size, "g.npy", "--stages")
    stages, vector, ids = read("f.h5")
    rows = list(csv.reader(open("f.csv")))
    whole = np.concatenate(stages + [vector], 1)
    table = np.array([[float(v) for v in r[9:]] for r in rows[1:]], "f4")
    ok(good and rows[0][:9] == ["data", "id", "subject", "centre", "case", "slice", "slices", "split", "source"] and np.array_equal(table, whole)
       and [r[1] for r in rows[1:]] == ids, "CSV has the same numbers as HDF5")
    ok(np.array_equal(np.load("g.npy"), whole) and np.load("g.npy").dtype == np.float32 and [r[1] for r in csv.reader(open("g.csv"))][1:] == ids,
       "NPY has the same numbers, its CSV the ids")
    ok(run("embed", ours, "--data", data, "--out", "f.h5", want=2)[0] and run("embed", ours, "--data", data, "--out", "f.txt", want=2)[0]
       and run("embed", ours, "--out", "q.h5", want=2)[0] and run("embed", ours, "--data", data, "--image", "100x100", "--out", "q.h5", want=2)[0]
       and run("embed", ours, "--data", "nowhere", "--out", "q.h5", want=3)[0] and not os.path.exists("q.h5"), "embed: wrong words and files")


def check_cases(ours):
    """Volumes: the mean over the slices of a case."""
    subprocess.run([medley_data, "synth", "--out", "synth", "--only", "synth-mr"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    data = "synth/shards/synth-mr"
    good = embed(ours, data, 64, "s.h5") and embed(ours, data, 64, "c.h5", "--by", "case") and embed(ours, data, 64, "v.h5", "--split", "val")
    with h5py.File("s.h5") as s, h5py.File("c.h5") as c, h5py.File("v.h5") as v:
        case = s["case"][:]
        mean = {k: s["vector"][:][case == k].astype("f8").mean(0) for k in c["id"][:]}
        good &= set(mean) == set(case) and list(c["slices"][:]) == [int((case == k).sum()) for k in c["id"][:]] and c["slices"][:].max() > 1
        ok(good and near(c["vector"][:], np.array([mean[k] for k in c["id"][:]])) < 1e-6, f"{len(mean)} volumes of {len(case)} slices: means over slices")
        with h5py.File(f"{data}/synth-mr-00000.h5") as f:
            same = all(list(s[a][:]) == list(f[b][:]) for a, b in (("id", "id"), ("subject", "subject"), ("slice", "slice"), ("split", "split"), ("source", "source")))
        val = s["split"][:] == 1
        ok(same and np.array_equal(v["vector"][:], s["vector"][:][val]) and s.attrs["encoder"].decode() == "swin_nano", "ids, subjects, slices, splits of the shards")


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1")
    images = {size: make_images(size, n) for size, n in ((64, 5), (224, 2), (256, 2))}
    for encoder, size in (("swin_nano", 64), ("swin_v2_nano", 64), ("swin_t", 224), ("swin_v2_t", 256)):
        vector, ours, order = check_torchvision(encoder, size, images[size])
        small = encoder.endswith("nano")  # all namings; a large one, whose files take seconds each, only for the programs that are here
        namings = ("timm", "microsoft", "huggingface", "torchvision", "medley") if small else [n for n in ("timm", "huggingface") if installed(n)]
        out = {naming: check_naming(encoder, size, naming, ours, vector) for naming in namings}
        if not small:
            check_programs(encoder, size, images[size], out, vector, order)
    check_faults("swin_nano.safetensors")
    check_formats("swin_nano.safetensors", 64)
    check_cases("swin_nano.safetensors")
    said = subprocess.run([medley_data, "verify", "shards/noise64"], capture_output=True, text=True)
    ok(said.returncode == 0 and "no errors, 0 warnings" in said.stdout, "shards without labels are good shards")
    os.chdir("/")
done()
