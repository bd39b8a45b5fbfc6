"""How each type of the schema takes plain data: exactly, or not at all. See `praxis.config.strict`."""

from __future__ import annotations

import difflib
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import AttributeValidationNote, IterableValidationNote

Hook = Callable[[Any, Any], Any]
Factory = Callable[[Any, cattrs.Converter], Hook]

_SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Text(str):
    """Text from the environment or the command line, read as the type that its place wants.

    `reference` is what stands for it in a file, such as ``${TOKEN}``, or None. Where there is one, it is what `repr`
    shows, so that no problem and no log line about a configuration repeats what may be a secret.
    """

    reference: str | None

    def __new__(cls, value: str, reference: str | None = None) -> Text:
        text = super().__new__(cls, value)
        text.reference = reference
        return text

    def __repr__(self) -> str:
        return super().__repr__() if self.reference is None else self.reference


class MismatchError(Exception):
    """A value of the wrong type. Keeps expectation and value apart, because a secret's value must not be repeated."""

    def __init__(self, expected: str, got: object, advice: str = "") -> None:
        super().__init__(expected, got, advice)
        self.expected, self.got, self.advice = expected, got, advice


def structure_bool(value: Any, _: Any) -> bool:
    if type(value) is Text and value.lower() in _SWITCH:
        return _SWITCH[value.lower()]
    if type(value) is bool:
        return value
    raise MismatchError("true or false", value)


def structure_int(value: Any, _: Any) -> int:
    # Eighteen digits hold every size and number there is to configure, and int() refuses very long text.
    if type(value) is Text and re.fullmatch(r"[-+]?\d{1,18}", value, re.ASCII):
        return int(value)
    if type(value) is int:
        return value
    raise MismatchError("a whole number", value)


def structure_float(value: Any, _: Any) -> float:
    number = value
    if type(value) is Text and re.fullmatch(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", value, re.ASCII):
        number = float(value)
    if type(number) in (int, float):
        try:
            number = float(number)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise MismatchError("a number", value)


def structure_str(value: Any, _: Any) -> str:
    if type(value) is Text or type(value) is str:
        return _sound(value)
    quotable = isinstance(value, bool | int | float)
    raise MismatchError("text", value, " (put it in quotes)" if quotable else "")


def structure_path(value: Any, _: Any) -> Path:
    if isinstance(value, Path):
        return value
    if type(value) in (Text, str) and value:
        return Path(_sound(value))
    raise MismatchError("a path", value)


def _sound(value: str) -> str:
    """Refuses what no file name, argument or line of output can hold, before it surprises somebody far from here."""
    if "\0" in value or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
        raise MismatchError("text without zero characters and in UTF-8", value)
    return value


def structure_json(value: Any, kind: Any) -> Any:
    """Any value that JSON has too."""
    if isinstance(value, Mapping):
        return {structure_str(key, str): structure_json(item, kind) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [structure_json(item, kind) for item in value]
    if isinstance(value, str):
        return structure_str(value, str)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise MismatchError("a value that JSON has", value)


def literal_hook(kind: Any, converter: cattrs.Converter) -> Hook:
    choices = get_args(kind)

    def hook(value: Any, _: Any) -> Any:
        wanted = value.lower() if type(value) is Text else value  # LOG_LEVEL=INFO is what everybody writes
        for choice in choices:
            if type(choice) is type(value if type(value) is not Text else "") and choice == wanted:
                return choice
        close = difflib.get_close_matches(wanted, choices, 1) if isinstance(wanted, str) else []
        advice = f" (did you mean {close[0]!r}?)" if close else ""
        raise MismatchError(("one of " if len(choices) > 1 else "") + ", ".join(map(repr, choices)), value, advice)

    return hook


def optional_hook(kind: Any, converter: cattrs.Converter) -> Hook:
    (inner,) = (t for t in get_args(kind) if t is not type(None))
    structure = converter.get_structure_hook(inner)

    def hook(value: Any, _: Any) -> Any:
        # An empty variable is how the environment says "none".
        return None if value is None or (type(value) is Text and not value) else structure(value, inner)

    return hook


def sequence_hook(kind: Any, converter: cattrs.Converter) -> Hook:
    inner = get_args(kind)[0]
    structure = converter.get_structure_hook(inner)

    def hook(value: Any, _: Any) -> Any:
        if type(value) is Text:  # as in the variables that hold lists
            value = [Text(part.strip(), value.reference) for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            raise MismatchError("a list", value)
        return tuple(_each(enumerate(value), structure, inner).values())

    return hook


def mapping_hook(kind: Any, converter: cattrs.Converter) -> Hook:
    inner = get_args(kind)[1]
    structure = converter.get_structure_hook(inner)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise MismatchError("a mapping", value)
        return _each(value.items(), structure, inner)

    return hook


def _each(items: Iterable[tuple[Any, Any]], structure: Callable[[Any, Any], Any], inner: Any) -> dict[Any, Any]:
    done: dict[Any, Any] = {}
    errors: list[Exception] = []
    for index, item in items:
        try:
            done[index] = structure(item, inner)
        except Exception as error:
            error.add_note(IterableValidationNote("in a collection", index, inner))
            errors.append(error)
    if errors:
        raise cattrs.IterableValidationError("in a collection", errors, inner)
    return done


def section_hook(kind: Any, converter: cattrs.Converter) -> Hook:
    """Structures and validates field by field: left to attrs, the first validator that objects would hide the rest."""
    attrs.resolve_types(kind)
    fields = [(field, converter.get_structure_hook(field.type)) for field in attrs.fields(kind)]
    known = {field.name for field, _ in fields}
    plain = getattr(kind, "PLAIN", None)
    """The key that text in place of the section stands for, if that is allowed."""

    def hook(value: Any, _: Any) -> Any:
        if plain is not None and isinstance(value, str):
            value = {plain: value}
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise MismatchError("a mapping" if plain is None else "text or a mapping", value)
        done: dict[str, Any] = {}
        errors: list[Exception] = []
        if extra := set(value) - known:
            errors.append(cattrs.ForbiddenExtraKeysError(None, kind, extra))
        for field, structure in fields:
            try:
                if field.name in value:
                    done[field.name] = structure(value[field.name], field.type)
                    if field.validator is not None:
                        field.validator(None, field, done[field.name])
                elif field.default is attrs.NOTHING:
                    raise ValueError("is missing")
            except Exception as error:
                error.add_note(AttributeValidationNote("in a section", field.name, field.type))
                errors.append(error)
        if errors:
            raise cattrs.ClassValidationError("in a section", errors, kind)
        return kind(**done)

    return hook


SCALARS: dict[type, Hook] = {
    bool: structure_bool,
    int: structure_int,
    float: structure_float,
    str: structure_str,
    Path: structure_path,
}
FACTORIES: tuple[tuple[Callable[[Any], bool], Factory], ...] = (
    (lambda kind: get_origin(kind) is Literal, literal_hook),
    (lambda kind: get_origin(kind) in (Union, types.UnionType), optional_hook),
    (lambda kind: get_origin(kind) is tuple, sequence_hook),
    (lambda kind: get_origin(kind) is dict, mapping_hook),
    (lambda kind: kind is Any, lambda kind, converter: structure_json),
    (attrs.has, section_hook),
)
