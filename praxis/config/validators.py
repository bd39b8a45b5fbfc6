"""Checks of single values that many keys share; each raises ValueError with what was expected."""

from __future__ import annotations

from typing import Any

import attrs


def positive(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if value <= 0:
        raise ValueError(f"expected a number above 0, got {value}")


def not_negative(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if value < 0:
        raise ValueError(f"expected 0 or more, got {value}")
