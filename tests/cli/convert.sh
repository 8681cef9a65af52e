#!/bin/sh
# convert: `medley-data convert` as a user meets it: faults of recipe and command line, bad source files, and, where ../shared/data is
# there, the six real data sets with the counts their origin states. TAP. Usage: convert.sh MEDLEY-DATA SOURCE-ROOT [PYTHON]
set -u
program=$1 root=$2 python=${3:-}
work=$(mktemp -d /tmp/medley-convert-cli-XXXXXX)
trap 'rm -rf "$work"' EXIT
n=0 bad=0

# result NAME WANTED-EXIT WORDS...: the last run ended with this code and its output has all the words
result() {
    name=$1 wanted=$2
    shift 2
    n=$((n + 1)) wrong=
    [ "$code" = "$wanted" ] || wrong="exit code $code, wanted $wanted"
    for word in "$@"; do
        grep -qF -e "$word" "$work/log" || wrong="$wrong; no \"$word\""
    done
    if [ -z "$wrong" ]; then echo "ok $n - $name"; return; fi
    bad=$((bad + 1))
    echo "not ok $n - $name"
    echo "# $wrong"
    sed 's/^/# | /' "$work/log"
}
skip() {
    n=$((n + 1))
    echo "ok $n - $1 # SKIP $2"
}
convert() {
    "$program" convert "$@" >"$work/log" 2>&1
    code=$?
}

# ---- a small data set of folders: NIfTI images of one byte a voxel, made with printf
. "$root/tests/cli/nifti.sh"
image() { # FILE BYTE
    mkdir -p "$(dirname "$1")"
    nifti "\\$2\\001\\002\\003\\004\\005\\006\\007" >"$1"
}
for i in 0 1 2 3 4 5 6 7; do
    image "$work/src/cat/$i.nii" "01$i"
    image "$work/src/dog/$i.nii" "02$i"
done
cat >"$work/pets.cfg" <<'EOF'
name = "pets"; title = "Pets"; modality = "MR"; licence = "none";
images: { files = "{animal}/{i}.nii"; channels = 1; id = "{animal}-{i}"; subject = "{animal}-{i}"; };
labels: ( { name = "animal"; kind = "classification"; source = "value"; value = "{animal}"; classes = ["cat", "dog"]; } );
EOF
convert "$work/pets.cfg" --source "$work/src" --out "$work/out"
result "folders become a data set" 0 "pets: 16 samples from 16 images of 16 subjects" "cat 6, dog 6" "skipped: 0 of 16 files"
convert "$work/pets.cfg" --source "$work/src" --out "$work/out"
result "an existing data set is not overwritten" 2 "--force"
convert "$work/pets.cfg" --source "$work/src" --out "$work/out" --force --jobs 4
result "unless it is asked for" 0 "pets: 16 samples"

head -c 340 "$work/src/cat/3.nii" >"$work/cut" && mv "$work/cut" "$work/src/cat/3.nii"
convert "$work/pets.cfg" --source "$work/src" --out "$work/out" --force
result "a damaged file is named, counted and skipped" 0 "medley-data: warning: pets: skipped: " "skipped: 1 of 16 files" "cat/3.nii" "pets: 15 samples"
echo 'on_error = "fatal";' >>"$work/pets.cfg"
convert "$work/pets.cfg" --source "$work/src" --out "$work/out2"
result "or fatal, as the recipe says" 3 "cat/3.nii" "on_error"
n=$((n + 1))
if [ -z "$(ls -A "$work/out2" 2>/dev/null)" ]; then echo "ok $n - nothing half-written stays"; else echo "not ok $n - nothing half-written stays"; bad=$((bad + 1)); fi
convert "$work/pets.cfg" --source "$work/out" --out "$work/out2"
result "a source without matching files" 3 "no file matches images.files"
sed 's/animal"; kind/animal"; knid/' "$work/pets.cfg" >"$work/wrong.cfg"
convert "$work/wrong.cfg" --source "$work/src" --out "$work/out2"
result "a fault in the recipe has file and line" 2 "wrong.cfg:3" "did you mean \"kind\""
convert "$work/pets.cfg" --source "$work/src"
result "a missing option" 2 "--out"
convert "$work/pets.cfg" --source "$work/src" --out "$work/out2" --jobs many
result "an option that is no number" 2 "--jobs"
convert --explain
result "every key of a recipe is explained" 0 "images" "where_share" "on_error"
convert --help
result "help" 0 "usage: medley-data convert"

