#!/bin/bash
# Underlays of different widths: what one container sends in full size, the other gets, whichever way it
# goes. The nodes hang on one switch, which drops what is too large for the port.
set -uo pipefail
LAB=${LAB:-mtu}
. "$(dirname "$(readlink -f "$0")")/lib.sh"

declare -A width=([n1]=9000 [n2]=1500 [n3]=1400)
least=1400

widen() { # NODE...
	local n
	for n; do
		ip -n "swl-$LAB" link set "p$n" mtu "${width[$n]}" || return 1
		on $n ip link set eth0 mtu "${width[$n]}" || return 1
	done
}
restart() {
	local n
	for n in n1 n2 n3; do "$lab" kill $n agent; "$lab" start $n; done
}
mtu_in() { # NODE INTERFACE: of the service's task there
	on "$1" nsenter --net="$(netns "$1" t_all)" ip -o link show dev "$2" | sed -n 's/.* mtu \([0-9]*\) .*/\1/p'
}
address_in() { on "$1" nsenter --net="$(netns "$1" t_all)" ip -o -4 addr show dev "$2" | awk '{ sub("/.*", "", $4); print $4 }'; }
ask_from() { # NODE KIND HOST BYTES
	on "$1" nsenter --net="$(netns "$1" t_all)" python3 "$here/echo.py" ask "$2" "$3" 9000 0 "$4"
}
bulk() { # NODE HOST: 64 KiB each way
	on "$1" nsenter --net="$(netns "$1" t_all)" python3 -c '
import socket, sys
s = socket.create_connection((sys.argv[1], 9001), 5)
s.settimeout(5)
s.sendall(b"x" * 65536)
s.shutdown(socket.SHUT_WR)
got = 0
while data := s.recv(65536):
    got += len(data)
sys.exit(got != 65536)' "$2"
}
cat >"$work/mirror.py" <<'PY'
import socket
s = socket.create_server(("0.0.0.0", 9001))
while True:
    c, _ = s.accept()
    data = b""
    while part := c.recv(65536):
        data += part
    c.sendall(data)
    c.close()
PY

cat >"$work/stack.yml" <<'YML'
services:
  all:
    image: busybox
    command: sleep 100000
    networks: [net, sealed]
    ports: [ { target: 9000, published: 9000 }, { target: 9000, published: 9000, protocol: udp } ]
    deploy: { mode: global }
networks:
  net:
  sealed: { driver_opts: { encrypted: "" } }
YML

start 3 1
check "nodes of 9,000, 1,500 and 1,400 bytes" widen n1 n2 n3
restart
check "they are ready" within 20 bash -c "[ \"\$($lab ctl n1 node ls --format '{{.Status}}' | grep -ci ready)\" = 3 ]"
check "stack deploy converges" ctl n1 stack deploy -c "$work/stack.yml" t
for n in n1 n2 n3; do
	for server in "$here/echo.py serve $n 9000" "$work/mirror.py"; do
		# shellcheck disable=SC2086
		on $n nsenter --net="$(netns $n t_all)" python3 $server >/dev/null 2>&1 &
		servers+=($!)
	done
done
as_wide_as() { # BYTES
	local n
	for n in n1 n2 n3; do
		check "$n: the overlay is as wide as the narrowest way" within 5 is $(($1 - 50)) mtu_in $n eth0
		check "$n: the encrypted one too" within 5 is $(($1 - 80 - 50)) mtu_in $n eth1
		check "$n: and the way out" within 5 is $(($1 - 50)) mtu_in $n eth2
	done
}
as_wide_as $least
for from in n1 n2 n3; do
	for to in n1 n2 n3; do
		[ $from = $to ] && continue
		for net in eth0 eth1; do
			a=$(address_in $to $net)
			check "$from to $to by $net: 64 KiB of TCP, both ways" within 5 bulk $from "$a"
			check "$from to $to by $net: a datagram of 8,000 bytes, both ways" within 8 says "^$to .* 8000" ask_from $from udp "$a" 8000
		done
	done
done
by_port() {
	local n
	for n in 1 2 3; do
		check "a published port by n$n: a datagram of 8,000 bytes" within 12 says " 8000" nsenter --net="/run/netns/swl-$LAB" python3 "$here/echo.py" ask udp 192.168.77.$n 9000 0 8000
	done
}
by_port

echo "== a way becomes narrower, then wider, under what runs"
width[n2]=1350
check "n2 has 1,350 bytes from now on" widen n2
as_wide_as 1350
check "n1 to n2: 64 KiB of TCP, both ways" within 5 bulk n1 "$(address_in n2 eth0)"
check "n3 to n2, encrypted: 64 KiB of TCP, both ways" within 5 bulk n3 "$(address_in n2 eth1)"
check "n3 to n2: a datagram of 8,000 bytes" within 8 says "^n2 .* 8000" ask_from n3 udp "$(address_in n2 eth0)" 8000
by_port
width[n2]=1500
check "n2 has 1,500 bytes again" widen n2
as_wide_as $least
check "n1 to n2: 64 KiB of TCP, both ways" within 5 bulk n1 "$(address_in n2 eth0)"
by_port
finish
