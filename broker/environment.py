"""The outside world as one object: clock, randomness, disk, blocking pool, network.

Everything the broker learns from or does to the world passes through an `Environment`, made once in `cli/serve.py` or
in a test and handed down. The simulated twin lives with the tests; nothing else may touch a clock, a disk or a
thread. Timers are not here: they come from the running loop, which in a simulation is itself simulated.
"""

import asyncio
import random
import resource
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from ..storage.disk import Disk, RealDisk

T = TypeVar("T")

BLOCKING_THREADS = 4
UNLIMITED_DESCRIPTORS = 1 << 30


class Environment(Protocol):
    """What the broker may ask of the world."""

    random: random.Random

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds since 1970; it may jump."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back. May be called from a thread of the pool."""

    def disk(self, directory: str) -> Disk:
        """The disk below a directory."""

    def run_blocking(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run a blocking call beside the loop; the future carries its result or its exception."""

    async def listen(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.AbstractServer:
        """Accept TCP connections, a protocol each. Raises OSError when the address cannot be bound."""

    def bind(self, host: str, port: int) -> socket.socket:
        """A bound, listening socket for a server that accepts by itself (the HTTP side)."""

    def descriptors_max(self) -> int:
        """How many files and sockets the process may have open."""


class RealEnvironment:
    """The world as it is."""

    def __init__(self) -> None:
        self.random: random.Random = random.SystemRandom()
        self._pool = ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="tidelog-blocking")

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since some start; finer than the loop's own clock, which a tick of uvloop freezes."""
        return time.monotonic()

    def disk(self, directory: str) -> Disk:
        """The real disk below `directory`."""
        return RealDisk(directory)

    def run_blocking(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run `function` in the pool."""
        return asyncio.get_running_loop().run_in_executor(self._pool, function)

    def descriptors_max(self) -> int:
        """The soft limit."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return UNLIMITED_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft

    async def listen(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.AbstractServer:
        """Listen with the running loop."""
        return await asyncio.get_running_loop().create_server(factory, host, port, backlog=1024)

    def bind(self, host: str, port: int) -> socket.socket:
        """A listening TCP socket; port 0 lets the system choose."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(128)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return listener
