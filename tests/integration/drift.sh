#!/bin/bash
# Somebody else changes what is ours in the kernel: rules, links, settings. It is put right, soon on the
# host (a firewall that is loaded anew takes all rules away), within half a minute elsewhere.
set -uo pipefail
LAB=${LAB:-drift}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
start 2 1

cat >"$work/stack.yml" <<'YML'
services:
  web:
    image: nginx
    ports: ["8080:80"]
    networks: [net]
    deploy: { replicas: 2, placement: { max_replicas_per_node: 1 } }
  client:
    image: busybox
    command: sleep 100000
    networks: [net]
    deploy: { placement: { constraints: [node.hostname == n1] } }
networks:
  net:
YML
inside() { on n1 nsenter --net="$(netns n1 t_client)" "$@"; }
# answers COMMAND...: several times in a row, so that each backend is asked.
answers() { for _ in 1 2 3 4; do "$@" || return 1; done; }
port() { nsenter --net="/run/netns/swl-$LAB" curl -sf -o /dev/null -m 1 http://192.168.77.1:8080/; }
vip=
vip() { inside curl -sf -o /dev/null -m 1 "http://$vip/"; }
rules() { "$@" nft list ruleset | grep -v handle | sort; }
gate() { on n1 nsenter --net="$run/n1/run/net/netns/gate" "$@"; }

ctl n1 stack deploy -q -c "$work/stack.yml" t >/dev/null || bad "deploy"
vip=$(inside busybox nslookup web 127.0.0.11 | awk '/^Address/ && $NF ~ /^10\./ { print $NF; exit }')
check "the port answers" within 10 answers port
check "the virtual address answers" within 10 answers vip
before=$(rules on n1 && rules gate && rules inside)

echo "== the host's rules"
on n1 nft flush ruleset
check "gone" not port
check "soon the port answers again" within 5 answers port

echo "== the rest"
gate nft flush ruleset
inside nft flush ruleset
on n1 sysctl -qw net.ipv4.ip_forward=0
gate sysctl -qw net.ipv4.ip_forward=0
on n1 ip link del "$(on n1 ip -br link | awk '$1 ~ /up@/ { sub(/@.*/, "", $1); print $1; exit }')"
check "gone" not port
check "the virtual address too" not vip
check "within half a minute the port answers again" within 40 answers port
check "and the virtual address" within 40 answers vip
check "the rules are what they were" is "$before" sh -c "$(declare -f rules on gate inside netns ctl); lab='$lab' run='$run'; rules on n1 && rules gate && rules inside"

echo "== rules of others stay"
on n1 nft add table inet theirs
inside nft add table inet theirs
sleep 2
check "on the host" says 'inet theirs' on n1 nft list tables
check "and in a sandbox" says 'inet theirs' inside nft list tables
check "and ours" answers vip
finish
