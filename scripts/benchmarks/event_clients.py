"""The WebSocket clients of the events benchmark, in a process of their own: standard library, and as little as can be.

Arguments: port, how many clients read, how many only connect.
"""

from __future__ import annotations

import selectors
import socket
import sys
from typing import NoReturn

_REQUEST = (
    b"GET /ws/workflow HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_MARK = b'"seq":'
"""Stands once in every message."""


def count(port: int, readers: int, stalled: int) -> NoReturn:
    """Connect, say "ready", count, and say "done" once everybody has got as many as the number on standard input."""
    poll = selectors.DefaultSelector()
    counts: dict[socket.socket, int] = {}
    tails: dict[socket.socket, bytes] = {}
    idle = []
    for number in range(readers + stalled):
        opened = socket.create_connection(("127.0.0.1", port))
        opened.sendall(_REQUEST)
        head = b""
        while b"\r\n\r\n" not in head:
            head += opened.recv(1)
        if number < readers:
            opened.setblocking(False)
            counts[opened] = 0
            tails[opened] = b""
            poll.register(opened, selectors.EVENT_READ)
        else:
            idle.append(opened)
    poll.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    wanted = sys.maxsize
    keep = len(_MARK) - 1
    while True:
        for key, _ in poll.select():
            client = key.fileobj
            if not isinstance(client, socket.socket):
                wanted = int(sys.stdin.readline() or "0")
                poll.unregister(sys.stdin)
                continue
            chunk = client.recv(262_144)
            if not chunk:
                raise SystemExit("the server closed a client")
            text = tails[client] + chunk
            counts[client] += text.count(_MARK)
            tails[client] = text[-keep:]
        if wanted != sys.maxsize and all(count >= wanted for count in counts.values()):
            if any(count > wanted for count in counts.values()):
                raise SystemExit("more messages than events: some were lost, and a gap was told")
            print("done", flush=True)
            raise SystemExit(0)


if __name__ == "__main__":
    count(*map(int, sys.argv[1:]))
