#!/bin/sh
# session: a failure known to one rank or to all ends every rank with its code and is printed once. TAP.
# Usage: session.sh SESSION_END
program=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
if ! command -v mpirun >/dev/null; then
    echo "1..0 # SKIP no mpirun"
    exit 0
fi
n=0
bad=0

# expect MODE EXIT-CODE LINE
expect() {
    timeout 30 mpirun --oversubscribe --bind-to none -n 3 "$program" "$1" >"$dir/out" 2>"$dir/err"
    code=$?
    lines=$(grep -c '^medley: ' "$dir/err")
    found=$(grep -cxF -- "$3" "$dir/err")
    n=$((n + 1))
    if [ $code = "$2" ] && { [ -z "$3" ] || [ "$found" = 1 ]; } && [ "$lines" = "$found" ]; then
        echo "ok $n - $1"
    else
        bad=1
        echo "# exit $code, wanted $2; $lines messages"
        sed 's/^/# /' "$dir/err"
        echo "not ok $n - $1"
    fi
}
expect none 0 ""
expect agreed 3 "medley: rank 2 of 3: shard x is damaged"
expect one 5 "medley: rank 1: error: only here"
expect all 4 "medley: rank 0: error: no room anywhere"
expect stopped 75 "medley: stopped at step 3"
export MEDLEY_FAULT="comm_close@1:term"
expect signalled 75 "medley: stopped at step 4" # SIGTERM again while the ranks leave, as srun sends it
echo "1..$n"
exit $bad
