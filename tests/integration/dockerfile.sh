#!/bin/bash
# What a Dockerfile may say, each form run by a node: mounts, ADD of URLs, ONBUILD, named contexts,
# heredocs, arguments, ignore files, links, the configuration that a container then gets.
set -uo pipefail
LAB=${LAB:-tdfile}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$top/deploy/lib/images.sh"

# gives WHAT FILE-AND-CONTENT... -- ARGS...: the Dockerfile on stdin builds, and the files of the result
# hold the content: "path=content"; "path!" is not there.
gives() {
	local what=$1 wants=() w got
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do wants+=("$1") && shift; done
	shift
	rm -rf "$work/o"
	if ! ctl n1 image build --progress plain -f - -o "$work/o" "$@" >"$work/out" 2>&1; then
		bad "$what: $(tail -n 2 "$work/out" | tr '\n' ' ')"
		return
	fi
	for w in "${wants[@]}"; do
		got=$(cat "$work/o/${w%%=*}" 2>&1)
		case $w in
		*!) [ -e "$work/o/${w%!}" ] && { bad "$what: ${w%!} is there"; return; } ;;
		*) [ "$got" = "${w#*=}" ] || { bad "$what: ${w%%=*} holds '$got', wanted '${w#*=}'"; return; } ;;
		esac
	done
	ok "$what"
}
refused() { # WHAT PATTERN ARGS...: the Dockerfile on stdin
	local what=$1 pattern=$2
	shift 2
	if ctl n1 image build --progress plain -f - "$@" >"$work/out" 2>&1; then bad "$what: it was taken"; return; fi
	if grep -qE "$pattern" "$work/out"; then ok "$what"; else bad "$what: said $(tail -n 1 "$work/out")"; fi
}

ctx=$work/ctx
mkdir -p "$ctx/src/deep" "$ctx/node_modules/x" "$work/other" "$work/web" "$work/base"
base_root "$work/root"
tar -C "$work/root" -cf "$work/base/rootfs.tar" .
printf 'FROM scratch\nADD rootfs.tar /\nENV PATH=/bin\n' >"$work/base/Dockerfile"
echo one >"$ctx/src/1.txt"
echo two >"$ctx/src/deep/2.txt"
echo log >"$ctx/src/3.log"
echo keep >"$ctx/src/keep.log"
echo x >"$ctx/node_modules/x/y"
printf '**/*.log\n!src/keep.log\nnode_modules\n' >"$ctx/.dockerignore"
echo from-other >"$work/other/f"
echo fetched >"$work/web/file.txt"
tar -C "$work/web" -czf "$work/web/file.tgz" file.txt
sum=$(sha256sum <"$work/web/file.txt" | cut -d' ' -f1)
printf secret >"$work/key"

start 2 1
check "a base" ctl n1 image build -q -t base "$work/base"
nsenter --net="/run/netns/swl-$LAB-reg" busybox httpd -f -p 192.168.77.250:8000 -h "$work/web" &
servers+=($!)
url=http://192.168.77.250:8000

