#!/bin/sh
# Memory, on the shipped program:
#   refused   a request for memory that is refused at many places, once and for ever, on 1 and 2 ranks: exit 4 with a message, no hang
#   steady    no request for memory by the program's own code between the second and the last step, seen by a preloaded shim
#   forecast  the measured peak lies within 5 % of what `medley check` predicted, for 4, 16 and 64 tasks on 1 and 2 ranks
# usage: memory.sh CASE MEDLEY MAKE_SHARDS [SHIM | long]
set -u
case_=$1 medley=$2 make_shards=$3 more=${4:-}
dir=$(mktemp -d /tmp/medley-mem-XXXXXX)
trap 'rm -rf "$dir"' EXIT
export OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
n=0 bad=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=1; [ -f "$dir/log" ] && tail -n 8 "$dir/log" | sed 's/^/# /'; fi; }
mpi() { ranks=$1; shift; timeout "${patience:-300}" mpirun -q --oversubscribe --bind-to none -n "$ranks" "$@" >"$dir/log" 2>&1; }

# told CHECK-OPTION...: the largest peak that check foretells of a rank; taken: the largest of the last run; both in bytes
told() { "$medley" check "$dir/job.cfg" "$@" 2>/dev/null | sed -n 's/^forecast rank [0-9]* peak_bytes \([0-9]*\)$/\1/p' | sort -n | tail -n 1; }
taken() { sed -n 's/.*"event":"end".*"memory_bytes":\([0-9.e+]*\).*/\1/p' "$dir/run/record.jsonl"; }

# job STEPS TASKS...: a task is KIND:SIDE:BATCH:NAME
job() {
  steps=$1
  shift
  echo "run = \"$dir/run\"; data_root = \"$dir/shards\"; seed = 5; model : { encoder = \"${encoder:-swin_v2_nano}\"; };"
  echo "train : { steps = $steps; threads = 1; checkpoint_every = 0; checkpoint_minutes = 0.0; validate_every = 0; log_every = 5; watchdog_s = 60.0; check_replicas_every = 4; rebalance_after = 0; };"
  echo 'tasks = ('
  comma=""
  for t in "$@"; do
    IFS=: read -r kind side batch name <<EOT
$t
EOT
    printf '%s{ name = "%s"; data = "tiny-%s"; image = [%s, %s]; batch = %s; }' "$comma" "$name" "$kind" "$side" "$side" "$batch"
    comma=",
"
  done
  echo ');'
}

"$make_shards" "$dir/shards" 40 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }
kinds="quadrant:64:2:quadrant sides:64:2:sides radius:64:2:radius disc:64:2:disc discs:64:2:discs"

case $case_ in
refused)
  # shellcheck disable=SC2086
  job 2 $kinds >"$dir/job.cfg"
  for r in 1 2; do
    [ $r = 2 ] && export MEDLEY_FAULT_RANK=1
    step=9; [ "$more" = long ] && step=1
    k=1 n_refused=0 wrong=""
    while [ $k -lt 100000 ]; do
      for later in "" +; do
        rm -rf "$dir/run"
        MEDLEY_FAULT_ALLOC="$k$later" mpi $r "$medley" train "$dir/job.cfg"; code=$?
        [ $code = 0 ] && [ -z "$later" ] && break 2 # more than the run asks for
        n_refused=$((n_refused + 1))
        if [ $code != 4 ] || ! grep -q "out of memory" "$dir/log"; then
          wrong="$wrong $k$later:$code"
          sed "s/^/# $k$later: /" "$dir/log" | tail -n 3
        fi
      done
      k=$((k * (step + 3) / 3 + 1))
    done
    [ -z "$wrong" ] && [ $n_refused -ge 8 ]; ok $? "$r ranks: exit 4 at each of $n_refused refusals, up to request $k$wrong"
  done
  ;;
