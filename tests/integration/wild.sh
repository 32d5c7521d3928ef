#!/bin/bash
# Stack files of other people's repositories, byte for byte: they come up, or are refused for what they
# themselves ask. Their images are stood in for by one that listens on the ports that their health checks
# ask for and has the programs that these run. 1 manager and 1 worker.
set -uo pipefail
LAB=${LAB:-wild}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
cases=$top/../shared/cases/compose/wild
[ -d "$cases" ] || { echo "skipped: no cases beside the project"; exit 77; }

# up: it comes up. Else: how the deploy is refused. Not in this list are those that lack files, or bind
# folders of their author's host.
files='dockerswarm.rocks__docs_traefik-host-v1                           up
dockerswarm.rocks__docs_traefik-v1                                       up
dockerswarm.rocks__docs_traefik-v3                                       up
dockerswarm.rocks__docs_traefik                                          up
dogvscat__old-stack-proxy                                                up
dogvscat__stack-menu                                                     up
dogvscat__stack-visualizer                                               up
qnap__swarm_configs_shepherd_shepherd                                    up
shepherd__examples_docker-compose.apprise                                up
shepherd__examples_docker-compose.swarm-cronjob                          up
swarmpit__docker-compose.arm                                             up
udemy-docker-mastery__swarm-stack-4_answer_voting-app-placement          up
udemy-docker-mastery__swarm-stack-5_example-voting-app-stack             up
udemy-docker-mastery__swarm-stack-6_example-voting-app-stack             up
udemy-docker-mastery__visualizer_docker-stack                            up
dogvscat__stack-portainer                                                has the driver "rexray/dobs": only local
swarmstack__portworx_docker-compose                                      has the driver "pxd": only local
prometheus__pwd-stack                                                    constraint "node.hostname == ": wanted KEY == VALUE
dogvscat__stack-proxy-global                                             network proxy exists and is not of stack
prometheus__docker-stack                                                 env_file.*No such file
promstack__pushgateway_docker-stack                                      configs.*No such file'
export DOMAIN=example.org USERNAME=u HASHED_PASSWORD=h EMAIL=e@example.org CONSUL_REPLICAS=0 TRAEFIK_REPLICAS=1

# The names in all of the files, but for those that the lab's registry has.
images() {
	local f
	while read -r f _; do grep -hE '^ +image:' "$cases/$f.yml"; done <<<"$files" | awk '{ print $2 }' |
		tr -d "\"'" | grep -v '\$' | sort -u
}
stand_in() {
	mkdir "$work/standin"
	cat >"$work/standin/Dockerfile" <<'DOCKERFILE'
FROM busybox
COPY --chmod=755 standin curl /bin/
ENTRYPOINT ["/bin/standin"]
DOCKERFILE
	cat >"$work/standin/standin" <<'SH'
#!/bin/sh
mkdir -p /tmp/www/v1/docker-flow-proxy
echo here | tee /tmp/www/index.html >/tmp/www/v1/docker-flow-proxy/ping
trap "exit 0" TERM
httpd -f -p 8080 -h /tmp/www &
wait
SH
	printf '#!/bin/sh\nfor last; do :; done\nexec wget -q -O /dev/null "$last"\n' >"$work/standin/curl"
	# shellcheck disable=SC2046
	ctl n1 image build -q $(images | sed 's/^/-t /') "$work/standin"
}

start 2 1
check "one image with all their names" stand_in
for n in proxy traefik-public swarmstack_net; do check "network $n" ctl n1 network create -d overlay --attachable $n; done
check "a label of the manager" ctl n1 node update --label-add traefik-public.traefik-public-certificates=true n1
check "a label of the worker" ctl n1 node update --label-add ssd=true n2
sock=/var/run/docker.sock
made=
[ -e $sock ] || { touch $sock && made=1; }

i=0
while read -r f wanted; do
	i=$((i + 1))
	if [ "$wanted" = up ]; then
		check "$f" ctl n1 stack deploy --timeout 60s -c "$cases/$f.yml" w$i </dev/null
		check "... is removed" ctl n1 stack rm w$i </dev/null
	else
		check "$f is refused" says "$wanted" ctl n1 stack deploy --timeout 60s -c "$cases/$f.yml" w$i </dev/null
		check "... and nothing is there" says 'no such stack' ctl n1 stack services -q w$i </dev/null
	fi
done <<<"$files"
[ -n "$made" ] && rm $sock
finish
