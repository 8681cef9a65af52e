#!/bin/sh
# The same bits, whoever computes what, and when:
#   bits     1, 2, 3, 4 and 7 ranks, one node and two, any placement, also a second one, ring depth, threads, delays: the same checkpoints, losses and scores
#   resume   killed at some step, resumed on another number of ranks: the same bits as never stopped
#   overlap  the sum over nodes begun during backward, between layers and by a thread: the same bits, also where a unit is dropped whose
#            gradients had gone ahead, over a stop in the middle of a step, and over a rank that is killed
#   moments  moments and moving average once a node, each rank updating its share: the same bits, over kills, with and without an early sum
#   bf16     the same in bf16, by fp32 instructions where the CPU has no others; refused there unless it is asked for
#   onednn   the same by oneDNN, which computes otherwise, short
#   verify   medley verify-run: finds the planted difference, with step, array and values; tells damage from difference
#   matrix   (long) more of `bits`: every number of ranks with several placements, ring depths and delays
#   pairs    (long) `resume` for all pairs of 1, 2, 3, 4 and 7 ranks
# usage: bits.sh CASE MEDLEY MAKE_SHARDS COMPARE
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mpi/common.sh
. "$here/common.sh"
"$make_shards" "$dir/shards" 40 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }
steps=10

# one NAME RANKS [SETTING...]: a run, and its comparison with run1
one() {
  who=$1 ranks=$2; shift 2
  sets=""; for s in "$@"; do sets="$sets --set $s"; done
  job "$dir/$who.cfg" "$dir/run$who" exact $all
  mpi "$ranks" "${program:-$medley}" train "$dir/$who.cfg" $sets; ok $? "$who: trains on $ranks ranks $*"
  cp "$dir/log" "$dir/trained"
  [ "$who" = 1 ] && return
  verify "$dir/run1" "$dir/run$who"; ok $? "$who: same bits as on 1 rank"
  rm -rf "$dir/run$who"
}

# killed_and_resumed FROM TO: rank 0 killed at some unit of a run on FROM ranks, the rest on TO
killed_and_resumed() {
  rm -rf "$dir/run"; job "$dir/k.cfg" "$dir/run" exact $all
  # rank 0 runs at least one unit a step
  at=$((6 + ($1 * 5 + $2 * 3) % 4))
  MEDLEY_FAULT="unit@$at:kill" MEDLEY_FAULT_RANK=0 mpi "$1" "$medley" train "$dir/k.cfg"; [ $? -ne 0 ]; ok $? "killed on $1 ranks at unit $at"
  mpi "$2" "$medley" train "$dir/k.cfg"; ok $? "resumed on $2 ranks"
  verify "$dir/run1" "$dir/run"; ok $? "$1 then $2 ranks: same bits as never stopped"
}

# on_nodes N: `nodes_of_N`, a program that pretends that N ranks are on each node
on_nodes() {
  # shellcheck disable=SC2016
  printf '#!/bin/sh\nMEDLEY_NODE=node$((OMPI_COMM_WORLD_RANK / %s)) exec "%s" "$@"\n' "$1" "$medley" >"$dir/nodes_of_$1"
  chmod +x "$dir/nodes_of_$1"
}

