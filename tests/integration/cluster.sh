#!/bin/bash
# A real cluster on this host: 3 managers and 2 workers in a lab. What a user does, and what may
# happen to it. CHAOS_SECONDS (20) is how long leaders are killed under writes.
set -uo pipefail

top=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
export LAB=${LAB:-itest}
lab=$top/deploy/lab
[ "$(id -u)" = 0 ] || { echo "skipped: not root"; exit 77; }
work=$(mktemp -d)
failed=0

finish() {
	[ $failed = 0 ] || for n in n1 n2 n3 n4 n5; do
		echo "--- log of $n"
		"$lab" logs $n 2>/dev/null | tail -n 8
	done
	"$lab" down >/dev/null 2>&1
	rm -rf "$work"
}
trap finish EXIT

ok() { printf 'ok   %s\n' "$*"; }
bad() { printf 'FAIL %s\n' "$*"; failed=1; }
check() { # WHAT COMMAND...
	local what=$1
	shift
	if "$@" >"$work/out" 2>&1; then ok "$what"; else bad "$what"; sed 's/^/     /' "$work/out" | tail -n 8; fi
}
within() { # SECONDS COMMAND...
	local until=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $until ] || { "$@"; return 1; }
		sleep 0.1
	done
}
ctl() { "$lab" ctl "$@"; }

# tasks SERVICE: how many run, as the cluster says.
running() { ctl "$1" service ps "$2" --filter desired-state=running --format '{{.CurrentState}}' | grep -ci '^running'; }
runs() { [ "$(running "$1" "$2")" = "$3" ]; }
leader() { ctl "${1:-n1}" node ls --format '{{.Hostname}} {{.ManagerStatus}}' | awk '$2 == "Leader" { print $1 }'; }
nodes_of() { ctl n1 service ps "$1" --filter desired-state=running --format '{{.Node}}' | sort | uniq -c; }
node_is() { [ "$(ctl "${3:-n1}" node ls --format '{{.Hostname}} {{.Status}}' | awk -v n="$1" '$1 == n { print tolower($2) }')" = "$2" ]; }
container_pids() { # NODE
	ps -e -o pid=,args= | awk '/sleep 100000/ && !/awk/ { print $1 }' | while read -r p; do
		grep -qs "swarm-" "/proc/$p/cgroup" && echo "$p"
	done | sort
}

cat >"$work/stack.yml" <<'YML'
version: "3.9"
services:
  web:
    image: busybox
    command: sh -c 'trap "exit 0" TERM; echo started on $$(hostname); sleep 100000 & wait'
    stop_grace_period: 2s
    networks: [net]
    deploy: { replicas: 20 }
  server:
    image: busybox
    command: sh -c 'mkdir /www; hostname > /www/index.html; httpd -f -p 80 -h /www'
    networks: [net]
  client:
    image: busybox
    command: sh -c 'while ! wget -q -O- http://server/ ; do sleep 1; done; sleep 100000'
    networks: [net]
    deploy: { placement: { constraints: [node.hostname == n5] } }
networks:
  net:
YML

echo "== up"
"$lab" up --nodes 5 --managers 3 || { bad "lab up"; exit 1; }
check "five nodes, three of them managers" test "$(ctl n1 node ls -q | wc -l)" = 5

echo "== a stack"
check "stack deploy converges" ctl n2 stack deploy -c "$work/stack.yml" shop
check "20 replicas run" within 10 runs n1 shop_web 20
check "the same file again changes nothing" bash -c "'$lab' ctl n1 stack deploy -c '$work/stack.yml' shop && [ \"\$('$lab' ctl n1 service ps shop_web -q | wc -l)\" = 20 ]"
check "a container reaches another by service name" within 20 bash -c "'$lab' ctl n1 service logs shop_client | grep -q '[0-9a-z]\{12\}'"
check "logs come from every task" test "$(ctl n1 service logs shop_web | grep -c 'started on')" -ge 20

echo "== an agent is killed"
before=$(container_pids)
check "there are containers to compare" test "$(echo "$before" | wc -l)" -ge 20
"$lab" kill n4 agent
"$lab" kill n5 agent
"$lab" start n4
"$lab" start n5
check "the nodes are ready again" within 15 node_is n5 ready
check "its containers keep their pids" test "$before" = "$(container_pids)"
check "all run" within 10 runs n1 shop_web 20

echo "== a worker is cut off"
ctl n1 node update --availability active n4 >/dev/null
"$lab" cut n4
check "it is down" within 10 node_is n4 down
check "its tasks run elsewhere" within 15 runs n1 shop_web 20
"$lab" heal
check "it is ready again" within 15 node_is n4 ready
sleep 2
check "no doubles remain" within 15 test "$(container_pids | wc -l)" -ge 21
check "as many containers as tasks" within 20 bash -c "[ \"\$(ps -e -o args= | grep -c '^sleep 100000')\" = 21 ]"

