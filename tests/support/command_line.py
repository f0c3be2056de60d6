"""The command line in the test's own process, and a broker that is only a double of the network's other end."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread

from click.testing import CliRunner

from tidelog.cli.main import run

from .fake_broker import FakeCluster


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command line left behind."""

    code: int
    out: str
    err: str


Tidelog = Callable[..., Ended]
"""`tidelog("topic", "ls", server=…)`."""


def run_here(*words: str, given: bytes | None = None, server: str | None = None) -> Ended:
    """Run a command line; neither stdin nor stdout is a terminal."""
    environment = {"TIDELOG_SERVER": server, "TIDELOG_HTTP": None}
    with CliRunner().isolation(input=given, env=environment) as (out, err, _):
        code = run(words)
        sys.stdout.flush()
        sys.stderr.flush()
        return Ended(int(code), out.getvalue().decode(), err.getvalue().decode())


@dataclass(frozen=True, slots=True)
class Stub:
    """A fake cluster that listens on a real port. Look into it only while no command runs."""

    cluster: FakeCluster
    server: str


@contextmanager
def listening_stub() -> Iterator[Stub]:
    """A stub in a thread and a loop of its own."""
    cluster = FakeCluster(partitions=2)
    cluster.brokers[0].port = 0
    loop = asyncio.new_event_loop()
    listening, stopping = Event(), asyncio.Event()

    async def serve() -> None:
        async with cluster:
            listening.set()
            await stopping.wait()

    thread = Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert listening.wait(10)
    try:
        yield Stub(cluster, f"127.0.0.1:{cluster.brokers[0].port}")
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()
