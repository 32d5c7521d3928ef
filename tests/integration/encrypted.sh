#!/bin/bash
# Encrypted networks: what their tasks say to each other is to be read nowhere on the way. 3 nodes.
set -uo pipefail
LAB=${LAB:-encrypt}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
[ -e /dev/net/tun ] || { echo "skipped: no /dev/net/tun"; exit 77; }

address() { # NODE SERVICE: its first address
	on "$1" nsenter --net="$(netns "$1" "$2")" ip -o -4 addr show dev eth0 | awk '{ sub("/.*", "", $4); print $4 }'
}
get() { on n1 nsenter --net="$(netns n1 "$1")" curl -s -m 5 "http://$2/${3:-}"; }
# datagram BYTES: one that may not be divided, from the client to the server; tells what the kernel said
datagram() {
	on n1 nsenter --net="$(netns n1 e_secretclient)" python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 2)
s.sendto(b'x' * $1, ('$secret', 9))"
}
export -f ctl on netns address get datagram within
export lab run LAB work

for kind in secret open; do
	cat <<YML
  ${kind}web:
    image: busybox
    command: sh -c 'mkdir /www; echo payload-of-$kind-network > /www/index.html; head -c 200000 /dev/zero | tr "\\\\0" z > /www/big; exec httpd -f -p 80 -h /www'
    networks: [$kind]
    deploy: { placement: { constraints: [node.hostname == n2] } }
  ${kind}client:
    image: busybox
    command: sleep 100000
    networks: [$kind]
    deploy: { mode: global }
YML
done >"$work/services"
{
	echo 'version: "3.9"'
	echo services:
	cat "$work/services"
	echo 'networks: { secret: { driver: overlay, driver_opts: { encrypted: "" } }, open: { } }'
} >"$work/stack.yml"

echo "== up"
start 3 3
check "stack deploy converges" ctl n1 stack deploy -c "$work/stack.yml" e

echo "== what passes by"
nsenter --net="/run/netns/swl-$LAB" tcpdump -U -i br0 -w "$work/pcap" >/dev/null 2>&1 &
servers+=($!)
capture=$!
within 5 test -s "$work/pcap"
export secret
secret=$(address n2 e_secretweb) open=$(address n2 e_openweb)
check "the encrypted network carries" within 5 bash -c "get e_secretclient $secret | grep -q payload-of-secret-network"
check "the open network carries" within 5 bash -c "get e_openclient $open | grep -q payload-of-open-network"
check "and more than one packet of it" bash -c "[ \"\$(get e_secretclient $secret big | wc -c)\" = 200000 ]"
check "by the service's virtual address too" bash -c "get e_secretclient \$(ctl n1 service inspect e_secretweb | grep -m1 -oE '10\.[0-9]+\.[0-9]+\.[0-9]+' || echo $secret) | grep -q payload-of-secret"
within 3 grep -q payload-of-open "$work/pcap"
check "the capture shows what the open network says" grep -q payload-of-open-network "$work/pcap"
check "and nothing of what the encrypted one says" bash -c "! grep -qE 'payload-of-secret|zzzzzzzzzzzzzzzzzzzz' $work/pcap"

echo "== sizes"
mtu=$(on n1 nsenter --net="$(netns n1 e_secretclient)" ip -o link show eth0 | sed 's/.*mtu \([0-9]*\).*/\1/')
check "the MTU has room for both headers (got $mtu)" test "$mtu" = 1370
check "a full packet is taken undivided" datagram 1342
check "a larger one is refused here, not lost" bash -c "! datagram 1343"

echo "== nothing in clear, whatever fails"
wire=$(on n1 ip -o link | sed -n 's/^[0-9]*: \([a-z0-9]*wg\):.*/\1/p')
check "there is an interface for it" test -n "$wire"
"$lab" kill n1 agent
on n1 ip link del "$wire"
get e_secretclient "$secret" >"$work/none" 2>&1
check "without its interface nothing arrives" test ! -s "$work/none"
check "and nothing was sent in clear" bash -c "sleep 0.5; ! grep -q payload-of-secret $work/pcap && ! nsenter --net=/run/netns/swl-$LAB tcpdump -r $work/pcap -n udp port 4790 2>/dev/null | grep -q ."
"$lab" start n1
check "the agent makes it anew" within 15 bash -c "get e_secretclient $secret | grep -q payload-of-secret-network"
"$lab" kill n2 agent
check "it goes on while an agent is dead" bash -c "get e_secretclient $secret | grep -q payload-of-secret-network"
"$lab" start n2
check "and when it is back" within 10 bash -c "get e_secretclient $secret | grep -q payload-of-secret-network"
check "the key is in no log and on no disk" bash -c "k=\$(cat /run/swarm-lab/$LAB/n1/run/net/wire.key); [ \${#k} = 44 ] && ! grep -rqF \"\$k\" /run/swarm-lab/$LAB/n1/*.log /var/lib/swarm-lab/$LAB/n1"

finish
