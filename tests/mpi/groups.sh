#!/bin/sh
# Decoders are held, summed and updated by the ranks that have units with them alone, and a head by the ranks of its task: the same bits as on one
# rank, on one node and several, with the sum begun early, moments once a node, dropped units, a suspended task, a kill and a resume on other ranks,
# a placement that changes while training. What moves is what `medley check` says, and less than if all ranks took part.
# usage: groups.sh all MEDLEY MAKE_SHARDS COMPARE
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mpi/common.sh
. "$here/common.sh"
"$make_shards" "$dir/shards" 40 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }
steps=5 validate=5
# detection has two units, which two ranks can share; segmentation has one
few="quadrant:2:1:1.0 sides:2:1:1.0 disc:2:1:1.0 discs:2:2:1.0"

# one NAME REFERENCE RANKS [SETTING...]: a run, and its comparison with another, best.h5 too
one() {
  who=$1 like=$2 ranks=$3; shift 3
  sets=""; for s in "$@"; do sets="$sets --set $s"; done
  # shellcheck disable=SC2086
  job "$dir/$who.cfg" "$dir/run-$who" "${sum:-exact}" $few
  # shellcheck disable=SC2086
  mpi "$ranks" "${program:-$medley}" train "$dir/$who.cfg" --set train.ema=0.9 $sets; ok $? "$who: trains on $ranks ranks $*"
  cp "$dir/log" "$dir/trained"
  [ "$who" = "$like" ] && return
  verify "$dir/run-$like" "$dir/run-$who" && verify "$dir/run-$like/best.h5" "$dir/run-$who/best.h5"; ok $? "$who: same bits as $like"
}
for r in 1 2 3; do # a program that pretends that so many ranks are on each node
  # shellcheck disable=SC2016
  printf '#!/bin/sh\nMEDLEY_NODE=node$((OMPI_COMM_WORLD_RANK / %s)) exec "%s" "$@"\n' "$r" "$medley" >"$dir/nodes_of_$r"
  chmod +x "$dir/nodes_of_$r"
done
holds() { grep -q "the $1 is held by $2 of $3 ranks" "$dir/trained"; ok $? "the $1 is held by $2 of $3 ranks"; }
# moved RANKS NODES: what the last run has moved a step is what check says, and what it would be if all ranks held all
moved() {
  "$medley" check "$dir/$who.cfg" --ranks "$1" --nodes "$2" >"$dir/log" 2>&1
  said=$(sed -n 's/^forecast sum_bytes //p' "$dir/log")
  everywhere=$(awk -v nodes="$2" '/^encoder / { printf "%.0f", $3 * 1e6 * 12 * (nodes - 1) }' "$dir/log")
  was=$(grep '"event":"step"' "$dir/run-$who/record.jsonl" | tail -n 1 | sed -n 's/.*"sum_bytes":\([0-9.e+]*\).*/\1/p')
  awk -v a="${was:-0}" -v b="${said:-1}" 'BEGIN { printf "# %.0f bytes moved a step, %.0f said\n", a, b; exit !(a >= 0.999 * b && a <= 1.001 * b) }'
  ok $? "$who: bytes moved are those that check has said"
  awk -v a="${was:-0}" -v b="$everywhere" 'BEGIN { printf "# %.0f bytes moved a step, %.0f if all ranks held all\n", a, b; exit !(a > 0 && a < 0.95 * b) }'
  ok $? "$who: and fewer than if all ranks held all"
}

# units are dropped after backward, and detection is suspended after three failures in a row, on its second rank too
export MEDLEY_FAULT="gradient@disc.2.0:nan,gradient@discs.2.1:nan,gradient@discs.3.0:nan,gradient@discs.4.1:nan"
one bad bad 1
[ "$(grep -c '"event":"drop"' "$dir/run-bad/record.jsonl")" = 4 ] && grep -q '"event":"suspend"' "$dir/run-bad/record.jsonl"; ok $? "four units are dropped, a task is suspended"
one bad-two bad 2 train.check_replicas_every=1
program="$dir/nodes_of_2" one bad-early bad 4 train.overlap=poll train.moments=node
unset MEDLEY_FAULT

one plain plain 1
program="$dir/nodes_of_2" one four plain 4
holds U-Net 1 4; holds FPN 2 4
moved 4 2
program="$dir/nodes_of_1" one apart plain 3 train.overlap=thread
moved 3 3
program="$dir/nodes_of_3" one moments plain 4 train.moments=node train.overlap=thread train.check_replicas_every=1
one idle plain 6 train.moments=node # more ranks than units

# killed on some ranks, gone on with on others: decoders move
job "$dir/k.cfg" "$dir/run-k" exact $few
MEDLEY_FAULT="unit@4:kill" MEDLEY_FAULT_RANK=1 mpi 4 "$dir/nodes_of_2" train "$dir/k.cfg" --set train.ema=0.9 --set train.overlap=thread --set train.checkpoint_every=2; [ $? -ne 0 ]; ok $? "killed on 4 ranks"
mpi 3 "$dir/nodes_of_1" train "$dir/k.cfg" --set train.ema=0.9 --set train.moments=node; ok $? "resumed on 3"
grep -q "resumed from" "$dir/log"; ok $? "from a checkpoint"
verify "$dir/run-plain" "$dir/run-k"; ok $? "same bits as never stopped"

# placed badly, then by measured costs: in one session, through a checkpoint
seed=1
while [ $seed -lt 30 ]; do
  MEDLEY_PLACEMENT=$seed "$medley" check "$dir/k.cfg" --ranks 3 | grep -q "^imbalance (largest over mean cost) \(1\.[6-9]\|[2-9]\)" && break
  seed=$((seed + 1))
done
MEDLEY_PLACEMENT=$seed program="$dir/nodes_of_2" one anew plain 3 train.rebalance_after=3 train.overlap=poll
[ "$(grep -c "planned imbalance" "$dir/trained")" = 2 ]; ok $? "units are placed anew"

# what a rank without decoders needs; with the float sum, because exact sums depend on a rank's number of units
"$medley" check "$dir/four.cfg" --ranks 4 --set train.sum=float >"$dir/log" 2>&1
awk '/^ +[0-9]+ +[0-9]+ / { if (/disc/) { if (!with || $4 < with) with = $4 } else without = $4 }
     END { printf "# %.1f MiB of state with a decoder, %.1f without\n", with, without; exit !(without > 0 && without < with - 0.5) }' "$dir/log"
ok $? "a rank without decoders needs less memory"

# the float sum: not the same bits on other ranks, but the same training
sum=float one float float 3 train.moments=node train.check_replicas_every=1
last() { grep '"event":"step"' "$dir/run-$1/record.jsonl" | tail -n 1 | sed 's/.*"loss":\([0-9.e+-]*\),.*/\1/'; }
awk -v a="$(last plain)" -v b="$(last float)" 'BEGIN { print "# loss " a " and " b; exit !(a > 0 && (a - b) ^ 2 < (0.01 * a) ^ 2) }'; ok $? "float sum: the loss is the same within 1 %"
echo "1..$n"
exit $bad
