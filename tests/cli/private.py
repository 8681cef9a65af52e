"""private: nothing of what a source file says about the patient reaches a data set folder; only paths do, and of those that tell the
patient's name or number there is a warning. DICOM (file and series), NIfTI and PNG files are made by bytes, with a secret in every
place where such things are kept. TAP. Usage: private.py MEDLEY-DATA SOURCE-ROOT"""
import os
import struct
import subprocess
import sys
import tempfile
import zlib

program, root = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
sys.path.insert(0, root + "/tests/parity")
from tap import done, ok, skip
try:
    import h5py
except ImportError:
    skip("no h5py")

secrets = []


def secret(word):
    secrets.append(word)
    return word.encode()


# tag, value type, secret: what DICOM PS3.15 annex E tells to remove, and what else tells who, when and where
TAGS = [
    (0x00080012, "DA", "19510203"), (0x00080013, "TM", "111213.141516"), (0x00080014, "UI", "1.2.999.14"), (0x00080018, "UI", "1.2.999.18"),
    (0x00080020, "DA", "19510204"), (0x00080021, "DA", "19510205"), (0x00080022, "DA", "19510206"), (0x00080023, "DA", "19510207"),
    (0x00080030, "TM", "212223.242526"), (0x00080050, "SH", "ACCESSION77"), (0x00080070, "LO", "MAKERCORP"), (0x00080080, "LO", "ST ELSEWHERE"),
    (0x00080081, "ST", "1 HOSPITAL ROAD"), (0x00080090, "PN", "REFERRING^DOC"), (0x00080092, "ST", "REFERRER STREET"), (0x00081010, "SH", "STATION9"),
    (0x00081030, "LO", "STUDYDESCRIBED"), (0x0008103e, "LO", "SERIESDESCRIBED"), (0x00081040, "LO", "DEPARTMENT5"), (0x00081048, "PN", "RECORD^PHYS"),
    (0x00081050, "PN", "PERFORM^PHYS"), (0x00081070, "PN", "OPERATOR^ANN"), (0x00081090, "LO", "MODELNAME3"),
    (0x00100010, "PN", "ZEPPELIN^AGATHE"), (0x00100020, "LO", "PATID4711"), (0x00100030, "DA", "19110311"), (0x00100032, "TM", "010203"),
    (0x00100040, "CS", "F"), (0x00101000, "LO", "OTHERID88"), (0x00101001, "PN", "MAIDEN^NAME"), (0x00101010, "AS", "041Y"),
    (0x00101020, "DS", "1.7321"), (0x00101030, "DS", "73.219"), (0x00101040, "LO", "7 PATIENT LANE"), (0x00102154, "SH", "+49555123"),
    (0x00104000, "LT", "PATIENTCOMMENT"), (0x00181000, "LO", "SERIAL6021"), (0x00181030, "LO", "PROTOCOLNAME"), (0x0020000d, "UI", "1.2.999.13"),
    (0x00200010, "SH", "STUDYID5"), (0x00200052, "UI", "1.2.999.52"), (0x00204000, "LT", "IMAGECOMMENT"), (0x00321032, "PN", "REQUEST^PHYS"),
    (0x00324000, "LT", "STUDYCOMMENT"), (0x00400275, "SQ", None), (0x00402016, "LO", "ORDER55"), (0x00091001, "LO", "PRIVATEBLOCK"),
]


