#!/bin/sh
# The memory budget of a rank (train.memory), on the shipped program. Budgets are worked out from what `medley check` says, not written down.
#   recompute  a budget below the need: stages are recomputed, and the weights, moments and metrics are those of a run without a budget, on 1
#              and 2 ranks and resumed from it; the peak falls, stays below the budget and within 5 % of the forecast
#   micro      micro_batch = "auto": fewer images at a time, the same bits on 1 and 2 ranks, in training and in evaluation; another number of
#              images at a time is no resume
#   refused    a budget that nothing can make fit: exit 4 with task and bytes from check and train, on 1 and 2 ranks
# usage: budget.sh CASE MEDLEY MAKE_SHARDS COMPARE
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mpi/common.sh
. "$here/common.sh"
"$make_shards" "$dir/shards" 40 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }

cat >"$dir/job.cfg" <<EOT
run = "$dir/none"; data_root = "$dir/shards"; seed = 5; model : { encoder = "swin_v2_micro"; };
train : { steps = 4; threads = 1; checkpoint_every = 2; checkpoint_minutes = 0.0; validate_every = 2; log_every = 1; watchdog_s = 60.0; };
optim : { warmup = 2; };
tasks = ( { name = "class"; data = "tiny-quadrant"; image = [128, 128]; batch = 8; },
          { name = "labels"; data = "tiny-sides"; image = [64, 64]; batch = 4; },
          { name = "scalar"; data = "tiny-radius"; image = [64, 64]; batch = 4; },
          { name = "mask"; data = "tiny-disc"; image = [128, 128]; batch = 4; },
          { name = "boxes"; data = "tiny-discs"; image = [96, 96]; batch = 4; } );
EOT
auto=""
for t in class labels scalar mask boxes; do auto="$auto --set tasks[$t].micro_batch=auto"; done

check() { "$medley" check "$dir/job.cfg" "$@" >"$dir/log" 2>&1; }
train() { ranks=$1 name=$2; shift 2; mpi "$ranks" "$medley" train "$dir/job.cfg" --set run="$dir/$name" "$@"; }
forecast() { sed -n 's/^forecast rank 0 peak_bytes \([0-9]*\)$/\1/p' "$dir/log"; }
peak() { sed -n 's/.*"event":"end".*"memory_bytes":\([0-9.e+]*\).*/\1/p' "$dir/$1/record.jsonl"; }
# The least a budget can be, in bytes, with these options: what the refusal of a budget of 1 MiB names.
least() { check --set train.memory=1MiB "$@"; sed -n 's/.*a rank needs \([0-9]*\) bytes.*/\1/p' "$dir/log"; }
kib() { awk -v b="$1" -v f="${2:-1}" 'BEGIN { printf "%.0fKiB", b * f / 1024 + 1 }'; }
within() { awk -v p="$1" -v f="$2" 'BEGIN { printf "# peak %.1f MiB, forecast %.1f MiB\n", p / 1048576, f / 1048576; exit !(f > 0 && p < 1.05 * f && p > 0.95 * f) }'; }

case $case_ in
recompute)
  train 1 none; ok $? "without a budget"
  check; before=$(forecast)
  tight=$(kib "$(least)")
  check --set train.memory="$tight"; ok $? "check at $tight, the least there can be"
  after=$(forecast)
  sed -n 's/^  \([a-z]* .* at a time.*\)/# \1/p' "$dir/log"
  grep -q 'mask .* 4 of 4 images at a time, stages recomputed: 1 2 3 4 ' "$dir/log" && grep -q 'class .* 8 of 8 images at a time, stages recomputed: [1-4]' "$dir/log"
  ok $? "all stages of the largest task recomputed, whole batches"
  [ "${after:-0}" -gt 0 ] && [ "$after" -lt "$before" ]; ok $? "the forecast falls from $before to $after bytes"
  for r in 1 2; do
    train $r tight$r --set train.memory="$tight"; ok $? "trains on $r ranks under it"
    grep -q "memory $tight a rank: task mask: 4 of 4" "$dir/log"; ok $? "and says what it chose"
    verify "$dir/none" "$dir/tight$r"; ok $? "$r ranks: the bits of the run without a budget"
  done
  within "$(peak tight1)" "$after"; ok $? "peak within 5 % of the forecast"
  awk -v p="$(peak tight1)" -v b="${tight%KiB}" 'BEGIN { exit p > b * 1024 }'; ok $? "peak below the budget"
  train 1 mixed --set train.memory="$tight" --set train.time_limit_minutes=1e-9; code=$?
  [ $code = 75 ]; ok $? "stopped at once under the budget (exit $code)"
  train 2 mixed; ok $? "goes on without one"
  verify "$dir/none" "$dir/mixed"; ok $? "the same bits"
  ;;
