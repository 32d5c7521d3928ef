#!/bin/bash
# Machines reboot, one at a time and all at once, and come back with nothing but their disk: each time
# every published port answers at every node, virtual addresses and names from every node, and volumes
# have what was in them. ROUNDS=100 for a long run; SEED to see one again.
set -uo pipefail
LAB=${LAB:-reboots}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
rounds=${ROUNDS:-10}
RANDOM=${SEED:=$RANDOM}

cat >"$work/stack.yml" <<'YML'
services:
  web:
    image: busybox
    command: sh -c 'hostname > /tmp/index.html; httpd -f -p 80 -h /tmp'
    networks: [net]
    ports: [ "8080:80" ]
    stop_grace_period: 100ms
    deploy: { replicas: 4, restart_policy: { delay: 100ms } }
  host:
    image: busybox
    command: sh -c 'date +%s%N >>/data/starts; cp /data/starts /tmp/index.html; httpd -f -p 80 -h /tmp'
    networks: [net]
    volumes: [ "data:/data" ]
    ports: [ { target: 80, published: 8081, mode: host } ]
    stop_grace_period: 100ms
    deploy: { mode: global, restart_policy: { delay: 100ms } }
networks:
  net:
volumes:
  data:
YML

fetch() { nsenter --net="/run/netns/swl-$LAB" curl -sf -m 2 "$@"; }
inside() { # NODE COMMAND...: in the network of its global task
	local node=$1 ns
	ns=$(netns "$1" t_host)
	shift
	on "$node" nsenter --net="${ns:-/none}" "$@"
}
answers() { # NODE: its ports, and from its container names and virtual addresses
	local i=${1#n}
	fetch "http://192.168.77.$i:8080/" && fetch "http://192.168.77.$i:8081/" &&
		inside "$1" curl -sf -m 2 "http://$(inside "$1" busybox nslookup web 127.0.0.11 | awk '/^Address/ { a = $NF } END { print a }')/" &&
		[ "$(inside "$1" busybox nslookup tasks.web 127.0.0.11 | grep -c '^Address.* 10\.')" = 4 ]
}
all_answer() { answers n1 && answers n2 && answers n3; }
starts() { fetch "http://192.168.77.${1#n}:8081/" | wc -l; }

start 3 3
check "stack deploy converges" ctl n1 stack deploy -c "$work/stack.yml" t
check "everything answers" within 10 all_answer

echo "== what is started again belongs where it did"
first_pid() { # of the global task on n1
	local id
	id=$(ctl n1 service ps t_host --no-trunc --filter desired-state=running --format '{{.Node}} {{.ID}}' | awk '$1 == "n1" { print $2; exit }')
	containers n1 | awk -v id="$id" '$1 == id { print $2 }'
}
other_process() { # PID: the task has another one, in a network of its own
	local now
	now=$(first_pid)
	[ -n "$now" ] && [ "$now" != "$1" ] && [ "$(readlink "/proc/$now/ns/net")" != "$(on n1 readlink /proc/self/ns/net)" ]
}
pid=$(first_pid)
"$lab" kill n1 agent
"$lab" start n1
kill -9 "$pid"
check "a container that crashes under a restarted agent" within 15 other_process "$pid"
check "and answers" within 15 answers n1
pid=$(first_pid)
"$lab" kill n1 agent
kill -9 "$pid"
within 5 not kill -0 "$pid"
"$lab" reboot n1
check "a container whose end was recorded before a reboot" within 30 other_process "$pid"
check "and all answers" within 30 all_answer

echo "== $rounds rounds, SEED=$SEED"
slowest=0
for round in $(seq "$rounds"); do
	victims=n$((RANDOM % 3 + 1))
	[ $((round % 5)) = 0 ] && victims="n1 n2 n3"
	before=$(starts "${victims%% *}")
	# shellcheck disable=SC2086
	"$lab" reboot $victims || { bad "round $round: $victims rebooted"; break; }
	since=$SECONDS
	check "round $round: everything answers after a reboot of $victims" within 60 all_answer
	[ $((SECONDS - since)) -gt $slowest ] && slowest=$((SECONDS - since))
	check "round $round: the volume has what was in it" test "$(starts "${victims%% *}")" -gt "$before"
	[ $failed = 0 ] || break
done
echo "slowest: $slowest s"
finish
