"""`McpSource` with real processes: the servers that come with Praxis, and some that misbehave."""

from __future__ import annotations

import gc
import logging
import os
import sys
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from praxis.config.schema import McpLimits, McpServer
from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext
from praxis.net import process
from praxis.observe.metrics import Metrics
from praxis.tools import mcp_client
from praxis.tools.mcp_source import McpSource
from praxis.tools.source import SourceState
from tests.support.processes import PATIENCE, alive, parent_of, wait_gone, wait_until

ROOT = Path(__file__).parents[2]
SLEEP = "mcp_servers/sleep_server.py"
CONTEXT = CallContext("test")


@asynccontextmanager
async def running(
    *args: str, timeout: float | None = None, metrics: Metrics | None = None, limits: McpLimits | None = None
) -> AsyncIterator[McpSource]:
    """A source of a Python server, once it is ready."""
    ready = trio.Event()

    def look(state: SourceState) -> None:
        if state.state == "ready":
            ready.set()

    source = McpSource(
        McpServer("real", command=sys.executable, args=("-I", *args), timeout=timeout),
        limits or McpLimits(retry_backoff_ms=1),
        "agent-1",
        base_dir=ROOT,
        on_change=lambda: None,
        metrics=metrics if metrics is not None else Metrics(),
        on_state=look,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run)
        with trio.fail_after(PATIENCE):
            await ready.wait()
        yield source
        nursery.cancel_scope.cancel()


class LongTask:
    """A call of long_task; its child's pid comes as progress."""

    def __init__(self, source: McpSource) -> None:
        self._source = source
        self._pid = 0
        self.error: PraxisError | None = None

    def take(self, params: Mapping[str, Any]) -> None:
        self._pid = self._pid or int(params["message"].removeprefix("child pid "))

    async def run(self) -> None:
        try:
            await self._source.call("long_task", {"seconds": 600}, CallContext("test", on_progress=self.take))
        except PraxisError as error:
            self.error = error

    async def child(self) -> int:
        await wait_until(lambda: self._pid > 0)
        return self._pid


async def test_the_context_server_as_a_source() -> None:
    async with running("mcp_servers/context_server.py") as source:
        assert [tool.name for tool in source.tools()] == ["greet", "calculate", "get_time", "context_search"]
        result = await source.call("calculate", {"operation": "multiply", "a": 6, "b": 7}, CONTEXT)
        assert (result.text, result.structured, result.is_error) == ("42", {"result": 42}, False)
        assert (await source.call("calculate", {"operation": "divide", "a": 6, "b": 0}, CONTEXT)).is_error
        long = "x" * 200_000
        assert long in (await source.call("greet", {"name": long}, CONTEXT)).text


async def test_cancelling_a_call_kills_its_child_process() -> None:
    async with running(SLEEP) as source:
        task = LongTask(source)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            child = await task.child()
            assert alive(child)
            nursery.cancel_scope.cancel()
        await wait_gone(child)
        assert (await source.call("echo", {"text": "on"}, CONTEXT)).text == "on"
        assert source.state().restarts == 0


async def test_the_time_limit_kills_the_child_process_too() -> None:
    async with running(SLEEP, timeout=0.2) as source:
        task = LongTask(source)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            child = await task.child()
        assert task.error is not None
        assert (task.error.code, task.error.delivered) == ("timeout", True)
        await wait_gone(child)


async def test_stopping_the_source_leaves_no_process() -> None:
    async with trio.open_nursery() as nursery:
        async with running(SLEEP) as source:
            task = LongTask(source)
            nursery.start_soon(task.run)
            child = await task.child()
            server = parent_of(child)
        await wait_gone(server, child)
    assert task.error is not None
    assert task.error.code == "unavailable"


async def test_a_killed_server_is_started_again_and_its_call_hears_why() -> None:
    async with running(SLEEP) as source:
        task = LongTask(source)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            child = await task.child()
            os.kill(parent_of(child), 9)
        assert task.error is not None
        assert task.error.detail == "MCP server real: it was ended by SIGKILL"
        assert (task.error.code, task.error.delivered) == ("unavailable", True)
        await wait_gone(child)
        await wait_until(lambda: source.state().state == "ready")
        assert (await source.call("echo", {"text": "again"}, CONTEXT)).text == "again"
        assert source.state().restarts == 1


