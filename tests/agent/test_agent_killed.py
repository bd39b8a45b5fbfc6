"""A peer that dies without a word while a hundred calls run on it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio

from praxis.access.principal import Principal
from praxis.dev import free_discovery_port, make_config, start
from praxis.model.errors import PraxisError
from praxis.model.run import Problem
from praxis.peers.keyring import NetworkKey, write_keyring
from praxis.workflow.runs import problem_of
from tests.support.network import PATIENCE

ANN = Principal("local", "ann", "admin")
KEY = NetworkKey(bytes(range(32)))
CALLS = 100
AT_ONCE = 8.0
"""Seconds within which everybody must have been told: the kernel of a process that dies ends its connections. That
takes less than two; the rest is the share of a busy machine. Silence would be noticed after 22."""
SERVER = Path(__file__).parents[1] / "netns" / "answer_server.py"


@contextmanager
def victim(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """An agent as a process, ready, whose tools answer at once or never."""
    write_keyring(folder / "network.key", [KEY])
    settings = {
        "agent": {"name": "victim"},
        "export": {"tools": ["*"]},
        "mcp": {"servers": [{"name": "answers", "command": sys.executable, "args": [str(SERVER)]}]},
        "state_dir": str(folder / "victim"),
        "p2p": {
            "port": 0,
            "rendezvous": "dev",
            "discovery": {"port": port},
            "limits": {"inflight": 2 * CALLS},
            "security": {"network_key_file": str(folder / "network.key")},
        },
        **{name: {"enabled": False} for name in ("http", "sse", "websocket")},
    }
    (folder / "victim.yaml").write_text(json.dumps(settings))  # which is YAML too
    command = [sys.executable, "-m", "praxis", "run", "--config", str(folder / "victim.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert "ready" in json.loads(process.stdout.readline())
            yield process
        finally:
            process.kill()


async def test_every_caller_is_told_and_none_hangs(tmp_path: Path) -> None:
    port = free_discovery_port()
    config = make_config("caller", key=KEY.text, discovery_port=port, folder=tmp_path)
    config = attrs.evolve(config, runs=attrs.evolve(config.runs, max_concurrent=2 * CALLS))
    with victim(tmp_path, port) as process:
        async with trio.open_nursery() as nursery:
            one = await start(nursery, config, tmp_path)
            agent, answered = one.agent, 0
            told: list[Problem] = []

            async def call(tool: str) -> None:
                nonlocal answered
                while True:
                    try:
                        run = await agent.executor.execute(f"CALL victim:{tool} --text x", ANN)
                    except PraxisError as error:  # it was known already that nobody is there
                        told.append(problem_of(error))
                        return
                    if run.error is not None:
                        told.append(run.error)
                        return
                    answered += 1

            with trio.fail_after(PATIENCE):
                await agent.peers.wait_change(lambda: any(owner.tools for owner in agent.peers.owners()))
                async with trio.open_nursery() as calling:
                    for number in range(CALLS):
                        calling.start_soon(call, "answers/never" if number % 2 else "answers/echo")
                    while answered < CALLS:  # noqa: ASYNC110 - what others count
                        await trio.sleep(0.01)
                    process.kill()
                    killed_at = trio.current_time()
                    calling.cancel_scope.deadline = killed_at + AT_ONCE
                assert not calling.cancel_scope.cancelled_caught, f"{CALLS - len(told)} callers hang"
                print(f"the last was told after {trio.current_time() - killed_at:.2f} s")
            one.stopping.set()
    assert len(told) == CALLS
    clear = ("the line to victim is lost: ", "agent victim is not connected any more", "can be reached")
    assert all(any(words in error.detail for words in clear) for error in told), told
    assert sum("whether the call ran there is not known" in error.detail for error in told) >= CALLS / 2
