#!/usr/bin/python3
"""Writes the files of tests/fuzz/corpus that need no Medley: images, tables, boxes, job files, recipes, records, tensors.
Run once after a change; make_corpus (C) writes the HDF5 files. Usage: make_corpus.py CORPUS-FOLDER"""
import gzip
import io
import json
import os
import struct
import sys
import zipfile
import zlib

root = sys.argv[1]


def put(target, name, data):
    os.makedirs(os.path.join(root, target), exist_ok=True)
    with open(os.path.join(root, target, name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def png(width, height, depth, colour, rows, extra=b"", interlace=0):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def palette(colours, alpha):
    out = b""
    for kind, data in ((b"PLTE", bytes(colours)), (b"tRNS", bytes(alpha))):
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out


def nifti(dims, code, bits, voxels, slope=0.0):
    h = bytearray(352)
    struct.pack_into("<i", h, 0, 348)
    struct.pack_into("<8h", h, 40, 3, *dims, 1, 1, 1, 1)
    struct.pack_into("<hh", h, 70, code, bits)
    struct.pack_into("<8f", h, 76, 1, 1, 1, 2, 0, 0, 0, 0)
    struct.pack_into("<fff", h, 108, 352, slope, 1)
    h[123] = 2
    struct.pack_into("<hh", h, 252, 0, 1)
    struct.pack_into("<12f", h, 280, -1, 0, 0, 3, 0, 1, 0, -2, 0, 0, 2, 0)
    h[344:348] = b"n+1\0"
    return bytes(h) + voxels


put("image", "grey.png", png(5, 3, 8, 0, b"".join(bytes([0, 9, 8, 7, 6, y]) for y in range(3))))
put("image", "bits.png", png(9, 2, 1, 0, b"\0\xa5\x80" * 2))
put("image", "deep.png", png(2, 2, 16, 2, b"".join(b"\1" + bytes(range(12)) for _ in range(2))))
put("image", "alpha.png", png(2, 2, 8, 6, b"".join(b"\2" + bytes(range(8)) for _ in range(2))))
put("image", "palette.png", png(4, 2, 2, 3, b"\0\x1b" * 2, palette([1, 2, 3, 40, 50, 60, 7, 8, 9], [255, 0])))
put("image", "interlaced.png", png(3, 3, 8, 0, b"\0\1" + b"\0\2" + b"\0\3\4" + b"\0\5\6\0\7\x08" + b"\0\x09\x0a\x0b", interlace=1))
put("image", "volume.nii", nifti((3, 2, 2), 4, 16, struct.pack("<12h", *range(-6, 6))))
put("image", "scaled.nii.gz", gzip.compress(nifti((4, 3, 2), 2, 8, bytes(range(24)), 2.0), mtime=0))


def element(tag, vr, value, big=False, implicit=False):
    e = ">" if big else "<"
    value += b"\0" * (len(value) % 2)
    head = struct.pack(e + "HH", tag >> 16, tag & 0xffff)
    if implicit:
        return head + struct.pack(e + "I", len(value)) + value
    if vr in ("OB", "OW", "SQ"):
        return head + vr.encode() + struct.pack(e + "HI", 0, len(value)) + value
    return head + vr.encode() + struct.pack(e + "H", len(value)) + value


def dicom(syntax, rows, cols, pixels, photometric="MONOCHROME2", samples=1, bits=8, stored=0, signed=0, frames=1, extra=b"", big=False, implicit=False,
          deflate=False, raw=None, place="1\\2\\3", series="1.2.3"):
    def one(tag, vr, value):
        if vr == "US":
            value = struct.pack((">" if big else "<") + "H", value)
        return element(tag, vr, value if isinstance(value, bytes) else value.encode(), big, implicit)
    data = one(0x00080060, "CS", "OT") + one(0x0020000e, "UI", series) + one(0x00200032, "DS", place) + one(0x00200037, "DS", "1\\0\\0\\0\\1\\0")
    data += one(0x00280002, "US", samples) + one(0x00280004, "CS", photometric) + one(0x00280006, "US", 0) + one(0x00280008, "IS", str(frames))
    data += one(0x00280010, "US", rows) + one(0x00280011, "US", cols) + one(0x00280030, "DS", "0.5\\0.25") + one(0x00280100, "US", bits)
    data += one(0x00280101, "US", stored or bits) + one(0x00280103, "US", signed) + extra
    data += raw if raw is not None else one(0x7fe00010, "OB" if bits == 8 else "OW", pixels)
    if deflate:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = packer.compress(data) + packer.flush()
    return bytes(128) + b"DICM" + element(0x00020010, "UI", syntax.encode()) + data


def fragments(*parts):
    out = struct.pack("<HH", 0x7fe0, 0x0010) + b"OB" + struct.pack("<HI", 0, 0xffffffff) + struct.pack("<HHI", 0xfffe, 0xe000, 0)
    for part in parts:
        part += b"\0" * (len(part) % 2)
        out += struct.pack("<HHI", 0xfffe, 0xe000, len(part)) + part
    return out + struct.pack("<HHI", 0xfffe, 0xe0dd, 0)


def ushort(tag, *values):
    return element(tag, "US", struct.pack("<%dH" % len(values), *values))


LITTLE = "1.2.840.10008.1.2.1"
lut = b"".join(ushort(0x00281101 + k, 4, 0, 16) for k in range(3)) + b"".join(
    element(0x00281201 + k, "OW", struct.pack("<4H", *(256 * (10 * i + k) for i in range(4)))) for k in range(3))
scale = element(0x00281052, "DS", b"-1024") + element(0x00281053, "DS", b"1")
put("image", "scaled.dcm", dicom(LITTLE, 2, 3, struct.pack("<6H", 0, 1, 2, 1024, 4095, 61440), bits=16, stored=12, extra=scale))
put("image", "implicit.dcm", dicom("1.2.840.10008.1.2", 2, 2, b"\1\2\3\4", "MONOCHROME1", implicit=True))
put("image", "big.dcm", dicom("1.2.840.10008.1.2.2", 1, 3, struct.pack(">3h", -1, 2, 300), bits=16, signed=1, big=True))
put("image", "deflated.dcm", dicom("1.2.840.10008.1.2.1.99", 2, 2, b"\5\6\7\x08", deflate=True))
put("image", "palette.dcm", dicom(LITTLE, 2, 2, b"\0\1\2\3", "PALETTE COLOR", extra=lut))
put("image", "shared.dcm", dicom(LITTLE, 1, 2, bytes([100, 200, 128, 128]), "YBR_FULL_422", samples=3))
put("image", "bits.dcm", dicom(LITTLE, 3, 3, b"\xa5\1\xff", bits=1, frames=2))
put("image", "rle.dcm", dicom("1.2.840.10008.1.2.5", 2, 2, b"", bits=16, raw=fragments(
    struct.pack("<16I", 2, 64, 66, *[0] * 13) + b"\xfd\1" + b"\3\1\2\3\4")))
put("image", "deflated-frames.dcm", dicom("1.2.840.10008.1.2.8.1", 2, 2, b"", frames=1, raw=fragments(zlib.compress(b"\1\2\3\4")[2:-4])))


def sliced(*at, rows=2, cols=3, extra=b"", others="1.2.3", syntax=LITTLE, raw=None, frames=1):
    """Files of a series, one behind the other: a slice at each height; all but the first have `extra` and are of the series `others`."""
    n = rows * cols * frames
    return b"".join(dicom(syntax, rows, cols, struct.pack("<%dH" % n, *(100 * k + i for i in range(n))), bits=16, frames=frames, raw=raw,
                          extra=extra if k else b"", place="1\\2\\%d" % z, series=others if k else "1.2.3") for k, z in enumerate(at))


put("dicom", "empty.dcm", b"")
put("dicom", "series.dcm", sliced(4, 0, 2))
put("dicom", "scaled.dcm", sliced(0, 3, extra=element(0x00281052, "DS", b"0.5") + element(0x00281053, "DS", b"2")))
put("dicom", "frames.dcm", sliced(0, frames=3))
put("dicom", "frames-in-two.dcm", sliced(0, 1, frames=2))
put("dicom", "mixed.dcm", sliced(0, 1, 2, others="1.2.4"))
put("dicom", "gap.dcm", sliced(0, 1, 2, 9))
put("dicom", "same-place.dcm", sliced(5, 5))
put("dicom", "sizes.dcm", sliced(0) + sliced(1, rows=3) + b"notes" * 40)
put("dicom", "rle.dcm", sliced(0, 1, syntax="1.2.840.10008.1.2.5", raw=fragments(struct.pack("<16I", 2, 64, 66, *[0] * 13) + b"\xfb\1" + b"\5\1\2\3\4\5\6")))
with open(os.path.join(root, "image", "grey.jpg"), "rb") as f:  # written below, by an earlier run
    put("image", "jpeg.dcm", dicom("1.2.840.10008.1.2.4.50", 16, 16, b"", raw=fragments(f.read())))


def bmp(width, height, bits, rows, colours=b""):
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 0, 0, len(colours) // 4, 0) + colours
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(rows), 0, 0, 14 + len(head)) + head + rows




def tiff(width, height, bits, samples, pages, photometric=1, form=1, packing=1, tile=0, text=b"", big=False, planar=1):
    e = ">" if big else "<"
    out = bytearray((b"MM" if big else b"II") + struct.pack(e + "HI", 42, 0))
    link = 4
    for blocks in pages:
        at = []
        for block in blocks:
            block = zlib.compress(block, 9) if packing == 8 else block
            at.append((len(out), len(block)))
            out += block + b"\0" * (len(block) % 2)
        tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * samples), (259, 3, [packing]), (262, 3, [photometric]), (277, 3, [samples]),
                (284, 3, [planar]), (339, 3, [form] * samples)]
        tags += [(270, 2, text + b"\0")] if text else []
        tags += [(322, 3, [tile]), (323, 3, [tile])] if tile else [(278, 4, [height])]
        tags += [(324 if tile else 273, 4, [a for a, _ in at]), (325 if tile else 279, 4, [k for _, k in at])]
        table = b""
        for tag, kind, v in sorted(tags):
            data = v if kind == 2 else struct.pack(e + "%d%s" % (len(v), "H" if kind == 3 else "I"), *v)
            if len(data) > 4:
                where = len(out)
                out += data + b"\0" * (len(data) % 2)
                data = struct.pack(e + "I", where)
            table += struct.pack(e + "HHI", tag, kind, len(v)) + data.ljust(4, b"\0")
        struct.pack_into(e + "I", out, link, len(out))
        out += struct.pack(e + "H", len(tags)) + table
        link = len(out)
        out += bytes(4)
    return bytes(out)


