"""Plans that were made lately, by what was asked."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import trio

from praxis.model.tool import JSON

Plan = Mapping[str, JSON]


def digest(model: str, messages: Sequence[Mapping[str, JSON]], schema: Mapping[str, JSON]) -> str:
    """The key of a request: the same only for the same model, messages and schema. Holds nothing of them."""
    text = json.dumps([model, list(messages), schema], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class PlanCache:
    """At most `max_entries` plans, each for `ttl` seconds of Trio's clock; the one used longest ago goes first."""

    def __init__(self, ttl: float, max_entries: int) -> None:
        self._ttl = ttl
        self._max = max_entries
        self._plans: OrderedDict[str, tuple[float, Plan]] = OrderedDict()

    def get(self, key: str) -> Plan | None:
        """None where there is none, or none any more."""
        found = self._plans.get(key)
        if found is None:
            return None
        until, plan = found
        if trio.current_time() >= until:
            del self._plans[key]
            return None
        self._plans.move_to_end(key)
        return plan

    def put(self, key: str, plan: Plan) -> None:
        """Keep a plan, which must stay as it is."""
        self._plans[key] = (trio.current_time() + self._ttl, plan)
        self._plans.move_to_end(key)
        while len(self._plans) > self._max:
            self._plans.popitem(last=False)

    def forget(self, key: str) -> None:
        """A plan does not fit any more."""
        self._plans.pop(key, None)