# ---- a table with one column per class
image "$work/src/cat/3.nii" 013 # whole again
cat >"$work/src/findings.csv" <<'EOF'
image,effusion,nodule
0,1,0
1,0,1.0
2,1,1
3,0,-1
4,,
5,0,0
6,1,0
7,0,1
EOF
cat >"$work/columns.cfg" <<'EOF'
name = "columns"; title = "Findings"; modality = "X-ray"; licence = "none";
images: { files = "cat/{i}.nii"; channels = 1; id = "{i}"; subject = "{i}"; };
tables: ( { name = "findings"; file = "findings.csv"; match = ["image = {i}"]; } );
labels: ( { name = "findings"; kind = "multilabel"; source = "columns"; value = "findings"; classes = ["effusion", "nodule"]; missing = ["", "-1"]; },
          { name = "only"; kind = "classification"; source = "columns"; value = "findings"; classes = ["effusion", "nodule"]; missing = ["", "-1"]; required = false; } );
split: { fractions = [1.0, 0.0, 0.0]; };
EOF
convert "$work/columns.cfg" --source "$work/src" --out "$work/out"
result "a column per class: findings that may be unknown; two at once are no single class" 0 "6 samples from 6 images" "effusion 2, nodule 2" "4.nii: no label findings" "2.nii: label only: 2 classes at once" "skipped: 2 of 8"
sed 's/"effusion", "nodule"/"effusion", "mass"/' "$work/columns.cfg" >"$work/wrong.cfg"
convert "$work/wrong.cfg" --source "$work/src" --out "$work/out2"
result "a class without a column is a fault of the recipe" 2 "no column \"mass\"" "wrong.cfg:4"

# ---- masks by colour and by threshold: BMP of 4 x 2 pixels
bmp() { # FILE BYTES: rows from the bottom, blue green red
    {
        printf 'BM\116\000\000\000\000\000\000\000\066\000\000\000\050\000\000\000\004\000\000\000\002\000\000\000\001\000\030\000'
        head -c 24 /dev/zero
        # shellcheck disable=SC2059 # the bytes
        printf "$2"
    } >"$1"
}
red='\000\000\377' green='\000\377\000' black='\000\000\000' grey='\144\144\144' white='\376\375\376'
mkdir -p "$work/masks"
for i in 0 1 2; do image "$work/masks/$i.nii" "01$i"; done
bmp "$work/masks/0-c.bmp" "$red$red$black$green$black$black$black$green"
bmp "$work/masks/1-c.bmp" "$red$red$red$red$black$black$black$black"
bmp "$work/masks/2-c.bmp" "$red$grey$black$black$black$black$black$black"
for i in 0 1 2; do bmp "$work/masks/$i-t.bmp" "$white$grey$black$black$white$black$black$black"; done
cat >"$work/masks.cfg" <<'EOF'
name = "masks"; title = "Masks"; modality = "histology"; licence = "none";
images: { files = "{i}.nii"; channels = 1; id = "{i}"; subject = "{i}"; };
labels: ( { name = "cells"; kind = "segmentation"; source = "mask"; file = "{i}-c.bmp"; classes = ["background", "tumour", "stroma"];
            map = ["#ff0000 -> tumour", "#00FF00 -> stroma"]; },
          { name = "soft"; kind = "segmentation"; source = "mask"; file = "{i}-t.bmp"; classes = ["background", "tissue"]; threshold = 128; } );
