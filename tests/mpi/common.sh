# common: what the scripts of this folder share: a folder that goes away, TAP lines, mpirun, a job file. Sourced: SCRIPT CASE MEDLEY
# MAKE_SHARDS COMPARE
# shellcheck shell=sh disable=SC2034 # the scripts use what is set here
set -u
case_=$1 medley=$2 make_shards=$3 compare=$4
case $medley in /*) ;; *) medley=$PWD/$medley ;; esac # ranks may run in other folders
dir=$(mktemp -d /tmp/medley-inv-XXXXXX)
trap 'rm -rf "$dir"' EXIT
export OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
n=0 bad=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=1; [ -f "$dir/log" ] && tail -n 5 "$dir/log" | sed 's/^/# /'; fi; }
mpi() { ranks=$1; shift; mpirun -q --oversubscribe --bind-to none -n "$ranks" "$@" >"$dir/log" 2>&1; }
same() { "$compare" "$@"; }
verify() { "$medley" verify-run "$@" >"$dir/log" 2>&1; }

job() { # job FILE RUN SUM TASKS...: writes a job file; a task is KIND:BATCH:UNITS:WEIGHT[:NAME]
  f=$1 run=$2 sum=$3; shift 3
  {
    echo "run = \"$run\"; data_root = \"$dir/shards\"; seed = 5;"
    echo "model : { encoder = \"${encoder:-swin_v2_nano}\"; };"
    echo "train : { steps = ${steps:-20}; sum = \"$sum\"; threads = 1; checkpoint_every = 5; validate_every = ${validate:-10}; log_every = 5; keep = 9; watchdog_s = 60.0; suspend_after = 3; };"
    echo "optim : { lr = 1e-3; warmup = 4; };"
    echo "tasks = ("
    comma=""
    for t in "$@"; do
      IFS=: read -r kind batch units weight name <<EOT
$t
EOT
      printf '%s{ name = "%s"; data = "tiny-%s"; image = [64, 64]; batch = %s; units = %s; weight = %s; %s }' "$comma" "${name:-$kind}" "$kind" "$batch" "$units" "$weight" "${extra:-}"
      comma=",
"
    done
    echo ");"
  } >"$f"
}
all="quadrant:2:1:1.0 sides:2:1:1.0 radius:2:1:1.0 disc:2:2:1.0 discs:2:1:1.0"
