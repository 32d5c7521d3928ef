# What the integration tests share. Sourced after LAB is set; `start N M` brings the lab up, and it is
# taken down however the script ends. A script ends with `finish`.
# shellcheck shell=bash

top=$(dirname "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")")
export LAB
lab=$top/deploy/lab
run=/run/swarm-lab/$LAB
[ "$(id -u)" = 0 ] || { echo "skipped: not root"; exit 77; }
work=$(mktemp -d)
failed=0 passed=0
servers=() # processes of the test's own, ended with it
here=$top/tests/integration

clean_up() {
	local n
	[ $failed = 0 ] || for n in $(cd "$run" 2>/dev/null && ls -d n[0-9]* 2>/dev/null || true); do
		echo "--- log of $n"
		tail -n 8 "$run/$n/agent.log"
	done
	for n in "${servers[@]}"; do kill "$n" 2>/dev/null; done
	"$lab" down >/dev/null 2>&1
	rm -rf "$work"
}
trap clean_up EXIT

start() { # NODES MANAGERS
	echo "== lab of $1 nodes, $2 managers"
	"$lab" up --nodes "$1" --managers "$2" || { echo "FAIL lab up"; failed=1; exit 1; }
}
# What a lab that is down has left behind; nothing is wanted.
leftovers() { # CGROUP-PREFIX...
	local p
	ip netns list | grep -E "^swl-$LAB( |\$|-)"
	grep -F "/swarm-lab/$LAB/" /proc/self/mountinfo
	ls -d "$run" "/var/lib/swarm-lab/$LAB" 2>/dev/null
	for p; do ls -d /sys/fs/cgroup/*/"$p" /sys/fs/cgroup/"$p" 2>/dev/null; done
	for p in /proc/[0-9]*; do
		grep -qs -aF "/swarm-lab/$LAB/" "$p/cmdline" && [ "$p" != "/proc/$$" ] && tr '\0' ' ' <"$p/cmdline"
	done
	true
}
finish() {
	local prefixes
	[ $failed = 0 ] || exit 1 # the trap shows logs and takes the lab down
	prefixes=$(cat "$run"/n*/run/cgroup 2>/dev/null | tr '\n' ' ')
	"$lab" down
	# shellcheck disable=SC2086
	check "nothing is left behind" is "" leftovers $prefixes
	if [ $failed = 0 ]; then echo "$passed checks passed"; else echo "some of $passed checks failed"; fi
	exit $failed
}

ok() { passed=$((passed + 1)); printf 'ok   %s\n' "$*"; }
bad() { passed=$((passed + 1)); printf 'FAIL %s\n' "$*"; failed=1; }
check() { # WHAT COMMAND...
	local what=$1
	shift
	if "$@" >"$work/out" 2>&1; then ok "$what"; else bad "$what"; sed 's/^/     /' "$work/out" | tail -n 8; fi
}
within() { # SECONDS COMMAND...
	local until=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $until ] || { "$@"; return 1; }
		sleep 0.1
	done
}
not() { ! "$@"; }
# says PATTERN COMMAND...: its output, both streams, matches.
says() {
	local pattern=$1 out
	shift
	out=$("$@" 2>&1)
	grep -qiE -- "$pattern" <<<"$out" || { echo "wanted /$pattern/, got: $out"; return 1; }
}
is() { # WANTED COMMAND...
	local wanted=$1 out
	shift
	out=$("$@" 2>&1)
	[ "$out" = "$wanted" ] || { echo "wanted $wanted, got: $out"; return 1; }
}
ctl() { timeout 120 "$lab" ctl "$@"; }
on() { "$lab" exec "$@"; } # NODE COMMAND...: in the node's namespaces

# ---- what the cluster says ----

running() { # NODE SERVICE
	ctl "$1" service ps "$2" --filter desired-state=running --format '{{.CurrentState}}' 2>/dev/null | grep -ci '^running'
}
runs() { is "$3" running "$1" "$2"; }
leader() { ctl "${1:-n1}" node ls --format '{{.Hostname}} {{.ManagerStatus}}' 2>/dev/null | awk '$2 == "Leader" { print $1 }'; }
node_state() { ctl "${2:-n1}" node ls --format '{{.Hostname}} {{.Status}}' | awk -v n="$1" '$1 == n { print tolower($2) }'; }
node_is() { is "$2" node_state "$1" "${3:-n1}"; }
manager_state() { ctl n1 node ls --format '{{.Hostname}} {{.ManagerStatus}}' | awk -v n="$1" '$1 == n { print tolower($2) }'; }
nodes_of() { ctl n1 service ps "$1" --filter desired-state=running --format '{{.Node}}' | sort -u; }

# ---- what the hosts say ----

# netns NODE SERVICE: the network namespace of the service's first task there
netns() {
	local id
	id=$(ctl n1 service ps "$2" --no-trunc --filter desired-state=running --format '{{.Node}} {{.ID}}' |
		awk -v n="$1" '$1 == n { print $2; exit }')
	ls -d "$run/$1/run/net/netns/s-$id"-* 2>/dev/null | head -n 1
}

# containers [NODE]: "CONTAINER FIRST-PID" of each container alive, from the nodes' cgroups.
containers() {
	local n prefix c pid
	for n in ${1:-$(cd "$run" && ls -d n[0-9]*)}; do
		prefix=$(cat "$run/$n/run/cgroup" 2>/dev/null) || continue
		for c in /sys/fs/cgroup/pids/"$prefix"/* /sys/fs/cgroup/"$prefix"/*; do
			[ -d "$c" ] || continue
			pid=$(sort -n "$c/cgroup.procs" 2>/dev/null | head -n 1)
			[ -n "$pid" ] && echo "${c##*/} $pid"
		done
	done | sort
}
count_containers() { containers "$@" | wc -l; }
