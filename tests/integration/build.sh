#!/bin/bash
# Building images on real nodes: what a Dockerfile may say, what may go wrong, and what is left after
# kill -9. No registry is asked: every base is made here. KILLS (8) is how often the agent is killed.
set -uo pipefail
LAB=${LAB:-tbuild}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$top/deploy/lib/images.sh"

refused() { # WHAT PATTERN COMMAND...
	local what=$1 pattern=$2
	shift 2
	if "$@" >"$work/out" 2>&1; then bad "$what: it was taken"; return; fi
	if grep -qE "$pattern" "$work/out"; then ok "$what"; else bad "$what: said $(tail -n 1 "$work/out")"; fi
}
build() { # NODE ARGS... ("-" reads a Dockerfile)
	local node=$1
	shift
	ctl "$node" image build --progress plain "$@"
}
file() { printf '%b' "$1" | build n1 "${@:2}" -; } # a Dockerfile without a context
said() { grep -qE "$1" "$work/out"; }
layers() { ctl "$1" image save "$2" | tar -xOf - index.json; }
build_leftovers() { # NODE: processes, mounts, bundles, secrets of builds
	local run=/run/swarm-lab/$LAB/$1/run/build
	[ -z "$(ls "$run/bundles" "$run/mounts" "$run/secrets" "$run/oci" 2>/dev/null | grep -v ':$' | grep .)" ] &&
		! "$lab" exec "$1" grep -q "$run/mounts" /proc/mounts && ! pgrep -f "sleep 4711" >/dev/null
}

mkdir -p "$work/ctx/src/deep" "$work/root"
base_root "$work/root"
tar -C "$work/root" -cf "$work/ctx/rootfs.tar" .
echo 'int main;' >"$work/ctx/src/main.c"
echo 'x' >"$work/ctx/src/deep/x"
echo 'secret-value-4711' >"$work/secret"
printf '*.log\n' >"$work/ctx/.dockerignore"
echo no >"$work/ctx/a.log"
cat >"$work/ctx/Dockerfile" <<'DOCKERFILE'
FROM scratch AS base
ADD rootfs.tar /
ENV PATH=/bin:/usr/bin

FROM base AS front
WORKDIR /front
COPY src/main.c .
RUN echo front > bundle.js && sleep 0.2

FROM base AS back
WORKDIR /back
ARG VERSION=1
COPY --parents src/./deep/x /back/
RUN --mount=type=secret,id=key test "$(wc -c < /run/secrets/key)" = 18 && cat /run/secrets/key
RUN --mount=type=cache,target=/root/.m2 echo $VERSION > app.jar && echo run >> /root/.m2/log && wc -l < /root/.m2/log

FROM base AS unused
RUN exit 1

FROM base
COPY --from=front /front /static
COPY --from=back --chown=daemon:daemon /back/app.jar /app/
COPY --chmod=755 <<'EOF' /entry
#!/bin/sh
echo "started with $1"; exec sleep 100000
EOF
USER daemon
EXPOSE 8080
ENTRYPOINT ["/entry"]
CMD ["x"]
DOCKERFILE

echo "== up, without images in the registry"
start 2 2
args=(--secret "id=key,src=$work/secret" -t app:1 "$work/ctx")

echo "== a build"
check "three stages build" build n1 "${args[@]}"
cp "$work/out" "$work/first"
check "an unused stage is not built" sh -c "! grep -q unused '$work/first'"
check "both stages that are used" sh -c "grep -q 'front 3/3' '$work/first' && grep -q 'back 3/5' '$work/first'"
began=$(date +%s%N)
check "the second time it is cached" build n1 "${args[@]}"
took=$((($(date +%s%N) - began) / 1000000))
if said 'DONE'; then bad "a step was done again: $(grep DONE "$work/out" | head -n 1)"; else ok "nothing is done again (it took $took ms)"; fi
check "another node with an empty cache" build n2 "${args[@]}"
if [ -n "$(layers n1 app:1)" ] && [ "$(layers n1 app:1)" = "$(layers n2 app:1)" ]; then ok "same digests on both"; else bad "digests differ"; fi
echo 'int main2;' >"$work/ctx/src/main.c"
check "one file changed" build n1 "${args[@]}"
if grep -q 'base 1/2' "$work/out" && grep -A1 'back 3/5' "$work/out" | grep -q CACHED && ! grep -A1 'front 2/3' "$work/out" | grep -q CACHED; then ok "only what it touches is done again"; else bad "cache"; fi
check "the result runs" sh -c "printf 'services:\n  app:\n    image: app:1\n    deploy: {placement: {constraints: [node.hostname == n1]}}\n' >'$work/s.yml' && '$lab' ctl n1 stack deploy --timeout 20s -c '$work/s.yml' st"
check "and said so" within 5 sh -c "'$lab' ctl n1 service logs st_app | grep -q 'started with x'"

