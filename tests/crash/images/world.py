"""A whole broker on a disk of this package, in a simulated loop of its own, asked through its handlers."""

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Coroutine
from typing import TypeVar

from support.environment import wall_clock_ms
from support.house import House
from support.loop import SimLoop
from tidelog.broker.config import BrokerConfig
from tidelog.broker.request import Pending
from tidelog.broker.server import Server
from tidelog.storage.disk import Volume

from .disk import CrashDisk
from .promises import Broken

T = TypeVar("T")

CONFIG = BrokerConfig.load(
    environ={},
    overrides=[
        "listeners=127.0.0.1:9092",
        "http.listen=off",
        "data.dir=data",
        "offsets.topic.num.partitions=2",
        "log.segment.bytes=4096",
        "log.index.interval.bytes=256",
        "log.reserve.bytes=0",
    ],
)


class Nobody:
    """Listens, and nobody comes."""

    def close(self) -> None:
        """See `asyncio.AbstractServer`."""


class QuietEnvironment:
    """The world of a broker that nobody dials. See `Environment`."""

    def __init__(self, loop: SimLoop, disk: CrashDisk) -> None:
        self.random = random.Random(loop.seed)
        self._loop, self._disk = loop, disk

    def now_ms(self) -> int:
        """See `Environment`."""
        return wall_clock_ms(self._loop)

    def monotonic(self) -> float:
        """See `Environment`."""
        return self._loop.time()

    def disk(self, directory: str) -> Volume:
        """See `Environment`."""
        del directory
        return self._disk

    def run_blocking(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """See `Environment`. A little later."""
        return self._loop.run_in_executor(None, function)

    async def listen(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.AbstractServer:
        """See `Environment`."""
        return Nobody()  # type: ignore[return-value]

    def bind(self, host: str, port: int) -> socket.socket:
        """See `Environment`."""
        raise NotImplementedError("there is no HTTP here")

    def descriptors_max(self) -> int:
        """See `Environment`."""
        return 1 << 20


class Living(House):
    """A broker that was started."""

    async def say(self, request: object, version: int | None, heard: Callable[[object], None]) -> object:
        """Ask; `heard` is told of the answer in the instant in which it is given, not when somebody comes to look."""
        result = self.call(request, version)
        if not isinstance(result, Pending):
            heard(result)
            return result
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def answered(response: object) -> None:
            heard(response)
            future.set_result(response)

        result.attach(answered)
        return await future


class Alarm(logging.Handler):
    """Remembers the errors that a broker logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.said.append(record.getMessage())


ALARM = Alarm()


def in_a_world(disk: CrashDisk, program: Callable[[Living], Coroutine[object, object, T]], *, seed: int) -> T:
    """Start a broker on the disk, and run a program beside it; whatever is left then ends as if killed."""
    loop = SimLoop(seed)

    async def run() -> T:
        server = Server(CONFIG, QuietEnvironment(loop, disk))
        await server.start()
        return await program(Living(server))

    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


def without_alarm(action: Callable[[], T]) -> T:
    """Do something during which no error may be logged. Raises Broken."""
    ALARM.said.clear()
    result = action()
    if ALARM.said:
        raise Broken(f"an error was logged: {ALARM.said[0]}")
    return result
