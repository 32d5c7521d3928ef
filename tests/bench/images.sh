#!/bin/bash
# Images on a lab of six nodes: pulls, spreading, builds, memory; beside the bare work and what other
# tools take for it. Each line: what is measured, its figure (the median of RUNS), and the aim.
set -uo pipefail
LAB=${LAB:-bimg}
. "$(dirname "$(dirname "$(readlink -f "$0")")")/integration/lib.sh"
. "$top/deploy/lib/images.sh"
. "$here/storefront/bases.sh"
runs=${RUNS:-3}
registry=192.168.77.250:5000

ms() { echo $(($(date +%s%N) / 1000000)); }
took() { local t; t=$(ms); "$@" >"$work/said" 2>&1 || echo "     $* failed: $(tail -n 1 "$work/said")" >&2; echo $(($(ms) - t)); }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
line() { printf '%-62s %12s   %s\n' "$1" "$2" "${3:-}"; }
# times WHAT AIM BEFORE COMMAND...: BEFORE (a function) is run before each and not counted.
times() {
	local what=$1 aim=$2 before=$3 i
	shift 3
	for ((i = 0; i < runs; i++)); do
		$before >/dev/null 2>&1
		took "$@"
	done | median >"$work/ms"
	line "$what" "$(cat "$work/ms") ms" "$aim"
}
outside() { nsenter --net="/run/netns/swl-$LAB-reg" "$@"; }
build() { ctl "$1" image build -q "${@:2}"; }
forget() { local n; for n; do ctl "$n" image prune -a --build-cache; done; }
dock() { docker -H "unix://$work/dock/sock" "$@"; }
end_docker() {
	[ ! -e "$work/dock/pid" ] || { kill "$(cat "$work/dock/pid")"; within 20 not kill -0 "$(cat "$work/dock/pid" 2>/dev/null)"; }
	awk -v d="$work/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r p; do umount -l "$p"; done
}
trap 'end_docker; clean_up' EXIT

"$top/deploy/install-deps" build run lab peer || { echo "skipped: its packages can't be installed"; exit 77; }
storefront_bases "$work" || exit 1
mkdir -p "$work/cc-root" "$work/node-root" "$work/three"
tar -C "$work/cc-root" -xf "$top/build/lab-bases/cc.tar"
tar -C "$work/node-root" -xf "$top/build/lab-bases/node.tar"
tar -C "$work/cc-root" -cf "$work/three/1.tar" usr/lib/gcc
tar -C "$work/cc-root" -cf "$work/three/2.tar" --exclude=./usr/lib/gcc usr/lib/x86_64-linux-gnu
tar -C "$work/cc-root" -cf "$work/three/3.tar" usr/include
printf 'FROM scratch\nADD 1.tar /\nADD 2.tar /\nADD 3.tar /\nCMD ["x"]\n' >"$work/three/Dockerfile"
start 6 1
echo

