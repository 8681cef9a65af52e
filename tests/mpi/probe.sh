#!/bin/sh
# probe: heads on little data: draws, rows, the same bytes on any number of ranks, other encoders, other data sets, every kind of task, wrong
# words. TAP. Usage: probe.sh image|refused|trained|trained MEDLEY MAKE_SHARDS COMPARE
# shellcheck source=tests/mpi/common.sh
. "$(dirname "$0")/common.sh"

# training samples: quadrant 16 subjects of 3, the others 6 of 2; shards of 4 samples
"$make_shards" "$dir/shards" quadrant=48,8,12,3 sides=12,4,6,2 radius=12,4,6,2 disc=12,2,3,2 discs=12,2,3,2 >"$dir/log" 2>&1
cp -r "$dir/shards" "$dir/elsewhere"
probe() { ranks=$1 out=$2; shift 2; mpi "$ranks" "$medley" probe "$dir/a" --out "$dir/$out" "$@"; }
files="probe.csv summary.csv draws.csv curve.svg probe.html"
equal() { for f in $files; do cmp "$dir/$1/$f" "$dir/$2/$f" >>"$dir/log" 2>&1 || return 1; done; }
col() { # col FILE NAME: number of the column
    head -n 1 "$1" | tr , '\n' | grep -nx "$2" | cut -d: -f1
}

