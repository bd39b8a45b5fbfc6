"""An agent as a process: logging, signals, exit codes. What `praxis run` starts."""

from __future__ import annotations

import gc
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import trio

from praxis.app import Addresses, Agent
from praxis.config.load import Loaded, state_dir
from praxis.config.save import secret_values
from praxis.config.schema import Config
from praxis.model.errors import PraxisError
from praxis.net.supervision import describe
from praxis.observe.events import EventBus
from praxis.observe.logs import Logs, Secrets, configure
from praxis.reload import Reread

logger = logging.getLogger(__name__)

OK, FAILED, USAGE = 0, 1, 2
YOUNG = 10_000
"""Objects that are made, and not let go, before the garbage collector looks at the young ones. A call makes about a
hundred and lets go of all of them itself; by default the collector looks after seven calls under way, for a twentieth
of their time. What it finds later for that is a megabyte or two."""


def serve(loaded: Loaded, *, reread: Callable[[], Loaded], environ: Mapping[str, str] = os.environ) -> int:
    """Run the configured agent until SIGTERM or SIGINT; a second signal ends the process at once.

    SIGHUP makes it take in the configuration that `reread` gives then; `reread` raises PraxisError.

    Returns the exit code: 0 after a stop that was asked for, 2 with one line for what the configuration, the state
    directory or a taken port have wrong. A bug ends with its traceback.
    """
    config = loaded.config
    directory = state_dir(config, environ)
    bus = EventBus()
    secrets = Secrets()
    for value in secret_values(config):
        secrets.add(value)
    ensure_descriptors()
    section = config.logging

    def reread_config() -> Config:
        config = reread().config
        for value in secret_values(config):
            secrets.add(value)
        return config

    with configure(level=section.level, format=section.format, file=section.file, bus=bus, secrets=secrets) as logs:
        try:
            trio.run(_main, loaded, directory, bus, reread_config, logs)
        except BaseExceptionGroup as group:
            told = group.subgroup(_is_told)
            if told is None or _rest(group) is not None:
                raise
            print(f"praxis: {describe(told)}", file=sys.stderr)
            return USAGE
        except (PraxisError, OSError) as error:
            print(f"praxis: {error}", file=sys.stderr)
            return USAGE
    return OK


async def _main(loaded: Loaded, directory: Path, bus: EventBus, reread: Reread, logs: Logs) -> None:
    stopping = trio.Event()
    agent = Agent(loaded.config, base_dir=loaded.base_dir, state_dir=directory, bus=bus, reread=reread, logs=logs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, stopping)
        addresses: Addresses = await nursery.start(lambda task_status: agent.run(stopping, task_status=task_status))
        hangups: trio.CancelScope = await nursery.start(_reload_on_signal, agent)
        gc.collect()
        gc.freeze()  # what is there now stays: a full collection need not look at it again
        gc.set_threshold(YOUNG)
        _report(addresses)
        await stopping.wait()
        hangups.cancel()
    # The nursery ends when the agent has; the signal task ends with `stopping`.


async def _stop_on_signal(stopping: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            logger.info("%s: stopping; once more ends at once", signal.Signals(number).name)
            stopping.set()
            break
    # From here on the default action of a signal stands again: a second one ends the process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


async def _reload_on_signal(agent: Agent, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    """A configuration that cannot be used is told, and the agent goes on with the one that it has."""
    with trio.CancelScope() as scope, trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started(scope)
        async for _ in signals:
            try:
                await agent.reloading.reload()
            except PraxisError as error:
                logger.error("SIGHUP: everything stays as it was: %s", error)


def _report(addresses: Addresses) -> None:
    """One line on standard output, as JSON, for scripts that start agents on port 0."""
    value = attrs.asdict(addresses, value_serializer=lambda _i, _a, v: str(v) if isinstance(v, os.PathLike) else v)
    print(json.dumps({"ready": value}), flush=True)
    parts = [f"{name} {host}:{port}" for name, (host, port) in _bound(addresses).items()]
    logger.info("agent %s is ready: %s", addresses.agent, ", ".join(parts))


def _bound(addresses: Addresses) -> dict[str, tuple[str, int]]:
    named = {"http": addresses.http, "websocket": addresses.websocket, "sse": addresses.sse, "p2p": addresses.p2p}
    return {name: address for name, address in named.items() if address is not None}


def _is_told(error: BaseException) -> bool:
    return isinstance(error, (PraxisError, OSError))


def _rest(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    return group.split(_is_told)[1]


def ensure_descriptors() -> None:
    """Raise the soft limit of open files to the hard one: every peer and client takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
