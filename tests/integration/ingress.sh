#!/bin/bash
# Ports on every node: what a client sees, and what the task sees of the client. 3 nodes in a lab; the
# client is the lab's switch, which is none of them.
set -uo pipefail
LAB=${LAB:-ingress}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
me=192.168.77.254 me6=fd77::254 # an address of each family; nodes are .1 and ::1, .2 and ::2, …

outside() { nsenter --net="/run/netns/swl-$LAB" "$@"; }
ask() { outside python3 "$here/echo.py" ask "$@"; } # tcp|udp HOST PORT [FROM [BYTES]]
# answers NODE SERVICE NAME PORT: the test's server in that task's network, asked from its node
answers() {
	local ns address
	ns=$(netns "$1" "$2")
	address=$(on "$1" nsenter --net="$ns" ip -o -4 addr show dev eth1 2>/dev/null | awk '{ sub("/.*", "", $4); print $4 }')
	on "$1" python3 "$here/echo.py" ask tcp "${address:-0.0.0.0}" "$4" | grep -q "^$3 "
}
# serve_again …: until it answers: what `ps` says right after a crash may be of before it
serve_again() {
	local try
	for try in 1 2 3 4 5 6 7 8 9 10; do
		serve "$@"
		within 2 answers "$@" && return 0
		kill "${servers[-1]}" 2>/dev/null
	done
	return 1
}
# serve NODE SERVICE NAME PORT: the test's server in that task's network
serve() {
	local ns
	ns=$(netns "$1" "$2")
	on "$1" nsenter --net="$ns" python3 "$here/echo.py" serve "$3" "$4" >/dev/null 2>&1 &
	servers+=($!)
}
export -f ctl outside ask on netns within
export lab here LAB work run

cat >"$work/stack.yml" <<'YML'
version: "3.9"
services:
  remote:
    image: busybox
    command: sleep 100000
    networks: [net]
    ports: [ "9000:9000", "9001:9000/udp" ]
    deploy: { placement: { constraints: [node.hostname == n2] } }
  all:
    image: busybox
    command: sleep 100000
    networks: [net]
    ports:
      - { target: 9000, published: 9100, protocol: tcp, mode: ingress }
      - { target: 9000, published: 9100, protocol: udp, mode: ingress }
    deploy: { mode: global }
  bound:
    image: busybox
    command: sleep 100000
    networks: [net]
    ports: [ "127.0.0.1:5432:9000", "192.168.77.1:5433:9000" ]
    deploy: { placement: { constraints: [node.hostname == n2] } }
  bound6:
    image: busybox
    command: sleep 100000
    networks: [net]
    ports: [ "[fd77::1]:5434:9000" ]
    deploy: { placement: { constraints: [node.hostname == n2] } }
  at:
    image: busybox
    command: sleep 100000
    networks: [net]
    ports:
      - { target: 9000, published: 9700, x-interface: eth0 }
      - { target: 9000, published: 9701, x-interface: eth9 }
      - { target: 9000, published: 9702, x-interface: eth0, host_ip: 192.168.77.3 }
      - { target: 9000, published: 9703, x-interface: eth0, mode: host }
    deploy: { placement: { constraints: [node.hostname == n2] } }
  host:
    image: busybox
    command: sleep 100000
    ports:
      - { target: 9000, published: 9300, mode: host }
      - { target: 9000, published: 9301, mode: host, host_ip: 127.0.0.1 }
    deploy: { placement: { constraints: [node.hostname == n3] } }
  auto:
    image: busybox
    command: sleep 100000
    ports: [ "9000" ]
    deploy: { placement: { constraints: [node.hostname == n3] } }
  empty:
    image: busybox
    command: sleep 100000
    ports: [ "9500:9000", "9500:9000/udp" ]
    deploy: { replicas: 0 }
networks:
  net:
YML

echo "== up"
start 3 3
six_everywhere() {
	local n
	for n in 1 2 3; do on n$n ip -6 address add fd77::$n/64 dev eth0 nodad || return 1; done
	outside ip -6 address add $me6/64 dev "$(outside ip -o -4 addr show | awk -v a="$me" 'index($4, a "/") { print $2 }')" nodad
}
check "nodes and client have IPv6 addresses" six_everywhere
check "stack deploy converges" ctl n1 stack deploy -c "$work/stack.yml" t
serve n2 t_remote remote 9000
for n in n1 n2 n3; do serve $n t_all $n 9000; done
serve n2 t_bound bound 9000
serve n2 t_bound6 bound6 9000
serve n2 t_at at 9000
serve n3 t_host host 9000
serve n3 t_auto auto 9000

