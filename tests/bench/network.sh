#!/bin/bash
# Networks between two nodes: throughput and round trips of an overlay beside plain veth and a VXLAN of the
# kernel's made by hand, encrypted too; connections a second to a task itself, through its service's virtual
# address, and through its published port on the other node. SECONDS_EACH=3
set -uo pipefail
LAB=${LAB:-bnet}
. "$(dirname "$(dirname "$(readlink -f "$0")")")/integration/lib.sh"
"$top/deploy/install-deps" lab peer || { echo "skipped: its packages can't be installed"; exit 77; }
each=${SECONDS_EACH:-3}

line() { printf '%-64s %18s   %s\n' "$1" "$2" "${3:-}"; }
inside() { local n=$1 ns=$2; shift 2; on "$n" nsenter --net="$ns" "$@"; } # NODE NETNS COMMAND...
gbits() { awk -v b="$1" 'BEGIN { printf "%.2f Gbit/s", b / 1e9 }'; }
listens() { "$@" ss -ltn | grep -q :5201; }
# measure WHAT AIM ADDRESS SERVER-COMMAND-PREFIX -- CLIENT-COMMAND-PREFIX
measure() {
	local what=$1 aim=$2 address=$3 server=() client rate rtt
	shift 3
	while [ "$1" != -- ]; do server+=("$1"); shift; done
	shift
	client=("$@")
	"${server[@]}" iperf3 -s -1 >/dev/null 2>&1 &
	within 5 listens "${server[@]}"
	rate=$("${client[@]}" iperf3 -c "$address" -t "$each" -J 2>/dev/null | jq '.end.sum_received.bits_per_second // 0')
	wait $!
	rtt=$("${client[@]}" ping -q -i 0.01 -c 200 "$address" 2>/dev/null | sed -n 's|.*= [0-9.]*/\([0-9.]*\)/.*|\1|p')
	line "$what" "$(gbits "$rate")" "round trip ${rtt:-?} ms   $aim"
}
rate() { # NETNS-COMMAND... URL: connections a second, one at a time
	local url=${!#}
	"${@:1:$#-1}" hey -z "${each}s" -c 1 -disable-keepalive "$url" | awk '/Requests\/sec/ { printf "%.0f/s, %.1f us each", $2, 1e6 / $2 }'
}

start 2 1
cat >"$work/s.yml" <<'YML'
services:
  server:
    image: nginx
    ports: ["8080:80"]
    networks: [open, secret]
    deploy: { placement: { constraints: [node.hostname == n2] } }
  client:
    image: busybox
    command: sleep 100000
    init: true
    networks: [open, secret]
    deploy: { placement: { constraints: [node.hostname == n1] } }
networks:
  open:
  secret: { driver_opts: { encrypted: "" } }
YML
ctl n1 stack deploy -q -c "$work/s.yml" s >/dev/null || bad "deploy"
c=$(netns n1 s_client) s=$(netns n2 s_server)
addresses=$(inside n2 "$s" ip -o -4 addr show | sed -n 's/.* inet \(10\.[0-9.]*\)\/.*/\1/p')

echo
measure "plain veth" "" 192.168.77.2 on n2 -- on n1
on n1 ip link add vx0 mtu 1450 type vxlan id 4242 remote 192.168.77.2 dstport 4799 dev eth0
on n2 ip link add vx0 mtu 1450 type vxlan id 4242 remote 192.168.77.1 dstport 4799 dev eth0
on n1 ip addr add 10.99.99.1/24 dev vx0 && on n1 ip link set vx0 up
on n2 ip addr add 10.99.99.2/24 dev vx0 && on n2 ip link set vx0 up
measure "the kernel's VXLAN, by hand" "" 10.99.99.2 on n2 -- on n1
on n1 ip link del vx0
on n2 ip link del vx0
for a in $addresses; do
	mtu=$(inside n1 "$c" tracepath -n "$a" 2>/dev/null | sed -n 's/.*pmtu \([0-9]*\).*/\1/p' | head -n 1)
	measure "our network, MTU ${mtu:-?}, task to task ($a)" ">= 0.98 of the kernel's VXLAN, unless encrypted" "$a" inside n2 "$s" -- inside n1 "$c"
done

echo
# Of the open network, which has the larger MTU: the task's address and the service's.
device_to() { inside n1 "$c" ip -o route get "$1" | sed 's/.* dev \([^ ]*\).*/\1/'; }
is_open() { inside n1 "$c" ip -o link show "$(device_to "$1")" | grep -q 'mtu 1450'; }
open=$(for a in $addresses; do is_open "$a" && echo "$a"; done | head -n 1)
vip=$(ctl n1 service inspect s_server | grep -oE '10\.[0-9]+\.[0-9]+\.[0-9]+' | sort -u | grep -vxF "$addresses" |
	while read -r v; do is_open "$v" && inside n1 "$c" curl -s -m 1 -o /dev/null "http://$v/" && echo "$v"; done | head -n 1)
line "connections: the task itself" "$(rate inside n1 "$c" "http://$open/")"
line "connections: the service's virtual address" "$(rate inside n1 "$c" "http://$vip/")" "+ <= 7 us"
line "connections: published, on the task's node" "$(rate nsenter --net="/run/netns/swl-$LAB" http://192.168.77.2:8080/)"
line "connections: published, on the other node" "$(rate nsenter --net="/run/netns/swl-$LAB" http://192.168.77.1:8080/)"
ctl n1 stack rm s >/dev/null
finish