def element(tag, vr, value):
    value += (b"\0" if vr in ("UI", "OB", "OW", "SQ") else b" ") * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xffff) + vr.encode()
    if vr in ("OB", "OW", "SQ"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def dicom(number, position):
    """A CT slice of 4 x 4, with secrets everywhere."""
    us = lambda v: struct.pack("<H", v)
    have = {0x00080060: ("CS", b"CT"), 0x0020000e: ("UI", secret("1.2.999.5.1")), 0x00200013: ("IS", str(number).encode()),
            0x00200032: ("DS", b"0\\0\\%d" % position), 0x00200037: ("DS", b"1\\0\\0\\0\\1\\0"), 0x00280002: ("US", us(1)),
            0x00280004: ("CS", b"MONOCHROME2"), 0x00280010: ("US", us(4)), 0x00280011: ("US", us(4)), 0x00280030: ("DS", b"0.5\\0.5"),
            0x00280100: ("US", us(16)), 0x00280101: ("US", us(12)), 0x00280103: ("US", us(0)),
            0x7fe00010: ("OW", struct.pack("<16H", *(100 * number + 7 * i for i in range(16))))}
    for tag, vr, word in TAGS:
        if vr == "SQ":  # a name deep inside a sequence
            item = element(0x00100010, "PN", secret("NESTED^NAME"))
            have[tag] = ("SQ", struct.pack("<HHI", 0xfffe, 0xe000, len(item)) + item)
        else:
            have[tag] = (vr, word.encode())
            if len(word) > 5:
                secret(word)
    data = b"".join(element(tag, *have[tag]) for tag in sorted(have))
    meta = element(0x00020002, "UI", b"1.2.840.10008.5.1.4.1.1.2") + element(0x00020003, "UI", secret("1.2.999.18.3"))
    meta += element(0x00020010, "UI", b"1.2.840.10008.1.2.1") + element(0x00020016, "AE", secret("SENDERTITLE"))
    return bytes(120) + secret("PREAMBLE") + b"DICM" + meta + data


def nifti(i):
    h = bytearray(352)
    struct.pack_into("<i10s18s", h, 0, 348, b"\0", secret("DBNAMESECRET"))
    struct.pack_into("<8h", h, 40, 3, 4, 4, 2, 1, 1, 1, 1)
    struct.pack_into("<hh", h, 70, 2, 8)
    struct.pack_into("<8f", h, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", h, 108, 352.0)
    h[123] = 2
    h[148:148 + 21] = secret("DESCRIBED^JANE^190203")
    h[228:228 + 13] = secret("AUXFILESECRET")
    struct.pack_into("<h", h, 254, 1)
    struct.pack_into("<4f4f4f", h, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    h[328:328 + 12] = secret("INTENTSECRET")
    h[344:348] = b"n+1\0"
    return bytes(h) + bytes((i * 40 + k) % 256 for k in range(32))


def png(i):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes((i * 50 + 4 * y + x) % 256 for x in range(4)) for y in range(4))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)) + chunk(b"tEXt", b"Author\0" + secret("PNGAUTHORNAME")) +
            chunk(b"tIME", struct.pack(">HBBBBB", 2001, 2, 3, 4, 5, 6)) + chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0" + secret("EXIFSECRETNAME")) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def everything(folder):
    """All bytes of all files, and every array and attribute unpacked."""
    blob = b""
    for base, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(base, name)
            with open(path, "rb") as f:
                blob += name.encode() + b"\n" + f.read()
            if not name.endswith(".h5"):
                continue
            with h5py.File(path) as f:
                def visit(key, x):
                    nonlocal blob
                    blob += key.encode() + b"\n"
                    for k, v in x.attrs.items():
                        blob += f"{k}={v}\n".encode()
                    if isinstance(x, h5py.Dataset):
                        blob += x[()].tobytes() if x.shape else str(x[()]).encode()
                for k, v in f.attrs.items():
                    blob += f"{k}={v}\n".encode()
                f.visititems(visit)
    return blob


def leaked(blob):
    out = set()
    for word in set(secrets):
        for part in {word, *word.split("^")}:
            if len(part) > 3 and any(part.encode(code) in blob for code in ("utf-8", "utf-16-le")):
                out.add(part)
    return sorted(out)


