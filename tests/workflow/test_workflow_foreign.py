"""How A2A agents of the configuration are named: by name and by address, and nobody else."""

from __future__ import annotations

import pytest

from praxis.config.schema import A2aAgent
from praxis.model.errors import PraxisError
from praxis.model.tool import ToolRef
from praxis.workflow.foreign import ForeignAgents

URL = "https://agents.example:8443/travel"
FOREIGN = ForeignAgents("me", [A2aAgent("travel", URL), A2aAgent("other", "http://127.0.0.1:9/")])


def resolved(text: str, *peers: str) -> str:
    return str(FOREIGN.resolve(ToolRef.parse(text), peers.__contains__))


@pytest.mark.parametrize(
    "text",
    [
        "travel:book",
        "travel:travel/book",
        f"{URL}:book",
        f"{URL}/:travel/book",
        f"{URL}/.well-known/agent-card.json:book",
        "https://AGENTS.example:8443/travel:book",
    ],
)
def test_names_and_addresses_mean_the_tool_of_this_agent(text: str) -> None:
    assert str(ToolRef.parse(text)) == text
    assert resolved(text) == "me:travel/book"


def test_a_host_alone_with_a_port_is_an_address() -> None:
    assert resolved("http://127.0.0.1:9:ask") == "me:other/ask"


@pytest.mark.parametrize("text", ["book", "travel/book", "me:travel/book", "praxis-2:book", "fs/read_file"])
def test_all_other_names_stay_what_they_are(text: str) -> None:
    assert resolved(text, "praxis-2") == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("https://agents.example/travel:book", "not_found"),
        ("http://agents.example:8443/travel:book", "not_found"),
        ("https://agents.example:8443/travel/more:book", "not_found"),
        ("https://agents.example:99999/travel:book", "not_found"),
        ("https://[:book", "not_found"),
        ("travel:fs/book", "invalid"),
        (f"{URL}:fs/book", "invalid"),
    ],
)
def test_what_is_not_configured_is_refused(text: str, code: str) -> None:
    with pytest.raises(PraxisError) as refused:
        resolved(text)
    assert refused.value.code == code
    assert refused.value.hint


def test_a_name_that_a_peer_has_too_is_nobodys() -> None:
    with pytest.raises(PraxisError) as refused:
        resolved("travel:book", "travel")
    assert (refused.value.code, "me:travel/book" in refused.value.hint) == ("ambiguous", True)
    assert resolved(f"{URL}:book", "travel") == "me:travel/book", "an address is no peer's"


def test_where_no_address_can_be_a_name_there_is_none() -> None:
    for text in ("https://agents.example/travel", "ftp://a:b", "https://a b:c", "https:x/y/z"):
        with pytest.raises(PraxisError):
            ToolRef.parse(text)
