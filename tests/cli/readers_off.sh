#!/bin/sh
# readers_off: Medley built without any library that it can do without: what needs none works, and everything else is refused with the name of
# the Debian package. Builds a second time, in a folder of its own: minutes where there is no ccache. TAP. Usage: readers_off.sh SOURCE-ROOT
set -u
root=$(realpath "$1")
for tool in meson ninja; do command -v $tool >/dev/null || { echo "1..0 # SKIP no $tool"; exit 0; }; done
work=$(mktemp -d "${TMPDIR:-/tmp}/medley-readers-off-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
log=$work/log
. "$root/tests/cli/tap.sh"
. "$root/tests/cli/nifti.sh"
corpus=$root/tests/fuzz/corpus
medley=$work/build/src/medley medley_data=$work/build/tools/medley-data
export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_mpi_yield_when_idle=1
run() { "$@" >"$log" 2>&1 </dev/null; code=$?; }

# ---- the build ------------------------------------------------------------------------------------------------------------------------------
off=$(sed -n "s/^option('\([^']*\)', type : 'feature'.*/-D\1=disabled/p" "$root/meson_options.txt")
{
    echo "read: $off"
    [ "$(echo "$off" | wc -l)" = "$(grep -c "'feature'" "$root/meson_options.txt")" ] && [ -n "$off" ]
} >"$log"
is "every feature of meson_options.txt is read" $?
# shellcheck disable=SC2086 # a list of words
run meson setup "$work/build" "$root" $off -Dwerror=true
is "configured without all of them" $code
run ninja -j2 -C "$work/build" src/medley src/medley-readers.so tools/medley-data tests/unit/test_shard tests/fault/test_shard_damage
tail -n 40 "$log" >"$work/tail" && mv "$work/tail" "$log"
is "built, without a warning" $code
[ $code = 0 ] || { echo "1..$n"; exit 1; }
run "$medley_data" --version
ends_line 0 "reads: NIfTI, DICOM, BMP; labels: CSV, masks, COCO, YOLO, GeoJSON" && [ "$(sed -n 's/^reads: .*GeoJSON//p' "$log")" = "" ]
is "medley-data names no other format" $?
run "$medley" --version
ends 0 "build/src/medley-readers.so" "medley-data readers: jansson"
is "medley starts" $?

run "$medley" doctor "$work"
ends 0 "bf16  " && run env MEDLEY_BF16_KERNEL=onednn "$medley" doctor "$work" &&
    ends_line 0 "this build has no oneDNN: install libdnnl-dev (Debian) and build again"
is "and has no oneDNN, which it names" $?

# ---- what needs no library ------------------------------------------------------------------------------------------------------------------
noise() { seq "$1" "$(($1 + 20000))" | gzip -n | tail -c 12300 | head -c 12288; } # 64 x 64 pixels that hardly shrink
bmp() {
    printf 'BM\066\060\000\000\000\000\000\000\066\000\000\000\050\000\000\000\100\000\000\000\100\000\000\000\001\000\030\000'
    head -c 24 /dev/zero
    noise "$1"
}
mkdir "$work/src"
for i in 0 1 2 3; do
    for part in train val; do
        case $part in train) k=1 ;; val) k=2 ;; esac
        for class in a b; do
            mkdir -p "$work/src/$class"
            bmp "$((k * 100000 + i * 1000))$(printf %d "'$class")" >"$work/src/$class/$part-$i.bmp"
            nifti "\\00$k\\00$i\\$(printf %o "'$class")\\003\\004\\005\\006\\007" >"$work/src/$class/$part-$i.nii"
        done
    done
done
gzip "$work/src/a/train-1.nii" # zlib is always there
recipe() { # NAME FILES CHANNELS
    cat <<END
name = "$1"; title = "Off"; modality = "MR"; licence = "none";
images: { files = ["$2"]; channels = $3; id = "{class}-{part}-{i}"; subject = "{class}-{part}-{i}"; };
labels: ( { name = "class"; kind = "classification"; source = "value"; value = "{class}"; classes = ["a", "b"]; } );
split: { value = "{part}"; map = ["train -> train"]; };
END
}
recipe slices '{class}/{part}-{i}.nii*' 1 >"$work/slices.cfg"
recipe photos '{class}/{part}-{i}.bmp' 3 >"$work/photos.cfg"
for name in slices photos; do
    run "$medley_data" convert "$work/$name.cfg" --source "$work/src" --out "$work/shards"
    ends 0 "$name: 16 samples from 16 images" "train 8 (8), val 8 (8)"
    is "$name are converted" $?
done
run "$medley_data" verify "$work/shards"
ends 0 "shards/slices: 16 samples in 1 shard: no errors, 0 warnings" "shards/photos: 16 samples in 1 shard: no errors, 0 warnings"
is "verify accepts the shards" $?

