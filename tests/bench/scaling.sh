#!/bin/sh
# scaling: what `medley check --time` expects of a job on 16, 128 and 1024 nodes: tasks of four kinds, as many units in all as ranks (so
# that a rank has one, and more nodes mean larger steps), 16 ranks a node. One core of this machine is measured, the rest is simulated.
#
#   sh tests/bench/scaling.sh BUILD-FOLDER [ENCODER...]     # default swin_t; minutes each
set -eu
build=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- swin_t
dir=$(mktemp -d /tmp/medley-scaling-XXXXXX)
trap 'rm -rf "$dir"' EXIT
export OMP_NUM_THREADS=1
"$build/tests/mpi/make_shards" "$dir/shards" 40
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
        echo "== $encoder, $nodes nodes of 16 ranks, 100 Gbit/s, 3 us, jitter 2 %"
        "$build/src/medley" check "$dir/job.cfg" --ranks $((nodes * 16)) --nodes $nodes --time --cpus 16 --bandwidth 100 --latency 3 --jitter 2 |
            sed -n '/^measured/p; /^step/,/^run/p'
    done
done
