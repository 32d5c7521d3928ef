"""A stock gRPC client against our server (wire_server), and HTTP/2 by hand (Raw)."""
import os
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

try:
    import grpc
except ImportError:
    print("skipped: python3-grpcio is not installed")
    sys.exit(77)


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def msg(data=b"", count=0):
    out = b""
    if data:
        out += b"\x0a" + varint(len(data)) + data
    if count:
        out += b"\x10" + varint(count)
    return out


class World:
    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory()
        self.server = subprocess.Popen([program, self.folder.name], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self.port = int(self.server.stdout.readline().split()[1])

    def read(self, name):
        with open(os.path.join(self.folder.name, name), "rb") as f:
            return f.read()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def channel(self, who):
        key, cert = (self.read(who + ".key"), self.read(who + ".pem")) if who else (None, None)
        # Our certificates name nodes, not hosts; a stock client checks hosts, so CN is overridden.
        cred = grpc.ssl_channel_credentials(self.read("ca.pem"), key, cert)
        return grpc.secure_channel("127.0.0.1:%d" % self.port, cred, [
            ("grpc.ssl_target_name_override", "0000000000abc"),
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])

    def close(self):
        self.server.stdin.close()
        rc = self.server.wait(10)
        self.folder.cleanup()
        return rc


def fails(call, code, text=""):
    try:
        call()
    except grpc.RpcError as e:
        assert e.code() == code, (e.code(), e.details())
        assert text in e.details(), e.details()
        return e
    raise AssertionError("did not fail")


def unary(w, ch):
    call = ch.unary_unary("/wire.Echo/Unary")
    for n in (0, 1, 1000, 3900000):
        assert call(msg(b"x" * n), timeout=10) == msg(b"x" * n)
    for _ in range(500):
        assert call(msg(b"abc")) == msg(b"abc")


def server_stream(w, ch):
    got = list(ch.unary_stream("/wire.Echo/Server")(msg(b"y" * 16384, 500), timeout=20))
    assert len(got) == 500
    assert got[499] == msg(b"y" * 16384, 500)


def client_stream(w, ch):
    got = ch.stream_unary("/wire.Echo/Client")((msg(b"z" * 10000) for _ in range(300)), timeout=20)
    assert got == msg(count=300), got


def bidi(w, ch):
    want = [msg(b"m%d" % i) for i in range(200)]
    assert list(ch.stream_stream("/wire.Echo/Bidi")(iter(want), timeout=20)) == want


def error(w, ch):
    e = fails(lambda: ch.unary_unary("/wire.Echo/Error")(msg()), grpc.StatusCode.NOT_FOUND)
    assert e.details() == "no 100% m\u00e4tch", e.details()
    assert dict(e.trailing_metadata())["swarm-code"] == "SW_ENOTFOUND"


def deadline(w, ch):
    t = time.monotonic()
    fails(lambda: ch.unary_unary("/wire.Echo/Slow")(msg(), timeout=0.3),
          grpc.StatusCode.DEADLINE_EXCEEDED)
    assert 0.25 < time.monotonic() - t < 2
    assert w.server.stdout.readline() in ("end SW_ECANCELED\n", "end SW_ETIMEOUT\n")


def cancel(w, ch):
    f = ch.unary_unary("/wire.Echo/Slow").future(msg(), wait_for_ready=True)
    ch.unary_unary("/wire.Echo/Unary")(msg())  # behind it on the same connection
    f.cancel()
    assert w.server.stdout.readline() == "end SW_ECANCELED\n"


def no_certificate(w, ch):
    with w.channel(None) as c:
        fails(lambda: c.unary_unary("/wire.Echo/Unary")(msg(), timeout=5),
              grpc.StatusCode.UNAUTHENTICATED, "worker")


def wrong_role(w, ch):
    with w.channel("worker") as c:
        fails(lambda: c.unary_unary("/wire.Echo/Manager")(msg(), timeout=5),
              grpc.StatusCode.PERMISSION_DENIED, "for the role manager")
    assert ch.unary_unary("/wire.Echo/Manager")(msg(b"a")) == msg(b"a")


def too_large(w, ch):
    fails(lambda: ch.unary_unary("/wire.Echo/Unary")(msg(b"x" * 5000000), timeout=10),
          grpc.StatusCode.RESOURCE_EXHAUSTED, "at most 4194304")


def unknown(w, ch):
    fails(lambda: ch.unary_unary("/wire.Echo/Nothing")(msg()), grpc.StatusCode.UNIMPLEMENTED)
    fails(lambda: ch.unary_unary("/no.Such/Thing")(msg()), grpc.StatusCode.UNIMPLEMENTED)


def damaged(w, ch):
    fails(lambda: ch.unary_unary("/wire.Echo/Unary")(b"\xff\xff"),
          grpc.StatusCode.INVALID_ARGUMENT)


class Raw:
    """HTTP/2 by hand, for what a stock client does not do, or does not do on command."""
    HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 1, 3, 4, 6, 7, 8

    def __init__(self, w, who):
        ctx = ssl.create_default_context(cafile=w.path("ca.pem"))
        ctx.check_hostname = False
        ctx.load_cert_chain(w.path(who + ".pem"), w.path(who + ".key"))
        ctx.set_alpn_protocols(["h2"])
        self.socket = ctx.wrap_socket(socket.create_connection(("127.0.0.1", w.port)))
        self.socket.settimeout(10)
        self.got = b""
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(self.SETTINGS) +
                            self.frame(self.WINDOW_UPDATE, body=struct.pack(">I", 1 << 30)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    @staticmethod
    def frame(kind, flags=0, stream=0, body=b""):
        return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + \
            struct.pack(">I", stream) + body

    def call(self, stream, path, body, headers=()):
        def lit(k, v):  # HPACK: literal without indexing, no Huffman
            return b"\x00" + bytes([len(k)]) + k + bytes([len(v)]) + v

        head = b"".join(lit(k, v) for k, v in [
            (b":method", b"POST"), (b":scheme", b"https"), (b":path", path),
            (b":authority", b"x"), (b"te", b"trailers"),
            (b"content-type", b"application/grpc"), *headers])
        return self.frame(self.HEADERS, 4, stream, head) + \
            self.frame(0, 1, stream, struct.pack(">BI", 0, len(body)) + body)

    def frames(self):
        """(kind, flags, stream, body) of each frame; ends when the other end closes."""
        while True:
            while len(self.got) >= 9:
                n = int.from_bytes(self.got[:3], "big")
                if len(self.got) < 9 + n:
                    break
                yield (self.got[3], self.got[4],
                       int.from_bytes(self.got[5:9], "big") & 0x7fffffff, self.got[9:9 + n])
                self.got = self.got[9 + n:]
            part = self.socket.recv(65536)
            if not part:
                return
            self.got += part

    def cancelled_calls(self, n):
        """n calls, each cancelled at once. The GOAWAY they led to, or None."""
        batch = 500
        cancel = struct.pack(">I", 8)
        body = msg(b"x", 100000)
        for i in range(0, n, batch):
            out = b""
            for at in range(2 * i + 1, 2 * (i + batch), 2):
                out += self.call(at, b"/wire.Echo/Server", body) + \
                    self.frame(self.RST_STREAM, 0, at, cancel)
            self.socket.sendall(out + self.frame(self.PING, body=struct.pack(">Q", i)))
            for kind, flags, _, data in self.frames():
                if kind == self.GOAWAY:
                    return data
                if kind == self.PING and flags & 1:
                    break
            else:
                raise AssertionError("closed without a word")
        return None


def quick_cancels(w, ch):
    """Cancelling is normal work. By hand: a stock client that cancels before its HEADERS have
    left resets a stream that is idle still, which ends the connection (grpc/grpc#19655)."""
    with Raw(w, "manager") as raw:
        assert raw.cancelled_calls(9000) is None
        raw.socket.sendall(raw.call(20001, b"/wire.Echo/Unary", msg(b"ok")))
        assert any(kind == 0 and stream == 20001 and body.endswith(msg(b"ok"))
                   for kind, _, stream, body in raw.frames()), "no answer"
    slow = ch.unary_stream("/wire.Echo/Server")
    for _ in range(300):
        call = slow(msg(b"x", 100000))
        next(call)
        call.cancel()
    assert ch.unary_unary("/wire.Echo/Unary")(msg(b"ok"), timeout=10) == msg(b"ok")


def reset_flood(w, ch):
    """More than any client needs is an attack (CVE-2023-44487), whoever does it."""
    with Raw(w, "manager") as raw:
        try:
            assert raw.cancelled_calls(50000) is not None, "50,000 streams reset, and nothing said"
        except OSError:  # the rest of a batch met the closed connection
            pass


def health(w, ch):
    check = ch.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"") == b"\x08\x01"
    assert check(b"\x0a\x09wire.Echo") == b"\x08\x01"
    fails(lambda: check(b"\x0a\x04none"), grpc.StatusCode.NOT_FOUND)
    watch = ch.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    assert next(watch) == b"\x08\x01"
    watch.cancel()


def raw_deadline(w, ch):
    """A client that does not reset the stream at its deadline: ours has to fire."""
    with Raw(w, "worker") as raw:
        raw.socket.sendall(raw.call(1, b"/wire.Echo/Slow", b"", [(b"grpc-timeout", b"300m")]))
        t = time.monotonic()
        for kind, flags, stream, _ in raw.frames():
            if kind == raw.HEADERS and stream == 1:
                break
        else:
            raise AssertionError("closed without an answer")
        took = time.monotonic() - t
        assert flags & 1, "no END_STREAM"
        assert 0.25 < took < 2, took
        assert w.server.stdout.readline() == "end SW_ETIMEOUT\n"


def no_alpn(w, ch):
    ctx = ssl.create_default_context(cafile=w.path("ca.pem"))
    ctx.check_hostname = False
    ctx.set_alpn_protocols(["http/1.1"])
    try:
        with ctx.wrap_socket(socket.create_connection(("127.0.0.1", w.port))) as s:
            s.recv(1)
    except ssl.SSLError:
        return
    raise AssertionError("http/1.1 was accepted")


TESTS = [unary, server_stream, client_stream, bidi, error, deadline, cancel, no_certificate,
         wrong_role, too_large, unknown, damaged, quick_cancels, reset_flood, health, raw_deadline,
         no_alpn]


def main():
    w = World(sys.argv[1])
    failed = 0
    with w.channel("manager") as ch:
        for t in TESTS:
            try:
                t(w, ch)
                print("ok     ", t.__name__, flush=True)
            except Exception as e:
                failed += 1
                print("FAILED ", t.__name__, type(e).__name__, e, flush=True)
    rc = w.close()
    print("%d passed, %d failed; server's exit status %d" % (len(TESTS) - failed, failed, rc))
    return 1 if failed or rc else 0


sys.exit(main())
