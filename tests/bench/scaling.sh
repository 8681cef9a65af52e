#!/bin/sh
# scaling: what `medley check --time` expects of a job on 16, 128 and 1024 nodes: tasks of four kinds, as many units in all as ranks (so
# that a rank has one, and more nodes mean larger steps), 16 ranks a node. One core of this machine is measured, once an encoder; the rest is
# simulated, with the sum after the units and begun during backward (train.overlap).
#
#   sh tests/bench/scaling.sh BUILD-FOLDER [ENCODER...]     # default swin_t; minutes each
#
# MEDLEY_SCALING_COSTS=FOLDER: keeps what was measured in FOLDER/ENCODER.costs, or takes it from there
set -eu
build=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- swin_t
dir=$(mktemp -d /tmp/medley-scaling-XXXXXX)
trap 'rm -rf "$dir"' EXIT
costs=${MEDLEY_SCALING_COSTS:-$dir}
export OMP_NUM_THREADS=1
"$build/tests/mpi/make_shards" "$dir/shards" 40
echo "load $(cut -d' ' -f1-3 /proc/loadavg) before"
for encoder; do
    for nodes in 16 128 1024; do
        units=$((nodes * 16 / 4))
        {
            printf 'run = "%s/run"; data_root = "%s/shards"; model = { encoder = "%s"; }; train = { steps = 10000; threads = 1; }; tasks = (' "$dir" "$dir" "$encoder"
            comma=
            for kind in quadrant sides disc discs; do
                printf '%s{ name = "%s"; data = "tiny-%s"; image = [224, 224]; batch = 8; units = %s; }' "$comma" $kind $kind $units
                comma=', '
            done
            echo ');'
        } >"$dir/job.cfg"
        for overlap in off poll thread; do
            echo "== $encoder, $nodes nodes of 16 ranks, 100 Gbit/s, 3 us, jitter 2 %, overlap $overlap"
            "$build/src/medley" check "$dir/job.cfg" --ranks $((nodes * 16)) --nodes $nodes --time --costs "$costs/$encoder.costs" --cpus 16 --bandwidth 100 \
                --latency 3 --jitter 2 --set train.overlap=$overlap | sed -n '/^measured/p; /^step/,/^run/p'
        done
    done
done
echo "load $(cut -d' ' -f1-3 /proc/loadavg) after"
