#!/bin/sh
# Starting a run touches few files: rank 0 alone reads the indices, each once, and every rank opens the shards of its own tasks only. What
# is missing or has another size is found at the start, though no sample of it is due yet.
# usage: opens.sh CASE MEDLEY MAKE_SHARDS OPEN_SHIM
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mpi/common.sh
. "$here/common.sh"
case $compare in /*) shim=$compare ;; *) shim=$PWD/$compare ;; esac
"$make_shards" "$dir/shards" quadrant=40,4,0 sides=8,4,0 radius=8,4,0 disc=8,4,0 discs=8,4,0 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }
steps=2 validate=2
for r in 1 2 4; do
  job "$dir/o$r.cfg" "$dir/o$r" exact $all quadrant:2:1:1.0:again
  mpi "$r" env LD_PRELOAD="$shim" OPEN_SHIM_OUT="$dir/opened$r" "$medley" train "$dir/o$r.cfg"; ok $? "a run on $r ranks"
  cp "$dir/log" "$dir/said$r"
  count=$(cat "$dir/opened$r".* | grep -c "/index.h5$"); [ "$count" = 5 ]; ok $? "five indices for six tasks are read once each ($count)"
  count=$(grep -c "/index.h5$" "$dir/opened$r.0"); [ "$count" = 5 ]; ok $? "by rank 0"
  # the plan's lines: NAME KIND ... rank 0,1
  foreign=0 seen=0 k=0
  while [ $k -lt "$r" ]; do
    sed -n 's|.*/tiny-\([a-z]*\)-[0-9]*\.h5$|\1|p' "$dir/opened$r.$k" | sort -u >"$dir/opened"
    while read -r set; do
      seen=$((seen + 1))
      sed -n "s/^.*  \(again\|$set\)  .* rank \([0-9,]*\).*/\1 \2/p" "$dir/said$r" | { [ "$set" = quadrant ] && cat || grep -v again; } | tr ', ' '\n\n' | grep -qx $k || foreign=$((foreign + 1))
    done <"$dir/opened"
    k=$((k + 1))
  done
  [ $seen -ge 5 ] && [ $foreign = 0 ]; ok $? "every rank opens shards of its tasks only ($seen pairs of rank and data set, $foreign foreign)"
  verify "$dir/o1" "$dir/o$r"; ok $? "same bits"
done
last=$(ls "$dir"/shards/tiny-quadrant/tiny-quadrant-*.h5 | tail -n 1)
mv "$last" "$dir/aside"
mpi 2 "$medley" train "$dir/o2.cfg" --fresh; code=$?; [ $code = 3 ]; ok $? "a missing shard: exit 3 (got $code)"
grep -q "$last: cannot open" "$dir/log" && ! grep -q "step 1 " "$dir/log"; ok $? "it is named before the first step"
head -c 5000 "$dir/aside" >"$last"
mpi 2 "$medley" train "$dir/o2.cfg" --fresh; code=$?; [ $code = 3 ]; ok $? "a shard cut short: exit 3 (got $code)"
grep -q "$last: 5000 bytes, .*index.h5 says" "$dir/log"; ok $? "it is named with both sizes"
mv "$dir/aside" "$last"
mpi 2 "$medley" train "$dir/o2.cfg" --fresh; ok $? "whole again, it trains"
echo "1..$n"
exit $bad
