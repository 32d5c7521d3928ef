#!/bin/bash
# Looking into tasks, from every manager and on every node: exec, cp,
# port-forward, top, logs; and who may do it.
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
  talk:
    image: busybox
    command: sh -c 'echo begin; echo oops >&2; i=0; while sleep 0.2; do i=$$((i+1)); echo tick $$i; done'
    init: true
    deploy: { replicas: 2, placement: { constraints: [node.hostname != n3] } }
  much:
    image: busybox
    command: sh -c 'i=0; while [ $$i -lt 60000 ]; do i=$$((i+1)); echo "line $$i of a log that is larger than every queue on its way"; done; sleep 100000'
    init: true
    deploy: { placement: { constraints: [node.hostname == n4] } }
  serve:
    image: busybox
    command: sh -c 'httpd -p 80 -h /tmp; exec nc -ll -p 81 -e wc -c'
    init: true
    deploy: { placement: { constraints: [node.hostname == n4] } }
  spin:
    image: busybox
    command: sh -c 'dd if=/dev/zero of=/dev/shm/fill bs=1M count=30; while :; do :; done'
    init: true
    deploy:
      placement: { constraints: [node.hostname == n4] }
      resources: { limits: { memory: 100M, cpus: "0.25" } }
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
mkdir "$work/home"
afar() { on n4 env HOME="$work/home" "$(cat "$run/bin")/swarmctl" "$@"; } # an operator on a worker
check "an operator's file is made" ctl n1 operator issue joe -o "$work/joe.ctx"
check "and taken" afar context import "$work/joe.ctx"
check "an operator from afar" is red afar --context joe exec s_web.1 sh -c 'echo $COLOR'
check "a worker's own host has no way" says "not a manager|context" ctl n4 exec s_web.1 true

echo "== exec with a terminal"
check "a shell with job control" exits 5 typed 'expect #
	type tty; stty size\n
	expect /dev/pts/
	expect 24 80
	size 40 100
	type sh -c "echo \$TERM is it; exec sleep 50"\n
	expect xterm is it
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

echo "== cp"
mkdir -p "$work/tree/deep/er" "$work/local"
echo one >"$work/tree/one"
cp "$work/data" "$work/tree/deep/er/data"
ln -s ../one "$work/tree/deep/link"
ln "$work/tree/one" "$work/tree/deep/twin"
chmod 751 "$work/tree/deep"
chmod 4755 "$work/tree/one"
check "a folder into a task" ctl n2 cp "$work/tree" s_web.1:/tmp
check "it is all there" is "$(cd "$work/tree" && echo $(sha256sum deep/er/data one)) ../one 751 4755" ctl n1 exec -w /tmp/tree s_web.1 sh -c 'echo $(sha256sum deep/er/data one) $(readlink deep/link) $(stat -c %a deep) $(stat -c %a one)'
check "and out again, from another manager" ctl n3 cp s_web.1:/tmp/tree "$work/local"
check "the same as it was" diff -r --no-dereference "$work/tree" "$work/local/tree"
check "modes too" is "751" stat -c %a "$work/local/tree/deep"
check "under a new name" ctl n1 cp s_web.1:/tmp/tree "$work/local/new"
check "is that folder" diff -r --no-dereference "$work/tree" "$work/local/new"
check "a content alone" ctl n1 cp s_web.1:/tmp/tree/deep/. "$work/local"
check "is in the folder" diff -r --no-dereference "$work/tree/deep/er" "$work/local/er"
check "a file under another name" ctl n1 cp "$work/data" s_web.1:/tmp/other
check "is that file" is "$(sha256sum <"$work/data")" sh -c "LAB=$LAB $lab ctl n1 cp s_web.1:/tmp/other - | tar -xO | sha256sum"
check "from standard input" sh -c "tar -C $work -c tree | LAB=$LAB $lab ctl n1 cp - s_web.1:/var"
check "is there" is one ctl n1 exec s_web.1 cat /var/tree/one
check "a name that is not there" says "/nosuch: No such file" ctl n1 cp s_web.1:/nosuch "$work/local"
check "nothing was made for it" not ls "$work/local/nosuch"
check "a folder that is not there" says "/nosuch: No such file" ctl n1 cp "$work/data" s_web.1:/nosuch/x
check "a folder is no file" says "is a file" ctl n1 cp "$work/tree" s_web.1:/tmp/other
check "this host alone is refused" says "wanted TASK:PATH" ctl n1 cp /tmp/a /tmp/b
# A link in the container is followed inside it, never on its host.
echo host >"$work/secret"
ctl n1 exec s_web.1 sh -c "mkdir -p $work && ln -s $work/secret /tmp/escape && ln -s $work /tmp/outside && ln -s ../../../../../../../../.. /tmp/up"
check "a link out leads nowhere" says "No such file" ctl n1 cp -L s_web.1:/tmp/escape "$work/local/escaped"
check "a file through a link stays inside" ctl n1 cp "$work/data" s_web.1:/tmp/outside/written
check "not on the host" not ls "$work/written"
check "above the root is the root" sh -c "LAB=$LAB $lab ctl n1 cp s_web.1:/tmp/up/bin - | tar -t | grep -q '^bin/'"
# A stream that means harm to this host is refused.
python3 - "$work/evil.tar" <<'PY'
import io, sys, tarfile
t = tarfile.open(sys.argv[1], "w")
d = tarfile.TarInfo("top"); d.type = tarfile.DIRTYPE; d.mode = 0o755; t.addfile(d)
l = tarfile.TarInfo("top/l"); l.type = tarfile.SYMTYPE; l.linkname = "/tmp"; t.addfile(l)
f = tarfile.TarInfo("top/l/evil-cp"); f.size = 4; t.addfile(f, io.BytesIO(b"evil"))
t.close()
PY
check "a stream through its own link is refused" says "symlink" sh -c "LAB=$LAB $lab ctl n1 cp - s_web.1:/mnt <$work/evil.tar"
check "nothing went through it" not ctl n1 exec s_web.1 ls /tmp/evil-cp

