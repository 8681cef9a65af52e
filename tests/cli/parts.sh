#!/bin/sh
# parts: `medley-data convert --part I/N` and `medley-data index`: the parts make what one conversion makes; missing, doubled and foreign
# parts are refused; what was interrupted goes on. TAP. Usage: parts.sh MEDLEY-DATA SOURCE-ROOT [PYTHON]
set -u
program=$1 root=$2 python=${3:-}
work=$(mktemp -d /tmp/medley-parts-XXXXXX)
trap 'rm -rf "$work"' EXIT
log=$work/log
. "$root/tests/cli/tap.sh"

data() {
    "$program" "$@" >"$log" 2>&1
    code=$?
}
part() { data convert "$work/pets.cfg" --source "$work/src" --out "$1" --shard-mib 1 --part "$2"; } # OUT I/N
same_samples() { # DIR DIR: every array of every sample
    if [ -n "$python" ] && "$python" -c 'import h5py, numpy' 2>/dev/null; then "$python" "$root/tests/cli/parts_check.py" "$1" "$2" >>"$log" 2>&1
    else "$program" verify "$2" >>"$log" 2>&1; fi
}

# 24 volumes of 100 slices of 4 x 2 bytes: samples enough for several shards of a MiB; one pair with the same pixels, far apart; one is bad
. "$root/tests/cli/nifti.sh"
volume() { # FILE WORD
    mkdir -p "$(dirname "$1")"
    nifti '' >"$1"
    printf '\144' | dd of="$1" bs=1 seek=46 conv=notrunc 2>/dev/null
    awk -v s="$2" 'BEGIN { for (z = 0; z < 100; z++) printf "%-5.5s%03d", s, z }' >>"$1" # no two slices are the same
}
for i in 00 01 02 03 04 05 06 07 08 09 10 11; do
    volume "$work/src/cat/$i.nii" "cat$i"
    volume "$work/src/dog/$i.nii" "dog$i"
done
cp "$work/src/cat/01.nii" "$work/src/dog/10.nii"
head -c 500 "$work/src/dog/03.nii" >"$work/cut" && mv "$work/cut" "$work/src/dog/03.nii"
cat >"$work/pets.cfg" <<'END'
name = "pets"; title = "Pets"; modality = "MR"; licence = "none";
images: { files = "{animal}/{i}.nii"; channels = 1; id = "{animal}-{i}"; subject = "{animal}-{i}"; };
labels: ( { name = "animal"; kind = "classification"; source = "value"; value = "{animal}"; classes = ["cat", "dog"]; } );
split: { fractions = [0.5, 0.25, 0.25]; };
END
data convert "$work/pets.cfg" --source "$work/src" --out "$work/whole" --shard-mib 1
grep -v 'skipped: labels\|warning.*skipped' "$log" | sed "s|$work/[a-z]*/|OUT/|" >"$work/report"
ends 0 "2300 samples from 23 images" "same pixels" "skipped: 1 of 24" && [ -e "$work/whole/pets/pets-00002.h5" ] && [ ! -e "$work/whole/pets.parts" ]
is "the whole, in several shards" $?

# ---- parts are the whole
part "$work/parts" 3/3; ends 0 "part 3 of 3 is in"; a=$?
part "$work/parts" 1/3; ends 0 "medley-data index $work/parts/pets"; b=$?
data convert "$work/pets.cfg" --source "$work/src" --out "$work/parts" --shard-mib 1 --part 2/3 --jobs 3; ends 0; c=$?
is "three parts, in any order" $((a + b + c))
cp -r "$work/parts" "$work/spare"
data index "$work/parts/pets"
sed "s|$work/[a-z]*/|OUT/|" "$log" >"$work/report2"
ends 0 && diff "$work/report" "$work/report2" >>"$log" && [ ! -e "$work/parts/pets.parts" ]
is "index makes the same report, and leaves no parts" $?
same_samples "$work/whole/pets" "$work/parts/pets"
is "the same samples with the same splits and pixels, in the same order" $?
data verify "$work/parts/pets"; ends 0; a=$?
(cd "$work/parts/pets" && sha256sum -c --quiet SHA256SUMS >>"$log" 2>&1) && [ $a = 0 ]
is "checksums hold" $?
part "$work/one" 1/1 && data index "$work/one/pets.parts/" && cmp "$work/whole/pets/SHA256SUMS" "$work/one/pets/SHA256SUMS" >>"$log"
is "one part of one makes the same files" $?
i=0; while [ $i -lt 30 ]; do i=$((i + 1)); part "$work/many" $i/30; [ $code = 0 ] || break; done
ends 0 && data index "$work/many/pets" && ends 0 "2300 samples" && same_samples "$work/whole/pets" "$work/many/pets"
is "more parts than files" $?

