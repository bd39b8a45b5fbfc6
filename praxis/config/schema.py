"""Every key of the configuration, with its type, default and meaning.

The class tree is the schema: a section is an attrs class, a key is an attribute, and the text under it is its
documentation. Durations are seconds, sizes bytes, unless the key's name says otherwise. Relative paths in a file are
relative to the folder of that file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import attrs

from praxis.config.schema_a2a import A2a as A2a
from praxis.config.schema_a2a import A2aAgent as A2aAgent
from praxis.config.schema_llm import Caching as Caching
from praxis.config.schema_llm import Llm as Llm
from praxis.config.schema_llm import RateLimiting as RateLimiting
from praxis.config.schema_mcp import Mcp as Mcp
from praxis.config.schema_mcp import McpEndpoint as McpEndpoint
from praxis.config.schema_mcp import McpLimits as McpLimits
from praxis.config.schema_mcp import McpServer as McpServer
from praxis.config.schema_mcp import McpView as McpView
from praxis.config.schema_tools import Containers as Containers
from praxis.config.schema_tools import DeclaredTool as DeclaredTool
from praxis.config.schema_tools import ToolMount as ToolMount
from praxis.config.schema_tools import ToolParam as ToolParam
from praxis.config.validators import not_negative, positive

PEER_ID = re.compile(r"px[a-z2-7]{52}")

Port = int
"""0 to 65535; 0 means "any free port", which is reported once it is known."""


def _port(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if not 0 <= value <= 65535:
        raise ValueError(f"expected a port from 0 to 65535, got {value}")


def _fixed_port(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if not 1 <= value <= 65535:
        raise ValueError(f"expected a port from 1 to 65535, got {value}: all agents of a network share it")


def _agent_name(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not value or len(value) > 64 or not all((c.isalnum() and c.isascii()) or c in "-_." for c in value):
        raise ValueError(f"expected 1 to 64 of the characters a-z A-Z 0-9 - _ . in a name, got {value!r}")


def _weight(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1000:
        raise ValueError(f"expected a number from 0 to 1000, got {value}")


def _tags(_: object, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    if len(value) > 64:
        raise ValueError(f"expected at most 64 tags, got {len(value)}")
    for tag in value:
        if not tag.strip() or len(tag) > 128:
            raise ValueError(f"expected tags of 1 to 128 characters, got {tag[:64]!r}")


def _peer_ids(_: object, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    if len(value) > 1024:
        raise ValueError(f"expected at most 1024 peer ids, got {len(value)}")
    for peer_id in value:
        if not PEER_ID.fullmatch(peer_id):
            raise ValueError(f"expected peer ids, got {peer_id[:80]!r}: one is px and 52 letters and digits")


def _peers(_: object, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    if len(value) > 1024:
        raise ValueError(f"expected at most 1024 peers, got {len(value)}")
    for peer in value:
        _agent_name(_, attribute, peer)


def _hosts(_: object, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    if len(value) > 64:
        raise ValueError(f"expected at most 64 hosts, got {len(value)}")
    for host in value:
        if not re.fullmatch(r"[0-9A-Za-z.:_%-]{1,253}", host) or (host.count(":") == 1):
            raise ValueError(f"expected names or addresses of hosts, without a port, got {host[:80]!r}")


@attrs.frozen
class Agent:
    name: str = attrs.field(default="praxis-agent", validator=_agent_name)
    """What the network calls this agent."""
    version: str = "1.0.0"
    """The version this agent shows on its card."""
    description: str = ""
    url: str = ""
    """Where others reach the HTTP API; "" takes the address it is bound to."""
    tags: tuple[str, ...] = attrs.field(default=(), validator=_tags)
    """What this agent is good at, for routing: interchangeable tools that mention a tag are rather called here."""
    shared_dir: Path | None = None
    """The folder the built-in file tools work in; without it there are no file tools."""
    stop_grace: float = attrs.field(default=10.0, validator=not_negative)
    """Seconds that running work may take to finish after a request to stop."""
    external_mcp_endpoints: tuple[McpEndpoint, ...] = ()
    """MCP servers that somebody else runs: URLs, or mappings that say more."""
    tools: tuple[DeclaredTool, ...] = ()
    """More of `tools`: another place for the same."""


@attrs.frozen
class Security:
    mode: Literal["shared", "ca", "open"] = "shared"
    """`shared`: whoever has the network key is a member. `ca`: whoever the issuer of the network's CA has let in
    (`praxis network join`). `open`: everybody is; for demonstrations."""
    network_key_file: Path | None = None
    """File with the network key, or several, one a line; without it and without keys, one is made in the state
    directory."""
    network_keys: tuple[str, ...] = attrs.field(default=(), repr=False, metadata={"secret": True})
    """The keyring: the first key signs, all verify. A configuration gives either this or the file."""
    blocklist: tuple[str, ...] = attrs.field(default=(), validator=_peer_ids)
    """Ids of peers with which no line is kept, whatever they show."""
    allow: tuple[str, ...] = attrs.field(default=(), validator=_peers)
    """Ids, or in the mode `ca` names, of the only peers with which lines are kept; none means all members."""
    ca_files: tuple[Path, ...] = ()
    """PEM files with more CAs whose certificates are believed, beside the network's own (mode `ca`)."""


