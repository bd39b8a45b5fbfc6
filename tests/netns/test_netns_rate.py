"""A cable of 100 Mbit/s: what is small does not wait for what is big."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.netns.netns_kit import Agent, Problem, agents, until_all_connected
from tests.support.namespaces import Place, cable, limit_rate, needs_namespaces

pytestmark = needs_namespaces

CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
"""Reno is in every kernel. What the machine has chosen may be BBR, which loses more than half of what it sends
through a queue as short as this one: the slowest calls would then show its timeouts of 200 ms."""
BIG = 3 * 1024 * 1024
BOUND = 0.1
"""Seconds that nine of ten small calls take at most."""
WORST = 0.25
"""Seconds that every one of them takes at most: none waits for a whole big answer, of which 0.25 s is the share."""
ROUND = 2.0
"""Seconds of calls: some eight big answers, which is all that the cable carries in that time."""
ROUNDS = 10
"""The best one counts: what else the machine does makes a round slower and never quicker."""


@attrs.frozen
class Round:
    """Seconds that small calls took."""

    took: list[float]

    def quantile(self, part: float) -> float:
        return sorted(self.took)[int(part * (len(self.took) - 1))]

    @property
    def good(self) -> bool:
        return self.quantile(0.9) <= BOUND and max(self.took) <= WORST

    def __str__(self) -> str:
        shown = ", ".join(f"p{100 * part:g} {self.quantile(part) * 1000:.0f} ms" for part in (0.5, 0.9, 0.99, 1))
        return f"{len(self.took)} small calls: {shown}"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Agent, Agent]]:
    with Place() as place:
        one, other = place.host("one"), place.host("other")
        cable(one, "eth0", other, "eth0")
        for host, address in ((one, "10.77.0.1/24"), (other, "10.77.0.2/24")):
            host.up("eth0", address)
            limit_rate(host, "eth0", "100mbit")
            host.inside(lambda: CONGESTION.write_text("reno"))
        with agents(place, tmp_path, f"agent.shared_dir={tmp_path}/shared", one=one, other=other) as (caller, owner):
            until_all_connected(caller, owner)
            yield caller, owner


@pytest.fixture
def filled(pair: tuple[Agent, Agent]) -> Iterator[list[str | Problem]]:
    """Two big answers are always under way; these are the ones that have come."""
    caller, _ = pair
    enough, answers = threading.Event(), list[str | Problem]()

    def ask_for_much() -> None:
        while not enough.is_set():
            answers.append(caller.call("other:long", bytes=BIG))

    asking = [threading.Thread(target=ask_for_much) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        yield answers
    finally:
        enough.set()
        for thread in asking:
            thread.join()


def test_small_calls_stay_quick_while_big_answers_fill_the_cable(
    pair: tuple[Agent, Agent], filled: list[str | Problem]
) -> None:
    caller, _ = pair

    def call_for_a_while() -> Round:
        took, began = list[float](), time.monotonic()
        while (now := time.monotonic()) < began + ROUND:
            assert isinstance(caller.call("other:list_files"), str)
            took.append(time.monotonic() - now)
        return Round(took)

    rounds = [call_for_a_while()]
    while not rounds[-1].good and len(rounds) < ROUNDS:
        rounds.append(call_for_a_while())
    for each in rounds:
        print(each)
    assert rounds[-1].good
    assert {len(answer) if isinstance(answer, str) else answer for answer in filled} == {BIG}
    carried = len(filled) * BIG * 8 / (len(rounds) * ROUND)
    assert carried > 100e6 / 3  # bits per second: the cable was in use
