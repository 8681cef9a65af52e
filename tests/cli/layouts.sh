#!/bin/sh
# layouts: the recipes of public sets that are not here, on made-up files in the layout of their publishers: every file is found, labelled,
# and goes with its subject. TAP. Usage: layouts.sh MEDLEY-DATA SOURCE-ROOT [PYTHON]
program=$1 root=$2 python=${3:-}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
n=0 bad=0 number=0
. "$root/tests/cli/nifti.sh"

# file PATH...: an image of 4 x 2 pixels that no other one equals, as NIfTI whatever its name: formats are told by content
file() {
    for path in "$@"; do
        number=$((number + 1))
        mkdir -p "$(dirname "$work/src/$path")"
        nifti "$(printf '\\%03o\\%03o\\002\\003\\004\\005\\006\\007' $((number % 256)) $((number / 256)))" >"$work/src/$path"
    done
}
mask() { # the same with values 0 and 1
    for path in "$@"; do
        mkdir -p "$(dirname "$work/src/$path")"
        nifti '\000\001\000\001\000\000\001\000' >"$work/src/$path"
    done
}
four() { # PATH: four volumes in one file
    number=$((number + 1))
    mkdir -p "$(dirname "$work/src/$1")"
    values=$(printf '\\%03o\\001\\002\\003\\004\\005\\006\\007' $((number % 256)))
    nifti "$values$values$values$values" 4 >"$work/src/$1"
}
table() { mkdir -p "$work/src"; printf '%s\n' "$@" >"$work/src/table"; } # LINE...

# converts RECIPE WORDS...: all words must be in the summary, and no file may be skipped
converts() {
    name=$1
    shift
    "$program" convert "$root/datasets/$name.cfg" --source "$work/src" --out "$work/out" >"$work/log" 2>&1
    code=$? missing=
    for words in "$@" "skipped: 0 of"; do grep -qF -- "$words" "$work/log" || missing="$missing \"$words\""; done
    n=$((n + 1))
    if [ $code = 0 ] && [ -z "$missing" ]; then echo "ok $n - $name"
    else
        bad=1
        echo "not ok $n - $name: exit $code, missing$missing"
        sed 's/^/# | /' "$work/log"
    fi
    rm -rf "$work/src"
}

for c in ADI BACK DEB LYM MUC MUS NORM STR TUM; do file NCT-CRC-HE-100K/$c/$c-AAAA.tif NCT-CRC-HE-100K/$c/$c-BBBB.tif; done
converts histo-nct-crc-100k "18 samples from 18 images of 18 subjects" "TUM 2"

for part in train test; do
    file chest_xray/$part/PNEUMONIA/person1_bacteria_1.jpeg chest_xray/$part/PNEUMONIA/person1_virus_2.jpeg chest_xray/$part/PNEUMONIA/person2_virus_3.jpeg
    file chest_xray/$part/NORMAL/IM-0115-0001.jpeg chest_xray/$part/NORMAL/NORMAL2-IM-0927-0001.jpeg chest_xray/$part/NORMAL/NORMAL2-IM-0927-0001-0002.jpeg
done
converts xray-pneumonia-children "12 samples from 12 images of 8 subjects"

b=BreaKHis_v1/histology_slides/breast
for i in 001 002; do
    file $b/benign/SOB/adenosis/SOB_B_A_14-22549AB/100X/SOB_B_A-14-22549AB-100-$i.png
    file $b/malignant/SOB/ductal_carcinoma/SOB_M_DC_14-13412/40X/SOB_M_DC-14-13412-40-$i.png
    file $b/malignant/SOB/lobular_carcinoma/SOB_M_LC_14-13412/40X/SOB_M_LC-14-13412-40-$i.png
done
converts histo-breakhis "6 samples from 6 images of 2 subjects"

for c in Normal Benign InSitu Invasive; do file Photos/$c/${c}001.tif Photos/$c/${c}002.tif; done
converts histo-bach "8 samples from 8 images"

for i in 1 2; do
    for c in aca n scc; do file lung_colon_image_set/lung_image_sets/lung_$c/lung$c$i.jpeg; done
    for c in aca n; do file lung_colon_image_set/colon_image_sets/colon_$c/colon$c$i.jpeg; done
done
converts histo-lc25000 "10 samples from 10 images" "train 10"

file CXR_png/CHNCXR_0001_0.png CXR_png/CHNCXR_0002_0.png CXR_png/CHNCXR_0327_1.png CXR_png/CHNCXR_0328_1.png
converts xray-tb-shenzhen "4 samples from 4 images of 4 subjects"

for f in MCUCXR_0001_0 MCUCXR_0002_0 MCUCXR_0104_1; do
    file CXR_png/$f.png
    mask ManualMask/leftMask/$f.png ManualMask/rightMask/$f.png
done
converts xray-tb-montgomery "3 samples from 3 images of 3 subjects"

for f in spleen_2 spleen_3 spleen_6; do
    file imagesTr/$f.nii.gz imagesTr/._$f.nii.gz
    mask labelsTr/$f.nii.gz
done
converts ct-msd-spleen "from 3 images of 3 subjects"

for f in BRATS_001 BRATS_002 BRATS_003; do
    four imagesTr/$f.nii.gz
    mask labelsTr/$f.nii.gz
done
converts mr-msd-braintumour "from 3 images of 3 subjects"

