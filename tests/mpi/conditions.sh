#!/bin/sh
# What the bits depend on is compared: over the ranks before step 0, and with the checkpoint at a resume.
# usage: conditions.sh CASE MEDLEY MAKE_SHARDS COMPARE
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mpi/common.sh
. "$here/common.sh"
unset OPENBLAS_CORETYPE
"$make_shards" "$dir/shards" quadrant=6,2,0 sides=5,2,0 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }
steps=2 validate=0
# two PROGRAM... : PROGRAM...: two ranks, one of each
two() { mpirun -q --oversubscribe --bind-to none -n 1 "$@" >"$dir/log" 2>&1; }
said() { grep -q -- "$1" "$dir/log"; }
job "$dir/j.cfg" "$dir/run" exact quadrant:2:1:1.0 sides:2:1:1.0
# x86: two core types that every CPU with AVX2 has; elsewhere there is one
case $(uname -m) in x86_64) one=Haswell other=Sandybridge ;; *) one='' other='' ;; esac

if [ -n "$one" ]; then
  two env OPENBLAS_CORETYPE=$one "$medley" train "$dir/j.cfg" : -n 1 env OPENBLAS_CORETYPE=$other "$medley" train "$dir/j.cfg"
  code=$?; [ $code = 2 ]; ok $? "ranks with other OpenBLAS kernels: exit 2 (got $code)"
  said "rank 1 has \"blas = .*$other\", rank 0 has \"blas = .*$one\""; ok $? "both ranks and both kernels are named"
  said "train.allow_mixed_cpus"; ok $? "and the setting that allows it"
  set -- "$medley" train "$dir/j.cfg" --set train.allow_mixed_cpus=true
  two env OPENBLAS_CORETYPE=$one "$@" : -n 1 env OPENBLAS_CORETYPE=$other "$@"; ok $? "which allows it"
  said "warning.*rank 1 has \"blas" || said "rank 1 has \"blas"; ok $? "with a warning"
  rm "$dir/run/checkpoints/step-000000002.h5"
  OPENBLAS_CORETYPE=$one mpi 2 "$medley" train "$dir/j.cfg" --set train.checkpoint_every=1 --fresh; ok $? "a run with $one"
  rm "$dir/run/checkpoints/step-000000002.h5"
  OPENBLAS_CORETYPE=$other mpi 1 "$medley" train "$dir/j.cfg"; ok $? "goes on with $other"
  said "was made with \"blas = .*$one\", this run has \"blas = .*$other\"" && said "no longer promises"; ok $? "warned that the bits are not those of $one"
  rm "$dir/run/checkpoints/step-000000002.h5"
  OPENBLAS_CORETYPE=$one mpi 1 "$medley" train "$dir/j.cfg"; ok $? "goes on with $one"
  ! said "no longer promises"; ok $? "no warning where the conditions are the same"
fi

two "$medley" train "$dir/j.cfg" --fresh --set train.steps=2 : -n 1 "$medley" train "$dir/j.cfg" --fresh --set train.steps=3
code=$?; [ $code = 2 ]; ok $? "ranks with other settings: exit 2 (got $code)"
said 'rank 1 has "--set train.steps=3", rank 0 has "--set train.steps=2"'; ok $? "key and rank are named"
two "$medley" train "$dir/j.cfg" --fresh : -n 1 "$medley" train "$dir/j.cfg"
code=$?; [ $code = 2 ]; ok $? "one rank starts anew, the other does not: exit 2 (got $code)"

# every rank sees its own node's copy of the data, and rank 1's is an old one
mkdir "$dir/node0" "$dir/node1"; cp -r "$dir/shards" "$dir/node0/shards"; "$make_shards" "$dir/node1/shards" quadrant=6,2,0 sides=4,2,0
sed 's|data_root = "[^"]*"|data_root = "/proc/self/cwd/shards"|' "$dir/j.cfg" >"$dir/n.cfg"
mpirun -q --oversubscribe --bind-to none -n 1 --wdir "$dir/node0" "$medley" train "$dir/n.cfg" --fresh : -n 1 --wdir "$dir/node1" "$medley" train "$dir/n.cfg" --fresh >"$dir/log" 2>&1
code=$?; [ $code = 3 ]; ok $? "nodes with other data: exit 3 (got $code)"
said 'rank 1 of 2: .*tiny-sides/tiny-sides-00003.h5: cannot open'; ok $? "rank and file are named"

if command -v objcopy >/dev/null 2>&1 && objcopy --dump-section .note.gnu.build-id="$dir/note" "$medley" "$dir/copy" 2>/dev/null; then
  last=$(($(stat -c %s "$dir/note") - 1)); byte=$(od -An -tu1 -j $last -N 1 "$dir/note" | tr -d ' ')
  printf "\\$(printf %o $((byte ^ 1)))" | dd of="$dir/note" bs=1 seek=$last conv=notrunc 2>/dev/null
  objcopy --update-section .note.gnu.build-id="$dir/note" "$medley" "$dir/copy"
  two "$medley" train "$dir/j.cfg" : -n 1 "$dir/copy" train "$dir/j.cfg"
  code=$?; [ $code = 2 ]; ok $? "ranks of two builds: exit 2 (got $code)"
  said "the ranks run different programs: rank 1 has \"medley .*, build .*\", rank 0 has"; ok $? "both builds are named"
  mpi 2 "$dir/copy" train "$dir/j.cfg" --fresh --set train.checkpoint_every=1; ok $? "a run of the other build"
  rm "$dir/run/checkpoints/step-000000002.h5"
  mpi 2 "$medley" train "$dir/j.cfg"; ok $? "goes on with this one"
  said 'was made with "build id' && said "no longer promises"; ok $? "with a warning"
else
  n=$((n + 1)); echo "ok $n - ranks of two builds # SKIP no objcopy or no build id"
fi
echo "1..$n"
exit $bad
