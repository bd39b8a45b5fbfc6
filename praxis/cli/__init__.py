"""The command line. Client verbs use the standard library alone, so that they start fast; the verbs that start an
agent import it when they are called."""

from __future__ import annotations


def main() -> None:
    """The console script."""
    import io
    import sys

    from praxis.cli.command import run

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what the terminal cannot show is no reason to fail
    sys.exit(run(sys.argv[1:]))