put("image", "stack.tif", tiff(2, 2, 16, 1, [[struct.pack("<4H", *range(k, k + 4))] for k in (0, 300)], packing=8, text=b'<OME><Pixels PhysicalSizeX="0.5" '
                               b'PhysicalSizeY="250" PhysicalSizeYUnit="nm" PhysicalSizeZ="0.002" PhysicalSizeZUnit="mm"/></OME>'))
put("image", "tiles.tif", tiff(17, 2, 8, 1, [[bytes(range(256)), bytes(255 - k for k in range(256))]], tile=16, photometric=0))
put("image", "planes.tif", tiff(2, 1, 8, 3, [[b"\1\2", b"\3\4", b"\5\6"]], photometric=2, planar=2, big=True))
put("image", "float.tif", tiff(2, 1, 32, 1, [[struct.pack("<2f", -0.5, 3e5)]], form=3))
put("image", "bits.tif", tiff(3, 2, 1, 1, [[b"\xa0\x40"]], photometric=0))
put("image", "bits.bmp", bmp(3, 2, 1, bytes([0x40, 0, 0, 0, 0xa0, 0, 0, 0]), bytes([0, 0, 0, 0, 255, 255, 255, 0])))
put("image", "colours.bmp", bmp(2, 1, 8, bytes([1, 0, 0, 0]), bytes([1, 2, 3, 0, 4, 5, 6, 0])))
put("image", "topdown.bmp", bmp(1, -2, 24, bytes([1, 2, 3, 0, 4, 5, 6, 0])))
try:
    from PIL import Image
    for name, mode, options in (("grey.jpg", "L", {}), ("colour.jpg", "RGB", {"subsampling": 2}), ("steps.jpg", "RGB", {"progressive": True})):
        picture = Image.effect_noise((16, 16), 60).convert(mode) if not os.path.exists(os.path.join(root, "image", name)) else None
        if picture:
            out = io.BytesIO()
            picture.save(out, "JPEG", quality=40, **options)
            put("image", name, out.getvalue())
