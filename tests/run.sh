#!/bin/sh
# run: installs what is needed, builds with warnings as errors, runs the tests. The last line is "N passed, N failed".
#
#   sh tests/run.sh [--long] [--sanitize] [--no-setup] [SUITE...]
#
#   --long       also the suite "long"
#   --sanitize   AddressSanitizer and UndefinedBehaviorSanitizer instead: the unit tests, then training on one and two ranks
#   --no-setup   look for no packages
#   SUITE        only these suites: unit parity mpi fault cli
#
# MEDLEY_BUILD: build folder (default build-tests, build-sanitize with --sanitize). Exit status 1 if a test failed.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
long=no sanitize=no setup=yes suites=
for word in "$@"; do
    case $word in
    --long) long=yes ;;
    --sanitize) sanitize=yes ;;
    --no-setup) setup=no ;;
    --help | -h) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "run: unknown option $word (--long, --sanitize, --no-setup)" >&2; exit 2 ;;
    *) suites="$suites --suite $word" ;;
    esac
done

if [ $setup = yes ]; then sh tools/setup.sh --tests || exit $?; fi

options="-Dwerror=true" build=${MEDLEY_BUILD:-build-tests}
if [ $sanitize = yes ]; then
    options="$options -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1"
    build=${MEDLEY_BUILD:-build-sanitize}
    # memory the MPI library keeps to its end is not ours; the rest stops the test
    export ASAN_OPTIONS="detect_leaks=0:halt_on_error=1:abort_on_error=1" UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1"
    [ -n "$suites" ] || suites="--suite unit"
fi

# shellcheck disable=SC2086 # lists of words, here and below
if [ -d "$build/meson-private" ]; then meson setup --reconfigure "$build" $options >"$build/setup.log" 2>&1 || { cat "$build/setup.log"; exit 1; }
else meson setup "$build" $options; fi
ninja -C "$build"

[ $long = yes ] || [ -n "$suites" ] || suites="--no-suite long"
passed=0 failed=0 skipped=0

# Adds the tests of meson's log to the three counts: one JSON object per test and line.
count() {
    sed -n 's/.*"result": "\([A-Z]*\)".*/\1/p' "$build/meson-logs/testlog.json" >"$build/results.txt"
    while read -r word; do
        case $word in
        OK | EXPECTEDFAIL) passed=$((passed + 1)) ;;
        SKIP) skipped=$((skipped + 1)) ;;
        *) failed=$((failed + 1)) ;;
        esac
    done <"$build/results.txt"
}

status=0
rm -f "$build/meson-logs/testlog.json"
# shellcheck disable=SC2086
meson test -C "$build" --print-errorlogs --timeout-multiplier "${MEDLEY_TIMEOUT_MULTIPLIER:-2}" $suites || status=$?
if [ -f "$build/meson-logs/testlog.json" ]; then count; fi

# The shipped programs under the sanitizers: made data, training on one rank, resumed on two, evaluation, report.
if [ $sanitize = yes ]; then
    if sh tests/cli/small_run.sh "$here/$build/src/medley" "$here/$build/tools/medley-data" "$here"; then passed=$((passed + 1))
    else failed=$((failed + 1)); fi
fi

[ $((passed + failed)) -gt 0 ] || failed=1 # no test ran: that is a failure
[ $status -eq 0 ] || [ $failed -gt 0 ] || failed=1
echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
