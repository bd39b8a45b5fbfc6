"""The tools of this agent, from every source, and the one way to call them."""

from __future__ import annotations

import difflib
import logging
from time import perf_counter

import attrs
import trio

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.tools.plain import PlainService
from praxis.tools.schema import Validator, compile_schema
from praxis.tools.service import McpService
from praxis.tools.show import quoted, short
from praxis.tools.source import Queueing, SourceState, ToolSource

logger = logging.getLogger(__name__)

MAX_NAME = 128
"""Characters of a tool's name, as `praxis.model.tool.ToolRef` has it; nothing that is longer is compared with names."""
MAX_COMPARED = 500
"""Names that are compared with one that is not there: some 10 ms, and 0.2 s for long names made to look alike."""


@attrs.define(eq=False)
class _Entry:
    """A tool as it is called: its validator is made by the first call and kept until the definition changes."""

    source: ToolSource
    tool: Tool
    validator: Validator | None = None


class ToolRegistry:
    """Sources and their tools.

    Attributes:
        revision: grows with every change of the tools.
        in_flight: calls that are with their sources.
    """

    def __init__(self, agent: str, *, bus: EventBus, metrics: Metrics) -> None:
        self.revision = 0
        self.in_flight = 0
        self._agent = agent
        self._bus = bus
        self._sources: dict[str, ToolSource] = {}
        self._states: dict[str, SourceState] = {}
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._tools: tuple[Tool, ...] = ()
        labels = ("source",)
        self._requests = metrics.counter("praxis_agent_mcp_requests_total", "Tool calls, by source.", labels)
        self._errors = metrics.counter("praxis_agent_mcp_errors_total", "Tool calls that failed, by source.", labels)
        self._seconds = metrics.histogram("praxis_tool_call_seconds", "Duration of tool calls.", labels=labels)
        metrics.gauge("praxis_tool_calls_in_flight", "Tool calls under way.", lambda: float(self.in_flight))
        metrics.gauge(
            "praxis_tool_calls_waiting", "Of these, those without a slot.", lambda: float(self.under_way()[1])
        )

    def add(self, source: ToolSource) -> None:
        """Take a source and its tools. Raises ValueError for a second source of one name."""
        if source.name in self._sources:
            raise ValueError(f"there is a tool source {source.name!r} already")
        self._sources[source.name] = source
        self.changed()

    def remove(self, name: str) -> None:
        """Let go of a source and its tools: no call reaches it any more. Raises KeyError for one that is not there."""
        del self._sources[name]
        self._states.pop(name, None)
        self.changed()

    def changed(self) -> None:
        """A source has other tools than before: look again, and tell with ``tools.changed`` if it is so.

        Of two tools of one source that bear the same name the first counts, and no caller sees the other.
        """
        entries: dict[tuple[str, str], _Entry] = {}
        for source in self._sources.values():
            for tool in source.tools():
                key = (source.name, tool.name)
                if key in entries:
                    continue
                old = self._entries.get(key)
                same = old is not None and (old.tool is tool or old.tool.digest == tool.digest)
                entries[key] = old if same and old is not None else _Entry(source, tool)
        if entries.keys() == self._entries.keys() and all(entries[key] is self._entries[key] for key in entries):
            return
        self._entries = entries
        self._tools = tuple(entries[key].tool for key in sorted(entries))
        self.revision += 1
        self._bus.publish("tools.changed", tools=len(self._tools), revision=self.revision)

    def tools(self) -> tuple[Tool, ...]:
        """Every tool, by source and name; the same tuple until something changes."""
        return self._tools

    def find(self, source: str | None, name: str) -> Tool:
        """The tool of this name, of this source if one is given.

        Raises PraxisError: ``not_found`` with the names that look alike in `hint` and ``data["alike"]``, ``ambiguous``
        with the full names in ``data["candidates"]``.
        """
        if source is not None:
            entry = self._entries.get((source, name))
            if entry is not None:
                return entry.tool
            raise self._unknown(source, name)
        found = [tool for tool in self._tools if tool.name == name]
        if not found:
            raise self._unknown(source, name)
        if len(found) > 1:
            candidates = [f"{tool.source}/{name}" for tool in found]
            raise PraxisError(
                "ambiguous",
                f"{len(candidates)} sources have a tool {quoted(name)}: {short(', '.join(candidates), 200)}",
                hint=f"write SOURCE/{short(name)}",
                data={"candidates": candidates},
            )
        return found[0]

    def names(self) -> tuple[str, ...]:
        """The names of all sources."""
        return tuple(self._sources)

    def service(self, name: str) -> McpService:
        """A source as an MCP server. Raises PraxisError("not_found")."""
        source = self._sources.get(name)
        if source is None:
            raise PraxisError("not_found", f"{self._agent} has no source {short(name, 64)!r}")
        return source if isinstance(source, McpService) else PlainService(source)

    async def call(self, tool: Tool, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """Check the arguments and call. A tool that fails by its own account is a result with isError.

        Raises PraxisError: ``invalid`` for arguments that do not fit, ``not_found`` for a tool that has gone,
        ``unavailable`` for an outage of its source, ``internal`` for a bug in it, and what the source raises itself.
        """
        label = tool.source
        entry = self._entries.get((label, tool.name))
        if entry is None:
            raise self._unknown(label, tool.name)
        failed = True
        try:
            validator = entry.validator
            if validator is None:
                validator = self._compile(entry)
            validator.check(arguments)
            result = await self._reach(entry, arguments, context)
            failed = result.is_error
            return result
        except trio.Cancelled:
            failed = False  # whoever asked no longer wants it; that says nothing about the tool
            raise
        finally:
            self._requests.inc(1.0, label)
            if failed:
                self._errors.inc(1.0, label)

    def sources(self) -> list[SourceState]:
        """The state of every source. One that cannot tell its own is shown as failed."""
        return [self._state(source) for source in self._sources.values()]

    def under_way(self) -> tuple[int, int]:
        """Calls under way, and how many of them wait for a slot of their source."""
        waiting = sum(source.waiting for source in self._sources.values() if isinstance(source, Queueing))
        return self.in_flight, min(waiting, self.in_flight)

    async def _reach(self, entry: _Entry, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """The source's own call; what it raises becomes something that a caller may be told."""
        source = entry.source
        name = entry.tool.name
        self.in_flight += 1
        began = perf_counter()
        try:
            result = await source.call(name, arguments, context)
            if not isinstance(result, ToolResult):
                raise TypeError(f"expected a ToolResult from {source.name}/{name}, got {type(result).__name__}")
            return result
        except PraxisError:
            raise
        except OSError as error:
            reason = short(str(error.strerror or error) or type(error).__name__, 200)
            raise PraxisError(
                "unavailable", f"the tool source {source.name} failed: {reason}", delivered=True
            ) from error
        except Exception as error:
            # The one place where a bug in a source ends: it must not take other calls with it.
            logger.exception("the tool %s/%s failed with a bug", source.name, name)
            raise PraxisError(
                "internal",
                f"the tool {source.name}/{name} failed with a bug",
                hint=f"the log of {self._agent} has the details",
                delivered=True,
            ) from error
        finally:
            self.in_flight -= 1
            self._seconds.observe(perf_counter() - began, source.name)

    def _compile(self, entry: _Entry) -> Validator:
        validator = entry.validator = compile_schema(entry.tool.input_schema)
        if validator.notes:
            parts = "; ".join(validator.notes[:5])
            logger.info("%s/%s: arguments are not fully checked: %s", entry.source.name, entry.tool.name, parts)
        return validator

    def _unknown(self, source: str | None, name: str) -> PraxisError:
        """Names come from strangers too, so nothing long is compared or repeated."""
        full = name if source is None else f"{source}/{name}"
        alike: list[str] = []
        if len(full) <= 2 * MAX_NAME:
            known = list(self._entries)[:MAX_COMPARED]
            short_names = {own: f"{where}/{own}" for where, own in known}
            names = [f"{where}/{own}" for where, own in known] if source is not None else list(short_names)
            alike = difflib.get_close_matches(full, names, 3)
            if not alike and source is not None and name in short_names:
                alike = [short_names[name]]
        return PraxisError(
            "not_found",
            f"{self._agent} has no tool {quoted(full)}",
            hint=f"did you mean {' or '.join(alike)}?" if alike else "",
            data={"alike": alike},
        )

    def _state(self, source: ToolSource) -> SourceState:
        last = self._states.get(source.name)
        try:
            state = source.state()
        except Exception as error:
            # Health and status pages ask for all sources; one that is broken must not hide the others.
            reason = f"it cannot tell its state: {type(error).__name__}"
            if last is None or last.reason != reason:
                logger.exception("the tool source %s cannot tell its state", source.name)
            state = attrs.evolve(last or SourceState(source.name, "builtin", "failed"), state="failed", reason=reason)
        self._states[source.name] = state
        return state
