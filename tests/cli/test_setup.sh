#!/bin/sh
# test_setup: what set-up, quick start and test script do when something is missing or wrong; package tools are stand-ins. TAP.
# Usage: test_setup.sh SOURCE-ROOT
# shellcheck disable=SC2317 # check calls what looks unreachable
root=$1
cd "$root" || exit 1
n=0
bad=0
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
mkdir "$here/bin"

# check NAME COMMAND...: passes if the command succeeds
check() {
    name=$1
    shift
    n=$((n + 1))
    if "$@"; then echo "ok $n - $name"; else bad=1; sed 's/^/# /' "$here/out"; echo "not ok $n - $name"; fi
}
stand_in() { printf '#!/bin/sh\n%s\n' "$2" >"$here/bin/$1" && chmod +x "$here/bin/$1"; }
says() { grep -q -- "$1" "$here/out"; }
says_not() { ! grep -q -- "$1" "$here/out"; }
# run EXIT-STATUS COMMAND...: with the stand-ins in front, output to $here/out
run() {
    want=$1 got=0
    shift
    PATH="$here/bin:$PATH" "$@" >"$here/out" 2>&1 </dev/null || got=$?
    [ "$got" -eq "$want" ] || { echo "exit status $got" >>"$here/out"; return 1; }
}

# everything is there but two packages that are needed and one that is not
# shellcheck disable=SC2016 # for the stand-ins to expand
stand_in dpkg-query 'for p; do :; done; case $p in libhdf5-dev | libzip-dev | python3-torch) [ -f "'"$here"'/done" ] || exit 1 ;; esac; printf installed'
stand_in sudo 'exit 1'
stand_in id 'echo 1000'
stand_in apt-get 'echo called >>"'"$here"'/apt"; exit 1'

check "without root: ends with 4" run 4 sh tools/setup.sh
check "without root: names what is missing" says '^  libhdf5-dev$'
check "without root: says how" says 'apt-get install --no-install-recommends libhdf5-dev libzip-dev'
check "without root: nothing else" says_not 'libpng-dev\|torch'
check "without root: apt-get was not called" test ! -f "$here/apt"
check "--list: missing ones, one per line" run 4 sh tools/setup.sh --list --tests
check "--list --tests: optional ones too" says '^python3-torch$'
check "unknown option: ends with 2" run 2 sh tools/setup.sh --tess
check "quick start without packages: ends with 4" run 4 sh jobs/quickstart.sh --out "$here/out-folder"
check "quick start: began nothing" test ! -e "$here/out-folder"
check "test script without packages: ends with 4" run 4 env MEDLEY_BUILD="$here/build" sh tests/run.sh

stand_in id 'echo 0'
# shellcheck disable=SC2016
stand_in apt-get 'echo "$*" >>"'"$here"'/apt"; case "$*" in *update*) touch "'"$here"'/fresh" ;; esac; [ -f "'"$here"'/fresh" ] || exit 100; touch "'"$here"'/done"'
check "root: installs" run 0 sh tools/setup.sh
check "root: only what is missing" grep -q 'install --no-install-recommends libhdf5-dev libzip-dev$' "$here/apt"
check "root: lists are fetched only after a failure" test "$(grep -c update "$here/apt")" = 1
check "all there: says so" run 0 sh tools/setup.sh --tests
check "all there: not called again" test "$(wc -l <"$here/apt")" = 3
rm -f "$here/done"
stand_in apt-get 'echo "E: no network"; exit 100'
check "root, no network: ends with 4" run 4 sh tools/setup.sh
check "root, no network: apt's words are shown" says 'E: no network'

check "quick start: unknown option" run 2 sh jobs/quickstart.sh --stepps 3
check "quick start: bad number" run 2 sh jobs/quickstart.sh --ranks two
check "quick start: no such folder" run 2 sh jobs/quickstart.sh --data "$here/nowhere"
check "quick start: help" run 0 sh jobs/quickstart.sh --help
check "quick start: help tells the options" says '--steps N'
check "test script: unknown option" run 2 sh tests/run.sh --lon
echo "1..$n"
exit $bad
