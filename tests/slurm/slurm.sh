#!/bin/sh
# slurm: the job scripts of jobs/ on a real Slurm of three virtual nodes (cluster.sh). TAP.
#   ranks     one node and three, srun and mpirun, threads; an array of seeds
#   pipeline  converting in an array, training, evaluating, reporting: from source files to a page; and one that fails
#   preempt   an urgent job takes the nodes, USR1 by hand, scancel
#   limit     the time limit comes near: by Slurm's signal, and by the trainer's own clock
#   node      a node is lost in the middle: the job goes on with those that are left
# usage: slurm.sh CASE MEDLEY MEDLEY-DATA MAKE-SHARDS SOURCE-ROOT
# Where Slurm is not installed, everything is skipped. MEDLEY_SLURM_MODE=ports|netns: how nodes are made (cluster.sh)
# shellcheck disable=SC2317 # check calls what looks unreachable
set -u
case_=$1 medley=$(realpath "$2") medley_data=$(realpath "$3") make_shards=$4 root=$(realpath "$5")
# shellcheck source=tests/slurm/cluster.sh
. "$root/tests/slurm/cluster.sh"
why=$(cluster_missing)
[ -z "$why" ] || { echo "1..0 # SKIP $why"; exit 0; }

n=0 bad=0 mode=''
dir=$(mktemp -d /tmp/medley-slurm-XXXXXX)
chmod 755 "$dir" # munged wants others to reach its socket
trap 'cluster_down; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
export OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell MEDLEY_SLURM_SHARED="$dir $root ${medley%/src/medley}"
unset SLURM_JOB_END_TIME
[ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# check NAME COMMAND...: passes if the command succeeds
check() {
    name_=$1
    shift
    n=$((n + 1))
    if "$@" >"$dir/out" 2>&1; then echo "ok $n - $name_"
    else bad=1; echo "not ok $n - $name_"; tail -n 60 "$dir/out" | cut -c 1-300 | sed 's/^/# /'; return 1; fi
}
is() { [ "$1" = "$2" ] || { echo "\"$1\", not \"$2\""; return 1; }; }
says() { file=$1; shift; for word; do grep -q -- "$word" "$file" || { echo "\"$word\" is missing in $file"; return 1; }; done; }
events() { grep -c "\"event\":\"$1\"" "$2/record.jsonl"; }
field() { login scontrol show job -o "$1" | tr ' ' '\n' | sed -n "s/^$2=//p"; } # field JOB NAME
in_state() { [ "$(field "$1" JobState)" = "$2" ]; }
over() { ! login squeue -h -j "$1" -o %T | grep -qvxE 'COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|DEADLINE|OUT_OF_MEMORY'; } # all of an array
# finish SECONDS JOB...: all of them completed in that time
finish() {
    for_=$1
    shift
    [ $# -gt 0 ] || { echo "no job"; return 1; }
    for id_; do
        wait_for "$for_" over "$id_" || { echo "job $id_ is not over after $for_ s"; login squeue; tail -n 12 "$dir"/*.log; return 1; }
        for state_ in $(field "$id_" JobState); do is "$state_" COMPLETED || { echo "job $id_"; tail -n 12 "$dir"/*.log; return 1; }; done
    done
}
reached() { grep -q "\"event\":\"step\",\"time\":\"[^\"]*\",\"step\":$2\b" "$1/record.jsonl"; } # reached RUN STEP
running() { for run_; do wait_for 120 reached "$run_" 2 || { tail -n 12 "$dir"/*.log; return 1; }; done; } # each has made two steps
as_ref() { "$medley" verify-run "$dir/ref" "$1"; }
# submit NAME ARGUMENT OF submit.sh...: id in $job, output to NAME.log
submit() { log=$1; shift; job=$(login sh "$root/jobs/submit.sh" --output="$dir/$log.log" "$@"); }

job_file() { # job_file FILE RUN STEPS
    cat >"$1" <<JOB
run = "$2"; data_root = "$dir/shards"; seed = 5;
model : { encoder = "swin_v2_micro"; };
train : { steps = $3; checkpoint_every = 4; validate_every = 0; log_every = 1; watchdog_s = 60.0; keep = 9; };
optim : { lr = 1e-3; warmup = 2; };
tasks = ( { name = "quadrant"; data = "tiny-quadrant"; image = [64, 64]; batch = 1; },
          { name = "radius"; data = "tiny-radius"; image = [64, 64]; batch = 1; } );
JOB
}

# A run that nothing happens to, without Slurm, on one rank: what all others have to equal. Goes on beside the cluster's start.
reference() { # reference STEPS
    "$make_shards" "$dir/shards" quadrant=16,2,2 radius=16,2,2 >/dev/null && job_file "$dir/ref.cfg" "$dir/ref" "$1" && job_file "$dir/job.cfg" "$dir/run" "$1" &&
        OMPI_MCA_ess_singleton_isolated=1 "$medley" train "$dir/ref.cfg" >"$dir/ref.log" 2>&1
}

# The site file of this cluster: two CPUs a node, networks that Open MPI shall use, ranks that share this machine's cores.
site() {
    [ $mode = netns ] && network='10.77.0.0/24' || network=lo
    cat >"$dir/site.sh" <<SITE
partition=main
ranks_per_node=1
convert_threads=2
medley=$medley
medley_data=$medley_data
launcher=\${TEST_LAUNCHER:-srun --mpi=pmix}
export OPENBLAS_CORETYPE=Haswell OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_btl=self,vader,tcp OMPI_MCA_btl_tcp_if_include=$network OMPI_MCA_oob_tcp_if_include=$network
SITE
    export MEDLEY_SITE="$dir/site.sh"
}
show_logs() { tail -n 4 "$dir"/c/log/*; false; }
up() { if cluster_up "$dir/c" 3 2; then site; else show_logs; fi; }
# start STEPS: the reference and the cluster
start() {
    reference "$1" &
    before=$!
    check "three nodes come up" up || done_
    check "a run outside Slurm" wait $before || done_
}
done_() { echo "1..$n"; exit $bad; }

# A training that lasts long enough to be disturbed, whatever the machine: a second for each unit. On two or three nodes, a rank each
slow() { # slow NAME ARGUMENT OF submit.sh...
    log_=$1
    shift
    MEDLEY_FAULT='unit@*:busy' MEDLEY_FAULT_BUSY_S=1 submit "$log_" --nodes=2-3 --time=60 "$@"
}

case $case_ in
ranks)
    start 6
    submit one --nodes=1 --ntasks-per-node=2 "$root/jobs/train.sbatch" "$dir/job.cfg" --set "run=$dir/one"; all=$job
    submit three --nodes=3 "$root/jobs/train.sbatch" "$dir/job.cfg" --set "run=$dir/three"; all="$all $job"
    submit threads --nodes=2 --cpus-per-task=2 "$root/jobs/train.sbatch" "$dir/job.cfg" --set "run=$dir/threads"; all="$all $job"
    TEST_LAUNCHER="mpirun --bind-to none" submit mpirun --nodes=3 "$root/jobs/train.sbatch" "$dir/job.cfg" --set "run=$dir/mpirun"; all="$all $job"
    submit seeds --nodes=1 --array=5-6 "$root/jobs/seeds.sbatch" "$dir/job.cfg" "$dir/seeds"; all="$all $job"
    # shellcheck disable=SC2086 # a list of ids
    check "jobs complete" finish 240 $all
    check "one node, two ranks: srun" says "$dir/one.log" 'on 2 ranks x 1 threads'
    check "one node: the bits of the run outside" as_ref "$dir/one"
    check "three nodes, a rank each: srun" says "$dir/three.log" 'on 3 ranks x 1 threads' 'on n\[1-3\]'
    check "three nodes: the same bits" as_ref "$dir/three"
    check "two nodes, two threads a rank: --cpus-per-task reaches the ranks" says "$dir/threads.log" 'on 2 ranks x 2 threads'
    check "threads: the same bits" as_ref "$dir/threads"
    check "three nodes: mpirun" says "$dir/mpirun.log" 'on 3 ranks x 1 threads'
    check "mpirun: the same bits" as_ref "$dir/mpirun"
    check "seeds: a run folder for each, seed 5 is the run above" as_ref "$dir/seeds/seed-5"
    check "seeds: seed 6 is another" sh -c '"$1" verify-run "$2/ref" "$2/seeds/seed-6"; [ $? = 1 ]' sh "$medley" "$dir"
    ;;
pipeline)
    check "three nodes come up" up || done_
    { "$medley_data" synth --out "$dir/data" --only synth-xray && "$medley_data" synth --out "$dir/data" --only synth-blood; } >"$dir/synth.log" 2>&1
    job_file "$dir/x.cfg" "$dir/run" 4
    sed -e 's/"quadrant"; data = "tiny-quadrant"/"view"; data = "synth-xray"; label = "view"/' \
        -e 's/"radius"; data = "tiny-radius"/"cells"; data = "synth-blood"/' "$dir/x.cfg" >"$dir/job.cfg"
    pipeline() { login sh "$root/jobs/pipeline.sh" "$dir/job.cfg" --out "$dir/p" --recipes "$dir/data/source" --time 60 "$@"; }
    refused() { pipeline "$@"; [ $? = 3 ] && [ -z "$(login squeue -h)" ]; }
    check "no source files: nothing is submitted" refused
    pipeline --data "$dir/data/source" --nodes 3 --set train.log_every=2 >"$dir/ids"
    check "four jobs" is "$(cut -c 1-9 "$dir/ids" | tr -d '\n')" "convert  train    evaluate report   "
    # shellcheck disable=SC2046 # a list of ids
    check "all complete" finish 240 $(sed 's/.* //' "$dir/ids")
    check "a data set for each element of the array" sh -c 'grep -l "synth-blood: .* samples" "$1"/medley-convert-*_1.out && grep -l "synth-xray: .* samples" "$1"/medley-convert-*_2.out' sh "$dir/p/logs"
    for set in synth-blood synth-xray; do check "$set: the shards of an ordinary conversion" cmp "$dir/p/shards/$set/SHA256SUMS" "$dir/data/shards/$set/SHA256SUMS"; done
    check "trained on three ranks" sh -c 'cat "$1"/medley-train-*.out | grep "on 3 ranks"' sh "$dir/p/logs"
    check "--set arrives" sh -c 'cat "$1"/medley-train-*.out | grep "log_every\|step 2/4" && ! cat "$1"/medley-train-*.out | grep "step 1/4"' sh "$dir/p/logs"
    check "scores of the test split" says "$dir/p/run/scores-test.csv" view,balanced_accuracy cells,ap50
    check "the page" says "$dir/p/run/report.html" synth-blood synth-xray balanced_accuracy
    pipeline >"$dir/ids"
    check "again: nothing to convert" is "$(cut -c 1-9 "$dir/ids" | tr -d '\n')" "train    evaluate report   "
    # shellcheck disable=SC2046
    login scancel $(sed 's/.* //' "$dir/ids")
    # in parts, two for each data set
    rm -rf "$dir/q"
    login sh "$root/jobs/pipeline.sh" "$dir/job.cfg" --out "$dir/q" --recipes "$dir/data/source" --time 60 --data "$dir/data/source" --parts 2 >"$dir/ids"
    # shellcheck disable=SC2046
    check "in parts: converted and joined" finish 120 $(sed -n 's/^\(convert\|index\) *//p' "$dir/ids")
    # shellcheck disable=SC2046
    login scancel $(sed -n 's/^\(train\|evaluate\|report\) *//p' "$dir/ids")
    for set in synth-blood synth-xray; do check "in parts: $set is whole" "$medley_data" verify "$dir/q/shards/$set"; done
    # one that fails: what waits for it does not stay behind
    rm -rf "$dir/p" "$dir/data/source/synth-blood/images"
    pipeline --data "$dir/data/source" >"$dir/ids"
    last=$(sed -n 's/^report *//p' "$dir/ids")
    check "a conversion that fails" wait_for 60 over "$last"
    check "the others are cancelled" is "$(for id in $(sed '1d; s/.* //' "$dir/ids"); do field "$id" JobState; done | uniq)" CANCELLED
    ;;
preempt)
    start 10
    slow preempted --nodes=1 --ntasks-per-node=2 "$root/jobs/train.sbatch" "$dir/job.cfg"; first=$job
    TEST_LAUNCHER="mpirun --bind-to none" slow killed --nodes=2 "$root/jobs/train.sbatch" "$dir/job.cfg" --set "run=$dir/killed"
    check "trainings on three nodes: srun, mpirun" running "$dir/run" "$dir/killed"
    urgent=$(login sbatch --parsable --partition=urgent --exclusive --nodes=3 --output="$dir/urgent.log" --wrap "date +%s")
    check "an urgent job wants them and gets them" finish 240 "$urgent"
    check "srun: the training ended with a checkpoint" is "$(events stop "$dir/run")" 1
    check "both are requeued, and complete" finish 240 "$first" "$job"
    check "once" is "$(field "$first" Restarts)-$(field "$job" Restarts)" 1-1
    check "srun: went on from the checkpoint" says "$dir/preempted.log" 'stopped at step' 'resumed from' 'start 2'
    check "srun: with the bits of an undisturbed run" as_ref "$dir/run"
    check "mpirun, which is ended at once: the same bits" as_ref "$dir/killed"
    # by hand
    TEST_LAUNCHER="mpirun --bind-to none" slow hand --nodes=2 "$root/jobs/train.sbatch" "$dir/job.cfg" --set "run=$dir/hand"; hand=$job
    slow cancelled --nodes=1 "$root/jobs/train.sbatch" "$dir/job.cfg" --set "run=$dir/cancelled"
    check "two more trainings" running "$dir/hand" "$dir/cancelled"
    login scancel --batch --signal=USR1 "$hand"
    login scancel "$job"
    check "scancel: a checkpoint" wait_for 30 grep -q '"event":"stop"' "$dir/cancelled/record.jsonl"
    check "USR1 to the batch script, with mpirun: requeued, complete" finish 240 "$hand"
    check "USR1: once" is "$(field "$hand" Restarts)-$(events stop "$dir/hand")" 1-1
    check "USR1: the same bits" as_ref "$dir/hand"
    check "scancel: stays cancelled" is "$(field "$job" JobState)-$(field "$job" Restarts)" CANCELLED-0
    ;;
limit)
    start 16
    slow signal --nodes=1 --time=1 --signal=B:USR1@30 "$root/jobs/train.sbatch" "$dir/job.cfg" --set "run=$dir/signal" --set train.grace_s=1; first=$job
    slow clock --nodes=1 --time=1 --signal=B:CONT@1 "$root/jobs/train.sbatch" "$dir/job.cfg" --set "run=$dir/clock" --set train.grace_s=40
    restarted() { for id_; do [ "$(field "$id_" Restarts)" -ge 1 ] || return 1; done; }
    check "both are requeued" wait_for 150 restarted "$first" "$job"
    for id in $first $job; do login scontrol update jobid="$id" timelimit=60; done # once is enough
    check "and complete" finish 240 "$first" "$job"
    check "Slurm's signal: with a checkpoint" says "$dir/signal.log" 'stopped at step' 'resumed from'
    check "Slurm's signal: the same bits" as_ref "$dir/signal"
    check "the trainer's clock: with a checkpoint" says "$dir/clock.log" 'the Slurm job ends in' 'stopped at step' 'resumed from'
    check "the trainer's clock: the same bits" as_ref "$dir/clock"
    ;;
node)
    start 10
    if [ $mode != netns ]; then check "a node is lost # SKIP only a node with namespaces (root) can be switched off" true; done_; fi
    slow lost "$root/jobs/train.sbatch" "$dir/job.cfg"
    check "a training on three nodes" running "$dir/run"
    check "its first checkpoint" wait_for 120 test -f "$dir/run/checkpoints/step-000000004.h5"
    check "one of the nodes is switched off" node_kill n3
    down() { login sinfo -h -n n3 -p main -o %t | grep -q ^down; }
    check "Slurm sees that" wait_for 60 down
    check "the job is requeued and completes" finish 240 "$job"
    check "requeued once" is "$(field "$job" Restarts)" 1
    check "the output says why" says "$dir/lost.log" 'NODE FAILURE\|node is lost'
    check "it went on with two ranks, on the other nodes" says "$dir/lost.log" 'on n\[1-2\], start 2' 'on 2 ranks' 'resumed from'
    check "the bits of an undisturbed run" as_ref "$dir/run"
    ;;
esac
done_
