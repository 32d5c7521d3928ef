#!/bin/bash
# What goes wrong is told where the user looks, and other work goes on.
set -uo pipefail
LAB=${LAB:-ifault}
export SWARM_AGENT_OPTIONS="--insecure-registry 192.168.77.250:5001"
. "$(dirname "$(readlink -f "$0")")/lib.sh"
start 2 1
reg=192.168.77.250:5001

nsenter --net="/run/netns/swl-$LAB-reg" python3 "$top/tests/integration/bad_registry.py" 192.168.77.250 5001 &
bad=$!
trap 'kill $bad 2>/dev/null; clean_up' EXIT
at_registry() { nsenter --net="/run/netns/swl-$LAB-reg" curl -sf "http://$reg/v2/$1"; }
within 60 at_registry "" || exit 1

ctl n1 service create -q --name steady --replicas 2 busybox sleep 100000 >/dev/null
check "a steady service" within 10 runs n1 steady 2

# refused NAME IMAGE REASON [SECONDS]: a service of that image says why, in ps and explain, and goes.
refused() {
	local reason=$3 seconds=${4:-10}
	ctl n1 service create -d --name "$1" "$2" >/dev/null
	check "$1: told in service ps" within "$seconds" says "$reason" ctl n1 service ps --no-trunc "$1"
	check "$1: told in explain" within "$seconds" says "$reason" ctl n1 explain "$1"
	ctl n1 service rm "$1" >/dev/null
}

ctl n1 image pull -q $reg/stall:1 >/dev/null 2>"$work/stall" & # so is this
stall=$!
ctl n1 service create -d --name silent $reg/silent:1 >/dev/null # looked at in the end

echo "== registries"
refused unknown $reg/nothere:1 "NAME_UNKNOWN|not known to registry"
refused denied $reg/denied:1 "your plan ended"
refused locked $reg/locked:1 "401.*log in first"
refused tokens $reg/tokens:1 "token server.*500"
refused limited $reg/limited:1 "429|rate limit"
refused later $reg/later:1 "again in (300|29[0-9]) s, at 20[0-9-]+T[0-9:]+Z.*rate limit"
refused broken $reg/broken:1 "on fire" 30
refused garbage $reg/garbage:1 "manifest"
refused deep $reg/deep:1 "manifest"
refused empty $reg/empty:1 "manifest|config"
refused nolayers $reg/nolayers:1 "manifest|layers"
refused huge $reg/huge:1 "large|more than|bytes"
refused lying $reg/lying:1 "digest|compressed data" 20
refused short $reg/short:1 "bytes|cut|end|closed|transfer" 60
refused wrongsize $reg/wrongsize:1 "size|bytes" 20
refused toolong $reg/toolong:1 "has [0-9]+ bytes, expected 100000" 20
refused badconfig $reg/badconfig:1 "config .* has the content of"
refused wrongdiff $reg/wrongdiff:1 "diff"
refused climb $reg/climb:1 "\\.\\."
refused hard $reg/hard:1 "\\.\\.|link"
refused down 192.168.77.250:5009/x:1 "refused|connect" 30
check "another manifest than the digest's" says "manifest .* has the content of" not ctl n1 image pull "$reg/good@sha256:$(printf '%064d' 1)"
check "nothing was written outside" test ! -e /tmp/swarm-escaped
check "a link out of the layer ends inside" sh -c "'$lab' ctl n1 service create -d --name link $reg/link:1 >/dev/null; sleep 1; '$lab' ctl n1 service rm link >/dev/null; test ! -e /tmp/swarm-escaped"
check "a slow registry is waited for" sh -c "'$lab' ctl n1 image pull $reg/slow:1 || '$lab' ctl n1 image pull $reg/slow:1"

