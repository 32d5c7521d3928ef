#!/bin/bash
# A lab of three managers: deploys, removals, memory, writes, fail-over.
# Each line: what is measured, its figure, and beside it what the design aims at.
set -uo pipefail
LAB=${LAB:-bench}
. "$(dirname "$(dirname "$(readlink -f "$0")")")/integration/lib.sh"
runtime=${RUNTIME:-crun}
runs=${RUNS:-3}

ms() { echo $(($(date +%s%N) / 1000000)); }
took() { local t; t=$(ms); "$@" >/dev/null 2>&1 || echo "     $* failed"; echo $(($(ms) - t)); }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
line() { printf '%-58s %12s   %s\n' "$1" "$2" "${3:-}"; }
rss() { awk '/^VmRSS/ { s += $2 } END { printf "%.1f MiB", s / 1024 }' /proc/"$1"/status; }
# Of several processes, what they share counted once: of a file's pages as many as the process has that
# has most of them, but what it has changed is its own.
together() { # PID...
	local p
	for p; do sed "s/^/$p /" "/proc/$p/smaps"; done | awk '
		$2 ~ /^[0-9a-f]+-[0-9a-f]+$/ { file = $7 ~ /^\// ? $7 : "" }
		$2 == "Rss:" { rss = $3 }
		$2 == "Private_Dirty:" && file == "" { all += rss }
		$2 == "Private_Dirty:" && file != "" { all += $3; f[file, $1] += rss - $3; files[file]; pids[$1] }
		END {
			for (x in files) {
				most = 0
				for (p in pids) if (f[x, p] > most) most = f[x, p]
				all += most
			}
			printf "%.1f MiB", all / 1024
		}'
}
pss() { awk '/^Pss:/ { s += $2 } END { print s }' "$@" 2>/dev/null; }

stack_file() { # REPLICAS NETWORK
	cat <<YML
services:
  web:
    image: busybox
    command: sh -c 'trap "exit 0" TERM; sleep 100000 & wait'
    networks: [$2]
    deploy: { replicas: $1 }
networks:
  $2: ${3:-}
YML
}

# The same containers by a bare loop of the OCI runtime, two at a time.
bare() { # COUNT
	local d n=$1 i
	d=$(mktemp -d)
	mkdir -p "$d/root/bin" "$d/root/proc" "$d/root/dev" "$d/root/sys"
	cp /bin/busybox "$d/root/bin/"
	ln -s busybox "$d/root/bin/sleep"
	(cd "$d" && "$runtime" spec && jq '.process.args = ["/bin/sleep", "100000"] | .process.terminal = false' config.json >c && mv c config.json)
	seq "$n" | xargs -P 2 -I{} "$runtime" run -d -b "$d" --pid-file "$d/pid{}" "bench-$$-{}" >/dev/null 2>&1 </dev/null
	for ((i = 1; i <= n; i++)); do "$runtime" delete -f "bench-$$-$i" 2>/dev/null; done
	rm -rf "$d"
}

start 3 3
echo
pids=("$(cat "$run/n1/agent.pid")" "$(cat "$run/n1/run/manager.pid")")
line "memory idle: agent" "$(rss "${pids[0]}")"
line "memory idle: manager (leader)" "$(rss "${pids[1]}")"
line "memory idle: both, what they share counted once" "$(together "${pids[@]}")" "<= 20 MiB; peer 131"

for n in 1 10 100; do
	for net in overlay host; do
		stack_file $n x >"$work/s.yml"
		[ $net = overlay ] || sed -i '/networks/,$d' "$work/s.yml"
		[ $net = overlay ] || printf '    network_mode: host\n    deploy: { replicas: %s }\n' $n >>"$work/s.yml"
		: >"$work/up" && : >"$work/down"
		for ((i = 0; i < runs; i++)); do
			took ctl n1 stack deploy -q -c "$work/s.yml" s >>"$work/up"
			took ctl n1 stack rm s >>"$work/down"
		done
		goal=
		[ $net$n = overlay1 ] && goal="<= 150; peer 1140"
		[ $net$n = overlay100 ] && goal="<= 2500; peer 29300"
		line "stack deploy, $n replicas, $net: all running" "$(median <"$work/up") ms" "$goal"
		[ $net$n = overlay1 ] && goal="<= 300; peer 5900"
		[ $net$n = overlay100 ] && goal="<= 2000; peer 15500"
		line "stack rm, $n replicas, $net: nothing left" "$(median <"$work/down") ms" "$goal"
	done
	line "bare loop of $runtime for $n containers (run, delete)" "$(took bare $n) ms"
done

stack_file 100 x >"$work/s.yml"
before=$(pss /proc/"$(cat "$run/n1/agent.pid")"/smaps_rollup)
ctl n1 stack deploy -q -c "$work/s.yml" s >/dev/null
after=$(pss /proc/"$(cat "$run/n1/agent.pid")"/smaps_rollup)
here=$(count_containers n1)
shims=$(for p in /proc/[0-9]*; do [ "$(cat "$p/comm" 2>/dev/null)" = swarm-shim ] && cat "$p/smaps_rollup"; done 2>/dev/null | awk '/^Pss:/ { s += $2; n++ } END { if (n) printf "%.2f", s / n }')
line "memory per container: shim (PSS)" "$shims KiB" "shim + agent <= 307 KiB; peer 4800"
line "memory per container: agent's growth over $here" "$(((after - before) / (here > 0 ? here : 1))) KiB"
cpu() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
a=$(cat "$run/n1/agent.pid") m=$(cat "$run/n1/run/manager.pid")
c0=$(($(cpu "$a") + $(cpu "$m")))
sleep 10
line "idle CPU of manager + agent, $here containers, 10 s" "$(awk -v t=$(($(cpu "$a") + $(cpu "$m") - c0)) 'BEGIN { printf "%.1f %%", t / 10 }')" "<= 1 % at 1,000"

sed -i 's/replicas: 100/replicas: 20/' "$work/s.yml"
ctl n1 stack deploy -q -c "$work/s.yml" s >/dev/null
t=$(ms)
"$lab" kill n3 all
until [ "$(ctl n1 service ps s_web --filter desired-state=running --format '{{.Node}} {{.CurrentState}}' 2>/dev/null | grep -v '^n3 ' | grep -ci running)" = 20 ]; do sleep 0.05; done
line "node dies: its share of 20 tasks runs elsewhere" "$(($(ms) - t)) ms" "<= 5000; peer 15500"
"$lab" start n3
within 20 node_is n3 ready
ctl n1 stack rm s >/dev/null

echo
socket() { echo "$run/$1/run/manager.sock"; }
l=$(leader)
for k in 1 64 1024; do
	line "service creates through the leader, $k in flight" "$("$top/build/release/bin/bench_writes" $k 3 "$(socket "$l")" | sed 's/.*failed, //; s/, longest.*//')" "$([ $k = 64 ] && echo '>= 5,000 with 8 clients; peer 224')"
done
f=$([ "$l" = n1 ] && echo n2 || echo n1)
line "the same through a follower, 64 in flight" "$("$top/build/release/bin/bench_writes" 64 3 "$(socket $f)" | sed 's/.*failed, //; s/, longest.*//')"

for ((i = 0; i < runs; i++)); do
	l=$(leader n1 || leader n2)
	others=$(for n in n1 n2 n3; do [ $n = "$l" ] || socket $n; done)
	# shellcheck disable=SC2086
	"$top/build/release/bin/bench_writes" 2 3 $others >"$work/gap" &
	sleep 1
	"$lab" kill "$l" manager
	wait $!
	sed 's/.*longest gap //; s/ ms//' "$work/gap"
	within 20 ctl "$l" node ls
	within 20 is 3 sh -c "'$lab' ctl n1 node ls --format '{{.ManagerStatus}}' | grep -ciE 'leader|reachable'" >/dev/null
done | median >"$work/out"
line "leader's process killed: longest time without a write" "$(cat "$work/out") ms" "< 50; peer 10600"
for ((i = 0; i < runs; i++)); do
	l=$(leader n1 || leader n2)
	others=$(for n in n1 n2 n3; do [ $n = "$l" ] || socket $n; done)
	# shellcheck disable=SC2086
	"$top/build/release/bin/bench_writes" 2 6 $others >"$work/gap" &
	sleep 1
	"$lab" cut "$l"
	wait $!
	"$lab" heal
	sed 's/.*longest gap //; s/ ms//' "$work/gap"
	within 20 is 3 sh -c "'$lab' ctl n1 node ls --format '{{.ManagerStatus}}' | grep -ciE 'leader|reachable'" >/dev/null
done | median >"$work/out"
line "leader's host cut off: longest time without a write" "$(cat "$work/out") ms" "< 1000"
finish
