"""What docs/network.md says is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from praxis.config.load import load
from praxis.config.schema import Config
from praxis.dev import network
from praxis.model.peer import PeerState
from praxis.net.serve import open_listeners
from praxis.peers import authority, discovery, gossip, membership, neighbours
from praxis.peers.dialer import IDLE
from praxis.peers.known import KEEP
from praxis.peers.listener import MAX_LINES, MAX_PER_SOURCE
from praxis.peers.record import MAX_MEMBERS

SECURITY = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
TEXT = (Path(__file__).parents[2] / "docs" / "network.md").read_text()


@pytest.mark.parametrize("example", re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
def test_every_example_is_a_configuration(example: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(example)
    assert load(path, environ={}).config != Config()


def test_every_state_is_explained() -> None:
    assert set(re.findall(r"^\| (\w+) \| (?!meaning)", TEXT, re.MULTILINE)) >= set(get_args(PeerState))


def test_the_figures_are_those_of_the_code() -> None:
    p2p = Config().p2p
    limits = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| [^|]*\|$", TEXT, re.MULTILINE))
    assert limits["requests of one peer at once"] == str(p2p.limits.inflight)
    assert limits["bytes of one request or answer"] == f"{p2p.limits.message // 2**20} MiB"
    assert limits["lines that have not shown who they are"] == f"{p2p.limits.handshakes}, {MAX_PER_SOURCE} per address"
    assert limits["lines in all"] == str(MAX_LINES)
    assert limits["agents in the directory"] == str(MAX_MEMBERS)
    for words in (
        f"({discovery.GROUP})",
        f"({discovery.GROUP6})",
        f"all on port {p2p.discovery.port}",
        f"asks the other every {p2p.keepalive.interval:g} s",
        f"heard for {p2p.keepalive.timeout:g} s after",
        f"Up to `p2p.max_peers` agents, {p2p.max_peers},",
    ):
        assert words in TEXT, words
    assert (neighbours.COUNT, gossip.ROUND, IDLE, KEEP) == (16, 10.0, 300.0, 7 * 86400.0)
    assert all(words in TEXT for words in ("sixteen", "every ten seconds", "five minutes", "seven days"))


async def test_two_colons_are_every_address_of_both_families() -> None:
    listeners = await open_listeners("::", 0)
    assert {listener.socket.family.name for listener in listeners} == {"AF_INET6", "AF_INET"}
    assert len({listener.socket.getsockname()[1] for listener in listeners}) == 1
    for listener in listeners:
        await listener.aclose()


def test_the_figures_about_certificates_are_those_of_the_code() -> None:
    assert (authority.LEAF_DAYS, authority.CA_DAYS, authority.SLACK) == (365, 3650, 86400)
    assert membership.RENEW_AT == 2 / 3
    for words in ("counts for a year", "two thirds", "ten years", "a day between them is no trouble"):
        assert words in SECURITY, words


async def test_every_metric_of_the_room_is_explained_and_no_other(tmp_path: Path) -> None:
    explained = set(re.findall(r"`(praxis_p2p_\w+)`", TEXT))
    async with network(1, tmp_path) as (one,):
        shown = set(re.findall(r"^# TYPE (praxis_p2p_\w+)", one.agent.metrics.render(), re.MULTILINE))
    assert explained - {"praxis_p2p_certificate_left_seconds"} == shown


def test_every_event_about_peers_is_explained() -> None:
    sources = (Path(__file__).parents[2] / "praxis" / "peers").glob("*.py")
    published = {name for source in sources for name in re.findall(r'publish\(\s*"(peer\.\w+)"', source.read_text())}
    assert published == set(re.findall(r"`(peer\.\w+)`", TEXT))
