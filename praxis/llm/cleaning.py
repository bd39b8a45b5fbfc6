"""Text of strangers, made fit for a model and for a line of an error. Pure."""

from __future__ import annotations

import unicodedata

REMOVED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of what nobody sees: controls, marks that turn or hide text, line ends, halves of characters."""


def clean(text: str, most: int) -> str:
    """At most `most` characters of a text on one line: without what nobody sees, blanks in a row made one."""
    kept = text[: 4 * most]  # blanks and controls are not counted, but a text of nothing else has an end too
    shown = "".join(c if unicodedata.category(c) not in REMOVED else " " for c in kept)
    line = " ".join(shown.split())
    return line if len(line) <= most and len(kept) == len(text) else line[: most - 1].rstrip() + "…"