HEAD = 'name = "%s"; title = "t"; modality = "CT"; licence = "none";\nimages: { files = "%s"; channels = 1; pixel = "%s"; id = "%s"; subject = "%s"; };\n' \
       'labels: ( { name = "k"; kind = "classification"; source = "value"; value = "%s"; classes = ["a", "b"]; } );\nsplit: { fractions = [0.5, 0.5, 0.0]; };\n%s'


def convert(name, files, make, id="{c}-{i}", pixel="i16", extra=""):
    """Converts files {path: bytes}; the log and everything that came out."""
    with tempfile.TemporaryDirectory() as work:
        for path, data in files.items():
            os.makedirs(os.path.dirname(f"{work}/src/{path}"), exist_ok=True)
            with open(f"{work}/src/{path}", "wb") as f:
                f.write(data)
        with open(f"{work}/{name}.cfg", "w") as f:
            f.write(HEAD % (name, make, pixel, id, id, "{c}", extra))
        run = subprocess.run([program, "convert", f"{work}/{name}.cfg", "--source", f"{work}/src", "--out", f"{work}/out"], capture_output=True, text=True)
        log = run.stdout + run.stderr
        parts = subprocess.run([program, "convert", f"{work}/{name}.cfg", "--source", f"{work}/src", "--out", f"{work}/parts", "--part", "1/1"],
                               capture_output=True, text=True)
        if run.returncode or parts.returncode:
            print("# " + log.replace("\n", "\n# "))
            return log, None
        return log, everything(f"{work}/out") + everything(f"{work}/parts")


ct = 'range: { rule = "window"; lo = 0.0; hi = 4095.0; };\n'
one = {f"{c}/{i}.dcm": dicom(10 * i + (c == "b"), i) for c in "ab" for i in range(2)}
series = {f"{c}/s{i}/{k}.dcm": dicom(100 * i + 10 * k + (c == "b"), k) for c in "ab" for i in range(2) for k in range(3)}
cases = [("dicom", one, "{c}/{i}.dcm", ct), ("series", series, "{c}/s{i}/", ct),
         ("nifti", {f"{c}/{i}.nii": nifti(2 * i + (c == "b")) for c in "ab" for i in range(2)}, "{c}/{i}.nii", ""),
         ("png", {f"{c}/{i}.png": png(2 * i + (c == "b")) for c in "ab" for i in range(2)}, "{c}/{i}.png", "")]
for name, files, make, extra in cases:
    log, blob = convert(name, files, make, pixel="i16" if extra else "u8", extra=extra)
    ok(blob is not None and len(blob) > 1000, f"{name}: converted")
    found = leaked((blob or b"") + log.encode())
    ok(blob is not None and not found, f"{name}: nothing about the patient in shards, index, sums, parts and messages" + (f": {found}" if found else ""))
print(f"# {len(set(secrets))} secrets looked for")

# the search finds what is there: a path that tells the name is kept, and warned of
log, blob = convert("told", {f"{c}/zeppelin_{i}.dcm": dicom(10 * i + (c == "b"), i) for c in "ab" for i in range(2)}, "{c}/zeppelin_{i}.dcm", extra=ct)
ok(blob is not None and b"zeppelin_1.dcm" in blob, "a path is kept in /source")
ok("in 4 images the patient's name or number" in log and "Zeppelin" not in log and "ZEPPELIN" not in log, "one that tells the patient's name is warned of")
log, blob = convert("number", {f"{c}/patid4711-{i}.dcm": dicom(10 * i + (c == "b"), i) for c in "ab" for i in range(2)}, "{c}/{n}-{i}.dcm", id="{n}-{c}{i}", extra=ct)
ok(blob is not None and "the patient's name or number" in log, "and one that tells the number")
log, blob = convert("quiet", {f"{c}/xzeppelin{i}.dcm": dicom(10 * i + (c == "b"), i) for c in "ab" for i in range(2)}, "{c}/xzeppelin{i}.dcm", extra=ct)
ok(blob is not None and "the patient's name or number" not in log, "but not a part of another word")
done()
