#!/bin/sh
# evaluate: what it writes has the same bytes on any number of ranks: scores, of each centre too, tables of samples, cases and confusions, pictures.
# The scores of the tables, computed again by numpy and scikit-learn, are those in the file. TAP. Usage: evaluate.sh all MEDLEY MAKE_SHARDS COMPARE
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mpi/common.sh
. "$here/common.sh"
"$make_shards" "$dir/shards" quadrant=16,4,24:centres sides=16,4,12 radius=16,4,12 disc=16,4,24:centres discs=16,4,12 >"$dir/log" 2>&1
steps=6 validate=3
job "$dir/a.cfg" "$dir/a" exact $all
mpi 2 "$medley" train "$dir/a.cfg" --set optim.lr=0.005
ok $? "a run to evaluate"
cd "$dir/a" || exit 1
outputs() { find . -name '*-test*' -type f -o -path './examples-test*' -type f | sort | xargs sha256sum; }

for r in 1 2 3; do
    mpi "$r" "$medley" evaluate "$dir/a" --boot 100 && cp "$dir/log" "$dir/table" && outputs >"$dir/sums$r"
    ok $? "evaluate on $r ranks"
    [ "$r" = 1 ] && continue
    cmp -s "$dir/sums1" "$dir/sums$r"
    ok $? "every file has the bytes of one rank"
done
[ "$(grep -c . "$dir/sums1")" -eq $((1 + 5 + 1 + 3 + 5 * 2 + 3 * 6 + 2 * 12)) ] && [ "$(grep -c 'cases-test-disc.csv\|confusion-test-sides.csv\|examples-test-discs/06-predicted.png' "$dir/sums1")" = 3 ]
ok $? "scores; samples of five tasks, cases of one, confusions of three, lists and pictures of five"
[ "$(grep -c '^  centre ' "$dir/table")" = 6 ] && [ "$(grep -c '^quadrant,balanced_accuracy,' scores-test.csv)" = 4 ] && grep -q '^disc,dice,.*,8,4,2,.*,north$' scores-test.csv &&
    grep -q ',24,12,6,.*,best,$' scores-test.csv && grep -q ',"east, ""old"""$' scores-test.csv
ok $? "three centres of the tasks that name them, in the table and in the file; samples, cases, subjects"
grep -q '^sides,auroc,.*,12,12,12,' scores-test.csv && ! grep -q '^sides,.*,north' scores-test.csv
ok $? "no centres, no rows"
grep -q '^disc,hd95_mm,' scores-test.csv && head -n 1 cases-test-disc.csv | grep -q '^images,first_id,case,subject,centre,dice_b,hd95_mm_b$' && [ "$(wc -l <cases-test-disc.csv)" = 13 ]
ok $? "HD95 in millimetres, a line a case"
mpi 3 "$medley" evaluate "$dir/a" --boot 0 --examples 2 --split val && [ "$(ls examples-val-discs)" = "01-predicted.png
01-true.png
02-predicted.png
02-true.png
classes.csv
index.csv" ] && mpi 2 "$medley" evaluate "$dir/a" --boot 0 --examples 1 --split val && [ ! -e examples-val-discs/02-true.png ] && [ -e examples-val-sides/01.png ]
ok $? "--examples: so many, and none of an evaluation before"
mpi 1 "$medley" evaluate "$dir/a" --examples 51
[ $? = 2 ]
ok $? "more examples than allowed: 2"
"$medley" report "$dir/a" >"$dir/log" 2>&1 && grep -q 'By centre' report.html && [ "$(grep -o '<img ' report.html | wc -l)" = $((3 * 6 + 2 * 12)) ] && ! grep -qE 'href=|<script|url\(|src="[^d]' report.html
ok $? "the page shows them, and nothing from outside"

if /usr/bin/python3 -c 'import numpy, sklearn' 2>/dev/null; then
    mpi 2 "$medley" evaluate "$dir/a" --boot 100
    /usr/bin/python3 "$here/evaluate_check.py" "$dir/a" >"$dir/log" 2>&1
    ok $? "numpy and scikit-learn find the same scores in the tables"
else
    ok 0 "scores by scikit-learn # SKIP no numpy or scikit-learn"
fi
cd / || exit 1
echo "1..$n"
exit $bad
