"""Takes the secrets of a run out of whatever is shown or kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON

HIDDEN = "***"
MAX_NESTED = 64
"""Levels of a value that are looked through; what is below is hidden altogether."""
LEAST = 4
"""Characters of a secret: a shorter one is a part of half of all words, and whoever sees where it was knows it."""
LEAST_LINE = 8
"""Characters of one line of a secret that is hidden by itself: programs fold keys and certificates anew."""
PLAIN = frozenset({"type", "mimeType", "uri"})
"""Keys of MCP content whose values are no words of a tool's."""


def check_secrets(secrets: Mapping[str, str]) -> None:
    """Raises PraxisError("invalid") for one that cannot be hidden."""
    for name, secret in secrets.items():
        if len(secret) < LEAST:
            hint = "a value that is no secret goes into params"
            raise PraxisError(
                "invalid", f"a secret has at least {LEAST} characters", where=f"secrets.{name}", hint=hint
            )


class Secrecy:
    """Knows the secrets of one run, as they are and as JSON and Python write them."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        forms = {form for secret in secrets.values() for form in _forms(secret)}
        self._secrets = sorted(forms, key=len, reverse=True)

    def hide(self, value: JSON) -> JSON:
        """The value, with every secret in its texts replaced; itself where there are none. Keys stay as they are."""
        return self._hide(value, MAX_NESTED) if self._secrets else value

    def _hide(self, value: JSON, levels: int) -> JSON:
        if isinstance(value, str):
            for secret in self._secrets:
                if secret in value:
                    value = value.replace(secret, HIDDEN)
            return value
        if not isinstance(value, Mapping | list | tuple):
            return HIDDEN if str(value) in self._secrets else value
        if not levels:
            return HIDDEN
        if isinstance(value, Mapping):
            return {key: item if key in PLAIN else self._hide(item, levels - 1) for key, item in value.items()}
        return [self._hide(item, levels - 1) for item in value]


def _forms(secret: str) -> Iterator[str]:
    yield secret
    for ascii_only in (True, False):
        once = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield once
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]  # a text of JSON, in JSON
    yield repr(secret)[1:-1]
    yield secret.strip() or secret
    for line in secret.splitlines():
        if len(line) >= LEAST_LINE:
            yield line
