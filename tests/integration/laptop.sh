#!/bin/bash
# From a namespace with only swarmctl and an operator's file: the whole of a stack's life.
set -uo pipefail
LAB=${LAB:-ilaptop}
. "$(dirname "$(readlink -f "$0")")/lib.sh"

# From a folder that only root can enter, as a home is; the manager's user is not root.
. "$top/deploy/lib/common.sh"
mkdir -m 700 "$work/programs"
cp "$(build_programs)"/swarm* "$work/programs/"
export SWARM_BIN=$work/programs
start 2 1

mkdir "$work/home" "$work/bin"
cp "$(cat "$run/bin")/swarmctl" "$work/bin/"
cat >"$work/stack.yml" <<'YML'
services:
  web:
    image: busybox
    command: sh -c 'echo hello from web; exec sleep 100000'
    init: true
    configs: [{ source: c, target: /c }]
    deploy: { replicas: 3 }
configs:
  c: { content: "a config" }
YML
# The switch's namespace has neither agent nor sockets; its view of /run and /var/lib is empty.
laptop() {
	nsenter --net="/run/netns/swl-$LAB" unshare --mount sh -c 'mount -t tmpfs none /run && mount -t tmpfs none /var/lib && shift && exec "$@"' \
		x x env -i HOME="$work/home" PATH=/usr/bin:/bin "$work/bin/swarmctl" "$@"
}
check "without a file it says what to do" says "context|operator|agent" laptop node ls
check "the file is made" ctl n1 operator issue ann -o "$work/ann.ctx"
check "nobody else may read it" is 600 stat -c %a "$work/ann.ctx"
check "import" laptop context import "$work/ann.ctx"
check "use" laptop context use ann
check "node ls" says n2 laptop node ls
check "deploy" laptop stack deploy -c "$work/stack.yml" far
check "stack ls" says far laptop stack ls
check "stack services" says "3/3" laptop stack services far
check "stack ps" says "far_web.3" laptop stack ps far
check "service ps" is 3 sh -c "true; $(declare -f laptop); LAB=$LAB work=$work; laptop service ps -q far_web | wc -l"
check "logs" within 10 says "hello from web" laptop service logs far_web
check "scale" laptop service scale far_web=4
check "inspect" says "far_web" laptop service inspect far_web
check "explain" says "4 of 4 tasks run" laptop explain far_web
check "secret create" sh -c "echo s3cret >'$work/s'; true"
check "secret create" laptop secret create s "$work/s"
check "the secret's value is not shown" not says s3cret laptop secret inspect s
check "secret rm" laptop secret rm s
check "events" says far_web laptop events --since 10m --until now
check "rm" laptop stack rm far
check "nothing runs" is 0 count_containers
finish
