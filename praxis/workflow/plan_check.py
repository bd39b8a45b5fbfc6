"""What is wrong with a graph that a model has made, in words that it can mend it by.

A run is refused for the first thing that cannot be. Here all of them are told, as far as one does not hide another:
a model gets one turn to mend its plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from praxis.model.errors import PraxisError
from praxis.model.plan import PARAMS, SECRETS, Step
from praxis.model.tool import JSON, ToolRef
from praxis.tools.coerce import coerce
from praxis.tools.schema import compile_schema
from praxis.workflow.catalog import Catalog
from praxis.workflow.graph import is_misspelt, plan_of_graph, step_of
from praxis.workflow.router import Candidate
from praxis.workflow.values import is_constant, resolve

NAMED = 20
"""Names of what there is that a problem lists."""
MISSPELT = "a ${...} in it is no reference; write ${n1} or ${n1.items[0].name}, and $${ for the text ${"
OF_ONE = ("properties", "patternProperties", "additionalProperties", "$defs", "definitions")
"""Keywords of a schema that say something about single arguments, and where their references lead to."""


async def plan_problems(
    graph: Mapping[str, JSON], catalog: Catalog, *, params: Collection[str], secrets: Collection[str]
) -> list[str]:
    """The problems of a graph in the form of `praxis.llm.answer.read_plan`; none for one that can be run.

    `params` and `secrets` are the names of what the run will be given.
    """
    steps, shape = _steps(graph)
    names = {PARAMS: params, SECRETS: secrets}
    for step in steps:
        shape += _reference_problems(step, [node["id"] for node in graph["nodes"]], names)
    if not shape:
        try:
            plan_of_graph(graph)  # a cycle
        except PraxisError as error:
            shape.append(str(error))
    refs = {step.id: ToolRef.parse(step.tool) for step in steps}
    await catalog.prepare(dict.fromkeys(refs.values()))
    found = []
    for step in steps:
        try:
            route = catalog.route(refs[step.id])
        except PraxisError as error:
            found.append(f"{step.id}: {error}")
        else:
            found += [f"{step.id}: {problem}" for problem in _argument_problems(step, route.candidates[0])]
    return [*found, *shape]


def _steps(graph: Mapping[str, JSON]) -> tuple[list[Step], list[str]]:
    """The steps that can be read, and what is wrong with the others."""
    steps, problems = [], []
    for index, node in enumerate(graph["nodes"]):
        try:
            step = step_of(node, f"nodes[{index}]")
        except PraxisError as error:
            problems.append(str(error))
            continue
        if step is not None:
            steps.append(step)
            wrong = [name for name, value in node["arguments"].items() if is_misspelt(value)]
            problems += [f"{step.id}: arguments.{name}: {MISSPELT}" for name in wrong]
    return steps, problems


def _reference_problems(step: Step, ids: Collection[str], names: Mapping[str, Collection[str]]) -> Iterator[str]:
    for reference in dict.fromkeys(step.references()):
        known = names.get(reference.name)
        if known is not None:
            if not reference.path or reference.path[0] not in known:
                kind = reference.name
                there = ", ".join(f"${{{kind}.{name}}}" for name in sorted(known)[:NAMED])
                yield f"{step.id}: {reference} is not given; {f'there are {there}' if there else f'no {kind} are'}"
        elif reference.name == step.id:
            yield f"{step.id}: {reference} is the result of the node itself"
        elif reference.name not in ids:
            others = ", ".join(id for id in [*ids][:NAMED] if id != step.id)
            yield f"{step.id}: {reference}: there is no such node; there are {others or 'no others'}"


def _argument_problems(step: Step, candidate: Candidate) -> Iterator[str]:
    """Constants are checked as a call would be; of the others the names, for their values come with the run."""
    schema = candidate.tool.input_schema
    each = compile_schema({keyword: schema[keyword] for keyword in OF_ONE if keyword in schema})
    arguments: dict[str, JSON] = {}
    constant = fine = True
    for argument in step.arguments:
        known = is_constant(argument)
        constant = constant and known
        try:
            value = coerce(schema, [(argument.name, resolve(argument, {}) if known else None)])
            if known:
                each.check(value)
            arguments |= value
        except PraxisError as error:
            fine = False
            yield str(error)
    given = {argument.name for argument in step.arguments}
    for problem in _missing(schema, given):
        fine = False
        yield problem
    if fine and constant:
        try:
            candidate.validator.check(arguments)
        except PraxisError as error:
            yield str(error)


def _missing(schema: Mapping[str, Any], given: Collection[str | None]) -> Iterator[str]:
    required, properties = schema.get("required"), schema.get("properties")
    parts = properties if isinstance(properties, Mapping) else {}
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str) and name not in given:
            try:
                compile_schema({"properties": {name: parts.get(name, True)}, "required": [name]}).check({})
            except PraxisError as error:
                yield str(error)
