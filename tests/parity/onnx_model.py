"""onnx_model.py MEDLEY MEDLEY-DATA: `medley export --format onnx` (TAP). The models pass onnx's checker; what they give, operator by operator in torch and in
onnxruntime if it is installed, is what torchvision's network gives with the same weights. Weights by the rule of make_swin.py."""
import functools
import json
import os
import struct
import subprocess
import sys
import tempfile

import command
from tap import done, ok, skip

try:
    import numpy as np
    import onnx
    import onnx.numpy_helper
    import torch
    import make_swin
except ImportError as e:
    skip(e)

medley, medley_data = (os.path.abspath(p) for p in sys.argv[1:3])


run = functools.partial(command.run, medley)


def save(path, tensors):
    at, header, data = 0, {}, b""
    for name, x in tensors.items():
        raw = x.numpy().tobytes()
        header[name] = {"dtype": "I64" if x.dtype == torch.int64 else "F32", "shape": list(x.shape), "data_offsets": [at, at + len(raw)]}
        at, data = at + len(raw), data + raw
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


OPERATORS = {
    "Add": lambda a, x, y: x + y, "Sub": lambda a, x, y: x - y, "Mul": lambda a, x, y: x * y, "Div": lambda a, x, y: x / y,
    "Pow": lambda a, x, y: x**y, "Max": lambda a, x, y: torch.maximum(x, y), "Sqrt": lambda a, x: x.sqrt(), "Erf": lambda a, x: x.erf(), "MatMul": lambda a, x, y: x @ y,
    "Identity": lambda a, x: x, "Softmax": lambda a, x: x.softmax(a["axis"]),
    "ReduceMean": lambda a, x: x.mean(a["axes"], keepdim=bool(a["keepdims"])),
    "ReduceL2": lambda a, x: x.square().sum(a["axes"], keepdim=bool(a["keepdims"])).sqrt(),
    "Reshape": lambda a, x, s: x.reshape(s.tolist()), "Transpose": lambda a, x: x.permute(a["perm"]),
    "Gather": lambda a, x, i: x.index_select(a["axis"], i),
    "Split": lambda a, x: x.chunk(3, a["axis"]),
    "Conv": lambda a, x, w, b: torch.nn.functional.conv2d(x, w, b, a["strides"]),
    "Gemm": lambda a, x, w, b: torch.nn.functional.linear(x, w, b),
    "Pad": lambda a, x, p: torch.nn.functional.pad(x, [v for d in reversed(range(x.ndim)) for v in (int(p[d]), int(p[x.ndim + d]))]),
}


def execute(model, image):
    """The outputs by name: every node by the torch function that its operator is defined to be."""
    at = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    at["image"] = image
    with torch.no_grad():
        for node in model.graph.node:
            a = {x.name: list(x.ints) if x.type == onnx.AttributeProto.INTS else x.i for x in node.attribute}
            y = OPERATORS[node.op_type](a, *(at[i] for i in node.input))
            at.update(zip(node.output, y if node.op_type == "Split" else [y]))
    return {o.name: at[o.name].numpy() for o in model.graph.output}


def near(a, b):
    """The largest difference on the scale of the values."""
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) if a.shape == b.shape else float("inf")


def torchvision_features(net, x):
    stages = []
    with torch.no_grad():
        for i, layer in enumerate(net.features):
            x = layer(x)
            if i in (1, 3, 5, 7):
                stages.append(x.permute(0, 3, 1, 2).numpy())
        return stages, net.norm(x).mean((1, 2)).numpy()


