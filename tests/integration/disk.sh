#!/bin/bash
# A small disk for the images of one node: what happens when it is full in each step, and what is
# collected before it is.
set -uo pipefail
LAB=${LAB:-tdisk}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$top/deploy/lib/images.sh"

registry=192.168.77.250:5000
images=/var/lib/swarm-lab/$LAB/n2/images
mkdir -p "$images"
mount -t tmpfs -o size=96m,mode=711 images "$images"

build() { ctl "$1" image build --progress plain "${@:2}"; }
file() { printf '%b' "$2" | build "$1" "${@:3}" -; } # NODE DOCKERFILE ARGS...: without a context
full() { says 'no space left|disk.*full' not "$@"; }
not() { if "$@"; then echo "it worked"; return 1; fi; }
nothing_half() { [ -z "$(ls "$images/tmp" "$run/n2/run/build/bundles" "$run/n2/run/build/mounts" | grep -v ':$' | grep .)" ]; }
has() { ctl n2 image ls --format '{{.Repository}}:{{.Tag}}' | sed 's|^docker.io/library/||' | grep -x "$1"; }
has_not() { ! has "$1"; }
image() { # NAME MIB: on n1, with as many bytes of noise
	mkdir -p "$work/$1"
	head -c "$(($2 << 20))" /dev/urandom >"$work/$1/noise"
	printf 'FROM small\nCOPY noise /noise\n' >"$work/$1/Dockerfile"
	build n1 -q -t "$1:1" "$work/$1" >/dev/null
}

mkdir -p "$work/small"
base_root "$work/root"
tar -C "$work/root" -cf "$work/small/rootfs.tar" .
printf 'FROM scratch\nADD rootfs.tar /\nENV PATH=/bin\nCMD ["sleep", "100000"]\n' >"$work/small/Dockerfile"

start 2 1
check "a small image" build n1 -q -t small "$work/small"
image big 110
ctl n1 image tag big:1 "$registry/disk/big:1" && ctl n1 image push "$registry/disk/big:1" >/dev/null
check "a copy that only the registry has" nsenter --net="/run/netns/swl-$LAB-reg" skopeo copy -q --src-tls-verify=false \
	--dest-tls-verify=false "docker://$registry/disk/big:1" "docker://$registry/other/big:1"
ctl n1 service create -q -d --name steady --constraint node.hostname==n2 small >/dev/null
check "a service of the small one" within 20 runs n1 steady 1

echo "== full"
check "a pull from a node" full ctl n2 image pull big:1
check "a pull from a registry" full ctl n2 image pull "$registry/other/big:1"
ctl n1 image save big:1 >"$work/big.tar"
check "a load" full sh -c "'$lab' ctl n2 image load <'$work/big.tar'"
check "a context" full build n2 "$work/big"
check "which is said before it is sent" says 'the disk of the builder would be full: 110 MiB .* are free.*dockerignore' build n2 "$work/big"
check "a command of a build" full file n2 'FROM small\nRUN dd if=/dev/zero of=/zeros bs=1M count=200\n'
check "nothing half done is kept" within 10 nothing_half
check "what fits is built" file n2 'FROM small\nRUN echo fits > /fits\n' -t fits
check "an image to send" file n2 'FROM small\nRUN head -c 12000000 /dev/urandom > /noise\n' -t "$registry/disk/noise:1"
head -c 200000000 /dev/zero >"$images/filler" 2>/dev/null
check "no byte left: a build" full file n2 'FROM small\nRUN echo more > /more\n'
check "no byte left: a push" full ctl n2 image push "$registry/disk/noise:1"
check "no byte left: a pull" full ctl n2 image pull "$registry/other/big:1"
check "an image is saved" sh -c "'$lab' ctl n2 image save small | tar -tO >/dev/null"
check "images are listed" has small:latest
check "the service runs on" runs n1 steady 1
"$lab" kill n2 agent
check "the agent starts" "$lab" start n2
check "and takes its service over" within 10 runs n1 steady 1
rm "$images/filler"
check "with room again: a push" ctl n2 image push "$registry/disk/noise:1"
ctl n2 image rm "$registry/disk/noise:1" >/dev/null
check "a build" within 10 file n2 'FROM small\nRUN echo more > /more\n'
check "nothing half done is kept" within 10 nothing_half

echo "== cache folders of builds"
cached() { ls -d "$images"/cache/*/x; }
cached_not() { ! cached; }
prune_says() { says "$1" ctl n2 image prune --build-cache; }
file n2 'FROM small\nRUN --mount=type=cache,target=/c echo kept > /c/x; until [ -e /c/go ]; do sleep 0.1; done\n' >"$work/slow.log" 2>&1 &
slow=$!
check "a build uses one" within 20 cached
check "a prune leaves it" prune_says 'removed 0 cache folders'
check "it is there" cached
touch "$(dirname "$(cached)")/go"
check "the build goes on to its end" wait $slow
check "then a prune removes it" prune_says 'removed 1 cache folder$'
check "it is gone" cached_not
check "a private one" file n2 'FROM small\nRUN --mount=type=cache,sharing=private,target=/c echo mine > /c/x\n'
check "leaves nothing half" within 10 nothing_half
check "and is kept for the next" file n2 'FROM small\nRUN --mount=type=cache,sharing=private,target=/c grep mine /c/x\n'

echo "== fuller than the watermark"
ctl n2 image prune -a --build-cache >/dev/null
rm -rf "$images"/pool/*
for i in one two three four; do image $i 19; done
ctl n1 service create -q -d --name kept --constraint node.hostname==n1 one:1 >/dev/null
check "a service has two revisions" ctl n1 service update -d --image two:1 kept
check "a cache folder" file n2 'FROM small\nRUN --mount=type=cache,target=/c echo kept > /c/x\n'
check "it is kept" cached
check "an image that no other node has" file n2 'FROM small\nRUN head -c 3000000 /dev/urandom > /noise\n' -t own:1
for i in one two three; do check "there is room for $i" ctl n2 image pull $i:1; done
for i in one two three; do check "$i is there" has $i:1; done
check "and less for the next" ctl n2 image pull four:1
check "the oldest that nothing names goes" within 20 has_not three:1
check "and the cache folder" within 5 cached_not
for i in one two four small own; do check "$i stays" has "$(echo $i:1 | sed s/small:1/small:latest/)"; done
check "pulled again" ctl n2 image pull three:1
check "now the other one goes" within 20 has_not four:1
for i in one two three own; do check "$i stays" has $i:1; done
check "the giver has all" is 4 sh -c "'$lab' ctl n1 image ls --format '{{.Repository}}' | grep -cE '(^|/)(one|two|three|four)\$'"
check "the agent told" grep -q 'fuller than the watermark' "$run/n2/agent.log"

finish