echo "== the client's address"
for n in 1 2 3; do
	check "TCP by n$n to a task on n2" within 5 bash -c "ask tcp 192.168.77.$n 9000 | grep -q '^remote $me '"
	check "UDP by n$n to a task on n2, target port differs" within 5 bash -c "ask udp 192.168.77.$n 9001 | grep -q '^remote $me '"
done
for n in 1 2 3; do
	check "TCP over IPv6 by n$n to a task on n2" within 5 bash -c "ask tcp fd77::$n 9000 | grep -q '^remote $me6 '"
	check "UDP over IPv6 by n$n to a task on n2, target port differs" within 5 bash -c "ask udp fd77::$n 9001 | grep -q '^remote $me6 '"
done
check "the client's port too, IPv6" bash -c "ask tcp fd77::1 9000 40003 | grep -q '^remote $me6 40003 ' && ask udp fd77::1 9001 40004 | grep -q '^remote $me6 40004 '"
check "the client's port too" bash -c "ask tcp 192.168.77.1 9000 40001 | grep -q '^remote $me 40001 ' && ask udp 192.168.77.1 9001 40002 | grep -q '^remote $me 40002 '"
all_answer() { for i in 1 2 3 4 5 6; do ask "$1" "${2:-192.168.77.1}" 9100 | cut -d' ' -f1; done | sort | uniq -c | awk '{ print $1 $2 }' | tr '\n' ' '; }
export -f all_answer
check "TCP: every task of a service in turn" within 5 bash -c "[ \"\$(all_answer tcp)\" = '2n1 2n2 2n3 ' ]"
check "UDP: every task of a service in turn" within 5 bash -c "[ \"\$(all_answer udp)\" = '2n1 2n2 2n3 ' ]"
check "TCP over IPv6: every task of a service in turn" within 5 bash -c "[ \"\$(all_answer tcp fd77::1)\" = '2n1 2n2 2n3 ' ]"
check "UDP over IPv6: every task of a service in turn" within 5 bash -c "[ \"\$(all_answer udp fd77::1)\" = '2n1 2n2 2n3 ' ]"

echo "== one client port at three entry nodes, held open"
hold() { outside python3 "$here/echo.py" hold "$@"; }
cat >"$work/three.py" <<'PY'
import socket, sys
to, me, wild = sys.argv[1:]
held = []
for i in (1, 2, 3):
    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET)
    s.settimeout(3)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind((wild, 41000))
    s.connect((f"{to}{i}", 9000))
    held.append(s)
for _ in range(3):
    for s in held:
        s.sendall(b"x")
        answer = s.recv(200).decode().split()
        assert answer[0] == "remote" and answer[1] == me, answer
print("three")
PY
check "three working connections, same address" outside python3 "$work/three.py" 192.168.77. $me 0.0.0.0
check "IPv6: three working connections, same address" outside python3 "$work/three.py" fd77:: $me6 ::

echo "== from nodes and containers"
for a in 127.0.0.1 192.168.77.1 192.168.77.2; do
	check "n1 to $a" bash -c "on n1 python3 $here/echo.py ask tcp $a 9000 | grep -q '^remote 192.168.77.1 '"
done
check "n2, where the task is, by n1" bash -c "on n2 python3 $here/echo.py ask tcp 192.168.77.1 9000 | grep -q '^remote 192.168.77.2 '"
check "n1 to its own IPv6 address" bash -c "on n1 python3 $here/echo.py ask tcp fd77::1 9000 | grep -q '^remote fd77::1 '"
check "n1 to another node over IPv6" bash -c "on n1 python3 $here/echo.py ask tcp fd77::2 9000 | grep -q '^remote fd77::1 '"
check "n2, where the task is, by n1 over IPv6" bash -c "on n2 python3 $here/echo.py ask tcp fd77::1 9000 | grep -q '^remote fd77::2 '"
check "[::1] is refused at once: localhost goes on to 127.0.0.1" bash -c "on n1 python3 $here/echo.py ask tcp ::1 9000 | grep -q Refused"
check "n2 to itself by UDP" bash -c "on n2 python3 $here/echo.py ask udp 192.168.77.2 9001 | grep -q '^remote 192.168.77.2 '"
inside=$(netns n1 t_all)
check "a container to its own node's port" bash -c "on n1 nsenter --net=$inside python3 $here/echo.py ask tcp 192.168.77.1 9100 | grep -q '^n[123] '"
check "a container to another node's port" bash -c "on n1 nsenter --net=$inside python3 $here/echo.py ask tcp 192.168.77.3 9000 | grep -q '^remote 192.168.77.1 '"

