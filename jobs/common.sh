# common: what the Slurm scripts of this folder share: site file, programs, launcher, threads, training with requeue. Sourced by scripts
# that have set `jobs` to this folder; does nothing by itself.
# shellcheck shell=sh disable=SC2034 # the scripts use what is set here

fail() { code=$1; shift; echo "${0##*/}: $*" >&2; exit "$code"; }

# Reads the user's site file, if there is one: $MEDLEY_SITE or site.sh in this folder. site.sh.example tells what the variables mean.
read_site() {
    account='' partition='' sbatch_options='' ranks_per_node='' threads=1 convert_threads=4 modules='' launcher='srun --mpi=pmix' medley='' medley_data=''
    site=${MEDLEY_SITE:-$jobs/site.sh}
    [ -z "${MEDLEY_SITE:-}" ] || [ -f "$site" ] || fail 2 "MEDLEY_SITE: no file $site"
    # shellcheck disable=SC1090
    [ ! -f "$site" ] || . "$site"
}

# Every job begins so: site file, modules, programs.
begin_job() {
    read_site
    if [ -n "$modules" ]; then
        # shellcheck disable=SC1091
        command -v module >/dev/null 2>&1 || . "${MODULESHOME:?modules are asked for, but there is no module command here}/init/sh"
        # shellcheck disable=SC2086 # a list of words
        module load $modules || fail 4 "module load $modules"
    fi
    build=${MEDLEY_BUILD:-$jobs/../build}
    [ -n "$medley" ] || if [ -x "$build/src/medley" ]; then medley=$build/src/medley; else medley=medley; fi
    [ -n "$medley_data" ] || if [ -x "$build/tools/medley-data" ]; then medley_data=$build/tools/medley-data; else medley_data="medley-data"; fi
    for program in "$medley" "$medley_data"; do
        command -v "$program" >/dev/null || fail 4 "no program $program: build it (README), or name it in the site file"
    done
    echo "job ${SLURM_JOB_ID:?not in a Slurm job: submit this script} on $SLURM_JOB_NODELIST, start $((${SLURM_RESTART_COUNT:-0} + 1)), $(date '+%F %T')"
}

# The command that starts all ranks of the job, each with its cores: as words in `launch`. Sets what the ranks find in their environment.
prepare_launch() {
    threads=${SLURM_CPUS_PER_TASK:-1}
    export OMP_NUM_THREADS="$threads"
    export SRUN_CPUS_PER_TASK="$threads" # since Slurm 22.05 srun does not take it over from sbatch, and would bind every rank to one core
    per_node=${SLURM_NTASKS_PER_NODE:-${ranks_per_node:-$((SLURM_CPUS_ON_NODE / threads))}}
    ranks=$((SLURM_JOB_NUM_NODES * per_node)) # not SLURM_NTASKS: the job may have other nodes than when it first began
    case $launcher in
    # a rank that fails ends the others at once
    srun | srun\ *) launch="$launcher --kill-on-bad-exit=1 --ntasks=$ranks --ntasks-per-node=$per_node" ;;
    *--bind-to*) launch="$launcher --map-by ppr:$per_node:node -n $ranks" ;;
    mpirun | mpirun\ *) launch="$launcher --bind-to core --map-by ppr:$per_node:node:PE=$threads -n $ranks" ;;
    *) launch=$launcher ;;
    esac
}

# Runs "$@" on all ranks; their status is left in `status`. USR1 and TERM that reach this script are handed on as USR1: finish the step,
# checkpoint, end with 75. (TERM comes with scancel and preemption, from Slurm to the ranks as well; mpirun would kill them at TERM.)
run_ranks() {
    step='' asked=no woken=no status=0
    trap 'asked=yes woken=yes; [ -z "$step" ] || kill -USR1 "$step" 2>/dev/null' USR1 TERM
    # shellcheck disable=SC2086 # a list of words
    $launch "$@" &
    step=$!
    wait "$step" || status=$?
    while [ $woken = yes ] && [ "$status" -gt 128 ]; do # the signal ended the wait, not the ranks
        woken=no before=$status status=0
        wait "$step" || status=$?
        [ "$status" -ne 127 ] || status=$before # it had been theirs after all
    done
}

# True if a node of the job does not answer. Slurm itself notices after SlurmdTimeout, minutes as a rule.
node_is_lost() {
    ! timeout 60 srun --overlap --mpi=none --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 true >/dev/null 2>&1
}

# True if Slurm is about to take the nodes away. It sends TERM to the ranks then, and to mpirun's daemons, which end them at once.
is_preempted() { scontrol show job "$SLURM_JOB_ID" | grep -q 'PreemptTime=[0-9]'; }

# Back into the queue, unless the job was cancelled, has run out of time, or is taken care of by Slurm. Does not return.
requeue() {
    [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" = RUNNING ] || exit "$status"
    [ "${SLURM_RESTART_COUNT:-0}" -lt "${MEDLEY_REQUEUES:-100}" ] || fail "$status" "back in the queue $SLURM_RESTART_COUNT times: enough (MEDLEY_REQUEUES)"
    echo "$1: back into the queue"
    scontrol requeue "$SLURM_JOB_ID" || fail "$status" "cannot requeue; submit the same command again, it goes on from the checkpoint"
    sleep 600 # Slurm ends this script
    exit "$status"
}

# train ARGUMENTS OF MEDLEY TRAIN...: trains, and goes back into the queue when stopped on request or when a node is lost. A training
# goes on from its newest checkpoint, on as many nodes as there are then. Does not return.
train() {
    prepare_launch
    # Slurm before 23.02 does not tell the job when it ends; the trainer asks for it
    [ -n "${SLURM_JOB_END_TIME:-}" ] || SLURM_JOB_END_TIME=$(date -d "$(squeue -h -j "$SLURM_JOB_ID" -o %e)" +%s 2>/dev/null) || unset SLURM_JOB_END_TIME
    [ -z "${SLURM_JOB_END_TIME:-}" ] || export SLURM_JOB_END_TIME
    run_ranks "$medley" train "$@"
    case $status-$asked in
    75-* | 138-yes) requeue "stopped on request" ;; # 138: USR1 came before the ranks had begun
    0-* | [2345]-* | 70-*) ;;                       # done, or what would come again
    *)
        ! is_preempted || requeue "preempted (exit $status)"
        ! node_is_lost || requeue "a node is lost (exit $status)"
        ;;
    esac
    exit "$status"
}

# needs_set SHARDS RECIPE: sets `name`, the data set's; false, and says so, if it is in SHARDS already.
needs_set() {
    name=${2##*/}
    name=${name%.cfg}
    [ -f "$1/$name/index.h5" ] || return 0
    echo "$name: there already"
    return 1
}

# The data sets a job file names, one a line.
job_data_sets() { sed -n 's/#.*//; s/.*data *= *"\([^"]*\)".*/\1/p' "$1" | sort -u; }
