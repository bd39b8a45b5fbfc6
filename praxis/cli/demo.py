"""`praxis demo`: starts two agents as processes, shows what they do together, and ends them.

Nothing is left behind: state and files are in a temporary folder, and each agent runs under a guard process that ends
it even if the demo itself is killed.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from praxis.cli import demo_steps as steps
from praxis.cli.client import FAILED, OK, CommandError
from praxis.cli.demo_agent import START, DemoAgent
from praxis.cli.demo_setup import demo_environment, find, prepare
from praxis.cli.demo_steps import line, title

STOP = 20.0
"""Seconds for an agent to end: more than its default grace of 10 s and its last words."""
KILL = 5.0
"""Seconds for the guard to end after SIGKILL to the agent."""
LOOK = 0.2
"""Seconds between two looks at whether the agents still run."""


def show(*, configs: str | None, once: bool, any_ports: bool) -> int:
    """Run the demo. With `once` it ends after the last step, else it stays up until a signal.

    `configs` is a folder with agent1.yaml and agent2.yaml. Raises CommandError: 2 for a configuration or a port that
    cannot be used, else with the step that failed and the end of each agent's log.
    """
    with tempfile.TemporaryDirectory(prefix="praxis-demo-") as folder, _signals():
        agents = prepare(find(configs), Path(folder), any_ports=any_ports)
        started = time.monotonic()
        try:
            _show(agents, Path(folder))
            if not once:
                _stay(agents, Path(folder))
        finally:
            _stop(agents)
        for agent in agents:
            if agent.status != 0:
                raise CommandError(FAILED, f"at the end {agent.name} did not stop in order{_logs([agent])}")
        if once:
            print(f"\nEverything worked, and both agents are stopped again: {time.monotonic() - started:.1f} s.")
        return OK


def _show(agents: Sequence[DemoAgent], folder: Path) -> None:
    step = "starting"
    try:
        print("Two agents on this machine, each a process of its own, with one network key.", flush=True)
        environ = demo_environment()
        for agent in agents:
            agent.start(environ)
        for agent in agents:
            steps.wait_until(agent.is_ready, START, f"{agent.name} is not ready")
            line(f"{agent.name}  process {agent.pid}  {agent.side.url}")
        one, two = (agent.side for agent in agents)
        step = "finding each other"
        title(f"They find each other{_how(agents)}")
        steps.meet(one, two)
        step = "files"
        title(f"{one.name} is asked for tools that {two.name} owns")
        steps.use_files(one, two, folder / "shared")
        step = "the MCP server"
        title("A tool of an MCP server")
        steps.greet(one)
        step = "cancelling"
        title(f"A call of {steps.LONG // 60} minutes is cancelled")
        steps.cancel(one, two, folder)
    except CommandError as error:
        raise CommandError(error.code, f"the demo failed at the step '{step}': {error}{_logs(agents)}") from None


def _how(agents: Sequence[DemoAgent]) -> str:
    """By what, if it can only have been discovery."""
    sections = [agent.loaded.config.p2p for agent in agents]
    if any(section.bootstrap_nodes for section in sections):
        return ""
    return f" by UDP discovery, port {sections[0].discovery.port}"


def _logs(agents: Sequence[DemoAgent]) -> str:
    return "".join(f"\n  the end of the log of {agent.name}:\n{agent.tail()}" for agent in agents)


def _stay(agents: Sequence[DemoAgent], folder: Path) -> None:
    """Say what can be tried, and wait for a signal. Raises CommandError when an agent ends by itself."""
    url = agents[0].side.url
    praxis = Path(sys.executable).with_name("praxis")
    command = shlex.quote(str(praxis)) if praxis.exists() else f"{shlex.quote(sys.executable)} -m praxis"
    title("Both agents stay up until Ctrl-C. Next, in another terminal:")
    line(f"{url}/health")
    line(f"curl -X POST {url}/execute -H 'content-type: application/json' -d '{{\"dsl\": \"CALL list_files\"}}'")
    line(f"{command} tools --url {url}")
    line(f"the files are in {folder / 'shared'}, which goes with the demo")
    if entry := _client_entry(agents):
        title("The tool server with `greet` speaks MCP; any MCP client can start it by itself:")
        line(json.dumps(entry))
    with suppress(KeyboardInterrupt):
        while True:
            for agent in agents:
                if agent.ended():
                    raise CommandError(FAILED, f"{agent.name} ended by itself{_logs([agent])}")
            time.sleep(LOOK)
    title("Stopping both agents")


def _client_entry(agents: Sequence[DemoAgent]) -> dict[str, Any] | None:
    """The `mcpServers` entry of the first configured tool server, as it is started here."""
    for agent in agents:
        for server in agent.loaded.config.mcp.servers:
            base = server.workdir or agent.loaded.base_dir
            command = shutil.which(server.command, path=demo_environment()["PATH"]) or server.command
            arguments = [str((base / word).resolve()) if (base / word).is_file() else word for word in server.args]
            return {"mcpServers": {server.name: {"command": command, "args": arguments}}}
    return None


def _stop(agents: Sequence[DemoAgent]) -> None:
    """SIGTERM to all, wait, SIGKILL to those that are left. A second signal shortens the wait."""
    deadline = time.monotonic() + STOP
    with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
        for agent in agents:
            agent.order(b"T")
        for agent in agents:
            agent.wait(deadline - time.monotonic())
    for agent in agents:
        if not agent.ended():
            agent.order(b"K")
            with suppress(subprocess.TimeoutExpired):
                agent.wait(KILL)


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
