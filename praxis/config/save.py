"""A configuration back into YAML: what is saved loads again to the same value, and references stay references."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

from praxis.config.expand import escape
from praxis.config.hooks import Text
from praxis.config.load import ConfigError, Loaded, Reference
from praxis.config.schema import Config
from praxis.config.strict import PathTo, dotted
from praxis.config.tree import Node, Place, merge, node_from, plant
from praxis.config.yaml_reader import read_file, read_scalar

MASK = "***"


def save(config: Config | Loaded, path: Path) -> None:
    """Writes every key to `path`, with mode 0600 and all or nothing.

    Text that came from the environment as a reference or a secret, such as ``${TOKEN}``, is written as that reference.
    Given what `load` returned, so are numbers, switches and absolute paths that still have the value they came with.
    Raises OSError.
    """
    references = config.references if isinstance(config, Loaded) else {}
    value = config.config if isinstance(config, Loaded) else config
    write_whole(path, _yaml(_plain(value, (), references, secret=False, masked=False)).encode())


def save_overlay(path: Path, changes: Mapping[str, object]) -> None:
    """Puts changes made at run time, by dotted key, into the overlay at `path`, beside those already in it.

    Text is taken as it is: a dollar in it is a dollar. Raises OSError, and ConfigError for an overlay that cannot be
    read, which is left as it is. Whether the changes are right is for `load` to say.
    """
    place = Place("overlay", "overlay", path.absolute().parent, (0, 0))
    root = Node({}, place)
    if path.exists():
        document = read_file(path, name=str(path), source=path.name, layer=0)
        if document.root is None or document.problems:
            raise ConfigError(text for _, text in document.problems)
        root = document.root
    for key, value in changes.items():
        written = node_from(_plain(value, (), {}, secret=False, masked=False), place)
        root = merge(root, plant(tuple(key.split(".")), written))
    write_whole(path, _yaml(root.plain()).encode())  # what was in it is as its author wrote it, references and all


def dump(config: Config, *, mask_secrets: bool) -> str:
    """The configuration as YAML. Masked, secrets that are not references show as ``***``; it then cannot be loaded."""
    return _yaml(plain_values(config, mask_secrets=mask_secrets))


def plain_values(config: Config, *, mask_secrets: bool) -> Any:
    """What `dump` writes, as dicts, lists and scalars."""
    return _plain(config, (), {}, secret=False, masked=mask_secrets)


def plain_entry(value: Any) -> Any:
    """The same of a part of a configuration, with references as they were written and other secrets masked."""
    return _plain(value, (), {}, secret=False, masked=True)


def secret_values(config: Config) -> Iterator[str]:
    """Everything secret in a configuration, as the log has to know it to mask it."""

    def walk(value: Any, secret: bool) -> Iterator[str]:
        if attrs.has(type(value)):
            for field in attrs.fields(type(value)):
                yield from walk(getattr(value, field.name), secret or bool(field.metadata.get("secret")))
        elif isinstance(value, tuple | dict):
            for item in value.values() if isinstance(value, dict) else value:
                yield from walk(item, secret)
        elif secret and isinstance(value, str) and value:
            yield str(value)

    return walk(config, False)


def _plain(value: Any, path: PathTo, references: Mapping[str, Reference], *, secret: bool, masked: bool) -> Any:
    """`value` in dicts, lists and scalars, as it is to be written."""
    reference = references.get(dotted(path))
    if reference is not None and reference.value == value:
        return reference.text
    if attrs.has(type(value)):
        return {
            field.name: _plain(
                getattr(value, field.name),
                (*path, field.name),
                references,
                secret=secret or bool(field.metadata.get("secret")),
                masked=masked,
            )
            for field in attrs.fields(type(value))
        }
    if isinstance(value, dict):
        return {
            key: _plain(item, (*path, key), references, secret=secret, masked=masked) for key, item in value.items()
        }
    if isinstance(value, tuple | list):
        return [
            _plain(item, (*path, index), references, secret=secret, masked=masked) for index, item in enumerate(value)
        ]
    if isinstance(value, Text) and value.reference is not None:
        return value.reference
    if secret and masked and isinstance(value, str) and value:
        return MASK
    return escape(str(value)) if isinstance(value, str | Path) else value


class _Dumper(yaml.SafeDumper):
    """Quotes text that a reader would not take for text, and escapes what does not print: other styles lose it."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = '"' if not text.isprintable() else None if isinstance(read_scalar(text), str) else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", str(text), style)

    def ignore_aliases(self, data: object) -> bool:
        return True


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(Text, _Dumper.represent_text)


def _yaml(plain: Any) -> str:
    return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000))


def write_whole(path: Path, content: bytes) -> None:
    """Atomic, with mode 0600: whoever reads `path` at any time sees the old content or the new one, also after a
    crash. Raises OSError."""
    path = Path(os.path.realpath(path))  # a link stays, what it points to is replaced
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
