"""The arguments of `praxis mcp`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from praxis.cli.options import client_options, config_options, output_option, seconds


def split_program(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of `praxis`, and of the program that is to be added: what follows the first ``--``.

    argparse does not find them behind options.
    """
    words = list(arguments)
    if words[:2] != ["mcp", "add"] or "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def add_mcp_verb(made: argparse.ArgumentParser) -> None:
    """Everything below `praxis mcp`."""
    from praxis.cli import direct_verbs as direct
    from praxis.cli import exchange_verbs as exchange
    from praxis.cli import source_verbs as sources

    actions = made.add_subparsers(metavar="ACTION", required=True)

    def action(name: str, help: str, call: object, *, note: str = "") -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=help, description=f"{help}. {note}" if note else help)
        added.set_defaults(verb=call)
        return added

    client_options(action("ls", "list the MCP servers of the agent", sources.ls))

    added = action(
        "add",
        "start an MCP server, now and whenever the agent starts",
        sources.add,
        note="A program is started with these arguments, never by a shell. Text is as in the configuration: ${NAME} "
        "stands for a variable of the agent's environment, $$ for a dollar. Without a running agent the server is "
        "written down for its next start.",
    )
    added.add_argument("name", metavar="NAME", help="of the source: its tools are NAME/TOOL")
    added.usage = "praxis mcp add NAME [options] -- COMMAND [ARGS...]\n       praxis mcp add NAME --url URL [options]"
    added.set_defaults(command=[])
    added.add_argument("--url", dest="server_url", metavar="URL", help="instead: where it is")
    added.add_argument("--transport", choices=["http", "sse"], help="with --url; default http, which also tries sse")
    _server_options(added)
    added.add_argument("--workdir", metavar="FOLDER", help="where the program starts")
    _agent_options(added, url="--agent-url")

    added = action("rm", "end an MCP server and forget it", sources.remove)
    added.add_argument("name", metavar="NAME")
    _agent_options(added)

    added = action("restart", "end an MCP server and start it again", sources.restart)
    added.add_argument("name", metavar="NAME")
    client_options(added)

    added = action("logs", "the last of what an MCP server said, and of what became of it", sources.logs)
    added.add_argument("name", metavar="NAME")
    client_options(added)

    added = action("approve", "let tools whose definitions changed be what they are now", sources.approve)
    added.add_argument("name", metavar="NAME")
    added.add_argument("tool", nargs="?", metavar="TOOL", help="default all that are held back")
    client_options(added)

    added = action(
        "import",
        "take the MCP servers out of a file of another client, or of the registry",
        exchange.take,
        note="Reads the files of Claude, Cursor, VS Code, Gemini, Windsurf, Cline, opencode, Codex and Zed, and the "
        "registry's server.json.",
    )
    added.add_argument("file", metavar="FILE", help="or - to read it from standard input")
    added.add_argument("--dry-run", action="store_true", help="show what would be taken, and take nothing")
    _agent_options(added)

    added = action("export", "print an entry for other MCP clients", exchange.give)
    added.add_argument("--http", action="store_true", help="by streamable HTTP instead of a program")
    added.add_argument("--servers", action="store_true", help="the agent's servers instead of the agent")
    client_options(added)

    added = action("call", "call one tool of any MCP server, without an agent", direct.call)
    _target(added)
    added.add_argument("tool", metavar="TOOL")
    added.add_argument("arguments", nargs="*", metavar="k=v", help="arguments; the tool's schema gives them their type")

    _target(action("inspect", "show what any MCP server is and has, without an agent", direct.inspect))


def _agent_options(parser: argparse.ArgumentParser, *, url: str = "--url") -> None:
    """The running agent, or the one whose configuration is meant."""
    client_options(parser, url=url)
    config_options(parser)


def _server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env", action="append", default=[], metavar="K=V", help="a variable for the program")
    parser.add_argument("--header", action="append", default=[], metavar="K=V", help="with a URL: sent each time")
    parser.add_argument("--protocol", choices=["auto", "legacy", "modern"], help="default auto: it is asked")


def _target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="URL|COMMAND", help="a command is one word: 'npx -y server --flag'")
    parser.add_argument("--transport", choices=["http", "sse"], help="of a URL; default http, which also tries sse")
    _server_options(parser)
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="SECONDS", help="for all of it (default 60)")
    output_option(parser)
