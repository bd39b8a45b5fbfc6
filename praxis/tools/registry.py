"""The tools of this agent, from every source, and the one way to call them."""

from __future__ import annotations

import difflib
import logging
from time import perf_counter

import attrs

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, CallContext, Tool, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.tools.schema import Validator, compile_schema
from praxis.tools.source import SourceState, ToolSource

logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class _Entry:
    source: ToolSource
    tool: Tool
    validator: Validator | None = None


class ToolRegistry:
    """Sources and their tools.

    Attributes:
        revision: grows with every change of the tools.
        in_flight: calls under way.
    """

    def __init__(self, agent: str, *, bus: EventBus, metrics: Metrics) -> None:
        self.revision = 0
        self.in_flight = 0
        self._agent = agent
        self._bus = bus
        self._sources: dict[str, ToolSource] = {}
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._tools: tuple[Tool, ...] = ()
        labels = ("source",)
        self._requests = metrics.counter("praxis_agent_mcp_requests_total", "Tool calls, by source.", labels)
        self._errors = metrics.counter("praxis_agent_mcp_errors_total", "Tool calls that failed, by source.", labels)
        self._seconds = metrics.histogram("praxis_tool_call_seconds", "Duration of tool calls.", labels=labels)
        metrics.gauge("praxis_tool_calls_in_flight", "Tool calls under way.", lambda: float(self.in_flight))

    def add(self, source: ToolSource) -> None:
        """Raises ValueError for a second source of one name."""
        if source.name in self._sources:
            raise ValueError(f"there is a source {source.name!r} already")
        self._sources[source.name] = source
        self.changed()

    def changed(self) -> None:
        """A source has other tools than before: look again, and tell."""
        entries: dict[tuple[str, str], _Entry] = {}
        for source in self._sources.values():
            for tool in source.tools():
                old = self._entries.get((source.name, tool.name))
                same = old is not None and old.tool.digest == tool.digest
                entries[source.name, tool.name] = old if same and old is not None else _Entry(source, tool)
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
        """Raises PraxisError: ``not_found`` with the names that look alike, ``ambiguous`` with the candidates."""
        if source is not None:
            entry = self._entries.get((source, name))
            if entry is not None:
                return entry.tool
        else:
            found = [entry.tool for (_, own), entry in self._entries.items() if own == name]
            if len(found) == 1:
                return found[0]
            if found:
                candidates = [f"{tool.source}/{tool.name}" for tool in found]
                raise PraxisError(
                    "ambiguous",
                    f"{name!r} is a tool of several sources: {', '.join(candidates)}",
                    hint="write SOURCE/NAME",
                    data={"candidates": candidates},
                )
        full = f"{source}/{name}" if source is not None else name
        names = [f"{own}/{tool}" if source is not None else tool for own, tool in self._entries]
        alike = difflib.get_close_matches(full, names, 3)
        hint = f"did you mean {' or '.join(alike)}?" if alike else ""
        raise PraxisError("not_found", f"{self._agent} has no tool {full!r}", hint=hint, data={"alike": alike})

    async def call(self, tool: Tool, arguments: dict[str, JSON], context: CallContext) -> ToolResult:
        """Check the arguments and call. A tool that fails is a result with isError.

        Raises PraxisError: ``invalid`` for arguments that do not fit, ``not_found`` for a tool that has gone,
        ``unavailable`` for an outage of its source, ``internal`` for a bug in it, and what the source raises itself.
        """
        entry = self._entries.get((tool.source, tool.name))
        if entry is None:
            raise PraxisError("not_found", f"{self._agent} has no tool {tool.source}/{tool.name} any more")
        if entry.validator is None:
            entry.validator = compile_schema(entry.tool.input_schema)
        entry.validator.check(arguments)
        self.in_flight += 1
        began = perf_counter()
        failed = True
        try:
            result = await entry.source.call(tool.name, arguments, context)
            failed = result.is_error
            return result
        except PraxisError:
            raise
        except OSError as error:
            raise PraxisError(
                "unavailable", f"{tool.source} failed: {error.strerror or error}", delivered=True
            ) from None
        except Exception:
            logger.exception("the tool %s/%s failed with a bug", tool.source, tool.name)
            raise PraxisError(
                "internal", f"{tool.source}/{tool.name} failed with a bug; the agent's log has it", delivered=True
            ) from None
        finally:
            self.in_flight -= 1
            self._requests.inc(1, tool.source)
            if failed:
                self._errors.inc(1, tool.source)
            self._seconds.observe(perf_counter() - began, tool.source)

    def sources(self) -> list[SourceState]:
        """The state of every source."""
        return [source.state() for source in self._sources.values()]