build n1 -t "$registry/bench/three:1" "$work/three" >/dev/null
size=$(cat "$work"/three/*.tar | wc -c)
line "push of three layers, $((size / 1000000)) MB" "$(took ctl n1 image push "$registry/bench/three:1") ms"
outside skopeo copy -q --src-tls-verify=false --dest-tls-verify=false "docker://$registry/bench/three:1" "docker://$registry/elsewhere/three:1"
mkdir "$work/bare"
outside skopeo copy -q --src-tls-verify=false "docker://$registry/elsewhere/three:1" "dir:$work/blobs"
bare() { # decompress, hash both forms, write; a layer each
	local b
	for b in $(jq -r '.layers[].digest | sub("sha256:"; "")' "$work/blobs/manifest.json"); do
		mkdir "$work/bare/$b"
		tee >(sha256sum >"$work/bare/$b.packed") <"$work/blobs/$b" | gzip -dc | tee >(sha256sum >"$work/bare/$b.diff") | tar -C "$work/bare/$b" -xf - &
	done
	wait $(jobs -p | tail -n 3)
}
clear_bare() { rm -rf "$work/bare" "$work/copy" "$work/oci"; mkdir "$work/bare"; }
forget_n2() { forget n2; }
times "pull from a registry, cold" "<= 1500" forget_n2 ctl n2 image pull "$registry/elsewhere/three:1"
times "  bare: gzip, sha256 twice, tar, three at once" "" clear_bare bare
times "  skopeo, without unpacking" "" clear_bare outside skopeo copy -q --src-tls-verify=false "docker://$registry/elsewhere/three:1" "dir:$work/copy"
clear_bare
mkdir -p "$work/dock"
outside setsid dockerd --data-root "$work/dock/data" --exec-root "$work/dock/exec" --pidfile "$work/dock/pid" -H "unix://$work/dock/sock" \
	--iptables=false --ip6tables=false --bridge=none --insecure-registry "$registry" >"$work/dock/log" 2>&1 </dev/null &
within 30 dock version || echo "     Docker's daemon does not start: $(tail -n 1 "$work/dock/log")"
forget_docker() { dock system prune -af; }
times "  docker pull" "" forget_docker dock pull -q "$registry/elsewhere/three:1"
times "pull from another node, cold" "" forget_n2 ctl n2 image pull "$registry/bench/three:1"
all_pull() {
	local n pids=()
	for n in n2 n3 n4 n5 n6; do
		ctl $n image pull "$registry/bench/three:1" &
		pids+=($!)
	done
	wait "${pids[@]}"
}
forget_others() { forget n2 n3 n4 n5 n6; }
times "from one node to five at once ($(nproc) processors for all)" "" forget_others all_pull

echo
app=$work/app
cp -a "$here/storefront" "$app"
for b in node cc small; do build n1 -t $b "$work/$b" >/dev/null; done
change() { echo "console.log($RANDOM$RANDOM);" >"$app/react-app/src/main.js"; }
ours() { build n1 -t app:1 "$app"; }
forget_cache() { ctl n1 image rm app:1; ctl n1 image prune --build-cache; }
nothing() { true; }
times "three-stage build (npm, gcc), cold" "<= 1000" forget_cache ours
times "  one line of the front end changed" "<= 600" change ours
times "  nothing changed" "<= 100" nothing ours
bare_build() { # what its commands take by themselves, both stages at once
	{ chroot "$work/node-root" sh -c 'cd /app && npm install --no-audit --no-fund && npm run build'; } &
	{ chroot "$work/cc-root" sh -c 'cd /app && make --version && make'; } &
	wait $(jobs -p | tail -n 2)
}
fresh_bare() {
	rm -rf "$work/node-root/app" "$work/cc-root/app"
	cp -a "$app/react-app" "$work/node-root/app" && cp -a "$app" "$work/cc-root/app"
}
times "  bare: its commands in a chroot" "" fresh_bare bare_build
for b in node cc small; do dock build -q --network none -t $b "$work/$b" >/dev/null 2>&1; done
theirs() { DOCKER_BUILDKIT=0 dock build -q --network none -t app:1 "$app"; }
forget_theirs() { dock image rm -f app:1; dock image prune -f; }
export DOCKER_BUILDKIT=0
times "  docker build, cold" "" forget_theirs theirs
times "  docker build, changed" "" change theirs
times "  docker build, cached" "" nothing theirs
bah() { buildah --root "$work/bah/root" --runroot "$work/bah/run" --storage-driver overlay "$@"; }
bud() { bah bud -q --layers --isolation oci --runtime crun --network none -t "$1" "$2"; }
for b in node cc small; do bud $b "$work/$b" >/dev/null 2>&1; done
bah_app() { bud app:1 "$app"; }
forget_bah() { bah rmi -f app:1; bah rmi --prune -f; }
times "  buildah bud, cold" "" forget_bah bah_app
times "  buildah bud, changed" "" change bah_app
times "  buildah bud, cached" "" nothing bah_app
bah rmi -a -f >/dev/null 2>&1

echo
mkdir "$work/huge"
printf 'FROM cc\nRUN head -c 1000000000 /dev/zero > /zeros\n' >"$work/huge/Dockerfile"
build n1 -t "$registry/bench/huge:1" "$work/huge" >/dev/null
ctl n1 image push "$registry/bench/huge:1" >/dev/null
a=$(cat "$run/n2/agent.pid")
echo 5 >"/proc/$a/clear_refs"
took ctl n2 image pull "$registry/bench/huge:1" >"$work/ms"
line "agent's peak memory in a pull of 1.2 GB ($(cat "$work/ms") ms)" "$(awk '/^VmHWM/ { printf "%.1f MiB", $2 / 1024 }' "/proc/$a/status")"
end_docker
finish
