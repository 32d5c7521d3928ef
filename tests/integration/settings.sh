#!/bin/bash
# What holds for the cluster as a whole: init's options, `update`, and what follows from them: where tasks
# go, what is kept of a slot, how soon a silent node is missed, which subnets networks get.
# One manager, two workers; a part of each host is not for tasks.
set -uo pipefail
LAB=${LAB:-iset}
export SWARM_AGENT_OPTIONS="--reserve-memory 300M --reserve-cpus 0.5"
. "$(dirname "$(readlink -f "$0")")/lib.sh"

setting() { ctl "${2:-n1}" cluster inspect --format "{{json .$1}}"; } # NAME NODE
# refused PATTERN OPTION...: and the settings are as they were
refused() {
	local pattern=$1 before
	shift
	before=$(ctl n1 cluster inspect)
	says "$pattern" ctl n1 update "$@" && is "$before" ctl n1 cluster inspect
}
memory_of() { ctl n1 node inspect "$1" --format '{{.Description.Resources.Memory}}'; }
of_host() { awk '/^MemTotal/ { printf "%.0f\n", $2 * 1024 }' /proc/meminfo; }
service() { # NAME OPTION...
	local name=$1
	shift
	ctl n1 service create -d --name "$name" "$@" busybox sleep 100000
}
up() { within 20 runs n1 "$1" "$2"; } # SERVICE REPLICAS
on_nodes() { [ "$(nodes_of "$1" | wc -l)" = "$2" ] || { nodes_of "$1"; return 1; }; }
kept() { ctl n1 service ps "$1" -q | wc -l; }
again() { ctl n1 service update --force "$1" >/dev/null; }
subnet() { ctl n1 network inspect "$1" --format '{{json .}}'; }
start 3 1

echo "== a part of the host is not for tasks"
check "the node says what is left" is $(($(of_host) - (300 << 20))) memory_of n2
check "a task that asks for more is created" service large --reserve-memory $(($(of_host) - (200 << 20)))
check "and waits, with the reason" within 5 says 'insufficient resources' ctl n1 service ps large --no-trunc
check "it goes" ctl n1 service rm large

echo "== what makes no sense is refused, and nothing changes"
check "nothing at all" refused 'nothing to change'
check "a strategy" refused 'placement-strategy: wanted spread or binpack, not "pack"' --placement-strategy pack
check "a history" refused 'task-history-limit: wanted a number' --task-history-limit many
check "a heartbeat" refused 'heartbeat 100 ms: wanted 500ms to 5m' --dispatcher-heartbeat 100ms
check "an expiry" refused 'wanted 1h to' --cert-expiry 5m
check "the good half of it" refused 'wanted 1h to' --placement-strategy binpack --cert-expiry 5m
check "a pool that overlaps" refused '10.7.0.0/16 overlaps address pool 10.0.0.0/8' --addr-pool-add 10.7.0.0/16
check "a pool that is too small" refused "a network's subnet is a /20" --addr-pool-add 192.168.5.0/24
check "a pool that is none" refused 'not an IPv4 address' --addr-pool-add nonsense/16
check "a pool that is not there" refused 'has no address pool' --addr-pool-rm 172.16.0.0/12
check "the last pool" refused '0 address pools' --addr-pool-rm 10.0.0.0/8

echo "== where tasks go"
check "spread: over all nodes" service spread --replicas 3 --reserve-memory 20M
check "they run" up spread 3
check "on three" on_nodes spread 3
check "pack" says 'Swarm updated' ctl n1 update --placement-strategy binpack
check "the cluster says so" is '"binpack"' setting Placement
check "packed: what reserves" service packed --replicas 3 --reserve-memory 20M
check "they run" up packed 3
check "on one" on_nodes packed 1
check "what reserves nothing" service light --replicas 3
check "they run" up light 3
check "is spread" on_nodes light 3
check "what runs is not moved" on_nodes spread 3
check "there is nothing to rebalance" says 'nothing to move' ctl n1 rebalance --plan
check "spread again" ctl n1 update --placement-strategy spread
check "there is, now" says 'would move packed' ctl n1 rebalance --plan

echo "== what is kept of a slot"
check "one service" service slot
check "it runs" up slot 1
for _ in 1 2 3; do check "its task is made anew" again slot; done
check "all of it is kept" is 4 kept slot
check "keep none" ctl n1 update --task-history-limit 0
check "another" again slot
check "only what runs" within 5 is 1 kept slot

echo "== how soon a silent node is missed"
check "beat slowly" ctl n1 update --dispatcher-heartbeat 20s
sleep 4 # nobody has said anything for twice as long as will be allowed
check "beat fast" ctl n1 update --dispatcher-heartbeat 500ms
for _ in 1 2 3 4 5 6 7 8; do
	sleep 0.5
	[ "$(ctl n1 node ls --format '{{.Status}}' | sort -u)" = Ready ] || bad "a node was missed that was there"
done
ok "nobody is missed while the beat changes"
"$lab" kill n3 agent
check "one that is gone is missed in three beats" within 3 node_is n3 down
"$lab" start n3
check "it comes back" within 10 node_is n3 ready

echo "== which subnets networks get"
check "one from the first pool" ctl n1 network create -d overlay before
check "another pool, in its place" ctl n1 update --addr-pool-add 172.30.0.0/16 --addr-pool-rm 10.0.0.0/8
check "new networks are of it" ctl n1 network create -d overlay after
check "by its address" within 5 says '"Subnet": *"172\.30\.' subnet after
check "the old one stays" says '"Subnet": *"10\.' subnet before

echo "== what init is told"
check "a node leaves" ctl n3 leave --force
check "a word that is none" says 'placement-strategy: wanted spread' ctl n3 init --placement-strategy pack
check "made no cluster" says 'Swarm: inactive' ctl n3 info
check "an expiry that is too short" says 'wanted 1h to' ctl n3 init --cert-expiry 5m
check "made none either" says 'Swarm: inactive' ctl n3 info
check "a size that is none" says 'subnet size 4: wanted a prefix length of 8 to 30' ctl n3 init --subnet-size 4
address=$(ctl n1 node inspect n3 --format '{{.Description.Address}}')
check "pools that make no sense" says "a network's subnet is a /20" ctl n3 init --advertise-addr "$address" --default-addr-pool 192.168.0.0/24
check "made no cluster" says 'Swarm: inactive' ctl n3 info
check "settings that do" says 'Swarm initialized' ctl n3 init --advertise-addr "$address" \
	--default-addr-pool 192.168.0.0/24 --default-addr-pool-mask-length 26 \
	--task-history-limit 2 --placement-strategy binpack --cert-expiry 48h --dispatcher-heartbeat 2s
check "are its own: pools" says '192.168.0.0/24' setting AddressPools n3
check "subnets" is 26 setting SubnetSize n3
check "history" is 2 setting TaskHistoryLimit n3
check "strategy" is '"binpack"' setting Placement n3
check "expiry" is $((48 * 3600 * 1000)) setting NodeCertMs n3
check "heartbeat" is 2000 setting HeartbeatMs n3
finish
