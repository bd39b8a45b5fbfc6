"""`praxis config check` finds what `praxis run` would not start with, all of it, and leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from praxis.cli.client import OK, USAGE
from praxis.peers.keyring import MAX_KEYS, NetworkKey
from tests.cli.conftest import Praxis

KEY = NetworkKey.generate().text


@pytest.fixture(autouse=True)
def _short_home(praxis: Praxis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sockets have short paths."""
    with tempfile.TemporaryDirectory() as home:
        monkeypatch.setenv("HOME", home)
        yield


def refused(praxis: Praxis, *arguments: str) -> list[str]:
    """The problems; both verbs tell the same ones and neither makes anything."""
    before = sorted(Path.cwd().rglob("*"))
    said = praxis("config", "check", *arguments)
    assert (said.code, said.out) == (USAGE, "")
    assert praxis("run", *arguments) == said
    assert sorted(Path.cwd().rglob("*")) == before
    head, *problems = said.err.splitlines()
    assert head == "praxis: the configuration cannot be used:"
    return [problem.strip() for problem in problems]


def configured(text: str) -> list[str]:
    Path("a.yaml").write_text(text)
    return ["--config", "a.yaml"]


def test_every_wide_listener_without_a_token_is_told(praxis: Praxis) -> None:
    wide = ["--set", "websocket.host=0.0.0.0", "--set", "sse.host=::", "--set", "http.host=a.example"]
    found = refused(praxis, *wide)
    assert [text.partition(": ")[0] for text in found] == [
        f"--set {name}.host" for name in ("http", "websocket", "sse")
    ]
    assert all("there is no token that they would have to show (make one with `praxis token new`" in f for f in found)
    assert praxis("config", "check", *wide, "--set", "access.insecure=true").code == OK
    assert praxis("config", "check", *wide[:2], "--set", "websocket.enabled=false").code == OK
    assert len(refused(praxis, *wide[:2], "--set", "access.insecure=perhaps")) == 1
    assert praxis("token", "new").code == OK
    assert praxis("config", "check", *wide).code == OK


def test_tokens_that_cannot_be_read_are_told_where_they_are_needed(praxis: Praxis) -> None:
    Path("tokens.json").write_text("damaged")
    arguments = configured("access: {tokens_file: tokens.json}\nhttp: {host: 0.0.0.0}\n")
    (found,) = refused(praxis, *arguments)
    assert found.startswith("a.yaml:1: access.tokens_file: ") and "tokens.json: the tokens cannot be used" in found
    assert praxis("config", "check", *arguments, "--set", "http.host=127.0.0.1").code == OK


def test_keys_that_are_none_are_told_and_not_shown(praxis: Praxis, monkeypatch: pytest.MonkeyPatch) -> None:
    found = refused(praxis, *configured(f"p2p:\n  security:\n    network_keys: [sh0rt, {KEY}, pxk1-sh0rt]\n"))
    assert [text.partition(" (")[0] for text in found] == [
        "a.yaml:3: p2p.security.network_keys[0]: the network key does not start with pxk1-",
        "a.yaml:3: p2p.security.network_keys[2]: the network key is too short: 5 characters after pxk1-",
    ]
    assert "sh0rt" not in "".join(found)
    (many,) = refused(praxis, *configured(f"p2p: {{security: {{network_keys: {[KEY] * (MAX_KEYS + 1)}}}}}"))
    assert "9 network keys; 8 may be" in many
    monkeypatch.setenv("PRAXIS_NETWORK_KEY", "pxk1-short")
    (given,) = refused(praxis)
    assert given.startswith(
        "environment PRAXIS_NETWORK_KEY: p2p.security.network_keys[0]: the network key is too short"
    )
    assert praxis("config", "check", "--set", "p2p.secure=false").code == OK


