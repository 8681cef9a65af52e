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

# submitting to Slurm, with an sbatch that numbers what it is given and can refuse it
# shellcheck disable=SC2016
stand_in sbatch 'echo "$*" >>"'"$here"'/sbatch"; n=$(($(wc -l <"'"$here"'/sbatch") + 40)); [ "$n" != "${REFUSE:-}" ] || exit 1; echo "$n"'
# shellcheck disable=SC2016
stand_in scancel 'echo "$*" >>"'"$here"'/scancel"'
mkdir -p "$here/data/synth-mr" "$here/shards/synth-ct"
: >"$here/shards/synth-ct/index.h5"
printf '%s\n' 'tasks = ({ name = "a"; data = "synth-mr"; }, # data = "not-this"' '{ name = "b"; data = "synth-ct"; }, { data = "synth-mr"; });' >"$here/j.cfg"
printf '%s\n' 'account=lab partition=long sbatch_options="--qos=x --nice" ranks_per_node=8 threads=2' >"$here/site"
mkdir "$here/recipes"
export MEDLEY_SITE="$here/site"
sent() { sed -n "$1p" "$here/sbatch" >"$here/out"; shift; for word; do says " $word" || return 1; done; }
check "submit: needs a script" run 2 sh jobs/submit.sh --nodes=2
check "submit: train" run 0 sh jobs/submit.sh --nodes=2 --qos=mine jobs/train.sbatch j.cfg
check "submit: prints the id" says '^41$'
check "submit: the site's options, then one's own" sent 1 '--account=lab --partition=long --cpus-per-task=2 --mincpus=16 --qos=x --nice --nodes=2 --qos=mine jobs/train.sbatch j.cfg'
check "submit: report takes no ranks" run 0 sh jobs/submit.sh jobs/report.sbatch r
check "submit: report" sent 2 '--partition=long --qos=x --nice jobs/report.sbatch r'
check "submit: use" run 0 sh jobs/submit.sh --nodes=2 jobs/use.sbatch embed r --out v.h5
check "submit: use takes ranks" sent 3 '--cpus-per-task=2 --mincpus=16 --qos=x --nice --nodes=2 jobs/use.sbatch embed r --out v.h5'
check "submit: a site file that is not there" run 2 env MEDLEY_SITE="$here/none" sh jobs/submit.sh jobs/report.sbatch r
check "pipeline: no recipe, nothing submitted" run 3 sh jobs/pipeline.sh "$here/j.cfg" --data "$here/data" --out "$here/p" --shards "$here/shards" --recipes "$here/recipes"
check "pipeline: says which" says "no recipe $here/recipes/synth-mr.cfg"
check "pipeline: but nothing of a set that is there" says_not 'synth-ct\|not-this'
: >"$here/recipes/synth-mr.cfg"
rm "$here/sbatch"
check "pipeline" run 0 sh jobs/pipeline.sh "$here/j.cfg" --data "$here/data" --out "$here/p" --shards "$here/shards" --recipes "$here/recipes" --nodes 3-4 --set 'optim.lr=1 # x'
check "pipeline: ids" test "$(tr -s '\n ' '  ' <"$here/out")" = 'convert 41 train 42 evaluate 43 report 44 '
check "pipeline: converts the missing set" sent 1 '--array=1-1' "$here/data $here/shards $here/recipes/synth-mr.cfg"
check "pipeline: trains after that" sent 2 '--dependency=afterok:41' '--kill-on-invalid-dep=yes' '--nodes=3-4' "$here/j.cfg --set optim.lr=1 # x --set run=$here/p/run --set data_root=$here/shards"
check "pipeline: evaluates after that" sent 3 '--dependency=afterok:42' "$here/p/run"
check "pipeline: reports after that" sent 4 '--dependency=afterok:43' "$here/p/run"
rm "$here/sbatch"
check "pipeline: in parts" run 0 sh jobs/pipeline.sh "$here/j.cfg" --data "$here/data" --out "$here/p" --shards "$here/shards" --recipes "$here/recipes" --parts 4
check "pipeline: in parts: ids" test "$(tr -s '\n ' '  ' <"$here/out")" = 'convert 41 index 42 train 43 evaluate 44 report 45 '
check "pipeline: in parts: an element for each" sent 1 '--array=1-4' "--parts 4 $here/data $here/shards $here/recipes/synth-mr.cfg"
check "pipeline: in parts: joined after that" sent 2 '--dependency=afterok:41' "$here/shards $here/recipes/synth-mr.cfg"
check "pipeline: no number of parts" run 2 sh jobs/pipeline.sh "$here/j.cfg" --out "$here/p" --parts some
rm "$here/sbatch"
check "pipeline: one is refused" run 4 env REFUSE=43 sh jobs/pipeline.sh "$here/j.cfg" --data "$here/data" --out "$here/p" --shards "$here/shards" --recipes "$here/recipes"
check "pipeline: those before it are cancelled" grep -qx ' *41 42' "$here/scancel"
check "pipeline: unknown option" run 2 sh jobs/pipeline.sh "$here/j.cfg" --ot x
check "pipeline: help" run 0 sh jobs/pipeline.sh --help
# in the job: modules, and the line that starts the ranks
mkdir -p "$here/modules/init"
echo 'module() { echo "module $*"; }' >"$here/modules/init/sh"
printf '%s\n' 'modules="gcc/12 openmpi" ranks_per_node=8 launcher=${LAUNCH:-srun --mpi=pmix}' "medley=$here/bin/medley medley_data=$here/bin/medley" >"$here/site"
stand_in medley 'exit 0'
stand_in squeue 'echo 2099-01-01T00:00:00'
# shellcheck disable=SC2016
for word in srun mpirun; do stand_in $word 'echo "'$word' $* threads $OMP_NUM_THREADS $SRUN_CPUS_PER_TASK end ${SLURM_JOB_END_TIME:-unknown}"; exit ${CODE:-0}'; done
in_job() { env SLURM_JOB_ID=7 SLURM_JOB_NODELIST='n[1-2]' SLURM_JOB_NUM_NODES=2 SLURM_CPUS_ON_NODE=32 SLURM_CPUS_PER_TASK=2 MODULESHOME="$here/modules" MEDLEY_JOBS=jobs "$@"; }
check "in the job: train" run 0 in_job sh jobs/train.sbatch j.cfg --set 'a=b c'
check "in the job: modules" says '^module load gcc/12 openmpi$'
check "in the job: srun, ranks and threads" says "^srun --mpi=pmix --kill-on-bad-exit=1 --ntasks=16 --ntasks-per-node=8 $here/bin/medley train j.cfg --set a=b c threads 2 2 end 40[0-9]*$"
check "in the job: seeds with mpirun" run 0 in_job env LAUNCH=mpirun SLURM_ARRAY_TASK_ID=3 sh jobs/seeds.sbatch j.cfg runs
check "in the job: mpirun, cores for the threads, seed and folder" says "^mpirun --bind-to core --map-by ppr:8:node:PE=2 -n 16 $here/bin/medley train j.cfg --set seed=3 --set run=runs/seed-3 threads 2"
check "in the job: probe" run 0 in_job sh jobs/use.sbatch probe r --task t
check "in the job: on all ranks" says "^srun --mpi=pmix --kill-on-bad-exit=1 --ntasks=16 --ntasks-per-node=8 $here/bin/medley probe r --task t threads 2"
check "in the job: a probe that was requeued" run 0 in_job env SLURM_RESTART_COUNT=1 sh jobs/use.sbatch probe r --task t
check "in the job: replaces what it had written" says "medley probe r --task t --force threads 2"
check "in the job: no such use" run 2 in_job sh jobs/use.sbatch prob r
check "in the job: an error of the program is the job's" run 3 in_job env CODE=3 sh jobs/train.sbatch j.cfg
# shellcheck disable=SC2016
stand_in medley 'echo "medley-data $*"'
element() { in_job env SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_ID="$1" sh jobs/convert.sbatch --parts 2 src "$here/shards" a.cfg b.cfg; }
check "in the job: the third of four elements" run 0 element 3
check "in the job: converts part 1 of the second data set" says "^medley-data convert b.cfg --source src --out $here/shards --jobs 2 --part 1/2$"
check "in the job: and nothing else" test "$(grep -c '^medley-data' "$here/out")" = 1
check "in the job: index" run 0 in_job sh jobs/index.sbatch "$here/shards" a.cfg synth-ct.cfg
check "in the job: joins what is missing" says "^medley-data index $here/shards/a$"
check "in the job: leaves alone what is there" says "^synth-ct: there already$"
check "in the job: outside a job" run 2 env -u SLURM_JOB_ID MODULESHOME="$here/modules" MEDLEY_JOBS=jobs sh jobs/report.sbatch r
unset MEDLEY_SITE
check "test script: unknown option" run 2 sh tests/run.sh --lon
echo "1..$n"
exit $bad
