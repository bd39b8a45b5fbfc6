"""The registry: names, arguments, counting, and what becomes of a source that fails."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
import pytest
import trio

from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext, Tool, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.tools import registry as module
from praxis.tools.registry import ToolRegistry
from praxis.tools.schema import Validator, compile_schema
from praxis.tools.source import SourceState

CONTEXT = CallContext("tester", run_id="r1")
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
Answer = Callable[[str, dict[str, Any], CallContext], Awaitable[ToolResult]]


async def echo(name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
    return ToolResult.of_text(f"{name}: {arguments['text']} for {context.caller}")


@attrs.define(eq=False)
class Source:
    """A tool source whose answer a test chooses."""

    name: str
    names: Sequence[str] = ("echo",)
    answer: Answer = echo
    calls: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)
    schema: dict[str, Any] = attrs.field(factory=lambda: SCHEMA)
    broken: Exception | None = None

    def tools(self) -> Sequence[Tool]:
        return [Tool("agent", self.name, {"name": name, "inputSchema": self.schema}) for name in self.names]

    async def call(self, name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        self.calls.append((name, arguments))
        return await self.answer(name, arguments, context)

    def state(self) -> SourceState:
        if self.broken is not None:
            raise self.broken
        return SourceState(self.name, "mcp", "ready", tools=len(self.names))


@attrs.define
class Setting:
    registry: ToolRegistry
    bus: EventBus
    metrics: Metrics

    def gauge(self, name: str) -> str:
        return next(line for line in self.metrics.render().splitlines() if line.startswith(f"{name} "))

    def count(self, name: str, source: str) -> float:
        return self.metrics.counter(f"praxis_agent_mcp_{name}_total", "", ("source",)).value(source)

    def counts(self, source: str) -> tuple[float, float]:
        return self.count("requests", source), self.count("errors", source)

    def observed(self, source: str) -> int:
        line = f'praxis_tool_call_seconds_count{{source="{source}"}} '
        return next((int(each[len(line) :]) for each in self.metrics.render().splitlines() if each.startswith(line)), 0)


@pytest.fixture
def setting() -> Setting:
    bus, metrics = EventBus(clock=lambda: 0.0), Metrics()
    return Setting(ToolRegistry("agent", bus=bus, metrics=metrics), bus, metrics)


async def refusal(setting: Setting, tool: Tool, arguments: dict[str, Any]) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        await setting.registry.call(tool, arguments, CONTEXT)
    return caught.value


def unfound(setting: Setting, source: str | None, name: str) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        setting.registry.find(source, name)
    return caught.value


# -- sources and names -----------------------------------------------------------------------------


def test_tools_are_sorted_and_the_same_until_they_change(setting: Setting) -> None:
    one = Source("zeta", ["b", "a"])
    setting.registry.add(one)
    setting.registry.add(Source("alpha", ["c"]))
    tools = setting.registry.tools()
    assert [(tool.source, tool.name) for tool in tools] == [("alpha", "c"), ("zeta", "a"), ("zeta", "b")]
    assert setting.registry.tools() is tools
    setting.registry.changed()  # makes new Tool objects of the same definitions
    assert setting.registry.tools() is tools
    one.names = ["a"]
    setting.registry.changed()
    assert [tool.name for tool in setting.registry.tools()] == ["c", "a"]


def test_a_change_is_told_once_and_only_if_it_is_one(setting: Setting) -> None:
    source = Source("s")
    with setting.bus.subscribe(types=("tools",)) as subscription:
        setting.registry.add(source)
        setting.registry.changed()
        source.schema = {"type": "object"}
        setting.registry.changed()
        events = subscription.receive_nowait().events
    assert [event.type for event in events] == ["tools.changed", "tools.changed"]
    assert [event.fields["revision"] for event in events] == [1, 2] == [1, setting.registry.revision]
    assert events[1].fields["tools"] == 1


def test_a_second_source_of_one_name_is_refused(setting: Setting) -> None:
    setting.registry.add(Source("s"))
    with pytest.raises(ValueError, match="'s' already"):
        setting.registry.add(Source("s", ["other"]))
    assert [tool.name for tool in setting.registry.tools()] == ["echo"]


def test_of_two_tools_of_one_name_in_one_source_the_first_counts(setting: Setting) -> None:
    class Twice(Source):
        def tools(self) -> Sequence[Tool]:
            return [Tool("agent", "s", {"name": "t", "description": text}) for text in ("first", "second")]

    setting.registry.add(Twice("s"))
    assert [tool.description for tool in setting.registry.tools()] == ["first"]


def test_a_tool_is_found_by_its_name_and_source(setting: Setting) -> None:
    setting.registry.add(Source("s", ["echo", "other"]))
    setting.registry.add(Source("t", ["echo"]))
    assert setting.registry.find("t", "echo").source == "t"
    assert setting.registry.find(None, "other").source == "s"


def test_a_short_name_with_two_owners_lists_them(setting: Setting) -> None:
    setting.registry.add(Source("s"))
    setting.registry.add(Source("t"))
    error = unfound(setting, None, "echo")
    assert error.code == "ambiguous"
    assert error.data == {"candidates": ["s/echo", "t/echo"]}
    assert error.hint == "write SOURCE/echo"
    assert "s/echo, t/echo" in error.detail


def test_an_unknown_tool_comes_with_those_that_look_alike(setting: Setting) -> None:
    setting.registry.add(Source("fs", ["write_file", "read_file"]))
    error = unfound(setting, None, "wirte_file")
    assert (error.code, error.data["alike"][0]) == ("not_found", "write_file")
    assert "did you mean write_file" in error.hint
    assert error.detail == "agent has no tool 'wirte_file'"
    error = unfound(setting, "fs", "writefile")
    assert error.data["alike"][0] == "fs/write_file"
    error = unfound(setting, "completely-different", "read_file")
    assert error.data["alike"] == ["fs/read_file"]
    error = unfound(setting, None, "zzz")
    assert (error.hint, error.data) == ("", {"alike": []})


def test_a_name_of_megabytes_is_neither_compared_nor_repeated(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peers send names too, and the comparison reads all of them on the agent's one thread."""
    compared: list[str] = []

    def compare(name: str, names: Sequence[str], most: int) -> list[str]:
        compared.append(name)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", compare)
    setting.registry.add(Source("fs"))
    unfound(setting, "fs", "short")
    assert compared == ["fs/short"]
    error = unfound(setting, "fs", "write_file" * 400_000)
    assert error.code == "not_found"
    assert len(str(error)) < 200
    assert compared == ["fs/short"]


