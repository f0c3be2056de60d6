"""The two directions of a simulated connection, and its two ends, which are asyncio transports.

A `Pipe` holds what was written and has not been read, by reference, and delivers it piece by piece at times that
the network draws. An `Endpoint` behaves as asyncio's selector transport does, with the liberties that
`support.network` lists.

Invariant: a protocol is only called in the context of its process, and never once that process is dead.
"""

import asyncio
import contextvars
import errno
import random
import socket
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, NoReturn, Protocol, TypeVarTuple, Unpack

from .loop import PROCESS, WORLD, Process, SimLoop

Ts = TypeVarTuple("Ts")

Buffer = bytes | bytearray | memoryview
Ending = Literal["eof", "reset"]

READ_SIZE_MAX = 256 * 1024
WRITE_BUFFER_HIGH = 64 * 1024
NOTICE_POWER_CUT_S_MAX = 2.0


class BufferReused(AssertionError):
    """Bytes were changed between `write` and their delivery."""


class Weather(Protocol):
    """The network, as its connections know it."""

    loop: SimLoop
    random: random.Random

    def latency(self) -> float:
        """How long the next thing takes."""

    def piece(self, size: int) -> int:
        """How much of `size` bytes the next read gets."""

    def trace(self, what: str, *facts: object) -> None:
        """Note an event."""


class Link(Protocol):
    """The connection, as its ends and pipes know it."""

    @property
    def network(self) -> Weather:
        """Where it is."""

    def drop(self) -> None:
        """It breaks."""

    def stall(self, seconds: float) -> None:
        """Nothing arrives for a while."""

    def faulted(self) -> None:
        """An end resets it, or learns that it was reset."""

    def end_closed(self) -> None:
        """An end is gone."""


class Door(Protocol):
    """The listener, as the connections that came through it know it."""

    def detach(self) -> None:
        """One of them is gone."""


class Written:
    """A buffer under way, by reference."""

    __slots__ = ("_checksum", "_position", "_view")

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")
        self._position = 0
        self._checksum = None if self._view.readonly and isinstance(self._view.obj, bytes) else zlib.crc32(self._view)

    def __len__(self) -> int:
        return len(self._view) - self._position

    def take(self, size: int) -> memoryview:
        """The next bytes. Raises BufferReused when they are not what was written."""
        if self._checksum is not None and zlib.crc32(self._view) != self._checksum:
            raise BufferReused(f"a buffer of {len(self._view)} bytes was changed after it was written to a transport")
        taken = self._view[self._position : self._position + size]
        self._position += size
        return taken


class Pipe:
    """One direction: what was written and has not been read yet, and what follows its last byte."""

    sender: "Endpoint"
    receiver: "Endpoint"

    def __init__(self, connection: Link, name: str) -> None:
        self.connection = connection
        self.name = name
        self.size = 0
        self.ending: Ending | None = None
        self._written: deque[Written] = deque()
        self._is_severed = self._has_ended = False
        self._event: asyncio.TimerHandle | None = None
        self._not_before = 0.0

    def push(self, data: Buffer) -> None:
        """More bytes."""
        if self._is_severed or not len(data):
            return
        assert self.ending is None, "bytes after the end"
        written = Written(data)
        self._written.append(written)
        self.size += len(written)
        self.kick()

    def end(self, ending: Ending) -> None:
        """Nothing follows what was pushed so far; a reset may take the place of an end."""
        if not self._is_severed and (ending == "reset" or not (self.ending or self._has_ended)):
            self.ending = ending
            self.kick()

    def sever(self, *, keep: int, notice_s: float) -> None:
        """`keep` bytes still arrive; then, `notice_s` later than now, the receiver hears of a reset."""
        self.cut(keep)
        self.ending = "reset"
        self._is_severed = True
        self.stall(max(self._not_before, self.connection.network.loop.time() + notice_s))

    def cut(self, keep: int) -> None:
        """Lose what comes after the next `keep` bytes; these are copied, for their sender may be gone."""
        kept = b"".join(self._take(min(keep, self.size)))
        self._written.clear()
        self.size = 0
        if kept:
            self._written.append(Written(kept))
            self.size = len(kept)
        self.sender.drained()

    def stall(self, until: float) -> None:
        """Deliver nothing before `until`."""
        self._not_before = until
        if self._event is not None:
            self._event.cancel()
            self._event = None
        self.kick()

    def kick(self) -> None:
        """Set the next delivery, if there is anything to deliver and somebody who reads."""
        receiver = self.receiver
        if self._event is not None or not (self.size or self.ending):
            return
        if not (receiver.is_reading() or receiver.is_lost or (self.ending == "reset" and receiver.is_attached)):
            return
        network = self.connection.network
        when = max(network.loop.time() + network.latency(), self._not_before)
        self._event = network.loop.call_io(when, self._deliver, context=WORLD)

    def _deliver(self) -> None:
        self._event = None
        receiver, network = self.receiver, self.connection.network
        if receiver.is_lost:
            # Bytes for a socket that is closed are answered with a reset.
            if self.size and not self.sender.is_lost:
                self.cut(0)
                self.sender.reset()
            return
        if not receiver.is_reading():
            if self.ending == "reset" and receiver.is_attached:
                self.cut(0)
                receiver.reset()
            return
        if self.size:
            self._deliver_bytes(network.piece(self.size))
        elif self.ending == "eof":
            self.ending, self._has_ended = None, True
            network.trace("eof", self.connection, self.name)
            receiver.eof()
        elif self.ending == "reset":
            receiver.reset()
        self.kick()

    def _deliver_bytes(self, size: int) -> None:
        receiver = self.receiver
        buffer = receiver.buffer(min(size, READ_SIZE_MAX))
        if buffer is None:
            return
        size = min(size, len(buffer))
        position = 0
        try:
            for part in self._take(size):
                buffer[position : position + len(part)] = part
                position += len(part)
        except BufferReused as error:
            self.connection.network.loop.call_exception_handler(
                {"message": str(error), "exception": error, "transport": self.sender}
            )
            self.connection.drop()
            return
        self.connection.network.trace("deliver", self.connection, self.name, size, zlib.crc32(buffer[:size]))
        self.sender.drained()
        receiver.filled(size)

    def _take(self, size: int) -> Iterable[memoryview]:
        while size:
            written = self._written[0]
            taken = written.take(min(size, len(written)))
            if not len(written):
                self._written.popleft()
            size -= len(taken)
            self.size -= len(taken)
            yield taken


