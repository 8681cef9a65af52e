# cluster: a private Slurm on this machine: munge, slurmctld and several slurmd as virtual nodes, in one folder. Sourced by slurm.sh.
#
#   cluster_missing              says why there can be no cluster here; nothing if there can
#   cluster_up FOLDER NODES CPUS brings it up. FOLDER: new, at most 50 letters (sockets lie in it). Sets mode, SLURM_CONF, nodes
#   login COMMAND...             runs a command on the login node, which is the controller too
#   node_start NAME              boots a node;  node_kill NAME: pulls its plug (namespaces only)
#   cluster_down                 ends every process of the cluster, by id; the folder stays
#
# mode=netns, as root: each node has namespaces of its own for network, host name, mounts, /tmp, /dev/shm and processes. Its first process
# is node.sh; killing that one takes all others of the node along. mode=ports, otherwise: all are processes of this user on 127.0.0.1,
# told apart by port. Nothing outside the folder is written. A guard takes the cluster down if the script that made it is killed.
# shellcheck shell=sh

PATH=$PATH:/usr/sbin:/sbin
slurm_tests=${slurm_tests:-$(cd "$(dirname "$0")" && pwd)}

# Start time of a process in ticks since boot: with its id, a name that is never used again.
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }
state_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c 1; }
remember() { echo "$2 $(born "$2")" >"$cluster/run/$1.pid"; }
pid_of() { cut -d ' ' -f 1 "$cluster/run/$1.pid"; }
alive() { # alive NAME: the process remembered under NAME runs still
    [ -f "$cluster/run/$1.pid" ] || return 1
    read -r id at <"$cluster/run/$1.pid"
    [ -n "$at" ] && [ "$(born "$id")" = "$at" ] && [ "$(state_of "$id")" != Z ]
}
signal() { ! alive "$1" || kill -s "$2" "$(pid_of "$1")" 2>/dev/null || :; }
# wait_for SECONDS COMMAND...: until it succeeds
wait_for() { left=$(($1 * 10)); shift; until "$@" >/dev/null 2>&1; do left=$((left - 1)); [ $left -gt 0 ] || return 1; sleep 0.1; done; }
dead() { ! alive "$1"; }

namespaces_work() {
    [ "$(id -u)" = 0 ] && unshare --net --uts --mount --ipc --pid --fork --mount-proc ip link add probe0 type veth peer name probe1 2>/dev/null
}

cluster_missing() {
    for program in munged slurmctld slurmd sbatch srun ip unshare nsenter setsid; do
        command -v $program >/dev/null 2>&1 || { echo "no $program (Debian: munge slurmctld slurmd slurm-client iproute2)"; return; }
    done
    ls /usr/lib/*/slurm*/mpi_pmix.so >/dev/null 2>&1 || echo "this Slurm has no plug-in mpi/pmix"
}

# Ports for slurmctld and each slurmd in a row, all free, below those the kernel hands out: prints the first.
free_ports() {
    listening=" $(awk 'FNR > 1 && $4 == "0A" { sub(/.*:/, "", $2); print $2 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null | tr '\n' ' ')"
    first=$((20000 + $$ % 400 * 20))
    for try in 1 2 3 4 5 6 7 8 9 10; do
        busy=no port=$first
        while [ $port -le $((first + $1)) ]; do
            case $listening in *" $(printf %04X $port) "*) busy=yes ;; esac
            port=$((port + 1))
        done
        [ $busy = yes ] || break
        first=$((first + 20 * try))
    done
    echo $first
}

write_conf() { # write_conf CPUS
    if [ $mode = netns ]; then host=ctl address=10.77.0.1 port=6817; else host=$(hostname -s) address=127.0.0.1 port=$(free_ports "$(echo "$nodes" | wc -w)"); fi
    { echo "127.0.0.1 localhost"; echo "10.77.0.1 ctl"; for name in $nodes; do echo "10.77.0.$((10 + ${name#n})) $name"; done; } >"$cluster/etc/hosts"
    (umask 077; head -c 128 /dev/urandom >"$cluster/etc/munge.key")
    : >"$cluster/etc/plugstack.conf"
    echo "CgroupPlugin=cgroup/v1" >"$cluster/etc/cgroup.conf" # read even where no plug-in uses it
    # what is short here is short so that tests are: a lost node is noticed after SlurmdTimeout, a requeued job starts again after
    # cred_expire, a job that does not end has KillWait from TERM to KILL
    cat >"$SLURM_CONF" <<CONF
ClusterName=medley
SlurmctldHost=$host($address)
SlurmctldPort=$port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$cluster/run/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool/%n
SlurmctldPidFile=$cluster/run/slurmctld.own
SlurmdPidFile=$cluster/run/%n.own
SlurmctldLogFile=$cluster/log/slurmctld.log
SlurmdLogFile=$cluster/log/%n.log
PlugStackConfig=$cluster/etc/plugstack.conf
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PropagateResourceLimits=NONE
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=20
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
CONF
    for name in $nodes; do
        if [ $mode = netns ]; then where="NodeAddr=10.77.0.$((10 + ${name#n})) Port=6818"
        else where="NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + ${name#n}))"; fi
        echo "NodeName=$name $where Sockets=1 CoresPerSocket=$1 ThreadsPerCore=1"
    done >>"$SLURM_CONF"
    [ $mode = netns ] || echo "TmpFS=$cluster/node/%n" >>"$SLURM_CONF" # PMIx keeps a folder a node there, by job and step
    list=$(echo "$nodes" | tr ' ' ',')
    echo "PartitionName=main Nodes=$list Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60" >>"$SLURM_CONF"
    echo "PartitionName=urgent Nodes=$list MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF" >>"$SLURM_CONF"
}

