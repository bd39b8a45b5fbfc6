"""What a request costs the server, in counts and not in time: hypercorn took 16 steps, 2 tasks and 17 system calls."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import trio

from praxis.net import http_connection
from tests.net.http_kit import client_of, echo, serving
from tests.support.costs import counted

REQUESTS = 10


async def test_a_tiny_request_is_one_step_one_read_and_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"read": 0, "write": 0}

    def read(fd: int, size: int) -> bytes:
        calls["read"] += 1
        return os.read(fd, size)

    def write(fd: int, data: bytes) -> int:
        calls["write"] += 1
        return os.write(fd, data)

    monkeypatch.setattr(http_connection, "os", SimpleNamespace(read=read, write=write))
    client_task = trio.lowlevel.current_task()
    async with serving(echo) as server, client_of(server) as client:
        await client.get()
        with counted(lambda task: task is not client_task) as costs:
            calls.update(read=0, write=0)
            for number in range(REQUESTS):
                assert (await client.request("POST", "/", b"%d" % number))[0] == 200
        assert (costs.steps, costs.tasks) == (REQUESTS, 0)
        assert calls == {"read": REQUESTS, "write": REQUESTS}
