#!/usr/bin/python3
"""A second reader and writer of safetensors, by hand from the description of the format (struct, json, numpy): both ways, bit by bit. TAP.
Usage: tensors_numpy.py TENSORS_IO"""
import json
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("1..0 # SKIP no numpy for this python")
    sys.exit(0)

program = sys.argv[1]
number = bad = 0


def check(name, good, detail=""):
    global number, bad
    number += 1
    bad += not good
    if not good:
        print("#", detail)
    print(f"{'ok' if good else 'not ok'} {number} - {name}")


with tempfile.TemporaryDirectory() as folder:
    rng = np.random.default_rng(1)
    f32 = rng.standard_normal((3, 5)).astype("<f4")
    f16 = rng.standard_normal(7).astype("<f2")
    bf16 = (rng.standard_normal(4).astype("<f4").view("<u4") >> 16).astype("<u2")
    f64 = rng.standard_normal((2, 1, 2))
    i64 = np.array([-(2**63), 2**63 - 1, 0], "<i8")
    parts = [("z.weight", "F32", f32), ("h", "F16", f16), ("b.f", "BF16", bf16), ("d", "F64", f64), ("i", "I64", i64)]
    for name, order in (("as the data lie", [0, 1, 2, 3, 4]), ("names in another order", [4, 2, 0, 3, 1])):
        at, entry = 0, {}
        for key, dtype, x in parts:
            entry[key] = {"dtype": dtype, "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
            at += x.nbytes
        header = {"__metadata__": {"format": "np"}, **{parts[k][0]: entry[parts[k][0]] for k in order}}
        text = json.dumps(header).encode() + b" " * 3
        path = folder + "/numpy.safetensors"
        with open(path, "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text + b"".join(x.tobytes() for _, _, x in parts))
        want = "meta format np\n"
        for key, dtype, x in parts:
            values = (bf16.astype("<u4") << 16).view("<f4") if dtype == "BF16" else x
            flat = [str(int(v)) if dtype == "I64" else float(v) for v in values.ravel()]
            want += f"{key} {dtype} [{','.join(map(str, x.shape))}] " + " ".join(v if dtype == "I64" else float(v).hex() for v in flat) + "\n"
        got = subprocess.run([program, "read", path], capture_output=True, text=True)

        def canonical(output):  # %a and hex() write the same number in other digits
            lines = []
            for line in output.splitlines():
                words = line.split(" ")
                lines.append(words[:3] + [float.fromhex(w) if "x" in w else w for w in words[3:]])
            return lines
        check("reads numpy's bytes, " + name, got.returncode == 0 and canonical(got.stdout) == canonical(want), got.stdout + got.stderr)

    path = folder + "/ours.safetensors"
    made = subprocess.run([program, "write", path], capture_output=True, text=True)
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    header, data = json.loads(raw[8:8 + n]), raw[8 + n:]
    check("the header is padded to 8 bytes", n % 8 == 0 and made.returncode == 0, str(n))
    check("metadata", header.pop("__metadata__", None) == {"format": "pt"})
    check("the tensors", set(header) == {"w", "n", "d"}, str(header))
    kind = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}

    def get(key):
        e = header[key]
        return np.frombuffer(data[e["data_offsets"][0]:e["data_offsets"][1]], kind[e["dtype"]]).reshape(e["shape"])
    check("f32", np.array_equal(get("w"), np.array([[0.1, -2, 3e-39], [4, 5, 6]], "f4")) and get("w").dtype == np.float32)
    check("i64, no dimensions", get("n").shape == () and int(get("n")) == -5)
    check("f64", np.array_equal(get("d"), [0.1, 1e300]))
    check("every element is aligned", all(e["data_offsets"][0] % np.dtype(kind[e["dtype"]]).itemsize == 0 for e in header.values()))
    ranges = sorted(e["data_offsets"] for e in header.values())
    check("no gap", ranges[0][0] == 0 and ranges[-1][1] == len(data) and all(a[1] == b[0] for a, b in zip(ranges, ranges[1:])))
print(f"1..{number}")
sys.exit(bad > 0)
