#!/bin/bash
# A registry that asks for a password: login, --with-registry-auth, what nodes are given and keep. 2 nodes.
set -uo pipefail
LAB=${LAB:-creds}
reg=192.168.77.250:5002
export SWARM_AGENT_OPTIONS="--insecure-registry $reg"
. "$(dirname "$(readlink -f "$0")")/lib.sh"
export DOCKER_CONFIG=$work/docker
password=correct-horse

at_registry() { nsenter --net="/run/netns/swl-$LAB-reg" "$@"; }
task_error() { ctl n1 service ps "$1" --no-trunc --format '{{.CurrentState}} {{.Error}}'; }
login() { printf '%s\n' "$2" | ctl n1 login -u "$1" --password-stdin "${@:3}" $reg; }
auth_of() { printf 'gordon:%s' "$1" | base64 -w 0; }

cat >"$work/stack.yml" <<YML
services:
  web:
    image: $reg/private/web
    command: sleep 100000
    deploy: { mode: global }
YML

start 2 1
mkdir "$work/blobs"
python3 -W ignore -c "import crypt; print('gordon:' + crypt.crypt('$password', '\$2y\$05\$abcdefghijklmnopqrstuu'))" >"$work/htpasswd"
cat >"$work/registry.yml" <<YML
version: 0.1
log: { level: warn }
storage: { filesystem: { rootdirectory: $work/blobs } }
auth: { htpasswd: { realm: the lab, path: $work/htpasswd } }
http: { addr: "$reg" }
YML
at_registry docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
servers+=($!)
check "a registry that asks for a password" within 10 says "401" at_registry curl -s -o /dev/null -w '%{http_code}' "http://$reg/v2/"
check "has an image" at_registry skopeo copy -q --dest-tls-verify=false --dest-creds "gordon:$password" \
	"oci:$top/build/lab-images:busybox" "docker://$reg/private/web:latest"

echo "== without credentials"
ctl n1 stack deploy -d -c "$work/stack.yml" s >/dev/null 2>&1
check "tasks say what the registry said" within 15 says "401|unauthorized|authentication required" task_error s_web
check "login needs a user on a pipe" says "username" bash -c "echo x | $lab ctl n1 login --password-stdin $reg"
check "wrong ones are kept" login gordon wrong
check "a deploy gives them to the nodes" ctl n1 stack deploy -d --with-registry-auth -c "$work/stack.yml" s
check "there they are" is "$reg" ctl n1 registry ls --format '{{.Name}}'
check "and wrong" within 15 says "401|unauthorized|authentication required" task_error s_web
check "nothing runs" runs n1 s_web 0

echo "== with them"
check "login" login gordon $password
check "config.json is this user's only" is 600 stat -c %a "$DOCKER_CONFIG/config.json"
check "deploy" ctl n1 stack deploy -d --with-registry-auth -c "$work/stack.yml" s
check "it runs on every node" within 60 runs n1 s_web 2
check "one registry is known" is "$reg" ctl n1 registry ls --format '{{.Name}}'
check "nobody is told the password" not says "$(auth_of $password)" ctl n1 registry inspect $reg
check "no disk has it" not grep -rqsF -e "$(auth_of $password)" -e $password "/var/lib/swarm-lab/$LAB" "$run"
"$lab" kill n2 agent
"$lab" start n2
ctl n2 image rm -f $reg/private/web >/dev/null 2>&1
check "an agent that restarted is given them again" ctl n1 service update --force -q s_web
check "and pulls" within 30 runs n1 s_web 2

echo "== helpers"
mkdir "$work/bin"
cat >"$work/bin/docker-credential-lab" <<SH
#!/bin/sh
read -r server || [ -n "\$server" ]
echo "\$1 \$server" >>$work/asked
echo '{"ServerURL": "'\$server'", "Username": "gordon", "Secret": "$password"}'
SH
chmod +x "$work/bin/docker-credential-lab"
echo '{"credHelpers": {"'$reg'": "lab"}}' >"$DOCKER_CONFIG/config.json"
check "logout of the cluster alone" ctl n1 registry rm $reg
check "none is known" is "" ctl n1 registry ls --format '{{.Name}}'
check "a helper is asked" env PATH="$work/bin:$PATH" timeout 60 "$lab" ctl n1 stack deploy --with-registry-auth -c "$work/stack.yml" s
check "by Docker's protocol" is "get $reg" head -n 1 "$work/asked"
check "what it says is given to the nodes" is "$reg" ctl n1 registry ls --format '{{.Name}}'
check "a login is kept beside it" login gordon $password --cluster
check "logout" ctl n1 logout --cluster $reg
check "the cluster has forgotten" is "" ctl n1 registry ls --format '{{.Name}}'
check "and this user" not grep -q "$(auth_of $password)" "$DOCKER_CONFIG/config.json"
ctl n1 stack rm s >/dev/null
finish