split: { fractions = [1.0, 0.0, 0.0]; };
EOF
convert "$work/masks.cfg" --source "$work/masks" --out "$work/out"
result "masks by colour and by threshold" 0 "2 samples from 2 images" "tumour 2, stroma 1" "tissue 2" "2-c.bmp: colour #646464 in the mask is no class" "skipped: 1 of 3"
if [ -n "$python" ] && "$python" -c 'import h5py' 2>/dev/null; then
    "$python" - "$work/out/masks/masks-00000.h5" >"$work/log" 2>&1 <<'EOF'
import sys, h5py
f = h5py.File(sys.argv[1])
i = [x.decode() for x in f["subject"][:]].index("0")
want = {"cells": [[0, 0, 0, 2], [1, 1, 0, 2]], "soft": [[1, 0, 0, 0], [1, 0, 0, 0]]}
for name in want: assert f[f"label/{name}/mask"][i].tolist() == want[name], (name, f[f"label/{name}/mask"][i])
EOF
    code=$?
    result "every pixel of them" 0
else skip "every pixel of them" "no Python with h5py"; fi
sed 's/#00FF00/#00FF0/' "$work/masks.cfg" >"$work/wrong.cfg"
convert "$work/wrong.cfg" --source "$work/masks" --out "$work/out2"
result "a colour that is none is a fault of the recipe" 2 "map[1]" "#rrggbb"

# ---- masks from outlines: COCO polygons and runs, YOLO polygons
mkdir -p "$work/outlines"
for i in 0 1 2 3; do bmp "$work/outlines/$i.bmp" "$red$green$black$grey$white$black$black\\00$i\\00$i\\00$i"; done
cat >"$work/outlines/coco.json" <<'EOF'
{"images": [{"id": 10, "file_name": "0.bmp", "width": 4, "height": 2}, {"id": 11, "file_name": "1.bmp"}, {"id": 12, "file_name": "2.bmp", "width": 5, "height": 2}],
 "categories": [{"id": 1, "name": "tumour"}, {"id": 2, "name": "stroma"}, {"id": 3, "name": "fold"}],
 "annotations": [{"image_id": 10, "category_id": 1, "segmentation": [[0, 0, 3, 0, 3, 1, 0, 1]]}, {"image_id": 10, "category_id": 2, "segmentation": [[2, 0, 4, 0, 4, 2, 2, 2]]},
                 {"image_id": 10, "category_id": 1, "iscrowd": 1, "segmentation": {"size": [2, 4], "counts": [1, 5, 2]}},
                 {"image_id": 10, "category_id": 3, "segmentation": {"size": [2, 4], "counts": "71"}}, {"image_id": 10, "category_id": 2, "segmentation": []}]}
EOF
printf '0 0 0 0.5 0 0.5 1 0 1\n1 0.5 0 1 0 1 0.5 0.5 0.5\n' >"$work/outlines/0.txt"
: >"$work/outlines/1.txt"
: >"$work/outlines/2.txt"
echo '0 0.5 0.5 0.5 0.5' >"$work/outlines/3.txt"
cat >"$work/outlines.cfg" <<'EOF'
name = "outlines"; title = "Outlines"; modality = "histology"; licence = "none";
images: { files = "{i}.bmp"; id = "{i}"; };
labels: ( { name = "coco"; kind = "segmentation"; source = "coco"; file = "coco.json"; classes = ["background", "tumour", "stroma"]; map = ["fold -> ignore"]; required = false; },
          { name = "yolo"; kind = "segmentation"; source = "yolo"; file = "{i}.txt"; classes = ["background", "a", "b"]; },
          { name = "boxes"; kind = "detection"; source = "coco"; file = "boxed.json"; classes = ["tumour", "stroma"]; map = ["fold -> stroma"]; required = false; } );
