#!/bin/sh
# paths: nothing is written or read outside its folder, whatever names and links say; files get sane modes. The shipped programs. TAP.
# Usage: paths.sh MEDLEY MEDLEY-DATA
# shellcheck disable=SC2317 # check calls what looks unreachable
medley=$1 medley_data=$2
n=0
bad=0
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT

check() {
    name=$1
    shift
    n=$((n + 1))
    if "$@" >"$here/log" 2>&1 </dev/null; then echo "ok $n - $name"; else bad=1; sed 's/^/# /' "$here/log" | tail -n 20; echo "not ok $n - $name"; fi
}
# fails STATUS WORD COMMAND...
fails() {
    want=$1 word=$2 got=0
    shift 2
    "$@" >"$here/said" 2>&1 || got=$?
    cat "$here/said"
    [ "$got" -eq "$want" ] || { echo "exit status $got, not $want"; return 1; }
    grep -q -- "$word" "$here/said" || { echo "\"$word\" is not said"; return 1; }
}
none() { [ -z "$(find "$@")" ] || { find "$@"; return 1; }; }

# source files with names that try to get out: the path is data, never a place to write to
mkdir -p "$here/src/a" "$here/src/b"
i=0
for name in 'x;rm -rf y' '..x' 'x..' '-x' "x'y\"z" 'x%s%n' 'x$(id)'; do
    i=$((i + 1))
    # an 8 x 8 grey PNG of one value, by hand: header, one stored block, end
    python3 - "$here/src/a/$name.png" "$here/src/b/$name.png" $i <<'END' || exit 1
import struct, sys, zlib
def chunk(k, d): return struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
for n, path in enumerate(sys.argv[1:3]):
    rows = b"".join(b"\0" + bytes([int(sys.argv[3]) * 10 + n + x for x in range(8)]) for y in range(8))
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
END
done
recipe() { # recipe FILE NAME EXTRA-LABEL EXTRA
    cat >"$here/$1" <<END
name = "$2"; title = "t"; modality = "histology"; licence = "CC0";
images = { files = ["{class}/{n}.png"]; id = "../../../{class}/{n}"; subject = "/etc/{n}"; channels = 1; };
$4
labels = ( { name = "c"; kind = "classification"; source = "value"; value = "{class}"; classes = ["a", "b"]; } $3 );
END
}
recipe good.cfg set '' ''
(umask 000; mkdir "$here/out"; "$medley_data" convert "$here/good.cfg" --source "$here/src" --out "$here/out/deep/er") >"$here/log" 2>&1
check "hostile names convert" test -f "$here/out/deep/er/set/index.h5"
check "only the data set is in the output folder" test "$(find "$here/out" -type f | wc -l)" -eq 3
check "the source folder is as it was" test "$(find "$here/src" -type f | wc -l)" -eq 14
check "nothing for everybody to write, umask 0" none "$here/out/deep" -perm /022
check "verify" "$medley_data" verify "$here/out/deep/er/set"

for name in ../up /tmp/medley-up . .. a/b; do
    recipe bad.cfg "$name" '' ''
    check "recipe name $name" fails 2 "plain folder name" "$medley_data" convert "$here/bad.cfg" --source "$here/src" --out "$here/out2"
done
check "no output of refused recipes" none "$here" -name 'out2*' -o -name up
recipe bad.cfg set2 ', { name = "m"; kind = "segmentation"; source = "mask"; file = "../../{n}.png"; classes = ["x", "y"]; }' ''
check "label file above the source" fails 2 "under the source folder" "$medley_data" convert "$here/bad.cfg" --source "$here/src" --out "$here/out2"
recipe bad.cfg set2 '' 'tables = ( { name = "t"; file = "/etc/passwd"; match = ["a = {n}"]; } );'
check "table outside the source" fails 2 "under the source folder" "$medley_data" convert "$here/bad.cfg" --source "$here/src" --out "$here/out2"
mkdir "$here/masks"
cp "$here/src/a/x...png" "$here/masks/m.png"
printf 'n,m\n-x,../masks/m\n' >"$here/src/t.csv"
recipe bad.cfg set2 ', { name = "m"; kind = "segmentation"; source = "mask"; file = "{t.m}.png"; classes = ["x", "y"]; required = false; }' \
    'tables = ( { name = "t"; file = "t.csv"; match = ["n = {n}"]; } ); on_error = "fatal";'
check "a table's cell that leads out" fails 3 "out of the source folder" "$medley_data" convert "$here/bad.cfg" --source "$here/src" --out "$here/out2"

# a data set whose files are links to elsewhere, or planted where files will be written
set=$here/out/deep/er/set
cp -r "$set" "$here/linked"
mv "$here/linked/set-00000.h5" "$here/secret.h5"
ln -s ../secret.h5 "$here/linked/set-00000.h5"
for word in verify info; do
    check "$word: a shard that is a link out of the folder" fails 3 "leads out of the folder" "$medley_data" $word "$here/linked"
done
check "inspect: the same" fails 3 "leads out of the folder" "$medley_data" inspect "$here/linked" --png "$here/sheet.png"
mkdir "$here/victim"
echo mine >"$here/victim/data.h5"
ln -s victim "$here/set.part"
check "convert: a link in place of the part folder" fails 3 "symbolic link" "$medley_data" convert "$here/good.cfg" --source "$here/src" --out "$here"
ln -s victim "$here/set"
rm "$here/set.part"
check "convert --force: a link in place of the data set" fails 3 "symbolic link" "$medley_data" convert "$here/good.cfg" --source "$here/src" --out "$here" --force
check "what the link pointed to is untouched" grep -q mine "$here/victim/data.h5"

# the run folder
printf 'run = "%s/run"; data_root = "%s/out/deep/er"; model = { encoder = "swin_nano"; };\ntrain = { steps = 4; checkpoint_every = 1; threads = 1; };\ntasks = ( { name = "c"; data = "set"; label = "c"; image = [32, 32]; batch = 2; } );\n' "$here" "$here" >"$here/job.cfg"
check "training" "$medley" train "$here/job.cfg" --set train.steps=2
mv "$here/run/checkpoints/step-000000002.h5" "$here/planted.h5"
ln -s ../../planted.h5 "$here/run/checkpoints/step-000000002.h5"
check "resume" "$medley" train "$here/job.cfg" --set train.steps=2
cp "$here/log" "$here/resumed"
check "a checkpoint that is a link out of the folder is not taken" grep -q "leads out of the folder" "$here/resumed"
check "the one before is" grep -q "resumed from .*step-000000001.h5" "$here/resumed"
for name in ../a /a .a a/b; do
    printf 'run = "%s/run"; data_root = "%s/out/deep/er"; model = { encoder = "swin_nano"; }; train = { steps = 1; };\ntasks = ( { name = "%s"; data = "set"; image = [32, 32]; batch = 1; } );\n' "$here" "$here" "$name" >"$here/job.cfg"
    check "task name $name" fails 2 "file name" "$medley" check "$here/job.cfg"
done
echo "1..$n"
exit $bad
