"""The keys about a model. They belong to `praxis.config.schema`, which is where they are imported from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from praxis.config.validators import not_negative, positive

Provider = Literal["openai", "ollama", "vllm", "llamacpp"]


@attrs.frozen
class Usual:
    """What a provider has where the configuration says nothing."""

    base_url: str
    model: str = ""
    """"" where nobody can know: a server has the models that somebody has put there."""
    needs_key: bool = False


USUAL: Mapping[str, Usual] = {
    "openai": Usual("https://api.openai.com/v1", "gpt-4o-mini", needs_key=True),
    "ollama": Usual("http://127.0.0.1:11434/v1"),
    "vllm": Usual("http://127.0.0.1:8000/v1"),
    "llamacpp": Usual("http://127.0.0.1:8080/v1", "default"),  # it has one model, whatever it is asked for
}


def _header_value(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    # Never with the value: what is refused is shown, and this is a secret.
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError("expected printable ASCII without blanks, as a header has to hold it")


def _temperature(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 2:
        raise ValueError(f"expected a number from 0 to 2, got {value}")


@attrs.frozen
class Caching:
    enabled: bool = True
    """Whether a request that was planned already, with the same tools, is answered without the model."""
    ttl: float = attrs.field(default=300.0, validator=positive)
    """Seconds that a plan is kept."""
    max_entries: int = attrs.field(default=256, validator=positive)
    """Plans that are kept; the one that was used longest ago goes first."""


@attrs.frozen
class RateLimiting:
    requests_per_minute: int = attrs.field(default=60, validator=not_negative)
    """Requests to the model in any 60 s; 0 for no limit."""
    tokens_per_minute: int = attrs.field(default=100_000, validator=not_negative)
    """Tokens in any 60 s, questions and answers; 0 for no limit."""


@attrs.frozen
class Llm:
    enabled: bool = False
    """Whether a model makes plans of plain language."""
    provider: Provider = "openai"
    """What answers: it gives the usual `base_url` and `model`, and says whether a key is needed."""
    base_url: str = ""
    """Where ``/chat/completions`` is, such as ``http://127.0.0.1:8080/v1``; "" takes the usual one of the provider."""
    api_key: str = attrs.field(default="", repr=False, metadata={"secret": True}, validator=_header_value)
    """Sent as a bearer token with every request."""
    model: str = ""
    """Its name at the provider; "" takes the usual one. Ollama and vLLM have none."""
    max_tokens: int = attrs.field(default=2048, validator=positive)
    """Tokens of one answer; a plan that is longer is an error."""
    temperature: float = attrs.field(default=0.0, validator=_temperature)
    """0 for always the likeliest words, up to 2."""
    timeout: float = attrs.field(default=60.0, validator=positive)
    """Seconds for one answer, with all tries and waiting for its turn."""
    function_calling: bool = True
    """Whether the plan is asked for as a call of a function; else, or where the server refuses, as JSON of a schema."""
    caching: Caching = Caching()
    rate_limiting: RateLimiting = RateLimiting()

    @property
    def url(self) -> str:
        """Where the model is, without a slash at the end."""
        return (self.base_url or USUAL[self.provider].base_url).rstrip("/")

    @property
    def shown(self) -> str:
        """`url` for people. What came by a reference may be a secret: the reference is shown."""
        # `Text`, which has a reference, shows it in its repr.
        return repr(self.base_url).strip("'") if self.base_url else self.url

    @property
    def model_name(self) -> str:
        """What to ask for, or ""."""
        return self.model or USUAL[self.provider].model

    @property
    def lacks(self) -> str:
        """Why there is no model to ask, in words; "" when there is one."""
        if not self.enabled:
            return "llm.enabled is false"
        if not self.api_key and USUAL[self.provider].needs_key and not self.base_url:
            return "llm.api_key is not set"
        return "" if self.model_name else "llm.model is not set"
