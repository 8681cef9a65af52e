#!/bin/sh
# convert_disk: `medley-data convert` on disks that are full, fail or do not let us in: exit 4 with path and cause, no half data set, and the same
# command makes the same files once the disk is well again. TAP. Usage: convert_disk.sh MEDLEY-DATA SOURCE-ROOT FAILING-DISK
set -u
program=$1 root=$2 failing_disk=$3
work=$(mktemp -d /tmp/medley-convert-disk-XXXXXX)
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"' EXIT
log=$work/log
. "$root/tests/cli/tap.sh"

convert() { # OUT [FAULT PATH]: the fault meets files whose path has PATH in it
    if [ $# = 1 ]; then "$program" convert "$work/pets.cfg" --source "$work/src" --out "$1" --shard-mib 1 >"$log" 2>&1
    else LD_PRELOAD="$failing_disk" MEDLEY_DISK="$2" MEDLEY_DISK_PATH="$3" "$program" convert "$work/pets.cfg" --source "$work/src" --out "$1" --shard-mib 1 >"$log" 2>&1; fi
    code=$?
}
none() { [ ! -e "$1/pets" ] && [ ! -e "$1/pets.part" ] || { ls -R "$1" >>"$log"; return 1; }; }
same() { cmp "$work/whole/pets/SHA256SUMS" "$1/pets/SHA256SUMS" >>"$log" 2>&1 && (cd "$1/pets" && sha256sum -c --quiet SHA256SUMS >>"$log" 2>&1) && [ ! -e "$1/pets.parts" ]; }

# 24 volumes of 100 slices of 4 x 2 bytes: three shards of a MiB
. "$root/tests/cli/nifti.sh"
for i in 00 01 02 03 04 05 06 07 08 09 10 11; do
    for animal in cat dog; do
        mkdir -p "$work/src/$animal"
        nifti '' >"$work/src/$animal/$i.nii"
        printf '\144' | dd of="$work/src/$animal/$i.nii" bs=1 seek=46 conv=notrunc 2>/dev/null
        awk -v s="$animal$i" 'BEGIN { for (z = 0; z < 100; z++) printf "%-5.5s%03d", s, z }' >>"$work/src/$animal/$i.nii"
    done
done
cat >"$work/pets.cfg" <<'END'
name = "pets"; title = "Pets"; modality = "MR"; licence = "none";
images: { files = "{animal}/{i}.nii"; channels = 1; id = "{animal}-{i}"; subject = "{animal}-{i}"; };
labels: ( { name = "animal"; kind = "classification"; source = "value"; value = "{animal}"; classes = ["cat", "dog"]; } );
END
convert "$work/whole"
ends_line 0 "2400 samples from 24 images" && [ -e "$work/whole/pets/pets-00002.h5" ]
is "a disk that is well" $?

while read -r fault path text; do
    rm -rf "$work/out"
    convert "$work/out" "$fault" "$path"
    ends_line 4 "$path" "$text" && none "$work/out"; a=$?
    is "$fault on $path: exit 4, path and cause, no data set" $a
    convert "$work/out"; ends_line 0 "2400 samples" && same "$work/out"
    is "and then the same command makes the same files" $?
done <<'END'
open:EROFS pets-00000.h5.part Read-only file system
open:EACCES recipe.cfg.part Permission denied
write+:ENOSPC pets-00001.h5.part No space left on device
fsync:EIO pets-00001.h5.part Input/output error
rename:EIO pets-00002.h5.part Input/output error
write+:ENOSPC notes-00001.h5.part No space left on device
write+:EDQUOT index.h5.part Disk quota exceeded
write:EIO SHA256SUMS.part Input/output error
END
rm -rf "$work/out"
convert "$work/out" write+:ENOSPC pets-00002.h5.part
ends_line 4 "the same command goes on" && [ -e "$work/out/pets.parts/1-of-1/pets-00001.h5" ] && convert "$work/out" && ends_line 0 "goes on behind 2 shards"
is "what is complete stays, and is gone on behind" $?
rm -rf "$work/out"
convert "$work/out" list:EACCES src/dog
ends_line 4 "src/dog" "Permission denied" && none "$work/out"
is "a folder of the source that cannot be listed: exit 4, its name and the cause; its files are not silently missing" $?
convert "$work/out" list+:EIO src
ends_line 4 "$work/src" "Input/output error" && none "$work/out"
is "nor can the source itself" $?

# a real one
room=$(du -sk "$work/whole/pets" | cut -f 1) # KiB
mkdir "$work/small"
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=$((room / 2))k none "$work/small" 2>/dev/null; then
    mounted=$work/small
    convert "$work/small"; ends_line 4 "$work/small/pets.parts" "No space left on device" && none "$work/small"
    is "a full disk" $?
    mount -o remount,size=$((room * 4))k "$work/small"
    convert "$work/small"; ends_line 0 "2400 samples" && same "$work/small"
    is "room again: the same files" $?
    rm -rf "$work/small/pets"
    mount -o remount,ro "$work/small"
    convert "$work/small"; ends_line 4 "$work/small" "Read-only file system"
    is "a disk that is read-only" $?
else skip "a full disk, and a read-only one" "mounting is not allowed here"; fi
if [ "$(id -u)" = 0 ]; then skip "a folder without permission" "root may read everywhere"
else
    chmod 000 "$work/src/dog"
    convert "$work/out"; ends_line 4 "src/dog" "Permission denied"; a=$?
    chmod 755 "$work/src/dog"
    is "a folder without permission" $a
fi
echo "1..$n"
[ $bad = 0 ]
