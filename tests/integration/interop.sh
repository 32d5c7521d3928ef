#!/bin/bash
# Images go both ways: what is built here is taken by skopeo, umoci, podman and Docker and runs there;
# what they make, in each of the formats that they write, is pulled or loaded, and runs here.
set -uo pipefail
LAB=${LAB:-tinter}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$top/deploy/lib/images.sh"

registry=192.168.77.250:5000
limits="--ulimit nofile=1000:1000 --ulimit nproc=1000:1000" # podman would raise them, which takes a right of its own
outside() { nsenter --net="/run/netns/swl-$LAB-reg" "$@"; } # beside the registry, on no node
pod() { outside podman --root "$work/pod/root" --runroot "$work/pod/run" --storage-driver vfs --cgroup-manager cgroupfs "$@"; }
dock() { DOCKER_CONFIG=$work/dock/config docker -H "unix://$work/dock/sock" "$@"; }
end_docker() {
	local p
	for p in $(cat "$work/dock/pid" 2>/dev/null); do
		kill "$p" && within 20 not kill -0 "$p" 2>/dev/null
	done
	grep -F " $work/" /proc/self/mountinfo | awk '{ print $5 }' | sort -r | while read -r p; do umount -l "$p"; done
}
trap 'end_docker; clean_up' EXIT

start_docker() {
	mkdir -p "$work/dock"
	outside setsid dockerd --data-root "$work/dock/data" --exec-root "$work/dock/exec" --pidfile "$work/dock/pid" \
		-H "unix://$work/dock/sock" --iptables=false --ip6tables=false --bridge=none --insecure-registry "$registry" \
		>"$work/dock/log" 2>&1 </dev/null &
	within 30 dock version
}
# A folder as lines: kind, mode, owner, links, name, where a link leads, content.
listing() {
	(cd "$1" && find . -mindepth 1 -printf '%y %m %U:%G %P -> %l\n' | sed 's/ -> $//' | sort &&
		find . -type f -exec sha256sum {} + | sort)
}
same_tree() { diff <(listing "$1") <(listing "$2"); }
ran=0
runs_here() { # NODE IMAGE: as a service, once; it says what all images of this test say
	ran=$((ran + 1))
	ctl "$1" service create -q -d --name "r$ran" --restart-condition none --constraint "node.hostname==$1" "$2" >/dev/null &&
		within 20 says "started as 7:8 in /work with x y, v=one two" ctl "$1" service logs "r$ran"
}
takes() { # WHAT IMAGE: by pull, and it runs
	check "$1: pulled" ctl n2 image pull "$2"
	check "$1: runs here" runs_here n2 "$2"
}

"$top/deploy/install-deps" build run lab peer || { echo "skipped: its packages can't be installed"; exit 77; }
base_root "$work/root"
echo gone >"$work/root/etc/gone"
mkdir -p "$work/root/etc/emptied" "$work/root/data"
touch "$work/root/etc/emptied/a" "$work/root/etc/emptied/b"
mkdir -p "$work/ctx"
tar -C "$work/root" -cf "$work/ctx/rootfs.tar" .
cat >"$work/ctx/start" <<'EOF'
#!/bin/sh
echo "started as $(id -u):$(id -g) in $(pwd) with $*, v=$V"
EOF
chmod 755 "$work/ctx/start"
long=$(printf 'a-long-name-%.0s' 1 2 3 4 5 6 7 8 9 10 11 12)
cat >"$work/ctx/Dockerfile" <<DOCKERFILE
FROM scratch
ADD rootfs.tar /
ENV PATH=/bin V="one two"
RUN rm /etc/gone && rm -r /etc/emptied && mkdir /etc/emptied && touch /etc/emptied/c
RUN mkdir /odd && cd /odd && echo hard > a && ln a b && ln -s ../etc/passwd link && touch $long "with space" && chmod 4755 a && mkdir -m 1777 sticky && mknod null c 1 3 && mkfifo fifo && chown -h 3:4 link
COPY --chown=5:6 start /start
LABEL of=interop
EXPOSE 80/tcp 53/udp
VOLUME /data
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD ["true"]
WORKDIR /work
USER 7:8
ENTRYPOINT ["/start"]
CMD ["x", "y"]
DOCKERFILE
said="^started as 7:8 in /work with x y, v=one two\$"

start 2 2
check "Docker's daemon" start_docker

echo "== from here"
check "built" ctl n1 image build -q -t "$registry/team/ours:1" "$work/ctx"
check "it runs here" runs_here n1 "$registry/team/ours:1"
check "its files" ctl n1 image build -q -o "$work/local" "$work/ctx"
check "pushed" ctl n1 image push "$registry/team/ours:1"
check "skopeo inspects it" outside skopeo inspect --tls-verify=false "docker://$registry/team/ours:1"
outside skopeo inspect --config --tls-verify=false "docker://$registry/team/ours:1" >"$work/config.json"
check "skopeo reads the configuration" is '{"User":"7:8","ExposedPorts":{"53/udp":{},"80/tcp":{}},"Entrypoint":["/start"],"Cmd":["x","y"],"Volumes":{"/data":{}},"WorkingDir":"/work","Labels":{"of":"interop"},"StopSignal":"SIGINT"}' \
	jq -c '.config | { User, ExposedPorts, Entrypoint, Cmd, Volumes, WorkingDir, Labels, StopSignal }' "$work/config.json"
