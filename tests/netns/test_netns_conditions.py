"""A bad network: slow, uneven, with frames lost and doubled. Nothing is lost or done twice above it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from tests.netns.netns_kit import Agent, agents, until, until_all_connected
from tests.support.namespaces import Condition, Place, Switch, needs_namespaces

pytestmark = needs_namespaces

DELAY = 0.03
BAD = Condition(delay=DELAY, jitter=0.02, loss=0.03, duplication=0.05)


@attrs.frozen
class Network:
    switch: Switch
    agents: Sequence[Agent]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Three hosts whose network is bad from the beginning."""
    with Place() as place:
        a, b, c = (place.host(name) for name in "abc")
        switch = place.segment(a, b, c, seed=7)
        switch.condition = BAD
        with agents(place, tmp_path_factory.mktemp("bad"), a=a, b=b, c=c) as three:
            until_all_connected(*three)
            yield Network(switch, three)


def test_agents_find_each_other_though_beacons_are_lost_late_and_doubled(network: Network) -> None:
    assert network.switch.dropped > 0
    for agent in network.agents:
        assert agent.connected() == {other.name for other in network.agents} - {agent.name}


def test_every_call_is_made_once_and_answered_once(network: Network) -> None:
    a, b, _ = network.agents
    before = str(b.call("a:count"))
    texts = [f"text {number}" for number in range(100)]
    with ThreadPoolExecutor(10) as callers:
        assert list(callers.map(lambda text: b.call("a:echo", text=text), texts)) == texts
    assert int(str(a.call("a:count"))) - int(before) == len(texts)


def test_a_long_answer_arrives_whole(network: Network) -> None:
    a, *_ = network.agents
    size = 400_000
    assert a.call("b:long", bytes=size) == "x" * size


def test_a_ping_tells_how_slow_the_network_is(network: Network) -> None:
    a, _, _ = network.agents
    rtt = a.client().request("POST", "/peers/c/ping")["rtt_ms"] / 1000
    assert 2 * DELAY <= rtt < 2


def test_a_line_outlives_a_moment_in_which_everything_is_lost(network: Network) -> None:
    a, b, _ = network.agents
    # One of the two has a port in it that another line would not have.
    line = (a.peers()["b"]["address"], b.peers()["a"]["address"])
    dropped = network.switch.dropped
    network.switch.condition = Condition(loss=1.0)
    try:
        with ThreadPoolExecutor(1) as caller:
            answer = caller.submit(a.call, "b:echo", text="patience")
            until(lambda: network.switch.dropped > dropped + 2)
            network.switch.condition = BAD
            assert answer.result(20) == "patience"
    finally:
        network.switch.condition = BAD
    assert (a.peers()["b"]["address"], b.peers()["a"]["address"]) == line
