#!/bin/bash
# What a stack can ask of a container's surroundings, looked at from inside; and what a node has to allow.
# 2 nodes; n2 allows nothing.
set -uo pipefail
LAB=${LAB:-opts}
export SWARM_AGENT_OPTIONS="--allow privileged --allow devices=/dev/fuse --allow pid-host --allow ipc-host --allow unconfined"
. "$(dirname "$(readlink -f "$0")")/lib.sh"

inside() { ctl n1 exec "s_$1.1" sh -c "$2"; } # SERVICE SHELL-TEXT
has() { says "$3" inside "$1" "$2"; }       # SERVICE SHELL-TEXT PATTERN
caps() { inside "$1" 'grep CapEff /proc/self/status' | awk '{ print $2 }'; }
caps_have() { [ $((0x$(caps "$1") >> $2 & 1)) = "$3" ]; } # SERVICE BIT 0|1

cat >"$work/stack.yml" <<'YML'
services:
  plain:
    image: busybox
    command: sleep 100000
    cap_add: [NET_ADMIN]
    cap_drop: [MKNOD]
    shm_size: 32m
    sysctls: { net.ipv4.tcp_syncookies: "0", net.core.somaxconn: 777 }
    ulimits: { nofile: { soft: 1111, hard: 2222 }, nproc: 333 }
    oom_score_adj: 321
    group_add: ["4321", daemon]
    init: true
    security_opt: ["no-new-privileges:true"]
    read_only: true
    tmpfs: /scratch:size=1m
    extra_hosts: ["there:192.0.2.1"]
    dns: [192.0.2.53]
    dns_search: [example.test]
    hostname: box
    stop_signal: SIGUSR1
  term:
    image: busybox
    tty: true
    command: sh -c 'tty; test -t 1 && echo "it is a terminal"; exec sh'
  open:
    image: busybox
    stdin_open: true
    command: sh
  loud:
    image: busybox
    command: sleep 100000
    privileged: true
  fuse:
    image: busybox
    command: sleep 100000
    devices: ["/dev/fuse:/dev/f:rw"]
  loose:
    image: busybox
    command: sleep 100000
    security_opt: ["seccomp=unconfined"]
  host:
    image: busybox
    command: sleep 100000
    pid: host
    ipc: host
YML

start 2 1
SWARM_AGENT_OPTIONS=""
"$lab" kill n2 agent
"$lab" start n2 >/dev/null
check "n2 is there again, and allows nothing" within 10 is "[]" sh -c "'$lab' ctl n1 node inspect n2 | jq -c '.[0].Description.Allow // []'"
check "deploy" ctl n1 stack deploy -c "$work/stack.yml" s

echo "== what needs no leave"
check "cap_add" caps_have plain 12 1
check "cap_drop" caps_have plain 27 0
check "shm_size" has plain 'df -k /dev/shm' ' 32768 '
check "sysctls" has plain 'cat /proc/sys/net/ipv4/tcp_syncookies /proc/sys/net/core/somaxconn | tr "\n" ,' '^0,777,'
check "ulimits, soft and hard" has plain 'ulimit -Sn; ulimit -Hn' 1111
check "ulimits, one number" has plain 'grep processes /proc/1/limits' '333 +333'
check "oom_score_adj" has plain 'cat /proc/1/oom_score_adj' '^321$'
check "group_add, by number and by name" has plain 'grep Groups /proc/1/status' '1.*4321'
check "init: it is not the first process" not has plain 'tr "\0" " " </proc/1/cmdline' '^sleep'
check "no-new-privileges" has plain 'grep NoNewPrivs /proc/1/status' '1$'
check "read_only" not inside plain 'touch /x'
check "but for its tmpfs" inside plain 'touch /scratch/x'
check "extra_hosts" has plain 'cat /etc/hosts' '192\.0\.2\.1.*there'
check "dns_search" has plain 'cat /etc/resolv.conf' 'search.*example\.test'
check "hostname" has plain hostname '^box$'

check "tty" has term 'readlink /proc/1/fd/1' '/dev/(pts/0|console)'
check "what is written to it is logged" within 5 says 'it is a terminal' ctl n1 service logs s_term
check "a shell with open input waits for it" has open 'tr "\0" " " </proc/1/cmdline; ls -l /proc/1/fd/0' 'pipe:'

echo "== what a node allows"
for s in loud fuse loose host; do check "$s is where it is allowed" is n1 nodes_of s_$s; done
check "privileged: all capabilities" caps_have loud 21 1
check "a device, by another name" inside fuse 'test -c /dev/f'
check "no seccomp filter" has loose 'grep Seccomp: /proc/1/status' '0$'
check "the others have one" has plain 'grep Seccomp: /proc/1/status' '2$'
check "the host's processes" has host 'ls -d /proc/[0-9]* | wc -l' '[0-9]{2}'
check "n1 is drained" ctl n1 node update --availability drain n1
check "the plain one moves" within 30 is n2 nodes_of s_plain
check "what no other node allows stays, within the drain's deadline" is n1 nodes_of s_loud
check "explain says what is missing" says 'allow = privileged' ctl n1 explain s_loud
check "and for the device" says 'allow = devices' ctl n1 explain s_fuse
ctl n1 stack rm s >/dev/null
finish
