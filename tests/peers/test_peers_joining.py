"""Tokens, requests and grants: what they say, and that nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.model.errors import PraxisError
from praxis.peers.joining import MAX_TOKEN, Grant, JoinRequest, JoinToken, check_name

ISSUER = "px" + "a" * 52
TOKEN = JoinToken(("10.0.0.1:4001",), ISSUER, "0a1b2c3d4e5f", bytes(range(16)))


def test_a_token_is_one_short_word_and_says_where_the_issuer_is() -> None:
    text = TOKEN.text
    assert text.startswith("pxj1-")
    assert len(text) < 200
    assert JoinToken.parse(f"  {text}\n") == TOKEN
    assert "secret" not in repr(TOKEN)


@given(st.text(max_size=300))
def test_other_text_is_no_token_and_none_of_it_is_shown(text: str) -> None:
    for candidate in (text, "pxj1-" + text):
        with pytest.raises(PraxisError) as caught:
            JoinToken.parse(candidate)
        assert caught.value.code == "invalid"
        assert len(text) < 12 or text not in str(caught.value)


@given(st.integers(5, len(TOKEN.text) - 1), st.sampled_from("abcdefgh0123-_"))
def test_a_mistyped_token_is_told(at: int, letter: str) -> None:
    wrong = TOKEN.text[:at] + letter + TOKEN.text[at + 1 :]
    try:
        assert JoinToken.parse(wrong) == TOKEN  # the same letter, or spare bits at the end
    except PraxisError as error:
        assert "mistyped or cut off" in str(error)


def test_a_token_that_is_too_long_or_cut_off_is_told() -> None:
    for wrong, what in ((TOKEN.text[:-4], "cut off"), ("pxj1-" + "a" * MAX_TOKEN, "too long"), ("", "cut off")):
        with pytest.raises(PraxisError, match=what):
            JoinToken.parse(wrong)


def test_a_request_proves_the_secret_for_one_name_key_and_issuer() -> None:
    request = JoinRequest.of(TOKEN, "ann", bytes(32))
    assert JoinRequest.decode(request.encode()) == request
    assert request.proves(TOKEN.secret, ISSUER)
    assert not request.proves(bytes(16), ISSUER)
    assert not request.proves(TOKEN.secret, "px" + "b" * 52)
    for other in (JoinRequest.of(TOKEN, "bob", bytes(32)), JoinRequest.of(TOKEN, "ann", b"\1" * 32)):
        assert JoinRequest(other.token_id, "ann", bytes(32), other.proof).proves(TOKEN.secret, ISSUER) is False
    assert TOKEN.secret.hex() not in str(request.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["token", "name", "public"]), inner),
    max_leaves=8,
)


@given(JSON)
def test_garbage_is_no_request_and_no_grant(value: object) -> None:
    for decode in (JoinRequest.decode, Grant.decode):
        with pytest.raises(PraxisError) as caught:
            decode(value)
        assert caught.value.code == "invalid"


def test_a_request_with_one_wrong_field_is_told() -> None:
    good = JoinRequest.of(TOKEN, "ann", bytes(32)).encode()
    for field, value, what in (
        ("name", "", "no name"),
        ("name", "a b", "no name"),
        ("name", "x" * 65, "no name"),
        ("public", "AAAA", "32 bytes"),
        ("public", "+/=", "32 bytes"),
        ("proof", 7, "a proof"),
    ):
        with pytest.raises(PraxisError, match=what):
            JoinRequest.decode({**good, field: value})


def test_a_grant_comes_back_as_it_was() -> None:
    grant = Grant(b"cert", (b"ca", b"older"), (b"k" * 32,), "lab", ISSUER, 1, 2)
    assert Grant.decode(grant.encode()) == grant
    assert "kkkk" not in repr(grant)
    for field, value in (
        ("certificate", ""),
        ("authorities", []),
        ("beacon_keys", []),
        ("rendezvous", 1),
        ("issuer", None),
        ("not_before", True),
        ("not_after", 1.5),
    ):
        with pytest.raises(PraxisError, match="no grant"):
            Grant.decode({**grant.encode(), field: value})


def test_names_are_those_that_a_configuration_takes() -> None:
    assert check_name("praxis-agent_2.lab") == "praxis-agent_2.lab"
    for name in ("", "a/b", "a\nb", "é"):
        with pytest.raises(PraxisError):
            check_name(name)
