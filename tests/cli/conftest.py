from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from praxis.cli.command import run
from tests.cli.cli_kit import Network, Said

Praxis = Callable[..., Said]


@pytest.fixture(scope="package")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Network(tmp_path_factory.mktemp("cli")).up() as network:
        yield network


@pytest.fixture
def praxis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Praxis:
    """Runs one verb, in an environment that knows of no agent and a folder without files."""
    for name in ("PRAXIS_URL", "PRAXIS_TOKEN", "PRAXIS_STATE_DIR", "STATE_DIRECTORY", "AGENT_CONFIG", "HTTP_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.chdir(tmp_path)

    def praxis(*arguments: str, stdin: bytes = b"") -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run(arguments)
        return Said(code, *capsys.readouterr())

    return praxis


@pytest.fixture
def ask(praxis: Praxis, network: Network) -> Praxis:
    """Runs one client verb against agent-1."""

    def ask(verb: str, *arguments: str, stdin: bytes = b"") -> Said:
        return praxis(verb, "--url", network.url(1), *arguments, stdin=stdin)

    return ask