micro)
  tight=$(kib "$(least)") # what whole batches need at least
  # shellcheck disable=SC2086
  floor=$(least $auto) smaller=$(kib "$floor" 1.03) # room for the buffers of a second thread
  # shellcheck disable=SC2086
  check $auto --set train.memory="$smaller"; ok $? "check at $smaller, whole batches need $tight"
  sed -n 's/^  \([a-z]* .* at a time.*\)/# \1/p' "$dir/log"
  after=$(forecast)
  grep -q 'mask .* [12] of 4 images at a time' "$dir/log"; ok $? "fewer images at a time"
  grep 'images at a time' "$dir/log" >"$dir/choice"
  for r in 2 7; do
    # shellcheck disable=SC2086
    check $auto --set train.memory="$smaller" --ranks $r
    grep 'images at a time' "$dir/log" | cmp -s - "$dir/choice"; ok $? "the same choice for $r ranks"
  done
  for r in 1 2; do
    # shellcheck disable=SC2086
    train $r micro$r $auto --set train.memory="$smaller" --set train.threads=$r; ok $? "trains on $r ranks with $r threads under it"
  done
  verify "$dir/micro1" "$dir/micro2"; ok $? "the same bits on 1 and 2 ranks and threads"
  within "$(peak micro1)" "$after"; ok $? "peak within 5 % of the forecast"
  awk -v p="$(peak micro1)" -v b="${smaller%KiB}" 'BEGIN { exit p > b * 1024 }'; ok $? "peak below the budget"
  train 1 whole; ok $? "without a budget"
  # the loss of the first step is that of whole batches but for rounding
  for run in whole micro1; do sed -n 's/.*"event":"step","step":1,.*"loss":\([0-9.e+-]*\),.*/\1/p' "$dir/$run/record.jsonl" | head -n 1; done >"$dir/loss"
  tr '\n' ' ' <"$dir/loss" | awk '{ d = $1 / $2 - 1; print "# losses of step 1:", $0; exit !(NF == 2 && d < 1e-5 && d > -1e-5) }'; ok $? "first loss as that of whole batches"
  # shellcheck disable=SC2086
  train 1 micro1 $auto --set train.memory=64GiB; code=$?
  [ $code = 2 ] && grep -q "images at a time" "$dir/log"; ok $? "no resume with a budget that runs more images at a time (exit $code)"
  mpi 2 "$medley" evaluate "$dir/micro2" --split val --weights last; ok $? "evaluation under the budget"
  cp "$dir/micro2/scores-val.csv" "$dir/scores2"
  mpi 1 "$medley" evaluate "$dir/micro2" --split val --weights last; ok $? "evaluation on 1 rank"
  cmp -s "$dir/scores2" "$dir/micro2/scores-val.csv"; ok $? "the same scores"
  # one image at a time (steps count from 0 in samples/): mask's third of step 2 is the 14th forward: four tasks of one piece, one of four
  MEDLEY_FAULT="activation@14:nan" train 1 bad --set 'tasks[mask].micro_batch=1' --set train.trace_samples=true; ok $? "a number of images at a time without a budget; a bad one in a piece"
  third=$(awk -F, '$1 == 1 && $2 == "mask" { print $NF }' "$dir/bad/samples/rank-0.csv" | sed -n 3p)
  grep '"event":"drop"' "$dir/bad/record.jsonl" | sed 's/^/# /'
  [ "$(grep -c '"event":"drop"' "$dir/bad/record.jsonl")" = 1 ] && grep '"event":"drop"' "$dir/bad/record.jsonl" | grep '"step":2,"task":"mask"' | grep -q "\"cause\":\"activation\".*\"sample\":\"$third\""
  ok $? "one unit dropped, and the sample named: $third"
  ;;
refused)
  for r in 1 2; do
    check --ranks $r --set train.memory=100MiB; code=$?
    [ $code = 4 ]; ok $? "check for $r ranks: exit 4 ($code)"
    grep -q 'task mask: train.memory = "100MiB" is too little: a rank needs [0-9]* bytes ([0-9.]* MiB) even with all stages of the encoder recomputed and 4 of 4 images' "$dir/log"
    ok $? "names the task and the bytes"
    grep -q 'micro_batch = "auto"' "$dir/log"; ok $? "and a way out"
    # shellcheck disable=SC2086
    train $r run $auto --set train.memory=100MiB; code=$?
    [ $code = 4 ]; ok $? "training on $r ranks: exit 4 ($code)"
    [ "$(grep -c 'task mask: train.memory = "100MiB" is too little: .*and 1 of 4 images at a time' "$dir/log")" = 1 ]; ok $? "said once, with task and bytes"
    [ ! -e "$dir/run/record.jsonl" ]; ok $? "nothing was trained"
  done
  ;;
esac
echo "1..$n"
exit $bad
