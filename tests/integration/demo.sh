#!/bin/bash
# The README's first command, twice, and its end.
set -uo pipefail
LAB=demo
. "$(dirname "$(readlink -f "$0")")/lib.sh"
[ ! -e "$run" ] || { echo "skipped: a demo is up on this host"; trap - EXIT; exit 77; }

check "demo" sh -c "'$top/deploy/demo' >'$work/first'"
check "the shop has answered" grep -qE 'visit [0-9]+, served by' "$work/first"
check "three nodes" is 3 sh -c "'$lab' ctl n1 node ls -q | wc -l"
SECONDS=0
check "demo again" sh -c "'$top/deploy/demo' >'$work/second'"
check "within seconds" test $SECONDS -le 10
check "visits are counted on" grep -qE 'visit ([6-9]|1[0-9]), served by' "$work/second"
finish
