"""Takes the secrets of a run out of whatever is shown or kept of it."""

from __future__ import annotations

from collections.abc import Mapping

from praxis.model.tool import JSON

HIDDEN = "***"
MAX_NESTED = 64
"""Levels of a value that are looked through; what is below is hidden altogether."""


class Secrecy:
    """Knows the secrets of one run."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = sorted(filter(None, secrets.values()), key=len, reverse=True)

    def hide(self, value: JSON) -> JSON:
        """The value, with every secret in its texts replaced; itself where there are none."""
        return self._hide(value, MAX_NESTED) if self._secrets else value

    def _hide(self, value: JSON, levels: int) -> JSON:
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, HIDDEN)
            return value
        if not isinstance(value, Mapping | list | tuple):
            return HIDDEN if str(value) in self._secrets else value
        if not levels:
            return HIDDEN
        if isinstance(value, Mapping):
            return {self._hide(key, levels - 1): self._hide(item, levels - 1) for key, item in value.items()}
        return [self._hide(item, levels - 1) for item in value]
