"""One MCP server's life as a tool source, on a virtual clock."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from praxis import __version__
from praxis.config.schema import McpLimits, McpServer
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext
from praxis.observe.metrics import Metrics
from praxis.tools import mcp_client, mcp_source
from praxis.tools.mcp_source import McpSource
from praxis.tools.source import SourceState
from tests.support.fake_mcp import TOOLS, Behaviour, FakeOpener, FakeServer, serve, serve_calls

CONTEXT = CallContext("test")
ENVIRON = {"PATH": "/bin", "HOME": "/home/a", "SECRET_TOKEN": "hush", "LC_ALL": "C"}


@attrs.define
class Setting:
    """A source that runs, the servers that it has started, and what it reported."""

    source: McpSource
    opener: FakeOpener
    metrics: Metrics
    states: list[SourceState] = attrs.field(factory=list)
    changes: int = 0

    @property
    def server(self) -> FakeServer:
        return self.opener.servers[-1]

    def faults(self, fault: str) -> float:
        labels = ("source", "fault")
        return self.metrics.counter(
            "praxis_mcp_server_faults_total", "What MCP servers did wrong, or too late.", labels
        ).value("fake", fault)

    async def call(self, tool: str, on_progress: Any = None, /, **arguments: Any) -> Mapping[str, Any]:
        return (await self.source.call(tool, arguments, CallContext("test", on_progress=on_progress))).value

    async def fail(self, tool: str, /, **arguments: Any) -> PraxisError:
        """The error of a call that must fail."""
        with pytest.raises(PraxisError) as caught:
            await self.source.call(tool, arguments, CONTEXT)
        return caught.value


@asynccontextmanager
async def running(
    *behaviours: Behaviour | OSError, server: McpServer | None = None, limits: McpLimits | None = None
) -> AsyncIterator[Setting]:
    async with trio.open_nursery() as nursery:
        opener = FakeOpener(nursery, behaviours or [serve])

        metrics = Metrics()

        def changed() -> None:
            setting.changes += 1

        source = McpSource(
            server or McpServer("fake", command="fake-server"),
            limits or McpLimits(),
            "agent-1",
            base_dir=Path("/base"),
            on_change=changed,
            metrics=metrics,
            on_state=lambda state: setting.states.append(state),
            environ=ENVIRON,
            opener=opener,
        )
        setting = Setting(source, opener, metrics)
        await nursery.start(source.run)
        await wait_all_tasks_blocked()
        yield setting
        nursery.cancel_scope.cancel()


# --- starting


async def test_a_server_is_started_and_its_tools_appear(autojump_clock: MockClock) -> None:
    mcp_server = McpServer("fake", command="run", args=("a", "b c"), env={"KEY": "value"}, workdir=Path("/work-dir"))
    async with running(server=mcp_server) as setting:
        assert (setting.opener.argv, setting.opener.cwd) == (["run", "a", "b c"], Path("/work-dir"))
        assert setting.opener.env == {"PATH": "/bin", "HOME": "/home/a", "KEY": "value"}
        assert [str(tool.ref) for tool in setting.source.tools()] == ["agent-1:fake/echo", "agent-1:fake/wait"]
        assert [tool.definition for tool in setting.source.tools()] == TOOLS
        assert setting.source.state() == SourceState(
            name="fake", kind="mcp", state="ready", reason="", tools=2, restarts=0, stderr_tail=()
        )
        assert [state.state for state in setting.states] == ["starting", "ready"]
        assert setting.changes == 1
        assert setting.server.received[0]["params"] == {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "praxis", "version": __version__},
        }


async def test_it_starts_in_the_configurations_folder(autojump_clock: MockClock) -> None:
    async with running() as setting:
        assert setting.opener.cwd == Path("/base")


async def test_a_disabled_server_is_never_started(autojump_clock: MockClock) -> None:
    async with running(server=McpServer("fake", command="x", enabled=False)) as setting:
        assert setting.opener.started_at == []
        assert setting.source.state().state == "disabled"
        assert (await setting.fail("echo")).code == "unavailable"


async def test_a_program_that_is_missing_is_tried_again_with_growing_pauses(autojump_clock: MockClock) -> None:
    problem = FileNotFoundError(2, "No such file or directory", "fake-server")
    async with running(problem) as setting:
        assert setting.source.state().state == "backing off"
        assert setting.source.state().reason == "it cannot be started: No such file or directory: fake-server"
        await trio.sleep(80)
        at = [time - setting.opener.started_at[0] for time in setting.opener.started_at]
        assert at == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 45.5, 75.5]
        assert [state.state for state in setting.states if state.state != "starting"] == ["backing off"] * 5 + [
            "failed"
        ] * 3
        assert setting.source.state().restarts == 7
        assert 'praxis_mcp_server_restarts_total{source="fake"} 7' in setting.metrics.render()
        error = await setting.fail("echo")
        assert (error.code, error.delivered) == ("unavailable", False)
        assert "fake is failed: it cannot be started: No such file" in error.detail


async def test_without_retries_the_first_failure_counts(autojump_clock: MockClock) -> None:
    async with running(OSError(13, "Permission denied"), limits=McpLimits(retry_attempts=0)) as setting:
        assert setting.source.state().state == "failed"
        await trio.sleep(31)
        assert setting.opener.started_at[1] - setting.opener.started_at[0] == mcp_source.MAX_PAUSE


async def test_a_late_server_becomes_ready(autojump_clock: MockClock) -> None:
    async with running(OSError(2, "gone"), OSError(2, "gone"), serve) as setting:
        await trio.sleep(2)
        assert setting.source.state().state == "ready"
        assert setting.source.state().restarts == 2
        assert await setting.call("echo", x=1) == {"content": [], "structuredContent": {"x": 1}}


async def test_a_server_that_ends_soon_is_no_success_and_one_that_stays_is(autojump_clock: MockClock) -> None:
    async def stay(server: FakeServer, seconds: float) -> int:
        await server.start()
        await trio.sleep(seconds)
        return 1

    async def briefly(server: FakeServer) -> int:
        return await stay(server, 1)

    async def long(server: FakeServer) -> int:
        return await stay(server, 10)

    async with running(briefly, briefly, long, briefly) as setting:
        await trio.sleep(16.5)
        at = [time - setting.opener.started_at[0] for time in setting.opener.started_at]
        assert at == [0, 1.5, 3.5, 14, 16]


async def test_tools_stay_known_while_restarting_and_go_when_failed(autojump_clock: MockClock) -> None:
    async def crash(server: FakeServer) -> int:
        await server.start()
        return 1

    limits = McpLimits(retry_attempts=1)
    async with running(crash, OSError(2, "gone"), serve, limits=limits) as setting:
        known = setting.source.tools()
        assert (len(known), setting.source.state().state) == (2, "backing off")
        error = await setting.fail("echo")
        assert (error.code, error.delivered) == ("unavailable", False)
        assert "exited with status 1" in error.detail
        await trio.sleep(0.6)
        assert (setting.source.tools(), setting.source.state().state, setting.changes) == ((), "failed", 2)
        await trio.sleep(mcp_source.MAX_PAUSE)
        assert (len(setting.source.tools()), setting.source.state().state) == (2, "ready")


@pytest.mark.parametrize("protocol", ["2026-07-28", "1.0", None, 5])
async def test_a_foreign_protocol_version_is_a_clear_reason(autojump_clock: MockClock, protocol: Any) -> None:
    async def foreign(server: FakeServer) -> int:
        await server.handshake(protocol)
        return await serve_calls(server)

    async with running(foreign) as setting:
        reason = setting.source.state().reason
        assert reason.startswith("it answers initialize with protocol version")
        assert "2024-11-05" in reason


async def test_a_silent_server_is_given_up(autojump_clock: MockClock) -> None:
    async with running(serve_calls) as setting:
        assert setting.source.state().state == "starting"
        await trio.sleep(mcp_source.START_LIMIT + 0.1)
        assert setting.source.state().reason == "initialize: no answer within 60 s"
        # It may not be cancelled, says the specification.
        assert [message["method"] for message in setting.server.received] == ["initialize"]


async def test_noise_before_and_between_messages_is_skipped(autojump_clock: MockClock) -> None:
    async def noisy(server: FakeServer) -> int:
        await server.send(b"Welcome to the server!", b"", b"> \xff\xfe", b"{}")
        return await serve(server)

    async with running(noisy) as setting:
        assert setting.source.state().state == "ready"
        assert setting.faults("noise") == 4


async def test_all_pages_are_asked_for(autojump_clock: MockClock) -> None:
    async def pages(server: FakeServer) -> int:
        await server.handshake()
        for name, cursor in (("a", ""), ("b", "2"), ("c", None)):
            await server.answer(await server.receive(), {"tools": [{"name": name}], "nextCursor": cursor})
        return await serve_calls(server)

    async with running(pages) as setting:
        assert [tool.name for tool in setting.source.tools()] == ["a", "b", "c"]
        asked = [message["params"] for message in setting.server.received if message["method"] == "tools/list"]
        assert asked == [{}, {"cursor": ""}, {"cursor": "2"}]


@pytest.mark.parametrize("same", [True, False])
async def test_a_list_without_an_end_is_cut(autojump_clock: MockClock, same: bool) -> None:
    async def endless(server: FakeServer) -> int:
        await server.handshake()
        for page in range(10_000):
            request = await server.receive()
            await server.answer(request, {"tools": [{"name": f"t{page}"}], "nextCursor": "x" if same else str(page)})
        return 0

    async with running(endless) as setting:
        assert setting.source.state().state == "ready"
        assert len(setting.source.tools()) == (2 if same else mcp_client.MAX_PAGES)


async def test_a_server_without_tools_list_has_no_tools(autojump_clock: MockClock) -> None:
    async def toolless(server: FakeServer) -> int:
        await server.handshake()
        await server.send({"id": (await server.receive())["id"], "error": {"code": -32601, "message": "no"}})
        return await serve_calls(server)

    async with running(toolless) as setting:
        assert (setting.source.state().state, setting.source.tools()) == ("ready", ())


async def test_tools_that_cannot_be_named_are_left_out(autojump_clock: MockClock) -> None:
    async def odd(server: FakeServer) -> int:
        tools = [
            {"name": "a/b"},
            {"name": "x:y"},
            {"name": ""},
            {},
            {"name": 5},
            7,
            {"name": "ok"},
            {"name": "ok", "v": 2},
        ]
        await server.start(tools)
        return await serve_calls(server)

    async with running(odd) as setting:
        assert [tool.definition for tool in setting.source.tools()] == [{"name": "ok"}]


async def test_changed_tools_are_listed_again_and_the_same_ones_stay_the_same(autojump_clock: MockClock) -> None:
    async def changing(server: FakeServer) -> int:
        await server.start()
        for tools in ([*TOOLS, {"name": "new"}], [*TOOLS, {"name": "new"}]):
            await server.send(*[{"method": "notifications/tools/list_changed"}] * 3)
            await server.list_tools(tools)
        return await serve_calls(server)

    async with running(changing) as setting:
        before = setting.source.tools()
        assert [tool.name for tool in before] == ["echo", "wait", "new"]
        await trio.sleep(10)
        assert setting.source.tools() is before
        assert setting.changes == 2
        listed = [message["method"] for message in setting.server.received].count("tools/list")
        assert listed == 3


# --- calls


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


async def collect(setting: Setting, errors: list[PraxisError], *tools: str) -> None:
    """Make calls at once, all of which must fail."""

    async def fail(tool: str) -> None:
        errors.append(await setting.fail(tool))

    async with trio.open_nursery() as nursery:
        for tool in tools:
            nursery.start_soon(fail, tool)


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
        assert setting.server.received[3:] == [
            {"jsonrpc": "2.0", "id": "p", "result": {}},
            {"jsonrpc": "2.0", "id": 8, "error": {"code": -32601, "message": "not supported: sampling/createMessage"}},
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
            assert [m["method"] for m in setting.server.received].count("tools/call") == 2
            await trio.sleep(0.2)
            # The two have run into their limit, and the third takes a place.
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
    caplog.set_level(logging.DEBUG, logger="praxis.tools.mcp_source")

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
        assert len(lines) == mcp_source.LOG_LINES
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
