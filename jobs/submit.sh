#!/bin/sh
# submit: sbatch with the options of your site file (site.sh.example: account, partition, ranks per node). Prints the job's id.
#
#   sh jobs/submit.sh [OPTION OF SBATCH]... jobs/SCRIPT.sbatch [ARGUMENT]...
#
# Options given here win over the site file and over the #SBATCH lines of the script. What the script wants is written at its head.
# shellcheck disable=SC1091,SC2154 # common.sh sets what is used here
set -eu
jobs=$(cd "$(dirname "$0")" && pwd)
. "$jobs/common.sh"
case ${1:-} in '' | --help | -h) sed -n '2,6s/^# \{0,1\}//p' "$0"; [ $# -gt 0 ] || exit 2; exit 0 ;; esac
command -v sbatch >/dev/null || fail 4 "no sbatch here: this is no login node of a Slurm cluster"
read_site

script=
for word; do case $word in *.sbatch) script=${word##*/}; break ;; esac; done
[ -n "$script" ] || fail 2 "no SCRIPT.sbatch among: $*"
# shellcheck disable=SC2086 # a list of words
set -- $sbatch_options "$@"
case $script in
train.sbatch | seeds.sbatch | evaluate.sbatch | use.sbatch)
    # not --ntasks-per-node: with it, Slurm keeps the number of ranks a job first had, and one that lost a node would wait for it for ever
    if [ -n "$ranks_per_node" ]; then set -- "--mincpus=$((ranks_per_node * threads))" "$@"; else set -- --exclusive "$@"; fi
    set -- "--cpus-per-task=$threads" "$@"
    ;;
convert.sbatch) set -- "--cpus-per-task=$convert_threads" "$@" ;;
esac
[ -z "$partition" ] || set -- "--partition=$partition" "$@"
[ -z "$account" ] || set -- "--account=$account" "$@"

export MEDLEY_JOBS="$jobs" # Slurm runs a copy of the script from elsewhere
[ -z "${MEDLEY_SITE:-}" ] || { MEDLEY_SITE=$(realpath "$MEDLEY_SITE"); export MEDLEY_SITE; }
exec sbatch --parsable "$@"
