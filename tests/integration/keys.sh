#!/bin/bash
# Keys of a stack file that others leave out in silence: what each does, looked at from inside, or what is
# said of it with file, line and column. One manager, one worker.
set -uo pipefail
LAB=${LAB:-ikeys}
export SWARM_AGENT_OPTIONS="--allow unconfined"
. "$(dirname "$(readlink -f "$0")")/lib.sh"

deploy() { # NAME, the file on standard input
	cat >"$work/$1.yml"
	ctl n1 stack deploy -c "$work/$1.yml" "${2:-$1}"
}
inside() { ctl n1 exec "k_$1.1" sh -c "$2"; } # SERVICE SHELL-TEXT
has() { says "$3" inside "$1" "$2"; }       # SERVICE SHELL-TEXT PATTERN
outside() { nsenter --net="/run/netns/swl-$LAB" "$@"; }
# refused WHERE-AND-WHAT, the file on standard input
refused() {
	local pattern=$1
	cat >"$work/r.yml"
	says "r\.yml:$pattern" ctl n1 stack deploy -c "$work/r.yml" r && not says . ctl n1 stack ls --format '{{.Name}}' --filter name=r
}
start 2 1
mkdir -p "$work/shared/later" "$work/both/ours"
for f in shared both; do
	on n1 mount --bind "$work/$f" "$work/$f"
	on n1 mount --make-shared "$work/$f"
done

echo "== what works"
check "deploy" deploy k <<YML
services:
  box:
    image: busybox
    command: sleep 100000
    cap_add: [SYS_ADMIN]
    hostname: box
    domainname: example.test
    extra_hosts: ["host.docker.internal:host-gateway", "there=192.0.2.1"]
    dns_opt: [timeout:3, use-vc]
    security_opt: ["systempaths=unconfined"]
    volumes:
      - { type: bind, source: $work/made/here, target: /made, bind: { create_host_path: true } }
      - { type: bind, source: $work/shared, target: /slave, bind: { propagation: rslave } }
      - { type: bind, source: $work/both, target: /both, bind: { propagation: rshared } }
      - { type: tmpfs, target: /t, tmpfs: { size: 2m, mode: 0750 } }
    deploy: { placement: { constraints: [node.hostname == n1] } }
  web:
    image: busybox
    command: sh -c 'for p in 80 81 82; do mkdir /w\$\$p; echo port \$\$p >/w\$\$p/index.html; httpd -p \$\$p -h /w\$\$p; done; exec sleep 100000'
    ports: ["8000-8002:80-82"]
    volumes: [ "$work/shared:/private" ]
    deploy: { placement: { constraints: [node.hostname == n1] } }
  local:
    image: busybox
    command: sh -c 'for p in 80 81; do mkdir /w\$\$p; echo host \$\$p >/w\$\$p/index.html; httpd -p \$\$p -h /w\$\$p; done; exec sleep 100000'
    ports:
      - { target: 80, published: 8010, mode: host }
      - { target: 81, published: 8011, mode: host }
    deploy: { endpoint_mode: dnsrr, placement: { constraints: [node.hostname == n2] } }
  arm:
    image: busybox
    command: sleep 100000
    platform: linux/riscv64
    deploy: { replicas: 0 }
YML
check "domainname" has box 'cat /proc/sys/kernel/domainname' '^example\.test$'
check "... in its hosts" has box 'cat /etc/hosts' '[.0-9]+.box\.example\.test box$'
check "host-gateway is the node" has box 'cat /etc/hosts' '^192\.168\.77\.1.host\.docker\.internal$'
check "... and it answers" inside box 'ping -c 1 -W 2 host.docker.internal'
check "extra_hosts with =" has box 'cat /etc/hosts' '^192\.0\.2\.1.there$'
check "dns_opt" has box 'cat /etc/resolv.conf' '^options .*timeout:3 use-vc'
check "systempaths=unconfined" has box 'grep -c " /proc/[^ ]* " /proc/mounts' '^0$'
check "... which others have not" has web 'grep -c " /proc/[^ ]* " /proc/mounts' '^[1-9]'
check "create_host_path made it" test -d "$work/made/here"
check "rslave" on n1 mount -t tmpfs -o size=77k tmpfs "$work/shared/later"
check "... a later mount is seen" has box 'df -k /slave/later' '^tmpfs +80 '
check "rshared" inside box 'mount -t tmpfs -o size=77k tmpfs /both/ours'
check "... the node sees the task's mount" says '^tmpfs +80 ' on n1 df -k "$work/both/ours"
check "... not with the default" not has web 'df -k /private/later' '^tmpfs +80 '
check "tmpfs: size and mode" has box 'grep " /t " /proc/mounts' 'size=2048k,mode=750'
for p in 0 1 2; do
	check "a range of ports, 800$p" within 10 says "port 8$p" outside curl -s -m 3 http://192.168.77.2:800$p/
done
for p in 0 1; do
	check "mode host with dnsrr, 801$p" within 10 says "host 8$p" outside curl -s -m 3 http://192.168.77.2:801$p/
done
check "not on the other node" not outside curl -s -m 3 http://192.168.77.1:8010/
ctl n1 service scale -d k_arm=1 >/dev/null
check "no node is of the platform, says explain" within 10 says 'unsupported platform' ctl n1 explain k_arm
ctl n1 service scale -d k_arm=0 >/dev/null

