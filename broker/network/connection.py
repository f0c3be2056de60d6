"""Connection: one socket. Frames in, answers out in the order of the requests.

Reading: all connections of a loop share one receive buffer; a connection owns one only while a frame is incomplete or
while it is held. It is *held* (no further frame is taken, the socket is not read) while a request that holds the
connection waits, while too many answers or too many bytes of them are outstanding, and while the peer does not take
what was written: backpressure is TCP's. Only under a request that waits by design, a fetch, is the socket read on until
a next byte comes, or else nobody would notice that the client has gone.

However a connection ends, what was taken before is answered first.

At the end of each socket read, in this order: staged batches are written out, the receive buffer is given back,
answers are sent.
"""

import asyncio
import logging
from collections import deque
from typing import Protocol, cast

from ...protocol.errors import ProtocolError
from ...protocol.framing import FrameReader
from ...protocol.kafka_wire import KafkaWire
from ...protocol.primitives import Buffer
from ...protocol.tide_wire import PREFACE, TideWire
from ...protocol.wire import Wire
from ..config import join_address
from ..errors import message_of
from ..request import Address
from .dispatcher import Dispatcher, Exchange

logger = logging.getLogger(__name__)

WRITE_BUFFER_HIGH = 1 << 20
"""Bytes in a peer's write buffer, or in answers that wait for their turn, from which on it is held."""

KAFKA_WIRE = KafkaWire()
TIDE_WIRE = TideWire()

STRANGERS = {
    b"GET ": "an HTTP request: the HTTP side has a port of its own",
    b"POST": "an HTTP request: the HTTP side has a port of its own",
    b"HEAD": "an HTTP request: the HTTP side has a port of its own",
    b"PUT ": "an HTTP request: the HTTP side has a port of its own",
    b"SSH-": "an SSH client",
}
TLS_HANDSHAKE = b"\x16\x03"


class Home(Protocol):
    """The listener, as its connections know it."""

    name: str
    advertised: Address | None

    def opened(self, connection: "Connection") -> bool:
        """A socket was accepted; false when there are too many."""

    def closed(self, connection: "Connection", reason: str) -> None:
        """It is gone."""


