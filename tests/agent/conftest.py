"""What tests of whole agents share."""

from __future__ import annotations

import pytest
from trio.testing import MockClock


@pytest.fixture
def turned_clock() -> MockClock:
    """A clock that goes on as clocks do, and can be turned: the whole test runs by it, sockets and all."""
    return MockClock(rate=1.0)
