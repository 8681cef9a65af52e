#!/bin/sh
# small_run: a user's day in half a minute: made data, training on one rank, resumed on two, status, evaluation, report. TAP.
# Usage: small_run.sh MEDLEY MEDLEY-DATA SOURCE-ROOT
# shellcheck disable=SC2317 # check calls what looks unreachable
medley=$1 medley_data=$2
n=0
bad=0
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
run=$here/run

check() {
    name=$1
    shift
    n=$((n + 1))
    if "$@" >"$here/out" 2>&1 </dev/null; then echo "ok $n - $name"; else bad=1; sed 's/^/# /' "$here/out" | tail -n 40; echo "not ok $n - $name"; fi
}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_mpi_yield_when_idle=1 # the machine may be busy with other things
mpi() { ranks=$1; shift; mpirun --oversubscribe --bind-to none -n "$ranks" "$medley" "$@"; }
fails() { want=$1 got=0; shift; "$@" || got=$?; [ "$got" -eq "$want" ] || { echo "exit status $got, not $want"; return 1; }; }
lines() { [ "$(grep -c "$2" "$3")" -eq "$1" ] || { cut -c 1-200 "$3"; return 1; }; }
says() { file=$1; shift; for word; do grep -q -- "$word" "$file" || { echo "\"$word\" is missing in $file"; return 1; }; done; }

says_status() { "$medley" status "$run" >"$here/table"; says "$here/table" "$@"; }

for set in synth-histo synth-blood synth-mr; do check "data: $set" "$medley_data" synth --out "$here/data" --only $set; done

cat >"$here/job.cfg" <<END
run = "$run";
data_root = "data/shards";
model = { encoder = "swin_v2_nano"; };
train = { steps = 6; validate_every = 3; checkpoint_every = 3; log_every = 1; };
optim = { lr = 1e-3; warmup = 2; };
tasks = (
    { name = "tissue"; data = "synth-histo"; image = [64, 64]; batch = 2; },
    { name = "cells";  data = "synth-blood"; image = [64, 64]; batch = 2; },
    { name = "brain";  data = "synth-mr";    image = [64, 64]; batch = 2; }
);
END

check "status of no run" fails 3 "$medley" status "$run"
check "report of no run" fails 3 "$medley" report "$run"
check "evaluate of no run" fails 2 mpi 1 evaluate "$run"
check "train on one rank: the time limit is the first step" fails 75 mpi 1 train "$here/job.cfg" --set train.time_limit_minutes=1e-9
check "status: stopped" says_status 'stopped' 'step        1 of 6' 'checkpoint  step 1'
check "train goes on to step 6 on two ranks" mpi 2 train "$here/job.cfg"
check "the record: every step once" lines 6 '"event":"step"' "$run/record.jsonl"
check "the record: two starts" lines 2 '"event":"start"' "$run/record.jsonl"
check "status: finished" says_status 'finished' 'step        6 of 6' 'tissue' 'cells' 'brain' '2 sessions' 'step 6'
check "evaluate on two ranks" mpi 2 evaluate "$run" --boot 50
cp "$here/out" "$here/table"
check "evaluate: table" says "$here/table" '^tissue .*classification .*balanced_accuracy' '^cells .*detection .*ap50' '^brain .*segmentation .*dice' 'mean of 3'
check "evaluate: a line per sample" test -s "$run/samples-test-tissue.csv" -a -s "$run/samples-test-cells.csv" -a -s "$run/samples-test-brain.csv"
cp "$run/scores-test.csv" "$here/two.csv"
check "evaluate on one rank" mpi 1 evaluate "$run" --boot 50
check "evaluate: the same file from one rank" cmp "$here/two.csv" "$run/scores-test.csv"
check "evaluate --split val --weights last" mpi 1 evaluate "$run" --split val --weights last --boot 0
check "evaluate: the record has the scores" lines 9 '"event":"evaluate"' "$run/record.jsonl"
check "evaluate: unknown split" fails 2 mpi 2 evaluate "$run" --split tset
check "evaluate: no such weights" fails 3 mpi 2 evaluate "$run" --weights "$here/none.h5"
check "report" "$medley" report "$run" --out "$here/report.html"
check "report: data sets, licences, scores" says "$here/report.html" 'synth-histo' 'CC0 1.0' 'test split' 'val split' 'balanced_accuracy' '<polyline'
mv "$here/data" "$here/elsewhere"
check "report: without the data" "$medley" report "$run" --out "$here/report.html"
check "report: says so" says "$here/report.html" 'no longer readable'
echo "1..$n"
exit $bad