def check_encoder(encoder, H, W, batch):
    net = make_swin.build(encoder).eval()
    with torch.no_grad():
        for n, p in net.named_parameters():
            p.copy_(torch.from_numpy(make_swin.parameter("encoder." + n, tuple(p.shape))))
    save("w.safetensors", net.state_dict())
    good, said = run("export", "w.safetensors", "--format", "onnx", "--image", f"{H}x{W}", "--out", "m.onnx", "--force")
    model = onnx.load("m.onnx")
    onnx.checker.check_model(model, full_check=True)  # shapes are inferred too
    meta = {p.key: p.value for p in model.metadata_props}
    names = [o.name for o in model.graph.output]
    ok(good and "as ONNX" in said and names == ["stride4", "stride8", "stride16", "stride32", "vector"] and meta["encoder"] == encoder
       and model.opset_import[0].version == 13, f"{encoder} at {H}x{W}: a valid model of {len(model.graph.node)} nodes")
    image = torch.from_numpy(np.random.default_rng(7).random((batch, 3, H, W), dtype=np.float32))
    mean, std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (make_swin.MEAN, make_swin.STD))
    stages, vector = torchvision_features(net, (image - mean) / std)
    got = execute(model, image)
    worst = max([near(got[n], s) for n, s in zip(names, stages)] + [near(got["vector"], vector)])
    ok(worst < 1e-4, f"{encoder} at {H}x{W}, batch {batch}: torchvision's stages and vector within {worst:.2g}")
    try:
        import onnxruntime
        values = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run(None, {"image": image.numpy()})
        worst = max(near(a, b) for a, b in zip(values, stages + [vector]))
        ok(worst < 1e-4, f"{encoder} at {H}x{W}: onnxruntime {onnxruntime.__version__} within {worst:.2g}")
    except ImportError as e:
        ok(True, f"{encoder}: onnxruntime # SKIP {e}")


def check_head():
    """Of a trained run: the head of a task, and the job's image size."""
    subprocess.run([medley_data, "synth", "--out", "s", "--only", "synth-histo"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open("job.cfg", "w") as f:
        f.write("""run = "run"; data_root = "s/shards"; model = { encoder = "swin_micro"; };
train = { steps = 3; watchdog_s = 60; };
tasks = ( { name = "tissue"; data = "synth-histo"; image = [96, 64]; batch = 4; } );
""")
    good, said = run("train", "job.cfg")
    exported = run("export", "run", "--weights", "last", "--format", "onnx", "--head", "tissue", "--out", "h.onnx")[0]
    exported &= run("export", "run", "--weights", "last", "--head", "tissue", "--out", "h.safetensors")[0]
    model = onnx.load("h.onnx")
    onnx.checker.check_model(model, full_check=True)
    image = torch.rand(2, 3, 96, 64)
    got = execute(model, image)
    with open("h.safetensors", "rb") as f:
        header, data = json.loads(f.read(struct.unpack("<Q", f.read(8))[0])), f.read()
    weight, bias = (np.frombuffer(data[slice(*header[f"head.{k}"]["data_offsets"])], "<f4").reshape(header[f"head.{k}"]["shape"]) for k in ("weight", "bias"))
    meta = {p.key: p.value for p in model.metadata_props}
    classes = meta["classes"].split("\n")
    ok(good and exported and near(got["logits"], got["vector"] @ weight.T + bias) < 1e-5 and len(classes) == len(bias) and meta["data_sets"]
       and meta["image_size"] == "96x64", f"a head of {len(bias)} classes, with names, data set and the job's image size")


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1")
    for encoder, H, W, batch in (("swin_micro", 96, 160, 2), ("swin_v2_micro", 160, 96, 3), ("swin_v2_micro", 256, 256, 1)):
        check_encoder(encoder, H, W, batch)
    check_head()
    ok(run("export", "w.safetensors", "--format", "onnx", "--out", "m.onnx", want=2)[0]
       and run("export", "w.safetensors", "--format", "onnx", "--image", "100x100", "--out", "x.onnx", want=2)[0]
       and run("export", "w.safetensors", "--image", "64x64", "--out", "x.safetensors", want=2)[0]
       and run("export", "run", "--format", "onnx", "--with", "heads", "--out", "x.onnx", want=2)[0]
       and run("export", "run", "--format", "onnx", "--head", "nobody", "--out", "x.onnx", want=2)[0] and not os.path.exists("x.onnx"), "wrong words are refused")
    os.chdir("/")
done()
