#!/bin/sh
# medley doctor: what it says of this machine, and that it names the known traps and only those. TAP. usage: doctor.sh MEDLEY
set -u
medley=$1
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/medley-doctor-XXXXXX") # no tmpfs, on most machines
trap 'rm -rf "$dir"' EXIT
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
unset SLURM_JOB_ID SLURM_CPUS_PER_TASK SLURM_STEP_NUM_TASKS SLURM_JOB_END_TIME
n=0 bad=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=1; sed 's/^/# /' "$dir/log"; fi; }
ranks() { r=$1; shift; mpirun -q --oversubscribe --bind-to none -n "$r" "$@" >"$dir/log" 2>&1; }
says() { grep -q -- "$1" "$dir/log"; ok $? "$2"; }
traps() { [ "$(grep -c '^TRAP' "$dir/log")" = "$1" ]; ok $? "$1 trap(s)"; }
mkdir "$dir/runs"
memory=0
case $(stat -f -c %T "$dir") in tmpfs | ramfs) memory=1 ;; esac

"$medley" doctor "$dir/runs" >"$dir/log" 2>&1; ok $? "one process"
for word in "^medley " "^MPI: " "^BLAS: " "^HDF5: " "^CPU  .*kernels " "^bf16 " "^GEMM .* GFLOP/s with 1 thread" "^ranks     1 on 1 node" "^node .*CPUs " \
    "^folder .*GiB free, .*MB/s written and synced, locks work"; do
    says "$word" "says $word"
done
traps $memory
[ -z "$(ls -A "$dir/runs")" ]; ok $? "nothing is left in the folder"

# a CPU with AMX, of which oneDNN will see that it has none, if it is there
MEDLEY_FAULT="amx@*:raise" "$medley" doctor "$dir/runs" >"$dir/log" 2>&1
says "the CPU's AMX is not used: .*oneDNN\|^bf16 .* by oneDNN" "why AMX is not used"
MEDLEY_BF16_KERNEL=fast "$medley" doctor "$dir/runs" >"$dir/log" 2>&1; ok $? "an unknown kernel for bf16 is no failure"
says "^bf16      MEDLEY_BF16_KERNEL=fast: no such kernel; there are onednn, avx512 and plain: train.precision = \"bf16\" would be refused" "but said"

# kernels that OpenBLAS would have taken by itself where it does not know the CPU
if grep -qw avx2 /proc/cpuinfo; then
    OPENBLAS_CORETYPE=Prescott "$medley" doctor "$dir/runs" >"$dir/log" 2>&1
    says "^TRAP.*OpenBLAS chose slow kernels for this CPU: OPENBLAS_CORETYPE=" "slow kernels of OpenBLAS"
    env -u OPENBLAS_CORETYPE "$medley" doctor "$dir/runs" >"$dir/log" 2>&1
    ! grep -q "^BLAS.*Prescott" "$dir/log"; ok $? "they are not taken unasked"
fi

ranks 2 "$medley" doctor "$dir/runs"; ok $? "two ranks"
says "^messages  to rank 1 on the same node: .* us, .* GB/s" "latency and bandwidth"
says "^memory    ranks of a node add up gradients in each other's memory" "shared memory"

ranks 3 env OMP_NUM_THREADS=64 "$medley" doctor "$dir/runs"; ok $? "192 threads"
says "^TRAP.*3 ranks with 192 threads in all on .*expect .* times the time" "crowded CPUs"

SLURM_JOB_ID=12 SLURM_STEP_NUM_TASKS=4 SLURM_JOB_END_TIME=$(($(date +%s) + 7230)) "$medley" doctor "$dir/runs" >"$dir/log" 2>&1
says "^Slurm     job 12, ends in 2.0 h" "the job's end"
says "^TRAP.*srun started 4 programs that do not know of each other: srun --mpi=pmix" "srun without MPI"

SLURM_JOB_ID=12 SLURM_CPUS_PER_TASK=4096 ranks 2 "$medley" doctor "$dir/runs"
says "^TRAP.*2 of 2 ranks may use fewer CPUs than SLURM_CPUS_PER_TASK=4096.*SRUN_CPUS_PER_TASK" "cpus-per-task not taken over"

ranks 2 "$medley" doctor "$dir/nowhere"; ok $? "a folder that is not there is no failure"
says "^TRAP.*nowhere.*No such file or directory" "but a trap"
traps 1

# a folder that is another one on the second rank
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
    mkdir "$dir/own"
    # shellcheck disable=SC2016
    mpirun -q --oversubscribe --bind-to none -n 1 "$medley" doctor "$dir/runs" : \
        -n 1 unshare -m sh -c 'mount --bind "$1" "$2" && exec "$3" doctor "$2"' sh "$dir/own" "$dir/runs" "$medley" >"$dir/log" 2>&1
    says "^TRAP.*1 of 2 ranks do not see a file that rank 0 makes" "a folder that is not shared"
fi
echo "1..$n"
exit $bad
