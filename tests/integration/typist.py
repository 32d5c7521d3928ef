#!/usr/bin/env python3
"""Runs a command in a terminal of its own, as a person would: typist.py SCRIPT COMMAND...
SCRIPT is lines of: type TEXT | expect TEXT | size ROWS COLUMNS. Exits as the command does."""
import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

LIMIT = 20
seen = b""


def read_more(fd, until):
    global seen
    left = until - time.monotonic()
    if left <= 0 or not select.select([fd], [], [], left)[0]:
        return False
    try:
        data = os.read(fd, 65536)
    except OSError:
        return False
    seen += data
    return bool(data)


def expect(fd, text):
    global seen
    until = time.monotonic() + LIMIT
    while text not in seen:
        if not read_more(fd, until):
            sys.exit(f"wanted {text!r}, saw {seen[-600:]!r}")
    seen = seen[seen.index(text) + len(text):]


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def main():
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(sys.argv[2], sys.argv[2:])
    set_size(fd, 24, 80)
    for line in sys.argv[1].splitlines():
        word, _, rest = line.strip().partition(" ")
        text = rest.encode().decode("unicode_escape").encode()
        if word == "type":
            os.write(fd, text)
        elif word == "expect":
            expect(fd, text)
        elif word == "size":
            set_size(fd, *map(int, rest.split()))
    until = time.monotonic() + LIMIT
    while read_more(fd, until):
        pass
    _, status = os.waitpid(pid, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


main()
