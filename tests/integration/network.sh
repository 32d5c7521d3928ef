#!/bin/bash
# Containers on different nodes reach each other by name and over the overlay; nobody else does; and
# nothing of the control plane can be read on the wire.
set -uo pipefail
LAB=${LAB:-inet}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
start 3 1

cat >"$work/stack.yml" <<'YML'
services:
  server:
    image: busybox
    command: sh -c 'mkdir /www; hostname > /www/index.html; httpd -f -p 80 -h /www'
    networks: { net: { aliases: [shop] } }
    deploy: { replicas: 2, placement: { constraints: [node.hostname == n2] } }
  client:
    image: busybox
    command: sleep 100000
    init: true
    networks: [net]
    deploy: { placement: { constraints: [node.hostname == n3] } }
  stranger:
    image: busybox
    command: sleep 100000
    init: true
    networks: [other]
    deploy: { placement: { constraints: [node.hostname == n3] } }
  both:
    image: busybox
    command: sleep 100000
    init: true
    networks: [net, other]
    deploy: { placement: { constraints: [node.hostname == n1] } }
secrets:
  top: { content: "verysecretword" }
networks:
  net:
  other:
    internal: true
YML

# in_task NODE SERVICE COMMAND...: inside the namespaces of its container, as a process of it sees it.
in_task() {
	local node=$1 id pid
	id=$(ctl n1 service ps "$2" --filter desired-state=running --no-trunc -q | head -n 1)
	pid=$(containers "$node" | awk -v id="$id" '$1 == id { print $2 }')
	[ -n "$pid" ] || { echo "no container of $2 on $node"; return 1; }
	shift 2
	timeout 8 nsenter --target "$pid" --net --mount --uts --ipc -- /bin/busybox "$@" # wget -T crashes
}

nsenter --net="/run/netns/swl-$LAB" tcpdump -i any -w "$work/wire.pcap" -U 2>/dev/null &
tcpdump=$!
check "deploy" ctl n1 stack deploy -c "$work/stack.yml" shop
ctl n1 secret create word - <<<"verysecretword" >/dev/null
check "a name answers" within 10 in_task n3 shop_client nslookup server 127.0.0.11
check "the full name, too" within 5 in_task n3 shop_client nslookup shop_server 127.0.0.11
check "an alias, too" within 5 in_task n3 shop_client nslookup shop 127.0.0.11
check "tasks.server gives both tasks" within 5 is 2 sh -c "$(declare -f in_task ctl containers); lab=$lab run=$run; in_task n3 shop_client nslookup tasks.server 127.0.0.11 | grep -c 'Address.*10\\.'"
check "an unknown name is unknown at once" says "NXDOMAIN|can't resolve|can't find" in_task n3 shop_client nslookup nosuchname 127.0.0.11
check "over the overlay to another node" within 10 says "[0-9a-z]{12}" in_task n3 shop_client wget -q -O- http://server/
check "from a container on two networks" within 10 says "[0-9a-z]{12}" in_task n1 shop_both wget -q -O- http://server/
address=$(in_task n3 shop_client nslookup tasks.server 127.0.0.11 | awk '/^Address/ && $NF ~ /^10\./ { print $NF; exit }')
check "outside the network the name is unknown" says "NXDOMAIN|can't resolve|can't find" in_task n3 shop_stranger nslookup server 127.0.0.11
check "outside the network the address does not answer" not in_task n3 shop_stranger wget -q -O- "http://$address/"
check "nor from the host" not "$lab" exec n2 curl -sf --max-time 2 "http://$address/"
check "an internal network has no way out" not in_task n3 shop_stranger ping -c 1 -W 1 192.168.77.254
check "the other has one" in_task n3 shop_client ping -c 1 -W 2 192.168.77.254
check "64 KiB pass" in_task n3 shop_client ping -c 1 -W 2 -s 60000 "$address"

echo "== drift is repaired"
ns=$(find "$run"/n3/run/net -name 'n-*' -o -name 'net-*' 2>/dev/null | head -n 1)
check "after an agent's kill -9" sh -c "'$lab' kill n3 agent; '$lab' start n3"
check "names answer" within 10 in_task n3 shop_client nslookup server 127.0.0.11
check "the way is open" within 10 in_task n3 shop_client wget -q -O- http://server/
echo "     ${ns:+namespace of the network: ${ns##*/}}"

sleep 0.2
kill $tcpdump
wait $tcpdump 2>/dev/null
check "the capture has seen the cluster talk" sh -c "tcpdump -nn -r '$work/wire.pcap' 'tcp port 2377' 2>/dev/null | head -n 50 | grep -q 2377"
# Everything but the overlay's own packets, which are in clear unless the network is encrypted.
tcpdump -r "$work/wire.pcap" -w "$work/control.pcap" 'not udp port 4789 and not tcp port 5000' 2>/dev/null
check "no secret, name or token on the wire" not grep -qaE 'verysecretword|shop_server|SWMTKN|swarm\.v1' "$work/control.pcap"
check "rm" ctl n1 stack rm shop
finish
