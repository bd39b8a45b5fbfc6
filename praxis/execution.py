"""What runs programs, put together: the executor, its journal, its cache, the planner, and what is asked of runs of
before."""

from __future__ import annotations

import random
import secrets
import time
from functools import partial
from pathlib import Path

from praxis.config.schema import Cache, Llm, Runs
from praxis.journal.journal import Journal
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.workflow.asking import Asking
from praxis.workflow.cache import ResultCache
from praxis.workflow.catalog import Catalog
from praxis.workflow.executor import Executor
from praxis.workflow.history import History
from praxis.workflow.llm_planner import LlmPlanner


class Execution:
    """`path` is the file of the journal. Raises PraxisError("invalid") for one of a newer version."""

    def __init__(
        self, config: Runs, llm: Llm, catalog: Catalog, *, path: Path, bus: EventBus, metrics: Metrics
    ) -> None:
        self._config = config
        kept = config.retention
        self.journal = Journal(path, keep=kept.count, age=kept.age, clock=time.time, metrics=metrics)
        self.executor = Executor(
            catalog,
            bus=bus,
            metrics=metrics,
            max_concurrent=config.max_concurrent,
            timeout=config.timeout,
            keep=kept.count,
            clock=time.time,
            new_id=partial(secrets.token_hex, 8),
            queue=config.queue,
            journal=self.journal,
            cache=_cache(config.cache, metrics),
        )
        self.history = History(self.executor, catalog)
        planner = LlmPlanner(llm, metrics=metrics, clock=time.time, chance=random.SystemRandom())
        self.asking = Asking(planner, self.executor, catalog)

    async def go_on(self) -> None:
        """With runs that the end of the agent has interrupted, if the configuration says so."""
        if self._config.on_restart == "resume":
            await self.history.resume_all()


def _cache(config: Cache, metrics: Metrics) -> ResultCache | None:
    if not config.enabled:
        return None
    return ResultCache(
        ttl=config.ttl,
        max_entries=config.max_entries,
        max_bytes=config.max_bytes,
        clock=time.monotonic,
        metrics=metrics,
    )
