#!/bin/sh
# hang: whatever one rank does at whatever place, the whole job ends within the watchdog's time + 5 s, with the documented exit code and a
# message that names rank, step, verb and task, and leaves no process behind. TAP.
#
#   busy    one rank works for twice the watchdog's time, with signs of life, while the other waits: nothing ends; nor does it if the
#           whole job is suspended for longer than that and goes on
#   action  kill stop hang spin (of the process or its main thread, in load of the loader's thread), raise (returns an error), nomem (out of
#           memory)
#   place   where rank 1 of 2 meets it: plan load forward loss backward sum (and the collectives in it) save evaluate, and the start and
#           end of MPI
#   code    6 if the watchdog ended the job; the error's own (3 data, 4 resources, 5 numbers, 6 communication); 137 under mpirun for a
#           killed rank, since mpirun sees that first (6 if it has not within 2 s)
#
# usage: hang.sh few|all MEDLEY MAKE_SHARDS     MEDLEY_TEST_ONLY: a pattern of "ACTION at PLACE", to look at some of them
set -u
which=$1 medley=$2 make_shards=$3
seconds=${MEDLEY_TEST_WATCHDOG:-4}
limit=$(((seconds + 5) * 3)) # the promise is for a machine that has time for its processes
dir=$(mktemp -d /tmp/medley-hang-XXXXXX)
trap 'rm -rf "$dir"' EXIT
export OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
n=0 bad=0

"$make_shards" "$dir/shards" 20 || { echo "Bail out! no shards"; exit 1; }
cat >"$dir/job.cfg" <<END
run = "$dir/run"; data_root = "$dir/shards"; seed = 5;
model : { encoder = "swin_v2_micro"; };
train : { steps = 4; threads = 1; checkpoint_every = 2; validate_every = 2; log_every = 1; prefetch = 1; overlap = "thread"; watchdog_s = $seconds.0; };
tasks = ( { name = "disc"; data = "tiny-disc"; image = [64, 64]; batch = 2; units = 2; } );
END

# Processes of the job that are still there, as "PID STATE": mpirun and the ranks have the job file in their words.
left() {
    for p in /proc/[0-9]*; do
        tr '\0' ' ' <"$p/cmdline" 2>/dev/null | grep -qF "$dir/job.cfg" && echo "${p#/proc/} $(cut -d' ' -f3 "$p/stat" 2>/dev/null)"
    done 2>/dev/null
}

# launch COMMAND...: what a case runs; two ranks, or as two nodes of one rank each
launch() {
    if [ "$nodes" = 2 ]; then
        mpirun -q --oversubscribe --bind-to none -n 1 env MEDLEY_NODE=a "$@" : -n 1 env MEDLEY_NODE=b "$@"
    else mpirun -q --oversubscribe --bind-to none -n 2 "$@"; fi
}

# case FAULT VISIT ACTION CODES PATTERN [NODES [MORE-FAULTS]]: rank 1 does ACTION at the VISITth time it comes to FAULT
case_() {
    point=$1 visit=$2 action=$3 codes=$4 pattern=$5 nodes=${6:-1} more=${7:-}
    echo "$action at $point" | grep -qE "${MEDLEY_TEST_ONLY:-.}" || return 0
    rm -rf "$dir/run" "$dir/trace"
    : >"$dir/trace"
    busy=$((2 * seconds))
    [ "$more" != "$heard" ] || busy=2
    (
        MEDLEY_FAULT_BUSY_S=$busy MEDLEY_FAULT="$point@$visit:$action$more" MEDLEY_FAULT_RANK=1 MEDLEY_FAULT_TRACE="$dir/trace" MEDLEY_WATCHDOG_S=${start:-60} \
            launch "$medley" train "$dir/job.cfg" >"$dir/out" 2>"$dir/err"
        echo $? >"$dir/code"
        date +%s >"$dir/ended"
    ) &
    job=$!
    i=0
    while ! grep -qx "1 $point $visit" "$dir/trace" && kill -0 $job 2>/dev/null && [ $i -lt 600 ]; do sleep 0.1; i=$((i + 1)); done
    met=$(date +%s) why=""
    grep -qx "1 $point $visit" "$dir/trace" || why="$why; rank 1 never came to $point $visit"
    i=0
    while kill -0 $job 2>/dev/null && [ $i -lt $((limit * 10)) ]; do sleep 0.1; i=$((i + 1)); done
    if kill -0 $job 2>/dev/null; then
        why="$why; still running after $limit s"
        left | while read -r pid _; do kill -KILL "$pid" 2>/dev/null; done
    fi
    wait $job
    code=$(cat "$dir/code" 2>/dev/null) took=$(($(cat "$dir/ended" 2>/dev/null || date +%s) - met))
    case " $codes " in *" ${code:-none} "*) ;; *) why="$why; exit code ${code:-none}, expected $codes" ;; esac
    [ $took -le $limit ] || why="$why; took $took s after the fault"
    [ -z "$pattern" ] || grep -qE "$pattern" "$dir/err" || why="$why; no message \"$pattern\""
    i=0
    while [ -n "$(left)" ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
    [ -z "$(left)" ] || why="$why; left behind: $(left | tr '\n' ' ')"
    n=$((n + 1))
    text="$action at $point $visit$([ "$nodes" = 2 ] && echo ", two nodes"): exit $code, $took s after it"
    if [ -z "$why" ]; then echo "ok $n - $text"
    else
        bad=1
        echo "not ok $n - $text$why"
        tail -n 8 "$dir/err" | sed 's/^/# /'
    fi
}

