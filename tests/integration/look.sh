#!/bin/bash
# Looking into tasks, from every manager and on every node: exec.
set -uo pipefail
LAB=${LAB:-ilook}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
start 4 3 # n4 is a worker

cat >"$work/stack.yml" <<'YML'
services:
  web:
    image: busybox
    command: sleep 100000
    init: true
    environment: { COLOR: red }
    deploy: { replicas: 2, placement: { constraints: [node.hostname == n4] } }
  all:
    image: busybox
    command: sleep 100000
    init: true
    deploy: { mode: global }
YML
check "deploy" ctl n1 stack deploy -c "$work/stack.yml" s

# exits STATUS COMMAND...
exits() {
	local wanted=$1 got
	shift
	"$@"
	got=$?
	[ $got = "$wanted" ] || { echo "wanted status $wanted, got $got"; return 1; }
}
typed() { # SCRIPT NODE ARGS...: swarmctl in a terminal of its own
	local script=$1
	shift
	timeout 60 python3 "$here/typist.py" "$script" "$lab" ctl "$@"
}
pids() { # PATTERN: processes of this host whose command line matches
	local p
	for p in /proc/[0-9]*; do
		{ tr '\0' ' ' <"$p/cmdline"; } 2>/dev/null | grep -qE -- "^$1" && echo "${p#/proc/}"
	done
	true
}
count() { pids "$1" | wc -l; }

echo "== exec"
for m in n1 n2 n3; do
	check "from $m, into a task of the worker" is "red" ctl $m exec s_web.1 sh -c 'echo $COLOR'
done
check "the service's name will do" is "red" ctl n1 exec s_web sh -c 'echo $COLOR'
check "the task's id, too" is "red" ctl n1 exec "$(ctl n1 service ps s_web -q | head -n 1)" sh -c 'echo $COLOR'
for n in n1 n2 n3 n4; do
	check "a global service's task on $n" says "^$(ctl n1 service ps s_all --no-trunc --format '{{.Node}} {{.ID}}' | awk -v n=$n '$1 == n { print $2 }' | cut -c1-6)" ctl n2 exec s_all.$n hostname
done
check "its exit status is ours" exits 7 ctl n1 exec s_web.1 sh -c 'exit 7'
check "a signal is 128 and its number" exits 143 ctl n1 exec s_web.1 sh -c 'kill -TERM $$'
check "output and errors are apart" is "out" sh -c "LAB=$LAB $lab ctl n1 exec s_web.1 sh -c 'echo out; echo err >&2' 2>/dev/null"
check "errors and output, too" is "err" sh -c "LAB=$LAB $lab ctl n1 exec s_web.1 sh -c 'echo out; echo err >&2' 2>&1 >/dev/null"
check "-e, -u and -w" is "blue 65534 /tmp" ctl n3 exec -e COLOR=blue -u 65534 -w /tmp s_web.1 sh -c 'echo $COLOR $(id -u) $(pwd)'
head -c 3000000 /dev/urandom >"$work/data"
check "input and output of 3 MB come as they were" is "$(sha256sum <"$work/data")" sh -c "LAB=$LAB $lab ctl n2 exec -i s_web.2 cat <$work/data | sha256sum"
check "a file as input ends" is "3000000" sh -c "LAB=$LAB $lab ctl n2 exec -i s_web.2 wc -c <$work/data"
check "no input without -i" is "" sh -c "echo no | LAB=$LAB $lab ctl n2 exec s_web.2 cat"
check "a command that is not there" exits 127 ctl n1 exec s_web.1 nosuch
check "it is told which" says 'nosuch.* not found' ctl n1 exec s_web.1 nosuch
check "a task that is not there" says 'no such task: nosuch' ctl n1 exec nosuch true
check "a slot that is not there" says 'has no task s_web.9' ctl n1 exec s_web.9 true
check "a user that is not there" says 'user "nosuch" is not in' ctl n1 exec -u nosuch s_web.1 true

echo "== exec with a terminal"
check "a shell with job control" exits 5 typed 'expect #
	type tty; stty size\n
	expect /dev/pts/
	expect 24 80
	size 40 100
	type echo $TERM; sleep 50\n
	expect xterm
	type \x03
	expect #
	type stty size\n
	expect 40 100
	type exit 5\n' n2 exec -it s_web.1 sh
check "its end of input" exits 0 typed 'expect #
	type \x04' n1 exec -it s_web.1 sh
check "without input it is a terminal all the same" says "/dev/pts/" ctl n1 exec -t s_web.1 tty

echo "== exec and its end"
check "detached" exits 0 ctl n1 exec -d s_web.1 sleep 7262
check "it goes on" within 5 is 1 count "sleep 7262 $"
ctl n1 exec s_web.1 sleep 7261 &
check "a command runs" within 10 is 1 count "sleep 7261 $"
kill $(pids ".*swarmctl --run-dir $run/n1/run exec s_web.1 sleep 7261")
check "it does not outlive its caller" within 10 is 0 count "sleep 7261 $"
ctl n1 exec s_web.2 sleep 7263 >"$work/ended" 2>&1 &
caller=$!
check "a command runs in a task" within 10 is 1 count "sleep 7263 $"
ctl n1 service scale -d s_web=1 >/dev/null
check "the task's end is its end" within 20 not kill -0 $caller
check "it is told of that" grep -q "task .* ended on node n4" "$work/ended"
check "a task that has ended takes no commands" says "has no task s_web.2|has ended" ctl n1 exec s_web.2 true
"$lab" cut n4
check "n4 is down" within 20 node_is n4 down
check "a node that is down is told of" says "on node n4, which is down" ctl n2 exec "$(ctl n1 service ps s_all --no-trunc --format '{{.Node}} {{.ID}}' | awk '$1 == "n4" { print $2; exit }')" true
"$lab" heal
finish
