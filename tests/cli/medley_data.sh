#!/bin/sh
# medley_data: help, version, exit codes and messages of `medley-data` as a user meets them. TAP. Usage: medley_data.sh MEDLEY-DATA
program=$(realpath "$1")
work=$(mktemp -d /tmp/medley-data-cli-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n=0
bad=0

# expect NAME EXIT-CODE FILE WORDS...: the last run's exit code, and each word exactly once as a line's part in out or err
expect() {
    name=$1 want=$2 file=$3 ok=1
    shift 3
    [ "$code" = "$want" ] || { ok=0; echo "# exit $code, wanted $want"; }
    for word in "$@"; do
        found=$(grep -cF -e "$word" "$file")
        [ "$found" = 1 ] || { ok=0; echo "# $found times: $word"; }
    done
    n=$((n + 1))
    if [ $ok = 1 ]; then echo "ok $n - $name"; else bad=1; sed 's/^/# /' out err; echo "not ok $n - $name"; fi
}
run() { "$program" "$@" >out 2>err; code=$?; }

run --help
expect "help names all commands" 0 out "  convert " "  index " "  synth " "  verify " "  info " "  inspect " "Exit status:"
run --version
expect "version" 0 out "medley-data " "reads: NIfTI"
for word in convert index synth verify info inspect; do
    run $word --help
    expect "$word --help" 0 out "usage: medley-data $word"
    [ -s err ] && { bad=1; echo "# $word --help wrote to standard error"; }
done
run
expect "nothing" 2 err "a command is missing"
run verfy
expect "command" 2 err 'no command "verfy" (did you mean "verify"?)'
run verify --qick x
expect "option" 2 err "unknown option --qick (did you mean --quick?)" "usage: medley-data verify"
run info
expect "missing word" 2 err "something is missing"
run info a b
expect "word too many" 2 err 'unexpected word "b"'
run synth --out d --only synth-blod
expect "set" 2 err 'no set "synth-blod" (did you mean "synth-blood"?)'
[ ! -e d ] || { bad=1; echo "# a folder was made"; }
run verify nowhere
expect "no such folder" 3 err "nowhere: no such file or folder"
mkdir empty
run info empty
expect "not a data set" 3 err "empty: no index.h5: not a data set folder"
echo text >file.h5
run verify file.h5
expect "not a shard" 3 out "error: shard: "
run synth --out d --only synth-histo
expect "synth" 0 out "synth-histo: source files in"
run verify d/shards
expect "verify a folder of data sets" 0 out "204 samples in 1 shard: no errors, 0 warnings"
run info d/shards/synth-histo
expect "info: splits, shares of classes, licence, spacing" 0 out "train       val      test       all    share" "licence     CC0" "spacing     unknown" "0 gland                         48        10        10        68   33.3 %"
run convert d/source/synth-histo.cfg --source d/source --out again
expect "its recipe works by hand" 0 out "204 samples from 204 images of 34 subjects"
cmp -s d/shards/synth-histo/synth-histo-00000.h5 again/synth-histo/synth-histo-00000.h5
code=$?
expect "and makes the same bytes" 0 out
run inspect d/shards/synth-histo --png no/such/folder.png
expect "folder of the sheet" 4 err "no/such/folder.png"
run inspect d/shards/synth-histo --png sheet.png --n 6
expect "inspect" 0 out "sheet.png: 6 samples"
(cd d/shards/synth-histo && sha256sum --quiet -c SHA256SUMS) >out 2>err
code=$?
expect "sha256sum -c agrees" 0 out
if command -v h5dump >/dev/null; then
    h5dump -d /label/tissue/class -d /image_crc32c d/shards/synth-histo/synth-histo-00000.h5 >out 2>err
    code=$?
    expect "h5dump reads a shard" 0 out 'DATASET "/label/tissue/class"' 'DATASET "/image_crc32c"'
else
    n=$((n + 1))
    echo "ok $n - h5dump reads a shard # SKIP no h5dump"
fi
echo more >>d/shards/synth-histo/synth-histo-00000.h5
run verify d/shards/synth-histo
expect "a changed shard" 3 err "verify: d/shards/synth-histo: 2 errors"
echo "1..$n"
exit $bad
