"""Runs over two agents that are cancelled: nothing of them is left on either, and soon."""

from __future__ import annotations

import http.client
import json
import os
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from praxis.access.principal import Principal
from praxis.config.schema import Config, McpServer
from praxis.dev import RunningAgent
from praxis.model.run import RunRecord
from praxis.workflow.order import Order
from tests.agent.test_agent_daemon import ROOT, descendants
from tests.support.network import PATIENCE, connected
from tests.support.processes import wait_until

ANN = Principal("local", "ann", "admin")
CANCELS = 50 if os.environ.get("PRAXIS_FULL") else 10
SOON = 0.05
"""Seconds from the request to the end of the last process, the median of all: a few milliseconds are usual."""


def with_sleeper(config: Config) -> Config:
    """The agent with a server whose tool runs a process of its own."""
    server = McpServer("sleep", command=sys.executable, args=("-S", str(ROOT / "mcp_servers" / "sleep_server.py")))
    return attrs.evolve(config, mcp=attrs.evolve(config.mcp, servers=(server,)))


async def ready(agents: Sequence[RunningAgent]) -> None:
    """Once each of the two knows both servers."""
    with trio.fail_after(PATIENCE):
        for one in agents:
            await wait_until(lambda one=one: sum(t.name == "long_task" for t in one.agent.catalog.tools()) == 2)  # type: ignore[misc]


def tasks() -> Counter[str]:
    """Every task of this process, both agents' and the test's, by name."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found, waiting = Counter[str](), [root]
    while waiting:
        task = waiting.pop()
        found[task.name] += 1
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


async def cancel_one(here: RunningAgent, folder: Path, run_id: str) -> float:
    """Begin a run with a process on each agent, cancel it over HTTP: seconds until both have ended."""
    files = [folder / f"{run_id}-{name}.pid" for name in ("agent-1", "agent-2")]
    calls = "; ".join(f"CALL {file.stem.removeprefix(f'{run_id}-')}:long_task 600 {file}" for file in files)
    ended: list[RunRecord] = []

    async def run() -> None:
        order = Order(run_id=run_id)
        ended.append(await here.agent.executor.execute(f"PARALLEL {{ {calls} }}", ANN, order=order))

    assert here.addresses.http is not None
    connection = http.client.HTTPConnection(*here.addresses.http, timeout=PATIENCE)
    await trio.to_thread.run_sync(connection.connect)

    def delete() -> tuple[int, Any]:
        connection.request("DELETE", f"/runs/{run_id}")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    handles: list[int] = []
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await wait_until(lambda: all(file.exists() for file in files))
            handles += [os.pidfd_open(int(file.read_text())) for file in files]
            assert not here.agent.executor.get(run_id).ended_at
            gone: list[float] = []

            async def watch(handle: int) -> None:
                await trio.lowlevel.wait_readable(handle)
                gone.append(trio.current_time())

            for handle in handles:
                nursery.start_soon(watch, handle)
            began = trio.current_time()
            status, said = await trio.to_thread.run_sync(delete)
        assert (status, said["status"]) == (200, "cancelled")
        assert [step["state"] for step in said["steps"]] == ["cancelled", "cancelled"]
    finally:
        connection.close()
        for handle in handles:
            os.close(handle)
    (record,) = ended
    assert record.state == "cancelled"
    return max(gone) - began


async def test_cancelled_runs_leave_no_process_and_no_task_on_any_agent(tmp_path: Path) -> None:
    async with connected(tmp_path, change=with_sleeper) as agents:
        await ready(agents)
        await cancel_one(agents[0], tmp_path, "first")  # what is made once is there then
        processes, before = set(descendants(os.getpid())), tasks()
        times = []
        for number in range(CANCELS):
            times.append(await cancel_one(agents[number % 2], tmp_path, f"r{number}"))
        assert set(descendants(os.getpid())) == processes
        await wait_until(lambda: not tasks() - before)  # the last connection ends when its client's end is seen
        for one in agents:
            assert one.agent.executor.running == 0
            assert one.agent.registry.in_flight == 0
    median, slowest = statistics.median(times) * 1000, max(times) * 1000
    print(f"{CANCELS} cancels: median {median:.1f} ms, slowest {slowest:.1f} ms")
    assert median < SOON * 1000
