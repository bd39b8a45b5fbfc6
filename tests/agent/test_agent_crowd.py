"""Many agents at once: in one process, as processes of their own, and dialing each other at the same moment."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest
import trio

from praxis.cli.client import Client
from praxis.config.schema import Config
from praxis.dev import RunningAgent, free_discovery_port, network
from praxis.model.errors import PraxisError
from praxis.model.tool import ToolRef
from praxis.peers.keyring import NetworkKey
from tests.agent.test_agent_daemon import PORTS, ROOT
from tests.agent.test_agent_network import ANN
from tests.support.network import connected

in_full = pytest.mark.skipif(
    not os.environ.get("PRAXIS_FULL"), reason="takes half a minute: run scripts/test.sh --full"
)
CROSSED = 150


def complete(agents: Sequence[RunningAgent]) -> bool:
    """Whether everybody knows the tools of everybody else."""
    return all(
        sum(bool(owner.tools) for owner in one.agent.peers.owners()) == len(agents) - 1
        and len(one.agent.member.directory) == len(agents)
        for one in agents
    )


@in_full
async def test_fifty_agents_in_one_process_know_each_other_ten_seconds_after_the_last_start(tmp_path: Path) -> None:
    async with network(50, tmp_path) as agents:
        began = trio.current_time()
        with trio.fail_after(10):
            while not complete(agents):  # noqa: ASYNC110 - looking at each of their thousands of changes would take long
                await trio.sleep(0.1)
        print(f"every directory complete {trio.current_time() - began:.1f} s after the last start")
        assert all(len(one.agent.peers.links()) == 49 for one in agents)


@attrs.frozen
class Crowd:
    """Agents as processes, and when the last one was ready, in seconds since the epoch."""

    clients: Sequence[Client]
    ready_at: float


@pytest.fixture
def thirty(tmp_path: Path) -> Iterator[Crowd]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    common = {**kept, "PRAXIS_NETWORK_KEY": NetworkKey.generate().text, "DISCOVERY_PORT": str(free_discovery_port())}
    processes = list[subprocess.Popen[str]]()
    try:
        for number in range(30):
            command = [sys.executable, "-m", "praxis", "run", f"--set=agent.name=agent-{number}"]
            command += [f"--set={port}=0" for port in PORTS]
            processes.append(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env={**common, "PRAXIS_STATE_DIR": str(tmp_path / str(number))},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
        clients = [client_of(process) for process in processes]
        yield Crowd(clients, time.time())
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            end(process)


def client_of(process: subprocess.Popen[str]) -> Client:
    """Once it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"an agent ended with {process.wait()} instead of being ready"
    host, port = json.loads(line)["ready"]["http"]
    return Client(f"http://{host}:{port}", timeout=20)


def end(process: subprocess.Popen[str]) -> None:
    try:
        process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


@in_full
def test_thirty_processes_know_each_other_five_seconds_after_the_last_is_ready(thirty: Crowd) -> None:
    """By the agents' own events: on a machine that has two cores for all of them, asking takes long itself."""
    others = len(thirty.clients) - 1
    took = max(introduced_at(client, others) for client in thirty.clients) - thirty.ready_at
    print(f"everybody knew everybody {took:.2f} s after the last was ready")
    assert took < 5
    known = {what_it_knows(client) for client in thirty.clients}
    assert known == {(others, others + 1)}, "lines to all others, and all in the directory"


def introduced_at(client: Client, peers: int) -> float:
    """When the last of so many peers had said what it lets this agent call, in seconds since the epoch."""
    connection = http.client.HTTPConnection(client.url.removeprefix("http://"), timeout=20)
    try:
        connection.request("GET", "/events?types=peer.tools", headers={"Last-Event-ID": "0"})
        seen = set()
        for line in connection.getresponse():
            if line.startswith(b"data: "):
                event = json.loads(line.removeprefix(b"data: "))
                seen.add(event["fields"]["peer"])
                if len(seen) == peers:
                    return float(event["time"])
    finally:
        connection.close()
    raise AssertionError(f"{client.url} ended its events after {len(seen)} peers")


def what_it_knows(client: Client) -> tuple[int, int]:
    """Peers with a line, and members in the directory."""
    lines = sum(peer["connected"] for peer in client.request("GET", "/peers")["peers"])
    _, _, metrics = client.exchange("GET", "/metrics")
    found = re.search(rb"^praxis_p2p_directory_members (\d+)", metrics, re.MULTILINE)
    assert found is not None
    return lines, int(found[1])


def slowly(config: Config) -> Config:
    """No discovery: the test dials."""
    discovery = attrs.evolve(config.p2p.discovery, enabled=False)
    return attrs.evolve(config, p2p=attrs.evolve(config.p2p, discovery=discovery))


async def test_crossed_dials_leave_one_line_and_no_call_is_lost(tmp_path: Path) -> None:
    """Each dials the other at the same moment, again and again, while calls run both ways."""
    failed: list[str] = []
    calls = 0

    async def call_on(one: RunningAgent, other: RunningAgent, over: trio.Event) -> None:
        nonlocal calls
        while not over.is_set():
            try:
                await one.agent.executor.call(ToolRef.parse(f"{other.addresses.agent}:list_files"), {}, ANN)
                calls += 1
            except PraxisError as error:
                failed.append(str(error))

    async with connected(tmp_path) as (one, two), trio.open_nursery() as lines:
        over = trio.Event()
        async with trio.open_nursery() as calling:
            calling.start_soon(call_on, one, two, over)
            calling.start_soon(call_on, two, one, over)
            for _ in range(CROSSED):
                async with trio.open_nursery() as dialing:
                    for here, there in ((one, two), (two, one)):
                        dialing.start_soon(dial_again, lines, here, there)
            with trio.fail_after(60):  # each line that gives way may take its grace, and a machine may be busy
                while any(agent.agent.member.lines.open_lines != 1 for agent in (one, two)):  # noqa: ASYNC110 - nothing tells
                    await trio.sleep(0.01)
            over.set()
        lines.cancel_scope.cancel()
    assert sorted(set(failed)) == []
    assert calls > CROSSED


async def dial_again(nursery: trio.Nursery, here: RunningAgent, there: RunningAgent) -> None:
    """One more line from here to there, which stays if it wins."""
    assert there.addresses.p2p is not None
    lines = here.agent.member.lines
    stream = await trio.open_tcp_stream(*there.addresses.p2p)
    pipe, peer_id = await lines.open(stream, dialer=True)

    async def serve() -> None:
        await lines.serve(pipe, peer_id, dialer=True)

    nursery.start_soon(serve)