@attrs.frozen
class Discovery:
    enabled: bool = True
    port: int = attrs.field(default=4001, validator=_fixed_port)
    """UDP, one for the whole network."""
    multicast: bool = True
    broadcast: bool = True
    """To 255.255.255.255, for networks that carry no multicast."""
    ipv6: bool = True
    """Multicast by IPv6 too, where this machine has it (with `multicast`)."""
    interval: float = attrs.field(default=30.0, validator=positive)
    """Seconds between announcements, give or take a fifth."""
    interfaces: tuple[str, ...] = ()
    """Names of the interfaces to use; none means all, or `lo` alone while p2p.host is a loopback address."""
    targets: tuple[str, ...] = attrs.field(default=(), validator=_hosts)
    """Hosts beyond the segment, by name or address, that are asked directly who is there, on the same port."""


@attrs.frozen
class P2PLimits:
    message: int = attrs.field(default=4 * 1024 * 1024, validator=positive)
    """Bytes of one request or answer."""
    inflight: int = attrs.field(default=256, validator=positive)
    """Requests of one peer that are served at once."""
    handshakes: int = attrs.field(default=64, validator=positive)
    """Lines at once that have not yet shown who they are."""


@attrs.frozen
class Keepalive:
    interval: float = attrs.field(default=15.0, validator=positive)
    """Seconds from ping to ping, give or take a fifth."""
    timeout: float = attrs.field(default=10.0, validator=positive)
    """Seconds after a ping in which something must be heard, or the line is given up."""


@attrs.frozen
class P2P:
    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = attrs.field(default=4001, validator=_port)
    secure: bool = True
    """false is another way to say `security.mode: open`. There is never a plaintext line."""
    rendezvous: str = "praxis"
    """The network's name. It goes into every key, so agents of another name are strangers."""
    enable_mdns: bool = True
    """Whether to announce this agent and listen for others by UDP (with `discovery.enabled`)."""
    bootstrap_nodes: tuple[str, ...] = ()
    """``HOST:PORT`` or ``PEER_ID@HOST:PORT`` of agents to connect to, always retried. A name may have many."""
    advertise_addrs: tuple[str, ...] = ()
    """``HOST:PORT`` where other machines reach this agent, where that is not where it listens: containers, NAT."""
    max_peers: int = attrs.field(default=256, validator=positive)
    """Agents up to which each keeps a line to every other; in a larger network each keeps 16, and more on demand."""
    enable_dht: bool = True
    """Whether tools of agents without a line to this one are found too, and a line is made when a call needs it."""
    security: Security = Security()
    discovery: Discovery = Discovery()
    limits: P2PLimits = P2PLimits()
    keepalive: Keepalive = Keepalive()

    @property
    def trust(self) -> Security:
        """`security`, with `secure: false` taken into account."""
        return self.security if self.secure else attrs.evolve(self.security, mode="open")


@attrs.frozen
class Http:
    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = attrs.field(default=8000, validator=_port)
    max_body: int = attrs.field(default=4 * 1024 * 1024, validator=positive)
    """Bytes of a request's body."""


@attrs.frozen
class WebSocket:
    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = attrs.field(default=8090, validator=_port)
    max_message: int = attrs.field(default=512_000, validator=positive)
    """Bytes of a message from a client."""
    max_clients: int = attrs.field(default=1000, validator=positive)
    ping_interval: float = attrs.field(default=54.0, validator=positive)
    pong_timeout: float = attrs.field(default=60.0, validator=positive)


@attrs.frozen
class Sse:
    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = attrs.field(default=9000, validator=_port)


@attrs.frozen
class Access:
    tokens_file: Path | None = None
    """Where tokens are stored, hashed; default `tokens.json` in the state directory."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names beside the loopback ones and the bound address that a request may name; ``*`` for any."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages, such as ``https://console.example``, that may call this agent."""
    insecure: bool = False
    """Allows a listener beyond loopback without any token. Whoever reaches it may then run everything."""