check "a container to its own node's port over IPv6" bash -c "on n1 nsenter --net=$inside python3 $here/echo.py ask tcp fd77::1 9100 | grep -q '^n[123] '"
check "a container to another node's port over IPv6" bash -c "on n1 nsenter --net=$inside python3 $here/echo.py ask tcp fd77::3 9000 | grep -q '^remote fd77::1 '"

echo "== what is not published"
check "127.0.0.1:5432 from its node" bash -c "on n1 python3 $here/echo.py ask tcp 127.0.0.1 5432 | grep -q ^bound"
check "127.0.0.1:5432 not from outside" bash -c "! ask tcp 192.168.77.1 5432"
check "an address of one node from outside" bash -c "ask tcp 192.168.77.1 5433 | grep -q '^bound $me '"
check "not at another node" bash -c "! ask tcp 192.168.77.2 5433"
check "an IPv6 address of one node from outside" bash -c "ask tcp fd77::1 5434 | grep -q '^bound6 $me6 '"
check "not at another node, nor over IPv4" bash -c "ask tcp fd77::2 5434 | grep -q Refused && ask tcp 192.168.77.1 5434 | grep -q Refused"
check "an interface, by both families" bash -c "ask tcp 192.168.77.1 9700 | grep -q '^at $me ' && ask tcp fd77::3 9700 | grep -q '^at $me6 '"
check "an interface that is not there, or not this way" bash -c "ask tcp 192.168.77.1 9701 | grep -q Refused && on n1 python3 $here/echo.py ask tcp 127.0.0.1 9700 | grep -q Refused"
check "an interface and an address" bash -c "ask tcp 192.168.77.3 9702 | grep -q '^at $me ' && ask tcp 192.168.77.1 9702 | grep -q Refused"
check "an interface in mode host" bash -c "ask tcp 192.168.77.2 9703 | grep -q '^at $me ' && ask tcp 192.168.77.1 9703 | grep -q Refused"
check "a name that is none is refused" bash -c "ctl n1 service create --name odd --publish target=80,published=9710,interface='a b' busybox 2>&1 | grep -q 'no name of an interface'"
outside ip route add 198.18.0.0/15 via 192.168.77.1
outside ip route add 172.18.0.0/16 via 192.168.77.1
made=fd6e:86b3:4c05:: # overlay/addr.h
outside ip -6 route add $made/48 via fd77::1
check "nor is that of IPv6, or a container" bash -c "! ask tcp ${made}198.18.0.1 9000 && ! ask tcp ${made}198.18.0.1 5434 && ! ask tcp ${made}172.18.0.2 9000"
check "the identity is not reachable from outside" bash -c "! ask tcp 198.18.0.1 9000 && ! ask tcp 198.18.0.1 5432"
check "a container is not reachable from outside" bash -c "! ask tcp 172.18.0.2 9000"
check "a port that is not published is refused" bash -c "ask tcp 192.168.77.1 9999 | grep -q Refused"

echo "== mode host, chosen ports"
check "mode host on its node" bash -c "ask tcp 192.168.77.3 9300 | grep -q '^host $me '"
check "mode host over IPv6" bash -c "ask tcp fd77::3 9300 | grep -q '^host $me6 '"
check "mode host on no other" bash -c "ask tcp 192.168.77.1 9300 | grep -q Refused"
check "mode host at 127.0.0.1 only" bash -c "on n3 python3 $here/echo.py ask tcp 127.0.0.1 9301 | grep -q ^host && ! ask tcp 192.168.77.3 9301"
auto=$(ctl n1 service ls --format '{{.Name}} {{.Ports}}' | sed -n 's/^t_auto .*:\([0-9]*\)->.*/\1/p')
check "a port was chosen from 30000" test "${auto:-0}" -ge 30000
check "it answers on another node" bash -c "ask tcp 192.168.77.1 ${auto:-1} | grep -q '^auto $me '"

