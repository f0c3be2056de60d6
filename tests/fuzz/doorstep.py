"""Where connections come in without a network: the broker's own connection objects, fed and heard by a test.

A `Visitor` is the transport. What it says is delivered as a socket would, as much as the connection's buffer takes and
not while reading is paused; what it hears is copied when it is written.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections import deque
from collections.abc import Callable, Iterable

from support.bench import BenchEnvironment
from support.disk import SimulatedDisk
from support.loop import SimLoop

BROKER = ("127.0.0.1", 9092)


class Doorstep(BenchEnvironment):
    """The world on the bench, whose listener lets in whoever the test makes up."""

    def __init__(self, loop: SimLoop, disk: SimulatedDisk, seed: int) -> None:
        super().__init__(loop, disk)
        self.random = random.Random(seed)
        self._loop = loop
        self._factory: Callable[[], asyncio.BaseProtocol] | None = None
        self._visitors = 0

    async def listen(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.AbstractServer:
        """Keep who makes connections."""
        self._factory = factory
        return Door(self._loop)

    def enter(self) -> Visitor:
        """A new connection."""
        assert self._factory is not None, "nobody listens"
        protocol = self._factory()
        assert isinstance(protocol, asyncio.BufferedProtocol)
        self._visitors += 1
        return Visitor(self._loop, protocol, number=self._visitors)


class Door(asyncio.Server):
    """A server that accepts nobody by itself."""

    def __init__(self, loop: SimLoop) -> None:
        super().__init__(loop, [], asyncio.Protocol, None, 0, None)


class Visitor(asyncio.Transport):
    """The client's end of one connection, and the transport of the broker's."""

    def __init__(self, loop: SimLoop, protocol: asyncio.BufferedProtocol, *, number: int) -> None:
        peer = (f"10.0.{number // 250 % 250}.{number % 250 + 1}", 1024 + number % 60_000)
        super().__init__({"peername": peer, "sockname": BROKER})
        self.heard = bytearray()
        self.is_gone = False
        """The broker was told that the connection is lost."""
        self._loop = loop
        self._protocol = protocol
        self._unread: deque[bytes] = deque()
        self._is_at_eof = self._eof_told = self._is_paused = self._is_closing = self._is_delivering = False
        protocol.connection_made(self)

    # What the client does

    def say(self, data: bytes) -> None:
        """Send bytes: one read, unless there are too many for one."""
        if data:
            self._unread.append(data)
            self._deliver()

    def end(self) -> None:
        """Say that nothing follows."""
        self._is_at_eof = True
        self._deliver()

    def reset(self) -> None:
        """Be gone."""
        self._lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def take_nothing(self) -> None:
        """Let the broker's answers lie."""
        if not self._is_closing:
            self._protocol.pause_writing()

    def take_again(self) -> None:
        """Take them."""
        if not self.is_gone:
            self._protocol.resume_writing()

    def _deliver(self) -> None:
        # Bytes and the end in the order in which they were sent; a resumption in the middle must not overtake.
        if self._is_delivering:
            return
        self._is_delivering = True
        try:
            while self._unread and not (self._is_paused or self._is_closing):
                data = self._unread.popleft()
                buffer = memoryview(self._protocol.get_buffer(-1))
                size = min(len(buffer), len(data))
                assert size > 0, "get_buffer() returned an empty buffer"
                buffer[:size] = data[:size]
                del buffer
                if size < len(data):
                    self._unread.appendleft(data[size:])
                self._protocol.buffer_updated(size)
            if self._is_at_eof and not (self._unread or self._is_paused or self._is_closing or self._eof_told):
                self._eof_told = True
                if not self._protocol.eof_received():
                    self.close()
        finally:
            self._is_delivering = False

    def _lose(self, error: Exception | None) -> None:
        if not self.is_gone:
            self.is_gone = self._is_closing = True
            self._unread.clear()
            self._loop.call_soon(self._protocol.connection_lost, error)

    # What the broker does

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Be told."""
        if not self._is_closing:
            self.heard += data

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Be told several things."""
        for data in list_of_data:
            self.write(data)

    def close(self) -> None:
        """Be sent away, once everything is said."""
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """Be thrown out."""
        self._is_closing = True
        self._lose(None)

    def is_closing(self) -> bool:
        """On the way out."""
        return self._is_closing

    def is_reading(self) -> bool:
        """Listened to."""
        return not (self._is_paused or self._is_closing)

    def pause_reading(self) -> None:
        """Not be listened to."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """Be listened to again."""
        self._is_paused = False
        self._loop.call_soon(self._deliver)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no write buffer."""

    def get_write_buffer_size(self) -> int:
        """There is no write buffer."""
        return 0

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The broker's end."""
        return self._protocol