cat >"$work/job.cfg" <<END
run = "$work/run";
data_root = "$work/shards";
model = { encoder = "swin_v2_nano"; };
train = { steps = 2; validate_every = 2; checkpoint_every = 2; log_every = 1; };
optim = { lr = 1e-3; warmup = 1; };
tasks = ( { name = "class"; data = "photos"; image = [64, 64]; batch = 8; } );
END
run "$medley" train "$work/job.cfg"
ends 0
is "medley trains on them" $?
run "$medley" predict "$work/run" "$work/src/a/val-0.bmp" --out "$work/predicted"
ends 0
is "and predicts from BMP" $?
run "$medley" predict "$work/run" "$corpus/image/colour.jpg" --out "$work/predicted2"
ends_line 4 "colour.jpg: this build cannot read JPEG: install libjpeg62-turbo-dev (Debian)"
is "but not from JPEG" $?

# ---- what needs one -------------------------------------------------------------------------------------------------------------------------
head='title = "Off"; modality = "MR"; licence = "none"; split: { fractions = [1.0, 0.0, 0.0]; };'
value='labels: ( { name = "v"; kind = "classification"; source = "value"; value = "a"; classes = ["a", "b"]; } );'
mkdir "$work/rare"
for file in image/grey.png image/grey.jpg image/planes.tif image/jpeg.dcm npz/grey.npz boxes/two.xml table/book.xlsx; do cp "$corpus/$file" "$work/rare"; done
cp "$corpus/image/tiles.tif" "$work/rare/slide.svs"
cp "$work/src/a/train-0.bmp" "$work/rare/two.bmp"
# refused FORMAT PACKAGES FILE RECIPE
refused() {
    echo "name = \"refused\"; $head $4" >"$work/refused.cfg"
    run "$medley_data" convert "$work/refused.cfg" --source "$work/rare" --out "$work/none"
    ends_line 4 "$3: this build cannot read $1: install $2 (Debian) and build again" && [ ! -e "$work/none/refused/index.h5" ]
    is "$1: install $2" $?
    cat "$log" >>"$work/told"
}
refused PNG libpng-dev grey.png "images: { files = \"grey.png\"; channels = 1; }; $value"
refused JPEG libjpeg62-turbo-dev grey.jpg "images: { files = \"grey.jpg\"; channels = 1; }; $value"
refused TIFF libtiff-dev planes.tif "images: { files = \"planes.tif\"; }; $value"
refused 'DICOM with JPEG baseline' libgdcm-dev jpeg.dcm "images: { files = \"jpeg.dcm\"; channels = 1; }; $value"
refused slides libopenslide-dev slide.svs "images: { files = \"slide.svs\"; }; slide: { mpp = 0.5; tile = 224; }; $value"
refused NPZ libzip-dev grey.npz \
    'images: { files = "grey.npz"; channels = 1; }; labels: ( { name = "v"; kind = "classification"; source = "npz"; classes = ["a", "b"]; } );'
refused 'Pascal VOC' libexpat1-dev two.xml \
    'images: { files = "two.bmp"; }; labels: ( { name = "v"; kind = "detection"; source = "voc"; file = "two.xml"; classes = ["cell", "egg"]; } );'
refused XLSX 'libzip-dev and libexpat1-dev' book.xlsx \
    "images: { files = \"{i}.bmp\"; }; tables: ( { name = \"t\"; file = \"book.xlsx\"; match = [\"id = {i}\"]; } ); $value"
sed -n 's/.*NOT_BUILT("\([^"]*\)".*/\1/p' "$root"/tools/*.c | sort >"$work/want"
sed -n 's/.*: install \(.*\) (Debian).*/\1/p' "$work/told" | sort -u >"$work/got"
sort -u "$work/want" | diff - "$work/got" >"$log"
is "no other package is named in tools" $?

# ---- shards, through HDF5's own filters ------------------------------------------------------------------------------------------------------
for test in unit/test_shard fault/test_shard_damage; do
    (cd "$work" && "build/tests/$test") >"$log" 2>&1
    is "$test" $?
done
shard=$work/shards/photos/photos-00000.h5
at=$(($(wc -c <"$shard") / 2)) # most of the file is chunks of noise
byte=$(od -An -tu1 -j "$at" -N 1 "$shard")
# shellcheck disable=SC2059 # the byte
printf "\\$(printf %o $((byte ^ 16)))" | dd of="$shard" bs=1 seek="$at" conv=notrunc 2>"$log"
run "$medley_data" verify "$shard"
ends_line 3 "photos-00000.h5: /image["
is "verify refuses a shard with a flipped bit" $?
rm -rf "$work/run"
run "$medley" train "$work/job.cfg"
ends_line 3 "photos-00000.h5: /image[" "cannot read"
is "and so does training" $?
echo "1..$n"
[ $bad = 0 ]
