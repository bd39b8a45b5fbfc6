"""The official conformance suite against our server stack: every required scenario of both revisions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import REVISIONS, Suite, installed_suite

SERVER = Path(__file__).with_name("fixture_server.py")
SCENARIOS = {"2025-11-25": 30, "2026-07-28": 37}
UNSCORED = {
    "2025-11-25": {"json-schema-2020-12", "server-session-lifecycle", "server-sse-polling"},
    "2026-07-28": {"json-schema-2020-12", "http-header-validation", "http-custom-header-server-validation"},
}
"""Scenarios that no revision requires and that are passed all the same."""


@pytest.fixture(scope="module")
def suite() -> Suite:
    return installed_suite()


@pytest.fixture(scope="module")
def url(suite: Suite) -> Iterator[str]:
    with subprocess.Popen([sys.executable, str(SERVER), "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@pytest.mark.registry
@pytest.mark.parametrize("revision", REVISIONS)
def test_every_required_scenario_is_passed(suite: Suite, url: str, revision: str, tmp_path: Path) -> None:
    required = suite.required("server", revision)
    passed = suite.test_server(url, revision, tmp_path / "results")
    assert len(required) == SCENARIOS[revision]
    assert [name for name in required if not passed.get(name)] == [], (tmp_path / f"{revision}.log").read_text()[-4000:]
    assert [name for name in UNSCORED[revision] if not passed.get(name)] == []
