#!/bin/sh
# embed: the encoder of a run, used: vectors with the same bytes on any number of ranks, weights out with heads and back in as the start of
# another job. TAP. Usage: embed.sh all MEDLEY MAKE_SHARDS COMPARE
# shellcheck source=tests/mpi/common.sh
. "$(dirname "$0")/common.sh"

# 9 shards of 4 samples, some without one of the split
"$make_shards" "$dir/shards" quadrant=23,7,6 disc=9,2,2 >"$dir/log" 2>&1
steps=3 validate=3
job "$dir/a.cfg" "$dir/a" exact quadrant:2:1:1.0 disc:2:1:1.0
mpi 2 "$medley" train "$dir/a.cfg" --set train.ema=0.5 --set optim.lr=0.01
ok $? "a run to use"

embed() { ranks=$1 out=$2; shift 2; mpi "$ranks" "$medley" embed "$dir/a" --out "$dir/$out" "$@"; }
for end in h5 npy csv; do
    embed 1 "$end-one.$end" --stages && embed 2 "$end-two.$end" --stages && embed 3 "$end-three.$end" --stages &&
        cmp "$dir/$end-one.$end" "$dir/$end-two.$end" && cmp "$dir/$end-one.$end" "$dir/$end-three.$end"
    ok $? "all data of the run, $end: the same bytes on 1, 2 and 3 ranks"
done
[ "$(wc -l <"$dir/csv-one.csv")" = 50 ] && [ "$(sed -n 2p "$dir/csv-one.csv" | tr , '\n' | wc -l)" = $((9 + 16 * 23)) ]
ok $? "49 samples of two data sets, stages and vector"
embed 3 test.csv --split test --data "$dir/shards/tiny-quadrant" && [ "$(grep -c ',test,' "$dir/test.csv")" = 6 ] && [ "$(wc -l <"$dir/test.csv")" = 7 ]
ok $? "one data set, one split"
# its vectors are those of the whole, though they were computed in other turns
grep '^tiny-quadrant,.*,test,' "$dir/csv-one.csv" | cut -d, -f "1-9,$((10 + 16 * 15))-" | sort >"$dir/a.txt" && sed 1d "$dir/test.csv" | sort | cmp - "$dir/a.txt"
ok $? "a vector does not depend on what it is computed with"
embed 2 raw.csv --raw && embed 2 last.csv --weights last && embed 2 avg.csv && cmp "$dir/last.csv" "$dir/avg.csv" && ! cmp -s "$dir/raw.csv" "$dir/avg.csv"
ok $? "moving average or trained weights; last or best"
embed 2 none.csv --split nothing
[ $? = 2 ] && grep -q -- '--split: got "nothing"' "$dir/log"
ok $? "wrong words end with 2"
embed 2 none.csv --data "$dir/a"
[ $? = 3 ] && [ ! -e "$dir/none.csv" ]
ok $? "no data set there: 3, and no file"
cp -r "$dir/shards" "$dir/bad"
for shard in "$dir"/bad/tiny-disc/tiny-disc-0*; do
    third=$(($(wc -c <"$shard") / 3))
    head -c $third /dev/zero | dd of="$shard" bs=1 seek=$third conv=notrunc 2>/dev/null
done
embed 3 none.csv --data "$dir/bad/tiny-disc"
[ $? = 3 ] && [ ! -e "$dir/none.csv" ]
ok $? "damaged shards: 3, and no file"

out() { f=$1; shift; "$medley" export "$dir/a" --out "$dir/$f" --force "$@" >"$dir/log" 2>&1; }
has() { head -c 200000 "$dir/$1" | tr -d '\000' | grep -qaF -- "$2"; }
cd "$dir" || exit 1
out w.safetensors --format timm --head quadrant && has w.safetensors '"head.fc.weight":{"dtype":"F32","shape":[4,128]' && has w.safetensors 'tiny-quadrant: CC0' &&
    has w.safetensors '"classes":"a\nb\nc\nd"' && has w.safetensors '"image_size":"64x64"' && has w.safetensors 'moving average'
ok $? "export with a head as the classifier; data sets, licences, classes, size in the header"
out h.safetensors --with heads && has h.safetensors '"head.quadrant.bias"' && has h.safetensors '"seg.block1.conv1.weight"' && has h.safetensors '"head.disc.'
ok $? "export with all decoders and heads"
out w.safetensors --head disc
[ $? = 2 ] && grep -q 'no task "disc" with a linear head' "$dir/log"
ok $? "a head that is not linear is no classifier"
"$medley" export "$dir/a/best.h5" --format huggingface --raw --out "$dir/raw.safetensors" >"$dir/log" 2>&1 && has raw.safetensors '"swinv2.encoder.layers.3.blocks.1.'
ok $? "export of a checkpoint without its run"

# a job that starts from it: the same bits on any number of ranks, other bits than from random weights, and at first the same vectors
start() { f=$1; shift; mpi "$1" "$medley" train "$dir/b.cfg" --set "run=\"$dir/$f\"" --set "model.init=\"$2\"" --set optim.lr=1e-12 --set optim.min_lr=0 --set optim.weight_decay=0; }
job "$dir/b.cfg" "$dir/b" exact quadrant:2:1:1.0 disc:2:1:1.0
start b1 1 "$dir/raw.safetensors" && grep -q 'the encoder starts from it (names of huggingface)' "$dir/log" && start b3 3 raw.safetensors && verify "$dir/b1" "$dir/b3"
ok $? "training from a file: the same bits on 1 and 3 ranks"
start c 1 random && { verify "$dir/b1" "$dir/c"; [ $? = 1 ]; }
ok $? "and other bits than from random weights"
mpi 1 "$medley" embed "$dir/b1" --out "$dir/b1.csv" && awk -F, 'FNR > 1 { if (NR == FNR) for (i = 10; i <= NF; i++) v[FNR, i] = $i
    else for (i = 10; i <= NF; i++) { n++; d = v[FNR, i] - $i; if (d < 0) d = -d; if (d > 1e-5) exit 1 } } END { exit n != 49 * 128 }' "$dir/raw.csv" "$dir/b1.csv"
ok $? "with a step of nothing it sees what the file's encoder sees"
start b1 2 "$dir/raw.safetensors" && mv "$dir/raw.safetensors" "$dir/moved" && mpi 1 "$medley" evaluate "$dir/b1" --split val --boot 0
ok $? "once begun, the run does not need the file"
"$medley" check "$dir/b.cfg" --ranks 1 --set "model.init=\"raw.safetensors\"" >"$dir/log" 2>&1
[ $? = 3 ] && grep -q 'raw.safetensors: no such run folder or file' "$dir/log"
ok $? "check finds that it is missing"
"$medley" check "$dir/b.cfg" --ranks 1 --set "model.init=\"w.safetensors\"" --set 'model.encoder="swin_v2_t"' >"$dir/log" 2>&1
[ $? = 3 ] && grep -q 'does not fit swin_v2_t' "$dir/log"
ok $? "check finds that it does not fit"
cd / || exit 1
echo "1..$n"
exit $bad
