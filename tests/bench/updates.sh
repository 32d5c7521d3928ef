#!/bin/bash
# What clients of a published port see while their service changes: 1,000 requests/s, each on a new
# connection, through every node, during rolling updates, scaling and a drain. The service has a health
# check: without one a task takes connections from its start, before its server listens. Then how long
# updates take.
# UPDATES=100 RATE=1000
set -uo pipefail
LAB=${LAB:-bupd}
. "$(dirname "$(dirname "$(readlink -f "$0")")")/integration/lib.sh"
updates=${UPDATES:-100} rate=${RATE:-1000}

ms() { echo $(($(date +%s%N) / 1000000)); }
line() { printf '%-64s %14s   %s\n' "$1" "$2" "${3:-}"; }

stack_file() { # REPLICAS ORDER
	cat <<YML
services:
  web:
    image: nginx
    ports: ["8080:80"]
    healthcheck: { test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1/"], interval: 2s, start_period: 10s, start_interval: 100ms }
    deploy:
      replicas: $1
      update_config: { order: $2, monitor: 100ms }
YML
}

clients=()
clients_start() {
	local n
	clients=()
	for n in 1 2 3; do
		nsenter --net="/run/netns/swl-$LAB" hey -z 3600s -c 10 -q $((rate / 30)) -disable-keepalive -t 10 \
			"http://192.168.77.$n:8080/" >"$work/hey$n" 2>&1 &
		clients+=($!)
	done
	sleep 1
}
# clients_stop WHAT: failed of all requests. What was cut short by the end itself is not counted by hey.
clients_stop() {
	local p
	sleep 1
	for p in "${clients[@]}"; do kill -INT "$p" && wait "$p"; done
	line "$1" "$(awk '
		FNR == 1 { errors = 0 }
		/responses$/ { all += $2; if ($1 != "[200]") bad += $2 }
		/^Error distribution/ { errors = 1 }
		errors && /^  \[/ { gsub(/[][]/, "", $1); bad += $1; all += $1 }
		END { printf "%d of %d", bad, all }' "$work"/hey?)" "aim 0 failed"
	grep -h -A5 '^Error distribution' "$work"/hey? | grep '^  \[' | sort | uniq -c | sed 's/^/     /'
}

start 3 3
nsenter --net="/run/netns/swl-$LAB" sysctl -qw net.ipv4.ip_local_port_range="1024 65535" net.ipv4.tcp_tw_reuse=1
echo
for kind in "3 stop-first" "1 start-first"; do
	# shellcheck disable=SC2086
	stack_file $kind >"$work/s.yml"
	ctl n1 stack deploy -q -c "$work/s.yml" s >/dev/null || bad "deploy"
	within 10 runs n1 s_web "${kind% *}"
	clients_start
	t=$(ms)
	for ((i = 1; i <= updates; i++)); do
		ctl n1 service update -q --env-add "N=$i" s_web >/dev/null 2>"$work/err" || { echo "     update $i: $(tail -n 1 "$work/err")"; }
	done
	clients_stop "$updates updates, replicas and order: $kind ($(($(ms) - t)) ms)"
done

stack_file 3 start-first >"$work/s.yml"
ctl n1 stack deploy -q -c "$work/s.yml" s >/dev/null
clients_start
for n in 6 3 9 1 3; do ctl n1 service scale -q s_web=$n >/dev/null 2>&1; done
clients_stop "scaled to 6, 3, 9, 1, 3"
clients_start
ctl n1 node update --availability drain --wait n2 >/dev/null 2>&1
within 20 is "" sh -c "'$lab' ctl n1 service ps s_web --filter desired-state=running --format '{{.Node}}' | grep -x n2"
clients_stop "a node is drained"
ctl n1 node update --availability active n2 >/dev/null 2>&1
ctl n1 stack rm s >/dev/null

cat >"$work/t.yml" <<'YML'
services:
  web:
    image: busybox
    command: sh -c 'trap "exit 0" TERM; sleep 100000 & wait'
    networks: [x]
    deploy: { replicas: 20, update_config: { monitor: 0s } }
networks: { x: }
YML
ctl n1 stack deploy -q -c "$work/t.yml" t >/dev/null
for p in 1 5; do
	t=$(ms)
	ctl n1 service update -q --update-parallelism $p --env-add "P=$p" t_web >/dev/null 2>&1
	line "update of 20 replicas on an overlay, parallelism $p" "$(($(ms) - t)) ms" "$([ $p = 1 ] && echo '<= 4000; peer 80700')"
done
ctl n1 stack rm t >/dev/null
finish