def test_a_file_of_keys_that_cannot_be_read_is_told(praxis: Praxis, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = configured("p2p:\n  security:\n    network_key_file: key\n")
    (found,) = refused(praxis, *arguments)
    assert found.startswith("a.yaml:3: p2p.security.network_key_file: ")
    assert "key: the network key cannot be used: No such file or directory" in found
    Path("key").write_text("nonsense\n")
    (found,) = refused(praxis, *arguments)
    assert "key: the network key does not start with pxk1-" in found
    Path("key").write_text(KEY)
    assert praxis("config", "check", *arguments).code == OK
    monkeypatch.setenv("PRAXIS_NETWORK_KEY_FILE", "none")
    (given,) = refused(praxis)
    assert given == "environment PRAXIS_NETWORK_KEY_FILE: none: No such file or directory"


def test_what_the_state_directory_holds_is_looked_at(praxis: Praxis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRAXIS_STATE_DIR", "state")
    assert praxis("config", "check").code == OK
    assert not Path("state").exists()
    Path("state").mkdir()
    Path("state/network.key").write_text("pxk1-x")
    Path("state/network.key").chmod(0o600)
    assert "network.key: the network key is too short" in refused(praxis)[0]
    Path("state/network.key").unlink()
    Path("state/identity.key").write_text("x")
    Path("state/identity.key").chmod(0o600)
    assert "identity.key: the private key is damaged" in refused(praxis)[0]


@pytest.mark.parametrize("place", ["/proc/praxis", "file", "file/state", "link"])
def test_a_state_directory_that_cannot_be_made_is_told(praxis: Praxis, place: str) -> None:
    Path("file").touch()
    Path("link").symlink_to("nowhere")
    (found,) = refused(praxis, *configured(f"state_dir: {place}\n"))
    assert found.startswith("a.yaml:1: state_dir: ")
    assert " cannot be used: nothing can be made in /" in found


def test_a_state_directory_with_too_long_a_path_for_a_socket_is_told(praxis: Praxis, tmp_path: Path) -> None:
    room = 107 - len(os.fsencode(tmp_path / "x" / "api.sock"))
    assert praxis("config", "check", "--set", f"state_dir={tmp_path}/x{'y' * room}").code == OK
    (found,) = refused(praxis, "--set", f"state_dir={tmp_path}/x{'y' * (room + 1)}")
    assert "has at most 107 bytes" in found


def test_a_shared_folder_that_cannot_be_made_is_told(praxis: Praxis) -> None:
    Path("file").touch()
    (found,) = refused(praxis, *configured("agent: {shared_dir: file}\nstate_dir: state\n"))
    assert found.startswith("a.yaml:1: agent.shared_dir: ")


def test_who_is_no_member_of_a_network_with_a_ca_is_told(praxis: Praxis) -> None:
    text = "agent: {name: ann}\np2p:\n  security:\n    mode: ca\n    ca_files: [more.pem]\nstate_dir: state\n"
    found = refused(praxis, *configured(text))
    assert len(found) == 2
    assert found[0].startswith("a.yaml:4: p2p.security.mode: this agent is no member of a network with a CA yet")
    assert found[1].startswith("a.yaml:5: p2p.security.ca_files[0]: ") and "No such file" in found[1]
    assert praxis("network", "init", *configured(text.replace("[more.pem]", "[]"))).code == OK
    assert praxis("config", "check", "--config", "a.yaml").code == OK
    (found_name,) = refused(praxis, "--config", "a.yaml", "--set", "agent.name=bob")
    assert found_name.startswith("--set agent.name: agent.name: the network's CA knows this agent as 'ann'")


def test_everything_is_told_at_once(praxis: Praxis) -> None:
    text = (
        "http: {host: 0.0.0.0, prot: 1}\n"
        "websocket: {port: 4001}\n"
        "sse: {host: a b}\n"
        "p2p: {advertise_addrs: [x], security: {network_keys: [short]}}\n"
        "state_dir: /proc/x\n"
    )
    found = refused(praxis, *configured(text))
    assert [f.split(": ")[1] for f in found] == [
        *("http.prot", "http.host", "websocket.port", "sse.host"),
        *("p2p.advertise_addrs[0]", "p2p.security.network_keys[0]", "state_dir"),
    ]


def test_the_overlay_is_looked_at_beside_a_file_with_mistakes(praxis: Praxis) -> None:
    Path("state").mkdir()
    Path("state/overlay.yaml").write_text("sse: {prot: 1}\nhttp: {port: 5}\n")
    found = refused(praxis, *configured("http: {port: x}\nwebsocket: {prot: 1}\nstate_dir: state\n"))
    assert [f.split(": ")[1] for f in found] == ["websocket.prot", "sse.prot"]
