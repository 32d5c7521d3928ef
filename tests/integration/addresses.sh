#!/bin/bash
# Networks that say what they are: subnets and addresses chosen by the user, and what can't be is
# refused with words; internal and attachable networks, those of one node, the host's and none.
set -uo pipefail
LAB=${LAB:-address}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
start 2 1

deploy() { # NAME, the file on standard input
	cat >"$work/$1.yml"
	ctl n1 stack deploy -c "$work/$1.yml" "$1"
}
netns() { # NODE SERVICE
	local id
	id=$(ctl n1 service ps "$2" --no-trunc --filter desired-state=running --format '{{.Node}} {{.ID}}' |
		awk -v n="$1" '$1 == n { print $2; exit }')
	ls -d "$run/$1/run/net/netns/s-$id"-* 2>/dev/null | head -n 1
}
inside() { # NODE SERVICE COMMAND...
	local node=$1 ns
	ns=$(netns "$1" "$2")
	shift 2
	"$lab" exec "$node" nsenter --net="$ns" "$@"
}
address() { inside "$1" "$2" ip -o -4 addr show dev eth0 | awk '{ print $4 }'; } # NODE SERVICE

echo "== subnets"
check "a stack with a subnet of its own" deploy a <<'YML'
services:
  fixed:
    image: busybox
    command: sleep 100000
    networks: { net: { ipv4_address: 10.77.0.50 } }
    deploy: { replicas: 2 }
  any:
    image: busybox
    command: sleep 100000
    networks: [net]
    deploy: { placement: { constraints: [node.hostname == n1] } }
networks:
  net: { ipam: { config: [ { subnet: 10.77.0.0/24, gateway: 10.77.0.254 } ] }, driver_opts: { com.docker.network.driver.mtu: "1300" } }
YML
slots() { for n in n1 n2; do address $n a_fixed; done | sort | tr '\n' ' '; }
check "slot 1 and 2 have the address asked for and the next" is "10.77.0.50/24 10.77.0.51/24 " slots
check "others are of the subnet" says '^10\.77\.0\.' address n1 a_any
check "the MTU is the one asked for" says 'mtu 1300 ' inside n1 a_any ip -o link show eth0
check "an update keeps the addresses" ctl n1 service update --force a_fixed
check "so it does" within 10 is "10.77.0.50/24 10.77.0.51/24 " slots

echo "== what can't be"
refused() { # PATTERN, the file on standard input
	cat >"$work/r.yml"
	says "$1" ctl n1 stack deploy -c "$work/r.yml" r && not says . ctl n1 stack ls --format '{{.Name}}' --filter name=r
}
bad() { sed "s/@/$1/" <<'YML'
services:
  s:
    image: busybox
    command: sleep 1
    networks: { net: { @ } }
networks:
  net: { ipam: { config: [ { subnet: 10.78.0.0/24 } ] } }
YML
}
check "an overlap with a network" says 'overlaps that of network a_net' ctl n1 network create --subnet 10.77.0.128/25 over
check "an overlap with what a node reaches" says 'overlaps 192.168.77.0/24, which node n' ctl n1 network create --subnet 192.168.0.0/16 over
check "an overlap with the containers' way out" says 'overlaps 172.18.0.0/16' ctl n1 network create --subnet 172.18.4.0/24 over
check "no subnet" says 'host bits' ctl n1 network create --subnet 10.79.0.1/24 over
bad 'ipv4_address: 10.99.0.1' >"$work/r1.yml"
check "an address outside the subnet" says 'not within subnet 10.78.0.0/24' ctl n1 stack deploy -c "$work/r1.yml" r
bad 'ipv4_address: 10.78.0.1' >"$work/r2.yml"
check "the gateway's address" says 'gateway' ctl n1 stack deploy -c "$work/r2.yml" r
bad 'ipv6_address: "fd00::5"' >"$work/r3.yml"
check "an IPv6 address has a warning with its place" says 'r3.yml:5:[0-9]+.*ipv6_address' ctl n1 stack deploy -c "$work/r3.yml" r
ctl n1 stack rm r >/dev/null 2>&1

echo "== kinds of networks"
check "internal, bridge, host, none" deploy k <<'YML'
services:
  inner: { image: busybox, command: sleep 100000, networks: [in], deploy: { mode: global } }
  local: { image: busybox, command: sleep 100000, networks: [br], deploy: { mode: global } }
  host: { image: busybox, command: sleep 100000, network_mode: host, deploy: { placement: { constraints: [node.hostname == n1] } } }
  none: { image: busybox, command: sleep 100000, network_mode: none, deploy: { placement: { constraints: [node.hostname == n1] } } }
networks:
  in: { internal: true }
  br: { driver: bridge }
YML
check "internal: no way out" not inside n1 k_inner ip route get 192.168.77.254
check "internal: the other node's task" inside n1 k_inner python3 - "$(address n2 k_inner | cut -d/ -f1)" <<'PY'
import socket, sys
s = socket.socket()
s.settimeout(3)
try:
    s.connect((sys.argv[1], 9))
except ConnectionRefusedError:
    sys.exit(0)
sys.exit(1)
PY
check "bridge: not the other node's task" not inside n1 k_local python3 - "$(address n2 k_local | cut -d/ -f1)" <<'PY'
import socket, sys
s = socket.socket()
s.settimeout(2)
try:
    s.connect((sys.argv[1], 9))
except ConnectionRefusedError:
    sys.exit(0)
except OSError:
    sys.exit(1)
PY
check "bridge: a way out" inside n1 k_local ip route get 192.168.77.254
pid_of() { containers "$1" | awk -v c="$2" 'index($1, c) { print $2; exit }'; } # NODE TASK
host_task=$(ctl n1 service ps k_host --no-trunc -q | head -n 1)
none_task=$(ctl n1 service ps k_none --no-trunc -q | head -n 1)
check "host: the node's own network" test "$(stat -Lc %i "/proc/$(pid_of n1 "$host_task")/ns/net")" = "$(stat -Lc %i "/run/netns/swl-$LAB-n1")"
check "none: loopback and nothing else" test "$(nsenter --net="/proc/$(pid_of n1 "$none_task")/ns/net" ls /proc/net/dev >/dev/null && nsenter --net="/proc/$(pid_of n1 "$none_task")/ns/net" ip -o link | wc -l)" = 1
finish
