"""Runs that are under way, and those of before."""

from __future__ import annotations

from typing import Any

from praxis.api.events import TYPES, event_stream
from praxis.api.execute import GIVEN
from praxis.api.records import run_json, summary_json
from praxis.api.route import Answer, Call, Route, object_schema
from praxis.api.services import Services
from praxis.model.errors import PraxisError

MAX_PAGE = 500


def routes(services: Services) -> list[Route]:
    executor, history = services.executor, services.history

    async def list_runs(call: Call) -> Answer:
        runs, cursor = await history.page(limit=call.number("limit", 50, MAX_PAGE), cursor=call.query.get("cursor"))
        return Answer.of({"runs": [summary_json(run) for run in runs], "next_cursor": cursor})

    async def get_run(call: Call) -> Answer:
        return Answer.of(run_json(await history.find(call.path["id"])))

    async def cancel_run(call: Call) -> Answer:
        return Answer.of(run_json(await history.cancel(call.path["id"])))

    async def resume_run(call: Call) -> Answer:
        body: dict[str, Any] = call.body
        repeat = body.get("repeat", False)
        run = await history.resume(call.path["id"], call.caller, secrets=body.get("secrets", {}), repeat=repeat)
        return Answer.of(run_json(run))

    async def retry_run(call: Call) -> Answer:
        body: dict[str, Any] = call.body
        from_failed = body.get("from_failed", False)
        secrets = body.get("secrets", {})
        run = await history.retry(call.path["id"], call.caller, secrets=secrets, from_failed=from_failed)
        return Answer.of(run_json(run))

    async def export_run(call: Call) -> Answer:
        run = await history.find(call.path["id"])
        return Answer.of({"schema": 1, "run": run_json(run), "graph": await executor.preview_graph(run.program)})

    async def run_events(call: Call) -> Answer:
        run_id = call.path["id"]
        await history.find(run_id)

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
            "POST",
            "/runs/{id}/resume",
            "Go on with a run that the end of the agent has interrupted; answers when it has ended. A step that was "
            "under way is made again if its tool is idempotent, or with repeat.",
            resume_run,
            action="run",
            schema=object_schema(secrets=GIVEN["secrets"], repeat={"type": "boolean"}),
            statuses={409: "it was not interrupted, or a step may have happened already"},
        ),
        Route(
            "POST",
            "/runs/{id}/retry",
            "Run the program of an ended run again, as a new run; with from_failed the steps that succeeded count.",
            retry_run,
            action="run",
            schema=object_schema(secrets=GIVEN["secrets"], from_failed={"type": "boolean"}),
            statuses={409: "it has not ended"},
        ),
        Route("GET", "/runs/{id}/export", "All that is known of a run, in one document.", export_run),
        Route(
            "GET",
            "/runs/{id}/events",
            "The events of one run, from its start; ends when the run does.",
            run_events,
            query=TYPES,
            produces="text/event-stream",
        ),
    ]