echo "== no task"
check "TCP is refused at once" bash -c "ask tcp 192.168.77.1 9500 | grep -q Refused"
check "UDP is refused at once" bash -c "ask udp 192.168.77.1 9500 | grep -q Refused"
check "and over IPv6" bash -c "ask tcp fd77::1 9500 | grep -q Refused && ask udp fd77::1 9500 | grep -q Refused"
check "a closed port of a task is refused through the mesh" bash -c "ctl n1 service create -d --name closed -p 9600:9777 --constraint node.hostname==n2 busybox sleep 100000 && within 10 bash -c \"ask tcp 192.168.77.1 9600 | grep -q Refused\" && ask udp 192.168.77.1 9600 >/dev/null; ask tcp 192.168.77.1 9600 | grep -q Refused && ask tcp fd77::1 9600 | grep -q Refused"

echo "== the check of all ports"
net() { ctl n1 net check "$@"; }
fails() { # PATTERN COMMAND...: it says so, and its status is 1
	local pattern=$1 out status
	shift
	out=$("$@" 2>&1)
	status=$?
	[ $status = 1 ] && grep -qE -- "$pattern" <<<"$out" || { echo "wanted status 1 and /$pattern/, got $status: $out"; return 1; }
}
every="t_remote t_all t_bound t_bound6 t_at t_host t_auto t_empty"
# shellcheck disable=SC2086
check "all is well" net $every
check "TCP" says '^t_remote +9000/tcp +\* +\* +ok on 3 nodes, slowest [0-9.]+ ms$' net t_remote
check "UDP that answers an empty datagram" says '^t_remote +9001/udp +\* +\* +ok on 3 nodes' net t_remote
check "mode host, where its task is; and one address of it" says '^t_host +9300/tcp .* ok on 1 node,' net t_host
check "one address" says '^t_bound +192.168.77.1:5433/tcp .* ok on 1 node,' net t_bound
check "loopback is of every node" says '^t_bound +127.0.0.1:5432/tcp .* ok on 3 nodes,' net t_bound
check "an address of IPv6" says '^t_bound6 +\[fd77::1\]:5434/tcp .* ok on 1 node,' net t_bound6
check "an interface is not probed" says '^t_at +9700/tcp +- +- +not probed: only what comes in at one interface' net t_at
check "nor is what has no task" says '^t_empty +9500/tcp +- +- +no running task, and none is wanted' net t_empty
check "each probe is shown: each node to itself and to the next" bash -c "[ \"\$(ctl n1 net check --all t_remote | grep -cE '^t_remote +9000/tcp +n[123] +n[123] +ok [0-9.]+ ms')\" = 6 ]"
check "what is refused" fails '^closed +9600/tcp +n1 +n1 +refused' net closed
check "and how many are" fails 'net check: 6 of 6 probes failed' net closed
on n2 nft -f - <<'NFT'
table ip wall {
	chain in { type filter hook prerouting priority -310; iifname "eth0" tcp dport 9000 drop; }
}
NFT
# shellcheck disable=SC2086
check "a wall before one node" fails '^t_remote +9000/tcp +n[13] +n2 +no answer in 1 s' net $every
# shellcheck disable=SC2086
check "the rest is well" fails 'net check: 1 of [0-9]+ probes failed$' net $every
on n2 nft delete table ip wall
# shellcheck disable=SC2086
check "without it all is well again" net $every
check "another manager can be asked" ctl n3 net check t_remote
check "a service that is none" fails 'nothing' net nothing

echo "== datagrams of a client that goes on sending from one port"
for a in 192.168.77.3 fd77::3; do
	for p in 9800 9801; do ask udp $a $p 42000; done
done >/dev/null 2>&1
late="--detach --constraint node.hostname==n3 --stop-grace-period 1s"
# shellcheck disable=SC2086
check "two services that publish what it asked for already" bash -c "ctl n1 service create --name late1 $late --publish published=9800,target=9000,protocol=udp,mode=host busybox sleep 100000 && ctl n1 service create --name late2 $late --publish published=9801,target=9000,protocol=udp busybox sleep 100000"
within 10 runs n1 late1 1 && within 10 runs n1 late2 1
hears() { # WHAT NAME PORT
	check "$1" within 5 bash -c "ask udp 192.168.77.3 $3 42000 | grep -q '^$2 $me 42000 ' && ask udp fd77::3 $3 42000 | grep -q '^$2 $me6 42000 '"
}
serve n3 late1 first 9000
serve n3 late2 first 9000
hears "it hears the task, mode host" first 9800
hears "it hears the task, by every node" first 9801
for s in late1 late2; do ctl n1 service update -q --env-add A=1 $s >/dev/null; done
serve n3 late1 second 9000
serve n3 late2 second 9000
hears "it hears the next task, mode host" second 9800
hears "it hears the next task, by every node" second 9801