# Every daemon has a session of its own and none of our descriptors: whoever reads the test's output would wait for it.
background() { # background NAME LOG COMMAND...
    as=$1 log=$2
    shift 2
    setsid "$@" >>"$cluster/log/$log" 2>&1 </dev/null &
    remember "$as" $!
}

# boot NAME COMMAND...: a machine in namespaces of its own whose first process is COMMAND
boot() {
    name=$1
    shift
    background "$name.unshare" "$name.out" unshare --net --uts --mount --ipc --pid --fork --kill-child --mount-proc "$@"
    outer=$(pid_of "$name.unshare")
    wait_for 10 grep -q . "/proc/$outer/task/$outer/children" || return 1
    remember "$name" "$(tr -d ' ' <"/proc/$outer/task/$outer/children")"
}

login() {
    if [ $mode = netns ]; then nsenter -t "$(pid_of ctl)" --net --uts --mount --ipc --pid -- env -C "$PWD" "$@"; else "$@"; fi
}

node_start() {
    if [ $mode = ports ]; then background "$1" "$1.out" slurmd -D -N "$1"; return; fi
    boot "$1" sh "$slurm_tests/node.sh" "$cluster" "$1" "10.77.0.$((10 + ${1#n}))" || return 1
    nsenter -t "$(pid_of ctl)" --net ip link add "v$1" type veth peer name eth0 netns "$(pid_of "$1")" &&
        nsenter -t "$(pid_of ctl)" --net ip link set "v$1" master br0 up
}

node_kill() {
    signal "$1" KILL
    wait_for 5 dead "$1"
}

idle() { [ "$(login sinfo -h -N -p main -o %t | grep -cx idle)" = "$(echo "$nodes" | wc -w)" ]; }

cluster_up() {
    cluster=$1 nodes=
    while [ "$(echo "$nodes" | wc -w)" -lt "$2" ]; do nodes="$nodes${nodes:+ }n$(($(echo "$nodes" | wc -w) + 1))"; done
    [ ${#cluster} -le 50 ] || { echo "$cluster: longer than 50 letters, Slurm's sockets would not fit" >&2; return 1; }
    mode=${MEDLEY_SLURM_MODE:-}
    [ -n "$mode" ] || if namespaces_work; then mode=netns; else mode=ports; fi
    mkdir -p "$cluster/etc" "$cluster/run" "$cluster/log" "$cluster/state" "$cluster/spool" "$cluster/node" || return 1
    chmod 755 "$cluster" "$cluster/run" # munged wants a socket others can reach
    for name in $nodes; do mkdir -p "$cluster/spool/$name" "$cluster/node/$name"; done
    echo "mode=$mode nodes='$nodes' slurm_tests='$slurm_tests'" >"$cluster/state.sh"
    export SLURM_CONF="$cluster/etc/slurm.conf"
    write_conf "$3"
    # the guard holds no descriptor either, and is told nothing: it looks whether this shell still runs
    remember maker $$
    # shellcheck disable=SC2016 # expanded by the guard
    setsid sh -c '. "$2/cluster.sh"; cluster=$1; while alive maker && [ -f "$cluster/state.sh" ]; do sleep 1; done
        [ ! -f "$cluster/state.sh" ] || { cluster_down; rm -rf "$cluster"; }' guard "$cluster" "$slurm_tests" >/dev/null 2>&1 </dev/null &
    munge="munged --foreground --num-threads=2 --key-file=$cluster/etc/munge.key --socket=$cluster/run/munge.sock
        --pid-file=$cluster/run/munged.own --log-file=$cluster/log/munged.log --seed-file=$cluster/state/munge.seed"
    if [ $mode = netns ]; then
        boot ctl sh "$slurm_tests/node.sh" "$cluster" ctl 10.77.0.1 $munge || return 1
    else
        background munged munged.out $munge
        wait_for 10 munge -S "$cluster/run/munge.sock" -n && background slurmctld slurmctld.out slurmctld -D -i
    fi
    wait_for 20 login scontrol ping || return 1
    for name in $nodes; do node_start "$name" || return 1; done
    wait_for 60 idle
}

# Processes of jobs in ports mode: slurmd leaves them behind. Our SLURM_CONF in their environment tells them from all others.
leftovers() {
    for each in /proc/[0-9]*; do
        grep -qszxF "SLURM_CONF=$cluster/etc/slurm.conf" "$each/environ" || continue
        grep -qszE '^(SLURM_JOB_ID=|SLURMD_NODENAME=|SLURM_STEPD)' "$each/environ" || [ "$(cat "$each/comm" 2>/dev/null)" = slurmstepd ] || continue
        echo "${each#/proc/}"
    done
}

cluster_down() {
    [ -n "${cluster:-}" ] && [ -f "$cluster/state.sh" ] || return 0
    # shellcheck disable=SC1091
    . "$cluster/state.sh"
    if [ $mode = netns ]; then set -- $nodes ctl; else set -- $nodes slurmctld munged; fi
    for name; do if [ $mode = netns ]; then signal "$name" KILL; signal "$name.unshare" KILL; else signal "$name" TERM; fi; done
    for name; do
        wait_for 5 dead "$name" || signal "$name" KILL
        wait_for 5 dead "$name" || echo "cluster_down: $name does not end" >&2
    done
    if [ $mode = ports ]; then
        for how in TERM KILL; do for id in $(leftovers); do kill -s $how "$id" 2>/dev/null; done; [ -z "$(leftovers)" ] || sleep 0.5; done
    fi
    rm -f "$cluster/state.sh" # the guard may go
}
