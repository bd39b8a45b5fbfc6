"""What keeps an agent from serving on this machine, all of it, found without starting it.

`praxis config check` tells it, and `praxis run` before it starts. Ports are not opened: the start alone finds out
that one is taken.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from praxis.access.entrance import check_binding
from praxis.access.tokens import TokenStore
from praxis.config.schema import Config, Security
from praxis.config.strict import PathTo, Problem, dotted_keys
from praxis.model.errors import PraxisError
from praxis.net.serve import is_loopback
from praxis.peers.credentials import load_own_membership, read_authorities
from praxis.peers.identity import load_signing_key
from praxis.peers.keyring import MAX_KEYS, NetworkKey, keyring_file, read_keyring

MAX_SOCKET_PATH = 107
"""Bytes of the path of a unix socket (see unix(7))."""

_STATE: tuple[PathTo, ...] = (("state_dir",), ("agent", "name"))
_MODE: tuple[PathTo, ...] = (("p2p", "security", "mode"), ("p2p", "secure"))


def look(config: Config, state_dir: Path) -> Iterator[Problem]:
    """Everything that a start with this configuration and state directory would be refused for. Changes nothing."""
    yield from _bindings(config, state_dir)
    reason = _unusable(state_dir)
    socket = state_dir / "api.sock"
    if reason:
        yield Problem(("state_dir",), f"{state_dir} cannot be used: {reason}", beside=_STATE)
    elif len(os.fsencode(socket)) > MAX_SOCKET_PATH:
        what = f"the agent's socket would be {socket}, and such a path has at most {MAX_SOCKET_PATH} bytes"
        yield Problem(("state_dir",), what, beside=_STATE)
    if config.p2p.trust.mode == "shared":
        yield from _keys(config.p2p.trust, state_dir, usable=not reason)
    elif config.p2p.trust.mode == "ca":
        yield from _membership(config, state_dir, usable=not reason)
    shared = config.agent.shared_dir
    if shared is not None and not shared.is_dir() and (reason := _unusable(shared)):
        yield Problem(("agent", "shared_dir"), f"{shared} cannot be used: {reason}")


def _bindings(config: Config, state_dir: Path) -> Iterator[Problem]:
    tokens = TokenStore(config.access.tokens_file or state_dir / "tokens.json")
    access: tuple[PathTo, ...] = (("access", "insecure"), ("access", "tokens_file"))
    for name, section in (("http", config.http), ("websocket", config.websocket), ("sse", config.sse)):
        if not section.enabled:
            continue
        local, where = is_loopback(section.host), f"{name}.host"
        try:
            check_binding(section.host, loopback=local, insecure=config.access.insecure, tokens=tokens, where=where)
        except PraxisError as error:
            yield _problem(error, ("access", "tokens_file"), beside=((name, "host"), (name, "enabled"), *access))


def _keys(security: Security, state_dir: Path, *, usable: bool) -> Iterator[Problem]:
    path: PathTo = ("p2p", "security", "network_keys")
    for index, text in enumerate(security.network_keys):
        try:
            NetworkKey.parse(text)
        except PraxisError as error:
            yield _problem(error, (*path, index), beside=_MODE)
    if len(security.network_keys) > MAX_KEYS:
        yield Problem(path, f"{len(security.network_keys)} network keys; {MAX_KEYS} may be", beside=_MODE)
    file = keyring_file(security, state_dir)
    given = security.network_key_file is not None
    try:
        if file is not None and (given or (usable and file.exists())):  # an agent without a key makes one
            read_keyring(file, private=not given)
        if usable and (state_dir / "identity.key").exists():
            load_signing_key(state_dir)
    except PraxisError as error:
        yield _problem(error, ("p2p", "security", "network_key_file"), beside=(*_MODE, *(() if given else _STATE)))


def _membership(config: Config, state_dir: Path, *, usable: bool) -> Iterator[Problem]:
    if usable:
        try:
            load_own_membership(config.p2p, name=config.agent.name, state_dir=state_dir)
        except PraxisError as error:
            yield _problem(error, ("p2p", "security", "mode"), beside=(*_MODE, *_STATE, ("p2p", "rendezvous")))
    for index, file in enumerate(config.p2p.security.ca_files):
        try:
            read_authorities(file)
        except PraxisError as error:
            yield _problem(error, ("p2p", "security", "ca_files", index), beside=_MODE)


def _problem(error: PraxisError, path: PathTo, *, beside: tuple[PathTo, ...]) -> Problem:
    """With the key that the error itself names, else with `path` and the file that it names."""
    if error.where not in dotted_keys(Config):
        return Problem(path, str(error), beside=beside)
    return Problem(tuple(error.where.split(".")), f"{error.detail} ({error.hint})", beside=beside)


def _unusable(folder: Path) -> str:
    """Why the agent could not make the folder, or nothing in it; "" if it could."""
    there = folder
    try:
        while not os.path.lexists(there):
            there = there.parent
        os.rmdir(tempfile.mkdtemp(prefix=".praxis-", dir=there))
    except OSError as error:
        return f"nothing can be made in {there}: {error.strerror or error}"
    return ""