case $case_ in
bits)
  one 1 1
  one two 2 train.threads=2 train.prefetch=9
  MEDLEY_FAULT_DELAY=7:4 one delays 2 train.prefetch=1
  MEDLEY_PLACEMENT=3 one placed 3
  "$medley" check "$dir/placed.cfg" --ranks 3 >"$dir/good"; MEDLEY_PLACEMENT=3 "$medley" check "$dir/placed.cfg" --ranks 3 >"$dir/any"
  ! cmp -s "$dir/good" "$dir/any"; ok $? "which was placed otherwise"
  MEDLEY_PLACEMENT=11 MEDLEY_FAULT_DELAY=3:2 one four 4 train.prefetch=2
  one seven 7
  on_nodes 3 # a node of three ranks and one of one
  program="$dir/nodes_of_3" one nodes 4 train.prefetch=3
  # placed badly, then by measured costs
  job "$dir/re.cfg" "$dir/runre" exact $all
  seed=1
  while [ $seed -lt 30 ]; do
    MEDLEY_PLACEMENT=$seed "$medley" check "$dir/re.cfg" --ranks 3 | grep -q "^imbalance (largest over mean cost) \(1\.[6-9]\|[2-9]\)" && break
    seed=$((seed + 1))
  done
  MEDLEY_PLACEMENT=$seed mpi 3 "$medley" train "$dir/re.cfg" --set train.rebalance_after=4 && grep -q '"event":"rebalance".*"step":4,' "$dir/runre/record.jsonl"
  ok $? "a bad placement is mended after 4 steps"
  grep -q "units are placed anew by what they cost" "$dir/log" && [ "$(grep -c "planned imbalance" "$dir/log")" = 2 ]; ok $? "with a second plan"
  "$medley" status "$dir/runre" >"$dir/log" 2>&1; grep -q " in 1 session" "$dir/log"; ok $? "it is one session still"
  verify "$dir/run1" "$dir/runre"; ok $? "same bits as on 1 rank"
  job "$dir/f.cfg" "$dir/runf" float $all
  mpi 2 "$medley" train "$dir/f.cfg" --set train.steps=3; ok $? "float sum trains too"
  ;;
matrix)
  one 1 1
  for r in 2 3 4 7; do
    seeds="1 2"; [ $r = 7 ] && seeds=1
    for seed in $seeds; do
      MEDLEY_PLACEMENT=$seed one "$r-placed-$seed" $r train.prefetch=$seed
      MEDLEY_FAULT_DELAY=$seed:5 one "$r-delayed-$seed" $r train.prefetch=$((2 * seed))
      MEDLEY_LOADER_DELAY_MS=20 MEDLEY_PLACEMENT=$((seed + 10)) one "$r-slow-loader-$seed" $r train.prefetch=$seed train.threads=$seed
    done
  done
  ;;
resume)
  one 1 1
  for pair in "2 3" "3 1" "1 4"; do killed_and_resumed $pair; done
  ;;
pairs)
  one 1 1
  for a in 1 2 3 4 7; do for b in 1 2 3 4 7; do killed_and_resumed $a $b; done; done
  ;;
overlap)
  steps=8 validate=8
  for r in 1 2 3; do on_nodes $r; done
  # units that are the last of their rank and units that are not are dropped, after backward
  export MEDLEY_FAULT="gradient@sides.2.0:nan,gradient@discs.3.0:nan,gradient@disc.4.1:nan,gradient@quadrant.6.0:nan,gradient@radius.7.0:nan"
  one 1 1
  [ "$(grep -c '"event":"drop"' "$dir/run1/record.jsonl")" = 5 ]; ok $? "five units are dropped"
  program="$dir/nodes_of_1" one two 2 train.overlap=poll
  grep -q "begins during backward, in [2-9] buckets, between layers" "$dir/trained"; ok $? "the sum begins during backward"
  program="$dir/nodes_of_3" one four 4 train.overlap=poll train.prefetch=2
  program="$dir/nodes_of_2" one thread 4 train.overlap=thread
  grep -q "begins during backward, in [2-9] buckets, by a thread" "$dir/trained"; ok $? "by a thread"
  MEDLEY_FAULT_DELAY=5:4 MEDLEY_PLACEMENT=3 program="$dir/nodes_of_1" one late 3 train.overlap=thread
  program="$dir/nodes_of_2" one idle 7 train.overlap=poll # more ranks than units
  one one-node 2 train.overlap=poll
  grep -q "the sum begins after the units: there is one node" "$dir/trained"; ok $? "on one node there is nothing to begin early"
  unset MEDLEY_FAULT
  # asked to end at once in the middle of a step: it is given up on all ranks, with a checkpoint
  job "$dir/p.cfg" "$dir/plain" exact $all
  mpi 1 "$medley" train "$dir/p.cfg"; ok $? "without faults"
  job "$dir/c.cfg" "$dir/cut" exact $all
  for mode in poll thread; do
    rm -rf "$dir/cut"
    MEDLEY_FAULT="backward@3:term" mpi 4 "$dir/nodes_of_2" train "$dir/c.cfg" --set train.overlap=$mode; code=$?
    [ $code = 75 ]; ok $? "$mode: SIGTERM in backward: exit 75 (got $code)"
    MEDLEY_FAULT="unit@2:kill" MEDLEY_FAULT_RANK=2 mpi 4 "$dir/nodes_of_2" train "$dir/c.cfg" --set train.overlap=$mode; code=$?
    [ $code != 0 ] && [ $code != 75 ]; ok $? "$mode: a rank is killed: the others end (exit $code)"
    mpi 3 "$dir/nodes_of_2" train "$dir/c.cfg" --set train.overlap=$mode; ok $? "$mode: resumed"
    verify "$dir/plain" "$dir/cut"; ok $? "$mode: same bits as never stopped"
  done
  ;;
