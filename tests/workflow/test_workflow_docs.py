"""What docs/routing.md says is so."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from praxis.cli import client_verbs
from praxis.config.load import load as load_config
from praxis.config.schema import Breaker, Config, Weights
from praxis.model.load import Load
from praxis.model.run import CandidateScore
from praxis.peers import load, load_news
from praxis.workflow import health, router, scores
from praxis.workflow.scores import Measure, describe, score

TEXT = (Path(__file__).parents[2] / "docs" / "routing.md").read_text()
FACTORS = dict(re.findall(r"^\| (\w+) \| [^|]+ \| ([^|]+) \|$", TEXT, re.MULTILINE))


@pytest.mark.parametrize("example", re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
def test_every_example_is_a_configuration(example: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(example)
    loaded = load_config(path, environ={}).config
    assert (loaded.routing, loaded.agent) != (Config().routing, Config().agent)


def test_the_figures_of_each_factor_are_those_of_the_code() -> None:
    assert f"one failure takes off {health.BLAME}" in FACTORS["availability"]
    assert f"forgiven after {health.HEALED:.0f} s" in FACTORS["availability"]
    tags = [score([Measure(tags=("x",) * n)], Weights())[0].specialization for n in range(3)]
    assert "none is {:g}, one is {:g}, two are {:g}".format(*tags) in FACTORS["specialization"]
    assert f"twice the load with {scores.SLACK}" in FACTORS["load"]
    assert scores.TOLERANCE == 2 and "more than twice as long" in FACTORS["load"]
    places = {"on this host": "host", "on this segment": "segment", "elsewhere": "elsewhere"}
    for words, place in places.items():
        assert f"{scores.PLACES[place]} {words}" in FACTORS["locality"]
    assert f"round trip of {scores.HALF_RTT * 1000:.0f} ms" in FACTORS["locality"]
    assert scores.PLACES["agent"] == 1


def test_the_other_figures_are_those_of_the_code() -> None:
    assert f"halved every {health.FORGIVEN:.0f} s" in TEXT
    assert f"more than {router.MAX_WEIGHED} owners, up to {router.DRAWN} of each kind" in TEXT
    assert f"At most {router.MAX_SHOWN} owners are shown" in TEXT
    assert health.MAX_PAUSE == 60 and "up to a\nminute" in TEXT
    assert Breaker().failures and Breaker().pause


def test_the_figures_of_what_owners_say_are_those_of_the_code() -> None:
    assert scores.CALM == load.MIN_CPU == 0.5
    for words in (
        f"below {load.MIN_LAG * 1000:.0f} ms",
        f"below {load.MIN_CPU * 100:.0f} %",
        f"at most every {load_news.EVERY:.0f} s, and again\nevery {load_news.RENEW:.0f} s",
        f"counts for {load.HELD:.0f} s, and is then halved every {load.FADES:.0f} s",
    ):
        assert words in TEXT, words
    told = [Load(calls=3 * scores.SLACK), Load(waiting=3 * scores.SLACK), Load(lag=7 * scores.FLOOR)]
    for busy, idle in (score([Measure(told=each), Measure()], Weights()) for each in told):
        assert busy.load == pytest.approx(idle.load / 4), "the burden of four"
    busy, idle = score([Measure(told=Load(cpu=1.0)), Measure()], Weights())
    assert busy.load == idle.load / 2
    both = score([Measure(told=Load(4, 4)), Measure(told=Load(8))], Weights())
    assert both[0].load == both[1].load, "those that wait are among the calls, and count again"


@pytest.mark.parametrize("seed", [1, 2])
def test_one_with_the_burden_of_four_gets_half_as_many(seed: int) -> None:
    measures, draw = [Measure(told=Load(3 * scores.SLACK)), Measure()], Random(seed).random
    found = [scores.order(measures, score(measures, Weights()), Weights(), draw).indexes[0] for _ in range(6000)]
    assert found.count(0) / found.count(1) == pytest.approx(0.5, abs=0.05)


def test_the_plan_is_one_that_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    measures = [Measure(tags=tags, place="host", rtt=0.0036) for tags in (("gpu",), ())]
    found = []
    for agent, measure, each in zip(("agent-3", "agent-2"), measures, score(measures, Weights()), strict=True):
        numbers = [round(number, 3) for number in (each.total, *each[3:])]
        found.append(vars(SimpleNamespace()) | _shown(agent, numbers, describe(measure)))
    route = {"agent": "agent-3", "reason": "interchangeable: the best score of 2", "scores": found}
    answer = {"steps": [{"id": "s1", "tool": "paint", "after": [], "route": route}]}
    client = SimpleNamespace(request=lambda *_, **__: answer)
    monkeypatch.setattr(client_verbs, "_client", lambda *_: client)
    options = SimpleNamespace(program="CALL paint", output="table", timeout=None, check=False, graph=False)
    client_verbs.plan(options)  # type: ignore[arg-type]
    assert capsys.readouterr().out in TEXT


def _shown(agent: str, numbers: list[float], reason: str) -> dict[str, object]:
    fields = [attribute.name for attribute in CandidateScore.__attrs_attrs__]
    return dict(zip(fields, (f"{agent}:paint/paint", agent, None, *numbers, reason), strict=True))
