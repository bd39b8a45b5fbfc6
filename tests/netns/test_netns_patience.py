"""What takes as long as a user's settings say. It all goes on at the same time, and the tests look at it one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.netns.netns_kit import Agent, Call, agents, until, until_all_connected
from tests.support.namespaces import Place, Switch, needs_namespaces

pytestmark = needs_namespaces

SILENCE = 30.0
"""Seconds within which a silent line is given up by default: a pause of at most 18, a ping of 10, and a margin."""
SHARE = 10.0
"""Seconds more that a busy machine gets before the test fails; the 28 are tested to the tenth under a virtual clock."""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slow")


@attrs.frozen
class Parted:
    """Two agents with default settings that could hear each other until a moment ago."""

    caller: Agent
    owner: Agent
    call: Call
    switch: Switch


@pytest.fixture(scope="module")
def parted(place: Place, folder: Path) -> Iterator[Parted]:
    one, other = place.host("one"), place.host("other")
    switch = place.segment(one, other)
    with agents(place, folder, caller=one, owner=other) as (caller, owner):
        until_all_connected(caller, owner)
        call = Call(caller, "owner:never")
        switch.part([one], [other])
        yield Parted(caller, owner, call, switch)


@pytest.fixture(scope="module")
def unplugged(place: Place, folder: Path) -> Iterator[tuple[Agent, Agent]]:
    """Two agents that had no network when they started, and have one now."""
    one, other = place.host("early1"), place.host("early2")
    with agents(place, folder, early1=one, early2=other) as (first, second):
        assert not first.peers()
        assert not second.peers()
        place.segment(one, other)
        yield first, second


@pytest.fixture(scope="module")
def chain(place: Place, folder: Path) -> Iterator[tuple[Agent, Agent, Agent]]:
    """Two segments with a host between them that is on both; it routes nothing."""
    left, middle, right = (place.host(name) for name in ("left", "middle", "right"))
    place.segment(left, middle, net="10.77.1")
    second = place.switch()
    for host, device, address in ((middle, "eth1", "10.77.2.1/24"), (right, "eth0", "10.77.2.2/24")):
        second.plug(host, device)
        host.up(device, address)
    with agents(place, folder, left=left, middle=middle, right=right) as (at_left, at_middle, at_right):
        yield at_left, at_middle, at_right


@pytest.fixture(autouse=True)
def all_begun(parted: Parted, unplugged: tuple[Agent, Agent], chain: tuple[Agent, Agent, Agent]) -> None:
    """Everything is under way before the first test waits."""


def test_segments_hear_of_each_other_through_the_host_between_them(chain: tuple[Agent, Agent, Agent]) -> None:
    left, middle, right = chain
    until(lambda: "right" in left.peers() and "left" in right.peers())
    until_all_connected(left, middle)
    until_all_connected(middle, right)
    # They cannot reach each other, and say so.
    assert left.connected() == right.connected() == {"middle"}
    assert middle.connected() == {"left", "right"}
    assert "right" in left.problem_of("right:echo", text="x").detail


def test_a_network_that_comes_after_the_agents_is_used(unplugged: tuple[Agent, Agent]) -> None:
    first, second = unplugged
    until_all_connected(first, second)  # after a look for new interfaces
    assert first.call("early2:echo", text="x") == "x"
    assert second.call("early1:echo", text="x") == "x"


def test_a_call_into_a_silent_partition_fails_in_time_with_the_default_settings(parted: Parted) -> None:
    problem = parted.call.problem(SILENCE + SHARE)
    assert problem.code == "unavailable"
    assert problem.detail.startswith("the line to owner is lost: ")
    assert problem.detail.endswith("; whether the call ran there is not known")
    until(lambda: not parted.owner.peers()["caller"]["connected"], patience=SILENCE + SHARE - problem.seconds)


def test_the_line_is_back_by_itself_after_the_partition(parted: Parted) -> None:
    until(lambda: not parted.caller.peers()["owner"]["connected"])
    parted.switch.part()
    until_all_connected(parted.caller, parted.owner)
    assert parted.caller.call("owner:echo", text="x") == "x"
    assert parted.owner.call("caller:echo", text="x") == "x"
