#!/bin/bash
# What this host's kernel may lack: a machine (qemu, emulated) with Debian's kernel for clouds and this
# host's files runs vm/checks.sh. The kernel is fetched once, to build/lab-vm.
set -uo pipefail
LAB=${LAB:-vm}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
"$top/deploy/install-deps" build run lab vm || { echo "skipped: its packages can't be installed"; exit 77; }
vm=$top/build/lab-vm
virtiofsd=/usr/lib/qemu/virtiofsd
PATH=$PATH:/usr/sbin:/sbin

# The newest kernel, of the package that always depends on it. Only one that can't be had is a reason to skip.
download_kernel() {
	local package
	apt-get -qq update || return 1
	package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
	[ -n "$package" ] && (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package")
}
unpack_kernel() {
	rm -rf "$vm/kernel" && mkdir -p "$vm/kernel" &&
		dpkg -x "$work"/linux-image-*.deb "$vm/kernel" &&
		depmod -b "$vm/kernel" "$(ls "$vm/kernel/lib/modules")" &&
		touch "$vm/kernel/.done"
}
# With the modules that it takes to mount the host's files.
make_initrd() {
	local root=$work/initrd module file
	mkdir -p "$root/bin" "$root/modules"
	cp /bin/busybox "$root/bin/"
	cp "$here/vm/init" "$root/"
	echo "$top" >"$root/top"
	for module in virtio_pci virtiofs overlay; do
		modprobe -d "$vm/kernel" -S "$(ls "$vm/kernel/lib/modules")" --show-depends $module | awk '$1 == "insmod" { print $2 }'
	done | awk '!seen[$0]++' | while read -r file; do
		cp "$file" "$root/modules/"
		echo "${file##*/}" >>"$root/modules/order"
	done
	(cd "$root" && find . | cpio -o -H newc --quiet) >"$work/initrd.cpio"
}

if [ ! -e "$vm/kernel/.done" ]; then
	download_kernel || { echo "skipped: no kernel can be fetched"; exit 77; }
	check "the kernel is unpacked" unpack_kernel
fi
check "qemu came with its file server" test -x $virtiofsd
make_initrd
SWARM_BIN=${SWARM_BIN:-$top/build/release/bin}
start 1 1 # fills the registry, which the machine shares
"$lab" down
$virtiofsd --socket-path="$work/files" -o source=/ -o sandbox=chroot -o cache=always >"$work/virtiofsd.log" 2>&1 &
servers+=($!)
within 5 test -S "$work/files"
# What the kernel does not know of its command line becomes init's environment.
timeout 500 qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m 3072 -nic none -nographic -no-reboot \
	-object memory-backend-memfd,id=memory,size=3072M,share=on -numa node,memdev=memory \
	-chardev socket,id=files,path="$work/files" -device vhost-user-fs-pci,chardev=files,tag=host \
	-kernel "$vm"/kernel/boot/vmlinuz-* -initrd "$work/initrd.cpio" \
	-append "console=ttyS0 quiet panic=-1 SWARM_BIN=$SWARM_BIN" </dev/null 2>&1 | sed -u 's|\r$||' | tee "$work/console" |
	grep -E --line-buffered '^(ok|FAIL|==|     |---|\{)' || true
check "the machine's checks passed" grep -qx "exit 0" "$work/console"
[ $failed = 0 ] || tail -n 15 "$work/console"
finish
