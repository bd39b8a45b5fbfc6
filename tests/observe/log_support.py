"""The log installed for a test, and a bus that keeps what it gets."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

from praxis.observe.logs import Logs, Secrets, configure

log = logging.getLogger("praxis.test")


class Bus:
    """Keeps what is published, and who published it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.threads: set[int] = set()

    def publish(self, type: str, /, *, run_id: str | None = None, **fields: Any) -> None:
        self.events.append({"type": type, **fields})
        self.threads.add(threading.get_ident())


@contextmanager
def installed(
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["text", "json"] = "text",
    file: Path | None = None,
    bus: Bus | None = None,
    secrets: Secrets | None = None,
    journal: bool | None = False,
    stream: TextIO | None = None,
) -> Iterator[Logs]:
    with configure(
        level=level,
        format=format,
        file=file,
        bus=bus,
        secrets=secrets or Secrets(),
        journal=journal,
        stream=io.StringIO() if stream is None else stream,
    ) as installation:
        yield installation
