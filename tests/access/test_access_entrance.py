"""What every listener asks first: Host, Origin, and who is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from praxis.access.entrance import LOCAL, Entrance, check_binding
from praxis.access.principal import Principal
from praxis.access.tokens import TokenStore
from praxis.model.errors import PraxisError

NO_TOKENS = TokenStore(Path("/nonexistent/tokens.json"))
LOOPBACK = Entrance(
    listener="loopback", allowed_hosts=(), allowed_origins=(), bound_host="127.0.0.1", insecure=False, tokens=NO_TOKENS
)
NETWORK = attrs.evolve(LOOPBACK, listener="network", bound_host="0.0.0.0")
UNIX = attrs.evolve(LOOPBACK, listener="unix", bound_host="")


def refusal(entrance: Entrance, *headers: tuple[str, str], arrived: str = "") -> tuple[str, Any]:
    """Code and status of the refusal; ("", None) for whoever is let in."""
    try:
        entrance.admit(headers, arrived=arrived)
    except PraxisError as error:
        return error.code, error.data.get("status")
    return "", None


ADMITTED = ("", None)
FOREIGN_HOST = ("denied", 421)
FOREIGN_ORIGIN = ("denied", 403)
NO_TOKEN = ("unauthenticated", None)

# -- Host -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000", "localhost:99999"]
)
def test_a_loopback_host_is_ours(host: str) -> None:
    assert LOOPBACK.admit([("Host", host)]) == LOCAL
    assert refusal(attrs.evolve(LOOPBACK, bound_host="0.0.0.0"), ("host", host)) == ADMITTED


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.example", "localhost.evil.example", "evil.example:8000", "127.0.0.1.evil.example", "0.0.0.0"),
        *("localhost:", "localhost:a", "localhost:1:2", "user@localhost", "localhost/", "localhost ", " localhost"),
        *("localhost\n", "::1", "[::1", "::1]", "[localhost]", "localhost#", "localhost?x", "localhost:123456", "*"),
        *("127.0.0.2", "localhost,localhost", "\x00", "\uff4cocalhost"),
    ],
)
def test_every_other_host_is_foreign(host: str) -> None:
    assert refusal(LOOPBACK, ("Host", host)) == FOREIGN_HOST


def test_exactly_one_host_must_be_named() -> None:
    assert refusal(LOOPBACK) == FOREIGN_HOST
    assert refusal(LOOPBACK, ("Host", "localhost"), ("HOST", "localhost")) == FOREIGN_HOST


def test_the_local_socket_takes_any_host() -> None:
    for headers in ([], [("Host", "evil.example")], [("Host", "a"), ("Host", "b")]):
        assert UNIX.admit(headers) == LOCAL


@pytest.mark.parametrize(
    ("bound", "host"),
    [("192.0.2.1", "192.0.2.1:8000"), ("2001:db8::1", "[2001:db8::1]:1"), ("2001:DB8::1", "[2001:db8::1]")],
)
def test_the_bound_address_is_ours(bound: str, host: str) -> None:
    assert refusal(attrs.evolve(NETWORK, bound_host=bound, insecure=True), ("Host", host)) == ADMITTED
    assert refusal(LOOPBACK, ("Host", host)) == FOREIGN_HOST


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", ""])
def test_the_address_of_every_interface_is_the_name_of_none(bound: str) -> None:
    entrance = attrs.evolve(NETWORK, bound_host=bound, insecure=True)
    assert refusal(entrance, ("Host", f"[{bound}]" if ":" in bound else bound)) == FOREIGN_HOST


@pytest.mark.parametrize(
    ("arrived", "host"),
    [
        *(("192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1:8000"), ("::ffff:192.0.2.1", "192.0.2.1:1")),
        *(("2001:db8::1", "[2001:DB8::1]:1"), ("2001:db8::1", "[2001:db8:0::1]"), ("fe80::1%eth0", "[fe80::1]")),
    ],
)
@pytest.mark.parametrize("bound", ["0.0.0.0", "::", ""])
def test_on_all_addresses_the_one_that_a_connection_arrived_on_is_ours(arrived: str, host: str, bound: str) -> None:
    entrance = attrs.evolve(NETWORK, bound_host=bound, insecure=True)
    assert refusal(entrance, ("Host", host), arrived=arrived) == ADMITTED
    assert refusal(entrance, ("Host", host), ("Origin", f"http://{host}"), arrived=arrived) == ADMITTED
    assert refusal(entrance, ("Host", host)) == FOREIGN_HOST
    assert refusal(entrance, ("Host", host), arrived="192.0.2.9") == FOREIGN_HOST
    assert refusal(attrs.evolve(entrance, bound_host="192.0.2.7"), ("Host", host), arrived=arrived) == FOREIGN_HOST
    assert refusal(entrance, ("Host", host), ("Origin", "http://evil.example"), arrived=arrived) == FOREIGN_ORIGIN


@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.2",
        "evil.example",
        "192.0.2.1.evil.example",
        "[192.0.2.1]",
        "192.0.2.01",
        "3221225985",
        "[::ffff:c000:201]",
    ],
)
def test_a_name_or_another_address_is_not_the_one_that_a_connection_arrived_on(host: str) -> None:
    entrance = attrs.evolve(NETWORK, insecure=True)
    headers = [("Host", host), ("Origin", f"http://{host}")]
    assert refusal(entrance, *headers, arrived="192.0.2.1") == FOREIGN_HOST


def test_further_hosts_are_those_of_the_configuration() -> None:
    entrance = attrs.evolve(LOOPBACK, allowed_hosts=("Agent.Example", "other.example:9"))
    for host in ("agent.example", "AGENT.example:8000", "other.example:9"):
        assert refusal(entrance, ("Host", host)) == ADMITTED
    for host in ("other.example", "other.example:8", "sub.agent.example", "agent.example.evil"):
        assert refusal(entrance, ("Host", host)) == FOREIGN_HOST
    anything = attrs.evolve(LOOPBACK, allowed_hosts=("*",))
    assert refusal(anything, ("Host", "evil.example:1")) == ADMITTED
    assert refusal(anything, ("Host", "e@vil")) == FOREIGN_HOST


PIECES = st.sampled_from(["localhost", "127.0.0.1", "[::1]", "Agent.Example", "evil", ".", ":", "8000", "@", "/", "\n"])
OURS = re.compile(r"(localhost|127\.0\.0\.1|\[::1\]|agent\.example)(:[0-9]{1,5})?", re.IGNORECASE | re.ASCII)


@given(st.lists(PIECES | st.text(max_size=3), max_size=4).map("".join))
@example("localhost:\uff11")
def test_our_names_pass_and_nothing_else_does(host: str) -> None:
    entrance = attrs.evolve(LOOPBACK, allowed_hosts=("agent.example",))
    assert (refusal(entrance, ("Host", host)) == ADMITTED) == (OURS.fullmatch(host) is not None)


# -- Origin ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
def test_a_page_of_the_agent_itself_may_call_it(host: str, scheme: str) -> None:
    assert refusal(LOOPBACK, ("Host", host), ("Origin", f"{scheme}://{host}")) == ADMITTED


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "", "http://evil.example", "http://localhost:3000", "http://localhost", "https://127.0.0.1:8000"),
        *("file://localhost:8000", "localhost:8000", "http://localhost:8000/", "http://localhost:8000@evil.example"),
        *("*", "ws://localhost:8000", "http://localhost:8000.evil.example"),
    ],
)
@pytest.mark.parametrize("entrance", [LOOPBACK, UNIX])
def test_pages_of_others_may_not(entrance: Entrance, origin: str) -> None:
    assert refusal(entrance, ("Host", "localhost:8000"), ("Origin", origin)) == FOREIGN_ORIGIN


def test_a_page_that_names_its_own_host_is_not_ours() -> None:
    """DNS rebinding: the attacker's name points here, and Host and Origin agree."""
    headers = [("Host", "evil.example"), ("Origin", "http://evil.example")]
    assert refusal(LOOPBACK, *headers) == FOREIGN_HOST
    assert refusal(UNIX, *headers) == FOREIGN_ORIGIN


