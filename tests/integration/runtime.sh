#!/bin/sh
# Containers and images with the real OCI runtime: runtime.sh BIN_DIR (as root).
set -eu
bin=$(readlink -f "$1")
d=$(mktemp -d)
export RT_CGROUP=/swarm-rt-$$ # of this run: another one may be under way
registry= hugetlb=
cleanup() {
	[ -z "$registry" ] || kill "$registry" 2>/dev/null || true
	umount "$d/st/run/files" 2>/dev/null || true
	for c in /sys/fs/cgroup/*/"$RT_CGROUP" /sys/fs/cgroup/"$RT_CGROUP"; do
		[ ! -d "$c" ] || find "$c" -depth -type d -exec rmdir {} + 2>/dev/null || true
	done
	[ -z "$hugetlb" ] || umount /sys/fs/cgroup/hugetlb || true
	rm -rf --one-file-system "$d"
}
trap cleanup EXIT
# crun takes a hybrid cgroup only when no controller is left to v2.
if [ -d /sys/fs/cgroup/unified ] && ! grep -q ' /sys/fs/cgroup/hugetlb ' /proc/mounts; then
	mkdir -p /sys/fs/cgroup/hugetlb
	mount -t cgroup -o hugetlb cgroup /sys/fs/cgroup/hugetlb && hugetlb=1
fi
mkdir -p "$d/fs/bin" "$d/fs/etc"
cp /bin/busybox "$d/fs/bin/"
for a in sh sleep echo cat id dd; do ln -s busybox "$d/fs/bin/$a"; done
printf 'root:x:0:0::/root:/bin/sh\napp:x:7:8::/home/app:/bin/sh\n' > "$d/fs/etc/passwd"
{ umoci init --layout "$d/oci"; umoci new --image "$d/oci:1"; umoci insert --image "$d/oci:1" "$d/fs" /; } >/dev/null 2>&1
skopeo copy -q "oci:$d/oci:1" "oci-archive:$d/a.tar:bb:1"
rt() { timeout 60 "$bin/rt_driver" "$d/st" "$bin/swarm-shim" crun "$@" || true; }
expect() { # NAME PATTERN TEXT
	case $3 in *"$2"*) echo "ok $1" ;; *) echo "FAILED $1: wanted \"$2\", got: $3"; exit 1 ;; esac
}
expect load "loaded sha256:" "$(rt load "$d/a.tar")"
expect exit_code "exit t1 3 " "$(rt run t1 bb:1 0 sh -c 'exit 3')"
expect secret "exit t2 0 " "$(rt run t2 bb:1 0 sh -c '[ "$(cat /run/secrets/key)" = opensesame ]')"
expect user "exit t3 0 " "$(RT_USER=app RT_INIT=1 rt run t3 bb:1 0 sh -c '[ "$(id -u):$(id -g)" = 7:8 ]')"
expect oom "exit t4 137 oom" "$(rt run t4 bb:1 20000000 dd if=/dev/zero of=/dev/null bs=200M)"
expect no_command "executable file" "$(rt run t5 bb:1 0 nosuch)"
expect exec "exec 7 started" "$(RT_EXEC='exit 7' rt run e1 bb:1 0 sleep 60)"
expect exec_output "uid=7(app) gid=8 yes /home/app" "$(RT_EXEC='echo $(id) $FROM_EXEC $HOME' RT_EXEC_USER=app rt run e2 bb:1 0 sleep 60)"
expect exec_nobody 'user "nosuch"' "$(RT_EXEC=: RT_EXEC_USER=nosuch rt run e3 bb:1 0 sleep 60)"
expect exec_missing "exec 127 not started executable file" "$(RT_EXEC=nosuch RT_EXEC_PLAIN=1 rt run e4 bb:1 0 sleep 60)"
expect exec_terminal "exec 27 started" "$(RT_EXEC='[ -t 1 ] && exec sh' RT_EXEC_USER=app RT_EXEC_TTY=1 rt run e5 bb:1 0 sleep 60)"
expect exec_stop "exec 129 started" "$(RT_EXEC='echo; sleep 50' RT_EXEC_STOP=1 rt run e6 bb:1 0 sleep 60)"
expect exec_stop_hard "exec 137 started" "$(RT_EXEC='trap "" HUP; echo; sleep 50; sleep 50' RT_EXEC_STOP=1 rt run e7 bb:1 0 sleep 60)"
"$bin/rt_driver" "$d/st" "$bin/swarm-shim" crun run k1 bb:1 0 sh -c 'sleep 2; exit 5' > "$d/out" &
agent=$!
i=0
until grep -q running "$d/out"; do i=$((i + 1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done
kill -9 $agent
wait $agent 2>/dev/null || true
expect take_over "exit k1 5 " "$(rt wait)"
printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s/reg}}\nhttp: {addr: 127.0.0.1:5572}\nlog: {level: error}\n' "$d" > "$d/reg.yml"
docker-registry serve "$d/reg.yml" > "$d/reg.log" 2>&1 &
registry=$!
i=0
until skopeo copy -q --dest-tls-verify=false "oci:$d/oci:1" docker://127.0.0.1:5572/library/new:1 2>/dev/null; do
	i=$((i + 1)); [ $i -lt 50 ] || exit 1; sleep 0.1
done
expect pull "pulled sha256:" "$(rt pull 127.0.0.1:5572/library/new:1)"
expect mirror "pulled sha256:" "$(RT_MIRROR=http://127.0.0.1:5572 rt pull new:1)"
expect missing "404 MANIFEST_UNKNOWN" "$(rt pull 127.0.0.1:5572/library/none:1)"
