"""The keys about MCP servers. They belong to `praxis.config.schema`, which is where they are imported from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from praxis.config.validators import not_negative, positive


def check_source_name(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not value or len(value) > 64 or not all((c.isalnum() and c.isascii()) or c in "-_." for c in value):
        raise ValueError(f"expected 1 to 64 of the characters a-z A-Z 0-9 - _ . in a name, got {value!r}")
    if value == "fs":
        raise ValueError("'fs' is the name of the built-in file tools; choose another")


def check_headers(_: object, attribute: attrs.Attribute[Any], value: dict[str, str]) -> None:
    for name, text in value.items():
        if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name) or not (text.isascii() and text.isprintable()):
            raise ValueError(f"expected names of headers and printable ASCII as values, got {name[:60]!r}")
        if name.lower() in _OWN_HEADERS or name.lower().startswith("mcp-"):
            raise ValueError(f"the header {name} is written by the agent itself")


_OWN_HEADERS = frozenset({"accept", "connection", "content-length", "content-type", "host", "last-event-id"}) | {
    "transfer-encoding",
    "upgrade",
}


@attrs.frozen
class McpServer:
    name: str = attrs.field(validator=check_source_name)
    command: str = ""
    """With stdio: the program, found on PATH or by path; never a shell line."""
    transport: Literal["stdio", "sse", "http"] = "stdio"
    """How it is reached: `stdio` as a program, `http` by streamable HTTP, `sse` by HTTP+SSE, as before 2025-03-26."""
    args: tuple[str, ...] = ()
    env: dict[str, str] = attrs.field(factory=dict, repr=False, metadata={"secret": True})
    """Added to the small environment that a server gets: HOME, LOGNAME, PATH, SHELL, TERM, USER, LANG."""
    workdir: Path | None = None
    """Where it starts; default the folder of the configuration file."""
    url: str = ""
    """With http and sse: where it is."""
    message_url: str = ""
    """With sse: where messages go, for a server that tells it wrongly. On the same host and port as `url`."""
    headers: dict[str, str] = attrs.field(factory=dict, repr=False, metadata={"secret": True}, validator=check_headers)
    """With http and sse: sent with every request, such as Authorization."""
    protocol: Literal["auto", "legacy", "modern"] = "auto"
    """`modern`: MCP 2026-07-28; `legacy`: the revisions up to 2025-11-25; `auto` asks the server, and remembers."""
    roots: tuple[Path, ...] = ()
    """Folders that the server is told to work in; some replace their own settings by these."""
    ask: tuple[Literal["sampling", "elicitation", "roots"], ...] = ()
    """What the server may ask of whoever calls it: text of their model, their answers to questions, their folders.
    Everything else is refused."""
    include: tuple[str, ...] = ("*",)
    """Globs over names of its tools: only these are there."""
    exclude: tuple[str, ...] = ()
    """Globs over names of its tools: these are not there, whatever `include` says."""
    timeout: float | None = attrs.field(default=None, validator=attrs.validators.optional(positive))
    """Seconds a call may take; default `mcp.limits.request_timeout_ms`."""
    enabled: bool = True

    @property
    def shown(self) -> str:
        """Its command line or its URL, for people. What came by a reference may be a secret: the reference is shown."""
        # `Text`, which has a reference, shows it in its repr.
        return str([self.command, *self.args]) if self.transport == "stdio" else repr(self.url).strip("'")


def _endpoint_name(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value:
        check_source_name(_, attribute, value)


@attrs.frozen
class McpEndpoint:
    """An MCP server that somebody else runs. Its URL alone, as text, is enough."""

    PLAIN: ClassVar[str] = "url"

    url: str
    name: str = attrs.field(default="", validator=_endpoint_name)
    """Its name as a source of tools; default the host and port of the URL."""
    transport: Literal["http", "sse"] = "http"
    headers: dict[str, str] = attrs.field(factory=dict, repr=False, metadata={"secret": True}, validator=check_headers)
    protocol: Literal["auto", "legacy", "modern"] = "auto"
    timeout: float | None = attrs.field(default=None, validator=attrs.validators.optional(positive))
    enabled: bool = True

    def server(self) -> McpServer:
        """The same thing as an entry of `mcp.servers` would say it."""
        host = re.sub(r"^[a-z]+://([^/?#]*@)?|[/?#].*$", "", self.url)
        name = self.name or re.sub(r"[^A-Za-z0-9_.]+", "-", host).strip("-")[:64] or "endpoint"
        return McpServer(
            name,
            transport=self.transport,
            url=self.url,
            headers=self.headers,
            protocol=self.protocol,
            timeout=self.timeout,
            enabled=self.enabled,
        )


@attrs.frozen
class McpLimits:
    max_concurrent_requests: int = attrs.field(default=64, validator=positive)
    """Calls at once on one server; more wait."""
    request_timeout_ms: int = attrs.field(default=60_000, validator=positive)
    max_response_size_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=positive)
    """Bytes of one message from a server."""
    connection_pool_size: int = attrs.field(default=16, validator=not_negative)
    """Connections to one HTTP server that are kept open between requests."""
    max_servers_per_node: int = attrs.field(default=64, validator=positive)
    retry_attempts: int = attrs.field(default=5, validator=not_negative)
    """Starts again in a row without one success before a server counts as failed."""
    retry_backoff_ms: int = attrs.field(default=500, validator=positive)
    """The first pause before a start again; doubled each time, 30 s at most."""


@attrs.frozen
class McpView:
    """Globs over ``AGENT:SOURCE/NAME``, ``SOURCE/NAME`` or ``NAME`` of tools, and over ``AGENT:SOURCE/*`` or
    ``SOURCE/*`` of sources, for all else that they have; deny wins. Praxis's own tools are ``praxis/NAME``, and are in
    a view only if it names them."""

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    compact: bool = False
    """Whether `find_tools` and `call_tool` stand for the tools, for models that a long list would cost too much."""


def _view_names(_: object, attribute: attrs.Attribute[Any], value: dict[str, McpView]) -> None:
    for name in value:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
            raise ValueError(f"expected names of 1 to 64 of the characters a-z A-Z 0-9 - _ ., got {name[:80]!r}")


@attrs.frozen
class Mcp:
    enabled: bool = True
    """Whether the servers are started, and this agent is one itself: /mcp, /sse and `praxis mcp-stdio`."""
    servers: tuple[McpServer, ...] = ()
    views: dict[str, McpView] = attrs.field(factory=dict, validator=_view_names)
    """Parts of the network at addresses of their own, ``/mcp/views/NAME``."""
    quarantine_changes: bool = False
    """Whether a tool whose definition is not the one that was first seen is held back until it is approved."""
    limits: McpLimits = McpLimits()
