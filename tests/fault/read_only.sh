#!/bin/sh
# read_only: shards are read where nothing can be written and nothing can be locked, whatever HDF5_USE_FILE_LOCKING says; the run folder
# may be without locks too. TAP. usage: read_only.sh MEDLEY MEDLEY-DATA MAKE_SHARDS NO_FLOCK
set -u
medley=$1 medley_data=$2 make_shards=$3 no_flock=$4
dir=$(mktemp -d /tmp/medley-ro-XXXXXX)
mounted=no
finish() {
    [ $mounted = no ] || umount "$dir/ro"
    chmod -R u+w "$dir"
    rm -rf "$dir"
}
trap finish EXIT
export OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell
n=0 bad=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=1; tail -n 5 "$dir/log" | sed 's/^/# /'; fi; }

"$make_shards" "$dir/shards" 20 >"$dir/log" 2>&1; ok $? "shards"
mkdir "$dir/ro"
# a read-only mount where the system lets us; permissions stop everybody but root, so both are used
if mount --bind "$dir/shards" "$dir/ro" 2>/dev/null && mount -o remount,ro,bind "$dir/ro" 2>/dev/null; then mounted=yes; kind="read-only mount"
else
    mountpoint -q "$dir/ro" && umount "$dir/ro"
    cp -r "$dir/shards/." "$dir/ro"; kind="folders and files without write permission"
fi
[ $mounted = yes ] || chmod -R a-w "$dir/ro"
echo "# $kind"
if touch "$dir/ro/x" 2>/dev/null; then echo "# (root may write all the same)"; rm -f "$dir/ro/x"; else ok 0 "nothing can be written there"; fi
cat >"$dir/job.cfg" <<END
run = "$dir/run"; data_root = "$dir/ro";
model : { encoder = "swin_v2_nano"; };
train : { steps = 2; validate_every = 1; checkpoint_every = 1; };
tasks = ( { name = "disc"; data = "tiny-disc"; image = [64, 64]; batch = 2; } );
END
# the sanitizers' libraries want to be the first that are loaded
preload=$no_flock
ldd "$medley" | grep -q 'lib[a]san' && preload=
[ -n "$preload" ] || echo "# sanitizers: with locks only"
for locking in unset FALSE BEST_EFFORT TRUE; do
    if [ $locking = unset ]; then unset HDF5_USE_FILE_LOCKING; else export HDF5_USE_FILE_LOCKING=$locking; fi
    for locks in there failing; do
        lib=
        [ $locks = failing ] && lib=$preload
        LD_PRELOAD=$lib "$medley_data" verify "$dir/ro/tiny-disc" >"$dir/log" 2>&1; ok $? "HDF5_USE_FILE_LOCKING $locking, locks $locks: every shard is read"
        [ $locks = failing ] || continue
        rm -rf "$dir/run"
        LD_PRELOAD=$lib "$medley" train "$dir/job.cfg" >"$dir/log" 2>&1; ok $? "HDF5_USE_FILE_LOCKING $locking, locks $locks: trains, validates and saves"
    done
done
# somebody else holds a lock for writing on a shard: readers do not care
unset HDF5_USE_FILE_LOCKING
shard=$(ls "$dir"/shards/tiny-disc/*-00000.h5)
flock -x "$shard" "$medley_data" verify "$dir/ro/tiny-disc" >"$dir/log" 2>&1; ok $? "a shard that somebody has locked is read"
[ -z "$(find "$dir/ro" -newer "$dir/job.cfg" -type f)" ]; ok $? "nothing in the data folder has been touched"
echo "1..$n"
exit $bad
