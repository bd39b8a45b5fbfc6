from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.dsl.parser import MAX_DEPTH, parse
from praxis.dsl.program import Call, Parallel, Program, Sequence, Statement, inner
from praxis.model.errors import PraxisError
from praxis.model.plan import Argument, Plan
from praxis.workflow.planner import MAX_EDGES, MAX_STEPS, plan


def graph(text: str) -> dict[str, set[str]]:
    """Each call's tool and the tools it waits for."""
    steps = list(plan(parse(text)).calls())
    tools = {step.id: step.tool for step in steps}
    return {step.tool: {tools[id] for id in step.after} for step in steps}


def refused(text: str) -> PraxisError:
    with pytest.raises(PraxisError) as caught:
        plan(parse(text))
    return caught.value


def test_a_step_keeps_what_the_call_says() -> None:
    first, second = plan(parse("CALL a/b 1 --c 2 -> r\n  CALL d")).calls()
    assert (first.id, first.tool, first.after, first.bind, first.line, first.column) == ("s1", "a/b", (), "r", 1, 1)
    assert first.arguments == (Argument(None, ("1",), 1, 10), Argument("c", ("2",), 1, 12))
    assert (second.id, second.tool, second.after, second.bind) == ("s2", "d", ("s1",), None)
    assert (second.line, second.column) == (2, 3)


def test_statements_run_one_after_the_other() -> None:
    assert graph("CALL a; CALL b; CALL c") == {"a": set(), "b": {"a"}, "c": {"b"}}
    assert graph("SEQUENCE { CALL a; SEQUENCE { CALL b } }; CALL c") == {"a": set(), "b": {"a"}, "c": {"b"}}


def test_branches_run_side_by_side_between_what_is_before_and_after() -> None:
    assert graph("CALL a; PARALLEL { CALL b; SEQUENCE { CALL c; CALL d }; CALL e }; CALL f") == {
        "a": set(),
        "b": {"a"},
        "c": {"a"},
        "d": {"c"},
        "e": {"a"},
        "f": {"b", "d", "e"},
    }


def test_every_branch_of_a_second_parallel_waits_for_every_branch_of_the_first() -> None:
    assert graph("PARALLEL { CALL a; CALL b }; PARALLEL { CALL c; CALL d }") == {
        "a": set(),
        "b": set(),
        "c": {"a", "b"},
        "d": {"a", "b"},
    }


def test_a_reference_adds_an_edge_to_the_call_it_names() -> None:
    assert graph("CALL a -> x; CALL b; CALL c ${x}") == {"a": set(), "b": {"a"}, "c": {"a", "b"}}
    assert graph("CALL a -> x; CALL b '${x}'") == {"a": set(), "b": {"a"}}


def test_a_call_waits_for_another_only_once() -> None:
    text = 'CALL a -> x; CALL b ${x} "${x.y}${x}"'
    assert plan(parse(text)).steps[1].after == ("s1",)


def test_results_are_known_in_the_same_branch_and_after_the_parallel() -> None:
    text = "PARALLEL { SEQUENCE { CALL a -> x; CALL b ${x} }; CALL c -> y }; CALL d ${x} ${y}"
    assert graph(text) == {"a": set(), "b": {"a"}, "c": set(), "d": {"a", "b", "c"}}


def test_an_outer_result_is_known_in_every_branch() -> None:
    text = "CALL a -> x; PARALLEL { CALL b ${x}; SEQUENCE { CALL c; CALL d ${x} } }"
    assert graph(text) == {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"a", "c"}}


@pytest.mark.parametrize(
    ("text", "line", "column", "detail", "hint"),
    [
        ("CALL a ${nothing}", 1, 8, "no statement before gives 'nothing'", "-> NAME"),
        ("CALL a -> text\nCALL b ${test}", 2, 8, "no statement before gives 'test'", "did you mean text?"),
        ("CALL a ${x}\nCALL b -> x", 1, 8, "${x} is used before line 2 has given it", "after its CALL"),
        ('CALL a\nCALL b --c "1${x.y}" -> x', 2, 14, "${x.y} is used before line 2", "after its CALL"),
        (
            "PARALLEL {\nCALL a -> x\nCALL b ${x}\n}",
            3,
            8,
            "result of line 2, which runs in the same PARALLEL",
            "SEQUENCE",
        ),
        (
            "PARALLEL {\nSEQUENCE { CALL a; CALL b -> x }\nSEQUENCE { CALL c\nPARALLEL { CALL d ${x} } }\n}",
            4,
            19,
            "result of line 2, which runs in the same PARALLEL",
            "SEQUENCE",
        ),
        ("CALL a -> x\nCALL b -> x", 2, 11, "'x' is the result of line 1 already", "take another"),
        ("PARALLEL { CALL a -> x\nCALL b -> x }", 2, 11, "'x' is the result of line 1 already", "take another"),
    ],
)
def test_names_must_be_bound_once_and_before(text: str, line: int, column: int, detail: str, hint: str) -> None:
    error = refused(text)
    assert error.code == "invalid"
    assert error.where == f"line {line}, column {column}"
    assert (error.data["line"], error.data["column"]) == (line, column)
    assert detail in error.detail
    assert hint in error.hint