image() {
    steps=3 validate=3
    job "$dir/a.cfg" "$dir/a" exact quadrant:2:1:1.0 disc:2:1:1.0
    mpi 2 "$medley" train "$dir/a.cfg"
    ok $? "a run to probe"
    job "$dir/single.cfg" "$dir/single" exact quadrant:2:1:1.0
    mpi 1 "$medley" train "$dir/single.cfg" && "$medley" export "$dir/a" --format timm --out "$dir/net.safetensors" >"$dir/log" 2>&1
    ok $? "a run of one task, and a file"

    q="--task quadrant --fractions 5,25,100 --repeats 3 --neighbours 3 --against $dir/single --against file=$dir/net.safetensors"
    # shellcheck disable=SC2086 # words
    probe 1 one $q && probe 2 two $q && probe 3 three $q && equal one two && equal one three
    ok $? "the same bytes on 1, 2 and 3 ranks"
    grep -q '^pretrained  *linear  *5  *[0-9]' "$dir/log" && grep -q 'linear: single .* what random weights reach with 100 %' "$dir/log"
    ok $? "the table, and what is reached with how much"

    p=$dir/one/probe.csv
    [ "$(wc -l <"$p")" = $((1 + 4 * 2 * 3 * 3)) ] && head -n 1 "$p" | grep -q '^encoder,method,percent,repeat,subjects,samples,setting,metric,score,balanced_accuracy,accuracy,.*auroc'
    ok $? "a row for every encoder, method, fraction and repeat"
    awk -F, 'NR > 1 { if ($6 != 3 * $5 || $8 != "balanced_accuracy" || $9 != $10 || $9 < 0 || $9 > 1 || $11 < 0 || $11 > 1) exit 1
        if ($3 == 5 && ($5 < 1 || $5 > 4)) exit 1
        if ($3 == 25 && $5 != 4) exit 1
        if ($3 == 100 && $5 != 16) exit 1
        if ($2 == "knn" && $7 != ($6 < 4 ? 1 : $6 < 9 ? 2 : 3)) exit 1 }' "$p"
    ok $? "whole subjects, as many as the fraction says; scores between 0 and 1"
    awk -F, 'NR > 1 { k = $2 "," $3 "," $4; if (k in s && s[k] != $5 "," $6) exit 1; s[k] = $5 "," $6 }' "$p"
    ok $? "every encoder learns from the same draws"
    awk -F, 'NR > 1 && $3 == 100 { k = $1 "," $2; if (k in s && s[k] != $9) exit 1; s[k] = $9 }' "$p"
    ok $? "all subjects and nothing left to chance: the same in every repeat"
    awk -F, 'NR > 1 { s[$1, $2, $3, $4] = $7 "," $9 } END { for (k in s) { split(k, a, SUBSEP); if (a[1] == "file" && s[k] != s["pretrained", a[2], a[3], a[4]]) exit 1
        if (a[1] == "random" && s[k] != s["pretrained", a[2], a[3], a[4]]) n++ } exit !n }' "$p"
    ok $? "the run's weights from a file reach what they reach from the run, random ones something else"

    d=$dir/one/draws.csv
    [ "$(wc -l <"$d")" = $((1 + 3 * 48)) ] &&
        awk -F, 'NR > 1 { if ($6 !~ /^(5|25|100)$/) exit 1; k = $1 "," $4; if (k in s && s[k] != $6) exit 1; s[k] = $6 }' "$d"
    ok $? "draws: every training sample in every repeat, a subject's samples together"
    awk -F, 'NR > 1 { all[$5] = 1; if ($6 == 5) has[$1, $5] = 1 } END { for (c in all) { n++; for (r = 1; r <= 3; r++) if (!((r, c) in has)) exit 1 } exit n != 4 }' "$d"
    ok $? "draws: every class in the smallest fraction of every repeat"
    awk -F, 'FNR == 1 { next } NR == FNR { for (f = 5; f <= 100; f += 5) if ($6 <= f) n[$1, f]++; next }
        $1 == "random" && n[$4, $3] != $6 { exit 1 }' "$d" "$p"
    ok $? "draws: as many samples as the rows say, each fraction within the next"

    s=$dir/one/summary.csv
    awk -F, -v m="$(col "$s" mean)" -v lo="$(col "$s" lo)" -v hi="$(col "$s" hi)" -v diff="$(col "$s" minus_random)" '
        FNR == 1 { next } NR == FNR { k = $1 "," $2 "," $3; n[k]++; t[k] += $9; q[k] += $9 * $9; next }
        { k = $1 "," $3 "," $4; mean = t[k] / 3; if ($4 == 100) { if ($5 != 1 || $lo != "" || ($m - mean) ^ 2 > 1e-12) exit 1; rows++; next }
          v = (q[k] - 3 * mean * mean) / 2; h = 4.302652730 * sqrt(v > 0 ? v / 3 : 0); r = t["random," $3 "," $4] / 3
          if (n[k] != 3 || ($m - mean) ^ 2 > 1e-12 || ($hi - mean - h) ^ 2 > 1e-10 || (mean - $lo - h) ^ 2 > 1e-10) exit 1
          if ($1 != "random" && ($diff - (mean - r)) ^ 2 > 1e-12) exit 1; rows++ } END { exit rows != 4 * 2 * 3 }' "$p" "$s"
    ok $? "summary: mean, Student's interval, difference to random weights; no interval where all repeats are the same"
    head -c 4 "$dir/one/curve.svg" | grep -q '<svg' && grep -q 'class="fill band c0"' "$dir/one/curve.svg" && grep -q '>single (swin_v2_nano)<' "$dir/one/curve.svg" &&
        grep -q '</svg>' "$dir/one/probe.html" && ! grep -qE '(src|href)=|[>," ]-?(nan|inf)[<," ]' "$dir/one/probe.html"
    ok $? "a drawing with bands, and a page that needs nothing from elsewhere"

    # the file alone sees what it sees as the run's
    mpi 2 "$medley" probe "$dir/net.safetensors" --data "$dir/elsewhere/tiny-quadrant" --image 64x64 --out "$dir/file" --fractions 5,25,100 --repeats 3 --neighbours 3
    rc=$?
    grep '^pretrained' "$dir/file/probe.csv" >"$dir/x" && grep '^pretrained' "$p" | cmp - "$dir/x" && [ $rc = 0 ]
    ok $? "a file and a data set without a run: the same rows"
    probe 2 seed --task quadrant --fractions 5 --repeats 2 --seed 2 --strength 0.1 &&
        ! cmp -s "$dir/seed/draws.csv" "$d" && awk -F, 'NR > 1 && $2 == "linear" && $7 != 0.1 { exit 1 }' "$dir/seed/probe.csv"
    ok $? "another seed draws others; a given strength is taken"
    mpi 1 "$medley" probe "$dir/a" --task quadrant --fractions 100 --repeats 1 && [ -f "$dir/a/probe-quadrant/probe.html" ] && awk -F, -v lo="$(col "$s" lo)" 'NR > 1 && $lo != "" { exit 1 }' "$dir/a/probe-quadrant/summary.csv"
    ok $? "without --out into the run folder; one repeat has no interval"
    # data sets the run never saw
    probe 1 sides1 --data "$dir/shards/tiny-sides" --repeats 2 && probe 3 sides3 --data "$dir/shards/tiny-sides" --repeats 2 && equal sides1 sides3 &&
        [ "$(sed 1d "$dir/sides1/probe.csv" | cut -d, -f 2,8 | sort -u)" = linear,auroc ]
    ok $? "label vectors"
    probe 1 radius1 --data "$dir/shards/tiny-radius" --label radius --repeats 2 && probe 2 radius2 --data "$dir/shards/tiny-radius" --label radius --repeats 2 && equal radius1 radius2 &&
        [ "$(sed 1d "$dir/radius1/probe.csv" | cut -d, -f 2,8 | sort -u)" = linear,mae_score ]
    ok $? "scalars"
}

