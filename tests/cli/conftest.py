"""Fixtures of the command line's tests."""

from collections.abc import Iterator

import pytest

from support.command_line import Stub, Tidelog, listening_stub, run_here


@pytest.fixture
def stub() -> Iterator[Stub]:
    """The other end of the network."""
    with listening_stub() as listening:
        yield listening


@pytest.fixture
def tidelog() -> Tidelog:
    """Runs a command line in this process."""
    return run_here
