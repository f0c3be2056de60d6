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

from ..storage.disk import RealDisk, Volume
from .acceptor import Acceptor

T = TypeVar("T")

ACCEPT_BACKLOG = 1024
BLOCKING_THREADS = 8
UNLIMITED_DESCRIPTORS = 1 << 30


class Listening(Protocol):
    """What accepts connections."""

    def close(self) -> None:
        """Accept no more. Those that are in stay."""


class Environment(Protocol):
    """What the broker may ask of the world."""

    random: random.Random

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds since 1970; it may jump."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back. May be called from a thread of the pool."""

    def disk(self, directory: str) -> Volume:
        """The disk below a directory."""

    def run_blocking(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run a blocking call beside the loop; the future carries its result or its exception."""

    async def listen(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> Listening:
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

    def disk(self, directory: str) -> Volume:
        """The real disk below `directory`."""
        return RealDisk(directory)

    def run_blocking(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run `function` in the pool."""
        return asyncio.get_running_loop().run_in_executor(self._pool, function)

    def descriptors_max(self) -> int:
        """The soft limit."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return UNLIMITED_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft

    async def listen(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> Acceptor:
        """Listen at every address that the host's name has."""
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        sockets: list[socket.socket] = []
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                sockets.append(_bound(family, address, only_v6=True))  # the host's IPv4 addresses are among them
        except OSError:
            for one in sockets:
                one.close()
            raise
        acceptor = Acceptor(sockets, factory, descriptors_max=self.descriptors_max())
        acceptor.start(ACCEPT_BACKLOG)
        return acceptor

    def bind(self, host: str, port: int) -> socket.socket:
        """A listening TCP socket; port 0 lets the system choose."""
        listener = _bound(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))
        listener.listen(128)
        return listener


def _bound(family: int, address: tuple[object, ...], *, only_v6: bool = False) -> socket.socket:
    """A TCP socket that never blocks. Raises OSError, which names the address."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and only_v6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"{error.strerror}: {address[0]} port {address[1]}") from None
    return made
