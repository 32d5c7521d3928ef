#!/bin/bash
# Volumes: what they are made of, who fills them, what they outlive, and what is refused. One
# manager, one worker.
set -uo pipefail
LAB=${LAB:-ivolumes}
. "$(dirname "$(readlink -f "$0")")/lib.sh"

# root SERVICE: its first task's root folder, as this host sees it
root() {
	local id node
	read -r id node < <(ctl n1 service ps "$1" --no-trunc --filter desired-state=running --format '{{.ID}} {{.Node}}' | head -n 1)
	containers "$node" | awk -v id="$id" '$1 == id { print "/proc/" $2 "/root" }'
}
read_in() { cat "$(root "$1")$2"; }           # SERVICE FILE
type_in() { # SERVICE FOLDER: "TYPE OPTIONS" of what is mounted there
	awk -v at="$2" '$2 == at { print $3, $4 }' "$(dirname "$(root "$1")")/mounts"
}
writes_in() { # SERVICE FILE WORD
	local p
	p=$(dirname "$(root "$1")")
	nsenter -t "${p#/proc/}" -m -- busybox sh -c "echo $3 >$2"
}
data() { echo "/var/lib/swarm-lab/$LAB/$1/volumes/$2/_data"; } # NODE VOLUME
rejected() { # SERVICE PATTERN
	says "^rejected .*$2" ctl n1 service ps "$1" --no-trunc --format '{{.CurrentState}} {{.Error}}'
}

start 2 1
mkdir -p "$work/srv/sub"
echo theirs >"$work/srv/file"
echo deep >"$work/srv/sub/file"

echo "== kinds"
cat >"$work/stack.yml" <<YML
x-here: &here { placement: { constraints: [node.hostname == n2] } }
services:
  web:
    image: busybox
    command: sleep 100000
    init: true
    volumes:
      - { type: volume, source: plain, target: /etc }
      - { type: volume, source: bare, target: /bin2, volume: { nocopy: true } }
      - { type: volume, source: mem, target: /mem }
      - { type: volume, source: bound, target: /bound }
      - { type: volume, source: bound, target: /deep, volume: { subpath: sub } }
      - { type: volume, source: fixed, target: /fixed }
      - { type: volume, source: slot, target: /slot }
    deploy: *here
  second:
    image: busybox
    command: sleep 100000
    init: true
    volumes: [ "mem:/mem" ]
    deploy: *here
volumes:
  plain: { labels: { keep: "yes" } }
  bare: {}
  mem: { driver: local, driver_opts: { type: tmpfs, device: tmpfs, o: "size=1m,mode=750" } }
  bound: { driver_opts: { type: none, o: bind, device: $work/srv } }
  fixed: { driver_opts: { o: "bind,ro", device: $work/srv } }
  slot: { name: '{{.Service.Name}}-{{.Task.Slot}}' }
YML
check "deploy" ctl n1 stack deploy -c "$work/stack.yml" s
check "an empty one is filled from the image" says root read_in s_web /etc/passwd
check "... on the node" test -e "$(data n2 s_plain)/passwd"
check "but not with nocopy" is "" ls -A "$(data n2 s_bare)"
check "tmpfs" says '^tmpfs .*size=1024k,mode=750' type_in s_web /mem
check "a file in it" writes_in s_web /mem/f shared
check "is the other service's too" is shared read_in s_second /mem/f
check "a bind" is theirs read_in s_web /bound/file
check "a folder of it" is deep read_in s_web /deep/file
check "it is written" writes_in s_web /bound/new ours
check "on the host" is ours cat "$work/srv/new"
check "a bind that is read-only" is theirs read_in s_web /fixed/file
check "... is" not writes_in s_web /fixed/new x
check "a template in the name" test -d "$(data n2 s_web-1)"
check "its label" says keep ctl n1 volume inspect s_plain

echo "== what they outlive"
check "data" writes_in s_web /etc/mine kept
"$lab" kill n2 agent
check "the agent starts again" "$lab" start n2
check "a tmpfs is not mounted twice" is 1 sh -c "grep -c ' $(data n2 s_mem) ' /proc/$(cat "$run/n2/agent.pid" 2>/dev/null || echo self)/mountinfo"
check "volume ls says where and who" is 's_bound n2 s_web.1' ctl n1 volume ls --filter name=s_bound --format '{{.Name}} {{.Nodes}} {{.UsedBy}}'
check "also of a name that only the node knows" is 's_web-1 n2 s_web.1' ctl n1 volume ls --filter name=s_web-1 --format '{{.Name}} {{.Nodes}} {{.UsedBy}}'
check "none of them is left alone" is "" ctl n1 volume ls --filter dangling=true -q
check "a volume that only the node knows stays" says 'volume s_web-1 is used by task s_web.1 on node n2' ctl n1 volume rm s_web-1
check "a volume that is used stays" says 'volume s_plain is used by task s_web.1 on node n2' ctl n1 volume rm s_plain
check "stack rm" ctl n1 stack rm s
check "data is kept" is kept cat "$(data n2 s_plain)/mine"
check "the bind's too" is ours cat "$work/srv/new"
check "deployed again" ctl n1 stack deploy -c "$work/stack.yml" s
check "it finds it" is kept read_in s_web /etc/mine
check "a tmpfs is a new one" not read_in s_web /mem/f