echo "== conflicts"
check "a second service on a port is refused with its owner" bash -c "ctl n1 service create --name two -p 9000:80 busybox 2>&1 | grep -q 't_remote'"

echo "== sizes"
for bytes in 1400 8000; do
	check "UDP of $bytes bytes both ways" within 4 bash -c "ask udp 192.168.77.1 9001 0 $bytes | grep -q ' $bytes'"
	check "UDP of $bytes bytes both ways over IPv6" within 8 bash -c "ask udp fd77::1 9001 0 $bytes | grep -q ' $bytes'"
done

cat >"$work/edge.py" <<'PY'
import socket, sys, time
six = ":" in sys.argv[1]
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(*((socket.IPPROTO_IPV6, 23, 2) if six else (socket.IPPROTO_IP, 10, 2)))  # never in fragments
s.connect((sys.argv[1], 9001))
try:
    for _ in range(50):
        s.send(b"x" * 1440)
        time.sleep(0.1)
except OSError as e:
    print(type(e).__name__, e.errno)
PY
for a in 192.168.77.1 fd77::1; do
	check "a client of $a is told of the narrower way" bash -c "outside python3 $work/edge.py $a | grep -q 'OSError 90'"
done

echo "== agents and nodes die"
for n in n1 n2 n3; do "$lab" kill $n agent; "$lab" start $n; done
for n in 1 2 3; do
	check "n$n answers while its agent comes back" bash -c "ask tcp 192.168.77.$n 9000 | grep -q '^remote $me ' && ask tcp fd77::$n 9000 | grep -q '^remote $me6 '"
done
coproc HELD { hold tcp 192.168.77.1 9000; }
echo >&"${HELD[1]}"
read -r -t 5 line <&"${HELD[0]}"
check "a connection is held" test "${line%% *}" = remote
for n in n1 n2 n3; do "$lab" kill $n agent; "$lab" start $n; done
sleep 2
echo >&"${HELD[1]}"
read -r -t 5 line <&"${HELD[0]}"
check "it outlives all agents" test "${line%% *}" = remote
"$lab" cut n2
check "its node is down, and no other" within 10 bash -c "ctl n1 node ls --format '{{.Hostname}} {{.Status}}' | grep -i down | tr '\n' ' ' | grep -qix 'n2 down '"
check "the check of ports says so" fails '^- +- +n2 +- +node n2 is down' net
# A connection that began before n2's tasks were forgotten may have gone there.
check "and does the others" within 5 fails '^t_all +9100/tcp +\* +\* +ok on 2 nodes' net t_all
echo >&"${HELD[1]}"
read -r -t 5 line <&"${HELD[0]}"
check "what was open to a dead node is reset (got: $line)" test "$line" = ConnectionResetError
"$lab" heal
check "it is back" within 15 bash -c "ctl n1 node ls --format '{{.Hostname}} {{.Status}}' | grep -qi 'n2 ready'"
check "everything converges again" within 20 bash -c "[ \"\$(ctl n1 service ps t_remote --filter desired-state=running --format '{{.Node}} {{.CurrentState}}' | grep -c 'n2 Running')\" = 1 ]"
serve_again n2 t_remote remote 9000
check "and answers again by every node" within 5 bash -c "for n in 1 2 3; do ask tcp 192.168.77.\$n 9000 | grep -q '^remote $me ' && ask tcp fd77::\$n 9000 | grep -q '^remote $me6 ' || exit 1; done"

echo "== everything is killed"
for n in n1 n2 n3; do "$lab" kill $n all; done
for n in n1 n2 n3; do "$lab" start $n; done
check "the tasks are back" within 40 bash -c "[ \"\$(ctl n1 service ps t_remote --filter desired-state=running --format '{{.CurrentState}}' | grep -c ^Running)\" = 1 ]"
serve_again n2 t_remote remote 9000
check "the port answers by every node" within 10 bash -c "for n in 1 2 3; do ask tcp 192.168.77.\$n 9000 | grep -q '^remote $me ' && ask tcp fd77::\$n 9000 | grep -q '^remote $me6 ' || exit 1; done"

echo "== an agent hangs"
pid=$(cat "$run/n2/agent.pid")
kill -STOP "$pid"
began=$SECONDS
check "the check of ports names it" fails '^- +- +n2 +- +node n2 (gave no answer|is down)' net t_all
check "and waits for it a few seconds only (got: $((SECONDS - began)))" test $((SECONDS - began)) -le 6
check "the others do theirs" fails '^t_all +9100/tcp +n1 +n1 ' net --all t_all
kill -CONT "$pid"

finish
