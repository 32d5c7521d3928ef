#!/bin/bash
# Changing what runs: updates, failures that roll back, stacks' generations, secrets, drains, order,
# jobs and schedules, one-off tasks. Three managers that also run tasks.
set -uo pipefail
LAB=${LAB:-iupd}
. "$(dirname "$(readlink -f "$0")")/lib.sh"

file() { # IMAGE KEY GREETING
	printf '%s' "$2" >"$work/key"
	cat >"$work/stack.yml" <<YML
version: "3.9"
services:
  web:
    image: $1
    command: sh -c 'trap "exit 0" TERM; echo "$3 \$\$(cat /run/secrets/key)"; sleep 100000 & wait'
    stop_grace_period: 2s
    secrets: [key]
    deploy:
      replicas: 4
      update_config: { parallelism: 2, monitor: 500ms, failure_action: rollback, order: start-first, x-progress-deadline: 20s }
      rollback_config: { parallelism: 0, monitor: 500ms }
  db:
    image: busybox
    command: sh -c 'trap "exit 0" TERM; sleep 100000 & wait'
    stop_grace_period: 2s
secrets:
  key: { file: ./key }
YML
}
tasks() { ctl n1 service ps "$1" --no-trunc --filter desired-state=running --format '{{.ID}}' | sort; }
completed() { ctl n1 service ls --format '{{.Name}} {{.Replicas}}' | awk -v n="$1" '$1 == n { print $2, $3, $4 }'; }
changed_by() { # ARGS...: which tasks of shop_web are others, and that nothing went wrong
	local before
	before=$(tasks shop_web)
	ctl n1 "$@" >"$work/said" 2>&1 || cat "$work/said"
	diff <(echo "$before") <(tasks shop_web)
}
status_of() { # COMMAND...: its exit status
	"$@" >"$work/said" 2>&1
	echo $?
}

start 3 3

echo "== a stack and what a deploy would change"
file busybox one hello
check "deploy" ctl n1 stack deploy -c "$work/stack.yml" shop
check "four tasks" within 10 runs n1 shop_web 4
web=$(tasks shop_web) db=$(tasks shop_db)
check "the same file: nothing to plan" says "nothing would change" ctl n1 stack plan -c "$work/stack.yml" shop
file busybox one goodbye
check "a plan names the key" says "task.container.command" ctl n1 stack plan -c "$work/stack.yml" shop
check "… and the tasks" says "update service shop_web \(replaces 4 tasks\)" ctl n1 stack plan -c "$work/stack.yml" shop
check "a plan changes nothing" is "$web" tasks shop_web

echo "== updates"
check "the update converges" ctl n1 stack deploy -c "$work/stack.yml" shop
check "all tasks are new" not says "$(head -n 1 <<<"$web")" tasks shop_web
check "db was left alone" is "$db" tasks shop_db
check "they say the new word" within 10 says goodbye ctl n1 service logs shop_web
check "an update by flags" ctl n1 service update --env-add A=1 --label-add team=a --update-order stop-first shop_web
check "four tasks again" within 10 runs n1 shop_web 4
check "the service says so" says '"A=1"' ctl n1 service inspect shop_web
check "a rollback does nothing beside" says 'rollback does not go with --env-add' ctl n1 service update --rollback --env-add B=1 shop_web
check "service rollback" ctl n1 service rollback shop_web
check "the variable is gone" not says '"A=1"' ctl n1 service inspect shop_web
check "there is no way further back" says "no earlier version" ctl n1 service rollback shop_web
check "what is not there is nothing to remove" says 'warning.*no "B"' ctl n1 service update --env-rm B shop_web
check "… and nothing is made anew" is "" changed_by service update --publish-rm 9999 --constraint-rm a==b --generic-resource-rm gpu shop_web

echo "== without a name"
check "a service is made" ctl n1 service create -q -d busybox sleep 100000
name=$(ctl n1 service ls --format '{{.Name}}' | grep '^busybox_')
check "and called after its image" grep -qE '^busybox_[0-9a-z]{6}$' <<<"$name"
ctl n1 service rm "$name" >/dev/null

echo "== a broken image"
web=$(tasks shop_web)
file nosuchimage one hello
check "deploy rolls back by itself and says so" is 6 status_of ctl n1 stack deploy -c "$work/stack.yml" shop
check "… with the reason" says "nosuchimage" cat "$work/said"
check "all four run" within 20 runs n1 shop_web 4
check "no task was stopped for it" is "$web" tasks shop_web
check "a command that fails pauses" is 5 status_of ctl n1 service update --update-failure-action pause --args "false" shop_web
check "the reason is kept" says "update paused: . of 4 new tasks failed" ctl n1 explain shop_web
check "rollback out of the pause" ctl n1 service rollback shop_web
check "four tasks run" within 20 runs n1 shop_web 4

