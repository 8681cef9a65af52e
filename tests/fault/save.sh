#!/bin/sh
# Saving on the shipped program: nothing that happens while a checkpoint is written costs more than the steps since the one before.
# (each as CASE-all too: everything it can, for the long suite)
#   kill      kill -9 at fault points of a save, then resume: same bits; kill-all: at several visits of every point and of every kind of
#             collective, on 2 ranks
#   disk      full, broken and read-only disks at every call of a save, by a preloaded library and by a small or read-only mount
#   damage    flipped bits: the checkpoint before is used, with a message; pruning after that never removes the last good one
#   stop      USR1, TERM, time limits: checkpoint and exit 75; a second TERM ends at once
#   slurm     what a scheduler sends;  mpirun (long): what mpirun makes of it
#   go        the record of a background save; failures that are to be survived; foreground
# usage: save.sh CASE MEDLEY MAKE_SHARDS COMPARE VERIFY_FILE TEST_CHECKPOINT_DAMAGE FAILING_DISK
set -u
all=no
case $1 in *-all) all=yes MEDLEY_DAMAGE_ALL=1; export MEDLEY_DAMAGE_ALL ;; esac
case_=${1%-all} medley=$2 make_shards=$3 compare=$4 verify=$5 damage=$6 failing_disk=$7
dir=$(mktemp -d /tmp/medley-save-XXXXXX)
mounted=
cleanup() { [ -z "$mounted" ] || umount "$mounted"; rm -rf "$dir"; }
trap cleanup EXIT
export OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_ess_singleton_isolated=1 # one rank without mpirun starts no daemon
unset SLURM_JOB_END_TIME
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
n=0 bad=0
ok() {
  n=$((n + 1))
  if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=1; [ ! -f "$dir/log" ] || tail -n 6 "$dir/log" | cut -c 1-400 | sed 's/^/# /'; fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
mpi() { ranks=$1; shift; mpirun -q --oversubscribe --bind-to none -n "$ranks" "$@" >"$dir/log" 2>&1; }
one() { "$medley" "$@" >"$dir/log" 2>&1; } # one rank
says() { grep -q -- "$1" "$dir/log"; }
is() { [ "$1" = "$2" ]; }
last="step-000000006.h5"

job() { # job FILE RUN [TRAIN-SETTINGS]
  cat >"$1" <<END
run = "$2"; data_root = "$dir/shards"; seed = 5;
model : { encoder = "swin_v2_nano"; };
train : { steps = 6; threads = 1; checkpoint_every = 2; validate_every = 3; log_every = 1; watchdog_s = 60.0; ${3:-keep = 9;} };
optim : { lr = 1e-3; warmup = 2; };
tasks = ( { name = "quadrant"; data = "tiny-quadrant"; image = [64, 64]; batch = 2; },
          { name = "radius"; data = "tiny-radius"; image = [64, 64]; batch = 2; } );
END
}
# wait_for SECONDS COMMAND...: until it succeeds
wait_for() { left=$(($1 * 10)); shift; until "$@" 2>/dev/null; do left=$((left - 1)); [ $left -gt 0 ] || return 1; sleep 0.1; done; }
same() { "$compare" "$dir/ref/checkpoints/$last" "$1/checkpoints/$last" >"$dir/log" 2>&1; }
same_best() { "$compare" "$dir/ref/best.h5" "$1/best.h5" >"$dir/log" 2>&1; }
no_parts() { [ -z "$(find "$1" -name '*.part')" ]; }
events() { grep -c "\"event\":\"$1\"" "$2/record.jsonl"; }

"$make_shards" "$dir/shards" 40 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }
job "$dir/ref.cfg" "$dir/ref"
one train "$dir/ref.cfg"; ok $? "a run that nothing happens to"

