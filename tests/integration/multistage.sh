#!/bin/bash
# An application of the shape of AtSea's: a front end built by npm, a server built by a compiler, both
# copied into a small image; the bases are Debian's packages. There is no registry to ask: it is stopped.
set -uo pipefail
LAB=${LAB:-tatsea}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$top/deploy/lib/images.sh"

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

base() { # NAME TAR
	mkdir -p "$work/$1"
	ln "$2" "$work/$1/rootfs.tar" 2>/dev/null || cp "$2" "$work/$1/rootfs.tar"
	printf 'FROM scratch\nADD rootfs.tar /\nENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\nCMD ["/bin/sh"]\n' >"$work/$1/Dockerfile"
}
"$top/deploy/install-deps" build run lab
bases=$top/build/lab-bases
check "Debian's packages for a base with npm" debian_tar "$bases/node.tar" npm dash coreutils
check "and one with a compiler" debian_tar "$bases/cc.tar" gcc libc6-dev make dash coreutils
[ $failed = 0 ] || exit 1
base node "$bases/node.tar"
base cc "$bases/cc.tar"
base_root "$work/root"
tar -C "$work/root" --sort=name --mtime=@0 -cf "$work/small.tar" .
base small "$work/small.tar"

app=$work/app
mkdir -p "$app"/react-app/{src,words} "$app/src"
cat >"$app/react-app/package.json" <<'JSON'
{
  "name": "storefront", "version": "1.0.0", "private": true,
  "scripts": { "build": "node build.js" },
  "dependencies": { "words": "file:./words" }
}
JSON
echo '{ "name": "words", "version": "1.0.0", "main": "index.js" }' >"$app/react-app/words/package.json"
echo 'exports.greeting = "welcome to the storefront";' >"$app/react-app/words/index.js"
cat >"$app/react-app/build.js" <<'JS'
const fs = require("fs");
fs.mkdirSync("build/static", { recursive: true });
fs.writeFileSync("build/index.html", require("words").greeting);
fs.writeFileSync("build/static/main.js", fs.readFileSync("src/main.js"));
JS
echo 'console.log("shop");' >"$app/react-app/src/main.js"
cat >"$app/src/main.c" <<'C'
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int answer(void);

int main(int argc, char **argv)
{
	char line[100] = "";
	FILE *f = fopen("/static/index.html", "r");

	if (f == NULL || fgets(line, sizeof line, f) == NULL || argc < 2)
		return 1;
	printf("profile %s serves %s, %d\n", argv[1], line, answer());
	fflush(stdout);
	for (;;)
		pause();
}
C
echo 'int answer(void) { return 42; }' >"$app/src/answer.c"
printf 'server: src/main.c src/answer.c\n\tgcc -O2 -Wall -static -o $@ $^\n' >"$app/Makefile"
printf 'react-app/node_modules\n*.log\n' >"$app/.dockerignore"
cat >"$app/Dockerfile" <<'DOCKERFILE'
FROM node:latest AS storefront
WORKDIR /usr/src/atsea/app/react-app
COPY react-app .
RUN npm install --no-audit --no-fund
RUN npm run build

FROM cc:latest AS appserver
WORKDIR /usr/src/atsea
COPY Makefile .
RUN make --version
COPY . .
RUN make

FROM small
RUN echo gordon:x:1000:1000::/home/gordon:/bin/sh >> /etc/passwd && mkdir -p /home/gordon && chown 1000:1000 /home/gordon
WORKDIR /static
COPY --from=storefront /usr/src/atsea/app/react-app/build/ .
WORKDIR /app
COPY --from=appserver /usr/src/atsea/server .
USER gordon
ENTRYPOINT ["/app/server"]
CMD ["postgres"]
DOCKERFILE
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
