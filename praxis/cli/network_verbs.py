"""`praxis network`: which network an agent belongs to, and how its key is replaced."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from praxis.cli.client import FAILED, OK, USAGE, Client, CommandError, find_agent
from praxis.cli.local_verbs import OTHERS, load_options, told
from praxis.cli.output import emit, say

if TYPE_CHECKING:
    from praxis.peers.keyring import NetworkKey

RELOAD_TIMEOUT = 60.0
"""Seconds for an agent to make its lines anew: at most 32 at once, 20 s each."""


def status(options: argparse.Namespace) -> int:
    """Which network, what it rests on, and how many peers stand where."""
    client = Client(find_agent(options.url, options.agent), timeout=options.timeout or RELOAD_TIMEOUT)
    info = client.request("GET", "/p2p/info", holds="peer_id")
    peers = client.request("GET", "/peers", holds="peers")["peers"]
    states = Counter(peer["state"] for peer in peers)
    rows = [
        ["network", info["network"]],
        ["mode", info["mode"]],
        ["believes", ", ".join(info["authorities"])],
        ["certificate", f"until {_moment(info['certificate_until'])}"] if info.get("certificate_until") else None,
        ["agent", info["name"]],
        ["id", info["peer_id"]],
        ["addresses", ", ".join(info["addresses"])],
        ["peers", ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"],
    ]
    shown = [row for row in rows if row is not None]
    emit({**info, "peers": dict(states)}, options.output, columns=("WHAT", "VALUE"), rows=shown)
    return OK


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def key(options: argparse.Namespace) -> int:
    """Print the key, for agents that shall join; or with `--fingerprint` what tells it from others."""
    _, keys = _keyring(options)
    for one in keys:
        print(one.fingerprint if options.fingerprint else one.text)
    if not options.fingerprint and sys.stdout.isatty():
        say("whoever has this is a member of the network; give it to other agents as PRAXIS_NETWORK_KEY_FILE")
    return OK


def rotate(options: argparse.Namespace) -> int:
    """One step of replacing the key: add it everywhere, then use it everywhere, then drop the old one everywhere."""
    from praxis.peers.keyring import MAX_KEYS, NetworkKey, write_keyring

    path, keys = _keyring(options)
    if path is None:
        raise CommandError(
            USAGE,
            "the key is not in a file of this agent's: change p2p.security.network_keys or PRAXIS_NETWORK_KEY where it "
            "is set, the new key last, then first, then alone, with a reload after each step",
        )
    if options.step == "add":
        with told():
            given = NetworkKey.parse(sys.stdin.readline(256), where="standard input") if options.stdin else None
        new = given or NetworkKey.generate()
        after: tuple[NetworkKey, ...] = keys if new in keys else (*keys, new)
        if len(after) > MAX_KEYS:
            raise CommandError(USAGE, f"{path} holds {len(keys)} keys, as many as may be; drop the old ones first")
        if given is None:
            print(new.text)
            say("give it to each of the other agents: praxis network rotate add --stdin")
    elif len(keys) == 1:
        raise CommandError(USAGE, f"{path} holds one key; there is nothing to {options.step}")
    elif options.step == "use":
        after = (keys[-1], *keys[:-1])
    else:
        after = keys[:1]
    with told():
        write_keyring(path, after)
    say(f"{path}: signs with {after[0].fingerprint}, believes {', '.join(key.fingerprint for key in after)}")
    return reload_running(options)


def reload(options: argparse.Namespace) -> int:
    """Take in the configuration and the keys as they are now."""
    client = Client(find_agent(options.url, options.agent), timeout=options.timeout or RELOAD_TIMEOUT)
    done = client.request("POST", "/reload", holds="applied")
    rows = [[key, "in force"] for key in done["applied"]] + [[key, "needs a restart"] for key in done["restart"]]
    emit(done, options.output, columns=("KEY", "STATE"), rows=rows)
    say("all lines were made anew" if done["lines_renewed"] else "the lines stay as they are")
    return OK


def _keyring(options: argparse.Namespace) -> tuple[Path | None, tuple[NetworkKey, ...]]:
    """The file that holds the keys, if one does, and the keys. Raises CommandError for an agent that has none yet."""
    import os

    from praxis.config.load import state_dir
    from praxis.peers.keyring import keyring_file, load_network_keys

    config = load_options(options).config
    trust, directory = config.p2p.trust, state_dir(config, os.environ)
    if trust.mode != "shared":
        raise CommandError(USAGE, f"p2p is in the mode {trust.mode!r}, which has no network key")
    file = keyring_file(trust, directory)
    if file is not None and trust.network_key_file is None and not file.exists():
        raise CommandError(
            USAGE,
            f"the agent {config.agent.name!r} has no network key yet: there is no {file}. It makes one at its first "
            f"start, or takes the one in PRAXIS_NETWORK_KEY_FILE; {OTHERS}",
        )
    with told():
        return file, load_network_keys(trust, directory)


def reload_running(options: argparse.Namespace) -> int:
    """Tell the agent whose configuration this is to look at what was written for it, if it runs."""
    import os

    from praxis.config.load import state_dir

    socket = state_dir(load_options(options).config, os.environ) / "api.sock"
    if not socket.exists():
        say("the agent does not run; it takes this at its next start")
        return OK
    try:
        done = Client(f"unix:{socket}", timeout=RELOAD_TIMEOUT).request("POST", "/reload", holds="applied")
    except CommandError as error:
        raise CommandError(FAILED, f"it is written, but the agent did not take it: {error}") from None
    say("the agent made all lines anew" if done.get("lines_renewed") else "the agent has taken it; its lines stay")
    return OK
