"""Calls of one MCP server, on a virtual clock: results, errors, deaths, bounds."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from praxis.config.schema import McpLimits, McpServer
from praxis.model.errors import PraxisError
from praxis.tools import mcp_client, mcp_source, mcp_words
from tests.support.fake_mcp import FakeServer, serve, serve_calls
from tests.tools.mcp_kit import collect, running


async def test_a_result_is_passed_on_unchanged(autojump_clock: MockClock) -> None:
    result = {"content": [{"type": "odd", "x": [1, None]}], "isError": True, "_meta": {"a": "\u2028"}, "extra": {}}

    async def one(server: FakeServer) -> int:
        await server.start()
        await server.answer(await server.receive(), result)
        return await serve_calls(server)

    async with running(one) as setting:
        assert await setting.call("echo", a={"b": "é\u2028"}) == result
        sent = setting.server.received[-1]
        assert sent == {
            "jsonrpc": "2.0",
            "id": sent["id"],
            "method": "tools/call",
            "params": {"name": "echo", "arguments": {"a": {"b": "é\u2028"}}},
        }


async def test_progress_reaches_the_caller_and_a_faulty_callback_harms_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def tell(server: FakeServer) -> int:
        await server.start()
        while True:
            request = await server.receive()
            for step in (1, 2):
                params = {"progressToken": request["params"]["_meta"]["progressToken"], "progress": step}
                await server.send({"method": "notifications/progress", "params": params})
            await server.answer(request, {})

    seen: list[Any] = []
    async with running(tell) as setting:
        await setting.call("echo", seen.append)
        assert [params["progress"] for params in seen] == [1, 2]
        assert await setting.call("echo", lambda params: params["no such key"]) == {}
        assert [record.levelname for record in caplog.records if "progress" in record.message] == ["ERROR"]


async def test_a_cancelled_call_is_told_at_once_and_its_late_answer_ignored(autojump_clock: MockClock) -> None:
    async with running() as setting:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(setting.call, "wait")
            await wait_all_tasks_blocked()
            before = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() == before
        await wait_all_tasks_blocked()
        request, notice = setting.server.received[-2:]
        assert notice["method"] == "notifications/cancelled"
        assert notice["params"] == {"requestId": request["id"], "reason": "cancelled by the caller"}
        await setting.server.answer(request, {"content": []})
        assert await setting.call("echo", x=2) == {"content": [], "structuredContent": {"x": 2}}
        assert (setting.faults("cancelled"), setting.faults("late")) == (1, 1)
        assert len(setting.opener.servers) == 1


@pytest.mark.parametrize(("configured", "seconds"), [(None, 5.0), (0.25, 0.25)])
async def test_the_time_limit_of_a_call(autojump_clock: MockClock, configured: float | None, seconds: float) -> None:
    mcp_server = McpServer("fake", command="x", timeout=configured)
    async with running(server=mcp_server, limits=McpLimits(request_timeout_ms=5000)) as setting:
        before = trio.current_time()
        error = await setting.fail("wait")
        assert trio.current_time() - before == seconds
        assert (error.code, error.delivered) == ("timeout", True)
        assert error.detail == f"fake/wait: no answer within {seconds:g} s"
        await wait_all_tasks_blocked()
        assert setting.server.received[-1]["params"]["reason"] == "time is up"


@pytest.mark.parametrize(
    ("code", "name"), [(-32602, "invalid"), (-32601, "not_found"), (-32603, "internal"), (5, "internal")]
)
async def test_a_servers_error_keeps_its_code(autojump_clock: MockClock, code: int, name: str) -> None:
    async def refuse(server: FakeServer) -> int:
        await server.start()
        request = await server.receive()
        await server.send({"id": request["id"], "error": {"code": code, "message": "no\nway", "data": [1]}})
        return await serve_calls(server)

    async with running(refuse) as setting:
        error = await setting.fail("echo")
        assert (error.code, error.delivered) == (name, True)
        assert error.detail == rf"fake/echo: the server refuses: no\nway ({code})"
        assert error.data == {"jsonrpc": {"code": code, "message": "no\nway", "data": [1]}}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"id":3,"result":[]}', "internal"),
        (b'{"id":3,"result":NaN}', "internal"),
        (b'{"id":3,"result":"%s"}' % (b"x" * 1000), "too_large"),
    ],
)
async def test_an_answer_that_cannot_be_used(autojump_clock: MockClock, line: bytes, code: str) -> None:
    async def strange(server: FakeServer) -> int:
        await server.start()
        assert (await server.receive())["id"] == 3
        await server.send(line)
        return await serve_calls(server)

    async with running(strange, limits=McpLimits(max_response_size_bytes=500)) as setting:
        error = await setting.fail("echo")
        assert (error.code, error.delivered) == (code, True)
        assert await setting.call("echo") == {"content": [], "structuredContent": {}}


async def test_arguments_that_are_no_json_are_refused(autojump_clock: MockClock) -> None:
    async with running() as setting:
        error = await setting.fail("echo", x=float("nan"))
        assert (error.code, error.where, error.delivered) == ("invalid", "arguments", False)


async def test_a_long_answer_to_nobody_knows_whom_ends_the_connection(autojump_clock: MockClock) -> None:
    async def strange(server: FakeServer) -> int:
        await server.start()
        await server.receive()
        await server.receive()
        await server.send(b"x" * 1000)
        return await serve_calls(server)

    async with running(strange, serve, limits=McpLimits(max_response_size_bytes=500)) as setting:
        errors: list[PraxisError] = []
        await collect(setting, errors, "echo", "wait")
        assert [(error.code, error.delivered) for error in errors] == [("unavailable", True)] * 2
        assert "1000 bytes, over the limit" in errors[0].detail
        await trio.sleep(1)
        assert setting.source.state().state == "ready"


async def test_the_servers_own_requests_are_answered(autojump_clock: MockClock) -> None:
    async def ask(server: FakeServer) -> int:
        await server.start()
        await server.send({"id": "p", "method": "ping"}, {"id": 8, "method": "sampling/createMessage", "params": {}})
        return await serve_calls_and_answers(server)

    async def serve_calls_and_answers(server: FakeServer) -> int:
        while len(server.received) < 5:
            await server.receive()
        return await serve_calls(server)

    async with running(ask) as setting:
        reason = "no call is under way that it could belong to"
        assert setting.server.received[3:] == [
            {"jsonrpc": "2.0", "id": "p", "result": {}},
            {
                "jsonrpc": "2.0",
                "id": 8,
                "error": {"code": -32603, "message": reason},
            },
        ]
        assert await setting.call("echo") == {"content": [], "structuredContent": {}}


# --- servers that fail during calls


async def test_every_waiting_call_hears_how_the_server_died(autojump_clock: MockClock) -> None:
    async def crash(server: FakeServer) -> int:
        await server.start()
        await server.receive()
        await server.receive()
        await server.error.send_all(b"Traceback:\n  File x\nValueError: b\x1b[0moom\n\n")
        return 3

    async with running(crash, serve) as setting:
        errors: list[PraxisError] = []
        await collect(setting, errors, "wait", "echo")
        assert len({id(error) for error in errors}) == 2
        for error in errors:
            assert (error.code, error.delivered) == ("unavailable", True)
            assert error.detail == r"MCP server fake: it exited with status 3; its last words: ValueError: b\x1b[0moom"
            assert error.data == {"exit_status": 3, "stderr": r"ValueError: b\x1b[0moom"}
        state = setting.source.state()
        assert (state.state, state.stderr_tail[-1]) == ("backing off", r"ValueError: b\x1b[0moom")
        await trio.sleep(1)
        assert setting.source.state().state == "ready"
        assert setting.source.state().restarts == 1


@pytest.mark.parametrize(
    ("status", "words"), [(137, "ended by SIGKILL"), (143, "ended by SIGTERM"), (255, "status 255")]
)
async def test_signals_have_their_names(autojump_clock: MockClock, status: int, words: str) -> None:
    async def end(server: FakeServer) -> int:
        return status

    async with running(end) as setting:
        assert words in setting.source.state().reason


async def test_an_answer_written_just_before_the_end_still_counts(autojump_clock: MockClock) -> None:
    async def last(server: FakeServer) -> int:
        await server.start()
        await server.answer(await server.receive(), {"content": ["last"]})
        return 0

    async with running(last) as setting:
        assert await setting.call("echo") == {"content": ["last"]}


async def test_the_end_is_seen_though_a_child_holds_the_output_open(autojump_clock: MockClock) -> None:
    async def leave(server: FakeServer) -> int:
        await server.start()
        await server.receive()
        server.exit(1)
        await trio.sleep_forever()
        raise AssertionError

    async with running(leave) as setting:
        before = trio.current_time()
        assert "exited with status 1" in (await setting.fail("wait")).detail
        assert trio.current_time() - before <= mcp_client.LAST_WORDS + mcp_source.EXIT_PATIENCE


async def test_a_server_that_closes_its_output_and_lives_on(autojump_clock: MockClock) -> None:
    async def close(server: FakeServer) -> int:
        await server.start()
        await server.receive()
        await server.output.aclose()
        await trio.sleep_forever()
        raise AssertionError

    async with running(close) as setting:
        assert "closed its standard output" in (await setting.fail("wait")).detail


async def test_stopping_fails_the_calls_that_wait(autojump_clock: MockClock) -> None:
    errors: list[PraxisError] = []
    async with trio.open_nursery() as nursery, running() as setting:
        nursery.start_soon(collect, setting, errors, "wait")
        await wait_all_tasks_blocked()
    assert [(error.code, error.delivered) for error in errors] == [("unavailable", True)]
    assert (await setting.fail("echo")).code == "unavailable"


# --- bounds


async def test_calls_beyond_the_limit_wait_and_were_never_sent(autojump_clock: MockClock) -> None:
    limits = McpLimits(max_concurrent_requests=2, request_timeout_ms=1000)
    async with running(limits=limits) as setting:
        errors: list[PraxisError] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, setting, errors, "wait", "wait")
            await trio.sleep(0.5)
            nursery.start_soon(collect, setting, errors, "wait")
            await trio.sleep(0.4)
            assert setting.source.waiting == 1
            assert [m["method"] for m in setting.server.received].count("tools/call") == 2
            await trio.sleep(0.2)
            # The two have run into their limit, and the third takes a place.
            assert setting.source.waiting == 0
            assert [m["method"] for m in setting.server.received].count("tools/call") == 3
        assert [(error.code, error.delivered) for error in errors] == [("timeout", True)] * 3


async def test_a_call_that_got_no_place_was_not_delivered(autojump_clock: MockClock) -> None:
    limits = McpLimits(max_concurrent_requests=1, request_timeout_ms=1000)
    async with running(limits=limits) as setting:
        errors: list[PraxisError] = []
        await collect(setting, errors, "wait", "wait", "wait")
        assert sorted((error.code, error.delivered) for error in errors) == [
            ("timeout", False),
            ("timeout", False),
            ("timeout", True),
        ]
        assert ["could not even be sent" in error.detail for error in errors].count(True) == 2


async def test_a_server_may_say_much_and_the_log_says_little(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="praxis.tools.mcp_words")

    async def chatty(server: FakeServer) -> int:
        await server.start()
        for level in ("debug", "warning") * 500:
            params = {"level": level, "data": "line\nbreak " + "x" * 5000}
            await server.send({"method": "notifications/message", "params": params})
        await trio.sleep(60)
        await server.send({"method": "notifications/message", "params": {"level": "emergency", "data": "fire"}})
        return await serve_calls(server)

    async with running(chatty) as setting:
        lines = [record for record in caplog.records if "line" in record.message]
        assert len(lines) == mcp_words.LOG_LINES
        assert {record.levelname for record in lines} == {"DEBUG", "WARNING"}
        assert all(len(record.message) < 400 and "\n" not in record.message for record in lines)
        await trio.sleep(61)
        assert [record.levelname for record in caplog.records if "fire" in record.message] == ["WARNING"]
        assert any("980 more lines" in record.message for record in caplog.records)
        assert setting.source.state().state == "ready"


async def test_secrets_of_the_environment_stay_out_of_state_log_and_errors(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="praxis")

    async def leak(server: FakeServer) -> int:
        await server.start()
        await server.send(b"noise with sk-12345678")
        await server.send({"method": "notifications/message", "params": {"level": "info", "data": "sk-12345678"}})
        await server.error.send_all(b"using key sk-12345678 and 1\n")
        await server.receive()
        return 1

    mcp_server = McpServer("fake", command="x", args=("--key", "sk-12345678"), env={"KEY": "sk-12345678", "DEBUG": "1"})
    async with running(leak, server=mcp_server) as setting:
        error = await setting.fail("echo")
        assert setting.source.state().stderr_tail == ("using key *** and 1",)
        assert "using key *** and 1" in error.detail
        assert len([record for record in caplog.records if "***" in record.message]) >= 4
        assert "sk-1234" not in caplog.text
