#!/bin/sh
# run: the speed ladder. Builds with optimisation, then times Medley's kernels and training steps and the same things in torch on one
# core, in turn, and prints a table for jobs/README.md. About ten minutes.
#
#   sh tests/bench/run.sh [--rounds N] [--seconds S] [--cpu N] [--items PATTERN,...] [--no-peer]
#
#   --rounds N       rounds over all items; the least time counts (3)
#   --seconds S      per item, side and round (1)
#   --cpu N          the core to run on (the last one)
#   --items LIST     only these, e.g. 'step_*,conv_*'
#   --no-peer        ours alone
#
# The peer is Debian's python3-torch and python3-torchvision, if /usr/bin/python3 has them. MEDLEY_TORCH2=/path/to/python adds a newer torch
# from a virtual environment, in fp32 and bf16. MEDLEY_BUILD: build folder (default build-bench).
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
cd "$here"
case ${1:-} in --help | -h) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
build=${MEDLEY_BUILD:-build-bench}
{
    [ -d "$build/meson-private" ] || meson setup "$build"
    ninja -C "$build" tests/bench/bench_ladder
} >&2
exec python3 tests/bench/ladder.py "$here/$build/tests/bench/bench_ladder" "$@"
