#!/bin/bash
# A registry with a CA of its own, that asks for certificates: certs.d as Docker's. One node.
set -uo pipefail
LAB=${LAB:-ttls}
. "$(dirname "$(readlink -f "$0")")/lib.sh"
host=192.168.77.250
reg=$host:5003 dir=$work/certs.d/$host:5003
export SWARM_AGENT_OPTIONS="--registry-certs $work/certs.d"

mkdir -p "$work/pki" "$work/blobs" "$work/ctx"
ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" -keyout "$work/pki/$1.key" -out "$work/pki/$1.crt" 2>/dev/null; }
# issue NAME CA EXTENSION
issue() {
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$work/pki/$1.key" -out "$work/pki/$1.csr" 2>/dev/null
	openssl x509 -req -in "$work/pki/$1.csr" -CA "$work/pki/$2.crt" -CAkey "$work/pki/$2.key" -CAcreateserial -days 2 \
		-extfile <(echo "$3") -out "$work/pki/$1.crt" 2>/dev/null
}
ca servers && ca clients && ca others || { bad "no CA was made"; exit 1; }
issue registry servers "subjectAltName=IP:$host"
issue agent clients "extendedKeyUsage=clientAuth"
issue stranger others "extendedKeyUsage=clientAuth"

start 1 1
cat >"$work/registry.yml" <<YML
version: 0.1
log: { level: warn }
storage: { filesystem: { rootdirectory: $work/blobs } }
http:
  addr: "$reg"
  tls: { certificate: $work/pki/registry.crt, key: $work/pki/registry.key, clientcas: [$work/pki/clients.crt] }
YML
at_registry() { nsenter --net="/run/netns/swl-$LAB-reg" "$@"; }
at_registry docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
servers+=($!)
answers() { at_registry curl -sf --cacert "$work/pki/servers.crt" --cert "$work/pki/agent.crt" --key "$work/pki/agent.key" "https://$reg/v2/"; }
check "the registry answers who has a certificate" within 10 answers
printf 'FROM scratch\nADD Dockerfile /\nCMD ["x"]\n' >"$work/ctx/Dockerfile"
check "an image to send" ctl n1 image build -q -t $reg/team/app:1 "$work/ctx"
push() { ctl n1 image push $reg/team/app:1; }
pull() { ctl n1 image pull $reg/team/app:1; }

check "a CA that nobody knows: told where it belongs" says "certificate.*certs\.d/$reg/ca\.crt" not push
mkdir -p "$dir"
cp "$work/pki/others.crt" "$dir/ca.crt"
check "another CA is not enough" says "certificate" not push
cp "$work/pki/servers.crt" "$dir/second.crt"
check "with its CA, the registry asks for a certificate" says "certificate" not push
cp "$work/pki/agent.crt" "$dir/client.cert"
check "a certificate without a key: told which" says "client\.key is missing" not push
cp "$work/pki/stranger.key" "$dir/client.key"
check "a key that is not the certificate's: told which" says "client\.key is not the key of .*client\.cert" not push
cp "$work/ctx/Dockerfile" "$dir/client.cert"
check "a certificate that is none: told which" says "client\.cert.*no certificate" not push
cp "$work/pki/stranger.crt" "$dir/client.cert"
check "a certificate that the registry does not take" says "certificate|tls" not push
cp "$work/pki/agent.crt" "$dir/client.cert"
cp "$work/pki/agent.key" "$dir/client.key"
check "with both, it is pushed" push
cp "$work/pki/stranger.crt" "$dir/a.cert"
cp "$work/pki/stranger.key" "$dir/a.key"
check "of several, the one whose CA the registry names is shown" push
rm "$dir"/client.*
check "it has none of ours" says "certificate" not push
mv "$dir/a.cert" "$dir/client.cert"
mv "$dir/a.key" "$dir/client.key"
cp "$work/pki/agent.crt" "$dir/z.cert"
cp "$work/pki/agent.key" "$dir/z.key"
ctl n1 image rm $reg/team/app:1 >/dev/null
ctl n1 image prune -a --build-cache >/dev/null
check "and pulled" pull
check "Docker's tools agree" at_registry skopeo inspect --cert-dir "$dir" "docker://$reg/team/app:1"
rm "$dir/second.crt"
check "a CA taken away counts at once" says "certificate" not push
mv "$work/certs.d/$reg" "$work/certs.d/$host:5004"
check "another port's certificates are not this one's" says "certificate" not push

finish