# killed WHERE VISIT [RANKS RANKS]: dies there, resumes, compares
killed() {
  rm -rf "$dir/run"; job "$dir/k.cfg" "$dir/run" "keep = 2;"
  if [ $# -gt 2 ]; then MEDLEY_FAULT="$1@$2:kill" MEDLEY_FAULT_RANK=0 mpi "$3" "$medley" train "$dir/k.cfg"
  else MEDLEY_FAULT="$1@$2:kill" one train "$dir/k.cfg"; fi
  code=$?
  [ $code -ne 0 ] || { echo "# $1@$2 was not met"; return 1; }
  for file in "$dir"/run/checkpoints/step-*.h5; do [ ! -f "$file" ] || "$verify" "$file" || return 1; done
  if [ $# -gt 2 ]; then mpi "$4" "$medley" train "$dir/k.cfg"; else one train "$dir/k.cfg"; fi || return 1
  no_parts "$dir/run" || { echo "# temporary files stay"; return 1; }
  is "$(events validate "$dir/run")" 4 && is "$(events end "$dir/run")" 1 || { echo "# the record repeats itself"; return 1; }
  is "$(find "$dir/run/checkpoints" -name '*.h5' | wc -l)" 2 || { ls "$dir/run/checkpoints"; return 1; }
  same "$dir/run" && same_best "$dir/run"
}

# sees PATTERN: exit 4, path and cause in one line, the checkpoint before is whole, the failed one is not there at all
fails_whole() {
  is "$code" 4 || { echo "# exit $code"; return 1; }
  grep "$1" "$dir/log" | grep -q "step-000000004.h5" || { echo "# no message with path and \"$1\""; return 1; }
  [ ! -e "$dir/run/checkpoints/step-000000004.h5" ] && no_parts "$dir/run" || { ls -R "$dir/run"; return 1; }
  "$verify" "$dir/run/checkpoints/step-000000002.h5"
}
disk() { LD_PRELOAD="$failing_disk" MEDLEY_DISK="$1" MEDLEY_DISK_PATH="${2:-step-000000004.h5.part}" one train "$dir/k.cfg"; code=$?; }

case $case_ in
kill)
  rm -rf "$dir/run"; job "$dir/k.cfg" "$dir/run" "keep = 2;"
  # kill-all runs on 2 ranks, and rank 0 meets the same points there
  MEDLEY_FAULT_TRACE="$dir/trace" one train "$dir/k.cfg"; ok $? "the points of a run that saves"
  sed -n 's/^0 \(save_[a-z_]*\) .*/\1/p' "$dir/trace" | sort | uniq -c >"$dir/points"
  is "$(wc -l <"$dir/points")" 13; ok $? "13 kinds of points: begin, array, image, create, write, seal, sync, verify, rename, sync_dir, done, prune, unlink"
  if [ $all = yes ]; then # a rank that dies in a collective of any kind
    rm -rf "$dir/run" "$dir/trace"
    MEDLEY_FAULT_TRACE="$dir/trace" mpi 2 "$medley" train "$dir/k.cfg"; ok $? "the collectives of a run on 2 ranks"
    sed -n 's/^0 \(comm_[a-z_0-9]*\) .*/\1/p' "$dir/trace" | grep -v -e comm_close -e comm_abort | sort | uniq -c >"$dir/collectives"
    count=$(wc -l <"$dir/collectives"); [ "$count" -ge 6 ]; ok $? "$count kinds of collectives"
    cat "$dir/collectives" >>"$dir/points"
  fi
  while read -r visits name <&3; do # mpirun reads what is left of the standard input
    at=$((visits / 2 + 1)) step=$((visits / 4 + 1))
    if [ $all = no ]; then
      case $name in save_write | save_rename | save_sync_dir | save_unlink) ;; *) continue ;; esac
      killed "$name" $at; ok $? "killed at $name, visit $at of $visits: resumes with the same bits"
      continue
    fi
    at=1
    while [ $at -le "$visits" ]; do
      killed "$name" $at 2 $((at % 3 + 1)); ok $? "killed at $name, visit $at of $visits, on 2 ranks; resumed on $((at % 3 + 1))"
      at=$((at + step))
    done
  done 3<"$dir/points"
  ;;
