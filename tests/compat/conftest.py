"""What the tests of real clients share: a broker for all of them, and the processes of Node.js."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clients.house import Clients, Node
from support.process import BrokerProcess

QUICK = ("group.consumer.min.heartbeat.interval.ms=200", "group.consumer.heartbeat.interval.ms=200")
"""Members of the consumer protocol learn with their heartbeats what has changed: by default they take 5 s for it."""


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """The drivers in Node.js."""
    made = Node()
    yield made
    made.close()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """One broker for the tests that need none of their own: each uses topics that no other has."""
    process = BrokerProcess(tmp_path_factory.mktemp("compat") / "data", *QUICK)
    process.start()
    try:
        yield process
    finally:
        process.kill()  # what it keeps is thrown away: nothing needs to be flushed for it
    assert "Traceback" not in process.log_text(), process.log_text()


@pytest.fixture
def clients(cluster: BrokerProcess, node: Node) -> Iterator[Clients]:
    """Clients of the common broker."""
    opened = Clients(cluster, node)
    yield opened
    opened.close()


@pytest.fixture
def lively(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker of the test's own, with which groups of the consumer protocol are quick."""
    process = BrokerProcess(tmp_path / "data", *QUICK)
    process.start()
    try:
        yield process
    finally:
        process.stop()
    assert "Traceback" not in process.log_text(), process.log_text()


@pytest.fixture
def own(lively: BrokerProcess, node: Node) -> Iterator[Clients]:
    """Clients of a broker of the test's own, which may be stopped, killed and started again."""
    opened = Clients(lively, node)
    yield opened
    opened.close()
