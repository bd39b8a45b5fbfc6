"""`praxis network init|token|join|issue|block`: on files, and with agents as processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from praxis.cli.client import OK, USAGE, Client
from praxis.dev import free_discovery_port
from praxis.peers.identity import load_signing_key, peer_id_of_key
from praxis.peers.joining import JoinToken
from praxis.peers.membership import load_membership
from tests.cli.conftest import Praxis
from tests.cli.test_cli_network import agent, calls, until

PEER = "px" + "a" * 52


def on(folder: Path, name: str) -> tuple[str, ...]:
    return ("--set", f"agent.name={name}", "--set", f"state_dir={folder / name / 'state'}")


def test_the_issuer_is_made_once_and_makes_tokens(praxis: Praxis, tmp_path: Path) -> None:
    said = praxis("network", "token", *on(tmp_path, "one"))
    assert (said.code, said.out) == (USAGE, "")
    assert f"the agent 'one' is no issuer: there is no {tmp_path}/one/state/ca" in said.err
    assert "another agent is meant with --config FILE" in said.err
    for verb in (["block", PEER], ["unblock", PEER], ["blocked"]):
        said = praxis("network", *verb, *on(tmp_path, "one"))
        assert (said.code, said.out) == (USAGE, "")
        assert f"the agent 'one' has no state yet: there is no {tmp_path}/one/state; another agent" in said.err
    assert list(tmp_path.iterdir()) == []
    said = praxis("network", "init", *on(tmp_path, "one"))
    assert (said.code, said.out) == (OK, "")
    assert "keep a copy of that folder offline" in said.err
    overlay = (tmp_path / "one" / "state" / "overlay.yaml").read_text()
    assert overlay == "p2p:\n  security:\n    mode: ca\n"
    assert "issuer already" in praxis("network", "init", *on(tmp_path, "one")).err
    said = praxis("network", "token", "--name", "two", "--ttl", "30m", *on(tmp_path, "one"))
    token = JoinToken.parse(said.out)
    assert token.addresses == ("127.0.0.1:4001",)
    assert token.issuer == peer_id_of_key(load_signing_key(tmp_path / "one" / "state").public)
    assert "it lets two in, once, within 1800 s" in said.err
    assert token.text not in said.err
    everywhere = (*on(tmp_path, "one"), "--set", "p2p.host=0.0.0.0")
    assert "give --address HOST:PORT" in praxis("network", "token", *everywhere).err
    said = praxis("network", "token", "--address", "one.example:4001", "--address", "10.0.0.1:4001", *everywhere)
    assert JoinToken.parse(said.out).addresses == ("one.example:4001", "10.0.0.1:4001")


@pytest.mark.parametrize("wrong", ["0", "-1", "1w", "", "31d", "nan", "inf"])
def test_a_time_that_is_none_is_refused(praxis: Praxis, tmp_path: Path, wrong: str) -> None:
    assert praxis("network", "token", f"--ttl={wrong}", *on(tmp_path, "one")).code == USAGE


def test_a_bundle_is_carried_to_an_agent_that_reaches_nobody(praxis: Praxis, tmp_path: Path) -> None:
    praxis("network", "init", *on(tmp_path, "one"), "--set", "p2p.rendezvous=lab")
    bundle = tmp_path / "two.bundle"
    lab = (*on(tmp_path, "one"), "--set", "p2p.rendezvous=lab")
    said = praxis("network", "issue", "two", "--days", "30", "--out", str(bundle), *lab)
    assert (said.code, said.out) == (OK, "")
    assert bundle.stat().st_mode & 0o777 == 0o600
    assert "there already" in praxis("network", "issue", "three", "--out", str(bundle), *lab).err
    assert "the name two belongs to" in praxis("network", "issue", "two", *lab).err
    said = praxis("network", "join", "--bundle", str(bundle), *on(tmp_path, "two"))
    assert said.code == OK
    assert "two is a member of 'lab'" in said.err
    grant = load_membership(tmp_path / "two" / "state").grant
    assert grant.not_after - grant.not_before == 31 * 86400
    overlay = (tmp_path / "two" / "state" / "overlay.yaml").read_text()
    assert overlay == "p2p:\n  security:\n    mode: ca\n  rendezvous: lab\n"
    assert "private key already" in praxis("network", "join", "--bundle", str(bundle), *on(tmp_path, "two")).err
    said = praxis("network", "issue", "four", *lab)
    assert json.loads(said.out)["name"] == "four"


def test_what_is_no_token_lets_nobody_in(praxis: Praxis, tmp_path: Path) -> None:
    two = on(tmp_path, "two")
    assert "give a token" in praxis("network", "join", *two).err
    assert "give a token" in praxis("network", "join", "x", "--bundle", "y", *two).err
    said = praxis("network", "join", "pxj1-secret", *two)
    assert said.code == USAGE
    assert "mistyped or cut off" in said.err
    assert "pxj1-secret" not in said.err
    assert "mistyped or cut off" in praxis("network", "join", "-", *two, stdin=b"\n").err
    gone = JoinToken(("127.0.0.1:1",), PEER, "0a", bytes(16)).text
    assert "the issuer cannot be reached: 127.0.0.1:1" in praxis("network", "join", gone, *two).err
    assert "no/file" in praxis("network", "join", "--bundle", "no/file", *two).err
    assert not (tmp_path / "two" / "state" / "membership.json").exists()
    praxis("network", "init", *on(tmp_path, "one"))
    assert "is the issuer of a network of its own" in praxis("network", "join", gone, *on(tmp_path, "one")).err


def test_without_a_ca_a_peer_is_kept_out_of_one_agent(praxis: Praxis, tmp_path: Path) -> None:
    one = on(tmp_path, "one")
    (tmp_path / "one" / "state").mkdir(parents=True)
    said = praxis("network", "block", PEER, *one)
    assert said.code == OK
    assert "of this agent alone" in said.err
    said = praxis("network", "blocked", *one, "-o", "json")
    assert json.loads(said.out) == [{"id": PEER, "by": "configuration"}]
    assert praxis("network", "unblock", PEER, *one).code == OK
    assert json.loads(praxis("network", "blocked", *one, "-o", "json").out) == []
    assert "is not on this agent's blocklist" in praxis("network", "unblock", PEER, *one).err
    assert "'two' is not a peer id" in praxis("network", "block", "two", *one).err


@pytest.fixture
def running(praxis: Praxis, tmp_path: Path) -> Iterator[tuple[Client, Client]]:
    """Two processes: an issuer, and one that has joined with a token."""
    port = free_discovery_port()
    praxis("network", "init", *on(tmp_path, "one"))
    with ExitStack() as stack:
        _, one = stack.enter_context(agent("one", tmp_path, port))
        token = praxis("network", "token", *on(tmp_path, "one")).out
        said = praxis("network", "join", "-", *on(tmp_path, "two"), stdin=token.encode())
        assert said.code == OK, said.err
        _, two = stack.enter_context(agent("two", tmp_path, port))
        until(lambda: any(peer["tools"] for peer in one.request("GET", "/peers")["peers"]))
        until(lambda: any(peer["tools"] for peer in two.request("GET", "/peers")["peers"]))
        yield one, two


def test_an_agent_joins_and_is_kept_out_while_both_run(
    praxis: Praxis, tmp_path: Path, running: tuple[Client, Client]
) -> None:
    one, two = running
    assert calls(one, "two") == calls(two, "one") == "succeeded"
    shown = praxis("network", "status", "--url", two.url).out
    assert ["mode", "ca"] in [line.split() for line in shown.splitlines()]
    assert "certificate" in shown
    said = praxis("network", "block", "two", *on(tmp_path, "one"))
    assert said.code == OK, said.err
    assert "is kept out of the network" in said.err
    peer = peer_id_of_key(load_signing_key(tmp_path / "two" / "state").public)
    assert {view["id"]: view["state"] for view in one.request("GET", "/peers")["peers"]} == {peer: "blocked"}
    until(lambda: two.request("GET", "/peers")["peers"][0]["state"] != "connected")
    assert json.loads(praxis("network", "blocked", *on(tmp_path, "one"), "-o", "json").out) == [
        {"id": peer, "by": "issuer"}
    ]
    assert praxis("network", "unblock", peer, *on(tmp_path, "one")).code == OK
    said = praxis("network", "rotate", "add", *on(tmp_path, "one"))
    assert (said.code, said.err) == (USAGE, "praxis: p2p is in the mode 'ca', which has no network key\n")
