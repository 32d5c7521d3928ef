#!/bin/bash
# A node that is cut off for 2 to 60 s while what it knows changes: within 5 s of the cut's end its names
# and virtual addresses say what the managers know. CUTS="5 60" for longer ones.
set -uo pipefail
LAB=${LAB:-views}
. "$(dirname "$(readlink -f "$0")")/lib.sh"

cat >"$work/stack.yml" <<'YML'
services:
  web:
    image: busybox
    command: sh -c 'hostname > /tmp/index.html; httpd -f -p 80 -h /tmp'
    networks: [net]
    deploy: { replicas: 3, placement: { constraints: [ "node.hostname != n3" ] } }
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
		ctl n1 task inspect "$t" | sed -n 's/.*"address": *"\(10\.[0-9.]*\)".*/\1/p' | head -n 1
	done | sort
}
agrees() { [ -n "$(known)" ] && [ "$(named n3 tasks.web)" = "$(known)" ]; }
served() { # each task of the service answers at its virtual address from n3
	local vip
	vip=$(named n3 web)
	[ "$(for _ in 1 2 3 4 5 6 7 8 9 10; do inside n3 busybox wget -q -T 2 -O- "http://$vip/" || echo none; done | sort -u | grep -c -v none)" = "$(known | wc -l)" ] &&
		! for _ in 1 2 3 4 5; do inside n3 busybox wget -q -T 2 -O- "http://$vip/" || echo none; done | grep -q none
}

start 3 1
check "stack deploy converges" ctl n1 stack deploy -c "$work/stack.yml" t
check "n3 knows what the managers know" within 5 agrees
for cut in ${CUTS:-2 5 20}; do
	"$lab" cut n3
	until=$((SECONDS + cut))
	for replicas in 1 5 2 4; do
		ctl n1 service scale -q t_web=$replicas >/dev/null || bad "scaled to $replicas"
	done
	ctl n1 service update -q --force t_web >/dev/null || bad "all tasks are others"
	while [ $SECONDS -lt $until ]; do sleep 0.2; done
	"$lab" heal
	since=$SECONDS
	check "cut off for $cut s: names are right within 5 s" within 5 agrees
	check "cut off for $cut s: so are virtual addresses" within 5 served
	check "n3 is back" within 10 node_is n3 ready
done
finish