except ImportError:
    print("no PIL: the JPEG files stay as they are")

put("table", "plain.csv", 'id,age,"what, where"\na,1,x\nb,2,"two\nlines ""quoted"""\n\nc,3\n')
put("table", "semicolon.csv", "\ufeffid;a;b\r\n1;2;3\r\n4;;\r\n")
put("table", "tab.csv", "id\tx\n1\t2")
book = io.BytesIO()
with zipfile.ZipFile(book, "w", zipfile.ZIP_DEFLATED) as z:
    parts = {
        "xl/workbook.xml": '<workbook xmlns:r="r"><sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/sharedStrings.xml": "<sst><si><t>id</t></si><si><t>name</t><rPh><t>no</t></rPh></si></sst>",
        "xl/worksheets/sheet1.xml": '<worksheet><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c><c r="C1" t="s"><v>1</v></c></row>'
                                    '<row r="2"><c r="A2"><v>1.5</v></c><c r="C2" t="inlineStr"><is><t>x</t></is></c></row></sheetData></worksheet>'}
    for name, text in parts.items():
        z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
put("table", "book.xlsx", book.getvalue())
book = io.BytesIO()
with zipfile.ZipFile(book, "w", zipfile.ZIP_STORED) as z:  # stored: changes reach the XML
    for name, text in parts.items():
        z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
