"""Options that several verbs have."""

from __future__ import annotations

import argparse


def client_options(parser: argparse.ArgumentParser, *, url: str = "--url") -> None:
    """Of verbs that ask a running agent; `url` is how its address is given."""
    parser.add_argument(
        url,
        dest="url",
        metavar="URL",
        help="http://HOST:PORT or unix:PATH of the agent (default $PRAXIS_URL, else the local one)",
    )
    parser.add_argument("--agent", metavar="NAME", help="the local agent of this name")
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="give up after this long")
    output_option(parser)


def output_option(parser: argparse.ArgumentParser) -> None:
    """Of verbs that print more than words."""
    parser.add_argument("-o", "--output", choices=["table", "json", "yaml"], default="table")


def config_options(parser: argparse.ArgumentParser) -> None:
    """Of verbs that read a configuration."""
    parser.add_argument("--config", metavar="FILE", help="default $AGENT_CONFIG, else built-in values")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a value over file and environment: http.port=0; lists with commas",
    )


def seconds(text: str) -> float:
    """A duration; raises argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return value
