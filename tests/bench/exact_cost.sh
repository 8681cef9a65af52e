#!/bin/sh
# What the exact sum costs against the float sum in a step of Swin-T, 224 px, batch 8, one unit on each of 2 ranks; the goal is below 3 %. The
# machine should be quiet. Usage: sh tests/bench/exact_cost.sh BUILD [ROUNDS [RANKS]]
set -eu
build=$1 rounds=${2:-12} ranks=${3:-2}
dir=$(mktemp -d /tmp/medley-cost-XXXXXX)
trap 'rm -rf "$dir"' EXIT
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMPI_MCA_btl_vader_single_copy_mechanism=none
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# as medley does by itself: OpenBLAS misses the AVX-512 of newer AMD CPUs
if grep -q avx512bw /proc/cpuinfo; then export OPENBLAS_CORETYPE="${OPENBLAS_CORETYPE:-SkylakeX}"; fi
"$build/tests/mpi/make_shards" "$dir/shards" quadrant=32,0,0
cat >"$dir/job.cfg" <<EOT
run = "$dir/run"; data_root = "$dir/shards";
model : { encoder = "swin_t"; };
train : { steps = 100000; };
tasks = ( { name = "quadrant"; data = "tiny-quadrant"; image = [224, 224]; batch = 8; units = $ranks; } );
EOT
mpirun -q --oversubscribe --bind-to none -n "$ranks" "$build/tests/bench/bench_exact" "$dir/job.cfg" "$rounds"