echo "== port-forward"
check "a file to serve" within 10 ctl n1 cp "$work/data" s_serve:/tmp/data
ctl n2 port-forward s_serve 18080:80 127.0.0.1:18081:81 18082:9 >"$work/forward" 2>&1 &
check "it listens" within 10 grep -q "127.0.0.1:18082 -> port 9" "$work/forward"
fetch() { on n2 python3 -c 'import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], timeout=20).read())' "$1"; }
check "3 MB over it are as they were" is "$(sha256sum <"$work/data")" sh -c "$(declare -f fetch on); lab=$lab LAB=$LAB; fetch http://127.0.0.1:18080/data | sha256sum"
# send PORT BYTES: sends, ends its side, and says what comes back
send() {
	on n2 python3 -c 'import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
r = b""
try:
    s.sendall(b"x" * int(sys.argv[2])); s.shutdown(socket.SHUT_WR)
    while d := s.recv(65536): r += d
except OSError: pass # closed by the other end
print(r.decode().strip())' "$1" "$2"
}
check "one side ends before the other" is 2000000 send 18081 2000000
many() { local i; for i in 1 2 3 4 5 6 7 8; do send 18081 $((i * 1000)) & done; wait; }
check "eight at once" says "8000" many
check "a port that nobody has closes" is "" send 18082 1
check "it is told of" grep -q "nothing answers on port 9 of task .*refused" "$work/forward"
kill $(pids ".*swarmctl --run-dir $run/n2/run port-forward")
check "it ends" within 10 is 0 count ".*swarmctl --run-dir $run/n2/run port-forward"
check "no words for no sense" says "wanted ..ADDRESS" ctl n2 port-forward s_serve 80:x

echo "== top"
top() { ctl n3 top --format '{{.Name}} {{.Node}} {{.CPUPerc}} {{.MemUsage}} {{.NetIO}} {{.PIDs}}' "$@"; }
check "a task that is limited to a quarter of a CPU uses about that" says "^s_spin.1 n4 ([12][0-9]|3[0-5])\.[0-9]+% (3[0-9]|4[0-5])" top s_spin
check "its limit is told" says "/ (105MB|100M)" top s_spin
check "3 MB over the network" ctl n1 exec s_talk.1 wget -q -O /dev/null http://serve/data
check "show" says "^s_serve.1 n4 .* / 3(\.[0-9]+)?MB [0-9]+$" top s_serve
check "a stack's tasks" says "s_all n1" top s
check "a node's tasks" not says " n[123] " top n4
check "the table" says "^NAME +NODE +CPU % +MEM / LIMIT +MEM % +NET IN / OUT +PIDS" ctl n1 top
check "sorted" is "s_spin.1" sh -c "LAB=$LAB $lab ctl n1 top --format '{{.Name}}' | head -n 1"

echo "== logs"
check "of a service" says "s_talk.1.*@n.*begin" ctl n1 service logs s_talk
check "errors are on stderr" is 2 sh -c "LAB=$LAB $lab ctl n2 logs s_talk 2>&1 >/dev/null | grep -c \"s_talk.*oops\""
check "of a stack, from a follower" says "line 1 of" ctl n2 stack logs s
check "--tail counts per task" is "2" sh -c "LAB=$LAB $lab ctl n1 logs --tail 1 --raw s_talk 2>/dev/null | grep -c tick"
check "--timestamps" says "^20..-..-..T.*begin" ctl n1 logs -t s_talk
check "--since" not says "begin" ctl n1 logs --since 1s s_talk
check "a log of 4 MB comes whole" is "60000" sh -c "LAB=$LAB $lab ctl n3 logs --raw s_much | grep -c '^line .* way$'"
check "also to a slow reader" is "60000" sh -c "LAB=$LAB $lab ctl n3 logs --raw s_much | { sleep 2; grep -c '^line .* way$'; }"
ctl n2 stack logs -f --tail 0 s >"$work/follow" 2>&1 &
follower=$!
check "-f shows what comes" within 10 grep -q tick "$work/follow"
ctl n1 service scale -d s_talk=3 >/dev/null
check "-f shows tasks that come later, from their first line" within 20 grep -q "s_talk.3.*begin" "$work/follow"

