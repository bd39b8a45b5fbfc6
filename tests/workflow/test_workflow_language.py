"""What programs do: blocks, options, params and secrets, run over a network that is not there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from praxis.model.errors import PraxisError
from praxis.model.run import RunRecord
from praxis.model.tool import ToolResult
from praxis.workflow.order import Order
from tests.workflow.executor_kit import Setting, setting


class Hand:
    """A tool that answers with its argument, keeps what it was asked and fails as often as it is told to."""

    def __init__(self, answers: Iterable[Any] = (), fails: int = 0, seconds: float = 0.0) -> None:
        self.asked: list[Any] = []
        self.answers = list(answers)
        self.fails = fails
        self.seconds = seconds
        self.at_once = self.most = 0

    async def __call__(self, arguments: dict[str, Any]) -> ToolResult:
        self.asked.append(arguments.get("n"))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await trio.sleep(self.seconds)
        self.at_once -= 1
        if self.fails:
            self.fails -= 1
            return ToolResult.of_text("not yet", is_error=True)
        value = self.answers.pop(0) if self.answers else arguments.get("n")
        return ToolResult.of_text("", structured={"v": value})


def at(**answers: Any) -> Setting:
    return setting(**answers)


def states(record: RunRecord) -> dict[str, str]:
    return {step.id: step.state for step in record.steps}


# -- FOREACH ---------------------------------------------------------------------------------------


async def test_a_list_is_gone_through_in_order_and_its_results_are_a_list() -> None:
    items, each, last = Hand([[3, 1, 2]]), Hand(), Hand()
    here = at(me_items=items, me_each=each, me_last=last)
    record = await here.run(
        "CALL items -> l\nFOREACH x IN ${l.v} { CALL each ${x} -> y\nCALL each ${y.v} } -> all\nCALL last ${all[1].v}"
    )
    assert record.state == "succeeded", record.error
    assert each.asked == [3, 3, 1, 1, 2, 2]
    assert last.asked == [1]
    assert list(states(record)) == ["s1", "s3[0]", "s4[0]", "s3[1]", "s4[1]", "s3[2]", "s4[2]", "s5"]


@pytest.mark.parametrize(("most", "seconds"), [("", 10.0), (" MAX 1", 10.0), (" MAX 4", 3.0), (" MAX 64", 1.0)])
async def test_so_many_rounds_run_at_a_time(most: str, seconds: float, autojump_clock: MockClock) -> None:
    each = Hand(seconds=1.0)
    began = trio.current_time()
    await at(me_each=each).run(f"FOREACH x IN '[1,2,3,4,5,6,7,8,9,10]'{most} {{ CALL each ${{x}} }}")
    assert trio.current_time() - began == pytest.approx(seconds)
    assert each.most == min(10, int(most.rpartition(" ")[2] or 1))


async def test_lists_in_lists_and_an_empty_one() -> None:
    each, last = Hand(), Hand()
    text = (
        "FOREACH a IN '[[1,2],[],[3]]' { FOREACH b IN ${a} { CALL each ${b} } -> in } -> out\nCALL last ${out[2][0].v}"
    )
    record = await at(me_each=each, me_last=last).run(text)
    assert record.state == "succeeded", record.error
    assert (each.asked, last.asked) == ([1, 2, 3], [3])
    assert "s3[0][1]" in states(record)


@pytest.mark.parametrize("value", ["text", {"a": 1}, 5, None])
async def test_what_is_no_list_fails_the_run_and_says_where(value: Any) -> None:
    record = await at(me_items=Hand([value]), me_each=Hand()).run(
        "CALL items -> l\n\n FOREACH x IN ${l.v} { CALL each }"
    )
    assert record.error is not None
    assert (record.state, record.error.code, record.error.where) == ("failed", "invalid", "line 3, column 15")
    assert "no list" in record.error.detail


async def test_a_run_has_only_so_many_calls() -> None:
    text = "FOREACH a IN ${params.l} { FOREACH b IN ${params.l} MAX 64 { CALL each } }"
    order = Order({"l": list(range(101))})
    record = await at(me_each=Hand()).run(text, order=order)
    assert record.error is not None
    assert record.error.code == "too_large"
    assert len(record.steps) <= 10_000


# -- IF --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ("${r.v}", 1, True),
        ("${r.v}", 0, False),
        ("${r.v}", "", False),
        ("${r.v}", [], False),
        ("${r.v}", None, False),
        ("${r.v}", "false", False),
        ('${r.v} == "x"', "x", True),
        ("${r.v} == 5", 5, True),
        ("${r.v} == 5.0", "5", True),
        ("${r.v} != 5", 6, True),
        ("${r.v} == true", True, True),
        ("${r.v} == 1", True, False),
        ("${r.v} == null", None, True),
        ("${r.v} < 10", 9, True),
        ("${r.v} < 10", "9", True),
        ("${r.v} >= 10", 9.5, False),
        ('${r.v} > "abc"', "abd", True),
        ("5 <= ${r.v}", 5, True),
    ],
)
async def test_conditions(condition: str, value: Any, holds: bool) -> None:
    then, otherwise, last = Hand(), Hand(), Hand()
    here = at(me_r=Hand([value]), me_then=then, me_otherwise=otherwise, me_last=last)
    record = await here.run(
        f"CALL r -> r\nIF {condition} {{ CALL then 1 }} ELSE {{ CALL otherwise 2 }} -> z\nCALL last ${{z.v}}"
    )
    assert record.state == "succeeded", record.error
    assert (len(then.asked), len(otherwise.asked)) == (holds, not holds)
    assert last.asked == [1 if holds else 2]


async def test_what_has_no_order_fails() -> None:
    record = await at(me_r=Hand([[1]]), me_then=Hand()).run("CALL r -> r\nIF ${r.v} < 5 { CALL then }")
    assert record.error is not None
    assert "have no order" in record.error.detail


async def test_a_branch_that_is_not_there_is_no_failure() -> None:
    last = Hand()
    text = "IF 0 { CALL never } -> z\n" * 1 + "IF 0 { CALL never }\n" * 500 + "CALL last"
    record = await at(me_never=Hand(), me_last=last).run(text)
    assert record.state == "succeeded"
    assert list(states(record).values()) == ["succeeded"]


# -- options ---------------------------------------------------------------------------------------


async def test_a_step_is_tried_again_with_longer_pauses(autojump_clock: MockClock) -> None:
    flaky = Hand(fails=3)
    began = trio.current_time()
    record = await at(me_flaky=flaky).run("CALL flaky 7 RETRY 3 BACKOFF 200ms")
    (step,) = record.steps
    assert (record.state, len(flaky.asked), len(step.attempts)) == ("succeeded", 4, 3)
    assert trio.current_time() - began == pytest.approx(0.2 + 0.4 + 0.8)
    assert step.attempts[0].error.detail == "not yet"


async def test_after_the_last_attempt_it_has_failed() -> None:
    flaky = Hand(fails=9)
    record = await at(me_flaky=flaky).run("CALL flaky RETRY 2")
    assert (record.state, len(flaky.asked)) == ("failed", 3)


async def test_a_mistake_in_the_call_is_not_tried_again() -> None:
    asked = Hand()
    record = await at(me_r=Hand(["x"]), me_count=asked).run("CALL r -> r\nCALL count ${r.nope} RETRY 5")
    assert record.error is not None
    assert (record.error.code, asked.asked, record.steps[1].attempts) == ("invalid", [], ())


async def test_a_timeout_is_for_each_attempt(autojump_clock: MockClock) -> None:
    slow = Hand(seconds=60)
    began = trio.current_time()
    record = await at(me_slow=slow).run("CALL slow TIMEOUT 2s RETRY 1")
    assert record.error is not None
    assert (record.error.code, len(slow.asked)) == ("timeout", 2)
    assert trio.current_time() - began == pytest.approx(4)


async def test_a_failure_may_be_gone_over_and_what_needs_its_result_is_left_out() -> None:
    after = Hand()
    text = (
        "CALL bad IF_FAILED continue -> x\nCALL after 1\nCALL after ${x.v} -> y\nCALL after 2\nIF ${y} { CALL after 3 }"
    )
    record = await at(me_bad=Hand(fails=1), me_after=after).run(text)
    assert record.state == "succeeded"
    assert after.asked == [1, 2]
    assert states(record) == {"s1": "failed", "s2": "succeeded", "s3": "skipped", "s4": "succeeded"}
    skipped = record.steps[2].error
    assert skipped is not None
    assert "${x.v} has no value" in skipped.detail


async def test_where_a_call_runs_is_said_by_on_and_by_agent() -> None:
    one, two = Hand(), Hand()
    here = at(a_x=one, b_x=two)
    await here.run("CALL x 1 ON a\nAGENT b { CALL x 2; CALL fs/x 3 ON a; CALL a:x 4 ON a }")
    assert (one.asked, two.asked) == ([1, 3, 4], [2])
    error = await here.refusal("AGENT b { CALL a:x 4 }")
    assert (error.code, error.where) == ("invalid", "line 1, column 11")


# -- params and secrets ----------------------------------------------------------------------------


async def test_params_have_defaults_and_are_asked_for() -> None:
    x = Hand()
    here = at(me_x=x)
    text = 'WORKFLOW w(a, b="2") { CALL x ${a}\nCALL x ${b}\nCALL x ${params.c.d} }'
    await here.run(text, order=Order({"a": 1, "c": {"d": 3}}))
    assert x.asked == [1, 2, 3]
    error = await here.refusal(text)
    assert (error.code, error.where) == ("invalid", "line 1, column 10")
    assert "needs the param 'a'" in error.detail


SECRET = "very-secret-indeed"


async def test_a_secret_reaches_its_tool_and_nothing_else() -> None:
    got: list[Any] = []

    async def login(arguments: dict[str, Any]) -> ToolResult:
        got.append(arguments)
        return ToolResult.of_text(f"hello {SECRET}", structured={"deep": [{"token": SECRET}]}, is_error=len(got) == 2)

    here = setting(me_login=login, schema={"type": "object", "properties": {"n": {"type": "string"}}})
    with here.bus.subscribe() as events:
        record = await here.run(
            'CALL login "x ${secrets.token}" -> r\nCALL login ${r.deep[0].token}',
            order=Order(secrets={"token": SECRET}),
        )
        told = str(events.receive_nowait())
    assert got == [{"n": f"x {SECRET}"}, {"n": SECRET}]
    assert SECRET not in told + str(record) + str(here.executor.get(record.id))
    assert record.steps[0].result == {
        "content": [{"type": "text", "text": "hello ***"}],
        "isError": False,
        "structuredContent": {"deep": [{"token": "***"}]},
    }
    assert record.error is not None
    assert record.error.detail == "hello ***"
    assert record.needs_secrets == ("token",)


async def test_a_secret_that_is_not_given_is_named() -> None:
    error = await at(me_x=Hand()).refusal("CALL x ${secrets.token}")
    assert error.data["needs_secrets"] == ["token"]


@pytest.mark.parametrize("text", ["IF ${secrets.a} { CALL x }", "FOREACH f IN ${secrets.a} { CALL x }"])
async def test_a_secret_decides_nothing(text: str) -> None:
    error = await at(me_x=Hand()).refusal(text)
    assert "is secret" in error.detail


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "detail", "where"),
    [
        ("FOREACH a IN '[]' { CALL x -> b }\nCALL x ${b}", "in a block, and not known outside", "line 2, column 8"),
        ("IF 1 { CALL x -> b } ELSE { CALL x ${b} }", "in a block, and not known outside", "line 1, column 36"),
        ("CALL x -> a\nFOREACH a IN '[]' { CALL x }", "is the result of line 1 already", "line 2, column 9"),
        ("CALL x -> a\nIF 1 { CALL x -> a }", "is the result of line 1 already", "line 2, column 18"),
        ("WORKFLOW w(a) { CALL x -> a }", "a parameter of the WORKFLOW", "line 1, column 27"),
        ("WORKFLOW w(a=1) { CALL x }\nWORKFLOW v(a=2) { CALL x }", "another default", "line 2, column 10"),
        ("PARALLEL { CALL x -> a; IF ${a} { CALL x } }", "runs in the same PARALLEL", "line 1, column 28"),
        ("PARALLEL { CALL x -> a; IF 1 { CALL x ${a} } }", "runs in the same PARALLEL", "line 1, column 39"),
    ],
)
async def test_names_have_their_place(text: str, detail: str, where: str) -> None:
    error = await at(me_x=Hand()).refusal(text)
    assert (error.code, error.where) == ("invalid", where)
    assert detail in error.detail


async def test_the_same_name_in_two_branches_is_two_names() -> None:
    x = Hand()
    await at(me_x=x).run("IF 1 { CALL x 1 -> b\nCALL x ${b.v} } ELSE { CALL x 2 -> b }")
    assert x.asked == [1, 1]


# -- graphs ----------------------------------------------------------------------------------------


def graph(policy: str) -> str:
    nodes: list[Any] = [{"id": id, "tool": id[0], "arguments": {}} for id in ("bad", "x1", "x2", "x3", "y1")]
    edges = [{"source": s, "target": t} for s, t in (("bad", "x1"), ("x1", "x2"), ("y1", "x3"))]
    return json.dumps({"nodes": nodes, "edges": edges, "on_failure": policy})


async def test_in_a_graph_what_does_not_wait_for_a_failure_goes_on_if_it_is_to(autojump_clock: MockClock) -> None:
    here = at(me_b=Hand(fails=9), me_x=Hand(), me_y=Hand(seconds=1))
    record = await here.run(graph("continue"))
    assert record.state == "failed"
    assert states(record) == {
        "bad": "failed",
        "x1": "skipped",
        "x2": "skipped",
        "y1": "succeeded",
        "x3": "succeeded",
    }
    reasons = [step.error.detail for step in record.steps if step.state == "skipped" and step.error]
    assert reasons == ["it waits for bad, which did not succeed", "it waits for x1, which did not succeed"]
    record = await here.run(graph("stop"))
    assert states(record)["x3"] == "skipped"


async def test_a_graph_passes_results_on() -> None:
    x = Hand()
    nodes: list[Any] = [
        {"id": "a", "tool": "x", "arguments": {"n": 4}},
        {"id": "b", "tool": "x", "arguments": {"n": "${a.v}"}},
    ]
    await at(me_x=x).run(json.dumps({"nodes": nodes}))
    assert x.asked == [4, 4]


# -- the queue -------------------------------------------------------------------------------------


async def test_runs_wait_for_their_turn_and_one_too_many_is_refused(autojump_clock: MockClock) -> None:
    x = Hand(seconds=1)
    here = setting(me_x=x, max_concurrent=2, queue=3)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(here.run, "CALL x")
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(run.state for run in here.executor.list_runs()[0]) == ["queued"] * 3 + ["running"] * 2
        error = await here.refusal("CALL x")
        assert error.code == "busy"
        waiting = next(run.id for run in here.executor.list_runs()[0] if run.state == "queued")
        assert (await here.executor.cancel(waiting)).state == "cancelled"
    assert (trio.current_time(), x.most, len(x.asked)) == (2.0, 2, 4)
    assert here.executor.running == 0


async def test_the_same_order_with_one_key_is_run_once(autojump_clock: MockClock) -> None:
    x = Hand(seconds=1)
    here = setting(me_x=x)
    records: list[RunRecord] = []

    async def run() -> None:
        records.append(await here.run("CALL x", order=Order(key="k")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(PraxisError, match="another request"):
            await here.run("CALL x 1", order=Order(key="k"))
    assert records[0] == records[1]
    assert len(x.asked) == 1


# -- bounds and secrets that a hostile user found ----------------------------------------------------


async def test_rounds_without_calls_are_bounded_too() -> None:
    order = Order({"l": list(range(9000))})
    text = "FOREACH a IN ${params.l} { FOREACH b IN ${params.l} { IF ${a} == no { CALL never } } }"
    record = await at(me_never=Hand()).run(text, order=order)
    assert record.error is not None
    assert (record.state, record.error.code) == ("failed", "too_large")


async def test_a_list_that_is_too_long_fails_before_its_first_round() -> None:
    each = Hand()
    record = await at(me_each=each).run("FOREACH a IN ${params.l} { CALL each }", order=Order({"l": [0] * 10_001}))
    assert record.error is not None
    assert "a list of 10001" in record.error.detail
    assert each.asked == []


PEM = "-----BEGIN KEY-----\nMIIBsomething\n-----END KEY-----\n"


@pytest.mark.parametrize("secret", [PEM, 'quo"te\\back', "zeile\u2028zwei", "äöü-geheim"])
async def test_a_secret_is_hidden_in_the_forms_that_programs_write(secret: str) -> None:
    async def cat(arguments: dict[str, Any]) -> ToolResult:
        await trio.lowlevel.checkpoint()
        inner = json.dumps(arguments)
        said = f"{inner} {json.dumps(arguments, ensure_ascii=False)} {json.dumps(inner)} {arguments!r}"
        return ToolResult.of_text(said, structured={"said": said}, is_error=True)

    here = setting(me_cat=cat, schema={"type": "object", "properties": {"n": {"type": "string"}}})
    record = await here.run("CALL cat ${secrets.s}", order=Order(secrets={"s": secret}))
    shown = repr(record) + json.dumps(record.steps[0].result)
    for part in ("MIIB", "quo", "zeile", "geheim"):
        assert part not in shown


async def test_a_secret_changes_no_keys_and_no_kinds_of_content() -> None:
    x = Hand(["text"])
    record = await at(me_x=x).run("CALL x", order=Order(secrets={"unused": "text", "other": "content"}))
    assert record.steps[0].result == {
        "content": [{"type": "text", "text": ""}],
        "isError": False,
        "structuredContent": {"v": "***"},
    }


async def test_a_secret_that_is_too_short_to_hide_is_refused() -> None:
    error = await setting(me_x=Hand()).refusal("CALL x", order=Order(secrets={"pin": "123"}))
    assert (error.code, error.where) == ("invalid", "secrets.pin")


@pytest.mark.parametrize(
    "text", ["CALL x ${params.a}", "IF ${params.a} { CALL x }", "FOREACH f IN ${params.a} { CALL x }"]
)
async def test_a_param_that_is_missing_is_told_before_anything_runs(text: str) -> None:
    x = Hand()
    error = await at(me_x=x).refusal(f"CALL x 1\n{text}", order=Order({"b": 1}))
    assert "needs the param 'a'" in error.detail
    assert error.where.startswith("line 2")
    assert x.asked == []
