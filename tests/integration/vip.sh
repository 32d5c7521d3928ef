#!/bin/bash
# Virtual addresses: names, balance, refusal, and no request lost while tasks come and go. Three nodes
# in a lab. SECONDS_UNDER_LOAD is not fixed: the load runs as long as the updates take.
set -uo pipefail
LAB=${LAB:-vip}
. "$(dirname "$(readlink -f "$0")")/lib.sh"

inside() { # NODE SERVICE COMMAND...: in the network of that task
	local node=$1 ns
	ns=$(netns "$1" "$2")
	shift 2
	on "$node" nsenter --net="$ns" "$@"
}
# resolve NAME: as the client on n1 sees it
resolve() {
	inside n1 v_client python3 - "$1" <<'PY'
import socket, struct, sys
name = sys.argv[1]
q = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0" + struct.pack(">2H", 1, 1)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.sendto(q, ("127.0.0.11", 53))
a = s.recv(4096)
n = struct.unpack(">H", a[6:8])[0]
at = len(q)
for _ in range(n):
    kind, _, ttl, size = struct.unpack(">HHIH", a[at + 2:at + 12])
    assert ttl <= 5, ttl
    if kind == 1:
        print(socket.inet_ntoa(a[at + 12:at + 16]))
    at += 12 + size
PY
}
export -f ctl on netns inside resolve within
export lab here LAB work run

