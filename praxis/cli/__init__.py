"""The command line. Client verbs use the standard library alone, so that they start fast; the verbs that start an
agent import it when they are called."""

from __future__ import annotations


def main() -> None:
    """The console script."""
    import sys

    from praxis.cli.command import run

    sys.exit(run(sys.argv[1:]))