bf16)
  steps=5 validate=5 all="quadrant:6:1:1.0 sides:4:1:1.0 radius:4:1:1.0 disc:4:2:1.0 discs:4:1:1.0" # large enough for bf16 to have a part in it
  why=$("$medley" doctor "$dir" | grep "^bf16 ")
  case $why in *"would be refused"*)
    case $why in *"has no AVX512-BF16"*) says='this CPU has no AVX512-BF16' ;; *) says='linear layers are 0\.[0-9]* times as fast as in fp32 on this CPU' ;; esac
    job "$dir/r.cfg" "$dir/runr" exact $all
    mpi 2 "$medley" train "$dir/r.cfg" --set train.precision=bf16; code=$?
    [ $code = 2 ] && grep -q "train.precision = \"bf16\": $says" "$dir/log"; ok $? "refused where it would be slower (exit $code)"
    "$medley" check "$dir/r.cfg" --set train.precision=bf16 >"$dir/log" 2>&1; ok $? "a job file for another machine is checked"
  esac
  for kernel in amx onednn; do
    why=$(MEDLEY_BF16_KERNEL=$kernel "$medley" doctor "$dir" | grep "^bf16 ")
    case $why in *"by oneDNN"*) continue ;; esac
    job "$dir/r.cfg" "$dir/runr" exact $all
    MEDLEY_BF16=anyway MEDLEY_BF16_KERNEL=$kernel mpi 2 "$medley" train "$dir/r.cfg" --set train.precision=bf16; code=$?
    [ $code = 2 ] && grep -q "train.precision = \"bf16\": MEDLEY_BF16_KERNEL=$kernel: " "$dir/log"; ok $? "$kernel: a kernel that is not there is refused (exit $code)"
  done
  export MEDLEY_BF16=anyway
  one 1 1 train.precision=bf16
  grep -q '"event":"start".*"precision":"bf16"' "$dir/run1/record.jsonl"; ok $? "the record says so"
  one two 2 train.precision=bf16 train.threads=2 train.prefetch=9
  MEDLEY_FAULT_DELAY=7:4 MEDLEY_PLACEMENT=3 one three 3 train.precision=bf16
  one four 4 train.precision=bf16
  job "$dir/k.cfg" "$dir/run" exact $all
  MEDLEY_FAULT="unit@4:kill" MEDLEY_FAULT_RANK=0 mpi 3 "$medley" train "$dir/k.cfg" --set train.precision=bf16 --set train.checkpoint_every=1; [ $? -ne 0 ]; ok $? "killed on 3 ranks"
  mpi 2 "$medley" train "$dir/k.cfg"; code=$?
  [ $code = 2 ] && grep -q "precision" "$dir/log"; ok $? "does not go on in fp32 (exit $code)"
  mpi 2 "$medley" train "$dir/k.cfg" --set train.precision=bf16; ok $? "resumed on 2"
  verify "$dir/run1" "$dir/run"; ok $? "same bits as never stopped"
  # scores are those of fp32, so another machine gets them from the same weights
  unset MEDLEY_BF16
  "$medley" evaluate "$dir/run1" --split val --weights last --boot 0 >"$dir/log" 2>&1; ok $? "evaluated without bf16"
  for t in disc radius; do
    score=$(grep "\"event\":\"validate\".*\"task\":\"$t\"" "$dir/run1/record.jsonl" | tail -n 1 | sed 's/.*"score":\([^,}]*\).*/\1/')
    again=$(grep "^$t,$(grep "\"event\":\"validate\".*\"task\":\"$t\"" "$dir/run1/record.jsonl" | tail -n 1 | sed 's/.*"score_name":"\([^"]*\)".*/\1/')," "$dir/run1/scores-val.csv" | head -n 1 | cut -d, -f3)
    awk -v a="$score" -v b="$again" 'BEGIN { print "# " a " and " b; exit !(a != "" && b != "" && (a - b) ^ 2 < 1e-12) }'; ok $? "$t: the score of the run's own validation"
  done
  job "$dir/f.cfg" "$dir/full" exact $all
  mpi 1 "$medley" train "$dir/f.cfg"; ok $? "in fp32"
  ! verify "$dir/run1" "$dir/full"; ok $? "which gives other bits"
  ;;
