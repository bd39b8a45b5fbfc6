"""The keys about tools that the configuration declares. They belong to `praxis.config.schema`, see there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import attrs

from praxis.config.schema_mcp import check_headers
from praxis.config.validators import positive

MIN_MEMORY = 6 * 1024 * 1024
"""Bytes: engines refuse to start a container with less."""
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _tool_name(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", value):
        raise ValueError(f"expected 1 to 128 of the characters a-z A-Z 0-9 - _ . in a name, got {value[:80]!r}")


def _param_name(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", value):
        raise ValueError(f"expected a letter and up to 63 of a-z A-Z 0-9 - _ . in a name, got {value[:80]!r}")


def _group(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if len(value) > 128:
        raise ValueError(f"expected at most 128 characters, got {len(value)}")


def _environment(_: object, attribute: attrs.Attribute[Any], value: dict[str, str]) -> None:
    _variables(_, attribute, tuple(value))


def _variables(_: object, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for name in value:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"expected names of variables, got {name[:80]!r}")
        if name.startswith("PRAXIS_PARAM_"):
            raise ValueError(f"{name[:80]} is how a parameter arrives; choose another name")


def _secret_names(_: object, attribute: attrs.Attribute[Any], value: dict[str, str]) -> None:
    for name in value:
        if not re.fullmatch(r"(?!\.)[A-Za-z0-9_.-]{1,64}", name):
            raise ValueError(f"expected names of files, got {name[:80]!r}")


def _memory(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not re.fullmatch(r"[0-9]{1,15}[bkmg]?", value) or size(value) < MIN_MEMORY:
        raise ValueError(f'expected a size such as "256m" or "2g", 6m or more, got {value[:80]!r}')


def _inside(_: object, attribute: attrs.Attribute[Any], value: str) -> None:
    if value and (not value.startswith("/") or ".." in value.split("/")):
        raise ValueError(f"expected an absolute path in the container, got {value[:80]!r}")


def _network(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", value):
        raise ValueError(f"expected none, bridge, host or the name of a network, got {value[:80]!r}")


def size(text: str) -> int:
    """Bytes that a size such as ``256m`` means; units are powers of 1024."""
    number = text.rstrip("bkmg")
    return int(number) * _UNITS[text[len(number) :]]


@attrs.frozen
class ToolParam:
    name: str = attrs.field(validator=_param_name)
    type: Literal["string", "number", "integer", "boolean", "object", "array"] = "string"
    description: str = ""
    required: bool = False
    default: Any = None
    """What the tool gets where a caller gives nothing."""


@attrs.frozen
class ToolMount:
    """A file or folder of this machine inside of a container."""

    source: Path
    """On this machine."""
    target: str = attrs.field(validator=_inside)
    """In the container."""
    read_only: bool = False


@attrs.frozen
class DeclaredTool:
    """A tool that is nothing but its entry in the configuration."""

    name: str = attrs.field(validator=_tool_name)
    engine: Literal["container", "dagger", "process", "remote-mcp"]
    """`container`: a program in a container of its own, for each call; `dagger` is another word for it. `process`: a
    program on this machine. `remote-mcp`: one tool of an MCP server that is reached by HTTP."""
    description: str = ""
    params: tuple[ToolParam, ...] = ()
    inputSchema: dict[str, Any] = attrs.field(factory=dict)
    """A JSON Schema of the arguments, instead of `params`."""
    group: str = attrs.field(default="", validator=_group)
    """Tools of one name and one group are interchangeable for the router, on whatever agents they are."""
    idempotent: bool = False
    """Calling it twice is the same as calling it once, so another owner may be tried when one is lost."""
    read_only: bool = False
    """It changes nothing."""
    timeout: float = attrs.field(default=60.0, validator=positive)
    """Seconds that a call may take."""
    command: tuple[str, ...] = ()
    """Program and arguments; never a shell line. Of a container what the image's entry point gets; none: its own."""
    env: dict[str, str] = attrs.field(factory=dict, repr=False, metadata={"secret": True}, validator=_environment)
    env_passthrough: tuple[str, ...] = attrs.field(default=(), validator=_variables)
    """Names of variables of the agent's own environment that the program gets too."""
    workdir: Path | None = None
    """Where the program starts: in the container, or of a process on this machine, default the folder of the file."""
    image: str = ""
    """Of a container, and so is all that follows up to `network`."""
    pull: Literal["never", "missing"] = "never"
    """`missing`: an image that is not on this machine is fetched from its registry by the first call."""
    user: str = ""
    """User and group, such as ``65534:65534``; default what the image says."""
    mounts: tuple[ToolMount, ...] = ()
    """Also as a mapping of paths on this machine to paths in the container."""
    secrets: dict[str, str] = attrs.field(factory=dict, repr=False, metadata={"secret": True}, validator=_secret_names)
    """Files in ``/run/secrets``: unlike `env` they are not shown to who looks at the container."""
    artifacts: str = attrs.field(default="", validator=_inside)
    """A folder in the container whose files come back with the result."""
    cpu: float | None = attrs.field(default=None, validator=attrs.validators.optional(positive))
    """Cores; none means all."""
    memory: str = attrs.field(default="512m", validator=_memory)
    """Memory, and there is no swap beside it."""
    pids: int = attrs.field(default=256, validator=positive)
    """Processes and threads at once."""
    network: str = attrs.field(default="none", validator=_network)
    """`none`, `bridge`, `host`, or a network that the engine has."""
    address: str = ""
    """Of a remote tool: the URL of its MCP server."""
    tool: str = ""
    """Of a remote tool: its name there; default `name`."""
    headers: dict[str, str] = attrs.field(factory=dict, repr=False, metadata={"secret": True}, validator=check_headers)
    """Of a remote tool: sent with every request, such as Authorization."""

    @property
    def kind(self) -> Literal["container", "process", "remote"]:
        """What it is, which is also the name of the source that it belongs to."""
        return "process" if self.engine == "process" else "remote" if self.engine == "remote-mcp" else "container"


@attrs.frozen
class Containers:
    socket: Path | None = None
    """The unix socket of Docker or Podman; default what DOCKER_HOST says, else where they usually are."""
