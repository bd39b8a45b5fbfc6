"""The engines, started once for all tests here that need them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.engines import Engine, started


@pytest.fixture(scope="package")
def engine() -> Iterator[Engine]:
    """Docker, with the product's image."""
    with started("with_docker.sh") as engine:
        yield engine


@pytest.fixture(scope="package")
def podman() -> Iterator[Engine]:
    with started("with_podman.sh") as engine:
        yield engine
