"""Bearer tokens: what is stored of them, who they let in, and for how long."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxis.access import tokens
from praxis.access.principal import ROLES, Principal, Role
from praxis.access.tokens import MAX_FILE, MAX_NAME, MAX_TOKENS, PREFIX, TokenStore
from praxis.model.errors import PraxisError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tokens.json"


@pytest.fixture
def store(path: Path) -> TokenStore:
    return TokenStore(path)


@pytest.mark.parametrize("role", ROLES)
def test_a_new_token_lets_its_bearer_in_with_its_role(store: TokenStore, role: Role) -> None:
    text = store.new(role, "ann")
    (token,) = store.list()
    assert store.verify(text) == Principal("token", f"ann ({token.id})", role)


def test_each_token_is_another_one_of_256_bits(store: TokenStore) -> None:
    texts = {store.new("viewer") for _ in range(5)}
    assert len(texts) == 5
    assert all(text.startswith(PREFIX) and len(text) == len(PREFIX) + 52 for text in texts)
    assert len({token.id for token in store.list()}) == 5


def test_the_file_holds_the_hash_and_only_its_owner_reads_it(store: TokenStore, path: Path) -> None:
    mask = os.umask(0)
    try:
        text = store.new("admin", "ann")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    stored = path.read_text()
    assert text not in stored and text.removeprefix(PREFIX) not in stored
    assert json.loads(stored)["tokens"][0]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert [file.name for file in path.parent.iterdir()] == ["tokens.json"]


def test_a_hash_is_shown_by_no_traceback(store: TokenStore, path: Path) -> None:
    store.new("admin")
    assert json.loads(path.read_text())["tokens"][0]["sha256"] not in repr(store.list())


@given(st.text(max_size=80))
@settings(max_examples=50)
def test_no_other_text_lets_in(text: str) -> None:
    assert _SHARED.verify(text) is None


def test_what_nearly_is_a_token_lets_nobody_in(store: TokenStore) -> None:
    text = store.new("admin")
    (token,) = store.list()
    for near in ("", text[:-1], text + "a", text.upper(), text.removeprefix(PREFIX), token.sha256, token.id, "\ud800"):
        assert store.verify(near) is None
    assert store.verify(text) is not None


def test_tokens_are_compared_in_constant_time_with_all_of_them(
    store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the time that a comparison takes nor their number may tell how near a guess was."""
    first = store.new("viewer")
    store.new("viewer")
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return real(one, other)

    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert store.verify(first) is not None
    given = hashlib.sha256(first.encode()).hexdigest()
    assert compared == [(token.sha256, given) for token in store.list()]


def test_a_revoked_token_lets_nobody_in_and_others_stay(store: TokenStore) -> None:
    gone, stays = store.new("admin", "gone"), store.new("viewer", "stays")
    store.revoke(store.list()[0].id)
    assert store.verify(gone) is None
    assert store.verify(stays) is not None
    with pytest.raises(PraxisError) as caught:
        store.revoke("nothing")
    assert caught.value.code == "not_found"


def test_a_running_agent_sees_what_another_process_changes(store: TokenStore, path: Path) -> None:
    command = TokenStore(path)
    assert not store.any()
    text = command.new("viewer")
    assert store.any() and store.verify(text) is not None
    command.revoke(command.list()[0].id)
    assert not store.any() and store.verify(text) is None
    text = command.new("viewer")
    assert store.verify(text) is not None
    path.unlink()
    assert store.verify(text) is None


def test_two_commands_at_once_lose_no_token(store: TokenStore, path: Path) -> None:
    first = store.new("viewer")
    other = TokenStore(path)
    made: list[str] = []
    thread = threading.Thread(target=lambda: made.append(other.new("admin")))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # somebody is changing the file
        thread.start()
        thread.join(0.05)
        assert thread.is_alive() and not made
    finally:
        os.close(folder)
    thread.join(5)
    assert store.verify(first) is not None and store.verify(made[0]) is not None


GOOD: dict[str, Any] = {"id": "1", "role": "viewer", "name": "n", "sha256": "0" * 64}


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[]",
        b'{"tokens": {"a": 1}}',
        b"\xff",
        b"[" * 100_000,
        *(
            json.dumps({"tokens": [GOOD | change]}).encode()
            for change in (
                {"role": "root"},
                {"role": ["viewer"]},
                {"sha256": "0" * 63},
                {"sha256": "\u00e9" * 64},
                {"sha256": None},
                {"id": 1},
                {"more": 1},
            )
        ),
    ],
)
def test_a_damaged_file_lets_nobody_in_and_is_not_overwritten(store: TokenStore, path: Path, damaged: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damaged)
    for use in (store.list, store.any, lambda: store.verify("x"), lambda: store.new("admin")):
        with pytest.raises(PraxisError, match="damaged") as caught:
            use()
        assert (caught.value.code, caught.value.where) == ("invalid", str(path))
    assert path.read_bytes() == damaged


def test_what_cannot_be_written_is_told_and_leaves_no_scratch(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PraxisError, match="cannot be used"):
        TokenStore(tmp_path / "file" / "tokens.json").new("viewer")
    taken = tmp_path / "folder" / "tokens.json"
    taken.mkdir(parents=True)
    with pytest.raises(PraxisError, match="cannot be used"):
        TokenStore(taken).new("viewer")
    assert [entry.name for entry in taken.parent.iterdir()] == ["tokens.json"]


@pytest.mark.parametrize("name", ["x" * (MAX_NAME + 1), "a\nb", "\x1b[31m"])
def test_a_name_is_short_and_printable(store: TokenStore, path: Path, name: str) -> None:
    with pytest.raises(PraxisError, match="name"):
        store.new("viewer", name)
    assert not path.exists()


def test_as_many_tokens_as_are_allowed_can_be_read_again(store: TokenStore, path: Path) -> None:
    path.parent.mkdir()
    longest = "\U0001f600" * MAX_NAME
    full = [GOOD | {"id": "0" * 8, "role": "operator", "name": longest}] * (MAX_TOKENS - 1)
    path.write_text(json.dumps({"version": 1, "tokens": full}))
    text = store.new("operator", longest)
    assert path.stat().st_size < MAX_FILE
    assert TokenStore(path).verify(text) is not None
    with pytest.raises(PraxisError) as caught:
        store.new("viewer")
    assert caught.value.code == "conflict"


class _NoFile(TokenStore):
    """One token for many examples."""

    def list(self) -> tuple[tokens.Token, ...]:
        return (tokens.Token("1", "admin", "n", hashlib.sha256(b"pxt1-real").hexdigest()),)


_SHARED = _NoFile(Path("/nowhere"))
