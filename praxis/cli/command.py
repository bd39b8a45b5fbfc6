"""Arguments, and which verb answers them."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from praxis.cli.client import FAILED, INTERRUPTED, TERMINATED, USAGE, CommandError
from praxis.cli.options import client_options, config_options, output_option
from praxis.cli.output import say


def run(arguments: Sequence[str]) -> int:
    """Run one verb; returns the exit code."""
    try:
        code = _answer(arguments)
        _flush()  # here, where what goes wrong can still be told
        return code
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # the reader of our output has gone, as `head` does, and knows
            say(str(error))
    try:
        _flush()
    except OSError:  # Python would try once more when it exits, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def _flush() -> None:
    print(end="", flush=True)  # which is right also without any standard output


def _answer(arguments: Sequence[str]) -> int:
    options: argparse.Namespace | None = None
    try:
        options = parse(arguments)
        # Of verbs that ask an agent; those that start one deal with signals themselves.
        with _terminable() if hasattr(options, "url") else nullcontext():
            code: int = options.verb(options)
        return code
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    except CommandError as error:
        say(str(error))
        return error.code
    except _TerminatedError:
        say(f"terminated{_consequence(options)}")
        return TERMINATED
    except KeyboardInterrupt:
        say(f"interrupted{_consequence(options)}")
        return INTERRUPTED


def _consequence(options: argparse.Namespace | None) -> str:
    """What the end of a command means for the agent."""
    if not getattr(options, "runs", False):
        return ""
    if getattr(options, "key", None) is not None:
        return "; what the agent runs for it goes on, and `praxis runs cancel` ends it"
    return "; what the agent ran for it is cancelled"


class _TerminatedError(BaseException):
    """SIGTERM: like KeyboardInterrupt nothing but the end of the command catches it."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM closes the connection in order, as Ctrl-C does, so that the agent cancels what it runs."""

    def terminate(number: int, frame: object) -> None:
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of one verb; raises SystemExit for what is none."""
    from praxis.cli.mcp_parser import split_program

    own, program = split_program(arguments)
    options = make_parser().parse_args(own)
    if program:
        options.command = program
    return options


def make_parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    from praxis import __version__
    from praxis.cli import ask_verb as asking
    from praxis.cli import client_verbs as ask
    from praxis.cli import local_verbs as local
    from praxis.cli import mcp_verbs as mcp
    from praxis.cli import network_verbs as network
    from praxis.cli import run_verbs as runs
    from praxis.cli import source_verbs as sources
    from praxis.cli.ask_verb import add_ask_verb
    from praxis.cli.mcp_parser import add_mcp_verb
    from praxis.cli.run_verbs import add_runs_verb, param_option, secret_option

    parser = argparse.ArgumentParser(
        prog="praxis",
        description="A network of agents without a centre.",
        epilog="exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 not reachable, 4 denied, 5 timed out, "
        "130 interrupted, 143 terminated",
    )
    parser.add_argument("--version", action="version", version=__version__, help="print the version")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(name: str, help: str, call: object, *, client: bool = False) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=help, description=help)
        made.set_defaults(verb=call)
        if client:
            client_options(made)
        return made

    made = verb("run", "start an agent", local.run)
    config_options(made)

    made = verb("dev", "start a small network in one process, on loopback, with temporary state", local.dev)
    made.add_argument("--agents", type=_count, default=2, metavar="N", help="how many (default 2)")

    made = verb("demo", "start two agents as processes and show what they do together", local.demo)
    made.add_argument("--once", action="store_true", help="end after the last step instead of staying up")
    made.add_argument("--ports", choices=["default", "auto"], default="default", help="auto: any free ports")
    made.add_argument("--configs", metavar="FOLDER", help="where agent1.yaml and agent2.yaml are")

    verb("status", "how the agent is", ask.status, client=True)
    made = verb("peers", "the peers that it knows", ask.peers, client=True)
    made.add_argument("action", nargs="?", choices=["ls", "ping", "forget"], default="ls", help="default ls")
    made.add_argument("peer", nargs="?", metavar="PEER", help="a name or an id, for ping and forget")

    made = verb("network", "the network that it belongs to, and its key", network.status)
    actions = made.add_subparsers(metavar="ACTION", required=True)
    action = actions.add_parser("status", help="which network, what it rests on, how many peers")
    action.set_defaults(verb=network.status)
    client_options(action)
    action = actions.add_parser("key", help="print the key, for agents that shall join")
    action.add_argument("--fingerprint", action="store_true", help="only what tells it from other keys")
    action.set_defaults(verb=network.key)
    config_options(action)
    action = actions.add_parser(
        "rotate",
        help="replace the key, in three steps, each on every agent before the next",
        description="Replaces the key in three steps, each on every agent before the next: `add` a new key (the first "
        "agent makes and prints it, the others read it with --stdin), `use` it, `drop` the old one.",
    )
    action.add_argument("step", choices=["add", "use", "drop"])
    action.add_argument("--stdin", action="store_true", help="add: read the key from standard input")
    action.set_defaults(verb=network.rotate)
    config_options(action)

    _ca_actions(actions)

    verb("reload", "take in the configuration and the keys as they are now", network.reload, client=True)

    made = verb("tools", "every tool that it can reach", ask.tools, client=True)
    made.add_argument("--sources", action="store_true", help="the sources of its own tools, with their last words")

    add_mcp_verb(verb("mcp", "the MCP servers of an agent, and the agent for other MCP clients", sources.ls))

    made = verb("mcp-stdio", "serve MCP on standard input and output, by the running agent", mcp.stdio)
    made.add_argument("--agent", metavar="NAME", help="the local agent of this name")
    made.add_argument("--url", metavar="unix:PATH", help="its socket (default $PRAXIS_URL, else the local one)")

    made = verb("call", "call one tool", ask.call, client=True)
    made.set_defaults(runs=True)
    made.add_argument("tool", help="NAME, SOURCE/NAME, AGENT:NAME or AGENT:SOURCE/NAME")
    made.add_argument("arguments", nargs="*", metavar="k=v", help="arguments; the tool's schema gives them their type")

    made = verb("exec", "run a program", ask.execute, client=True)
    made.set_defaults(runs=True)
    made.add_argument("program", help="the program or the JSON of a graph, or - to read it from standard input")
    made.add_argument("--key", metavar="KEY", help="an idempotency key: the same run with it is made once")
    param_option(made)
    secret_option(made)

    words = "say in plain words what is to be done: a model plans it, and the plan is run"
    add_ask_verb(verb("ask", words, asking.ask, client=True))

    add_runs_verb(verb("runs", "runs that are under way, and those of before", runs.ls))

    made = verb("fmt", "write a program in its usual form", ask.format_text)
    made.add_argument("file", metavar="FILE", help="the file, or - for standard input to output")
    made.add_argument("--check", action="store_true", help="only say whether it is")

    made = verb("plan", "show what a program would do, and where; runs nothing", ask.plan, client=True)
    made.add_argument("program", help="the program or the JSON of a graph, or - to read it from standard input")
    made.add_argument("--check", action="store_true", help="only say what is wrong with it; asks no agent")
    made.add_argument("--graph", action="store_true", help="print it as a graph with positions")

    made = verb("config", "look at the configuration", local.config_check)
    actions = made.add_subparsers(metavar="ACTION", required=True)
    for name, help, call in (
        ("check", "say what is wrong with it", local.config_check),
        ("show", "print it whole, secrets masked", local.config_show),
        ("save", "write it to a file that loads again to the same", local.config_save),
    ):
        action = actions.add_parser(name, help=help, description=help)
        action.set_defaults(verb=call)
        config_options(action)
        if name == "show":
            action.add_argument("--sources", action="store_true", help="say where each value comes from")
            action.add_argument("-o", "--output", choices=["json", "yaml"], help="default yaml; a table of the sources")
        if name == "save":
            action.add_argument("target", metavar="FILE")

    made = verb("token", "tokens for callers from elsewhere", local.token_new)
    actions = made.add_subparsers(metavar="ACTION", required=True)
    action = actions.add_parser("new", help="make one; it is shown this once")
    action.set_defaults(verb=local.token_new)
    action.add_argument("--role", choices=["viewer", "operator", "admin"], default="operator")
    action.add_argument("--name", default="", help="whose it is, for lists and logs")
    config_options(action)
    action = actions.add_parser("ls", help="list them")
    action.set_defaults(verb=local.token_list)
    config_options(action)
    output_option(action)
    action = actions.add_parser("revoke", help="make one worthless")
    action.set_defaults(verb=local.token_revoke)
    action.add_argument("id")
    config_options(action)

    made = verb("healthcheck", "one line and an exit code for monitoring: 0 ok, 1 warning, 2 critical", ask.healthcheck)
    client_options(made)

    verb("version", "print the version", ask.version)
    return parser


def _ca_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from praxis.cli import ca_verbs as ca

    def action(name: str, help: str, call: object) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=help, description=help)
        made.set_defaults(verb=call)
        config_options(made)
        return made

    where = "where the new member finds the issuer (default: as this agent is reached)"
    action("init", "become the issuer of a network whose members are let in one by one", ca.init)
    made = action("token", "at the issuer: print a token that lets one agent in, once", ca.token)
    made.add_argument("--name", help="the only name that it may be used for")
    made.add_argument("--ttl", type=_duration, default=3600.0, metavar="TIME", help="30m, 1h, 2d (default 1h)")
    made.add_argument("--address", action="append", metavar="HOST:PORT", help=where)
    made = action("join", "become a member", ca.join)
    made.add_argument("token", nargs="?", metavar="TOKEN", help="the token, or - to read it from standard input")
    made.add_argument("--bundle", metavar="FILE", help="instead: what `issue` made")
    made = action("issue", "at the issuer: make key and certificate of an agent that cannot reach it", ca.issue)
    made.add_argument("name", metavar="NAME")
    made.add_argument("--days", type=_days, default=365, metavar="N", help="how long it counts (default 365)")
    made.add_argument("--out", metavar="FILE", help="default standard output")
    made.add_argument("--address", action="append", metavar="HOST:PORT", help=where)
    made = action("block", "keep a peer out; at the issuer of the whole network, elsewhere of this agent", ca.block)
    made.add_argument("peer", metavar="PEER", help="an id, at the issuer also a name")
    made = action("unblock", "let a peer in again", ca.unblock)
    made.add_argument("peer", metavar="PEER", help="an id")
    made = action("blocked", "list who is kept out", ca.blocked)
    output_option(made)


def _duration(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 30 * 86400:
        raise argparse.ArgumentTypeError(f"expected a time up to 30d, such as 30m, 1h or 2d, got {text!r}")
    return seconds


def _count(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}")
    return int(text)


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 3650:
        raise argparse.ArgumentTypeError(f"expected a number of days from 1 to 3650, got {text!r}")
    return int(text)