class Endpoint(asyncio.Transport):
    """One end of a connection: the transport that a protocol gets."""

    def __init__(
        self,
        connection: Link,
        outgoing: Pipe,
        incoming: Pipe,
        *,
        addresses: tuple[tuple[str, int], tuple[str, int]],
    ) -> None:
        own, peer = addresses
        extra = {"sockname": own, "peername": peer, "socket": SocketStandIn(own, peer)}
        super().__init__(extra)
        self._loop = connection.network.loop
        self.connection = connection
        self.outgoing, self.incoming = outgoing, incoming
        outgoing.sender = incoming.receiver = self
        self.owner: Process | None = None
        self.listener: Door | None = None
        self.is_attached = False
        """A protocol is there and has been told; before that nothing is read."""
        self.is_lost = False
        self._protocol: asyncio.BaseProtocol | None = None
        self._context = WORLD
        self._is_closing = self._is_paused = self._has_eof = False
        self._buffer = memoryview(b"")
        self._is_protocol_paused = False
        self.set_write_buffer_limits()

    def attach(
        self, protocol: asyncio.BaseProtocol, context: contextvars.Context, connected: asyncio.Future[object] | None
    ) -> None:
        """Give it its protocol, which lives in `context`."""
        self._protocol = protocol
        self._context = context
        self.owner = context.get(PROCESS)
        if self.owner is not None:
            self.owner.belongings[self] = None
        self._soon(protocol.connection_made, self)
        self._soon(self._begin_reading)
        if connected is not None:
            self._soon(set_if_waiting, connected)

    def _begin_reading(self) -> None:
        self.is_attached = True
        self.incoming.kick()

    # What the protocol asks of its transport

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol."""
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another protocol from now on."""
        self._protocol = protocol

    def write(self, data: Buffer) -> None:
        """Send, keeping a reference."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._has_eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._is_closing or (self.owner is not None and self.owner.is_dead):
            return
        self.outgoing.push(data)
        self._hold_back()

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        """Send several, keeping references."""
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        """Say that nothing follows, and go on reading."""
        if not (self._is_closing or self._has_eof):
            self._has_eof = True
            self.outgoing.end("eof")

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """From how many unread bytes on the protocol is asked to wait, and down to how many."""
        if high is None:
            high = WRITE_BUFFER_HIGH if low is None else 4 * low
        self._low, self._high = high // 4 if low is None else low, high
        if not self._high >= self._low >= 0:
            raise ValueError(f"high ({self._high}) must be at least low ({self._low}), and that at least 0")
        self._hold_back()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high limit."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Bytes that the other end has not read."""
        return self.outgoing.size

    def is_reading(self) -> bool:
        """Whether bytes would be taken."""
        return self.is_attached and not self._is_closing and not self._is_paused

    def pause_reading(self) -> None:
        """Take no more bytes."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """Take bytes again."""
        self._is_paused = False
        self.incoming.kick()

    def is_closing(self) -> bool:
        """Closed, or about to be."""
        return self._is_closing

    def close(self) -> None:
        """Send what was written, then close."""
        if not self._is_closing:
            self._is_closing = True
            self._finish_if_drained()

    def abort(self) -> None:
        """Close without sending what was written."""
        if not self.is_lost:
            self.connection.faulted()
            self.outgoing.cut(0)
            self._lose(None, "reset")

    # What the network tells it

    def buffer(self, size: int) -> memoryview | None:
        """Where up to `size` bytes may go; None when the protocol failed at that."""
        if not isinstance(self._protocol, asyncio.BufferedProtocol):
            self._buffer = memoryview(bytearray(size))
            return self._buffer
        try:
            self._buffer = memoryview(self._context.run(self._protocol.get_buffer, -1)).cast("B")
            if not len(self._buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio
            self._fatal_error(error)
            return None
        return self._buffer

    def filled(self, size: int) -> None:
        """`size` bytes are in the buffer."""
        buffer, self._buffer = self._buffer, memoryview(b"")
        if isinstance(self._protocol, asyncio.BufferedProtocol):
            # A view that outlived its read would keep the protocol's bytearray from being resized.
            buffer.release()
            self._call(self._protocol.buffer_updated, size)
        else:
            assert isinstance(self._protocol, asyncio.Protocol)
            self._call(self._protocol.data_received, bytes(buffer[:size]))

    def eof(self) -> None:
        """The other end sends no more."""
        assert isinstance(self._protocol, (asyncio.Protocol, asyncio.BufferedProtocol))
        if not self._call(self._protocol.eof_received):
            self.close()

    def reset(self) -> None:
        """The other end is gone."""
        self.connection.faulted()
        self._lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), None)

    def drained(self) -> None:
        """The other end has read, or will never read, some of what was written."""
        if self._is_closing or self._is_protocol_paused:
            self._soon(self._after_drain)

    def owner_died(self, *, power_cut: bool) -> None:
        """Its process is gone; what the kernel had taken over may still arrive."""
        network, draw = self.connection.network, self.connection.network.random
        self.is_lost = self._is_closing = True
        self.connection.faulted()
        if power_cut:
            # The machine says nothing any more; the other end hears of it by a timeout, or from the next boot.
            notice_s = draw.random() * NOTICE_POWER_CUT_S_MAX
            self.outgoing.sever(
                keep=draw.randint(0, self.outgoing.size) if draw.random() < 0.5 else 0, notice_s=notice_s
            )
            self.incoming.stall(network.loop.time() + notice_s)
        else:
            self.outgoing.cut(self.outgoing.size if draw.random() < 0.6 else draw.randint(0, self.outgoing.size))
            self.outgoing.end("reset" if self.incoming.size or draw.random() < 0.5 else "eof")
            self.incoming.kick()
        self._detach()

    def _after_drain(self) -> None:
        if not self.is_lost:
            if self._is_protocol_paused and self.outgoing.size <= self._low:
                self._is_protocol_paused = False
                self.get_protocol().resume_writing()
            if self._is_closing:
                self._finish_if_drained()

    def _hold_back(self) -> None:
        if self._protocol is not None and not self._is_protocol_paused and self.outgoing.size > self._high:
            self._is_protocol_paused = True
            self._protocol.pause_writing()

    def _finish_if_drained(self) -> None:
        if not self.outgoing.size and not self.is_lost:
            # Closing a socket with unread bytes in it resets the connection.
            self._lose(None, "reset" if self.incoming.size else "eof")

    def _lose(self, error: Exception | None, ending: Ending | None) -> None:
        if self.is_lost:
            return
        self.is_lost = self._is_closing = True
        self.connection.network.trace("lost", self.connection, self.outgoing.name, type(error).__name__)
        if ending is None:
            self.outgoing.cut(0)
        else:
            self.outgoing.end(ending)
        self.incoming.kick()
        if self._protocol is not None:
            self._soon(self._protocol.connection_lost, error)
        self._detach()

    def _detach(self) -> None:
        if self.owner is not None:
            self.owner.belongings.pop(self, None)
        if self.listener is not None:
            self.listener.detach()
        self.connection.end_closed()

    def _soon(self, callback: Callable[[Unpack[Ts]], object], *arguments: *Ts) -> None:
        self._loop.call_soon(callback, *arguments, context=self._context)

    def _call(self, callback: Callable[[Unpack[Ts]], object], *arguments: *Ts) -> object:
        try:
            return self._context.run(callback, *arguments)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio
            self._fatal_error(error)
            return None

    def _fatal_error(self, error: BaseException) -> None:
        if self.owner is not None and self.owner.is_dead:
            return  # the process died in this very call
        self._loop.call_exception_handler(
            {"message": "protocol failed", "exception": error, "transport": self, "protocol": self._protocol}
        )
        self.outgoing.cut(0)
        self._lose(error if isinstance(error, Exception) else None, "reset")


class SocketStandIn:
    """What one may ask of a transport's socket."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, own: tuple[str, int], peer: tuple[str, int] | None) -> None:
        self._own, self._peer = own, peer

    def getsockname(self) -> tuple[str, int]:
        """Its own address."""
        return self._own

    def getpeername(self) -> tuple[str, int]:
        """The other end's address."""
        if self._peer is None:
            raise OSError(errno.ENOTCONN, "not connected")
        return self._peer

    def setsockopt(self, *options: object) -> None:
        """Nothing to be tuned here."""

    def fileno(self) -> NoReturn:
        """There is no file behind it."""
        raise RuntimeError("a simulated socket has no file descriptor")


def set_if_waiting(future: asyncio.Future[object]) -> None:
    """Complete a future, unless whoever waited has given up."""
    if not future.done():
        future.set_result(None)
