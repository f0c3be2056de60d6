"""Fixtures that several folders share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.process import BrokerProcess

# A build server may start the tests in the background, where shells make SIGINT ignored, and so it would be for every
# process that a test starts: those that are to be ended by Ctrl-C would never end.
signal.signal(signal.SIGINT, signal.default_int_handler)


# No timing decides a test, and a run can be had again: the same examples each time, others at release size.
settings.register_profile(
    "tidelog",
    deadline=None,
    derandomize="TIDELOG_PROOF" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tidelog")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker process of the test's own, with fresh data."""
    process = BrokerProcess(tmp_path / "data")
    process.start()
    try:
        yield process
    finally:
        process.stop()
    assert "Traceback" not in process.log_text(), process.log_text()
