"""Where peers may be dialed: ``HOST:PORT`` and ``[V6]:PORT``, and in which order."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId

UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


def parse_address(text: str) -> tuple[PeerId | None, str]:
    """``HOST:PORT`` or ``PEER_ID@HOST:PORT``. Raises PraxisError("invalid")."""
    peer_id, at, address = text.rpartition("@")
    split_address(address)
    if at and not (peer_id.startswith("px") and len(peer_id) == 54):
        raise PraxisError("invalid", f"{peer_id!r} is not a peer id", where=text)
    return (peer_id if at else None), address


def split_address(address: str) -> tuple[str, int]:
    """Host, without brackets, and port. Raises PraxisError("invalid")."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise PraxisError("invalid", f"{address!r} is not HOST:PORT", hint="IPv6 hosts stand in brackets")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """True for a numeric address or name that is the machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def order(candidates: Iterable[str], *, recent: Sequence[str] = ()) -> tuple[str, ...]:
    """The likeliest first: what was seen to work lately, then private IPv4, other IPv4 and names, IPv6."""
    ranked = sorted(dict.fromkeys(candidates), key=_rank)
    return tuple(dict.fromkeys([*(c for c in recent if c in ranked), *ranked]))


def _rank(candidate: str) -> int:
    host = candidate.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return 1
    if address.version == 6:
        return 3 if address.is_link_local else 2
    return 0 if address.is_private else 1


def seen_at(listed: Iterable[str], host: str) -> tuple[str, ...]:
    """What a peer at `host` says it listens on, as it can be dialed from here: an unspecified host stands for `host`,
    and loopback addresses are the peer's own unless it is on this machine."""
    addresses = []
    for address in listed:
        try:
            name, port = split_address(address)
        except PraxisError:
            continue
        if name in UNSPECIFIED:
            addresses.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        elif not is_loopback(name) or is_loopback(host):
            addresses.append(address)
    return tuple(dict.fromkeys(addresses))
