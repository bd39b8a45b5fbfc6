"""Health for people, probes and monitoring; metrics."""

from __future__ import annotations

from typing import Any

import attrs

from praxis.api.route import Answer, Call, Route
from praxis.api.services import Services
from praxis.model.errors import PraxisError
from praxis.model.health import HealthReport

_WORDS = {"healthy": "OK", "degraded": "WARNING", "unhealthy": "CRITICAL"}


def routes(services: Services) -> list[Route]:
    async def health(call: Call) -> Answer:
        report = services.health()
        status = 503 if report.status == "unhealthy" else 200
        if "profile=monitoring-plugin" in (call.header("accept") or ""):
            return Answer(_plugin_line(report, services).encode(), status, "text/plain; charset=utf-8")
        return Answer.of(_report_json(report), status)

    async def live(call: Call) -> Answer:
        return Answer.of({"status": "live"})

    async def ready(call: Call) -> Answer:
        draining = services.draining()
        return Answer.of({"status": "draining" if draining else "ready"}, 503 if draining else 200)

    async def reload(call: Call) -> Answer:
        done = await services.reload()
        return Answer.of({"applied": [*done.applied], "restart": [*done.restart], "lines_renewed": done.renewed})

    async def metrics(call: Call) -> Answer:
        if not services.prometheus:
            raise PraxisError("not_found", "metrics are off", hint="prometheus.enabled turns them on")
        body = services.metrics.render().encode()
        return Answer(body, content_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        Route(
            "GET",
            "/health",
            "How the agent is, from what it knows already. `Accept: text/plain; profile=monitoring-plugin` gives one "
            "line for monitoring.",
            health,
            action=None,
            statuses={503: "unhealthy"},
        ),
        Route("GET", "/health/live", "The agent's loop turns.", live, action=None),
        Route(
            "GET", "/health/ready", "It serves, and is not stopping.", ready, action=None, statuses={503: "stopping"}
        ),
        Route("GET", "/metrics", "Prometheus metrics.", metrics, produces="text/plain"),
        Route("POST", "/reload", "Take in the configuration as it is now.", reload, action="admin"),
    ]


def _report_json(report: HealthReport) -> dict[str, Any]:
    return {
        "status": report.status,
        "agent": report.agent,
        "version": report.version,
        "uptime_s": report.uptime_s,
        "checks": {name: attrs.asdict(check) for name, check in report.checks.items()},
    }


def _plugin_line(report: HealthReport, services: Services) -> str:
    """Monitoring plugins: a word, a text, and performance data behind a bar."""
    troubles = [f"{name}: {check.reason}" for name, check in report.checks.items() if check.status != "healthy"]
    views = services.peers.views()
    connected = sum(view.connected for view in views)
    text = "; ".join(troubles) or f"{report.agent}, {connected} of {len(views)} peers connected"
    text = "".join(c if c.isprintable() and c != "|" else " " for c in text)[:400]
    data = f"peers={connected} tools={len(services.executor.catalog())} runs={services.executor.running} "
    return f"{_WORDS[report.status]} - {text} | {data}uptime={report.uptime_s:.0f}s\n"
