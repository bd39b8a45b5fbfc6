"""Agents find each other on every kind of segment, without being told anything but the network's key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.netns.netns_kit import Agent, agents, until, until_all_connected
from tests.support.namespaces import Condition, Place, needs_namespaces, no_broadcast, no_multicast

pytestmark = needs_namespaces

AT_ONCE = 1.0
"""Seconds from the announcement of the last one on, within which everybody knows it."""


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


def until_all_found(*together: Agent) -> None:
    """Each has a line to each other one, and heard of it soon enough."""
    until_all_connected(*together)
    announced = max(agent.ready_at for agent in together)
    late = {
        f"{peer['name']} by {agent.name}": peer["found_at"] - announced
        for agent in together
        for peer in agent.peers().values()
        if peer["found_at"] - announced > AT_ONCE
    }
    assert not late


def assert_all_call_each_other(together: Sequence[Agent]) -> None:
    for one in together:
        for other in together:
            if one is not other:
                assert one.call(f"{other.name}:echo", text=f"from {one.name}") == f"from {one.name}"


@pytest.mark.parametrize("carries", [no_multicast, no_broadcast], ids=["broadcast", "multicast"])
def test_hosts_without_a_default_route_find_each_other_by_one_means_alone(
    place: Place, tmp_path: Path, carries: Callable[[bytes], bool]
) -> None:
    a, b, c = (place.host(name) for name in "abc")
    switch = place.segment(a, b, c)
    switch.condition = Condition(carries=carries)
    [route] = a.run("ip", "route").splitlines()
    assert route.startswith("10.77.0.0/24 dev eth0 ")
    # IPv6 would multicast as well, and here each means is looked at by itself.
    with agents(place, tmp_path, "p2p.discovery.ipv6=false", a=a, b=b, c=c) as three:
        until_all_found(*three)
        assert_all_call_each_other(three)
    assert switch.dropped > 0  # what the network does not carry was sent as well


def test_a_host_on_two_segments_is_found_on_both_at_its_address_there(place: Place, tmp_path: Path) -> None:
    left, middle, right = (place.host(name) for name in ("left", "middle", "right"))
    place.segment(left, middle, net="10.77.1")
    second = place.switch()
    for host, address in ((right, "10.77.2.1/24"), (middle, "10.77.2.2/24")):
        device = "eth0" if host is right else "eth1"
        second.plug(host, device)
        host.up(device, address)
    with agents(place, tmp_path, left=left, middle=middle, right=right) as (at_left, at_middle, at_right):
        until_all_found(at_left, at_middle)
        until_all_found(at_middle, at_right)
        hosts = [agent.peers()["middle"]["address"].rpartition(":")[0] for agent in (at_left, at_right)]
        assert hosts == ["10.77.1.2", "10.77.2.2"]
        assert_all_call_each_other((at_left, at_middle))
        assert_all_call_each_other((at_middle, at_right))
        assert at_left.connected() == at_right.connected() == {"middle"}


def test_a_host_beyond_a_router_is_found_by_asking_it(place: Place, tmp_path: Path) -> None:
    near, router, far = (place.host(name) for name in ("near", "router", "far"))
    place.segment(near, router, net="10.77.1")
    second = place.switch()
    for host, device, address in ((far, "eth0", "10.77.2.1/24"), (router, "eth1", "10.77.2.2/24")):
        second.plug(host, device)
        host.up(device, address)
    near.run("ip", "route", "add", "10.77.2.0/24", "via", "10.77.1.2")
    far.run("ip", "route", "add", "10.77.1.0/24", "via", "10.77.2.2")
    router.inside(lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
    with agents(place, tmp_path, at_far=far) as (other,):
        with agents(place, tmp_path, at_near=near) as (stranger,):
            stranger.stop()
            assert not other.peers()
        with agents(place, tmp_path, "p2p.discovery.targets=10.77.2.1", asks=near) as (one,):
            until_all_found(one, other)
            assert_all_call_each_other((one, other))


def test_hosts_with_link_local_ipv6_addresses_alone_find_each_other(place: Place, tmp_path: Path) -> None:
    hosts = [place.host(name) for name in "abc"]
    switch = place.switch()
    for host in hosts:
        switch.plug(host)
        host.up("eth0")
        assert "inet 10" not in host.run("ip", "address")
    a, b, c = hosts
    with agents(place, tmp_path, "p2p.host=::", a=a, b=b, c=c) as three:
        until_all_found(*three)
        assert_all_call_each_other(three)
        assert all(peer["address"].startswith("[fe80::") for agent in three for peer in agent.peers().values())
        # Broadcasts of hosts without an IPv4 address come from 0.0.0.0, which is the host itself for whoever dials it.
        assert not any("this is the agent itself" in agent.log for agent in three)
        a.run("ss", "--kill", "--tcp", "state", "established")
        until_all_connected(*three, patience=5)
        assert_all_call_each_other(three)


def test_two_agents_of_one_host_and_one_of_another_find_each_other(place: Place, tmp_path: Path) -> None:
    one, other = place.host("one"), place.host("other")
    place.segment(one, other)
    with agents(place, tmp_path, "p2p.port=0", a=one, b=one, c=other) as three:
        until_all_found(*three)
        assert_all_call_each_other(three)


def test_agents_bound_to_loopback_are_found_on_their_host_and_nowhere_else(place: Place, tmp_path: Path) -> None:
    one, other = place.host("one"), place.host("other")
    place.segment(one, other)
    with agents(place, tmp_path, "p2p.host=127.0.0.1", "p2p.port=0", a=one, b=one, c=other) as (a, b, c):
        until_all_found(a, b)
        assert_all_call_each_other((a, b))
        assert not c.peers()
        assert set(a.peers()) == {"b"}


def test_an_agent_that_starts_later_is_found_at_once_and_its_goodbye_heard(place: Place, tmp_path: Path) -> None:
    one, other = place.host("one"), place.host("other")
    place.segment(one, other)
    with agents(place, tmp_path, early=one) as (early,):
        with agents(place, tmp_path, late=other) as (late,):
            until_all_found(early, late)
            late.stop()
            until(lambda: early.peers()["late"]["state"] == "left", patience=2)
        with agents(place, tmp_path, late=other) as (late,):  # the same one again: its state is there still
            until_all_connected(early, late, patience=3)
            assert_all_call_each_other((early, late))
