# Shell functions that deploy/ and tests/ share. Sourced, with `top` set to the project's folder.
# shellcheck shell=bash

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "must be run as root (sudo $0)"; }

# Builds what is not built; prints the folder of the programs.
build_programs() {
	if [ -n "${SWARM_BIN:-}" ]; then
		echo "$SWARM_BIN"
		return
	fi
	local log=$top/build/release.log
	mkdir -p "$top/build"
	if ! { (cd "$top" && cmake --preset release && cmake --build --preset release --target swarm-agentd swarm-managerd swarmctl swarm-shim) >"$log" 2>&1; }; then
		tail -n 40 "$log" >&2
		die "the build failed: $log"
	fi
	echo "$top/build/release/bin"
}

# wait_for SECONDS WHAT COMMAND...: runs the command until it succeeds.
wait_for() {
	local until=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $until ] || { echo "gave up waiting: $what" >&2; return 1; }
		sleep 0.05
	done
}
