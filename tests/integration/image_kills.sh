#!/bin/bash
# The agent is killed KILLS (20) times at random moments of builds, pulls, loads and pushes. Nothing is damaged,
# nothing is left behind, and in the end the digests are right. SEED repeats a run's choices.
set -uo pipefail
LAB=${LAB:-tkill}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$top/deploy/lib/images.sh"

registry=192.168.77.250:5000
kills=${KILLS:-20}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
RANDOM=$seed
echo "SEED=$seed"
store=/var/lib/swarm-lab/$LAB/n2/images
run2=$run/n2/run

mkdir -p "$work/ctx/src" "$work/root"
base_root "$work/root"
for i in 1 2 3 4 5 6 7 8; do head -c 4000000 /dev/urandom >"$work/ctx/src/$i"; done
head -c 24000000 /dev/urandom >"$work/root/noise"
tar -C "$work/root" -cf "$work/ctx/rootfs.tar" .
echo secret-4711 >"$work/secret"
cat >"$work/ctx/Dockerfile" <<'DOCKERFILE'
FROM scratch AS base
ADD rootfs.tar /
ENV PATH=/bin

FROM base AS one
WORKDIR /one
COPY src .
RUN --mount=type=secret,id=key --mount=type=cache,target=/c cat 1 2 3 4 | gzip -1 | wc -c > size; echo x >> /c/x; rm 5 6 7 8; sleep 0.2

FROM base AS two
COPY src/5 src/6 /two/
RUN mkdir -p /two/deep && cp /two/5 /two/deep && chmod 4755 /two/deep/5 && sleep 0.1

FROM base
COPY --from=one /one /one
COPY --from=two /two /two
CMD ["sleep", "100000"]
DOCKERFILE

build() { ctl "$1" image build --progress plain "${@:2}" --secret "id=key,src=$work/secret" -t "$registry/kill/app:1" "$work/ctx"; }
pull() { ctl n2 image pull "$1"; }
forget() { ctl n2 image prune -a --build-cache; ctl n2 image rm "$1"; ctl n2 image prune -a --build-cache; }
digests() { ctl "$1" image save "$registry/kill/app:1" | tar -xOf - index.json; }
ms() { echo $(($(date +%s%N) / 1000000)); }
took() { local t; t=$(ms); "$@" >"$work/out" 2>&1 || { bad "$*"; cat "$work/out"; exit 1; }; echo $(($(ms) - t)); }

# Each line is something that must not be there.
left_of_builds() {
	ls "$run2/build/bundles" "$run2/build/mounts" "$run2/build/secrets" "$run2/build/oci" 2>/dev/null | grep -v ':$' | grep .
	# One memory file system for secrets stands as long as the agent may build.
	on n2 awk -v d="$run2/build/" 'index($2, d) == 1 && ($2 != d "secrets" || n++) { print "mounted: " $2 }' /proc/mounts
	containers n2
	ls "$store/tmp"
	true
}
# Folders without a row, rows without a folder, layers that nothing names.
left_in_store() {
	python3 - "$store" <<'PY'
import os, sqlite3, sys
store = sys.argv[1]
db = sqlite3.connect(f"file:{store}/images.db?mode=ro", uri=True)
def base36(n):
    s = ""
    while n:
        s, n = "0123456789abcdefghijklmnopqrstuvwxyz"[n % 36] + s, n // 36
    return s or "0"
rows = {base36(n) for (n,) in db.execute("SELECT n FROM layers")}
for kind in "l", "s":
    there = set(os.listdir(f"{store}/{kind}"))
    for name in sorted(there ^ rows):
        print(f"{kind}/{name}: " + ("no row" if name in there else "not there"))
for (n,) in db.execute("SELECT n FROM layers WHERE n NOT IN (SELECT layer FROM image_layers)"
                       " AND n NOT IN (SELECT layer FROM steps WHERE layer IS NOT NULL)"):
    print(f"layer {base36(n)}: nothing names it")
PY
}

start 2 1
built=$(took build n1)
want=$(digests n1)
ctl n1 image push "$registry/kill/app:1" >/dev/null || bad "push"
pulled=$(took pull "$registry/kill/app:1")
echo "a build takes $built ms, a pull $pulled ms"

ctl n1 image save "$registry/kill/app:1" >"$work/app.tar"
what=(build pull load pull-registry build push)
for ((i = 0; i < kills; i++)); do
	kind=${what[i % ${#what[@]}]}
	forget "$registry/kill/app:1" >/dev/null 2>&1
	[ $kind != pull-registry ] || "$lab" cut n1 n2 # no node to ask: the registry only
	case $kind in
	build)
		[ $((i % 6)) = 0 ] || build n2 >/dev/null 2>&1 # with a cache to use, every other time
		moment=$((RANDOM % (built + 1)))
		build n2 $([ $((i % 6)) = 0 ] || echo --no-cache) >"$work/client" 2>&1 &
		;;
	load)
		moment=$((RANDOM % (pulled + 1)))
		ctl n2 image load <"$work/app.tar" >"$work/client" 2>&1 &
		;;
	push) # to a repository of its own each time, so that there is something to send
		pull "$registry/kill/app:1" >/dev/null 2>&1
		ctl n2 image tag "$registry/kill/app:1" "$registry/kill$i/app:1"
		moment=$((RANDOM % (pulled + 1)))
		ctl n2 image push "$registry/kill$i/app:1" >"$work/client" 2>&1 &
		;;
	*)
		moment=$((RANDOM % (pulled + 1)))
		pull "$registry/kill/app:1" >"$work/client" 2>&1 &
		;;
	esac
	client=$!
	sleep "$(printf '%d.%03d' $((moment / 1000)) $((moment % 1000)))"
	"$lab" kill n2 agent
	wait $client
	"$lab" heal
	"$lab" start n2 >/dev/null 2>&1 || bad "start after kill $i, in a $kind after $moment ms"
	check "kill $((i + 1)), in a $kind after $moment ms: nothing is left" within 10 is "" left_of_builds
done

echo "== after all of them"
check "what was cut off can be pruned" ctl n2 image prune -a
check "the store has what it says" within 5 is "" left_in_store
forget "$registry/kill/app:1" >/dev/null 2>&1
check "a pull works" within 20 pull "$registry/kill/app:1"
check "with the right digests" is "$want" digests n2
forget "$registry/kill/app:1" >/dev/null 2>&1
check "a build works" build n2 --no-cache
check "with the right digests" is "$want" digests n2
check "no secret is on the disk" not grep -rqa secret-4711 "$store" "$run/n2/agent.log"
check "the store has what it says, again" is "" left_in_store
forget "$registry/kill/app:1" >/dev/null 2>&1
rm -rf "$store/pool" # contents of contexts, kept for the next build
check "and is empty when all is forgotten" within 5 is "" sh -c "ls '$store/l' '$store/s' '$store/tmp' '$store/part' 2>/dev/null | grep -v ':\$' | grep ."

finish
