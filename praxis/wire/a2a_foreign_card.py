"""The card of an agent somewhere else (sections 4.4 and 8 of 1.0, section 5 of 0.3): where it is spoken to, and how.

What a card says is a stranger's word. It is bounded, and it cannot send what is meant for this agent to another place:
an address that the card names has to be on the origin that the configuration names.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, urlsplit, urlunsplit

import attrs

from praxis.model.tool import JSON
from praxis.wire.a2a import Version

WELL_KNOWN = "/.well-known/agent-card.json"
MAX_SKILLS = 256
"""Skills of one agent: cards have ten or so."""
MAX_INTERFACES = 32
"""Addresses of a card that are looked at: three transports in two versions are six."""
MAX_DESCRIPTION = 1000
"""Characters of a description that are kept: models read all of them."""
MAX_TENANT = 256
_UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_PORTS = {"http": 80, "https": 443}


class CardError(ValueError):
    """What is wrong with a card, in a sentence that begins with a small letter."""


@attrs.frozen
class Skill:
    id: str
    description: str


@attrs.frozen
class ForeignCard:
    """`url` is where JSON-RPC of `version` is sent; `tenant` goes with every request of 1.0, "" for none."""

    name: str
    description: str
    url: str
    version: Version
    streaming: bool = False
    tenant: str = ""
    skills: tuple[Skill, ...] = ()


def card_addresses(url: str) -> tuple[str, ...]:
    """Where the card of the agent at this address may be, the likeliest place first.

    Section 8.2 has it at the root of the host; where many agents share a host, each has one below its own path.
    """
    parts = urlsplit(url)
    if parts.path.endswith(".json"):
        return (url,)
    paths = dict.fromkeys((parts.path.rstrip("/") + WELL_KNOWN, WELL_KNOWN))
    return tuple(urlunsplit((parts.scheme, parts.netloc, path, "", "")) for path in paths)


def same_address(url: str) -> str:
    """An address as it is compared: that of a card is that of its agent, and a slash at the end says nothing."""
    parts = urlsplit(url)
    path = parts.path.removesuffix(WELL_KNOWN).rstrip("/")
    scheme, host, port = _origin(parts)
    return f"{scheme}://{host}:{port}{path}" + (f"?{parts.query}" if parts.query else "")


def read_card(body: bytes, url: str) -> ForeignCard:
    """The card that has come from the agent whose configured address is `url`. Raises CardError."""
    try:
        card = json.loads(body)
    except (ValueError, RecursionError):
        raise CardError("its card is no JSON") from None
    if not isinstance(card, dict) or not isinstance(card.get("name"), str) or not card["name"].strip():
        raise CardError("what is at the place of its card is no card: it has no name")
    home = urlsplit(url)
    other = ""
    for address, version, tenant in sorted(_interfaces(card), key=lambda found: found[1], reverse=True):
        known = _at_home(address, home)
        if known is None:
            other = other or address
            continue
        return ForeignCard(
            plain(card["name"], 128),
            plain(card.get("description")),
            known,
            version,
            _object(card.get("capabilities")).get("streaming") is True,
            tenant,
            tuple(_skills(card)),
        )
    if other:
        raise CardError(f"its card leads to another origin, {plain(other, 200)}: the url has to be of that one")
    raise CardError("its card names no address for JSON-RPC of A2A 1.0 or 0.3")


def plain(text: JSON, most: int = MAX_DESCRIPTION) -> str:
    """A stranger's text on one line, without control and invisible characters, of at most `most` characters."""
    if not isinstance(text, str):
        return ""
    # Four times as much is enough to look at: what is thrown away is rare.
    kept = "".join(c if not unicodedata.category(c).startswith("C") else " " for c in text[: 4 * most])
    words = " ".join(kept.split())
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _interfaces(card: Mapping[str, JSON]) -> Iterator[tuple[str, Version, str]]:
    """Addresses for JSON-RPC, with the version and the tenant of each: those of 1.0, then those of 0.3."""
    for each in _list(card.get("supportedInterfaces"))[:MAX_INTERFACES]:
        version = _version(each.get("protocolVersion"))
        if each.get("protocolBinding") == "JSONRPC" and version and isinstance(each.get("url"), str):
            tenant = each.get("tenant")
            yield each["url"], version, tenant if isinstance(tenant, str) and len(tenant) <= MAX_TENANT else ""
    if _version(card.get("protocolVersion") or "0.3") != "0.3":
        return
    first = {"url": card.get("url"), "transport": card.get("preferredTransport") or "JSONRPC"}
    for each in (first, *_list(card.get("additionalInterfaces"))[:MAX_INTERFACES]):
        if each.get("transport") == "JSONRPC" and isinstance(each.get("url"), str):
            yield each["url"], "0.3", ""


def _version(said: JSON) -> Version | None:
    """0.2 has the methods and shapes of 0.3, as far as they are used here."""
    text = said if isinstance(said, str) else ""
    return "1.0" if re.match(r"1\.", text) else "0.3" if re.match(r"0\.[23]\b", text) else None


def _at_home(address: str, home: SplitResult) -> str | None:
    """The address if it is on the origin of `home`. A host that is none says nothing about the origin."""
    try:
        parts = urlsplit(address)
        if parts.scheme not in _PORTS or not parts.hostname or not f"{parts.path}{parts.query}".isascii():
            return None
        if parts.hostname in _UNSPECIFIED:
            parts = parts._replace(scheme=home.scheme, netloc=home.netloc)
        if _origin(parts) != _origin(home):
            return None
    except ValueError:
        return None
    return urlunsplit((home.scheme, home.netloc, parts.path, parts.query, ""))


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def _skills(card: Mapping[str, JSON]) -> Iterator[Skill]:
    for each in _list(card.get("skills"))[:MAX_SKILLS]:
        id = plain(each.get("id"), 256)
        if id:
            yield Skill(id, plain(each.get("description")) or plain(each.get("name")))


def _list(value: JSON) -> list[Mapping[str, JSON]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _object(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, dict) else {}
