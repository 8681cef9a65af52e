"""pages: across centres, and the page a person looks at. Images of a multi-centre study are converted by a recipe that trains on some centres and
tests on others; evaluate tells the scores of each; the report is one HTML file, looked at through headless Chromium where there is one (the page
has to be drawn, on screen, dark, narrow and on paper); its curves are read back from the TensorBoard file. TAP.
Usage: pages.py MEDLEY MEDLEY-DATA SOURCE-ROOT [FOLDER]: it is kept there, to be looked at"""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import defaultdict

medley, program, root = (os.path.realpath(p) for p in sys.argv[1:4])
sys.path.insert(0, root + "/tests/parity")
from tap import done, ok

env = dict(os.environ, OMP_NUM_THREADS="1", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_mpi_yield_when_idle="1",
           OMPI_MCA_btl_vader_single_copy_mechanism="none")
RECIPE = """name = "sites"; title = "Tiles of four sites"; modality = "histology"; licence = "CC0 1.0"; citation = "made here";
images = { files = ["{site}/{tissue}/{patient}_{tile}.png"]; channels = 3; id = "{site}-{stem}-{tissue}"; subject = "{patient}"; centre = "{site}"; };
labels = ( { name = "tissue"; kind = "classification"; source = "value"; value = "{tissue}"; classes = ["gland", "sheet", "septa"]; } );
split = { value = "{site}"; map = ["north -> train", "south -> val", "east -> test", "west -> test"]; };
"""
JOB = """run = "run"; data_root = "shards"; model = { encoder = "swin_v2_nano"; }; optim = { lr = 1e-3; warmup = 2; };
train = { steps = 12; validate_every = 6; log_every = 1; };
tasks = ( { name = "tissue"; data = "sites"; image = [64, 64]; batch = 4; }, { name = "brain"; data = "synth-mr"; image = [64, 64]; batch = 2; },
          { name = "cells"; data = "synth-blood"; image = [64, 64]; batch = 2; } );
"""


def run(*words, ranks=0):
    words = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *words] if ranks else list(words)
    p = subprocess.run(words, env=env, capture_output=True, text=True, timeout=240)
    for line in [] if p.returncode == 0 else (p.stdout + p.stderr).splitlines()[-15:]:
        print("#", line)
    return p


def make_run():
    """What a user with a multi-centre set would do."""
    for name in ("synth-histo", "synth-mr", "synth-blood"):
        if run(program, "synth", "--out", "synth", "--only", name).returncode:
            return False
    os.rename("synth/shards", "shards")
    sites = ["north", "north", "north", "south", "east", "west"]
    for folder, _, files in os.walk("synth/source/synth-histo/tiles"):
        for file in files:
            to = f"sites/{sites[int(re.sub('[^0-9]', '', file.split('_')[0])) % 6]}/{os.path.basename(folder)}"
            os.makedirs(to, exist_ok=True)
            shutil.copy(f"{folder}/{file}", to)
    open("sites.cfg", "w").write(RECIPE)
    open("job.cfg", "w").write(JOB)
    return run(program, "convert", "sites.cfg", "--source", "sites", "--out", "shards").returncode == 0


