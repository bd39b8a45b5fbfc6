"""tools/call of a tool that echoes, over stdio and over streamable HTTP: our stacks beside those of others.

Over HTTP wrk calls whoever it is, in a session of MCP 2025-06-18, which all of them speak; over stdio one small client
does, and each SDK's client calls its own server too (``pair``). Behind every gateway and proxy stands the same server
over stdio. Figures: calls per second, ``_p50`` and ``_p99`` in milliseconds, ``_cpu`` in microseconds a call of all
processes but the generator.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from praxis.dev import free_discovery_port
from praxis.peers.keyring import NetworkKey
from scripts.benchmarks.mcp_places import everything, interpreter
from scripts.benchmarks.mcp_targets import HERE, MODERN, Figures, HttpTarget, PairTarget, PipeTarget, Program

CALLERS = (1, 16, 64)
ROUNDS = 3
ECHO = [sys.executable, "-I", str(HERE / "mcp_echo.py")]
OWN = [sys.executable, "-m", "scripts.benchmarks.mcp_own"]
AGENT = """\
agent: {{name: {name}, stop_grace: 1}}
state_dir: {folder}/{name}
p2p:
  port: 0
  rendezvous: bench
  security: {{network_keys: ["{key}"]}}
  discovery: {{port: {port}, interval: 2}}
http: {{port: 0}}
websocket: {{enabled: false}}
sse: {{enabled: false}}
export: {{tools: ["*"]}}
logging: {{level: warning}}
mcp:
  servers:
    - {{name: bench, command: {command}, args: {args}}}
"""


class Target(Protocol):
    def measure(self, callers: int, seconds: float) -> Figures: ...

    def stop(self) -> None: ...


def run(seconds: float) -> dict[str, float]:
    """The figures of one run."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk makes the HTTP load and is not installed: apt install wrk")
    print(f"load average before: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    seen: dict[str, list[float]] = {}
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        targets: dict[str, Target] = {}
        programs = ExitStack()
        stack.push(programs)
        _add_pipes(targets)
        _add_http(targets, programs, Path(folder))
        for target in targets.values():
            programs.callback(target.stop)
            target.measure(16, seconds / 2)
        for _ in range(ROUNDS):
            for callers in CALLERS:
                for name, target in targets.items():
                    one = target.measure(callers, seconds)
                    seen.setdefault(f"{name}_{callers}", []).append(one.rate)
                    seen.setdefault(f"{name}_{callers}_p50", []).append(one.p50 * 1e3)
                    seen.setdefault(f"{name}_{callers}_p99", []).append(one.p99 * 1e3)
                    seen.setdefault(f"{name}_{callers}_cpu", []).append(one.cpu * 1e6)
        programs.close()
    print(f"load average after: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    figures = {name: statistics.median(values) for name, values in seen.items()}
    return figures | ratios(figures)


def ratios(figures: Mapping[str, float]) -> dict[str, float]:
    """What the bars are about, at 64 in flight."""
    best = max(("http_fastmcp_64", "http_mcp_proxy_64"), key=lambda name: figures[name])
    found = {
        "stdio_vs_sdk_64": figures["stdio_64"] / figures["stdio_sdk_64"],
        "stdio_stack_vs_sdk_64": figures["stdio_stack_64"] / figures["stdio_sdk_64"],
        "pair_vs_sdk_64": figures["pair_64"] / figures["pair_sdk_64"],
        "http_vs_sdk_64": figures["http_64"] / figures["http_sdk_64"],
        "http_cpu_vs_sdk_64": figures["http_64_cpu"] / figures["http_sdk_64_cpu"],
        "gateway_vs_best_proxy_64": figures["http_gateway_64"] / figures[best],
        "gateway_cpu_vs_best_proxy_64": figures["http_gateway_64_cpu"] / figures[f"{best}_cpu"],
        "remote_vs_gateway_64": figures["http_remote_64"] / figures["http_gateway_64"],
    }
    if "stdio_typescript_64" in figures:
        found["stdio_vs_typescript_64"] = figures["stdio_64"] / figures["stdio_typescript_64"]
    return found


def _add_pipes(targets: dict[str, Target]) -> None:
    peers = [str(interpreter("sdk")), "-I", str(HERE / "mcp_peers.py")]
    targets["stdio"] = PipeTarget(ECHO)
    targets["stdio_stack"] = PipeTarget([*OWN, "stdio"])
    targets["stdio_sdk"] = PipeTarget([*peers, "sdk-stdio"])
    if (command := everything()) is not None:
        targets["stdio_typescript"] = PipeTarget(command, argument="message")
    else:
        print("no figures of the TypeScript SDK: npm is not installed", file=sys.stderr)
    targets["pair"] = PairTarget([*OWN, "client", *ECHO])
    targets["pair_sdk"] = PairTarget([*peers, "sdk-client", *peers, "sdk-stdio"])


def _add_http(targets: dict[str, Target], stack: ExitStack, folder: Path) -> None:
    def program(*command: str) -> Program:
        started = Program(command)
        stack.callback(started.stop)
        return started

    own = Program([*OWN, "http"], ready=lambda said: said.startswith("http"))
    stack.callback(own.stop)
    targets["http"] = HttpTarget(own.said.strip(), [own])
    port = free_port()
    sdk = program(str(interpreter("sdk")), "-I", str(HERE / "mcp_peers.py"), "sdk-http", port)
    targets["http_sdk"] = HttpTarget(f"http://127.0.0.1:{port}/mcp", [sdk])

    key, discovery = NetworkKey.generate().text, free_discovery_port()
    agents = []
    for name in ("one", "two"):
        config = folder / f"{name}.yaml"
        text = AGENT.format(
            name=name, folder=folder, key=key, port=discovery, command=ECHO[0], args=json.dumps(ECHO[1:])
        )
        config.write_text(text)
        command = [sys.executable, "-m", "praxis", "run", "--config", str(config)]
        agent = Program(command, ready=lambda said: said.startswith('{"ready"'))
        stack.callback(agent.stop)
        agents.append(agent)
    one, two = agents
    url = "http://{}:{}/mcp".format(*json.loads(one.said)["ready"]["http"])
    targets["http_gateway"] = HttpTarget(url, [one], tool="bench__echo")
    targets["http_gateway_modern"] = HttpTarget(url, [one], tool="bench__echo", version=MODERN)
    targets["http_remote"] = HttpTarget(url, [one, two], tool="two__bench__echo")

    port = free_port()
    fastmcp = program(str(interpreter("fastmcp")), "-I", str(HERE / "mcp_peers.py"), "fastmcp", port, *ECHO)
    targets["http_fastmcp"] = HttpTarget(f"http://127.0.0.1:{port}/mcp", [fastmcp])
    port = free_port()
    command = [str(interpreter("mcp-proxy").with_name("mcp-proxy")), "--log-level", "WARNING", "--port", port]
    proxy = program(*command, "--", *ECHO)
    targets["http_mcp_proxy"] = HttpTarget(f"http://127.0.0.1:{port}/mcp", [proxy])


def free_port() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])
