#!/bin/sh
# Bad numbers, on the shipped program with tiny shards of every kind of label:
#   sources   NaN in an image, a label, an activation, a gradient: named by step, task, unit, tensor, sample and rank; the unit is dropped, the
#             rest trains on; 1, 2 and 3 ranks end with the same bits
#   suspend   a task that keeps failing is suspended, and record, status and report say so; all of them: exit 5; never, if so wished
#   damage    NaN in one rank's weights, or a flipped bit: exit 5 with rank and tensor before it reaches a checkpoint; the run goes on from
#             the one before with the same bits
# usage: numbers.sh CASE MEDLEY MAKE_SHARDS COMPARE
set -u
case_=$1 medley=$2 make_shards=$3 compare=$4
dir=$(mktemp -d /tmp/medley-num-XXXXXX)
trap 'rm -rf "$dir"' EXIT
export OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
n=0 bad=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=1; [ -f "$dir/log" ] && tail -n 8 "$dir/log" | sed 's/^/# /'; fi; }
has() { grep -q -e "$1" "$2"; ok $? "$3"; }
# train RANKS RUN [words...]: 6 steps, a checkpoint after 3 and 6
train() {
  ranks=$1 run=$2
  shift 2
  mpirun -q --oversubscribe --bind-to none -n "$ranks" "$medley" train "$dir/job.cfg" --set "run=$dir/$run" "$@" >"$dir/log" 2>&1
}
last() { echo "$dir/$1/checkpoints/step-000000006.h5"; }
drops() { grep '"event":"drop"' "$dir/$1/record.jsonl" | sed 's/"time":[^,]*,//'; }

"$make_shards" "$dir/shards" 40 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }
{
  echo "run = \"x\"; data_root = \"$dir/shards\"; seed = 5;"
  echo 'model : { encoder = "swin_v2_nano"; };'
  echo 'train : { steps = 6; threads = 1; checkpoint_every = 3; validate_every = 100; log_every = 1; keep = 9; watchdog_s = 120.0; suspend_after = 3; };'
  echo 'optim : { lr = 1e-3; warmup = 4; };'
  echo 'tasks = ('
  for kind in quadrant sides radius discs; do echo "{ name = \"$kind\"; data = \"tiny-$kind\"; image = [64, 64]; batch = 2; },"; done
  echo '{ name = "disc"; data = "tiny-disc"; image = [64, 64]; batch = 2; units = 2; });'
} >"$dir/job.cfg"

case $case_ in
sources)
  MEDLEY_FAULT="image@disc.2.1:nan,activation@radius.2.0:nan,gradient@quadrant.2.0:nan,label@quadrant.3.0:nan,label@sides.3.0:nan,label@disc.4.0:nan,label@radius.4.0:nan,label@discs.5.0:nan,gradient@discs.4.0:nan"
  export MEDLEY_FAULT
  for r in 1 2 3; do
    train $r run$r; ok $? "nine bad units, $r ranks: the run goes on"
    drops run$r | sed 's/"rank":[0-9]*,//' >"$dir/drops$r"
    [ $r = 1 ] || { cmp -s "$dir/drops1" "$dir/drops$r"; ok $? "1 and $r ranks: the same drops are recorded"; }
    [ $r = 1 ] || { "$compare" "$(last run1)" "$(last run$r)"; ok $? "1 and $r ranks: same bits"; }
  done
  unset MEDLEY_FAULT
  [ "$(wc -l <"$dir/drops1")" = 9 ]; ok $? "nine drops"
  has '"step":2,"task":"disc","unit":1,"cause":"image","tensor":"image","sample":"[0-9]*"' "$dir/drops1" "image: step, task, unit and sample"
  has '"step":2,"task":"radius","unit":0,"cause":"activation","tensor":"encoder.features.3.1","sample":"[0-9]*"' "$dir/drops1" "activation: the first bad layer"
  has '"step":2,"task":"quadrant","unit":0,"cause":"gradient","tensor":"head.quadrant.weight","sample":"[0-9]*,[0-9]*"' "$dir/drops1" "gradient: the tensor nearest to the loss"
  has '"step":4,"task":"discs","unit":0,"cause":"gradient","tensor":"head.discs.cls.weight"' "$dir/drops1" "gradient of another kind of head"
  for kind in quadrant:3 sides:3 disc:4 radius:4 discs:5; do
    has "\"step\":${kind#*:},\"task\":\"${kind%:*}\",\"unit\":0,\"cause\":\"label\",\"tensor\":\"label\",\"sample\":\"[0-9]*\"" "$dir/drops1" "label of ${kind%:*}"
  done
  # which rank ran it: the log of 3 ranks and the record agree, and not all of it was rank 0
  drops run3 | sed 's/.*"step":\([0-9]*\),"task":"\([a-z]*\)","unit":\([0-9]*\),"rank":\([0-9]*\),.*/step \1, task \2, unit \3, rank \4:/' >"$dir/where"
  all=0
  while read -r line; do grep -q "$line .*unit dropped" "$dir/log" || all=1; done <"$dir/where"
  [ $all = 0 ] && grep -qv "rank 0:" "$dir/where"; ok $? "log and record name the same ranks"
  # the id is that of a training sample (three of five are)
  id=$(sed -n 's/.*"cause":"image".*"sample":"\([0-9]*\)".*/\1/p' "$dir/drops1")
  [ $((id % 5)) -lt 3 ]; ok $? "sample $id is a training sample"
  grep '"event":"step"' "$dir/run1/record.jsonl" | tail -n 1 >"$dir/end"
  [ "$(grep -o '"loss/[a-z]*":[0-9]' "$dir/end" | wc -l)" = 5 ]; ok $? "all five tasks train in the last step"
  ;;
