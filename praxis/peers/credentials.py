"""What an agent shows its peers and believes of them, by the mode of its network."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import attrs

from praxis.config.schema import P2P
from praxis.model.errors import PraxisError
from praxis.peers.authority import Authority, load_authority
from praxis.peers.identity import Identity, load_identity
from praxis.peers.keyring import load_network_keys
from praxis.peers.membership import Membership, load_membership
from praxis.peers.private_files import read_small

MAX_CA_FILE = 64 * 1024
"""Bytes of a file with CA certificates, each of about half a KiB."""
_END = "-----END CERTIFICATE-----"


@attrs.frozen
class Credentials:
    """`membership` is there in the mode `ca` alone, `authority` at the issuer alone."""

    identity: Identity
    membership: Membership | None = None
    authority: Authority | None = None
    state_dir: Path | None = None
    believed: tuple[bytes, ...] = ()
    """CA certificates (DER) that the configuration adds."""

    def with_membership(self, membership: Membership) -> Credentials:
        """The same agent after its membership has changed, which is saved. Raises PraxisError."""
        if self.state_dir is None:
            raise ValueError("only a member has a membership")
        admits = self.authority is not None
        identity = membership.identity(self.state_dir, admits=admits, more=self.believed)
        membership.save(self.state_dir)
        return attrs.evolve(self, identity=identity, membership=membership)


def load_credentials(config: P2P, *, name: str, state_dir: Path, clock: Callable[[], float]) -> Credentials:
    """Read what the state directory holds, and make what is made at the first start.

    `name` is the agent's, `clock` gives seconds since the epoch. Raises PraxisError("invalid") that says which file or
    key is wrong and what to do.
    """
    if config.trust.mode != "ca":
        keys = load_network_keys(config.trust, state_dir)
        return Credentials(load_identity(name=name, keys=keys, rendezvous=config.rendezvous, state_dir=state_dir))
    membership = load_own_membership(config, name=name, state_dir=state_dir)
    authority = load_authority(state_dir, clock=clock)
    believed = tuple(der for path in config.security.ca_files for der in read_authorities(path))
    identity = membership.identity(state_dir, admits=authority is not None, more=believed)
    return Credentials(identity, membership, authority, state_dir, believed)


def load_own_membership(config: P2P, *, name: str, state_dir: Path) -> Membership:
    """What was given to the agent of this name in this network; changes nothing. Raises PraxisError("invalid")."""
    membership = load_membership(state_dir)
    if membership.name != name:
        raise PraxisError(
            "invalid",
            f"the network's CA knows this agent as {membership.name!r}, not as {name!r}",
            hint="join again under the new name, or keep the old one",
            where="agent.name",
        )
    given = membership.grant.rendezvous
    if config.rendezvous != given:
        raise PraxisError(
            "invalid",
            f"this agent has joined the network {given!r}, not {config.rendezvous!r}",
            hint="write its name there, or join the other network",
            where="p2p.rendezvous",
        )
    return membership


def read_authorities(path: Path) -> list[bytes]:
    """The certificates (DER) of a PEM file, at least one. Raises PraxisError("invalid")."""
    text = read_small(path, "file of CAs", private=False, limit=MAX_CA_FILE)
    blocks = [block + _END for block in text.split(_END)[:-1]]
    try:
        found = [ssl.PEM_cert_to_DER_cert(block[block.index("-----BEGIN") :]) for block in blocks]
        for der in found:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except (ValueError, ssl.SSLError):
        found = []
    if not found:
        raise PraxisError("invalid", "it holds no certificates in PEM, or a broken one", where=str(path))
    return found
