#!/bin/bash
# A node that is cut off while what it knows changes: soon after the cut its names and virtual addresses
# say what the managers know. One that was away for so long that it was down has new tasks. CUTS="5 60"
# for longer ones.
set -uo pipefail
LAB=${LAB:-views}
. "$(dirname "$(readlink -f "$0")")/lib.sh"

cat >"$work/stack.yml" <<'YML'
services:
  web:
    image: busybox
    command: sh -c 'hostname > /tmp/index.html; httpd -f -p 80 -h /tmp'
    stop_grace_period: 100ms
    networks: [net]
    deploy: { replicas: 3, placement: { constraints: [ "node.hostname != n3" ] }, update_config: { monitor: 0s } }
  client:
    image: busybox
    command: sleep 100000
    networks: [net]
    deploy: { mode: global, restart_policy: { delay: 100ms } }
networks:
  net:
YML

inside() { on "$1" nsenter --net="$(netns "$1" t_client)" "${@:2}"; }
named() { inside "$1" busybox nslookup "$2" 127.0.0.11 2>/dev/null | awk '/^Address/ && $NF !~ /127.0.0.11/ { print $NF }' | sort; }
known() { # what the managers say of running tasks
	local t
	for t in $(ctl n1 service ps t_web --no-trunc --filter desired-state=running --format '{{.ID}}'); do
		ctl n1 task inspect "$t" | sed -n 's/.*"Address": *"\(10\.[0-9.]*\)".*/\1/p' | head -n 1
	done | sort
}
agrees() { [ -n "$(known)" ] && [ "$(named n3 tasks.web)" = "$(known)" ]; }
served() { # as often as it is asked, and by as many tasks as there are
	local vip hosts
	vip=$(named n3 web)
	hosts=$(for _ in 1 2 3 4 5 6 7 8 9 10; do inside n3 curl -sf -m 2 "http://$vip/" || echo none; done | sort -u)
	[ "$(wc -l <<<"$hosts")" = "$(known | wc -l)" ] && ! grep -q none <<<"$hosts"
}
client_there() { [ -n "$(netns n3 t_client)" ]; }

start 3 1
check "stack deploy converges" ctl n1 stack deploy -c "$work/stack.yml" t
check "n3 knows what the managers know" within 5 agrees
for cut in ${CUTS:-2 5 20}; do
	"$lab" cut n3
	until=$((SECONDS + cut))
	for replicas in 1 5 2 4; do
		ctl n1 service scale -d t_web=$replicas >/dev/null || bad "scaled to $replicas"
	done
	ctl n1 service update --force t_web >/dev/null || bad "all tasks are others"
	took=$((SECONDS - until + cut))
	while [ $SECONDS -lt $until ]; do sleep 0.2; done
	"$lab" heal
	check "n3 is back" within 10 node_is n3 ready
	echo "   the update took $took s meanwhile"
	check "cut off for $cut s: n3 has its client, or another one" within 15 client_there
	check "cut off for $cut s: names are right within 5 s" within 5 agrees
	check "cut off for $cut s: so are virtual addresses" within 5 served
done
finish