class Connection(asyncio.BufferedProtocol):
    """One client's socket."""

    def __init__(
        self,
        *,
        home: Home,
        dispatcher: Dispatcher,
        receive_buffer: bytearray,
        frame_size_max: int,
        in_flight_max: int,
    ) -> None:
        self.peer = "?"
        self.listener = home.name
        self.last_active = 0.0
        self._home = home
        self._dispatcher = dispatcher
        self._reader = FrameReader(receive_buffer, frame_size_max=frame_size_max)
        self._in_flight_max = in_flight_max
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._wire: Wire | None = None
        self._dialled = Address("", 0)
        self._exchanges: deque[Exchange] = deque()
        self._unsent_bytes = 0
        """Of the answers in `_exchanges`."""
        self._holder: Exchange | None = None
        self._in_turn = False
        self._turn_scheduled = False
        self._reading_paused = False
        self._writing_paused = False
        self._at_eof = False
        self._starved = True
        """No whole frame is left of what was read."""
        self._close_reason = ""
        """Once there is one, no further request is taken."""

    # What handlers may know

    @property
    def advertised(self) -> Address:
        """The listener's advertised address, else the one this client dialled."""
        return self._home.advertised or self._dialled

    @property
    def is_waiting(self) -> bool:
        """Some request is unanswered."""
        return bool(self._exchanges)

    def close(self, reason: str) -> None:
        """Take no further request, answer what was taken, then end the connection."""
        if not self._close_reason:
            self._close_reason = reason
            self._schedule_turn()

    def abort(self, reason: str) -> None:
        """End it now."""
        self._close_reason = reason
        if self._transport is not None:
            self._transport.abort()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket was accepted."""
        # uvloop's transports have the interface but not the base class.
        self._transport = transport = cast(asyncio.Transport, transport)
        peer, dialled = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if peer:
            self.peer = join_address(peer[0], peer[1])
        if dialled:
            self._dialled = Address(dialled[0], dialled[1])
        self.last_active = self._loop.time()
        transport.set_write_buffer_limits(high=WRITE_BUFFER_HIGH)
        if not self._home.opened(self):
            self._close_reason = "too many connections"
            transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        del sizehint
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came in."""
        self.last_active = self._loop.time()
        self._reader.received(nbytes)
        self._turn()

    def eof_received(self) -> bool:
        """The peer has nothing more to say; what it asked before is still answered."""
        self._at_eof = True
        if self._holder is not None and self._holder.pending is not None:
            # It may be gone altogether, which looks the same; nobody needs to find out at the end of a long wait.
            self._holder.pending.hurry()
        self._schedule_turn()
        return True

    def pause_writing(self) -> None:
        """The peer does not take its answers."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """It does again."""
        self._writing_paused = False
        self._schedule_turn()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone, for whatever reason."""
        reason = self._close_reason or ("connection reset" if exc else "closed by peer")
        for exchange in self._exchanges:
            self._dispatcher.abandon(exchange)
        self._exchanges.clear()
        self._close_reason = reason
        self._transport = None
        self._home.closed(self, reason)

    # The turn: what one socket read, or one answer that arrived, sets going

    def _schedule_turn(self) -> None:
        if not self._turn_scheduled and not self._in_turn:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_scheduled = False
        if self._transport is None:
            return
        self._in_turn = True
        try:
            self._take_frames()
        except ProtocolError as error:
            logger.warning("connection closed, bytes make no sense peer=%s error=%s", self.peer, message_of(error))
            self.close("protocol error")
        finally:
            self._dispatcher.end_of_read()
            self._reader.release()
            self._in_turn = False
        self._send_answers()
        self._settle()

    def _is_held(self) -> bool:
        return (
            self._holder is not None
            or self._writing_paused
            or bool(self._close_reason)
            or len(self._exchanges) >= self._in_flight_max
            or self._unsent_bytes >= WRITE_BUFFER_HIGH
        )

    def _take_frames(self) -> None:
        self._starved = True
        if self._wire is None and not self._pick_wire():
            return
        assert self._wire is not None
        while not self._is_held():
            frame = self._reader.next_frame()
            if frame is None:
                return
            exchange = self._dispatcher.dispatch(frame, self._wire, self, self._answered)
            if exchange is not None:
                self._exchanges.append(exchange)
                if exchange.pending is None:
                    self._unsent_bytes += exchange.size
                elif exchange.pending.holds_connection:
                    self._holder = exchange
                    if self._at_eof:
                        exchange.pending.hurry()
        self._starved = False

    def _pick_wire(self) -> bool:
        """By the first bytes; false when they are too few yet, or not for us."""
        first = self._reader.peek(len(PREFACE))
        if first is None:
            return False
        if first == PREFACE:
            self._reader.skip(len(PREFACE))
            self._wire = TIDE_WIRE
            return True
        stranger = STRANGERS.get(first[:4])
        if first[:2] == TLS_HANDSHAKE:
            stranger = "a TLS handshake: this listener is plaintext"
        elif first[:4] == PREFACE[:4]:
            stranger = f"the tide wire in version {first[4]}: known is {PREFACE[4]}"
        if stranger is not None:
            logger.warning("connection closed, not a client of ours peer=%s it sent %s", self.peer, stranger)
            self.close("not a client")
            return False
        self._wire = KAFKA_WIRE
        return True

    def _answered(self, exchange: Exchange) -> None:
        self._unsent_bytes += exchange.size
        if exchange is self._holder:
            self._holder = None
        self._schedule_turn()

    def _send_answers(self) -> None:
        exchanges = self._exchanges
        buffers: list[Buffer] = []
        while exchanges and exchanges[0].buffers is not None:
            exchange = exchanges.popleft()
            self._unsent_bytes -= exchange.size
            buffers.extend(exchange.buffers or ())
        if self._transport is None:
            return
        if buffers:
            self.last_active = self._loop.time()
            self._transport.writelines(buffers)

    def _settle(self) -> None:
        """Read on, wait, or be done."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self._exchanges and (self._close_reason or (self._at_eof and self._starved)):
            self._close_reason = self._close_reason or "closed by peer"
            transport.close()
            return
        is_held = self._is_held()
        if not is_held and not self._starved:
            # It was held in the middle of what it had read; those frames come first.
            self._schedule_turn()
        if is_held and not self._listens():
            if not self._reading_paused:
                self._reading_paused = True
                transport.pause_reading()
        elif self._reading_paused and not self._at_eof:
            self._reading_paused = False
            transport.resume_reading()

    def _listens(self) -> bool:
        """Though held: for a first byte behind a request that waits by design, or for the peer's end."""
        return self._holder is not None and not self._reader.held and not self._close_reason
