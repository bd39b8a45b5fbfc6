"""The server processes of the benchmarks: each says on its standard output where it listens, answers ``cpu`` on its
standard input with its CPU seconds so far, and ends with its standard input.

usage: python -m scripts.benchmarks.workers agent FOLDER KEY PORT NAME | echo | stream FOLDER
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import attrs
import trio

from praxis.app import Agent
from praxis.config.schema import Config
from praxis.dev import make_config
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.net.tls import Broken, TlsPipe
from praxis.peers.identity import load_identity
from praxis.peers.keyring import NetworkKey
from praxis.tools.source import SourceState

BIG = "The quick brown fox. " * (3 * 1024 * 1024 // 21)


KEY = NetworkKey(bytes(range(32)))
"""Of the bare TLS benchmark."""


class BenchTools:
    """The source `bench`: ``echo`` gives its text back, ``noop`` nothing, ``big`` BIG characters."""

    name = "bench"

    def __init__(self, agent: str) -> None:
        schema = {"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": False}
        names = ("echo", "noop", "big")
        self._tools = tuple(Tool(agent, self.name, {"name": name, "inputSchema": schema}) for name in names)

    def tools(self) -> Sequence[Tool]:
        return self._tools

    async def call(self, name: str, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        text = BIG if name == "big" else arguments.get("text", "")
        return ToolResult({"content": [{"type": "text", "text": text}]})

    def state(self) -> SourceState:
        return SourceState(self.name, "builtin", "ready", tools=len(self._tools))


def make_agent(folder: Path, key: str, port: int, name: str) -> Agent:
    """An agent with the bench tools, which its peers may call."""
    config: Config = make_config(name, key=key, discovery_port=port, folder=folder)
    config = attrs.evolve(config, runs=attrs.evolve(config.runs, max_concurrent=1024))
    agent = Agent(config, base_dir=folder, state_dir=folder / name / "state")
    agent.registry.add(BenchTools(name))
    return agent


async def serve_agent(folder: str, key: str, port: str, name: str) -> None:
    agent = make_agent(Path(folder), key, int(port), name)
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(agent.run, stopping)
        gc.collect()
        gc.freeze()
        print(json.dumps({"http": addresses.http, "p2p": addresses.p2p}), flush=True)
        await answer_cpu()
        stopping.set()


async def serve_echo() -> None:
    """Plaintext: gives back what comes, on as many connections as there are."""

    async def echo(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, echo, 0)
        print(json.dumps({"port": listeners[0].socket.getsockname()[1]}), flush=True)
        await answer_cpu()
        nursery.cancel_scope.cancel()


async def serve_stream(folder: str) -> None:
    """Bare TLS by the same filter: writes frames of 64 KiB to each connection until it ends."""
    identity = load_identity(name="server", keys=[KEY], rendezvous="bench", state_dir=Path(folder))
    frame = b"x" * 65536

    async def pour(stream: trio.SocketStream) -> None:
        pipe = TlsPipe(stream, identity.server, server_side=True)
        with suppress(Broken):
            await pipe.handshake()
            while True:
                await pipe.send(frame * 2)
                await trio.lowlevel.checkpoint()
        pipe.close()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, pour, 0)
        print(json.dumps({"port": listeners[0].socket.getsockname()[1]}), flush=True)
        await answer_cpu()
        nursery.cancel_scope.cancel()


async def answer_cpu() -> None:
    """Until the end of standard input."""
    async with trio.lowlevel.FdStream(0) as orders:
        async for _ in orders:
            print(time.process_time(), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "agent":
        folder, key, port, name = sys.argv[2:]
        trio.run(serve_agent, folder, key, port, name)
    elif sys.argv[1] == "stream":
        trio.run(serve_stream, sys.argv[2])
    else:
        trio.run(serve_echo)