@attrs.frozen
class PeerExport:
    """Globs over ``SOURCE/NAME``; deny wins."""

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()


@attrs.frozen
class Export:
    tools: tuple[str, ...] = ()
    """Globs over ``SOURCE/NAME`` or ``NAME`` of the tools that peers may see and call; none by default."""
    resources: tuple[str, ...] = ()
    """Globs over the names of sources whose resources, prompts and completions peers may use; none by default."""
    peers: dict[str, PeerExport] = attrs.field(factory=dict)
    """Narrower rules for single peers, by agent name or peer id."""


@attrs.frozen
class Weights:
    """How much each factor of the choice counts beside the others; 0 for not at all."""

    availability: float = attrs.field(default=1.0, validator=_weight)
    """Calls there succeeded lately."""
    specialization: float = attrs.field(default=1.0, validator=_weight)
    """The tool mentions tags of the agent."""
    load: float = attrs.field(default=1.0, validator=_weight)
    """Few calls of ours are under way there, and they do not take long."""
    locality: float = attrs.field(default=1.0, validator=_weight)
    """It is near: this agent, its host, its segment; a short way there and back."""


@attrs.frozen
class Breaker:
    failures: int = attrs.field(default=5, validator=positive)
    """Failures in a row after which a tool of an agent is asked last."""
    pause: float = attrs.field(default=1.0, validator=positive)
    """Seconds until one call tries it again; doubled each time that this fails, 60 s at most."""


@attrs.frozen
class Routing:
    interchangeable: tuple[str, ...] = ()
    """Globs over ``SOURCE/NAME`` or ``NAME``: tools of these names are the same wherever they are."""
    weights: Weights = Weights()
    breaker: Breaker = Breaker()


@attrs.frozen
class Retention:
    count: int = attrs.field(default=1000, validator=positive)
    """Ended runs that are kept."""
    age: float = attrs.field(default=30 * 86400.0, validator=positive)
    """Seconds for which they are."""


@attrs.frozen
class Cache:
    enabled: bool = False
    """Whether results of tools that say they are read-only and idempotent serve later steps that ask the same."""
    ttl: float = attrs.field(default=300.0, validator=positive)
    """Seconds for which they do."""
    max_entries: int = attrs.field(default=1000, validator=positive)
    max_bytes: int = attrs.field(default=64 * 1024 * 1024, validator=positive)


@attrs.frozen
class Runs:
    max_concurrent: int = attrs.field(default=64, validator=positive)
    """Runs at once."""
    queue: int = attrs.field(default=256, validator=not_negative)
    """Runs that wait for their turn beyond that; one more is refused."""
    timeout: float = attrs.field(default=3600.0, validator=positive)
    """Seconds after which a run is cancelled, whoever waits for it."""
    on_restart: Literal["show", "resume"] = "show"
    """What becomes of runs that were interrupted by the end of the agent: they wait for `praxis runs resume`, or go on
    by themselves as far as no step that was under way could happen twice."""
    retention: Retention = Retention()
    cache: Cache = Cache()


@attrs.frozen
class Logging:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    file: Path | None = None
    """Written besides standard error; a full disk there costs log lines, which are counted, never the agent."""


@attrs.frozen
class Prometheus:
    enabled: bool = True
    """Whether GET /metrics answers."""


@attrs.frozen
class Config:
    agent: Agent = Agent()
    p2p: P2P = P2P()
    http: Http = Http()
    websocket: WebSocket = WebSocket()
    sse: Sse = Sse()
    access: Access = Access()
    export: Export = attrs.field(factory=Export)
    routing: Routing = Routing()
    runs: Runs = Runs()
    mcp: Mcp = attrs.field(factory=Mcp)
    a2a: A2a = attrs.field(factory=A2a)
    llm: Llm = attrs.field(factory=Llm)
    tools: tuple[DeclaredTool, ...] = ()
    """Tools that are containers, processes, or somewhere else."""
    containers: Containers = attrs.field(factory=Containers)
    logging: Logging = Logging()
    prometheus: Prometheus = Prometheus()
    state_dir: Path | None = None
    """Identity, keys, tokens, the local socket; default ~/.local/state/praxis/NAME. Never the shared folder."""

    @property
    def mcp_servers(self) -> tuple[McpServer, ...]:
        """All MCP servers, those that are given as endpoints too."""
        return (*self.mcp.servers, *(endpoint.server() for endpoint in self.agent.external_mcp_endpoints))

    @property
    def declared_tools(self) -> tuple[DeclaredTool, ...]:
        """All tools that the configuration declares, wherever in it."""
        return (*self.tools, *self.agent.tools)
