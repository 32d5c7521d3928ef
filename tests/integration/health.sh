#!/bin/bash
# Health checks: what starts, what is in service, what is given up; also over an agent's death.
set -uo pipefail
LAB=${LAB:-ihealth}
. "$(dirname "$(readlink -f "$0")")/lib.sh"

states() { ctl n1 service ps "$1" --no-trunc --filter desired-state=running --format '{{.CurrentState}} {{.Error}}'; }
history() { ctl n1 service ps "$1" --no-trunc --format '{{.CurrentState}} {{.Error}}'; }
tasks() { ctl n1 service ps "$1" --no-trunc --filter desired-state=running --format '{{.ID}}' | sort; }
# place SERVICE: "NODE PID" of its first task's container
place() {
	local id node
	read -r id node < <(ctl n1 service ps "$1" --no-trunc --filter desired-state=running --format '{{.ID}} {{.Node}}')
	containers "$node" | awk -v id="$id" -v n="$node" '$1 == id { print n, $2 }'
}
root_of() { local p; p=$(place "$1"); echo "/proc/${p#* }/root"; }
has_container() { [ -n "$(place "$1")" ]; }
status_of() { "$@" >"$work/said" 2>&1; echo $?; }
# resolve SERVICE FROM: what its name answers in a task of FROM
resolve() {
	local p
	p=$(place "$2")
	nsenter -t "${p#* }" -n -m busybox nslookup "tasks.$1" 127.0.0.11 2>/dev/null | awk '/^Address/ && !/127.0.0.11/ { print $NF }' | wc -l
}
commands() { # WORD: processes with it in their command line, of this lab's containers
	local n=0 p
	for p in $(for p in $(cat "$run"/n*/run/cgroup); do cat /sys/fs/cgroup/pids/"$p"/*/cgroup.procs /sys/fs/cgroup/"$p"/*/cgroup.procs 2>/dev/null; done); do
		tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -qF -- "$1" && n=$((n + 1))
	done
	echo $n
}

hanging() { # pid of the command of "long", if it is there
	local p prefix
	prefix=$(cat "$run/n2/run/cgroup")
	for p in $(cat /sys/fs/cgroup/pids/"$prefix"/*/cgroup.procs /sys/fs/cgroup/"$prefix"/*/cgroup.procs 2>/dev/null); do
		[ "$(tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null)" = "sleep 12348 " ] && echo "$p" && return
	done
	return 1
}

start 2 1

echo "== starting until the first success"
cat >"$work/stack.yml" <<'YML'
services:
  db:
    image: busybox
    command: sleep 100000
    stop_grace_period: 1s
    networks: [net]
    healthcheck: { test: 'test -e /ok || { echo no file; exit 1; }', interval: 1s, start_interval: 200ms, start_period: 1h, retries: 2 }
  app:
    image: busybox
    command: sleep 100000
    stop_grace_period: 1s
    networks: [net]
    depends_on: { db: { condition: service_healthy } }
  client:
    image: busybox
    command: sleep 100000
    stop_grace_period: 1s
    networks: [net]
networks:
  net:
YML
check "deploy" ctl n1 stack deploy -d -c "$work/stack.yml" h
check "the client runs" within 20 runs n1 h_client 1
check "db starts" within 10 says '^starting .*\(starting\).*no file' states h_db
check "explain says why" says "waits for the first success of its health check" ctl n1 explain h_db
check "app waits for it" says "waits for service h_db to be healthy" ctl n1 explain h_app
check "names do not answer with it" is 0 resolve db h_client
touch "$(root_of h_db)/ok"
check "then it runs" within 10 says '^running .*\(healthy\)' states h_db
check "no text is left of the failures" not says 'no file' states h_db
check "app runs" within 10 runs n1 h_app 1
check "names answer" within 5 is 1 resolve db h_client
check "inspect shows it" says '"health": *"healthy"' sh -c "'$lab' ctl n1 task inspect $(tasks h_db)"

echo "== the agent dies"
db=$(place h_db)
node=${db% *}
"$lab" kill "$node" agent
"$lab" start "$node"
check "the node is back" within 20 node_is "$node" ready
check "the container is the same" is "$db" place h_db
check "it was not demoted" not says starting history h_db
check "it is healthy" within 10 says '^running .*\(healthy\)' states h_db