async def test_a_crash_shows_status_and_last_words() -> None:
    async with running("tests/support/servers/odd.py", "crash") as source:
        with pytest.raises(
            PraxisError, match="exited with status 3; its last words: MemoryError: out of ideas"
        ) as caught:
            await source.call("work", {}, CONTEXT)
        assert caught.value.delivered
        assert source.state().stderr_tail == ("MemoryError: out of ideas",)


async def test_noise_on_both_outputs_harms_nothing() -> None:
    metrics = Metrics()
    async with running("tests/support/servers/odd.py", "loud", metrics=metrics) as source:
        assert (await source.call("work", {}, CONTEXT)).text == "done"
        # Three lines before each of the five messages from us.
        assert 'praxis_mcp_server_faults_total{source="real",fault="noise"} 15' in metrics.render()
        assert set(source.state().stderr_tail) == {"noise"}


async def test_a_result_of_thirty_megabytes_is_refused_or_taken_as_the_limit_says() -> None:
    async with running("tests/support/servers/odd.py", "big") as source:
        with pytest.raises(PraxisError, match=r"answer of 30000[0-9]* bytes is over the limit") as caught:
            await source.call("work", {}, CONTEXT)
        assert caught.value.code == "too_large"
        assert source.state().state == "ready"
    limits = McpLimits(max_response_size_bytes=40_000_000)
    async with running("tests/support/servers/odd.py", "big", limits=limits) as source:
        assert len((await source.call("work", {}, CONTEXT)).text) == 30_000_000


async def test_a_flood_of_standard_error_blocks_no_call() -> None:
    async with running("tests/support/servers/odd.py", "flood") as source:
        with trio.fail_after(PATIENCE):
            assert (await source.call("work", {}, CONTEXT)).text == "done"
        await wait_until(lambda: len(source.state().stderr_tail) == 20)
        assert source.state().state == "ready"


async def test_a_server_that_never_answers_costs_its_callers_their_time_alone() -> None:
    async with running("tests/support/servers/odd.py", "silent", timeout=0.1) as source:
        for _ in range(3):
            with pytest.raises(PraxisError, match=r"no answer within 0\.1 s"):
                await source.call("work", {}, CONTEXT)
        assert (source.state().state, source.state().restarts) == ("ready", 0)


async def test_a_second_answer_is_counted_and_answers_nobody() -> None:
    metrics = Metrics()
    async with running("tests/support/servers/odd.py", "twice", metrics=metrics) as source:
        for _ in range(3):
            assert (await source.call("work", {}, CONTEXT)).text == "done"
        await wait_until(lambda: 'fault="late"} 3' in metrics.render())


async def test_two_hundred_connections_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """Connect, call, cancel, end: no process, no task and no descriptor stays, and memory does not grow."""
    caplog.set_level(logging.CRITICAL, "praxis")  # what is logged is kept until the end of a test

    async def cycle() -> None:
        async with running(SLEEP) as source:
            task = LongTask(source)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.child()
                nursery.cancel_scope.cancel()
            assert (await source.call("echo", {"text": "x"}, CONTEXT)).text == "x"

    async def cycles(count: int) -> None:
        for _ in range(count):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(cycle)

    def left() -> tuple[int, int, int]:
        tasks = trio.lowlevel.current_statistics().tasks_living
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return tasks, len(children), len(os.listdir("/proc/self/fd"))

    def traced() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    await cycles(2)
    before = left()
    tracemalloc.start()
    try:
        await cycles(8)
        middle = traced()
        await cycles(40)
        grown = traced() - middle
    finally:
        tracemalloc.stop()
    assert left() == before
    assert grown < 200_000


async def test_a_deaf_server_blocks_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_client, "CANCEL_LIMIT", 0.05)
    monkeypatch.setattr(process, "EOF_PATIENCE", 0.05)
    delivered: list[bool] = []

    async def call(source: McpSource) -> None:
        with pytest.raises(PraxisError, match="no answer within") as caught:
            await source.call("work", {"text": "x" * 100_000}, CONTEXT)
        delivered.append(caught.value.delivered)

    with trio.fail_after(PATIENCE):
        async with (
            running("tests/support/servers/odd.py", "deaf", timeout=0.1) as source,
            trio.open_nursery() as nursery,
        ):
            for _ in range(10):
                nursery.start_soon(call, source)
            await wait_until(lambda: len(delivered) == 10)
    assert delivered == [False] * 9 + [True]