echo "== drain, pause, active"
ctl n1 node update --availability drain n5 >/dev/null
check "a drained node has no task of web" within 20 bash -c "! '$lab' ctl n1 service ps shop_web --filter desired-state=running --format '{{.Node}}' | grep -qx n5"
check "all run elsewhere" within 20 runs n1 shop_web 20
ctl n1 node update --availability active n5 >/dev/null

echo "== leaders are killed under writes, ${CHAOS_SECONDS:-20} s"
cat >"$work/writer" <<WRITER
#!/bin/bash
i=0
while [ -e $work/go ]; do
	i=\$((i + 1))
	t=\$(date +%s%N)
	for n in n1 n2 n3; do
		if timeout 5 $lab ctl \$n secret create chaos\$i $work/stack.yml >/dev/null 2>&1; then
			echo "chaos\$i \$(((\$(date +%s%N) - t) / 1000000))" >>$work/acked
			break
		fi
	done
done
WRITER
chmod +x "$work/writer"
touch "$work/go" "$work/acked"
"$work/writer" &
writer=$!
until=$((SECONDS + ${CHAOS_SECONDS:-20}))
kills=0
while [ $SECONDS -lt $until ]; do
	for n in n1 n2 n3; do
		l=$(timeout 3 "$lab" ctl $n node ls --format '{{.Hostname}} {{.ManagerStatus}}' 2>/dev/null | awk '$2 == "Leader" { print $1 }')
		[ -n "$l" ] && break
	done
	[ -n "$l" ] && "$lab" kill "$l" manager && kills=$((kills + 1))
	sleep 2
done
rm "$work/go"
wait $writer
echo "     $kills leaders killed, $(wc -l <"$work/acked") writes acknowledged, slowest $(sort -k2 -n "$work/acked" | tail -n 1 | cut -d' ' -f2) ms"
within 15 ctl n1 node ls >/dev/null
ctl n1 secret ls --format '{{.Name}}' | sort >"$work/there"
check "no acknowledged write is lost" test -z "$(cut -d' ' -f1 "$work/acked" | sort | comm -23 - "$work/there")"
check "all run" within 15 runs n1 shop_web 20

echo "== everything is killed"
for n in n1 n2 n3 n4 n5; do "$lab" kill $n all; done
for n in n1 n2 n3 n4 n5; do "$lab" start $n; done
check "all is back" within 40 runs n1 shop_web 20

echo "== promote, demote, remove, rejoin"
check "a worker becomes a manager" bash -c "'$lab' ctl n1 node promote n4"
check "it is a member" within 20 bash -c "'$lab' ctl n1 node ls --format '{{.Hostname}} {{.ManagerStatus}}' | grep -qi 'n4 reachable'"
check "it takes calls" within 10 ctl n4 node ls
check "it becomes a worker again" ctl n1 node demote n4
check "it is no member" within 20 bash -c "[ \"\$('$lab' ctl n1 node ls --format '{{.Hostname}} {{.ManagerStatus}}' | awk '\$1 == \"n4\" { print \$2 }')\" = '' ]"
check "a node leaves" "$lab" ctl n5 leave
check "it is removed" within 15 ctl n1 node rm n5
check "a mistyped token is refused with words" bash -c "'$lab' ctl n5 join --token SWMTKN-1-x 192.168.77.1:2377 2>&1 | grep -qi token"
token=$(ctl n1 join-token -q worker)
check "it joins anew" ctl n5 join --token "$token" --advertise-addr 192.168.77.5 192.168.77.1:2377
check "it is ready" within 15 node_is n5 ready

echo "== bad input"
check "a missing image is told" bash -c "'$lab' ctl n1 service create -d --name nope nosuch:1 && sleep 3 && '$lab' ctl n1 explain nope | grep -qi nosuch"
ctl n1 service rm nope >/dev/null
printf 'services:\n  web:\n    imagee: x\n' >"$work/bad.yml"
check "a fault in a stack file has its place" bash -c "'$lab' ctl n1 stack deploy -c '$work/bad.yml' b 2>&1 | grep -q 'bad.yml:3:5'"

echo "== from a laptop"
ctl n1 operator issue ann -o "$work/ann.ctx" >/dev/null
laptop() { HOME=$work nsenter --net="/run/netns/swl-$LAB" "$(cat "/run/swarm-lab/$LAB/bin")/swarmctl" "$@"; }
check "import" laptop context import "$work/ann.ctx"
check "ls" laptop --context ann node ls
check "deploy" laptop --context ann stack deploy -c "$work/stack.yml" two
check "ps" laptop --context ann stack ps two
check "logs" within 10 bash -c "HOME=$work nsenter --net=/run/netns/swl-$LAB $(cat "/run/swarm-lab/$LAB/bin")/swarmctl --context ann service logs two_server | wc -l"
check "rm" laptop --context ann stack rm two

echo "== rm"
check "stack rm waits until all is gone" ctl n1 stack rm shop
check "no container is left" within 10 bash -c "! ps -e -o args= | grep -q '^sleep 100000'"
[ $failed = 0 ] && echo "all passed"
exit $failed