echo "== a node is lost"
"$lab" cut n4
SECONDS=0
check "logs do not wait for it" exits 0 ctl n1 logs s_much
check "not for long" [ $SECONDS -lt 12 ]
check "n4 is down" within 20 node_is n4 down
check "a node that is down is told of" says "on node n4, which is down" ctl n2 exec "$(ctl n1 service ps s_all --no-trunc --format '{{.Node}} {{.ID}}' | awk '$1 == "n4" { print $2; exit }')" true
check "top says so too" says "^node n4 is down" ctl n2 top
check "logs say which node is missing" says "node n4 is down: lines of 1 task are missing" ctl n1 logs s_much
check "what follows says it too" within 10 grep -q "node n4 .*: lines of .* missing" "$work/follow"
lines=$(wc -l <"$work/follow")
more() { [ "$(wc -l <"$work/follow")" -gt $((lines + 10)) ]; }
check "and goes on with the others" within 10 more
"$lab" heal
check "n4 is back" within 30 node_is n4 ready
ctl n1 service update --force s_much -d >/dev/null
check "what follows shows the node's new tasks" within 30 grep -q "s_much.*@n4.*line 60000 of" "$work/follow"
kill $(pids ".*swarmctl --run-dir $run/n2/run stack logs -f")

echo "== who may ask an agent"
state=/var/lib/swarm-lab/$LAB
for n in n3 n4; do mkdir "$work/$n" && cp "$state/$n"/identity/*.pem "$work/$n/"; done
printf '\0\0\0\0\0' >"$work/empty" # a message without fields
printf '\0\0\0\0\06\012\04none' >"$work/none" # a request of an image "none"
# asks NODE'S-CERTIFICATE METHOD MESSAGE [HEADER...]: n1's agent, from n2's host; prints the status.
# An answer that comes before the request has gone out is none for curl (92): asked again.
asks() {
	local who=$1 method=$2 message=$3 h=() try rc
	shift 3
	for x; do h+=(-H "$x"); done
	for try in 1 2 3 4 5 6 7 8; do
		on n2 curl -sk -m 5 --http2 --cert "$work/$who/cert.pem" --key "$work/$who/key.pem" -X POST \
			-H 'content-type: application/grpc' -H 'te: trailers' "${h[@]}" --data-binary "@$work/$message" \
			-o /dev/null -D "$work/headers" "https://192.168.77.1:2378/swarm.v1.$method"
		rc=$?
		[ $rc = 92 ] || break
	done
	tr -d '\r' <"$work/headers" | awk -v rc=$rc 'tolower($1) == "grpc-status:" { print $2; said = 1 } END { if (!said) print "refused, curl says " rc }'
	: >"$work/headers"
}
operator=('swarm-forwarded: 1' 'swarm-role: operator' 'swarm-caller: joe')
check "a node asks for an image" is 5 asks n4 Peer/Image none
check "a worker may not ask for logs" is 7 asks n4 Peer/Logs empty
check "nor for use" is 7 asks n4 Peer/Usage empty
check "nor run commands" is 7 asks n4 Control/Exec empty
check "not as an operator that it claims to speak for" is 7 asks n4 Control/Exec empty "${operator[@]}"
check "a manager may not run commands" is 7 asks n3 Control/Exec empty
check "but pass an operator's on" is 3 asks n3 Control/Exec empty "${operator[@]}"
check "a manager is demoted" ctl n1 node demote n3
check "its old certificate passes nothing on" within 10 is 7 asks n3 Control/Exec empty "${operator[@]}"
check "nor asks for logs" is 7 asks n3 Peer/Logs empty
check "it is a node all the same" is 5 asks n3 Peer/Image none
check "commands still reach its tasks" says "^$(ctl n1 service ps s_all --no-trunc --format '{{.Node}} {{.ID}}' | awk '$1 == "n3" { print $2 }' | cut -c1-6)" ctl n2 exec s_all.n3 hostname
"$lab" kill n4 all
check "a node is removed" ctl n1 node rm --force n4
check "its certificate opens nothing" within 10 says ^refused asks n4 Peer/Image none
"$lab" kill n1 agent
"$lab" start n1
check "nor after the agent's restart" within 15 says ^refused asks n4 Peer/Image none
check "others are served again" within 15 is 5 asks n3 Peer/Image none
check "commands too" within 15 says . ctl n2 exec s_all.n1 hostname
finish