def test_further_origins_are_those_of_the_configuration() -> None:
    entrance = attrs.evolve(LOOPBACK, allowed_origins=("https://Console.example", "http://localhost:3000"))
    host = ("Host", "localhost:8000")
    for origin in ("https://console.example", "HTTPS://CONSOLE.EXAMPLE", "http://localhost:3000"):
        assert refusal(entrance, host, ("Origin", origin)) == ADMITTED
    for origin in ("http://console.example", "https://console.example:8443", "https://sub.console.example"):
        assert refusal(entrance, host, ("Origin", origin)) == FOREIGN_ORIGIN
    twice = [("Origin", "https://console.example")] * 2
    assert refusal(entrance, host, *twice) == FOREIGN_ORIGIN


@given(st.text(max_size=40))
def test_no_invented_origin_passes(origin: str) -> None:
    assume(origin.lower() not in ("http://localhost", "https://localhost"))
    assert refusal(LOOPBACK, ("Host", "localhost"), ("Origin", origin)) == FOREIGN_ORIGIN


# -- who is there ---------------------------------------------------------------------------------


@pytest.fixture
def tokens(tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path / "tokens.json")


HOST = ("Host", "localhost")


def test_callers_of_a_loopback_listener_and_of_the_socket_are_trusted() -> None:
    assert LOOPBACK.admit([HOST]) == UNIX.admit([]) == LOCAL == Principal("local", "local", "admin")


