"""What is to be run: a program, and what goes with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

import attrs

from praxis.dsl.parser import parse
from praxis.model.errors import PraxisError
from praxis.model.plan import PARAMS, Plan
from praxis.model.run import StepRecord
from praxis.model.tool import JSON
from praxis.workflow.graph import graph_of, plan_of_graph
from praxis.workflow.planner import plan
from praxis.workflow.secrecy import check_secrets


@attrs.frozen
class Order:
    """What is to be run, beside the program.

    `params` and `secrets` are what ``${params.x}`` and ``${secrets.y}`` stand for; `timeout` is in seconds, at most
    `runs.timeout`; `key` is an idempotency key: the same order with it is run once. `request` are the words that the
    program was planned of: they tell such orders apart then, since a model may plan the same words in two ways. `done`
    are steps of an earlier run that count as they are; with `resumes` it is the run `run_id` that goes on, which began
    at `created_at`. `context` is what its caller groups runs by; `on_begun` is told the run's id once the run is in the
    journal.
    """

    params: Mapping[str, JSON] = attrs.field(factory=dict)
    secrets: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    timeout: float | None = None
    run_id: str | None = None
    key: str | None = None
    request: str | None = None
    done: Mapping[str, StepRecord] = attrs.field(factory=dict)
    resumes: bool = False
    created_at: float | None = None
    context: str = ""
    on_begun: Callable[[str], None] | None = None


def plan_of(text: str) -> Plan:
    """The plan of a program in the language, or of the JSON of a graph. Raises PraxisError."""
    graph = graph_of(text)
    return plan(parse(text)) if graph is None else plan_of_graph(graph)


def given_params(planned: Plan, order: Order) -> dict[str, JSON]:
    """The params of a run, with defaults. Raises PraxisError("invalid") where one, or a secret, is missing."""
    params: dict[str, JSON] = {p.name: p.default for p in planned.parameters if p.default is not None}
    params |= order.params
    for parameter in planned.parameters:
        if parameter.name not in params:
            where = f"line {parameter.line}, column {parameter.column}"
            hint = f'"params": {{"{parameter.name}": ...}} or --param {parameter.name}=...'
            raise PraxisError("invalid", f"the run needs the param {parameter.name!r}", where=where, hint=hint)
    for reference in planned.references():
        if reference.name == PARAMS and reference.path[0] not in params:
            where = f"line {reference.line}, column {reference.column}" if reference.line else ""
            hint = f'"params": {{"{reference.path[0]}": ...}} or --param {reference.path[0]}=...'
            raise PraxisError("invalid", f"the run needs the param {reference.path[0]!r}", where=where, hint=hint)
    check_secrets(order.secrets)
    missing = sorted(planned.secrets() - order.secrets.keys())
    if missing:
        hint = f'"secrets": {{"{missing[0]}": ...}} or --secret {missing[0]}'
        detail = f"the run needs secrets: {', '.join(missing)}"
        raise PraxisError("invalid", detail, hint=hint, data={"needs_secrets": missing})
    return params


def digest_of(text: str, order: Order) -> str:
    """Tells requests with one idempotency key apart; of secrets it knows the names."""
    work = text if order.request is None else {"request": order.request}
    said = json.dumps([work, dict(order.params), sorted(order.secrets)], sort_keys=True)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
