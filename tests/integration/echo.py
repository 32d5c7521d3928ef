"""Who am I to the server? For tests of what a network does to addresses.

echo.py serve NAME PORT            answers TCP and UDP, both families, with "NAME CLIENT PORT"
echo.py ask tcp|udp HOST PORT [FROM_PORT [BYTES]]   prints the answer
echo.py hold tcp|udp HOST PORT     asks again for each line on stdin, over one connection or socket
"""
import selectors
import socket
import sys


def plain(address):
    return address[7:] if address.startswith("::ffff:") else address


def serve(name, port):
    sel = selectors.DefaultSelector()
    tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) \
        if socket.has_dualstack_ipv6() and has_ipv6() else socket.create_server(("0.0.0.0", port))
    udp = socket.socket(tcp.family, socket.SOCK_DGRAM)
    if tcp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::" if tcp.family == socket.AF_INET6 else "0.0.0.0", port))
    sel.register(tcp, selectors.EVENT_READ, "accept")
    sel.register(udp, selectors.EVENT_READ, "udp")
    while True:
        for key, _ in sel.select():
            if key.data == "accept":
                c, _ = tcp.accept()
                sel.register(c, selectors.EVENT_READ, "tcp")
            elif key.data == "udp":
                data, peer = udp.recvfrom(65535)
                answer = f"{name} {plain(peer[0])} {peer[1]} {len(data)}".encode()
                udp.sendto(answer.ljust(len(data)) if len(data) > 100 else answer, peer)
            else:
                c = key.fileobj
                try:
                    data = c.recv(65535)
                except OSError:
                    data = b""
                if not data:
                    sel.unregister(c)
                    c.close()
                    continue
                peer = c.getpeername()
                c.sendall(f"{name} {plain(peer[0])} {peer[1]} {len(data)}\n".encode())


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
            s.bind(("::", 0))
        return True
    except OSError:
        return False


def connect(kind, host, port, source=0):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(3)
    if source:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", source))
    s.connect((host, port))
    return s


def ask(s, size=1):
    s.sendall(b"x" * size)
    return s.recv(65535).decode().strip()


mode = sys.argv[1]
try:
    if mode == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    elif mode == "ask":
        source = int(sys.argv[5]) if len(sys.argv) > 5 else 0
        size = int(sys.argv[6]) if len(sys.argv) > 6 else 1
        print(ask(connect(sys.argv[2], sys.argv[3], int(sys.argv[4]), source), size))
    else:
        s = connect(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        for _ in sys.stdin:
            try:
                print(ask(s), flush=True)
            except OSError as e:
                print(type(e).__name__, flush=True)
except OSError as e:
    print(type(e).__name__)
    sys.exit(1)