put("table", "stored.xlsx", book.getvalue())

box = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>10</xmax><ymax>12.5</ymax></bndbox></object>"
put("boxes", "two.xml", "<annotation><size><width>20</width><height>30</height><depth/></size>" + box.format("cell", 1) + box.format("egg", 3) + "</annotation>")
put("boxes", "empty.xml", '<?xml version="1.0"?><annotation><filename>a.png</filename></annotation>')
put("boxes", "long.xml", "<" + "a" * 300 + "/>")
put("boxes", "nested.xml", "<a><b>" + "<" + "c" * 250 + "/></b></a>")
put("boxes", "two.txt", "0 0.5 0.5 0.1 0.1\n31 0.1 0.2 0.3 0.1 0.2 0.4\n")
put("boxes", "coco.json", json.dumps({
    "images": [{"id": 1, "file_name": "b.png", "width": 4, "height": 5}, {"id": 2, "file_name": "a.png"}],
    "categories": [{"id": 7, "name": "cell"}],
    "annotations": [{"image_id": 1, "category_id": 7, "bbox": [0, 1, 2.5, 3]}, {"image_id": 2, "category_id": 7, "bbox": [0, 0, 1, 1], "iscrowd": 1},
                    {"image_id": 9, "category_id": 7, "bbox": [0, 0, 1, 1]}]}))
