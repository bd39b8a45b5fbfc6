"""What a client does while the server takes nothing: the pipe is full, and nobody may wait for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_one_way_pair, memory_stream_one_way_pair, wait_all_tasks_blocked

from praxis.model.errors import PraxisError
from praxis.tools import mcp_client, mcp_outbox
from praxis.tools.mcp_client import McpClient
from praxis.tools.mcp_outbox import Outbox
from praxis.wire.mcp import ClientSession, Fault
from tests.tools.mcp_kit import make_upward


def make_client(
    stdin: trio.abc.SendStream, stdout: trio.abc.ReceiveStream, count: Callable[[Fault], None] = lambda fault: None
) -> McpClient:
    session = ClientSession(name="praxis", version="1", max_line=10_000, count=count)
    return McpClient("deaf", stdin, stdout, session, max_calls=100, upward=make_upward())


LARGE = "x" * (mcp_outbox.QUEUE // 16)
"""Sixteen requests with this in them fill the queue."""


async def call(client: McpClient, timeout: float, errors: list[tuple[float, str, bool]]) -> None:
    start = trio.current_time()
    with pytest.raises(PraxisError) as caught:
        await client.request("tools/call", {"text": LARGE}, what="work", timeout=timeout)
    errors.append((trio.current_time() - start, caught.value.code, caught.value.delivered))


async def test_calls_on_a_deaf_server_end_in_time_and_say_whether_they_were_sent(autojump_clock: MockClock) -> None:
    stdin, _ = lockstep_stream_one_way_pair()
    _, stdout = memory_stream_one_way_pair()
    faults: list[Fault] = []
    client = make_client(stdin, stdout, faults.append)
    errors: list[tuple[float, str, bool]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        async with trio.open_nursery() as calls:
            calls.start_soon(call, client, 1.0, errors)
            await wait_all_tasks_blocked()
            for _ in range(21):
                calls.start_soon(call, client, 1.0, errors)
        nursery.cancel_scope.cancel()
    # The first was being written, so it had to be told of its end; the others were taken back.
    assert errors[:-1] == [(1.0, "timeout", False)] * 21
    assert errors[-1] == (1.0 + mcp_client.CANCEL_LIMIT, "timeout", True)
    assert faults == ["cancelled"]


async def test_a_call_that_was_taken_back_is_never_written(autojump_clock: MockClock) -> None:
    stdin, server = lockstep_stream_one_way_pair()
    _, stdout = memory_stream_one_way_pair()
    client = make_client(stdin, stdout)
    errors: list[tuple[float, str, bool]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        nursery.start_soon(call, client, 10.0, errors)
        await wait_all_tasks_blocked()
        await call(client, 1.0, errors)
        nursery.start_soon(call, client, 10.0, errors)
        await wait_all_tasks_blocked()
        lines = b""
        while lines.count(b"\n") < 2:
            lines += await server.receive_some()
        assert [json.loads(line)["id"] for line in lines.splitlines()] == [1, 3]
        client.fail_calls("over", {})
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [code for _, code, _ in errors] == ["timeout", "unavailable", "unavailable"]


async def test_calls_that_wait_for_room_hear_of_the_end(autojump_clock: MockClock) -> None:
    stdin, _ = lockstep_stream_one_way_pair()
    server, stdout = memory_stream_one_way_pair()
    client = make_client(stdin, stdout)
    errors: list[tuple[float, str, bool]] = []
    async with trio.open_nursery() as nursery:
        for _ in range(19):
            nursery.start_soon(call, client, 10.0, errors)
        await wait_all_tasks_blocked()
        nursery.start_soon(server.aclose)
        assert await client.run() == ""
        client.fail_calls("it is gone", {})
    assert {(time, code) for time, code, _ in errors} == {(0.0, "unavailable")}
    with pytest.raises(PraxisError, match="MCP server deaf: it is gone") as caught:
        await client.request("tools/call", {}, what="work", timeout=1)
    assert not caught.value.delivered


async def test_answers_are_read_after_the_server_stopped_reading() -> None:
    stdin, server_in = memory_stream_one_way_pair()
    server_out, stdout = memory_stream_one_way_pair()
    client = make_client(stdin, stdout)
    results: list[Any] = []

    async def work() -> None:
        results.append(await client.request("tools/call", {}, what="work", timeout=5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        nursery.start_soon(work)
        await server_in.receive_some()
        await server_in.aclose()
        nursery.start_soon(call, client, 5.0, [])  # its line breaks the pipe
        await wait_all_tasks_blocked()
        await server_out.send_all(b'{"id":1,"result":"last"}\n')
        await server_out.aclose()
        await wait_all_tasks_blocked()
        client.fail_calls("over", {})
    assert results == ["last"]


async def test_a_flood_of_pings_without_reading_is_bounded() -> None:
    stdin, server = lockstep_stream_one_way_pair()
    server_out, stdout = memory_stream_one_way_pair()
    client = make_client(stdin, stdout)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        pings = [b'{"id":%d,"method":"ping"}\n' % id for id in range(5 * mcp_outbox.URGENT)]
        await server_out.send_all(pings[0])
        await wait_all_tasks_blocked()
        await server_out.send_all(b"".join(pings[1:]))
        await wait_all_tasks_blocked()
        got = b""
        with trio.move_on_after(0.01):
            while True:
                got += await server.receive_some()
        assert [json.loads(line)["id"] for line in got.splitlines()] == [*range(1 + mcp_outbox.URGENT)]
        assert client._outbox.dropped == 4 * mcp_outbox.URGENT - 1
        nursery.cancel_scope.cancel()


async def test_what_waits_is_written_together_and_urgent_lines_first() -> None:
    stdin, server = lockstep_stream_one_way_pair()
    outbox = Outbox(stdin)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        outbox.put(b"1")
        await wait_all_tasks_blocked()
        second, urgent = outbox.put(b"2"), outbox.put_urgent(b"u")
        assert await server.receive_some() == b"1"
        assert not second.started
        assert await server.receive_some() == b"u2"
        await urgent.wait_done()
        assert not outbox.withdraw(second)
        nursery.cancel_scope.cancel()
    outbox.close()
    assert outbox.put(b"3").done