refused() {
    steps=3 validate=3
    job "$dir/a.cfg" "$dir/a" exact quadrant:2:1:1.0
    mpi 1 "$medley" train "$dir/a.cfg" && "$medley" export "$dir/a" --format timm --out "$dir/net.safetensors" >"$dir/log" 2>&1
    ok $? "a run to probe, and a file"
    words() { # words CODE TEXT WORDS...
        want=$1 text=$2
        shift 2
        "$medley" probe "$dir/a" --out "$dir/none" "$@" >"$dir/log" 2>&1
        rc=$?
        [ $rc = "$want" ] && grep -qF -- "$text" "$dir/log" && [ ! -e "$dir/none" ]
        ok $? "$want: $text"
    }
    words 2 'no task "quadrants", did you mean "quadrant"?' --task quadrants
    words 2 '--fractions: got "0,5"' --task quadrant --fractions 0,5
    words 2 '--fractions: got "5,101"' --task quadrant --fractions 5,101
    words 2 '--fractions: got "5,x"' --task quadrant --fractions 5,x
    words 2 'do not rise' --task quadrant --fractions 5,5
    words 2 '--repeats' --task quadrant --repeats 0
    words 2 '--task TASK or --data DIR' --repeats 2
    words 2 '--label goes with --data' --task quadrant --label quadrant
    words 2 '--strength: got "0"' --task quadrant --strength 0
    words 2 'an encoder called "random" already' --task quadrant --against random="$dir/a"
    words 3 'no such run folder or file' --task quadrant --against "$dir/nothing"
    words 3 'nowhere' --data "$dir/nowhere"
    words 3 'no label set "side", did you mean "sides"?' --data "$dir/shards/tiny-sides" --label side
    "$make_shards" "$dir/untested" radius=8,4,0 sides=0,4,4 >"$dir/log" 2>&1
    words 3 'no labelled samples in split test: nothing to score' --data "$dir/untested/tiny-radius"
    words 3 'no labelled samples in split train: nothing to learn from' --data "$dir/untested/tiny-sides"
    probe 2 one --task quadrant --fractions 5 --repeats 1 && probe 2 one --task quadrant
    [ $? = 2 ] && grep -q 'probe.csv exists; --force replaces it' "$dir/log" && probe 1 one --task quadrant --fractions 100 --repeats 1 --force && [ "$(wc -l <"$dir/one/probe.csv")" = 5 ]
    ok $? "results are replaced with --force alone"
    mpi 2 "$medley" probe "$dir/net.safetensors" --task quadrant
    [ $? = 2 ] && grep -q 'no run folder with tasks of its own: --data DIR is missing' "$dir/log"
    ok $? "a file has no tasks"
    "$medley" probe "$dir/net.safetensors" --data "$dir/shards/tiny-quadrant" --out "$dir/none" --finetune >"$dir/log" 2>&1
    [ $? = 2 ] && grep -q 'is no run folder: training' "$dir/log" && [ ! -e "$dir/none" ]
    ok $? "a file has no settings to train by"
}

