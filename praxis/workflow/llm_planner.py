"""Plain language to a graph of tool calls, by a model.

What a model answers is remote input: its form is checked here, and whether it can be done is checked by whoever asks,
with the same checks as for everybody else's plans. A model may mend its plan once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random

from praxis.config.schema import Llm
from praxis.llm.answer import MAX_PROBLEMS, BadPlanError, read_plan
from praxis.llm.cache import PlanCache, digest
from praxis.llm.cleaning import clean
from praxis.llm.client import ChatClient
from praxis.llm.prompt import MAX_PROBLEM, Prompt, full_name, make_prompt, repair
from praxis.model.errors import PraxisError
from praxis.model.tool import JSON, Tool
from praxis.observe.metrics import Metrics
from praxis.tools.finding import ToolIndex

logger = logging.getLogger(__name__)

TURNS = 2
"""Times that a model is asked for one plan: who has not understood what is wrong with it by then will not."""
CLOSEST = 3
"""Tools that are named where there is no model."""
NO_TOOLS = "There is no tool here that a plan could call."
HOW = (
    "set llm.enabled and an API key (OPENAI_API_KEY), or llm.provider and llm.model for a server of your own; "
    "or write CALL TOOL ..."
)

Check = Callable[[Mapping[str, JSON]], Awaitable[Sequence[str]]]
"""Gives what is wrong with a plan, each problem in words that a model can mend it by; empty for a plan that is fine."""


class LlmPlanner:
    """Makes plans with the model that the configuration names. `clock` gives seconds since the epoch."""

    def __init__(self, config: Llm, *, metrics: Metrics, clock: Callable[[], float], chance: Random) -> None:
        self._config = config
        self._chat = ChatClient(config, metrics=metrics, clock=clock, chance=chance)
        caching = config.caching
        self._cache = PlanCache(caching.ttl, caching.max_entries) if caching.enabled else None
        help = "Plans of plain language: planned, repaired, cached, unusable."
        self._plans = metrics.counter("praxis_llm_plans_total", help, ("outcome",))

    async def aclose(self) -> None:
        """Close the connections to the model."""
        await self._chat.aclose()

    async def plan(
        self,
        text: str,
        tools: Sequence[Tool],
        check: Check,
        *,
        params: Sequence[str] = (),
        secrets: Sequence[str] = (),
    ) -> Mapping[str, JSON]:
        """A plan for a request, in the form of `praxis.llm.answer.read_plan`, that `check` has nothing against.

        No nodes mean that no tool fits; ``say`` tells what is missing then, and `check` is not asked. `params` and
        `secrets` are names alone. The plan is shared with later callers: it must stay as it is.

        Raises PraxisError: "unavailable" without a model, with the tools that look closest; "invalid" for an empty
        request, and with ``data["problems"]`` when the model gave no usable plan; else what `ChatClient.ask` raises.
        """
        by_name = {name: tool for tool in tools if (name := full_name(tool)) is not None}
        order = _by_relevance(text, by_name)
        if self._config.lacks:
            raise _no_model(self._config.lacks, order[0])
        prompt = make_prompt(text, [by_name[name] for name in (*order[0], *order[1])], params=params, secrets=secrets)
        if not prompt.shown:
            return {"nodes": [], "edges": [], "say": NO_TOOLS}
        key = digest(self._config.model_name, prompt.messages, prompt.schema)
        known = self._cache.get(key) if self._cache is not None else None
        if known is not None and self._cache is not None:
            if not await _problems(known, check):
                self._plans.inc(1, "cached")
                return known
            self._cache.forget(key)
        plan = await self._make(prompt, check)
        if self._cache is not None:
            self._cache.put(key, plan)
        return plan

    async def _make(self, prompt: Prompt, check: Check) -> Mapping[str, JSON]:
        problems: Sequence[str] = ()
        said = ""
        for turn in range(TURNS):
            if turn:
                prompt = repair(prompt, said, problems)
            said = (await self._chat.ask(prompt.messages, prompt.schema)).text
            try:
                plan = read_plan(said)
            except BadPlanError as error:
                problems = error.problems
            else:
                problems = await _problems(plan, check)
                if not problems:
                    self._plans.inc(1, "repaired" if turn else "planned")
                    return plan
            logger.info("the model's plan cannot be used: %d problems", len(problems))
        self._plans.inc(1, "unusable")
        told = [clean(problem, MAX_PROBLEM) for problem in problems[:MAX_PROBLEMS]]
        raise PraxisError(
            "invalid",
            f"the model {self._config.model_name} gave no usable plan: {'; '.join(told)}",
            hint="say it in other words and name the tools, take another model, or write CALL TOOL ...",
            data={"problems": told},
        )


async def _problems(plan: Mapping[str, JSON], check: Check) -> Sequence[str]:
    return await check(plan) if plan["nodes"] else ()


def _by_relevance(text: str, tools: Mapping[str, Tool]) -> tuple[list[str], list[str]]:
    """Names of the tools that share words with the text, the best first, and of the others."""
    found = [name for name, _ in ToolIndex(tools).find(text, len(tools))]
    return found, sorted(tools.keys() - set(found))


def _no_model(lacks: str, found: Sequence[str]) -> PraxisError:
    closest = list(found[:CLOSEST])
    named = f"; the closest tools are {', '.join(closest)}" if closest else ""
    return PraxisError(
        "unavailable",
        f"plain language needs a model, and there is none: {lacks}{named}",
        hint=HOW,
        data={"tools": closest},
    )
