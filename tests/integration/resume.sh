#!/bin/bash
# A pull that the end of the agent cut off goes on from where it was. A node of its own.
set -uo pipefail
LAB=${LAB:-tres}
reg=192.168.77.250:5001
export SWARM_AGENT_OPTIONS="--insecure-registry $reg"
. "$(dirname "$(readlink -f "$0")")/lib.sh"
start 1 1
store=/var/lib/swarm-lab/$LAB/n1/images

nsenter --net="/run/netns/swl-$LAB-reg" python3 "$here/bad_registry.py" 192.168.77.250 5001 &
servers+=($!)
ask() { nsenter --net="/run/netns/swl-$LAB-reg" curl -sf "http://$reg/v2/$1"; }
within 60 ask "" || exit 1

parts() { ls "$store/part" 2>/dev/null; }
part_is() { is "$1" stat -c %s "$store"/part/*; }
half=$((4 << 20))
cut_off() { # REPOSITORY: in the middle of its blob
	ctl n1 image pull "$reg/$1:1" >"$work/client" 2>&1 &
	local client=$!
	check "$1: half of the blob is kept" within 20 part_is $half
	"$lab" kill n1 agent
	wait $client
	"$lab" start n1 >/dev/null 2>&1 || bad "start"
}
whole() { cmp <(cat "$store"/l/*/noise) "$work/noise"; }
noise() { python3 -c 'import hashlib, sys; sys.stdout.buffer.write(b"".join(hashlib.sha256(b"%s %d" % (sys.argv[1].encode(), i)).digest() for i in range(1 << 18)))' "$1" >"$work/noise"; }
gone() { ctl n1 image rm "$reg/$1:1" >/dev/null; }

echo "== Range"
noise trickle
cut_off trickle
check "the part outlives the agent" part_is $half
check "the pull goes on" ctl n1 image pull $reg/trickle:1
check "no byte was sent twice" is "$(ask size/trickle/x)" ask sent/trickle/x
check "the content is right" whole
check "the part is gone" is "" parts
gone trickle

echo "== a registry that knows no Range"
noise deaf
cut_off deaf
check "the pull works" ctl n1 image pull $reg/deaf:1
check "all was sent again" is "$((half + $(ask size/deaf/x)))" ask sent/deaf/x
check "the content is right" whole
check "the part is gone" is "" parts
gone deaf

echo "== a part that is not what came"
ask reset/trickle/x >/dev/null
noise trickle
cut_off trickle
printf 'xxxx' | dd of="$(ls "$store"/part/*)" conv=notrunc bs=1 seek=2000000 2>/dev/null
check "the pull works" ctl n1 image pull $reg/trickle:1
check "the content is right" whole
check "the part is gone" is "" parts
gone trickle

echo "== layers that were done"
layers() { ls "$store/l" | wc -l; }
sql() { python3 -c 'import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); print(db.execute(sys.argv[2]).fetchone() or ""); db.commit()' "$store/images.db" "$1"; }
check "another image" ctl n1 image pull busybox
others=$(layers)
cut_off pair
check "stay, the host did not go down" is $((others + 1)) layers
mkdir "$work/ctx"
printf 'FROM scratch\nADD Dockerfile /\nCOPY nothing /\n' >"$work/ctx/Dockerfile"
check "a build fails at its second step" says "nothing" not ctl n1 image build "$work/ctx"
check "its first is kept" is $((others + 2)) layers
check "the other image is removed" ctl n1 image rm busybox
check "and those without a name" ctl n1 image prune
check "layers that were done stay" is 2 layers
"$lab" kill n1 agent
sql "UPDATE life SET boot = 'another'" >/dev/null
"$lab" start n1 >/dev/null 2>&1 || bad "start"
check "go when it did: nobody knows what of them is on the disk" is 0 layers
check "steps of builds too" is "(0,)" sql "SELECT count(*) FROM steps WHERE layer IS NOT NULL"
check "the pull goes on" ctl n1 image pull $reg/pair:1
printf 'FROM scratch\nADD Dockerfile /\n' >"$work/ctx/Dockerfile"
check "a build that ends" ctl n1 image build -q -t whole:1 "$work/ctx"
"$lab" kill n1 agent
sql "UPDATE life SET boot = 'another'" >/dev/null
"$lab" start n1 >/dev/null 2>&1 || bad "start"
check "what an image has stays" is 3 layers
check "and what its build did" is "(1,)" sql "SELECT count(*) FROM steps WHERE layer IS NOT NULL"
gone pair

echo "== what nobody comes back for"
ask reset/trickle/x >/dev/null
cut_off trickle
"$lab" kill n1 agent
touch -d '25 hours ago' "$store"/part/*
"$lab" start n1 >/dev/null 2>&1 || bad "start"
check "goes after a day" is "" parts
ask reset/trickle/x >/dev/null
cut_off trickle
check "not with a prune" ctl n1 image prune
check "it is there" part_is $half
check "but with one of all" ctl n1 image prune -a
check "it is gone" is "" parts

finish