check "skopeo copies it" outside skopeo copy -q --src-tls-verify=false "docker://$registry/team/ours:1" "oci:$work/layout:1"
check "umoci unpacks it" umoci unpack --image "$work/layout:1" "$work/bundle"
check "to the files that we have" same_tree "$work/bundle/rootfs" "$work/local"
check "podman runs it" says "$said" pod run --rm --tls-verify=false --network=none --cgroups=disabled $limits "$registry/team/ours:1"
check "Docker pulls it" dock pull -q "$registry/team/ours:1"
check "Docker runs it" says "$said" dock run --rm --network=none "$registry/team/ours:1"
ctl n1 image save "$registry/team/ours:1" >"$work/ours.tar"
check "podman loads what is saved" pod load -i "$work/ours.tar"
dock image rm "$registry/team/ours:1" >/dev/null
check "Docker loads what is saved" dock load -i "$work/ours.tar"
check "and runs it" says "$said" dock run --rm --network=none "$registry/team/ours:1"
check "an archive in OCI's form" ctl n1 image build -q -o "type=oci,dest=$work/oci.tar" "$work/ctx"
check "podman runs that" sh -c "true && $(declare -f outside pod); LAB=$LAB work=$work; id=\$(pod pull -q oci-archive:$work/oci.tar) && pod run --rm --network=none --cgroups=disabled $limits \$id | grep -q '$said'"

echo "== from skopeo and umoci"
cp -a "$work/layout" "$work/umoci"
check "umoci changes it" umoci config --image "$work/umoci:1" --tag 2 --config.label by=umoci
for form in "oci gzip" "oci zstd" "v2s2 gzip"; do
	set -- $form
	check "skopeo pushes $1, $2" outside skopeo copy -q --format "$1" --dest-compress-format "$2" --dest-tls-verify=false \
		"oci:$work/umoci:2" "docker://$registry/skopeo/$1-$2:1"
	takes "skopeo's $1 with $2" "$registry/skopeo/$1-$2:1"
done
check "skopeo's archive for Docker" outside skopeo copy -q "oci:$work/umoci:2" "docker-archive:$work/skopeo.tar:from/skopeo:1"
check "is loaded" sh -c "'$lab' ctl n2 image load <'$work/skopeo.tar'"
check "and runs here" runs_here n2 from/skopeo:1

echo "== from podman"
check "podman builds" pod build -q --isolation chroot --cap-add MKNOD --network host -t "$registry/podman/app:1" "$work/ctx"
for form in oci v2s2; do
	check "podman pushes $form" pod push -q --tls-verify=false --format $form "$registry/podman/app:1" "$registry/podman/$form:1"
	takes "podman's $form" "$registry/podman/$form:1"
done
check "podman makes an index" sh -c "$(declare -f outside pod); LAB=$LAB work=$work; pod manifest create many >/dev/null && pod manifest add many containers-storage:$registry/podman/app:1 && pod manifest push -q --all --tls-verify=false many docker://$registry/podman/many:1"
takes "podman's index" "$registry/podman/many:1"
for form in docker-archive oci-archive; do
	check "podman saves $form" pod save -q --format $form -o "$work/podman-$form.tar" "$registry/podman/app:1"
	ctl n2 image rm "$registry/podman/app:1" >/dev/null 2>&1
	check "which is loaded" sh -c "'$lab' ctl n2 image load <'$work/podman-$form.tar'"
	check "and runs here" runs_here n2 "$registry/podman/app:1"
done

echo "== from Docker"
check "Docker builds" env DOCKER_BUILDKIT=0 DOCKER_CONFIG="$work/dock/config" docker -H "unix://$work/dock/sock" build -q --network none -t "$registry/docker/app:1" "$work/ctx"
check "Docker pushes" dock push -q "$registry/docker/app:1"
takes "Docker's" "$registry/docker/app:1"
check "its files are what Docker's are" sh -c "printf 'FROM $registry/docker/app:1\n' | '$lab' ctl n2 image build -q -o '$work/docker-files' -"
check "and like ours" same_tree "$work/docker-files" "$work/local"
dock tag "$registry/docker/app:1" saved/docker:1
check "Docker saves" dock save -o "$work/docker.tar" saved/docker:1
check "which is loaded" sh -c "'$lab' ctl n1 image load <'$work/docker.tar'"
check "and runs here" runs_here n1 saved/docker:1

end_docker
finish