def png(path):
    """Width, height, the set of colours, and the sum of the first pixel's of an RGB or RGBA picture of 8 bits."""
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", path
    at, packed = 8, b""
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            w, h, bits, colour = struct.unpack(">IIBB", data[at + 8:at + 18])
        if kind == b"IDAT":
            packed += data[at + 8:at + 8 + n]
        at += 12 + n
    step, corner = {2: 3, 6: 4}[colour], None
    raw, line, colours = zlib.decompress(packed), bytearray(w * step), set()
    for y in range(h):
        begin = y * (w * step + 1)
        kind, new = raw[begin], bytearray(raw[begin + 1:begin + 1 + w * step])
        for i in range(len(new)) if kind else ():
            a, b, c = new[i - step] if i >= step else 0, line[i], line[i - step] if i >= step else 0
            if kind == 4:
                pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
                guess = a if pa <= pb and pa <= pc else b if pb <= pc else c
            else:
                guess = (0, a, b, (a + b) // 2)[kind]
            new[i] = new[i] + guess & 255
        line, corner = new, sum(new[:3]) if corner is None else corner
        colours.update(bytes(line[i:i + 3]) for i in range(0, len(line), 5 * step))
    return w, h, colours, corner


def screenshots(page):
    browser = next((b for b in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if b), None)
    if not browser:
        ok(True, "the page in a browser # SKIP no chromium")
        return
    base = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-extensions", "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={os.getcwd()}/profile"]
    for name, width, more in (("light", 900, []), ("dark", 900, ["--blink-settings=preferredColorScheme=0"]), ("narrow", 420, [])):
        file = os.path.abspath(f"{name}.png")
        run("timeout", "60", *base, *more, f"--window-size={width},1200", f"--screenshot={file}", "file://" + page)
        w, h, colours, corner = png(file) if os.path.exists(file) else (0, 0, set(), 0)
        ok(w == width and h == 1200 and len(colours) > 300 and (corner < 150 if name == "dark" else corner > 690),
           f"the page is drawn, {name}: {len(colours)} colours, its ground {corner} of 765")
    run("timeout", "60", *base, "--no-pdf-header-footer", f"--print-to-pdf={os.path.abspath('page.pdf')}", "file://" + page)
    paper = open("page.pdf", "rb").read() if os.path.exists("page.pdf") else b""
    ok(paper[:5] == b"%PDF-" and 1 < len(re.findall(rb"/Type\s*/Page\b", paper)) < 40, "and printed")


# ---- TensorBoard's file, read by the letter of its format ------------------------------------------------------------------------------

TABLE = []
for i in range(256):
    c = i
    for _ in range(8):
        c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    TABLE.append(c)


def masked_crc(data):
    c = 0xFFFFFFFF
    for b in data:
        c = TABLE[(c ^ b) & 255] ^ c >> 8
    c ^= 0xFFFFFFFF
    return ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(data, at):
    v = shift = 0
    while True:
        v |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return v, at


def fields(data):
    """Number, wire type and value of every field of a protobuf message."""
    at, out = 0, []
    while at < len(data):
        key, at = varint(data, at)
        wire = key & 7
        if wire == 0:
            v, at = varint(data, at)
        else:
            n = {1: 8, 5: 4}.get(wire)
            if n is None:
                assert wire == 2, wire
                n, at = varint(data, at)
            v, at = data[at:at + n], at + n
            assert len(v) == n
        out.append((key >> 3, wire, v))
    return out


def events(path):
    data, at, curves, last = open(path, "rb").read(), 0, defaultdict(list), 0
    while at < len(data):
        n, crc = struct.unpack("<QI", data[at:at + 12])
        body = data[at + 12:at + 12 + n]
        assert crc == masked_crc(data[at:at + 8]) and len(body) == n
        assert struct.unpack("<I", data[at + 12 + n:at + 16 + n])[0] == masked_crc(body)
        event = {f: v for f, _, v in fields(body)}
        assert 1e9 < struct.unpack("<d", event[1])[0] < 1e11
        if at == 0:
            assert event[3] == b"brain.Event:2"
        else:
            ((number, wire, value),) = fields(event[5])
            value = {f: v for f, _, v in fields(value)}
            assert (number, wire) == (1, 2)
            curves[value[1].decode()].append((event[2], struct.unpack("<f", value[2])[0]))
        at += 16 + n
    return curves


def tensorboard():
    p = run(medley, "report", "run", "--tensorboard", "boards")
    files = os.listdir("boards") if os.path.isdir("boards") else []
    ok(p.returncode == 0 and len(files) == 1 and "tfevents" in files[0], "an event file for TensorBoard")
    if len(files) != 1:
        return
    curves = events("boards/" + files[0])
    record = [json.loads(line) for line in open("run/record.jsonl")]
    want = [(r["step"], r["loss/tissue"]) for r in record if r["event"] == "step"]
    got = curves["loss/tissue"]
    ok(len(want) == 12 and [s for s, _ in got] == [s for s, _ in want] and all(abs(a - b) < 1e-5 * (1 + abs(b)) for (_, a), (_, b) in zip(got, want)),
       "its frames, checksums and messages are right; the loss is the record's")
    ok(len(curves["validation/tissue balanced_accuracy"]) == 2 and len(curves["optimiser/learning rate"]) == 12 and "test split/tissue balanced_accuracy" in curves,
       "validation, learning rate and test scores too")
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        ok(True, "read by TensorBoard # SKIP no tensorboard")
        return
    board = EventAccumulator("boards")
    board.Reload()
    ok([e.step for e in board.Scalars("loss/tissue")] == [s for s, _ in want], "read by TensorBoard")


with tempfile.TemporaryDirectory(prefix="medley-pages-") as folder:
    os.chdir(folder)
    ok(make_run(), "a recipe that trains on two centres and tests on two others")
    ok(run(medley, "train", "job.cfg", ranks=2).returncode == 0, "trained")
    p = run(medley, "evaluate", "run", "--boot", "200", ranks=2)
    rows = re.findall(r"^  centre (\w+) +(\d+) +(\d+)  balanced_accuracy +[\d.]+ \[", p.stdout, re.M)
    ok(p.returncode == 0 and [r[0] for r in rows] == ["east", "west"] and all(int(r[1]) > 2 for r in rows), "evaluate tells the centres apart that no training image is from")
    ok(not re.search("north|south", open("run/samples-test-tissue.csv").read()), "and only those are tested")
    ok(run(medley, "report", "run").returncode == 0, "the page")
    page = open("run/report.html").read()
    ok("By centre" in page and page.count("data:image/png;base64,") == 6 + 2 * 6 + 2 * 6 and "confusion" in page and "CC0 1.0" in page, "centres, pictures, matrices, licences are on it")
    outside = re.findall(r"""(?:src|href|url|@import)\s*[=(]?\s*["']?(?!data:)[a-z]+:""", page)
    ok(not outside and "<script" not in page, "nothing on it is from outside, and no script")
    screenshots(os.path.abspath("run/report.html"))
    tensorboard()
    if len(sys.argv) > 4:
        shutil.copytree(".", sys.argv[4], ignore=shutil.ignore_patterns("profile"))
    os.chdir("/")
done()
