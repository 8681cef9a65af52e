#!/bin/sh
# test_layers: the rules of the house that need no compiler: short files with a duty and a name of their own, no way out of the program
# but main, nothing left undone. layers.sh looks at the includes. TAP. Usage: test_layers.sh SOURCE-ROOT
cd "$1" || exit 1
n=0
bad=0
longest=700 wished=600

# result NAME OFFENDERS
result() {
    n=$((n + 1))
    if [ -z "$2" ]; then echo "ok $n - $1"; else bad=1; echo "$2" | sed 's/^/# /'; echo "not ok $n - $1"; fi
}

sources() { find src include tools tests -name '*.[ch]' | sort; }
scripts() { find jobs tools tests .ci -type f \( -name '*.sh' -o -name '*.sbatch' -o -path .ci/run \) | sort; }

# Lines of code that match: comments and string literals are taken out first. "file: line" without numbers.
in_code() {
    sources | grep -E "$2" | while read -r file; do
        sed -e 's/"\([^"\\]\|\\.\)*"/""/g' -e 's://.*::' -e 's:/\*.*\*/::g' "$file" | grep -E "$1" | sed "s|^|$file: |"
    done
}

result "every source file begins with its duty" "$(sources | while read -r file; do
    head -n 1 "$file" | grep -q '^/\* [A-Za-z0-9]' || echo "$file"
done)"
# the two programs have a main each
result "file names are unique" "$(find src tools -name '*.[ch]' | sed 's|.*/||' | sort | uniq -d | grep -vx 'main\.c')"
result "no file is longer than $longest lines" "$(sources | while read -r file; do
    lines=$(wc -l <"$file")
    [ "$lines" -le $longest ] || echo "$file: $lines"
done)"
sources | while read -r file; do
    lines=$(wc -l <"$file")
    [ "$lines" -le $wished ] || echo "# $file: $lines lines, wished for are $wished"
done
# oneDNN may fail in the middle of a product, which has no status (kern/gemm_bf16_onednn.c)
result "only main, comm, the arena and a failing oneDNN end the program" "$(in_code '(^|[^A-Za-z0-9_])(_?exit|_Exit|abort|MPI_Abort|comm_abort)\(' '^(src|tools)/' |
    grep -vE '^src/(main|comm/comm|comm/watchdog|core/memory|core/system|core/fault|kern/gemm_bf16_onednn|use/session)\.c: ')"
result "libraries print through the log" "$(in_code '(^|[^A-Za-z0-9_])(printf|puts|putchar)\(' '^src/(core|config|kern|store|comm|data|model|task)/' |
    grep -v '^src/core/log\.c: ')"
result "nothing is left undone" "$(grep -rnE 'TO''DO|FIX''ME|XX''X|not imple''mented|place''holder' src include tools jobs datasets tests README.md CHANGES |
    grep -v 'XX''XX')"
# kern/ref.c is the tests' yardstick, no part of the programs; comm/board.c maps memory that the ranks of a node share
result "memory comes from core/memory.c" "$(in_code '(^|[^A-Za-z0-9_])(malloc|calloc|realloc|reallocarray|strn?dup|v?asprintf|getline|aligned_alloc|posix_memalign|memalign|open_memstream|mmap)\(' '^(src|tools)/' |
    grep -vE '^src/(core/memory|kern/ref|comm/board)\.c: ')"
result "statuses are not thrown away" "$(in_code '\(void\) *(store|shard|loader|comm|trainer|metric|record|job|config|task|file|path)_[a-z_]+\(' '^(src|tools)/')"
if command -v shellcheck >/dev/null 2>&1; then
    result "scripts pass shellcheck" "$(scripts | xargs shellcheck -S warning -f gcc 2>&1)"
else
    n=$((n + 1))
    echo "ok $n - scripts pass shellcheck # SKIP no shellcheck"
fi
result "scripts are POSIX sh" "$(scripts | while read -r file; do sh -n "$file" 2>&1 || echo "$file"; done)"
result "the licence is there" "$(grep -q 'Apache License' LICENSE && grep -q 'Version 2.0' LICENSE || echo LICENSE)"
echo "1..$n"
exit $bad