split: { fractions = [1.0, 0.0, 0.0]; };
EOF
sed 's/"segmentation": \[\]/"bbox": [0, 0, 1, 1]/' "$work/outlines/coco.json" >"$work/outlines/boxed.json"
convert "$work/outlines.cfg" --source "$work/outlines" --out "$work/out"
result "masks and boxes from polygons and runs" 0 "2 samples from 2 images" "tumour 1, stroma 1" "tumour 1, stroma 3" "1 without an outline" "1 crowd regions are no objects" \
    "2.bmp: label coco: coco.json: made for an image of 5 x 2" "3.txt: object 1 is a box" "skipped: 2 of 4"
if [ -n "$python" ] && "$python" -c 'import h5py' 2>/dev/null; then
    "$python" - "$work/out/outlines/outlines-00000.h5" >"$work/log" 2>&1 <<'EOF'
import sys, h5py
f = h5py.File(sys.argv[1])
at = [x.decode() for x in f["id"][:]]
# tumour, stroma over it; the crowd (1,0) to (1,2) only where nothing else lies; the fold is ignored: its runs are 7 off, 1 on
want = {"coco": [[[1, 1, 2, 2], [255, 255, 2, 255]], [[0] * 4] * 2], "yolo": [[[1, 1, 2, 2], [1, 1, 0, 0]], [[0] * 4] * 2]}
for name in want:
    for i in (0, 1):
        got = f[f"label/{name}/mask"][at.index(str(i))].tolist()
        assert got == want[name][i], (name, i, got)
i = at.index("0")
a, b = f["label/boxes/box_off"][i : i + 2]
got = f["label/boxes/box"][a:b].tolist()
assert got == [[0, 0, 3, 1], [2, 0, 4, 2], [3, 1, 4, 2], [0, 0, 1, 1]], got
EOF
    code=$?
    result "every pixel and corner of them" 0
else skip "every pixel and corner of them" "no Python with h5py"; fi

# ---- the publisher's splits and folds
mkdir -p "$work/given"
for i in 0 1 2 3 4 5 6 7; do
    image "$work/given/training/$i.nii" "01$i"
    image "$work/given/testing/$i.nii" "02$i"
done
image "$work/given/testing/leak.nii" "010" # the pixels of training/0
sed -e 's/"{animal}\/{i}.nii"/"{part}\/{i}.nii"/; s/{animal}/{part}/g; s/"cat", "dog"/"training", "testing"/; s/pets/given/' "$work/pets.cfg" >"$work/given.cfg"
echo 'split: { value = "{part}"; map = ["training -> rest", "testing -> test"]; fractions = [0.75, 0.25, 0.0]; };' >>"$work/given.cfg"
convert "$work/given.cfg" --source "$work/given" --out "$work/out"
result "the publisher's test split is kept, the rest is dealt, and what straddles them trains" 0 "train 7 (7), val 2 (2), test 8 (8)" "in several of the publisher's splits"
sed '/^split/d; s/given/folded/' "$work/given.cfg" >"$work/folded.cfg"
echo 'split: { folds = 4; fold = 3; fractions = [0.8, 0.0, 0.2]; };' >>"$work/folded.cfg"
convert "$work/folded.cfg" --source "$work/given" --out "$work/out"
result "folds: one of four validates, the others train" 0 "17 samples"
seen=
for k in 0 1 2 3; do
    sed "s/fold = 3/fold = $k/; s/folded/fold$k/" "$work/folded.cfg" >"$work/fold$k.cfg"
    convert "$work/fold$k.cfg" --source "$work/given" --out "$work/out"
    seen="$seen $(sed -n 's/.*val \([0-9]*\) .*test \([0-9]*\) .*/\1+\2/p' "$work/log" | head -n 1)"
