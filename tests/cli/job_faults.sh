#!/bin/sh
# job_faults: bad job files and command lines: exit 2, every fault with its line, printed once, on one rank and on two. TAP.
# Usage: job_faults.sh MEDLEY [COMPLETION]
medley=$(realpath "$1")
jobs=$(cd "$(dirname "$0")/../../jobs" 2>/dev/null && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
n=0
bad=0

# expect NAME EXIT-CODE LINE...: the last command's exit code and lines of its stderr, each exactly once
expect() {
    name=$1 want=$2 ok=1
    shift 2
    [ "$code" = "$want" ] || { ok=0; echo "# exit $code, wanted $want"; }
    for line in "$@"; do
        found=$(grep -cF -- "$line" err)
        [ "$found" = 1 ] || { ok=0; echo "# $found times: $line"; }
    done
    n=$((n + 1))
    if [ $ok = 1 ]; then echo "ok $n - $name"; else bad=$((bad + 1)); sed 's/^/# /' err; echo "not ok $n - $name"; fi
}

run() { "$@" >out 2>err; code=$?; }

mkdir set
: >set/index.h5
cat >bad.cfg <<'END'
run = "runs/x";
model = { encoder = "swin_v2_micro"; };
train = {
  steps = 5000000000;
  prefetch = "four";
  stesp = 20;
};
optim = { lr = 1e6; };
tasks = (
  { name = "a"; data = "set"; image = [64, 64]; },
  { name = "b"; data = "gone"; image = [64, 65]; }
);
END
faults() {
    expect "$1" 2 "bad.cfg: 6 faults" \
        "bad.cfg:4: train.steps: got 5000000000, which does not fit 32 bits" \
        'bad.cfg:5: train.prefetch: got "four", expected an integer from 1 to 256' \
        'bad.cfg:6: train.stesp: unknown key (did you mean "steps"?)' \
        "bad.cfg:8: optim.lr: got 1000000.0, expected a number from 1e-12 to 100" \
        "bad.cfg:11: tasks[1].image[1]: got 65, expected a multiple of 32 such as 96" \
        "bad.cfg:11: tasks[1].data: no data set there: $dir/gone/index.h5 is missing"
}
run "$medley" check bad.cfg
faults "check lists all faults at once"
run "$medley" train bad.cfg
faults "train lists the same before it starts"
[ ! -e runs ] || { echo "# a run folder was made"; bad=$((bad + 1)); }
if command -v mpirun >/dev/null; then
    run mpirun --oversubscribe --bind-to none -n 2 "$medley" train bad.cfg
    faults "two ranks say it once"
    run mpirun --oversubscribe --bind-to none -n 2 "$medley" train --frsh bad.cfg
    expect "two ranks say a wrong option once" 2 "unknown option --frsh (did you mean --fresh?)"
fi
run "$medley" check bad.cfg --set train.steps=10 --set train.prefetch=0 --set tasks[b].imge=3 --set nothing
expect "--set is named" 2 "--set train.prefetch: got 0, expected an integer from 1 to 256" '--set tasks[1].imge: unknown key (did you mean "image"?)' \
    "--set nothing: expected key=value"
printf 'run = "x";\ntrain = { steps = yes; };\n' >syntax.cfg
run "$medley" check syntax.cfg
expect "syntax" 2 "syntax.cfg:2: train.steps: got yes, write true"
run "$medley" check none.cfg
expect "no such file" 2 "none.cfg: cannot open: No such file or directory"
run "$medley" trian
expect "command" 2 'no command "trian" (did you mean "train"?)'
run "$medley" train
expect "missing word" 2 "usage: medley train JOB.cfg"
run "$medley" check --ranks 0 bad.cfg
expect "number" 2 '--ranks: got "0", expected an integer from 1 to'
run "$medley"
expect "nothing" 2 "a command is missing"
for word in "" train check evaluate report status explain; do
    run "$medley" $word --help
    cp out err
    expect "help ${word:-of medley}" 0 "usage: medley ${word:-COMMAND}"
done
run "$medley" --version
cp out err
expect "version" 0 "medley 0." "MPI: " "HDF5: 1." "BLAS: " "libconfig: 1."
run "$medley" explain
cp out err
expect "explain" 0 "train.checkpoint_minutes" "tasks[].aug.crop_scale"
sed 's/5000000000/20/; s/"four"/4/; /stesp/d; s/1e6/1e-4/; s/gone/set/; s/65/64/' bad.cfg >good.cfg
run "$medley" check --resolved good.cfg
cp out resolved.cfg
expect "resolved" 0
run "$medley" check --resolved resolved.cfg
grep -v '^# Medley' out >second
grep -v '^# Medley' resolved.cfg | diff - second >err
code=$?
expect "resolved job file reads back to itself" 0
run "$medley" check --no-data --set=tasks[b].data=nowhere --ranks=2 -- good.cfg
cp out err
expect "without data" 0 "good.cfg: no faults in the file"
for file in "$jobs"/*.cfg; do
    [ -e "$file" ] || continue
    run "$medley" check --no-data "$file"
    expect "jobs/$(basename "$file") is a good job file" 0
done
if [ -n "$2" ]; then
    bash -c 'source "$1"; COMP_WORDS=("$2" train --set train.checkpoint_m); COMP_CWORD=3; _medley 2>/dev/null; echo "${COMPREPLY[@]}"' - "$2" "$medley" >err
    code=$?
    expect "completion" 0 "train.checkpoint_minutes="
fi
echo "1..$n"
exit $((bad > 0))