# -- calls -----------------------------------------------------------------------------------------


async def test_a_call_reaches_the_source_and_its_result_comes_back_unchanged(setting: Setting) -> None:
    source = Source("s", ["echo", "other"])
    setting.registry.add(source)
    arguments = {"text": "hello"}
    result = await setting.registry.call(setting.registry.find(None, "other"), arguments, CONTEXT)
    assert result.text == "other: hello for tester"
    assert source.calls == [("other", {"text": "hello"})]
    assert source.calls[0][1] is arguments
    assert setting.counts("s") == (1, 0)
    assert setting.observed("s") == 1


async def test_the_same_result_object_comes_back(setting: Setting) -> None:
    answered = ToolResult({"content": [], "isError": True, "_meta": {"x": 1}})

    async def answer(name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        assert context is CONTEXT
        return answered

    setting.registry.add(Source("s", answer=answer))
    assert await setting.registry.call(setting.registry.tools()[0], {"text": ""}, CONTEXT) is answered
    assert setting.counts("s") == (1, 1)


async def test_a_bad_argument_never_reaches_the_source(setting: Setting) -> None:
    source = Source("s")
    setting.registry.add(source)
    tool = setting.registry.tools()[0]
    error = await refusal(setting, tool, {"text": 5})
    assert (error.code, error.where, error.detail) == ("invalid", "arguments.text", "expected string, got 5")
    assert not error.delivered
    assert (await refusal(setting, tool, {})).where == "arguments.text"
    assert source.calls == []
    assert setting.counts("s") == (2, 2)
    assert setting.observed("s") == 0


async def test_a_call_publishes_nothing(setting: Setting) -> None:
    setting.registry.add(Source("s"))
    before = setting.bus.published
    await setting.registry.call(setting.registry.tools()[0], {"text": ""}, CONTEXT)
    assert setting.bus.published == before


async def test_the_schema_is_compiled_once_and_again_when_it_changes(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def compile_and_tell(schema: Any) -> Validator:
        compiled.append(schema)
        return compile_schema(schema)

    monkeypatch.setattr(module, "compile_schema", compile_and_tell)
    source = Source("s")
    setting.registry.add(source)
    old = setting.registry.tools()[0]
    assert compiled == []
    for _ in range(3):
        setting.registry.changed()
        await setting.registry.call(old, {"text": "x"}, CONTEXT)
    assert compiled == [SCHEMA]
    source.schema = {"type": "object", "required": ["other"]}
    setting.registry.changed()
    assert (await refusal(setting, old, {"text": "x"})).where == "arguments.other"
    assert compiled == [SCHEMA, source.schema]


async def test_what_a_schema_says_in_vain_is_logged_once(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="praxis.tools.registry")
    setting.registry.add(Source("s", schema={"properties": {"text": {"pattern": "(a+)+$"}}}))
    for _ in range(2):
        await setting.registry.call(
            setting.registry.tools()[0], {"text": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"}, CONTEXT
        )
    assert [record.message for record in caplog.records] == [
        "s/echo: arguments are not fully checked: pattern '(a+)+$': it could take too long"
    ]


async def test_a_tool_that_has_gone_is_not_found(setting: Setting) -> None:
    source = Source("s")
    setting.registry.add(source)
    tool = setting.registry.tools()[0]
    source.names = ["echo2"]
    setting.registry.changed()
    error = await refusal(setting, tool, {"text": "x"})
    assert (error.code, error.data, error.delivered) == ("not_found", {"alike": ["s/echo2"]}, False)
    assert source.calls == []


async def test_what_a_source_refuses_is_passed_on(setting: Setting) -> None:
    told = PraxisError("busy", "come back later")

    async def answer(name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        raise told

    setting.registry.add(Source("s", answer=answer))
    assert await refusal(setting, setting.registry.tools()[0], {"text": ""}) is told
    assert setting.counts("s") == (1, 1)
    assert setting.observed("s") == 1


@pytest.mark.parametrize(
    ("outage", "reason"),
    [
        (OSError(5, "Input/output error", "/secret/place"), "the tool source s failed: Input/output error"),
        (ConnectionResetError("the line broke"), "the tool source s failed: the line broke"),
        (BrokenPipeError(), "the tool source s failed: BrokenPipeError"),
    ],
)
async def test_an_outage_is_unavailable_and_perhaps_delivered(setting: Setting, outage: OSError, reason: str) -> None:
    async def answer(name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        raise outage

    setting.registry.add(Source("s", answer=answer))
    error = await refusal(setting, setting.registry.tools()[0], {"text": ""})
    assert (error.code, error.delivered, error.detail) == ("unavailable", True, reason)
    assert setting.counts("s") == (1, 1)


async def test_a_bug_is_logged_and_told_to_its_caller_alone(
    setting: Setting, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """A good call that is under way at the same time ends well."""

    async def answer(name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        await trio.sleep(1 if arguments["text"] == "bad" else 2)
        if arguments["text"] == "bad":
            raise KeyError("a bug")
        return ToolResult.of_text("well")

    setting.registry.add(Source("s", answer=answer))
    tool = setting.registry.tools()[0]
    results = []

    async def good() -> None:
        results.append(await setting.registry.call(tool, {"text": "good"}, CONTEXT))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(good)
        error = await refusal(setting, tool, {"text": "bad"})
    assert (error.code, error.delivered) == ("internal", True)
    assert error.detail == "the tool s/echo failed with a bug"
    assert [result.text for result in results] == ["well"]
    (record,) = [record for record in caplog.records if record.name == "praxis.tools.registry"]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
    assert setting.counts("s") == (2, 1)


async def test_an_answer_that_is_no_result_is_a_bug(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    async def answer(name: str, arguments: dict[str, Any], context: CallContext) -> Any:
        return {"content": []}

    setting.registry.add(Source("s", answer=answer))
    assert (await refusal(setting, setting.registry.tools()[0], {"text": ""})).code == "internal"
    assert "expected a ToolResult" in caplog.text


async def test_a_cancelled_call_ends_and_is_no_error(setting: Setting, autojump_clock: trio.testing.MockClock) -> None:
    ended = []

    async def answer(name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)
        raise AssertionError

    setting.registry.add(Source("s", answer=answer))
    with trio.move_on_after(1) as scope:
        await setting.registry.call(setting.registry.tools()[0], {"text": ""}, CONTEXT)
    assert scope.cancelled_caught
    assert ended == ["echo"]
    assert setting.registry.in_flight == 0
    assert setting.counts("s") == (1, 0)


async def test_calls_under_way_are_shown(setting: Setting, autojump_clock: trio.testing.MockClock) -> None:
    async def answer(name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        await trio.sleep(1)
        if arguments["text"] == "bad":
            raise OSError("gone")
        return ToolResult.of_text("")

    async def call(text: str) -> None:
        try:
            await setting.registry.call(setting.registry.tools()[0], {"text": text}, CONTEXT)
        except PraxisError as error:
            assert error.code == "unavailable"

    setting.registry.add(Source("s", answer=answer))
    async with trio.open_nursery() as nursery:
        for text in ("good", "bad", "good"):
            nursery.start_soon(call, text)
        await trio.sleep(0.5)
        assert setting.registry.in_flight == 3
        assert "praxis_tool_calls_in_flight 3\n" in setting.metrics.render()
    assert setting.registry.in_flight == 0


# -- states ----------------------------------------------------------------------------------------


def test_the_states_of_all_sources_are_shown(setting: Setting) -> None:
    setting.registry.add(Source("s", ["a", "b"]))
    setting.registry.add(Source("t"))
    assert setting.registry.sources() == [
        SourceState("s", "mcp", "ready", tools=2),
        SourceState("t", "mcp", "ready", tools=1),
    ]


def test_a_source_that_cannot_tell_its_state_hides_no_other(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    bad = Source("bad", ["a", "b"])
    setting.registry.add(bad)
    setting.registry.add(Source("good"))
    setting.registry.sources()
    bad.broken = ZeroDivisionError("no")
    for _ in range(3):
        first, second = setting.registry.sources()
    assert first == SourceState("bad", "mcp", "failed", "it cannot tell its state: ZeroDivisionError", tools=2)
    assert (second.name, second.state) == ("good", "ready")
    assert len([record for record in caplog.records if record.exc_info]) == 1
    bad.broken = None
    assert setting.registry.sources()[0].state == "ready"


def test_a_source_that_never_told_its_state_is_failed(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    setting.registry.add(Source("bad", broken=OSError("no")))
    assert [(state.name, state.state) for state in setting.registry.sources()] == [("bad", "failed")]
    assert "cannot tell its state" in caplog.text


# -- what is under way -----------------------------------------------------------------------------


@attrs.define(eq=False)
class OneAtATime(Source):
    """A source with one slot."""

    slot: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    async def call(self, name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        async with self.slot:
            await trio.sleep(1)
        return ToolResult.of_text("done")

    @property
    def waiting(self) -> int:
        return self.slot.statistics().tasks_waiting


async def test_calls_that_wait_for_a_slot_are_told_from_those_that_run(
    setting: Setting, autojump_clock: trio.testing.MockClock
) -> None:
    setting.registry.add(OneAtATime("slow"))
    setting.registry.add(Source("other"))  # one that has no slots
    tool = setting.registry.find("slow", "echo")
    assert setting.registry.under_way() == (0, 0)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(setting.registry.call, tool, {"text": "x"}, CONTEXT)
        await trio.sleep(0.5)
        assert setting.registry.under_way() == (3, 2)
        assert setting.gauge("praxis_tool_calls_waiting") == "praxis_tool_calls_waiting 2"
        await trio.sleep(1)
        assert setting.registry.under_way() == (2, 1)
    assert setting.registry.under_way() == (0, 0)