echo "== declared by itself"
check "with options" is bydecl ctl n1 volume create --driver local -o type=none -o o=bind --opt "device=$work/srv" --label keep=too bydecl
check "a service takes it as it was declared" ctl n1 service create -q --name decl --constraint node.hostname==n2 --mount type=volume,source=bydecl,target=/d busybox sleep 100000
check "and sees it" is deep read_in decl /d/sub/file
check "another driver is refused" says 'has the driver "rexray": only local' ctl n1 volume create -d rexray other
check "its service goes" ctl n1 service rm decl
check "then it goes" within 20 is bydecl ctl n1 volume rm bydecl

echo "== refused"
no() { ctl n1 service create -d --name "$1" --restart-condition none --constraint node.hostname==n2 --mount "$2" busybox sleep 100000; }
check "a bind without its source" no gone type=bind,source=/no/such/place,target=/x
check "names the path" within 20 rejected gone 'bind mount source /no/such/place does not exist'
check "a device that is not there" no device 'type=volume,source=d1,target=/x,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=/no/dev'
check "is named" within 20 rejected device 'volume d1: device /no/dev does not exist'
check "an option that is none" no option 'type=volume,source=d2,target=/x,volume-opt=colour=red'
check "is named too" within 20 rejected option 'driver option "colour=red": the local driver knows'
check "a file system that is none" no fs 'type=volume,source=d3,target=/x,volume-opt=type=nosuchfs,volume-opt=device=/dev/x'
check "... with what was tried" within 20 rejected fs 'volume d3: mount /dev/x as type nosuchfs'
check "a server by its name" no nfs 'type=volume,source=d5,target=/x,volume-opt=type=nfs,volume-opt=device=:/data,"volume-opt=o=addr=localhost,nfsvers=4"'
check "is refused where nothing answers, with what was tried" within 60 rejected nfs 'volume d5: mount :/data as type nfs'
check "one with a password" no cifs 'type=volume,source=d6,target=/x,volume-opt=type=cifs,volume-opt=device=//localhost/share,"volume-opt=o=username=u,password=hunter2"'
check "is refused too" within 60 rejected cifs 'volume d6: mount //localhost/share as type cifs'
check "... and shows it to nobody" not says hunter2 ctl n1 service ps cifs --no-trunc --format '{{.CurrentState}} {{.Error}}'
check "other options for one that exists" no other 'type=volume,source=s_bound,target=/x,volume-opt=type=tmpfs'
check "are not ignored" within 20 rejected other 'volume s_bound was made with other driver options'
check "a subpath that is not there" no sub 'type=volume,source=s_plain,target=/x,volume-subpath=nope'
check "... is named" within 20 rejected sub 'volume s_plain has no folder nope'
check "an unknown driver" says 'volume d4 has the driver "rexray": only local' no driver type=volume,source=d4,target=/x,volume-driver=rexray
cat >"$work/bad.yml" <<'YML'
services: { web: { image: busybox, volumes: [ "nowhere:/x" ] } }
YML
check "an undefined volume" says 'undefined volume "nowhere"' ctl n1 stack deploy -c "$work/bad.yml" b
check "the first still run" runs n1 s_web 1

echo "== removed"
ctl n1 service rm other device option fs gone sub nfs cifs >/dev/null
check "scaled to none" ctl n1 service scale s_web=0
check "its tasks are gone" within 20 is "" ctl n1 volume ls --filter name=s_plain --format '{{.UsedBy}}'
check "a volume that the service asks for stays" says 'volume s_plain is in use by service s_web' ctl n1 volume rm s_plain
check "with its data" is kept cat "$(data n2 s_plain)/mine"
check "without a name" ctl n1 service create --name nameless --constraint node.hostname==n2 --mount type=volume,target=/x busybox sleep 100000
anon=$(ctl n1 volume ls --format '{{.Name}}' | grep '^anon-')
check "prune leaves it while it is used" is "" ctl n1 volume prune
check "its service goes" ctl n1 service rm nameless
check "prune removes it" within 20 says "$anon" ctl n1 volume prune
check "and nothing else" is kept cat "$(data n2 s_plain)/mine"
check "stack rm" ctl n1 stack rm s
check "a bind is removed" within 20 is s_bound ctl n1 volume rm s_bound
check "what it showed is not" is deep cat "$work/srv/sub/file"
check "one with data" is s_plain ctl n1 volume rm s_plain
check "... is gone" not test -e "$(data n2 s_plain)"
check "nor does the cluster know it" is "" ctl n1 volume ls --filter name=s_plain -q
check "one that is not there" says 's_plain' not ctl n1 volume rm s_plain
"$lab" kill n2 all
check "a dead node is named" within 30 says 'node n2 is down' ctl n1 volume ls
check "and the rest is told" says s_mem ctl n1 volume ls
finish
