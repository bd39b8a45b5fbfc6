"""Whoever calls."""

from __future__ import annotations

from typing import Literal

import attrs

from praxis.model.peer import PeerId

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")


@attrs.frozen
class Principal:
    """A caller whose identity has been established.

    `local` is whoever reaches the unix socket or a loopback listener, `token` the bearer of a token, `peer` an agent
    of the network, which is who its certificate says.
    """

    kind: Literal["local", "token", "peer"]
    name: str
    role: Role = "operator"
    peer_id: PeerId | None = None
