"""Health for people, probes and monitoring; metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from praxis import __version__
from praxis.api import health
from praxis.api.route import Answer, Call
from praxis.config.schema import Config, Prometheus
from praxis.model.health import Check, HealthReport
from tests.api.api_kit import Served, services_of, serving

PLUGIN = "text/plain; profile=monitoring-plugin"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("health"), 2) as served:
        yield served


def report(*checks: Check) -> HealthReport:
    return HealthReport("agent-1", "9", 61.5, {f"c{n}": check for n, check in enumerate(checks)})


async def ask(served: Served, path: str, value: HealthReport, accept: str = "") -> Answer:
    """What the route would answer if the agent were so."""
    services = services_of(served.agents[0].agent, health=lambda: value, draining=lambda: True)
    (route,) = (route for route in health.routes(services) if route.path == path)
    return await route.answer(Call(None, None, {}, {}, {"accept": accept}.get))


def body_of(answer: Answer) -> str:
    assert isinstance(answer.body, bytes)
    return answer.body.decode()


def test_a_healthy_agent_says_so_part_by_part(agent: Served) -> None:
    reply = agent.get("/health")
    value = reply.json
    assert (reply.status, value["status"], value["agent"], value["version"]) == (200, "healthy", "agent-1", __version__)
    assert value["uptime_s"] > 0
    assert {"http", "sse", "websocket", "p2p", "discovery", "source fs", "source hand"} <= set(value["checks"])
    assert set(value) == {"status", "agent", "version", "uptime_s", "checks"}
    for check in value["checks"].values():
        assert check == {"status": "healthy", "reason": "", "action": ""}


def test_what_is_wrong_has_a_reason_and_an_action(tmp_path: Path) -> None:
    with serving(tmp_path) as agent:
        shared = tmp_path / "agent-1" / "shared"
        shared.rmdir()
        reply = agent.get("/health")
        assert (reply.status, reply.json["status"]) == (200, "degraded")
        check = reply.json["checks"]["source fs"]
        assert check["status"] == "degraded"
        assert str(shared) in check["reason"]
        assert check["action"]
        line = agent.get("/health", Accept=PLUGIN).body.decode()
        assert line.startswith("WARNING - source fs: ")
        assert agent.get("/health/live").status == 200


@pytest.mark.parametrize(("path", "word"), [("/health/live", "live"), ("/health/ready", "ready")])
def test_probes_get_one_word(agent: Served, path: str, word: str) -> None:
    assert agent.get(path).json == {"status": word}


def test_monitoring_gets_one_line_with_performance_data(agent: Served) -> None:
    reply = agent.get("/health", Accept=PLUGIN)
    assert reply.headers.get_content_type() == "text/plain"
    form = r"OK - agent-1, 1 of 1 peers connected \| peers=1 tools=(\d+) runs=0 uptime=\d+s\n"
    match = re.fullmatch(form, reply.body.decode())
    assert match
    assert int(match[1]) == len(agent.get("/tools").json["tools"])


async def test_only_an_unhealthy_agent_is_503(agent: Served) -> None:
    fine, ill, dead = Check("healthy"), Check("degraded", "slow", "wait"), Check("unhealthy", "gone", "restart it")
    for checks, status, code, word in (
        ((fine,), "healthy", 200, "OK"),
        ((fine, ill), "degraded", 200, "WARNING"),
        ((ill, dead, fine), "unhealthy", 503, "CRITICAL"),
    ):
        answer = await ask(agent, "/health", report(*checks))
        assert answer.status == code
        assert f'"status": "{status}", "agent"' in body_of(answer)
        answer = await ask(agent, "/health", report(*checks), PLUGIN)
        assert answer.status == code
        assert body_of(answer).startswith(f"{word} - ")


async def test_a_reason_cannot_break_the_line_of_monitoring(agent: Served) -> None:
    trouble = Check("degraded", "a | b=1\nOK - all is well \x1b[2J" + "x" * 1000)
    line = body_of(await ask(agent, "/health", report(trouble), PLUGIN))
    assert line.count("|") == line.count("\n") == 1
    assert "\x1b" not in line
    assert len(line) < 500


async def test_an_agent_that_stops_is_live_and_not_ready(agent: Served) -> None:
    assert (await ask(agent, "/health/live", report())).status == 200
    answer = await ask(agent, "/health/ready", report())
    assert (answer.status, body_of(answer)) == (503, '{"status": "draining"}')


async def test_health_waits_for_nothing(agent: Served) -> None:
    """In a cancelled scope whatever waits ends."""
    with trio.CancelScope() as scope:
        scope.cancel()
        assert (await ask(agent, "/health", report())).status == 200
    assert not scope.cancelled_caught


# -- metrics ----------------------------------------------------------------------------------------------

SAMPLE = re.compile(r'([a-z0-9_]+)(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? (\S+)')


def metrics(agent: Served) -> dict[str, float]:
    """Every series of the page, which must have the form of the exposition format."""
    reply = agent.get("/metrics")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = reply.body.decode()
    assert text.endswith("\n")
    series, kinds = dict[str, float](), dict[str, str]()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            kinds[name] = kind
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        base = re.sub(r"_(bucket|sum|count)$", "", match[1])
        assert match[1] in kinds or kinds.get(base) == "histogram", line
        series[match[1] + (match[2] or "")] = float(match[3])
    return series


def test_metrics_have_the_names_that_users_know(agent: Served) -> None:
    series = metrics(agent)
    assert series["praxis_agent_health_status"] == 1
    assert series["praxis_agent_peer_count"] == series["praxis_agent_connection_count"] == 1
    assert series["praxis_agent_mcp_tools_count"] == len(agent.agents[0].agent.registry.tools())
    (info,) = (name for name in series if name.startswith("praxis_agent_info"))
    assert f'agent="agent-1",version="{__version__}"' in info


def test_calls_are_counted_and_their_arguments_are_not_told(agent: Served) -> None:
    before = metrics(agent)
    run = agent.execute("CALL echo --text topsecret").json
    agent.execute("CALL fail")
    after = metrics(agent)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('praxis_agent_mcp_requests_total{source="hand"}') == 2
    assert grown('praxis_agent_mcp_errors_total{source="hand"}') == 1
    assert grown('praxis_runs_total{state="succeeded"}') == grown('praxis_runs_total{state="failed"}') == 1
    page = agent.get("/metrics").body.decode()
    assert "topsecret" not in page
    assert run["run_id"] not in page


def test_runs_under_way_are_seen(agent: Served) -> None:
    with agent.good_call():
        assert metrics(agent)["praxis_runs_running"] == 1
    assert metrics(agent)["praxis_runs_running"] == 0


def test_metrics_can_be_turned_off(tmp_path: Path) -> None:
    def off(config: Config) -> Config:
        return attrs.evolve(config, prometheus=Prometheus(enabled=False))

    with serving(tmp_path, change=off) as agent:
        assert "prometheus.enabled" in agent.get("/metrics").problem(404, "not_found")["hint"]