echo "== a stack file that said how to build"
mkdir -p "$work/stack/web"
printf 'FROM app:1\nUSER root\nARG V\nENV V=$V\nENTRYPOINT []\nCMD ["sh","-c","trap exit TERM; echo v=$V; sleep 1000 & wait"]\n' >"$work/stack/web/Dockerfile"
printf 'services:\n  web:\n    build: {context: web, args: {V: "1"}}\n    deploy: {replicas: 4}\n' >"$work/stack/stack.yml"
check "is built and deployed on both nodes" ctl n1 stack deploy --build --timeout 30s -c "$work/stack/stack.yml" bs
check "runs what was built" within 5 sh -c "'$lab' ctl n1 service logs bs_web | grep -q v=1"
if ctl n1 stack deploy --build --timeout 30s -c "$work/stack/stack.yml" bs 2>&1 | grep -q 'Nothing changes'; then ok "again, nothing changes"; else bad "a second deploy changed something"; fi
sed -i 's/"1"/"2"/' "$work/stack/stack.yml"
check "a change is rolled out" ctl n1 stack deploy --build --timeout 60s -c "$work/stack/stack.yml" bs
check "and runs" within 5 sh -c "'$lab' ctl n1 service logs bs_web | grep -q v=2"
ctl n1 stack rm bs >/dev/null 2>&1

cat >"$work/stack/plan.yml" <<'YML'
services:
  here: { image: app:1, build: web }
  gone: { image: nowhere:1, build: web }
YML
plan() { ctl n1 stack plan -c "$work/stack/plan.yml" plan; }
check "without --build: told of an image that no node has" says 'service plan_gone: no node has the image nowhere:1.*--build' plan
check "and nothing is said of one that is there" is 1 sh -c "'$lab' ctl n1 stack plan -c '$work/stack/plan.yml' plan 2>&1 | grep -cE 'warning|build'"

echo "== elsewhere"
check "on another node" ctl n1 image build -q --on n2 -t there:1 "$work/stack/web"
check "the image is there" sh -c "'$lab' ctl n2 image ls --format '{{.Repository}}' | grep -q there"
ctl n1 operator issue ann -o "$work/ann.ctx" >/dev/null 2>&1
far() { nsenter --net="/run/netns/swl-$LAB" env -i HOME="$work" PATH=/usr/bin:/bin SWARM_RUN_DIR=/nowhere "$top/build/release/bin/swarmctl" "$@"; }
far context import "$work/ann.ctx" >/dev/null 2>&1
far context use ann >/dev/null 2>&1
check "from a laptop, with an operator's file" far image build -q -t far:1 "$work/stack/web"
refused "on a node that is none" 'nosuch' far image build -q --on nosuch "$work/stack/web"

echo "== secrets"
ctl n1 image save app:1 >"$work/app.tar"
mkdir "$work/app" && tar -C "$work/app" -xf "$work/app.tar"
if grep -rqa secret-value-4711 "$work/app" /var/lib/swarm-lab/"$LAB"/n1 /run/swarm-lab/"$LAB"/n1/agent.log "$work/first"; then bad "the secret is in a layer, the cache or a log"; else ok "the secret is nowhere"; fi

echo "== outputs"
check "a folder" sh -c "'$lab' ctl n1 image build -q --secret id=key,src=$work/secret -o $work/local '$work/ctx' && [ -x '$work/local/entry' ]"
check "an OCI archive that skopeo takes" sh -c "'$lab' ctl n1 image build -q --secret id=key,src=$work/secret -o type=oci,dest=$work/oci.tar '$work/ctx' && skopeo inspect oci-archive:$work/oci.tar"
check "a docker archive, loaded on the other node" sh -c "'$lab' ctl n1 image save app:1 | '$lab' ctl n2 image load"
check "an id file" sh -c "'$lab' ctl n1 image build -q --secret id=key,src=$work/secret --iidfile $work/iid '$work/ctx' && grep -q '^sha256:' '$work/iid'"
check "history" sh -c "'$lab' ctl n1 image history app:1 | grep -q 'COPY --from=front'"

