"""Verbs that ask a running agent."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from praxis.cli.client import FAILED, OK, TIMED_OUT, USAGE, Client, CommandError, find_agent, no_agent
from praxis.cli.output import as_json, emit, plain, say, visible

STATUS_TIMEOUT = 10.0
"""Seconds for what an agent answers from what it knows."""
PLUGIN_CODES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}
"""The words and codes of monitoring plugins."""
MAX_INPUT = 4 * 1024 * 1024
"""Bytes of a program or graph from standard input: no agent takes a longer request."""
LAST_WORDS = 15.0
"""Seconds that an agent has, after a run's deadline, to end what runs elsewhere and to say so."""

_PLACE = re.compile(r"line [0-9]+, column [0-9]+: ")

SCORES = ("tool", "score", "availability", "specialization", "load", "locality", "reason")
"""What a plan shows of the candidates of a step."""


def version(options: argparse.Namespace) -> int:
    from praxis import __version__

    print(__version__)
    return OK


def status(options: argparse.Namespace) -> int:
    """0 while the agent answers and is not unhealthy."""
    http, _, raw = _client(options, _patience(options)).exchange("GET", "/health")
    try:
        report = json.loads(raw)
        rows = [[name, c["status"], c.get("reason", "")] for name, c in report["checks"].items()]
        rows.insert(0, [f"agent {report['agent']}", report["status"], f"up {report['uptime_s']:.0f} s"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise no_agent(http) from None
    emit(report, options.output, columns=("PART", "STATE", "REASON"), rows=rows)
    return FAILED if report["status"] == "unhealthy" else OK


def peers(options: argparse.Namespace) -> int:
    if (options.action == "ls") != (options.peer is None):
        wanted = "takes no peer" if options.peer else "needs the name or id of a peer"
        raise CommandError(USAGE, f"praxis peers {options.action} {wanted}")
    if options.action != "ls":
        return _one_peer(options)
    found = _client(options, _patience(options)).request("GET", "/peers", holds="peers")
    rows = [
        [
            p["name"] or "?",
            p["state"],
            p["address"],
            _milliseconds(p["rtt_ms"]),
            len(p["tools"]),
            p["id"],
            p.get("reason"),
        ]
        for p in found["peers"]
    ]
    columns = ("NAME", "STATE", "ADDRESS", "RTT", "TOOLS", "ID", "REASON")
    emit(found, options.output, columns=columns, rows=rows)
    return OK


def _one_peer(options: argparse.Namespace) -> int:
    client, peer = _client(options, _patience(options)), quote(options.peer, safe="")
    if options.action == "ping":
        found = client.request("POST", f"/peers/{peer}/ping", holds="rtt_ms")
        emit(found, options.output, columns=("ID", "RTT"), rows=[[found["id"], _milliseconds(found["rtt_ms"])]])
    else:
        found = client.request("DELETE", f"/peers/{peer}", holds="id")
        emit(found, options.output, columns=("FORGOTTEN",), rows=[[found["id"]]])
    return OK


def tools(options: argparse.Namespace) -> int:
    client = _client(options, _patience(options))
    if options.sources:
        found = client.request("GET", "/sources", holds="sources")
        rows = [[s["name"], s["kind"], s["state"], s["tools"], s["restarts"], s["reason"]] for s in found["sources"]]
        emit(found, options.output, columns=("SOURCE", "KIND", "STATE", "TOOLS", "RESTARTS", "REASON"), rows=rows)
        return OK
    found = client.request("GET", "/tools", holds="tools")
    rows = [[t["ref"], _first_line(t.get("description") or "")] for t in found["tools"]]
    emit(found, options.output, columns=("TOOL", "WHAT IT DOES"), rows=rows)
    return OK


def call(options: argparse.Namespace) -> int:
    """0 when the tool answered, 1 when it says that it failed, 5 when it took too long. A run of one step."""
    words = [f"--{key} {_quoted(value)}" for key, value in map(argument, options.arguments)]
    try:
        run = run_work(options, {"dsl": " ".join(["CALL", _quoted(options.tool), *words])})
    except CommandError as error:
        raise CommandError(error.code, _without_place(str(error), options.tool)) from None
    step = run["steps"][0]
    result = step.get("result")
    if result is None:
        return _tell_failure(run, options.tool)
    emit_result(result, options.output)
    if not result.get("isError"):
        return OK
    agent = (step.get("route") or {}).get("agent")
    say(f"{options.tool} says that it failed{f', on {agent}' if agent else ''}; its words are the output")
    return FAILED


def _without_place(text: str, tool: str) -> str:
    """An error about a program of one call that nobody wrote: the tool is the place."""
    rest = _PLACE.sub("", text, count=1)
    if rest.startswith("arguments."):
        return f"{tool}: argument {rest.removeprefix('arguments.')}"
    return f"{tool}: {rest}" if rest.startswith("arguments") else rest


def execute(options: argparse.Namespace) -> int:
    """0 when every step succeeded; 1 when one failed, 5 when the run took too long."""
    from praxis.cli.run_verbs import given

    run = run_work(options, _work(program(options)) | given(options), key=options.key)
    show_run(run, options.output)
    return tell_end(run)


def show_run(run: dict[str, Any], form: str) -> None:
    """Print a run: as a table its steps, with what each has said."""
    if form != "table":
        emit(run, form)
        return
    for step in run["steps"]:
        agent = (step.get("route") or {}).get("agent") or "-"
        print(f"{step['id']}  {step['state']:<9}  {plain(step['tool'])}  on {plain(agent)}")
        text = _text(step.get("result")) or (step.get("error") or {}).get("detail", "")
        for line in visible(text).splitlines():
            print(f"    {line}")


def tell_end(run: dict[str, Any]) -> int:
    """The exit code for how a run has ended; what went wrong is said."""
    return OK if run["status"] == "succeeded" else _tell_failure(run)


def run_work(options: argparse.Namespace, body: dict[str, Any], *, key: str | None = None) -> dict[str, Any]:
    """Run what a body says to its end."""
    if key is not None and not (key.isprintable() and key.isascii()):
        raise CommandError(USAGE, "--key: expected visible ASCII characters, as headers of HTTP have them")
    headers = {"Idempotency-Key": key} if key is not None else {}
    return _work_out(options, "/execute", body, headers)


def ask_for_plan(options: argparse.Namespace, body: dict[str, Any]) -> dict[str, Any]:
    """The plan of a request: a model takes its time, as a run does."""
    return _work_out(options, "/plan", body, {})


def _work_out(options: argparse.Namespace, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    """The agent's own deadline ends it, which says more than a closed connection."""
    patience = None
    if options.timeout is not None:
        body = body | {"timeout": options.timeout}
        patience = options.timeout + LAST_WORDS
    return _client(options, patience).request("POST", path, body, holds="steps", headers=headers)


def _work(text: str) -> dict[str, Any]:
    """A program as a body has it: text in the language, or a graph."""
    if not text.lstrip().startswith("{"):
        return {"dsl": text}
    try:
        graph = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(USAGE, f"the graph is not JSON: {error}") from None
    if "onFailure" in graph:  # as programs that draw graphs may call it
        graph.setdefault("on_failure", graph["onFailure"])
    return {key: graph[key] for key in ("nodes", "edges", "on_failure") if key in graph}


def _tell_failure(run: dict[str, Any], tool: str = "") -> int:
    """Say why a run did not succeed; given the `tool`, it is the whole run."""
    error = run.get("error") or {}
    where = f"{error['where']}: " if error.get("where") else ""
    text = f"{where}{error.get('detail', '')}" + (f" ({error['hint']})" if error.get("hint") else "")
    if run["status"] in ("interrupted", "needs secrets"):
        text = f"`praxis runs resume {run['run_id']}` goes on with it"
    elif run["status"] == "cancelled" and not text:
        text = f"`praxis runs retry {run['run_id']}` runs it again"
    say(f"run {run['run_id']} {run['status']}: {_without_place(text, tool) if tool else text}")
    return TIMED_OUT if error.get("code") == "timeout" else FAILED


def plan(options: argparse.Namespace) -> int:
    """0 when every step has a place to run, 1 when one has not."""
    text = program(options)
    if options.check:
        return _check(text)
    found = _client(options, _patience(options)).request("POST", "/plan", _work(text), holds="steps")
    if options.graph:
        print(as_json(found["graph"]))
        return OK
    return show_plan(found, options.output)


def show_plan(found: dict[str, Any], form: str) -> int:
    """Print a plan, and what its candidates are worth; 1 when a step has no place to run."""
    rows, compared = [], []
    for step in found["steps"]:
        route, problem = step.get("route"), step.get("problem")
        scores = (route or {}).get("scores", ())
        if len(scores) > 1:
            compared += [[step["id"], *(score[key] for key in SCORES)] for score in scores]
        where = f"{route['agent']} ({route['reason']})" if route else f"nowhere: {problem['detail']}"
        rows.append([step["id"], step["tool"], where, " ".join(step["after"])])
    emit(found, form, columns=("STEP", "TOOL", "WHERE", "AFTER"), rows=rows)
    if compared and form == "table":
        print()
        emit(found, form, columns=("STEP", "CANDIDATE", *map(str.upper, SCORES[1:])), rows=compared)
    return FAILED if any(step.get("problem") for step in found["steps"]) else OK


def _check(text: str) -> int:
    """0 when it is a program with a plan, 1 with its first mistake; no agent is asked."""
    from praxis.model.errors import PraxisError
    from praxis.workflow.order import plan_of

    try:
        steps = sum(1 for _ in plan_of(text).calls())
    except PraxisError as error:
        raise CommandError(FAILED, str(error)) from None
    print(f"ok: {steps} call{'s' if steps != 1 else ''}")
    return OK


def format_text(options: argparse.Namespace) -> int:
    """0 when it is written; with --check 1 when it is not in its usual form."""
    from praxis.dsl.format import format_program
    from praxis.model.errors import PraxisError

    path = None if options.file == "-" else Path(options.file)
    try:
        text = sys.stdin.buffer.read().decode() if path is None else path.read_text()
        formatted = format_program(text)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(USAGE, str(error)) from None
    except PraxisError as error:
        raise CommandError(FAILED, f"{options.file}: {error}") from None
    if options.check:
        if formatted != text:
            say(f"{options.file} is not in its usual form; `praxis fmt` writes it")
        return OK if formatted == text else FAILED
    if path is None:
        print(formatted, end="")
    elif formatted != text:
        path.write_text(formatted)
    return OK


def healthcheck(options: argparse.Namespace) -> int:
    """The codes of monitoring plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""
    accept = {"Accept": "text/plain; profile=monitoring-plugin"}
    try:
        http, _, raw = _client(options, _patience(options)).exchange("GET", "/health", headers=accept)
        word, _, text = raw.decode(errors="replace").partition("\n")[0].partition(" - ")
        if word not in PLUGIN_CODES:
            word, text = "CRITICAL" if http >= 500 else "UNKNOWN", str(no_agent(http))
    except CommandError as error:
        word, text = "UNKNOWN" if error.code == USAGE else "CRITICAL", str(error)
    if options.output == "table":
        print(f"PRAXIS {word} - {plain(text)}")
    else:
        emit({"state": word, "text": text}, options.output)
    return PLUGIN_CODES[word]


def _client(options: argparse.Namespace, timeout: float | None) -> Client:
    return Client(find_agent(options.url, options.agent), token=os.environ.get("PRAXIS_TOKEN", ""), timeout=timeout)


def _patience(options: argparse.Namespace) -> float:
    """Seconds for an answer to what is not a run."""
    return STATUS_TIMEOUT if options.timeout is None else float(options.timeout)


def program(options: argparse.Namespace) -> str:
    """The program, or the words, that a verb is given."""
    if options.program != "-":
        return str(options.program)
    try:
        content = sys.stdin.buffer.read(MAX_INPUT + 1)
        if len(content) > MAX_INPUT:
            raise CommandError(USAGE, f"the program has more than {MAX_INPUT} bytes")
        return content.decode()
    except UnicodeDecodeError as error:
        raise CommandError(USAGE, f"the program is not UTF-8 text: byte {error.start + 1}") from None


def argument(text: str) -> tuple[str, str]:
    """``k=v``; the tool's schema gives the value its type."""
    key, sign, value = text.partition("=")
    if not sign or not key or any(c.isspace() for c in key):
        raise CommandError(USAGE, f"{text!r} is no argument: write k=v")
    return key, value


def _quoted(text: str) -> str:
    """A text as one word of a program."""
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", "\\n").replace("\t", "\\t")
    )
    return f'"{escaped}"'


def emit_result(result: dict[str, Any], form: str) -> None:
    """Print what a tool answered: as a table its text, or else its structured content."""
    if form != "table":
        emit(result, form)
        return
    text = _text(result)
    if text:
        print(visible(text))
    elif "structuredContent" in result:
        print(as_json(result["structuredContent"]))
    others = [block.get("type") for block in _blocks(result) if block.get("type") != "text"]
    if others:
        say(f"the result has more content: {', '.join(map(str, others))} (-o json shows it)")


def _text(result: dict[str, Any] | None) -> str:
    return "\n".join(str(block.get("text", "")) for block in _blocks(result) if block.get("type") == "text")


def _blocks(result: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The content of a result, which is as its tool made it, right or not."""
    blocks = (result or {}).get("content")
    return [block for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []


def _first_line(text: str) -> str:
    """Cut to the width of most terminals there; a program gets it whole."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 100 or not sys.stdout.isatty() else line[:99] + "…"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