echo "== what can't be has its place"
check "two services of a file on one port" refused '[23]:3: services\.[ab]: service r_[ab]: port 8090 is already published by service r_[ab]' <<'YML'
services:
  a: { image: busybox, ports: ["8090:80"] }
  b: { image: busybox, ports: ["8090:80"] }
YML
check "a port of another stack" refused '2:3: services\.a: service r_a: port 8001 is already published by service k_web' <<'YML'
services:
  a: { image: busybox, ports: ["8001:80"] }
YML
check "subnets of a file that overlap" refused '[56]:3: networks\.[ab]: network r_[ab]: subnet .* overlaps that of network r_[ab]' <<'YML'
services:
  s: { image: busybox, networks: [a, b] }

networks:
  a: { ipam: { config: [ { subnet: 10.70.0.0/24 } ] } }
  b: { ipam: { config: [ { subnet: 10.70.0.128/25 } ] } }
YML
check "a gateway of another subnet" refused '4:3: networks\.a: network r_a: gateway 10\.9\.0\.1 is no address of hosts in subnet' <<'YML'
services:
  s: { image: busybox, networks: [a] }
networks:
  a: { ipam: { config: [ { subnet: 10.70.0.0/24, gateway: 10.9.0.1 } ] } }
YML
check "two services with one address" refused '[23]:3: services\.[ab]: service r_[ab]: address 10\.70\.0\.9 is already asked for by service r_[ab]' <<'YML'
services:
  a: { image: busybox, networks: { n: { ipv4_address: 10.70.0.9 } } }
  b: { image: busybox, networks: { n: { ipv4_address: 10.70.0.9 } } }
networks:
  n: { ipam: { config: [ { subnet: 10.70.0.0/24 } ] } }
YML
check "a driver that is none" refused '4:16: networks\.n\.driver: "macvlan" is not known' <<'YML'
services:
  s: { image: busybox, networks: [n] }
networks:
  n: { driver: macvlan }
YML
check "a constraint's key" refused '2:3: services\.s: service r_s: constraint key "node\.colour" is unknown' <<'YML'
services:
  s: { image: busybox, deploy: { placement: { constraints: [node.colour == red] } } }
YML
check "a placeholder" refused '2:3: services\.s: service r_s: environment X: template:1:10: there is no field \.Nome' <<'YML'
services:
  s: { image: busybox, environment: { X: "{{.Task.Nome}}" } }
YML
check "a template of a config" refused '4:3: configs\.c: config r_c: template:1:7: wanted a value' <<'YML'
services:
  s: { image: busybox, configs: [c] }
configs:
  c: { content: "a {{if}}", template_driver: golang }
YML
head -c 512000 /dev/zero | tr '\0' x >"$work/big"
check "a secret that is too large" refused '4:[0-9]+: secrets\.big.*51[12][09]' <<'YML'
services:
  s: { image: busybox, secrets: [big] }
secrets:
  big: { file: ./big }
YML
check "an address to bind to that is none" refused '2:3: services\.a: service r_a: port 80: host_ip 10\.0\.0 is not an IP address' <<'YML'
services:
  a: { image: busybox, ports: [ { target: 80, published: 80, host_ip: 10.0.0 } ] }
YML
check "an interface to bind to that is none" refused '2:3: services\.a: service r_a: port 80: "eth 0" is no name of an interface' <<'YML'
services:
  a: { image: busybox, ports: [ { target: 80, published: 80, x-interface: "eth 0" } ] }
YML
check "what runs is left alone" runs n1 k_web 1

echo "== two ask for one port at once"
for i in $(seq 8); do
	ctl n1 service create -d -q --name "race$i" -p 8099:80 busybox sleep 100000 >"$work/race$i" 2>&1 &
	races[i]=$!
done
won=0
for i in $(seq 8); do wait "${races[i]}" && won=$((won + 1)); done
check "one of eight has it (got $won)" test $won = 1
check "the others are told whose it is" is 7 sh -c "grep -l 'port 8099 is already published by service race' $work/race? | wc -l"
ctl n1 stack rm k >/dev/null

echo "== one task, by itself"
cat >"$work/att.yml" <<'YML'
services:
  web:
    image: busybox
    command: sh -c 'echo hello-from-web > /tmp/index.html; exec httpd -f -p 80 -h /tmp'
    networks: [open, closed]
networks:
  open: { attachable: true }
  closed:
YML
check "deploy" ctl n1 stack deploy -c "$work/att.yml" a
check "it joins a network that is attachable" is hello-from-web ctl n1 run --rm --network a_open busybox wget -q -O - http://a_web/
check "not one for services only" says 'network a_closed is for services only: "attachable: true"' ctl n1 run --network a_closed busybox true
status=0
ctl n1 run -e WORD=seven busybox sh -c '[ "$WORD" = seven ] && exit 7' >/dev/null 2>&1 || status=$?
check "its exit status is ours" is 7 echo $status
check "a name, in the background" ctl n1 run -d --name tool --network a_open busybox sleep 100000
check "it runs" within 10 runs n1 tool 1
check "others find it" within 5 ctl n1 exec a_web nslookup tool
check "and look into it" is here ctl n1 exec tool echo here
check "it goes like a service" ctl n1 service rm tool
check "nothing is left of the others" within 10 not says "run_" ctl n1 service ls
ctl n1 stack rm a >/dev/null
finish
