"""One MCP server's life as a tool source, on a virtual clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from praxis import __version__
from praxis.config.schema import McpLimits, McpServer
from praxis.tools import mcp_backoff, mcp_source, mcp_upstream
from praxis.tools.source import SourceState
from tests.support.fake_mcp import TOOLS, FakeServer, serve, serve_calls
from tests.tools.mcp_kit import running


async def test_a_server_is_started_and_its_tools_appear(autojump_clock: MockClock) -> None:
    mcp_server = McpServer("fake", command="run", args=("a", "b c"), env={"KEY": "value"}, workdir=Path("/work-dir"))
    async with running(server=mcp_server) as setting:
        assert (setting.opener.argv, setting.opener.cwd) == (["run", "a", "b c"], Path("/work-dir"))
        assert setting.opener.env == {"PATH": "/bin", "HOME": "/home/a", "KEY": "value"}
        assert [str(tool.ref) for tool in setting.source.tools()] == ["agent-1:fake/echo", "agent-1:fake/wait"]
        assert [tool.definition for tool in setting.source.tools()] == TOOLS
        assert setting.source.state() == SourceState(
            name="fake",
            kind="mcp",
            state="ready",
            reason="",
            tools=2,
            restarts=0,
            stderr_tail=(),
            transport="stdio",
            protocol="2025-11-25",
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
        assert setting.opener.started_at[1] - setting.opener.started_at[0] == mcp_backoff.MAX_PAUSE


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
        await trio.sleep(mcp_backoff.MAX_PAUSE)
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
        assert len(setting.source.tools()) == (2 if same else mcp_upstream.MAX_PAGES)


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
