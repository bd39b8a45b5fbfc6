"""What every entrance checks before anything else: Host, Origin, and who is there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Literal

import attrs

from praxis.access.principal import Principal
from praxis.access.tokens import TokenStore
from praxis.model.errors import PraxisError

ListenerKind = Literal["unix", "loopback", "network"]
LOCAL = Principal("local", "local", "admin")
READ = frozenset({b"host", b"origin", b"authorization"})
"""The headers that an entrance looks at, in lower case."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^\[\]:@/\s?#]+)(:(?P<port>[0-9]{1,5}))?")
_UNSPECIFIED = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound


@attrs.frozen
class Entrance:
    """One listener's rules.

    A web page on any site can make a browser send requests to this machine; what it cannot choose are Host and Origin
    (DNS rebinding, cross-site requests), so both must be ours. A page that is at an address, not a name, came from
    there: so a listener on all addresses takes the one that a connection arrived on for its own.
    """

    listener: ListenerKind
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    bound_host: str
    insecure: bool
    tokens: TokenStore

    def admit(self, headers: Iterable[tuple[str, str]], *, arrived: str = "") -> Principal:
        """Who a request with these headers comes from. `arrived` is the address of ours that its connection goes to.

        Raises PraxisError: ``denied`` with the HTTP status in `data` (421 for a foreign Host, 403 for a foreign
        Origin), ``unauthenticated`` without a good token where one is needed.
        """
        return self._identify(self.check_names(headers, arrived=arrived))

    def check_names(self, headers: Iterable[tuple[str, str]], *, arrived: str = "") -> list[str]:
        """That a request names this agent and comes from no foreign page; returns the credentials that it brings.

        Raises PraxisError as `admit` does, but for ``unauthenticated``.
        """
        hosts, origins, credentials = [], [], []
        for name, value in headers:
            match name.lower():
                case "host":
                    hosts.append(value)
                case "origin":
                    origins.append(value)
                case "authorization":
                    credentials.append(value)
        if self.listener != "unix":
            self._check_host(hosts, arrived)
        self._check_origin(origins, hosts, arrived)
        return credentials

    def _check_host(self, hosts: list[str], arrived: str) -> None:
        if len(hosts) != 1 or not self._is_own(hosts[0], arrived):
            shown = ", ".join(hosts)[:100] or "none"
            raise PraxisError(
                "denied",
                f"this agent is not the host {shown!r}",
                hint="access.allowed_hosts names further hosts",
                data={"status": 421},
            )

    def _is_own(self, host: str, arrived: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].lower()
        bound = f"[{self.bound_host}]" if ":" in self.bound_host else self.bound_host
        own = _LOOPBACK if self.bound_host in _UNSPECIFIED else _LOOPBACK | {bound.lower()}
        allowed = {allowed.lower() for allowed in self.allowed_hosts}
        if name in own or name in allowed or host.lower() in allowed or "*" in allowed:
            return True
        return self.bound_host in _UNSPECIFIED and arrived != "" and _named(name) == _address(arrived)

    def _check_origin(self, origins: list[str], hosts: list[str], arrived: str) -> None:
        if not origins:
            return
        origin = origins[0].lower()
        scheme, _, rest = origin.partition("://")
        same = scheme in ("http", "https") and bool(hosts) and rest == hosts[0].lower() and self._is_own(rest, arrived)
        if len(origins) != 1 or not (same or origin in {allowed.lower() for allowed in self.allowed_origins}):
            raise PraxisError(
                "denied",
                f"pages of {', '.join(origins)[:100]!r} may not call this agent",
                hint="access.allowed_origins names those that may",
                data={"status": 403},
            )

    def _identify(self, credentials: list[str]) -> Principal:
        if credentials:
            scheme, _, text = credentials[0].partition(" ")
            principal = self.tokens.verify(text.strip()) if scheme.lower() == "bearer" else None
            if principal is None or len(credentials) != 1:
                raise PraxisError(
                    "unauthenticated", "this token is not known here", hint="`praxis token new` makes one"
                )
            return principal
        if self.listener == "network" and not self.insecure:
            raise PraxisError(
                "unauthenticated",
                "a bearer token is needed",
                hint="`praxis token new` on the agent's machine makes one; send it as Authorization: Bearer ...",
            )
        return LOCAL


def _named(name: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, as it stands in a URL; None for a name."""
    try:
        return IPv6Address(name[1:-1]) if name.startswith("[") else IPv4Address(name)
    except AddressValueError:
        return None


def _address(text: str) -> IPv4Address | IPv6Address:
    """Of a socket: without the zone that a link-local one has, and IPv4 as such where one socket serves both."""
    address = ip_address(text.partition("%")[0])
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def check_binding(host: str, *, loopback: bool, insecure: bool, tokens: TokenStore, where: str) -> None:
    """Refuse a listener that others reach before there is a token. Raises PraxisError("invalid")."""
    if not loopback and not insecure and not tokens.any():
        raise PraxisError(
            "invalid",
            f"{host} can be reached by others, and there is no token that they would have to show",
            hint="make one with `praxis token new` and the same --config, bind 127.0.0.1, or set access.insecure: true",
            where=where,
        )
