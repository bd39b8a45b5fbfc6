"""What each principal may do, and what peers may see."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis.access.authorize import Action, Policy
from praxis.access.principal import ROLES, Principal, Role
from praxis.config.schema import Export, PeerExport
from praxis.model.errors import PraxisError
from praxis.model.tool import Tool

BOB = Principal("peer", "bob", "admin", peer_id="pxbob")


def tool(ref: str) -> Tool:
    source, name = ref.split("/")
    return Tool("agent-1", source, {"name": name, "inputSchema": {}})


READ, WRITE, GREET = tool("fs/read_file"), tool("fs/write_file"), tool("context/greet")
ALL = [READ, WRITE, GREET]


def may(policy: Policy, principal: Principal, action: Action, object: Tool | None = None) -> bool:
    try:
        policy.authorize(principal, action, object)
    except PraxisError as error:
        assert error.code == "denied"
        return False
    return True


@pytest.mark.parametrize(
    ("role", "allowed"),
    [("viewer", {"read"}), ("operator", {"read", "run"}), ("admin", {"read", "run", "admin"})],
)
def test_each_role_may_do_what_the_one_before_it_may_and_more(role: Role, allowed: set[str]) -> None:
    policy = Policy(Export(tools=("*",)))
    for principal in (Principal("local", "ann", role), Principal("token", "ann", role)):
        assert {action for action in get_args(Action) if may(policy, principal, action)} == allowed


def test_the_roles_are_in_their_order() -> None:
    assert ROLES == ("viewer", "operator", "admin") == get_args(Role)


def test_a_refusal_names_role_and_action() -> None:
    with pytest.raises(PraxisError, match="the role viewer may not run") as caught:
        Policy(Export()).authorize(Principal("token", "ann", "viewer"), "run")
    assert "praxis token new --role" in caught.value.hint


@pytest.mark.parametrize("action", ["read", "run", "admin"])
def test_a_peer_may_call_and_nothing_else_whatever_its_role(action: Action) -> None:
    policy = Policy(Export(tools=("*",)))
    assert may(policy, BOB, "call", READ)
    assert not may(policy, BOB, action)
    assert not may(policy, BOB, action, READ)
    assert not may(policy, BOB, "call")


@pytest.mark.parametrize(
    ("globs", "exported"),
    [
        ((), []),
        (("*",), ALL),
        (("fs/*",), [READ, WRITE]),
        (("fs/read_*", "greet"), [READ, GREET]),
        (("read_file",), [READ]),
        (("READ_FILE", "s/read_file", "read"), []),
    ],
)
def test_what_is_exported_can_be_seen_and_called_and_nothing_else(globs: tuple[str, ...], exported: list[Tool]) -> None:
    policy = Policy(Export(tools=globs))
    assert policy.offered(ALL) == policy.exported(ALL, BOB) == exported
    assert [tool for tool in ALL if may(policy, BOB, "call", tool)] == exported


@pytest.mark.parametrize(
    ("rule", "exported"),
    [
        (PeerExport(allow=("read_file",)), [READ]),
        (PeerExport(deny=("fs/write_*",)), [READ]),
        (PeerExport(allow=("fs/read_file",), deny=("read_file",)), []),
        (PeerExport(allow=("greet",)), []),
    ],
)
@pytest.mark.parametrize("by", ["bob", "pxbob"])
def test_a_rule_for_one_peer_narrows_what_all_may(rule: PeerExport, exported: list[Tool], by: str) -> None:
    policy = Policy(Export(tools=("fs/*",), peers={by: rule}))
    assert policy.exported(ALL, BOB) == exported
    assert [tool for tool in ALL if may(policy, BOB, "call", tool)] == exported
    assert policy.exported(ALL, Principal("peer", "eve", peer_id="pxeve")) == [READ, WRITE]
    assert policy.offered(ALL) == [READ, WRITE]


def test_rules_by_name_and_by_id_hold_both() -> None:
    peers = {"bob": PeerExport(deny=("write_file",)), "pxbob": PeerExport(deny=("read_file",))}
    assert Policy(Export(tools=("*",), peers=peers)).exported(ALL, BOB) == [GREET]


def test_a_refused_call_says_what_to_change() -> None:
    with pytest.raises(PraxisError, match="fs/read_file is not exported to bob") as caught:
        Policy(Export()).authorize(BOB, "call", READ)
    assert "export.tools" in caught.value.hint


GLOBS = st.lists(st.sampled_from(["*", "fs/*", "*_file", "greet", "context/*", "x"]), max_size=3).map(tuple)


@given(everybody=GLOBS, allow=GLOBS, deny=GLOBS)
def test_a_rule_never_widens(everybody: tuple[str, ...], allow: tuple[str, ...], deny: tuple[str, ...]) -> None:
    policy = Policy(Export(tools=everybody, peers={"bob": PeerExport(allow, deny)}))
    seen = policy.exported(ALL, BOB)
    assert all(tool in policy.offered(ALL) for tool in seen)
    assert seen == [tool for tool in ALL if may(policy, BOB, "call", tool)]
    if "*" in deny:
        assert not seen
