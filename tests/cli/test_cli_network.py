"""`praxis network` and `praxis reload`: on files, and with agents as processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from praxis.cli.client import OK, UNREACHABLE, USAGE, Client
from praxis.dev import free_discovery_port
from praxis.peers.keyring import NetworkKey, read_keyring, write_keyring
from tests.cli.cli_kit import Network
from tests.cli.conftest import Praxis

KEY = NetworkKey(bytes(range(32)))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    write_keyring(tmp_path / "state" / "network.key", [KEY])
    return tmp_path / "state"


def set_state(state: Path) -> tuple[str, str]:
    return "--set", f"state_dir={state}"


def test_the_key_is_printed_for_those_who_shall_join(praxis: Praxis, state: Path) -> None:
    said = praxis("network", "key", *set_state(state))
    assert (said.code, said.out) == (OK, KEY.text + "\n")
    said = praxis("network", "key", "--fingerprint", *set_state(state))
    assert (said.code, said.out) == (OK, KEY.fingerprint + "\n")


def test_a_key_is_replaced_in_three_steps(praxis: Praxis, state: Path) -> None:
    added = praxis("network", "rotate", "add", *set_state(state))
    new = NetworkKey.parse(added.out.strip())
    assert added.code == OK
    assert new.text not in added.err
    assert "the agent does not run" in added.err
    assert read_keyring(state / "network.key", private=True) == (KEY, new)
    used = praxis("network", "rotate", "use", *set_state(state))
    assert f"signs with {new.fingerprint}, believes {new.fingerprint}, {KEY.fingerprint}" in used.err
    dropped = praxis("network", "rotate", "drop", *set_state(state))
    assert (dropped.code, dropped.out) == (OK, "")
    assert read_keyring(state / "network.key", private=True) == (new,)
    assert (state / "network.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("verb", [["key"], ["rotate", "add"], ["rotate", "add", "--stdin"], ["rotate", "use"]])
def test_an_agent_without_a_key_gets_none_from_a_look_at_it(praxis: Praxis, tmp_path: Path, verb: list[str]) -> None:
    said = praxis("network", *verb, stdin=KEY.text.encode())
    place = tmp_path / "home" / ".local" / "state" / "praxis" / "praxis-agent"
    assert (said.code, said.out) == (USAGE, "")
    assert f"the agent 'praxis-agent' has no network key yet: there is no {place}/network.key. It makes one" in said.err
    assert "--config FILE, AGENT_CONFIG or --set agent.name=NAME" in said.err
    assert list(tmp_path.iterdir()) == []


def test_others_read_the_new_key_and_reading_it_twice_is_once(praxis: Praxis, state: Path) -> None:
    new = NetworkKey(bytes(32))
    for _ in range(2):
        said = praxis("network", "rotate", "add", "--stdin", *set_state(state), stdin=new.text.encode() + b"\n")
        assert (said.code, said.out) == (OK, "")
        assert read_keyring(state / "network.key", private=True) == (KEY, new)


def test_steps_that_cannot_be_taken_change_nothing(praxis: Praxis, state: Path) -> None:
    for step in ("use", "drop"):
        said = praxis("network", "rotate", step, *set_state(state))
        assert (said.code, said.err) == (
            USAGE,
            f"praxis: {state}/network.key holds one key; there is nothing to {step}\n",
        )
    said = praxis("network", "rotate", "add", "--stdin", *set_state(state), stdin=b"pxk1-abc\n")
    assert said.code == USAGE
    assert "standard input: the network key is too short" in said.err
    write_keyring(state / "network.key", [NetworkKey(bytes([n]) * 32) for n in range(8)])
    assert "as many as may be" in praxis("network", "rotate", "add", *set_state(state)).err
    said = praxis("network", "rotate", "add", *set_state(state), "--set", "p2p.secure=false")
    assert (said.code, said.err) == (USAGE, "praxis: p2p is in the mode 'open', which has no network key\n")
    assert len(read_keyring(state / "network.key", private=True)) == 8


def test_keys_of_the_configuration_are_changed_there(
    praxis: Praxis, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRAXIS_NETWORK_KEY", KEY.text)
    said = praxis("network", "rotate", "add", *set_state(state))
    assert said.code == USAGE
    assert "change p2p.security.network_keys or PRAXIS_NETWORK_KEY where it is set" in said.err
    assert KEY.text not in said.err


def test_the_network_of_an_agent_is_shown(praxis: Praxis, network: Network) -> None:
    said = praxis("network", "status", "--url", "http://127.0.0.1:1")
    assert said.code == UNREACHABLE
    shown = [line.split() for line in praxis("network", "status", "--url", network.url(1)).out.splitlines()]
    assert shown[1:3] == [["network", "dev"], ["mode", "shared"]]
    assert ["peers", "1", "connected"] in shown


@contextmanager
def agent(name: str, folder: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """`praxis run`, ready."""
    config = folder / f"{name}.yaml"
    off = {"enabled": False}
    settings = {
        "agent": {"name": name, "shared_dir": str(folder / name / "shared")},
        "export": {"tools": ["fs/*"]},
        "state_dir": str(folder / name / "state"),
        "p2p": {"port": 0, "discovery": {"port": port}},
        **dict.fromkeys(("http", "sse", "websocket"), off),
    }
    config.write_text(json.dumps(settings))  # which is YAML too
    process = subprocess.Popen(
        [sys.executable, "-m", "praxis", "run", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"]["agent"] == name
        yield process, Client(f"unix:{folder / name / 'state' / 'api.sock'}", timeout=20)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def calls(client: Client, other: str) -> str:
    run: str = client.request("POST", "/execute", {"dsl": f"CALL {other}:list_files"})["status"]
    return run


def believed(client: Client) -> list[str]:
    found: list[str] = client.request("GET", "/p2p/info")["authorities"]
    return found


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_processes_get_another_key_while_they_run(praxis: Praxis, tmp_path: Path) -> None:
    port = free_discovery_port()
    for name in ("one", "two"):
        write_keyring(tmp_path / name / "state" / "network.key", [KEY])
    with agent("one", tmp_path, port) as (first, one), agent("two", tmp_path, port) as (_, two):
        until(lambda: any(peer["tools"] for peer in one.request("GET", "/peers")["peers"]))
        states = [set_state(tmp_path / name / "state") for name in ("one", "two")]
        added = praxis("network", "rotate", "add", *states[0])
        assert "the agent has taken it; its lines stay" in added.err
        praxis("network", "rotate", "add", "--stdin", *states[1], stdin=added.out.encode())
        new = NetworkKey.parse(added.out.strip())
        assert believed(one) == believed(two) == [KEY.fingerprint, new.fingerprint]
        for step in ("use", "drop"):
            for state in states:
                assert "the agent made all lines anew" in praxis("network", "rotate", step, *state).err
                assert calls(one, "two") == calls(two, "one") == "succeeded"
        assert believed(one) == believed(two) == [new.fingerprint]
        shown = praxis("network", "status", "--url", one.url)
        assert [line.split(maxsplit=1)[1] for line in shown.out.splitlines()[1:4]] == [
            "praxis",
            "shared",
            new.fingerprint,
        ]
        assert shown.out.splitlines()[-1].split(maxsplit=1)[1] == "1 connected"

        write_keyring(tmp_path / "one" / "state" / "network.key", [new, KEY])
        first.send_signal(signal.SIGHUP)
        until(lambda: len(believed(one)) == 2)
        (tmp_path / "one" / "state" / "network.key").write_text("damaged")
        first.send_signal(signal.SIGHUP)
        said = praxis("reload", "--url", one.url)
        assert said.code == USAGE
        assert "network.key: the network key does not start with pxk1-" in said.err
        assert calls(one, "two") == "succeeded"
        assert first.poll() is None
