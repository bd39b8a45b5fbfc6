"""Runs of plans on an agent with its journal on: what a step costs beside the bare call of its tool.

The tool does nothing, so that what is measured is all ours: parsing and planning the program, the routes, the records,
the journal and the events. The same calls made straight on the tool registry are what is taken off.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from praxis.access.principal import Principal
from praxis.app import Agent
from praxis.model.tool import CallContext
from praxis.peers.keyring import NetworkKey
from scripts.benchmarks.worker import Worker
from scripts.benchmarks.workers import make_agent

PARALLEL = 1000
CHAIN = 200
FAN_OUT = 100
ROUNDS = 5
ANN = Principal("local", "bench", "admin")

Figures = tuple[float, float]
"""Steps per second, CPU microseconds of this process per step."""


def run(seconds: float) -> dict[str, float]:
    """The figures of one run; each measurement of each round takes about so many seconds, and one plan at least."""
    return trio.run(_run, seconds)


async def _run(seconds: float) -> dict[str, float]:
    key, port = NetworkKey.generate().text, 62000 + int(time.time()) % 2000
    with tempfile.TemporaryDirectory() as folder, Worker("agent", folder, key, str(port), "server"):
        agent = make_agent(Path(folder), key, port, "client")
        stopping = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run, stopping)
            with trio.fail_after(10):
                await agent.peers.wait_change(lambda: any(owner.tools for owner in agent.peers.owners()))
            kinds: dict[str, Callable[[], Awaitable[int]]] = {
                "direct": lambda: _call_straight(agent),
                "parallel_1000": lambda: _execute(agent, _block(["client"] * PARALLEL)),
                "chain_200": lambda: _execute(agent, "CALL client:bench/noop\n" * CHAIN),
                "fan_out_100": lambda: _execute(agent, _block(["client", "server"] * (FAN_OUT // 2))),
            }
            seen: dict[str, list[float]] = {}
            for _ in range(ROUNDS):
                for name, work in kinds.items():
                    rate, cpu = await _measure(seconds, work)
                    seen.setdefault(name, []).append(rate)
                    seen.setdefault(f"{name}_cpu", []).append(cpu)
            stopping.set()
    figures = {name: statistics.median(values) for name, values in seen.items()}
    pairs = zip(seen["parallel_1000_cpu"], seen["direct_cpu"], strict=True)
    figures["executor_cpu_us_per_step"] = statistics.median(step - call for step, call in pairs)
    return figures


async def _measure(seconds: float, work: Callable[[], Awaitable[int]]) -> Figures:
    steps, began, spent = 0, time.perf_counter(), time.process_time()
    while not steps or time.perf_counter() < began + seconds:
        steps += await work()
    took, spent = time.perf_counter() - began, time.process_time() - spent
    return steps / took, spent / steps * 1e6


def _block(agents: list[str]) -> str:
    return "\n".join(["PARALLEL {", *(f"  CALL {agent}:bench/noop" for agent in agents), "}"])


async def _execute(agent: Agent, program: str) -> int:
    before = _written(agent)
    run = await agent.executor.execute(program, ANN)
    if run.state != "succeeded":
        raise RuntimeError(f"a run of the benchmark has ended {run.state}: {run.error}")
    if _written(agent) - before < 2 * len(run.steps):
        raise RuntimeError("not every beginning and end of a step is in the journal")
    return len(run.steps)


def _written(agent: Agent) -> float:
    return agent.metrics.counter("praxis_journal_writes_total", "Records written to the journal.").value()


async def _call_straight(agent: Agent) -> int:
    tool = agent.registry.find("bench", "noop")
    for _ in range(PARALLEL):
        await agent.registry.call(tool, {}, CallContext(ANN.name))
    return PARALLEL
