#!/bin/sh
# fuzz: one target under libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer for some seconds. TAP.
# Skips where clang or its libFuzzer (Debian: clang, libclang-rt-14-dev) is missing.
#
#   sh tests/fuzz/fuzz.sh SOURCE-ROOT BUILD-FOLDER TARGET SECONDS
#
# New inputs are kept in BUILD-FOLDER/TARGET and used again; what crashes, hangs (20 s) or takes more than 1 GiB at once or 2 GiB in all
# lies in BUILD-FOLDER as TARGET-crash-..., TARGET-timeout-... or TARGET-oom-... Run it again: BUILD-FOLDER/fuzz_TARGET FILE
# shellcheck disable=SC2046,SC2086 # lists of words
set -eu
root=$1 build=$2 target=$3 seconds=$4
clang=${CLANG:-clang}
mkdir -p "$build/$target"
skip() { echo "ok 1 - fuzz-$target # SKIP $1"; echo "1..1"; exit 0; }

command -v "$clang" >/dev/null 2>&1 || skip "no clang"
probe=$build/$target-probe
printf 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n); int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { (void)d; return n > 1u << 30; }\n' >"$probe.c"
"$clang" -fsanitize=fuzzer,address,undefined "$probe.c" -o "$probe" 2>"$probe.log" || skip "clang has no libFuzzer"
rm -f "$probe" "$probe.c" "$probe.log"

[ "$target" != slide ] || pkg-config --exists openslide 2>/dev/null || skip "no OpenSlide"
packages="hdf5-serial libconfig zlib libpng libjpeg expat jansson libzip"
pkg-config --exists hdf5-serial 2>/dev/null || packages="hdf5 ${packages#* }"
cat >"$build/medley_build.h.$target" <<END
#define MEDLEY_VERSION "fuzz"
#define MEDLEY_BUILD "fuzz"
#define HAVE_PNG 1
#define HAVE_JPEG 1
#define HAVE_EXPAT 1
#define HAVE_ZIP 1
END
# GDCM is not among them: it is C++ and not ours; compressed DICOM is refused here
if pkg-config --exists libtiff-4 2>/dev/null; then packages="$packages libtiff-4"; echo "#define HAVE_TIFF 1" >>"$build/medley_build.h.$target"; fi
if pkg-config --exists libdeflate 2>/dev/null; then packages="$packages libdeflate"; echo "#define HAVE_DEFLATE 1" >>"$build/medley_build.h.$target"; fi
if pkg-config --exists libisal 2>/dev/null; then packages="$packages libisal"; echo "#define HAVE_ISAL 1" >>"$build/medley_build.h.$target"; fi
mkdir -p "$build/$target-inc"
mv "$build/medley_build.h.$target" "$build/$target-inc/medley_build.h"

# what the target needs, all of it instrumented
store=$(echo "$root"/src/store/*.c)
dicom="$root/tools/image.c $root/tools/dicom_parse.c $root/tools/dicom_pixels.c $root/tools/dicom_series.c $root/tools/orient.c $root/tools/pattern.c"
libs=
case $target in
boxes) rooms="$root/tools/boxes.c $root/tools/outline.c $root/tools/read_voc.c $root/tools/read_yolo.c $root/tools/read_coco.c" ;;
dicom) rooms="$store $dicom" ;;
image) rooms="$store $dicom $root/tools/read_image.c $root/tools/read_png.c $root/tools/png_quick.c $root/tools/read_jpeg.c $root/tools/read_nifti.c $root/tools/read_bmp.c $root/tools/read_tiff.c" ;;
note) rooms="$store $(echo "$root"/src/config/*.c) $root/tools/recipe.c $root/tools/recipe_check.c $root/tools/pattern.c $root/tools/convert_note.c $root/tools/convert_split.c $root/tools/convert_report.c" ;;
slide) rooms="$root/tools/read_slide.c"; packages="$packages openslide"; echo "#define HAVE_OPENSLIDE 1" >>"$build/$target-inc/medley_build.h" ;;
table) rooms="$root/tools/table.c $root/tools/read_csv.c $root/tools/read_xlsx.c" ;;
npz) rooms="$store $root/tools/image.c $root/tools/npy.c $root/tools/pattern.c $root/tools/read_npy.c $root/tools/read_npz.c" ;;
job) rooms=$(echo "$root"/src/config/*.c) ;;
recipe) rooms="$(echo "$root"/src/config/*.c) $root/tools/recipe.c $root/tools/recipe_check.c $root/tools/pattern.c" ;;
regions) rooms="$root/tools/boxes.c $root/tools/outline.c $root/tools/read_geojson.c" ;;
record) rooms=$root/src/train/record.c ;;
weights) rooms="$store $root/src/train/weights_fit.c $(echo "$root"/src/model/*.c "$root"/src/kern/*.c)"; packages="$packages openblas" libs=-l:libgomp.so.1 ;;
*) rooms=$store ;;
esac
"$clang" -std=gnu17 -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE -DH5_USE_110_API \
    -I"$root/include" -I"$root/tools" -I"$root/tests" -I"$build/$target-inc" $(pkg-config --cflags $packages) \
    "$root/tests/fuzz/fuzz_$target.c" "$root/tests/fuzz/fuzz.c" "$root/tests/fuzz/main_libfuzzer.c" $rooms "$root"/src/core/*.c -DMODULES_DIR='"."' -o "$build/fuzz_$target" $(pkg-config --libs $packages) $libs -lm -lpthread

cd "$build"
status=0 at_once=1024
[ "$target" != slide ] || at_once=5120 # OpenSlide tries to get what a TIFF says its longest value has, at most 4 GiB, and writes only what it can read
ASAN_OPTIONS="abort_on_error=0:allocator_may_return_null=1:detect_leaks=1" UBSAN_OPTIONS="print_stacktrace=1" \
    "./fuzz_$target" "$target" "$root/tests/fuzz/corpus/$target" -max_total_time="$seconds" -timeout=20 -malloc_limit_mb=$at_once -rss_limit_mb=2048 -max_len=65536 \
    -artifact_prefix="$build/$target-" -print_final_stats=1 -verbosity=1 >"$target.log" 2>&1 || status=$?
grep -E 'stat::|^#[0-9]+.*DONE' "$target.log" | sed 's/^/# /'
if [ $status -eq 0 ]; then echo "ok 1 - fuzz-$target: $seconds s"; else
    tail -n 40 "$target.log" | sed 's/^/# /'
    echo "not ok 1 - fuzz-$target: $seconds s"
fi
echo "1..1"
exit $status
