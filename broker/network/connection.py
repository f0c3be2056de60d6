"""Connection: one socket. Frames in, answers out in the order of the requests.

Requests are handled one after the other: each sees what those before it have done, also if they had to wait for the
disk. Only a Produce may follow on Produces that wait.

Reading: all connections of a loop share one receive buffer; a connection owns one only while a frame is incomplete or
while it is held. It is *held* (no further frame is taken, the socket is not read) while a request that holds the
connection waits, while too many answers or too many bytes of them are outstanding, and while the peer does not take
what was written: backpressure is TCP's. Only while a request waits, such as a fetch, is the socket read on for a
little more, or else nobody would notice that the client has gone.

Time is shared: whoever has more requests at once than can be handled in a *slice* goes on in the next turn of the loop,
and is not read from until then. uvloop by itself would read the same socket up to 32 times before anybody else's.

What it holds is counted in the budgets of `broker.memory`, which all connections share: a frame that is not whole once
it is more than a trifle, requests that are not answered, answers that are not taken. Before a frame may grow, memory is
asked for; until it is granted the socket is not read. A small request needs none and always gets through.

However a connection ends by itself, what was taken before is answered first.

At the end of each socket read, in this order: staged batches are written out, the receive buffer is given back,
answers are sent.
"""

import asyncio
import logging
from typing import Protocol, cast

from ...protocol.errors import FrameTooLarge, NotServed, ProtocolError
from ...protocol.framing import LENGTH_SIZE, OWN_SIZE_MIN, FrameReader
from ...protocol.kafka_wire import KafkaWire
from ...protocol.primitives import Buffer
from ...protocol.tide_wire import PREFACE, TideWire
from ...protocol.wire import REQUEST_SIZE_MAX, Wire
from ..config import join_address
from ..errors import message_of
from ..request import Address
from .commons import Commons
from .deadlines import IDLE, ReaderClock, Round, SenderClock
from .dispatcher import Exchange
from .limits import host_of

logger = logging.getLogger(__name__)

WRITE_BUFFER_HIGH = 1 << 20
"""Bytes in a peer's write buffer, or in answers that wait for their turn, from which on it is held."""

RESERVED_SIZE_MIN = (1 << 20) + (64 << 10)
RESERVED_RATIO = 8
"""What is asked for a frame that is more than a trifle: all of it, if it is no larger than this or if so much of it is
there; of a larger one in steps, for a length is easily claimed. Larger than this is what the request memory calls
large: more than a producer of usual settings sends."""

