"""Some of the runs in the journal, chosen by what they are, a page at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import attrs

from praxis.journal.database import Database
from praxis.journal.records import decode_run
from praxis.model.errors import PraxisError
from praxis.model.plan import RunState
from praxis.model.run import RunRecord

_CURSOR = re.compile(r"([0-9]{1,18})_([0-9]{1,15})")


@attrs.frozen
class Selection:
    """Which runs. `states` None means all; `since` is when they changed last, in seconds since the epoch."""

    limit: int
    states: frozenset[RunState] | None = None
    context: str = ""
    since: float = 0.0
    cursor: str = ""
    """`Selected.cursor` of the page before; "" for the first."""
    steps: bool = True
    """Whether the runs come with their steps: results can be large, and a list seldom shows them."""


@attrs.frozen
class Selected:
    """A page: `total` are all the runs that are meant, `cursor` begins the next page, "" if there is none."""

    runs: tuple[RunRecord, ...]
    total: int
    cursor: str


CHANGED = "CAST(COALESCE(ended_at, created_at) * 1000000 AS INTEGER)"
"""When a run began or ended, in microseconds: a whole number, so that a cursor says it exactly."""


def select(database: Database, selection: Selection, under_way: Mapping[str, RunState]) -> Selected:
    """Runs, those that changed last first. The journal learns of a run's begin and end alone: of those that are
    under way it is told the states. Raises PraxisError("invalid") for a bad cursor."""
    where = f"{CHANGED} >= ?"
    values: list[object] = [int(selection.since * 1_000_000)]
    if selection.states is not None:
        ids = [id for id, state in under_way.items() if state in selection.states]
        kept = "state IN (SELECT value FROM json_each(?)) AND id NOT IN (SELECT value FROM json_each(?))"
        where += f" AND (({kept}) OR id IN (SELECT value FROM json_each(?)))"  # noqa: S608 - constants
        values += [json.dumps(sorted(selection.states)), json.dumps(list(under_way)), json.dumps(ids)]
    if selection.context:
        where += " AND COALESCE(json_extract(body, '$.context'), id) = ?"
        values.append(selection.context)
    ((total,),) = database.read(f"SELECT COUNT(*) FROM runs WHERE {where}", tuple(values))  # noqa: S608 - constants
    if selection.cursor:
        found = _CURSOR.fullmatch(selection.cursor)
        if found is None:
            raise PraxisError("invalid", f"no page begins at {selection.cursor[:60]!r}", where="cursor")
        where += f" AND ({CHANGED}, number) <= (?, ?)"
        values += [int(found[1]), int(found[2])]
    sql = f"""SELECT {CHANGED}, number, id, state, ended_at, body FROM runs WHERE {where}
              ORDER BY {CHANGED} DESC, number DESC LIMIT ?"""  # noqa: S608 - constants
    rows = database.read(sql, (*values, selection.limit + 1))
    cursor = "{}_{}".format(*rows[selection.limit][:2]) if len(rows) > selection.limit else ""
    runs = (
        database.run(id) if selection.steps else decode_run(json.loads(body), state, ended_at)
        for _, _, id, state, ended_at, body in rows[: selection.limit]
    )
    return Selected(tuple(run for run in runs if run is not None), total, cursor)
