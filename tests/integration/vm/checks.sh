#!/bin/bash
# Inside the machine of vm.sh: two nodes on a kernel of Debian's with control groups of version 2 only,
# WireGuard and NFS.
set -uo pipefail
LAB=vm
. "$(dirname "$(dirname "$(readlink -f "$0")")")/lib.sh"
servers_at=192.168.77.240 # this machine, as its nodes see it

# pid NODE SERVICE: the first process of its task there
pid() {
	local id
	id=$(ctl n1 service ps "$2" --no-trunc --filter desired-state=running --format '{{.Node}} {{.ID}}' | awk -v n="$1" '$1 == n { print $2; exit }')
	containers "$1" | awk -v id="$id" 'index($1, id) { print $2; exit }'
}
group() { cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(pid "$1" "$2")/cgroup")/$3"; } # NODE SERVICE FILE
root() { echo "/proc/$(pid "$1" "$2")/root"; }
writes() { echo "$4" >"$(root "$1" "$2")$3"; } # NODE SERVICE FILE WORD
reads() { cat "$(root "$1" "$2")$3"; }

modprobe -a tun nfsd || exit 1
start 2 1
ip link add files type veth peer name files-hub
ip link set files-hub netns "swl-$LAB"
nsenter --net="/run/netns/swl-$LAB" ip link set files-hub master br0 up
ip addr add $servers_at/24 dev files
ip link set files up

echo "== control groups of version 2"
check "there are no others" not grep -q ' cgroup ' /proc/self/mounts
cat >"$work/groups.yml" <<'YML'
services:
  web:
    image: nginx
    deploy:
      placement: { constraints: [node.hostname == n1] }
      resources: { limits: { memory: 64M, cpus: "0.5", pids: 50 } }
  hungry:
    image: busybox
    command: sh -c 'dd if=/dev/zero of=/dev/shm/fill bs=1M count=60'
    tmpfs: /dev/shm
    deploy: { restart_policy: { condition: none }, resources: { limits: { memory: 16M } } }
YML
check "deploy" ctl n1 stack deploy -d -c "$work/groups.yml" g
check "it runs" within 60 runs n1 g_web 1
check "memory" is $((64 << 20)) group n1 g_web memory.max
check "processors" is "50000 100000" group n1 g_web cpu.max
check "processes" is 50 group n1 g_web pids.max
check "who takes more is told so" within 60 says "out of memory" ctl n1 service ps --no-trunc g_hungry
check "top reads them" within 20 says "g_web.1 .*MiB / 64MiB" ctl n1 top --no-stream
before=$(pid n1 g_web)
"$lab" kill n1 agent
"$lab" start n1
check "a new agent takes over" within 30 is "$before" pid n1 g_web
check "and can look in" says nginx ctl n1 exec g_web cat /etc/nginx/nginx.conf
check "stack rm" ctl n1 stack rm g
check "no group is left" within 20 is 0 count_containers

echo "== the kernel's WireGuard"
cat >"$work/secret.yml" <<'YML'
services:
  web:
    image: busybox
    command: sh -c 'echo well > /tmp/index.html; exec httpd -f -p 80 -h /tmp'
    networks: [secret]
    deploy: { mode: global }
networks: { secret: { driver_opts: { encrypted: "" } } }
YML
check "deploy" ctl n1 stack deploy -c "$work/secret.yml" s
check "each node has the kernel's" sh -c "'$lab' exec n1 ip -o link show type wireguard | grep -q . && '$lab' exec n2 ip -o link show type wireguard | grep -q ."
check "not the program" not pgrep -x wireguard-go
other=$(on n2 nsenter --net="$(netns n2 s_web)" ip -o -4 addr show dev eth0 | awk '{ sub("/.*", "", $4); print $4 }')
check "one node's task reaches the other's" within 10 is well on n1 nsenter --net="$(netns n1 s_web)" curl -s -m 5 "http://$other/"
check "stack rm" ctl n1 stack rm s

echo "== volumes of a file server"
mkdir -p "$work/nfs"
mount -t tmpfs nfs "$work/nfs"
mount -t nfsd nfsd /proc/fs/nfsd
echo 5 >/proc/fs/nfsd/nfsv4gracetime
echo 5 >/proc/fs/nfsd/nfsv4leasetime
echo "$work/nfs *(rw,fsid=0,no_root_squash,no_subtree_check,insecure)" >/etc/exports
mkdir -p /var/lib/nfs && touch /var/lib/nfs/etab
rpc.mountd -F -N 3 >"$work/mountd.log" 2>&1 &
servers+=($!)
exportfs -r
rpc.nfsd -N 3 2 || echo "the NFS server does not start"
cat >"$work/files.yml" <<YML
services:
  app:
    image: busybox
    command: sleep 100000
    init: true
    volumes: [ "nfs:/nfs" ]
    deploy: { mode: global }
volumes:
  nfs: { driver_opts: { type: nfs, o: "addr=$servers_at,nfsvers=4,rw", device: ":/" } }
YML
check "deploy" ctl n1 stack deploy -c "$work/files.yml" f
check "what one node writes" within 30 writes n1 f_app /nfs/word hello
check "the server has" is hello cat "$work/nfs/word"
check "and the other node reads" is hello reads n2 f_app /nfs/word
check "stack rm" ctl n1 stack rm f
check "nothing stays mounted" within 20 not grep -q ' nfs4 ' "/proc/$(cat "$run/n1/agent.pid")/mounts"
check "the data stays" is hello cat "$work/nfs/word"
rpc.nfsd 0
kill "${servers[@]}"
umount /proc/fs/nfsd
umount "$work/nfs"
ip link del files
finish