file HAM10000_images_part_1/ISIC_0024306.jpg HAM10000_images_part_1/ISIC_0024307.jpg HAM10000_images_part_2/ISIC_0029306.jpg
table lesion_id,image_id,dx,dx_type,age,sex,localization HAM_0000550,ISIC_0024306,nv,follow_up,45.0,male,trunk \
    HAM_0000550,ISIC_0024307,nv,follow_up,50.0,male,"lower extremity" HAM_0003577,ISIC_0029306,mel,histo,60.0,female,face
mv "$work/src/table" "$work/src/HAM10000_metadata.csv"
converts skin-ham10000 "3 samples from 3 images of 2 subjects"

file train_images/000c1434d8d7.png train_images/001639a390f0.png train_images/0024cdab0c1e.png
table id_code,diagnosis 000c1434d8d7,2 001639a390f0,4 0024cdab0c1e,1
mv "$work/src/table" "$work/src/train.csv"
converts fundus-aptos2019 "3 samples from 3 images"

file boneage-training-dataset/1377.png boneage-training-dataset/1378.png boneage-training-dataset/boneage-training-dataset/1379.png
table id,boneage,male 1377,180,False 1378,12,False 1379,94.5,True
mv "$work/src/table" "$work/src/boneage-training-dataset.csv"
converts xray-boneage-rsna "3 samples from 3 images"

c=CheXpert-v1.0-small
file $c/train/patient00001/study1/view1_frontal.jpg $c/train/patient00002/study2/view1_frontal.jpg $c/train/patient00002/study2/view2_lateral.jpg
table "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices" \
    $c/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0 \
    $c/train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0, \
    $c/train/patient00002/study2/view2_lateral.jpg,Female,87,Lateral,,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,
mv "$work/src/table" "$work/src/$c/train.csv"
converts xray-chexpert-small "3 samples from 3 images of 2 subjects" "No Finding 1" "Lung Opacity 2" "Edema 0"

# npz FILE SHAPE N-LABELS: arrays as numpy writes them, 4 images to train, 2 val, 2 test; labels 0 and 1
npz() {
    mkdir -p "$work/src"
    "$python" - "$work/src/$1" "$2" "$3" 2>/dev/null <<'END'
import sys, numpy as np
shape, k, r, out = eval(sys.argv[2]), int(sys.argv[3]), np.random.default_rng(1), {}
for split, n in (("train", 4), ("val", 2), ("test", 2)):
    out[split + "_images"] = r.integers(0, 256, (n, *shape), dtype=np.uint8)
    out[split + "_labels"] = (np.arange(n * k).reshape(n, k) % 2).astype(np.uint8)
np.savez(sys.argv[1], **out)
END
}
if [ -n "$python" ] && npz pathmnist_224.npz 224,224,3 1; then
    converts medmnist-pathmnist "train 4 (4), val 2 (2), test 2 (2)" "adipose 2, background 2"
    npz pneumoniamnist_224.npz 224,224 1
    converts medmnist-pneumoniamnist "8 samples from 8 images of 8 subjects" "normal 2, pneumonia 2"
    npz chestmnist_224.npz 224,224 14
    converts medmnist-chestmnist "train 4 (4), val 2 (2), test 2 (2)" "atelectasis 0, cardiomegaly 4"
    npz organmnist3d_64.npz 64,64,64 1
    converts medmnist-organmnist3d "128 samples from 8 images" "train 64 (4), val 32 (2), test 32 (2)"
    (cd "$work" && mkdir -p src && "$python" - <<'END'
import os, numpy as np
r = np.random.default_rng(2)
for fold, n in ((1, 4), (2, 3), (3, 2)):  # as PanNuke: float64 images, a plane of numbered nuclei for each kind and one of background
    for what in "images", "masks":
        os.makedirs(f"src/Fold {fold}/{what}/fold{fold}")
    masks = np.zeros((n, 32, 32, 6))
    masks[:, 3:9, 4:8, 1], masks[:, 20:25, 20:30, fold - 1], masks[0, 10:12, 10:12, 3] = 7, 11, 2
    masks[..., 5] = ~masks[..., :5].any(-1)
    np.save(f"src/Fold {fold}/masks/fold{fold}/masks.npy", masks)
    np.save(f"src/Fold {fold}/images/fold{fold}/images.npy", r.integers(0, 256, (n, 32, 32, 3)).astype(float))
    np.save(f"src/Fold {fold}/images/fold{fold}/types.npy", np.array(["Breast", "Bile-duct", "Adrenal_gland", "Breast"][:n]))
END
    )
    converts histo-pannuke "9 samples from 9 images" "train 4 (4), val 3 (3), test 2 (2)" "Adrenal_gland 1, Bile-duct 1, Bladder 0, Breast 2" "neoplastic 4, inflammatory 4, connective 0, dead 1, epithelial 0"
    (cd "$work" && mkdir -p src && "$python" - <<'END'
import numpy as np
r = np.random.default_rng(2)
labels = np.zeros((6, 32, 32, 2), np.uint16)
for i in range(6):
    labels[i, 4:9, 4:9], labels[i, 20:25, 20:30] = (1, i + 1), (700, 6)
np.save("src/images.npy", r.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)), np.save("src/labels.npy", labels)
END
    )
    converts histo-conic "6 samples from 6 images of 6 subjects" "train 4 (4), val 1 (1), test 1 (1)" "connective 4" "neutrophil 1"
else
    n=$((n + 1))
    echo "ok $n - MedMNIST, PanNuke, CoNIC # SKIP no Python with numpy"
fi

echo "1..$n"
[ $bad = 0 ]