onednn)
  export MEDLEY_BF16=anyway MEDLEY_BF16_KERNEL=onednn
  why=$("$medley" doctor "$dir" | grep "^bf16 ")
  case $why in *"by oneDNN"*) ;; *) echo "1..0 # SKIP $why"; exit 0 ;; esac
  steps=3 validate=3 all="quadrant:6:1:1.0 radius:4:1:1.0 discs:4:1:1.0"
  one 1 1 train.precision=bf16
  one two 2 train.precision=bf16 train.threads=3 train.prefetch=9
  job "$dir/k.cfg" "$dir/run" exact $all
  MEDLEY_FAULT="unit@3:kill" MEDLEY_FAULT_RANK=0 mpi 3 "$medley" train "$dir/k.cfg" --set train.precision=bf16 --set train.checkpoint_every=1; [ $? -ne 0 ]; ok $? "killed on 3 ranks"
  mpi 2 "$medley" train "$dir/k.cfg" --set train.precision=bf16; ok $? "resumed on 2"
  verify "$dir/run1" "$dir/run"; ok $? "same bits as never stopped"
  job "$dir/f.cfg" "$dir/own" exact $all
  MEDLEY_BF16_KERNEL=plain mpi 2 "$medley" train "$dir/f.cfg" --set train.precision=bf16 --set train.checkpoint_every=1; ok $? "by fp32 instructions"
  ! verify "$dir/run1" "$dir/own"; ok $? "which gives other bits"
  rm "$dir/own/checkpoints/step-000000003.h5"
  mpi 2 "$medley" train "$dir/f.cfg" --set train.precision=bf16; ok $? "which goes on by oneDNN"
  grep -q 'was made with "precision = bf16, by fp32 instructions", this run has "precision = bf16, .* by oneDNN ' "$dir/log"; ok $? "with a warning"
  ;;
