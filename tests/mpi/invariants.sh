#!/bin/sh
# The invariants of design.md section 1, shown on the shipped program with tiny shards of every kind of label (bits.sh: the bits):
#   stop     SIGUSR1: checkpoint and exit 75, then the same bits
#   joint    4 units of 1 sample equal one joint batch of 4 within 1e-5
#   memory   peak with 4, 16, 64 copies of a task grows by their heads only, within 3 %
#   fault    a flipped bit in a shard: exit 3 with file and object on all ranks; a NaN unit is dropped; a bad checkpoint is passed over
# usage: invariants.sh CASE MEDLEY MAKE_SHARDS COMPARE
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mpi/common.sh
. "$here/common.sh"
"$make_shards" "$dir/shards" 40 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }

case $case_ in
stop)
  job "$dir/1.cfg" "$dir/run1" exact $all
  mpi 1 "$medley" train "$dir/1.cfg"; ok $? "uninterrupted"
  steps=20; job "$dir/s.cfg" "$dir/run" exact $all
  mpirun -q --oversubscribe --bind-to none -n 2 "$medley" train "$dir/s.cfg" >"$dir/log" 2>&1 &
  pid=$!
  i=0; while ! grep -q '"event":"step"' "$dir/run/record.jsonl" 2>/dev/null && [ $i -lt 200 ]; do sleep 0.1; i=$((i + 1)); done
  kill -USR1 $pid; wait $pid; code=$?
  [ $code = 75 ]; ok $? "USR1 ends with 75 (got $code)"
  mpi 3 "$medley" train "$dir/s.cfg"; ok $? "goes on, on 3 ranks"
  same "$dir/run1/checkpoints/step-000000020.h5" "$dir/run/checkpoints/step-000000020.h5"; ok $? "same bits as never stopped"
  ;;
joint)
  # no drop path, no dropout; one step; the first moments are the gradient times 0.1
  extra='dropout = 0.0;' steps=1 validate=100
  for kind in quadrant sides radius disc; do
    job "$dir/a.cfg" "$dir/a" exact "$kind:4:1:1.0"; job "$dir/b.cfg" "$dir/b" exact "$kind:1:4:0.25"
    sed -i 's/checkpoint_every = 5/checkpoint_every = 1/' "$dir/a.cfg" "$dir/b.cfg"
    mpi 1 "$medley" train "$dir/a.cfg" --fresh --set model.drop_path=0; ok $? "$kind: joint batch of 4"
    mpi 2 "$medley" train "$dir/b.cfg" --fresh --set model.drop_path=0; ok $? "$kind: 4 units of 1"
    same "$dir/a/checkpoints/step-000000001.h5" "$dir/b/checkpoints/step-000000001.h5" 1e-5 m; ok $? "$kind: equal gradients"
  done
  ;;
memory)
  steps=3 validate=100
  first=0
  for copies in 4 16 64; do
    tasks=""; i=0; while [ $i -lt $copies ]; do tasks="$tasks disc:4:1:1.0:t$i"; i=$((i + 1)); done
    job "$dir/m.cfg" "$dir/m$copies" exact $tasks
    mpi 1 "$medley" train "$dir/m.cfg"; ok $? "$copies copies"
    peak=$(grep '"event":"step"' "$dir/m$copies/record.jsonl" | tail -n 1 | sed 's/.*"memory_bytes":\([0-9.e+]*\).*/\1/')
    # a segmentation head of 2 classes: 290 parameters x 24 bytes; the batch that waits, indices and names: 128 KiB
    [ $first = 0 ] && first=$peak && base=$copies
    awk -v p="$peak" -v f="$first" -v c="$copies" -v b="$base" 'BEGIN { allowed = (f + (c - b) * (290 * 24 + 131072)) * 1.01; printf "# %d copies: peak %.1f MiB, allowed %.1f MiB\n", c, p / 1048576, allowed / 1048576; exit p > allowed }'
    ok $? "$copies copies: peak memory"
  done
  ;;
fault)
  job "$dir/n.cfg" "$dir/n" exact $all
  MEDLEY_FAULT="gradient@9:nan" mpi 2 "$medley" train "$dir/n.cfg"; ok $? "a NaN gradient does not end the run"
  grep -q "unit dropped" "$dir/log"; ok $? "the dropped unit is named"
  grep -q '"dropped":[1-9]' "$dir/n/record.jsonl"; ok $? "and counted"
  # a damaged newest checkpoint is passed over
  size=$(stat -c %s "$dir/n/checkpoints/step-000000020.h5")
  printf '\377' | dd of="$dir/n/checkpoints/step-000000020.h5" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
  mpi 2 "$medley" train "$dir/n.cfg"; ok $? "resumes beside a damaged checkpoint"
  grep -q "damaged" "$dir/log" && grep -q "at step 15" "$dir/log"; ok $? "from the one before, with a message"
  # a truncated shard and a flipped bit: exit 3 with names, on all ranks
  shard=$(ls "$dir"/shards/tiny-disc/*-00000.h5); cp "$shard" "$dir/keep"
  truncate -s $(($(stat -c %s "$shard") / 2)) "$shard"
  job "$dir/d.cfg" "$dir/d" exact $all
  mpi 3 "$medley" train "$dir/d.cfg"; code=$?; [ $code = 3 ]; ok $? "truncated shard: exit 3 (got $code)"
  grep -q "tiny-disc-00000.h5" "$dir/log"; ok $? "truncated shard is named"
  cp "$dir/keep" "$shard"
  # every sample of this one is for training, so whichever the bit belongs to is read
  "$make_shards" "$dir/shards" 40 train; rm -rf "$dir/d"
  off=$(($(stat -c %s "$shard") / 2)); byte=$(od -An -tu1 -j $off -N 1 "$shard" | tr -d ' ')
  printf "\\$(printf %o $((byte ^ 16)))" | dd of="$shard" bs=1 seek=$off conv=notrunc 2>/dev/null
  mpi 3 "$medley" train "$dir/d.cfg" --fresh; code=$?; [ $code = 3 ]; ok $? "flipped bit: exit 3 (got $code)"
  grep -q "tiny-disc-00000.h5" "$dir/log" && grep -qE "image|mask|/[a-z_]+" "$dir/log"; ok $? "flipped bit: file and object are named"
  ;;
esac
echo "1..$n"
exit $bad