suspend)
  MEDLEY_FAULT="label@sides.2.0:nan,gradient@sides.3.0:nan,image@sides.4.0:nan" train 2 run; ok $? "three bad steps of a task"
  has '"event":"suspend",.*"step":4,"task":"sides","failures":3' "$dir/run/record.jsonl" "the record says suspended"
  has "step 4: task sides suspended" "$dir/log" "so does the log"
  grep '"event":"step"' "$dir/run/record.jsonl" | tail -n 1 >"$dir/end"
  grep -q '"loss/sides":null' "$dir/end" && [ "$(grep -o '"loss/[a-z]*":[0-9]' "$dir/end" | wc -l)" = 4 ]; ok $? "the others go on"
  "$medley" status "$dir/run" >"$dir/status"; has "sides .*suspended at step 4" "$dir/status" "status says it"
  has "sides: 3 units dropped, the last at step 4, unit 0 on rank [01]: image; sample [0-9]*" "$dir/status" "with the last source"
  "$medley" report "$dir/run" >/dev/null && has "Task sides was suspended at step 4" "$dir/run/report.html" "the report says it"
  MEDLEY_FAULT="gradient@*:nan" train 1 all --set train.suspend_after=2; code=$?
  [ $code = 5 ] && grep -q "every task is suspended" "$dir/log"; ok $? "no task left: exit 5 (got $code)"
  MEDLEY_FAULT="gradient@*:nan" train 1 never --set train.suspend_after=0 --set train.steps=3; code=$?
  [ $code = 0 ] && ! grep -q '"event":"suspend"' "$dir/never/record.jsonl"; ok $? "suspend_after = 0 never suspends (got $code)"
  ;;
damage)
  train 1 clean; ok $? "undisturbed"
  for r in 1 2; do
    MEDLEY_FAULT="weight@radius.5.0:nan" train $r run$r; code=$?
    [ $code = 5 ]; ok $? "bad weight, $r ranks: exit 5 (got $code)"
    has "step 5, task radius, unit 0, rank [01]: weight encoder\.[a-z0-9_.]* is not finite" "$dir/log" "bad weight, $r ranks: step, task, unit, rank and tensor"
    [ -f "$dir/run$r/checkpoints/step-000000003.h5" ] && [ ! -e "$(last run$r)" ]; ok $? "bad weight, $r ranks: the checkpoint before stays the last"
  done
  for r in 2 3; do
    MEDLEY_FAULT_RANK=1 MEDLEY_FAULT="replica_flip@4:raise" train $r flip$r; code=$?
    [ $code = 5 ]; ok $? "flipped bit, $r ranks: exit 5 (got $code)"
    where="on rank 1 of 3"; [ $r = 2 ] && where="on ranks 0, 1 of 2, and no majority"
    has "step 6: replicas differ: weights of encoder\.[a-z0-9_.]* $where" "$dir/log" "flipped bit, $r ranks: array, tensor and rank"
    [ -f "$dir/flip$r/checkpoints/step-000000003.h5" ] && [ ! -e "$(last flip$r)" ] && [ ! -e "$dir/flip$r/best.h5" ]; ok $? "flipped bit, $r ranks: nothing of it is saved"
  done
  MEDLEY_FAULT_RANK=1 MEDLEY_FAULT="replica_flip@1:raise" train 2 early --set train.check_replicas_every=2; code=$?
  [ $code = 5 ] && grep -q "step 2: replicas differ" "$dir/log"; ok $? "found at the next periodic check (got $code)"
  train 2 flip3; ok $? "goes on from the checkpoint before"
  "$compare" "$(last clean)" "$(last flip3)"; ok $? "same bits as undisturbed"
  ;;
esac
echo "1..$n"
exit $bad
