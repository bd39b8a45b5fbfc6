"""Verbs about runs that have begun: `praxis runs`."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from praxis.cli.client import OK, USAGE, Client, CommandError, find_agent
from praxis.cli.client_verbs import STATUS_TIMEOUT, argument, show_run, tell_end
from praxis.cli.options import client_options
from praxis.cli.output import emit, plain

MAX_SECRET = 64 * 1024
"""Characters of a secret."""


def add_runs_verb(made: argparse.ArgumentParser) -> None:
    """The actions of `praxis runs`."""
    actions = made.add_subparsers(metavar="ACTION", required=True)

    def action(name: str, help: str, call: object, *, of_run: bool = True) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=help, description=help)
        made.set_defaults(verb=call)
        if of_run:
            made.add_argument("run", metavar="RUN", help="the id of a run")
        client_options(made)
        return made

    listed = action("ls", "runs, from the newest on", ls, of_run=False)
    listed.add_argument("--limit", type=int, default=50, metavar="N", help="how many (default 50)")
    action("show", "one run with its steps", show)
    logs = action("logs", "what happened in a run", logs_of)
    logs.add_argument("-f", "--follow", action="store_true", help="until it has ended")
    action("cancel", "cancel a run; returns when all that it had under way is gone", cancel)
    again = action("retry", "run the program of an ended run again, as a new run", retry)
    again.set_defaults(runs=True)
    again.add_argument("--from-failed", action="store_true", help="steps that succeeded count as they are")
    secret_option(again)
    on = action("resume", "go on with a run that the end of the agent has interrupted", resume)
    on.set_defaults(runs=True)
    on.add_argument(
        "--repeat", action="store_true", help="make a step that was under way again, whatever its tool says"
    )
    secret_option(on)
    action("export", "all that is known of a run, as JSON", export)


def secret_option(made: argparse.ArgumentParser) -> None:
    help = "a secret of the run, from the environment variable NAME or from a file"
    made.add_argument("--secret", action="append", default=[], metavar="NAME[=@FILE]", help=help)


def param_option(made: argparse.ArgumentParser) -> None:
    help = "what ${params.NAME} stands for; JSON where that is what it is, else text"
    made.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help=help)


def given(options: argparse.Namespace) -> dict[str, Any]:
    """The params and secrets of the command line, as a body has them."""
    body: dict[str, Any] = {}
    if getattr(options, "param", None):
        body["params"] = {name: _value(text) for name, text in map(argument, options.param)}
    if options.secret:
        body["secrets"] = dict(map(_secret, options.secret))
    return body


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)  # NaN, and numbers that are too large for one, are no JSON
    except (ValueError, RecursionError):
        return text
    return value


def _secret(text: str) -> tuple[str, str]:
    """A secret never stands on the command line, which everybody on the machine can read."""
    name, sign, source = text.partition("=")
    if not sign:
        if name not in os.environ:
            raise CommandError(USAGE, f"--secret {name}: there is no environment variable {name}")
        return name, os.environ[name]
    if not source.startswith("@"):
        raise CommandError(USAGE, "--secret: write NAME for the environment variable NAME, or NAME=@FILE")
    try:
        with Path(source[1:]).open() as file:
            return name, file.read(MAX_SECRET).rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(USAGE, f"--secret {name}: {error}") from None


def ls(options: argparse.Namespace) -> int:
    found = _client(options).request("GET", f"/runs?limit={options.limit}", holds="runs")
    rows = [
        [run["run_id"], run["status"], run["steps"], _moment(run["created_at"]), _took(run), _shown(run["program"])]
        for run in found["runs"]
    ]
    emit(found, options.output, columns=("RUN", "STATE", "STEPS", "BEGAN", "TOOK", "PROGRAM"), rows=rows)
    return OK


def show(options: argparse.Namespace) -> int:
    run = _client(options).request("GET", _path(options), holds="steps")
    show_run(run, options.output)
    return OK


def logs_of(options: argparse.Namespace) -> int:
    """A line for each thing that happened, in that order; with -f as it happens."""
    client = _client(options)
    told: set[tuple[str, str]] = set()
    while True:
        run = client.request("GET", _path(options), holds="steps")
        _tell_news(run, told)
        if not options.follow or run["status"] not in ("queued", "running", "cancelling"):
            break
        time.sleep(0.5)
    print(f"{_moment(run['ended_at'] or time.time())}  run {run['run_id']} is {run['status']}")
    return OK if not options.follow else tell_end(run)


def _tell_news(run: dict[str, Any], told: set[tuple[str, str]]) -> None:
    lines: list[tuple[float, str]] = []
    for step in run["steps"]:
        agent = (step.get("route") or {}).get("agent") or "-"
        said = f"{step['id']}  {plain(step['tool'])}"
        for number, attempt in enumerate(step.get("attempts", ()), 1):
            if (step["id"], f"attempt {number}") not in told:
                told.add((step["id"], f"attempt {number}"))
                detail = plain(attempt["error"]["detail"])
                lines.append(
                    (attempt["ended_at"], f"{said}  attempt {number} failed on {plain(attempt['agent'])}: {detail}")
                )
        if step["started_at"] is not None and (step["id"], "began") not in told:
            told.add((step["id"], "began"))
            lines.append((step["started_at"], f"{said}  begins on {plain(agent)}"))
        if step["ended_at"] is not None and (step["id"], "ended") not in told:
            told.add((step["id"], "ended"))
            why = f": {plain(step['error']['detail'])}" if step.get("error") else ""
            lines.append((step["ended_at"], f"{said}  {step['state']}{why}"))
    for at, line in sorted(lines):
        print(f"{_moment(at)}  {line}", flush=True)


def cancel(options: argparse.Namespace) -> int:
    run = Client(find_agent(options.url, options.agent), token=_token(), timeout=options.timeout).request(
        "DELETE", _path(options), holds="steps"
    )
    emit(run, options.output, columns=("RUN", "STATE"), rows=[[run["run_id"], run["status"]]])
    return OK


def retry(options: argparse.Namespace) -> int:
    return _go_on(options, "retry", {"from_failed": options.from_failed})


def resume(options: argparse.Namespace) -> int:
    return _go_on(options, "resume", {"repeat": options.repeat})


def _go_on(options: argparse.Namespace, how: str, body: dict[str, Any]) -> int:
    client = Client(find_agent(options.url, options.agent), token=_token(), timeout=options.timeout)
    run = client.request("POST", f"{_path(options)}/{how}", body | given(options), holds="steps")
    show_run(run, options.output)
    return tell_end(run)


def export(options: argparse.Namespace) -> int:
    found = _client(options).request("GET", f"{_path(options)}/export", holds="run")
    emit(found, "json" if options.output == "table" else options.output)
    return OK


def _client(options: argparse.Namespace) -> Client:
    timeout = STATUS_TIMEOUT if options.timeout is None else float(options.timeout)
    return Client(find_agent(options.url, options.agent), token=_token(), timeout=timeout)


def _token() -> str:
    return os.environ.get("PRAXIS_TOKEN", "")


def _path(options: argparse.Namespace) -> str:
    return f"/runs/{quote(options.run, safe='')}"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _took(run: dict[str, Any]) -> str:
    return "-" if run["ended_at"] is None else f"{run['ended_at'] - run['created_at']:.1f} s"


def _shown(program: str) -> str:
    return " ".join(program.split())[:60]
