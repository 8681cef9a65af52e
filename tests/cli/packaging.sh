#!/bin/sh
# packaging: what a site installs: meson's install target, manual pages, environment module, Spack package, Apptainer definition. None of them
# names what the build does not have. TAP. Usage: packaging.sh SOURCE-ROOT BUILD-ROOT MEDLEY MEDLEY-DATA
# shellcheck disable=SC2317 # check calls what looks unreachable
root=$1 build=$2 medley=$3 medley_data=$4
case $medley in /*) ;; *) medley=$PWD/$medley ;; esac
case $medley_data in /*) ;; *) medley_data=$PWD/$medley_data ;; esac
cd "$root" || exit 1
n=0
bad=0
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

check() {
    name=$1
    shift
    n=$((n + 1))
    if "$@" >"$here/out" 2>&1 </dev/null; then echo "ok $n - $name"; else bad=1; sed 's/^/# /' "$here/out" | tail -n 20; echo "not ok $n - $name"; fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }

# ---- installed files
check "meson install" meson install -C "$build" --no-rebuild --destdir "$here/root" --quiet
prefix=$(meson introspect "$build" --buildoptions | tr '{' '\n' | sed -n 's/.*"name": "prefix", "value": "\([^"]*\)".*/\1/p')
check "the prefix is known" test -d "$here/root$prefix/bin"
installed() { find "$here/root$prefix" -path "*$1" | grep -q . || { echo "no $1"; find "$here/root" -type f | head -n 40; return 1; }; }
for f in /bin/medley /bin/medley-data /man1/medley.1 /man1/medley-data.1 /man5/medley.cfg.5 /completions/medley /libmedley.a /medley/medley-readers.so /pkgconfig/medley.pc \
    /medley/comm.h "/modulefiles/medley/$(grep -o "version : '[^']*'" meson.build | head -n 1 | cut -d"'" -f2)"; do
    check "installed: $f" installed "$f"
done

if [ -e "$build/src/medley-onednn.so" ]; then check "installed: /medley/medley-onednn.so" installed /medley/medley-onednn.so
else skip "installed: /medley/medley-onednn.so" "no oneDNN"; fi

finds_readers() { # wherever it was moved to
    where=$("$here/root$prefix/bin/medley" --version | sed -n 's/^readers of predict and embed: //p')
    case $where in "$here/root$prefix"/bin/../lib*/medley-readers.so) ;; *) echo "$where"; return 1 ;; esac
}
check "the installed program loads its readers" finds_readers
no_readers() { # and says so without them, when it reads a file
    mv "$here/root$prefix"/lib*/*/medley/medley-readers.so "$here" 2>/dev/null || mv "$here/root$prefix"/lib*/medley/medley-readers.so "$here"
    "$here/root$prefix/bin/medley" --version | grep -q '^readers of predict and embed: .*medley-readers.so (cannot be loaded)$'
}
check "without them it still runs, and says so" no_readers

if [ -e "$build/src/medley-onednn.so" ] && grep -qw avx512_bf16 /proc/cpuinfo; then
    bf16() { MEDLEY_BF16_KERNEL=onednn "$here/root$prefix/bin/medley" doctor "$here" | grep "^bf16 .*$1"; }
    check "the installed program loads oneDNN" bf16 ' by oneDNN 2\.'
    find "$here/root$prefix" -name medley-onednn.so -exec rm {} +
    check "without it, it says which package it wants" bf16 'medley-onednn\.so.*libdnnl2 (Debian)'
else skip "the installed program loads oneDNN" "no oneDNN, or no AVX512-BF16"; fi

# ---- manual pages
page() { find "$here/root$prefix" -name "$1"; }
"$medley" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p' >"$here/commands"
all_named() {
    [ "$(wc -l <"$here/commands")" -ge 8 ] || { cat "$here/commands"; return 1; }
    while read -r word; do sed 's/\\-/-/g' "$(page medley.1)" | grep -qw -- "$word" || { echo "medley(1) does not name $word"; return 1; }; done <"$here/commands"
}
check "medley(1) names every command" all_named
keys_named() { for key in train.steps optim.lr model.encoder; do grep -q "${key#*.}" "$(page medley.cfg.5)" || { echo "$key"; return 1; }; done; }
check "medley.cfg(5) has the keys" keys_named
if command -v groff >/dev/null; then
    for f in medley.1 medley-data.1 medley.cfg.5; do
        formats() { groff -man -ww -Tutf8 "$(page "$1")" >"$here/text" 2>"$here/warnings"; [ -s "$here/text" ] && [ ! -s "$here/warnings" ] || { head -n 5 "$here/warnings"; return 1; }; }
        check "$f: groff has nothing to say" formats $f
    done
