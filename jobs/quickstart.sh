#!/bin/sh
# quickstart: from a fresh Debian to a trained encoder and a report. Installs, builds, makes or takes data, trains on two MPI
# ranks, evaluates on the test split, writes the report. Run it again and it goes on where it was.
#
#   sh jobs/quickstart.sh [--data DIR] [--job JOB.cfg] [--out DIR] [--ranks N] [--steps N] [--fresh]
#
#   --data DIR    real images: DIR/NAME holds the source files of data set NAME, for every NAME the job uses that has a recipe
#                 datasets/NAME.cfg; trains jobs/real-small.cfg. Without it: synthetic data and jobs/quickstart.cfg
#   --job FILE    another job file
#   --out DIR     where data and run go (default runs/quickstart, with --data runs/quickstart-real)
#   --ranks N     MPI ranks (default 2)
#   --steps N     other than the job file says
#   --fresh       train from step 0, whatever the run folder holds
#
# MEDLEY_BUILD: build folder (default build).
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
from=$(pwd)
data='' job='' out='' ranks=2 steps='' fresh=''

usage() { echo "quickstart: $1 (sh jobs/quickstart.sh --help)" >&2; exit 2; }

# An absolute path for one given relative to where the script was called.
absolute() { case $1 in /*) echo "$1" ;; *) echo "$from/$1" ;; esac; }

while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --fresh) fresh=--fresh; shift; continue ;;
    --data | --job | --out | --ranks | --steps) [ $# -gt 1 ] || usage "$1 needs a value" ;;
    *) usage "unknown option $1" ;;
    esac
    case $1 in
    --data) data=$(absolute "$2") ;;
    --job) job=$(absolute "$2") ;;
    --out) out=$(absolute "$2") ;;
    --ranks) ranks=$2 ;;
    --steps) steps=$2 ;;
    esac
    shift 2
done
case $ranks in '' | *[!0-9]* | 0*) usage "--ranks takes a number from 1" ;; esac
case $steps in *[!0-9]* | 0*) usage "--steps takes a number from 1" ;; esac
[ -z "$data" ] || [ -d "$data" ] || usage "--data: no folder $data"

cd "$here"
began=$(date +%s)
if [ -n "$data" ]; then : "${job:=$here/jobs/real-small.cfg}" "${out:=$here/runs/quickstart-real}"
else : "${job:=$here/jobs/quickstart.cfg}" "${out:=$here/runs/quickstart}"; fi
[ -f "$job" ] || usage "no job file $job"
run=$out/run shards=$out/data/shards

say() { printf '\n== %s (%s s)\n' "$1" "$(($(date +%s) - began))"; }

say "packages"
sh tools/setup.sh

say "build"
build=${MEDLEY_BUILD:-$here/build}
[ -f "$build/build.ninja" ] || meson setup "$build"
ninja -C "$build" src/medley tools/medley-data
medley=$build/src/medley medley_data=$build/tools/medley-data

say "data"
. jobs/common.sh
mkdir -p "$shards"
for name in $(job_data_sets "$job"); do
    if [ -f "$shards/$name/index.h5" ]; then
        echo "$name: there already"
    elif [ -z "$data" ]; then
        "$medley_data" synth --out "$out/data" --only "$name" --force
    elif [ -f "datasets/$name.cfg" ] && [ -d "$data/$name" ]; then
        "$medley_data" convert "datasets/$name.cfg" --source "$data" --out "$shards"
    else
        echo "quickstart: the job uses $name, but there is no $data/$name or no recipe datasets/$name.cfg" >&2
        exit 3
    fi
done

# Open MPI: allowed as root in a container, more ranks than cores, no binding, and a rank that waits lets others run (loader threads,
# and whatever else a laptop does: without it a waiting rank can take the core of the one it waits for).
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
threads=$(($(nproc) / ranks))
[ $threads -ge 1 ] || threads=1
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$threads}"
mpi() { mpirun -q --oversubscribe --bind-to none -n "$ranks" "$@" </dev/null; }

say "training on $ranks ranks x $OMP_NUM_THREADS threads"
set -- train "$job" ${fresh:+"$fresh"} --set "run=$run" --set "data_root=$shards"
[ -z "$steps" ] || set -- "$@" --set "train.steps=$steps"
status=0
mpi "$medley" "$@" || status=$?
case $status in
0) ;;
75) echo "quickstart: the time limit of the job file came first; the same command goes on from the checkpoint" ;;
*) exit $status ;;
esac

say "test scores"
weights=best
[ -f "$run/best.h5" ] || weights=last
mpi "$medley" evaluate "$run" --split test --weights $weights

say "report"
"$medley" report "$run"

newest=''
for file in "$run"/checkpoints/step-*.h5; do [ -f "$file" ] && newest=$file; done
echo
echo "report:      $run/report.html"
echo "checkpoint:  $newest"
[ ! -f "$run/best.h5" ] || echo "best weights: $run/best.h5"
echo "scores:      $run/scores-test.csv"
awk -F, 'NR > 1 && !seen[$1]++ { printf "             %-24s %-20s %.3f", $1, $2, $3; if ($4 != "") printf "  [%.3f, %.3f]", $4, $5; print "" }' \
    "$run/scores-test.csv"
echo "took $(($(date +%s) - began)) s"