check "a rate limit that passes is waited for" ctl n1 image pull $reg/hurried:1
check "a pull says when" says "again in 300 s, at 20[0-9-]+T[0-9:]+Z.*rate limit" not ctl n1 image pull $reg/later:1
check "a layer that the registry wants us to wait for" ctl n1 image pull $reg/pause:1
check "an image on one node" ctl n1 image pull $reg/busy:1
check "comes from there, when the registry wants another to wait" timeout 20 "$lab" ctl n2 image pull $reg/busy:1
ctl n2 image pull $reg/rush:1 >"$work/rush" 2>&1 &
rush=$!
check "two nodes at once, when the registry serves one" timeout 30 "$lab" ctl n1 image pull $reg/rush:1
check "the other has it from there" timeout 30 tail --pid=$rush -f /dev/null
check "whichever it was" wait $rush
check "a download that breaks off goes on where it was" ctl n1 image pull $reg/flaky:1
check "who hangs up gives an error" says "no node has it" ctl n2 image pull $reg/noanswer:1
check "and is not asked over and over" is 1 at_registry seen/noanswer/x
ctl n1 image tag busybox $reg/denied/mine:1
check "a push that is not wanted" says "403 DENIED.*your plan ended" not ctl n1 image push $reg/denied/mine:1
for i in locked:401.*log.in.first tokens:token.server.*500 broken:500.*on.fire later:come.back.in.300; do
	ctl n1 image tag busybox "$reg/${i%%:*}/mine:1"
	check "a push, ${i%%:*}" says "${i#*:}" not ctl n1 image push "$reg/${i%%:*}/mine:1"
done

echo "== containers"
ctl n1 service create -d --name nocmd busybox /no/such/command >/dev/null
check "a missing command" within 10 says "no such file|not found" ctl n1 service ps --no-trunc nocmd
ctl n1 service create -d --name oops busybox sh -c 'exit 7' >/dev/null
check "an exit code" within 10 says "exit.*7|7" ctl n1 service ps --no-trunc --format '{{.Error}}' oops
ctl n1 service create -d --name nouser --user nobodyhere busybox sleep 1 >/dev/null 2>&1
cat >"$work/more.yml" <<YML
services:
  nouser: { image: busybox, command: sleep 1000, user: nobodyhere }
  nobind: { image: busybox, command: sleep 1000, volumes: ["/no/such/folder:/x"] }
  oom:
    image: busybox
    command: sh -c 'x=\$\$(head -c 60000000 /dev/zero | tr "\\\\0" x); sleep 1000'
    deploy: { resources: { limits: { memory: 16M } } }
  nowhere:
    image: busybox
    command: sleep 1000
    deploy: { placement: { constraints: [node.labels.disk == ssd] } }
  big:
    image: busybox
    command: sleep 1000
    deploy: { resources: { reservations: { cpus: "1000" } } }
  port1:
    image: busybox
    command: sleep 1000
    ports: [{ target: 80, published: 8081, mode: host }]
    deploy: { mode: global }
  port2:
    image: busybox
    command: sleep 1000
    ports: [{ target: 80, published: 8081, mode: host }]
YML
ctl n1 stack deploy -d -c "$work/more.yml" more >/dev/null
check "an unknown user" within 10 says "nobodyhere" ctl n1 service ps --no-trunc more_nouser
check "a missing bind source" within 10 says "/no/such/folder" ctl n1 service ps --no-trunc more_nobind
check "out of memory" within 15 says "memory" ctl n1 service ps --no-trunc more_oom
check "no node has the label" within 10 says "disk" ctl n1 explain more_nowhere
check "no node has the room" within 10 says "cpu" ctl n1 explain more_big
check "the port is taken" within 10 says "8081|port" ctl n1 explain more_port2
check "each task that does not run has a reason" within 10 is "" sh -c "'$lab' ctl n1 stack ps more --filter desired-state=running --format '{{.CurrentState}}|{{.Error}}' | grep -v '^Running' | grep '|\$'"
ctl n1 stack rm more >/dev/null

echo "== the runtime binary is missing"
"$lab" kill n2 all
SWARM_AGENT_OPTIONS="$SWARM_AGENT_OPTIONS --runtime $work/late-runtime" "$lab" start n2 >/dev/null 2>&1
check "the steady service runs elsewhere" within 20 runs n1 steady 2
ctl n1 service create -d --name late --constraint node.hostname==n2 busybox sleep 100000 >/dev/null
check "explain tells it" within 10 says "late-runtime" ctl n1 explain late
ln -s "$(command -v crun)" "$work/late-runtime"
check "it is found when it comes" within 20 runs n1 late 1

check "a blob that stops in the middle is asked for again" wait $stall
check "for the rest of it" is "$(at_registry size/stall/x)" at_registry sent/stall/x
check "who says nothing is given up" within 60 says "too slow|time" ctl n1 service ps --no-trunc silent

echo "== other work goes on"
check "the steady service runs" within 10 runs n1 steady 2
check "no process has crashed" not says "assert|sanitizer|signal" cat "$run"/n1/agent.log
finish