echo "== generations and secrets"
file busybox two goodbye
check "new content" ctl n1 stack deploy -c "$work/stack.yml" shop
check "its users have it" within 10 says "goodbye two" ctl n1 service logs shop_web
check "db was left alone" is "$db" tasks shop_db
check "stack rollback" ctl n1 stack rollback shop
check "the old content is back" within 10 says "one" sh -c "'$lab' ctl n1 service logs shop_web | tail -n 4"
check "the one that failed was passed over" says "failed" ctl n1 stack history shop
check "an unknown generation is refused" says "no generation 99" ctl n1 stack rollback shop 99
printf three >"$work/key"
check "secret update" ctl n1 secret update shop_key "$work/key"
check "its users roll" within 30 says " three" ctl n1 service logs shop_web
check "db was left alone" is "$db" tasks shop_db
check "a secret that is too large" says "has 512000 bytes; less than 512000" sh -c "head -c 512000 /dev/zero | '$lab' ctl n1 secret create big -"

echo "== drain"
check "web is stable" within 20 runs n1 shop_web 4
(while [ ! -e "$work/drained" ]; do running n1 shop_web; sleep 0.1; done) >"$work/counts" &
watcher=$!
check "drain and wait" ctl n1 node update --availability drain --wait n3
touch "$work/drained"
wait $watcher
check "no replica was lost meanwhile" is 0 sh -c "awk '\$1 < 4' '$work/counts' | wc -l"
check "n3 runs nothing" is 0 count_containers n3
check "four tasks run" within 10 runs n1 shop_web 4
ctl n1 node update --availability active n3 >/dev/null

echo "== order"
cat >"$work/order.yml" <<'YML'
services:
  app:
    image: busybox
    command: sh -c 'trap "exit 0" TERM; sleep 100000 & wait'
    stop_grace_period: 1s
    depends_on:
      init: { condition: service_completed_successfully }
  init:
    image: busybox
    command: sleep 3
    deploy: { mode: replicated-job, restart_policy: { condition: none } }
YML
check "deploy" ctl n1 stack deploy -d -c "$work/order.yml" order
check "it says what it waits for" within 2 says "waits for service order_init to complete successfully" ctl n1 explain order_app
check "nothing runs yet" runs n1 order_app 0
check "then it runs" within 15 runs n1 order_app 1
sed -i 's/^  init:/  init:\n    depends_on: [app]/' "$work/order.yml"
check "a circle is refused" says "depends_on goes in a circle" ctl n1 stack deploy -c "$work/order.yml" order

echo "== jobs"
check "a job completes" ctl n1 service create --name count --mode replicated-job --replicas 5 --max-concurrent 2 busybox sh -c 'echo did it'
check "its cell says so" is "0/0 (5/5 completed)" completed count
check "a job that fails" is 1 status_of ctl n1 service create --name bad --mode replicated-job --restart-condition none busybox false
check "a global job runs on each node" ctl n1 service create --name each --mode global-job busybox true
check "three of three" is "0/0 (3/3 completed)" completed each

echo "== a schedule"
check "a bad one is refused" says 'the second is "\*/70"|the second' ctl n1 service create -d --name tick --mode replicated-job --schedule '99 * * * * *' busybox true
check "every two seconds" ctl n1 service create --name tick --mode replicated-job --schedule '*/2 * * * * *' --schedule-timezone Europe/Berlin busybox sh -c 'echo tick'
check "it runs again and again" within 20 says '"runs": "?[4-9]' ctl n1 service inspect tick
kill_at=$(leader)
"$lab" kill "$kill_at" manager
other=n1
[ "$kill_at" = n1 ] && other=n2
sleep 6
check "it goes on under another leader" within 20 says '"runs": "?(8|9|1.)' ctl "$other" service inspect tick
check "no tick was doubled" is "" sh -c "'$lab' ctl $other service inspect tick | grep -o '\"tick_ms\": [0-9]*' | sort | uniq -d"
check "old runs are forgotten" sh -c "[ \$('$lab' ctl $other service ps tick -q | wc -l) -le 6 ]"
ctl "$other" service rm tick >/dev/null

echo "== one-off tasks"
check "output and exit status" is 7 status_of ctl n1 stack run shop_web sh -c 'echo from $(cat /run/secrets/key); exit 7'
check "… it printed" says "^from three" cat "$work/said"
check "nothing is left of it" within 10 not says "_run_" ctl n1 service ls

echo "== remove, and deploy at once"
file busybox one hello
check "rm then deploy" sh -c "'$lab' ctl n1 stack rm -d shop && '$lab' ctl n1 stack deploy -c '$work/stack.yml' shop"
check "four tasks" within 20 runs n1 shop_web 4
check "rm waits" ctl n1 stack rm shop
check "it is gone" not says shop ctl n1 stack ls
finish
