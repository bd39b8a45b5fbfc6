"""Lines that break: whoever waits for an answer is told at once, or soon, and the network heals by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import pytest

from tests.netns.netns_kit import QUICK, Agent, Call, agents, until, until_all_connected
from tests.support.namespaces import Place, Switch, needs_namespaces

pytestmark = needs_namespaces

AT_ONCE = 5.0
"""Seconds within which what the other side's kernel says is passed on. It takes milliseconds; the rest is the share of
a busy machine. That it was the kernel and not silence is seen from the reason."""
SILENCE = 10.0
"""Seconds until silence is taken for the end, with `QUICK`: a pause of 1.2, a ping of 1, and the machine's share."""
UNKNOWN_FATE = "whether the call ran there is not known"


@attrs.frozen
class Network:
    """Four hosts with an agent each, on one switch."""

    switch: Switch
    agents: Sequence[Agent]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Place() as place:
        a, b, c, d = (place.host(name) for name in "abcd")
        switch = place.segment(a, b, c, d)
        with agents(place, tmp_path_factory.mktemp("four"), *QUICK, a=a, b=b, c=c, d=d) as four:
            yield Network(switch, four)


@pytest.fixture
def network(running: Network) -> Network:
    """The network, whole."""
    running.switch.part()
    for agent in running.agents:
        running.switch.put_back(agent.host)
        if not agent.running:
            agent.begin()
            agent.wait_ready()
    until_all_connected(*running.agents)
    return running


def test_a_call_fails_at_once_when_the_peers_process_dies(network: Network) -> None:
    a, b, *_ = network.agents
    call = Call(a, "b:never")
    b.kill()  # its kernel ends the line in order
    problem = call.problem(AT_ONCE)
    assert problem.code == "unavailable"
    # What its kernel says depends on whether something had come that it had not read.
    cuts = ("the connection was cut", "[Errno 104] Connection reset by peer")
    assert problem.detail in [f"the line to b is lost: {cut}; {UNKNOWN_FATE}" for cut in cuts]
    assert "b:echo" in a.problem_of("b:echo", text="x").detail
    b.begin()
    b.wait_ready()
    until_all_connected(*network.agents, patience=10)
    assert a.call("b:echo", text="back") == "back"


def test_a_call_fails_at_once_when_the_connection_is_reset(network: Network) -> None:
    a, b, *_ = network.agents
    call = Call(a, "b:never")
    # Every connection of b ends with a RST, as when a firewall forgets it or the machine is swapped.
    b.host.run("ss", "--kill", "--tcp", "state", "established")
    problem = call.problem(AT_ONCE)
    assert problem.code == "unavailable"
    assert problem.detail == f"the line to b is lost: [Errno 104] Connection reset by peer; {UNKNOWN_FATE}"
    until_all_connected(*network.agents, patience=10)
    assert a.call("b:echo", text="back") == "back"


def test_a_call_fails_soon_when_the_cable_is_pulled_and_the_line_comes_back_with_it(network: Network) -> None:
    a, b, *_ = network.agents
    calls = [Call(a, "b:never"), Call(b, "a:never")]
    network.switch.pull(b.host)
    for call in calls:
        problem = call.problem(SILENCE)
        assert problem.code == "unavailable"
        assert UNKNOWN_FATE in problem.detail
    assert not a.peers()["b"]["connected"]
    assert "b:echo" in a.problem_of("b:echo", text="x").detail
    assert "c" in a.connected()
    network.switch.put_back(b.host)
    until_all_connected(*network.agents)
    assert a.call("b:echo", text="back") == "back"


def test_the_halves_of_a_parted_network_go_on_and_grow_together_again(network: Network) -> None:
    a, b, c, d = network.agents
    across = [Call(a, "c:never"), Call(d, "b:never")]
    network.switch.part([a.host, b.host], [c.host, d.host])
    assert a.call("b:echo", text="near") == "near"
    for call in across:
        problem = call.problem(SILENCE)
        assert problem.code == "unavailable"
        assert problem.detail.endswith(UNKNOWN_FATE)
    for agent, near in ((a, "b"), (b, "a"), (c, "d"), (d, "c")):
        until(lambda agent=agent, near=near: agent.connected() == {near})  # type: ignore[misc]
    assert c.call("d:echo", text="near") == "near"
    network.switch.part()
    until_all_connected(*network.agents)
    assert a.call("c:echo", text="far") == "far"
    assert d.call("b:echo", text="far") == "far"


def test_an_agent_whose_host_gets_another_address_is_reached_there(network: Network) -> None:
    a, b, *_ = network.agents
    call = Call(a, "b:never")
    b.host.ip("address del 10.77.0.2/24 dev eth0", "address add 10.77.0.99/24 broadcast + dev eth0")
    assert call.problem(SILENCE).code == "unavailable"
    until_all_connected(*network.agents)
    assert a.call("b:echo", text="moved") == "moved"
    assert b.call("a:echo", text="moved") == "moved"