HURRIED_SIZE_MIN = 16 << 10
"""What a request that waits by design must hold to be hurried when others need the memory. An idle consumer's holds
less, and would only ask again."""

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

    # There may be ten thousand that say nothing.
    __slots__ = (
        "_answers_counted",
        "_asked",
        "_at_eof",
        "_backlog",
        "_buffer_counted",
        "_close_reason",
        "_commons",
        "_dialled",
        "_exchanges",
        "_holder",
        "_home",
        "_in_turn",
        "_is_busy",
        "_is_probed",
        "_kept_bytes",
        "_loop",
        "_reader",
        "_reading_paused",
        "_receiving",
        "_reserved",
        "_sending",
        "_slice_end",
        "_starved",
        "_transport",
        "_turn_scheduled",
        "_unanswered_bytes",
        "_unsent_bytes",
        "_wire",
        "host",
        "last_active",
        "listener",
        "peer",
        "software",
    )

    def __init__(self, *, home: Home, commons: Commons) -> None:
        self.peer = "?"
        self.host = "?"
        """The peer's address, as limits count it."""
        self.listener = home.name
        self.software = ""
        self._home = home
        self._commons = commons
        self._reader = FrameReader(commons.receive_buffer, frame_size_max=commons.config.socket_request_max_bytes)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._wire: Wire | None = None
        self._dialled = Address("", 0)
        self._exchanges: list[Exchange] = []
        """Not yet sent, in the order of the requests; a list, for it is empty in most, and short in others."""
        self._holder: Exchange | None = None
        self._in_turn = False
        self._turn_scheduled = False
        self._reading_paused = False
        self._at_eof = False
        self._starved = True
        """No whole frame is left of what was read."""
        self._close_reason = ""
        """Once there is one, no further request is taken."""
        self.last_active = self._loop.time()
        self._receiving = SenderClock(self.last_active)
        self._sending: ReaderClock | None = None
        """While the peer leaves something of what was written."""
        self._unsent_bytes = 0
        """Of the answers in `_exchanges`."""
        self._backlog = 0
        """Of the answers that were written since the peer last had taken everything: what it left at first."""
        self._kept_bytes = 0
        """All of these answers: of one that is taken in part, no part is freed."""
        self._answers_counted = 0
        """What the response memory knows of: those that are not sent, and those that are kept."""
        self._unanswered_bytes = 0
        """What requests hold that wait for their answer; the request memory knows of it."""
        self._buffer_counted = 0
        """What the request memory knows of the frame that is not whole: what it has, or what is reserved for it."""
        self._asked = 0
        """What shall be reserved for it, and is not granted."""
        self._is_probed = False
        self._reserved = 0
        """What was granted for the frame that is not whole."""
        self._slice_end = 0.0
        """Until when it may handle requests in this turn of the loop; 0.0 when it has not begun."""
        self._is_busy = False
        """It had no time for all requests that it has read."""

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
            self.hurry()
            self._schedule_turn()

    def abort(self, reason: str) -> None:
        """End it now."""
        self._close_reason = reason
        if self._transport is not None:
            self._transport.abort()

    def hurry(self) -> None:
        """Answer what waits by design, a fetch, with what there is."""
        if self._holder is not None and self._holder.pending is not None:
            self._holder.pending.hurry()

    def judge(self, round_: Round) -> str:
        """Why it must end now; empty if it may go on."""
        holds_memory = self._buffer_counted > 0
        if self._sending is not None and self._transport is not None:
            left = self._transport.get_write_buffer_size()
            reason = self._sending.judge(round_, left, holds_memory=holds_memory)
            if reason:
                return reason
            self.last_active = max(self.last_active, self._sending.since)
        if not self._reading_paused and not self._unanswered_bytes:
            reason = self._receiving.judge(round_, self._reader.held, holds_memory=holds_memory)
            if reason:
                return reason
        elif self._asked and round_.requests_press and not self._is_probed:
            self._probe()
        if round_.requests_press and self._unanswered_bytes > HURRIED_SIZE_MIN:
            self.hurry()
        is_idle = not self._exchanges and not self._asked and round_.now - self.last_active > round_.idle_s
        return IDLE if is_idle else ""

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket was accepted."""
        # uvloop's transports have the interface but not the base class.
        self._transport = transport = cast(asyncio.Transport, transport)
        peer, dialled = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if peer:
            self.host = host_of(peer[0])
            self.peer = join_address(peer[0], peer[1])
        if dialled:
            self._dialled = Address(dialled[0], dialled[1])
        # So that `pause_writing` says that something was not taken, and `resume_writing` that everything is.
        transport.set_write_buffer_limits(high=0)
        if not self._home.opened(self):
            self._close_reason = "too many connections"
            transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        del sizehint
        buffer = self._reader.get_buffer()
        if self._commons.requests.is_exhausted and not self._reader.allocated:
            # What is read beyond a whole request must be kept, and only a trifle may be kept unasked.
            return buffer[:OWN_SIZE_MIN]
        return buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came in."""
        self.last_active = self._loop.time()
        self._reader.received(nbytes)
        if nbytes >= OWN_SIZE_MIN and not self._slice_end:
            # uvloop reads on in the same turn of the loop as long as there is something.
            self._slice_end = self._commons.dispatcher.now() + self._commons.slice_s
            self._loop.call_soon(self._end_slice)
        self._turn()

    def eof_received(self) -> bool:
        """The peer has nothing more to say; what it asked before is still answered."""
        self._at_eof = True
        # It may be gone altogether, which looks the same; nobody needs to find out at the end of a long wait.
        self.hurry()
        self._schedule_turn()
        return True

    def pause_writing(self) -> None:
        """The peer does not take its answers."""
        self._sending = ReaderClock(self._loop.time())

    def resume_writing(self) -> None:
        """It has taken them all."""
        self._backlog = self._kept_bytes = 0
        self._sending = None
        self.last_active = self._loop.time()
        self._count_answers()
        self._schedule_turn()

    def memory_granted(self, size: int) -> None:
        """See `broker.memory.Grower`."""
        if self._transport is None:
            self._commons.requests.count(-size)
            return
        self._reserved, self._asked, self._is_probed = self._asked, 0, False
        self._buffer_counted += size
        self._reader.grow()
        self._recount(max(self._reserved, self._reader.allocated))
        self._schedule_turn()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone, for whatever reason."""
        reason = self._close_reason or ("connection reset" if exc else "closed by peer")
        for exchange in self._exchanges:
            self._commons.dispatcher.abandon(exchange)
        self._exchanges.clear()
        self._holder = None
        self._close_reason = reason
        self._transport = None
        self._set_busy(False)
        self._give_back()
        self._home.closed(self, reason)

    # The turn: what one socket read, or one answer that arrived, sets going

    def _schedule_turn(self) -> None:
        if not self._turn_scheduled and not self._in_turn:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn)

    def _end_slice(self) -> None:
        self._slice_end = 0.0

    def _set_busy(self, is_busy: bool) -> None:
        if is_busy is not self._is_busy:
            self._is_busy = is_busy
            self._commons.busy += 1 if is_busy else -1

    def _turn(self) -> None:
        self._turn_scheduled = False
        if self._transport is None:
            return
        self._in_turn = True
        try:
            self._take_frames()
        except NotServed as error:
            line = "connection closed, what it asks for is not served peer=%s software=%s error=%s"
            self._commons.log.say(logger, logging.WARNING, line, self.peer, self.software or "?", message_of(error))
            self.close("not served")
        except ProtocolError as error:
            line = "connection closed, bytes make no sense peer=%s error=%s"
            self._commons.log.say(logger, logging.WARNING, line, self.peer, message_of(error))
            self.close("protocol error")
        finally:
            self._commons.dispatcher.end_of_read()
            self._put_away()
            self._in_turn = False
        self._send_answers()
        self._settle()

    def _is_held(self) -> bool:
        commons = self._commons
        return (
            self._holder is not None
            or self._backlog >= WRITE_BUFFER_HIGH
            or bool(self._close_reason)
            or len(self._exchanges) >= commons.config.connections_max_inflight_requests
            or self._unsent_bytes >= WRITE_BUFFER_HIGH
            # While memory is short, each has one request at a time.
            or (self._backlog > 0 and commons.responses.is_exhausted)
            or (self._unanswered_bytes > 0 and (commons.requests.is_exhausted or not self._may_pass()))
        )

    def _may_pass(self) -> bool:
        """Whether the next request may be handled while others wait for their answer: a Produce behind Produces.

        Whatever else is asked shall see what the requests before it have done.
        """
        assert self._wire is not None
        start = self._reader.peek(LENGTH_SIZE + self._wire.start_size)
        return start is None or self._wire.is_produce(start[LENGTH_SIZE:])

    def _take_frames(self) -> None:
        self._starved = True
        if self._wire is None and not self._pick_wire():
            return
        assert self._wire is not None
        dispatcher = self._commons.dispatcher
        slice_end = self._slice_end or dispatcher.now() + self._commons.slice_s
        is_first = True
        while not self._is_held():
            if not is_first and dispatcher.now() > slice_end:
                self._set_busy(True)
                break
            is_first = False
            frame = self._reader.next_frame()
            if frame is None:
                self._set_busy(False)
                if self._reader.claimed > REQUEST_SIZE_MAX:
                    self._check_claim(self._wire)
                return
            self._receiving.finished()
            self._frame_is_whole()
            exchange = dispatcher.dispatch(frame, self._wire, self, self._answered)
            if exchange is not None:
                self._exchanges.append(exchange)
                if exchange.pending is None:
                    self._unsent_bytes += exchange.size
                else:
                    self._unanswered_bytes += exchange.memory
                    self._commons.requests.count(exchange.memory)
                    if exchange.pending.holds_connection:
                        self._holder = exchange
                        if self._at_eof:
                            exchange.pending.hurry()
        self._starved = False

    def _check_claim(self, wire: Wire) -> None:
        """A large frame is under way. Raises FrameTooLarge if it may not be that large, before it is here."""
        start = self._reader.peek(LENGTH_SIZE + wire.start_size)
        size_max = wire.request_size_max(start[LENGTH_SIZE:]) if start is not None else None
        if size_max is not None and self._reader.claimed > size_max:
            raise FrameTooLarge(f"a request of {self._reader.claimed} bytes without records, at most {size_max}")

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
            line = "connection closed, not a client of ours peer=%s it sent %s"
            self._commons.log.say(logger, logging.WARNING, line, self.peer, stranger)
            self.close("not a client")
            return False
        self._wire = KAFKA_WIRE
        return True

    def _answered(self, exchange: Exchange) -> None:
        self._unsent_bytes += exchange.size
        self._unanswered_bytes -= exchange.memory
        self._commons.requests.count(-exchange.memory)
        self._count_answers()
        if exchange is self._holder:
            self._holder = None
        if self._receiving.since:
            # What it has sent meanwhile it could not be asked to finish.
            self._receiving.began(self._loop.time(), self._reader.held)
        self._schedule_turn()

    def _send_answers(self) -> None:
        exchanges = self._exchanges
        buffers: list[Buffer] = []
        sent = size = 0
        for exchange in exchanges:
            if exchange.buffers is None:
                break
            sent += 1
            size += exchange.size
            buffers.extend(exchange.buffers)
        if sent:
            del exchanges[:sent]
            self._unsent_bytes -= size
        if buffers and self._transport is not None:
            self.last_active = self._loop.time()
            was_taking_all = self._sending is None
            self._transport.writelines(buffers)
            if self._sending is not None:
                left = self._transport.get_write_buffer_size() if was_taking_all else size
                self._backlog += left
                self._kept_bytes += size
                self._sending.wrote(left)
        self._count_answers()

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
        if is_held:
            self._set_busy(False)
        elif not self._starved:
            # It was held in the middle of what it had read, or others have their turn; those frames come first.
            if not self._reading_paused:
                self._reading_paused = True
                transport.pause_reading()
            self._schedule_turn()
            return
        if (is_held and not self._listens()) or not self._has_room():
            if not self._reading_paused:
                self._reading_paused = True
                transport.pause_reading()
        elif self._reading_paused and not self._at_eof:
            self._reading_paused = False
            if self._receiving.since:
                self._receiving.began(self._loop.time(), self._reader.held)
            transport.resume_reading()

    def _listens(self) -> bool:
        """Though held: for a little more behind a request that waits, or for the peer's end."""
        return self._unanswered_bytes > 0 and self._reader.wanted <= OWN_SIZE_MIN and not self._close_reason

    # What it holds

    def _put_away(self) -> None:
        """Keep what a read left over, with room for more if there is memory for it."""
        reader = self._reader
        if self._close_reason:
            reader.drop()
        wanted = reader.wanted
        if wanted:
            small = wanted <= max(OWN_SIZE_MIN, self._buffer_counted)
            reader.release(may_grow=small or (self._starved and not self._is_held() and self._ask(wanted)))
            if not self._receiving.since:
                self._receiving.began(self.last_active, reader.held)
        else:
            reader.release()
        self._count_buffer()

    def _has_room(self) -> bool:
        """Whether the next read has somewhere to go; if not, memory is asked for."""
        wanted = self._reader.wanted
        if wanted <= max(OWN_SIZE_MIN, self._buffer_counted):
            return True
        if not self._ask(wanted):
            return False
        self._reader.grow()
        return True

    def _ask(self, wanted: int) -> bool:
        if self._asked:
            return False
        reader = self._reader
        frame_size = LENGTH_SIZE + reader.claimed
        reserved = max(wanted, min(frame_size, max(RESERVED_SIZE_MIN, RESERVED_RATIO * reader.held)))
        is_large = frame_size > RESERVED_SIZE_MIN
        if self._commons.requests.ask(self, reserved - self._buffer_counted, is_large=is_large):
            self._buffer_counted = self._reserved = reserved
            return True
        self._asked = reserved
        return False

    def _probe(self) -> None:
        """Though memory is not granted, read a little, once: so those who would not go on anyway are found out.

        Otherwise each of them would first be given its turn, one after the other.
        """
        self._is_probed = True
        self._reader.make_room(OWN_SIZE_MIN)
        self._count_buffer()
        self._schedule_turn()

    def _frame_is_whole(self) -> None:
        """What was asked for it, and granted or not, is settled; its buffer is counted until it is given up."""
        if self._reserved or self._asked:
            self._reserved = self._asked = 0
            self._is_probed = False
            self._commons.requests.finished(self)

    def _count_buffer(self) -> None:
        allocated = self._reader.allocated
        self._recount(max(allocated, self._reserved) if allocated > OWN_SIZE_MIN else 0)

    def _recount(self, size: int) -> None:
        if size == self._buffer_counted:
            return
        more, self._buffer_counted = size - self._buffer_counted, size
        if size:
            self._commons.requests.count(more)
        else:
            # Whoever waits for nothing more must not be remembered as one who waits.
            self._reserved = self._asked = 0
            self._is_probed = False
            self._commons.requests.finished(self, freed=-more)

    def _count_answers(self) -> None:
        size = self._unsent_bytes + self._kept_bytes
        if size != self._answers_counted:
            more, self._answers_counted = size - self._answers_counted, size
            self._commons.responses.count(more)

    def _give_back(self) -> None:
        """All that the budgets know of."""
        commons = self._commons
        requests, answers = self._buffer_counted + self._unanswered_bytes, self._answers_counted
        self._buffer_counted = self._unanswered_bytes = self._answers_counted = self._asked = self._reserved = 0
        self._unsent_bytes = self._backlog = self._kept_bytes = 0
        commons.requests.finished(self, freed=requests)
        commons.responses.count(-answers)
        self._sending = None
