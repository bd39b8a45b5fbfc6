"""`praxis network init|token|join|issue|block|unblock`: a network whose members are let in one by one."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from praxis.cli.client import OK, USAGE, Client, CommandError
from praxis.cli.local_verbs import OTHERS, load_options, told
from praxis.cli.network_verbs import reload_running
from praxis.cli.output import emit, say

if TYPE_CHECKING:
    from praxis.config.schema import Config
    from praxis.peers.authority import Authority
    from praxis.peers.membership import Membership

MAX_INPUT = 8192
"""Characters of a token on standard input; it has 170."""


def init(options: argparse.Namespace) -> int:
    """Make this agent the issuer of a network, and its first member."""
    from praxis.peers.authority import create_authority, load_authority
    from praxis.peers.identity import load_signing_key, peer_id_of_key
    from praxis.peers.membership import FILE, Membership

    config, directory = _place(options)
    with told():
        public = load_signing_key(directory).public
        authority = load_authority(directory, clock=time.time)
        if authority is None:
            issuer = peer_id_of_key(public)
            authority = create_authority(directory, rendezvous=config.p2p.rendezvous, issuer=issuer, clock=time.time)
        elif (directory / FILE).exists():
            raise CommandError(USAGE, f"this agent is an issuer already: {directory / 'ca'}")
        Membership(config.agent.name, authority.issue(config.agent.name, public)).save(directory)
    say(f"the CA of the network {config.p2p.rendezvous!r} is in {directory / 'ca'}: keep a copy of that folder offline")
    say("let others in with: praxis network token")
    return _enter(directory, config, config.p2p.rendezvous)


def token(options: argparse.Namespace) -> int:
    """Print a token that lets one agent in, once."""
    config, directory = _place(options)
    authority = _authority(config, directory)
    addresses = options.address or _addresses(config, directory)
    with told():
        made = authority.make_token(addresses, name=options.name, ttl=options.ttl)
    print(made.text)
    say(f"it lets {options.name or 'one agent'} in, once, within {options.ttl:g} s: praxis network join TOKEN")
    say(f"the issuer is looked for at {', '.join(addresses)}")
    return OK


def join(options: argparse.Namespace) -> int:
    """Become a member, with a token or a bundle."""
    import trio

    from praxis.peers.admission import ask_to_join
    from praxis.peers.authority import load_authority
    from praxis.peers.identity import load_signing_key
    from praxis.peers.joining import JoinToken
    from praxis.peers.membership import Membership, import_bundle

    config, directory = _place(options)
    if (options.token is None) == (options.bundle is None):
        raise CommandError(USAGE, "give a token, - for one on standard input, or --bundle FILE")
    with told():
        if load_authority(directory, clock=time.time) is not None:
            raise CommandError(USAGE, f"this agent is the issuer of a network of its own: {directory / 'ca'}")
        if options.bundle is not None:
            membership = import_bundle(Path(options.bundle), directory)
        else:
            read = options.token == "-"  # noqa: S105 - it stands for standard input
            given = JoinToken.parse(sys.stdin.readline(MAX_INPUT) if read else options.token)
            key = load_signing_key(directory)
            grant = trio.run(ask_to_join, given, config.agent.name, key)
            membership = Membership(config.agent.name, grant, given.addresses)
            _check_dates(membership)
            membership.save(directory)
    if membership.name != config.agent.name:
        say(f"the bundle is for {membership.name!r}; set agent.name to that")
    say(f"{membership.name} is a member of {membership.grant.rendezvous!r}, until {_day(membership.grant.not_after)}")
    return _enter(directory, config, membership.grant.rendezvous)


def issue(options: argparse.Namespace) -> int:
    """Print a bundle: key and certificate of an agent that cannot reach the issuer. Whoever has it is that agent."""
    import secrets

    from praxis.peers.ed25519 import SEED_SIZE, SigningKey
    from praxis.peers.membership import Membership
    from praxis.peers.private_files import create_private

    config, directory = _place(options)
    authority = _authority(config, directory)
    key = SigningKey(secrets.token_bytes(SEED_SIZE))
    addresses = options.address or _addresses(config, directory)
    if options.out is not None and os.path.lexists(options.out):
        raise CommandError(USAGE, f"{options.out} is there already")
    with told():
        grant = authority.issue(options.name, key.public, days=options.days)
        text = Membership(options.name, grant, tuple(addresses)).bundle(key)
        if options.out is None:
            sys.stdout.write(text)
        elif not create_private(Path(options.out), text):
            raise CommandError(USAGE, f"{options.out} is there already")
    say(f"whoever has it is {options.name}; there: praxis network join --bundle FILE, then remove it")
    return OK


def block(options: argparse.Namespace) -> int:
    """Keep a peer out: of the whole network at its issuer, elsewhere of this agent alone."""
    return _change(options, blocked=True)


def unblock(options: argparse.Namespace) -> int:
    """Let a peer in again."""
    return _change(options, blocked=False)


def blocked(options: argparse.Namespace) -> int:
    """List who is kept out, and by whose word."""
    from praxis.peers.authority import load_authority
    from praxis.peers.membership import FILE, load_membership

    config, directory = _existing(options)
    with told():
        authority = load_authority(directory, clock=time.time)
        member = load_membership(directory) if (directory / FILE).exists() else None
        issuers = authority.blocked() if authority is not None else member.blocked if member is not None else ()
    own = config.p2p.security.blocklist
    rows = [[peer, "configuration"] for peer in own] + [[peer, "issuer"] for peer in issuers]
    value = [{"id": peer, "by": by} for peer, by in rows]
    emit(value, options.output, columns=("ID", "BY"), rows=rows)
    return OK


def _change(options: argparse.Namespace, *, blocked: bool) -> int:
    from praxis.config.load import OVERLAY
    from praxis.config.save import save_overlay
    from praxis.peers.authority import load_authority
    from praxis.peers.identity import peer_id_digest

    config, directory = _existing(options)
    with told():
        authority = load_authority(directory, clock=time.time) if config.p2p.trust.mode == "ca" else None
        peer_id = (authority.id_of(options.peer) if authority is not None else None) or options.peer
        peer_id_digest(peer_id)
        if authority is not None:
            authority.block(peer_id) if blocked else authority.unblock(peer_id)
            say(f"{peer_id} is {'kept out of the network' if blocked else 'let in again'}")
        else:
            listed = [peer for peer in config.p2p.security.blocklist if peer != peer_id]
            if not blocked and len(listed) == len(config.p2p.security.blocklist):
                raise CommandError(USAGE, f"{peer_id} is not on this agent's blocklist")
            save_overlay(directory / OVERLAY, {"p2p.security.blocklist": [*listed, peer_id] if blocked else listed})
            say(f"{peer_id} is {'kept out of' if blocked else 'let in by'} this agent alone; do so on the others too")
    return reload_running(options)


def _place(options: argparse.Namespace) -> tuple[Config, Path]:
    from praxis.config.load import state_dir

    config = load_options(options).config
    return config, state_dir(config, os.environ)


def _existing(options: argparse.Namespace) -> tuple[Config, Path]:
    """The same of an agent that there is. Raises CommandError."""
    config, directory = _place(options)
    if not directory.is_dir():
        raise CommandError(
            USAGE, f"the agent {config.agent.name!r} has no state yet: there is no {directory}; {OTHERS}"
        )
    return config, directory


def _authority(config: Config, directory: Path) -> Authority:
    from praxis.peers.authority import load_authority

    with told():
        authority = load_authority(directory, clock=time.time)
    if authority is None:
        raise CommandError(
            USAGE,
            f"the agent {config.agent.name!r} is no issuer: there is no {directory / 'ca'} (praxis network init makes "
            f"it one; {OTHERS})",
        )
    return authority


def _addresses(config: Config, directory: Path) -> Sequence[str]:
    """Where others reach this agent. Raises CommandError where that cannot be known."""
    from praxis.peers.addresses import UNSPECIFIED, split_address

    found = list(config.p2p.advertise_addrs)
    socket = directory / "api.sock"
    if not found and socket.exists():
        found = Client(f"unix:{socket}", timeout=10).request("GET", "/p2p/info", holds="addresses")["addresses"]
    if not found and config.p2p.port:
        found = [f"{config.p2p.host}:{config.p2p.port}"]
    if not found or any(split_address(address)[0] in UNSPECIFIED for address in found):
        raise CommandError(USAGE, "where others reach this agent is not known: give --address HOST:PORT")
    return found


def _check_dates(membership: Membership) -> None:
    """A certificate that does not count here would look like one that is forged."""
    now, grant = time.time(), membership.grant
    if not grant.not_before <= now < grant.not_after:
        raise CommandError(
            USAGE,
            f"the certificate counts from {_day(grant.not_before)} to {_day(grant.not_after)}, and the clock here "
            f"shows {_day(int(now))}: set the clock of this machine or the issuer's, and join with another token",
        )


def _enter(directory: Path, config: Config, rendezvous: str) -> int:
    """From the next start on the agent is in that network, whatever the configuration file says."""
    from praxis.config.load import OVERLAY
    from praxis.config.save import save_overlay

    changes = {"p2p.security.mode": "ca"}
    if config.p2p.rendezvous != rendezvous:
        changes["p2p.rendezvous"] = rendezvous
    with told():
        save_overlay(directory / OVERLAY, changes)
    say(f"{directory / OVERLAY} says p2p.security.mode: ca; start the agent, again if it runs")
    return OK


def _day(moment: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
