# Images for the lab's registry, made from Debian's packages: busybox, nginx, redis.
# shellcheck shell=bash

# copy_program ROOT PROGRAM...: the program with the libraries that it loads.
copy_program() {
	local root=$1 program lib
	shift
	for program; do
		install -D -m 755 "$program" "$root$program"
		ldd "$program" 2>/dev/null | grep -o '/[^ ]*' | while read -r lib; do
			[ -e "$root$lib" ] || install -D -m 755 "$(readlink -f "$lib")" "$root$lib"
		done
	done
}

# base_root ROOT: busybox with its names, users, folders.
base_root() {
	local root=$1 name
	mkdir -p "$root"/{bin,etc,tmp,var/run,run,root,dev,proc,sys,usr/bin,usr/sbin,home}
	chmod 1777 "$root/tmp"
	install -m 755 /bin/busybox "$root/bin/busybox"
	for name in $(/bin/busybox --list); do
		[ "$name" = busybox ] || ln -sf busybox "$root/bin/$name"
	done
	printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nredis:x:999:999:redis:/data:/bin/false\n' >"$root/etc/passwd"
	printf 'root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\nwww-data:x:33:\nredis:x:999:\n' >"$root/etc/group"
}

# make_image LAYOUT NAME ROOT CONFIG...: an OCI image of one layer over the root folder.
make_image() {
	local layout=$1 name=$2 root=$3 bundle
	shift 3
	bundle=$(mktemp -d)
	umoci new --image "$layout:$name"
	umoci unpack --image "$layout:$name" "$bundle/b" >/dev/null 2>&1
	cp -a "$root/." "$bundle/b/rootfs/"
	umoci repack --image "$layout:$name" "$bundle/b" >/dev/null 2>&1
	umoci config --image "$layout:$name" "$@"
	rm -rf "$bundle"
}

nginx_root() {
	local root=$1
	base_root "$root"
	copy_program "$root" /usr/sbin/nginx
	mkdir -p "$root"/etc/nginx/conf.d "$root"/usr/share/nginx/html "$root"/var/{log/nginx,lib/nginx/body,cache/nginx,www}
	cp /etc/nginx/mime.types "$root/etc/nginx/"
	ln -sf /dev/stdout "$root/var/log/nginx/access.log"
	ln -sf /dev/stderr "$root/var/log/nginx/error.log"
	cat >"$root/etc/nginx/nginx.conf" <<'CONF'
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log notice;
events { worker_connections 512; }
http {
	include /etc/nginx/mime.types;
	access_log /var/log/nginx/access.log;
	include /etc/nginx/conf.d/*.conf;
}
CONF
	cat >"$root/etc/nginx/conf.d/default.conf" <<'CONF'
server {
	listen 80;
	location / { root /usr/share/nginx/html; index index.html; }
}
CONF
	echo '<h1>Welcome to nginx!</h1>' >"$root/usr/share/nginx/html/index.html"
}

# make_images LAYOUT: all of them, once.
make_images() {
	local layout=$1 work
	[ -e "$layout/.done" ] && return
	rm -rf "$layout"
	umoci init --layout "$layout"
	work=$(mktemp -d)

	base_root "$work/busybox"
	make_image "$layout" busybox "$work/busybox" --config.cmd sh --config.env PATH=/bin:/usr/bin:/sbin:/usr/sbin

	nginx_root "$work/nginx"
	make_image "$layout" nginx "$work/nginx" --config.cmd nginx --config.cmd -g --config.cmd 'daemon off;' \
		--config.env PATH=/bin:/usr/bin:/sbin:/usr/sbin --config.exposedports 80/tcp --config.stopsignal SIGQUIT

	base_root "$work/redis"
	copy_program "$work/redis" /usr/bin/redis-server /usr/bin/redis-cli
	mkdir -p "$work/redis/data"
	chown 999:999 "$work/redis/data"
	make_image "$layout" redis "$work/redis" --config.cmd redis-server --config.cmd --bind --config.cmd 0.0.0.0 \
		--config.cmd --protected-mode --config.cmd no --config.workingdir /data --config.volume /data \
		--config.env PATH=/bin:/usr/bin:/sbin:/usr/sbin --config.exposedports 6379/tcp --config.user 999:999
	rm -rf "$work"
	touch "$layout/.done"
}

# debian_tar TAR PACKAGE...: a root of Debian's packages with what they need, unpacked and not set up.
# Made once.
debian_tar() {
	local tar=$1 packages
	shift
	[ -e "$tar" ] && return
	mkdir -p "$(dirname "$tar")"
	packages=$(IFS=,; echo "$*")
	mmdebstrap --quiet --format=tar --variant=extract --include="$packages" \
		--customize-hook='rm -rf "$1"/usr/share/doc "$1"/usr/share/man "$1"/usr/share/locale "$1"/var/log/*' \
		bookworm "$tar.part" && mv "$tar.part" "$tar"
}
