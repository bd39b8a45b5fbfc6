"""The keywords of JSON Schema that ask several checks, or one check several times, and judge by their answers."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from praxis.model.tool import JSON
from praxis.tools.check import Check, Problem, Work
from praxis.tools.show import LISTED, short


def each_name(part: Check | None) -> Check | None:
    """Of ``propertyNames``: what is wrong with a name is told in its place."""

    def check(value: JSON, work: Work) -> Problem | None:
        if isinstance(value, dict) and part is not None:
            work.spend(len(value))
            for name in value:
                if (problem := part(name, work)) is not None:
                    return attrs.evolve(problem, path=[name])
        return None

    return check if part is not None else None


def all_of(found: list[Check | None]) -> Check | None:
    checks = tuple(check for check in found if check is not None)
    if len(checks) < 2:
        return checks[0] if checks else None

    def check(value: JSON, work: Work) -> Problem | None:
        work.spend(len(checks))
        for each in checks:
            problem = each(value, work)
            if problem is not None:
                return problem
        return None

    return check


def any_of(found: list[Check | None]) -> Check | None:
    if None in found:
        return None

    def check(value: JSON, work: Work) -> Problem | None:
        work.spend(len(found))
        problems = []
        for each in found:
            problem = each(value, work) if each is not None else None
            if problem is None:
                return None
            problems.append(problem)
        return _nearest(problems, value)

    return check


def one_of(found: list[Check | None]) -> Check | None:
    def check(value: JSON, work: Work) -> Problem | None:
        work.spend(len(found))
        problems, certain = [], 0
        for each in found:
            before = work.passed_over
            problem = each(value, work) if each is not None else None
            if problem is not None:
                problems.append(problem)
            elif work.passed_over == before:
                certain += 1
        if len(problems) == len(found):
            return _nearest(problems, value)
        return Problem(f"one alternative to fit, not {certain}", value) if certain > 1 else None

    return check


def _nearest(problems: list[Problem], value: JSON) -> Problem:
    """What to say when no alternative fits: the one that got furthest, or all of them if none went down."""
    furthest = max(problems, key=lambda problem: len(problem.path))
    if furthest.path or not all(problem.expected for problem in problems):
        return furthest
    return Problem(short(" or ".join(dict.fromkeys(problem.expected for problem in problems)), LISTED), value)


def not_(part: Check | None) -> Check:
    def check(value: JSON, work: Work) -> Problem | None:
        before = work.passed_over
        if (part is not None and part(value, work) is not None) or work.passed_over != before:
            return None
        return Problem("something else", value)

    return check


COMBINATIONS: dict[str, Callable[[list[Check | None]], Check | None]] = {
    "allOf": all_of,
    "anyOf": any_of,
    "oneOf": one_of,
}
