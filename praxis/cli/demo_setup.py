"""What `praxis demo` needs before anything runs: both configurations, free ports, and an environment of its own."""

from __future__ import annotations

import errno
import os
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from praxis.cli.client import USAGE, CommandError
from praxis.cli.demo_agent import DemoAgent

if TYPE_CHECKING:
    from praxis.config.schema import Config

FILES = ("agent1.yaml", "agent2.yaml")
DISCOVERY_PORTS = range(61000, 65000)
"""Above what the system gives out by itself; the port cannot be 0, since both agents share it."""


def find(configs: str | None) -> Path:
    """The folder with both configurations: as asked for, of this checkout, or in the current folder."""
    checkout = Path(__file__).resolve().parents[2] / "configs"
    candidates = [Path(configs)] if configs else [checkout, Path("configs")]
    for folder in candidates:
        if all((folder / name).is_file() for name in FILES):
            return folder.resolve()
    places = " or ".join(str(folder) for folder in candidates)
    raise CommandError(USAGE, f"no {' and '.join(FILES)} in {places}; --configs FOLDER says where they are")


def prepare(configs: Path, folder: Path, *, any_ports: bool) -> list[DemoAgent]:
    """Both agents, not started yet. Raises CommandError for a configuration or a port that cannot be used."""
    from praxis.config.load import ConfigError, load

    environ = demo_environment()
    common: dict[str, str] = {}
    if any_ports:
        common = {f"{name}.port": "0" for name in ("http", "websocket", "sse", "p2p")}
        common["p2p.discovery.port"] = str(_free_discovery_port())
    agents = []
    for number, name in enumerate(FILES, 1):
        own = folder / f"agent{number}"
        own.mkdir()
        flags = {**common, "state_dir": str(own / "state")}
        try:
            loaded = load(configs / name, environ=environ, flags=flags)
            if loaded.config.agent.shared_dir is not None:
                flags["agent.shared_dir"] = str(folder / "shared")
                loaded = load(configs / name, environ=environ, flags=flags)
        except ConfigError as error:
            problems = "\n  ".join(error.problems)
            raise CommandError(USAGE, f"the configuration cannot be used:\n  {problems}") from None
        agents.append(DemoAgent(configs / name, loaded, flags, own))
    busy = [problem for agent in agents for problem in _busy_ports(agent.loaded.config)]
    if busy:
        text = "\n  ".join(dict.fromkeys(busy))
        raise CommandError(USAGE, f"these ports cannot be used; `--ports auto` takes any free ones:\n  {text}")
    return agents


def demo_environment() -> dict[str, str]:
    """Ours, without what would change the configurations, and with a network key that nobody else has."""
    from praxis.config.environment import API_KEY, LISTS, NETWORK_KEY, VARIABLES
    from praxis.peers.keyring import NetworkKey

    ours = {*VARIABLES, *LISTS, f"{NETWORK_KEY}_FILE", API_KEY, f"{API_KEY}_FILE", "STATE_DIRECTORY"}
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    environ[NETWORK_KEY] = NetworkKey.generate().text
    # The tool servers are started as python3: that is to be the Python which runs us, also where there is no other one.
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return environ


def _free_discovery_port() -> int:
    ports = random.SystemRandom().sample(DISCOVERY_PORTS, 20)
    return next((port for port in ports if _problem("0.0.0.0", port, socket.SOCK_DGRAM) is None), ports[0])  # noqa: S104


def _busy_ports(config: Config) -> Iterator[str]:
    """What the ports of a configuration that another program has."""
    name = config.agent.name
    for part in ("http", "websocket", "sse", "p2p"):
        section = getattr(config, part)
        if section.enabled and (problem := _problem(section.host, section.port, socket.SOCK_STREAM)):
            yield f"port {section.port} on {section.host} ({part} of {name}): {problem}"
    p2p = config.p2p
    announces = p2p.enabled and p2p.enable_mdns and p2p.discovery.enabled
    # Agents of one machine share this port, so one that is merely in use by other agents is good.
    if announces and (problem := _problem("0.0.0.0", p2p.discovery.port, socket.SOCK_DGRAM, shared=True)):  # noqa: S104
        yield f"UDP port {p2p.discovery.port} (discovery): {problem}"


def _problem(host: str, port: int, kind: socket.SocketKind, *, shared: bool = False) -> str | None:
    """Why nobody can listen there now; None when one can."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM or shared:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            probe.bind(address)
    except OSError as error:
        return "in use by another program" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return None
