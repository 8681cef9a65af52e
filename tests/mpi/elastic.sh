#!/bin/sh
# What a run may become between two sessions:
#   samples  every sample of an epoch is taken once, over ranks, a kill and a resume on other ranks; train.trace_samples shows it
#   tasks    tasks come and go by train.allow_task_changes only; what stays keeps its bits
# usage: elastic.sh CASE MEDLEY MAKE_SHARDS COMPARE
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mpi/common.sh
. "$here/common.sh"
"$make_shards" "$dir/shards" quadrant=11,3,0 sides=7,3,0 disc=5,3,0 radius=10,3,0 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }

case $case_ in
samples)
  steps=12 validate=0
  set -- quadrant:2:1:1.0 sides:3:1:1.0 disc:1:3:1.0
  job "$dir/1.cfg" "$dir/run1" exact "$@"; job "$dir/k.cfg" "$dir/run" exact "$@"
  mpi 1 "$medley" train "$dir/1.cfg" --set train.trace_samples=true; ok $? "uninterrupted on 1 rank"
  MEDLEY_FAULT="unit@16:kill" MEDLEY_FAULT_RANK=0 mpi 2 "$medley" train "$dir/k.cfg" --set train.trace_samples=true; [ $? -ne 0 ]; ok $? "killed on 2 ranks"
  cat "$dir"/run/samples/rank-*.csv | awk -F, '$1 >= 5 { late++ } END { exit late == 0 }'; ok $? "behind its checkpoint of step 5"
  mpi 3 "$medley" train "$dir/k.cfg" --set train.trace_samples=true; ok $? "resumed on 3 ranks"
  verify "$dir/run1" "$dir/run"; ok $? "same bits"
  cat "$dir"/run1/samples/rank-*.csv | sort >"$dir/one"; cat "$dir"/run/samples/rank-*.csv | sort >"$dir/many"
  [ "$(wc -l <"$dir/one")" = $((12 * (2 + 3 + 3))) ]; ok $? "a line for every sample of every step"
  cmp -s "$dir/one" "$dir/many"; ok $? "the same samples in the same steps as never stopped"
  # TASK SAMPLES TAKEN: none twice in an epoch, none missing in a whole epoch
  for t in "quadrant 11 24" "sides 7 36" "disc 5 36"; do
    echo "$t" | { read -r task have taken
      awk -F, -v task="$task" -v have="$have" -v taken="$taken" '
        $2 == task { total++; if (seen[$4 "," $5]++) twice++; size[$4]++; if ($4 > last) last = $4 }
        END { whole = int(taken / have)
              for (e = 0; e < whole; e++) if (size[e] != have) short++
              printf "# %s: %d samples, %d whole epochs, %d twice, %d epochs incomplete\n", task, total, whole, twice, short
              exit !(total == taken && !twice && !short && whole >= 2 && last == int((taken - 1) / have)) }' "$dir/many"; }
    ok $? "each epoch takes each sample once: $t"
  done
  ;;
tasks)
  steps=14
  job "$dir/was.cfg" "$dir/run" exact quadrant:2:1:1.0 sides:2:1:1.0 radius:2:1:1.0
  MEDLEY_FAULT="unit@15:term" mpi 1 "$medley" train "$dir/was.cfg"; code=$?; [ $code = 75 ]; ok $? "three tasks, stopped at step 5 (got $code)"
  cp -r "$dir/run" "$dir/run2"
  # radius goes, disc comes, and with it the decoder; the order is another one
  job "$dir/is.cfg" "$dir/run" exact disc:2:1:1.0 sides:2:1:1.0 quadrant:2:1:1.0
  mpi 2 "$medley" train "$dir/is.cfg"; code=$?; [ $code = 2 ]; ok $? "other tasks: refused with exit 2 (got $code)"
  grep -q "train.allow_task_changes" "$dir/log"; ok $? "the setting is named"
  mpi 2 "$medley" train "$dir/is.cfg" --set train.allow_task_changes=true; ok $? "with the setting, on 2 ranks"
  cp "$dir/log" "$dir/said"
  grep -q "task radius of .*step-000000005.h5 is not in the job any more" "$dir/said"; ok $? "the removed task is named"
  grep -q "task disc is not in .*step-000000005.h5: it starts with a new head" "$dir/said"; ok $? "the added task is named"
  grep -q "resumed from .* at step 5" "$dir/said"; ok $? "from step 5"
  grep -q '"step":10.*"loss/disc":[0-9]' "$dir/run/record.jsonl"; ok $? "the new task learns"
  job "$dir/three.cfg" "$dir/run2" exact disc:2:1:1.0 sides:2:1:1.0 quadrant:2:1:1.0
  mpi 3 "$medley" train "$dir/three.cfg" --set train.allow_task_changes=true; ok $? "the same on 3 ranks"
  verify "$dir/run" "$dir/run2"; ok $? "same bits on 2 and 3 ranks"
  verify "$dir/run/checkpoints/step-000000005.h5" "$dir/run/checkpoints/step-000000010.h5" --most 1000000
  grep -q "weights/head.radius.weight: only in .*05.h5" "$dir/log" && grep -q "weights/head.disc.*: only in .*10.h5" "$dir/log"
  ok $? "the heads in the checkpoints are those of the tasks"
  # from here on these are the run's tasks: no setting is needed
  rm "$dir/run/checkpoints/step-000000014.h5"
  mpi 1 "$medley" train "$dir/is.cfg"; ok $? "resumed without the setting"
  verify "$dir/run" "$dir/run2"; ok $? "same bits again"
  mpi 2 "$medley" evaluate "$dir/run" --split val; ok $? "best weights are those of the new tasks"
  # a task that stays may not change, setting or not
  rm "$dir/run/checkpoints/step-000000014.h5"
  job "$dir/other.cfg" "$dir/run" exact disc:2:1:1.0 sides:2:1:0.5 quadrant:2:1:1.0
  mpi 1 "$medley" train "$dir/other.cfg" --set train.allow_task_changes=true; code=$?; [ $code = 2 ]; ok $? "a changed weight is refused (got $code)"
  grep -q 'tasks\[sides\].*weight 1.*weight 0.5' "$dir/log"; ok $? "with both values"
  job "$dir/none.cfg" "$dir/run" exact radius:2:1:1.0
  mpi 1 "$medley" train "$dir/none.cfg" --set train.allow_task_changes=true; code=$?; [ $code = 2 ]; ok $? "no task in common is refused (got $code)"
  ;;
esac
echo "1..$n"
exit $bad
