"""`praxis ask`: plain words, which the agent's model makes a program of."""

from __future__ import annotations

import argparse
import json
from typing import Any

from praxis.cli.client_verbs import ask_for_plan, program, run_work, show_plan, show_run, tell_end
from praxis.cli.output import visible
from praxis.cli.run_verbs import given, param_option, secret_option


def add_ask_verb(made: argparse.ArgumentParser) -> None:
    """The options of `praxis ask`."""
    made.set_defaults(runs=True)
    made.add_argument("program", metavar="WORDS", help="what is to be done, or - to read it from standard input")
    made.add_argument("--plan", action="store_true", help="only show the plan, and run nothing")
    made.add_argument("--key", metavar="KEY", help="an idempotency key: the same run with it is made once")
    param_option(made)
    secret_option(made)


def ask(options: argparse.Namespace) -> int:
    """As `praxis exec` of what the model plans; with --plan as `praxis plan`."""
    body: dict[str, Any] = {"request": program(options), **given(options)}
    if options.plan:
        body["secrets"] = dict.fromkeys(body.get("secrets", ()), "")  # a plan needs their names alone
        found = ask_for_plan(options, body)
        _tell(found.get("say"), options.output)
        return show_plan(found, options.output)
    run = run_work(options, body, key=options.key)
    _tell(_said(run), options.output)
    show_run(run, options.output)
    return tell_end(run)


def _said(run: dict[str, Any]) -> Any:
    """What the model says of a run: it is kept in the run's program."""
    try:
        return json.loads(run["program"])["say"]
    except (ValueError, KeyError, TypeError):
        return None


def _tell(said: Any, form: str) -> None:
    """A program reads it in the answer."""
    if form == "table" and said:
        print(visible(str(said)))
