"""One run: which step runs when, what it is given, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from praxis.dsl.parser import parse
from praxis.model.errors import PraxisError
from praxis.model.event import Event
from praxis.model.plan import RunState
from praxis.model.run import Problem, StepRecord
from praxis.model.tool import CallContext, Tool, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Counter
from praxis.workflow.conductor import MAX_DETAIL, STEPS_AT_ONCE, Conductor
from praxis.workflow.planner import plan
from praxis.workflow.router import Candidate, Route
from praxis.workflow.runs import Run

SCHEMA = {"type": "object", "properties": {"x": {}, "text": {"type": "string"}, "n": {"type": "integer"}}}


def candidates(name: str) -> tuple[Candidate, ...]:
    """The tool here, and the same on a peer."""
    definition = {"name": name, "inputSchema": SCHEMA}
    return Candidate(Tool("me", "fs", definition), None), Candidate(Tool("other", "fs", definition), "px-other")


@attrs.define(eq=False)
class Setting:
    """A run whose tools do what `answers` says; one that it does not name answers at once with its own name."""

    program: str
    answers: dict[str, Any] = attrs.field(factory=dict)
    """A result, an error, or a function that is awaited with the arguments, the context and who is asked."""
    order: list[str] = attrs.field(factory=list)
    given: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    rank: Callable[[Route], Route] = lambda route: route
    cancelling: list[RunState] = attrs.field(factory=list)
    bus: EventBus = attrs.field(factory=lambda: EventBus(clock=lambda: 0.0))
    counter: Counter = attrs.field(factory=lambda: Counter("steps", "", ("state",)))
    run: Run = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        planned = plan(parse(self.program))
        routes = {step.id: Route(candidates(step.tool), "interchangeable") for step in planned.calls()}
        self.run = Run("r1", self.program, "ann", planned, routes, 0.0)

    async def conduct(self) -> None:
        def on_cancelling(run: Run) -> None:
            self.cancelling.append(run.state)

        conductor = Conductor(
            self.run,
            self.call,
            rank=self.rank,
            bus=self.bus,
            clock=trio.current_time,
            ended=self.counter,
            on_cancelling=on_cancelling,
        )
        with trio.fail_after(1000):
            await conductor.run()

    async def call(
        self, route: Route, arguments: dict[str, Any], context: CallContext, on_ask: Callable[[Candidate], None]
    ) -> ToolResult:
        name = route.candidates[0].tool.name
        self.order.append(name)
        self.given[name] = arguments
        on_ask(route.candidates[0])
        answer = self.answers.get(name, ToolResult.of_text(name))
        await trio.lowlevel.checkpoint()
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, ToolResult) else await answer(route, context, on_ask)

    @property
    def states(self) -> dict[str, str]:
        return {step.tool: step.state for step in self.run.steps.values()}

    def step(self, tool: str) -> StepRecord:
        return next(step for step in self.run.steps.values() if step.tool == tool)

    @contextmanager
    def watched(self) -> Iterator[list[Event]]:
        """The events of the block, once it has ended."""
        events: list[Event] = []
        with self.bus.subscribe(run_id="r1") as subscription:
            yield events
            events.extend(subscription.receive_nowait().events)


async def conducted(program: str, **answers: Any) -> Setting:
    setting = Setting(program, answers)
    await setting.conduct()
    return setting


async def forever(*_: Any) -> ToolResult:
    await trio.sleep_forever()


def lasting(seconds: float, answer: Any = None) -> Callable[..., Any]:
    async def answering(*_: Any) -> ToolResult:
        await trio.sleep(seconds)
        if isinstance(answer, Exception):
            raise answer
        return answer or ToolResult.of_text("late")

    return answering


# -- order -----------------------------------------------------------------------------------------


async def test_steps_run_one_after_the_other_and_all_must_have_answered() -> None:
    setting = await conducted("CALL a; CALL b; CALL c")
    assert setting.order == ["a", "b", "c"]
    assert (setting.run.state, setting.run.error) == ("succeeded", None)
    assert setting.states == {"a": "succeeded", "b": "succeeded", "c": "succeeded"}
    assert [step.result for step in setting.run.steps.values()] == [ToolResult.of_text(each).value for each in "abc"]


async def test_branches_run_at_the_same_time_and_the_next_waits_for_all(autojump_clock: MockClock) -> None:
    setting = await conducted("PARALLEL { CALL a; CALL b; CALL c }; CALL d", a=lasting(3), b=lasting(5), c=lasting(4))
    times = {step.tool: (step.started_at, step.ended_at) for step in setting.run.steps.values()}
    assert times == {"a": (0, 3), "b": (0, 5), "c": (0, 4), "d": (5, 5)}


async def test_only_so_many_steps_run_at_once_and_the_others_follow(autojump_clock: MockClock) -> None:
    setting = Setting("PARALLEL {" + "CALL a;" * (STEPS_AT_ONCE + 6) + "}; CALL b", {"a": lasting(1)})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setting.conduct)
        await wait_all_tasks_blocked()
        running = [step.state for step in setting.run.steps.values()]
        assert (running.count("running"), running.count("pending")) == (STEPS_AT_ONCE, 7)
    assert trio.current_time() == 2
    assert setting.run.state == "succeeded"
    assert setting.counter.value("succeeded") == STEPS_AT_ONCE + 7


# -- arguments -------------------------------------------------------------------------------------


async def test_a_result_is_given_to_later_steps_typed_by_their_schema() -> None:
    found = ToolResult.of_text("text", structured={"list": [1, {"n": 7}]})
    setting = await conducted('CALL a -> r; CALL b ${r.list} "<${r.list}>" 5; CALL c --n ${r.list[1].n}', a=found)
    assert setting.given["b"] == {"x": [1, {"n": 7}], "text": '<[1, {"n": 7}]>', "n": 5}
    assert setting.given["c"] == {"n": 7}


@pytest.mark.parametrize(
    ("reference", "detail"),
    [
        ("${r[0]}", "${r[0]} is not there: ${r} is a text"),
        ("${r.key}", "${r.key} is not there: ${r} is a text"),
    ],
)
async def test_a_reference_into_plain_text_fails_the_step_before_its_tool_is_called(
    reference: str, detail: str
) -> None:
    setting = await conducted(f"CALL a -> r; CALL b {reference}; CALL c")
    assert setting.order == ["a"]
    assert setting.states == {"a": "succeeded", "b": "failed", "c": "skipped"}
    error = setting.step("b").error
    assert error is not None
    assert (error.code, error.detail, error.where) == ("invalid", detail, "line 1, column 21")


async def test_a_value_that_is_too_deep_to_be_text_fails_its_step_alone() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    setting = await conducted('CALL a -> r; CALL b "<${r}>"', a=ToolResult.of_text("", structured=deep))
    assert setting.run.state == "failed"
    error = setting.step("b").error
    assert error is not None
    assert (error.code, error.detail) == ("invalid", "a value is nested too deeply to be written as text")


# -- failures --------------------------------------------------------------------------------------


async def test_a_tool_that_says_it_failed_fails_the_step_and_its_result_is_kept() -> None:
    setting = await conducted("CALL a; CALL b", a=ToolResult.of_text("no such file", is_error=True))
    assert setting.order == ["a"]
    step = setting.step("a")
    assert (step.state, step.error) == ("failed", Problem("tool_error", "no such file"))
    assert step.result == ToolResult.of_text("no such file", is_error=True).value
    assert (setting.run.state, setting.states["b"]) == ("failed", "skipped")
    assert setting.run.error == Problem("tool_error", "no such file", where="step s1 (a)")


async def test_what_a_failed_tool_says_is_shortened_in_the_error_alone() -> None:
    long = await conducted("CALL a", a=ToolResult.of_text("x" * 5000, is_error=True))
    error = long.step("a").error
    assert error is not None
    assert error.detail == "x" * MAX_DETAIL
    assert long.step("a").result == ToolResult.of_text("x" * 5000, is_error=True).value
    silent = await conducted("CALL a", a=ToolResult({"content": [], "isError": True}))
    assert silent.run.error == Problem("tool_error", "the tool says that it failed", where="step s1 (a)")


async def test_an_error_of_the_call_fails_the_step_without_a_result() -> None:
    refused = PraxisError("denied", "not you", hint="ask", where="there", data={"a": 1})
    setting = await conducted("CALL a; CALL b", a=refused)
    step = setting.step("a")
    assert (step.state, step.result) == ("failed", None)
    assert step.error == Problem("denied", "not you", "ask", "there", {"a": 1})
    assert setting.run.error == Problem("denied", "not you", "ask", "step s1 (a)", {"a": 1})
    assert [setting.counter.value(state) for state in ("succeeded", "failed", "skipped")] == [0, 1, 1]


async def test_what_runs_beside_a_failure_goes_on_and_nothing_new_begins(autojump_clock: MockClock) -> None:
    program = "PARALLEL { CALL a; SEQUENCE { CALL b; CALL c }; SEQUENCE { CALL d; CALL e } }; CALL f"
    setting = await conducted(program, a=lasting(2, PraxisError("timeout", "late")), b=lasting(5), d=lasting(1))
    assert setting.states == {
        "a": "failed",
        "b": "succeeded",
        "c": "skipped",
        "d": "succeeded",
        "e": "succeeded",
        "f": "skipped",
    }
    assert setting.run.error == Problem("timeout", "late", where="step s1 (a)")


async def test_a_step_that_waited_for_its_turn_does_not_begin_after_a_failure(autojump_clock: MockClock) -> None:
    program = "PARALLEL { CALL bad;" + "CALL a;" * (STEPS_AT_ONCE - 1) + "CALL late; CALL later }"
    setting = await conducted(program, bad=lasting(1, PraxisError("busy", "full")), a=lasting(5))
    assert setting.states == {"bad": "failed", "a": "succeeded", "late": "skipped", "later": "skipped"}
    assert (setting.order.count("a"), setting.order.count("late")) == (STEPS_AT_ONCE - 1, 0)


async def test_a_run_tells_the_first_of_two_failures(autojump_clock: MockClock) -> None:
    first, second = PraxisError("busy", "first"), PraxisError("busy", "second")
    setting = await conducted("PARALLEL { CALL a; CALL b }", a=lasting(2, second), b=lasting(1, first))
    assert setting.run.error == Problem("busy", "first", where="step s2 (b)")
    assert setting.states == {"a": "failed", "b": "failed"}


async def test_a_bug_ends_the_run_and_leaves_no_step_that_seems_to_run() -> None:
    setting = Setting("PARALLEL { CALL a; CALL b }; CALL c", {"a": ValueError("very private"), "b": forever})
    with setting.watched() as events, pytest.raises(ExceptionGroup) as caught:
        await setting.conduct()
    assert caught.group_contains(ValueError, match="very private")
    assert setting.states == {"a": "failed", "b": "cancelled", "c": "skipped"}
    error = setting.step("a").error
    assert error is not None
    assert error.code == "internal"
    assert "very private" not in str(events) + str(setting.run.record)


# -- who is asked ----------------------------------------------------------------------------------


async def give_way(route: Route, context: CallContext, on_ask: Callable[[Candidate], None]) -> ToolResult:
    on_ask(route.candidates[1])
    return ToolResult.of_text("from the peer")


async def test_the_record_names_whoever_answered_after_the_first_did_not_get_the_call() -> None:
    setting = Setting("CALL a", {"a": give_way})
    before = setting.step("a").route
    assert before is not None
    assert (before.tool, before.agent, before.peer, before.others) == ("me:fs/a", "me", None, ("other:fs/a",))
    with setting.watched() as events:
        await setting.conduct()
    route = setting.step("a").route
    assert route is not None
    assert (route.tool, route.agent, route.peer, route.others) == ("other:fs/a", "other", "px-other", ())
    assert route.reason == "interchangeable; 1 before it failed"
    assert [event.fields["agent"] for event in events] == ["me", "other"]


async def test_a_step_goes_where_it_is_best_when_its_turn_comes() -> None:
    setting = Setting("CALL a; CALL b")
    turns: list[list[str]] = []

    def rank(route: Route) -> Route:
        turns.append(list(setting.order))
        return Route(route.candidates[::-1], "the better one")

    setting.rank = rank
    with setting.watched() as events:
        await setting.conduct()
    assert turns == [[], ["a"]], "not before"
    assert [step.route and (step.route.agent, step.route.reason) for step in setting.run.steps.values()] == [
        ("other", "the better one")
    ] * 2
    started = [event.fields for event in events if event.type == "step.started"]
    assert [(each["peer"], each["reason"]) for each in started] == [("px-other", "the better one")] * 2


async def test_the_record_names_whoever_failed_last() -> None:
    async def fail(route: Route, context: CallContext, on_ask: Callable[[Candidate], None]) -> ToolResult:
        await give_way(route, context, on_ask)
        raise PraxisError("unavailable", "gone as well")

    setting = await conducted("CALL a", a=fail)
    route = setting.step("a").route
    assert route is not None
    assert (setting.states["a"], route.peer) == ("failed", "px-other")


# -- events and ends -------------------------------------------------------------------------------


async def test_each_step_tells_when_it_begins_goes_on_and_ends(autojump_clock: MockClock) -> None:
    async def slow(route: Route, context: CallContext, _: Any) -> ToolResult:
        assert (context.caller, context.run_id) == ("ann", "r1")
        assert context.on_progress is not None
        context.on_progress({"progress": 1, "total": 2})
        await trio.sleep(1.5)
        return ToolResult.of_text("bad", is_error=True)

    setting = Setting("CALL a; CALL b", {"a": slow})
    with setting.watched() as events:
        await setting.conduct()
    error = {"code": "tool_error", "detail": "bad", "hint": "", "where": "", "data": {}}
    began: dict[str, Any] = {"tool": "me:fs/a", "agent": "me", "peer": None, "reason": "interchangeable", "scores": []}
    ended = {"state": "failed", "tool": "a", "agent": "me", "duration_ms": 1500.0, "error": error}
    assert [(event.type, event.run_id, dict(event.fields)) for event in events] == [
        ("step.started", "r1", {"step": "s1", **began}),
        ("step.progress", "r1", {"step": "s1", "progress": {"progress": 1, "total": 2}}),
        ("step.finished", "r1", {"step": "s1", **ended}),
    ]


async def test_details_of_an_error_may_be_as_deep_as_a_peer_likes() -> None:
    data: dict[str, Any] = {}
    for _ in range(3000):
        data = {"k": data}
    setting = Setting("CALL a", {"a": PraxisError("busy", "full", data=data)})
    with setting.watched() as events:
        await setting.conduct()
    assert setting.run.state == "failed"
    assert events[-1].fields["error"]["data"] is data


async def test_cancelling_is_told_at_once_and_every_step_ends(autojump_clock: MockClock) -> None:
    async def stubborn(*_: Any) -> ToolResult:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
                assert setting.cancelling == ["running"]

    setting = Setting("PARALLEL { CALL a; CALL b; CALL c }; CALL d", {"a": stubborn, "b": forever})
    with setting.watched() as events, trio.move_on_after(1) as scope:
        await setting.conduct()
    assert scope.cancelled_caught
    assert trio.current_time() == 4
    assert setting.states == {"a": "cancelled", "b": "cancelled", "c": "succeeded", "d": "skipped"}
    assert {step.tool: step.ended_at for step in setting.run.steps.values()} == {"a": 4, "b": 1, "c": 0, "d": None}
    assert sum(event.type == "step.finished" for event in events) == 3
    assert [setting.counter.value(state) for state in ("cancelled", "succeeded", "skipped")] == [2, 1, 1]


async def test_a_run_that_ends_by_itself_was_never_being_cancelled() -> None:
    assert (await conducted("CALL a")).cancelling == []
    assert (await conducted("CALL a", a=PraxisError("busy", "full"))).cancelling == []
