# tap: what the scripts about medley-data share: numbered TAP lines and what a run said. Sourced with root, and then work and log, set.
# shellcheck shell=sh disable=SC2034,SC2154 # the scripts use what is set here, and set what is used
n=0 bad=0

# is NAME CODE: the last command of the test ended well; the log tells more
is() {
    n=$((n + 1))
    if [ "$2" = 0 ]; then echo "ok $n - $1"; return; fi
    bad=$((bad + 1))
    echo "not ok $n - $1"
    sed 's/^/# | /' "$log"
}
skip() {
    n=$((n + 1))
    echo "ok $n - $1 # SKIP $2"
}
# ends CODE WORDS...: so ended the last run, with these words in the log
ends() {
    [ "$code" = "$1" ] || { echo "exit code $code, wanted $1" >>"$log"; return 1; }
    shift
    for word in "$@"; do grep -qF -e "$word" "$log" || { echo "no \"$word\"" >>"$log"; return 1; }; done
}
# ends_line CODE WORDS...: so ended the last run, with a line in the log that has all the words
ends_line() {
    [ "$code" = "$1" ] || { echo "exit code $code, wanted $1" >>"$log"; return 1; }
    shift
    cp "$log" "$work/lines"
    for word in "$@"; do grep -F -e "$word" "$work/lines" >"$work/fewer"; mv "$work/fewer" "$work/lines"; done
    [ -s "$work/lines" ] || { echo "no line with: $*" >>"$log"; return 1; }
}
