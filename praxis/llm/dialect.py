"""What a server of chat completions takes, and how a request to it is written. Pure.

All servers that call themselves compatible with OpenAI take messages; whether functions, schemas and some keys are
taken is found out by asking, once: what is refused is left out from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from praxis.config.schema import Llm
from praxis.model.tool import JSON

FUNCTION = "make_plan"
"""The function that a model has to call with its plan."""
Messages = Sequence[Mapping[str, JSON]]
Mode = Literal["function", "schema", "plain"]
_AFTER: Mapping[Mode, Mode] = {"function": "schema", "schema": "plain"}
_REFUSALS = frozenset({400, 404, 415, 422, 501})
"""Statuses of a request that cannot be taken as it is. 404 is what proxies say who find no model with functions."""
_TROUBLE_WITH = ("tool", "function", "jinja", "response_format", "json_schema", "grammar")
"""Words of servers that answer with status 500 where they mean 400."""
_FINAL_CODES = frozenset({"context_length_exceeded", "model_not_found", "invalid_api_key"})
"""Refusals for which another way to ask makes no difference."""


@attrs.frozen
class ServerError:
    """What a server said with a status of 300 or more. `message`, `code` and `param` are "" where it did not say."""

    status: int
    message: str = ""
    code: str = ""
    param: str = ""


@attrs.frozen
class Dialect:
    """The way a server is asked. `mode` is how the form of the answer is asked for."""

    mode: Mode
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    usage: bool = True

    def request(self, config: Llm, messages: Messages, schema: Mapping[str, JSON]) -> dict[str, JSON]:
        """The body of a request."""
        body: dict[str, JSON] = {
            "model": config.model_name,
            "messages": list(messages),
            self.max_tokens: config.max_tokens,
            "stream": True,
        }
        if self.temperature:
            body["temperature"] = config.temperature
        if self.usage:
            body["stream_options"] = {"include_usage": True}
        if self.mode == "function":
            function = {"name": FUNCTION, "description": "Hands in the plan.", "parameters": schema}
            body["tools"] = [{"type": "function", "function": function}]
            body["tool_choice"] = {"type": "function", "function": {"name": FUNCTION}}
        elif self.mode == "schema":
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": FUNCTION, "schema": schema}}
        return body

    def after(self, error: ServerError) -> Dialect | None:
        """How to ask again after a refusal, or None where nothing else could help."""
        if error.code in _FINAL_CODES:
            return None
        refused = error.status in _REFUSALS
        about = f"{error.param} {error.message}".lower()
        if refused and "max_completion_tokens" in about and self.max_tokens == "max_tokens":
            return attrs.evolve(self, max_tokens="max_completion_tokens")
        if refused and "temperature" in about and self.temperature:
            return attrs.evolve(self, temperature=False)
        if refused and "stream_options" in about and self.usage:
            return attrs.evolve(self, usage=False)
        if error.status == 404 and not any(word in about for word in _TROUBLE_WITH):
            return None
        if refused or (error.status == 500 and any(word in about for word in _TROUBLE_WITH)):
            mode = _AFTER.get(self.mode)
            return None if mode is None else attrs.evolve(self, mode=mode)
        return None
