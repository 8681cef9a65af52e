#!/bin/sh
# cores: masks x threads x ranks: whatever is asked for, threads without a CPU of their own are warned of with numbers and cure, and only
# those; what is not asked for fits by itself. TAP. usage: cores.sh CORES_OF MEDLEY MAKE_SHARDS
set -u
cores_of=$1 medley=$2 make_shards=$3
dir=$(mktemp -d /tmp/medley-cores-XXXXXX)
trap 'rm -rf "$dir"' EXIT
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1 OPENBLAS_CORETYPE=Haswell
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
unset OMP_NUM_THREADS OMP_PROC_BIND OMP_PLACES
n=0 bad=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=1; sed 's/^/# /' "$dir/log"; fi; }
mpi() { mpirun -q --oversubscribe --bind-to none "$@" >"$dir/log" 2>&1; }

# the first two CPUs of this process
cpus=$(taskset -cp $$ 2>/dev/null | sed 's/.*: //' | tr , '\n' | awk -F- '{ for (c = $1; c <= ($2 == "" ? $1 : $2); c++) print c }' | head -n 2)
[ -n "$cpus" ] || { echo "1..0 # SKIP no taskset"; exit 0; }
one=$(echo "$cpus" | head -n 1) two=$(echo "$cpus" | tail -n +2) masks=$one
[ -z "$two" ] || masks="$one $one,$two"

for mask in $masks; do
    room=$(echo "$mask" | tr , '\n' | wc -l)
    for threads in 0 1 2; do
        for ranks in 1 2 3; do
            want=$((ranks * threads)) share=$((room / ranks))
            [ $share -gt 0 ] || share=1
            [ $threads -gt 0 ] || want=$((ranks * share))
            mpi -n $ranks taskset -c "$mask" "$cores_of" $threads
            code=$? said=$(grep -c crowded "$dir/log")
            if [ $want -gt "$room" ]; then
                # every rank has the text; the lowest one of the node prints it
                [ $code = 0 ] && [ "$said" = $ranks ] && grep -q "with $want threads in all on $room CPU" "$dir/log" && grep -q "OMP_NUM_THREADS" "$dir/log"
            else [ $code = 0 ] && [ "$said" = 0 ]; fi
            ok $? "CPUs $mask, $threads threads asked, $ranks ranks: $want threads for $room CPUs"
        done
    done
done
if [ -n "$two" ]; then
    # what mpirun -n 2 does by itself: a rank per core
    mpi -n 1 taskset -c "$one" "$cores_of" 2 : -n 1 taskset -c "$two" "$cores_of" 2
    grep -q "2 ranks with 4 threads in all on 2 CPUs" "$dir/log"; ok $? "bound to one core each, two threads each"
    mpi -n 1 taskset -c "$one" "$cores_of" 2 : -n 1 taskset -c "$one,$two" "$cores_of" 1
    grep -q "crowded.*2 ranks with 3 threads in all on 2 CPUs\|crowded.*1 rank with 2 threads in all on 1 CPU" "$dir/log"; ok $? "one rank bound too tightly"
    mpi -n 1 taskset -c "$one" "$cores_of" 0 : -n 1 taskset -c "$two" "$cores_of" 0
    [ "$(grep -c 'threads 1 ' "$dir/log")" = 2 ] && ! grep -q crowded "$dir/log"; ok $? "bound to one core each, nothing asked: one thread each"
fi

# the shipped program says what it took, and warns
"$make_shards" "$dir/shards" 20 >"$dir/log" 2>&1; ok $? "shards"
cat >"$dir/job.cfg" <<END
run = "$dir/run"; data_root = "$dir/shards";
model : { encoder = "swin_v2_nano"; };
train : { steps = 1; validate_every = 0; };
tasks = ( { name = "disc"; data = "tiny-disc"; image = [64, 64]; batch = 2; } );
END
mpi -n 2 taskset -c "$one" "$medley" train "$dir/job.cfg"
code=$?
[ $code = 0 ] && grep -q "threads: 1 on rank 0 (its share of the CPUs); its node has 2 ranks, 2 threads, 1 CPU ($one)" "$dir/log"; ok $? "train prints its threads and CPUs"
[ "$(grep -c 'warning: .*2 ranks with 2 threads in all on 1 CPU' "$dir/log")" = 1 ]; ok $? "train warns once"
echo "1..$n"
exit $bad