else skip "manual pages format" "no groff"; fi

# ---- environment module
modulefile=$(find "$here/root$prefix" -path '*/modulefiles/medley/*' -type f)
check "module: everything is filled in" sh -c '! grep -q "@[a-z]*@" "$1"' sh "$modulefile"
paths_exist() {
    [ "$(grep -c '^prepend-path' "$modulefile")" -ge 5 ] || return 1
    sed -n 's/^prepend-path  *[A-Z_]*  *"\(.*\)"$/\1/p' "$modulefile" | while read -r path; do [ -d "$here/root$path" ] || { echo "no folder $path"; return 1; }; done
}
check "module: its folders are there" paths_exist
if command -v tclsh >/dev/null; then
    cat >"$here/module.tcl" <<'END'
proc module-whatis {text} {}
proc conflict {name} {}
proc module {args} { puts "module $args" }
proc prepend-path {name path} { puts "$name=$path" }
set built [lindex $argv 1]
source [lindex $argv 0]
ModulesHelp
END
    sets_path() { tclsh "$here/module.tcl" "$modulefile" >"$here/module" && grep -qx "PATH=$prefix/bin" "$here/module"; }
    check "module: Tcl runs it, and it sets the PATH" sets_path
else skip "module: Tcl runs it, and it sets the PATH" "no tclsh"; fi

# ---- Spack package
if python=$(command -v python3); then
    # shellcheck disable=SC2016
    check "Spack package: compiles" "$python" -c 'import py_compile, sys; py_compile.compile(sys.argv[1], cfile=sys.argv[2], doraise=True)' jobs/spack/packages/medley/package.py "$here/package.pyc"
    check "Spack package: has the options of the build" "$python" tests/cli/packaging_check.py "$root/jobs/spack/packages/medley/package.py" meson_options.txt
else skip "Spack package" "no python3"; fi

# ---- Apptainer definition
section() { sed -n "/^%$1\$/,/^%/p" jobs/medley.def | grep -v '^%'; }
section post | sed 's/{{ march }}/native/' >"$here/post"
check "Apptainer: %post is sh" sh -n "$here/post"
check "Apptainer: the packages are those of tools/setup.sh" grep -qx ' *sh tools/setup.sh' "$here/post"
packages_known() {
    sed -n 's/.*apt-get install[^a-z]*\(-[-a-z]* *\)*//p' "$here/post" | tr ' ' '\n' | grep . >"$here/packages"
    [ -s "$here/packages" ] || return 1
    sed -n '/^needed=/,/^with_tests/p' tools/setup.sh | tr ' "=' '\n\n\n' >"$here/known"
    while read -r word; do grep -qxF -- "$word" "$here/known" || { echo "setup.sh does not know $word"; return 1; }; done <"$here/packages"
}
check "Apptainer: further ones are among its optional ones" packages_known
files_there() { section files | grep . | while read -r from to; do [ -e "$from" ] && [ "$to" = "/src/$from" ] || { echo "$from $to"; return 1; }; done; }
check "Apptainer: the files are there" files_there
enough() { # every folder and file of the top level that meson.build reads
    for f in $(sed -n "s/^subdir('\([a-z]*\)').*/\1/p; s/.*input : '\([a-z]*\)\/.*/\1/p" meson.build) meson.build meson_options.txt include; do
        section files | grep -q "^ *$f " || { echo "$f is missing"; return 1; }
    done
}
check "Apptainer: and all the build reads" enough
options_known() { # of meson setup
    grep -o ' -D[a-z_]*=' "$here/post" | sed 's/ -D//; s/=//' | while read -r o; do grep -q "^option('$o'" meson_options.txt || { echo "$o"; return 1; }; done
}
check "Apptainer: its options are known" options_known
check "Apptainer: both programs have --version" "$medley_data" --version
echo "1..$n"
exit $bad
