#!/bin/sh
# Where the ranks' time goes: what the record tells adds up, and a slow rank, its node, and a loader that is slow are named by status and by the last
# lines of train. usage: times.sh CASE MEDLEY MAKE_SHARDS COMPARE
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mpi/common.sh
. "$here/common.sh"
"$make_shards" "$dir/shards" 40 || { echo "not ok 1 - shards"; echo "1..1"; exit 1; }
steps=6 validate=3
two="sides:2:4:1.0 radius:2:4:1.0"
# shellcheck disable=SC2016
printf '#!/bin/sh\nMEDLEY_NODE=node-$((OMPI_COMM_WORLD_RANK / 2)) exec "%s" "$@"\n' "$medley" >"$dir/on-nodes"
chmod +x "$dir/on-nodes"

# numbers EVENT KEY: of every such line
numbers() { sed -n "s/.*\"event\":\"$1\".*\"$2\":\([-0-9.e+]*\)[,}].*/\1/p" "$record"; }
last() { numbers "$1" "$2" | tail -n 1; }
says() { grep -qE -- "$1" "$dir/said"; ok $? "$2"; }

for r in 1 2 3 4; do
  job "$dir/job.cfg" "$dir/run" exact $two
  record="$dir/run/record.jsonl"
  mpi "$r" "$dir/on-nodes" train "$dir/job.cfg" --fresh --set train.log_every=2 --set train.checkpoint_every=4; ok $? "trains on $r ranks"
  cp "$dir/log" "$dir/trained"
  [ "$(numbers ranks step | tr '\n' ' ')" = "2 4 6 " ] && [ "$(numbers ranks ranks | sort -u)" = "$r" ] && [ "$(numbers ranks nodes | sort -u)" = $(((r + 1) / 2)) ]
  ok $? "$r ranks: a line of all ranks at every log line"
  # the last log line tells of each rank; their mean is the mean of all
  numbers group step | tail -n "$r" | grep -cx 6 | grep -qx "$r"; ok $? "$r ranks: a line of each rank at the last one"
  numbers group compute_s | tail -n "$r" | awk -v n="$r" -v mean="$(last ranks compute_mean_s)" -v most="$(last ranks compute_max_s)" '
    { sum += $1; if ($1 > max) max = $1 } END { exit !(sum / n > 0.999999 * mean && sum / n < 1.000001 * mean && max == most && mean > 0) }'
  ok $? "$r ranks: which add up"
  # the parts of the mean rank make up the step, but for a rest
  awk -v whole="$(last ranks seconds)" -v steps="$(last ranks steps)" -v a="$(last ranks compute_mean_s)" -v b="$(last ranks data_mean_s)" \
    -v c="$(last ranks wait_mean_s)" -v d="$(last ranks sum_mean_s)" -v e="$(last ranks update_mean_s)" 'BEGIN {
    all = (a + b + c + d + e) * steps; printf "# parts %.3f of %.3f s\n", all, whole; exit !(all <= 1.02 * whole && all >= 0.8 * whole) }'
  ok $? "$r ranks: the parts of a step make up its time"
  awk -v r="$(last ranks read_min_s)" -v a="$(last ranks augment_min_s)" 'BEGIN { exit !(r > 0 && a > 0) }'; ok $? "$r ranks: every loader reads and augments"
  # 3 and 6: validations; 4 and 6: checkpoints; what comes behind the last log line stands in the last event
  awk -v v="$(last end validation_pause_s)" -v c="$(last end checkpoint_pause_s)" -v b="$(numbers ranks validation_pause_s | sort -g | tail -n 1)" 'BEGIN { exit !(v > 0 && c > 0 && b > 0) }'
  ok $? "$r ranks: validations and checkpoints are counted"
  "$medley" status "$dir/run" >"$dir/said"; ok $? "$r ranks: status"
  says "^efficiency  units [0-9.]+ %, .*waiting for data [0-9.]+ %, .*sum over the ranks [0-9.]+ %, .*validation [0-9.]+ %, checkpoints [0-9.]+ %, the rest" "$r ranks: tells where the time went"
  says "of the tasks (sides|radius): [0-9.]+ s a unit" "$r ranks: and which task takes longest"
  grep -q "efficiency: units [0-9.]* %" "$dir/trained"; ok $? "$r ranks: so do the last lines of train"
  # shares of the line add up to 100
  sed -n 's/^efficiency //p' "$dir/said" | sed 's/([^)]*)//g; s/;.*//' | grep -oE '[0-9.]+ %' | awk '{ sum += $1 } END { print "# " sum " %"; exit !(sum > 99.3 && sum < 100.7) }'
  ok $? "$r ranks: the shares are of one whole"
done

# a rank that takes 0.3 s more for each of its units than others for the same tasks
job "$dir/slow.cfg" "$dir/slow" exact $two
record="$dir/slow/record.jsonl"
MEDLEY_FAULT="forward@*:busy" MEDLEY_FAULT_RANK=2 MEDLEY_FAULT_BUSY_S=0.3 mpi 4 "$dir/on-nodes" train "$dir/slow.cfg" --set train.log_every=1; ok $? "a slow rank"
cp "$dir/log" "$dir/trained"
"$medley" status "$dir/slow" >"$dir/said"
says "slowest     now: rank 2 on node-1, .* most of it task (sides|radius); its units take [0-9]+ % longer than such units" "status: it, its node, a task of it, and that it is the rank"
says "so far: rank 2 on node-1 in (8[0-9]|9[0-9]|100) % of the steps" "and that it has been all the time"
awk '/^ranks at step 6/ { getline; print > "/dev/stderr"; found = $1 == "2" && $3 == "node-1" } END { exit !found }' "$dir/said"; ok $? "the list of ranks begins with it"
grep -q "slowest: rank 2 on node-1" "$dir/trained"; ok $? "the last lines of train name it"
awk -v w="$(last ranks wait_max_s)" -v m="$(last ranks wait_min_s)" 'BEGIN { exit !(w > 0.3 && m < w) }'; ok $? "the others wait for it"

# a loader that is slow
job "$dir/read.cfg" "$dir/read" exact $two
MEDLEY_FAULT="load@*:busy" MEDLEY_FAULT_RANK=1 MEDLEY_FAULT_BUSY_S=0.4 mpi 2 "$dir/on-nodes" train "$dir/read.cfg" --set train.log_every=1 --set train.prefetch=1 \
  --set train.steps=3; ok $? "a slow loader"
"$medley" status "$dir/read" >"$dir/said"
says "slowest     now: rank 1 on node-0" "its rank is the slowest"
awk '/^waiting for data/ { found = $6 > 4 * $4 && $6 > 0.3 } END { exit !found }' "$dir/said"; ok $? "it waits for data, and the other does not"
echo "1..$n"
exit $bad
