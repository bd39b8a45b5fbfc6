"""Values as errors show them: on one line and short, however large or odd they are."""

from __future__ import annotations

from praxis.model.tool import JSON

SHOWN = 60
"""Characters of a value or name that an error shows: enough to recognise it, and the sentence stays readable."""

_LARGE = 10**SHOWN


def short(text: str, most: int = SHOWN) -> str:
    """At most `most` characters of a text, with a sign where some are left out."""
    return text if len(text) <= most else text[: most - 1] + "…"


def quoted(text: str, most: int = SHOWN) -> str:
    """A text in quotes, shortened, control characters and lone surrogates escaped."""
    shown = repr(short(text, most))
    return shown if len(shown) <= most + 20 else short(shown, most + 20)


def show(value: JSON) -> str:
    """A JSON value in at most about 80 characters: scalars as they are, containers by their size."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case dict():
            return f"an object of {len(value)}"
        case list():
            return f"an array of {len(value)}"
        case int() if not -_LARGE < value < _LARGE:
            return f"an integer of {value.bit_length()} bits"
    return short(repr(value))