trained() {
    steps=3 validate=3
    job "$dir/a.cfg" "$dir/a" exact quadrant:2:1:1.0 disc:2:1:1.0 discs:2:1:1.0
    mpi 2 "$medley" train "$dir/a.cfg"
    ok $? "a run to probe"
    as_one() { # as_one TASK RANKS: what one rank wrote
        # shellcheck disable=SC2086 # words
        probe "$2" "$1-$2" --task "$1" $few && equal "$1-1" "$1-$2"
    }
    few="--fractions 50,100 --repeats 1 --steps 2 --lr 1e-3 --finetune"
    as_one disc 1 && as_one disc 3
    ok $? "segmentation: the same bytes on 1 and 3 ranks"
    few="--fractions 50 --repeats 1 --steps 2 --lr 1e-3 --finetune"
    as_one discs 1 && as_one discs 2
    ok $? "detection: the same bytes on 1 and 2 ranks"
    few="--fractions 50 --repeats 2 --steps 2 --lr 1e-3 --finetune"
    as_one quadrant 1 && as_one quadrant 2
    ok $? "classification: the same bytes on 1 and 2 ranks, two repeats"
    [ "$(sed 1d "$dir/quadrant-1/probe.csv" | cut -d, -f 2,8 | sort -u | tr '\n' ' ')" = "finetune,balanced_accuracy knn,balanced_accuracy linear,balanced_accuracy " ] &&
        [ "$(sed 1d "$dir/disc-1/probe.csv" | cut -d, -f 2,8 | sort -u | tr '\n' ' ')" = "decoder,dice finetune,dice " ] &&
        [ "$(sed 1d "$dir/discs-1/probe.csv" | cut -d, -f 2,8 | sort -u | tr '\n' ' ')" = "decoder,ap50 finetune,ap50 " ]
    ok $? "methods and metrics of classification, segmentation and detection"
    awk -F, 'NR > 1 { if ($9 == "" || $9 < 0 || $9 > 1) exit 1; s[$1, $2, $3, $4] = $9 } END { for (k in s) { split(k, a, SUBSEP)
        if (a[2] == "decoder") { f += s[k] != s[a[1], "finetune", a[3], a[4]]; r += s[k] != s["random", "decoder", a[3], a[4]] } } exit !(f && r) }' "$dir/disc-1/probe.csv"
    ok $? "frozen and fine-tuned differ, and so do encoders"
    probe 2 lr --task disc --fractions 50 --repeats 1 --steps 2 --decoder-lr 1e-2 && [ "$(cut -d, -f 2 "$dir/lr/probe.csv" | sort -u | tr '\n' ' ')" = "decoder method " ] &&
        [ "$(grep '^pretrained,decoder,50,1' "$dir/lr/probe.csv")" != "$(grep '^pretrained,decoder,50,1' "$dir/disc-1/probe.csv")" ]
    ok $? "without --finetune decoder and head alone; the learning rate counts"
    [ "$(find "$dir/disc-1" -type f | wc -l)" = 5 ]
    ok $? "what is trained is not kept"
    new="--data $dir/elsewhere/tiny-disc --fractions 100 --repeats 1"
    # shellcheck disable=SC2086 # words
    probe 2 fit $new --steps 30 --decoder-lr 1e-2 && probe 1 unfit $new --steps 1 --decoder-lr 1e-9 &&
        awk -F, 'FNR == 2 { s[FILENAME] = $9 } END { for (f in s) if (f ~ /unfit/) b = s[f]; else a = s[f]; exit !(a > 0.8 && b < 0.4) }' "$dir/fit/probe.csv" "$dir/unfit/probe.csv"
    ok $? "a decoder learns on a data set the run never saw"
}

"$case_"
echo "1..$n"
exit $bad
