# The bases of the storefront, of Debian's packages. Sourced, with `top` set; needs deploy/lib/images.sh.
# shellcheck shell=bash

base_context() { # DIR TAR: what an image of that root is built from
	mkdir -p "$1"
	ln "$2" "$1/rootfs.tar" 2>/dev/null || cp "$2" "$1/rootfs.tar"
	printf 'FROM scratch\nADD rootfs.tar /\nENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\nCMD ["/bin/sh"]\n' >"$1/Dockerfile"
}

# storefront_bases DIR: contexts of node, cc and small in it. The packages are fetched once.
storefront_bases() {
	local tars=$top/build/lab-bases
	debian_tar "$tars/node.tar" npm dash coreutils && debian_tar "$tars/cc.tar" gcc libc6-dev make dash coreutils || return 1
	base_context "$1/node" "$tars/node.tar"
	base_context "$1/cc" "$tars/cc.tar"
	base_root "$1/small-root"
	tar -C "$1/small-root" --sort=name --mtime=@0 -cf "$1/small.tar" .
	base_context "$1/small" "$1/small.tar"
}
