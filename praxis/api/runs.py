"""Runs that are under way or ended lately."""

from __future__ import annotations

from praxis.api.events import TYPES, event_stream
from praxis.api.records import run_json, summary_json
from praxis.api.route import Answer, Call, Route
from praxis.api.services import Services
from praxis.model.errors import PraxisError

MAX_PAGE = 500


def routes(services: Services) -> list[Route]:
    executor = services.executor

    async def list_runs(call: Call) -> Answer:
        runs, cursor = executor.list_runs(limit=call.number("limit", 50, MAX_PAGE), cursor=call.query.get("cursor"))
        return Answer.of({"runs": [summary_json(run) for run in runs], "next_cursor": cursor})

    async def get_run(call: Call) -> Answer:
        return Answer.of(run_json(executor.get(call.path["id"])))

    async def cancel_run(call: Call) -> Answer:
        return Answer.of(run_json(await executor.cancel(call.path["id"])))

    async def run_events(call: Call) -> Answer:
        run_id = call.path["id"]
        executor.get(run_id)

        def is_over() -> bool:
            try:
                return executor.get(run_id).ended_at is not None
            except PraxisError:
                return True  # it ended, and made room for others while a slow client read on

        return event_stream(services.bus, call, run_id=run_id, is_over=is_over)

    query = {"limit": f"Runs per page, 50 unless told, {MAX_PAGE} at most", "cursor": "next_cursor of the page before"}
    return [
        Route("GET", "/runs", "Runs, from the newest on.", list_runs, query=query),
        Route("GET", "/runs/{id}", "One run with its steps.", get_run),
        Route(
            "DELETE",
            "/runs/{id}",
            "Cancel a run; answers when everything it had under way is gone, wherever it ran.",
            cancel_run,
            action="run",
            statuses={409: "it has ended already"},
        ),
        Route(
            "GET",
            "/runs/{id}/events",
            "The events of one run, from its start; ends when the run does.",
            run_events,
            query=TYPES,
            produces="text/event-stream",
        ),
    ]