put("boxes", "outlines.json", json.dumps({
    "images": [{"id": 1, "file_name": "b.png", "width": 64, "height": 48}], "categories": [{"id": 1, "name": "c"}],
    "annotations": [{"image_id": 1, "category_id": 1, "segmentation": s, "iscrowd": i % 2} for i, s in enumerate([
        [[1, 2, 30.5, 2, 30, 40]], {"size": [48, 64], "counts": [100, 30, 2942]}, [[0, 0, 9, 0, 9, 9], [20, 20, 60, -5, 80, 50, 3, 3]],
        {"size": [48, 64], "counts": "T3n0nk2"}, [], None])]}))
put("boxes", "far.json", json.dumps({"images": [{"id": 1, "file_name": "b"}], "categories": [{"id": 1, "name": "c"}],
                                     "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1e300, 1, 2, 3]}]}))

def npy(descr, shape, data, version=1, order=False):
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


def npz(name, method, **arrays):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w", method) as z:
        for key, data in arrays.items():
            z.writestr(zipfile.ZipInfo(key + ".npy"), data, method)
    put("npz", name, b.getvalue())


npz("grey.npz", zipfile.ZIP_STORED, train_images=npy("|u1", (3, 2, 2), bytes(range(12))), train_labels=npy("|u1", (3, 1), b"\0\1\2"),
    val_images=npy("|u1", (1, 2, 2), bytes(4)), val_labels=npy("<i8", (1,), bytes(8), 2))
npz("colour.npz", zipfile.ZIP_DEFLATED, test_images=npy(">u2", (2, 4, 4, 3), bytes(192), 3), test_labels=npy("|b1", (2, 5), bytes(10)))
npz("volume.npz", zipfile.ZIP_DEFLATED, train_images=npy("<i2", (2, 3, 4, 5), bytes(240)), train_labels=npy(">i4", (2, 1), bytes(8)))
npz("wide.npz", zipfile.ZIP_DEFLATED, train_images=npy("|u1", (60, 128, 128), bytes(60 << 14)), train_labels=npy("|u1", (60, 1), bytes(60)))
npz("lies.npz", zipfile.ZIP_STORED, train_images=npy("|u1", (3, 65535, 65535), bytes(12)), train_labels=npy("|u1", (3, 1), bytes(3)))
put("npz", "head.npy", npy("<f4", (3, 5), bytes(60), 1, True))

def region(name, kind, coordinates):
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": {"classification": {"name": name}}}


square = [[1, 2], [30.5, 2], [30, 40], [1, 40], [1, 2]]
put("regions", "two.geojson", json.dumps({"type": "FeatureCollection", "features": [
    region("Tumor", "Polygon", [square, [[5, 5], [9, 5], [9, 9]]]), region("Stroma", "MultiPolygon", [[square], [[[50, 50], [64, 64], [50, 64]]]]), region("x", "Point", [1, 2])]}))
put("regions", "one.geojson", json.dumps(region("a", "Polygon", [[[-5e5, 3], [5e5, 4], [7, 9e6]]])))
put("regions", "list.geojson", json.dumps([{"type": "Feature", "geometry": None, "properties": {}}, region("b", "Polygon", [square])]))
put("regions", "far.geojson", json.dumps([region("b", "Polygon", [[[1e300, 0], [0, 1], [2, 2]]])]))

put("job", "two.cfg", """run = "runs/a"; # a comment
data_root = "shards";
seed = 7;
model = { encoder = "swin_v2_micro"; drop_path = 0.1; };
train = { steps = 20; sum = "float"; ema = 0.99; time_limit_minutes = 1e3; };
optim = { lr = 1e-3; warmup = 2; };
tasks = (
    { name = "a"; data = "one"; image = [64, 96]; batch = 2; aug = { flip_x = 0.5; }; },
    { name = "b"; kind = "detection"; data = "two"; image = [32, 32]; batch = 4; max_boxes = 10; augment = "weak"; }
);
""")
put("job", "set.cfg", """#set train.steps=5
#set tasks[a].batch=3
#set tasks[0].image=[64, 64]
run : "r"; model : { encoder : "swin_micro" }; train : { steps : 0x10L };
tasks = ( { name = "a"; data = "x"; image = [ 32, 32 ]; batch = 1; } );
""")
put("job", "wrong.cfg", """@include "nothing.cfg"
run = 3; tasks = ( { name = "../a"; stpes = 99999999999; }, [1, 2,], yes );
/* open
""")

put("recipe", "classes.cfg", """name = "mydata";  title = "t";  modality = "histology";  licence = "CC BY 4.0";
images = { files = ["{class}/{patient}_{n}.png"]; id = "{class}/{stem}"; subject = "{patient}"; };
labels = ( { name = "tumour"; kind = "classification"; source = "value"; value = "{class}"; classes = ["normal", "tumour"]; } );
""")
put("recipe", "masks.cfg", """name = "v"; title = "t"; modality = "MR"; licence = "CC0";
images = { files = ["img/*.nii.gz", "img/*.nii"]; pixel = "i16"; channels = 1; };
range = { rule = "percentile"; lo = 0.5; hi = 99.5; };
slices = { axis = "coronal"; empty = "cap"; empty_share = 0.1; };
split = { fractions = [0.6, 0.2, 0.2]; seed = 9L; };
tables = ( { name = "t"; file = "t.csv"; match = ["id = {stem}"]; } );
labels = ( { name = "m"; kind = "segmentation"; source = "mask"; file = "lab/{stem}.nii"; classes = ["bg", "x"]; map = ["0 -> bg", "255 -> x", "9 -> ignore"]; },
           { name = "age"; kind = "regression"; source = "value"; value = "{t.age}"; lo = 0; hi = 100; } );
""")
put("recipe", "npz.cfg", """name = "n"; title = "t"; modality = "CT"; licence = "c";
images = { files = ["*.npz"]; channels = 1; }; split = { map = ["val -> rest"]; };
labels = ( { name = "b"; kind = "multilabel"; source = "npz"; classes = ["a"]; } );
""")
put("recipe", "slide.cfg", """name = "s"; title = "t"; modality = "histology"; licence = "c";
images = { files = ["{p}_{n}.svs"]; subject = "{p}"; }; slide = { mpp = 0.5; tile = 224; tissue = 0.7; };
labels = ( { name = "r"; kind = "classification"; source = "regions"; file = "{stem}.geojson"; share = 0.3; classes = ["a", "b"]; map = ["Tumor -> a"]; } );
""")
put("recipe", "away.cfg", """name = "../x"; title = "t"; modality = "CT"; licence = "c";
images = { files = ["../*.png", "/etc/*"]; };
tables = ( { name = "t"; file = "/etc/passwd"; match = ["a = {stem}"]; } );
labels = ( { name = "b"; kind = "detection"; source = "voc"; file = "../../{stem}.xml"; classes = ["a"]; } );
""")

put("record", "run.jsonl", '{"event":"start","time":"2025-01-01T00:00:00Z","steps":3,"encoder":"swin_micro"}\n'
    '{"event":"step","step":1,"loss":1.25,"loss/a":null,"lr":1e-4}\n'
    '{"event":"validate","step":1,"task":"a \\"q\\" \\u00e4","score":0.5,"good":true}\n{"event":"st')
put("record", "odd.jsonl", '{ "a" : -1e999 , "b":"\\ud83d\\u0000\\n" }\n{}\n{"x":0x1p3}\n')


def tensors(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


put("safetensors", "halves.safetensors", tensors({
    "a": {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}, "b": {"dtype": "BF16", "shape": [3], "data_offsets": [8, 14]},
    "e": {"dtype": "F32", "shape": [0, 4], "data_offsets": [14, 14]}, "i": {"dtype": "I64", "shape": [], "data_offsets": [14, 22]},
    "__metadata__": {"format": "pt"}}, struct.pack("<4e", 1, -0.5, 6e-8, 65504) + bytes(range(6)) + struct.pack("<q", 5)))
put("safetensors", "overlap.safetensors", tensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                                                   "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)))
put("safetensors", "lies.safetensors", struct.pack("<Q", 1 << 60) + b"{}")
