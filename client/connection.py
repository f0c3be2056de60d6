"""One connection to a broker, on the tide wire: requests go out, answers find whoever asked by correlation id.

Cancel-safe: giving up on a call leaves its entry behind until the answer comes and is dropped. A call that is not
answered in its time takes the connection with it, because answers come in order and those behind it would wait too.
Bounded: `call` waits while as many calls as may be are under way, or while the socket takes no more bytes; `submit` is
for callers that keep count themselves and look at `writable`.

The receive buffer is shared by all connections of a client, so an answer is copied once before it is decoded: what it
holds (record batches are slices of it) may then live as long as it is wanted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..protocol.apis import api_of
from ..protocol.errors import ProtocolError, RequestRefused
from ..protocol.framing import FrameReader
from ..protocol.primitives import INT32_MAX
from ..protocol.tide_wire import PREFACE, TideWire
from ..protocol.wire import RequestHeader
from .config import Address, ClientConfig
from .errors import ClientClosed, ConnectionLost, TidelogError, TimedOut, error_for

CALLS_MAX = 256

_WIRE = TideWire()

Response = TypeVar("Response")


@dataclass(slots=True)
class _Call:
    header: RequestHeader
    answer: asyncio.Future[object]
    timer: asyncio.TimerHandle
    timeout: float


class Connection(asyncio.BufferedProtocol):
    """A connection, from the moment when the socket is connected until it is lost."""

    def __init__(
        self, address: Address, config: ClientConfig, *, receive_buffer: bytearray, changed: Callable[[], None]
    ) -> None:
        self.address = address
        self.answered = False
        """At least one answer came: whoever listens there speaks our language."""
        self.lost: TidelogError | None = None
        """Why the connection is no more."""
        self._config = config
        self._changed = changed
        self._frames = FrameReader(receive_buffer, frame_size_max=config.frame_size_max)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._calls: dict[int, _Call] = {}
        self._next_id = 0
        self._paused = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    # What callers use

    @property
    def writable(self) -> bool:
        """The connection lives and its socket takes bytes."""
        return self.lost is None and not self._paused

    def submit(self, request: object, *, timeout: float) -> asyncio.Future[object]:
        """Send a request; the future gets the response's message or a `TidelogError`."""
        header = self._write(request)
        answer: asyncio.Future[object] = self._loop.create_future()
        timer = self._loop.call_later(timeout, self._overdue, header.correlation_id)
        self._calls[header.correlation_id] = _Call(header, answer, timer, timeout)
        return answer

    def tell(self, request: object) -> None:
        """Send a request that is not answered."""
        self._write(request)

    async def call(self, request: object, expected: type[Response], *, timeout: float) -> Response:
        """Send a request as soon as there is room for it, and wait for the response."""
        deadline = self._loop.time() + timeout
        try:
            async with asyncio.timeout_at(deadline):
                while self.lost is None and (self._paused or len(self._calls) >= CALLS_MAX):
                    room: asyncio.Future[None] = self._loop.create_future()
                    self._waiting.append(room)
                    await room
        except TimeoutError:
            raise TimedOut(f"{self.address} takes no more requests") from None
        response = await self.submit(request, timeout=deadline - self._loop.time())
        assert isinstance(response, expected)
        return response

    def close(self) -> None:
        """Close when what was written has left; calls that are under way fail at once."""
        self._fail(ClientClosed("the connection was closed by this side"), abort=False)

    def abort(self) -> None:
        """Close at once."""
        self._fail(ClientClosed("the connection was closed by this side"))
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Until the socket is closed."""
        await asyncio.shield(self._closed)

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(PREFACE)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._frames.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        if self.lost is not None:
            return
        try:
            self._frames.received(nbytes)
            while (frame := self._frames.next_frame()) is not None:
                self._answer(bytes(frame))
            self._frames.release()
        except ProtocolError as error:
            lost = ConnectionLost(f"{self.address} answered what cannot be read: {error}")
            lost.__cause__ = error
            self._fail(lost)

    def eof_received(self) -> bool:
        """The broker closes: so do we."""
        return False

    def pause_writing(self) -> None:
        """The socket takes no more bytes."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self._paused = False
        self._admit()
        self._changed()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        reason = f": {exc}" if exc is not None else ""
        lost = ConnectionLost(f"the connection to {self.address} was closed by the broker{reason}")
        lost.__cause__ = exc
        self._fail(lost)
        if not self._closed.done():
            self._closed.set_result(None)

    # Inside

    def _write(self, request: object) -> RequestHeader:
        if self.lost is not None:
            raise ConnectionLost(f"no connection to {self.address}") from self.lost
        assert self._transport is not None
        api = api_of(type(request))
        correlation_id = self._next_id
        self._next_id = (self._next_id + 1) & INT32_MAX
        header = RequestHeader(
            api=api, version=api.versions.max, correlation_id=correlation_id, client_id=self._config.client_id
        )
        self._transport.writelines(_WIRE.encode_request(header, request))
        return header

    def _answer(self, frame: bytes) -> None:
        view = memoryview(frame)
        call = self._calls.pop(_WIRE.correlation_id(view), None)
        if call is None:
            raise ProtocolError("an answer to a question that was not asked")
        call.timer.cancel()
        self.answered = True
        self._admit()
        if call.answer.done():
            return  # whoever asked has been cancelled
        try:
            response = _WIRE.decode_response(call.header, view)
        except RequestRefused as refusal:
            call.answer.set_exception(error_for(refusal.code, refusal.message, about=call.header.api.name))
        except ProtocolError as error:
            call.answer.set_exception(ConnectionLost(f"{self.address}: unreadable {call.header.api.name}: {error}"))
            raise
        else:
            call.answer.set_result(response)

    def _overdue(self, correlation_id: int) -> None:
        call = self._calls.pop(correlation_id)
        text = f"{self.address} did not answer {call.header.api.name} within {call.timeout:g} s"
        if not call.answer.done():
            call.answer.set_exception(TimedOut(text))
        self._fail(ConnectionLost(f"the connection was given up: {text}"))

    def _fail(self, error: TidelogError, *, abort: bool = True) -> None:
        if self.lost is not None:
            return
        self.lost = error
        if self._transport is not None:
            if abort:
                self._transport.abort()
            else:
                self._transport.close()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.timer.cancel()
            if not call.answer.done():
                call.answer.set_exception(error)
                call.answer.exception()  # nobody may be left to look at it, and that is no news to report
        self._admit()
        self._changed()

    def _admit(self) -> None:
        # All are woken and look again: were only one, and it cancelled in that moment, the others would sleep on.
        while self._waiting:
            room = self._waiting.popleft()
            if not room.done():
                room.set_result(None)
