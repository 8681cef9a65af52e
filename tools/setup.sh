#!/bin/sh
# setup: the Debian packages Medley is built from. Installs what is missing as root or with sudo, else lists it and exits with 4.
#
#   sh tools/setup.sh [--tests] [--list]
#
#   --tests   also what is optional: readers of rarer image formats (libtiff-dev; libgdcm-dev: compressed DICOM; libopenslide-dev: whole slides),
#             fast packing (libisal-dev, libdeflate-dev), bf16 by AMX (libdnnl-dev), programs the tests compare with (a test without is skipped)
#   --list    print the packages that are missing, install nothing; exit 0 if there are none, else 4
set -eu

needed="gcc libc6-dev meson ninja-build pkg-config openmpi-bin libopenmpi-dev libhdf5-dev libopenblas-openmp-dev libconfig-dev zlib1g-dev
  libpng-dev libjpeg62-turbo-dev libexpat1-dev libjansson-dev libzip-dev"
oracles="hdf5-tools python3-h5py python3-nibabel python3-onnx python3-pydicom python3-sklearn python3-torch python3-torchvision python3-pil
  libisal-dev libdeflate-dev libdnnl-dev libtiff-dev g++ libgdcm-dev libopenslide-dev python3-openslide python3-shapely clang libclang-rt-14-dev valgrind gcovr
  munge slurmctld slurmd slurm-client iproute2"

with_tests=no list_only=no
for word in "$@"; do
    case $word in
    --tests) with_tests=yes ;;
    --list) list_only=yes ;;
    --help | -h) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "setup: unknown option $word (--tests, --list)" >&2; exit 2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "setup: this is no Debian system; install by your own means what these Debian packages hold:" >&2
    # shellcheck disable=SC2086 # a list of words
    printf '  %s\n' $needed >&2
    exit 4
fi

# The packages among "$@" that are not installed.
missing() {
    for package; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :) in
        installed) ;;
        *) printf '%s ' "$package" ;;
        esac
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_install() {
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; }
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@"
}

# Installs "$@"; fetches the package lists only if that fails without them.
install() {
    apt install --no-install-recommends "$@" >"$log" 2>&1 && return 0
    apt update >>"$log" 2>&1 && apt install --no-install-recommends "$@" >>"$log" 2>&1
}

# shellcheck disable=SC2086 # lists of words, here and below
must=$(missing $needed) may=
# shellcheck disable=SC2086
[ $with_tests = no ] || may=$(missing $oracles)

if [ $list_only = yes ]; then
    [ -n "$must$may" ] || exit 0
    # shellcheck disable=SC2086
    printf '%s\n' $must $may
    exit 4
fi

if [ -z "$must$may" ]; then
    echo "setup: all packages are there"
    exit 0
fi

if ! can_install; then
    if [ -n "$must" ]; then
        echo "setup: these packages are missing, and installing them takes root (or sudo without a password):" >&2
        # shellcheck disable=SC2086
        printf '  %s\n' $must >&2
        echo "as root: apt-get install --no-install-recommends $must" >&2
        exit 4
    fi
    echo "setup: optional packages are missing, so some tests will be skipped: $may"
    exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ -n "$must" ]; then
    echo "setup: installing $must"
    # shellcheck disable=SC2086
    if ! install $must; then
        tail -n 20 "$log" >&2
        echo "setup: apt-get could not install: $must" >&2
        exit 4
    fi
fi
if [ -n "$may" ]; then
    echo "setup: installing for the tests $may"
    # shellcheck disable=SC2086
    install $may || echo "setup: not all optional packages could be installed; tests that need them will be skipped"
fi