def test_a_hint_does_not_name_what_could_not_be_used() -> None:
    error = refused("PARALLEL { CALL a -> text; CALL b ${test} }")
    assert error.data["alike"] == []
    assert "text?" not in error.hint


# -- bounds -----------------------------------------------------------------------------------------


def calls(count: int) -> tuple[Call, ...]:
    return tuple(Call("t", (), None, line, 1) for line in range(1, count + 1))


def test_the_number_of_calls_is_bounded() -> None:
    assert len(plan(Program(calls(MAX_STEPS))).steps) == MAX_STEPS
    with pytest.raises(PraxisError, match=f"more than {MAX_STEPS} calls") as caught:
        plan(Program(calls(MAX_STEPS + 1)))
    assert caught.value.code == "too_large"
    assert caught.value.where == f"line {MAX_STEPS + 1}, column 1"


def test_the_number_of_edges_is_bounded() -> None:
    block = Parallel(calls(300), 1, 1)
    assert len(plan(Program((block, block))).steps) == 600
    large = Parallel(calls(4000), 1, 1)
    with pytest.raises(PraxisError, match="wait for each other") as caught:
        plan(Program((large, large)))
    assert caught.value.code == "too_large"
    planned = plan(Program((large, *calls(1), large)))  # what the hint advises
    assert sum(len(step.after) for step in planned.steps) == 8000 < MAX_EDGES


def test_nesting_is_bounded_however_the_program_was_made() -> None:
    block: Statement = Call("t", (), None, 1, 1)
    for _ in range(MAX_DEPTH):
        block = Sequence((block,), 1, 1)
    assert len(plan(Program((block,))).steps) == 1
    for more in (1, 5000):
        for _ in range(more):
            block = Parallel((block,), 1, 1)
        with pytest.raises(PraxisError, match="nested") as caught:
            plan(Program((block,)))
        assert caught.value.code == "too_large"


def test_the_largest_plans_have_no_more_edges_than_they_need() -> None:
    planned = plan(Program((*calls(1), Parallel(calls(MAX_STEPS - 2), 1, 1), *calls(1))))
    assert planned.steps[-1].after == tuple(step.id for step in planned.steps[1:-1])
    assert all(step.after == ("s1",) for step in planned.steps[1:-1])


# -- properties -------------------------------------------------------------------------------------

LEAVES = st.just(Call("t", (), None, 1, 1))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda s: Sequence(tuple(s), 1, 1), st.lists(inner, min_size=1, max_size=4)),
        st.builds(lambda s: Parallel(tuple(s), 1, 1), st.lists(inner, min_size=1, max_size=4)),
    ),
    max_leaves=14,
)
PROGRAMS = st.builds(lambda statements: Program(tuple(statements)), st.lists(TREES, min_size=1, max_size=4))


def numbered(statement: Statement, ids: Iterator[int]) -> tuple[set[str], list[tuple[set[str], set[str], bool]]]:
    """The ids of a statement's calls, and for each two parts of each block their ids and whether they are ordered."""
    if isinstance(statement, Call):
        return {f"s{next(ids)}"}, []
    parts = inner(statement)
    found = [numbered(part, ids) for part in parts]
    pairs = [pair for _, more in found for pair in more]
    for (one, _), (other, _) in itertools.combinations(found, 2):
        pairs.append((one, other, isinstance(statement, Sequence)))
    return set().union(*(mine for mine, _ in found)), pairs


def ancestors(planned: Plan) -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    for step in planned.steps:
        known[step.id] = set(step.after).union(*(known[id] for id in step.after))
    return known


@given(PROGRAMS)
def test_steps_stand_behind_what_they_wait_for(program: Program) -> None:
    planned = plan(program)
    seen: set[str] = set()
    for number, step in enumerate(planned.steps, 1):
        assert step.id == f"s{number}"
        assert seen.issuperset(step.after)
        assert len(set(step.after)) == len(step.after)
        seen.add(step.id)


@given(PROGRAMS)
def test_order_in_sequences_and_none_in_parallels(program: Program) -> None:
    planned = plan(program)
    everything, pairs = numbered(Sequence(program.statements, 1, 1), itertools.count(1))
    assert everything == {step.id for step in planned.steps}
    before = ancestors(planned)
    for one, other, ordered in pairs:
        if ordered:
            assert all(one <= before[id] for id in other)
        else:
            assert not any(one & before[id] for id in other)
            assert not any(other & before[id] for id in one)
