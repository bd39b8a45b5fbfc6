"""What an agent tells its peers about itself: a directory record, and its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from praxis.model.card import AgentCard, Skill
from praxis.model.errors import PraxisError

MAX_TOOLS = 4096
"""Tools that one peer may show us."""
MAX_ADDRESSES = 16
"""Addresses that one record may list."""
MAX_TAGS = 64
"""Tags of one agent."""


@attrs.frozen
class ToolEntry:
    """One tool by name; its definition is fetched by `digest` where it is not known yet."""

    source: str
    name: str
    digest: str


class Version(NamedTuple):
    """Which of two records of one agent is the newer: that of the later start, and of one start the later change. Of
    one change, the word that the agent is down goes above the record itself, until the agent makes another change."""

    boot: int
    rev: int
    down: bool = False


@attrs.frozen
class PeerRecord:
    """What the directory holds of one agent. Only the agent itself writes it; the others copy the newest."""

    id: str
    name: str
    boot: int
    rev: int
    tools: tuple[ToolEntry, ...] = ()
    addrs: tuple[str, ...] = ()
    """``HOST:PORT`` where it can be dialed, the likeliest first."""
    tags: tuple[str, ...] = ()
    """What it is good at, in its own words, for routing."""
    left: bool = False
    """True once it has said goodbye: it is not dialed and owns nothing until it comes back with a newer record."""
    down: bool = False
    """True in copies once a neighbour cannot reach it any more: the one word that others put into a record (the
    confirmed failure of SWIM, section 4.2). It is not counted on until its own next record says that it is there."""

    @property
    def version(self) -> Version:
        return Version(self.boot, self.rev, self.down)

    def encode(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "boot": self.boot,
            "rev": self.rev,
            "tools": [[tool.source, tool.name, tool.digest] for tool in self.tools],
            "addrs": list(self.addrs),
        }
        if self.tags:
            record["tags"] = list(self.tags)
        if self.down:
            record["down"] = True
        if self.left:
            record["left"] = True
        return record

    @classmethod
    def decode(cls, value: Any) -> PeerRecord:
        """Raises PraxisError("invalid") for anything that is not a record."""
        record = _mapping(value, "record")
        tools = _sequence(record.get("tools"), "record.tools", MAX_TOOLS)
        return cls(
            id=_text(record.get("id"), "record.id", 64),
            name=_text(record.get("name"), "record.name", 64),
            boot=_number(record.get("boot"), "record.boot"),
            rev=_number(record.get("rev"), "record.rev"),
            tools=tuple(_entry(entry, f"record.tools[{i}]") for i, entry in enumerate(tools)),
            addrs=_texts(record, "addrs", MAX_ADDRESSES),
            tags=_texts(record, "tags", MAX_TAGS),
            left=record.get("left") is True,
            down=record.get("down") is True,
        )


MAX_MEMBERS = 8192
"""Agents in one directory: 8 times the largest network that it is tested with. Their records take some 4 MiB."""


def decode_records(value: Any) -> list[PeerRecord]:
    """Raises PraxisError("invalid") unless it is a list of records."""
    return [PeerRecord.decode(record) for record in _sequence(value, "records", MAX_MEMBERS)]


def encode_digest(digest: Mapping[str, Version]) -> dict[str, list[int]]:
    """Versions by id, as JSON has them: ``[boot, rev]``, or ``[boot, rev, 1]`` for who is down."""
    return {id: [version.boot, version.rev, *([1] if version.down else [])] for id, version in digest.items()}


def decode_digest(value: Any) -> dict[str, Version]:
    """Raises PraxisError("invalid")."""
    digest = _mapping(value, "digest")
    if len(digest) > MAX_MEMBERS:
        raise _invalid("digest", f"at most {MAX_MEMBERS} versions")
    versions = {}
    for id, entry in digest.items():
        where = f"digest.{id[:64]}"
        numbers = [_number(number, where) for number in _sequence(entry, where, 3)]
        if len(numbers) < 2:
            raise _invalid(where, "[boot, rev], and 1 for down")
        boot, rev, *down = numbers
        versions[_text(id, "digest", 64)] = Version(boot, rev, down == [1])
    return versions


def decode_ids(value: Any) -> list[str]:
    """Raises PraxisError("invalid") unless it is a list of peer ids."""
    return [_text(id, "ids", 64) for id in _sequence(value, "ids", MAX_MEMBERS)]


def encode_card(card: AgentCard) -> dict[str, Any]:
    """JSON for ``card.get``."""
    return attrs.asdict(card)


def decode_card(value: Any) -> AgentCard:
    """Raises PraxisError("invalid")."""
    card = _mapping(value, "card")
    texts = {
        key: _text(card.get(key), f"card.{key}", 4096) for key in ("name", "version", "description", "url", "peer_id")
    }
    skills = []
    for index, entry in enumerate(_sequence(card.get("skills"), "card.skills", MAX_TOOLS)):
        where = f"card.skills[{index}]"
        skill = _mapping(entry, where)
        skills.append(
            Skill(
                id=_text(skill.get("id"), f"{where}.id", 300),
                name=_text(skill.get("name"), f"{where}.name", 128),
                description=_text(skill.get("description"), f"{where}.description", 65536),
                tags=tuple(_text(tag, f"{where}.tags", 128) for tag in _sequence(skill.get("tags"), where, 64)),
            )
        )
    return AgentCard(**texts, skills=tuple(skills))


def decode_definitions(value: Any) -> dict[str, Mapping[str, Any]]:
    """The answer of ``tools.describe``: definitions by digest. Raises PraxisError("invalid")."""
    definitions = _mapping(_mapping(value, "answer").get("tools"), "tools")
    for digest, definition in definitions.items():
        _text(_mapping(definition, f"tools.{digest}").get("name"), f"tools.{digest}.name", 128)
    return dict(definitions)


def _entry(value: Any, where: str) -> ToolEntry:
    parts = _sequence(value, where, 3)
    if len(parts) != 3:
        raise _invalid(where, "[source, name, digest]")
    source, name, digest = (_text(part, where, 128) for part in parts)
    return ToolEntry(source, name, digest)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(where, "an object")
    return value


def _sequence(value: Any, where: str, most: int) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise _invalid(where, f"a list of at most {most}")
    return value


def _texts(record: Mapping[str, Any], key: str, most: int) -> tuple[str, ...]:
    where = f"record.{key}"
    return tuple(_text(text, where, 128) for text in _sequence(record.get(key, []), where, most))


def _text(value: Any, where: str, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise _invalid(where, f"a text of at most {longest} characters")
    return value


def _number(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise _invalid(where, "a number from 0 to 2**64 - 1")
    return value


def _invalid(where: str, expected: str) -> PraxisError:
    return PraxisError("invalid", f"expected {expected}", where=where)