def test_others_show_a_token(tokens: TokenStore) -> None:
    entrance = attrs.evolve(NETWORK, tokens=tokens)
    assert refusal(entrance, HOST) == NO_TOKEN
    text = tokens.new("viewer", "ann")
    assert refusal(entrance, HOST) == NO_TOKEN
    for scheme in ("Bearer", "bearer", "BEARER "):
        principal = entrance.admit([HOST, ("authorization", f"{scheme} {text}")])
        assert (principal.kind, principal.role) == ("token", "viewer")
        assert principal.name.startswith("ann (")
    tokens.revoke(tokens.list()[0].id)
    assert refusal(entrance, HOST, ("Authorization", f"Bearer {text}")) == NO_TOKEN


@pytest.mark.parametrize("entrance", [LOOPBACK, NETWORK, UNIX, attrs.evolve(NETWORK, insecure=True)])
def test_a_wrong_token_is_refused_also_where_none_is_needed(entrance: Entrance, tokens: TokenStore) -> None:
    text = tokens.new("admin")
    entrance = attrs.evolve(entrance, tokens=tokens)
    for credentials in ("", "Bearer", "Bearer ", "Bearer x", f"Basic {text}", text, f"Bearer {text}x", f"Bearer{text}"):
        assert refusal(entrance, HOST, ("Authorization", credentials)) == NO_TOKEN
    twice = [("Authorization", f"Bearer {text}")] * 2
    assert refusal(entrance, HOST, *twice) == NO_TOKEN


def test_a_token_on_a_trusted_listener_gives_its_role_and_no_more(tokens: TokenStore) -> None:
    text = tokens.new("viewer")
    principal = attrs.evolve(LOOPBACK, tokens=tokens).admit([HOST, ("Authorization", f"Bearer {text}")])
    assert principal.role == "viewer"


def test_insecure_lets_everybody_in_but_no_foreign_page() -> None:
    entrance = attrs.evolve(NETWORK, insecure=True)
    assert entrance.admit([HOST]) == LOCAL
    assert refusal(entrance, HOST, ("Origin", "http://evil.example")) == FOREIGN_ORIGIN


def test_a_good_token_does_not_excuse_a_foreign_host_or_page(tokens: TokenStore) -> None:
    token = ("Authorization", f"Bearer {tokens.new('admin')}")
    entrance = attrs.evolve(NETWORK, tokens=tokens)
    assert refusal(entrance, token, ("Host", "evil.example")) == FOREIGN_HOST
    assert refusal(entrance, token, HOST, ("Origin", "http://evil.example")) == FOREIGN_ORIGIN


# -- binding --------------------------------------------------------------------------------------


def test_a_wide_binding_is_refused_without_token_or_insecure(tokens: TokenStore) -> None:
    def bind(*, loopback: bool = False, insecure: bool = False) -> None:
        check_binding("0.0.0.0", loopback=loopback, insecure=insecure, tokens=tokens, where="http.host")

    with pytest.raises(PraxisError, match=r"0\.0\.0\.0 can be reached by others") as caught:
        bind()
    assert (caught.value.code, caught.value.where) == ("invalid", "http.host")
    assert "praxis token new" in caught.value.hint and "access.insecure" in caught.value.hint
    bind(loopback=True)
    bind(insecure=True)
    tokens.new("viewer")
    bind()
    tokens.revoke(tokens.list()[0].id)
    with pytest.raises(PraxisError):
        bind()
