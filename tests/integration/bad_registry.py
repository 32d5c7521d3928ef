"""A registry that misbehaves: the repository's name says how. Usage: bad_registry.py ADDRESS PORT"""

import collections
import gzip
import hashlib
import http.server
import io
import json
import sys
import tarfile
import time

GOOD = {}  # digest -> bytes


def keep(data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    GOOD[digest] = data
    return digest


def tar_of(*entries):
    """entries: (name, kind, content or link target)"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content
                tar.addfile(info)
    return out.getvalue()


def manifest_of(layer, diff=None, media="application/vnd.oci.image.layer.v1.tar+gzip", **change):
    packed = layer if isinstance(layer, bytes) and layer[:2] == b"\x1f\x8b" else gzip.compress(layer)
    diff = diff or "sha256:" + hashlib.sha256(gzip.decompress(packed)).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/x"]},
            "rootfs": {"type": "layers", "diff_ids": [diff]},
        }
    ).encode()
    m = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": keep(config),
            "size": len(config),
        },
        "layers": [{"mediaType": media, "digest": keep(packed), "size": len(packed)}],
    }
    m["layers"][0].update(change)
    return json.dumps(m).encode()


FILE = tar_of(("x", tarfile.REGTYPE, b"hello"))
# Links out of the layer and names that climb: what is written must land inside, or be refused.
CLIMB = tar_of(("../../../../../../../../tmp/swarm-escaped", tarfile.REGTYPE, b"out"))
LINK = tar_of(("out", tarfile.SYMTYPE, "/tmp"), ("out/swarm-escaped", tarfile.REGTYPE, b"out"))
HARD = tar_of(("passwd", tarfile.LNKTYPE, "../../../../../../../etc/passwd"))
MANIFESTS = {
    "good": manifest_of(FILE),
    "slow": manifest_of(FILE + b"\0" * 10240),
    "lying": manifest_of(tar_of(("x", tarfile.REGTYPE, b"true content"))),
    "short": manifest_of(tar_of(("x", tarfile.REGTYPE, b"y" * 100000))),
    "wrongsize": manifest_of(tar_of(("z", tarfile.REGTYPE, b"z")), size=7),
    "toolong": manifest_of(tar_of(("t", tarfile.REGTYPE, b"t")), size=100000),
    "wrongdiff": manifest_of(FILE, diff="sha256:" + "0" * 64),
    "climb": manifest_of(CLIMB),
    "link": manifest_of(LINK),
    "hard": manifest_of(HARD),
    "garbage": b"<html>not a manifest</html>",
    "deep": b"[" * 100000,
    "empty": b"{}",
    "hurried": manifest_of(tar_of(("h", tarfile.REGTYPE, b"h"))),
    "flaky": manifest_of(tar_of(("f", tarfile.REGTYPE, bytes(range(256)) * 4000))),
    "badconfig": manifest_of(tar_of(("c", tarfile.REGTYPE, b"c"))),
    "busy": manifest_of(tar_of(("b", tarfile.REGTYPE, b"b"))),
    "rush": manifest_of(tar_of(("r", tarfile.REGTYPE, b"r"))),
    "pause": manifest_of(tar_of(("p", tarfile.REGTYPE, b"p"))),
    "nolayers": b'{"schemaVersion":2,"layers":"none"}',
    "huge": b"{" + b" " * (20 << 20) + b"}",
}
def manifest_of_both(one, two):
    """An image with the layers of two others."""
    parts = [json.loads(m) for m in (one, two)]
    configs = [json.loads(GOOD[p["config"]["digest"]]) for p in parts]
    configs[0]["rootfs"]["diff_ids"] += configs[1]["rootfs"]["diff_ids"]
    config = json.dumps(configs[0]).encode()
    parts[0]["config"] |= {"digest": keep(config), "size": len(config)}
    parts[0]["layers"] += parts[1]["layers"]
    return json.dumps(parts[0]).encode()


RESUMED = "trickle", "deaf", "pair", "stall"  # blobs that stop half way until a Range is asked for; deaf ignores it
for name in RESUMED:
    noise = b"".join(hashlib.sha256(b"%s %d" % (name.encode(), i)).digest() for i in range(1 << 18))
    MANIFESTS[name] = manifest_of(tar_of(("noise", tarfile.REGTYPE, noise)))
MANIFESTS["pair"] = manifest_of_both(MANIFESTS["good"], MANIFESTS["pair"])
HALF = 4 << 20
SENT = collections.Counter()  # bytes of blobs by repository
def layer_of(name):
    return json.loads(MANIFESTS[name])["layers"][0]["digest"]


# repository -> layer, how often it is given before it is refused once, and what is asked for then
BUSY = {"busy": (layer_of("busy"), 1, "50"), "rush": (layer_of("rush"), 1, "50"), "pause": (layer_of("pause"), 0, "7")}
BLOBS = collections.Counter()
SEEN = collections.Counter()  # requests by repository
BADCONFIG = json.loads(MANIFESTS["badconfig"])["config"]["digest"]
LYING, FLAKY, SHORT = map(layer_of, ("lying", "flaky", "short"))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status, code, message, **headers):
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.answer(status, body, **headers)

    def do_GET(self):
        if self.path == "/v2/":
            return self.answer(200, b"{}")
        if self.path.startswith("/token"):
            return self.fail(500, "UNKNOWN", "no tokens today")
        _, _, repo, what, which = self.path.split("/", 4)
        SEEN[repo] += 1
        if repo == "locked":
            return self.fail(401, "UNAUTHORIZED", "log in first", WWW_Authenticate='Basic realm="x"')
        if repo == "tokens":
            host, port = self.server.server_address[:2]
            bearer = f'Bearer realm="http://{host}:{port}/token",service="x"'
            return self.fail(401, "UNAUTHORIZED", "a token is wanted", WWW_Authenticate=bearer)
        if repo == "noanswer":  # and says nothing at all
            self.close_connection = True
            return None
        if repo == "seen":  # /v2/seen/REPOSITORY/
            return self.answer(200, str(SEEN[what]).encode(), "text/plain")
        if repo == "sent":  # /v2/sent/REPOSITORY/
            return self.answer(200, str(SENT[what]).encode(), "text/plain")
        if repo == "reset":
            SENT[what] = 0
            return self.answer(200, b"")
        if repo == "size":  # of its layer
            size = json.loads(MANIFESTS[what])["layers"][0]["size"]
            return self.answer(200, str(size).encode(), "text/plain")
        if repo == "hurried" and what == "manifests" and SEEN[repo] <= 2:
            return self.fail(429, "TOOMANYREQUESTS", "slow down", Retry_After="1")
        if repo == "later":
            return self.fail(429, "TOOMANYREQUESTS", "pull rate limit reached", Retry_After="300")
        if repo == "denied":
            return self.fail(403, "DENIED", "requested access is denied: your plan ended")
        if repo == "limited":
            return self.fail(429, "TOOMANYREQUESTS", "pull rate limit reached", Retry_After="1")
        if repo == "broken":
            return self.fail(500, "UNKNOWN", "the disk of this registry is on fire")
        if repo == "silent":
            time.sleep(3600)
        if repo not in MANIFESTS:
            return self.fail(404, "NAME_UNKNOWN", "repository name not known to registry")
        if what == "manifests":
            return self.answer(200, MANIFESTS[repo], "application/vnd.oci.image.manifest.v1+json")
        data = GOOD.get(which)
        if data is None:
            return self.fail(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if which == BADCONFIG:
            data = data.replace(b"amd64", b"amd65")
        if repo in BUSY and which == BUSY[repo][0]:
            BLOBS[repo] += 1
            if BLOBS[repo] == BUSY[repo][1] + 1:
                return self.fail(429, "TOOMANYREQUESTS", "slow down", Retry_After=BUSY[repo][2])
        if which == LYING:
            data = data[:-9] + b"\0" + data[-8:]
        if which == SHORT:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
            return None
        if which == FLAKY and "Range" not in self.headers:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:1000])
            self.wfile.flush()
            self.close_connection = True
            return None
        if which == FLAKY:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            span = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self.answer(206, data[start:], "application/octet-stream", Content_Range=span)
        if repo in RESUMED and len(data) > HALF:
            return self.trickle(repo, data)
        if repo == "slow":
            time.sleep(2)
        return self.answer(200, data, "application/octet-stream")

    def trickle(self, repo, data):
        start, wanted = 0, self.headers.get("Range")
        whole = wanted is None
        if wanted and repo != "deaf":
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        end = HALF if whole and SENT[repo] < HALF else len(data)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(data[start:end])
        SENT[repo] += end - start
        if end < len(data):
            time.sleep(3600)

    do_HEAD = do_POST = do_GET


def main():
    server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # clients that hang up are what is tested
    server.serve_forever()


main()
