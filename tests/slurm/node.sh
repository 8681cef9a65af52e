#!/bin/sh
# node: the first process of a virtual machine of the cluster (cluster.sh), in namespaces of its own. When it is killed, the kernel ends
# every other process of the machine. usage: node.sh CLUSTER-FOLDER NAME ADDRESS [COMMAND OF MUNGED...]; ctl has munged and slurmctld
set -eu
cluster=$1 name=$2 address=$3
shift 3
PATH=$PATH:/usr/sbin:/sbin
hostname "$name"
mount --bind "$cluster/etc/hosts" /etc/hosts
file=/proc/sys/net/ipv6/conf/all/disable_ipv6
[ ! -w $file ] || echo 1 >$file
ip link set lo up

if [ "$name" = ctl ]; then
    ip link add br0 type bridge
    ip addr add "$address/24" dev br0
    ip link set br0 up
    "$@" & # munged
    left=200
    until munge -S "$cluster/run/munge.sock" -n >/dev/null 2>&1; do left=$((left - 1)); [ $left -gt 0 ] || exit 1; sleep 0.05; done
    slurmctld -D -i &
else
    # /tmp and /dev/shm are each node's own; everything else is the shared file system, the cluster's folder too where it lies in /tmp
    own=$cluster/node/$name
    chmod 1777 "$own"
    for shared in "$cluster" ${MEDLEY_SLURM_SHARED:-}; do
        case $shared in /tmp/*) mkdir -p "$own/${shared#/tmp/}"; mount --bind "$shared" "$own/${shared#/tmp/}" ;; esac
    done
    mount --rbind "$own" /tmp
    mount -t tmpfs -o mode=1777 shm /dev/shm
    left=200 # until cluster.sh plugs the cable in
    until grep -q eth0: /proc/self/net/dev; do left=$((left - 1)); [ $left -gt 0 ] || exit 1; sleep 0.05; done
    ip addr add "$address/24" dev eth0
    ip link set eth0 up
    slurmd -D -N "$name" &
fi
cd /
set +e
while :; do sleep 3600 & wait $!; done # also takes in whoever lost its parent
