"""The command line in the test's own process, and a broker that is only a double of the network's other end."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


def press_ctrl_c(running: subprocess.Popen[bytes]) -> None:
    """Until it ends: a signal between Python's look for one and its read of the terminal waits for the next key.

    Not again sooner than a process can take to end: one that comes while the interpreter shuts down would kill it.
    """
    while running.poll() is None:
        running.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            running.wait(5)


def run_on_a_terminal(stub: Stub, answer: bytes | None, *words: str) -> tuple[int, str]:
    """Run a command on a terminal, and type, or press Ctrl-C, when it asks; its exit code and what was to be seen."""
    master, terminal = pty.openpty()
    environment = {**os.environ, "TIDELOG_SERVER": stub.server, "TERM": "xterm"}
    command = [sys.executable, "-m", "tidelog", *words]
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
    ) as running:
        os.close(terminal)
        shown = b""
        asked = False
        while True:
            try:
                chunk = os.read(master, 4096)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
            if b"to go on" in shown and not asked:
                asked = True
                if answer is None:
                    press_ctrl_c(running)
                else:
                    os.write(master, answer)
        running.wait(30)
    os.close(master)
    return running.returncode, shown.decode()