steady)
  # shellcheck disable=SC2086
  job 30 $kinds >"$dir/job.cfg"
  # the tightest budget there can be, and one task in pieces: what recomputes and what is run in turn asks for nothing either
  "$medley" check "$dir/job.cfg" --set train.memory=1MiB --set 'tasks[disc].micro_batch=1' >"$dir/log" 2>&1
  budget=$(sed -n 's/.*a rank needs \([0-9]*\) bytes.*/\1/p' "$dir/log" | awk '{ printf "%.0fKiB", $1 / 1024 + 1 }')
  mpi 2 env LD_PRELOAD="$more" ALLOC_SHIM_OUT="$dir/shim" ALLOC_SHIM_STEPS=30 MEDLEY_FAULT_TRACE=/dev/null "$medley" train "$dir/job.cfg" \
    --fresh --set train.memory="$budget" --set 'tasks[disc].micro_batch=1'
  ok $? "30 steps on 2 ranks under the shim"
  grep -q "memory $budget a rank: task disc: 1 of 2 images" "$dir/log" && grep -q "stages recomputed: [1-4]" "$dir/log"
  ok $? "with a budget of $budget: pieces, and stages recomputed"
  for i in 0 1; do
    sed 's/^/# /' "$dir/shim.$i"
    grep -q '^steps 30 ours_before [1-9][0-9]* ours 0 ' "$dir/shim.$i"; ok $? "rank $i: many requests before, none from step 3 to 30"
  done
  ;;
forecast)
  # Four tasks decide the peak, one of each kind; the others are small, so that 64 of them take no minute. The long form trains a larger
  # encoder and all pairs of tasks and ranks.
  encoder=swin_v2_micro pairs="4:1 16:2 64:2" shapes="disc:192:3:mask discs:192:3:boxes quadrant:256:4:class radius:128:6:scalar" small=32:1
  [ "$more" = long ] && encoder=swin_v2_t pairs="4:1 4:2 4:3 16:1 16:2 64:1 64:2" small=64:2
  for pair in $pairs; do
    copies=${pair%:*} r=${pair#*:} tasks=$shapes i=4
    while [ $i -lt "$copies" ]; do tasks="$tasks quadrant:$small:t$i"; i=$((i + 1)); done
    # shellcheck disable=SC2086
    job 2 $tasks >"$dir/job.cfg" # moments are touched in the first update: the second step has the peak
    predicted=$(told --ranks "$r")
    mpi "$r" "$medley" train "$dir/job.cfg" --fresh; ok $? "$copies tasks train on $r ranks"
    peak=$(taken)
    awk -v p="${peak:-0}" -v f="${predicted:-0}" 'BEGIN { off = f > 0 ? p / f - 1 : 9; printf "# peak %.1f MiB, predicted %.1f MiB: %+.1f %%\n", p / 1048576, f / 1048576, 100 * off; exit off > 0.05 || off < -0.05 }'
    ok $? "$copies tasks, $r ranks: peak within 5 % of the forecast"
  done
  if MEDLEY_BF16_KERNEL=onednn "$medley" doctor 2>/dev/null | grep -q 'bf16.*oneDNN'; then
    # oneDNN's own memory is nothing beside a large encoder's: both forecasts, and both peaks
    job 2 disc:192:3:mask >"$dir/job.cfg"
    for k in avx512 onednn; do
      export MEDLEY_BF16=anyway MEDLEY_BF16_KERNEL=$k
      told --ranks 1 --set train.precision=bf16 >"$dir/check.$k"
      mpi 1 "$medley" train "$dir/job.cfg" --fresh --set train.precision=bf16
      taken >"$dir/peak.$k"
    done
    paste "$dir/check.avx512" "$dir/check.onednn" "$dir/peak.avx512" "$dir/peak.onednn" | awk '{
      told = ($2 - $1) / 1048576; took = ($4 - $3) / 1048576
      printf "# oneDNN: %.1f MiB told, %.1f taken\n", told, took; exit told < 1 || took - told > 6 || told - took > 6 }'
    ok $? "what oneDNN takes is told"
  else n=$((n + 1)); echo "ok $n - what oneDNN takes is told # SKIP no oneDNN here, or no AVX512-BF16"; fi
  ;;
esac
echo "1..$n"
exit $bad
