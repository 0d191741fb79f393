#!/usr/bin/env bash
# A Slurm of two nodes on this machine, with Debian's packages, as root:
#   apt-get install --no-install-recommends slurm-wlm munge
#   tests/cluster/slurm.sh start DIR && export SLURM_CONF=DIR/slurm.conf && sinfo
#   tests/cluster/slurm.sh stop DIR
# Jobs of the partition `urgent` take the place of others, who are told and have 40 seconds.
set -euo pipefail
dir="$(realpath -m "$2")"
name="$(hostname -s)"

start() {
    mkdir -p "$dir"/{state,n1,n2}
    chmod 755 "$dir"
    dd if=/dev/urandom of="$dir/key" bs=1024 count=1 status=none
    chmod 400 "$dir/key"
    cat >"$dir/slurm.conf" <<CONF
ClusterName=loopback
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=17817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
# A job that is queued again waits as long as its old credentials hold.
AuthInfo=socket=$dir/munge.socket,cred_expire=3
StateSaveLocation=$dir/state
SlurmctldPidFile=$dir/slurmctld.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdPidFile=$dir/%n/slurmd.pid
SlurmdLogFile=$dir/%n/slurmd.log
SlurmdSpoolDir=$dir/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=100000,bf_interval=1
SlurmdTimeout=6
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=n[1-2] NodeHostname=$name NodeAddr=127.0.0.1 Port=[17818-17819] CPUs=2 State=UNKNOWN
PartitionName=usual Nodes=ALL Default=YES PriorityTier=1 GraceTime=40 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF State=UP
CONF
    munged --force --key-file="$dir/key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.log" --seed-file="$dir/munged.seed"
    export SLURM_CONF="$dir/slurm.conf"
    slurmctld
    slurmd -N n1
    slurmd -N n2
    for _ in $(seq 100); do
        [ "$(sinfo -h -t idle -o %D | head -n 1)" = 2 ] && return
        sleep 0.2
    done
    sinfo -lN >&2
    tail -n 5 "$dir"/*.log "$dir"/n?/slurmd.log >&2
    exit 1
}

stop() {
    export SLURM_CONF="$dir/slurm.conf"
    scancel -s KILL --user="$(id -un)" || true
    for file in "$dir"/n?/slurmd.pid "$dir/slurmctld.pid" "$dir/munged.pid"; do
        [ ! -e "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
    done
}

"$1"