# ---- what is refused
again() { rm -rf "$work/parts"; cp -r "$work/spare" "$work/parts"; }
again; rm -r "$work/parts/pets.parts/2-of-3"
data index "$work/parts/pets"; ends 3 "of 3 parts, these are missing: 2" && [ ! -e "$work/parts/pets" ] && [ -e "$work/parts/pets.parts/3-of-3" ]
is "a missing part is named, and the others stay" $?
cp -r "$work/parts/pets.parts/1-of-3" "$work/parts/pets.parts/2-of-3"
data index "$work/parts/pets"; ends 3 "2-of-3 holds part 1 of 3: the same part twice?"
is "the same part twice" $?
again; part "$work/parts" 1/2; data index "$work/parts/pets"; ends 3 "parts of" "remove those that do not belong"
is "parts of another division" $?
again; sed -i 's/seed = 1/&/; s/Pets/Animals/' "$work/pets.cfg"
data convert "$work/pets.cfg" --source "$work/src" --out "$work/parts" --part 2/3 --force; sed -i 's/Animals/Pets/' "$work/pets.cfg"
data index "$work/parts/pets"; ends 3 "another list of files or with another recipe"
is "a part with another recipe" $?
again; volume "$work/src/dog/12.nii" late; part "$work/parts" 2/3; rm "$work/src/dog/12.nii"
data index "$work/parts/pets"; ends 3 "another list of files"
is "a part of a source that has grown" $?
again; part "$work/parts" 2/3; ends 0 "part 2 of 3 is complete already"
is "a part that is complete is not converted again" $?
data index "$work/parts/pets"; cp -r "$work/spare/pets.parts" "$work/parts"
data index "$work/parts/pets"; ends 2 "--force replaces it" && data index "$work/parts/pets" --force && ends 0
is "an existing data set is replaced only if that is asked for" $?
again; note=$work/parts/pets.parts/2-of-3/notes-00000.h5
printf XYZ | dd of="$note" bs=1 seek=$(($(wc -c <"$note") / 2)) conv=notrunc 2>/dev/null
data index "$work/parts/pets"; ends 3 "notes-00000.h5"
is "damaged notes" $?
again; shard=$work/parts/pets.parts/2-of-3/pets-00000.h5; head -c 20000 "$shard" >"$work/cut"; mv "$work/cut" "$shard"
data index "$work/parts/pets"; ends 3 "pets-00000.h5" && [ ! -e "$work/parts/pets" ] && [ ! -e "$work/parts/pets.part" ]
is "a damaged shard" $?
again; if command -v flock >/dev/null; then
    flock "$work/parts/pets.parts/2-of-3/lock" "$program" index "$work/parts/pets" >"$log" 2>&1; code=$?
    ends 2 "another process is converting this part"
    is "a part that another process holds" $?
else skip "a part that another process holds" "no flock"; fi
data index "$work/nowhere/pets"; ends 3 "nothing to join"
is "nothing to join" $?
a=0
for p in 0/3 4/3 3 1/x x/2 1/2/3; do part "$work/wrong" $p; ends 2 "--part $p" || a=1; done
[ $a = 0 ] && [ ! -e "$work/wrong" ]
is "parts that are none" $?

# ---- interrupted
again; rm -r "$work/parts/pets.parts/2-of-3"
(export MEDLEY_FAULT=convert@1:kill; part "$work/parts" 2/3; exit $code); code=$?
a=$code; data index "$work/parts/pets"; ends 3 "2 (begun, not complete)" && [ $a = 137 ]
is "a part that was killed is not complete" $?
part "$work/parts" 2/3; ends 0 "goes on behind 1 shards" && data index "$work/parts/pets" && ends 0 && same_samples "$work/whole/pets" "$work/parts/pets"
is "and goes on where it was" $?
whole() { data convert "$work/pets.cfg" --source "$work/src" --out "$work/killed" --shard-mib 1; }
for k in 1 2 3; do
    (export MEDLEY_FAULT=convert@$k:kill; whole; exit $code) 2>/dev/null
    rm -f "$work/killed/pets.parts/1-of-1/pets-0000$((k - 1)).h5.part"
    whole; ends 0 "goes on behind $k shards" && cmp "$work/whole/pets/SHA256SUMS" "$work/killed/pets/SHA256SUMS" >>"$log" && [ ! -e "$work/killed/pets.parts" ]
    is "a whole conversion killed after shard $k makes the same files" $?
    rm -rf "$work/killed"
done
(export MEDLEY_FAULT=convert@2:raise; whole; exit $code); code=$?
ends 4 "the same command goes on" && whole && ends 0 "goes on behind 2 shards"
is "a disk that fails: what is complete stays" $?
rm -rf "$work/killed"
(export MEDLEY_FAULT=convert@2:kill; whole; exit $code) 2>/dev/null
volume "$work/src/cat/00.nii" mouse; whole; ends 0 "cannot be continued" "2300 samples" && ! cmp -s "$work/whole/pets/SHA256SUMS" "$work/killed/pets/SHA256SUMS"
is "a source that has changed meanwhile is begun again" $?

# ---- real images
real=$root/../shared/data/mr-hippocampus
if [ -d "$real" ]; then
    data convert "$root/datasets/mr-hippocampus.cfg" --source "$real" --out "$work/real" --shard-mib 4 --jobs 2
    for i in 1 2 3; do data convert "$root/datasets/mr-hippocampus.cfg" --source "$real" --out "$work/real3" --shard-mib 4 --part $i/3; done
    data index "$work/real3/mr-hippocampus"; ends 0 "4259 samples from 131 images" && same_samples "$work/real/mr-hippocampus" "$work/real3/mr-hippocampus"
    is "mr-hippocampus in three parts" $?
else skip "mr-hippocampus in three parts" "no ../shared/data/mr-hippocampus"; fi
echo "1..$n"
[ $bad = 0 ]
