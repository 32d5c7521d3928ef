#!/bin/bash
# A real cluster: 3 managers and 2 workers. What a user does, and what may happen to it.
# CHAOS_SECONDS (20) is how long leaders are killed under writes.
set -uo pipefail
LAB=${LAB:-itest}
. "$(dirname "$(readlink -f "$0")")/lib.sh"

cat >"$work/stack.yml" <<'YML'
version: "3.9"
services:
  web:
    image: busybox
    command: sh -c 'trap "exit 0" TERM; echo started on $$(hostname); sleep 100000 & wait'
    stop_grace_period: 2s
    networks: [net]
    deploy: { replicas: 20 }
networks:
  net:
YML

start 5 3
check "five nodes" is 5 sh -c "'$lab' ctl n1 node ls -q | wc -l"
check "stack deploy converges" ctl n2 stack deploy -c "$work/stack.yml" shop
check "20 replicas run" within 10 runs n1 shop_web 20
check "the same file again changes nothing" says "nothing changes" ctl n1 stack deploy -c "$work/stack.yml" shop
check "logs come from every task" within 10 is 20 sh -c "'$lab' ctl n1 service logs shop_web 2>&1 | grep -c 'started on'"

echo "== agents are killed"
containers >"$work/before"
check "20 containers" is 20 count_containers
for n in n1 n4 n5; do "$lab" kill $n agent; done
for n in n1 n4 n5; do "$lab" start $n; done
check "the nodes are ready again" within 15 node_is n5 ready
check "all run" within 10 runs n1 shop_web 20
check "every container has kept its pid" is "$(cat "$work/before")" containers
check "logs go on" within 10 is 20 sh -c "'$lab' ctl n1 service logs shop_web 2>&1 | grep -c 'started on'"

echo "== a worker is cut off"
cut_at=$SECONDS
"$lab" cut n4
check "it is down" within 10 node_is n4 down
check "its tasks run elsewhere" within 15 sh -c "! '$lab' ctl n1 service ps shop_web --filter desired-state=running --format '{{.Node}} {{.CurrentState}}' | grep -v '^n4 ' | grep -vqi running && [ \$('$lab' ctl n1 service ps shop_web --filter desired-state=running --format '{{.Node}}' | grep -vc '^n4\$') = 20 ]"
echo "     after $((SECONDS - cut_at)) s"
"$lab" heal
check "it is ready again" within 15 node_is n4 ready
check "no doubles remain" within 15 is 20 count_containers
check "all run" within 10 runs n1 shop_web 20

echo "== drain, pause, active"
check "drain" ctl n1 node update --availability drain n5
check "a drained node runs nothing" within 20 is 0 count_containers n5
check "all run elsewhere" within 20 runs n1 shop_web 20
check "pause" ctl n1 node update --availability pause n4
check "scale up" ctl n1 service scale shop_web=24
check "nothing new on a paused node" not says "^n[45]\$" sh -c "'$lab' ctl n1 service ps shop_web --format '{{.Node}}' --filter desired-state=running | tail -n 4"
check "scale down" ctl n1 service scale shop_web=20
for n in n4 n5; do ctl n1 node update --availability active $n >/dev/null; done

echo "== leaders are killed under writes, ${CHAOS_SECONDS:-20} s"
cat >"$work/writer" <<WRITER
#!/bin/bash
i=0
while [ -e $work/go ]; do
	i=\$((i + 1))
	t=\$(date +%s%N)
	for n in n1 n2 n3 n1 n2 n3; do
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
	l=
	for n in n1 n2 n3; do
		l=$(timeout 3 "$lab" ctl $n node ls --format '{{.Hostname}} {{.ManagerStatus}}' 2>/dev/null | awk '$2 == "Leader" { print $1 }')
		[ -n "$l" ] && break
	done
	[ -n "$l" ] && "$lab" kill "$l" manager && kills=$((kills + 1))
	sleep 1
done
rm "$work/go"
wait $writer
slowest=$(sort -k2 -n "$work/acked" | tail -n 1 | cut -d' ' -f2)
echo "     $kills leaders killed, $(wc -l <"$work/acked") writes acknowledged, slowest $slowest ms"
check "leaders were killed and writes went on" test $kills -ge $((${CHAOS_SECONDS:-20} / 4)) -a "$(wc -l <"$work/acked")" -ge $kills
check "each fail-over within 2 s" test "${slowest:-9999}" -le 2000
within 15 ctl n1 node ls >/dev/null
ctl n1 secret ls --format '{{.Name}}' | sort >"$work/there"
check "no acknowledged write is lost" is "" sh -c "cut -d' ' -f1 '$work/acked' | sort | comm -23 - '$work/there'"
check "all run" within 15 runs n1 shop_web 20
check "as many containers as tasks" within 15 is 20 count_containers

echo "== everything is killed"
for n in n1 n2 n3 n4 n5; do "$lab" kill $n all; done
check "nothing runs" is 0 count_containers
for n in n1 n2 n3 n4 n5; do "$lab" start $n; done
check "all is back" within 40 runs n1 shop_web 20
check "as many containers as tasks" within 15 is 20 count_containers
check "what was acknowledged is there" within 10 is "" sh -c "'$lab' ctl n1 secret ls --format '{{.Name}}' | sort >'$work/there'; cut -d' ' -f1 '$work/acked' | sort | comm -23 - '$work/there'"

echo "== promote, demote, remove, rejoin"
check "a worker becomes a manager" ctl n1 node promote n4
check "it is a member" within 20 says "reachable|leader" manager_state n4
check "it takes calls" within 10 ctl n4 node ls
check "it becomes a worker again" ctl n1 node demote n4
check "it is no member" within 20 is "" manager_state n4
old=$(leader)
m=$([ "$old" = n1 ] && echo n2 || echo n1)
check "the leader can be demoted" ctl $m node demote "$old"
check "another leads" within 10 says "^n[123]\$" leader $m
check "it is promoted again" ctl $m node promote "$old"
check "three managers again" within 20 is 3 sh -c "'$lab' ctl $m node ls --format '{{.ManagerStatus}}' | grep -ciE 'leader|reachable'"
check "it takes calls" within 10 ctl n1 node ls
check "a node that is up is not removed" within 10 says "down|leave|force" ctl n1 node rm n5
check "a node leaves" ctl n5 leave
check "it is removed" within 15 ctl n1 node rm n5
check "it runs nothing" within 10 is 0 count_containers n5
check "a mistyped token is refused with words" says token ctl n5 join --token SWMTKN-1-x 192.168.77.1:2377
old=$(ctl n1 join-token -q worker)
check "a token is rotated" ctl n1 join-token --rotate -q worker
check "the old one is refused with words" says "token" ctl n5 join --token "$old" 192.168.77.1:2377
check "it joins anew" ctl n5 join --token "$(ctl n1 join-token -q worker)" --advertise-addr 192.168.77.5 192.168.77.1:2377
check "it is ready" within 15 node_is n5 ready
check "a node removed by force is told and stops" ctl n1 node rm --force n4
check "its containers are gone" within 15 is 0 count_containers n4
check "all run elsewhere" within 15 runs n1 shop_web 20

echo "== rm"
check "stack rm waits until all is gone" ctl n1 stack rm shop
check "no container is left" is 0 count_containers
finish
