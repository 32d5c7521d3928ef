#!/bin/bash
# An application of the shape of AtSea's: a front end built by npm, a server built by a compiler, both
# copied into a small image; the bases are Debian's packages. There is no registry to ask: it is stopped.
set -uo pipefail
LAB=${LAB:-tatsea}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$top/deploy/lib/images.sh"
. "$here/storefront/bases.sh"

build() { # NODE ARGS...
	local node=$1
	shift
	ctl "$node" image build --progress plain "$@"
}
digests() { ctl "$1" image save "$2" | tar -xOf - index.json; }
steps_done() { # of the build that said $work/said, but for FROM: those that were not cached
	awk '$2 == "FROM" { from[$1] = 1 } $2 == "DONE" && !($1 in from)' "$work/said"
}
spread() { # N: each of N nodes runs a task of the service
	[ "$(nodes_of shop_app | wc -l)" = "$1" ]
}
told() { # N: tasks that said what both stages gave
	[ "$(ctl n1 service logs shop_app 2>/dev/null | grep -c 'profile postgres serves welcome to the storefront, 42$')" -ge "$1" ]
}
bases() { # NODE
	local b
	for b in node cc small; do build "$1" -q -t "$b" "$work/$b" || return 1; done
}

"$top/deploy/install-deps" build run lab peer || { echo "skipped: its packages can't be installed"; exit 77; }
check "Debian's packages for the bases" storefront_bases "$work"
[ $failed = 0 ] || exit 1
app=$work/app
cp -a "$here/storefront" "$app"

cat >"$work/stack.yml" <<'YML'
services:
  app:
    image: atsea:1
    deploy: { replicas: 5 }
YML

start 3 1
kill -9 "$(cat "$run/registry.pid")"

echo "== on n1"
check "bases of Debian's packages" bases n1
check "three stages" build n1 -t atsea:1 "$app"
[ $failed = 0 ] || exit 1
check "again" build n1 -t atsea:1 "$app"
cp "$work/out" "$work/said"
check "all of it is cached" is "" steps_done
echo 'console.log("more");' >"$app/react-app/src/main.js"
check "one line of the front end changed" build n1 -t atsea:2 "$app"
if grep -A3 'RUN make$' "$work/out" | grep -q CACHED; then bad "make came from the cache, but COPY . . reads the line"; else ok "what reads it is done again"; fi
echo 'console.log("shop");' >"$app/react-app/src/main.js"
check "back to what it was" build n1 -t atsea:1 "$app"
cp "$work/out" "$work/said"
check "comes from the cache" is "" steps_done

echo "== five of them"
check "run" ctl n1 stack deploy --timeout 60s -c "$work/stack.yml" shop
check "on all nodes" spread 3
check "each has what both stages made" within 10 told 5

echo "== on n2 with an empty cache"
ctl n1 stack rm shop >/dev/null
check "nothing of it is there" within 20 sh -c "'$lab' ctl n2 image prune -a --build-cache >/dev/null 2>&1; [ -z \"\$('$lab' ctl n2 image ls -q)\" ]"
check "bases" bases n2
check "the application" build n2 -t atsea:1 "$app"
if grep -q CACHED "$work/out"; then bad "the cache was not empty: $(grep -B1 CACHED "$work/out" | head -n 2)"; else ok "each step was done"; fi
for i in node cc small atsea:1; do
	if [ -n "$(digests n1 $i)" ] && [ "$(digests n1 $i)" = "$(digests n2 $i)" ]; then ok "$i has the digest that it has on n1"; else bad "$i differs"; fi
done

finish