disk)
  while read -r fault text; do
    case $all$fault in yes* | nowrite+:* | nofsync:* | norename:*) ;; *) continue ;; esac
    rm -rf "$dir/run"; job "$dir/k.cfg" "$dir/run"
    disk "$fault"; fails_whole "$text"; ok $? "$fault: exit 4, $text, nothing half done"
  done <<END
open:EROFS Read-only file system
open:EACCES Permission denied
write+:ENOSPC No space left on device
write@2:EIO Input/output error
fsync:EIO Input/output error
read@3:EIO Input/output error
rename:EIO Input/output error
END
  one train "$dir/k.cfg"; ok $? "the disk is well again: resumes"
  same "$dir/run"; ok $? "same bits"
  rm -rf "$dir/run"; disk write:short ".part"; is $code 0 && same "$dir/run"; ok $? "short writes are completed"
  rm -rf "$dir/run"; disk fsync@4:EIO "run/checkpoints"; is $code 4 && says "cannot sync folder $dir/run/checkpoints: Input/output error"; ok $? "the folder cannot be synced: exit 4"
  for file in "$dir"/run/checkpoints/*.h5; do "$verify" "$file" || break; done; ok $? "what is there is whole"
  rm -rf "$dir/run"; disk fsync:EIO best.h5; is $code 4 && says "cannot sync $dir/run/best.h5.part" && [ ! -e "$dir/run/best.h5" ]; ok $? "best.h5 takes the same path"
  # real ones
  size=$(stat -c %s "$dir/ref/checkpoints/$last"); mkdir "$dir/small"
  if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=$((size * 2)) none "$dir/small" 2>/dev/null; then
    mounted=$dir/small
    job "$dir/k.cfg" "$dir/small/run"
    sed -i 's/validate_every = 3/validate_every = 0/' "$dir/k.cfg"
    one train "$dir/k.cfg"; code=$?; is $code 4 && says "step-000000004.h5.part: No space left on device"; ok $? "a full disk: exit 4 (got $code), path and cause"
    "$verify" "$dir/small/run/checkpoints/step-000000002.h5" && no_parts "$dir/small/run"; ok $? "the checkpoint before is whole, nothing else is there"
    mount -o remount,ro "$dir/small"
    one train "$dir/k.cfg"; code=$?; is $code 4 && says "$dir/small/run" && says "Read-only file system"; ok $? "a read-only run folder: exit 4 (got $code), path and cause"
    mount -o remount,rw,size=$((size * 9)) "$dir/small"
    one train "$dir/k.cfg"; ok $? "room again: resumes"
    "$compare" "$dir/ref/checkpoints/$last" "$dir/small/run/checkpoints/$last" >"$dir/log"; ok $? "same bits"
  else skip "a small and a read-only mount" "mounting is not allowed here"; fi
  if [ "$(id -u)" = 0 ]; then skip "a folder without permission" "root may write everywhere"
  else
    rm -rf "$dir/run"; mkdir "$dir/run"; chmod 555 "$dir/run"; job "$dir/k.cfg" "$dir/run"
    one train "$dir/k.cfg"; code=$?; chmod 755 "$dir/run"; is $code 4 && says "Permission denied"; ok $? "a folder without permission: exit 4"
  fi
  ;;
damage)
  "$damage" "$dir/ref/checkpoints/$last" >"$dir/log"; ok $? "flipped bits all over a checkpoint are seen"
  if command -v h5dump >/dev/null; then h5dump -a /sealed "$dir/ref/checkpoints/$last" >"$dir/log" 2>&1; ok $? "h5dump reads it"; else skip "h5dump reads it" "no h5dump"; fi
  rm -rf "$dir/run"; job "$dir/k.cfg" "$dir/run"
  "$medley" train "$dir/k.cfg" >/dev/null 2>&1; rm "$dir/run/checkpoints/$last"
  for step in 4 3; do # attributes at the front; the seal at the end (long suite)
    case $all$step in no3) continue ;; esac
    cp "$dir/ref/checkpoints/$last" "$dir/run/checkpoints/$last"
    at=700; [ $step = 4 ] || at=$(($(stat -c %s "$dir/run/checkpoints/$last") - 20))
    "$verify" --flip "$dir/run/checkpoints/$last" $at
    one train "$dir/k.cfg"; ok $? "a flipped bit at $at: resumes"
    says "$last: damaged, trying the one before" && says "resumed from .*step-000000004.h5 at step 4"; ok $? "from the one before, with a message"
    same "$dir/run" && [ -e "$dir/run/checkpoints/$last.damaged" ]; ok $? "same bits; the damaged one is set aside"
  done
  # the newest ones rot; a small `keep` counts good ones only
  rm -rf "$dir/run"; one train "$dir/k.cfg"; ok $? "a whole run again"
  for step in 4 6; do "$verify" --flip "$dir/run/checkpoints/step-00000000$step.h5"; done
  sed -i 's/keep = 9/keep = 1/' "$dir/k.cfg"
  MEDLEY_FAULT="save_array@1:kill" one train "$dir/k.cfg"
  says "damaged, trying the one before" && says "at step 2"; ok $? "the newest are damaged: resumes from step 2"
  "$verify" "$dir/run/checkpoints/step-000000002.h5"; ok $? "which stays until there is a newer good one"
  MEDLEY_FAULT="save_prune@2:kill" one train "$dir/k.cfg"
  "$verify" "$dir"/run/checkpoints/step-*.h5; ok $? "after pruning with keep = 1 every file is good"
  one train "$dir/k.cfg" && same "$dir/run"; ok $? "same bits"
  is "$(find "$dir/run/checkpoints" -name '*.h5' | wc -l)" 1; ok $? "one is kept"
  for file in "$dir"/run/checkpoints/*.h5; do "$verify" --flip "$file"; done
  one train "$dir/k.cfg"; code=$?; is $code 3 && says "none of 1 checkpoints can be read"; ok $? "none is good: exit 3 (got $code), nothing is started over"
  one evaluate "$dir/run" --weights last; code=$?; is $code 3; ok $? "evaluate refuses it too"
  ;;
stop)
  rm -rf "$dir/run"; job "$dir/k.cfg" "$dir/run"
  # stopped NAME: 75, a checkpoint, a stop event; then the rest with the same bits
  stopped() {
    is $code 75; ok $? "$1: exit 75 (got $code)"
    is "$(events stop "$dir/run")" 1 && no_parts "$dir/run" && "$verify" "$dir"/run/checkpoints/*.h5; ok $? "$1: a whole checkpoint"
    one train "$dir/k.cfg" && same "$dir/run" && same_best "$dir/run" && is "$(events validate "$dir/run")" 4; ok $? "$1: goes on with the same bits and scores"
  }
  MEDLEY_FAULT="unit@7:term" one train "$dir/k.cfg"; code=$?; stopped "TERM in a step"
  says_stop=$(grep '"event":"stop"' "$dir/run/record.jsonl" | grep -c '"step":3'); is "$says_stop" 1; ok $? "the step was given up, not finished"
  rm -rf "$dir/run"; MEDLEY_FAULT="unit@3:term" MEDLEY_FAULT_RANK=1 mpi 2 "$medley" train "$dir/k.cfg"; code=$?
  is $code 75 && is "$(events stop "$dir/run")" 1; ok $? "TERM on one of two ranks stops both (got $code)"
  rm -rf "$dir/run"; MEDLEY_FAULT="evaluate@1:term" one train "$dir/k.cfg"; code=$?; stopped "TERM in a validation"
  if [ $all = yes ]; then
    rm -rf "$dir/run"; MEDLEY_FAULT="save_array@9:term" one train "$dir/k.cfg"; code=$?; stopped "TERM while the state is copied"
    rm -rf "$dir/run"; MEDLEY_FAULT="save_write@1:term" one train "$dir/k.cfg"; code=$?; stopped "TERM while a checkpoint is written"
  fi
  # a second TERM, while the saver hangs in the middle of a file
  rm -rf "$dir/run"; MEDLEY_FAULT="save_sync@3:hang" "$medley" train "$dir/k.cfg" >"$dir/log" 2>&1 &
  pid=$!
  wait_for 60 test -e "$dir/run/checkpoints/step-000000004.h5.part"; ok $? "a save that hangs"
  kill -TERM $pid; kill -TERM $pid; kill -USR1 $pid; sleep 2; kill -USR1 $pid; sleep 0.5
  kill -0 $pid; ok $? "TERM twice at once and USR1 twice are one request"
  kill -TERM $pid; wait $pid; code=$?; is $code 143; ok $? "TERM again ends it at once (got $code)"
  "$verify" "$dir"/run/checkpoints/step-*.h5; ok $? "the checkpoint before is whole"
  one train "$dir/k.cfg" && same "$dir/run"; ok $? "goes on with the same bits"
  # limits
  sed -i 's/steps = 6/steps = 100000/' "$dir/k.cfg"
  rm -rf "$dir/run"; one train "$dir/k.cfg" --set train.time_limit_minutes=0.02; code=$?; is $code 75 && is "$(events stop "$dir/run")" 1; ok $? "the job's time limit: exit 75 (got $code)"
  rm -rf "$dir/run"; SLURM_JOB_END_TIME=$(($(date +%s) + 24)) one train "$dir/k.cfg" --set train.grace_s=20; code=$?
  is $code 75 && is "$(events stop "$dir/run")" 1 && says "the Slurm job ends"; ok $? "the end of the Slurm job comes near: exit 75 (got $code)"
  rm -rf "$dir/run"; SLURM_JOB_END_TIME=12345 one train "$dir/k.cfg" --set train.time_limit_minutes=0.01; code=$?
  is $code 75 && says "12345 is no time to come"; ok $? "an end time of long ago is left aside"
  ;;
slurm)
  # what the scheduler does: USR1 ahead of the limit, TERM at it, KILL 30 s later; then the job is queued again
  rm -rf "$dir/run"; job "$dir/k.cfg" "$dir/run"
  MEDLEY_FAULT_DELAY=7:30 mpirun -q --oversubscribe --bind-to none -n 2 "$medley" train "$dir/k.cfg" >"$dir/log" 2>&1 &
  pid=$!
  wait_for 60 grep -q '"event":"step"' "$dir/run/record.jsonl"; ok $? "a job of two ranks runs"
  kill -USR1 $pid # the launcher passes it on
  # shellcheck disable=SC2046 # a list of ranks
  kill -TERM $(ps -o pid= --ppid $pid) 2>/dev/null
  (sleep 30; kill -9 $pid) 2>/dev/null &
  killer=$!
  wait $pid; code=$?
  kill $killer 2>/dev/null; is $code 75; ok $? "checkpoint and exit 75 before KILL comes (got $code)"
  "$verify" "$dir"/run/checkpoints/step-*.h5 && no_parts "$dir/run"; ok $? "a whole checkpoint"
  SLURM_RESTART_COUNT=1 SLURM_JOB_END_TIME=$(($(date +%s) + 7200)) mpi 3 "$medley" train "$dir/k.cfg"; ok $? "queued again, on three ranks"
  says "resumed from" && same "$dir/run" && same_best "$dir/run"; ok $? "resumes: same bits"
  ;;
mpirun)
  # TERM to mpirun itself: Open MPI passes it on after odls_base_sigkill_timeout seconds (default 1) and kills after as many again
  job "$dir/k.cfg" "$dir/run"; sed -i 's/steps = 6/steps = 100000/' "$dir/k.cfg"
  OMPI_MCA_odls_base_sigkill_timeout=20 mpirun -q --oversubscribe --bind-to none -n 2 "$medley" train "$dir/k.cfg" >"$dir/log" 2>&1 &
  pid=$!
  wait_for 60 grep -q '"event":"step"' "$dir/run/record.jsonl"
  kill -TERM $pid; wait $pid; code=$?
  [ $code != 0 ] && is "$(events stop "$dir/run")" 1 && no_parts "$dir/run" && "$verify" "$dir"/run/checkpoints/step-*.h5; ok $? "TERM to mpirun with time to end: a checkpoint (exit $code)"
  ;;
go)
  grep '"event":"checkpoint"' "$dir/ref/record.jsonl" | grep '"stall_s":[0-9]' | grep '"save_s":[0-9]' | grep -cq '"bytes":[0-9]'; ok $? "the record has stall and save time"
  is "$(events checkpoint "$dir/ref")" 3; ok $? "an event for every checkpoint"
  rm -rf "$dir/run"; job "$dir/k.cfg" "$dir/run"
  one train "$dir/k.cfg" --set train.save=foreground && same "$dir/run" && same_best "$dir/run"; ok $? "in the foreground: same bits"
  # in the background: the save of step 2 takes long, and training goes on meanwhile
  rm -rf "$dir/run"; MEDLEY_FAULT="save_sync@1:hang" "$medley" train "$dir/k.cfg" --set train.validate_every=0 >"$dir/log" 2>&1 &
  pid=$!
  wait_for 60 grep -q '"event":"step","time":"[^"]*","step":3' "$dir/run/record.jsonl"; ok $? "training goes on while a file is written"
  [ "$(events checkpoint "$dir/run")" = 0 ]; ok $? "and no event tells of a file that is not in place"
  one train "$dir/k.cfg"; code=$?; is $code 2 && says "another medley train works in this folder (process $pid)"; ok $? "a second run in the same folder is refused (got $code)"
  [ -e "$dir/run/checkpoints/step-000000002.h5.part" ]; ok $? "and leaves the first one's unfinished file alone"
  kill -9 $pid; wait $pid 2>/dev/null
  one train "$dir/k.cfg" && same "$dir/run"; ok $? "killed then: same bits"
  # failures that are to be survived
  rm -rf "$dir/run"; LD_PRELOAD="$failing_disk" MEDLEY_DISK=write:ENOSPC MEDLEY_DISK_PATH=step-000000004 one train "$dir/k.cfg" --set train.on_save_error=continue; code=$?
  is $code 0 && says "step 4 was not saved, training goes on: .*No space left" && is "$(events save_failed "$dir/run")" 1 && same "$dir/run"; ok $? "on_save_error = continue: warns and goes on"
  rm -rf "$dir/run"; LD_PRELOAD="$failing_disk" MEDLEY_DISK=write+:ENOSPC MEDLEY_DISK_PATH=checkpoints/step one train "$dir/k.cfg" --set train.on_save_error=continue; code=$?
  is $code 4; ok $? "but a run whose last checkpoint cannot be had has failed (got $code)"
  rm -rf "$dir/run"; LD_PRELOAD="$failing_disk" MEDLEY_DISK=write:EIO MEDLEY_DISK_PATH=step-000000004 mpi 3 "$medley" train "$dir/k.cfg"; code=$?
  is $code 4 && is "$(grep -c '^medley: .*rank 0 of 3: .*Input/output error' "$dir/log")" 1; ok $? "3 ranks: a failed save ends all with 4 (got $code) and one message"
  ;;
esac
echo "1..$n"
exit $bad
