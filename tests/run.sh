#!/bin/sh
# run: installs what is needed, builds with warnings as errors, runs the tests. The last line is "N passed, N failed".
#
#   sh tests/run.sh [--long | --sanitize | --valgrind | --coverage] [--no-setup] [SUITE...]
#
#   --long       also the suite "long" (fuzzing, kill matrices): under an hour
#   --sanitize   AddressSanitizer and UndefinedBehaviorSanitizer instead: unit tests, hostile files and fuzz corpus, with leaks; then
#                training on one and two ranks
#   --valgrind   memcheck instead: the unit tests but the numeric ones, built without AVX-512, which valgrind does not know
#   --coverage   the suites in a build that counts lines; prints the share of lines of src and tools that ran
#   --no-setup   look for no packages
#   SUITE        only these suites: unit parity mpi fault cli slurm fuzz
#
# MEDLEY_BUILD: build folder (default build-tests, build-sanitize, build-valgrind, build-coverage). Exit status 1 if a test failed.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
long=no mode=tests setup=yes suites=
for word in "$@"; do
    case $word in
    --long) long=yes ;;
    --sanitize | --valgrind | --coverage) mode=${word#--} ;;
    --no-setup) setup=no ;;
    --help | -h) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "run: unknown option $word (--long, --sanitize, --valgrind, --coverage, --no-setup)" >&2; exit 2 ;;
    *) suites="$suites --suite $word" ;;
    esac
done

if [ $setup = yes ]; then sh tools/setup.sh --tests || exit $?; fi

options="-Dwerror=true" build=${MEDLEY_BUILD:-build-$mode} flags=
case $mode in
sanitize)
    options="$options -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1"
    # what MPI, HDF5, OpenBLAS and OpenMP keep to their end is not ours (tests/leaks.supp); anything else stops the test
    export ASAN_OPTIONS="allocator_may_return_null=1:detect_leaks=1:halt_on_error=1:abort_on_error=1" UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1"
    export LSAN_OPTIONS="suppressions=$here/tests/leaks.supp:print_suppressions=0"
    [ -n "$suites" ] || suites="--suite unit --suite files --suite fuzz"
    MEDLEY_TIMEOUT_MULTIPLIER=${MEDLEY_TIMEOUT_MULTIPLIER:-6} # tiles of AVX2 and AVX-512 are slow where every access is looked at
    ;;
valgrind)
    command -v valgrind >/dev/null 2>&1 || { echo "run: no valgrind (Debian: valgrind)" >&2; exit 4; }
    # under memcheck, and there alone, ISA-L now and then makes another valid stream of the same bytes, and shards are compared byte by byte
    options="$options -Dmarch=x86-64-v3 -Doptimization=1 -Disal=disabled"
    flags="--setup valgrind"
    [ -n "$suites" ] || suites="--suite unit --no-suite numeric --no-suite gdcm" # the numeric ones take hours; GDCM's own errors end its child
    MEDLEY_TIMEOUT_MULTIPLIER=${MEDLEY_TIMEOUT_MULTIPLIER:-40}
    ;;
coverage)
    command -v gcovr >/dev/null 2>&1 || { echo "run: no gcovr (Debian: gcovr)" >&2; exit 4; }
    options="$options -Db_coverage=true -Doptimization=1"
    MEDLEY_TIMEOUT_MULTIPLIER=${MEDLEY_TIMEOUT_MULTIPLIER:-8} # counting lines at -O1 takes the kernels several times as long
    ;;
esac

# shellcheck disable=SC2086 # lists of words, here and below
if [ -d "$build/meson-private" ]; then meson setup --reconfigure "$build" $options >"$build/setup.log" 2>&1 || { cat "$build/setup.log"; exit 1; }
else meson setup "$build" $options; fi
ninja -C "$build"

[ $long = yes ] || [ -n "$suites" ] || suites="--no-suite long"
passed=0 failed=0 skipped=0

# Adds the tests of meson's log to the three counts: one JSON object per test and line. A setup has a log with its name.
count() {
    cat "$build"/meson-logs/testlog*.json 2>/dev/null | sed -n 's/.*"result": "\([A-Z]*\)".*/\1/p' >"$build/results.txt"
    while read -r word; do
        case $word in
        OK | EXPECTEDFAIL) passed=$((passed + 1)) ;;
        SKIP) skipped=$((skipped + 1)) ;;
        *) failed=$((failed + 1)) ;;
        esac
    done <"$build/results.txt"
}

status=0
rm -f "$build"/meson-logs/testlog*.json
[ $mode != coverage ] || find "$build" -name '*.gcda' -delete
# shellcheck disable=SC2086
meson test -C "$build" --print-errorlogs --timeout-multiplier "${MEDLEY_TIMEOUT_MULTIPLIER:-2}" $flags $suites || status=$?
count

# The shipped programs under the sanitizers: made data, training on one rank, resumed on two, evaluation, report. Leaks are no matter here:
# mpirun itself and a rank that is stopped on request keep what they have.
if [ $mode = sanitize ]; then
    export ASAN_OPTIONS="allocator_may_return_null=1:detect_leaks=0:halt_on_error=1:abort_on_error=1"
    if sh tests/cli/small_run.sh "$here/$build/src/medley" "$here/$build/tools/medley-data" "$here"; then passed=$((passed + 1))
    else failed=$((failed + 1)); fi
fi

if [ $mode = coverage ]; then
    # counters of a process that was killed in the middle of writing them are left out
    gcovr --root . --filter src/ --filter tools/ --object-directory "$build" --gcov-ignore-parse-errors --txt "$build/coverage.txt" "$build" >"$build/gcovr.log" 2>&1 ||
        { tail -n 20 "$build/gcovr.log"; failed=$((failed + 1)); }
    sed -n 's/^TOTAL *\([0-9]*\) *\([0-9]*\) *\([0-9]*%\).*/coverage: \3 of lines (\2 of \1) of src and tools/p' "$build/coverage.txt"
fi

[ $((passed + failed)) -gt 0 ] || failed=1 # no test ran: that is a failure
[ $status -eq 0 ] || [ $failed -gt 0 ] || failed=1
echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
