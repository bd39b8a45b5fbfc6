"""Plain data into attrs classes without a single guess, and everything that is wrong with it at once.

The text "false" is not a switch, 80.9 is not a port, one word is not a list of letters. Only `Text`, which is text
because the environment and the command line know nothing else, is read as what its place wants.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import AttributeValidationNote, IterableValidationNote

from praxis.config import hooks
from praxis.config.hooks import MismatchError

T = TypeVar("T")
PathTo = tuple[str | int, ...]
"""Where a value stands: keys and indexes from the top."""

SHOWN = 60
"""Characters of a wrong value that a problem repeats: enough to recognize it, and a problem stays one line."""


@attrs.frozen
class Problem:
    path: PathTo
    what: str
    beside: tuple[PathTo, ...] = ()
    """Other keys that it is about: if one of them is wrong by itself, this is no problem of its own."""
    meant: PathTo | None = None
    """For an unknown key, the key that it was probably meant to be."""


class StrictError(Exception):
    """Data does not have the wanted shape; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(f"{dotted(p.path)}: {p.what}" for p in problems))
        self.problems = problems


class Strict:
    """Structures plain data; keeps what it learned about each class, so one instance serves many values."""

    def __init__(self) -> None:
        self._converter = cattrs.Converter()
        for kind, hook in hooks.SCALARS.items():
            self._converter.register_structure_hook(kind, hook)
        for belongs, factory in hooks.FACTORIES:
            self._converter.register_structure_hook_factory(belongs, self._bind(factory))

    def _bind(self, factory: hooks.Factory) -> Callable[[Any], hooks.Hook]:
        return lambda kind: factory(kind, self._converter)

    def structure(self, value: object, kind: type[T]) -> T:
        """`value`, made of dicts, lists and scalars, as a `kind`. Raises StrictError."""
        try:
            return self._converter.structure(value, kind)
        except Exception as error:
            problems = tuple(_problems(error, (), secret=False, everywhere=tuple(dotted_keys(kind))))
            raise StrictError(problems) from None


def dotted(path: PathTo) -> str:
    """``("mcp", "servers", 0, "env", "a.b")`` as ``mcp.servers[0].env['a.b']``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


def dotted_keys(kind: Any, path: str = "") -> Iterator[str]:
    """Every key of a class and those in it, such as ``http.port``; ``[]`` and ``{}`` stand for lists and mappings."""
    attrs.resolve_types(kind)
    for field in attrs.fields(kind):
        here = f"{path}.{field.name}" if path else field.name
        origin, arguments = get_origin(field.type), get_args(field.type)
        if attrs.has(field.type):
            yield from dotted_keys(field.type, here)
        elif origin in (tuple, dict) and attrs.has(arguments[0 if origin is tuple else 1]):
            yield here
            mark = "[]" if origin is tuple else "{}"
            yield from dotted_keys(arguments[0 if origin is tuple else 1], here + mark)
        else:
            yield here


def _problems(error: BaseException, path: PathTo, *, secret: bool, everywhere: tuple[str, ...]) -> Iterator[Problem]:
    """Every leaf of cattrs' nested groups; raises what is not a problem of the data."""
    if isinstance(error, cattrs.ClassValidationError | cattrs.IterableValidationError):
        for inner in error.exceptions:
            here, hidden = path, secret
            for note in getattr(inner, "__notes__", ()):
                if isinstance(note, AttributeValidationNote):
                    here = (*path, note.name)
                    hidden = secret or bool(attrs.fields_dict(error.cl)[note.name].metadata.get("secret"))
                elif isinstance(note, IterableValidationNote):
                    here = (*path, note.index)
            yield from _problems(inner, here, secret=hidden, everywhere=everywhere)
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        siblings = [field.name for field in attrs.fields(error.cl)]
        for key in sorted(error.extra_fields):
            nearest = _nearest(key, siblings, everywhere)
            advice = f" (did you mean {nearest!r}?)" if nearest else ""
            meant = None if nearest is None else (*path, nearest) if nearest in siblings else tuple(nearest.split("."))
            yield Problem((*path, key), f"unknown key {key[:SHOWN]!r}{advice}", meant=meant)
    elif isinstance(error, MismatchError):
        got = "" if secret else f", got {_show(error.got)}"
        yield Problem(path, f"expected {error.expected}{got}{error.advice}")
    elif isinstance(error, ValueError):  # what a validator of a field raises
        yield Problem(path, "is not accepted" if secret else str(error))
    else:
        raise error


def _nearest(key: str, siblings: list[str], everywhere: tuple[str, ...]) -> str | None:
    """The only place where a key of just this name belongs, else the key most like it beside it."""
    elsewhere = [name for name in everywhere if name.rpartition(".")[2] == key]
    found = elsewhere if len(elsewhere) == 1 else difflib.get_close_matches(key, siblings, 1)
    return found[0] if found else None


def _show(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a very long number" if isinstance(value, int) and value.bit_length() > 200 else str(value)
    text = "true" if value is True else "false" if value is False else repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