stack() { # VERSION ORDER REPLICAS
	cat >"$work/stack.yml" <<YML
services:
  web:
    image: busybox
    command: sh -c 'hostname > /tmp/index.html; httpd -p 80 -h /tmp; trap "sleep 1; exit 0" TERM; sleep 100000 & wait'
    environment: [ "VERSION=$1" ]
    healthcheck: { test: wget -q -O /dev/null http://127.0.0.1/, interval: 1s, start_interval: 100ms, start_period: 10s }
    networks: { net: { aliases: [ shopfront ] } }
    ports: [ "8080:80" ]
    deploy: { replicas: $3, update_config: { order: $2, parallelism: 1, monitor: 0s } }
  rr:
    image: busybox
    command: sleep 100000
    networks: [net]
    deploy: { replicas: 2, endpoint_mode: dnsrr }
  echo:
    image: busybox
    command: sleep 100000
    networks: [net]
    deploy: { replicas: 2, placement: { max_replicas_per_node: 1, constraints: [ "node.hostname != n1" ] } }
  none:
    image: busybox
    command: sleep 100000
    networks: [net]
    deploy: { replicas: 0 }
  client:
    image: busybox
    command: sleep 100000
    networks: [net]
    deploy: { mode: global }
networks:
  net:
YML
	ctl n1 stack deploy -c "$work/stack.yml" v
}

echo "== up"
start 3 3
check "stack deploy converges" stack 0 start-first 3

echo "== names"
vip=$(resolve web)
check "a service's name is one address" test "$(echo "$vip" | wc -l)" = 1
check "its full name and its alias are the same" bash -c "[ \"\$(resolve v_web)\" = $vip ] && [ \"\$(resolve shopfront)\" = $vip ]"
check "tasks. is each task" test "$(resolve tasks.web | sort -u | wc -l)" = 3
check "dnsrr is each task too" test "$(resolve rr | sort -u | wc -l)" = 2

echo "== balance"
spread() { for i in $(seq 9); do inside n1 v_client curl -s -m 3 "http://$vip/"; done | sort | uniq -c | awk '{ printf "%s ", $1 }'; }
check "even, one after the other (got $(spread))" test "$(spread)" = "3 3 3 "
check "a task reaches itself by it" bash -c "[ \"\$(for i in 1 2 3 4 5 6; do inside \$(ctl n1 service ps v_web --filter desired-state=running --format '{{.Node}}' | head -n 1) v_web curl -s -m 3 http://$vip/; done | sort -u | wc -l)\" = 3 ]"
# Five days, the kernel's own: for connections by an address of a service.
idle() { inside n1 v_client sysctl -n net.netfilter.nf_conntrack_tcp_timeout_established; }
ended() { inside n1 v_client sysctl -n net.netfilter.nf_conntrack_tcp_timeout_time_wait; }
check "one that has ended is not" is 1 ended
check "an idle connection is kept for days (got $(idle) s)" test "$(idle)" -ge 432000
none=$(resolve none)
check "without a task TCP is refused at once" bash -c "inside n1 v_client python3 $here/echo.py ask tcp $none 80 | grep -q Refused"
check "and UDP" bash -c "inside n1 v_client python3 $here/echo.py ask udp $none 80 | grep -qE 'Refused|Permission'"

echo "== no request is lost"
load() { # NAME HOST PORT RUNNER...: in the background, until stop_load
	touch "$work/load.$1"
	"${@:4}" python3 "$here/load.py" 200 300 "$2" "$3" "$work/load.$1" >"$work/load.$1.out" 2>&1 &
	servers+=($!)
	eval "load_$1=$!"
}
stop_load() { rm -f "$work/load.$1"; eval "wait \$load_$1"; }
clientns=$(netns n1 v_client)
load vip "$vip" 80 "$lab" exec n1 nsenter --net="$clientns"
load port 192.168.77.1 8080 nsenter --net="/run/netns/swl-$LAB"
for v in 1 2 3; do check "update $v, start-first" stack $v start-first 3; done
for v in 4 5; do check "update $v, stop-first" stack $v stop-first 3; done
check "scale up" ctl n1 service scale v_web=6
check "scale down" ctl n1 service scale v_web=2
check "drain of a node" bash -c "ctl n1 node update --availability drain n3 && within 20 bash -c \"! ctl n1 service ps v_web --filter desired-state=running --format '{{.Node}}' | grep -qx n3\" && within 20 bash -c \"[ \\\$(ctl n1 service ps v_web --filter desired-state=running --format '{{.CurrentState}}' | grep -c ^Running) = 2 ]\""
ctl n1 node update --availability active n3 >/dev/null
check "one replica, start-first" bash -c "ctl n1 service scale v_web=1 && within 10 true"
stop_load vip
rc=$?
check "through the virtual address: $(head -n 1 "$work/load.vip.out")" test $rc = 0
sed -n '2,$p' "$work/load.vip.out" | sed 's/^/     /'
stop_load port
rc=$?
check "through the published port: $(head -n 1 "$work/load.port.out")" test $rc = 0
sed -n '2,$p' "$work/load.port.out" | sed 's/^/     /'

echo "== a program is stopped when it has taken the connections that it was given"
cat >"$work/queue.py" <<'PY'
import os, socket, sys, time
def alive():
    try:
        return open("/proc/%s/stat" % sys.argv[1]).read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
def say(word):
    print(word, flush=True)
s = socket.socket()
s.bind(("127.0.0.1", 7777))
s.listen(5)
c = socket.create_connection(("127.0.0.1", 7777))
say("waiting")
sys.stdin.readline()
time.sleep(0.4)
say("alive" if alive() else "dead")
s.accept()
until = time.monotonic() + 0.5
while alive() and time.monotonic() < until:
    time.sleep(0.01)
say("alive" if alive() else "dead")
PY
check "a task" ctl n1 service create -q --name late --constraint node.hostname==n1 --network v_net busybox sh -c 'trap "exit 0" TERM; sleep 100000 & wait'
latepid=$(containers n1 | grep -F "$(ctl n1 service ps late -q --no-trunc | head -n 1)" | awk '{ print $2 }')
coproc QUEUE { inside n1 late python3 "$work/queue.py" "$latepid"; }
queue_in=${QUEUE[1]} queue_out=${QUEUE[0]}
next_word() { read -r -t 5 line <&"$queue_out" && echo "$line"; }
check "a connection waits in its queue" is waiting next_word
ctl n1 service scale -d late=0 >/dev/null
echo >&"$queue_in"
check "it is not stopped before it was taken" is alive next_word
check "but then, at once" is dead next_word
ctl n1 service rm late >/dev/null

echo "== a sender of datagrams finds the new task"
echoes() { [ "$(ctl n1 service ps v_echo --filter desired-state=running --format '{{.Node}} {{.CurrentState}}' | grep -c Running)" = 2 ]; }
within 20 echoes
for n in n2 n3; do
	ns=$(netns $n v_echo)
	on $n nsenter --net="$ns" python3 "$here/echo.py" serve $n 9000 >/dev/null 2>&1 &
	servers+=($!)
done
evip=$(resolve echo)
hold() { on n1 nsenter --net="$clientns" python3 "$here/echo.py" hold udp "$evip" 9000; }
coproc ONE { hold; }
one_in=${ONE[1]} one_out=${ONE[0]}
mkfifo "$work/in" "$work/out2"
hold <"$work/in" >"$work/out2" &
servers+=($!)
exec 8>"$work/in" 9<"$work/out2"
say1() { echo >&"$one_in" && read -r -t 5 line <&"$one_out" && echo "${line%% *}"; }
say2() { echo >&8 && read -r -t 5 line <&9 && echo "${line%% *}"; }
for i in 1 2 3 4 5 6; do
	a=$(say1) b=$(say2)
	[ "$a" = "$b" ] || break
	exec 8>&- 9<&- # by turns, but others take turns too: ask anew
	hold <"$work/in" >"$work/out2" &
	servers+=($!)
	exec 8>"$work/in" 9<"$work/out2"
done
check "two senders have a task each (got $a $b)" test "$(printf '%s\n' "$a" "$b" | sort | tr '\n' ' ')" = "n2 n3 "
ctl n1 service scale v_echo=1 >/dev/null
left=$(ctl n1 service ps v_echo --filter desired-state=running --format '{{.Node}}')
both() { [ "$(say1) $(say2)" = "$left $left" ]; }
check "both reach the one that is left within 3 s" within 3 both

finish
