#!/bin/sh
# pipeline: from folders of images to scores and a report: submits converting, training, evaluating and reporting, each waiting for the one
# before. Prints the ids. Run it again after a failure: what is there is kept, the training goes on.
#
#   sh jobs/pipeline.sh JOB.cfg --data DIR --out DIR [--shards DIR] [--recipes DIR] [--parts N] [--nodes N] [--time T] [--set KEY=VALUE]...
#
#   --data DIR      DIR/NAME holds the source files of each data set NAME that the job file uses
#   --out DIR       run folder DIR/run, output of the jobs DIR/logs
#   --shards DIR    where shards are, or are made (default OUT/shards); those that are there are not converted again
#   --recipes DIR   recipes NAME.cfg (default: datasets of this source)
#   --parts N       convert each data set in N parts, for large ones (default 1)
#   --nodes N       nodes of training, or LEAST-MOST (default 2); evaluation takes one
#   --time T        time limit of training until it goes back into the queue (default 24:00:00)
#   --set K=V       handed to medley train
#
# Account, partition, ranks per node: site file (site.sh.example).
# shellcheck disable=SC1091,SC2154 # common.sh sets what is used here
set -eu
jobs=$(cd "$(dirname "$0")" && pwd)
. "$jobs/common.sh"
usage() { fail 2 "$1 (sh jobs/pipeline.sh --help)"; }

job='' data='' out='' shards='' recipes=${jobs%/*}/datasets parts=1 nodes=2 limit=24:00:00
for word; do case $word in --help | -h) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 0 ;; esac; done
n=$#
while [ "$n" -gt 0 ]; do # what is for medley train stays among the arguments
    case $1 in
    --data | --out | --shards | --recipes | --parts | --nodes | --time | --set) [ "$n" -gt 1 ] || usage "$1 needs a value" ;;
    -*) usage "unknown option $1" ;;
    *) [ -z "$job" ] || usage "two job files: $job and $1"; job=$1; shift; n=$((n - 1)); continue ;;
    esac
    case $1 in
    --data) data=$2 ;;
    --out) out=$2 ;;
    --shards) shards=$2 ;;
    --recipes) recipes=$2 ;;
    --parts) parts=$2 ;;
    --nodes) nodes=$2 ;;
    --time) limit=$2 ;;
    --set) set -- "$@" --set "$2" ;;
    esac
    shift 2
    n=$((n - 2))
done
[ -n "$job" ] && [ -n "$out" ] || usage "a job file and --out are needed"
[ -f "$job" ] || usage "no job file $job"
[ "$parts" -ge 1 ] 2>/dev/null || usage "--parts $parts: a number from 1 on is needed"
mkdir -p "$out/logs" "${shards:=$out/shards}"
job=$(realpath "$job") out=$(realpath "$out") shards=$(realpath "$shards")

# What has to be converted, and whether it can be: all faults at once, before anything is submitted.
todo=0 bad=0 list=$out/logs/convert.txt
: >"$list"
for name in $(job_data_sets "$job"); do
    [ ! -f "$shards/$name/index.h5" ] || continue
    todo=$((todo + 1))
    echo "$recipes/$name.cfg" >>"$list"
    [ -f "$recipes/$name.cfg" ] || { echo "pipeline: $name has no shards in $shards and no recipe $recipes/$name.cfg" >&2; bad=3; }
    [ -n "$data" ] && [ -d "$data/$name" ] || { echo "pipeline: $name has no shards in $shards and no source files ${data:-DIR}/$name (--data)" >&2; bad=3; }
done
[ $bad -eq 0 ] || exit $bad

# submit NAME OPTION... : prints the job's id; if it is refused, the jobs before it are cancelled: they would be half a pipeline
ids=
submit() {
    name=$1
    shift
    id=$(sh "$jobs/submit.sh" --output="$out/logs/%x-%j.out" --kill-on-invalid-dep=yes ${id:+"--dependency=afterok:$id"} "$@") || {
        # shellcheck disable=SC2086 # a list of words
        [ -z "$ids" ] || scancel $ids
        fail 4 "$name was refused; nothing is submitted"
    }
    id=${id%%;*} ids="$ids $id" # with several clusters: ID;CLUSTER
    printf '%-9s %s\n' "$name" "$id"
}

id=
submit_convert() {
    set --
    while read -r recipe; do set -- "$@" "$recipe"; done <"$list"
    submit convert --array="1-$((todo * parts))" --output="$out/logs/%x-%A_%a.out" "$jobs/convert.sbatch" --parts "$parts" "$(realpath "$data")" "$shards" "$@"
    [ "$parts" = 1 ] || submit index "$jobs/index.sbatch" "$shards" "$@"
}
[ $todo -eq 0 ] || submit_convert
submit train --nodes="$nodes" --time="$limit" "$jobs/train.sbatch" "$job" "$@" --set "run=$out/run" --set "data_root=$shards"
submit evaluate "$jobs/evaluate.sbatch" "$out/run"
submit report "$jobs/report.sbatch" "$out/run"