echo "== RUN --mount"
gives "bind: the context, not written to" out=one d/1.txt! -- "$ctx" <<'D'
FROM base
RUN --mount=type=bind,source=src,target=/d cat /d/1.txt > /out; echo no > /d/1.txt || true
D
gives "bind: written to, and thrown away" out=changed -- "$ctx" <<'D'
FROM base
RUN --mount=type=bind,source=src,target=/d,rw echo changed > /d/1.txt && cat /d/1.txt > /out
D
gives "bind: of a stage" out=made -- "$ctx" <<'D'
FROM base AS maker
RUN echo made > /m
FROM base
RUN --mount=type=bind,from=maker,source=/m,target=/n cat /n > /out
D
gives "tmpfs" out=4096 t/x! -- "$ctx" <<'D'
FROM base
RUN --mount=type=tmpfs,target=/t,size=1m head -c 4096 /dev/zero > /t/x; wc -c < /t/x > /out
D
gives "a tmpfs has its size" out=full -- "$ctx" <<'D'
FROM base
RUN --mount=type=tmpfs,target=/t,size=64k head -c 1000000 /dev/zero > /t/x || echo full > /out
D
gives "secret: a file, its mode and owner" "out=secret 400 7" run/secrets/key! -- --secret "id=key,src=$work/key" "$ctx" <<'D'
FROM base
RUN --mount=type=secret,id=key,mode=0400,uid=7 echo $(cat /run/secrets/key) $(stat -c '%a %u' /run/secrets/key) > /out
D
gives "secret: a variable" out=6 -- --secret "id=key,src=$work/key" "$ctx" <<'D'
FROM base
RUN --mount=type=secret,id=key,env=KEY printf %s "$KEY" | wc -c > /out
D
gives "cache: kept from a build" out=1 -- "$ctx" <<'D'
FROM base
RUN --mount=type=cache,target=/c,id=kept echo first >> /c/log; wc -l < /c/log > /out
D
gives "cache: to the next" out=2 c/log! -- "$ctx" <<'D'
FROM base
RUN --mount=type=cache,target=/c,id=kept echo second >> /c/log; wc -l < /c/log > /out
D
gives "cache: one id at two places" out=x -- "$ctx" <<'D'
FROM base
RUN --mount=type=cache,id=twice,sharing=locked,target=/c --mount=type=cache,id=twice,target=/d touch /c/x && ls /d > /out
D
held() { ls /var/lib/swarm-lab/"$LAB"/n1/images/cache/*/in; }
hold() { # SHARING: a build that has a cache so until there is a file "go" in it, and fails without
	ctl n1 image build --no-cache --progress plain -f - "$work/other" >"$work/hold.log" 2>&1 <<D &
FROM base
RUN --mount=type=cache,id=of-$1,sharing=$1,target=/c touch /c/in; i=0; until [ -e /c/go ] || [ \$i = 300 ]; do sleep 0.1; i=\$((i + 1)); done; rm /c/in /c/go
D
	holder=$!
	check "a step has a cache, $1" within 20 held
}
hold shared
gives "cache: shared by two at once" out=in -- "$ctx" <<'D'
FROM base
RUN --mount=type=cache,id=of-shared,target=/c ls /c > /out; touch /c/go
D
check "the first ends well" wait $holder
hold private
gives "cache: private, of its own while the first is used" out= -- "$ctx" <<'D'
FROM base
RUN --mount=type=cache,id=of-private,sharing=private,target=/c ls /c > /out; touch /c/other
D
touch "$(dirname "$(held)")/go"
check "the first ends well" wait $holder
hold locked
ctl n1 image build --progress plain -f - "$ctx" >"$work/second.log" 2>&1 <<'D' &
FROM base
RUN --mount=type=cache,id=of-locked,sharing=locked,target=/c [ -z "$(ls /c)" ]
D
second=$!
check "cache: locked, the second waits and says so" within 20 grep -q 'waits for the cache of-locked' "$work/second.log"
touch "$(dirname "$(held)")/go"
check "the first ends well" wait $holder
check "then the second" wait $second
hold locked
"$lab" ctl n1 image build --progress plain -f - "$ctx" >"$work/second.log" 2>&1 <<'D' &
FROM base
RUN --mount=type=cache,id=of-locked,sharing=locked,target=/c echo never
D
second=$!
within 20 grep -q 'waits for the cache of-locked' "$work/second.log"
kill -TERM $(ps -o pid= --ppid $second)
check "who waits can be cancelled" within 10 grep -q cancelled "$work/second.log"
touch "$(dirname "$(held)")/go"
check "the first ends well" wait $holder
gives "several at once, by a user" "out=one 6 9" -- --secret "id=key,src=$work/key" "$ctx" <<'D'
FROM base
RUN mkdir -m 777 /o
USER 9
RUN --mount=type=bind,source=src/1.txt,target=/b --mount=type=secret,id=key,target=/s,mode=0444 --mount=type=tmpfs,target=/t echo $(cat /b) $(wc -c < /s) $(id -u) > /o/out
USER 0
RUN mv /o/out /out && rmdir /o
D
refused "ssh says what to do" 'ssh' "$ctx" <<'D'
FROM base
RUN --mount=type=ssh true
D

echo "== ADD"
gives "a URL" a=fetched b/file.txt=fetched -- "$ctx" <<D
FROM base
ADD $url/file.txt /a
ADD $url/file.txt /b/
D
gives "with its checksum" a=fetched -- "$ctx" <<D
FROM base
ADD --checksum=sha256:$sum $url/file.txt /a
D
refused "with another checksum" 'sha256:[0-9a-f]+' "$ctx" <<D
FROM base
ADD --checksum=sha256:$(printf '0%.0s' $(seq 64)) $url/file.txt /a
D
refused "that is not there" '404' "$ctx" <<D
FROM base
ADD $url/nosuch /a
D
refused "from nobody" 'refused|connect' "$ctx" <<D
FROM base
ADD http://192.168.77.250:9/x /a
D
cp "$work/web/file.tgz" "$ctx/"
gives "an archive of the context is unpacked, one of a URL is not" a/file.txt=fetched -- "$ctx" <<D
FROM base
ADD file.tgz /a/
ADD $url/file.tgz /b/
RUN test -f /b/file.tgz
D
rm "$ctx/file.tgz"

echo "== COPY"
gives "what the ignore file leaves" x/src/1.txt=one x/src/keep.log=keep x/src/3.log! x/node_modules! -- "$ctx" <<'D'
FROM base
COPY . /x/
D
gives "without some" x/1.txt=one x/keep.log! x/deep/2.txt=two -- "$ctx" <<'D'
FROM base
COPY --exclude=*.log src /x/
D
gives "with parents, from a pivot" x/deep/2.txt=two y/src/deep/2.txt=two -- "$ctx" <<'D'
FROM base
COPY --parents src/./deep/2.txt /x/
COPY --parents src/deep/*.txt /y/
D
gives "linked, with owner and mode" "out=741 7:8 640 1:1 750 0:0 640 0:0" -- "$ctx" <<'D'
FROM base
COPY --link --chown=7:8 --chmod=741 src/1.txt /l/1
COPY --chown=daemon:daemon --chmod=0640 src/1.txt /l/2
COPY --chmod=u=rwX,g=rX,o= src /l/3
RUN echo $(stat -c '%a %u:%g' /l/1 /l/2 /l/3/deep /l/3/1.txt) > /out
D
gives "of another image, a stage by number, a named context" a/passwd=1 b=numbered c=from-other -- --build-context "more=$work/other" "$ctx" <<'D'
FROM base
RUN echo numbered > /n && echo 1 > /p
FROM base
COPY --from=0 /n /b
COPY --from=0 /p /a/passwd
COPY --from=more f /c
COPY --from=base /etc/group /g
D
gives "a named context in the place of an image" c=from-other -- --build-context "base=$work/other" "$ctx" <<'D'
FROM scratch
COPY --from=base f /c
D
gives "heredocs: files, and commands with their own shell" "a=v is 5" 'b=v is $V' c=script d=python -- "$ctx" <<'D'
FROM base
ENV V=5
COPY <<E <<'Q' /
v is $V
E
v is $V
Q
RUN mv /E /a && mv /Q /b
RUN <<S
set -e
echo script > /c
S
RUN <<S
#!/bin/busybox sh
echo python > /d
S
D

echo "== arguments, stages, configuration"
gives "arguments: defaults, given, of the platform, before FROM" "out=def given linux/amd64 base" -- --build-arg B=given "$ctx" <<'D'
ARG NAME=base
FROM ${NAME}
ARG A=def
ARG B
ARG TARGETPLATFORM
ARG NAME
RUN echo $A $B $TARGETPLATFORM $NAME > /out
D
gives "forms of variables" "out=d set  cd abX" -- "$ctx" <<'D'
FROM base
ENV S=abcd
RUN echo "${U:-d} ${S:+set} ${U} ${S#ab} ab${U:-X}" > /out
D
gives "SHELL, WORKDIR that is relative" "out=-ec /a/b" -- "$ctx" <<'D'
FROM base
SHELL ["/bin/sh", "-ec"]
WORKDIR /a
WORKDIR b
RUN echo "-ec $(pwd)" > /out
D
refused "a shell that stops at the first failure" 'exit code: 1' "$ctx" <<'D'
FROM base
SHELL ["/bin/sh", "-ec"]
RUN false; true
D
ctl n1 image build -q -t parent -f - "$ctx" >/dev/null <<'D'
FROM base
ONBUILD COPY src/1.txt /from-child
ONBUILD RUN echo triggered > /ran
D
gives "ONBUILD, run in the child" from-child=one ran=triggered -- "$ctx" <<'D'
FROM parent
RUN test -f /ran
D
gives "and not in the grandchild" ran! -- "$ctx" <<'D'
FROM parent AS child
FROM child
RUN rm /ran /from-child
D
gives "a target, the rest not built" out=first -- --target one "$ctx" <<'D'
FROM base AS one
RUN echo first > /out
FROM one
RUN exit 1
D
gives "a stage on top of a stage" out=12 -- "$ctx" <<'D'
FROM base AS one
RUN printf 1 > /out
FROM one AS two
RUN printf 2 >> /out
FROM two
D
check "the configuration is built" sh -c "printf '%s\n' 'FROM base' 'LABEL a=b \"c d\"=e' 'EXPOSE 80 53/udp' 'STOPSIGNAL 9' 'USER 5:6' 'WORKDIR /w' 'VOLUME [\"/v\"]' 'HEALTHCHECK --interval=7s --retries=4 CMD test -f /w' 'ENTRYPOINT [\"sleep\"]' 'CMD [\"100000\"]' | '$lab' ctl n1 image build -q -t conf --label x=y -"
check "and reads so" is '{"User":"5:6","ExposedPorts":{"53/udp":{},"80/tcp":{}},"Labels":{"a":"b","c d":"e","x":"y"},"StopSignal":"9","Healthcheck":{"Test":["CMD-SHELL","test -f /w"],"Interval":7000000000,"Retries":4}}' \
	sh -c "'$lab' ctl n1 image inspect conf | jq -c '.[0].Config | { User, ExposedPorts, Labels, StopSignal, Healthcheck }'"
gives "SOURCE_DATE_EPOCH" "out=1000000000" -- --build-arg SOURCE_DATE_EPOCH=1000000000 "$ctx" <<'D'
FROM base AS one
RUN touch /f
FROM base
COPY --from=one /f /f
RUN stat -c %Y /f > /out
D

echo "== large and odd"
mkdir -p "$run/many/a" # on tmpfs: the disk is for the builder
(cd "$run/many/a" && seq -f '%06g' 70000 | xargs touch)
gives "seventy thousand files of one content: more than one file may have names" out=70000 -- "$run/many" <<'D'
FROM base
COPY a /a
RUN ls /a | wc -l > /out && rm -r /a
D
rm -r "$run/many"
mkdir "$run/many"
python3 -c 'import os, sys
for i in range(200000):
	with open(f"{sys.argv[1]}/{i}", "w") as f: f.write(str(i))' "$run/many"
lost() { grep -c '"detached"' "$run/n1/agent.log"; }
before=$(lost)
gives "two hundred thousand contents" out=taken -- "$run/many" <<'D'
FROM base
RUN echo taken > /out
D
check "the node was there all the time" is "$before" lost
rm -r "$run/many"
mkdir -p "$work/odd"
mkfifo "$work/odd/fifo"
mknod "$work/odd/device" c 1 3
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$work/odd/socket"
touch "$work/odd/new
line" "$work/odd/ü and space" "$work/odd/"$'\xff\xfe'
ln -s nowhere "$work/odd/dangling"
gives "names of any bytes, links to nowhere; no pipes" out=4 x/fifo! x/device! x/socket! -- "$work/odd" <<'D'
FROM base
COPY . /x
RUN find /x -mindepth 1 -print0 | tr -dc '\0' | wc -c > /out
D
if grep -q '^3 sockets, pipes or devices are left out of the context' "$work/out"; then ok "which is said"; else bad "what is left out is not said"; fi
truncate -s 3G "$work/odd/sparse"
rm "$work/odd/fifo" "$work/odd/device" "$work/odd/socket"
gives "a file of three gigabytes, of holes" out=3221225472 -- "$work/odd" <<'D'
FROM base AS big
COPY sparse /s
RUN stat -c %s /s > /out
FROM base
COPY --from=big /out /out
D
truncate -s 100G "$work/odd/sparse"
refused "a file of a hundred gigabytes, before it is read" 'more than 64 GiB .* sparse of 102400 MiB.*dockerignore' "$work/odd" <<'D'
FROM base
COPY sparse /s
D
rm "$work/odd/sparse"
nested() { # FOLDER NAME N: N folders of that name in each other
	mkdir -p "$1"
	python3 -c 'import os, sys
os.chdir(sys.argv[1])
for _ in range(int(sys.argv[3])): os.mkdir(sys.argv[2]); os.chdir(sys.argv[2])' "$@"
}
nested "$work/long" "$(printf 'x%.0s' {1..200})" 25
refused "paths longer than the kernel takes" 'a path of [0-9]+ bytes, and a context has them up to 4095.*dockerignore' "$work/long" <<'D'
FROM base
COPY . /x
D
nested "$work/deep" d 600
refused "folders six hundred deep" 'nested too deeply' "$work/deep" <<'D'
FROM base
COPY . /x
D
rm -r "$work/deep" "$work/long"
nested "$work/deep" d 450
gives "four hundred and fifty deep" out=450 -- "$work/deep" <<'D'
FROM base
COPY . /x
RUN find /x/d -type d | wc -l > /out && rm -r /x
D

finish