echo "== unhealthy"
task=$(tasks h_db)
rm "/proc/${db#* }/root/ok"
check "the failures are told" within 20 says 'no file' states h_db
check "it is restarted in place" within 20 says '"restarts": *1' sh -c "'$lab' ctl n1 task inspect $task"
check "with its files, and is not healthy yet" within 10 says '^restarting .*"health check failed: no file' states h_db
check "it has a container again" within 5 has_container h_db
check "names do not answer with it" within 5 is 0 resolve db h_client
touch "$(root_of h_db)/ok"
check "it recovers" within 10 says '^running .*\(healthy\)' states h_db
check "the same task" is "$task" tasks h_db
check "no task was made for it" is 1 sh -c "'$lab' ctl n1 service ps h_db --format x | wc -l"

echo "== given up"
check "a check that fails, and is not tried again" is 1 status_of ctl n1 service create --name bad --restart-condition none --stop-grace-period 1s \
	--health-cmd 'echo the word; false' --health-interval 200ms --health-retries 2 busybox sleep 100000
check "… is said" says 'unhealthy: the word' cat "$work/said"
check "the task has failed for it" within 15 says '^failed .*unhealthy: the word' history bad
check "its container is gone" within 5 not has_container bad
check "a check that hangs" ctl n1 service create -d --name hangs --restart-condition none --stop-grace-period 1s \
	--health-cmd 'sleep 12345 & sleep 12346' --health-interval 200ms --health-timeout 1s --health-retries 1 busybox sleep 100000
check "the timeout is the reason" within 15 says 'unhealthy: no end within 1.0 s' history hangs
check "a check that hangs a healthy container" ctl n1 service create -d --name slow --stop-grace-period 1s \
	--health-cmd 'test -e /seen && sleep 12347; touch /seen' --health-interval 1s --health-start-interval 200ms --health-timeout 1s --health-retries 99 busybox sleep 100000
check "it is healthy first" within 10 runs n1 slow 1
check "then it hangs" within 10 says 'no end within 1.0 s' states slow
check "a command that hung is killed with its children" within 5 is 0 commands 12345

check "a check that hangs for long" ctl n1 service create -d --name long --stop-grace-period 1s --constraint node.hostname==n2 \
	--health-cmd 'sleep 12348' --health-interval 1h --health-start-interval 1s --health-timeout 1h busybox sleep 100000
check "it hangs" within 10 hanging
old=$(hanging)
"$lab" kill n2 agent
"$lab" start n2
check "an agent leaves none behind: the next one ends it" within 5 test ! -e "/proc/$old"
check "and begins its own" within 10 hanging
ctl n1 service rm bad hangs slow long >/dev/null
check "gone with its container" within 10 not hanging
check "an event tells of it" says 'unhealthy.*no file' ctl n1 events --since 10m --until now

echo "== of the image"
mkdir "$work/img"
cat >"$work/img/Dockerfile" <<'D'
FROM busybox
HEALTHCHECK --interval=500ms --start-interval=200ms --start-period=1h CMD test -e /ok
CMD ["sleep", "100000"]
D
check "build" ctl n1 image build -t checked "$work/img"
check "create" ctl n1 service create -d --name checked --stop-grace-period 1s checked
check "it is checked as its image says" within 20 says '^starting .*\(starting\)' states checked
check "without" ctl n1 service update -d --no-healthcheck checked
check "it runs unchecked" within 20 says '^running [^(]*$' states checked
ctl n1 service rm checked >/dev/null

echo "== a version that is never healthy"
web() { # FILE
	cat >"$work/web.yml" <<YML
services:
  web:
    image: busybox
    command: sh -c 'touch /ok; trap "exit 0" TERM; sleep 100000 & wait'
    stop_grace_period: 1s
    healthcheck: { test: [CMD, test, -e, $1], interval: 500ms, start_interval: 100ms, retries: 2 }
    deploy:
      replicas: 4
      update_config: { parallelism: 2, failure_action: rollback, order: $2, monitor: 500ms }
      rollback_config: { monitor: 500ms }
YML
}
web /ok start-first
check "deploy" ctl n1 stack deploy -c "$work/web.yml" w
before=$(tasks w_web)
for order in start-first stop-first; do
	rm -f "$work/stop"
	(until [ -e "$work/stop" ]; do running n1 w_web; sleep 0.1; done) >"$work/counts" &
	watcher=$!
	web /never $order
	check "$order: the deploy goes back and says why" is 6 status_of ctl n1 stack deploy -c "$work/web.yml" w
	check "… the check" says "unhealthy|health check failed" cat "$work/said"
	touch "$work/stop"
	wait $watcher
	check "four run" within 20 runs n1 w_web 4
	[ $order = start-first ] && least=4 || least=2
	check "never fewer than $least" is 0 sh -c "awk '\$1 < $least' '$work/counts' | wc -l"
done
finish
