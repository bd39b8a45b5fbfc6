"""The file of the journal: its tables, and what is read and written there. Called from one thread at a time."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from praxis.journal.records import decode_run, decode_step
from praxis.model.errors import PraxisError
from praxis.model.run import RunRecord, RunSummary

logger = logging.getLogger(__name__)

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    ended_at REAL,
    key TEXT UNIQUE,
    request TEXT,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS steps (
    run TEXT NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run, id)
);
CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state);
"""
BUSY = 5.0
"""Seconds to wait for whoever else has the file open, a backup for instance."""

Write = tuple[str, tuple[object, ...]]
"""A statement and its values."""

PUT_RUN = """INSERT INTO runs (id, state, created_at, ended_at, key, request, body) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at, body = excluded.body"""
PUT_STEP = """INSERT INTO steps (run, id, state, body) VALUES (?, ?, ?, ?)
ON CONFLICT (run, id) DO UPDATE SET state = excluded.state, body = excluded.body"""


class Database:
    """One open journal. Every method raises PraxisError("unavailable") when the file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; runs that were under way when it was last closed are interrupted now.

        A damaged file is moved aside, and said so. Raises PraxisError("invalid") for one of a newer version.
        """
        self.path = path
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
            logger.error("the journal %s is damaged (%s); it is %s now, and a new one begins", path, error, aside.name)
            try:
                path.rename(aside)
                for more in ("-wal", "-shm"):
                    path.with_name(path.name + more).unlink(missing_ok=True)
                self._connection = self._open()
            except (OSError, sqlite3.Error) as again:
                raise PraxisError("invalid", f"the journal cannot be opened: {again}", where=str(path)) from None

    def _open(self) -> sqlite3.Connection:
        self.path.touch(mode=0o600)
        connection = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA:
                hint = "start the newer version, or restore a backup of this one"
                where = str(self.path)
                raise PraxisError("invalid", "the journal is of a newer version of Praxis", hint=hint, where=where)
            connection.execute("PRAGMA journal_mode = WAL")
            # A process that is killed loses nothing; a loss of power may cost the last commits, and not the file.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_TABLES)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            connection.execute("UPDATE steps SET state = 'interrupted' WHERE state = 'running'")
            under_way = "state IN ('queued', 'running', 'cancelling')"
            connection.execute(f"UPDATE runs SET state = 'interrupted' WHERE {under_way}")  # noqa: S608 - constant
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        self._connection.close()

    def write(self, writes: Sequence[Write]) -> None:
        """All of these, or none."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in writes:
                    self._connection.execute(statement, values)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def run(self, run_id: str) -> RunRecord | None:
        """One run with its steps."""
        rows = self.read("SELECT state, ended_at, body FROM runs WHERE id = ?", (run_id,))
        if not rows:
            return None
        steps = self.read("SELECT state, body FROM steps WHERE run = ?", (run_id,))
        state, ended_at, body = rows[0]
        found = sorted((decode_step(json.loads(text), now) for now, text in steps), key=lambda step: step.place)
        return attrs.evolve(decode_run(json.loads(body), state, ended_at), steps=tuple(found))

    def runs(self, limit: int, cursor: str | None) -> list[RunSummary]:
        """From the newest run on, or from the one whose id is the cursor.

        Raises PraxisError("invalid") when there is no such run.
        """
        number = 2**62
        if cursor is not None:
            rows = self.read("SELECT number FROM runs WHERE id = ?", (cursor,))
            if not rows:
                raise PraxisError("invalid", f"no page begins at {cursor!r} any more", where="cursor")
            number = rows[0][0]
        sql = """SELECT id, state, body, created_at, ended_at, (SELECT COUNT(*) FROM steps WHERE run = runs.id)
                 FROM runs WHERE number <= ? ORDER BY number DESC LIMIT ?"""
        found = []
        for id, state, body, created_at, ended_at, steps in self.read(sql, (number, limit)):
            said = json.loads(body)
            found.append(RunSummary(id, state, said["caller"], said["program"], steps, created_at, ended_at))
        return found

    def interrupted(self) -> list[str]:
        """Ids of the runs that were under way when the agent ended, the oldest first."""
        return [id for (id,) in self.read("SELECT id FROM runs WHERE state = 'interrupted' ORDER BY number", ())]

    def by_key(self, key: str) -> tuple[str, str] | None:
        """The id of the run that was begun with an idempotency key, and the digest of its request."""
        rows = self.read("SELECT id, request FROM runs WHERE key = ?", (key,))
        return (rows[0][0], rows[0][1]) if rows else None

    def count(self) -> int:
        """Runs in the file."""
        return int(self.read("SELECT COUNT(*) FROM runs", ())[0][0])

    def expire(self, keep: int, before: float) -> int:
        """Let go of runs that have ended: all but the newest `keep`, and those that ended before a time. How many."""
        ended = "ended_at IS NOT NULL AND state NOT IN ('interrupted', 'needs secrets')"
        sql = f"""SELECT id FROM runs WHERE {ended} AND (ended_at < ? OR number <=
                  (SELECT number FROM runs ORDER BY number DESC LIMIT 1 OFFSET ?))"""  # noqa: S608 - constant
        ids = self.read(sql, (before, keep))
        self.write(
            [(f"DELETE FROM {table} = ?", id) for id in ids for table in ("runs WHERE id", "steps WHERE run")]  # noqa: S608
        )
        return len(ids)

    def read(self, sql: str, values: tuple[object, ...]) -> list[Any]:
        """All rows of a query."""
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def _failed(self, error: sqlite3.Error) -> PraxisError:
        hint = "is the disk full? The log of the agent says since when"
        return PraxisError("unavailable", f"the journal cannot be used: {error}", hint=hint, where=str(self.path))
