"""What the two agents of `praxis demo` show, step by step, over the HTTP API that every other client uses too."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from praxis.cli.client import FAILED, TIMED_OUT, Client, CommandError
from praxis.cli.output import plain, table

T = TypeVar("T")

MEETING = 20.0
"""Seconds until the agents know each other and each other's tools: a second is usual, discovery repeats itself within
seconds, and a slow machine starts the tool servers late."""
ANSWER = 15.0
"""Seconds for one request: what the demo asks for takes milliseconds."""
PAUSE = 0.02
"""Seconds between two looks at something that changes by itself."""
LONG = 600
"""Seconds that the call to be cancelled would take."""
FINE_PAUSE = 0.0005
"""Seconds between two looks at the process that is to end: the measured time is that exact."""

GREETING = "Hello from Praxis!"


class Side(NamedTuple):
    """One of the two agents, from outside."""

    name: str
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def client(self) -> Client:
        return Client(self.url, timeout=ANSWER)


def title(text: str) -> None:
    """The head of a step; bold on a terminal."""
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    print(f"\n\x1b[1m{text}\x1b[0m" if bold else f"\n{text}", flush=True)


def line(text: str) -> None:
    print(f"  {text}".rstrip(), flush=True)


def wait_until(condition: Callable[[], T | None], seconds: float, what: str | Callable[[], str]) -> T:
    """What `condition` returns once that is true. Raises CommandError with `what` is missing after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            raise CommandError(TIMED_OUT, f"{text} (waited {seconds:g} s)")
        time.sleep(PAUSE)
    return value


def meet(one: Side, two: Side) -> None:
    """Wait until each agent is connected to the other and the first one can reach all the tools, and show it."""
    started = time.monotonic()
    missing: set[str] = set()

    def connected(side: Side, other: Side) -> bool:
        found = side.client.request("GET", "/peers")["peers"]
        return any(peer["name"] == other.name and peer["connected"] for peer in found)

    def reachable() -> bool:
        tools = {(tool["agent"], tool["name"]) for tool in one.client.request("GET", "/tools")["tools"]}
        names = {name for _, name in tools}
        missing.clear()
        missing.update(name for name in ("write_file", "read_file", "long_task") if (two.name, name) not in tools)
        missing.update({"greet"} - names)
        return not missing

    for side, other in ((one, two), (two, one)):
        wait_until(partial(connected, side, other), MEETING, f"{side.name} has not found {other.name}")
    wait_until(reachable, MEETING, lambda: f"{one.name} cannot reach {', '.join(sorted(missing))}")
    line(f"connected, and each other's tools known, after {time.monotonic() - started:.1f} s")
    rows = []
    for side in (one, two):
        for peer in side.client.request("GET", "/peers")["peers"]:
            rtt = "-" if peer["rtt_ms"] is None else f"{peer['rtt_ms']:.1f} ms"
            rows.append([side.name, peer["name"], peer["state"], peer["address"], rtt, len(peer["tools"])])
    for text in table(("AGENT", "ITS PEER", "STATE", "ADDRESS", "RTT", "TOOLS"), rows):
        line(text)


def use_files(one: Side, two: Side, shared: Path) -> None:
    """Write and read a file through the agent that has none; both run on the other one."""
    _call(one, f'CALL write_file hello.txt "{GREETING}"', on=two.name)
    text = _call(one, "CALL read_file hello.txt", on=two.name)
    if text != GREETING or (shared / "hello.txt").read_text() != GREETING:
        raise CommandError(FAILED, f"the file that {two.name} keeps holds something else: {text[:200]!r}")


def greet(one: Side) -> None:
    """A tool of an MCP server, which the agent runs as a child process."""
    _call(one, "CALL greet --name Praxis")


def cancel(one: Side, two: Side, scratch: Path) -> None:
    """Cancel a call on one agent and see the process end that the other agent's tool has started for it."""
    pid_file = scratch / "long_task.pid"
    program = f'CALL long_task {LONG} "{pid_file}"'
    line(f"CALL long_task {LONG}")
    caller = http.client.HTTPConnection(one.host, one.port, timeout=ANSWER)
    try:
        # The answer is read at the end: it comes when the run has ended.
        caller.request("POST", "/execute", json.dumps({"dsl": program}), {"Content-Type": "application/json"})
        pid = wait_until(lambda: _pid(pid_file), ANSWER, "the tool's process has not started")
        run = _running(one)
        agent = run["steps"][0]["route"]["agent"]
        if agent != two.name or not _runs(pid):
            raise CommandError(FAILED, f"process {pid} of {agent} was to run on {two.name}")
        line(f"  {agent} runs it as process {pid}")
        canceller = http.client.HTTPConnection(one.host, one.port, timeout=ANSWER)
        try:
            started = time.monotonic()
            canceller.request("DELETE", f"/runs/{run['run_id']}")
            while _runs(pid):
                if time.monotonic() - started > ANSWER:
                    raise CommandError(FAILED, f"process {pid} still runs {ANSWER:g} s after the cancel")
                time.sleep(FINE_PAUSE)
            gone = time.monotonic() - started
            _read_run(canceller)
        finally:
            canceller.close()
        line(f"  cancelled on {one.name}: process {pid} on {two.name} was gone {gone * 1000:.1f} ms later")
        status = _read_run(caller)["status"]
        if status != "cancelled":
            raise CommandError(FAILED, f"whoever waited for the run is told that it {status}")
        line("  and whoever waited for it is told: cancelled")
    finally:
        caller.close()


def _call(side: Side, program: str, *, on: str = "") -> str:
    """Run one call and show who ran it and what came back. Raises CommandError unless it succeeded, `on` that agent."""
    line(program)
    run = side.client.request("POST", "/execute", {"dsl": program})
    step = run["steps"][0]
    agent = (step["route"] or {}).get("agent", "nobody")
    blocks = (step["result"] or {}).get("content", [])
    text = "\n".join(str(block.get("text", "")) for block in blocks)
    if run["status"] != "succeeded":
        detail = (run["error"] or {}).get("detail") or text
        raise CommandError(FAILED, f"{program} {run['status']} on {agent}: {detail}")
    if on and agent != on:
        raise CommandError(FAILED, f"{program} ran on {agent}, not on {on}")
    line(f"  {agent}: {plain(text)}")
    return text


def _running(side: Side) -> dict[str, Any]:
    """The one run that is under way."""
    runs: Sequence[dict[str, Any]] = side.client.request("GET", "/runs")["runs"]
    under_way = [run["run_id"] for run in runs if run["ended_at"] is None]
    if len(under_way) != 1:
        raise CommandError(FAILED, f"{side.name} shows {len(under_way)} runs under way instead of one")
    run: dict[str, Any] = side.client.request("GET", f"/runs/{under_way[0]}")
    return run


def _read_run(connection: http.client.HTTPConnection) -> dict[str, Any]:
    """The run that answers a request that was sent before."""
    try:
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise CommandError(FAILED, f"HTTP {answer.status}: {body[:200].decode(errors='replace')}")
        run: dict[str, Any] = json.loads(body)
        return run
    except TimeoutError:
        raise CommandError(TIMED_OUT, f"no answer within {ANSWER:g} s") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CommandError(FAILED, f"no good answer: {error or type(error).__name__}") from None


def _pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _runs(pid: int) -> bool:
    """Whether there is such a process, even one that has ended but that its parent has not looked at yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
