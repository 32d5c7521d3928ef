#!/bin/bash
# What goes wrong in the middle of something: a node in an update, a leader in a deploy, a service's only
# node, a file that can't be right. Three managers that also run tasks.
set -uo pipefail
LAB=${LAB:-mishap}
. "$(dirname "$(readlink -f "$0")")/lib.sh"

answers() { # NODE: the published port there
	nsenter --net="/run/netns/swl-$LAB" curl -s -m 3 "http://192.168.77.${1#n}:8080/" | grep -q nginx
}
new_ones() { # how many tasks of the web service run with the new variable
	ctl n1 service ps m_web --no-trunc -q --filter desired-state=running | while read -r t; do
		ctl n1 task inspect "$t" 2>/dev/null | grep -q '"State": "running"' && echo "$t"
	done | sort | comm -23 - "$work/old" | wc -l
}
update_state() { ctl n1 service inspect m_web | jq -r '.[0].Update.State // empty'; }
at_least() { [ "$("${@:2}")" -ge "$1" ]; }

cat >"$work/m.yml" <<'YML'
services:
  web:
    image: nginx
    ports: ["8080:80"]
    healthcheck: { test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1/"], interval: 1s, start_interval: 100ms, start_period: 10s }
    deploy:
      replicas: 6
      update_config: { parallelism: 1, delay: 1s, monitor: 200ms, failure_action: pause }
YML

start 3 3
check "deploy" ctl n1 stack deploy -c "$work/m.yml" m
check "it answers" within 10 answers n1

echo "== a node dies in the middle of an update"
ctl n1 service ps m_web --no-trunc -q --filter desired-state=running | sort >"$work/old"
check "the update begins" ctl n1 service update -d -q --env-add N=2 m_web
check "a task is new" within 20 at_least 1 new_ones
"$lab" kill n3 all
check "the service answers meanwhile" within 10 answers n1
check "the node is seen to be down" within 15 node_is n3 down
check "the update goes on to its end" within 60 says "completed" update_state
check "six tasks run" within 20 runs n1 m_web 6
check "all of them new" within 10 is 6 new_ones
check "none on the dead node" not says n3 nodes_of m_web
check "it answers on n1" within 5 answers n1
check "and on n2" within 5 answers n2
"$lab" start n3
check "the node comes back" within 20 node_is n3 ready

echo "== a leader dies in the middle of a deploy"
{
	echo services:
	for i in $(seq 20); do echo "  s$i: { image: busybox, command: sleep 100000 }"; done
} >"$work/big.yml"
l=$(leader)
other=$([ "$l" = n1 ] && echo n2 || echo n1)
ctl "$other" stack deploy -c "$work/big.yml" big >"$work/deploy" 2>&1 &
deploy=$!
within 5 says . ctl "$other" stack ls -q >/dev/null
"$lab" kill "$l" manager
wait $deploy
rc=$?
check "the command does not notice ($(tail -n 1 "$work/deploy"))" test $rc = 0
check "all of the stack is there" is 20 sh -c "'$lab' ctl $other stack services big -q | wc -l"
check "the same deploy again converges" ctl "$other" stack deploy -c "$work/big.yml" big
check "with every service once" is 20 sh -c "'$lab' ctl $other stack services big -q | wc -l"
check "a leader is there" within 20 sh -c "[ -n \"\$('$lab' ctl $other node ls --format '{{.ManagerStatus}}' | grep Leader)\" ]"
check "stack rm" ctl "$other" stack rm big

echo "== a service's only node is cut off"
check "a service on one node" ctl n1 service create -q --name only --constraint node.hostname==n3 --replicas 2 busybox sleep 100000
"$lab" cut n3
check "the node is down" within 15 node_is n3 down
check "explain says what it waits for" within 10 says 'node.hostname==n3|not available' ctl n1 explain only
check "others are served" answers n1
"$lab" heal
check "it is back when its node is" within 30 runs n1 only 2
check "and not twice" within 20 is 2 sh -c "'$lab' ctl n1 service ps only -q --filter desired-state=running | wc -l"
ctl n1 service rm only >/dev/null

echo "== managers that stand still, as in a paused machine, are no reason to move anything"
# pause SECONDS NODE...: their managers, and back
pause() {
	local n seconds=$1 pids=()
	shift
	for n; do pids+=("$(cat "$run/$n/run/manager.pid")"); done
	kill -STOP "${pids[@]}"
	sleep "$seconds"
	kill -CONT "${pids[@]}"
}
leads() { [ -n "$(leader)" ]; }
downs() { ctl n1 events --since 1h --until 0s | grep -c 'node down'; }
tasks_of_web() { ctl n1 service ps m_web -q --no-trunc --filter desired-state=running | sort; }
before=$(tasks_of_web) downs=$(downs)
l=$(leader)
f=$([ "$l" = n2 ] && echo n3 || echo n2)
pause 6 "$f"
check "one that follows, for six seconds" within 10 leads
pause 6 "$l"
check "the leader" within 10 leads
pause 10 n1 n2 n3
check "all three" within 10 leads
check "a manager says that it stood still" says "stood still" cat "$run/n1/agent.log"
check "no node counted as down" is "$downs" downs
check "the tasks are the same" is "$before" tasks_of_web
check "and answer" answers n1

echo "== files that can't be right leave what runs alone"
refused() { # WHAT PATTERN: the file on stdin, as the stack that runs
	cat >"$work/bad.yml"
	check "$1" says "$2" ctl n1 stack deploy -c "$work/bad.yml" "${3:-m}"
}
before=$(ctl n1 service ps m_web -q --no-trunc --filter desired-state=running | sort)
refused "two services on one port" "8080" other <<'YML'
services: { second: { image: nginx, ports: ["8080:80"] } }
YML
refused "a network that is not defined" "bad.yml:[0-9]+:[0-9]+:.*nowhere" <<'YML'
services: { web: { image: nginx, networks: [nowhere] } }
YML
refused "a volume that is not defined" "bad.yml:[0-9]+:[0-9]+:.*nowhere" <<'YML'
services: { web: { image: nginx, volumes: ["nowhere:/x"] } }
YML
refused "a secret that is not defined" "bad.yml:[0-9]+:[0-9]+:.*nowhere" <<'YML'
services: { web: { image: nginx, secrets: [nowhere] } }
YML
refused "a config that is not defined" "bad.yml:[0-9]+:[0-9]+:.*nowhere" <<'YML'
services: { web: { image: nginx, configs: [nowhere] } }
YML
check "the other stack was not made" not says other ctl n1 stack ls
check "the tasks are the same" is "$before" sh -c "'$lab' ctl n1 service ps m_web -q --no-trunc --filter desired-state=running | sort"
check "and answer" answers n2
ctl n1 stack rm m >/dev/null

echo "== what is wanted again while it still goes"
curl_of() { nsenter --net="/run/netns/swl-$LAB" curl -sf -m 1 -o /dev/null "http://192.168.77.${1#n}:$2/"; }
stubborn() { # NAME SECONDS OPTION...: ends when it is killed
	ctl n1 service create -d --name "$1" --stop-grace-period "$2s" "${@:3}" busybox sh -c 'trap "" TERM; sleep 100000'
}
check "a network" ctl n1 network create -d overlay way
check "a service that does not want to go" stubborn slow 8 --publish 8085:80 --network way
check "one that wants still less" stubborn slower 60
check "they run" within 10 runs n1 slow 1
check "both" within 10 runs n1 slower 1
ctl n1 service rm slower >/dev/null 2>&1 &
servers+=($!)
within 5 says "being removed" ctl n1 explain slower >/dev/null
stubborn slower 1 >"$work/slower" 2>&1 &
patient=$!
ctl n1 service rm slow >/dev/null 2>&1 &
servers+=($!)
within 5 says "being removed" ctl n1 explain slow >/dev/null
check "its port is another one's at once" ctl n1 service create -d --name next --publish 8085:80 nginx
check "which answers there" within 4 curl_of n2 8085
check "before it has gone" says "being removed" ctl n1 explain slow
check "its name is given away when it has" stubborn slow 1 --network way
check "they run" within 20 runs n1 next 1
check "the one of the old name too" within 10 runs n1 slow 1
ctl n1 service rm slow >/dev/null 2>&1 &
servers+=($!)
check "a network goes after the last that uses it" within 20 ctl n1 network rm way
check "whoever waited in vain is told for what" not wait $patient
check "by name" says "waited in vain: service slower is still being removed" cat "$work/slower"
finish
