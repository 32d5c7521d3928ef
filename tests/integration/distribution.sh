#!/bin/bash
# Images on the nodes of a cluster: given from one to the others, by registries, or by both, whatever
# fails. KILLS (6) is how often an agent is killed while it pulls.
set -uo pipefail

LAB=${LAB:-tdist}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$top/deploy/lib/images.sh"

ctl() { "$lab" ctl "$@"; }
registry=192.168.77.250:5000
store() { echo "/var/lib/swarm-lab/$LAB/$1/images"; }
id_of() { ctl "$1" image ls --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | awk -v n="$2" '$1 ~ n { print $2; exit }'; }
forget() { ctl "$1" image rm "$2" >/dev/null 2>&1; ctl "$1" image prune -a --build-cache >/dev/null 2>&1; } # NODE IMAGE
has_not() { ! ctl "$1" image ls --format '{{.Repository}}' | grep -q "$2"; }

mkdir -p "$work/ctx" "$work/root"
base_root "$work/root"
dd if=/dev/urandom of="$work/root/noise" bs=1M count=24 2>/dev/null
tar -C "$work/root" -cf "$work/ctx/rootfs.tar" .
printf 'FROM scratch\nADD rootfs.tar /\nENV PATH=/bin\nCOPY <<E /etc/made\nhere\nE\nCMD ["sleep","100000"]\n' >"$work/ctx/Dockerfile"

start 3 1

echo "== from a node to the others, without a registry"
check "built on one node" ctl n2 image build -q -t shop/app:1 "$work/ctx"
image=$(id_of n2 shop/app)
check "pulled on another" within 5 ctl n3 image pull shop/app:1
check "a name that nobody has" says 'no node has it.*registry' ctl n3 image pull shop/nothing:1
check "it is the same" test "$(id_of n3 shop/app)" = "$image"
printf 'services:\n  app:\n    image: shop/app:1\n    deploy: {mode: global}\n' >"$work/s.yml"
check "a service of it runs on all nodes" ctl n1 stack deploy --timeout 30s -c "$work/s.yml" st
ctl n1 stack rm st >/dev/null 2>&1
within 10 sh -c "'$lab' ctl n1 stack ls -q | grep -q . && exit 1 || exit 0"
check "loaded on one node, pulled on another" sh -c "'$lab' ctl n2 image tag shop/app:1 loaded:1 && '$lab' ctl n2 image save loaded:1 | '$lab' ctl n1 image load && sleep 1 && '$lab' ctl n3 image pull loaded:1"

echo "== layers that are cut off"
# n2 sends 6 MB a second; a layer of 25 MB is cut off after 8. What n3 is sent is counted on its wire.
layer=$(stat -c %s "$work/ctx/rootfs.tar")
received() { on n3 awk '/eth0:/ { print $2 }' /proc/net/dev; }
part() { stat -c %s "$(store n3)"/part/* 2>/dev/null | sort -n | tail -n 1; }
part_over() { [ "$(part)" -gt "$1" ]; }
begin_pull() { # the client's pid is in $client
	forget n3 shop/app:1
	within 10 has_not n3 shop/app
	before=$(received)
	ctl n3 image pull shop/app:1 >"$work/client" 2>&1 &
	client=$!
	check "$1: on its way" within 20 part_over 8000000
}
sent_once() {
	local got=$(($(received) - before))
	echo "received $got bytes for a layer of $layer"
	[ $got -gt "$layer" ] && [ $got -lt $((layer + layer / 10 + 1000000)) ]
}
disconnected() { is "" on n3 ss -tnH state established dst 192.168.77.2 dport = :2378; }
right() { cmp "$work/root/noise" "$(store n3)"/l/*/noise; }
forget n1 loaded:1; forget n1 shop/app:1; forget n3 loaded:1
on n2 tc qdisc add dev eth0 root tbf rate 48mbit burst 64kb latency 50ms

begin_pull "who asks is killed"
"$lab" kill n3 agent
wait $client
"$lab" start n3 >/dev/null || bad "start"
check "the next pull goes on" within 20 ctl n3 image pull shop/app:1
check "no byte was sent twice" sent_once
check "what came is right" right

begin_pull "who gives is killed"
"$lab" kill n2 agent
"$lab" start n2 >/dev/null || bad "start"
check "the same pull goes on" wait $client
check "no byte was sent twice" sent_once
check "what came is right" right

begin_pull "the connection is lost"
"$lab" cut n2 n3
check "that is noticed" within 30 disconnected
"$lab" heal
check "the same pull goes on" wait $client
check "no byte was sent twice" sent_once
check "what came is right" right
on n2 tc qdisc del dev eth0 root
check "brought to the others again" ctl n1 image pull shop/app:1

echo "== a node that gives what it should not"
forget n3 shop/app:1; forget n3 loaded:1
check "forgotten" within 10 has_not n3 shop/app
for f in "$(store n2)"/l/*/noise; do printf 'x' | dd of="$f" conv=notrunc bs=1 seek=4711 2>/dev/null; done
check "another node is asked instead" within 10 ctl n3 image pull shop/app:1
check "and what came is right" test "$(id_of n3 shop/app)" = "$image"
check "the content too" sh -c "cmp $work/root/noise $(store n3)/l/*/noise"
forget n1 shop/app:1; forget n1 loaded:1; forget n3 shop/app:1
within 10 has_not n1 shop/app
check "when nobody has a good one, that is said" says 'become|content of|no layer|no node|not found|answered' ctl n3 image pull shop/app:1
check "the node is named in the log" grep -q 'layer from a node is wrong.*192.168.77.2:' "$run/n3/agent.log"
check "and nothing of it stays" sh -c "[ -z \"\$(ls $(store n3)/tmp)\" ]"

echo "== registry and nodes"
check "built again, which mends it" ctl n2 image build -q --no-cache -t "$registry/team/app:1" "$work/ctx"
check "pushed" ctl n2 image push "$registry/team/app:1"
check "pushed again, nothing is sent" says 'already exists' ctl n2 image push "$registry/team/app:1"
ctl n2 image tag "$registry/team/app:1" "$registry/team/copy:1"
check "under another name it is mounted" says 'Mounted|already exists' ctl n2 image push "$registry/team/copy:1"
check "skopeo takes it" nsenter --net="/run/netns/swl-$LAB-reg" skopeo inspect --tls-verify=false "docker://$registry/team/app:1"
check "a node takes it from the registry when the giver is away" sh -c "'$lab' kill n2 agent; '$lab' ctl n1 image pull $registry/team/app:1; rc=\$?; '$lab' start n2; exit \$rc"
kill -9 "$(cat "$run/registry.pid")" 2>/dev/null
check "and from the nodes when the registry is" within 10 ctl n3 image pull "$registry/team/app:1"
check "the same image" test "$(id_of n3 team/app)" = "$(id_of n1 team/app)"

echo "== kill -9 in pulls"
for i in $(seq "${KILLS:-6}"); do
	forget n3 "$registry/team/app:1"
	ctl n3 image pull "$registry/team/app:1" >/dev/null 2>&1 &
	client=$!
	sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
	"$lab" kill n3 agent >/dev/null
	wait $client 2>/dev/null
	"$lab" start n3 >/dev/null || { echo "FAIL start after kill $i"; failed=1; }
done
check "the next pull works" within 20 ctl n3 image pull "$registry/team/app:1"
check "what came is right" sh -c "cmp $work/root/noise $(store n3)/l/*/noise"
check "no half work is on the disk" sh -c "[ -z \"\$(ls $(store n3)/tmp)\" ]"

finish