echo "== files that are refused"
refused "an unknown instruction" 'did you mean ENTRYPOINT' file 'FROM scratch\nFNTRYPOINT x\n'
refused "no FROM" 'no build stage' file 'RUN x\n'
refused "an unknown stage" 'target stage "x"' file 'FROM scratch\n' --target x
refused "a file that is not there" 'Dockerfile:2: "nosuch": not found' file 'FROM scratch\nCOPY nosuch /\n'
refused "a bad mode" 'chmod' file 'FROM scratch\nCOPY --chmod=9 <<E /x\nE\n'
refused "an unknown mount" 'unsupported mount type' file 'FROM app:1\nRUN --mount=type=bogus true\n'
refused "a secret that was not given" 'secret nokey' file 'FROM app:1\nRUN --mount=type=secret,id=nokey,required=true true\n'
refused "a command that fails, with its status" 'exit code: 3' file 'FROM app:1\nUSER root\nRUN exit 3\n'
refused "a variable that must be set" 'X: is needed' file 'FROM scratch\nENV A="${X:?is needed}"\n'
refused "a base that nobody has" 'FROM|pull' file 'FROM 127.0.0.1:1/no/such:1\n'
check "a warning names its rule" file 'FROM scratch\nENV a b\nCOPY <<E /x\nE\n'
if said 'Dockerfile:2: LegacyKeyValueFormat'; then ok "with its line"; else bad "no line"; fi

echo "== contexts that want out"
mkdir -p "$work/out1/d"
ln -s /etc/passwd "$work/out1/link"
ln -s ../../../../../../etc "$work/out1/d/up"
printf 'FROM scratch\nCOPY . /x/\n' >"$work/out1/Dockerfile"
check "links are copied as links" build n1 -t out1 "$work/out1"
if ctl n1 image build -q -o "$work/out1o" "$work/out1" >/dev/null 2>&1 && [ "$(readlink "$work/out1o/x/link")" = /etc/passwd ]; then ok "and lead where they led"; else bad "links"; fi
printf 'FROM scratch\nCOPY link /x\n' >"$work/out1/Dockerfile"
refused "a source that leads out" 'not found' build n1 "$work/out1"
printf 'FROM scratch\nCOPY d/up/hostname /x\n' >"$work/out1/Dockerfile"
refused "a folder that leads out" 'not found' build n1 "$work/out1"
printf 'FROM app:1\nUSER root\nRUN ln -s / /esc\nCOPY a /esc/a\nRUN test -f /a\n' >"$work/out1/Dockerfile"
echo a >"$work/out1/a"
check "a link in the image stays in the image" build n1 "$work/out1"
[ ! -e /a ] && ok "nothing came out" || bad "a file came out"

echo "== networks and limits"
check "the network of a build has a way out and names" file 'FROM app:1\nUSER root\nRUN ip addr | grep -q eth && grep -q 127.0.0.11 /etc/resolv.conf\n'
check "none is none" file 'FROM app:1\nUSER root\nRUN --network=none [ "$(ls /sys/class/net | wc -l)" = 1 ]\n'
refused "memory is bounded" 'exit code' file 'FROM app:1\nUSER root\nRUN dd if=/dev/zero of=/dev/null bs=200M count=1\n' --memory 50m
check "nothing of the runtime stays in the image" sh -c "printf 'FROM app:1\nUSER root\nRUN true\n' | '$lab' ctl n1 image build -q -o '$work/clean' - && [ ! -e '$work/clean/etc/hosts' ] && [ ! -e '$work/clean/.swarm' ]"

echo "== cancelled"
printf 'FROM app:1\nUSER root\nRUN sleep 4711\n' >"$work/slow"
timeout -s INT 1 "$lab" ctl n1 image build -f "$work/slow" "$work/out1" >/dev/null 2>&1
check "nothing runs on" within 5 build_leftovers n1

echo "== kill -9"
digest=$(layers n1 app:1)
for i in $(seq "${KILLS:-8}"); do
	build n1 --no-cache "${args[@]}" >/dev/null 2>&1 &
	client=$!
	sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
	"$lab" kill n1 agent >/dev/null
	wait $client 2>/dev/null
	"$lab" start n1 >/dev/null || bad "start after kill $i"
	build_leftovers n1 || { bad "left after kill $i"; ls -R /run/swarm-lab/"$LAB"/n1/run/build | head -20; }
done
check "the next build works" build n1 "${args[@]}"
[ "$(layers n1 app:1)" = "$digest" ] && ok "its digests are right" || bad "digests after the kills"
[ -z "$(ls /var/lib/swarm-lab/"$LAB"/n1/images/tmp)" ] && ok "no half work on the disk" || bad "tmp: $(ls /var/lib/swarm-lab/"$LAB"/n1/images/tmp | head -3)"

finish
