#!/bin/sh
# proof: is the pretrained encoder worth something with little data? Pretrains jobs/proof.cfg on all its tasks and, for comparison, on each of
# some of them alone, then probes all these encoders and a random one on tasks that were learnt, and on some that were not.
#
#   sh jobs/proof.sh --data DIR [--out DIR] [--ranks N] [--steps N] [--repeats R] [--alone "TASK..."]
#
#   --data DIR    DIR/NAME holds the source files of each data set
#   --out DIR     where shards, runs and results go (default runs/proof); what is there is not made again
#   --ranks N     MPI ranks (default 2)
#   --steps N     of each pretraining (default: the job file's)
#   --repeats R   draws of each fraction (default 5)
#   --alone ...   tasks to pretrain on alone (default "tissue nodule hippocampus"; "" none)
#
# MEDLEY_BUILD: build folder (default build), with the programs built.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
data='' out=$here/runs/proof ranks=2 steps='' repeats=5 alone="tissue nodule hippocampus"
usage() { echo "proof: $1 (sh jobs/proof.sh --help)" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in --help | -h) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
    [ $# -gt 1 ] || usage "$1 needs a value"
    case $1 in
    --data) data=$(realpath "$2") ;;
    --out) mkdir -p "$2" && out=$(realpath "$2") ;;
    --ranks) ranks=$2 ;;
    --steps) steps=$2 ;;
    --repeats) repeats=$2 ;;
    --alone) alone=$2 ;;
    *) usage "unknown option $1" ;;
    esac
    shift 2
done
[ -d "$data" ] || usage "--data DIR is missing"
build=${MEDLEY_BUILD:-$here/build}
medley=$build/src/medley medley_data=$build/tools/medley-data
[ -x "$medley" ] || usage "no program $medley: build it first"
cd "$here"
. jobs/common.sh

shards=$out/shards
mkdir -p "$shards"
for name in $(job_data_sets jobs/proof.cfg) mr-brain-tumour-yesno; do
    [ -f "$shards/$name/index.h5" ] || "$medley_data" convert "datasets/$name.cfg" --source "$data" --out "$shards"
done

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
mpi() { mpirun -q --oversubscribe --bind-to none -n "$ranks" "$@" </dev/null; }

# pretrain NAME JOB: RUN is OUT/NAME; one that is finished is not trained again
pretrain() {
    name=$1 job=$2
    shift 2
    mpi "$medley" train "$job" --set "run=$out/$name" --set "data_root=$shards" ${steps:+--set "train.steps=$steps"} "$@"
}
pretrain all jobs/proof.cfg
against=
for task in $alone; do
    sed "/{ name = /{/\"$task\"/!d;s/},\$/}/}" jobs/proof.cfg >"$out/$task.cfg"
    # at the rate of the six, tissue alone falls to one class (0.33 on validation, step 500 on)
    if [ "$task" = tissue ]; then pretrain "alone-$task" "$out/$task.cfg" --set optim.lr=2e-4
    else pretrain "alone-$task" "$out/$task.cfg"; fi
    against="$against --against $out/alone-$task"
done

# probe NAME WORDS...: results in OUT/probe-NAME
probe() {
    name=$1
    shift
    [ ! -f "$out/probe-$name/summary.csv" ] || return 0
    # shellcheck disable=SC2086 # a list of words
    mpi "$medley" probe "$out/all" "$@" --repeats "$repeats" $against --out "$out/probe-$name"
}
probe tissue --task tissue
probe view --data "$shards/xray-chest-covid" --label view --image 128x128
probe diagnosis --data "$shards/ct-lidc-nodules" --label diagnosis
probe tumour --data "$shards/mr-brain-tumour-yesno" --image 128x128
echo "results: $out/probe-*/summary.csv, probe.html"
