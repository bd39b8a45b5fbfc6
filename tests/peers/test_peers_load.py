"""What an agent says of its load, to whom and when, and what a peer makes of it."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from praxis.config.schema import Keepalive
from praxis.model.load import IDLE, Load
from praxis.observe.events import EventBus
from praxis.observe.load import LoadMeter
from praxis.observe.metrics import Metrics
from praxis.peers.link import PeerLink
from praxis.peers.load import FADES, FEATURE, FORGOTTEN, HELD, MIN_CPU, MIN_LAG, MOST, Word, decode, encode, rounded
from praxis.peers.load_news import EVERY, LOOK, RENEW, LoadNews
from praxis.peers.registry import PeerRegistry
from praxis.peers.request import PeerRequest
from praxis.wire.messages import Hello
from praxis.wire.session import Session
from praxis.workflow.scores import CALM
from tests.support.pipes import MemoryPipe, pipe_pair

LOADS = st.builds(Load, *[st.floats(0, 1e9)] * 3, st.floats(0, 1))

# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "step"),
    [
        (IDLE, IDLE),
        (Load(0.6, 0.1, 0.009, 0.49), IDLE),
        (Load(0.8), Load(1)),
        (Load(12, 2), Load(11, 2)),
        (Load(49, 3), Load(45, 3)),
        (Load(lag=0.010), Load(lag=0.011)),
        (Load(lag=0.030), Load(lag=0.032)),
        (Load(cpu=0.88), Load(cpu=0.9)),
        (Load(cpu=1.0), Load(cpu=1.0)),
    ],
)
def test_figures_are_rounded_to_a_few_steps(load: Load, step: Load) -> None:
    assert rounded(load) == step
    assert decode(encode(step)["p"]) == step
    assert (MIN_LAG, MIN_CPU) == (0.01, CALM), "what is told is what would count"


@given(LOADS)
def test_what_is_told_is_taken(load: Load) -> None:
    told = json.loads(json.dumps(encode(rounded(load))))["p"]
    assert all(type(told[key]) is int and 0 <= told[key] <= most for key, most in MOST.items())
    decode(told)


def test_keys_of_a_later_version_are_ignored() -> None:
    assert decode({"calls": 3, "memory": {"free": 1}}) == Load(3)


ABSURD: list[Any] = [
    None,
    [],
    "busy",
    5,
    {"calls": -1},
    {"calls": True},
    {"calls": 1.5},
    {"calls": math.nan},
    {"waiting": 10**300},
    {"lag": "1"},
    {"lag": None},
    {"cpu": 101},
    {"calls": 1, "cpu": [1]},
]


@pytest.mark.parametrize("value", ABSURD, ids=repr)
def test_what_is_absurd_is_none(value: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a number|is an object"):
        decode(value)


def test_a_word_that_is_not_renewed_fades() -> None:
    word = Word(Load(16, 4, 0.064, 0.8), at=100.0)
    assert word.now(100.0) == word.now(100.0 + HELD) == word.load
    assert word.now(100.0 + HELD + FADES) == Load(8, 2, 0.032, 0.4)
    assert word.now(100.0 + FORGOTTEN).calls < 0.1
    assert word.now(100.0 + FORGOTTEN + 0.1) is IDLE
    assert RENEW + LOOK < HELD < FORGOTTEN, "a renewal may be late"


# -- over a line -----------------------------------------------------------------------------------


@attrs.define
class Busy:
    """What an owner measures, and what one caller hears of it and when."""

    clock_began: float
    owner: PeerLink
    caller: PeerLink
    news: LoadNews
    metrics: Metrics
    meter: Any
    calls: list[int] = attrs.field(factory=lambda: [0, 0])
    heard: list[tuple[float, Load]] = attrs.field(factory=list)

    def hear(self, value: Any) -> None:
        self.news.hear(self.caller, value)
        assert self.caller.told is not None
        self.heard.append((self.caller.told.at - self.clock_began, self.caller.told.load))

    def count(self, what: str) -> float:
        lines = self.metrics.render().splitlines()
        found = [line for line in lines if line.startswith(f'praxis_p2p_load_messages_total{{what="{what}"}}')]
        return float(found[0].rpartition(" ")[2]) if found else 0.0


async def serve(request: PeerRequest) -> Any:
    await trio.sleep(float(request.params))


def make_link(pipe: MemoryPipe, name: str, other: str, features: frozenset[str]) -> PeerLink:
    hello = Hello(id=f"px{name}", name=name, boot=1, agent="praxis/test", features=features)
    session = Session(hello, dialer=name == "caller")
    return PeerLink(pipe, session, peer_id=f"px{other}", address="test", handler=serve, keepalive=Keepalive())


@asynccontextmanager
async def busy_owner(features: frozenset[str] = frozenset({FEATURE})) -> AsyncIterator[Busy]:
    one, two = pipe_pair()
    owner, caller = make_link(one, "owner", "caller", frozenset()), make_link(two, "caller", "owner", features)
    metrics = Metrics()
    registry = PeerRegistry("owner", bus=EventBus(clock=trio.current_time), clock=trio.current_time)
    meter: Any = SimpleNamespace(lag=0.0, cpu=0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(owner.run)
        nursery.start_soon(caller.run)
        assert await owner.wait_greeted() and await caller.wait_greeted()
        entry = registry.know("pxcaller")
        assert entry is not None
        registry.adopt(entry, owner)
        news = LoadNews(registry, metrics)
        here = Busy(trio.current_time(), owner, caller, news, metrics, meter)
        caller.on_notice = here.hear
        nursery.start_soon(news.run, meter, lambda: (here.calls[0], here.calls[1]))
        yield here
        assert not (owner.closed or caller.closed)
        nursery.cancel_scope.cancel()


async def test_an_idle_agent_says_nothing(autojump_clock: MockClock) -> None:
    async with busy_owner() as here:
        here.meter.lag, here.meter.cpu = 0.004, 0.3
        await trio.sleep(600)
        assert here.heard == []
        assert here.caller.told is None


async def test_what_changed_is_told_soon_and_then_at_most_every_few_seconds(autojump_clock: MockClock) -> None:
    async with busy_owner() as here:
        await trio.sleep(LOOK / 2)
        for second in range(60):
            here.calls[0] = (0, 40)[second // 7 % 2]
            await trio.sleep(1)
        times = [at for at, _ in here.heard]
        assert times[0] == pytest.approx(8, abs=0.1), "within a second, when it had been quiet"
        assert min(later - at for at, later in pairwise(times)) >= EVERY - 0.01
        assert len(times) > 5
        assert here.count("told") == here.count("heard") == len(times)


async def test_a_load_that_lasts_is_said_again_and_the_end_of_it_once(autojump_clock: MockClock) -> None:
    async with busy_owner() as here:
        here.calls[:] = [33, 9]
        here.meter.lag, here.meter.cpu = 0.03, 0.92
        await trio.sleep(60)
        (at, load), before = here.heard[-1], len(here.heard)
        assert load == Load(32, 8, 0.032, 0.9)
        assert before <= 2 + 60 / RENEW
        assert 60 - at <= RENEW
        here.calls[:] = [0, 0]
        here.meter.lag = here.meter.cpu = 0.0
        await trio.sleep(300)
        assert here.heard[-1][1] == IDLE
        assert len(here.heard) <= before + 3


async def test_a_peer_is_not_told_of_its_own_calls(autojump_clock: MockClock) -> None:
    async with busy_owner() as here, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(here.caller.call, "tool.call", 100)
            nursery.start_soon(here.caller.call, "mcp.subscribe", 100)
        await trio.sleep(0.1)
        here.calls[:] = [20, 4]
        await trio.sleep(20)
        assert here.heard == [], "all of them are its own"
        here.calls[:] = [24, 6]
        await trio.sleep(20)
        assert here.heard[-1][1] == Load(4, 1), "and of the waiting ones its share"
        nursery.cancel_scope.cancel()


async def test_who_does_not_know_these_events_gets_none(autojump_clock: MockClock) -> None:
    async with busy_owner(frozenset({"other"})) as here:
        here.calls[0] = 50
        await trio.sleep(60)
        assert here.heard == [] and here.count("told") == 0


async def test_what_is_absurd_is_counted_and_the_line_goes_on(autojump_clock: MockClock) -> None:
    async with busy_owner() as here:
        here.caller.on_notice = lambda value: here.news.hear(here.caller, value)
        here.owner.notify({"m": FEATURE, "p": {"calls": 7}})
        for value in ABSURD:
            if "nan" not in repr(value):  # that, JSON does not have
                here.owner.notify({"m": FEATURE, "p": value})
        here.owner.notify({"m": "weather", "p": {}})
        here.owner.notify(["rubbish"])
        assert await here.caller.call("m", 0) is None
        assert here.count("absurd") == len(ABSURD) - 1
        assert here.count("unknown") == 2
        assert here.caller.told is not None and here.caller.told.load == Load(7), "the last sound word stays"


def test_the_meter_is_what_the_news_take() -> None:
    assert {"lag", "cpu"} <= vars(LoadMeter(Metrics())).keys()
