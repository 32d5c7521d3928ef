#!/bin/bash
# The AtSea shop, its docker-stack.yml byte for byte: 1 manager and 2 workers. Its images are stood in
# for by those of atsea/, built here by `swarmctl image build` on one node.
set -uo pipefail
LAB=${LAB:-atsea}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$top/deploy/lib/images.sh"
shop=$top/../shared/cases/atsea
[ -d "$shop" ] || { echo "skipped: no cases beside the project"; exit 77; }
[ -e /dev/net/tun ] || { echo "skipped: no /dev/net/tun"; exit 77; }

# ---- what the images are made of ----

debs=$top/build/lab-debs
unpack_postgresql() {
	[ -e "$debs/done" ] && return
	rm -rf "$debs"
	mkdir -p "$debs"
	(cd "$debs" && apt-get download -qq postgresql-15 postgresql-client-15 2>/dev/null) || return 1
	for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$debs/root" || return 1; done
	touch "$debs/done"
}
pg=/usr/lib/postgresql/15
# programs ROOT NAME...: of PostgreSQL, with what they load
programs() {
	local root=$1 name lib
	shift
	mkdir -p "$root$pg/bin"
	for name; do
		cp "$debs/root$pg/bin/$name" "$root$pg/bin/"
		ldd "$debs/root$pg/bin/$name" | grep -o '/[^ ]*' | while read -r lib; do
			[ -e "$root$lib" ] || install -D -m 755 "$(readlink -f "$lib")" "$root$lib"
		done
	done
}
context() { # IMAGE-FOLDER: a copy of it as build context, its root file system in the folder given
	cp -r "$here/atsea/$1" "$work/$1"
	mkdir -p "$work/$1/rootfs"
	base_root "$work/$1/rootfs"
}
pack() {
	tar -C "$work/$1/rootfs" -cf "$work/$1/rootfs.tar" .
	rm -rf "$work/$1/rootfs"
}
make_contexts() {
	local root
	context proxy
	root=$work/proxy/rootfs
	nginx_root "$root"
	echo 'nginx:x:101:101:nginx:/var/www:/bin/false' >>"$root/etc/passwd"
	echo 'nginx:x:101:' >>"$root/etc/group"
	cp "$shop/reverse_proxy/nginx.conf" "$work/proxy/"
	rm "$root"/etc/nginx/conf.d/*
	pack proxy

	context database
	root=$work/database/rootfs
	programs "$root" postgres initdb pg_ctl psql createdb
	mkdir -p "$root$pg/lib" "$root/usr/share/postgresql" "$root/var/lib/postgresql/data" "$root/var/run/postgresql"
	cp "$debs/root$pg/lib/"{plpgsql,dict_snowball}.so "$root$pg/lib/"
	cp -r "$debs/root/usr/share/postgresql/15" "$root/usr/share/postgresql/"
	echo 'postgres:x:70:70:postgres:/var/lib/postgresql:/bin/sh' >>"$root/etc/passwd"
	echo 'postgres:x:70:' >>"$root/etc/group"
	chown -R 70:70 "$root/var/lib/postgresql" "$root/var/run/postgresql"
	pack database

	context appserver
	programs "$work/appserver/rootfs" psql
	pack appserver
	cp -r "$here/atsea/gateway" "$here/atsea/visualizer" "$work/"
}
build() { ctl n1 image build -q -t "$1" "$work/$2"; } # NAME FOLDER

# ---- what the shop says ----

outside() { nsenter --net="/run/netns/swl-$LAB" "$@"; }
page() { outside curl -sk -m 8 "https://192.168.77.${1#n}/${2:-}"; } # NODE [QUERY]
servers_seen() { # NODE: how many application tasks answer
	for _ in $(seq 12); do page "$1" | sed -n 's/^served by //p'; done | sort -u | wc -l
}
sells() { [ "$(page "$1" | grep -c '^product ')" = 3 ]; }
image_of() { ctl n1 service inspect "$1" --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}'; }
export -f ctl page outside
export lab LAB

echo "== images"
check "PostgreSQL is to be had" unpack_postgresql
start 3 1
make_contexts >"$work/out" 2>&1 || { cat "$work/out"; bad "the images' contents"; exit 1; }
samples=dockersamples
check "the proxy's image is built" build $samples/atseasampleshopapp_reverse_proxy proxy
check "the database's" build $samples/atsea_db database
check "the application's" build $samples/atsea_app appserver
check "the payment gateway's" build $samples/atseasampleshopapp_payment_gateway gateway
check "the visualizer's" build $samples/visualizer:stable visualizer
mkdir "$work/broken"
printf 'FROM %s/atsea_app\nCMD ["false"]\n' $samples >"$work/broken/Dockerfile"
check "a broken one of the application" build $samples/atsea_app:broken broken

echo "== secrets"
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=atseashop.com -days 2 -keyout "$work/key" -out "$work/cert" 2>/dev/null
openssl rand -hex 16 | tr -d '\n' >"$work/password"
openssl rand -hex 16 >"$work/token"
check "deploy without them is refused by name" says "postgres_password" ctl n1 stack deploy -c "$shop/docker-stack.yml" atsea
check "and nothing of it was made" is "" ctl n1 service ls -q
for s in revprox_cert=cert revprox_key=key postgres_password=password staging_token=token; do
	check "secret ${s%=*}" ctl n1 secret create "${s%=*}" "$work/${s#*=}"
done
sock=/var/run/docker.sock
if [ ! -e $sock ]; then
	python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('$sock')"
	trap 'rm -f $sock; clean_up' EXIT
fi

echo "== up"
check "the stack file is taken as it is" ctl n1 stack deploy -d -c "$shop/docker-stack.yml" atsea
for s in reverse_proxy database visualizer; do check "$s runs" within 60 runs n1 atsea_$s 1; done
check "appserver runs twice" within 60 runs n1 atsea_appserver 2
for n in n1 n2 n3; do
	check "HTTPS on $n: the products, from the database" within 30 sells $n
	check "HTTP on $n points to it" says "301 moved" outside curl -sI "http://192.168.77.${n#n}/"
	check "the visualizer on $n" says visualizer outside curl -s -m 5 "http://192.168.77.${n#n}:8001/"
done
check "both application tasks answer" is 2 servers_seen n1
check "a worker has no visualizer" is n1 nodes_of atsea_visualizer
check "the same file again changes nothing" says "nothing would change" ctl n1 stack plan -c "$shop/docker-stack.yml" atsea

echo "== the payment gateway"
check "it waits for a node" runs n1 atsea_payment_gateway 0
check "explain says for which" says "pcidss" ctl n1 explain atsea_payment_gateway
check "a worker is labelled" ctl n1 node update --label-add pcidss=yes n2
check "it runs" within 30 runs n1 atsea_payment_gateway 1
check "there" is n2 nodes_of atsea_payment_gateway
digest=$(sha256sum <"$work/token" | cut -c 1-16)
check "it has its secret, and the application reaches it" within 20 says "token $digest" page n1 '?pay'
across() { # from the application's task on the other worker
	on n3 nsenter --net="$(netns n3 atsea_appserver)" curl -s -m 3 "http://$gateway:8080/"
}
gateway=$(on n2 nsenter --net="$(netns n2 atsea_payment_gateway)" ip -o -4 addr show dev eth0 | grep -oE '10(\.[0-9]+){3}' | head -n 1)
outside tcpdump -U -i br0 -w "$work/pcap" >/dev/null 2>&1 &
servers+=($!)
within 5 test -s "$work/pcap"
check "across the nodes too" within 10 says "token $digest" across
check "both application tasks answer through the proxy" is 2 servers_seen n1
check "a capture shows what they say on the open network" within 5 grep -qa "served by" "$work/pcap"
check "and nothing of what the gateway says on the payment network" not grep -qa "$digest" "$work/pcap"
check "no secret is on a disk" not grep -rqsF -f "$work/token" "/var/lib/swarm-lab/$LAB"

echo "== a broken application"
before=$(image_of atsea_appserver)
check "an update to it is rolled back" says "rolled back|rollback" ctl n1 service update --image $samples/atsea_app:broken atsea_appserver
check "its image is what it was" within 60 is "$before" image_of atsea_appserver
check "the shop sells on" sells n1
check "two application tasks run" within 60 runs n1 atsea_appserver 2

echo "== a worker dies"
"$lab" kill n3 all
check "it is noticed" within 15 node_is n3 down
check "the application's tasks run on the other" within 30 is n2 nodes_of atsea_appserver
check "twice" within 30 runs n1 atsea_appserver 2
check "so does the database" within 60 runs n1 atsea_database 1
check "the shop answers again on the manager" within 60 sells n1
check "and on the other worker" within 30 sells n2
"$lab" start n3
check "the worker is back" within 20 node_is n3 ready
check "and serves too" within 30 sells n3

echo "== down"
check "stack rm" ctl n1 stack rm atsea
check "no container is left" within 20 is 0 count_containers
finish