done
code=$? n_val=0
for v in $seen; do n_val=$((n_val + ${v%+*})); n_test=${v#*+}; done
[ $((n_val + n_test)) = 17 ] || { code=1; echo "validation and test: $seen" >>"$work/log"; }
result "every image that is not test validates in one fold" 0
sed 's/testing -> test/testing -> tset/' "$work/given.cfg" >"$work/wrong.cfg"
convert "$work/wrong.cfg" --source "$work/given" --out "$work/out2"
result "a split that does not exist is a fault of the recipe" 2 "split.map[1]" "val, test or rest"

rm "$work/given/testing/leak.nii"
{
    echo file,part
    for i in 0 1 2 3 4 5; do echo "training/$i.nii,train"; done
    for i in 6 7; do echo "training/$i.nii,validation"; done
    for i in 0 1 2 3 4 5 6 7; do echo "testing/$i.nii,test"; done
} >"$work/given/splits.csv"
sed '/^split/d; s/given/listed/' "$work/given.cfg" >"$work/listed.cfg"
cat >>"$work/listed.cfg" <<'EOF'
tables: ( { name = "s"; file = "splits.csv"; match = ["file = {path}"]; } );
split: { value = "{s.part}"; map = ["validation -> val"]; };
EOF
convert "$work/listed.cfg" --source "$work/given" --out "$work/out"
result "splits from a file of one's own" 0 "train 6 (6), val 2 (2), test 8 (8)"

"$program" convert "$root/datasets/example.cfg" --print >"$work/printed.cfg" 2>"$work/log" && sed 1,3d "$root/datasets/example.cfg" | cmp - "$work/printed.cfg" >>"$work/log"
code=$?
result "datasets/example.cfg is what the key table prints" 0

# ---- the real ones
data=$root/../shared/data
real() { # NAME WORDS...
    name=$1
    if [ ! -d "$data/$name" ]; then skip "$name" "no ../shared/data/$name"; return; fi
    convert "$root/datasets/$name.cfg" --source "$data" --out "$work/real" --jobs 2
    result "$@"
    n=$((n + 1))
    if grep -q "the recipe expects" "$work/log"; then
        echo "not ok $n - $name has the counts of its recipe"; bad=$((bad + 1)); sed 's/^/# | /' "$work/log"
    else echo "ok $n - $name has the counts of its recipe"; fi
}
real histo-lc25000-lung 0 "450 samples from 450 images" "skipped: 0 of 450"
real xray-chest-covid 0 "128 samples from 128 images of 77 subjects" "1 without a category" "630 of 758 rows" "skipped: 0 of 128"
real micro-bccd 0 "290 samples from 290 images" "2 dropped" "skipped: 0 of 290"
real micro-nuclei-fluo 0 "82 samples from 82 images" "skipped: 0 of 82"
real mr-hippocampus 0 "from 131 images" "hippocampus_118.nii.gz: no label" "hippocampus_010.nii.gz has no image" "hippocampus_281.nii.gz has no image" "skipped: 1 of 132"
real ct-lidc-nodules 0 "2470 samples from 321 images of 162 subjects" "LIDC-IDRI-1002_R_1.nii.gz has no image" "675 of 996 rows" "skipped: 0 of 321"
if [ ! -d "$work/real" ]; then skip "the shards against other readers" "no real data"
elif [ -z "$python" ] || ! "$python" -c 'import h5py, numpy' 2>/dev/null; then skip "the shards against other readers" "no Python with h5py"
else
    "$python" "$root/tests/cli/convert_check.py" "$work/real" "$data" >"$work/log" 2>&1
    code=$?
    result "the shards against other readers" 0
fi
real mr-brain-tumour 0 "46 samples from 2 images" "skipped: 0 of 2"
real ct-multiorgan-totalseg 0 "20 samples from 1 images" "skipped: 0 of 1"
if [ ! -d "$work/real/mr-brain-tumour" ]; then skip "DICOM series against pydicom and nibabel" "no real data"
else
    "${python:-false}" "$root/tests/cli/series_check.py" "$work/real" "$data" >"$work/log" 2>&1
    code=$?
    if [ $code = 77 ] || [ -z "$python" ]; then skip "DICOM series against pydicom and nibabel" "no Python with h5py, nibabel and pydicom"
    else result "DICOM series against pydicom and nibabel" 0; fi
fi
real micro-nuclei-histology 0 "48 samples from 48 images" "skipped: 0 of 48"
real mr-brain-tumour-yesno 0 "247 samples from 247 images" "25 images have the same pixels" "17 pairs of images in different splits look alike" "skipped: 0 of 247"
real xray-dental-teeth 0 "123 samples from 123 images" "1 dropped" "skipped: 0 of 123"
real micro-wbc 0 "240 samples from 240 images" "skipped: 0 of 240"
if "$program" convert "$root/datasets/em-vnc-membranes.cfg" --source "$data" --out "$work/tiff" 2>&1 | grep -q 'install libtiff-dev'; then
    skip em-vnc-membranes "built without libtiff"
else real em-vnc-membranes 0 "8 samples from 8 images" "skipped: 0 of 8"; fi
if [ ! -d "$data/mr-brain-tumour" ]; then skip mr-brain-tumour-nifti "no ../shared/data/mr-brain-tumour"
else
    convert "$root/datasets/mr-brain-tumour-nifti.cfg" --source "$data/mr-brain-tumour" --out "$work/real"
    result mr-brain-tumour-nifti 0 "144 samples from 6 images of 3 subjects" "skipped: 0 of 6"
fi

# 16 bits, pages as slices, masks of instances with gaps in their numbers
cat >"$work/tiff16.cfg" <<'EOF'
name = "tiff16"; title = "Nuclei"; modality = "fluorescence"; licence = "BSD-3-Clause";
images: { files = "img{n}.tif"; pixel = "u16"; channels = 1; id = "{n}"; };
range: { rule = "percentile"; lo = 0.5; hi = 99.5; };
labels: ( { name = "nuclei"; kind = "segmentation"; source = "mask"; file = "mask{n}.tif"; classes = ["background", "nucleus"]; threshold = 1; } );
split: { fractions = [1.0, 0.0, 0.0]; };
EOF
if [ ! -d "$data/tiff-16bit" ]; then skip tiff-16bit "no ../shared/data/tiff-16bit"
elif convert "$work/tiff16.cfg" --source "$data/tiff-16bit" --out "$work/out"; grep -q 'install libtiff-dev' "$work/log"; then skip tiff-16bit "built without libtiff"
else
    result tiff-16bit 0 "32 samples from 2 images" "skipped: 0 of 2"
    if [ -n "$python" ] && "$python" -c 'import h5py, numpy, PIL' 2>/dev/null; then
        "$python" - "$work/out/tiff16/tiff16-00000.h5" "$data/tiff-16bit" >"$work/log" 2>&1 <<'EOF'
import sys, h5py, numpy as np
from PIL import Image
f, n = h5py.File(sys.argv[1]), 0
def page(name, k):
    im = Image.open(f"{sys.argv[2]}/{name}.tif")
    im.seek(max(k, 0))
    return np.asarray(im)
for i, case in enumerate(f["case"][:]):
    (h, w), k, case = f["size"][i], int(f["slice"][i]), case.decode()
    assert np.array_equal(f["image"][i, :h, :w, 0], page("img" + case, k)), (case, k)
    assert np.array_equal(f["label/nuclei/mask"][i, :h, :w], page("mask" + case, k) > 0), (case, k)
    n += 1
assert n == 32 and f["image"][:].max() == 375, n
EOF
        code=$?
        result "its pixels and masks against PIL" 0
    else skip "its pixels and masks against PIL" "no Python with PIL"; fi
fi
echo "1..$n"
[ $bad = 0 ]