# another node: what is known of it is up to half a second old, and steps take milliseconds; so that rank works for a while in step 2
heard=",unit@2:busy"

# what is said of a rank that hangs, has died, or returned an error
silent() { echo "medley: rank 1 of 2: error: no progress for $seconds s at $1"; }
died() { echo "medley: rank 1 of 2: error: the process has died at $1"; }
failed() { echo "medley: .*rank 1.*step $1.*$2"; }

# the place of each point: point, visit, "step, verb, task" as said of a rank that hangs there
places() {
    cat <<END
plan 1 step 0, plan, task disc
load 2 step 2, load, task disc
forward 2 step 2, forward, task disc
loss 2 step 2, loss, task disc
backward 2 step 2, backward, task disc
sum 2 step 2, sum
comm_exchange 1 step 1, sum
save 1 step 2, save
evaluate 1 step 2, evaluate, task disc
END
}

if [ "$which" = few ]; then
    case_ plan 1 nomem 4 "rank 1 of 2: step 0, plan, task disc"
    case_ load 2 hang 6 "$(silent 'step 2, load, task disc')"
    case_ forward 2 stop 6 "$(silent 'step 2, forward, task disc \(the process is stopped').*waiting: rank 0 in comm_agree"
    case_ forward 2 raise 5 "$(failed 2 'task disc.*forward')"
    case_ backward 2 kill "137 6" "$(died 'step 2, backward, task disc')"
    case_ loss 2 spin 6 "$(silent 'step 2, loss, task disc \(the process is computing')"
    # two nodes, and the sum over them begun during backward: the other waits for this rank's buckets
    case_ backward 2 stop 6 "rank 1 of 2: error: no progress for $seconds s at step [12], .*waiting: rank 0 in comm_ahead" 2 "$heard"
    case_ comm_exchange 1 raise 6 "$(failed 1 'sum')"
    case_ save 1 stop 6 "$(silent 'step 2, save')"
    case_ evaluate 1 raise 3 "$(failed 2 'evaluate, task disc')"
    case_ evaluate 1 stop 6 "medley: rank 1 of 2: error: no progress for $seconds s at step [123], .*on another node" 2 "$heard"
    case_ evaluate 1 busy 0 ""
    # a node that is stopped while it waits for the other: what it last said of itself is that it waits
    rm -rf "$dir/run"
    nodes=2
    (MEDLEY_FAULT_BUSY_S=$((2 * seconds)) MEDLEY_FAULT="forward@2:busy" MEDLEY_FAULT_RANK=0 launch "$medley" train "$dir/job.cfg" >"$dir/out" 2>"$dir/err"; echo $? >"$dir/code") &
    job=$! i=0
    while ! grep -q "^step 1/" "$dir/out" && [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done
    sleep 2
    left | while read -r pid _; do
        if tr '\0' '\n' <"/proc/$pid/environ" | grep -qx MEDLEY_NODE=b && grep -q '^Name:.*medley' "/proc/$pid/status"; then kill -STOP "$pid"; fi
    done
    wait $job
    n=$((n + 1)) code=$(cat "$dir/code")
    if [ "$code" = 6 ] && grep -qE "medley: rank 1 of 2: error: no progress for $seconds s at step 2, .*on another node" "$dir/err"; then echo "ok $n - a node stopped while it waits is named"
    else
        bad=1
        echo "not ok $n - a node stopped while it waits is named: exit $code"
        tail -n 8 "$dir/err" | sed 's/^/# /'
    fi
else
    # shellcheck disable=SC2034 # the step's number is the first word of the place
    places | while read -r point visit place; do echo "$point:$visit:$place"; done >"$dir/places"
    while IFS=: read -r point visit place <&3; do
        step=$(echo "$place" | sed 's/step \([0-9]*\).*/\1/') verb=$(echo "$place" | sed 's/[^,]*, \([a-z]*\).*/\1/')
        task=$(echo "$place" | grep -o 'task .*')
        for action in hang spin; do case_ "$point" "$visit" $action 6 "$(silent "$place")"; done
        [ "$point" != load ] || place="step [012], " # the whole process ends or stops, wherever the main thread is
        case_ "$point" "$visit" stop 6 "$(silent "$place")"
        case_ "$point" "$visit" kill "137 6" "$(died "$place")"
        case $point in
        load | plan | evaluate) code=3 ;;
        forward | backward) code=5 ;;
        sum | comm_*) code=6 ;;
        save) code=4 ;;
        loss) continue ;; # a loss that cannot be had is a loss that is not finite: the unit is dropped
        esac
        for action in raise nomem; do
            [ $action = nomem ] && code=4
            # verb and task come in either order
            case_ "$point" "$visit" $action $code "$(failed "$step" "($verb.*$task|$task.*$verb)")"
        done
    done 3<"$dir/places"
    # every collective of a step, of a checkpoint and of the end
    for at in comm_agree:25 comm_sum_f64:9 comm_max_f64:9 comm_bcast:14 comm_gather:1 comm_group:1; do
        for action in stop hang; do case_ ${at%:*} ${at#*:} $action 6 "$(silent 'step [0-9]+, ')"; done
    done
    # the start, before any job is known, and the end, when the work is done
    start=$seconds
    case_ MPI_Init 1 hang 6 "rank [01] of 2: error: no progress for $seconds s at start"
    case_ comm_agree 1 hang 6 "rank [01] of 2: error: no progress for $seconds s at start"
    case_ MPI_Init 1 kill "137 6" "" # nobody can see the others yet
    start=
    for action in stop hang spin; do case_ comm_close 1 $action 6 "$(silent 'step 4, close')"; done
    case_ comm_exchange 2 raise 6 "$(failed 1 'sum')" 1 ",comm_abort:hang"
    # one rank per node: the others learn of it through the run folder
    # the loader is ahead of the steps: it comes to its fourth batch behind that pause
    for at in load:4 forward:2 sum:2 save:2; do case_ ${at%:*} ${at#*:} stop 6 "medley: rank 1 of 2: error: no progress for $seconds s at step" 2 "$heard"; done
    case_ forward 2 hang 6 "$(silent 'step 2, forward, task disc')" 2
    case_ sum 2 busy 0 "" 2
    # all ranks stopped for longer than the watchdog's time, as by scontrol suspend, then let go on
    rm -rf "$dir/run"
    nodes=1
    (MEDLEY_FAULT_BUSY_S=$((2 * seconds)) MEDLEY_FAULT="forward@2:busy" launch "$medley" train "$dir/job.cfg" >"$dir/out" 2>"$dir/err"; echo $? >"$dir/code") &
    job=$! i=0
    while ! grep -q "^step 1/" "$dir/out" && [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done
    left | while read -r pid _; do grep -q '^Name:.*medley' "/proc/$pid/status" && kill -STOP "$pid"; done
    i=0
    while stopped=$(left | grep -c ' T$'); [ "$stopped" -lt 2 ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
    sleep $((seconds + 3))
    left | while read -r pid _; do kill -CONT "$pid"; done
    wait $job
    n=$((n + 1)) code=$(cat "$dir/code") text="the whole job suspended for $((seconds + 3)) s ($stopped processes)"
    if [ "$code" = 0 ] && [ "$stopped" = 2 ]; then echo "ok $n - $text"; else bad=1; echo "not ok $n - $text: exit $code"; sed 's/^/# /' "$dir/err"; fi
fi
echo "1..$n"
exit $bad
