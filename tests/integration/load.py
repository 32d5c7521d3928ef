"""Requests at a steady rate, each on a new connection: load.py RATE SECONDS HOST PORT [FILE]

Stops early when FILE disappears. Prints "N requests, F failed" and each kind of failure; exits 1 when
any failed. Answers are read to their end: one that is cut is a failure.
"""
import collections
import os
import socket
import sys
import threading
import time

rate, seconds, host, port = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3], int(sys.argv[4])
flag = sys.argv[5] if len(sys.argv) > 5 else None
family = socket.AF_INET6 if ":" in host else socket.AF_INET
THREADS = 16
failures, done, bodies = collections.Counter(), 0, collections.Counter()
lock = threading.Lock()
phase = threading.local()


def request():
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(5)
        phase.what = "connect"
        s.connect((host, port))
        phase.what = "answer"
        s.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        data = b""
        while chunk := s.recv(65536):
            data += chunk
    head, sep, body = data.partition(b"\r\n\r\n")
    if not sep or b" 200 " not in head.split(b"\r\n")[0]:
        raise ValueError("answer: " + repr(data[:60]))
    return body.strip().decode(errors="replace")


def work(k):
    global done
    start = time.monotonic() + k / rate
    i = 0
    while True:
        due = start + i * THREADS / rate
        if due > start + seconds or (flag and not os.path.exists(flag)):
            return
        time.sleep(max(0, due - time.monotonic()))
        try:
            body, why = request(), None
        except (OSError, ValueError) as e:
            why = f"{phase.what}: {type(e).__name__}: {e}"
        with lock:
            done += 1
            if why:
                failures[f"{why} at {time.strftime('%T')}"] += 1
            else:
                bodies[body] += 1
        i += 1


threads = [threading.Thread(target=work, args=(k,)) for k in range(THREADS)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(f"{done} requests, {sum(failures.values())} failed, {len(bodies)} answered")
for why, n in failures.most_common(9):
    print(f"  {n} x {why}")
sys.exit(1 if failures or not done else 0)
