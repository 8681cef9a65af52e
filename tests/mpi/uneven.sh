#!/bin/sh
# Uneven worlds: tasks with 1 sample, a prime number of them, fewer than a batch, shards and splits without a sample; more ranks than units,
# more tasks than ranks. Nothing hangs, and gradients, moments and scores are those of the run on one rank.
#   few      on 1, 2, 3 and 4 ranks
#   many     (long) on 2, 3 and 7, with delays and other placements
# usage: uneven.sh CASE MEDLEY MAKE_SHARDS COMPARE
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mpi/common.sh
. "$here/common.sh"
"$make_shards" "$dir/shards" quadrant=1,1,0 sides=5,0,1 radius=13,6,0 disc=7,5,2 discs=3,1,0 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }
steps=3 validate=2
odd="quadrant:4:1:1.0 sides:8:1:1.0 radius:2:2:1.0 disc:3:1:1.0 discs:4:1:1.0 quadrant:1:1:0.5:again"

# on RANKS: the job of all odd tasks (more tasks than ranks), and one of a single unit (more ranks than units)
on() {
  job "$dir/a$1.cfg" "$dir/a$1" exact $odd
  mpi "$1" "$medley" train "$dir/a$1.cfg" --set train.checkpoint_every=1; ok $? "odd tasks on $1 ranks"
  job "$dir/b$1.cfg" "$dir/b$1" exact sides:8:1:1.0
  mpi "$1" "$medley" train "$dir/b$1.cfg" --set train.checkpoint_every=1; ok $? "one unit on $1 ranks"
  [ "$1" = 1 ] && return
  verify "$dir/a1" "$dir/a$1"; ok $? "odd tasks: gradients, moments and scores of 1 rank on $1 ranks"
  verify "$dir/b1" "$dir/b$1"; ok $? "one unit: the same on $1 ranks"
  rm -rf "$dir/a$1" "$dir/b$1"
}

case $case_ in
few)
  for r in 1 2 3 4; do on $r; done
  grep -q '"task":"radius".*"n_samples":6' "$dir/a1/record.jsonl"; ok $? "validation counts every sample"
  ! grep -q '"event":"validate".*"task":"sides"' "$dir/a1/record.jsonl"; ok $? "an empty validation split is passed over"
  # a task without a training sample rests: the others train as without it, over a stop and on other ranks too
  "$make_shards" "$dir/shards" discs=0,2,1
  for r in 1 3; do
    job "$dir/e$r.cfg" "$dir/e$r" exact quadrant:1:1:1.0 discs:2:1:1.0
    MEDLEY_FAULT="sum@3:kill" MEDLEY_FAULT_RANK=0 mpi $r "$medley" train "$dir/e$r.cfg" --set train.checkpoint_every=1; [ $? -ne 0 ]; ok $? "a task without training samples, killed on $r ranks"
    grep -q "no training samples: task discs rests" "$dir/log"; ok $? "it is named"
    mpi $((4 - r)) "$medley" train "$dir/e$r.cfg" --set train.checkpoint_every=1; ok $? "resumed on $((4 - r))"
  done
  "$medley" check "$dir/e1.cfg" >"$dir/log" 2>&1 && grep -q "task discs: .* no training samples: it rests" "$dir/log"; ok $? "check says so too"
  verify "$dir/e1" "$dir/e3"; ok $? "the same bits"
  grep -q '"event":"step".*"loss/quadrant":' "$dir/e1/record.jsonl"; ok $? "the other task was trained"
  "$medley" evaluate "$dir/e1" --boot 0 >"$dir/log" 2>&1; ok $? "a run with a task that rests is evaluated"
  job "$dir/e.cfg" "$dir/e" exact discs:2:1:1.0
  mpi 3 "$medley" train "$dir/e.cfg"; code=$?; [ $code = 3 ]; ok $? "nothing at all to train on: exit 3 (got $code)"
  grep -q "no task has training samples" "$dir/log"; ok $? "it says so"
  # a shard without a sample, listed first
  if /usr/bin/python3 -c 'import h5py' 2>/dev/null; then
    cp -r "$dir/shards" "$dir/shards-full"
    /usr/bin/python3 "$here/empty_shard.py" "$dir/shards/tiny-radius"; ok $? "a shard without a sample"
    job "$dir/s.cfg" "$dir/s" exact radius:2:2:1.0
    mpi 2 "$medley" train "$dir/s.cfg"; ok $? "trains with it"
    sed "s|$dir/shards|$dir/shards-full|; s|$dir/s\"|$dir/f\"|" "$dir/s.cfg" >"$dir/f.cfg"
    mpi 2 "$medley" train "$dir/f.cfg"; ok $? "trains without it"
    verify "$dir/s" "$dir/f"; ok $? "the same bits"
  fi
  # a class without a sample, drawn equally often
  extra='balance_sampling = true; balance_loss = true;'
  job "$dir/w.cfg" "$dir/w" exact quadrant:4:1:1.0
  mpi 2 "$medley" train "$dir/w.cfg"; ok $? "balanced sampling with one class of four"
  ;;
many)
  on 1
  for seed in 1 2; do
    for r in 2 3 7; do MEDLEY_PLACEMENT=$seed MEDLEY_FAULT_DELAY=$seed:3 on $r; done
  done
  ;;
esac
echo "1..$n"
exit $bad
