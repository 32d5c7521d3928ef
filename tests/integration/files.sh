#!/bin/bash
# Secrets, configs and placeholders as a container sees them. One manager, one worker.
set -uo pipefail
LAB=${LAB:-ifiles}
. "$(dirname "$(readlink -f "$0")")/lib.sh"

tasks() { ctl n1 service ps "$1" --no-trunc --filter desired-state=running --format '{{.ID}}' | sort; }
# root SERVICE [SLOT]: its task's root folder, as this host sees it
root() {
	local id node
	read -r id node < <(ctl n1 service ps "$1" --no-trunc --filter desired-state=running --format '{{.Name}} {{.ID}} {{.Node}}' |
		awk -v n="$1.${2:-1}" '$1 == n { print $2, $3 }')
	containers "$node" | awk -v id="$id" '$1 == id { print "/proc/" $2 "/root" }'
}
read_in() { cat "$(root "$1" "${3:-1}")$2"; } # SERVICE FILE [SLOT]
# who SERVICE FILE: "UID GID MODE FILESYSTEM" of it
who() {
	local p
	p=$(root "$1")
	p=${p#/proc/}
	nsenter -t "${p%/root}" -m -- busybox stat -c '%u %g %a' "$2" | tr '\n' ' '
	nsenter -t "${p%/root}" -m -- busybox stat -f -c %T "$2"
}
env_of() { # SERVICE NAME [SLOT]
	local p
	p=$(root "$1" "${3:-1}")
	tr '\0' '\n' <"${p%/root}/environ" | sed -n "s/^$2=//p"
}
writes_in() { # SERVICE FILE
	local p
	p=$(root "$1")
	p=${p#/proc/}
	nsenter -t "${p%/root}" -m -- busybox sh -c "echo x >$2"
}
status_of() { "$@" >"$work/said" 2>&1; echo $?; }

start 2 1

echo "== placeholders"
cat >"$work/stack.yml" <<'YML'
services:
  web:
    image: busybox
    command: sleep 100000
    stop_grace_period: 1s
    hostname: '{{.Service.Name}}-{{.Task.Slot}}'
    environment:
      WHERE: '{{.Node.Hostname}} {{.Node.Platform.OS}} {{.Node.Platform.Architecture}}'
      WHO: '{{.Task.Name}}'
      TIER: '{{index .Service.Labels "tier"}}'
      PLAIN: '{ not one }'
    volumes:
      - { type: volume, source: data, target: '/data/{{.Task.Slot}}' }
    configs:
      - { source: conf, target: /etc/app.conf, uid: "33", gid: "34", mode: 0440 }
    secrets:
      - pw
      - { source: url, target: /run/url, mode: 0400 }
    deploy: { replicas: 2, labels: { tier: front }, placement: { max_replicas_per_node: 1 } }
  other:
    image: busybox
    command: sleep 100000
    stop_grace_period: 1s
volumes:
  data: { name: 'data-{{.Task.Slot}}' }
configs:
  conf: { file: ./conf, template_driver: golang }
secrets:
  pw: { file: ./pw }
  url: { file: ./url, template_driver: golang }
YML
printf 'hunter2unique' >"$work/pw"
cat >"$work/conf" <<'T'
{{- /* comments are not kept */ -}}
name={{.Service.Name}} slot={{.Task.Slot}}
{{if eq .Task.Slot "1"}}first{{else}}later{{end}} {{env "PLAIN"}}
T
printf 'db://u:{{secret "pw"}}@{{.Node.Hostname}}' >"$work/url"
check "deploy" ctl n1 stack deploy -c "$work/stack.yml" s
check "two tasks" within 10 runs n1 s_web 2
node1=$(ctl n1 service ps s_web --filter desired-state=running --format '{{.Name}} {{.Node}}' | awk '$1 == "s_web.1" { print $2 }')
task1=$(ctl n1 service ps s_web --no-trunc --filter desired-state=running --format '{{.Name}} {{.ID}}' | awk '$1 == "s_web.1" { print $2 }')
check "hostname of the first" is s_web-1 read_in s_web /etc/hostname
check "… of the second" is s_web-2 read_in s_web /etc/hostname 2
check "in its hosts too" says "s_web-1" read_in s_web /etc/hosts
check "node, os, architecture" is "$node1 linux $(uname -m)" env_of s_web WHERE
check "the task's name" is "s_web.1.$task1" env_of s_web WHO
check "a label" is front env_of s_web TIER
check "what is none is left alone" is '{ not one }' env_of s_web PLAIN
check "a volume for each slot" says "data-1" sh -c "ls /var/lib/swarm-lab/$LAB/$node1/volumes 2>/dev/null; find /var/lib/swarm-lab/$LAB/$node1 -maxdepth 3 -name 'data-*'"
check "mounted where the slot says" test -d "$(root s_web 2)/data/2"
check "a config" is $'name=s_web slot=1\nfirst { not one }' read_in s_web /etc/app.conf
check "… of the second" is $'name=s_web slot=2\nlater { not one }' read_in s_web /etc/app.conf 2
check "a secret with another in it" is "db://u:hunter2unique@$node1" read_in s_web /run/url

echo "== files"
check "the default place, owner and mode" is "0 0 444 tmpfs" who s_web /run/secrets/pw
check "as the file asks" is "33 34 440 tmpfs" who s_web /etc/app.conf
check "an absolute target" is "0 0 400 tmpfs" who s_web /run/url
check "nobody writes to it" not writes_in s_web /run/secrets/pw
check "content" is hunter2unique read_in s_web /run/secrets/pw
check "none of it is on the worker's disk" is "" grep -rla hunter2unique "/var/lib/swarm-lab/$LAB/n2"
web=$(tasks s_web) other=$(tasks s_other)
printf 'hunter3' >"$work/pw"
check "new content" ctl n1 stack deploy -c "$work/stack.yml" s
check "its users are new" not says "$(head -n 1 <<<"$web")" tasks s_web
check "the others are not" is "$other" tasks s_other
check "they have it" is hunter3 read_in s_web /run/secrets/pw
check "also in what is made of it" says "u:hunter3@" read_in s_web /run/url

echo "== refused"
web=$(tasks s_web)
sed -i 's/{{.Task.Name}}/{{.Task.Nome}}/' "$work/stack.yml"
check "a field that is not there" says 'service s_web: environment WHO: template:1:12: there is no field .Nome' ctl n1 stack deploy -c "$work/stack.yml" s
sed -i 's/{{.Task.Nome}}/{{.Task.Name}}/' "$work/stack.yml"
printf 'a\nb {{if}}' >"$work/conf"
check "a config that does not parse" says 'config s_conf: template:2:7: wanted a value' ctl n1 stack deploy -c "$work/stack.yml" s
check "nothing was changed" is "$web" tasks s_web
check "a bare name without a value here" env -u HOSTNAME "$lab" ctl n1 service create -q --name bare -e HOSTNAME -e B=1 busybox sleep 100000
check "is not set, whatever the node or the image says" is "" env_of bare HOSTNAME
check "others are" is 1 env_of bare B
printf '{{.Service.Labels.none}}' | ctl n1 config create --template-driver golang late - >/dev/null
check "what can't be known before" ctl n1 service create -d --name late --restart-condition none --config source=late,target=/late busybox sleep 100000
check "is rejected on the node, with the reason" within 10 says '^rejected .*config late: template:1:18: there is no field .none' \
	ctl n1 service ps late --no-trunc --format '{{.CurrentState}} {{.Error}}'
finish
