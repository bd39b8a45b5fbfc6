"""Tools, their names, and what they answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any

import attrs

from praxis.model.errors import PraxisError

JSON = Any
"""A value as :func:`json.loads` makes it."""

GROUP = "praxis.group"
"""The member of a definition's ``_meta`` that names the group of interchangeable tools that it belongs to."""

_NAME = re.compile(r"[^\s:/\x00-\x1f]{1,128}")
_ADDRESS = re.compile(r"https?://[\x21-\x7e]{1,250}")


def is_address(agent: str) -> bool:
    """Whether an agent is named by its address, ``http://...`` or ``https://...``, as agents of other networks are."""
    return _ADDRESS.fullmatch(agent) is not None


@attrs.frozen
class ToolRef:
    """A tool as a caller names it: ``name``, ``source/name``, ``agent:name`` or ``agent:source/name``. The agent may be
    an address, as in ``https://agents.example/path:name``."""

    name: str
    source: str | None = None
    agent: str | None = None

    @classmethod
    def parse(cls, text: str) -> ToolRef:
        """Read a reference; raises PraxisError("invalid") for anything that is not one."""
        agent, colon, rest = text.rpartition(":")
        source, slash, name = rest.rpartition("/")
        named = bool(colon) and not is_address(agent)
        parts = [part for part, there in ((agent, named), (source, slash), (name, True)) if there]
        if not all(_NAME.fullmatch(part) for part in parts):
            raise PraxisError(
                "invalid",
                f"{text!r} is not the name of a tool",
                hint="write NAME, SOURCE/NAME, AGENT:NAME or AGENT:SOURCE/NAME",
            )
        return cls(name, source if slash else None, agent if colon else None)

    def __str__(self) -> str:
        agent = f"{self.agent}:" if self.agent else ""
        source = f"{self.source}/" if self.source else ""
        return f"{agent}{source}{self.name}"


@attrs.frozen(eq=False, slots=False)
class Tool:
    """One tool: who has it, and its definition exactly as its source gave it.

    `definition` is an MCP tool object (name, description, inputSchema, outputSchema, annotations, ...) and is never
    changed, so that what a caller on another machine sees is what the source said. Two tools are equal when they are
    the same object; compare `digest` to see whether a definition changed.
    """

    agent: str
    source: str
    definition: Mapping[str, JSON]

    @property
    def name(self) -> str:
        return str(self.definition["name"])

    @property
    def description(self) -> str:
        return str(self.definition.get("description") or "")

    @property
    def input_schema(self) -> Mapping[str, JSON]:
        schema = self.definition.get("inputSchema")
        return schema if isinstance(schema, Mapping) else {}

    @cached_property
    def ref(self) -> ToolRef:
        """The full name, which means this tool everywhere in the network."""
        return ToolRef(self.name, self.source, self.agent)

    @property
    def idempotent(self) -> bool:
        """True when the source says that calling it twice is the same as once (MCP annotations)."""
        annotations = self.definition.get("annotations")
        if not isinstance(annotations, Mapping):
            return False
        return annotations.get("idempotentHint") is True or annotations.get("readOnlyHint") is True

    @property
    def group(self) -> str:
        """What its agent says that it is interchangeable with: tools of this name and this group. "" is no group."""
        meta = self.definition.get("_meta")
        group = meta.get(GROUP) if isinstance(meta, Mapping) else None
        return group if isinstance(group, str) else ""

    @cached_property
    def digest(self) -> str:
        """16 hex digits of SHA-256 over the definition's canonical JSON."""
        text = json.dumps(self.definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def matches(self, ref: ToolRef) -> bool:
        """True when `ref` may mean this tool."""
        return ref.name == self.name and ref.source in (None, self.source) and ref.agent in (None, self.agent)


@attrs.frozen
class ToolResult:
    """What a tool answered: an MCP tool result, kept whole so that it crosses machines unchanged."""

    value: Mapping[str, JSON]
    cached: bool = attrs.field(default=False, eq=False)
    """True when it was given to an earlier step that asked the same."""

    @classmethod
    def of_text(cls, text: str, *, is_error: bool = False, structured: JSON = None) -> ToolResult:
        """A result with one text block, for tools that are not MCP servers."""
        value: dict[str, JSON] = {"content": [{"type": "text", "text": text}], "isError": is_error}
        if structured is not None:
            value["structuredContent"] = structured
        return cls(value)

    @property
    def is_error(self) -> bool:
        """True when the tool itself says that it failed."""
        return self.value.get("isError") is True

    @property
    def structured(self) -> JSON:
        return self.value.get("structuredContent")

    @property
    def text(self) -> str:
        """All text blocks, one below the other."""
        blocks = self.value.get("content")
        if not isinstance(blocks, list):
            return ""
        return "\n".join(
            str(block.get("text", "")) for block in blocks if isinstance(block, Mapping) and "text" in block
        )


Ask = Callable[[str, Mapping[str, JSON]], Awaitable[Mapping[str, JSON]]]
"""Asks whoever called: a method (``sampling/createMessage``, ``elicitation/create``, ``roots/list``) and its params,
to the result. Raises PraxisError, with ``data["jsonrpc"]`` where the other side refused."""
Listener = Callable[[Mapping[str, JSON]], None]
"""Takes the params of a notification as they come; must not block."""


@attrs.frozen
class CallContext:
    """What travels with a call beside its arguments.

    The deadline is not here: it is the cancel scope that the call runs in.
    """

    caller: str
    """Who asked, for logs and the audit: a principal's name."""
    run_id: str | None = None
    on_progress: Listener | None = None
    """MCP progress, without its token, which is each connection's own."""
    on_log: Listener | None = None
    """MCP log messages (``notifications/message``) that belong to this call."""
    log_level: str | None = None
    """The least level of log messages that the caller wants; None: it has not said."""
    ask: Ask | None = None
    """How a tool asks whoever called; None: nobody can be asked."""
    capabilities: Mapping[str, JSON] = attrs.field(factory=dict)
    """MCP client capabilities of whoever can be asked: a server must not ask for anything else."""
    input: Mapping[str, JSON] | None = None
    """``inputResponses`` and ``requestState`` of a request that is made again with what was asked for (MCP 2026-07-28,
    MRTR)."""
    takes_input_requests: bool = False
    """Whether a result that asks for input (``resultType: input_required``) may be the answer; else it is `ask`."""
    meta: Mapping[str, JSON] = attrs.field(factory=dict)
    """Members of the request's ``_meta`` that are nobody's between caller and tool, such as ``traceparent``."""
    session: str = ""
    """Calls of one session have one asker behind them; "" for a call that stands alone."""
    detach: Callable[[], None] | None = None
    """Lets go of the connection that the caller waits on: it comes back for the answer. None: it could not."""