moments)
  steps=8
  for r in 2 3; do on_nodes $r; done
  one 1 1 train.ema=0.9
  one two 2 train.ema=0.9 train.moments=node
  program="$dir/nodes_of_3" one four 4 train.ema=0.9 train.moments=node train.check_replicas_every=1
  program="$dir/nodes_of_2" one early 4 train.ema=0.9 train.moments=node train.overlap=thread train.prefetch=1
  one seven 7 train.ema=0.9 train.moments=node
  for pair in "node rank 3 2" "rank node 2 3"; do
    # shellcheck disable=SC2086
    set -- $pair
    rm -rf "$dir/run"; job "$dir/k.cfg" "$dir/run" exact $all
    MEDLEY_FAULT="unit@8:kill" MEDLEY_FAULT_RANK=0 mpi "$3" "$dir/nodes_of_2" train "$dir/k.cfg" --set train.ema=0.9 --set "train.moments=$1"; [ $? -ne 0 ]; ok $? "held by every $1, killed on $3 ranks"
    mpi "$4" "$dir/nodes_of_2" train "$dir/k.cfg" --set train.ema=0.9 --set "train.moments=$2"; ok $? "resumed on $4, held by every $2"
    verify "$dir/run1" "$dir/run"; ok $? "same bits as never stopped"
  done
  # a bit flips in a rank's copy of another's share (in one's own it would reach the whole node, and only other nodes could tell)
  job "$dir/flip.cfg" "$dir/flip" exact $all
  MEDLEY_FAULT="replica_flip@2:raise" MEDLEY_FAULT_RANK=1 mpi 2 "$medley" train "$dir/flip.cfg" --set train.moments=node --set train.check_replicas_every=1; code=$?
  [ $code = 5 ] && grep -q "replicas differ: weights of" "$dir/log"; ok $? "a replica that differs is found: exit 5 (got $code)"
  for m in rank node; do "$medley" check "$dir/flip.cfg" --ranks 2 --set model.encoder=swin_v2_micro --set train.moments=$m >"$dir/$m"; done
  awk '/^forecast rank 1 peak_bytes/ { if (FILENAME ~ /rank$/) a = $5; else b = $5 } END { printf "# %.1f and %.1f MiB\n", a / 1048576, b / 1048576; exit !(b < a - 16e6) }' "$dir/rank" "$dir/node"
  ok $? "the forecast of the second rank of a node is smaller"
  ;;
verify)
  few="quadrant:2:1:1.0 disc:2:1:1.0"
  steps=8
  for r in a b; do job "$dir/$r.cfg" "$dir/$r" exact $few; done
  mpi 1 "$medley" train "$dir/a.cfg" --set train.log_every=1; ok $? "a run"
  # the second unit of the sixth step (two a step) is dropped
  MEDLEY_FAULT="gradient@12:nan" mpi 1 "$medley" train "$dir/b.cfg" --set train.log_every=1; ok $? "a run with another sixth step"
  verify "$dir/a" "$dir/a"; ok $? "a run is the same as itself"
  grep -q "same bits: 2 checkpoints of steps 5 to 8" "$dir/log"; ok $? "and says what it looked at"
  verify "$dir/a" "$dir/b"; code=$?; [ $code = 1 ]; ok $? "other bits: exit 1 (got $code)"
  grep -q "first number of the record at step 6" "$dir/log"; ok $? "the first step of the record is named"
  grep -qE "first checkpoint at step 8, weights/[a-z0-9._]+ \[[0-9,]+\]: [-0-9.e+]+ and [-0-9.e+]+; [0-9]+ of [0-9]+ values differ" "$dir/log"; ok $? "the first array, with place, values and count"
  verify "$dir/a/checkpoints/step-000000005.h5" "$dir/b/checkpoints/step-000000005.h5"; ok $? "files: the same before that step"
  verify "$dir/a/checkpoints/step-000000008.h5" "$dir/b/checkpoints/step-000000008.h5"; code=$?; [ $code = 1 ]; ok $? "files: different behind it (got $code)"
  verify "$dir/a/checkpoints/step-000000005.h5" "$dir/a/checkpoints/step-000000008.h5"; code=$?; [ $code = 1 ]; ok $? "files of two steps differ (got $code)"
  grep -q "step: 5 and 8" "$dir/log"; ok $? "and say so first"
  f="$dir/b/checkpoints/step-000000005.h5"; size=$(stat -c %s "$f")
  printf '\377\376\375' | dd of="$f" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
  verify "$dir/a" "$dir/b"; code=$?; [ $code = 3 ]; ok $? "a damaged file is no difference: exit 3 (got $code)"
  verify "$dir/a" "$dir/nowhere"; code=$?; [ $code = 2 ]; ok $? "no such run: exit 2 (got $code)"
  mkdir "$dir/empty"; verify "$dir/a" "$dir/empty"; code=$?; [ $code = 3 ]; ok $? "nothing in common: exit 3 (got $code)"
  ;;
esac
echo "1..$n"
exit $bad
