#!/bin/bash
# What the machine of vm.sh does: it mounts what a distribution would have mounted, runs checks.sh, and
# switches itself off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /lib/modules
mount -t devpts pts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for d in /dev/shm /run; do mount -t tmpfs tmpfs $d; done
mkdir -p /run/netns /var/lib/swarm-lab
mount -t tmpfs tmpfs /var/lib/swarm-lab # no overlay can be on top of another
mount --bind /lib-modules /lib/modules
ln -s /proc/self/fd /dev/fd
for i in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${i%:*}" "/dev/${i#*:}"; done
ip link set lo up
hostname machine
"$(dirname "$(readlink -f "$0")")/checks.sh" 2>&1
echo "exit $?"
echo o >/proc/sysrq-trigger
sleep 60
