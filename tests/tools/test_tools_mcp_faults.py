"""What a server does wrong during a call costs that call alone: a good one is under way at the same time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_one_way_pair, wait_all_tasks_blocked

from praxis.config.schema import McpLimits
from praxis.model.errors import PraxisError
from praxis.tools.mcp_client import McpClient
from praxis.wire.mcp import ClientSession
from tests.support.fake_mcp import Behaviour, FakeServer, serve_calls
from tests.tools.mcp_kit import collect, make_upward, running

GOOD = {"content": [{"type": "text", "text": "good"}]}


def faulty(*lines: bytes) -> Behaviour:
    """Takes two calls, says the lines, where BAD and FINE stand for the calls' ids, and answers the second."""

    async def play(server: FakeServer) -> int:
        await server.start()
        bad, fine = await server.receive(), await server.receive()
        for line in lines:
            await server.output.send_all(line.replace(b"BAD", b"%d" % bad["id"]).replace(b"FINE", b"%d" % fine["id"]))
        await server.answer(fine, GOOD)
        return await serve_calls(server)

    return play


async def both(behaviour: Behaviour) -> tuple[PraxisError, Any, float, float]:
    """The error of the bad call, the result of the good one, and how much noise and how many odd ids were counted."""
    errors: list[PraxisError] = []
    results: list[Any] = []
    async with running(behaviour, limits=McpLimits(request_timeout_ms=1000)) as setting:

        async def good() -> None:
            results.append(await setting.call("echo"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, setting, errors, "wait")
            await wait_all_tasks_blocked()
            nursery.start_soon(good)
        assert await setting.call("echo", after=1) == {"content": [], "structuredContent": {"after": 1}}
        assert (setting.source.state().state, len(setting.opener.servers)) == ("ready", 1)
        return errors[0], results[0], setting.faults("noise"), setting.faults("unknown")


@pytest.mark.parametrize(
    "noise",
    [
        b"Listening on port 3000\n",
        b"\n",
        b"\xff\xfe\x00\n",
        b"[" * 100_000 + b"\n",
        b'{"jsonrpc":"2.0"}\n',
        b"123\n",
        b'"text"\n',
        b'{"result":{},"id":\n',
        b"\x1b[2K\rloading...\r\n",
    ],
)
async def test_noise_during_calls_is_skipped(autojump_clock: MockClock, noise: bytes) -> None:
    error, result, noises, _ = await both(faulty(noise, noise))
    assert (error.code, error.delivered) == ("timeout", True)
    assert result == GOOD
    assert noises == 2


@pytest.mark.parametrize("id", [b"999", b'"BAD"', b"null", b"-1", b"BAD.5", b"0", b"99999999999999999999", b"true"])
@pytest.mark.parametrize("kind", [b'"result":{"content":[]}', b'"error":{"code":1,"message":"no"}'])
async def test_an_answer_with_a_wrong_id_answers_nobody(autojump_clock: MockClock, id: bytes, kind: bytes) -> None:
    error, result, noise, unknown = await both(faulty(b'{"jsonrpc":"2.0","id":' + id + b"," + kind + b"}\n"))
    assert (error.code, error.delivered) == ("timeout", True)
    assert result == GOOD
    assert noise + unknown == 1


async def test_two_answers_to_one_call_are_one(autojump_clock: MockClock) -> None:
    answer = b'{"jsonrpc":"2.0","id":BAD,"error":{"code":7,"message":"first"}}\n'
    error, result, noise, unknown = await both(faulty(answer, answer.replace(b"first", b"second")))
    assert error.data["jsonrpc"]["message"] == "first"
    assert (result, noise, unknown) == (GOOD, 0, 0)


@pytest.mark.parametrize("message", [b'{"jsonrpc":"2.0","id":BAD,"result":{"a":NaN}}\n', b'{"id":BAD,"result":[1]}\n'])
async def test_an_answer_that_is_none_ends_its_own_call_alone(autojump_clock: MockClock, message: bytes) -> None:
    error, result, _, _ = await both(faulty(message))
    assert (error.code, error.delivered) == ("internal", True)
    assert result == GOOD


async def test_noise_that_hides_an_answer_costs_that_answer_alone(autojump_clock: MockClock) -> None:
    error, result, _, _ = await both(faulty(b'progress 10%{"jsonrpc":"2.0","id":BAD,"result":{"content":[]}}\n'))
    assert error.code in ("internal", "timeout")
    assert result == GOOD


async def test_a_server_that_dies_during_a_call_takes_no_other_server_with_it(autojump_clock: MockClock) -> None:
    async def die(server: FakeServer) -> int:
        await server.start()
        await server.receive()
        await server.output.send_all(b'{"jsonrpc":"2.0","id":3,"resu')
        return 139

    async def slow(server: FakeServer) -> int:
        await server.start()
        request = await server.receive()
        await trio.sleep(1)
        await server.answer(request, GOOD)
        return await serve_calls(server)

    errors: list[PraxisError] = []
    async with running(die) as dying, running(slow) as living:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, dying, errors, "echo")
            assert await living.call("echo") == GOOD
        assert living.source.state().restarts == 0
    assert (errors[0].code, errors[0].delivered) == ("unavailable", True)
    assert "SIGSEGV" in errors[0].detail


async def test_an_answer_that_came_before_the_end_is_kept_by_its_call() -> None:
    stdin, server_in = memory_stream_one_way_pair()
    server_out, stdout = memory_stream_one_way_pair()
    session = ClientSession(name="praxis", version="1", max_line=10_000, count=lambda fault: None)
    client = McpClient("fast", stdin, stdout, session, max_calls=9, upward=make_upward())
    results: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)

        async def work() -> None:
            results.append(await client.request("tools/call", {}, what="work", timeout=5))

        nursery.start_soon(work)
        await server_in.receive_some()
        for call in client._calls.values():
            call.finish("in time")  # as the reading task does, in the same turn of the loop as the end
        client.fail_calls("over", {})
        await server_out.aclose()
    assert results == ["in time"]
