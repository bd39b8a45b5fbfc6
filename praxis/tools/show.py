"""Values as errors show them: on one line and short, however large or odd they are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from praxis.model.tool import JSON

SHOWN = 60
"""Characters of a value or name that an error shows: enough to recognise it, and the sentence stays readable."""

LISTED = 200
"""Characters of a list of names or values that an error shows."""

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


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """A hint for a name that is not one of `names`."""
    takes = short(f"it takes {', '.join(short(known) for known in names[:20])}" if names else "it takes none", LISTED)
    meant = alike(name, names)
    return f"{meant} {takes}" if meant else takes


def alike(name: str, names: Sequence[str]) -> str:
    """A hint for a name that is most like one of `names`; "" if it is like none."""
    found = difflib.get_close_matches(short(name), [known for known in names if len(known) <= 100][:200], 1)
    return f"did you mean {found[0]}?" if found else ""
